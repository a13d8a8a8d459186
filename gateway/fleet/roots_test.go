package fleet_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// offline is a root key that the gateway never sees.
func offline(name string) bundle.RootSigner {
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	return bundle.RootSigner{Root: bundle.RootKey{Public: private.Public().(ed25519.PublicKey)},
		Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }}
}

// handOver makes the set of three offline roots that follows the gateway's own,
// signed by the new ones.
func handOver(t *testing.T, p *fleet.Publisher, at time.Time, names ...string) []byte {
	t.Helper()
	now, err := p.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var roots []bundle.RootKey
	var signers []bundle.RootSigner
	for _, n := range names {
		roots, signers = append(roots, offline(n).Root), append(signers, offline(n))
	}
	next, err := bundle.NextRoots(&now, at.Unix(), 2, roots...)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := next.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := bundle.Cosign(draft, signers[:2]...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAGatewayWithoutRootsMakesThreeOnce(t *testing.T) {
	p, ring, _, _ := city(t)
	ctx := t.Context()
	set, err := p.EnsureRoots(ctx, actor)
	if err != nil || len(set.Roots) != 3 || set.Threshold != 2 || set.Version != 1 || len(set.Signers()) != 3 {
		t.Fatalf("the root set is %+v, %v", set, err)
	}
	again, err := p.EnsureRoots(ctx, actor)
	if err != nil || !bytes.Equal(again.Raw(), set.Raw()) {
		t.Errorf("made again: %v", err)
	}
	versions, err := ring.Signer().Versions(ctx, keys.Platform, keys.Root)
	if err != nil || len(versions) != 3 {
		t.Errorf("%d root keys, %v", len(versions), err)
	}
	b, err := p.Publish(ctx, actor, fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}})
	if err != nil || b.Draft {
		t.Fatalf("Publish = %+v, %v", b, err)
	}
	if _, signers, err := bundle.Inspect(b.Body); err != nil || len(signers) != 2 {
		t.Errorf("%d roots signed, want 2: %v", len(signers), err)
	}
}

