package explain

import (
	"slices"
	"strconv"
	"testing"
)

// TestWords: a rider reads on what and on which day the ride was priced, who rode, and
// what took off or added how much.
func TestWords(t *testing.T) {
	d := Document{Known: true, Amount: 900, Explanation: []byte(`{"tariff":"city","version":4,"currency":"EUR","category":"adult","medium":"band",
		"day":{"date":"2026-11-28","time":"08:05","type":"weekday","moved":true},
		"steps":[{"rule":"peak","op":"flat","minor":400},{"rule":"peak","op":"party","factor":3,"counted":2,"minor":1200}],
		"adjustments":[{"kind":"discount","id":"bands","minor":300,"funder":"city:green"},{"kind":"surcharge","id":"night","minor":-50},{"kind":"cap","id":"day","minor":10,"not_applied":true}],
		"caps":[{"id":"day","limit":1000,"before":100,"after":400,"minor":10}]}`)}
	got, err := d.Words(func(minor int64) string { return strconv.FormatInt(minor, 10) })
	want := []string{
		"tariff city, version 4, category adult", "shown on: band",
		"day of the fare: 2026-11-28, weekday, a rest day moved to be worked; the first tap was at 08:05",
		"one price for the ride, rule peak: 400", "for all 3 who rode on the code, 2 of them counted at the reader, rule peak: 1200",
		"discount bands takes off 300, borne by city:green", "surcharge night adds 50", "cap day would take off 10; another was better",
		"cap day of 1000: 100 paid before this ride, 400 after it", "fare: 900",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%q, want\n%q", err, got, want)
	}
}

// TestWordsSayWhatAnAmountWentBy: who reads a step can look the amount up: the metres of
// the path, the minutes, the section, the share, and where a cheaper way leaves and enters.
func TestWordsSayWhatAnAmountWentBy(t *testing.T) {
	for step, want := range map[string]string{
		`{"rule":"km","op":"distance","from":"in","to":"out","metres":17150,"minor":500}`: "by distance, rule km, from in to out, 17150 m: 500",
		`{"rule":"km","op":"distance","from":"in","to":"in","minor":200}`:                 "by distance, rule km, from in to in, 0 m: 200",
		`{"rule":"km","op":"share","factor":500,"minor":250}`:                             "the part that the category pays, rule km, 500 of 1000: 250",
		`{"rule":"gate","op":"time","minutes":61,"minor":400}`:                            "by the time in the system, rule gate, 61 minutes: 400",
		`{"rule":"bus","op":"section","from":"market","section":"3","minor":80}`:          "by the section it began in, rule bus, from market, section 3: 80",
		`{"rule":"rings","op":"zone","from":"a","to":"b","section":"1-2","minor":300}`:    "by zones, rule rings, from a to b, section 1-2: 300",
		`{"rule":"od","op":"split","from":"76","to":"116","via":"74,70","minor":5150}`:    "as cheap as leaving and entering again on the way, rule od, from 76 to 116, at 74, 70: 5150",
		`{"rule":"od","op":"table","from":"76","to":"116","minor":5920}`:                  "by the table of pairs, rule od, from 76 to 116: 5920",
	} {
		d := Document{Known: true, Explanation: []byte(`{"steps":[` + step + `]}`)}
		got, err := d.Words(func(minor int64) string { return strconv.FormatInt(minor, 10) })
		if err != nil || len(got) != 2 || got[0] != want {
			t.Errorf("%s: %v, %q; want %q", step, err, got, want)
		}
	}
}
