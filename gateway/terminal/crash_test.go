package terminal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
)

// A gateway that remembers what it was sent and objects to anything a sound
// journal never sends.
type gateway struct {
	records  map[uint64]tap.Record
	digests  map[uint64][32]byte
	batches  map[uint64][32]byte // first sequence number -> hash
	last     [32]byte
	lastNext uint64
}

func newGateway() *gateway {
	return &gateway{records: map[uint64]tap.Record{}, digests: map[uint64][32]byte{}, batches: map[uint64][32]byte{}, lastNext: 1}
}

func (g *gateway) receive(raw []byte) ([32]byte, error) {
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return [32]byte{}, err
	}
	if err := b.Verify(public("terminal")); err != nil {
		return [32]byte{}, err
	}
	records, err := b.Records()
	if err != nil {
		return [32]byte{}, err
	}
	if hash, ok := g.batches[b.First]; ok {
		if hash != b.Hash {
			return [32]byte{}, fmt.Errorf("two batches start at %d", b.First)
		}
		return b.Hash, nil
	}
	if b.First != g.lastNext || b.Prev != g.last {
		return [32]byte{}, fmt.Errorf("batch at %d does not follow the one before %d", b.First, g.lastNext)
	}
	for i, encoded := range b.Encoded() {
		r := records[i]
		if old, ok := g.digests[r.Seq]; ok && old != tap.Digest(encoded) {
			return [32]byte{}, fmt.Errorf("number %d has two contents", r.Seq)
		}
		g.digests[r.Seq], g.records[r.Seq] = tap.Digest(encoded), r
	}
	g.batches[b.First], g.last, g.lastNext = b.Hash, b.Hash, b.First+uint64(b.Count)
	return b.Hash, nil
}

// A run is a hundred taps on one disk and what the world saw of them.
type run struct {
	disk    *disk
	gateway *gateway
	opened  []tap.Record
	now     int64 // of the last tap
	bundled bool
	listed  bool
	updated bool
}

func (r *run) open() (*terminal.Verifier, error) {
	c := config(r.disk)
	c.SegmentBytes = 600 // a handful of records: segments come and go in the run
	return terminal.Open(c)
}

// play taps until the disk stops, as one boot of a terminal does.
func (r *run) play(bundle, list, change []byte) {
	v, err := r.open()
	if err != nil {
		return
	}
	if v.InstallBundle(start*1000, bundle) != nil {
		return
	}
	r.bundled = true
	if v.InstallList(start*1000, list) != nil {
		return
	}
	r.listed = true
	for i := range int64(100) {
		r.now = i * 20
		raw := toyCode(uint32(i%7), uint16(i), start+r.now, true)
		switch i % 10 {
		case 3:
			raw = toyCode(13, uint16(i), start+r.now, true) // denied
		case 5:
			raw = toyCode(1, uint16(i), start+r.now, false) // forged
		case 8:
			raw = toyCode(uint32((i-1)%7), uint16(i-1), start+r.now-20, true) // replayed
		}
		now, in := at(r.now)
		d, err := v.Tap(now, raw, in)
		if err != nil {
			return
		}
		if d.Open {
			r.opened = append(r.opened, d.Record)
		}
		if i == 50 {
			if v.InstallDelta(now, change) != nil {
				return
			}
			r.updated = true
		}
		if i%15 == 14 {
			if r.upload(v, i%2 == 0) != nil {
				return
			}
		}
	}
}

// upload sends one batch; when the reply is lost the terminal hears nothing.
func (r *run) upload(v *terminal.Verifier, lost bool) error {
	batch, err := v.NextBatch(0)
	if err != nil || batch == nil {
		return err
	}
	hash, err := r.gateway.receive(batch)
	if err != nil || lost {
		return err
	}
	return v.Ack(hash)
}

// check reboots on what the crash left and holds every promise of the package.
func (r *run) check() error {
	v, err := r.open()
	if err != nil {
		return fmt.Errorf("open after the crash: %w", err)
	}
	s := v.Status()
	if r.bundled && s.Bundle != 1 || r.listed && len(s.Lists) != 1 || r.updated && s.Lists[0].Seq != 2 {
		return fmt.Errorf("an installed bundle or list is gone: %+v", s)
	}
	now, in := at(r.now)
	in.MonotonicMS = 5 // another boot
	for _, rec := range r.opened {
		d, err := v.Tap(now, rec.Evidence, in)
		if err != nil {
			return fmt.Errorf("tap after the crash: %w", err)
		}
		fresh := now <= rec.EventTime+(window+skew)*1000
		if d.Open || fresh && d.Reason != code.Replayed {
			return fmt.Errorf("record %d shown again after the crash: open %v, %q", rec.Seq, d.Open, d.Reason)
		}
	}
	for v.Pending() > 0 {
		if err := r.upload(v, false); err != nil {
			return fmt.Errorf("upload after the crash: %w", err)
		}
	}
	accepted := map[string]int{}
	for _, got := range r.gateway.records {
		if got.Accepted {
			accepted[string(got.Evidence)]++
		}
	}
	for _, rec := range r.opened {
		got, ok := r.gateway.records[rec.Seq]
		if !ok || !got.Accepted || !bytes.Equal(got.Evidence, rec.Evidence) {
			return fmt.Errorf("the gate opened for record %d and the gateway got %+v", rec.Seq, got)
		}
	}
	for evidence, n := range accepted {
		if n > 1 {
			return fmt.Errorf("%x is accepted %d times", evidence, n)
		}
	}
	return nil
}

