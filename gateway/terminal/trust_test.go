package terminal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// rebuilt opens a bundle, changes it and has signers sign it again.
func rebuilt(t *testing.T, raw []byte, change func(b *bundle.Bundle), signers ...string) []byte {
	t.Helper()
	b, _, err := bundle.Inspect(raw)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	var with []bundle.RootSigner
	for _, name := range signers {
		with = append(with, rootSigner(name))
	}
	signed, err := bundle.Sign(b, with...)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Whatever is wrong with a bundle, the terminal says which, goes on with the one
// it has, and does so after a restart.
func TestARefusedBundleLeavesTheOldOneInForce(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	first := signedBundle(t, 1, [32]byte{}, rules(1))
	held, err := bundle.Open(first, roots(), 2, start, 0)
	if err != nil {
		t.Fatal(err)
	}
	next := signedBundle(t, 2, held.Digest(), rules(1))
	two := []string{"root", "root two"}
	same := func(*bundle.Bundle) {}
	for _, c := range []struct {
		what string
		raw  []byte
		now  int64
		want *citygate.Code
	}{
		{"tampered with", bytes.Replace(next, []byte("Issuer"), []byte("issuer"), 1), start, bundle.ErrTampered},
		{"one root", rebuilt(t, next, same, "root"), start, bundle.ErrUnderThreshold},
		{"not signed", draftOf(t, next), start, bundle.ErrMalformed},
		{"expired", next, start + 1_000_000, bundle.ErrExpired},
		{"another operator's", rebuilt(t, next, func(b *bundle.Bundle) { b.Tenants[0].Home, b.Tenants[1].Home = true, false }, two...), start, bundle.ErrWrongTenant},
		{"nobody's", rebuilt(t, next, func(b *bundle.Bundle) { b.Tenants[1].Home = false }, two...), start, bundle.ErrWrongTenant},
		{"another past", rebuilt(t, next, func(b *bundle.Bundle) { b.Prev[0] ^= 1 }, two...), start, bundle.ErrForked},
		{"below its own floor", rebuilt(t, next, func(b *bundle.Bundle) { b.MinBundle = 3 }, two...), start, bundle.ErrOlder},
		{"no policy for this operator", rebuilt(t, next, func(b *bundle.Bundle) { b.Tenants[1].Policy = nil }, two...), start, terminal.ErrNoPolicy},
	} {
		if err := v.InstallBundle(c.now*1000, c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", c.what, err, c.want.Name)
		}
		if err := v.InstallBundle(start*1000, first); err != nil {
			t.Errorf("%s: the bundle held is gone: %v", c.what, err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = mustOpen(t, d)
	if got := mustTap(t, v, 1, toyCode(1, 1, start+1, true)); got.Record.BundleVersion != 1 {
		t.Errorf("after a restart bundle %d is in force", got.Record.BundleVersion)
	}
	if err := v.InstallBundle(start*1000, next); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

// A memory card of another operator's terminal does not make this one trust that
// operator.
func TestAnotherOperatorsMemoryIsNotTrusted(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v = mustOpen(t, d); !mustTap(t, v, 1, toyCode(1, 1, start+1, true)).Open {
		t.Fatal("the terminal does not work after a restart")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	raw := rebuilt(t, signedBundle(t, 5, [32]byte{1}, rules(1)), func(b *bundle.Bundle) { b.Tenants[0].Home, b.Tenants[1].Home = true, false }, "root", "root two")
	for _, slot := range []string{"bundle.a", "bundle.b"} {
		f, err := d.Create(slot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close(), d.SyncDir()); err != nil {
			t.Fatal(err)
		}
	}
	v = mustOpen(t, d)
	if got := mustTap(t, v, 2, toyCode(2, 2, start+2, true)); got.Open || got.Record.BundleVersion != 0 {
		t.Errorf("bundle %d of another operator is in force", got.Record.BundleVersion)
	}
}

func draftOf(t *testing.T, raw []byte) []byte {
	t.Helper()
	b, _, err := bundle.Inspect(raw)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := b.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	return draft
}

// A terminal that was in a drawer for two rotations of the roots is handed one
// bundle on a stick. It has the first roots on its disk and in its set-up.
func TestRotationsAreFollowedFromOneBundle(t *testing.T) {
	set, err := bundle.InspectRoots(rootSet(t))
	if err != nil {
		t.Fatal(err)
	}
	chain := [][]byte{set.Raw()}
	for i, names := range [][]string{{"root two", "root three", "fourth"}, {"fifth", "sixth", "seventh"}} {
		var keys []bundle.RootKey
		for _, n := range names {
			keys = append(keys, rootSigner(n).Root)
		}
		next, err := bundle.NextRoots(&set, start-5000+int64(i), 2, keys...)
		if err != nil {
			t.Fatal(err)
		}
		draft, err := next.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		var signers []bundle.RootSigner
		for _, n := range []string{"root two", "root three", names[0], names[1]} {
			signers = append(signers, rootSigner(n))
		}
		raw, err := bundle.Cosign(draft, signers...)
		if err != nil {
			t.Fatal(err)
		}
		if set, err = bundle.InspectRoots(raw); err != nil {
			t.Fatal(err)
		}
		chain = append(chain, raw)
	}
	raw := rebuilt(t, signedBundle(t, 9, [32]byte{1}, rules(1)), func(b *bundle.Bundle) { b.RootSets = chain }, "fifth", "sixth")
	old := rebuilt(t, signedBundle(t, 10, [32]byte{1}, rules(1)), func(b *bundle.Bundle) { b.RootSets = chain[:1] }, "root", "root two")

	inTheDrawer, neverUsed := newDisk(), newDisk()
	held := ready(t, inTheDrawer)
	for what, v := range map[string]*terminal.Verifier{"holds an old bundle": held, "was only set up": mustOpen(t, neverUsed)} {
		if err := v.InstallBundle(start*1000, raw); err != nil {
			t.Fatalf("a terminal that %s: %v", what, err)
		}
		if err := v.InstallBundle(start*1000, old); !errors.Is(err, bundle.ErrOlder) {
			t.Errorf("a terminal that %s takes a bundle of roots that were rotated out: %v", what, err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	v := mustOpen(t, inTheDrawer)
	if got := mustTap(t, v, 1, toyCode(1, 1, start+1, true)); got.Record.BundleVersion != 9 {
		t.Errorf("after a restart bundle %d is in force", got.Record.BundleVersion)
	}
}
