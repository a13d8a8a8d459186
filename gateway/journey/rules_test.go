package journey_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A line A - B - C - D with 10 minutes between stations, B having a second gate
// line B2, and X far away that nothing but its position is known of.
const everyRule = `{"version": 3, "max_journey_minutes": 240, "upload_grace_minutes": 1440, "passback_seconds": 30,
	"same_station": [{"upto_seconds": 120, "do": "no_charge"}, {"upto_seconds": 1800, "do": "cheapest_single"}, {"do": "two_incompletes"}],
	"retype": "suspect", "max_speed_kmh": 60, "max_stay_seconds": 1800, "near_metres": 300,
	"stops": [{"id": "A", "lat_e6": 22000000, "lon_e6": 114000000}, {"id": "B"}, {"id": "B2", "station": "B"}, {"id": "C"}, {"id": "D"},
	          {"id": "X", "lat_e6": 22000000, "lon_e6": 115000000}],
	"travel": [{"from": "A", "to": "B", "min_seconds": 600}, {"from": "B", "to": "C", "min_seconds": 600}, {"from": "C", "to": "D", "min_seconds": 600}],
	"inference": {"methods": ["next_on", "regular_trip", "gates_opened"], "min_confidence_permille": 880, "min_trips": 3, "history_days": 28},
	"claims": {"per_month": 3, "within_weeks": 8}}`

