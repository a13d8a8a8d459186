package fare_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// cityFeed is a feed with everything that ties rides together: a metro whose lines are
// joined at one station, buses with a free transfer for 60 minutes, twice, a transfer
// from bus to metro at 1.00, and from metro to bus as a through fare of 6.00.
var cityFeed = map[string]string{
	"agency.txt":           "agency_timezone\nEurope/Berlin\n",
	"stops.txt":            "stop_id,parent_station\nA,\nB,\nC,\nP1,C\nX,\nY,\n",
	"areas.txt":            "area_id\ncore\nring\n",
	"stop_areas.txt":       "area_id,stop_id\ncore,A\ncore,B\nring,C\n",
	"networks.txt":         "network_id\nmetro\nbus\n",
	"route_networks.txt":   "network_id,route_id\nmetro,M1\nmetro,M2\nbus,B1\nbus,B2\n",
	"rider_categories.txt": "rider_category_id,rider_category_name,is_default_fare_category\nadult,Adult,1\nchild,Child,0\n",
	"fare_media.txt":       "fare_media_id,fare_media_name,fare_media_type\napp,App,4\n",
	"fare_products.txt": "fare_product_id,rider_category_id,fare_media_id,amount,currency\nbus,adult,,2.00,EUR\nbus,child,,1.00,EUR\nbus,adult,app,1.80,EUR\n" +
		"short,,,3.00,EUR\nlong,adult,,5.00,EUR\nlong,child,,2.50,EUR\nonto,,,1.00,EUR\nthrough,,,6.00,EUR\n",
	"fare_leg_rules.txt": "leg_group_id,network_id,from_area_id,to_area_id,fare_product_id,rule_priority\nbus,bus,,,bus,\n" +
		"metro,metro,core,core,short,\nmetro,metro,core,ring,long,\nmetro,metro,ring,core,long,\nmetro,metro,ring,ring,short,\n",
	"fare_leg_join_rules.txt": "from_network_id,to_network_id\nmetro,metro\n",
	"fare_transfer_rules.txt": "from_leg_group_id,to_leg_group_id,transfer_count,duration_limit,duration_limit_type,fare_transfer_type,fare_product_id\n" +
		"bus,bus,2,3600,1,0,\nbus,metro,,5400,3,1,onto\nmetro,bus,,,,2,through\n",
}

// feedTariff is a tariff whose one rule is the city's feed.
func feedTariff(t testing.TB, change func(*fare.Tariff)) *fare.Tariff {
	t.Helper()
	tariff := &fare.Tariff{
		Name: "city", Version: 1, Currency: "EUR", Categories: fare.Categories{Default: "adult", Products: map[uint16]fare.Category{2: "child"}},
		Rules: []fare.Rule{{ID: "feed", Feed: &fare.Feed{Files: cityFeed, Pause: 30, Stops: map[string]string{"gate-7": "A"},
			Routes: map[string]string{"line-1": "M1"}, Media: map[string]string{"phone": "app"}}}},
	}
	if change != nil {
		change(tariff)
	}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	return tariff
}

// tripOf is a ride at a minute after the Monday; without to a single tap.
func tripOf(m, lasts int64, route, from, to string) fare.Trip {
	out := metro(m, from, to, lasts)
	for i := range out.Journey.Taps {
		out.Journey.Taps[i].Route = route
	}
	if to == "" {
		out.Journey.Taps = out.Journey.Taps[:1]
		out.Journey.Taps[0].Kind = tap.Single
	}
	return out
}

