package fare_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// zonedTariff has the three ways of zones, a stay by time, peaks, media,
// concessions and everything that changes the price of one ride.
const zonedTariff = `{
	"name": "region", "version": 3, "currency": "EUR",
	"categories": {"products": {"2": "student", "3": "elderly"}, "default": "adult",
		"proof": {"student": "adult"},
		"funded": {"elderly": {"reference": "adult", "funder": "programme:elderly-2"}}},
	"zones": {"a1": ["A"], "b1": ["B"], "ab": ["A", "B"], "c1": ["C"], "d1": ["D"], "centre": ["1"], "edge": ["3"], "border": ["2", "3"]},
	"operators": {"tram": ["T1", "T2"], "bus": ["B1"]},
	"holidays": ["2026-12-25"],
	"rules": [
		{"id": "peak", "routes": ["P"], "when": [{"days": ["weekday"], "from": "07:30", "until": "09:30"}], "flat": {"adult": 500, "elderly": 200}},
		{"id": "night", "routes": ["P"], "when": [{"from": "23:00", "until": "01:00"}], "flat": {"adult": 700}},
		{"id": "season", "routes": ["P"], "when": [{"first": "2026-12-24", "last": "2026-12-26"}], "flat": {"adult": 100}},
		{"id": "paper", "routes": ["P"], "media": ["paper"], "flat": {"adult": 450}},
		{"id": "off-peak", "routes": ["P"], "flat": {"adult": 400, "elderly": 200, "student": 300, "pensioner": 900}},
		{"id": "sets", "routes": ["S"], "zones": {"sets": [
			{"zones": ["A"], "amounts": {"adult": 200}}, {"zones": ["B"], "amounts": {"adult": 210}},
			{"zones": ["A", "B"], "amounts": {"adult": 300}}, {"zones": ["A", "B", "C"], "amounts": {"adult": 380, "student": 190}}]}},
		{"id": "rings", "routes": ["R"], "zones": {"rings": [
			{"from": 1, "to": 1, "amounts": {"adult": 280}}, {"from": 1, "to": 3, "amounts": {"adult": 400}}, {"from": 2, "to": 3, "amounts": {"adult": 190}}]}},
		{"id": "count", "routes": ["C"], "zones": {"counts": [{"upto": 1, "amounts": {"adult": 150}}, {"upto": 3, "amounts": {"adult": 250}}],
			"neighbours": {"A": ["B"], "B": ["C"], "C": ["D"]}}},
		{"id": "stay", "routes": ["H"], "time": {"steps": [{"upto_min": 30, "amounts": {"adult": 100}}, {"upto_min": 60, "amounts": {"adult": 180}}],
			"per_min": 15, "add": {"adult": 40}, "max": {"adult": 600}}},
		{"id": "tram", "operators": ["tram"], "flat": {"adult": 275}},
		{"id": "half", "routes": ["HALF"], "flat": {"adult": 335}}
	],
	"discounts": [
		{"id": "app", "match": {"media": ["phone"]}, "permille": 200, "funder": "provider:wallet"},
		{"id": "promo", "match": {"routes": ["HALF"]}, "amounts": {"adult": 20}, "funder": "city:mobility"},
		{"id": "night-charge", "match": {"rules": ["tram"]}, "when": [{"from": "00:00", "until": "04:00"}], "amounts": {"adult": 150}, "surcharge": true}
	],
	"minimum": {"adult": 260},
	"incomplete": {"mode": "max_from_stop"}, "same_stop": {"mode": "min_from_stop"}, "rounding": {"step": 10}
}`

func berlin(t testing.TB) fare.Calendar {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return fare.Calendar{Calendar: citygate.Calendar{Version: 1, Location: zone, Cut: 4 * time.Hour, Rest: &citygate.RestDays{
		Holidays: []citygate.Date{{Year: 2026, Month: 11, Day: 23}}, Workdays: []citygate.Date{{Year: 2026, Month: 11, Day: 28}}}}}
}

