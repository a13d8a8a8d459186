package pricing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// cappedText is the metro with transfers, caps by two funders and a cumulative
// discount, valid from the first tap on.
const cappedText = `{"name":"metro","version":2,"currency":"CNY","categories":{"default":"adult"},
	"rules":[{"id":"flat","routes":["12"],"flat":{"adult":480}},
	         {"id":"od","routes":["M"],"table":{"stops":["A","B","C"],"amounts":{"adult":[-1,300,700, 300,-1,400, 700,400,-1]}}}],
	"discounts":[{"id":"green","match":{"rules":["flat"]},"amounts":{"adult":50},"funder":"city:green"}],
	"transfers":[{"id":"change","window_min":60,"permille":500,"funder":"programme:hub"}],
	"cumulative":[{"id":"month","period":{"kind":"month"},"steps":[{"over":3000,"permille":100}]}],
	"caps":[{"id":"day","period":{"kind":"day"},"amounts":{"adult":1500}},{"id":"three","period":{"kind":"rolling","days":3},"amounts":{"adult":2500},"funder":"city:green","exclude_incomplete":true}],
	"incomplete":{"mode":"max_from_stop"},"same_stop":{"mode":"min_from_stop"},"rounding":{"step":5}}`

func (w *world) capped(t testing.TB) *fare.Tariff {
	t.Helper()
	tariff, err := fare.ParseTariff([]byte(cappedText))
	if err != nil {
		t.Fatal(err)
	}
	w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", tariff, w.now) })
	return tariff
}

// fares gives the rides with a fare in event order: amounts alone.
func (w *world) fares(t testing.TB) (out []int64) {
	t.Helper()
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 1000)
		slices.SortFunc(list, func(a, b Journey) int { return a.StartsAt.Compare(b.StartsAt) })
		out = nil
		for _, j := range list {
			if j.State != "empty" {
				out = append(out, j.Amount.Minor)
			}
		}
		return err
	})
	return out
}