// TestAFeedIsATariff: single rides, by the same engine, with their explanation.
func TestAFeedIsATariff(t *testing.T) {
	tariff := feedTariff(t, func(t *fare.Tariff) {
		t.Incomplete.Mode, t.SameStop.Mode = fare.MaxFromStop, fare.MinFromStop
	})
	on := func(trip fare.Trip, medium string, category fare.Category) fare.Trip {
		trip.Medium, trip.Category = medium, category
		return trip
	}
	half := tripOf(480, 1, "M1", "C", "A")
	half.Journey.Taps, half.Journey.State, half.Journey.Missing = half.Journey.Taps[:1], journey.Incomplete, journey.MissingOff
	many := tripOf(480, 10, "M1", "A", "C")
	many.Journey.Taps[0].Party = 3
	for name, c := range map[string]struct {
		trip fare.Trip
		want int64 // -1: unknown
	}{
		"metro in the core":            {tripOf(480, 10, "M1", "A", "B"), 300},
		"ids of ours":                  {tripOf(480, 10, "line-1", "gate-7", "P1"), 500},
		"a child":                      {on(tripOf(480, 10, "M1", "A", "C"), "", "child"), 250},
		"bus, one tap":                 {tripOf(480, 0, "B1", "X", ""), 200},
		"bus, one tap without stop":    {tripOf(480, 0, "B1", "", ""), 200},
		"bus on the phone":             {on(tripOf(480, 0, "B1", "X", ""), "phone", "adult"), 180},
		"bus on a band":                {on(tripOf(480, 0, "B1", "X", ""), "band", "adult"), 200},
		"metro, one tap":               {tripOf(480, 0, "M1", "A", ""), -1},
		"metro between places of none": {tripOf(480, 10, "M1", "X", "Y"), -1},
		"a route the feed has not":     {tripOf(480, 10, "T", "A", "B"), -1},
		"a stop the feed has not":      {tripOf(480, 10, "M1", "A", "Q"), -1},
		"a category the feed has not":  {on(tripOf(480, 10, "M1", "A", "B"), "", "dog"), -1},
		"the off is missing":           {half, 500},
		"left where it was entered":    {tripOf(480, 10, "M1", "A", "A"), 300},
		"three on one code":            {many, 1500},
	} {
		d := tariff.PriceTrip(&c.trip, fare.Calendar{})
		if got := d.Amount.Minor; d.Known != (c.want >= 0) || d.Known && got != c.want {
			t.Errorf("%s: %+v, want %d", name, d, c.want)
		}
		if !d.Known && d.Reason != fare.NotInFeed {
			t.Errorf("%s: %s", name, d.Reason)
		}
	}
	trip := tripOf(480, 10, "line-1", "gate-7", "P1")
	d := tariff.PriceTrip(&trip, fare.Calendar{})
	raw, err := json.Marshal(d.Explanation.Steps)
	if want := `[{"rule":"feed","op":"feed","from":"gate-7","to":"P1","product":"long","row":4,"minor":500}]`; err != nil || string(raw) != want {
		t.Errorf("explained by %s, want %s", raw, want)
	}
	unknown := tripOf(480, 10, "M1", "A", "Q")
	if d := tariff.PriceTrip(&unknown, fare.Calendar{}); !strings.Contains(d.Explanation.Steps[0].Note, `"Q" is neither a stop nor an area`) {
		t.Errorf("the reason is not told: %+v", d.Explanation)
	}
}