func parse(t testing.TB, change ...string) *journey.Rules {
	t.Helper()
	d, err := journey.ParseDocument([]byte(strings.NewReplacer(change...).Replace(everyRule)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Rules()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const dayOf = int64(24 * 60) // minutes

func build(r *journey.Rules, facts journey.Facts, taps ...journey.Tap) []journey.Journey {
	return journey.BuildAll(taps, &journey.Input{Rules: func(int64) *journey.Rules { return r }, Facts: facts, Now: 400 * dayOf * minute})
}

func TestSameStationByMinutes(t *testing.T) {
	r := parse(t)
	for _, c := range []struct {
		minutes int64
		stop    string
		want    journey.Treatment
		n       int
	}{{1, "B", journey.NoCharge, 1}, {2, "B2", journey.NoCharge, 1}, {3, "B2", journey.CheapestSingle, 1}, {30, "B", journey.CheapestSingle, 1}, {31, "B", "", 2}, {31, "C", "", 1}} {
		got := build(r, journey.Facts{}, at(1, tap.On, 0, "B"), at(2, tap.Off, c.minutes, c.stop))
		if len(got) != c.n || got[0].SameStation != c.want {
			t.Errorf("out at %s after %d minutes: %+v", c.stop, c.minutes, got)
		}
	}
}

func TestAStuckGateIsNotBelieved(t *testing.T) {
	r := parse(t)
	stuck := journey.Facts{Suspects: []journey.Suspect{{Terminal: 9, From: 0, To: dayOf * minute, What: journey.SuspectKind}}}
	gate := func(tp journey.Tap) journey.Tap { tp.ID.Terminal = 9; return tp }
	commute := []journey.Tap{at(1, tap.On, 0, "A"), gate(at(2, tap.On, 30, "B")), at(3, tap.On, 500, "B"), at(4, tap.Off, 530, "A")}
	got := build(r, stuck, commute...)
	if len(got) != 2 || got[0].State != journey.Complete || !slices.Equal(got[0].Retyped, []citygate.TapID{{Terminal: 9, Seq: 2}}) || got[0].Taps[1].Kind != tap.Off {
		t.Errorf("the exit that says on: %+v", got)
	}
	if got := build(r, journey.Facts{}, commute...); len(got[0].Retyped) > 0 || got[0].Missing != journey.MissingOff {
		t.Errorf("nobody reported the gate: %+v", got)
	}
	entry := []journey.Tap{gate(at(1, tap.Off, 0, "A")), at(2, tap.Off, 30, "B")}
	if got := build(r, stuck, entry...); len(got) != 1 || got[0].Taps[0].Kind != tap.On || got[0].First != entry[0].ID {
		t.Errorf("the entry that says off: %+v", got)
	}
	// Three lone taps in a row: nobody knows which two are one ride.
	three := []journey.Tap{at(1, tap.On, 0, "A"), gate(at(2, tap.On, 30, "B")), at(3, tap.On, 60, "C")}
	for _, j := range build(r, stuck, three...) {
		if len(j.Retyped) > 0 {
			t.Errorf("guessed: %+v", j)
		}
	}
	// Nobody is from A at D in 20 minutes, stuck or not.
	if got := build(r, stuck, at(1, tap.On, 0, "A"), gate(at(2, tap.On, 20, "D"))); len(got) != 2 {
		t.Errorf("an impossible ride: %+v", got)
	}
	anyGate := parse(t, `"suspect"`, `"any"`)
	if got := build(anyGate, journey.Facts{}, commute...); len(got) != 2 || len(got[0].Retyped) != 1 {
		t.Errorf("a ride by its time: %+v", got)
	}
	if got := build(anyGate, journey.Facts{}, at(1, tap.On, 0, "A"), at(2, tap.On, 100, "B")); len(got) != 2 {
		t.Errorf("100 minutes are no ride of 10: %+v", got)
	}
}

func TestImpossibleSpeedLeavesOnePlaceInDoubt(t *testing.T) {
	r := parse(t, `"methods": ["next_on", "regular_trip", "gates_opened"]`, `"methods": ["gates_opened"]`)
	fast := []journey.Tap{at(1, tap.On, 0, "A"), at(2, tap.Off, 10, "D")}
	got := build(r, journey.Facts{}, fast...)
	if len(got) != 1 || got[0].Doubt != journey.ImpossibleSpeed || got[0].Missing != journey.MissingOff || got[0].State != journey.Incomplete || len(got[0].Taps) != 2 {
		t.Fatalf("%+v", got)
	}
	if p := got[0].AsPriced(); len(p.Taps) != 1 || p.Taps[0].Stop != "A" {
		t.Errorf("priced from %+v", p.Taps)
	}
	got = build(r, journey.Facts{}, append(fast, at(3, tap.On, 300, "D"), at(4, tap.Off, 340, "A"))...)
	if got[0].Missing != journey.MissingOn {
		t.Errorf("the rider entered at D next, so the ride ended there: %+v", got[0])
	}
	if p := got[0].AsPriced(); len(p.Taps) != 1 || p.Taps[0].Stop != "D" {
		t.Errorf("priced from %+v", p.Taps)
	}
	got = build(r, journey.Facts{}, append(fast, at(3, tap.Off, 300, "D"))...)
	if got[0].Missing != journey.MissingOff {
		t.Errorf("leaving at D next says nothing of where the ride ended: %+v", got[0])
	}
	if got := build(r, journey.Facts{}, at(1, tap.On, 0, "A"), at(2, tap.Off, 30, "D")); got[0].Doubt != "" {
		t.Errorf("30 minutes are enough: %+v", got)
	}
	if got := build(r, journey.Facts{}, at(1, tap.On, 0, "A"), at(2, tap.Off, 99, "X")); got[0].Doubt == "" {
		t.Errorf("103 km at more than 60 km/h: %+v", got)
	}
	moved := journey.Facts{Suspects: []journey.Suspect{{Terminal: 1, From: 0, To: 0, What: journey.SuspectPlace}}}
	if got := build(r, moved, at(1, tap.On, 0, "A"), at(2, tap.Off, 30, "C")); got[0].Doubt != journey.PlaceSuspected || got[0].Missing != journey.MissingOn {
		t.Errorf("the reader of the entry is elsewhere: %+v", got)
	}
}

// commuter rides A to C in the morning and back in the evening for some days.
func commuter(days int64) []journey.Tap {
	var taps []journey.Tap
	for d := range days {
		seq := uint64(100 + 4*d)
		taps = append(taps, at(seq, tap.On, d*dayOf+480, "A"), at(seq+1, tap.Off, d*dayOf+505, "C"),
			at(seq+2, tap.On, d*dayOf+1080, "C"), at(seq+3, tap.Off, d*dayOf+1105, "A"))
	}
	return taps
}

func last(journeys []journey.Journey) journey.Journey { return journeys[len(journeys)-1] }

func TestInference(t *testing.T) {
	r := parse(t)
	regular := append(commuter(10), at(1, tap.On, 10*dayOf+485, "A"))
	j := last(build(r, journey.Facts{}, regular...))
	if in := j.Inferred; in == nil || in.Stop != "C" || in.Method != journey.RegularTrip || in.Confidence < 950 || j.State != journey.Complete || in.At != (10*dayOf+510)*minute {
		t.Errorf("the regular trip: %+v %+v", j, in)
	}
	if p := j.AsPriced(); len(p.Taps) != 2 || p.Taps[1].Stop != "C" || p.Taps[1].Kind != tap.Off || p.Missing != journey.Nothing {
		t.Errorf("priced as %+v", p)
	}
	odd := append(commuter(10), at(1, tap.On, 10*dayOf+900, "A"))
	if j := last(build(r, journey.Facts{}, odd...)); j.Inferred != nil {
		t.Errorf("nothing is regular at three: %+v", j.Inferred)
	}
	next := append(commuter(10), at(1, tap.On, 10*dayOf+900, "A"), at(2, tap.On, 10*dayOf+1000, "D"), at(3, tap.Off, 10*dayOf+1060, "A"))
	all := build(r, journey.Facts{}, next...)
	if in := all[len(all)-2].Inferred; in == nil || in.Stop != "D" || in.Method != journey.NextOn || !slices.Equal(in.Evidence, []citygate.TapID{{Terminal: 1, Seq: 2}}) {
		t.Errorf("the next on: %+v", in)
	}
	back := append(commuter(10), at(1, tap.On, 10*dayOf+900, "A"), at(2, tap.On, 10*dayOf+1000, "A"), at(3, tap.Off, 10*dayOf+1060, "C"))
	all = build(r, journey.Facts{}, back...)
	if in := all[len(all)-2].Inferred; in != nil {
		t.Errorf("entering at A again does not say that the ride from A ended there: %+v", in)
	}
	// The commute says C, the next on says D: two good witnesses against each other convince nobody.
	torn := append(commuter(10), at(1, tap.On, 10*dayOf+480, "A"), at(2, tap.On, 10*dayOf+1000, "D"), at(3, tap.Off, 10*dayOf+1060, "A"))
	all = build(r, journey.Facts{}, torn...)
	if in := all[len(all)-2].Inferred; in != nil {
		t.Errorf("torn: %+v", in)
	}
	on := append(commuter(10), at(1, tap.Off, 10*dayOf+505, "C"))
	if j := last(build(r, journey.Facts{}, on...)); j.Inferred == nil || j.Inferred.Stop != "A" || j.AsPriced().Taps[0].Stop != "A" {
		t.Errorf("the missing on: %+v", j)
	}
	match := journey.Facts{Gates: []journey.OpenGates{{Stop: "D", From: 20 * minute, To: 200 * minute}}}
	if j := last(build(r, match, at(1, tap.On, 0, "A"))); j.Inferred == nil || j.Inferred.Stop != "D" || j.Inferred.Method != journey.GatesOpened {
		t.Errorf("the match at D: %+v", j)
	}
	early := journey.Facts{Gates: []journey.OpenGates{{Stop: "D", From: 0, To: 29 * minute}}}
	if j := last(build(r, early, at(1, tap.On, 0, "A"))); j.Inferred != nil {
		t.Errorf("the gates were closed before anybody could be there: %+v", j.Inferred)
	}
	two := journey.Facts{Gates: append(slices.Clone(match.Gates), journey.OpenGates{Stop: "C", From: 20 * minute, To: 200 * minute})}
	if j := last(build(r, two, at(1, tap.On, 0, "A"))); j.Inferred != nil {
		t.Errorf("which of two gates: %+v", j.Inferred)
	}
}

// What arrives late is believed before what the rider says, and that before
// what we think.
func TestTapsBeforeClaimsBeforeInference(t *testing.T) {
	r := parse(t)
	taps := append(commuter(10), at(1, tap.On, 10*dayOf+480, "A"))
	claim := journey.Facts{Claims: []journey.Claim{{ID: citygate.UUID{1}, Tap: citygate.TapID{Terminal: 1, Seq: 1}, End: journey.MissingOff, Stop: "B"}}}
	if j := last(build(r, claim, taps...)); j.Inferred == nil || j.Inferred.Method != journey.RiderClaim || j.Inferred.Stop != "B" || j.Inferred.At != (10*dayOf+490)*minute {
		t.Errorf("the claim: %+v", j.Inferred)
	}
	for name, second := range map[string]byte{"made later": 2, "made earlier": 0} {
		of := journey.Claim{ID: citygate.UUID{second}, Tap: citygate.TapID{Terminal: 1, Seq: 1}, End: journey.MissingOff, Stop: "C", At: (10*dayOf + 9_000) * minute}
		both := journey.Facts{Claims: []journey.Claim{claim.Claims[0], of}}
		in := last(build(r, both, taps...)).Inferred
		if want := map[string]string{"made later": "C", "made earlier": "B"}[name]; in == nil || in.Stop != want {
			t.Errorf("of two claims the one that is listed second was %s: %+v, want %s", name, in, want)
		}
		if in != nil && in.Stop == "C" && in.At != (10*dayOf+480)*minute+r.MaxJourney.Milliseconds() {
			t.Errorf("a claim says when nobody rides any more, and was believed: %d", in.At)
		}
	}
	late := append(taps, at(2, tap.Off, 10*dayOf+520, "D"))
	if j := last(build(r, claim, late...)); j.Inferred != nil || j.Taps[1].Stop != "D" || j.State != journey.Complete {
		t.Errorf("the late tap: %+v", j)
	}
	// An open journey waits for its tap, whatever is said or thought.
	in := &journey.Input{Rules: func(int64) *journey.Rules { return r }, Facts: claim, Now: (10*dayOf + 600) * minute}
	if j := last(journey.BuildAll(taps, in)); j.State != journey.Open || j.Inferred != nil {
		t.Errorf("too early: %+v", j)
	}
}

func drawFacts(t *rapid.T) journey.Facts {
	var f journey.Facts
	for range rapid.IntRange(0, 3).Draw(t, "suspects") {
		f.Suspects = append(f.Suspects, journey.Suspect{Terminal: rapid.Uint32Range(1, 3).Draw(t, "terminal"), From: 0, To: 40 * 1_500_000,
			What: rapid.SampledFrom([]journey.Suspicion{journey.SuspectKind, journey.SuspectPlace}).Draw(t, "what")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "gates") {
		from := rapid.Int64Range(0, 40).Draw(t, "from") * 1_500_000
		f.Gates = append(f.Gates, journey.OpenGates{Stop: rapid.SampledFrom([]string{"A", "C"}).Draw(t, "gate"), From: from, To: from + 30*minute})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "claims") {
		f.Claims = append(f.Claims, journey.Claim{ID: citygate.UUID{byte(i)}, Tap: citygate.TapID{Terminal: 1, Seq: rapid.Uint64Range(1, 5).Draw(t, "seq")},
			End: rapid.SampledFrom([]journey.Missing{journey.MissingOn, journey.MissingOff}).Draw(t, "end"), Stop: "C"})
	}
	return f
}

func drawRules(t *rapid.T) *journey.Rules {
	return parse(&quiet{}, `"suspect"`, rapid.SampledFrom([]string{`"suspect"`, `"any"`, `"never"`}).Draw(t, "retype"), `880`, `500`, `"min_trips": 3`, `"min_trips": 1`)
}

// quiet lets parse be used where there is no test to fail: its input is fixed.
type quiet struct{ testing.TB }

func (*quiet) Helper() {}

// With every rule on: any order of arrival and of facts gives the same journeys,
// every tap is in one of them, and what is inferred is another station.
func TestEveryRuleInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		taps, facts, r := drawTaps(t), drawFacts(t), drawRules(t)
		for i := range taps {
			taps[i].Stop = rapid.SampledFrom([]string{"A", "B", "B2", "C", "D", "X", ""}).Draw(t, "stop")
		}
		in := &journey.Input{Rules: func(int64) *journey.Rules { return r }, Facts: facts, Now: rapid.Int64Range(0, 96*60).Draw(t, "now") * minute}
		want := journey.BuildAll(taps, in)
		again := *in
		again.Facts = journey.Facts{Suspects: rapid.Permutation(facts.Suspects).Draw(t, "s"), Gates: rapid.Permutation(facts.Gates).Draw(t, "g"), Claims: rapid.Permutation(facts.Claims).Draw(t, "c")}
		if got := journey.BuildAll(rapid.Permutation(taps).Draw(t, "order"), &again); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
		seen := map[citygate.TapID]int{}
		for _, j := range want {
			for _, tp := range slices.Concat(j.Taps, j.Repeats) {
				seen[tp.ID]++
			}
			if p := j.AsPriced(); j.State == journey.Complete && (len(p.Taps) == 0 || p.Missing != journey.Nothing || len(p.Taps) == 2 && p.Taps[0].At > p.Taps[1].At) {
				t.Fatalf("%+v is priced as %+v", j, p)
			}
			if j.Inferred != nil && (j.Missing == journey.Nothing || j.State != journey.Complete || j.Inferred.Stop == "") {
				t.Fatalf("%+v", j)
			}
		}
		for _, tp := range taps {
			if seen[tp.ID] != 1 {
				t.Fatalf("tap %v is in %d journeys", tp.ID, seen[tp.ID])
			}
		}
	})
}

// What lies further than the reach does not change pairing, kinds or treatment,
// and what lies further than reach and horizon changes nothing.
func TestReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRules(t)
		// Runs of taps at the edge of what can be one ride, at gates nobody believes.
		var taps []journey.Tap
		now := int64(0)
		for i := range rapid.IntRange(2, 12).Draw(t, "n") {
			now += rapid.SampledFrom([]int64{20, 110, 230, 240, 250}).Draw(t, "gap")
			taps = append(taps, at(uint64(i+1), rapid.SampledFrom([]tap.Kind{tap.On, tap.Off}).Draw(t, "kind"), now, rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(t, "stop")))
		}
		in := &journey.Input{Rules: func(int64) *journey.Rules { return r }, Now: 1 << 50}
		in.Facts.Suspects = []journey.Suspect{{Terminal: 1, From: 0, To: 1 << 50, What: journey.SuspectKind}}
		cut := taps[rapid.IntRange(0, len(taps)-1).Draw(t, "cut")].At + rapid.Int64Range(0, 100).Draw(t, "after")*minute
		near := slices.DeleteFunc(slices.Clone(taps), func(tp journey.Tap) bool { return tp.At > cut })
		reach := r.Reach().Milliseconds()
		plain := func(journeys []journey.Journey) (out []journey.Journey) {
			for _, j := range journeys {
				j.Inferred, j.State = nil, ""
				if j.Doubt == "" && j.At() < cut-reach {
					out = append(out, j)
				}
			}
			return out
		}
		if got, want := plain(journey.BuildAll(near, in)), plain(journey.BuildAll(taps, in)); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d\ngot  %+v\nwant %+v", cut, got, want)
		}
	})
}