// objects are what a run installs: the delta comes half-way.
func objects(t testing.TB) (bundle, snapshot, change []byte) {
	return signedBundle(t, 1, [32]byte{}, rules(1)), signedList(t, 1, start-60, 13), delta(t, list(t, 1, 2, start-30, 13, 99), 1, 99)
}

// enumerate stops a run before and after every call, crashes in every way, and
// gives the first broken promise.
func enumerate(t *testing.T, prepare func(*disk)) (runs int, err error) {
	t.Helper()
	bundle, list, change := objects(t)
	whole := &run{disk: newDisk(), gateway: newGateway()}
	whole.play(bundle, list, change)
	if len(whole.opened) != 70 {
		t.Fatalf("an undisturbed run opened %d times, want 70", len(whole.opened))
	}
	for stop := 1; stop <= whole.disk.calls; stop++ {
		for _, after := range []bool{false, true} {
			for mode := range modes {
				r := &run{disk: newDisk(), gateway: newGateway()}
				r.disk.stopAt, r.disk.after = stop, after
				if prepare != nil {
					prepare(r.disk)
				}
				r.play(bundle, list, change)
				r.disk = r.disk.crash(mode)
				runs++
				if err := r.check(); err != nil {
					return runs, fmt.Errorf("call %d, after %v, mode %d: %w", stop, after, mode, err)
				}
			}
		}
	}
	return runs, nil
}

func TestCrashAtEveryCallLosesNothing(t *testing.T) {
	runs, err := enumerate(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crashes", runs)
}

// TestEverySyncIsNeeded takes each kind of sync away; a crash must then break a
// promise. A sync that nothing misses would be a cost without a reason.
func TestEverySyncIsNeeded(t *testing.T) {
	whole := &run{disk: newDisk(), gateway: newGateway()}
	kinds := map[string]bool{}
	kind := func(name string) string { return strings.TrimRight(name, "0123456789abcdef.") }
	whole.disk.loseSync = func(name string) bool { kinds[kind(name)] = true; return false }
	whole.play(objects(t))
	if len(kinds) != 10 {
		t.Fatalf("kinds of sync: %v", kinds)
	}
	for lost := range kinds {
		if _, err := enumerate(t, func(d *disk) {
			d.loseSync = func(name string) bool { return kind(name) == lost }
		}); err == nil {
			t.Errorf("without the sync of %s every promise holds", lost)
		} else {
			t.Logf("without the sync of %s: %v", lost, err)
		}
	}
}

func TestTornTailIsCut(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	for i := range int64(3) {
		mustTap(t, v, i, toyCode(1, uint16(i), start+i, true))
	}
	var name string
	for n := range d.names {
		if strings.HasPrefix(n, "journal-") {
			name = n
		}
	}
	whole := bytes.Clone(d.names[name].data)
	for cut := 1; cut < 40; cut++ {
		d = d.crash(keepAll)
		d.names[name].data = bytes.Clone(whole[:len(whole)-cut])
		v := mustOpen(t, d)
		if got := v.Pending(); got != 2 {
			t.Fatalf("%d bytes short: %d records, want 2", cut, got)
		}
		if d := mustTap(t, v, 9, toyCode(2, 9, start+9, true)); !d.Open || d.Record.Seq != 3 {
			t.Fatalf("tap on the cut journal: %+v", d)
		}
		if again := mustOpen(t, d.crash(loseAll)); again.Pending() != 3 {
			t.Fatalf("%d records after the second boot", again.Pending())
		}
	}
	// Damage before the tail is not a torn tail: records that were durable are gone.
	d = d.crash(keepAll)
	d.names[name].data = bytes.Clone(whole)
	d.names[name].data[60] ^= 1
	if _, err := terminal.Open(config(d)); !errors.Is(err, terminal.ErrCorrupt) {
		t.Errorf("a damaged first record: %v", err)
	}
}

func TestFullDiskKeepsTheGateShut(t *testing.T) {
	for _, tear := range []bool{false, true} {
		d := newDisk()
		v := ready(t, d)
		mustTap(t, v, 0, toyCode(1, 1, start, true))
		d.free, d.tornWrite = 50, tear
		now, in := at(1)
		got, err := v.Tap(now, toyCode(1, 2, start+1, true), in)
		if !errors.Is(err, terminal.ErrJournal) || got.Open || got.Reason != code.InternalError {
			t.Fatalf("disk full: %+v, %v", got, err)
		}
		if r := mustOpen(t, d.crash(keepAll)); r.Pending() != 1 {
			t.Errorf("%d records after a full disk, want 1", r.Pending())
		}
		d.free = -1
		if got := mustTap(t, v, 2, toyCode(1, 2, start+1, true)); !got.Open || got.Record.Seq != 2 {
			t.Errorf("after room was made, the same code: %+v", got)
		}
	}
}

func TestFailedSyncStopsTheJournal(t *testing.T) {
	d := newDisk()
	v := ready(t, d)
	mustTap(t, v, 0, toyCode(1, 1, start, true))
	d.failSync = true
	now, in := at(1)
	if got, err := v.Tap(now, toyCode(1, 2, start+1, true), in); err == nil || got.Open {
		t.Fatalf("%+v, %v", got, err)
	}
	d.failSync = false // the next sync would report success for lost pages
	if got, err := v.Tap(now, toyCode(1, 3, start+1, true), in); !errors.Is(err, terminal.ErrJournal) || got.Open {
		t.Fatalf("after a failed sync: %+v, %v", got, err)
	}
	if got := mustTap(t, mustOpen(t, d.crash(keepAll)), 1, toyCode(1, 3, start+1, true)); !got.Open {
		t.Errorf("after a reboot: %+v", got)
	}
}
