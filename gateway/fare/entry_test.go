package fare_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

const boardedTariff = `{
	"name": "boarded", "version": %V, "currency": "EUR",
	"categories": {"products": {"2": "student", "3": "elderly"}, "default": "adult", "proof": {"student": "adult"}, "funded": {"elderly": {"reference": "adult"}}},
	"operators": {"bus": ["B"]}, "zones": {"x": ["1"], "y": ["2"]}, "holidays": ["2026-10-30"],
	"rules": [
		{"id": "gates", "routes": ["M"], "table": {"stops": ["x", "y"], "amounts": {"adult": [-1, 300, 300, -1]}}},
		{"id": "peak", "operators": ["bus"], "when": [{"days": ["weekday"], "from": "07:00", "until": "09:00"}], "flat": {"adult": 335, "elderly": 100}},
		{"id": "stages", "routes": ["S"], "sections": {"stops": {"x": "one"}, "amounts": {"one": {"adult": 200}, "two": {"adult": 120}}}},
		{"id": "night", "when": [{"from": "23:00", "until": "03:00"}], "flat": {"adult": 700, "elderly": 650}},
		{"id": "base", "flat": {"adult": 250, "elderly": 90}}
	],
	"discounts": [{"id": "band", "match": {"media": ["band"]}, "permille": 150}, {"id": "centre", "match": {"zones": ["1"]}, "amounts": {"adult": 20, "elderly": 10}}],
	"minimum": {"adult": 180}, "caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 600}}],
	"incomplete": {"mode": "max_from_stop"}, "same_stop": {}, "rounding": {"step": 10}
}`

// TestReadersPriceAsTheGatewayDoes: over random taps around changes of versions, of
// summer time, of calendars and of the day, a reader that was given the fares in one
// piece names the version that the gateway prices by, and the same price.
func TestReadersPriceAsTheGatewayDoes(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	first := citygate.Calendar{Version: 1, Location: zone, Cut: 4 * time.Hour}
	calendar := citygate.Calendar{Version: 2, Location: zone, Cut: 3 * time.Hour, From: date(t, "2026-10-27"), Former: &first, Rest: &citygate.RestDays{
		Weekdays: []time.Weekday{time.Sunday}, Holidays: []citygate.Date{date(t, "2020-01-01"), date(t, "2026-10-28")}, Workdays: []citygate.Date{date(t, "2026-11-01")}}}
	issued := time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC)
	var versions []fare.EntryVersion
	for i, from := range []time.Time{issued.AddDate(0, -1, 0), time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC), time.Date(2026, 10, 29, 7, 15, 0, 0, time.UTC)} {
		text := strings.Replace(boardedTariff, "%V", string(rune('1'+i)), 1)
		versions = append(versions, fare.EntryVersion{From: from.UnixMilli(), Tariff: parse(t, strings.Replace(text, `"adult": 250`, `"adult": 25`+string(rune('0'+3*i)), 1))})
	}
	raw, err := fare.EncodeEntry(calendar, versions, issued, issued.AddDate(0, 3, 0), 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := fare.EncodeEntry(calendar, versions, issued, issued.AddDate(0, 3, 0), 16<<10); !bytes.Equal(raw, again) || bytes.Contains(raw, []byte("2020-01-01")) {
		t.Errorf("written again %s", again)
	}
	reader, err := fare.ParseEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	priced := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		x := journey.Tap{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.Single, At: issued.UnixMilli() + rapid.Int64Range(0, 14*24*60).Draw(t, "minute")*60_000 + rapid.Int64Range(-1, 1).Draw(t, "ms"),
			Route: rapid.SampledFrom([]string{"B", "M", "S", "Q"}).Draw(t, "route"), Stop: rapid.SampledFrom([]string{"x", "y", "two", ""}).Draw(t, "stop"),
			Medium: rapid.SampledFrom([]string{"band", "phone"}).Draw(t, "medium"), Product: uint16(rapid.IntRange(1, 4).Draw(t, "product")), Party: uint8(rapid.IntRange(1, 3).Draw(t, "party"))}
		var in *fare.Tariff
		for _, v := range versions {
			if v.From <= x.At {
				in = v.Tariff
			}
		}
		category, _ := in.CategoryOf(x.Product, nil, x.At)
		want := in.PriceTrip(&fare.Trip{Journey: &journey.Journey{First: x.ID, Taps: []journey.Tap{x}, State: journey.Complete}, Category: category, Medium: x.Medium}, fare.Calendar{Calendar: calendar})
		got, known := reader.Price(&x)
		if reader.Version(x.At) != in.Version || known != want.Known || got != want.Amount {
			t.Fatalf("the reader: %v %t by version %d; the gateway: %v %t by %d", got, known, reader.Version(x.At), want.Amount, want.Known, in.Version)
		}
		priced[known]++
	})
	if priced[true] == 0 || priced[false] == 0 {
		t.Errorf("priced %v", priced)
	}
	if reader.Version(0) != 0 {
		t.Error("a version before the first")
	}
}

// TestReadersWithoutRoomKnowTheVersion: prices that do not fit are left out, the last
// first; the versions stay.
func TestReadersWithoutRoomKnowTheVersion(t *testing.T) {
	one, two := parse(t, strings.Replace(boardedTariff, "%V", "1", 1)), parse(t, strings.Replace(boardedTariff, "%V", "2", 1))
	whole, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 0, Tariff: one}, {From: 1000, Tariff: two}}, time.UnixMilli(0), time.UnixMilli(0), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 0, Tariff: one}, {From: 1000, Tariff: two}}, time.UnixMilli(0), time.UnixMilli(0), len(whole)-1)
	if err != nil || len(raw) >= len(whole) {
		t.Fatalf("%d bytes of %d, %v", len(raw), len(whole), err)
	}
	reader, err := fare.ParseEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	x := journey.Tap{Kind: tap.Single, Route: "Q", At: 999}
	if _, known := reader.Price(&x); !known || reader.Version(999) != 1 {
		t.Error("the first version lost its prices")
	}
	x.At = 1000
	if _, known := reader.Price(&x); known || reader.Version(1000) != 2 {
		t.Error("the second version has prices, or is not known")
	}
	if _, err := fare.EncodeEntry(citygate.Calendar{}, nil, time.UnixMilli(0), time.UnixMilli(0), 10); !errors.Is(err, fare.ErrEntry) {
		t.Errorf("in 10 bytes: %v", err)
	}
}

// FuzzParseEntry: what is read prices without a panic, and no version is in force
// before it begins.
func FuzzParseEntry(f *testing.F) {
	one, err := fare.ParseTariff([]byte(strings.Replace(boardedTariff, "%V", "1", 1)))
	if err != nil {
		f.Fatal(err)
	}
	raw, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 5, Tariff: one}}, time.UnixMilli(0), time.UnixMilli(0), 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"calendar":[{"version":2,"from":"2026-01-01","shifts":[[0,3600],[9,7200],[99,3600]]},{"version":1,"shifts":[[0,0]]}],"versions":[{"from":7,"version":3}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := fare.ParseEntry(raw)
		if err != nil {
			return
		}
		for _, at := range []int64{-1 << 60, 0, 8, 1 << 50} {
			x := journey.Tap{Kind: tap.Single, At: at, Route: "B", Product: 1}
			money, known := e.Price(&x)
			if known && e.Version(at) == 0 || !known && money != (citygate.Money{}) {
				t.Fatalf("at %d: %v %t by version %d", at, money, known, e.Version(at))
			}
		}
	})
}
