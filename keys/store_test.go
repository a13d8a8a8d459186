package keys_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	harbour = citygate.TenantID(20)
	hillsid = citygate.TenantID(21)
	actor   = "test"
)

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

func ring(t *testing.T) (*keys.Ring, *pg.DB, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2026, 11, 21, 8, 0, 0, 500, time.UTC)}
	db := pgtest.New(t, pgtest.WithClock(c.now))
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(local.Config{Dir: filepath.Join(dir, "store"), KeyFile: keyFile, Random: rand.Reader, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return keys.NewRing(db, s), db, c
}

func must(t *testing.T) func(k keys.Key, err error) keys.Key {
	return func(k keys.Key, err error) keys.Key {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

func audited(t *testing.T, db *pg.DB, tenant citygate.TenantID, verb string) int {
	t.Helper()
	n := 0
	err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = $2`, tenant, verb).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// first gives a tenant an active key and no next one, as tenants have from before
// next keys were made with the first.
func first(t *testing.T, r *keys.Ring, at time.Time, purpose keys.Purpose) keys.Key {
	t.Helper()
	if err := r.Signer().Create(t.Context(), harbour, purpose, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	must(t)(r.Publish(t.Context(), actor, harbour, purpose, 1, at, at.Add(keys.DefaultLife)))
	return must(t)(r.Activate(t.Context(), actor, harbour, purpose, 1))
}

func TestEnsureTwiceIsEnsureOnce(t *testing.T) {
	r, db, _ := ring(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := r.Ensure(t.Context(), actor, harbour, keys.Credential, keys.Ed25519); err != nil {
				t.Errorf("Ensure: %v", err)
			}
		})
	}
	wg.Wait()
	k := must(t)(r.Ensure(t.Context(), actor, harbour, keys.Credential, keys.Ed25519))
	if k.KeyID != 1 || k.Version != 1 || k.State != bundle.Active || k.NotBefore.After(k.PublishedAt) {
		t.Errorf("Ensure gives %+v", k)
	}
	all, err := r.Keys(t.Context(), harbour)
	if err != nil || len(all) != 2 || all[1].KeyID != 2 || all[1].Version != 2 || all[1].State != bundle.Published {
		t.Errorf("Keys = %v, %v; want the next key beside the first", all, err)
	}
	if p, a := audited(t, db, harbour, "key.publish"), audited(t, db, harbour, "key.active"); p != 2 || a != 1 {
		t.Errorf("audited %d publications and %d activations, want two and one", p, a)
	}
}

// Calls that run at once may each have the signer make a version: whoever
// publishes takes the same two, and the next rotation takes the one that is over.
func TestEnsureTakesTheOldestVersions(t *testing.T) {
	r, _, c := ring(t)
	ctx := t.Context()
	if err := r.Signer().Create(ctx, harbour, keys.Credential, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Signer().Rotate(ctx, harbour, keys.Credential); err != nil {
			t.Fatal(err)
		}
	}
	if k := must(t)(r.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519)); k.Version != 1 {
		t.Errorf("Ensure gives version %d of three unpublished ones, want 1", k.Version)
	}
	if k := must(t)(r.EnsureNext(ctx, actor, harbour, keys.Credential)); k.Version != 2 {
		t.Errorf("the next key is version %d, want 2", k.Version)
	}
	if k := must(t)(r.Rotate(ctx, actor, harbour, keys.Credential, c.now(), c.now().Add(keys.DefaultLife))); k.Version != 3 {
		t.Errorf("Rotate gives version %d, want the third, which is over", k.Version)
	}
}

// An active key is enough: the signer may be away. Another installation's signer
// is noticed.
func TestEnsureDoesNotNeedTheSigner(t *testing.T) {
	r, db, _ := ring(t)
	ctx := t.Context()
	made := must(t)(r.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519))
	away := keys.NewRing(db, awaySigner{})
	if k := must(t)(away.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519)); k.KeyID != made.KeyID || k.Version != made.Version {
		t.Errorf("Ensure without a signer gives %+v", k)
	}
	if _, err := away.Ensure(ctx, actor, harbour, keys.Credential, keys.P256); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("Ensure with another algorithm: %v, want keys.conflict", err)
	}
	if _, err := away.Ensure(ctx, actor, harbour, keys.Policy, keys.Ed25519); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("Ensure of a new key without a signer: %v, want keys.unavailable", err)
	}
	if err := away.Confirm(ctx, harbour, keys.Credential); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("Confirm without a signer: %v, want keys.unavailable", err)
	}
	if err := r.Confirm(ctx, harbour, keys.Credential); err != nil {
		t.Errorf("Confirm: %v", err)
	}
	other, _, _ := ring(t)
	strange := keys.NewRing(db, other.Signer())
	if err := strange.Confirm(ctx, harbour, keys.Credential); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("Confirm with a signer that has no such key: %v, want keys.conflict", err)
	}
	if err := other.Signer().Create(ctx, harbour, keys.Credential, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	if err := strange.Confirm(ctx, harbour, keys.Credential); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("Confirm with a signer that has another key: %v, want keys.conflict", err)
	}
}

// awaySigner cannot be asked.
type awaySigner struct{ keys.Signer }

var errAway = &keys.Unavailable{Reason: keys.Down, After: time.Second}

func (awaySigner) Create(context.Context, citygate.TenantID, keys.Purpose, keys.Algorithm) error {
	return errAway
}

func (awaySigner) Versions(context.Context, citygate.TenantID, keys.Purpose) ([]keys.Version, error) {
	return nil, errAway
}

func TestRotationNeverSignsWithAKeyNobodyKnows(t *testing.T) {
	r, _, c := ring(t)
	ctx := t.Context()
	old := first(t, r, c.now(), keys.Credential)
	from := c.now().Add(24 * time.Hour)
	next := must(t)(r.Rotate(ctx, actor, harbour, keys.Credential, from, from.Add(keys.DefaultLife)))
	if next.KeyID != 2 || next.Version != 2 || next.State != bundle.Published {
		t.Fatalf("Rotate gives %+v", next)
	}
	if kid, version, err := r.Active(ctx, harbour, keys.Credential); err != nil || kid != 1 || version != 1 {
		t.Errorf("between publication and activation kid %d version %d signs (%v)", kid, version, err)
	}
	if _, err := r.Activate(ctx, actor, harbour, keys.Credential, 2); !errors.Is(err, keys.ErrNotYet) {
		t.Errorf("activated before its start: %v", err)
	}
	c.move(25 * time.Hour)
	must(t)(r.Activate(ctx, actor, harbour, keys.Credential, 2))
	if kid, version, err := r.Active(ctx, harbour, keys.Credential); err != nil || kid != 2 || version != 2 {
		t.Errorf("after activation kid %d version %d signs (%v)", kid, version, err)
	}
	all, err := r.Keys(ctx, harbour)
	if err != nil || all[0].KeyID != old.KeyID || all[0].State != bundle.Retiring || !all[0].NotIssuedAfter.IsZero() {
		t.Errorf("the old key is %+v (%v)", all[0], err)
	}
}

func TestRotateRepeatedUsesTheVersionItMade(t *testing.T) {
	r, _, c := ring(t)
	ctx := t.Context()
	first(t, r, c.now(), keys.DenyList)
	if _, err := r.Signer().Rotate(ctx, harbour, keys.DenyList); err != nil { // and then the process died
		t.Fatal(err)
	}
	k := must(t)(r.Rotate(ctx, actor, harbour, keys.DenyList, c.now(), c.now().Add(time.Hour)))
	if k.Version != 2 {
		t.Errorf("Rotate published version %d, want the one that was left, 2", k.Version)
	}
	again := must(t)(r.Publish(ctx, actor, harbour, keys.DenyList, 2, c.now(), c.now().Add(time.Hour)))
	if again.KeyID != k.KeyID {
		t.Errorf("one version has the kids %d and %d", k.KeyID, again.KeyID)
	}
}

func TestIllegalStepsAreRefused(t *testing.T) {
	r, _, c := ring(t)
	ctx := t.Context()
	p := keys.Credential
	first(t, r, c.now(), p)
	must(t)(r.Rotate(ctx, actor, harbour, p, c.now(), c.now().Add(time.Hour)))
	refused := func(what string, err error, want *citygate.Code) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", what, err, want.Name)
		}
	}
	_, err := r.Activate(ctx, actor, harbour, p, 1)
	refused("activate the active key", err, keys.ErrState)
	_, err = r.Retire(ctx, actor, harbour, p, 2, time.Time{})
	refused("retire a published key", err, keys.ErrState)
	_, err = r.Activate(ctx, actor, harbour, p, 9)
	refused("activate a key that is not there", err, keys.ErrNotFound)
	must(t)(r.Revoke(ctx, actor, harbour, p, 1))
	for what, step := range map[string]func() (keys.Key, error){
		"activate": func() (keys.Key, error) { return r.Activate(ctx, actor, harbour, p, 1) },
		"retire":   func() (keys.Key, error) { return r.Retire(ctx, actor, harbour, p, 1, time.Time{}) },
		"revoke":   func() (keys.Key, error) { return r.Revoke(ctx, actor, harbour, p, 1) },
	} {
		_, err := step()
		refused(what+" a revoked key", err, keys.ErrState)
	}
	_, _, err = r.Active(ctx, harbour, p)
	refused("sign with nothing active", err, keys.ErrNotFound)
	_, err = r.Ensure(ctx, actor, harbour, p, keys.Ed25519)
	refused("ensure after the last key was revoked", err, keys.ErrState)
	c.move(2 * time.Hour)
	_, err = r.Activate(ctx, actor, harbour, p, 2)
	refused("activate an expired key", err, keys.ErrNotYet)
	_, err = r.Publish(ctx, actor, harbour, p, 7, c.now(), c.now().Add(time.Hour))
	refused("publish a version that is not there", err, keys.ErrNotFound)
}

func TestRetireKeepsTheGoodPastOfAStolenKey(t *testing.T) {
	r, _, c := ring(t)
	must(t)(r.Ensure(t.Context(), actor, harbour, keys.Credential, keys.Ed25519))
	k := must(t)(r.Retire(t.Context(), actor, harbour, keys.Credential, 1, c.now()))
	entry := k.Entry(7)
	if entry.NotIssuedAfter != c.now().Unix() || entry.State != bundle.Retiring || entry.Usage != bundle.ForCredential {
		t.Errorf("the bundle says %+v", entry)
	}
	k = must(t)(r.Revoke(t.Context(), actor, harbour, keys.Credential, 1))
	if k.NotIssuedAfter.IsZero() {
		t.Error("revoking forgot what retiring said")
	}
}

func TestTenantsAndPlatformDoNotMeet(t *testing.T) {
	r, db, _ := ring(t)
	ctx := t.Context()
	must(t)(r.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519))
	root := must(t)(r.Ensure(ctx, actor, keys.Platform, keys.Root, keys.Ed25519))
	if root.Tenant != keys.Platform || root.State != bundle.Active {
		t.Errorf("the root key is %+v", root)
	}
	if all, err := r.Keys(ctx, hillsid); err != nil || len(all) != 0 {
		t.Errorf("another tenant sees %v, %v", all, err)
	}
	if _, _, err := r.Active(ctx, hillsid, keys.Credential); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("another tenant signs: %v", err)
	}
	if all, err := r.Keys(ctx, keys.Platform); err != nil || len(all) != 1 {
		t.Errorf("the platform has %v, %v", all, err)
	}
	if _, err := r.Ensure(ctx, actor, harbour, keys.Root, keys.Ed25519); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("a tenant has a root key: %v", err)
	}
	err := db.InTenant(ctx, hillsid, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE tenant_keys SET state = 'revoked' WHERE tenant_id = $1`, harbour)
		return err
	})
	if kid, _, activeErr := r.Active(ctx, harbour, keys.Credential); err != nil || activeErr != nil || kid != 1 {
		t.Errorf("another tenant revoked a key: %v, %v", err, activeErr)
	}
	err = db.InTenant(ctx, harbour, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE tenant_keys SET public_key = '\x00' WHERE tenant_id = $1`, harbour)
		return err
	})
	if pg.SQLState(err) != pg.StateInsufficientRights {
		t.Errorf("an announced key can be exchanged: %v", err)
	}
}

func TestKidsRunOutInsteadOfRepeating(t *testing.T) {
	r, db, c := ring(t)
	ctx := t.Context()
	must(t)(r.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519))
	err := db.InTenant(ctx, harbour, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO tenant_keys (tenant_id, purpose, kid, version, algorithm, public_key, state, not_before, expires, published_at)
			VALUES ($1, 'credential', 255, 99, 'ed25519', '\x01', 'revoked', $2, $3, $2)`, harbour, tx.Now, tx.Now.Add(time.Hour))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(ctx, actor, harbour, keys.Credential, c.now(), c.now().Add(time.Hour)); !errors.Is(err, keys.ErrExhausted) {
		t.Errorf("the 256th key: %v", err)
	}
}

