package keys

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Key is one announced public key.
type Key struct {
	Tenant         citygate.TenantID // 0 = the platform
	Purpose        Purpose
	KeyID          uint8 // "kid": the byte on codes, from 1
	Version        int   // the signer's number
	Algorithm      Algorithm
	Public         []byte // form of [EncodePublic]
	State          bundle.State
	NotBefore      time.Time
	Expires        time.Time
	NotIssuedAfter time.Time // zero = no limit
	PublishedAt    time.Time
}

// Entry gives k as a bundle carries it, under the tenant's issuer number.
func (k Key) Entry(issuer citygate.Issuer) bundle.Key {
	e := bundle.Key{
		Tenant: k.Tenant, Issuer: issuer, KeyID: k.KeyID, Algorithm: k.Algorithm, Public: k.Public, Usage: k.Purpose.Usage(),
		NotBefore: k.NotBefore.Unix(), Expires: k.Expires.Unix(), State: k.State,
	}
	if !k.NotIssuedAfter.IsZero() {
		e.NotIssuedAfter = k.NotIssuedAfter.Unix()
	}
	return e
}

// DefaultLife is how long a key made by [Ring.Ensure] or [Ring.Rotate] may sign
// when nobody says otherwise. It ends by rotation long before.
const DefaultLife = 2 * 365 * 24 * time.Hour

// A Ring is the announced keys of all tenants and of the platform.
type Ring struct {
	db      *pg.DB
	signer  Signer
	rollout Rollout // nil = nothing is known of terminals
}

// NewRing gives the ring of a database over the signer that holds the private
// keys.
func NewRing(db *pg.DB, signer Signer) *Ring { return &Ring{db: db, signer: signer} }

// Signer gives the signer behind the ring.
func (r *Ring) Signer() Signer { return r.signer }

