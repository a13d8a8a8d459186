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