// digestless is a signer that signs messages only.
type digestless struct{ keys.Signer }

func TestCryptoSignerSaysWhatItCannotDo(t *testing.T) {
	r, _, _ := ring(t)
	ctx := context.WithoutCancel(t.Context())
	p := keys.ProviderPurpose("x")
	if err := r.Signer().Create(ctx, harbour, p, keys.P256); err != nil {
		t.Fatal(err)
	}
	s, err := keys.CryptoSigner(ctx, digestless{r.Signer()}, harbour, p, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("a digest was signed by a signer of messages: %v", err)
	}
}

// A stolen key: what it signed before stays good, a key that was ready signs on,
// and nobody needs the signer.
func TestEmergency(t *testing.T) {
	r, db, c := ring(t)
	ctx := t.Context()
	p := keys.Credential
	first(t, r, c.now(), p)
	must(t)(r.Rotate(ctx, actor, harbour, p, c.now().Add(-time.Hour), c.now().Add(time.Hour)))
	must(t)(r.Rotate(ctx, actor, harbour, p, c.now().Add(time.Hour), c.now().Add(2*time.Hour))) // not yet
	away := keys.NewRing(db, awaySigner{})
	since := c.now().Add(-time.Minute)
	if _, _, err := away.Emergency(ctx, actor, harbour, p, 1, since, ""); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("without a reason: %v", err)
	}
	stolen, next, err := away.Emergency(ctx, actor, harbour, p, 1, since, "laptop stolen")
	if err != nil || stolen.State != bundle.Retiring || stolen.Entry(7).NotIssuedAfter != since.Unix() {
		t.Errorf("the stolen key is %+v, %v", stolen, err)
	}
	if next.KeyID != 2 || next.State != bundle.Active {
		t.Errorf("next signs %+v", next)
	}
	// The theft was earlier than thought: the limit comes closer, never farther.
	stolen, next, err = away.Emergency(ctx, actor, harbour, p, 1, since.Add(-time.Hour), "an hour earlier")
	if err != nil || stolen.Entry(7).NotIssuedAfter != since.Add(-time.Hour).Unix() || next.KeyID != 0 {
		t.Errorf("with an earlier limit: %+v, %v", stolen, err)
	}
	stolen, _, err = away.Emergency(ctx, actor, harbour, p, 1, since, "a mistake")
	if err != nil || stolen.Entry(7).NotIssuedAfter != since.Add(-time.Hour).Unix() {
		t.Errorf("the limit went back: %+v, %v", stolen, err)
	}
	// Everything it signed is worthless. Nothing is ready: the caller is told.
	stolen, next, err = away.Emergency(ctx, actor, harbour, p, 2, time.Time{}, "all of it")
	if err != nil || stolen.State != bundle.Revoked || next.KeyID != 0 {
		t.Errorf("revoked: %+v, %+v, %v", stolen, next, err)
	}
	if stolen, _, err = away.Emergency(ctx, actor, harbour, p, 3, since, "never used"); err != nil || stolen.State != bundle.Revoked {
		t.Errorf("a key that never signed: %+v, %v", stolen, err)
	}
	if _, _, err := away.Emergency(ctx, actor, harbour, p, 3, since, "again"); !errors.Is(err, keys.ErrState) {
		t.Errorf("a revoked key: %v, want keys.state", err)
	}
	if n := audited(t, db, harbour, "key.emergency"); n != 5 {
		t.Errorf("%d emergencies in the audit log, want 5", n)
	}
}

