package terminal_test

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
)

func signBy(name string) func([]byte) ([]byte, error) {
	return func(m []byte) ([]byte, error) { return ed25519.Sign(privateKey(name), m), nil }
}

// list makes a signed list of number n of the issuer.
func list(t testing.TB, n uint16, seq uint32, builtAt int64, denied ...uint32) *denylist.List {
	t.Helper()
	l, err := denylist.Build(denylist.Header{Issuer: issuer, List: n, Seq: seq, BuiltAt: builtAt, ValidUntil: builtAt + 86_400, Issued: 100_000}, denied)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = l.Sign(1, signBy("denylist")); err != nil {
		t.Fatal(err)
	}
	return l
}

func delta(t testing.TB, to *denylist.List, from uint32, changed ...uint32) []byte {
	t.Helper()
	d, err := to.To(from, changed)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d.Sign(1, signBy("denylist")); err != nil {
		t.Fatal(err)
	}
	return d.Bytes()
}

func beat(t testing.TB, key string, at int64, lists ...*denylist.List) []byte {
	t.Helper()
	h := &denylist.Heartbeat{Issuer: issuer, At: at, ValidUntil: at + 86_400}
	for _, l := range lists {
		h.Beats = append(h.Beats, denylist.Beat{List: l.List, Seq: l.Seq, Mark: l.Mark()})
	}
	h, err := h.Sign(1, signBy(key))
	if err != nil {
		t.Fatal(err)
	}
	return h.Bytes()
}

// beating gives a terminal whose bundle lets the deny list key sign heartbeats.
func beating(t testing.TB, d *disk) *terminal.Verifier {
	t.Helper()
	v := mustOpen(t, d)
	if err := v.InstallBundle(start*1000, bundleWith(t, 1, func(b *bundle.Bundle) {
		b.Keys[1].Usage = bundle.ForDenyList | bundle.ForHeartbeat
	})); err != nil {
		t.Fatal(err)
	}
	return v
}

func install(t testing.TB, v *terminal.Verifier, seconds int64, raw []byte) {
	t.Helper()
	if err := v.Install((start+seconds)*1000, raw); err != nil {
		t.Fatal(err)
	}
}

// A delta takes effect as its snapshot would, after a reboot too, and only on the
// list it is for.
func TestDeltaIsInstalled(t *testing.T) {
	d := newDisk()
	v := ready(t, d) // sequence 1 denies 13
	third := list(t, 1, 3, start-30, 14, 15)
	raw := delta(t, third, 1, 13, 14, 15)
	before := v.Status().Lists[0].Bytes
	install(t, v, 0, raw)
	install(t, v, 0, raw)           // again: nothing
	install(t, v, 0, third.Bytes()) // and its snapshot: nothing
	for range 2 {
		s := v.Status().Lists[0]
		if s.Seq != 3 || s.Denied != 2 || s.At != start-30 || s.Bytes <= before {
			t.Fatalf("%+v", s)
		}
		for idx, want := range map[uint32]code.Reason{13: "", 14: code.Denied, 15: code.Denied} {
			got := mustTap(t, v, 0, toyCode(idx, uint16(v.Status().NextSeq), start, true))
			if got.Reason != want || got.Record.ListVersion != 3 || got.Record.ListAt != start-30 {
				t.Errorf("rider %d: %q by list %d of %d, want %q", idx, got.Reason, got.Record.ListVersion, got.Record.ListAt, want)
			}
		}
		v = mustOpen(t, d.crash(loseAll))
	}
	names, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(names, "deny-7-1.a") == slices.Contains(names, "deny-7-1.b") {
		t.Errorf("the disk holds both versions or none: %v", names)
	}
	fourth := list(t, 1, 4, start-20, 14)
	install(t, v, 0, delta(t, fourth, 3, 15)) // on what a delta made and a reboot restored
	if s := v.Status().Lists[0]; s.Seq != 4 || s.Denied != 1 {
		t.Errorf("%+v", s)
	}
}

