package denylist_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
)

func at(seq, issued uint32) denylist.Header {
	h := header(issued)
	h.Seq = seq
	return h
}

func mustDelta(t testing.TB, to *denylist.List, from uint32, changed ...uint32) *denylist.Delta {
	t.Helper()
	d, err := to.To(from, changed)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d.Sign(3, sign); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDeltaLayoutIsByteExact(t *testing.T) {
	next := mustSign(t, at(15, 100), []uint32{3, 5, 99})
	raw := mustDelta(t, next, 12, 4, 5, 20, 99).Bytes()
	// Two adds of 100 issued: k = 5. 5 = "0 10100", 99-5-1 = 93 = 2*32+29: "110 10111".
	// Two removes: 4 = "0 00100", 20-4-1 = 15 = "0 11110". In one stream, lowest bit first.
	want := []byte("DL1D\x00\x09\x00\x2f\x00\x00\x00\x0c\x00\x00\x00\x0f\x00\x00\x03\xe8\x00\x00\x07\xd0\x00\x00\x00\x64\x00\x02\x00\x02")
	stream := "010100" + "11010111" + "000100" + "011110"
	for len(stream)%8 != 0 {
		stream += "0"
	}
	for i := 0; i < len(stream); i += 8 {
		b := byte(0)
		for j := range 8 {
			b |= (stream[i+j] - '0') << j
		}
		want = append(want, b)
	}
	set := sha256.Sum256([]byte("\x00\x00\x00\x64\x00\x00\x00\x03\x00\x00\x00\x05\x00\x00\x00\x63"))
	want = append(append(want, set[:]...), 3)
	want = append(want, ed25519.Sign(issuerKey, signedPart(want))...)
	if !bytes.Equal(raw, want) {
		t.Errorf("got  %x\nwant %x", raw, want)
	}
}

// A history of a list, and what changed with each publication.
type history struct {
	lists   []*denylist.List // lists[i] has sequence number i+1
	changed []map[uint32]bool
}

func drawHistory(t *rapid.T) history {
	var h history
	set := map[uint32]bool{}
	issued := uint32(0)
	for seq := range rapid.IntRange(2, 8).Draw(t, "publications") {
		issued += rapid.Uint32Range(0, 900).Draw(t, "issued")
		changed := map[uint32]bool{}
		if issued > 0 {
			for range rapid.IntRange(0, 40).Draw(t, "changes") {
				idx := rapid.Uint32Range(0, issued-1).Draw(t, "idx")
				changed[idx] = true
				if set[idx] {
					delete(set, idx)
				} else {
					set[idx] = true
				}
			}
		}
		l, err := denylist.Build(at(uint32(seq+1), issued), slices.Sorted(maps.Keys(set)))
		if err != nil {
			t.Fatal(err)
		}
		if l, err = l.Sign(3, sign); err != nil {
			t.Fatal(err)
		}
		h.lists, h.changed = append(h.lists, l), append(h.changed, changed)
	}
	return h
}

// A delta leads from every list between its ends to the one at its end, byte for
// byte, also where an index came and went on the way.
func TestDeltaAppliedIsTheSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		to := rapid.IntRange(1, len(h.lists)-1).Draw(t, "to")
		from := rapid.IntRange(0, to-1).Draw(t, "from")
		touched := map[uint32]bool{}
		for _, c := range h.changed[from+1 : to+1] {
			maps.Copy(touched, c)
		}
		d, err := h.lists[to].To(uint32(from+1), slices.Sorted(maps.Keys(touched)))
		if err != nil {
			t.Fatal(err)
		}
		if d, err = d.Sign(3, sign); err != nil {
			t.Fatal(err)
		}
		if d, err = denylist.OpenDelta(d.Bytes(), keys); err != nil {
			t.Fatal(err)
		}
		held := h.lists[rapid.IntRange(from, to-1).Draw(t, "held")]
		if rapid.Bool().Draw(t, "restored") { // what a delta made, and a reboot
			again, err := d.Apply(held)
			if err != nil {
				t.Fatal(err)
			}
			stored := again.Stored()
			back, err := denylist.Restore(stored, keys)
			if err != nil || back.Header != again.Header || !bytes.Equal(back.Stored(), stored) {
				t.Fatalf("restored %+v, %v", back, err)
			}
		}
		got, err := d.Apply(held)
		if err != nil {
			t.Fatalf("from %d, held %d, to %d: %v", from+1, held.Seq, to+1, err)
		}
		want := h.lists[to]
		if got.Header != want.Header || got.Hash() != want.Hash() || got.Count() != want.Count() {
			t.Fatalf("applied %+v, want %+v", got.Header, want.Header)
		}
		signed, err := got.Sign(3, sign)
		if err != nil || !bytes.Equal(signed.Bytes(), want.Bytes()) {
			t.Fatalf("the list a delta makes has another code than its snapshot: %v", err)
		}
		adds, removes := denylist.Changes(held, want)
		for _, idx := range adds {
			if held.Denied(idx) || !got.Denied(idx) {
				t.Fatalf("%d is not an addition", idx)
			}
		}
		if held.Count()+len(adds)-len(removes) != want.Count() {
			t.Fatalf("%d + %d - %d is not %d", held.Count(), len(adds), len(removes), want.Count())
		}
	})
}