// A tenant whose first key was made when next keys were not gets them: each
// purpose that key sets announce, once, and whoever cannot reach the signer learns
// nothing of tenants that lack none.
func TestEnsureNextOf(t *testing.T) {
	r, db, c := ring(t)
	ctx := t.Context()
	first(t, r, c.now(), keys.Credential)
	first(t, r, c.now(), keys.Audit)
	first(t, r, c.now(), keys.ProviderPurpose("x")) // no key set has it
	first(t, r, c.now(), keys.Explain)
	must(t)(r.Revoke(ctx, actor, harbour, keys.Explain, 1)) // none signs: nothing follows it
	if made, err := keys.NewRing(db, awaySigner{}).EnsureNextOf(ctx, actor, harbour); len(made) != 0 || !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("without a signer: %v, %v", made, err)
	}
	made, err := r.EnsureNextOf(ctx, actor, harbour)
	if err != nil || len(made) != 2 || made[0].Purpose != keys.Audit || made[1].Purpose != keys.Credential || made[1].KeyID != 2 {
		t.Errorf("EnsureNextOf = %v, %v", made, err)
	}
	if made, err := keys.NewRing(db, awaySigner{}).EnsureNextOf(ctx, actor, harbour); len(made) != 0 || err != nil {
		t.Errorf("with nothing missing: %v, %v", made, err)
	}
	c.move(keys.DefaultLife) // unused keys that ran out follow nobody
	if made, err := r.EnsureNextOf(ctx, actor, harbour); err != nil || len(made) != 2 || made[1].KeyID != 3 {
		t.Errorf("after the next keys ran out: %v, %v", made, err)
	}
}

