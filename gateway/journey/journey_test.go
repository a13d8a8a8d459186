package journey_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

var rules = journey.Rules{MaxJourney: 4 * time.Hour, UploadGrace: 24 * time.Hour, PassbackWindow: 30 * time.Second}

const minute = int64(60_000)

// at makes a tap of the one rider most tests have.
func at(seq uint64, kind tap.Kind, minutes int64, stop string) journey.Tap {
	return journey.Tap{ID: citygate.TapID{Terminal: 1, Seq: seq}, Rider: citygate.Rider{Issuer: 1, Index: 7},
		Kind: kind, At: minutes * minute, Stop: stop, Party: 1}
}

// shape is what a test compares: which taps, in which state, missing what.
type shape struct {
	taps    []uint64
	repeats []uint64
	state   journey.State
	missing journey.Missing
}

func shapes(journeys []journey.Journey) []shape {
	var out []shape
	for _, j := range journeys {
		s := shape{state: j.State, missing: j.Missing}
		for _, t := range j.Taps {
			s.taps = append(s.taps, t.ID.Seq)
		}
		for _, t := range j.Repeats {
			s.repeats = append(s.repeats, t.ID.Seq)
		}
		out = append(out, s)
	}
	return out
}

func TestBuildPairsByTheRules(t *testing.T) {
	const never, later = 0, 100 * 24 * 60
	cases := []struct {
		name string
		taps []journey.Tap
		now  int64 // minutes
		want []shape
	}{
		{"on and off are one journey", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.Off, 20, "B")}, never,
			[]shape{{[]uint64{1, 2}, nil, journey.Complete, ""}}},
		{"the off arrives first", []journey.Tap{at(2, tap.Off, 20, "B"), at(1, tap.On, 0, "A")}, never,
			[]shape{{[]uint64{1, 2}, nil, journey.Complete, ""}}},
		{"exit at the entry station is complete: the tariff judges it", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.Off, 5, "A")}, never,
			[]shape{{[]uint64{1, 2}, nil, journey.Complete, ""}}},
		{"a lone on waits", []journey.Tap{at(1, tap.On, 0, "A")}, 28*60 - 1,
			[]shape{{[]uint64{1}, nil, journey.Open, journey.MissingOff}}},
		{"a lone on closes after journey time and grace", []journey.Tap{at(1, tap.On, 0, "A")}, 28 * 60,
			[]shape{{[]uint64{1}, nil, journey.Incomplete, journey.MissingOff}}},
		{"a lone off waits for its on to be uploaded", []journey.Tap{at(1, tap.Off, 0, "A")}, 24*60 - 1,
			[]shape{{[]uint64{1}, nil, journey.Open, journey.MissingOn}}},
		{"a lone off closes after the grace", []journey.Tap{at(1, tap.Off, 0, "A")}, 24 * 60,
			[]shape{{[]uint64{1}, nil, journey.Incomplete, journey.MissingOn}}},
		{"exactly the longest journey", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.Off, 240, "B")}, never,
			[]shape{{[]uint64{1, 2}, nil, journey.Complete, ""}}},
		{"too long a journey is two incomplete ones", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.Off, 241, "B")}, later,
			[]shape{{[]uint64{1}, nil, journey.Incomplete, journey.MissingOff}, {[]uint64{2}, nil, journey.Incomplete, journey.MissingOn}}},
		{"a second on leaves the first without its off", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.On, 10, "B"), at(3, tap.Off, 20, "C")}, later,
			[]shape{{[]uint64{1}, nil, journey.Incomplete, journey.MissingOff}, {[]uint64{2, 3}, nil, journey.Complete, ""}}},
		{"a second touch of the gate is the same on", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.On, 0, "A"), at(3, tap.Off, 20, "C"), at(4, tap.Off, 20, "C")}, later,
			[]shape{{[]uint64{1, 3}, []uint64{2, 4}, journey.Complete, ""}}},
		{"singles are whole journeys, between on and off too", []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.Single, 10, ""), at(3, tap.Off, 20, "C")}, never,
			[]shape{{[]uint64{1, 3}, nil, journey.Complete, ""}, {[]uint64{2}, nil, journey.Complete, ""}}},
		{"two singles at once are two journeys", []journey.Tap{at(1, tap.Single, 0, "A"), at(2, tap.Single, 0, "A")}, never,
			[]shape{{[]uint64{1}, nil, journey.Complete, ""}, {[]uint64{2}, nil, journey.Complete, ""}}},
		{"the same tap twice counts once", []journey.Tap{at(1, tap.Single, 0, "A"), at(1, tap.Single, 0, "A")}, never,
			[]shape{{[]uint64{1}, nil, journey.Complete, ""}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := shapes(journey.Build(c.taps, rules, c.now*minute)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("Build = %+v\nwant    %+v", got, c.want)
			}
		})
	}
}