// TestJourneysOfAFeed: rides that follow each other cost what the feed asks for them
// as one journey, ride by ride, and nobody is given money back.
func TestJourneysOfAFeed(t *testing.T) {
	tariff := feedTariff(t, nil)
	for name, c := range map[string]struct {
		trips []fare.Trip
		want  []int64
	}{
		"free transfers, two":          {[]fare.Trip{tripOf(0, 0, "B1", "X", ""), tripOf(20, 0, "B2", "Y", ""), tripOf(40, 0, "B1", "X", ""), tripOf(55, 0, "B2", "X", "")}, []int64{200, 0, 0, 200}},
		"too late for the feed":        {[]fare.Trip{tripOf(0, 0, "B1", "X", ""), tripOf(29, 0, "B2", "Y", ""), tripOf(58, 0, "B1", "X", ""), tripOf(80, 0, "B1", "X", "")}, []int64{200, 0, 0, 200}},
		"too long a pause":             {[]fare.Trip{tripOf(0, 0, "B1", "X", ""), tripOf(31, 0, "B2", "Y", "")}, []int64{200, 200}},
		"bus and metro":                {[]fare.Trip{tripOf(0, 5, "B1", "X", "Y"), tripOf(10, 10, "M1", "A", "C")}, []int64{200, 600}},
		"metro and bus, through":       {[]fare.Trip{tripOf(0, 5, "M1", "A", "C"), tripOf(10, 5, "B1", "X", "Y")}, []int64{500, 100}},
		"joined legs":                  {[]fare.Trip{tripOf(0, 5, "M1", "A", "C"), tripOf(10, 5, "M2", "P1", "B")}, []int64{500, 0}}, // core to core is 3.00: 5.00 are paid
		"set off against what follows": {[]fare.Trip{tripOf(0, 5, "M1", "A", "C"), tripOf(10, 5, "M2", "P1", "B"), tripOf(20, 5, "B1", "X", "Y")}, []int64{500, 0, 100}},
		"another line elsewhere":       {[]fare.Trip{tripOf(0, 5, "M1", "A", "B"), tripOf(10, 5, "M2", "C", "C2")}, []int64{300, -1}},
	} {
		f := folder(tariff)
		if got := amounts(f.Fold(new(fare.State), c.trips)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	trips := []fare.Trip{tripOf(0, 0, "B1", "X", ""), tripOf(20, 0, "B2", "Y", "")}
	trips[1].Journey.Taps[0].Party = 2
	d := folder(tariff).Fold(new(fare.State), trips)
	if d[1].Amount.Minor != 200 {
		t.Errorf("a companion pays what the ride costs by itself: %+v", d[1])
	}
	var ops []fare.Op
	for _, s := range d[1].Explanation.Steps {
		ops = append(ops, s.Op)
	}
	if want := []fare.Op{fare.OpFeed, fare.OpFeedJourney, fare.OpFeedAdds, fare.OpParty}; !slices.Equal(ops, want) {
		t.Errorf("steps %v, want %v", ops, want)
	}
}

// TestAJourneyOfAFeedEnds: with a ride in another category, on another fare medium,
// given back whole, or without an end.
func TestAJourneyOfAFeedEnds(t *testing.T) {
	tariff := feedTariff(t, func(t *fare.Tariff) { t.Incomplete.Mode = fare.MaxOfRule })
	first := func() fare.Trip { return tripOf(0, 0, "B1", "X", "") }
	for name, c := range map[string]struct {
		change func(second *fare.Trip)
		want   int64
	}{
		"nothing":                        {func(*fare.Trip) {}, 0},
		"another category":               {func(s *fare.Trip) { s.Category = "child" }, 100},
		"another medium":                 {func(s *fare.Trip) { s.Medium = "phone" }, 180},
		"media that no fare tells apart": {func(s *fare.Trip) { s.Medium = "band" }, 0},
		"void":                           {func(s *fare.Trip) { s.Void = true }, 0},
		"incomplete":                     {func(s *fare.Trip) { s.Journey.State, s.Journey.Missing = journey.Incomplete, journey.MissingOff }, 600},
	} {
		second := tripOf(20, 0, "B2", "Y", "")
		c.change(&second)
		got := amounts(folder(tariff).Fold(new(fare.State), []fare.Trip{first(), second}))
		if name == "incomplete" {
			c.want = 500 // the highest of the leg rules
		}
		if got[1] != c.want {
			t.Errorf("%s: the second ride costs %d, want %d", name, got[1], c.want)
		}
	}
	// A void ride is no ride of the journey: the third is the second.
	void := tripOf(20, 0, "B2", "Y", "")
	void.Void = true
	if got := amounts(folder(tariff).Fold(new(fare.State), []fare.Trip{first(), void, tripOf(45, 0, "B1", "X", "")})); got[2] != 200 {
		t.Errorf("the pause is from the last ride that counts: %v", got)
	}
}

// TestFeedJourneysAgainstAnOracle: whatever rides a rider makes, in whatever order they
// become known, together they cost what the feed asks for the itineraries that they
// are, each the most that any beginning of it cost.
func TestFeedJourneysAgainstAnOracle(t *testing.T) {
	tariff := feedTariff(t, nil)
	feed, err := gtfs.ReadFiles(cityFeed)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var trips []fare.Trip
		at := int64(0)
		for range rapid.IntRange(1, 9).Draw(t, "rides") {
			at += rapid.Int64Range(1, 45).Draw(t, "pause")
			lasts := rapid.Int64Range(1, 20).Draw(t, "lasts")
			from, to := "X", "Y"
			route := rapid.SampledFrom([]string{"B1", "B2", "M1", "M2"}).Draw(t, "route")
			if route[0] == 'M' {
				from = rapid.SampledFrom([]string{"A", "B", "C", "P1"}).Draw(t, "from")
				to = rapid.SampledFrom([]string{"A", "B", "C", "P1"}).Filter(func(s string) bool { return s != from }).Draw(t, "to")
			}
			trip := tripOf(at, lasts, route, from, to)
			trip.Category = rapid.SampledFrom([]fare.Category{"adult", "adult", "child"}).Draw(t, "category")
			at += lasts
			trips = append(trips, trip)
		}
		want := int64(0)
		for i := 0; i < len(trips); {
			most, next := int64(0), i
			for j := (gtfs.Journey{Rider: string(trips[i].Category)}); next < len(trips); next++ {
				taps := trips[next].Journey.Taps
				if next > i && (string(trips[next].Category) != j.Rider || taps[0].At-trips[next-1].Journey.Taps[1].At > 30*60_000) {
					break
				}
				j.Legs = append(j.Legs, gtfs.Ride{Route: taps[0].Route, From: taps[0].Stop, To: taps[1].Stop, Dep: time.UnixMilli(taps[0].At), Arr: time.UnixMilli(taps[1].At)})
				p, err := feed.Price(&j)
				if err != nil || p.Total == nil {
					t.Fatalf("%+v: %+v, %v", j, p, err)
				}
				most = max(most, p.Total.Minor)
			}
			want, i = want+most, next
		}
		got := amounts(folder(tariff).Fold(new(fare.State), rapid.Permutation(trips).Draw(t, "order")))
		if sum(got) != want || slices.Min(got) < 0 {
			t.Fatalf("the rides cost %v, together %d, the feed asks %d", got, sum(got), want)
		}
		// And from the state after any ride on, read back as it is stored.
		state, f, again := new(fare.State), folder(tariff), int64(0)
		for i := range trips {
			d := f.Step(state, &trips[i])
			again += d.Amount.Minor
			raw, err := json.Marshal(state)
			state = new(fare.State)
			if err = errors.Join(err, json.Unmarshal(raw, state)); err != nil {
				t.Fatal(err)
			}
		}
		if again != want {
			t.Fatalf("one by one %d, want %d", again, want)
		}
	})
}