// clock gives a local time of the calendar as a journey's time.
func clock(t testing.TB, c fare.Calendar, local string) int64 {
	t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04", local, c.Location)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

// at moves a journey to begin at an instant.
func at(ms int64, j *journey.Journey) *journey.Journey {
	by := ms - j.Taps[0].At
	for i := range j.Taps {
		j.Taps[i].At += by
	}
	return j
}

func lasting(minutes int64, j *journey.Journey) *journey.Journey {
	j.Taps[1].At = j.Taps[0].At + minutes*60_000
	return j
}

func TestZonesTimePeaksAndMedia(t *testing.T) {
	tariff, calendar := parse(t, zonedTariff), berlin(t)
	const tuesday = "2026-11-24 12:00"
	for _, c := range []struct {
		name, when string
		trip       fare.Trip
		want       int64
		reason     fare.Reason
	}{
		{"inside one zone", tuesday, fare.Trip{Journey: ride("S", "a1", "A")}, 200, ""}, // the minimum lifts what discounts lowered, not a price that is low by itself
		{"two zones", tuesday, fare.Trip{Journey: ride("S", "a1", "b1")}, 300, ""},
		{"a boundary stop counts as the cheaper of its zones", tuesday, fare.Trip{Journey: ride("S", "ab", "b1")}, 210, ""},
		{"the only set with the category", tuesday, fare.Trip{Journey: ride("S", "a1", "b1"), Category: "student"}, 190, ""},
		{"no set holds both", tuesday, fare.Trip{Journey: ride("S", "a1", "d1")}, 0, fare.NoPair},
		{"an unknown stop", tuesday, fare.Trip{Journey: ride("S", "a1", "moon")}, 0, fare.NoStop},
		{"zones need both ends", tuesday, fare.Trip{Journey: single("S", "a1")}, 0, fare.NeedsOff},
		{"rings from the centre out", tuesday, fare.Trip{Journey: ride("R", "centre", "edge")}, 400, ""},
		{"a border between rings is in the outer one", tuesday, fare.Trip{Journey: ride("R", "border", "edge")}, 190, ""},
		{"rings, incomplete: the dearest from the stop", tuesday, fare.Trip{Journey: half("R", "edge", journey.MissingOff)}, 400, ""},
		{"three zones by the shortest way", tuesday, fare.Trip{Journey: ride("C", "A", "C")}, 250, ""},
		{"more zones than the tariff goes", tuesday, fare.Trip{Journey: ride("C", "A", "D")}, 0, fare.BeyondTable},
		{"half an hour, the last second included", tuesday, fare.Trip{Journey: lasting(30, ride("H", "x", "y"))}, 100, ""},
		{"an hour and a minute", tuesday, fare.Trip{Journey: lasting(61, ride("H", "x", "y"))}, 220, ""},
		{"a long stay costs no more than the most", tuesday, fare.Trip{Journey: lasting(24*60, ride("H", "x", "y"))}, 600, ""},
		{"time does not ask where", tuesday, fare.Trip{Journey: lasting(31, ride("H", "x", "x"))}, 180, ""},
		{"a stay without an end costs the most there is", tuesday, fare.Trip{Journey: half("H", "x", journey.MissingOff)}, 600, ""},
		{"by operator", tuesday, fare.Trip{Journey: single("T2", "")}, 280, ""},
		{"peak", "2026-11-24 07:30", fare.Trip{Journey: single("P", "")}, 500, ""},
		{"peak is over on the minute", "2026-11-24 09:30", fare.Trip{Journey: single("P", "")}, 400, ""},
		{"no peak on a holiday of the tenant", "2026-11-23 08:00", fare.Trip{Journey: single("P", "")}, 400, ""},
		{"no peak on a Saturday", "2026-11-21 08:00", fare.Trip{Journey: single("P", "")}, 400, ""},
		{"peak on a Saturday that is worked for the holiday", "2026-11-28 08:00", fare.Trip{Journey: single("P", "")}, 500, ""},
		{"past midnight", "2026-11-25 00:30", fare.Trip{Journey: single("P", "")}, 700, ""},
		{"a date of the season", "2026-12-25 12:00", fare.Trip{Journey: single("P", "")}, 100, ""},
		{"after midnight the day before goes on until the cut", "2026-12-27 02:00", fare.Trip{Journey: single("P", "")}, 100, ""},
		{"paper", tuesday, fare.Trip{Journey: single("P", ""), Medium: "paper"}, 450, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.trip.Category == "" {
				c.trip.Category = "adult"
			}
			at(clock(t, calendar, c.when), c.trip.Journey)
			d := tariff.PriceTrip(&c.trip, calendar)
			if d.Amount.Minor != c.want || d.Reason != c.reason || d.Known != (c.reason == "") {
				t.Errorf("PriceTrip = %+v, want %d %s", d, c.want, c.reason)
			}
		})
	}
}

// lines writes the applied adjustments as text.
func lines(d fare.Decision) string {
	var b strings.Builder
	for _, a := range d.Explanation.Adjustments {
		if !a.NotApplied {
			b.WriteString(strings.Join([]string{string(a.Kind), a.ID, citygate.Money{Minor: a.Minor, Currency: "X"}.String(), string(a.Funder)}, " ") + "; ")
		}
	}
	return strings.ReplaceAll(b.String(), " X minor", "")
}