func TestListObjectsThatAreRefused(t *testing.T) {
	held := list(t, 1, 5, start-100, 13)
	next := list(t, 1, 6, start-50, 13, 14)
	good := delta(t, next, 5, 14)
	wrongKey := func(sign string) []byte { // a genuine key of the issuer, of another use
		d, err := next.To(5, []uint32{14})
		if err != nil {
			t.Fatal(err)
		}
		if d, err = d.Sign(1, signBy(sign)); err != nil {
			t.Fatal(err)
		}
		return d.Bytes()
	}
	other := list(t, 2, 6, start-50, 14)
	foreign, err := denylist.Build(denylist.Header{Issuer: issuer + 1, List: 1, Seq: 6, BuiltAt: start - 50, ValidUntil: start + 86_400, Issued: 100_000}, []uint32{13})
	if err != nil {
		t.Fatal(err)
	}
	if foreign, err = foreign.Sign(1, signBy("denylist")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		raw  []byte
		want error
	}{
		"delta by the credential key":     {wrongKey("credential"), denylist.ErrNotTrusted},
		"delta by nobody's key":           {wrongKey("eve"), denylist.ErrNotTrusted},
		"delta of a list not held":        {delta(t, other, 5, 14), terminal.ErrNoList},
		"delta of another issuer":         {delta(t, foreign, 5, 13), denylist.ErrNotTrusted},
		"delta from ahead":                {delta(t, list(t, 1, 9, start-50, 13), 7, 14), denylist.ErrGap},
		"delta to before":                 {delta(t, list(t, 1, 4, start-50), 3, 13), denylist.ErrOlder},
		"delta of a fork":                 {delta(t, list(t, 1, 6, start-50, 14, 15), 5, 14), denylist.ErrForked},
		"fork at the sequence held":       {list(t, 1, 5, start-100, 14).Bytes(), denylist.ErrForked},
		"delta past its time":             {delta(t, list(t, 1, 6, start-86_401, 13, 14), 5, 14), denylist.ErrExpired},
		"heartbeat by the deny list key":  {beat(t, "denylist", start, held), denylist.ErrNotTrusted}, // the bundle does not let it
		"heartbeat by the credential key": {beat(t, "credential", start, held), denylist.ErrNotTrusted},
		"something else":                  {[]byte("DL2S"), denylist.ErrMalformed},
		"nothing":                         {nil, denylist.ErrMalformed},
	} {
		d := newDisk()
		v := ready(t, d)
		install(t, v, 0, held.Bytes())
		if err := v.Install(start*1000, test.raw); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		for range 2 { // what is held stays, also on the disk
			if s := v.Status(); len(s.Lists) != 1 || s.Lists[0].Seq != 5 || s.Lists[0].Denied != 1 {
				t.Errorf("%s: afterwards %+v", name, s.Lists)
			}
			v = mustOpen(t, d.crash(loseAll))
		}
		install(t, v, 0, good)
	}
	for err, want := range map[error]bool{denylist.ErrForked: true, denylist.ErrGap: true, terminal.ErrNoList: true, denylist.ErrOlder: false, denylist.ErrNotTrusted: false} {
		if terminal.NeedsSnapshot(err) != want {
			t.Errorf("%v: a snapshot cures it: %v", err, !want)
		}
	}
}