// TestFeedInputsHash: what the price of a ride depends on changes the hash.
func TestFeedInputsHash(t *testing.T) {
	tariff := feedTariff(t, nil)
	hash := func(first fare.Trip, t *fare.Tariff) [32]byte {
		second := tripOf(20, 0, "B2", "Y", "")
		second.Journey.Taps[0].ID.Seq = 1
		state := new(fare.State)
		f := folder(t)
		f.Step(state, &first)
		return f.Step(state, &second).InputsHash
	}
	same := hash(tripOf(0, 5, "B1", "X", "Y"), tariff)
	for name, other := range map[string][32]byte{
		"the stop before": hash(tripOf(0, 5, "B1", "Y", "Y"), tariff), "the end before": hash(tripOf(0, 6, "B1", "X", "Y"), tariff),
		"the route before": hash(tripOf(0, 5, "B2", "X", "Y"), tariff), "the feed": hash(tripOf(0, 5, "B1", "X", "Y"), feedTariff(t, func(t *fare.Tariff) { t.Rules[0].Feed.Pause = 31 })),
	} {
		if other == same {
			t.Errorf("%s has no say in the hash", name)
		}
	}
	if again := hash(tripOf(0, 5, "B1", "X", "Y"), tariff); again != same {
		t.Error("the same inputs have another hash")
	}
}

