package fleet

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func tapAt(seq uint64, minute int, bundle uint64) Sighting {
	return Sighting{Seq: seq, At: noon.Add(time.Duration(minute) * time.Minute), Bundle: bundle}
}

func TestWhatATerminalHeldIsJudgedByWhenItHeldIt(t *testing.T) {
	for _, c := range []struct {
		what    string
		uploads [][]Sighting
		floor   uint64
		flag    Flag // "" = nothing is wrong
	}{
		{"newer and newer", [][]Sighting{{tapAt(1, 1, 3), tapAt(2, 2, 4)}, {tapAt(3, 3, 5)}}, 5, ""},
		{"an old batch that comes late", [][]Sighting{{tapAt(11, 11, 4)}, {tapAt(1, 1, 3)}}, 4, ""},
		{"an old batch that comes again", [][]Sighting{{tapAt(1, 1, 3)}, {tapAt(2, 2, 4)}, {tapAt(1, 1, 3)}}, 4, ""},
		{"a batch that shows that it was held earlier", [][]Sighting{{tapAt(20, 20, 4)}, {tapAt(10, 10, 4)}, {tapAt(15, 15, 3)}}, 4, BundleRollback},
		{"set back, and it goes on counting", [][]Sighting{{tapAt(1, 1, 4)}, {tapAt(2, 2, 3)}}, 4, BundleRollback},
		{"set back whole, taps counted from before", [][]Sighting{{tapAt(8, 8, 3), tapAt(9, 9, 4)}, {tapAt(8, 60, 3)}}, 4, BundleRollback},
		{"set back to nothing", [][]Sighting{{tapAt(9, 9, 4)}, {tapAt(1, 60, 0)}}, 4, BundleRollback},
		{"set back inside one upload", [][]Sighting{{tapAt(1, 1, 4), tapAt(2, 2, 3), tapAt(3, 3, 4)}}, 4, BundleRollback},
		{"no clock, but it went on counting", [][]Sighting{{tapAt(1, 1, 4)}, {{Seq: 2, Bundle: 3}}}, 4, BundleRollback},
		{"no clock on an old tap", [][]Sighting{{tapAt(5, 5, 4)}, {{Seq: 2, Bundle: 3}}}, 4, ""},
		{"no clock when the bundle came", [][]Sighting{{{Seq: 5, Bundle: 4}}, {tapAt(2, 2, 3)}}, 4, ""},
		{"a bundle that nobody published", [][]Sighting{{tapAt(1, 1, 99)}, {tapAt(2, 2, 4)}}, 4, BundleUnknown},
		{"never had any", [][]Sighting{{tapAt(1, 1, 0)}, {tapAt(2, 2, 0)}}, 0, ""},
	} {
		var h held
		raised := map[Flag]string{}
		for _, u := range c.uploads {
			for f, why := range h.take(u, 10) {
				raised[f] = why
			}
		}
		if h.floor != c.floor || len(raised) > 1 || (c.flag != "") != (raised[c.flag] != "") || c.flag == "" && len(raised) > 0 {
			t.Errorf("%s: floor %d, flags %v; want %d and %q", c.what, h.floor, raised, c.floor, c.flag)
		}
	}
}

// A terminal whose memory is whole is never flagged, in whatever order its
// batches come and however often; one that was set back is, once a batch from
// before and one from after are there.
func TestAnyOrderOfUploadsTellsARollbackFromLateness(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for round := range 2000 {
		var batches [][]Sighting
		bundle, seq, minute := uint64(1), uint64(1), 0
		back := round%2 == 1
		grow := func(n int) {
			for range n {
				var b []Sighting
				for range 1 + random.IntN(3) {
					b = append(b, tapAt(seq, minute, bundle))
					seq, minute = seq+1, minute+1
					bundle += uint64(random.IntN(2))
				}
				batches = append(batches, b)
			}
		}
		grow(3)
		highest := batches[2][len(batches[2])-1].Bundle
		if back { // to a bundle below, its numbers back as well or not
			if bundle = uint64(random.IntN(int(highest))); random.IntN(2) == 0 {
				seq = 1 + random.Uint64N(seq)
			}
			batches = append(batches, []Sighting{tapAt(seq, minute+1, bundle)})
		}
		batches = append(batches, batches[random.IntN(len(batches))])
		random.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
		var h held
		flagged := false
		for _, b := range append(slices.Clone(batches), batches...) { // everything once more: the first pass may lack the other half
			flagged = flagged || h.take(b, 1000)[BundleRollback] != ""
		}
		if flagged != back {
			t.Fatalf("round %d: flagged %t, set back %t: %v", round, flagged, back, batches)
		}
	}
}