// A list that a heartbeat confirms is as fresh as the heartbeat; one that it does
// not is not, and a fork is refused either way round.
func TestHeartbeatKeepsAListFresh(t *testing.T) {
	d := newDisk()
	v := beating(t, d)
	held := list(t, 1, 5, start, 13)
	install(t, v, 0, held.Bytes())
	if d := mustTap(t, v, 9000, toyCode(1, 1, start+9000, true)); d.Reason != code.StaleList {
		t.Fatalf("without a heartbeat: %q", d.Reason)
	}
	if err := v.Install((start+9000)*1000, beat(t, "denylist", start+8000, list(t, 1, 5, start, 14))); !errors.Is(err, denylist.ErrForked) {
		t.Errorf("a heartbeat of another list: %v", err)
	}
	install(t, v, 9000, beat(t, "denylist", start+8000, list(t, 1, 6, start+7000, 13)))
	if d := mustTap(t, v, 9001, toyCode(1, 2, start+9001, true)); d.Reason != code.StaleList {
		t.Errorf("the heartbeat names a newer list: %q", d.Reason)
	}
	if err := v.Install((start+9000)*1000, list(t, 1, 6, start+7000, 77).Bytes()); !errors.Is(err, denylist.ErrForked) {
		t.Errorf("another list than the heartbeat names: %v", err)
	}
	confirm := beat(t, "denylist", start+8500, held)
	install(t, v, 9000, confirm)
	install(t, v, 9000, confirm)
	for range 2 {
		got := mustTap(t, v, 9002, toyCode(1, uint16(10+v.Status().NextSeq), start+9002, true))
		if !got.Open || got.Record.ListVersion != 5 || got.Record.ListAt != start+8500 {
			t.Errorf("confirmed: %+v", got)
		}
		v = mustOpen(t, d.crash(keepAll))
	}
	if v := mustOpen(t, d.crash(loseAll)); v.Status().Lists[0].At > start+8500 || v.Status().Lists[0].Seq != 5 {
		t.Errorf("after a crash that loses the heartbeat: %+v", v.Status().Lists)
	}
	if s := v.Status(); s.Floor < (start+8500)*1000 {
		t.Errorf("the heartbeat does not hold the clock: %+v", s)
	}
	for name, test := range map[string]struct {
		raw  []byte
		want error
	}{
		"older":         {beat(t, "denylist", start+8000, held), denylist.ErrOlder},
		"same time":     {beat(t, "denylist", start+8500), denylist.ErrOlder},
		"past its time": {beat(t, "denylist", start+9000-90_000, held), denylist.ErrOlder},
	} {
		if err := v.Install((start+9000)*1000, test.raw); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.Install((start+200_000)*1000, beat(t, "denylist", start+8600, held)); !errors.Is(err, denylist.ErrExpired) {
		t.Errorf("past its time: %v", err)
	}
}

// A list that is not there counts as empty only if the heartbeat says that it is.
func TestMissingListIsEmptyByHeartbeatAlone(t *testing.T) {
	const late = 8000 // the credential itself is too old to speak for the rider
	for name, test := range map[string]struct {
		lists []*denylist.List
		want  code.Reason
	}{
		"said to be empty":    {[]*denylist.List{list(t, 1, 3, start)}, ""},
		"said to deny riders": {[]*denylist.List{list(t, 1, 3, start, 13)}, code.StaleList},
		"not named":           {[]*denylist.List{list(t, 2, 3, start)}, code.StaleList},
	} {
		v := beating(t, newDisk())
		install(t, v, late, beat(t, "denylist", start+late-10, test.lists...))
		got := mustTap(t, v, late, toyCode(1, 1, start+late, true))
		if got.Reason != test.want {
			t.Errorf("%s: %q, want %q", name, got.Reason, test.want)
		}
		if got.Open && (got.Record.ListVersion != 3 || got.Record.ListAt != start+late-10) {
			t.Errorf("%s: %+v", name, got.Record)
		}
	}
	v := beating(t, newDisk())
	if got := mustTap(t, v, 100, toyCode(1, 1, start+100, true)); !got.Open || got.Record.ListVersion != 0 {
		t.Errorf("no list at all, but a credential of a quarter of an hour ago: %+v", got)
	}
}

func TestEndedListsAreDropped(t *testing.T) {
	d := newDisk()
	v := beating(t, d)
	old, live := list(t, 1, 5, start, 13), list(t, 2, 5, start+80_000)
	install(t, v, 0, old.Bytes())
	install(t, v, 80_000, live.Bytes())
	install(t, v, 80_000, beat(t, "denylist", start+80_000, live))
	if s := v.Status(); len(s.Lists) != 2 {
		t.Errorf("not named, but not past its time: %+v", s.Lists)
	}
	install(t, v, 86_400, beat(t, "denylist", start+86_400, live))
	for range 2 {
		if s := v.Status(); len(s.Lists) != 1 || s.Lists[0].List != 2 {
			t.Errorf("%+v", s.Lists)
		}
		v = mustOpen(t, d.crash(keepAll))
	}
}

// A list whose key was revoked is not used any more, and an older one does not
// come back in its place.
func TestRevokedKeyLeavesTheSequenceNumber(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	install(t, v, 0, list(t, 1, 9, start-30, 13).Bytes())
	opened, err := bundle.Open(signedBundle(t, 1, [32]byte{}, rules(1)), config(d).Roots, 2, start, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.InstallBundle(start*1000, bundleWith(t, 2, func(b *bundle.Bundle) {
		b.Prev = opened.Digest()
		next := b.Keys[1]
		next.KeyID, next.Public = 2, public("denylist 2")
		b.Keys[1].State = bundle.Revoked
		b.Keys = append(b.Keys, next)
	})); err != nil {
		t.Fatal(err)
	}
	v = mustOpen(t, d.crash(loseAll))
	if s := v.Status(); len(s.Lists) != 0 {
		t.Fatalf("the list of a revoked key is in use: %+v", s.Lists)
	}
	by2 := func(seq uint32) []byte {
		l, err := denylist.Build(denylist.Header{Issuer: issuer, List: 1, Seq: seq, BuiltAt: start - 20, ValidUntil: start + 1000, Issued: 100_000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if l, err = l.Sign(2, signBy("denylist 2")); err != nil {
			t.Fatal(err)
		}
		return l.Bytes()
	}
	if err := v.Install(start*1000, by2(8)); !errors.Is(err, denylist.ErrOlder) {
		t.Errorf("an older list by a new key: %v", err)
	}
	install(t, v, 0, by2(10))
}

// An index beyond what was issued when the list was made cannot be of a credential
// from before: somebody has the key and dates back.
func TestNeverIssuedIsRefusedOffline(t *testing.T) {
	v := mustOpen(t, newDisk())
	if err := v.InstallBundle(start*1000, signedBundle(t, 1, [32]byte{}, rules(1))); err != nil {
		t.Fatal(err)
	}
	install(t, v, 0, list(t, 1, 1, start).Bytes()) // 100,000 issued; the toy's credentials are of start - 1000
	if d := mustTap(t, v, 0, toyCode(100_000, 1, start, true)); d.Reason != code.NotIssued {
		t.Errorf("beyond n: %q", d.Reason)
	}
	if d := mustTap(t, v, 0, toyCode(99_999, 1, start, true)); !d.Open {
		t.Errorf("the last one: %q", d.Reason)
	}
}

// With the heartbeat's blocks a credential of another day than its index is
// refused offline, also of a list that denies nobody and is not held.
func TestBlocksAreHeldOffline(t *testing.T) {
	d := newDisk()
	v := beating(t, d)
	day := denylist.Day(start - 1000) // of the toy's credentials
	h := &denylist.Heartbeat{
		Issuer: issuer, At: start, ValidUntil: start + 86_400, Beats: []denylist.Beat{{List: 1, Seq: 1}},
		Blocks: []denylist.Blocks{{{Day: day - 1, Size: 256}, {Day: day, First: 256, Size: 256}}},
	}
	h, err := h.Sign(1, signBy("denylist"))
	if err != nil {
		t.Fatal(err)
	}
	install(t, v, 0, h.Bytes())
	v = mustOpen(t, d.crash(keepAll)) // it is on the disk
	if got := mustTap(t, v, 0, toyCode(255, 1, start, true)); got.Reason != code.NotIssued {
		t.Errorf("an index of the day before: %q", got.Reason)
	}
	if got := mustTap(t, v, 0, toyCode(256, 1, start, true)); !got.Open {
		t.Errorf("an index of its day: %q", got.Reason)
	}
	if got := mustTap(t, v, 0, toyCode(512, 1, start, true)); got.Reason != code.NotIssued {
		t.Errorf("an index of no block: %q", got.Reason)
	}
}
