package pricing

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// feedText is the metro's tariff as a GTFS feed: pairs, a flat bus with two free
// transfers, and a change from bus to metro for 1.00.
const feedText = `{"name":"metro","version":2,"currency":"CNY","categories":{"default":"adult"},
	"rules":[{"id":"feed","feed":{"pause_min":300,"files":{
		"networks.txt":"network_id\nmetro\nbus\n","route_networks.txt":"network_id,route_id\nmetro,M\nbus,12\n",
		"areas.txt":"area_id\nA\nB\nC\n",
		"fare_products.txt":"fare_product_id,amount,currency\nshort,3.00,CNY\nlong,7.00,CNY\nbus,4.80,CNY\nonto,1.00,CNY\n",
		"fare_leg_rules.txt":"leg_group_id,network_id,from_area_id,to_area_id,fare_product_id,rule_priority\nbus,bus,,,bus,\nm,metro,A,B,short,\nm,metro,B,A,short,\nm,metro,A,C,long,\nm,metro,C,A,long,\nm,metro,B,C,short,\nm,metro,C,B,short,\n",
		"fare_transfer_rules.txt":"from_leg_group_id,to_leg_group_id,transfer_count,duration_limit,duration_limit_type,fare_transfer_type,fare_product_id\nbus,bus,2,18000,1,0,\nbus,m,,,,0,onto\n"}}}],
	"caps":[{"id":"day","period":{"kind":"day"},"amounts":{"adult":1500}}],
	"incomplete":{"mode":"max_from_stop"},"same_stop":{"mode":"min_from_stop"},"rounding":{}}`

// TestAFeedPricesTaps: a GTFS feed as the tenant's own tariff prices uploads in any
// order alike, single taps, transfers and caps together, and a day derived again from
// the taps gives every decision bit for bit.
func TestAFeedPricesTaps(t *testing.T) {
	tariff, err := fare.ParseTariff([]byte(feedText))
	if err != nil {
		t.Fatal(err)
	}
	taps := cappedTaps(3, 60)
	var want []string
	for order := range uint64(3) {
		w := newWorld(t)
		w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", tariff, w.now) })
		mixed := slices.Clone(taps)
		if order > 0 {
			rand.New(rand.NewPCG(order, 5)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		}
		for i, x := range mixed {
			w.upload(t, x)
			if order == 2 && i == len(mixed)/2 {
				w.at(t, pgtest.Epoch.Add(closed))
			}
		}
		w.at(t, pgtest.Epoch.Add(7*24*time.Hour))
		got := w.story(t)
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Fatalf("order %d:\n%s\n\n%s", order, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		w.check(t)
		calendar := citygate.Calendar{Location: time.FixedZone("CST", 8*60*60), Cut: 4 * time.Hour}
		journeys := 0
		for d := -1; d < 4; d++ {
			r, err := w.engine.Recompute(t.Context(), metro, calendar.BusinessDate(pgtest.Epoch).AddDays(d))
			if err != nil || len(r.Different) > 0 {
				t.Fatalf("derived again: %+v, %v", r.Different, err)
			}
			journeys += r.Journeys
		}
		if journeys != len(got) {
			t.Errorf("%d of %d journeys were derived", journeys, len(got))
		}
	}
	for _, part := range []string{`"op": "feed_adds"`, `"kind": "cap"`, `"op": "incomplete"`} {
		if !slices.ContainsFunc(want, func(s string) bool { return strings.Contains(strings.ReplaceAll(s, `":"`, `": "`), part) }) {
			t.Errorf("no decision has %s: the test shows nothing\n%s", part, strings.Join(want, "\n"))
		}
	}
}

// TestAFeedBeginsAtItsInstant: a real feed, published for later, prices the rides that
// begin from then on, and those before it stay with the table of the metro.
func TestAFeedBeginsAtItsInstant(t *testing.T) {
	feed, err := gtfs.Read(os.DirFS("../fare/gtfs/testdata/zakroczym"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := feed.Text()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files { // the metro's books are in another currency
		files[name] = strings.ReplaceAll(text, ",PLN,", ",CNY,")
	}
	tariff := &fare.Tariff{Name: "zakroczym", Version: 2, Currency: "CNY", Categories: fare.Categories{Default: "0"},
		Rules: []fare.Rule{{ID: "feed", Feed: &fare.Feed{Files: files, Routes: map[string]string{"M": "Z1"}, Stops: map[string]string{"A": "100", "C": "3"}}}}}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	begins := pgtest.Epoch.Add(3 * time.Hour)
	w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", tariff, begins) })
	w.upload(t, tapAt(2, 7, 1, 1, tap.On, 170, "A"), tapAt(2, 7, 2, 1, tap.Off, 200, "C"), // begins before
		tapAt(2, 7, 1, 2, tap.On, 210, "A"), tapAt(2, 7, 2, 2, tap.Off, 240, "C"))
	if got := w.fares(t); !slices.Equal(got, []int64{700, 500}) {
		t.Errorf("the rides cost %v; zone 1 to 3 is 5.00", got)
	}
	w.check(t)
}