// TestTouchesWithinThePassBackWindowAreOne: the last instant of the window belongs to it.
func TestTouchesWithinThePassBackWindowAreOne(t *testing.T) {
	for apart, want := range map[int64]int{30_000: 1, 30_001: 2} {
		again := at(2, tap.On, 0, "A")
		again.At = apart
		if got := journey.Build([]journey.Tap{at(1, tap.On, 0, "A"), again}, rules, 0); len(got) != want {
			t.Errorf("%d ms apart: %d journeys, want %d", apart, len(got), want)
		}
	}
}

// drawTaps gives taps that collide in time, stop and rider as often as they can.
func drawTaps(t *rapid.T) []journey.Tap {
	n := rapid.IntRange(0, 30).Draw(t, "n")
	taps := make([]journey.Tap, n)
	for i := range taps {
		taps[i] = journey.Tap{
			ID:    citygate.TapID{Terminal: uint32(i%3 + 1), Seq: uint64(i/3 + 1)},
			Rider: citygate.Rider{Issuer: 1, Index: rapid.Uint32Range(1, 3).Draw(t, "rider")},
			Kind:  tap.Kind(rapid.IntRange(1, 3).Draw(t, "kind")),
			At:    rapid.Int64Range(0, 40).Draw(t, "at") * 15_000 * rapid.SampledFrom([]int64{1, 100}).Draw(t, "scale"),
			Stop:  rapid.SampledFrom([]string{"A", "B"}).Draw(t, "stop"),
			Party: 1,
		}
	}
	return taps
}

func TestArrivalOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		taps := drawTaps(t)
		now := rapid.Int64Range(0, 48*60).Draw(t, "now") * minute
		want := journey.Build(taps, rules, now)
		other := rapid.Permutation(taps).Draw(t, "order")
		if got := journey.Build(other, rules, now); !reflect.DeepEqual(got, want) {
			t.Fatalf("in order %v\n got %+v\nwant %+v", other, got, want)
		}
	})
}

func TestEveryTapIsInExactlyOneJourney(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		taps := drawTaps(t)
		seen := map[citygate.TapID]int{}
		for _, j := range journey.Build(taps, rules, 0) {
			for _, tp := range slices.Concat(j.Taps, j.Repeats) {
				seen[tp.ID]++
				if tp.Rider != j.Rider {
					t.Fatalf("tap %v of rider %v is in a journey of %v", tp.ID, tp.Rider, j.Rider)
				}
			}
			if j.First != j.Taps[0].ID || len(j.Taps) > 2 {
				t.Fatalf("journey %+v", j)
			}
		}
		for _, tp := range taps {
			if seen[tp.ID] != 1 {
				t.Fatalf("tap %v is in %d journeys", tp.ID, seen[tp.ID])
			}
		}
	})
}

func TestJourneysDoNotDependOnFarTaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		taps := drawTaps(t)
		far := at(1000, tap.On, -24*60, "A")
		far.Rider.Index = 1
		want := journey.Build(taps, rules, 0)
		got := journey.Build(append([]journey.Tap{far}, taps...), rules, 0)
		got = slices.DeleteFunc(got, func(j journey.Journey) bool { return j.First == far.ID })
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}