func TestApplyRefusals(t *testing.T) {
	held := mustSign(t, at(12, 100), []uint32{3, 4})
	next := mustSign(t, at(15, 100), []uint32{3, 5})
	good := mustDelta(t, next, 12, 4, 5)
	if _, err := good.Apply(held); err != nil {
		t.Fatalf("the good one: %v; the test proves nothing", err)
	}
	other := func(change func(h *denylist.Header)) *denylist.List {
		h := at(12, 100)
		change(&h)
		return mustSign(t, h, []uint32{3, 4})
	}
	for name, test := range map[string]struct {
		held *denylist.List
		want error
	}{
		"another list":              {other(func(h *denylist.Header) { h.List = 48 }), denylist.ErrWrongList},
		"another issuer":            {other(func(h *denylist.Header) { h.Issuer = 8 }), denylist.ErrWrongList},
		"there already":             {next, denylist.ErrOlder},
		"beyond":                    {other(func(h *denylist.Header) { h.Seq = 16 }), denylist.ErrOlder},
		"starts after what is held": {other(func(h *denylist.Header) { h.Seq = 11 }), denylist.ErrGap},
		"a fork before":             {mustSign(t, at(12, 100), []uint32{3, 4, 50}), denylist.ErrForked},
		"a fork at its end":         {mustSign(t, at(15, 100), []uint32{3}), denylist.ErrForked},
		"fewer issued than before":  {other(func(h *denylist.Header) { h.Issued = 101 }), denylist.ErrForked},
	} {
		if l, err := good.Apply(test.held); !errors.Is(err, test.want) || l != nil {
			t.Errorf("%s: %v, %v, want %v", name, l, err, test.want)
		}
	}
	if again := mustSign(t, at(15, 100), []uint32{3, 7}); !errors.Is(again.Replaces(next, 9, 47, 0, 1500), denylist.ErrForked) {
		t.Error("two lists of one sequence number are no fork")
	}
	if fewer := mustSign(t, at(16, 99), []uint32{3, 7}); !errors.Is(fewer.Replaces(next, 9, 47, 0, 1500), denylist.ErrForked) {
		t.Error("a list with fewer issued than before may follow")
	}
}

