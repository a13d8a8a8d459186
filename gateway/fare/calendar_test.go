package fare_test

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
)

func date(t testing.TB, text string) citygate.Date {
	t.Helper()
	d, err := citygate.ParseDate(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const peakTariff = `{
	"name": "peak", "version": 1, "currency": "AED", "categories": {"default": "adult"},
	"holidays": ["2026-12-09"], "workdays": ["2026-12-12"],
	"rules": [
		{"id": "holiday", "when": [{"days": ["holiday"]}], "flat": {"adult": 100}},
		{"id": "peak", "when": [{"days": ["weekday"], "from": "07:00", "until": "09:00"}], "flat": {"adult": 500}},
		{"id": "weekend", "when": [{"days": ["weekend"]}], "flat": {"adult": 200}},
		{"id": "base", "flat": {"adult": 300}}
	],
	"incomplete": {}, "same_stop": {}, "rounding": {}
}`

const plainTariff = `{"name": "plain", "version": 1, "currency": "EUR", "categories": {"default": "adult"},
	"rules": [{"id": "ride", "flat": {"adult": 300}}], "incomplete": {}, "same_stop": {}, "rounding": {}}`

// TestPeaksFollowTheCalendarOfTheTenant: what a weekday is follows from the version
// of the tenant's calendar that holds on the business date: its rest days of the
// week, its holidays and the days moved for them; the tariff's own dates come first.
func TestPeaksFollowTheCalendarOfTheTenant(t *testing.T) {
	zone := time.FixedZone("gulf", 4*3600)
	first := citygate.Calendar{Version: 1, Location: zone, Cut: 3 * time.Hour}
	calendar := fare.Calendar{Calendar: citygate.Calendar{Version: 2, Location: zone, Cut: 3 * time.Hour, From: date(t, "2026-12-01"), Former: &first,
		Rest: &citygate.RestDays{
			Weekdays: []time.Weekday{time.Friday, time.Saturday},
			Holidays: []citygate.Date{date(t, "2026-12-02"), date(t, "2026-12-03"), date(t, "2026-12-12")},
			Workdays: []citygate.Date{date(t, "2026-12-05")},
		}}}
	tariff := parse(t, peakTariff)
	for _, c := range []struct {
		name, at string
		want     int64
		day      fare.Day
	}{
		{"a Sunday rests where the version in force names no rest days", "2026-11-29 08:00", 200, fare.Day{Date: "2026-11-29", Time: "08:00", Type: "weekend", Calendar: 1}},
		{"a Friday is worked there", "2026-11-27 08:00", 500, fare.Day{Date: "2026-11-27", Time: "08:00", Type: "weekday", Calendar: 1}},
		{"Sunday is worked from December on", "2026-12-06 08:00", 500, fare.Day{Date: "2026-12-06", Time: "08:00", Type: "weekday", Calendar: 2}},
		{"Friday rests from then on", "2026-12-04 08:00", 200, fare.Day{Date: "2026-12-04", Time: "08:00", Type: "weekend", Calendar: 2}},
		{"a holiday", "2026-12-02 08:00", 100, fare.Day{Date: "2026-12-02", Time: "08:00", Type: "holiday", Calendar: 2}},
		{"after midnight the holiday goes on until the cut", "2026-12-04 02:59", 100, fare.Day{Date: "2026-12-03", Time: "02:59", Type: "holiday", Calendar: 2}},
		{"the Saturday worked for it has a peak", "2026-12-05 08:00", 500, fare.Day{Date: "2026-12-05", Time: "08:00", Type: "weekday", Moved: true, Calendar: 2}},
		{"and no peak out of hours", "2026-12-05 12:00", 300, fare.Day{Date: "2026-12-05", Time: "12:00", Type: "weekday", Moved: true, Calendar: 2}},
		{"a holiday of the tariff alone", "2026-12-09 08:00", 100, fare.Day{Date: "2026-12-09", Time: "08:00", Type: "holiday", Calendar: 2}},
		{"the tariff works on a holiday of the calendar", "2026-12-12 08:00", 500, fare.Day{Date: "2026-12-12", Time: "08:00", Type: "weekday", Moved: true, Calendar: 2}},
	} {
		d := tariff.PriceTrip(&fare.Trip{Journey: at(clock(t, calendar, c.at), single("X", "")), Category: "adult"}, calendar)
		if d.Amount.Minor != c.want || d.Explanation.Day == nil || *d.Explanation.Day != c.day {
			t.Errorf("%s: %d for %+v, want %d for %+v", c.name, d.Amount.Minor, d.Explanation.Day, c.want, c.day)
		}
	}
	if d := parse(t, plainTariff).PriceTrip(&fare.Trip{Journey: single("X", ""), Category: "adult"}, calendar); d.Explanation.Day != nil {
		t.Errorf("a tariff without prices by time tells of the day: %+v", d.Explanation.Day)
	}
}

// TestACalendarVersionToComeMovesNothing: invariant 16. Caps and peaks of today go
// by today's version, whatever cut, time zone and rest days a coming one has.
func TestACalendarVersionToComeMovesNothing(t *testing.T) {
	berlin := berlin(t)
	now := fare.Calendar{Calendar: berlin.Calendar}
	tokyo := time.FixedZone("far", 9*3600)
	planned := fare.Calendar{Calendar: citygate.Calendar{Version: 2, Location: tokyo, Cut: time.Hour, From: date(t, "2027-01-01"), Former: &now.Calendar,
		Rest: &citygate.RestDays{Weekdays: []time.Weekday{time.Tuesday}}}}
	tariff := parse(t, `{"name": "c", "version": 1, "currency": "EUR", "categories": {"default": "adult"},
		"rules": [{"id": "peak", "when": [{"days": ["weekday"], "from": "07:00", "until": "09:00"}], "flat": {"adult": 300}}, {"id": "base", "flat": {"adult": 200}}],
		"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 450}}, {"id": "cut", "period": {"kind": "day", "cut": "05:00"}, "amounts": {"adult": 600}}],
		"incomplete": {}, "same_stop": {}, "rounding": {}}`)
	var trips []fare.Trip
	for _, when := range []string{"2026-11-24 07:30", "2026-11-24 20:00", "2026-11-25 02:00", "2026-11-25 04:30", "2026-11-25 05:30"} {
		trips = append(trips, fare.Trip{Journey: at(clock(t, now, when), single("X", "")), Category: "adult"})
	}
	fold := func(c fare.Calendar) []fare.Decision {
		f := fare.Folder{Tariff: func(int64) *fare.Tariff { return tariff }, Calendar: c}
		return f.Fold(&fare.State{}, trips)
	}
	plain, with := fold(now), fold(planned)
	for i := range plain {
		if plain[i].Amount != with[i].Amount || plain[i].InputsHash != with[i].InputsHash {
			t.Errorf("ride %d costs %d, and %d once another calendar is planned", i, plain[i].Amount.Minor, with[i].Amount.Minor)
		}
	}
	if got := amounts(plain); got[0] != 300 || got[1] != 150 || got[2] != 0 || got[3] != 150 || got[4] != 200 {
		t.Errorf("the rides cost %v", got)
	}
}
