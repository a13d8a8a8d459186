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

// drawWhens gives times, most of which are windows of the clock that a feed can say.
func drawWhens(t *rapid.T) []fare.When {
	clock := []string{"00:00", "02:00", "07:00", "08:30", "09:00", "22:00"}
	var whens []fare.When
	for range rapid.IntRange(1, 2).Draw(t, "windows") {
		from := rapid.SampledFrom(clock).Draw(t, "from")
		until := rapid.SampledFrom(append(clock[1:], "24:00")).Filter(func(s string) bool { return s != from }).Draw(t, "until")
		whens = append(whens, fare.When{From: from, Until: until})
	}
	if rapid.IntRange(0, 4).Draw(t, "days") == 0 {
		whens[0].Days = []string{"weekday"}
	}
	return whens
}

// drawTime gives times of a day, also the first and the last minutes of windows.
func drawTime(t *rapid.T) time.Time {
	minute := rapid.SampledFrom([]int{0, 119, 120, 419, 420, 480, 509, 510, 539, 540, 720, 1319, 1320, 1439}).Draw(t, "minute")
	return time.Date(2026, 3, 30, 0, minute, rapid.SampledFrom([]int{0, 59}).Draw(t, "second"), 0, time.UTC)
}

func drawTariff(t *rapid.T) *fare.Tariff {
	tariff := &fare.Tariff{Name: "x", Version: 1, Currency: rapid.SampledFrom([]citygate.Currency{"CNY", "JPY", "KWD"}).Draw(t, "currency"),
		Categories: fare.Categories{Default: "adult"}, Zones: map[string][]string{"a": {"1"}, "b": {"1"}, "c": {"1", "2"}}}
	for i := range rapid.IntRange(1, 3).Draw(t, "rules") {
		r := fare.Rule{ID: string(rune('r' + i))}
		if rapid.Bool().Draw(t, "some routes") {
			r.Routes = routeNames[i : i+1+rapid.IntRange(0, 1).Draw(t, "one more")]
		}
		if rapid.IntRange(0, 4).Draw(t, "medium") == 0 {
			r.Media = []string{"phone"}
		}
		switch rapid.SampledFrom([]string{"flat", "flat", "sections", "table", "zones", "distance", "entered", "peak"}).Draw(t, "kind") {
		case "flat":
			r.Flat = drawAmounts(t)
		case "peak":
			r.Flat, r.When = drawAmounts(t), drawWhens(t)
		case "sections":
			r.Sections = &fare.Sections{Stops: map[string]string{"a": "x", "b": "x", "c": "y"}, Amounts: map[string]fare.Amounts{"x": drawAmounts(t), "y": drawAmounts(t)}}
		case "zones":
			r.Zones = &fare.Zones{Sets: []fare.ZoneSet{{Zones: []string{"1"}, Amounts: drawAmounts(t)}, {Zones: []string{"1", "2"}, Amounts: drawAmounts(t)}}}
		case "distance":
			r.Distance = &fare.Distance{Base: fare.Base{UpTo: 1000, Amount: 200}, Bands: []fare.Band{{Per: 700, Add: 30}},
				Links: []fare.Link{{A: "a", B: "b", Metres: 900}, {A: "b", B: "c", Metres: 2500}}, Permille: map[fare.Category]int64{"adult": 1000, "child": 505}}
		case "entered":
			r.Entered = &fare.Entered{Min: 1, Max: 100}
		default:
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
			if rapid.Bool().Draw(t, "split") {
				table.Split = &fare.Split{Breaks: 1}
			}
			r.Table = table
		}
		tariff.Rules = append(tariff.Rules, r)
	}
	if rapid.Bool().Draw(t, "discount") {
		d := fare.Discount{ID: "d", Permille: rapid.Int64Range(1, 300).Draw(t, "permille"), Surcharge: rapid.Bool().Draw(t, "surcharge")}
		if rapid.Bool().Draw(t, "by medium") {
			d.Match.Media = []string{"band"}
		}
		if rapid.IntRange(0, 3).Draw(t, "by zone") == 0 {
			d.Match.Zones = []string{"1"}
		}
		if rapid.IntRange(0, 2).Draw(t, "by time") == 0 {
			d.When = drawWhens(t)
		}
		tariff.Discounts = append(tariff.Discounts, d)
	}
	if rapid.IntRange(0, 3).Draw(t, "minimum") == 0 {
		tariff.Minimum = fare.Amounts{"adult": 150}
	}
	if rapid.Bool().Draw(t, "rounding") {
		tariff.Rounding = fare.Rounding{Step: 10, Mode: fare.Up}
	}
	if rapid.IntRange(0, 3).Draw(t, "transfers") > 0 {
		tariff.Transfers = append(tariff.Transfers, drawTransfer(t, tariff))
	}
	if err := tariff.Compile(); err != nil {
		t.Fatalf("%v", err)
	}
	return tariff
}

