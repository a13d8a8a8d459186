package terminal_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
)

func TestSameDisplayOpensOnce(t *testing.T) {
	v := ready(t, newDisk())
	raw := toyCode(1, 1, start, true)
	if d := mustTap(t, v, 0, raw); !d.Open {
		t.Fatalf("first: %+v", d)
	}
	for _, s := range []int64{0, 1, window + skew} {
		if d := mustTap(t, v, s, raw); d.Reason != code.Replayed {
			t.Errorf("after %d s: %q", s, d.Reason)
		}
	}
	if d := mustTap(t, v, window+skew+1, raw); d.Reason != code.ExpiredCode {
		t.Errorf("after its window: %q", d.Reason)
	}
	// The key is the credential and counter, never the bytes.
	if d := mustTap(t, v, 1, toyCode(1, 1, start+1, true)); d.Reason != code.Replayed {
		t.Errorf("same counter, other bytes: %q", d.Reason)
	}
}

func TestFullReplayMemoryForgetsOnlyWhatIsOver(t *testing.T) {
	v := ready(t, newDisk())
	for i := range int64(1000) { // ten riders a second, more than the memory is swept at
		mustTap(t, v, i/10, toyCode(uint32(1000+i), 1, start+i/10, true))
	}
	for i := int64(600); i < 1000; i++ {
		if d := mustTap(t, v, 100, toyCode(uint32(1000+i), 1, start+i/10, true)); d.Reason != code.Replayed {
			t.Fatalf("rider %d again: %q", i, d.Reason)
		}
	}
}

func TestForgeryDoesNotUseUpTheGenuineCode(t *testing.T) {
	v := ready(t, newDisk())
	if d := mustTap(t, v, 0, toyCode(1, 1, start, false)); d.Reason != code.BadDeviceSignature {
		t.Fatalf("forged: %q", d.Reason)
	}
	if d := mustTap(t, v, 0, toyCode(1, 1, start, true)); !d.Open {
		t.Errorf("the genuine code after its forgery: %q", d.Reason)
	}
}

func TestRefusalsAreJournalledInOrder(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	for i, c := range []struct {
		raw     []byte
		seconds int64
		fare    int64
		want    code.Reason
	}{
		{[]byte("hello"), 0, 0, code.Unsupported},
		{nil, 0, 0, code.Unsupported},
		{[]byte("T"), 0, 0, code.Malformed},
		{make([]byte, tap.EvidenceMax+1), 0, 0, code.Malformed},
		{toyCode(13, 1, start, false), window + skew + 1, 0, code.ExpiredCode}, // before the list
		{toyCode(13, 1, start+60, true), 0, 0, code.NotYetValid},
		{toyCode(13, 1, start, true), 0, 1001, code.AmountOverCap},
		{toyCode(13, 1, start, false), 0, 1000, code.Denied}, // before the signatures
		{toyCode(14, 1, start, false), 0, 1000, code.BadDeviceSignature},
		{toyCode(14, 1, start, true), 0, 1000, ""},
		{toyCode(14, 1, start, false), 0, 0, code.Replayed}, // before the signatures
		{toyCode(14, 2, start+7200, true), 7200, 0, code.StaleList},
		{toyCode(13, 2, start+7200, true), 7200, 0, code.Denied}, // a stale list still denies
	} {
		now, in := at(c.seconds)
		if c.fare > 0 {
			in.Fare = citygate.Money{Minor: c.fare, Currency: "CNY"}
		}
		got, err := v.Tap(now, c.raw, in)
		if err != nil || got.Reason != c.want || got.Record.Seq != uint64(i+1) {
			t.Errorf("%d: %q as record %d (%v), want %q", i, got.Reason, got.Record.Seq, err, c.want)
		}
	}
	if again := mustOpen(t, d.crash(loseAll)); again.Pending() != 13 {
		t.Errorf("%d records on disk, want all 13", again.Pending())
	}
}