// A city that began with the gateway's own roots takes its roots offline, and
// its terminals follow, those that were away as well.
func TestOfflineRootsTakeOver(t *testing.T) {
	p, _, db, c := city(t)
	ctx := t.Context()
	profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}, Policy: fleet.Policy{Version: 1, Body: []byte("rules")},
		Schemes: []bundle.Scheme{{Tenant: harbour, ID: "toy", Params: []byte("{}")}}, DenyFloors: []bundle.DenyFloor{{Issuer: 7, List: 1, Seq: 4}}}
	first, err := p.Publish(ctx, actor, profile)
	if err != nil {
		t.Fatal(err)
	}
	held := open(t, p, first, c)
	c.move(time.Hour)
	raw := handOver(t, p, c.now(), "ada", "bob", "cid")
	_, err = p.ImportRoots(ctx, actor, raw, false)
	want(t, "the old roots did not sign", err, bundle.ErrUnderThreshold)
	set, err := p.ImportRoots(ctx, actor, raw, true)
	if err != nil || set.Version != 2 {
		t.Fatalf("ImportRoots = %+v, %v", set, err)
	}
	if again, err := p.ImportRoots(ctx, actor, set.Raw(), false); err != nil || again.Version != 2 {
		t.Errorf("imported twice: %v", err)
	}

	draft, err := p.Renew(ctx, actor, metro)
	if err != nil || !draft.Draft || draft.Version != 2 {
		t.Fatalf("Renew = %+v, %v", draft, err)
	}
	if again, err := p.Renew(ctx, actor, metro); err != nil || !bytes.Equal(again.Body, draft.Body) {
		t.Errorf("prepared twice: %v", err)
	}
	if latest, err := p.Latest(ctx, metro); err != nil || latest.Version != 1 {
		t.Errorf("a draft is in force: %d, %v", latest.Version, err)
	}
	c.move(40 * 24 * time.Hour) // the roots take their time, and the bundle in force has expired
	if _, err := p.Open(ctx, first); err != nil {
		t.Errorf("the gateway has no keys while it waits: %v", err)
	}
	draft, err = p.Renew(ctx, actor, metro) // the draft is too old by now
	if err != nil || !draft.Draft {
		t.Fatal(err)
	}
	byAda, err := bundle.Cosign(draft.Body, offline("ada"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Import(ctx, actor, byAda)
	if err != nil || !got.Draft {
		t.Fatalf("one signature of two: %+v, %v", got, err)
	}
	byCid, err := bundle.Cosign(draft.Body, offline("cid"))
	if err != nil {
		t.Fatal(err)
	}
	got, err = p.Import(ctx, actor, byCid)
	if err != nil || got.Draft {
		t.Fatalf("the second signature: %+v, %v", got, err)
	}
	if again, err := p.Import(ctx, actor, byAda); err != nil || again.Draft || again.Version != got.Version {
		t.Errorf("imported once more: %+v, %v", again, err)
	}
	_, err = p.Draft(ctx, metro)
	want(t, "the draft after it was signed", err, fleet.ErrNoBundle)
	next, err := held.Follow(got.Body, c.now().Unix())
	if err != nil {
		t.Fatalf("a terminal that was away: %v", err)
	}
	if s, ok := next.Scheme(harbour, "toy"); !ok || string(s.Params) != "{}" || next.DenyFloor(7, 1) != 4 {
		t.Error("renewing lost what the profile said")
	}
	if opened := open(t, p, got, c); opened.Version() != 2 {
		t.Error("a terminal that is enrolled with the new roots cannot read it")
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		var verbs []string
		err := tx.QueryRow(ctx, `SELECT array_agg(verb ORDER BY verb) FROM audit_log WHERE tenant_id = $1 AND verb LIKE 'bundle.%'`, metro).Scan(&verbs)
		if said := []string{"bundle.prepare", "bundle.prepare", "bundle.publish", "bundle.publish", "bundle.sign"}; !slices.Equal(verbs, said) {
			t.Errorf("the log says %v, want %v", verbs, said)
		}
		return err
	})
}

func TestWhatIsImportedIsWhatWasPrepared(t *testing.T) {
	p, ring, _, c := city(t)
	ctx := t.Context()
	profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}}
	first, err := p.Publish(ctx, actor, profile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ImportRoots(ctx, actor, handOver(t, p, c.now(), "ada", "bob", "cid"), true); err != nil {
		t.Fatal(err)
	}
	draft, err := p.Renew(ctx, actor, metro)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(raw []byte, names ...string) []byte {
		t.Helper()
		for _, n := range names {
			if raw, err = bundle.Cosign(raw, offline(n)); err != nil {
				t.Fatal(err)
			}
		}
		return raw
	}
	b, _, err := bundle.Inspect(draft.Body)
	if err != nil {
		t.Fatal(err)
	}
	b.Keys[0].NotIssuedAfter = 1
	other, err := b.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Import(ctx, actor, sign(other, "ada", "bob"))
	want(t, "roots sign what was not prepared", err, fleet.ErrNoDraft)
	_, err = p.Import(ctx, actor, sign(draft.Body, "ada", "mallory"))
	want(t, "a stranger signs", err, bundle.ErrNotTrusted)
	_, err = p.Import(ctx, actor, draft.Body)
	want(t, "nobody signed", err, bundle.ErrUnderThreshold)
	if _, err := ring.Revoke(ctx, actor, harbour, keys.DenyList, 1); err != nil {
		t.Fatal(err)
	}
	changed, err := p.Renew(ctx, actor, metro)
	if err != nil || bytes.Equal(changed.Body, draft.Body) {
		t.Fatalf("a key was revoked and the draft stays: %v", err)
	}
	_, err = p.Import(ctx, actor, sign(draft.Body, "ada", "bob"))
	want(t, "the draft of before", err, fleet.ErrNoDraft)
	// The set is replaced while the draft is on its way.
	now, err := p.Roots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	third, err := bundle.NextRoots(&now, c.now().Unix(), 2, offline("bob").Root, offline("cid").Root, offline("eve").Root)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := third.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.ImportRoots(ctx, actor, sign(prepared, "cid", "eve"), true)
	want(t, "the gateway cannot sign for offline roots", err, fleet.ErrNoRoots)
	if _, err := p.ImportRoots(ctx, actor, sign(prepared, "ada", "cid", "eve"), false); err != nil {
		t.Fatal(err)
	}
	_, err = p.Import(ctx, actor, sign(changed.Body, "ada", "bob"))
	want(t, "signed under the set of before", err, fleet.ErrNoDraft)
	_, err = p.Import(ctx, actor, first.Body)
	if got, err2 := p.Latest(ctx, metro); err2 != nil || got.Version != 1 {
		t.Errorf("version %d is in force, %v (%v)", got.Version, err2, err)
	}
}