// drawTransfer mostly gives transfers that the reference has as well.
func drawTransfer(t *rapid.T, tariff *fare.Tariff) fare.Transfer {
	x := fare.Transfer{ID: "change", Window: 60, Permille: rapid.SampledFrom([]int64{1000, 1000, 500}).Draw(t, "permille"),
		Since: rapid.SampledFrom([]string{"", "", "start", "end"}).Draw(t, "since"), Count: rapid.IntRange(0, 2).Draw(t, "count"), SameRoute: rapid.IntRange(0, 3).Draw(t, "same route") > 0}
	if rapid.IntRange(0, 3).Draw(t, "an amount") == 0 {
		x.Permille, x.Amounts = 0, fare.Amounts{"adult": 100}
	}
	if len(tariff.Rules) > 1 && rapid.Bool().Draw(t, "one way") {
		x.From.Rules, x.To.Rules = []string{tariff.Rules[0].ID}, []string{tariff.Rules[1].ID}
	}
	return x
}

// rideOf is a complete ride of ours, and the same as the feed has it.
func rideOf(feed *gtfs.Feed, at time.Time, route, from, to string, seq uint64) (*journey.Journey, gtfs.Ride) {
	taps := []journey.Tap{
		{ID: citygate.TapID{Terminal: 1, Seq: seq}, Kind: tap.On, At: at.UnixMilli(), Stop: from, Route: route, Party: 1},
		{ID: citygate.TapID{Terminal: 2, Seq: seq}, Kind: tap.Off, At: at.UnixMilli() + 60_000, Stop: to, Route: route, Party: 1},
	}
	return &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete},
		gtfs.Ride{Network: networkOf(feed, route), From: from, To: to, Dep: at, Arr: at.Add(time.Minute)}
}

// excused reports whether an omission says why a price can be missing.
func excused(left []exchange.Omission) bool {
	return slices.ContainsFunc(left, func(o exchange.Omission) bool {
		return strings.HasPrefix(o.Part, "rules[") || o.Part == "rules for all routes" || o.Part == "stops that the tariff does not name"
	})
}

