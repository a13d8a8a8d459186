package person

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of this package.
var (
	ErrTooFew = &citygate.Code{Name: "person.too_few", Kind: citygate.Invalid, Title: "One device cannot be joined with itself. Send a fresh code of each of two devices or more."}
	ErrOthers = &citygate.Code{Name: "person.others", Kind: citygate.Conflict, Title: "Two of the devices are joined with others already, or leave at the end of the day. Leave with one of them, and join it again tomorrow."}
	ErrMany   = &citygate.Code{Name: "person.many", Kind: citygate.Conflict, Title: "So many devices are not one person's. Leave with one that is not used any more."}
	ErrAlone  = &citygate.Code{Name: "person.alone", Kind: citygate.Conflict, Title: "The device is not joined with any other."}
	ErrKey    = &citygate.Code{Name: "person.key", Kind: citygate.Unavailable, Title: "The tenant's key of joins is not at hand. Try again; if that does not help, restore the secret store."}
)

const (
	// SecretName is where the tenant's key is kept.
	SecretName = "person-join"

	most = 8 // devices of one person
)

// A Directory knows which credentials are on one device.
type Directory interface {
	// DevicesOf names the device of each rider: the same for credentials that replace
	// each other on one.
	DevicesOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]string, error)
	// RidersOf gives the credentials of devices that DevicesOf named.
	RidersOf(ctx context.Context, tx *pg.Tx, devices []string) (map[string][]citygate.Rider, error)
}

// A Subject is the opaque name of a person in one tenant.
type Subject [16]byte

// A Member is a credential that is one of several of a person, from one instant of
// event time to before another, unix milliseconds.
type Member struct {
	Rider       citygate.Rider
	Subject     Subject
	From, Until int64
}

// A Book knows who is one person. It is safe for concurrent use.
type Book struct {
	DB        *pg.DB
	Secrets   keys.Secrets
	Directory Directory
	Random    io.Reader

	mu   sync.Mutex
	keys map[citygate.TenantID]*Key
}

// Prime reads the tenant's key where it has joins. Work inside transactions needs
// it, and may not read it there.
func (b *Book) Prime(ctx context.Context, tenant citygate.TenantID) error {
	if b.key(tenant) != nil || b.Secrets == nil {
		return nil
	}
	var some bool
	if err := b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		some, err = hasJoins(ctx, tx)
		return err
	}); err != nil || !some {
		return err
	}
	return b.read(ctx, tenant)
}

func (b *Book) key(tenant citygate.TenantID) *Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keys[tenant]
}

// Open makes the tenant's key ready, and makes it if there is none.
func (b *Book) Open(ctx context.Context, tenant citygate.TenantID) error {
	if b.key(tenant) != nil {
		return nil
	}
	err := b.read(ctx, tenant)
	if !errors.Is(err, keys.ErrNotFound) {
		return err
	}
	var fresh Key
	if _, err := io.ReadFull(b.Random, fresh[:]); err != nil {
		return err
	}
	if _, err := b.Secrets.Put(ctx, tenant, SecretName, citygate.NewSecret(fresh[:]), 0); err != nil && !errors.Is(err, keys.ErrConflict) {
		return err
	}
	return b.read(ctx, tenant) // another process may have been first
}

