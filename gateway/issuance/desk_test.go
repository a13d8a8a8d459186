package issuance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

var epoch = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

const (
	harbour = citygate.TenantID(20)
	hill    = citygate.TenantID(21)
)

// directory runs before once when a credential is about to be reserved.
type directory struct{ before func() }

func (d *directory) ByID(_ context.Context, id citygate.TenantID) (tenants.Tenant, error) {
	if before := d.before; before != nil {
		d.before = nil
		before()
	}
	return tenants.Tenant{ID: id, Issuer: citygate.Issuer(100 + id)}, nil
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// weak is a signer that fails, or does something else first, when told to.
type weak struct {
	keys.Signer
	before func()
	fail   error
}

func (w *weak) Sign(ctx context.Context, t citygate.TenantID, p keys.Purpose, v int, m [][]byte) ([]keys.Signature, error) {
	if before := w.before; before != nil {
		w.before = nil
		before()
	}
	if w.fail != nil {
		return nil, w.fail
	}
	return w.Signer.Sign(ctx, t, p, v, m)
}

// desk is an office of two issuers with a policy.
type desk struct {
	*Office
	t      *testing.T
	clock  *clock
	signer *weak
	shelf  *directory
	maker  *maker
}

func open(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, clock: &clock{at: epoch}, shelf: &directory{}, maker: newMaker(t)}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	d.must(local.CreateKeyFile(keyFile, rand.Reader))
	s, err := local.Open(local.Config{Dir: filepath.Join(dir, "store"), KeyFile: keyFile, Random: rand.Reader, Clock: d.clock.now})
	d.must(err)
	d.signer = &weak{Signer: s}
	db := pgtest.New(t, pgtest.WithClock(d.clock.now))
	ring := keys.NewRing(db, d.signer)
	for _, tenant := range []citygate.TenantID{harbour, hill} {
		for _, p := range []keys.Purpose{keys.Credential, keys.DenyList} {
			_, err := ring.Ensure(t.Context(), "test", tenant, p, keys.Ed25519)
			d.must(err)
		}
	}
	d.Office = &Office{DB: db, Credentials: credential.New(credential.Config{DB: db, Ring: ring, Directory: d.shelf}), Random: rand.Reader, Statuses: &Statuses{MaxAge: 60 * 24 * time.Hour}}
	d.list(`{"entries":{}}`)
	d.publish(func(*Policy) {})
	return d
}

// list puts a status list that was fetched now.
func (d *desk) list(raw string) {
	d.t.Helper()
	_, err := d.Statuses.Put([]byte(raw), d.clock.now())
	d.must(err)
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) in(fn func(*pg.Tx) error) {
	d.t.Helper()
	d.must(d.DB.InTenant(d.t.Context(), harbour, fn))
}

func usual(roots string) Policy {
	return Policy{
		Phone: Limits{Cap: 60, Taps: 40, TTLHours: 168, WindowSeconds: 30}, Band: Limits{Cap: 20, Taps: 10, TTLHours: 12, WindowSeconds: 60},
		Product: 1, Concessions: []Concession{{Category: "student", Product: 2, Proof: true}, {Category: "staff", Product: 9}},
		BandsPerPhone: 1, WaitAfterLossHours: 72, AttestationRoots: roots,
	}
}

func (d *desk) publish(change func(*Policy)) {
	d.t.Helper()
	p := usual(d.maker.pem())
	change(&p)
	d.in(func(tx *pg.Tx) error { _, err := Publish(d.t.Context(), tx, "test", p); return err })
}

// device is a phone or a band in somebody's hand.
type device struct {
	p256    *ecdsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

func newPhone(t testing.TB) *device {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &device{p256: key}
}

func newBand(seed byte) *device {
	return &device{ed25519: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))}
}

func (x *device) public() []byte {
	if x.p256 != nil {
		_, key, _ := ct1.DeviceKey(&x.p256.PublicKey)
		return key
	}
	return x.ed25519[32:]
}

func (x *device) sign(t testing.TB, message []byte) []byte {
	if x.p256 == nil {
		return ed25519.Sign(x.ed25519, message)
	}
	sum := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, x.p256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// asks gives the registration of a phone for rider ref, attested.
func (d *desk) asks(x *device, ref string) Registration {
	d.t.Helper()
	challenge, _, err := d.Challenge(d.t.Context(), harbour)
	d.must(err)
	r := Registration{Contract: "pay", RiderRef: ref, Kind: Phone, Suite: ct1.SuiteP256, PublicKey: x.public(), Challenge: challenge,
		Signature: x.sign(d.t, Proof(harbour, challenge, x.public()))}
	r.Attestation = d.maker.attest(d.t, &x.p256.PublicKey, genuine(challenge))
	return r
}

func (d *desk) asksBand(x *device, phone citygate.UUID) Registration {
	d.t.Helper()
	challenge, _, err := d.Challenge(d.t.Context(), harbour)
	d.must(err)
	return Registration{Phone: phone, Kind: Band, Suite: ct1.SuiteEd25519, PublicKey: x.public(), Challenge: challenge,
		Signature: x.sign(d.t, Proof(harbour, challenge, x.public()))}
}

func (d *desk) register(r Registration) (Device, error) {
	return d.Register(d.t.Context(), "test", harbour, r)
}

func (d *desk) bind(r Registration) Device {
	d.t.Helper()
	x, err := d.register(r)
	d.must(err)
	return x
}

func (d *desk) renew(x Device) credential.Issue {
	d.t.Helper()
	issue, err := d.Renew(d.t.Context(), "test", harbour, x.ID)
	d.must(err)
	return issue
}

func (d *desk) refuses(what string, err error, want *citygate.Code) {
	d.t.Helper()
	if !errors.Is(err, want) {
		d.t.Errorf("%s: %v, want %s", what, err, want.Name)
	}
}

// shows parses a credential as a device would show it.
func (d *desk) shows(x *device, issue credential.Issue, counter uint16) (c code.Code) {
	d.t.Helper()
	var private crypto.Signer = x.ed25519
	if x.p256 != nil {
		private = x.p256
	}
	sign, err := ct1.Signer(private)
	d.must(err)
	raw, err := ct1.Display(issue.Credential, ct1.Dynamic{GeneratedAt: d.clock.now().Unix(), Counter: counter, Party: 1}, sign)
	d.must(err)
	d.must(ct1.Scheme{}.Parse(raw, &c))
	return c
}

// denied gives the riders on the tenant's deny lists as they are published now.
func (d *desk) denied() map[citygate.Rider]bool {
	d.t.Helper()
	out := map[citygate.Rider]bool{}
	d.in(func(tx *pg.Tx) error {
		rows, err := tx.Query(d.t.Context(), `SELECT list, idx FROM deny_entries WHERE tenant_id = $1 AND lifted_at IS NULL AND list IS NOT NULL`, tx.Tenant)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := citygate.Rider{Issuer: 120}
			if err := rows.Scan(&r.List, &r.Index); err != nil {
				return err
			}
			out[r] = true
		}
		return rows.Err()
	})
	return out
}