// TestPublishRefusesFeeds that cannot be charged, with file, row and column.
func TestPublishRefusesFeeds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fare.Tariff, map[string]string)
		want   string
	}{
		"unknown column": {func(_ *fare.Tariff, f map[string]string) {
			f["areas.txt"] = "area_id,area_colour\ncore,red\nring,red\n"
		}, "areas.txt row 1 column area_colour"},
		"no leg rules":    {func(_ *fare.Tariff, f map[string]string) { delete(f, "fare_leg_rules.txt") }, "fare_leg_rules.txt"},
		"a file of rides": {func(_ *fare.Tariff, f map[string]string) { f["stop_times.txt"] = "trip_id\n1\n" }, "stop_times.txt is no file of fares"},
		"no text":         {func(_ *fare.Tariff, f map[string]string) { f["areas.txt"] += "\x00" }, "areas.txt is no file of fares"},
		"two currencies":  {func(t *fare.Tariff, _ map[string]string) { t.Currency = "USD" }, "prices in EUR, the tariff is in USD"},
		"no pause":        {func(t *fare.Tariff, _ map[string]string) { t.Rules[0].Feed.Pause = 0 }, "pause_min is required"},
		"a pause for nothing": {func(_ *fare.Tariff, f map[string]string) {
			delete(f, "fare_transfer_rules.txt")
			delete(f, "fare_leg_join_rules.txt")
		}, "leave pause_min out"},
		"an unknown stop":  {func(t *fare.Tariff, _ map[string]string) { t.Rules[0].Feed.Stops = map[string]string{"gate-7": "Q"} }, `"gate-7" is to be "Q"`},
		"an unknown route": {func(t *fare.Tariff, _ map[string]string) { t.Rules[0].Feed.Routes = map[string]string{"7": "Q"} }, `"7" is to be "Q"`},
		"an unknown rider": {func(t *fare.Tariff, _ map[string]string) {
			t.Rules[0].Feed.Riders = map[fare.Category]string{"adult": "Q"}
		}, "no rider category"},
		"an unknown medium": {func(t *fare.Tariff, _ map[string]string) { t.Rules[0].Feed.Media = map[string]string{"phone": "Q"} }, "no fare medium"},
		"a category untied": {func(t *fare.Tariff, _ map[string]string) { t.Categories.Default = "grown-up" }, `the category "grown-up" is no rider category of the feed (adult, child)`},
		"transfers of two": {func(t *fare.Tariff, _ map[string]string) {
			t.Transfers = []fare.Transfer{{ID: "x", Window: 60, Permille: 1000}}
		}, "transfers or joined legs of its own"},
		"beside another kind": {func(t *fare.Tariff, _ map[string]string) { t.Rules[0].Flat = fare.Amounts{"adult": 1} }, "exactly one of"},
	} {
		files := map[string]string{}
		for file, text := range cityFeed {
			files[file] = text
		}
		tariff := &fare.Tariff{Name: "city", Version: 1, Currency: "EUR", Categories: fare.Categories{Default: "adult"},
			Rules: []fare.Rule{{ID: "feed", Feed: &fare.Feed{Files: files, Pause: 30}}}}
		c.change(tariff, files)
		if err := tariff.Compile(); !errors.Is(err, fare.ErrTariff) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// A byte order mark and a missing final newline are no reason to refuse.
	odd := feedTariff(t, func(t *fare.Tariff) {
		files := map[string]string{}
		for file, text := range cityFeed {
			files[file] = text
		}
		files["areas.txt"] = "\ufeff" + strings.TrimSuffix(files["areas.txt"], "\n")
		t.Rules[0].Feed.Files = files
	})
	raw, err := odd.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := fare.ParseTariff(raw); err != nil || again.Digest() != odd.Digest() {
		t.Errorf("reads back as another tariff: %v", err)
	}
}