func (b *Book) read(ctx context.Context, tenant citygate.TenantID) error {
	value, _, err := b.Secrets.Get(ctx, tenant, SecretName)
	if err != nil {
		return err
	}
	var k Key
	if copy(k[:], value.Reveal()) != len(k) {
		return ErrKey
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys == nil {
		b.keys = map[citygate.TenantID]*Key{}
	}
	b.keys[tenant] = &k
	return nil
}

// A Standing is what a rider learns of a join.
type Standing struct {
	Devices int       // 1 = the device is alone
	From    time.Time // the join counts from then on
	Until   time.Time // zero = until somebody leaves
}

// Join makes the devices of riders one person from an instant on, with those that
// one of them is joined with already. Each rider has proven his device in this
// transaction.
func (b *Book) Join(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from time.Time) (Standing, error) {
	k := b.key(tx.Tenant)
	if k == nil {
		return Standing{}, ErrKey
	}
	named, err := b.Directory.DevicesOf(ctx, tx, riders)
	if err != nil {
		return Standing{}, err
	}
	devices := slices.Sorted(maps.Values(named))
	devices = slices.Compact(devices)
	if len(devices) < 2 || len(named) < len(riders) {
		return Standing{}, ErrTooFew
	}
	hashes := make([][]byte, len(devices))
	for i, d := range devices {
		hashes[i] = k.hash(d)
	}
	rows, err := lockDevices(ctx, tx, hashes)
	if err != nil {
		return Standing{}, err
	}
	subject, joined, err := b.oneSubject(rows, tx.Now)
	if err != nil {
		return Standing{}, err
	}
	for i, d := range devices {
		if joined[string(hashes[i])] {
			continue
		}
		sealed, err := k.seal(hashes[i], []byte(d))
		if err != nil {
			return Standing{}, err
		}
		if err := insertDevice(ctx, tx, hashes[i], subject, sealed, from); err != nil {
			return Standing{}, err
		}
	}
	n, err := countMembers(ctx, tx, subject)
	switch {
	case err != nil:
		return Standing{}, err
	case n > most:
		return Standing{}, ErrMany.Explain("%d devices", n)
	}
	return Standing{Devices: n, From: from}, tx.Audit(ctx, pg.AuditEntry{Actor: "rider", Verb: "person.join", Object: "person"})
}

// oneSubject gives the person that the devices of a join belong to, a new one if
// none does, and which of them do.
func (b *Book) oneSubject(rows []deviceRow, now time.Time) (s Subject, joined map[string]bool, err error) {
	joined = map[string]bool{}
	for _, r := range rows {
		switch {
		case r.until != nil && r.until.After(now), len(joined) > 0 && r.until == nil && r.subject != s:
			return s, nil, ErrOthers
		case r.until == nil:
			s, joined[string(r.device)] = r.subject, true
		}
	}
	if len(joined) == 0 {
		_, err = io.ReadFull(b.Random, s[:])
	}
	return s, joined, err
}

// Leave takes the device of a rider out of its person from an instant on. Of two
// that were left, neither is joined any more.
func (b *Book) Leave(ctx context.Context, tx *pg.Tx, rider citygate.Rider, until time.Time) (Standing, error) {
	r, err := b.deviceOf(ctx, tx, rider)
	if err != nil {
		return Standing{}, err
	}
	if r == nil || r.until != nil {
		return Standing{}, ErrAlone
	}
	if err := endDevice(ctx, tx, r, until); err != nil {
		return Standing{}, err
	}
	n, err := countMembers(ctx, tx, r.subject)
	if err == nil && n == 1 {
		err = endSubject(ctx, tx, r.subject, until)
	}
	if err != nil {
		return Standing{}, err
	}
	return Standing{Devices: 1, From: r.since, Until: until}, tx.Audit(ctx, pg.AuditEntry{Actor: "rider", Verb: "person.leave", Object: "person"})
}

// Of tells a rider how the device stands.
func (b *Book) Of(ctx context.Context, tx *pg.Tx, rider citygate.Rider) (Standing, error) {
	r, err := b.deviceOf(ctx, tx, rider)
	if err != nil || r == nil {
		return Standing{Devices: 1}, err
	}
	s := Standing{From: r.since}
	if r.until != nil {
		s.Until = *r.until
		s.Devices = 1
		return s, nil
	}
	s.Devices, err = countMembers(ctx, tx, r.subject)
	return s, err
}

// deviceOf gives the last row of a rider's device, nil if it has none that holds.
func (b *Book) deviceOf(ctx context.Context, tx *pg.Tx, rider citygate.Rider) (*deviceRow, error) {
	some, err := hasJoins(ctx, tx)
	if err != nil || !some {
		return nil, err
	}
	k := b.key(tx.Tenant)
	if k == nil {
		return nil, ErrKey
	}
	named, err := b.Directory.DevicesOf(ctx, tx, []citygate.Rider{rider})
	if err != nil {
		return nil, err
	}
	rows, err := lockDevices(ctx, tx, [][]byte{k.hash(named[rider])})
	if err != nil {
		return nil, err
	}
	for i := range slices.Backward(rows) {
		if rows[i].until == nil || rows[i].until.After(tx.Now) {
			return &rows[i], nil
		}
	}
	return nil, nil
}

// Members gives, of all persons that any of the riders is or was part of, every
// credential with the times in which it is. Riders who never joined are absent.
func (b *Book) Members(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]Member, error) {
	some, err := hasJoins(ctx, tx)
	if err != nil || !some || len(riders) == 0 {
		return nil, err
	}
	k := b.key(tx.Tenant)
	if k == nil {
		return nil, ErrKey
	}
	named, err := b.Directory.DevicesOf(ctx, tx, riders)
	if err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, d := range slices.Compact(slices.Sorted(maps.Values(named))) {
		hashes = append(hashes, k.hash(d))
	}
	rows, err := devicesWith(ctx, tx, hashes)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	devices := make([]string, len(rows))
	for i := range rows {
		plain, err := k.open(rows[i].device, rows[i].sealed)
		if err != nil {
			return nil, ErrKey.Because(err, "a join of the tenant")
		}
		devices[i] = string(plain)
	}
	of, err := b.Directory.RidersOf(ctx, tx, slices.Compact(slices.Sorted(slices.Values(devices))))
	if err != nil {
		return nil, err
	}
	var out []Member
	for i := range rows {
		m := Member{Subject: rows[i].subject, From: rows[i].since.UnixMilli(), Until: 1<<63 - 1}
		if rows[i].until != nil {
			m.Until = rows[i].until.UnixMilli()
		}
		for _, r := range of[devices[i]] {
			m.Rider = r
			out = append(out, m)
		}
	}
	return out, nil
}

// Seal encrypts what a joint ride leaves for the next one; the same for the same
// ride, so that no change shows where there is none.
func (b *Book) Seal(tenant citygate.TenantID, ride citygate.UUID, plain []byte) ([]byte, error) {
	k := b.key(tenant)
	if k == nil {
		return nil, ErrKey
	}
	return k.seal(ride[:], plain)
}

// Unseal is the inverse of Seal.
func (b *Book) Unseal(tenant citygate.TenantID, ride citygate.UUID, sealed []byte) ([]byte, error) {
	k := b.key(tenant)
	if k == nil {
		return nil, ErrKey
	}
	return k.open(ride[:], sealed)
}
