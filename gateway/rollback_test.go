package gateway

import (
	"crypto/ed25519"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// copyFiles copies what a validator has on its flash, or puts it back.
func (o *office) copyFiles(from, to, pattern string) {
	o.t.Helper()
	old, err := filepath.Glob(filepath.Join(to, pattern))
	o.must(err)
	for _, f := range old {
		o.must(os.Remove(f))
	}
	found, err := filepath.Glob(filepath.Join(from, pattern))
	o.must(err)
	if len(found) == 0 {
		o.t.Fatalf("no %s in %s", pattern, from)
	}
	for _, f := range found {
		raw, err := os.ReadFile(f)
		o.must(err)
		o.must(os.WriteFile(filepath.Join(to, filepath.Base(f)), raw, 0o600))
	}
}

func (o *office) flags() []string {
	o.t.Helper()
	return list[edge.Terminal](o, "terminals")[0].Flags
}

func (o *office) reach(query string) (r edge.BundleReach) {
	o.t.Helper()
	o.send(http.MethodGet, busPath("bundle/reach"+query), nil, &r)
	return r
}

// A validator whose trust bundle was set back to an old copy works on as if
// nothing had happened: it cannot know. The gateway takes its taps and says so.
func TestAValidatorSetBackToAnOldBundleIsFlagged(t *testing.T) {
	o := open(t)
	o.onboard()
	first, second := o.credential("phone"), o.credential("band")
	flash, image := t.TempDir(), t.TempDir()
	v := o.validatorIn(flash)
	o.copyFiles(flash, image, "bundle.*")
	_, err := o.PublishPolicy(t.Context(), actor, rules(2))
	o.must(err)
	o.sync(v)
	if r := o.reach(""); r.Latest != 2 || r.Version != 2 || r.Seen != 0 {
		t.Errorf("before any tap: %+v", r)
	}
	acknowledged := o.board(v, first, "phone")
	if got := o.upload(acknowledged); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("the first tap: %v", got)
	}
	if r := o.reach(""); r.Seen != 1 || len(r.Laggards) != 0 {
		t.Errorf("acknowledged: %+v", r)
	}
	if f := o.flags(); len(f) != 0 {
		t.Errorf("a good validator is flagged: %v", f)
	}

	sent, err := tap.ParseBatch(acknowledged)
	o.must(err)
	o.must(v.Ack(sent.Hash))
	o.must(v.Close())
	o.copyFiles(image, flash, "bundle.*")
	o.move(time.Minute)
	v = o.start(flash, 2) // it holds the old bundle and asks for no other
	batch := o.board(v, second, "band")
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		t.Errorf("a tap of a validator that was set back: %v; it must not be refused for that", got)
	}
	if f := o.flags(); !slices.Equal(f, []string{string(fleet.BundleRollback)}) {
		t.Errorf("flags %v, want %s", f, fleet.BundleRollback)
	}
	if r := o.reach("?version=2&days=1"); r.Seen != 1 || len(r.Laggards) != 1 || r.Laggards[0].Terminal != 1 || r.Laggards[0].Bundle != 2 {
		t.Errorf("a validator that went back counts as reached: %+v", r)
	}
	if got := o.upload(acknowledged); !slices.Equal(got, []string{"duplicate"}) {
		t.Errorf("the first batch again: %v", got)
	}
}

// Offline roots take their time. Meanwhile the bundle in force counts, also
// after it expired, and taps are taken.
func TestIntakeGoesOnWhileABundleWaitsForOfflineRoots(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	batch := o.board(v, credential, "phone")
	now, err := o.Bundles.Roots(t.Context())
	o.must(err)
	var roots []bundle.RootKey
	var signers []bundle.RootSigner
	for _, name := range []string{"ada", "bob", "cid"} {
		private := key(name)
		public, _ := private.Public().(ed25519.PublicKey)
		signers = append(signers, bundle.RootSigner{Root: bundle.RootKey{Public: public}, Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }})
		roots = append(roots, bundle.RootKey{Public: public})
	}
	next, err := bundle.NextRoots(&now, o.now().Unix(), 2, roots...)
	o.must(err)
	draft, err := next.Prepare()
	o.must(err)
	signed, err := bundle.Cosign(draft, signers...)
	o.must(err)
	_, err = o.Bundles.ImportRoots(t.Context(), actor, signed, true)
	o.must(err)

	for _, after := range []time.Duration{time.Minute, 8 * 24 * time.Hour, 25 * 24 * time.Hour} {
		o.move(after)
		b, err := o.Bundle(t.Context(), bus)
		if err != nil || b.Version() != 1 {
			t.Fatalf("%s later: %v", after, err)
		}
		if r, err := o.bundleReach(t.Context(), bus, 0, 7); err != nil || r.Latest != 1 || r.Waiting != 2 {
			t.Errorf("%s later: %+v, %v", after, r, err)
		}
	}
	if got := o.upload(batch); len(got) != 1 || got[0] == "" {
		t.Errorf("an upload while the bundle has expired: %v", got)
	}
	waiting, err := o.Bundles.Draft(t.Context(), bus)
	o.must(err)
	raw, err := bundle.Cosign(waiting.Body, signers[:2]...)
	o.must(err)
	_, err = o.Bundles.Import(t.Context(), actor, raw)
	o.must(err)
	o.move(renewEvery)
	b, err := o.Bundle(t.Context(), bus)
	if err != nil || b.Version() != 2 {
		t.Errorf("after the roots signed: %v", err)
	}
	o.must(v.InstallBundle(o.now().UnixMilli(), o.call(http.MethodGet, busPath("bundle"), "", nil)))
}

// What cannot be renewed stays in force: verification needs keys, and those it
// has are good.
func TestARenewalThatFailsStopsNobody(t *testing.T) {
	o := open(t)
	o.onboard()
	for kid := range uint8(2) { // a bundle without any is not published
		_, err := o.Ring.Revoke(t.Context(), actor, bus, keys.Credential, 1+kid)
		o.must(err)
	}
	o.move(8 * 24 * time.Hour)
	b, err := o.Bundle(t.Context(), bus)
	if err != nil || b.Version() != 1 {
		t.Errorf("the bundle did not stay: %v", err)
	}
}