func TestTheFirstSetMayComeFromElsewhere(t *testing.T) {
	p, ring, db, c := cityWithoutRoots(t)
	ctx := t.Context()
	_, err := p.Publish(ctx, actor, fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}})
	want(t, "nobody can sign", err, fleet.ErrNoRoots)
	first, err := bundle.NextRoots(nil, c.now().Unix(), 2, offline("ada").Root, offline("bob").Root, offline("cid").Root)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := first.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.ImportRoots(ctx, actor, draft, false)
	want(t, "not signed", err, bundle.ErrUnderThreshold)
	raw, err := bundle.Cosign(draft, offline("ada"), offline("bob"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ImportRoots(ctx, actor, raw, false); err != nil {
		t.Fatal(err)
	}
	set, err := p.EnsureRoots(ctx, actor)
	if err != nil || !bytes.Equal(set.Raw(), raw) {
		t.Errorf("the gateway made roots of its own: %v", err)
	}
	if _, err := ring.Signer().Versions(ctx, keys.Platform, keys.Root); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("there are root keys in the gateway's store: %v", err)
	}
	other := fleet.NewPublisher(db, ring, nil)
	if b, err := other.Roots(ctx); err != nil || b.Version != 1 {
		t.Errorf("another process: %v", err)
	}
}

// A bundle that terminals would refuse is not published.
func TestPublishingWhatTerminalsRefuse(t *testing.T) {
	p, _, _, _ := city(t)
	ctx := t.Context()
	all := fleet.Profile{Operator: harbour, Accepts: []citygate.TenantID{hillsid, metro}}
	if _, err := p.Publish(ctx, actor, all); err != nil {
		t.Fatal(err)
	}
	_, err := p.Publish(ctx, actor, fleet.Profile{Operator: harbour})
	want(t, "most keys are gone", err, bundle.ErrDropsKeys)
	if b, err := p.Latest(ctx, harbour); err != nil || b.Version != 1 {
		t.Errorf("version %d is in force, %v", b.Version, err)
	}
}

// report records an upload of a terminal that names a bundle at a tap.
func report(t *testing.T, db *pg.DB, id uint32, seq, bundle uint64, at time.Time) map[fleet.Flag]string {
	t.Helper()
	var wrong map[fleet.Flag]string
	in(t, db, metro, func(tx *pg.Tx) (err error) {
		if wrong, err = fleet.Reported(t.Context(), tx, id, fleet.Report{Software: "v1", Taps: []fleet.Sighting{{Seq: seq, At: at, Bundle: bundle}}}); err != nil {
			return err
		}
		for f, why := range wrong {
			err = errors.Join(err, fleet.Raise(t.Context(), tx, id, f, why))
		}
		return err
	})
	return wrong
}