// TestExportPrices: a price that the feed says is what the tariff asks; what the feed
// does not say the tariff does not either, or an omission names it; rides that follow
// each other cost by the feed, and by a tariff made of it, what the fold asks, unless an
// omission says that transfers are not in it; and the feed reads back equal.
func TestExportPrices(t *testing.T) {
	said := 0
	rapid.Check(t, func(t *rapid.T) {
		tariff := drawTariff(t)
		feed, left, err := exchange.Export(tariff)
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
		as := exchange.As{Name: "back", Version: 1, Riders: map[fare.Category]string{"adult": "adult"}, Media: map[string]string{}}
		if again.Combines() {
			as.Pause = 24 * 60
		}
		for _, m := range []string{"phone", "band"} {
			if again.HasMedia(m) {
				as.Media[m] = m
			}
		}
		imported, err := exchange.Import(again, as)
		if err != nil {
			t.Fatalf("%v", err)
		}
		dep := drawTime(t)
		medium := rapid.SampledFrom([]string{"phone", "band", "server"}).Draw(t, "medium")
		for _, route := range routeNames {
			for _, from := range stopNames {
				for _, to := range stopNames {
					if from == to {
						continue
					}
					for _, rider := range riders {
						j, leg := rideOf(again, dep, route, from, to, 1)
						want := tariff.PriceTrip(&fare.Trip{Journey: j, Category: rider, Medium: medium}, fare.Calendar{})
						got, err := again.Price(&gtfs.Journey{Rider: string(rider), Media: as.Media[medium], Legs: []gtfs.Ride{leg}})
						if err != nil {
							t.Fatalf("%v", err)
						}
						if got.Total != nil && (!want.Known || *got.Total != want.Amount) || got.Total == nil && want.Known && !excused(left) {
							t.Fatalf("route %s, %s to %s, %s by %s: the feed says %+v, the tariff %+v; left out %v", route, from, to, rider, medium, got, want, left)
						}
						back := imported.PriceTrip(&fare.Trip{Journey: j, Category: rider, Medium: medium}, fare.Calendar{})
						if leg.Network == "" && again.HasRoutes() {
							if back.Known { // a route that a feed with routes does not have is unknown to it
								t.Fatalf("route %s is none of the feed, and costs %+v", route, back)
							}
							continue
						}
						if back.Known != (got.Total != nil) || back.Known && back.Amount != *got.Total {
							t.Fatalf("route %s, %s to %s, %s: the tariff made of the feed says %+v, the feed %+v", route, from, to, rider, back, got)
						}
					}
				}
			}
		}
		if slices.ContainsFunc(left, func(o exchange.Omission) bool { return strings.HasPrefix(o.Part, "transfers[") }) {
			return
		}
		chains(t, tariff, imported, again, medium, as.Media[medium])
	})
	if said < 10 {
		t.Errorf("only %d tariffs could be said", said)
	}
}

// TestExportedTransfers: of every form of transfer that the reference has, chains of
// rides cost by the feed and by a tariff made of it what the fold asks for them.
func TestExportedTransfers(t *testing.T) {
	made := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		table := []int64{-1, 300, 500, 300, -1, 400, 500, 400, -1}
		tariff := &fare.Tariff{Name: "x", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult"}, Rules: []fare.Rule{
			{ID: "bus", Routes: []string{"1", "2"}, Flat: fare.Amounts{"adult": 240, "child": 120}},
			{ID: "metro", Routes: []string{"3", "9"}, Table: &fare.Table{Stops: stopNames[:3], Amounts: map[fare.Category][]int64{"adult": table, "child": table}}}}}
		x := fare.Transfer{ID: "change", Window: rapid.Int64Range(20, 90).Draw(t, "window"), Permille: 1000}
		form := rapid.SampledFrom([]string{"free in a run", "free, since the ride before", "onto the bus at half", "onto the metro for less"}).Draw(t, "form")
		switch form {
		case "free in a run":
			x.SameRoute, x.Count = true, rapid.IntRange(0, 3).Draw(t, "count")
		case "free, since the ride before":
			x.SameRoute, x.Count, x.Since = true, 1, rapid.SampledFrom([]string{"start", "end"}).Draw(t, "since")
		case "onto the bus at half":
			x.From.Rules, x.To.Rules, x.Permille = []string{"metro"}, []string{"bus"}, 500
		default:
			x.From.Rules, x.To.Rules, x.Permille, x.Amounts, x.Since = []string{"bus"}, []string{"metro"}, 0, fare.Amounts{"adult": 150}, rapid.SampledFrom([]string{"", "start", "end"}).Draw(t, "since")
		}
		tariff.Transfers = []fare.Transfer{x}
		if err := tariff.Compile(); err != nil {
			t.Fatalf("%v", err)
		}
		feed, left, err := exchange.Export(tariff)
		if err != nil || slices.ContainsFunc(left, func(o exchange.Omission) bool { return strings.HasPrefix(o.Part, "transfers") }) {
			t.Fatalf("%s: %v, left out %v", form, err, left)
		}
		again := back(t, feed)
		imported, err := exchange.Import(again, exchange.As{Name: "back", Version: 1, Pause: 24 * 60})
		if err != nil {
			t.Fatalf("%v", err)
		}
		if chains(t, tariff, imported, again, "", "") {
			made[form]++
		}
	})
	if len(made) != 4 {
		t.Errorf("transfers were made of these forms alone: %v", made)
	}
}