// TestDiscountsAreLinesWithTheirFunder: what a ride costs less than its nominal
// price is said line by line, with who pays for it, and rounded once.
func TestDiscountsAreLinesWithTheirFunder(t *testing.T) {
	tariff, calendar := parse(t, zonedTariff), berlin(t)
	noon := clock(t, calendar, "2026-11-24 12:00")
	for _, c := range []struct {
		name    string
		trip    fare.Trip
		payable int64
		nominal int64
		lines   string
		when    string
	}{
		{"a concession paid by a programme", fare.Trip{Journey: single("P", ""), Category: "elderly"}, 200, 400, "concession elderly 200 programme:elderly-2; ", ""},
		{"a category that costs more has none", fare.Trip{Journey: single("P", ""), Category: "pensioner"}, 900, 900, "", ""},
		{"both discounts are of the nominal price, 3.35 - 0.67 - 0.20 = 2.48, not under 2.60", fare.Trip{Journey: single("HALF", ""), Category: "adult", Medium: "phone"}, 260, 335,
			"discount app 67 provider:wallet; discount promo 20 city:mobility; minimum  -12 ; ", ""},
		{"one discount, rounded once: 3.15 to 3.20", fare.Trip{Journey: single("HALF", ""), Category: "adult"}, 320, 335, "discount promo 20 city:mobility; rounding  -5 ; ", ""},
		{"without a line the rounding is part of the price", fare.Trip{Journey: single("T1", ""), Category: "adult"}, 280, 280, "", ""},
		{"a surcharge is a line below zero", fare.Trip{Journey: single("T1", ""), Category: "adult"}, 430, 275, "surcharge night-charge -150 ; rounding  -5 ; ", "2026-11-25 02:00"},
		{"three riders on a code: every line three times", fare.Trip{Journey: with(single("HALF", ""), party(3)), Category: "adult"}, 960, 1005, "discount promo 60 city:mobility; rounding  -15 ; ", ""},
		{"a ride given back whole", fare.Trip{Journey: single("HALF", ""), Category: "adult", Void: true}, 0, 335, "discount promo 20 city:mobility; rounding  -5 ; void  320 ; ", ""},
		{"some given back", fare.Trip{Journey: single("HALF", ""), Category: "adult", Goodwill: 100}, 220, 335, "discount promo 20 city:mobility; rounding  -5 ; goodwill  100 ; ", ""},
		{"no more is given back than was paid", fare.Trip{Journey: single("P", ""), Category: "elderly", Goodwill: 1000}, 0, 400, "concession elderly 200 programme:elderly-2; goodwill  200 ; ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			when := noon
			if c.when != "" {
				when = clock(t, calendar, c.when)
			}
			at(when, c.trip.Journey)
			d := tariff.PriceTrip(&c.trip, calendar)
			if !d.Known || d.Amount.Minor != c.payable || d.Nominal != c.nominal || lines(d) != c.lines {
				t.Errorf("%d of %d by %q (%s), want %d of %d by %q", d.Amount.Minor, d.Nominal, lines(d), d.Reason, c.payable, c.nominal, c.lines)
			}
		})
	}
}

// TestAConcessionThatExpiresDuringTheDay: the event time of the first tap
// decides. A ride begun before the end keeps the category to its last tap.
func TestAConcessionThatExpiresDuringTheDay(t *testing.T) {
	tariff := parse(t, zonedTariff)
	proofs := []fare.Proof{{Category: "student", From: 1_000, Until: 5_000}}
	for at, want := range map[int64]fare.Category{999: "adult", 1_000: "student", 4_999: "student", 5_000: "adult"} {
		if got, ok := tariff.CategoryOf(2, proofs, at); !ok || got != want {
			t.Errorf("at %d the rider is %q, want %q", at, got, want)
		}
	}
	if got, _ := tariff.CategoryOf(2, nil, 2_000); got != "adult" {
		t.Errorf("without a proof the rider is %q", got)
	}
	if got, _ := tariff.CategoryOf(0, proofs, 2_000); got != "student" {
		t.Errorf("a proof on a plain product gives %q", got)
	}
	if got, _ := tariff.CategoryOf(3, []fare.Proof{{Category: "ghost", From: 0}}, 2_000); got != "elderly" {
		t.Errorf("a proof of a category that needs none changed %q", got)
	}
}