func TestDeltaRefusals(t *testing.T) {
	next := mustSign(t, at(15, 100), []uint32{3, 5})
	if _, err := next.To(15, nil); !errors.Is(err, denylist.ErrInvalid) {
		t.Errorf("a delta to itself: %v", err)
	}
	if _, err := next.To(1, []uint32{100}); !errors.Is(err, denylist.ErrInvalid) {
		t.Errorf("an index that was never issued: %v", err)
	}
	if _, err := next.To(1, []uint32{5, 5}); !errors.Is(err, denylist.ErrInvalid) {
		t.Errorf("twice the same: %v", err)
	}
	many := make([]uint32, denylist.ChangesMax+1)
	for i := range many {
		many[i] = uint32(i)
	}
	full := mustSign(t, at(15, 1<<20), many)
	if _, err := full.To(1, many); !errors.Is(err, denylist.ErrInvalid) {
		t.Errorf("more than fit: %v", err)
	}
	if d := mustDelta(t, full, 1, many[1:]...); len(d.Adds) != denylist.ChangesMax {
		t.Errorf("%d adds", len(d.Adds))
	}
	good := mustDelta(t, next, 12, 4, 5, 20).Bytes()
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := denylist.OpenDelta(bad, keys); err == nil {
			t.Fatalf("bit %d of byte %d flipped: accepted", bit%8, bit/8)
		}
	}
	snapshot := next.Bytes()
	if _, err := denylist.OpenDelta(snapshot, keys); !errors.Is(err, denylist.ErrMalformed) {
		t.Errorf("a snapshot passes for a delta: %v", err)
	}
	if _, err := denylist.Open(good, keys); !errors.Is(err, denylist.ErrMalformed) {
		t.Errorf("a delta passes for a snapshot: %v", err)
	}
	nobody := func(citygate.Issuer, uint8) (ed25519.PublicKey, bool) { return nil, false }
	if _, err := denylist.OpenDelta(good, nobody); !errors.Is(err, denylist.ErrNotTrusted) {
		t.Errorf("no key: %v", err)
	}
	applied, err := mustDelta(t, next, 12, 4, 5).Apply(mustSign(t, at(12, 100), []uint32{3, 4}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := denylist.Restore(applied.Stored(), nobody); !errors.Is(err, denylist.ErrNotTrusted) {
		t.Errorf("restored without a key: %v", err)
	}
	if l, err := denylist.RestoreUnproven(applied.Stored()); err != nil || l.Seq != 15 {
		t.Errorf("restored unproven: %v, %v", l, err)
	}
	stored := applied.Stored()
	for bit := range len(stored) * 8 {
		bad := bytes.Clone(stored)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := denylist.Restore(bad, keys); err == nil {
			t.Fatalf("stored, bit %d of byte %d flipped: accepted", bit%8, bit/8)
		}
	}
}

// Bytes that a careless publisher could sign.
func TestSecondFormsOfADeltaAreMalformed(t *testing.T) {
	next := mustSign(t, at(15, 100), []uint32{3, 99})
	good := mustDelta(t, next, 12, 4, 99).Bytes() // 99 = "10 110001", 4 = "0 001000"
	for name, change := range map[string]func(raw []byte) []byte{
		"a byte to spare": func(raw []byte) []byte { return slices.Insert(raw, 34, 0) },
		"a bit to spare": func(raw []byte) []byte {
			raw[33] |= 0x80
			return raw
		},
		"from what it leads to": func(raw []byte) []byte {
			binary.BigEndian.PutUint32(raw[8:], 15)
			return raw
		},
		"never valid": func(raw []byte) []byte {
			binary.BigEndian.PutUint32(raw[20:], 1000)
			return raw
		},
		"more changes than bits": func(raw []byte) []byte {
			binary.BigEndian.PutUint16(raw[28:], 60000)
			return raw
		},
		"an index that was not issued": func(raw []byte) []byte {
			binary.BigEndian.PutUint32(raw[24:], 99) // the same k
			return raw
		},
		"added and removed": func(raw []byte) []byte {
			raw[32], raw[33] = 0x08, 0x04 // twice "0 001000"
			return raw
		},
	} {
		if d, err := denylist.ParseDelta(change(bytes.Clone(good))); !errors.Is(err, denylist.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if _, err := denylist.ParseDelta(good); err != nil {
		t.Errorf("the good one: %v; the test proves nothing", err)
	}
}

func beats(t testing.TB, lists ...*denylist.List) *denylist.Heartbeat {
	t.Helper()
	h := &denylist.Heartbeat{Issuer: 9, At: 1500, ValidUntil: 3000}
	for _, l := range lists {
		h.Beats = append(h.Beats, denylist.Beat{List: l.List, Seq: l.Seq, Mark: l.Mark()})
	}
	h, err := h.Sign(3, sign)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeartbeatIsByteExact(t *testing.T) {
	h48 := at(7, 100)
	h48.List = 48
	l := mustSign(t, at(15, 100), []uint32{3, 5})
	signed := beats(t, l, mustSign(t, h48, nil))
	signed.Blocks = []denylist.Blocks{{{Day: 20804, First: 0, Size: 256}, {Day: 20805, First: 256, Size: 256}, {Day: 20804, First: 512, Size: 520}}, nil}
	signed, err := signed.Sign(3, sign)
	if err != nil {
		t.Fatal(err)
	}
	raw := signed.Bytes()
	hash := l.Hash()
	want := []byte("DL2H\x00\x09\x00\x00\x05\xdc\x00\x02" + "\x00\x2f\x00\x00\x00\x0f" + string(hash[:16]) +
		"\x00\x30\x00\x00\x00\x07" + string(make([]byte, 16)) +
		"\x03\x51\x44\x80\x02\x80\x02\x02\x88\x04\x01" + "\x00" + "\x00\x00\x0b\xb8\x03")
	want = append(want, ed25519.Sign(issuerKey, signedPart(want))...)
	if !bytes.Equal(raw, want) || len(raw) != 16+2*22+12+65 {
		t.Errorf("got  %x\nwant %x", raw, want)
	}
	got, err := denylist.OpenHeartbeat(raw, keys)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := got.Of(47); !ok || b.Seq != 15 || b.Empty() || b.Mark != l.Mark() {
		t.Errorf("list 47: %+v", b)
	}
	if b, ok := got.Of(48); !ok || !b.Empty() {
		t.Errorf("list 48: %+v", b)
	}
	if _, ok := got.Of(49); ok {
		t.Error("list 49 is there")
	}
	for bit := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := denylist.OpenHeartbeat(bad, keys); err == nil {
			t.Fatalf("bit %d of byte %d flipped: accepted", bit%8, bit/8)
		}
	}
	for name, bad := range map[string]*denylist.Heartbeat{
		"never valid":  {Issuer: 9, At: 5, ValidUntil: 5},
		"out of order": {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}, {List: 1}}},
		"twice":        {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}, {List: 2}}},
		"other blocks": {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}}, Blocks: []denylist.Blocks{nil, nil}},
		"a gap":        {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}}, Blocks: []denylist.Blocks{{{Day: 1, First: 1, Size: 2}}}},
		"no size":      {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}}, Blocks: []denylist.Blocks{{{Day: 1}}}},
		"no day":       {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}}, Blocks: []denylist.Blocks{{{Day: 1 << 16, Size: 1}}}},
		"too long":     {Issuer: 9, At: 5, ValidUntil: 6, Beats: []denylist.Beat{{List: 2}}, Blocks: []denylist.Blocks{{{Day: 1, Size: 1 << 31}, {Day: 1, First: 1 << 31, Size: 1 << 31}}}},
	} {
		if _, err := bad.Sign(3, sign); !errors.Is(err, denylist.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBlocksHoldWhatWasIssuedOnTheirDay(t *testing.T) {
	b := denylist.Blocks{{Day: 20, First: 0, Size: 256}, {Day: 20, First: 256, Size: 512}, {Day: 21, First: 768, Size: 256}}
	const noon = 43_200
	for _, test := range []struct {
		idx  uint32
		at   int64
		want bool
	}{
		{0, 20 * 86_400, true}, {255, 20*86_400 + 86_399, true}, {767, 20*86_400 + noon, true}, {768, 20*86_400 + noon, false},
		{768, 21*86_400 + noon, true}, {1023, 21*86_400 + noon, true}, {1024, 21*86_400 + noon, false}, {5, 21 * 86_400, false},
		{5, 19*86_400 + noon, false}, {1 << 31, 21 * 86_400, false},
	} {
		if got := b.Hold(test.idx, test.at); got != test.want {
			t.Errorf("index %d at day %d: %v", test.idx, test.at/86_400, got)
		}
	}
	if (denylist.Blocks{}).Hold(0, 0) {
		t.Error("no blocks hold something")
	}
	l := mustSign(t, denylist.Header{Issuer: 9, List: 47, Seq: 1, BuiltAt: 10_000, ValidUntil: 20_000, Issued: 256}, nil)
	for _, test := range []struct {
		idx  uint32
		at   int64
		want bool
	}{{255, 0, false}, {256, 10_000 - 901, true}, {256, 10_000 - 900, false}, {256, 15_000, false}} {
		if got := l.NeverIssued(test.idx, test.at); got != test.want {
			t.Errorf("NeverIssued(%d, %d) = %v", test.idx, test.at, got)
		}
	}
}

// FuzzParseDelta checks that one change has one byte form.
func FuzzParseDelta(f *testing.F) {
	next := mustSign(f, at(15, 5000), sample(5000, 300))
	f.Add(mustDelta(f, next, 3).Bytes())
	f.Add(mustDelta(f, next, 14, sample(5000, 40)...).Bytes())
	f.Add(mustDelta(f, mustSign(f, at(2, 1<<32-1), []uint32{0, 1 << 31}), 1, 0, 7, 1<<31).Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := denylist.ParseDelta(raw)
		if (d == nil) != (err != nil) {
			t.Fatalf("ParseDelta = %v, %v; want exactly one", d, err)
		}
		if err != nil {
			return
		}
		again, err := d.Sign(d.KeyID, func([]byte) ([]byte, error) { return raw[len(raw)-64:], nil })
		if err != nil || !bytes.Equal(again.Bytes(), raw) {
			t.Errorf("two encodings of one delta: %x and %x", raw, again.Bytes())
		}
	})
}

// A heartbeat finds out what was never issued: an index of another day's block,
// or beyond the last one some while after. What it cannot know it lets through.
func TestHeartbeatFindsWhatWasNeverIssued(t *testing.T) {
	const day, hour = 86_400, 3600
	h := &denylist.Heartbeat{
		Issuer: 9, At: 102*day + 12*hour, ValidUntil: 103 * day, Beats: []denylist.Beat{{List: 1, Seq: 1}, {List: 2, Seq: 1}},
		Blocks: []denylist.Blocks{{{Day: 100, Size: 256}, {Day: 101, First: 256, Size: 512}, {Day: 100, First: 768, Size: 256}, {Day: 102, First: 1024, Size: 256}}, nil},
	}
	h, err := h.Sign(3, sign)
	if err != nil {
		t.Fatal(err)
	}
	if h, err = denylist.OpenHeartbeat(h.Bytes(), keys); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what     string
		list     uint16
		idx      uint32
		issuedAt int64
		want     bool
	}{
		{"of its day", 1, 0, 100 * day, false},
		{"of its day, the last one", 1, 767, 102*day - 1, false},
		{"of a day with two blocks", 1, 768, 100*day + hour, false},
		{"of the day after", 1, 0, 101 * day, true},
		{"of the day before", 1, 256, 101*day - 1, true},
		{"dated back", 1, 1024, 101 * day, true},
		{"of tomorrow", 1, 1024, 103 * day, true},
		{"beyond the end, of this morning", 1, 1280, 102*day + hour, true},
		{"beyond the end, of just now", 1, 1280, 102*day + 12*hour - 60, false},
		{"of a list that it says nothing of", 2, 5, 100 * day, false},
		{"of a list that it does not name", 3, 5, 100 * day, false},
	} {
		if got := h.NeverIssued(c.list, c.idx, c.issuedAt); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

// FuzzParseHeartbeat checks the same for heartbeats.
func FuzzParseHeartbeat(f *testing.F) {
	f.Add(beats(f).Bytes())
	some := beats(f, mustSign(f, at(15, 5000), sample(5000, 300)))
	f.Add(some.Bytes())
	some.Blocks = []denylist.Blocks{{{Day: 9, Size: 256}, {Day: 12, First: 256, Size: 1 << 20}, {Day: 11, First: 256 + 1<<20, Size: 7}}}
	some, err := some.Sign(3, sign)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(some.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := denylist.ParseHeartbeat(raw)
		if (h == nil) != (err != nil) {
			t.Fatalf("ParseHeartbeat = %v, %v; want exactly one", h, err)
		}
		if err != nil {
			return
		}
		again, err := h.Sign(h.KeyID, func([]byte) ([]byte, error) { return raw[len(raw)-64:], nil })
		if err != nil || !bytes.Equal(again.Bytes(), raw) {
			t.Errorf("two encodings of one heartbeat: %x and %x", raw, again.Bytes())
		}
	})
}

// FuzzRestore checks that what a terminal keeps of a list is read back as it was.
func FuzzRestore(f *testing.F) {
	held := mustSign(f, at(12, 5000), sample(5000, 200))
	next := mustSign(f, at(15, 5000), sample(5000, 300))
	adds, removes := denylist.Changes(held, next)
	changed := append(adds, removes...)
	slices.Sort(changed)
	applied, err := mustDelta(f, next, 12, changed...).Apply(held)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(applied.Stored())
	f.Add(next.Stored())
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := denylist.RestoreUnproven(raw)
		if (l == nil) != (err != nil) {
			t.Fatalf("RestoreUnproven = %v, %v; want exactly one", l, err)
		}
		if err == nil && !bytes.Equal(l.Stored(), raw) {
			t.Errorf("two stored forms of one list: %x and %x", raw, l.Stored())
		}
	})
}

// BenchmarkApply applies 1,000 changes to 1,000,000 of 100,000,000.
func BenchmarkApply(b *testing.B) {
	const issued = 100_000_000
	set := sample(issued, 1_000_000)
	held := mustSign(b, at(1, issued), set)
	rnd := rand.New(rand.NewPCG(3, 4))
	next := map[uint32]bool{}
	for _, idx := range set {
		next[idx] = true
	}
	for range 950 {
		next[uint32(rnd.IntN(issued))] = true
	}
	for range 50 {
		delete(next, set[rnd.IntN(len(set))])
	}
	want := mustSign(b, at(2, issued), slices.Sorted(maps.Keys(next)))
	adds, removes := denylist.Changes(held, want)
	changed := append(adds, removes...)
	slices.Sort(changed)
	raw := mustDelta(b, want, 1, changed...).Bytes()
	b.ReportMetric(float64(len(raw)), "bytes")
	for b.Loop() {
		d, err := denylist.OpenDelta(raw, keys)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Apply(held); err != nil {
			b.Fatal(err)
		}
	}
}