func TestLaggardsAreNamed(t *testing.T) {
	p, ring, db, c := city(t)
	ctx := t.Context()
	f := fleet.New(db)
	profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}}
	if _, err := p.Publish(ctx, actor, profile); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.move(time.Minute)
		if _, err := ring.Rotate(ctx, actor, harbour, keys.DenyList, c.now(), c.now().Add(keys.DefaultLife)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Renew(ctx, actor, metro); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint32(6) {
		if _, err := f.Enrol(ctx, actor, metro, gate(id+1), ed25519.PublicKey(offline(string(rune('a'+id))).Root.Public)); err != nil {
			t.Fatal(err)
		}
	}
	start := c.now()
	report(t, db, 1, 1, 1, start) // holds the old one
	report(t, db, 2, 1, 3, start) // holds a newer one
	report(t, db, 3, 1, 2, start) // holds it, and goes back
	report(t, db, 3, 2, 1, start.Add(time.Minute))
	report(t, db, 4, 1, 1, start) // was last seen long ago
	c.move(8 * 24 * time.Hour)
	for id := range uint32(3) {
		report(t, db, id+1, 9, []uint64{1, 3, 1}[id], c.now())
	}
	report(t, db, 5, 1, 1, c.now()) // is suspended; 6 was never seen
	if err := f.SetState(ctx, actor, metro, 5, fleet.Suspended); err != nil {
		t.Fatal(err)
	}
	behind := func(version uint64) (ids []uint32, seen int) {
		in(t, db, metro, func(tx *pg.Tx) error {
			a, err := fleet.Acknowledged(ctx, tx, version, tx.Now.Add(-7*24*time.Hour))
			ids, seen = nil, a.Seen
			for _, x := range a.Laggards {
				ids = append(ids, x.ID)
			}
			return err
		})
		return ids, seen
	}
	for version, names := range map[uint64]string{1: "\x03", 2: "\x01\x03", 3: "\x01\x03", 4: "\x01\x02\x03"} {
		ids, seen := behind(version)
		var got []byte
		for _, id := range ids {
			got = append(got, byte(id))
		}
		if seen != 3 || string(got) != names {
			t.Errorf("bundle %d: %v of %d terminals have not acknowledged it, want %v of 3", version, ids, seen, []byte(names))
		}
	}
	if err := f.Clear(ctx, actor, metro, 3, fleet.BundleRollback); err != nil {
		t.Fatal(err)
	}
	if ids, _ := behind(2); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("after the flag was cleared: %v", ids)
	}
	in(t, db, hillsid, func(tx *pg.Tx) error {
		a, err := fleet.Acknowledged(ctx, tx, 9, time.Time{})
		if a.Seen != 0 || len(a.Laggards) != 0 {
			t.Errorf("another tenant sees %+v", a)
		}
		return err
	})
}

func TestATerminalThatWentBackIsFlagged(t *testing.T) {
	p, _, db, c := city(t)
	ctx := t.Context()
	for i := range uint64(3) {
		profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}, Policy: fleet.Policy{Version: i + 1, Body: []byte("rules")}}
		if _, err := p.Publish(ctx, actor, profile); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fleet.New(db).Enrol(ctx, actor, metro, gate(1), ed25519.PublicKey(offline("a").Root.Public)); err != nil {
		t.Fatal(err)
	}
	now := c.now()
	if wrong := report(t, db, 1, 10, 3, now); len(wrong) != 0 {
		t.Errorf("a good terminal: %v", wrong)
	}
	if wrong := report(t, db, 1, 4, 2, now.Add(-time.Hour)); len(wrong) != 0 {
		t.Errorf("a batch that came late: %v", wrong)
	}
	if wrong := report(t, db, 1, 11, 99, now.Add(time.Second)); wrong[fleet.BundleUnknown] == "" {
		t.Errorf("a bundle that nobody published: %v", wrong)
	}
	if wrong := report(t, db, 1, 5, 2, now.Add(time.Hour)); wrong[fleet.BundleRollback] == "" {
		t.Errorf("an old copy of its memory: %v", wrong)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		got, err := fleet.Get(ctx, tx, 1)
		if got.BundleFloor != 3 || !got.SeenAt.Equal(now) {
			t.Errorf("floor %d, seen at %s", got.BundleFloor, got.SeenAt)
		}
		return err
	})
	// Nobody is enrolled under this number: nothing to note, and no error.
	if wrong := report(t, db, 77, 1, 3, now); wrong != nil {
		t.Errorf("nobody's report: %v", wrong)
	}
}