const (
	keyColumns = `tenant_id, purpose, kid, version, algorithm, public_key, state, not_before, expires, not_issued_after, published_at`

	selectKeys   = `SELECT ` + keyColumns + ` FROM tenant_keys WHERE tenant_id = $1 ORDER BY purpose, kid`
	selectActive = `SELECT kid, version FROM tenant_keys WHERE tenant_id = $1 AND purpose = $2 AND state = 'active'`
	// The rows of a purpose are locked in kid order before any of them changes.
	lockPurpose = `SELECT ` + keyColumns + ` FROM tenant_keys WHERE tenant_id = $1 AND purpose = $2 ORDER BY kid FOR UPDATE`
	insertKey   = `
		INSERT INTO tenant_keys (` + keyColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, $10)
		ON CONFLICT DO NOTHING`
	updateState = `
		UPDATE tenant_keys SET state = $4, not_issued_after = $5
		WHERE tenant_id = $1 AND purpose = $2 AND kid = $3`
)

// of gives the statement for a tenant's table or for the platform's, which has
// the same columns.
func of(tenant citygate.TenantID, sql string) string {
	if tenant == Platform {
		return strings.Replace(sql, "tenant_keys", "platform.platform_keys", 1)
	}
	return sql
}

func (r *Ring) in(ctx context.Context, tenant citygate.TenantID, fn func(*pg.Tx) error) error {
	if tenant == Platform {
		return r.db.InSystem(ctx, fn)
	}
	return r.db.InTenant(ctx, tenant, fn)
}

// Ensure gives the active key of a tenant and purpose. Where there is none it
// makes one in the signer, publishes and activates it at once: before the first
// key nobody has anything to verify, so there is nobody to wait for. Of a purpose
// that key sets announce it makes two, and the second is published in the same
// transaction: from its first day on a tenant's next key is known.
//
// Where there is one the signer is not asked: a gateway starts while its key
// store is away. A key of another algorithm is [ErrConflict]. A next key that is
// missing is made by [Ring.EnsureNextOf].
func (r *Ring) Ensure(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, algorithm Algorithm) (k Key, err error) {
	if err := purpose.Check(tenant); err != nil {
		return Key{}, err
	}
	for range 3 { // of two processes that make a first key at once one is refused by the table, and finds the other's
		if k, err = r.ensure(ctx, actor, tenant, purpose, algorithm); pg.SQLState(err) != pg.StateUniqueViolation {
			break
		}
	}
	return k, err
}

func (r *Ring) ensure(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, algorithm Algorithm) (Key, error) {
	held, err := r.Keys(ctx, tenant)
	if err != nil {
		return Key{}, err
	}
	for _, k := range held {
		if k.Purpose != purpose || k.State != bundle.Active {
			continue
		}
		if k.Algorithm != algorithm {
			return Key{}, ErrConflict.Explain("key %s of tenant %d is %s, not %s", purpose, tenant, k.Algorithm, algorithm)
		}
		return k, nil
	}
	versions, err := r.create(ctx, tenant, purpose, algorithm)
	if err != nil {
		return Key{}, err
	}
	var got Key
	err = r.in(ctx, tenant, func(tx *pg.Tx) error {
		ring, err := locked(ctx, tx, purpose)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(ring, func(k Key) bool { return k.State == bundle.Active }); i >= 0 {
			got = ring[i]
			return nil
		}
		if len(ring) > 0 {
			// Keys were announced and none signs: somebody is in the middle of a
			// rotation or revoked the last one. That is not for us to undo.
			return ErrState.Explain("tenant %d has %d keys %s and none is active; activate or rotate one", tenant, len(ring), purpose)
		}
		from, until := tx.Now.Truncate(time.Second), tx.Now.Add(DefaultLife)
		k, err := publish(ctx, tx, actor, purpose, versions[0], from, until)
		if err != nil || k.State == bundle.Active { // another process was first
			got = k
			return err
		}
		if got, err = step(ctx, tx, actor, k, bundle.Active, time.Time{}); err != nil || len(versions) == 1 {
			return err
		}
		_, err = publish(ctx, tx, actor, purpose, versions[1], from, until)
		return err
	})
	return got, err
}

// create gives the versions of a tenant's first key, the one that is to sign
// first: two where the next one is announced, otherwise one. Those that an
// earlier call made and could not publish are used, the oldest first: calls that
// run at once may each have the signer make one, and all of them have to mean the
// same versions. [Ring.Rotate] uses what is over.
func (r *Ring) create(ctx context.Context, tenant citygate.TenantID, purpose Purpose, algorithm Algorithm) ([]Version, error) {
	want := 1
	if purpose.Announced() {
		want = 2
	}
	if err := r.signer.Create(ctx, tenant, purpose, algorithm); err != nil {
		return nil, err
	}
	versions, err := r.signer.Versions(ctx, tenant, purpose)
	for ; err == nil && len(versions) < want; versions, err = r.signer.Versions(ctx, tenant, purpose) {
		if _, err := r.signer.Rotate(ctx, tenant, purpose); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return versions[:want], nil
}

// Confirm asks the signer for the active key of a tenant and purpose, and gives
// [ErrConflict] if it has another or none: the database and the key store are not
// of one installation. A signer that cannot be asked now is [ErrUnavailable].
func (r *Ring) Confirm(ctx context.Context, tenant citygate.TenantID, purpose Purpose) error {
	all, err := r.Keys(ctx, tenant)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(k Key) bool { return k.Purpose == purpose && k.State == bundle.Active })
	if i < 0 {
		return ErrNotFound.Explain("tenant %d has no active key %s", tenant, purpose)
	}
	versions, err := r.signer.Versions(ctx, tenant, purpose)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for _, v := range versions {
		if v.Version != all[i].Version {
			continue
		}
		if _, public, err := EncodePublic(v.Public); err == nil && bytes.Equal(public, all[i].Public) {
			return nil
		}
	}
	return ErrConflict.Explain("the key store does not have key %s/%d of tenant %d, which the database announced: name the key store that belongs to this database",
		purpose, all[i].KeyID, tenant)
}

// Publish announces one version of the signer's key, to be used from and
// until the given instants. The same version again gives the key it got.
func (r *Ring) Publish(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, version int, from, until time.Time) (Key, error) {
	versions, err := r.signer.Versions(ctx, tenant, purpose)
	if err != nil {
		return Key{}, err
	}
	i := slices.IndexFunc(versions, func(v Version) bool { return v.Version == version })
	if i < 0 {
		return Key{}, ErrNotFound.Explain("key %s of tenant %d has no version %d", purpose, tenant, version)
	}
	if !until.After(from) {
		return Key{}, ErrInvalid.Explain("a key cannot end before it starts")
	}
	var got Key
	err = r.in(ctx, tenant, func(tx *pg.Tx) error {
		got, err = publish(ctx, tx, actor, purpose, versions[i], from, until)
		return err
	})
	return got, err
}

// Rotate makes a new version in the signer and publishes it. A version that an
// earlier call made and could not publish is used first, so a call that was cut
// off and repeated leaves nothing behind.
func (r *Ring) Rotate(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, from, until time.Time) (Key, error) {
	versions, err := r.signer.Versions(ctx, tenant, purpose)
	if err != nil {
		return Key{}, err
	}
	ring, err := r.Keys(ctx, tenant)
	if err != nil {
		return Key{}, err
	}
	newest := versions[len(versions)-1].Version
	if slices.ContainsFunc(ring, func(k Key) bool { return k.Purpose == purpose && k.Version == newest }) {
		if newest, err = r.signer.Rotate(ctx, tenant, purpose); err != nil {
			return Key{}, err
		}
	}
	return r.Publish(ctx, actor, tenant, purpose, newest, from, until)
}

// Retire stops the active key from signing; what it signed stays valid. With a
// notIssuedAfter only what it signed until then does: for a key that was stolen
// at a known time.
func (r *Ring) Retire(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, kid uint8, notIssuedAfter time.Time) (Key, error) {
	return r.change(ctx, tenant, purpose, kid, func(tx *pg.Tx, _ []Key, k Key) (Key, error) {
		return step(ctx, tx, actor, k, bundle.Retiring, notIssuedAfter)
	})
}

// Revoke makes everything the key ever signed worthless.
func (r *Ring) Revoke(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, kid uint8) (Key, error) {
	return r.change(ctx, tenant, purpose, kid, func(tx *pg.Tx, _ []Key, k Key) (Key, error) {
		return step(ctx, tx, actor, k, bundle.Revoked, time.Time{})
	})
}

func (r *Ring) change(ctx context.Context, tenant citygate.TenantID, purpose Purpose, kid uint8, fn func(tx *pg.Tx, ring []Key, k Key) (Key, error)) (Key, error) {
	if err := purpose.Check(tenant); err != nil {
		return Key{}, err
	}
	var got Key
	err := r.in(ctx, tenant, func(tx *pg.Tx) error {
		ring, err := locked(ctx, tx, purpose)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(ring, func(k Key) bool { return k.KeyID == kid })
		if i < 0 {
			return ErrNotFound.Explain("tenant %d has no key %s/%d", tenant, purpose, kid)
		}
		got, err = fn(tx, ring, ring[i])
		return err
	})
	return got, err
}

// Active gives the key that signs: its kid, for the code, and the signer's
// version, for [Signer.Sign]. None is [ErrNotFound].
func (r *Ring) Active(ctx context.Context, tenant citygate.TenantID, purpose Purpose) (kid uint8, version int, err error) {
	if err := purpose.Check(tenant); err != nil {
		return 0, 0, err
	}
	err = r.in(ctx, tenant, func(tx *pg.Tx) error {
		err := tx.QueryRow(ctx, of(tenant, selectActive), tenant, purpose).Scan(&kid, &version)
		if pg.IsNoRows(err) {
			return ErrNotFound.Explain("tenant %d has no active key %s", tenant, purpose)
		}
		return err
	})
	return kid, version, err
}

// Keys lists every key ever announced, by purpose and kid.
func (r *Ring) Keys(ctx context.Context, tenant citygate.TenantID) ([]Key, error) {
	var all []Key
	err := r.in(ctx, tenant, func(tx *pg.Tx) (err error) {
		all, err = read(ctx, tx, of(tenant, selectKeys), tenant)
		return err
	})
	return all, err
}

func locked(ctx context.Context, tx *pg.Tx, purpose Purpose) ([]Key, error) {
	return read(ctx, tx, of(tx.Tenant, lockPurpose), tx.Tenant, purpose)
}

func read(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Key, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Key, error) {
		var k Key
		var notAfter *time.Time
		err := row.Scan(&k.Tenant, &k.Purpose, &k.KeyID, &k.Version, &k.Algorithm, &k.Public, &k.State, &k.NotBefore, &k.Expires, &notAfter, &k.PublishedAt)
		if notAfter != nil {
			k.NotIssuedAfter = notAfter.UTC()
		}
		k.NotBefore, k.Expires, k.PublishedAt = k.NotBefore.UTC(), k.Expires.UTC(), k.PublishedAt.UTC()
		return k, err
	})
}

// publish inserts a key under the next free kid.
func publish(ctx context.Context, tx *pg.Tx, actor string, purpose Purpose, v Version, from, until time.Time) (Key, error) {
	algorithm, public, err := EncodePublic(v.Public)
	if err != nil {
		return Key{}, err
	}
	for {
		ring, err := locked(ctx, tx, purpose)
		if err != nil {
			return Key{}, err
		}
		last := 0
		for _, k := range ring {
			if k.Version == v.Version {
				return k, nil
			}
			last = max(last, int(k.KeyID))
		}
		if last == 255 {
			return Key{}, ErrExhausted.Explain("purpose %s of tenant %d", purpose, tx.Tenant)
		}
		k := Key{
			Tenant: tx.Tenant, Purpose: purpose, KeyID: uint8(last + 1), Version: v.Version, Algorithm: algorithm, Public: public,
			State: bundle.Published, NotBefore: from.UTC().Truncate(time.Microsecond), Expires: until.UTC().Truncate(time.Microsecond), PublishedAt: tx.Now,
		}
		tag, err := tx.Exec(ctx, of(tx.Tenant, insertKey), k.Tenant, k.Purpose, int16(k.KeyID), k.Version, k.Algorithm, k.Public, k.State, k.NotBefore, k.Expires, k.PublishedAt)
		if err != nil {
			return Key{}, err
		}
		if tag.RowsAffected() == 1 {
			return k, audit(ctx, tx, actor, "key.publish", Key{}, k)
		}
		// Another transaction took the kid or published the version and has
		// committed: the next look shows it.
	}
}

// step moves k to the state next, if that is a step at all.
func step(ctx context.Context, tx *pg.Tx, actor string, k Key, next bundle.State, notIssuedAfter time.Time) (Key, error) {
	if !k.State.May(next) {
		return Key{}, ErrState.Explain("key %s/%d is %s and cannot become %s", k.Purpose, k.KeyID, k.State, next)
	}
	before := k
	k.State = next
	if !notIssuedAfter.IsZero() {
		k.NotIssuedAfter = notIssuedAfter.UTC().Truncate(time.Microsecond)
	}
	var limit *time.Time
	if !k.NotIssuedAfter.IsZero() {
		limit = &k.NotIssuedAfter
	}
	if _, err := tx.Exec(ctx, of(tx.Tenant, updateState), k.Tenant, k.Purpose, int16(k.KeyID), k.State, limit); err != nil {
		return Key{}, err
	}
	return k, audit(ctx, tx, actor, "key."+string(next), before, k)
}

func audit(ctx context.Context, tx *pg.Tx, actor, verb string, before, after Key) error {
	e := pg.AuditEntry{Actor: actor, Verb: verb, Object: keyName(after), After: after}
	if before.KeyID != 0 {
		e.Before = before
	}
	return tx.Audit(ctx, e)
}