func TestDocumentsThatAreRefused(t *testing.T) {
	for _, c := range [][2]string{
		{`"version": 3`, `"version": 0`}, {`240`, `0`}, {`"passback_seconds": 30`, `"passback_seconds": -1`}, {`"no_charge"`, `"free"`},
		{`"upto_seconds": 1800`, `"upto_seconds": 100`}, {`"retype": "suspect"`, `"retype": "always"`}, {`"id": "B"}`, `"id": "A"}`},
		{`"to": "B"`, `"to": "Q"`}, {`"next_on"`, `"guess"`}, {`880`, `400`}, {`"per_month": 3`, `"per_month": -3`}, {`"claims"`, `"claim"`},
		{`"max_stay_seconds": 1800, `, ``}, {`"lat_e6": 22000000`, `"lat_e6": 220000000`},
	} {
		raw := strings.Replace(everyRule, c[0], c[1], 1)
		if c[1] == "" {
			raw = strings.Replace(raw, `"suspect"`, `"any"`, 1)
		}
		if _, err := journey.ParseDocument([]byte(raw)); !errors.Is(err, journey.ErrRules) {
			t.Errorf("%s for %s: %v", c[1], c[0], err)
		}
	}
	if _, err := journey.ParseDocument([]byte(everyRule + "{}")); err == nil {
		t.Error("something follows: no error")
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(everyRule))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := journey.ParseDocument(raw)
		if err != nil {
			return
		}
		again, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		second, err := journey.ParseDocument(again)
		if err != nil {
			t.Fatalf("what was read is refused: %v", err)
		}
		if third, err := second.Encode(); err != nil || string(third) != string(again) {
			t.Fatalf("%s\n%s %v", again, third, err)
		}
	})
}