// TestRealFeedsAsTariffs: expected prices written by hand from the tables of the
// operators, priced by our own engine from taps.
func TestRealFeedsAsTariffs(t *testing.T) {
	for _, c := range []struct {
		dir, currency, category, route, from, to string
		want                                     int64
	}{
		{"transcollines-2024-10", "CAD", "adult", "910", "PNT", "GAT", 2000},
		{"transcollines-2024-10", "CAD", "adult", "910", "GAT", "PNT", 2000},
		{"transcollines-2024-10", "CAD", "adult", "910", "GAT", "COL", 500},
		{"zakroczym", "PLN", "0", "Z1", "1", "3", 500},
		{"zakroczym", "PLN", "0", "Z1", "1", "1", 0},
		{"zakroczym", "PLN", "0", "Z2", "1", "2", 400},
	} {
		feed, err := gtfs.Read(os.DirFS("gtfs/testdata/" + c.dir))
		if err != nil {
			t.Fatal(err)
		}
		files, err := feed.Text()
		if err != nil {
			t.Fatal(err)
		}
		first := map[string]string{} // a stop of the area, since taps have stops
		for _, table := range feed.Tables {
			if table.Name == "stop_areas" {
				for _, row := range table.Rows {
					if _, ok := first[row[0]]; !ok {
						first[row[0]] = row[1]
					} else if c.from == c.to {
						first[row[0]+" too"] = row[1]
					}
				}
			}
		}
		from, to := first[c.from], first[c.to]
		if c.from == c.to {
			to = first[c.to+" too"]
		}
		tariff := &fare.Tariff{Name: c.dir, Version: 1, Currency: citygate.Currency(c.currency), Categories: fare.Categories{Default: fare.Category(c.category)},
			Rules: []fare.Rule{{ID: "feed", Feed: &fare.Feed{Files: files}}}}
		if err := tariff.Compile(); err != nil {
			t.Fatal(err)
		}
		trip := tripOf(600, 40, c.route, from, to)
		trip.Category = fare.Category(c.category)
		if d := tariff.PriceTrip(&trip, fare.Calendar{}); !d.Known || d.Amount.Minor != c.want {
			t.Errorf("%s, route %s, %s to %s: %+v, want %d", c.dir, c.route, c.from, c.to, d, c.want)
		}
		areas := tripOf(600, 40, c.route, c.from, c.to) // and a place can be the area itself, where no stop has its id
		areas.Category = trip.Category
		if d := tariff.PriceTrip(&areas, fare.Calendar{}); c.from != c.to && (!d.Known || d.Amount.Minor != c.want) {
			t.Errorf("%s by area, %s to %s: %+v, want %d", c.dir, c.from, c.to, d, c.want)
		}
	}
}

