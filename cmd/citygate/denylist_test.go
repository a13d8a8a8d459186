package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
)

func TestBenchDenylistAsksAboutEveryIndex(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	out := must(t, "", "bench", "denylist", "--json", "--out", file, "--issued", "200000", "--revoked", "2000")
	var f denylistFigures
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	public, err := hex.DecodeString(f.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := denylist.Open(raw, func(citygate.Issuer, uint8) (ed25519.PublicKey, bool) { return public, true })
	if err != nil || l.Count() != 2000 || l.Issued != 200_000 {
		t.Errorf("the file: %+v, %v", l, err)
	}
	if f.FalseAnswers != 0 || f.Bytes != len(raw) || f.Bound != 2019 || f.Bytes < f.Bound || f.DeltaBytes == 0 {
		t.Errorf("%s", out)
	}
	// The count can count: a list that lacks one index is caught.
	set := newBitmap(l.Issued)
	for idx := range l.All {
		set.set(idx, true)
	}
	set.set(7, !set.has(7))
	if n := falseAnswers(l, set); n != 1 {
		t.Errorf("%d false answers of a list that is wrong about one index", n)
	}
}

func TestTerminalBudgetCountsWhatIsHeld(t *testing.T) {
	out := must(t, "", "terminal", "budget", "--json")
	var f budgetFigures
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sum := 0
	for _, r := range f.Rows {
		if r.Bytes <= 0 {
			t.Errorf("%s takes %d bytes", r.What, r.Bytes)
		}
		sum += r.Bytes
	}
	if len(f.Rows) != 6 || sum != f.Total || !f.Fits || f.Total > 512<<10 || f.Total < 400_000 || f.Heap > 512<<10 || f.Heap < int64(f.Total)-60_000 {
		t.Errorf("%s", out)
	}
	if code, _, _ := runAt(t, "", "terminal", "budget", "--home-lists", "8"); code != 1 {
		t.Errorf("eight large lists in half a megabyte: exit code %d", code)
	}
	if code, _, _ := runAt(t, "", "terminal", "budget", "--keys", "3"); code != 2 {
		t.Errorf("three keys for twenty issuers: exit code %d", code)
	}
}
