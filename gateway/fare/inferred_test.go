package fare_test

import (
	"testing"

	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// TestNobodyPaysMoreForAnInferredEnd: a ride whose end was inferred costs the cheaper
// of what it costs to there and what it costs without an end, and the method is told.
func TestNobodyPaysMoreForAnInferredEnd(t *testing.T) {
	tariff := parse(t, `{"name": "t", "version": 1, "currency": "EUR", "categories": {"default": "adult"},
		"rules": [{"id": "gates", "table": {"stops": ["A", "B", "C"], "amounts": {"adult": [-1, 300, 700, 300, -1, 400, 700, 400, -1]}}}],
		"incomplete": {"mode": "fixed", "amounts": {"adult": 500}}, "same_stop": {}, "rounding": {}}`)
	for stop, want := range map[string]int64{"B": 300, "C": 500} {
		j := half("M", "A", journey.MissingOff)
		j.State, j.Inferred = journey.Complete, &journey.Inferred{Stop: stop, At: j.Taps[0].At + 60_000, Method: "next_on", Confidence: 900}
		for name, d := range map[string]fare.Decision{
			"alone":  tariff.PriceTrip(&fare.Trip{Journey: j, Category: "adult"}, fare.Calendar{}),
			"folded": folder(tariff).Fold(&fare.State{}, []fare.Trip{{Journey: j, Category: "adult"}})[0],
		} {
			if d.Amount.Minor != want || d.Explanation.Steps[0].Op != fare.OpInferred || d.Explanation.Steps[0].To != stop {
				t.Errorf("%s, to %s: %d by %+v, want %d", name, stop, d.Amount.Minor, d.Explanation.Steps, want)
			}
		}
	}
}

// TestCountedRidersAreTold: what the operator counted beyond the code is part of the
// explanation and of what the decision's hash covers, and so is the day's being moved.
func TestCountedRidersAreTold(t *testing.T) {
	tariff := parse(t, plainTariff)
	price := func(shown uint8) fare.Decision {
		j := single("X", "")
		j.Taps[0].Party, j.Taps[0].Shown = 3, shown
		return tariff.PriceTrip(&fare.Trip{Journey: j, Category: "adult"}, fare.Calendar{})
	}
	all, one := price(3), price(1)
	last := func(d fare.Decision) fare.Step { return d.Explanation.Steps[len(d.Explanation.Steps)-1] }
	if last(all).Counted != 0 || last(one).Counted != 2 || all.Amount != one.Amount || all.InputsHash == one.InputsHash {
		t.Errorf("of 3 riders the code states all: %+v; 1: %+v", last(all), last(one))
	}
	timed, plain, moved := parse(t, peakTariff), berlin(t), berlin(t)
	plain.Rest = nil
	x := fare.Trip{Journey: at(clock(t, plain, "2026-11-28 12:00"), single("X", "")), Category: "adult"} // a Saturday that one of them works
	if a, b := timed.PriceTrip(&x, plain), timed.PriceTrip(&x, moved); a.InputsHash == b.InputsHash || a.Amount == b.Amount {
		t.Errorf("a Saturday: %d, and worked %d, by hashes %x and %x", a.Amount.Minor, b.Amount.Minor, a.InputsHash, b.InputsHash)
	}
}