// chains prices rides of a day together, and reports whether one had a transfer.
func chains(t *rapid.T, tariff, imported *fare.Tariff, feed *gtfs.Feed, medium, media string) (transferred bool) {
	for _, rider := range riders {
		at := drawTime(t)
		var trips []fare.Trip
		itinerary := gtfs.Journey{Rider: string(rider), Media: media}
		for n := range rapid.IntRange(3, 5).Draw(t, "rides") {
			from := rapid.SampledFrom(stopNames[:3]).Draw(t, "from")
			to := rapid.SampledFrom(stopNames[:3]).Filter(func(s string) bool { return s != from }).Draw(t, "to")
			j, leg := rideOf(feed, at, rapid.SampledFrom(routeNames).Draw(t, "route"), from, to, uint64(n+1))
			if one, err := feed.Price(&gtfs.Journey{Rider: itinerary.Rider, Media: media, Legs: []gtfs.Ride{leg}}); err != nil || one.Total == nil || leg.Network == "" && feed.HasRoutes() {
				return transferred
			}
			trips, itinerary.Legs = append(trips, fare.Trip{Journey: j, Category: rider, Medium: medium}), append(itinerary.Legs, leg)
			at = at.Add(time.Duration(rapid.IntRange(1, 59).Draw(t, "pause")) * time.Minute)
		}
		total := func(t *fare.Tariff) (sum int64) {
			f := fare.Folder{Tariff: func(int64) *fare.Tariff { return t }}
			for _, d := range f.Fold(new(fare.State), trips) {
				sum += d.Amount.Minor
				transferred = transferred || slices.ContainsFunc(d.Explanation.Adjustments, func(a fare.Adjustment) bool { return a.Kind == fare.KindTransfer && a.Minor > 0 })
			}
			return sum
		}
		whole, err := feed.Price(&itinerary)
		want := total(tariff)
		if err != nil || whole.Total == nil || whole.Total.Minor != want || total(imported) != want {
			t.Fatalf("%d rides cost %d, by the feed %+v, by a tariff made of it %d", len(trips), want, whole, total(imported))
		}
	}
	return transferred
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

// TestExportNames: what a feed cannot say is named, all of it, and a tariff of which
// nothing can be said is refused.
func TestExportNames(t *testing.T) {
	tariff := &fare.Tariff{
		Name: "x", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult", Proof: map[fare.Category]fare.Category{"child": "adult"}},
		Rules: []fare.Rule{
			{ID: "taxi", Routes: []string{"T"}, Entered: &fare.Entered{Min: 1, Max: 100}},
			{ID: "parking", Routes: []string{"P"}, Time: &fare.Time{Steps: []fare.TimeStep{{UpTo: 60, Amounts: fare.Amounts{"adult": 100}}}}},
			{ID: "peak", Routes: []string{"1"}, When: []fare.When{{Days: []string{"weekday"}, From: "07:00", Until: "09:00"}}, Flat: fare.Amounts{"adult": 300}},
			{ID: "city", Routes: []string{"1", "2"}, Flat: fare.Amounts{"adult": 205}},
			{ID: "all", Flat: fare.Amounts{"adult": 200}},
		},
		Rounding:  fare.Rounding{Step: 10},
		Transfers: []fare.Transfer{{ID: "change", Window: 60, Permille: 500}},
		Caps:      []fare.Cap{{ID: "day", Period: fare.Period{Kind: "day"}, Amounts: fare.Amounts{"adult": 1000}}},
		NthRide:   []fare.NthRide{{ID: "tenth", Period: fare.Period{Kind: "week"}, N: 10}},
	}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	feed, left, err := exchange.Export(tariff)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, o := range left {
		parts = append(parts, o.Part)
	}
	slices.Sort(parts)
	want := []string{"caps", "categories.proof", "incomplete", "nth_ride", "rules for all routes", "rules[parking].time", "rules[peak].when", "rules[taxi].entered", "same_stop", "transfers[change]"}
	if !slices.Equal(parts, want) {
		t.Errorf("left out %v, want %v", parts, want)
	}
	for route, total := range map[string]int64{"2": 210, "1": -1, "T": -1} {
		leg := gtfs.Ride{Network: networkOf(feed, route), From: "a", To: "b"}
		p, err := feed.Price(&gtfs.Journey{Legs: []gtfs.Ride{leg}})
		if err != nil || (p.Total != nil) != (total >= 0) || p.Total != nil && p.Total.Minor != total {
			t.Errorf("route %s: %+v, %v, want %d", route, p, err, total)
		}
	}
	tariff = &fare.Tariff{Name: "x", Version: 1, Currency: "CNY", Rules: tariff.Rules[:2]}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := exchange.Export(tariff); !errors.Is(err, exchange.ErrExport) || !strings.Contains(err.Error(), "rules[taxi].entered: ") || !strings.Contains(err.Error(), "rules[parking].time: ") {
		t.Errorf("nothing to say: %v", err)
	}
}

// TestExportTimes: windows of the clock are timeframes, each price in one row for all times at
// which it holds; what is the same all day has none.
func TestExportTimes(t *testing.T) {
	tariff := &fare.Tariff{Name: "x", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult"}, Rules: []fare.Rule{
		{ID: "peak", Routes: []string{"1"}, When: []fare.When{{From: "07:00", Until: "09:00"}, {From: "16:00", Until: "19:00"}}, Flat: fare.Amounts{"adult": 300}},
		{ID: "day", Routes: []string{"1"}, Flat: fare.Amounts{"adult": 200}},
		{ID: "bus", Routes: []string{"2"}, Flat: fare.Amounts{"adult": 100}},
		{ID: "night", When: []fare.When{{From: "23:00", Until: "05:00"}}, Flat: fare.Amounts{"adult": 500}},
		{ID: "all", Flat: fare.Amounts{"adult": 150}},
	}, Transfers: []fare.Transfer{{ID: "late", Window: 60, Permille: 1000, SameRoute: true, From: fare.Match{Rules: []string{"bus"}}, To: fare.Match{Rules: []string{"night"}}}}}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	feed, left, err := exchange.Export(tariff)
	if err != nil || slices.ContainsFunc(left, func(o exchange.Omission) bool { return strings.HasPrefix(o.Part, "rules") }) {
		t.Fatalf("left out %v, %v", left, err)
	}
	files, err := feed.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"timeframes.txt": `timeframe_group_id,start_time,end_time,service_id
00:00-07:00+09:00-16:00+19:00-24:00,00:00:00,07:00:00,every-day
00:00-07:00+09:00-16:00+19:00-24:00,09:00:00,16:00:00,every-day
00:00-07:00+09:00-16:00+19:00-24:00,19:00:00,24:00:00,every-day
07:00-09:00+16:00-19:00,07:00:00,09:00:00,every-day
07:00-09:00+16:00-19:00,16:00:00,19:00:00,every-day
00:00-05:00+23:00-24:00,00:00:00,05:00:00,every-day
00:00-05:00+23:00-24:00,23:00:00,24:00:00,every-day
05:00-23:00,05:00:00,23:00:00,every-day
`,
		"fare_leg_rules.txt": `leg_group_id,network_id,from_area_id,to_area_id,from_timeframe_group_id,fare_product_id,rule_priority
day,network-1,,,00:00-07:00+09:00-16:00+19:00-24:00,fare-1,1
peak,network-1,,,07:00-09:00+16:00-19:00,fare-2,1
bus,network-2,,,,fare-3,1
night,,,,00:00-05:00+23:00-24:00,fare-4,0
all,,,,05:00-23:00,fare-5,0
`,
		"calendar.txt": `service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date
every-day,1,1,1,1,1,1,1,20000101,20991231
`,
	} {
		if got := strings.ReplaceAll(string(files[name]), "\r\n", "\n"); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
		}
	}
}
