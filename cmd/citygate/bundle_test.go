package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/keys/bundle"
)

// testRoot is a root key of the tests.
func testRoot(n byte) bundle.RootSigner {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	public, _ := private.Public().(ed25519.PublicKey)
	return bundle.RootSigner{Root: bundle.RootKey{Public: public}, Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }}
}

// bundleFile writes a bundle of one issuer, valid from 2026-11-21 for a day,
// and gives its path and the root keys: two of three signed.
func bundleFile(t *testing.T) (path string, roots []string) {
	t.Helper()
	issuer := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)).Public().(ed25519.PublicKey)
	issued := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC).Unix()
	set, err := bundle.NextRoots(nil, issued, 2, testRoot(7).Root, testRoot(8).Root, testRoot(9).Root)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := set.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := bundle.Cosign(draft, testRoot(7), testRoot(8))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := bundle.Sign(&bundle.Bundle{
		Number: 3, Issued: issued, Expires: issued + 86400, RootSets: [][]byte{signed},
		Tenants: []bundle.Tenant{{ID: 20, Issuer: 7, Name: "Harbour City", Currency: "CNY"}},
		Keys: []bundle.Key{{Tenant: 20, Issuer: 7, KeyID: 1, Algorithm: bundle.Ed25519, Public: issuer, Usage: bundle.ForCredential,
			NotBefore: issued, Expires: issued + 86400, State: bundle.Active}},
	}, testRoot(7), testRoot(8))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "bundle.tb1")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range byte(3) {
		roots = append(roots, "--root", hex.EncodeToString(testRoot(7+n).Root.Public))
	}
	return path, roots
}

func TestBundleInspectTrustsOnlyWhatTheRootsSigned(t *testing.T) {
	path, roots := bundleFile(t)
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what string
		args []string
		now  time.Time
		exit int
		says string
	}{
		{"no root", nil, at, 0, "not checked"},
		{"its roots", roots, at, 0, "trusted"},
		{"two of its roots", roots[:4], at, 0, "trusted"},
		{"another root", []string{"--root", strings.Repeat("ab", 32)}, at, 1, "bundle.not_trusted"},
		{"one of its roots", roots[:2], at, 1, "bundle.under_threshold"},
		{"one root would do", append([]string{"--threshold", "1"}, roots[:2]...), at, 1, "bundle.not_trusted"},
		{"a day late", roots, at.Add(24 * time.Hour), 1, "bundle.expired"},
		{"no root at all", []string{"--root", "xyz"}, at, 2, "64 hexadecimal digits"},
	} {
		var out, errs bytes.Buffer
		sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: func() time.Time { return c.now }, served: checked(t), Env: func(string) string { return "" }}
		exit := run(context.Background(), sys, append([]string{"bundle", "inspect", path}, c.args...))
		if exit != c.exit || !strings.Contains(out.String()+errs.String(), c.says) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s%s", c.what, exit, c.exit, c.says, out.String(), errs.String())
		}
	}
}

func TestBundleInspectPrintsOneJSONLine(t *testing.T) {
	path, _ := bundleFile(t)
	var out bytes.Buffer
	sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now, served: checked(t), Env: func(string) string { return "" }}
	if exit := run(context.Background(), sys, []string{"bundle", "inspect", "--json", path}); exit != 0 {
		t.Fatalf("exit %d: %s", exit, out.String())
	}
	var got bundleJSON
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%v: %s", err, out.String())
	}
	if got.Version != 3 || len(got.Keys) != 1 || got.Keys[0].Usage[0] != "credential" || got.Tenants[0].Issuer != 7 {
		t.Errorf("got %+v", got)
	}
}