func TestClockThatGoesBackBringsNothingBack(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	old := toyCode(1, 1, start, true)
	mustTap(t, v, 0, old)
	if d := mustTap(t, v, 3600, toyCode(2, 1, start+3600, true)); !d.Open {
		t.Fatal(d.Reason)
	}
	back := func(v *terminal.Verifier, mono uint64, raw []byte) terminal.Decision {
		t.Helper()
		got, err := v.Tap(start*1000, raw, terminal.Input{MonotonicMS: mono, Clock: tap.ClockRTC, Kind: tap.Single,
			Fare: citygate.Money{Minor: 100, Currency: "CNY"}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	_, in := at(3600)
	got := back(v, in.MonotonicMS+50_000, old)
	if got.Open || got.Record.EventTime != (start+3650)*1000 || got.Record.Clock != tap.ClockUnknown {
		t.Errorf("an hour-old code with the clock put back an hour: %+v", got)
	}
	if got := back(v, in.MonotonicMS+60_000, toyCode(3, 1, start+3660, true)); !got.Open {
		t.Errorf("a current code while the clock is wrong: %q", got.Reason)
	}
	// Another boot: no monotonic time to go by, the floor comes from the journal.
	v = mustOpen(t, d.crash(loseAll))
	got = back(v, 1, old)
	if got.Open || got.Record.EventTime != (start+3660)*1000 {
		t.Errorf("after a reboot: %+v", got)
	}
	if got := back(v, 2, toyCode(4, 1, start+9000, true)); !got.Open || got.Record.Clock != tap.ClockUnknown {
		t.Errorf("a current code, the clock unsure: %+v", got)
	}
}

func TestClockAheadDoesNotLockTheTerminal(t *testing.T) {
	v := ready(t, newDisk())
	raw := toyCode(1, 1, start, true)
	mustTap(t, v, 0, raw)
	if d := mustTap(t, v, 5400, toyCode(2, 1, start+10, true)); d.Reason != code.ExpiredCode {
		t.Fatalf("an hour and a half ahead: %q", d.Reason)
	}
	if d := mustTap(t, v, 20, toyCode(2, 1, start+10, true)); !d.Open {
		t.Errorf("put right: %q", d.Reason)
	}
	if d := mustTap(t, v, 20, raw); d.Reason != code.Replayed {
		t.Errorf("the jump made the terminal forget: %q", d.Reason)
	}
}

func TestReplayMemoryOutlivesAcknowledgedSegments(t *testing.T) {
	d := newDisk()
	c := config(d)
	c.SegmentBytes = 300
	ready(t, d)
	v, err := terminal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(30) {
		mustTap(t, v, i, toyCode(uint32(i), 1, start+i, true))
	}
	drain(t, v)
	if s := v.Status(); s.Segments < 5 {
		t.Fatalf("%d segments: the replay memory cannot be rebuilt", s.Segments)
	}
	if v, err = terminal.Open(func() terminal.Config { c.Files = d.crash(loseAll); return c }()); err != nil {
		t.Fatal(err)
	}
	if d := mustTap(t, v, 30, toyCode(29, 1, start+29, true)); d.Reason != code.Replayed {
		t.Errorf("after an upload and a reboot: %q", d.Reason)
	}
	for i := range int64(30) {
		mustTap(t, v, 900+i, toyCode(uint32(i), 2, start+900+i, true))
	}
	drain(t, v)
	for i := range int64(30) {
		mustTap(t, v, 1900+i, toyCode(uint32(i), 3, start+1900+i, true))
	}
	drain(t, v)
	if s := v.Status(); s.Segments > 22 || s.Acked != 91 || v.Pending() != 0 {
		t.Errorf("the journal does not shrink: %+v", s)
	}
}

func drain(t *testing.T, v *terminal.Verifier) {
	t.Helper()
	for {
		raw, err := v.NextBatch(7)
		if err != nil {
			t.Fatal(err)
		}
		if raw == nil {
			return
		}
		b, err := tap.ParseBatch(raw)
		if err != nil || b.Count > 7 {
			t.Fatal(err)
		}
		if err := v.Ack([32]byte{1}); !errors.Is(err, terminal.ErrNotOutstanding) {
			t.Fatalf("an acknowledgement of another batch: %v", err)
		}
		for range 2 { // the reply may come twice
			if err := v.Ack(b.Hash); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestInstallRefusesWhatIsOlderOrForged(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	first := signedBundle(t, 1, [32]byte{}, rules(1))
	opened, err := bundle.Open(first, config(d).Roots, 2, start, 0)
	if err != nil {
		t.Fatal(err)
	}
	second := signedBundle(t, 2, opened.Digest(), rules(2))
	bad := append([]byte(nil), second...)
	bad[len(bad)-1] ^= 1
	if err := v.InstallBundle(start*1000, bad); err == nil {
		t.Error("a forged bundle was installed")
	}
	if err := v.InstallBundle(start*1000, second); err != nil {
		t.Fatal(err)
	}
	if err := v.InstallBundle(start*1000, first); !errors.Is(err, bundle.ErrOlder) {
		t.Errorf("an older bundle: %v", err)
	}
	if err := v.InstallBundle(start*1000, signedBundle(t, 4, [32]byte{}, rules(1))); !errors.Is(err, terminal.ErrOlderPolicy) {
		t.Errorf("an older policy in a newer bundle: %v", err)
	}
	if err := v.InstallList(start*1000, signedList(t, 3, start-30, 13, 14)); err != nil {
		t.Fatal(err)
	}
	if err := v.InstallList(start*1000, signedList(t, 2, start-20)); err == nil {
		t.Error("an older list was installed")
	}
	v = mustOpen(t, d.crash(loseAll))
	if s := v.Status(); s.Bundle != 2 || s.Policy != 2 || s.Lists[0].Seq != 3 {
		t.Errorf("after a reboot: %+v", s)
	}
	if d := mustTap(t, v, 0, toyCode(14, 1, start, true)); d.Reason != code.Denied || d.Record.ListVersion != 3 || d.Record.PolicyVersion != 2 {
		t.Errorf("a rider of the new list: %+v", d)
	}
}

func TestWithoutTrustTheGateIsShut(t *testing.T) {
	v := mustOpen(t, newDisk())
	if d := mustTap(t, v, 0, toyCode(1, 1, start, true)); d.Reason != code.UnknownIssuer {
		t.Errorf("no bundle: %q", d.Reason)
	}
	if err := v.InstallList(start*1000, signedList(t, 1, start)); !errors.Is(err, terminal.ErrNoTrust) {
		t.Errorf("a list before any bundle: %v", err)
	}
	v = ready(t, newDisk())
	if d := mustTap(t, v, 1_000_000, toyCode(1, 1, start, true)); d.Reason != code.IssuerCertExpired {
		t.Errorf("an expired bundle: %q", d.Reason)
	}
}

// TestRealDirectory runs a CT1 code, as bytes and as text, against a real disk.
func TestRealDirectory(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c := config(terminal.Dir(root))
	c.Schemes, c.Credentials = code.NewDispatcher(ct1.Scheme{}), code.NewCredentials(100)
	ready(t, terminal.Dir(root))
	v, err := terminal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	show := phone(t)
	if d := mustTap(t, v, 0, show(1)); !d.Open || d.Record.Party != 2 {
		t.Errorf("bytes: %+v", d)
	}
	text := []byte(ct1.Text(show(2)))
	if d := mustTap(t, v, 0, text); !d.Open || len(d.Record.Evidence) != 192 {
		t.Errorf("text: %+v", d)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = terminal.Open(c); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if d := mustTap(t, v, 1, text); d.Reason != code.Replayed || d.Record.Seq != 3 {
		t.Errorf("after reopening: %+v", d)
	}
	drain(t, v)
}

// phone gives a device that shows code after code.
func phone(t testing.TB) func(counter uint16) []byte {
	t.Helper()
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	suite, key, err := ct1.DeviceKey(&device.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	toSign, err := ct1.BuildCredential(ct1.Credential{Suite: suite, Rider: citygate.Rider{Issuer: issuer, List: 1, Index: 77}, KeyID: 1,
		IssuedAt: start - 100, TTLHours: 24, Cap: 10, Window: 30, DeviceKey: key})
	if err != nil {
		t.Fatal(err)
	}
	credential, err := ct1.Assemble(toSign, ed25519.Sign(privateKey("credential"), toSign))
	if err != nil {
		t.Fatal(err)
	}
	sign, err := ct1.Signer(device)
	if err != nil {
		t.Fatal(err)
	}
	return func(counter uint16) []byte {
		raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: start, Counter: counter, Party: 2}, sign)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
}

// TestRidersCountedAtTheReader: the operator can count more riders than the code
// states, never fewer, and no more than a code could state.
func TestRidersCountedAtTheReader(t *testing.T) {
	disk := newDisk()
	ready(t, disk)
	c := config(disk)
	c.Schemes = code.NewDispatcher(ct1.Scheme{})
	v, err := terminal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	show := phone(t) // a party of 2
	for i, tt := range []struct {
		riders, want uint8
		reason       code.Reason
	}{{0, 2, ""}, {1, 2, ""}, {5, 5, ""}, {tap.PartyMax, tap.PartyMax, ""}, {tap.PartyMax + 1, tap.PartyMax + 1, code.OverLimit}} {
		d, err := v.Tap(start*1000, show(uint16(i+1)), terminal.Input{MonotonicMS: uint64(i+1) * 1000, Clock: tap.ClockGNSS, Kind: tap.Single, Riders: tt.riders})
		if err != nil {
			t.Fatal(err)
		}
		if d.Reason != tt.reason || d.Record.Party != tt.want {
			t.Errorf("%d counted: %q with a party of %d, want %q with %d", tt.riders, d.Reason, d.Record.Party, tt.reason, tt.want)
		}
	}
}