func TestParseTariffRefusesNewParts(t *testing.T) {
	for name, change := range map[string][2]string{
		"a day that is none":             {`"weekday"`, `"workday"`},
		"a time that is none":            {`"07:30"`, `"7:30"`},
		"from without until":             {`"from": "07:30", `, ``},
		"a date that is none":            {`"2026-12-24"`, `"2026-13-24"`},
		"dates the wrong way":            {`"2026-12-26"`, `"2026-12-20"`},
		"a holiday that is none":         {`"2026-12-25"`, `"Christmas"`},
		"a route of two operators":       {`["T1", "T2"]`, `["T1", "B1"]`},
		"a stop without zones":           {`"a1": ["A"]`, `"a1": []`},
		"zones of two kinds":             {`"zones": {"rings"`, `"zones": {"sets": [{"zones": ["A"], "amounts": {"adult": 1}}], "rings"`},
		"counts without neighbours":      {`"neighbours": {"A": ["B"], "B": ["C"], "C": ["D"]}`, `"neighbours": {}`},
		"a zone next to itself":          {`"A": ["B"]`, `"A": ["A"]`},
		"steps that do not rise":         {`"upto_min": 60`, `"upto_min": 30`},
		"an add without per_min":         {`"per_min": 15, `, ``},
		"a funder of no kind":            {`"programme:elderly-2"`, `"uncle:sam"`},
		"a funder without a name":        {`"city:mobility"`, `"city:"`},
		"a discount of two kinds":        {`"permille": 200`, `"permille": 200, "amounts": {"adult": 1}`},
		"a discount of nothing":          {`"permille": 200`, `"permille": 0`},
		"two discounts of one id":        {`"id": "promo"`, `"id": "app"`},
		"a match of an unknown rule":     {`["tram"]}, "when"`, `["train"]}, "when"`},
		"a proof that needs a proof":     {`{"student": "adult"}`, `{"student": "adult", "child": "student"}`},
		"a reference that is funded too": {`"reference": "adult"`, `"reference": "elderly"`},
		"a minimum below nothing":        {`"minimum": {"adult": 260}`, `"minimum": {"adult": -1}`},
		"a cap without amounts":          {`"minimum"`, `"caps": [{"id": "d", "period": {"kind": "day"}, "amounts": {}}], "minimum"`},
		"a period that is none":          {`"minimum"`, `"caps": [{"id": "d", "period": {"kind": "year"}, "amounts": {"adult": 1}}], "minimum"`},
		"days of a month":                {`"minimum"`, `"caps": [{"id": "d", "period": {"kind": "month", "days": 3}, "amounts": {"adult": 1}}], "minimum"`},
		"a cut of a rolling period":      {`"minimum"`, `"caps": [{"id": "d", "period": {"kind": "rolling", "days": 3, "cut": "04:00"}, "amounts": {"adult": 1}}], "minimum"`},
		"a transfer without a window":    {`"minimum"`, `"transfers": [{"id": "x", "permille": 1000}], "minimum"`},
		"a transfer of more than all":    {`"minimum"`, `"transfers": [{"id": "x", "window_min": 90, "permille": 1001}], "minimum"`},
		"steps of a cumulative discount": {`"minimum"`, `"cumulative": [{"id": "c", "period": {"kind": "month"}, "steps": [{"over": 5, "permille": 1}, {"over": 5, "permille": 2}]}], "minimum"`},
		"ride number 0":                  {`"minimum"`, `"nth_ride": [{"id": "n", "n": 0, "period": {"kind": "week"}}], "minimum"`},
		"a product without a kind":       {`"minimum"`, `"products": [{"id": "p", "price": 1}], "minimum"`},
	} {
		if !strings.Contains(zonedTariff, change[0]) {
			t.Fatalf("%s: nothing to change", name)
		}
		if _, err := fare.ParseTariff([]byte(strings.Replace(zonedTariff, change[0], change[1], 1))); !errors.Is(err, fare.ErrTariff) {
			t.Errorf("%s: %v, want fare.bad_tariff", name, err)
		}
	}
}

// FuzzParseTariff: what parses encodes to what parses to the same tariff, and
// pricing with it never panics, never gives an unknown fare an amount, and its
// lines add up.
func FuzzParseTariff(f *testing.F) {
	f.Add([]byte(everyRule))
	f.Add([]byte(zonedTariff))
	f.Add([]byte(foldingTariff))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tariff, err := fare.ParseTariff(raw)
		if err != nil {
			return
		}
		text, err := tariff.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := fare.ParseTariff(text)
		if err != nil || again.Digest() != tariff.Digest() {
			t.Fatalf("%s reads back as another tariff: %v", text, err)
		}
		for i := range tariff.Rules {
			route := ""
			if len(tariff.Rules[i].Routes) > 0 {
				route = tariff.Rules[i].Routes[0]
			}
			for _, j := range []*journey.Journey{single(route, "A"), ride(route, "A", "B"), half(route, "A", journey.MissingOff)} {
				d := tariff.Price(j, "adult")
				sum := d.Amount.Minor
				for _, a := range d.Explanation.Adjustments {
					if !a.NotApplied {
						sum += a.Minor
					}
				}
				if d.Known == (d.Reason != "") || d.Amount.Minor < 0 || d.Known && sum != d.Nominal {
					t.Fatalf("%+v", d)
				}
			}
		}
	})
}
