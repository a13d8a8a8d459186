package fleet_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	harbour = citygate.TenantID(20) // issues codes
	hillsid = citygate.TenantID(21) // issues codes
	metro   = citygate.TenantID(22) // issues none
	actor   = "test"
)

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func public(seed string) crypto.PublicKey {
	sum := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:]).Public()
}

func gate(id uint32) fleet.Terminal {
	return fleet.Terminal{ID: id, Name: fmt.Sprintf("gate %d", id), Kind: fleet.Gate, Mode: fleet.OnOff, Stop: "Admiralty"}
}

func in(t *testing.T, db *pg.DB, tenant citygate.TenantID, fn func(tx *pg.Tx) error) {
	t.Helper()
	if err := db.InTenant(t.Context(), tenant, fn); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err error, code *citygate.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("%s: %v, want %s", what, err, code.Name)
	}
}

func TestEnrolTwiceIsEnrolOnce(t *testing.T) {
	db := pgtest.New(t)
	f, ctx := fleet.New(db), t.Context()
	first, err := f.Enrol(ctx, actor, metro, gate(7), public("a"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Enrol(ctx, actor, metro, gate(7), public("a"))
	if err != nil || again.ID != 7 || !again.EnrolledAt.Equal(first.EnrolledAt) {
		t.Errorf("enrolled again: %+v, %v", again, err)
	}
	unnumbered, err := f.Enrol(ctx, actor, metro, gate(0), public("a"))
	if err != nil || unnumbered.ID != 7 {
		t.Errorf("the reply was lost and the terminal enrols without a number: %d, %v", unnumbered.ID, err)
	}
	_, err = f.Enrol(ctx, actor, metro, gate(7), public("b"))
	want(t, "another key under the number", err, fleet.ErrConflict)
	_, err = f.Enrol(ctx, actor, metro, gate(8), public("a"))
	want(t, "another number for the key", err, fleet.ErrConflict)
	other := gate(7)
	other.Mode = fleet.Single
	_, err = f.Enrol(ctx, actor, metro, other, public("a"))
	want(t, "another mode", err, fleet.ErrConflict)
	next, err := f.Enrol(ctx, actor, metro, gate(0), public("c"))
	if err != nil || next.ID != 8 {
		t.Errorf("the next number is %d, %v", next.ID, err)
	}
	if got, err := f.Enrol(ctx, actor, harbour, gate(7), public("b")); err != nil || got.ID != 7 {
		t.Errorf("numbers are per tenant: %d, %v", got.ID, err)
	}
	var n int
	in(t, db, metro, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = 'terminal.enrol'`, metro).Scan(&n)
	})
	if n != 2 {
		t.Errorf("%d enrolments audited, want 2", n)
	}
}

func TestManyEnrolAtOnce(t *testing.T) {
	db := pgtest.New(t)
	f := fleet.New(db)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := f.Enrol(t.Context(), actor, metro, gate(0), public(fmt.Sprint(i))); err != nil {
				t.Errorf("Enrol: %v", err)
			}
		})
	}
	wg.Wait()
	in(t, db, metro, func(tx *pg.Tx) error {
		all, err := fleet.List(t.Context(), tx, 0, 100)
		if len(all) != 8 || all[7].ID != 8 {
			t.Errorf("terminals %v", all)
		}
		return err
	})
}

func TestTerminalsKeepWhatTheySaid(t *testing.T) {
	db := pgtest.New(t)
	f, ctx := fleet.New(db), t.Context()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Enrol(ctx, actor, metro, gate(1), &private.PublicKey); err != nil {
		t.Fatal(err)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		_, first := fleet.Reported(ctx, tx, 1, fleet.Report{Software: "v2"})
		_, second := fleet.Reported(ctx, tx, 1, fleet.Report{Software: "v3"})
		return errors.Join(first, second, fleet.Offset(ctx, tx, 1, -time.Hour))
	})
	if err := f.SetState(ctx, actor, metro, 1, fleet.Suspended); err != nil {
		t.Fatal(err)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		got, err := fleet.Get(ctx, tx, 1)
		if err != nil {
			return err
		}
		if got.BundleFloor != 0 || got.SeenAt.IsZero() || got.Software != "v3" || got.State != fleet.Suspended || got.ClockOffset == nil || *got.ClockOffset != -time.Hour {
			t.Errorf("got %+v", got)
		}
		if k, err := got.Key(); err != nil || !private.PublicKey.Equal(k) {
			t.Errorf("the key is %v, %v", k, err)
		}
		_, err = fleet.Get(ctx, tx, 2)
		want(t, "a terminal that is not there", err, fleet.ErrNotFound)
		return nil
	})
	in(t, db, hillsid, func(tx *pg.Tx) error {
		_, err := fleet.Get(ctx, tx, 1)
		want(t, "another tenant's terminal", err, fleet.ErrNotFound)
		return nil
	})
	want(t, "suspend nothing", f.SetState(ctx, actor, metro, 5, fleet.Suspended), fleet.ErrNotFound)
}

func TestAFlagKeepsItsFirstCase(t *testing.T) {
	c := &clock{at: start}
	db := pgtest.New(t, pgtest.WithClock(c.now))
	f, ctx := fleet.New(db), t.Context()
	if _, err := f.Enrol(ctx, actor, metro, gate(1), public("a")); err != nil {
		t.Fatal(err)
	}
	raise := func(detail string) {
		t.Helper()
		in(t, db, metro, func(tx *pg.Tx) error { return fleet.Raise(ctx, tx, 1, fleet.SequenceConflict, detail) })
	}
	flag := func() fleet.Raised {
		t.Helper()
		var flags []fleet.Raised
		in(t, db, metro, func(tx *pg.Tx) (err error) {
			flags, err = fleet.Flags(ctx, tx, 1)
			return err
		})
		if len(flags) != 1 {
			t.Fatalf("flags %v", flags)
		}
		return flags[0]
	}
	raise("first")
	c.move(time.Hour)
	raise("second")
	if r := flag(); r.Detail != "first" || r.Times != 2 || !r.Since.Equal(start) || !r.LastSeen.Equal(c.now()) {
		t.Errorf("raised twice: %+v", r)
	}
	if err := f.Clear(ctx, actor, metro, 1, fleet.SequenceConflict); err != nil {
		t.Fatal(err)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		standing, err := fleet.Flags(ctx, tx)
		if len(standing) != 0 {
			t.Errorf("cleared and still standing: %v", standing)
		}
		return err
	})
	c.move(time.Hour)
	raise("third")
	if r := flag(); r.Detail != "third" || !r.Since.Equal(c.now()) || !r.Cleared.IsZero() {
		t.Errorf("raised after it was cleared: %+v", r)
	}
	err := db.InTenant(ctx, metro, func(tx *pg.Tx) error { return fleet.Raise(ctx, tx, 99, fleet.BatchGap, "") })
	want(t, "flag a terminal that is not there", err, fleet.ErrNotFound)
}

// owners sets up an operator with two owners, a driver and a default payee.
func owners(t *testing.T, db *pg.DB) *fleet.Fleet {
	t.Helper()
	f := fleet.New(db)
	err := f.PutPayees(t.Context(), actor, metro,
		fleet.Payee{ID: "house", Kind: fleet.Operator, Name: "Metro", Default: true},
		fleet.Payee{ID: "ann", Kind: fleet.Owner, Name: "Ann", Account: "1"},
		fleet.Payee{ID: "bea", Kind: fleet.Owner, Name: "Bea", Account: "2"},
		fleet.Payee{ID: "dan", Kind: fleet.Driver, Name: "Dan", Account: "3"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMoneyFollowsTheAssignmentOfThatInstant(t *testing.T) {
	db := pgtest.New(t)
	f, ctx := owners(t, db), t.Context()
	bus := fleet.Subject{Kind: fleet.OfVehicle, ID: "bus1"}
	driver := fleet.Subject{Kind: fleet.OfDriver, ID: "d9"}
	// Sold from Ann to Bea after an hour, laid up after two; recorded in any order.
	err := f.Assign(ctx, actor, metro,
		fleet.Assignment{Subject: bus, Payee: "bea", From: start.Add(time.Hour)},
		fleet.Assignment{Subject: bus, Payee: "ann", From: start},
		fleet.Assignment{Subject: bus, Payee: "", From: start.Add(2 * time.Hour)},
		fleet.Assignment{Subject: driver, Payee: "dan", From: start})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		ride  fleet.Ride
		payee string
	}{
		{fleet.Ride{Vehicle: "bus1", At: start.Add(-time.Microsecond)}, "house"},
		{fleet.Ride{Vehicle: "bus1", At: start}, "ann"},
		{fleet.Ride{Vehicle: "bus1", At: start.Add(time.Hour - time.Microsecond)}, "ann"},
		{fleet.Ride{Vehicle: "bus1", At: start.Add(time.Hour)}, "bea"},
		{fleet.Ride{Vehicle: "bus1", At: start.Add(3 * time.Hour)}, "house"},
		{fleet.Ride{Vehicle: "bus2", At: start}, "house"},
		{fleet.Ride{Vehicle: "d9", At: start}, "house"}, // a vehicle with a driver's name
		{fleet.Ride{At: start}, "house"},
		{fleet.Ride{Vehicle: "bus1", Driver: "d9", At: start}, "dan"},
		{fleet.Ride{Vehicle: "bus1", Driver: "d8", At: start}, "ann"},
		{fleet.Ride{Vehicle: "bus1", Driver: "d9", At: start.Add(-time.Hour)}, "house"},
	}
	var rides []fleet.Ride
	for _, c := range cases {
		rides = append(rides, c.ride)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		got, err := fleet.PayeesAt(ctx, tx, rides)
		if err != nil {
			return err
		}
		for i, c := range cases {
			if got[i] != c.payee {
				t.Errorf("%+v is paid to %s, want %s", c.ride, got[i], c.payee)
			}
		}
		one, err := fleet.PayeeAt(ctx, tx, rides[3])
		if one != "bea" {
			t.Errorf("PayeeAt = %s", one)
		}
		return err
	})
	in(t, db, hillsid, func(tx *pg.Tx) error {
		_, err := fleet.PayeesAt(ctx, tx, rides)
		want(t, "another tenant", err, fleet.ErrNoPayee)
		return nil
	})
}

func TestAssigningTwiceChangesNothing(t *testing.T) {
	db := pgtest.New(t)
	f, ctx := owners(t, db), t.Context()
	bus := fleet.Subject{Kind: fleet.OfVehicle, ID: "bus1"}
	a := fleet.Assignment{Subject: bus, Payee: "ann", From: start.Add(123 * time.Nanosecond)}
	for range 2 {
		if err := f.Assign(ctx, actor, metro, a); err != nil {
			t.Fatal(err)
		}
	}
	b := a
	b.Payee = "bea"
	want(t, "somebody else from the same instant", f.Assign(ctx, actor, metro, b), fleet.ErrConflict)
	b.Payee, b.From = "nobody", start.Add(time.Hour)
	want(t, "a payee that is not there", f.Assign(ctx, actor, metro, b), fleet.ErrNotFound)
	want(t, "another tenant's payee", f.Assign(ctx, actor, hillsid, a), fleet.ErrNotFound)
	// Half of a batch that conflicts is not kept.
	err := f.Assign(ctx, actor, metro,
		fleet.Assignment{Subject: fleet.Subject{Kind: fleet.OfVehicle, ID: "bus5"}, Payee: "ann", From: start},
		fleet.Assignment{Subject: bus, Payee: "bea", From: a.From})
	want(t, "a batch with a conflict", err, fleet.ErrConflict)
	in(t, db, metro, func(tx *pg.Tx) error {
		got, err := fleet.PayeesAt(ctx, tx, []fleet.Ride{{Vehicle: "bus5", At: start}, {Vehicle: "bus1", At: start.Add(time.Second)}})
		if err == nil && (got[0] != "house" || got[1] != "ann") {
			t.Errorf("payees %v", got)
		}
		return err
	})
}

func TestPayeesChangeAccountsNotNature(t *testing.T) {
	db := pgtest.New(t)
	f, ctx := owners(t, db), t.Context()
	ann := fleet.Payee{ID: "ann", Kind: fleet.Owner, Name: "Ann", Account: "99", BankID: "B"}
	if err := f.PutPayees(ctx, actor, metro, ann); err != nil {
		t.Fatal(err)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		all, err := fleet.Payees(ctx, tx, "", 10)
		if err != nil || len(all) != 4 || all[0] != ann {
			t.Errorf("payees %+v", all)
		}
		page, err := fleet.Payees(ctx, tx, "ann", 2)
		if err != nil || len(page) != 2 || page[0].ID != "bea" || page[1].ID != "dan" {
			t.Errorf("two payees after ann: %+v, %v", page, err)
		}
		var before string
		err = errors.Join(err, tx.QueryRow(ctx, `SELECT before->>'Account' FROM audit_log WHERE tenant_id = $1 AND object = 'payee:ann' AND before IS NOT NULL`, metro).Scan(&before))
		if before != "1" {
			t.Errorf("the audit log remembers the account %q", before)
		}
		return err
	})
	ann.Kind = fleet.Driver
	want(t, "another kind", f.PutPayees(ctx, actor, metro, ann), fleet.ErrConflict)
	want(t, "a second default", f.PutPayees(ctx, actor, metro, fleet.Payee{ID: "x", Kind: fleet.Operator, Name: "X", Default: true}), fleet.ErrConflict)
	want(t, "an account name that breaks the ledger", f.PutPayees(ctx, actor, metro, fleet.Payee{ID: "a:b", Kind: fleet.Owner, Name: "X"}), fleet.ErrInvalid)
}

func TestVehiclesAreReplacedByName(t *testing.T) {
	db := pgtest.New(t)
	f, ctx := fleet.New(db), t.Context()
	for _, plate := range []string{"AB 1", "AB 2"} {
		if err := f.PutVehicles(ctx, actor, metro, fleet.Vehicle{ID: "bus1", Kind: fleet.Bus, Plate: plate}); err != nil {
			t.Fatal(err)
		}
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		got, err := fleet.Vehicles(ctx, tx, "", 10)
		if len(got) != 1 || got[0].Plate != "AB 2" {
			t.Errorf("vehicles %v", got)
		}
		if after, err := fleet.Vehicles(ctx, tx, "bus1", 10); err != nil || len(after) != 0 {
			t.Errorf("behind the last vehicle: %v, %v", after, err)
		}
		return err
	})
	in(t, db, hillsid, func(tx *pg.Tx) error {
		got, err := fleet.Vehicles(ctx, tx, "", 10)
		if len(got) != 0 {
			t.Errorf("another tenant sees %v", got)
		}
		return err
	})
	v := fleet.Vehicle{ID: "x", Kind: fleet.Bus}
	want(t, "one vehicle twice", f.PutVehicles(ctx, actor, metro, v, v), fleet.ErrInvalid)
}

// city is two issuers and an operator with keys, and a publisher.
func city(t *testing.T) (*fleet.Publisher, *keys.Ring, *pg.DB, *clock) {
	t.Helper()
	p, ring, db, c := cityWithoutRoots(t)
	if _, err := p.EnsureRoots(t.Context(), actor); err != nil {
		t.Fatal(err)
	}
	return p, ring, db, c
}

func cityWithoutRoots(t *testing.T) (*fleet.Publisher, *keys.Ring, *pg.DB, *clock) {
	t.Helper()
	c := &clock{at: start}
	db := pgtest.New(t, pgtest.WithClock(c.now))
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		t.Fatal(err)
	}
	store, err := local.Open(local.Config{Dir: filepath.Join(dir, "store"), KeyFile: keyFile, Random: rand.Reader, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	ring, directory, ctx := keys.NewRing(db, store), tenants.NewDirectory(db, c.now), t.Context()
	for _, x := range []tenants.Tenant{
		{ID: harbour, Slug: "harbour", Name: "Harbour City", Kind: tenants.Authority, Issuer: 7, Currency: "CNY", CapUnit: 50},
		{ID: hillsid, Slug: "hillside", Name: "Hillside", Kind: tenants.Authority, Issuer: 8, Currency: "HKD", CapUnit: 10},
		{ID: metro, Slug: "metro", Name: "Metro", Kind: tenants.Metro, Parent: harbour, Currency: "CNY"},
	} {
		x.Mode, x.TimeZone, x.CutMinutes = tenants.Sandbox, "Asia/Hong_Kong", 240
		if err := directory.Create(ctx, actor, x); err != nil {
			t.Fatal(err)
		}
		for _, p := range []keys.Purpose{keys.Credential, keys.DenyList, keys.Policy, keys.Audit} {
			if _, err := ring.Ensure(ctx, actor, x.ID, p, keys.Ed25519); err != nil {
				t.Fatal(err)
			}
		}
	}
	return fleet.NewPublisher(db, ring, directory), ring, db, c
}

func open(t *testing.T, p *fleet.Publisher, b fleet.Published, c *clock) *bundle.Bundle {
	t.Helper()
	roots, err := p.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := bundle.Open(b.Body, roots.Roots, int(roots.Threshold), c.now().Unix(), b.Version)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPublishedBundleOpensAndFollows(t *testing.T) {
	p, ring, _, c := city(t)
	ctx := t.Context()
	_, err := p.Latest(ctx, metro)
	want(t, "before the first", err, fleet.ErrNoBundle)
	profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{hillsid, harbour, harbour}, Policy: fleet.Policy{Version: 3, Body: []byte("rules")}, MaxTTLHours: 72}
	first, err := p.Publish(ctx, actor, profile)
	if err != nil || first.Version != 1 {
		t.Fatalf("Publish = %d, %v", first.Version, err)
	}
	held := open(t, p, first, c)
	if _, reason := held.IssuerKey(7, 1, c.now().Unix()); reason != "" {
		t.Errorf("the issuer's key: %s", reason)
	}
	if _, reason := held.DenyKey(8, 1); reason != "" {
		t.Errorf("the issuer's deny list key: %s", reason)
	}
	if policy, version, ok := held.PolicyFor(metro); !ok || string(policy) != "rules" || version != 3 {
		t.Errorf("the policy: %q %d %t", policy, version, ok)
	}
	if home, ok := held.Home(); !ok || home.ID != metro {
		t.Errorf("home is %v", home)
	}
	// harbour and hillside: credential, deny list and policy; metro: policy alone. Of
	// each the one that signs and the next one.
	if len(held.Keys) != 14 || len(held.Tenants) != 3 {
		t.Errorf("%d keys of %d tenants", len(held.Keys), len(held.Tenants))
	}

	again, err := p.Publish(ctx, actor, profile)
	if err != nil || again.Version != 1 || again.ETag != first.ETag {
		t.Errorf("published twice: %d, %v", again.Version, err)
	}
	if _, err := ring.Revoke(ctx, actor, hillsid, keys.Credential, 1); err != nil {
		t.Fatal(err)
	}
	c.move(time.Minute)
	second, err := p.Publish(ctx, actor, profile)
	if err != nil || second.Version != 2 {
		t.Fatalf("published after a revocation: %d, %v", second.Version, err)
	}
	next, err := held.Follow(second.Body, c.now().Unix())
	if err != nil {
		t.Fatalf("the next bundle does not follow: %v", err)
	}
	if _, reason := next.IssuerKey(8, 1, c.now().Unix()); reason != "key_revoked" {
		t.Errorf("a revoked key: %q", reason)
	}
	if latest, err := p.Latest(ctx, metro); err != nil || latest.ETag != second.ETag || latest.Version != 2 {
		t.Errorf("Latest = %d, %v", latest.Version, err)
	}
	_, err = p.Latest(ctx, harbour)
	want(t, "another tenant's bundle", err, fleet.ErrNoBundle)
	c.move(8 * 24 * time.Hour)
	if third, err := p.Publish(ctx, actor, profile); err != nil || third.Version != 3 {
		t.Errorf("unchanged for more than a week: %d, %v", third.Version, err)
	}
}

func TestPublishersAtOnceMakeOneChain(t *testing.T) {
	p, _, db, c := city(t)
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}, Policy: fleet.Policy{Version: uint64(i + 1), Body: []byte{byte(i)}}}
			if _, err := p.Publish(ctx, actor, profile); err != nil {
				t.Errorf("Publish: %v", err)
			}
		})
	}
	wg.Wait()
	var bodies [][]byte
	in(t, db, metro, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `SELECT array_agg(body ORDER BY version) FROM bundles WHERE tenant_id = $1`, metro).Scan(&bodies)
	})
	if len(bodies) != 4 {
		t.Fatalf("%d bundles, want 4", len(bodies))
	}
	held := open(t, p, fleet.Published{Version: 1, Body: bodies[0]}, c)
	for _, raw := range bodies[1:] {
		var err error
		if held, err = held.Follow(raw, c.now().Unix()); err != nil {
			t.Fatalf("the chain breaks at %d: %v", held.Version(), err)
		}
	}
}

func TestABundleThatTrustsNobodyIsNotPublished(t *testing.T) {
	p, _, _, _ := city(t)
	_, err := p.Publish(t.Context(), actor, fleet.Profile{Operator: metro})
	want(t, "no issuer accepted", err, bundle.ErrEmpty)
}