func TestMinTravel(t *testing.T) {
	r := parse(t)
	for _, c := range []struct {
		a, b string
		want time.Duration
	}{{"A", "D", 30 * time.Minute}, {"D", "A", 30 * time.Minute}, {"B", "B2", 0}, {"A", "X", 102 * time.Minute}} {
		if got, ok := r.Places.MinTravel(c.a, c.b); !ok || got < c.want-30*time.Second || got > c.want+time.Minute {
			t.Errorf("%s to %s: %v %v, want about %v", c.a, c.b, got, ok, c.want)
		}
	}
	if _, ok := r.Places.MinTravel("B", "X"); ok {
		t.Error("nobody said where B is")
	}
	for stop, want := range map[string]bool{"A": true, "B": true, "X": true, "nowhere": false} {
		if got := r.Places.Judged(stop); got != want {
			t.Errorf("travel from %s is judged: %t", stop, got)
		}
	}
}

func TestCorrectionPairsSumToZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "n")
		changes, want := make([]journey.Delta, n), map[citygate.UUID]int64{}
		total := int64(0)
		for i := range changes {
			changes[i] = journey.Delta{Journey: citygate.UUID{byte(i + 1)}, Amount: rapid.Int64Range(-5, 5).Draw(t, "amount")}
			want[changes[i].Journey], total = changes[i].Amount, total+changes[i].Amount
		}
		pairs, rest := journey.Corrections(changes)
		got, left := map[citygate.UUID]int64{}, int64(0)
		for _, p := range pairs {
			got[p.From] -= p.Amount
			got[p.To] += p.Amount
			if p.Amount <= 0 || p.From == p.To {
				t.Fatalf("pair %+v", p)
			}
		}
		for _, d := range rest {
			got[d.Journey] += d.Amount
			left += d.Amount
			if (d.Amount > 0) != (total > 0) {
				t.Fatalf("%+v is left of %v", d, changes)
			}
		}
		for id, amount := range want {
			if got[id] != amount {
				t.Fatalf("journey %v changes by %d, want %d", id, got[id], amount)
			}
		}
		if left != total {
			t.Fatalf("%d is left, want %d", left, total)
		}
		other, otherRest := journey.Corrections(rapid.Permutation(changes).Draw(t, "order"))
		if !reflect.DeepEqual(other, pairs) || !reflect.DeepEqual(otherRest, rest) {
			t.Fatalf("in another order %v, want %v", other, pairs)
		}
	})
}
