package exchange_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs/exchange"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

func back(t interface{ Fatalf(string, ...any) }, f *gtfs.Feed) *gtfs.Feed {
	files, err := f.Files()
	if err != nil {
		t.Fatalf("%v", err)
	}
	fsys := fstest.MapFS{}
	for name, raw := range files {
		fsys[name] = &fstest.MapFile{Data: raw}
	}
	again, err := gtfs.Read(fsys)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return again
}

var (
	stopNames  = []string{"a", "b", "c", "d"}
	routeNames = []string{"1", "2", "3", "9"}
	riders     = []fare.Category{"adult", "child"}
)

func drawAmounts(t *rapid.T) fare.Amounts {
	a := fare.Amounts{}
	for _, c := range riders {
		if rapid.Bool().Draw(t, "priced") || c == "adult" {
			a[c] = rapid.Int64Range(0, 9999).Draw(t, "minor")
		}
	}
	return a
}

func drawTariff(t *rapid.T) *fare.Tariff {
	tariff := &fare.Tariff{Name: "x", Version: 1, Currency: rapid.SampledFrom([]citygate.Currency{"CNY", "JPY", "KWD"}).Draw(t, "currency"),
		Categories: fare.Categories{Default: "adult"}}
	for i := range rapid.IntRange(1, 3).Draw(t, "rules") {
		r := fare.Rule{ID: string(rune('r' + i))}
		if rapid.Bool().Draw(t, "some routes") {
			r.Routes = routeNames[i : i+1+rapid.IntRange(0, 1).Draw(t, "one more")]
		}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			r.Flat = drawAmounts(t)
		case 1:
			r.Sections = &fare.Sections{Stops: map[string]string{"a": "x", "b": "x", "c": "y"}, Amounts: map[string]fare.Amounts{"x": drawAmounts(t), "y": drawAmounts(t)}}
		case 2:
			table := &fare.Table{Stops: stopNames[:3], Amounts: map[fare.Category][]int64{}}
			for _, c := range riders {
				for cell := range 9 {
					minor := int64(fare.NoPrice)
					if cell%4 != 0 && rapid.IntRange(0, 4).Draw(t, "priced") > 0 {
						minor = rapid.Int64Range(0, 9999).Draw(t, "minor")
					}
					table.Amounts[c] = append(table.Amounts[c], minor)
				}
			}
			r.Table = table
		}
		tariff.Rules = append(tariff.Rules, r)
	}
	if err := tariff.Compile(); err != nil {
		t.Fatalf("%v", err)
	}
	return tariff
}

// TestExportPrices: whatever can be said costs by the feed what it costs by the
// tariff, unknown fares included, and the feed reads back equal.
func TestExportPrices(t *testing.T) {
	said := 0
	rapid.Check(t, func(t *rapid.T) {
		tariff := drawTariff(t)
		feed, _, err := exchange.Export(tariff)
		if errors.Is(err, exchange.ErrExport) {
			return
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		said++
		again := back(t, feed)
		if !again.Equal(feed) || len(again.Refusals()) > 0 {
			t.Fatalf("reads back differently, or with refusals: %v", again.Refusals())
		}
		dep := time.Date(2026, 3, 30, 8, 0, 0, 0, time.UTC)
		for _, route := range routeNames {
			for _, from := range stopNames {
				for _, to := range stopNames {
					if from == to {
						continue
					}
					for _, rider := range riders {
						taps := []journey.Tap{
							{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.On, At: 0, Stop: from, Route: route, Party: 1},
							{ID: citygate.TapID{Terminal: 2, Seq: 1}, Kind: tap.Off, At: 60_000, Stop: to, Route: route, Party: 1},
						}
						want := tariff.Price(&journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}, rider)
						got, err := again.Price(&gtfs.Journey{Rider: string(rider), Legs: []gtfs.Ride{{Network: networkOf(again, route), From: from, To: to, Dep: dep, Arr: dep}}})
						if err != nil {
							t.Fatalf("%v", err)
						}
						if (got.Total != nil) != want.Known || want.Known && *got.Total != want.Amount {
							t.Fatalf("route %s, %s to %s, %s: the feed says %+v, the tariff %+v", route, from, to, rider, got, want)
						}
					}
				}
			}
		}
	})
	if said < 10 {
		t.Errorf("only %d tariffs could be said", said)
	}
}

func networkOf(f *gtfs.Feed, route string) string {
	for _, table := range f.Tables {
		if table.Name == "route_networks" {
			for _, row := range table.Rows {
				if row[1] == route {
					return row[0]
				}
			}
		}
	}
	return ""
}

// TestExportRefuses: what a feed cannot say is named, all of it.
func TestExportRefuses(t *testing.T) {
	tariff := &fare.Tariff{
		Name: "x", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{
			{ID: "taxi", Routes: []string{"T"}, Entered: &fare.Entered{Min: 1, Max: 100}},
			{ID: "pairs", Routes: []string{"1"}, Table: &fare.Table{Stops: []string{"a", "b"}, Amounts: map[fare.Category][]int64{"adult": {fare.NoPrice, 205, fare.NoPrice, fare.NoPrice}}}},
			{ID: "all", Flat: fare.Amounts{"adult": 200}},
		},
		Rounding: fare.Rounding{Step: 10},
		Minimum:  fare.Amounts{"adult": 100},
	}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	_, _, err := exchange.Export(tariff)
	if !errors.Is(err, exchange.ErrExport) {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"rules[taxi].entered:", "rules[all]: it would price the pairs that rules[pairs]", "rounding: an amount of rules[pairs]", "minimum:"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
	tariff.Rules, tariff.Rounding.Step, tariff.Minimum = tariff.Rules[2:], 0, nil
	_, left, err := exchange.Export(tariff)
	if err != nil || !slices.ContainsFunc(left, func(o exchange.Omission) bool { return o.Part == "incomplete" }) {
		t.Errorf("%v, omitted %v", err, left)
	}
}
