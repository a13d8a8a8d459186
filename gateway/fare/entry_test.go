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
	raw, err := fare.EncodeEntry(calendar, versions, nil, issued, issued.AddDate(0, 3, 0), 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := fare.EncodeEntry(calendar, versions, nil, issued, issued.AddDate(0, 3, 0), 16<<10); !bytes.Equal(raw, again) || bytes.Contains(raw, []byte("2020-01-01")) {
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

// TestReadersOfMembersPriceByTheAuthority: while a membership holds a reader prices the
// authority's riders as the authority does, by its calendar and under the operator's
// name in its tariff, and codes of other schemes by the operator's own prices; of other
// operators' prices it holds none.
func TestReadersOfMembersPriceByTheAuthority(t *testing.T) {
	own := parse(t, `{"name":"own","version":9,"currency":"EUR","categories":{"default":"adult"},"rules":[{"id":"own","flat":{"adult":999}}],"incomplete":{},"same_stop":{},"rounding":{}}`)
	shared := parse(t, `{"name":"county","version":3,"currency":"EUR","categories":{"default":"adult"},"operators":{"north":["N"],"south":["S"]},
		"rules":[{"id":"metro","operators":["metro"],"flat":{"adult":123}},{"id":"s","routes":["S"],"flat":{"adult":321}},
		{"id":"free","operators":["north"],"when":[{"days":["weekend"]}],"flat":{"adult":0}},{"id":"north","operators":["north"],"flat":{"adult":450}},{"id":"rest","flat":{"adult":777}}],
		"transfers":[{"id":"change","window_min":60,"permille":500}],"incomplete":{},"same_stop":{},"rounding":{},"sharing":{"pool":"transfers"}}`)
	later := parse(t, `{"name":"county","version":4,"currency":"EUR","categories":{"default":"adult"},"rules":[{"id":"all","flat":{"adult":500}}],"incomplete":{},"same_stop":{},"rounding":{}}`)
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	calendar := citygate.Calendar{Version: 1, Location: zone, Rest: &citygate.RestDays{Weekdays: []time.Weekday{time.Friday}}}
	begins := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC) // a Monday
	member := fare.EntryMember{From: begins.UnixMilli(), Until: begins.AddDate(0, 0, 14).UnixMilli(), Operator: "north", Calendar: calendar,
		Versions: []fare.EntryVersion{{From: 0, Tariff: shared}, {From: begins.AddDate(0, 0, 7).UnixMilli(), Tariff: later}}}
	raw, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 0, Tariff: own}}, []fare.EntryMember{member}, begins, begins.AddDate(1, 0, 0), 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("123")) || bytes.Contains(raw, []byte("321")) {
		t.Errorf("a member's readers hold prices of other operators: %s", raw)
	}
	reader, err := fare.ParseEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at      time.Time
		route   string
		foreign bool
		want    int64 // -1: not known
		version uint64
	}{
		"before":                       {begins.Add(-time.Millisecond), "N", false, 999, 9},
		"from the instant on":          {begins, "N", false, 450, 3},
		"the authority's rest day":     {begins.AddDate(0, 0, 4), "N", false, 0, 3},
		"a code of another scheme":     {begins, "N", true, 999, 3},
		"on a route of another's":      {begins, "S", false, -1, 3},
		"the authority's next version": {begins.AddDate(0, 0, 7), "N", false, 500, 4},
		"after":                        {begins.AddDate(0, 0, 14), "N", false, 999, 9},
	} {
		x := journey.Tap{Kind: tap.Single, At: c.at.UnixMilli(), Route: c.route, Party: 1}
		if c.foreign {
			x.Rider.List = citygate.ForeignLists
		}
		got, known := reader.Price(&x)
		if known != (c.want >= 0) || known && got.Minor != c.want || reader.Version(x.At) != c.version {
			t.Errorf("%s: %v %t by version %d, want %d by %d", name, got, known, reader.Version(x.At), c.want, c.version)
		}
	}
	for _, bad := range []string{`"operator":""`, `"operator":"north","until":1`} {
		if _, err := fare.ParseEntry([]byte(strings.Replace(string(raw), `"operator":"north"`, bad, 1))); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

// TestReadersWithoutRoomKnowTheVersion: prices that do not fit are left out, the last
// first; the versions stay.
func TestReadersWithoutRoomKnowTheVersion(t *testing.T) {
	one, two := parse(t, strings.Replace(boardedTariff, "%V", "1", 1)), parse(t, strings.Replace(boardedTariff, "%V", "2", 1))
	whole, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 0, Tariff: one}, {From: 1000, Tariff: two}}, nil, time.UnixMilli(0), time.UnixMilli(0), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 0, Tariff: one}, {From: 1000, Tariff: two}}, nil, time.UnixMilli(0), time.UnixMilli(0), len(whole)-1)
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
	if _, err := fare.EncodeEntry(citygate.Calendar{}, nil, nil, time.UnixMilli(0), time.UnixMilli(0), 10); !errors.Is(err, fare.ErrEntry) {
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
	raw, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 5, Tariff: one}}, nil, time.UnixMilli(0), time.UnixMilli(0), 1<<20)
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