// A signer whose reply is lost after it made the second version: the call that
// follows announces that version and makes no third.
func TestEnsureAfterALostReply(t *testing.T) {
	r, db, _ := ring(t)
	ctx := t.Context()
	lossy := keys.NewRing(db, lostRotation{r.Signer()})
	if _, err := lossy.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519); !errors.Is(err, keys.ErrUnavailable) {
		t.Fatalf("Ensure with a lost reply: %v", err)
	}
	if all, err := r.Keys(ctx, harbour); err != nil || len(all) != 0 {
		t.Errorf("half announced: %v, %v", all, err)
	}
	if k := must(t)(r.Ensure(ctx, actor, harbour, keys.Credential, keys.Ed25519)); k.Version != 1 {
		t.Errorf("version %d signs, want 1", k.Version)
	}
	versions, err := r.Signer().Versions(ctx, harbour, keys.Credential)
	all, failed := r.Keys(ctx, harbour)
	if err != nil || failed != nil || len(versions) != 2 || len(all) != 2 {
		t.Errorf("%d versions, %d announced, %v, %v; want 2 of each", len(versions), len(all), err, failed)
	}
}

// lostRotation rotates and loses the reply.
type lostRotation struct{ keys.Signer }

func (l lostRotation) Rotate(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) (int, error) {
	if _, err := l.Signer.Rotate(ctx, tenant, purpose); err != nil {
		return 0, err
	}
	return 0, errAway
}