// TestACapOverUploads: the fourth ride of a day meets the cap; an earlier ride
// that is uploaded last moves it, by corrections that sum to what the late ride
// costs under the cap: nothing.
func TestACapOverUploads(t *testing.T) {
	w := newWorld(t)
	w.capped(t)
	ride := func(k int) Tap { return tapAt(2, 7, 1, uint64(k), tap.Single, k*100, "") }
	for k := 2; k <= 5; k++ {
		w.upload(t, ride(k))
	}
	// 4.80 less 0.50: 4.30 each; the day's cap is 15.00
	if got := w.fares(t); !slices.Equal(got, []int64{430, 430, 430, 210}) {
		t.Fatalf("four rides cost %v", got)
	}
	w.upload(t, ride(1))
	if got := w.fares(t); !slices.Equal(got, []int64{430, 430, 430, 210, 0}) {
		t.Fatalf("with the late first ride %v", got)
	}
	var again []Decision
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10)
		if err != nil {
			return err
		}
		_, again, err = Find(t.Context(), tx, list[len(list)-1].ID)
		return err
	})
	if len(again) != 2 || again[0].Amount.Minor != 210 || again[1].Amount.Minor != 0 || !strings.Contains(string(again[1].Explanation), `"before":1500,"after":1500`) {
		t.Errorf("the last ride was decided %+v", again)
	}
	if got := w.balance(t, "payable:operator"); got != -1500 {
		t.Errorf("payable %d, want the cap", got)
	}
	if got, owed := w.balance(t, "subsidy_receivable:city:green"), w.balance(t, "subsidy_payable:operator"); got != 5*50 || owed != -got {
		t.Errorf("the city owes %d of the discounts, %d are for the operator", got, owed)
	}
	w.check(t)
	decisions := w.count(t)
	for k := 1; k <= 5; k++ { // jobs that run again find nothing to do
		if err := w.engine.RunBatch(t.Context(), metro, 1, uint64(k), 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.count(t); got != decisions {
		t.Errorf("%d decisions became %d by doing nothing new", decisions, got)
	}
}

func (w *world) count(t testing.TB) (n int) {
	t.Helper()
	w.in(t, metro, func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM fare_decisions WHERE tenant_id = $1`, int64(metro)).Scan(&n)
	})
	return n
}

// TestARefusedRideLeavesItsPlaceUnderTheCap: another issuer refuses the first
// tap; the rides after it are priced again without it.
func TestARefusedRideLeavesItsPlaceUnderTheCap(t *testing.T) {
	w := newWorld(t)
	w.capped(t)
	for k := 1; k <= 4; k++ {
		w.upload(t, tapAt(1, 7, 1, uint64(k), tap.Single, k*100, ""))
	}
	if got := w.fares(t); !slices.Equal(got, []int64{430, 430, 430, 210}) {
		t.Fatalf("%v", got)
	}
	w.carry(t, map[citygate.TapID]bool{{Terminal: 1, Seq: 1}: true})
	w.carry(t, nil)
	if got := w.fares(t); !slices.Equal(got, []int64{430, 430, 430}) {
		t.Errorf("without the refused ride %v", got)
	}
	if got := w.balance(t, "subsidy_receivable:city:green"); got != 150 {
		t.Errorf("the city owes %d", got)
	}
	w.check(t)
}

// TestUploadOrderDoesNotChangeCappedTotals: the same taps in any order, in
// pieces, twice, with the clock running on in between, or all at once, end in the
// same fares, lines and states, and those the fold gives for each rider's rides.
func TestUploadOrderDoesNotChangeCappedTotals(t *testing.T) {
	taps := cappedTaps(3, 70)
	var want []string
	for order := range uint64(4) {
		w := newWorld(t)
		w.capped(t)
		r := rand.New(rand.NewPCG(order, 5))
		mixed := slices.Clone(taps)
		if order > 0 {
			r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		}
		if order == 3 {
			w.taps.add(mixed...)
			if err := w.engine.RunBatches(t.Context(), metro, []Batch{{4, 1, 50}, {1, 1, 50}, {3, 1, 50}, {2, 1, 50}}); err != nil {
				t.Fatal(err)
			}
			mixed = nil
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
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("order %d, line %d:\n%s\n%s", order, i, got[i], want[i])
				}
			}
			t.Fatalf("order %d: %d journeys, want %d", order, len(got), len(want))
		}
		w.check(t)
	}
	if !slices.ContainsFunc(want, func(s string) bool { return strings.Contains(s, `"kind":"cap"`) }) || !slices.ContainsFunc(want, func(s string) bool { return strings.Contains(s, `"kind":"transfer"`) }) {
		t.Error("no ride met a cap or a transfer: the test shows nothing")
	}
}

// cappedTaps gives taps of four riders over two days.
func cappedTaps(seed uint64, n int) []Tap {
	r := rand.New(rand.NewPCG(seed, 1))
	seqs := map[uint32]uint64{}
	var taps []Tap
	for range n {
		terminal := uint32(r.IntN(4) + 1)
		seqs[terminal]++
		taps = append(taps, tapAt(citygate.Issuer(r.IntN(2)+1), uint32(r.IntN(2)+1), terminal, seqs[terminal], tap.Kind(r.IntN(3)+1), r.IntN(30*60), []string{"A", "B", "C"}[r.IntN(3)]))
	}
	return taps
}

// story gives every journey with the last explanation and the state it left.
func (w *world) story(t testing.TB) (out []string) {
	t.Helper()
	w.in(t, metro, func(tx *pg.Tx) error {
		rows, err := tx.Query(t.Context(), `
			SELECT j.taps, j.state, j.amount, d.explanation::text, coalesce(s.state::text, '') FROM journeys j
			JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.n = j.last_n
			LEFT JOIN fare_states s ON s.tenant_id = $1 AND s.journey_id = j.journey_id
			WHERE j.tenant_id = $1 AND j.state <> 'empty' ORDER BY j.taps`, int64(metro))
		if err != nil {
			return err
		}
		defer rows.Close()
		out = nil
		for rows.Next() {
			var taps, state, explanation, left string
			var amount int64
			if err := rows.Scan(&taps, &state, &amount, &explanation, &left); err != nil {
				return err
			}
			out = append(out, fmt.Sprint(taps, " ", state, " ", amount, " ", explanation, " ", left))
		}
		return rows.Err()
	})
	return out
}

// TestRecomputeFindsWhatIsNotWhatTheTapsGive: a day that was priced in pieces is
// derived again without a difference; a tap that says something else now, and an
// explanation that was written over, are found.
func TestRecomputeFindsWhatIsNotWhatTheTapsGive(t *testing.T) {
	w := newWorld(t)
	w.capped(t)
	taps := cappedTaps(3, 40)
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(taps)) {
		w.upload(t, taps[i])
	}
	w.at(t, pgtest.Epoch.Add(7*24*time.Hour))
	calendar := citygate.Calendar{Location: time.FixedZone("CST", 8*60*60), Cut: 4 * time.Hour}
	days := func() (journeys int, found []Difference) {
		for d := -1; d < 4; d++ {
			r, err := w.engine.Recompute(t.Context(), metro, calendar.BusinessDate(pgtest.Epoch).AddDays(d))
			if err != nil {
				t.Fatal(err)
			}
			journeys, found = journeys+r.Journeys, append(found, r.Different...)
		}
		return journeys, found
	}
	before := w.count(t)
	if n, found := days(); n != len(w.fares(t)) || len(found) > 0 {
		t.Fatalf("%d of %d journeys were derived, different %+v", n, len(w.fares(t)), found)
	}
	if w.count(t) != before {
		t.Error("deriving kept something")
	}
	var id citygate.UUID
	w.in(t, metro, func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `UPDATE fare_decisions d SET explanation = '{"steps":[]}' FROM journeys j
			WHERE d.tenant_id = $1 AND j.tenant_id = $1 AND j.journey_id = d.journey_id AND d.n = j.last_n AND j.state = 'priced' AND j.amount > 0
			AND j.journey_id = (SELECT min(journey_id::text)::uuid FROM journeys WHERE tenant_id = $1 AND state = 'priced' AND amount > 0) RETURNING d.journey_id`, int64(metro)).Scan((*[16]byte)(&id))
	})
	if _, found := days(); len(found) != 1 || found[0].Journey != id || found[0].Field != "explanation" {
		t.Errorf("the explanation of %s was written over: %+v", id, found)
	}
	for _, x := range taps {
		if x.Kind == tap.Single {
			x.Route = "nowhere"
			w.taps.add(x)
			break
		}
	}
	if _, found := days(); !slices.ContainsFunc(found, func(d Difference) bool { return d.Field == "state" && strings.Contains(d.Derived, "no_rule") }) {
		t.Errorf("a tap says another route now: %+v", found)
	}
}

// TestRightsAreUsedBeforeMoney: a proof changes the category of the rides that
// begin while it holds, a ticket pays for the rides it has, in event order also
// when the first ride is uploaded last, and a right that ended serves no later ride.
func TestRightsAreUsedBeforeMoney(t *testing.T) {
	w := newWorld(t)
	tariff, err := fare.ParseTariff([]byte(`{"name":"metro","version":2,"currency":"CNY","categories":{"default":"adult","proof":{"student":"adult"}},
		"rules":[{"id":"flat","flat":{"adult":480,"student":240}}],"products":[{"id":"two","kind":"ticket","rides":2,"price":900},
		{"id":"staff","kind":"zero_fare","price":0,"funder":"city:staff"},{"id":"purse","kind":"stored_value","value":100,"price":100}],
		"incomplete":{},"same_stop":{},"rounding":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	rider := citygate.Rider{Issuer: 2, Index: 7}
	var staff citygate.UUID
	w.in(t, metro, func(tx *pg.Tx) error {
		if err := Publish(t.Context(), tx, "test", tariff, w.now); err != nil {
			return err
		}
		for _, g := range []Grant{
			{Rider: rider, Category: "student", Until: w.now.Add(350 * time.Minute), Evidence: "school 4"},
			{Rider: rider, Product: "two", From: w.now.Add(250 * time.Minute)},
			{Rider: rider, Product: "staff", From: w.now.Add(550 * time.Minute)},
		} {
			if staff, err = w.engine.GiveRight(t.Context(), tx, "test", g); err != nil {
				return err
			}
		}
		return nil
	})
	w.in(t, metro, func(tx *pg.Tx) error {
		for name, g := range map[string]Grant{
			"past":                 {Rider: rider, Product: "two", From: w.now.Add(-time.Hour)},
			"stored value":         {Rider: rider, Product: "purse"},
			"an unknown product":   {Rider: rider, Product: "three"},
			"no proof needed":      {Rider: rider, Category: "adult"},
			"both":                 {Rider: rider, Category: "student", Product: "two"},
			"ends before it began": {Rider: rider, Category: "student", Until: w.now.Add(-time.Hour)},
		} {
			if _, err := w.engine.GiveRight(t.Context(), tx, "test", g); err == nil {
				t.Errorf("%s: given", name)
			}
		}
		return nil
	})
	ride := func(k int) Tap { return tapAt(2, 7, 1, uint64(k), tap.Single, k*100, "") }
	for _, k := range []int{4, 5, 6, 2, 3} { // the ticket's first ride, number 3, comes last
		w.upload(t, ride(k))
	}
	// 2: student. 3 and 4: the ticket. 5: nothing left, no student any more. 6: staff
	if got := w.fares(t); !slices.Equal(got, []int64{240, 0, 0, 480, 0}) {
		t.Errorf("fares %v", got)
	}
	if got := w.balance(t, "subsidy_receivable:city:staff"); got != 480 {
		t.Errorf("the city owes %d for its staff", got)
	}
	w.check(t)
	w.now = pgtest.Epoch.Add(650 * time.Minute)
	w.in(t, metro, func(tx *pg.Tx) error { return EndRight(t.Context(), tx, "test", staff) })
	w.upload(t, ride(7))
	if got := w.fares(t); !slices.Equal(got, []int64{240, 0, 0, 480, 0, 480}) {
		t.Errorf("after the end of the staff's right %v", got)
	}
	w.in(t, metro, func(tx *pg.Tx) error {
		if EndRight(t.Context(), tx, "test", staff) == nil {
			t.Error("a right ended twice")
		}
		return nil
	})
}

// TestWhatHeldAtTheFirstTapPricesTheRide: a concession that expires, and a tariff
// that changes, while a ride is under way do not touch it, whichever of its taps is
// uploaded first; the next ride has what holds then.
func TestWhatHeldAtTheFirstTapPricesTheRide(t *testing.T) {
	version := func(v, adult int, more string) *fare.Tariff {
		tariff, err := fare.ParseTariff(fmt.Appendf(nil, `{"name":"metro","version":%d,"currency":"CNY","categories":{"default":"adult","proof":{"student":"adult"}},
			"rules":[{"id":"od","routes":["M"],"table":{"stops":["A","B"],"amounts":{"adult":[-1,%d,%[2]d,-1],"student":[-1,%[3]d,%[3]d,-1]}}}],
			%[4]s"incomplete":{"mode":"max_from_stop"},"same_stop":{},"rounding":{}}`, v, adult, adult/2, more))
		if err != nil {
			t.Fatal(err)
		}
		return tariff
	}
	on := func(k int) Tap { return tapAt(2, 7, 1, uint64(k), tap.On, k*100, "A") }
	off := func(k int) Tap { return tapAt(2, 7, 2, uint64(k), tap.Off, k*100+20, "B") }
	for _, c := range []struct {
		name, more string
		uploads    []Tap
	}{
		{"as they came", "", []Tap{on(1), off(1), on(2), off(2), on(3), off(3)}},
		{"exits first", "", []Tap{off(3), off(2), off(1), on(3), on(2), on(1)}},
		{"exits first, with a cap", `"caps":[{"id":"day","period":{"kind":"day"},"amounts":{"adult":5000}}],`, []Tap{off(3), off(2), off(1), on(3), on(2), on(1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.in(t, metro, func(tx *pg.Tx) error {
				if err := Publish(t.Context(), tx, "test", version(2, 300, c.more), w.now); err != nil {
					return err
				}
				// The proof ends during the first ride, the tariff changes during the second.
				student := Grant{Rider: citygate.Rider{Issuer: 2, Index: 7}, Category: "student", Until: w.now.Add(110 * time.Minute), Evidence: "school 4"}
				if _, err := w.engine.GiveRight(t.Context(), tx, "test", student); err != nil {
					return err
				}
				return Publish(t.Context(), tx, "test", version(3, 900, c.more), w.now.Add(210*time.Minute))
			})
			w.upload(t, c.uploads...)
			if got := w.fares(t); !slices.Equal(got, []int64{150, 300, 900}) {
				t.Errorf("fares %v; want the student's, the old tariff's and the new one's", got)
			}
			w.check(t)
		})
	}
}