// TestReadersPriceByFeedsWhereTheExitDoesNotMatter: what a reader is told of a feed is,
// for every kind of single tap, what the gateway charges, and it is told wherever the
// gateway knows; the prices need the exit between metro stops, and nowhere on buses.
func TestReadersPriceByFeedsWhereTheExitDoesNotMatter(t *testing.T) {
	entryOnly := maps.Clone(cityFeed)
	entryOnly["fare_leg_rules.txt"] = "leg_group_id,network_id,from_area_id,to_area_id,fare_product_id\nbus,bus,,,bus\nin,metro,core,,long\nout,metro,ring,,short\n"
	noPlaces := map[string]string{
		"fare_products.txt":  "fare_product_id,amount,currency\na,2.50,EUR\n",
		"fare_leg_rules.txt": "leg_group_id,fare_product_id\na,a\n",
	}
	timed := maps.Clone(cityFeed)
	timed["calendar.txt"] = "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\nall,1,1,1,1,1,1,1,19600101,20300101\n"
	timed["timeframes.txt"] = "timeframe_group_id,start_time,end_time,service_id\nday,00:00:00,06:00:00,all\n"
	timed["fare_leg_rules.txt"] = "leg_group_id,network_id,from_timeframe_group_id,fare_product_id\nbus,bus,day,bus\n"
	only := func(change func(*fare.Feed), files map[string]string) func(*fare.Tariff) {
		return func(t *fare.Tariff) {
			f := *t.Rules[0].Feed
			f.Files = files
			if change != nil {
				change(&f)
			}
			t.Rules[0].Feed = &f
		}
	}
	for name, c := range map[string]struct {
		tariff  *fare.Tariff
		exactly bool // the reader knows whatever the gateway does
		some    bool // it knows something
	}{
		"city":       {feedTariff(t, nil), true, true},
		"entry only": {feedTariff(t, only(nil, entryOnly)), true, true},
		"no places":  {feedTariff(t, only(func(f *fare.Feed) { f.Pause, f.Stops, f.Routes, f.Media = 0, nil, nil, nil }, noPlaces)), true, true},
		"timed":      {feedTariff(t, only(nil, timed)), false, false},
		"with discounts, behind a flat fare": {feedTariff(t, func(t *fare.Tariff) {
			t.Rules = []fare.Rule{{ID: "feed/1", Routes: []string{"B2"}, Flat: fare.Amounts{"adult": 999}}, t.Rules[0], {ID: "rest", Flat: fare.Amounts{"adult": 777}}}
			t.Rules[1].Media, t.Rules[1].Routes = []string{"phone", "band"}, []string{"B1", "B2", "line-1", "nine", ""}
			t.Discounts = []fare.Discount{{ID: "feed", Match: fare.Match{Rules: []string{"feed"}}, Permille: 100}}
			t.Rounding.Step = 5
		}), true, true},
	} {
		raw, err := fare.EncodeEntry(citygate.Calendar{}, []fare.EntryVersion{{From: 0, Tariff: c.tariff}}, nil, time.UnixMilli(0), time.UnixMilli(1), 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := fare.ParseEntry(raw)
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for _, route := range []string{"", "B1", "B2", "M1", "line-1", "bus", "metro", "nine"} {
			for _, stop := range []string{"", "A", "B", "C", "P1", "X", "gate-7", "core", "ring", "elsewhere"} {
				for _, medium := range []string{"", "phone", "band", "server"} {
					for product := range uint16(4) {
						tapped := journey.Tap{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.Single, At: 5 * 3_600_000, Route: route, Stop: stop, Medium: medium, Product: product, Party: 2}
						category, _ := c.tariff.CategoryOf(product, nil, tapped.At)
						want := c.tariff.PriceTrip(&fare.Trip{Journey: &journey.Journey{First: tapped.ID, Taps: []journey.Tap{tapped}, State: journey.Complete}, Category: category, Medium: medium}, fare.Calendar{})
						got, told := reader.Price(&tapped)
						if told && (!want.Known || got != want.Amount) || c.exactly && want.Known != told {
							t.Fatalf("%s: route %q stop %q medium %q product %d: the reader %v %t, the gateway %v %t %s\n%s", name, route, stop, medium, product, got, told, want.Amount, want.Known, want.Reason, raw)
						}
						if told {
							known++
						}
					}
				}
			}
		}
		if (known > 0) != c.some {
			t.Errorf("%s: the reader knows %d prices: %s", name, known, raw)
		}
	}
}
