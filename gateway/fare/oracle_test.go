package fare_test

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// The oracle prices a payer's trips slowly and obviously: for every trip it looks
// at the whole history again, with fractions of package big and periods found by
// walking days. It shares no code with the fold.

// done is a trip the oracle has decided.
type done struct {
	trip     *fare.Trip
	operator string
	paid     int64
	transfer bool
	chain    int // index of the trip its chain began with
}

func oracle(t *fare.Tariff, cal citygate.Calendar, trips []fare.Trip) []int64 {
	var history []done
	out := make([]int64, 0, len(trips))
	for i := range trips {
		d := oracleRide(t, cal, history, &trips[i])
		history = append(history, d)
		out = append(out, d.paid)
	}
	return out
}

func routeOperator(t *fare.Tariff, route string) string {
	for name, routes := range t.Operators {
		if slices.Contains(routes, route) {
			return name
		}
	}
	return ""
}

func oracleRide(t *fare.Tariff, cal citygate.Calendar, history []done, trip *fare.Trip) done {
	j := trip.Journey
	d := done{trip: trip, operator: routeOperator(t, j.Taps[0].Route), chain: len(history)}
	matches := func(m fare.Match, h done) bool {
		return (len(m.Operators) == 0 || slices.Contains(m.Operators, h.operator)) &&
			(len(m.Routes) == 0 || slices.Contains(m.Routes, h.trip.Journey.Taps[0].Route)) &&
			(len(m.Zones) == 0 || !slices.ContainsFunc(h.trip.Journey.Taps, func(tp journey.Tap) bool {
				return !slices.ContainsFunc(t.Zones[tp.Stop], func(z string) bool { return slices.Contains(m.Zones, z) })
			}))
	}
	price := new(big.Rat).SetInt64(oracleTable(t, trip))
	start := new(big.Rat).Set(price)
	for _, x := range t.Discounts {
		if !matches(x.Match, d) {
			continue
		}
		by := new(big.Rat).Mul(start, big.NewRat(x.Permille, 1000))
		if x.Permille == 0 {
			by.SetInt64(x.Amounts["adult"])
		}
		if price.Sub(price, by); price.Sign() < 0 {
			price.SetInt64(0)
		}
	}
	if least := new(big.Rat).SetInt64(t.Minimum["adult"]); price.Cmp(least) < 0 {
		if price.Set(least); price.Cmp(start) > 0 {
			price.Set(start)
		}
	}
	complete := j.State == journey.Complete
	oracleTransfer(t, history, &d, price, matches)
	inPeriod := func(p fare.Period, m fare.Match, counts func(done) bool) (spent int64, rides int) {
		var mine []done
		for _, h := range history {
			if matches(m, h) && counts(h) {
				mine = append(mine, h)
			}
		}
		for _, h := range slowPeriod(p, cal, mine, j.At()) {
			spent += h.paid
			rides++
		}
		return spent, rides
	}
	all := func(done) bool { return true }
	whole := func(h done) bool { return h.trip.Journey.State == journey.Complete }
	for _, c := range t.Cumulative {
		spent, _ := inPeriod(c.Period, c.Match, all)
		permille := int64(0)
		for _, s := range c.Steps {
			if spent >= s.Over {
				permille = s.Permille
			}
		}
		if matches(c.Match, d) {
			price.Mul(price, big.NewRat(1000-permille, 1000))
		}
	}
	for _, n := range t.NthRide {
		_, before := inPeriod(n.Period, n.Match, whole)
		number := before + 1
		if complete && matches(n.Match, d) && (number == n.N || n.Every && number%n.N == 0 || n.From && number >= n.N) {
			price.Mul(price, big.NewRat(1000-n.Permille, 1000))
		}
	}
	d.paid = oracleRound(price, t.Rounding)
	least := d.paid
	for _, c := range t.Caps {
		if c.ExcludeIncomplete && !complete || !matches(c.Match, d) {
			continue
		}
		spent, _ := inPeriod(c.Period, c.Match, func(h done) bool { return !c.ExcludeIncomplete || whole(h) })
		least = min(least, max(c.Amounts["adult"]-spent, 0))
	}
	d.paid = least
	return d
}

func oracleTable(t *fare.Tariff, trip *fare.Trip) int64 {
	j := trip.Journey
	if j.State == journey.Incomplete {
		return t.Incomplete.Amounts["adult"]
	}
	if len(j.Taps) == 1 {
		return t.Rules[0].Flat["adult"]
	}
	table := t.Rules[1].Table
	return table.Amounts["adult"][slices.Index(table.Stops, j.Taps[0].Stop)*len(table.Stops)+slices.Index(table.Stops, j.Taps[1].Stop)]
}

func oracleTransfer(t *fare.Tariff, history []done, d *done, price *big.Rat, matches func(fare.Match, done) bool) {
	j := d.trip.Journey
	if len(history) == 0 || j.State != journey.Complete {
		return
	}
	last := history[len(history)-1]
	if last.trip.Journey.State != journey.Complete {
		return
	}
	transfers := 0
	for _, h := range history[last.chain:] {
		if h.transfer {
			transfers++
		}
	}
	best := new(big.Rat).Set(price)
	for _, x := range t.Transfers {
		taps := last.trip.Journey.Taps
		since := map[string]int64{"": history[last.chain].trip.Journey.At(), "chain": history[last.chain].trip.Journey.At(), "start": taps[0].At, "end": taps[len(taps)-1].At}[x.Since]
		if j.At() > since+x.Window*60_000 || x.Count > 0 && transfers >= x.Count || !matches(x.From, last) || !matches(x.To, *d) ||
			!x.SameRoute && taps[0].Route == j.Taps[0].Route {
			continue
		}
		d.transfer, d.chain = true, last.chain
		left := new(big.Rat).Mul(price, big.NewRat(1000-x.Permille, 1000))
		if x.Permille == 0 {
			left.Sub(price, new(big.Rat).SetInt64(x.Amounts["adult"]))
		}
		if left.Sign() < 0 {
			left.SetInt64(0)
		}
		if left.Cmp(best) < 0 {
			best = left
		}
	}
	price.Set(best)
}

func oracleRound(price *big.Rat, r fare.Rounding) int64 {
	step := max(r.Step, 1)
	q := new(big.Rat).Quo(price, new(big.Rat).SetInt64(step))
	whole := new(big.Int).Quo(q.Num(), q.Denom())
	rest := new(big.Rat).Sub(q, new(big.Rat).SetInt(whole))
	up := rest.Sign() > 0 && r.Mode == fare.Up || rest.Cmp(big.NewRat(1, 2)) >= 0 && r.Mode != fare.Down
	if up {
		whole.Add(whole, big.NewInt(1))
	}
	return whole.Int64() * step
}

// slowPeriod gives those of earlier rides that share the period of an instant.
func slowPeriod(p fare.Period, cal citygate.Calendar, earlier []done, at int64) (in []done) {
	if p.Cut != "" {
		c, err := time.Parse("15:04", p.Cut)
		if err != nil {
			panic(err)
		}
		cal.Cut = time.Duration(c.Hour()*60+c.Minute()) * time.Minute
		if cal.Former != nil { // drawCalendar makes two versions at most
			former := *cal.Former
			former.Cut, cal.Former = cal.Cut, &former
		}
	}
	date := func(ms int64) citygate.Date { return cal.BusinessDate(time.UnixMilli(ms)) }
	today := date(at)
	if p.Kind == "rolling" { // walk the windows from the first ride of all
		from := int64(-1 << 62)
		length := int64(p.Days) * 24 * 60 * 60 * 1000
		for _, h := range append(slices.Clone(earlier), done{trip: &fare.Trip{Journey: &journey.Journey{Taps: []journey.Tap{{At: at}}}}}) {
			if h.trip.Journey.At() >= from+length {
				from, in = h.trip.Journey.At(), nil
			}
			in = append(in, h)
		}
		return in[:len(in)-1]
	}
	same := func(d citygate.Date) bool {
		switch p.Kind {
		case "day":
			return d == today
		case "month":
			return d.Year == today.Year && d.Month == today.Month
		case "trailing":
			return d.AddDays(p.Days).Compare(today) > 0
		}
		starts := map[string]time.Weekday{"": time.Monday, "mon": time.Monday, "sun": time.Sunday, "thu": time.Thursday}[p.Starts]
		week := func(d citygate.Date) citygate.Date {
			for d.Time().Weekday() != starts {
				d = d.AddDays(-1)
			}
			return d
		}
		return week(d) == week(today)
	}
	for _, h := range earlier {
		if same(date(h.trip.Journey.At())) {
			in = append(in, h)
		}
	}
	return in
}

// drawTariff makes a random tariff with everything that crosses rides.
func drawTariff(t *rapid.T) *fare.Tariff {
	amount := rapid.Int64Range(1, 900)
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	match := func() (m fare.Match) {
		switch rapid.IntRange(0, 3).Draw(t, "match") {
		case 0:
			m.Operators = []string{pick("operator", "bus", "metro")}
		case 1:
			m.Routes = []string{pick("route", "B1", "B2", "M"), "B1"}
		case 2:
			m.Zones = []string{pick("zone", "1", "2"), "3"}
		}
		return m
	}
	period := func() (p fare.Period) {
		p.Kind = pick("kind", "day", "week", "month", "rolling", "trailing")
		switch p.Kind {
		case "rolling", "trailing":
			p.Days = rapid.IntRange(1, 9).Draw(t, "days")
		case "week":
			p.Starts = pick("starts", "", "sun", "thu")
		}
		if p.Kind != "rolling" {
			p.Cut = pick("cut", "", "04:30", "00:00")
		}
		return p
	}
	cells := []int64{-1, 0, 0, 0, -1, 0, 0, 0, -1}
	for i := range cells {
		if cells[i] == 0 {
			cells[i] = amount.Draw(t, "cell")
		}
	}
	tariff := &fare.Tariff{
		Name: "random", Version: 1, Currency: "EUR",
		Operators: map[string][]string{"bus": {"B1", "B2"}, "metro": {"M"}},
		Zones:     map[string][]string{"A": {"1"}, "B": {"1", "2"}, "C": {"3"}},
		Rules: []fare.Rule{{ID: "bus", Operators: []string{"bus"}, Flat: fare.Amounts{"adult": amount.Draw(t, "flat")}},
			{ID: "metro", Table: &fare.Table{Stops: []string{"A", "B", "C"}, Amounts: map[fare.Category][]int64{"adult": cells}}}},
		Incomplete: fare.Incomplete{Mode: fare.Fixed, Amounts: fare.Amounts{"adult": amount.Draw(t, "incomplete")}},
		Rounding:   fare.Rounding{Step: rapid.SampledFrom([]int64{0, 1, 5, 10, 50}).Draw(t, "step"), Mode: rapid.SampledFrom([]fare.RoundingMode{"", fare.Up, fare.Down, fare.HalfUp}).Draw(t, "mode")},
	}
	funder := func() fare.Funder {
		return rapid.SampledFrom([]fare.Funder{"", fare.Operator, "city:x", "programme:y", "provider:z"}).Draw(t, "funder")
	}
	share := func() (int64, fare.Amounts) {
		if rapid.Bool().Draw(t, "percent") {
			return rapid.Int64Range(1, 1000).Draw(t, "permille"), nil
		}
		return 0, fare.Amounts{"adult": amount.Draw(t, "off")}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "discounts") {
		d := fare.Discount{ID: fmt.Sprint("d", i), Match: match(), Funder: funder()}
		d.Permille, d.Amounts = share()
		tariff.Discounts = append(tariff.Discounts, d)
	}
	if rapid.Bool().Draw(t, "minimum") {
		tariff.Minimum = fare.Amounts{"adult": amount.Draw(t, "least")}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "transfers") {
		x := fare.Transfer{ID: fmt.Sprint("x", i), From: match(), To: match(), Window: rapid.Int64Range(1, 300).Draw(t, "window"), Since: pick("since", "", "chain", "start", "end"),
			Count: rapid.IntRange(0, 3).Draw(t, "count"), SameRoute: rapid.Bool().Draw(t, "same"), Funder: funder()}
		x.Permille, x.Amounts = share()
		tariff.Transfers = append(tariff.Transfers, x)
	}
	if rapid.Bool().Draw(t, "cumulative") {
		over := rapid.Int64Range(0, 2000).Draw(t, "over")
		tariff.Cumulative = []fare.Cumulative{{ID: "c", Match: match(), Period: period(), Funder: funder(), Steps: []fare.CumulativeStep{
			{Over: over, Permille: rapid.Int64Range(0, 1000).Draw(t, "permille")}, {Over: over + 500, Permille: rapid.Int64Range(0, 1000).Draw(t, "more")}}}}
	}
	if rapid.Bool().Draw(t, "nth") {
		n := fare.NthRide{ID: "n", Match: match(), Period: period(), N: rapid.IntRange(1, 6).Draw(t, "n"), Permille: rapid.Int64Range(1, 1000).Draw(t, "permille"), Funder: funder()}
		n.Every = rapid.Bool().Draw(t, "every")
		n.From = !n.Every && rapid.Bool().Draw(t, "from")
		tariff.NthRide = []fare.NthRide{n}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "caps") {
		tariff.Caps = append(tariff.Caps, fare.Cap{ID: fmt.Sprint("cap", i), Match: match(), Period: period(), Amounts: fare.Amounts{"adult": rapid.Int64Range(0, 3000).Draw(t, "limit")},
			ExcludeIncomplete: rapid.Bool().Draw(t, "exclude"), Funder: funder()})
	}
	if err := tariff.Compile(); err != nil {
		t.Fatal(err)
	}
	return tariff
}

// drawTrips makes trips in event order.
func drawTrips(t *rapid.T) []fare.Trip {
	n := rapid.IntRange(1, 25).Draw(t, "trips")
	ms := time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC).UnixMilli()
	trips := make([]fare.Trip, 0, n)
	for i := range n {
		gap := rapid.IntRange(0, 120).Draw(t, "minutes")
		if rapid.IntRange(0, 3).Draw(t, "pause") == 0 {
			gap = rapid.IntRange(0, 5*24*60).Draw(t, "long")
		}
		ms += int64(gap) * 60_000
		on := journey.Tap{ID: citygate.TapID{Terminal: 1, Seq: uint64(i + 1)}, Kind: tap.Single, At: ms, Route: rapid.SampledFrom([]string{"B1", "B2"}).Draw(t, "route"), Stop: rapid.SampledFrom([]string{"A", "B", "C", ""}).Draw(t, "stop")}
		j := &journey.Journey{First: on.ID, State: journey.Complete}
		switch rapid.IntRange(0, 4).Draw(t, "shape") {
		case 0, 1:
			on.Kind, on.Route, on.Stop = tap.On, "M", rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "from")
			off := on
			off.ID.Terminal, off.Kind, off.At = 2, tap.Off, on.At+rapid.Int64Range(0, 60).Draw(t, "lasts")*60_000
			off.Stop = rapid.SampledFrom(slices.DeleteFunc([]string{"A", "B", "C"}, func(s string) bool { return s == on.Stop })).Draw(t, "to")
			j.Taps = []journey.Tap{on, off}
		case 2:
			on.Kind, on.Route = tap.On, "M"
			j.Taps, j.State, j.Missing = []journey.Tap{on}, journey.Incomplete, journey.MissingOff
		default:
			j.Taps = []journey.Tap{on}
		}
		trips = append(trips, fare.Trip{Journey: j, Category: "adult"})
	}
	return trips
}

func drawCalendar(t *rapid.T) fare.Calendar {
	name := rapid.SampledFrom([]string{"UTC", "Europe/London", "Asia/Shanghai", "America/New_York"}).Draw(t, "zone")
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	c := citygate.Calendar{Version: 1, Location: zone, Cut: time.Duration(rapid.IntRange(0, 6).Draw(t, "cut")) * time.Hour}
	if rapid.Bool().Draw(t, "a later version") {
		former := c
		c = citygate.Calendar{Version: 2, Location: zone, Cut: time.Duration(rapid.IntRange(0, 6).Draw(t, "later cut")) * time.Hour, Former: &former,
			From: citygate.Date{Year: 2026, Month: 10, Day: rapid.IntRange(20, 31).Draw(t, "from")}}
	}
	return fare.Calendar{Calendar: c}
}

// TestFoldAgreesWithTheOracle: random tariffs and rides over the end of summer
// time and of the month, priced by the fold and by the oracle.
func TestFoldAgreesWithTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tariff, calendar, trips := drawTariff(t), drawCalendar(t), drawTrips(t)
		f := &fare.Folder{Tariff: func(int64) *fare.Tariff { return tariff }, Calendar: calendar}
		if got, want := amounts(f.Fold(&fare.State{}, trips)), oracle(tariff, calendar.Calendar, trips); !slices.Equal(got, want) {
			raw, _ := tariff.Encode()
			t.Fatalf("the fold says %v, the oracle %v\n%s", got, want, raw)
		}
	})
}

// TestInvariantsOfTheFold holds invariants 3, 4 and 5 over random tariffs: one
// decision per trip, payable = nominal - lines >= 0, at most one cap applied, no
// more in a period than its cap, the same bits from the same inputs in whatever
// order they came, and from every state in between.
func TestInvariantsOfTheFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tariff, calendar, trips := drawTariff(t), drawCalendar(t), drawTrips(t)
		raw, err := tariff.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := fare.ParseTariff(raw)
		if err != nil {
			t.Fatal(err)
		}
		f := &fare.Folder{Tariff: func(int64) *fare.Tariff { return tariff }, Calendar: calendar}
		var end fare.State
		want := f.Fold(&end, trips)
		for i, d := range want {
			applied, off := 0, int64(0)
			for _, a := range d.Explanation.Adjustments {
				if a.NotApplied {
					continue
				}
				off += a.Minor
				if a.Kind == fare.KindCap {
					applied++
				}
			}
			if !d.Known || d.Amount.Minor < 0 || d.Nominal-off != d.Amount.Minor || applied > 1 {
				t.Fatalf("trip %d: %+v", i, d)
			}
			for _, c := range d.Explanation.Caps {
				if c.After > max(c.Limit, c.Before) || c.After-c.Before != d.Amount.Minor {
					t.Fatalf("trip %d: cap %+v, paid %d", i, c, d.Amount.Minor)
				}
			}
		}
		f.Tariff = func(int64) *fare.Tariff { return again }
		order := rapid.Permutation(indices(len(trips))).Draw(t, "order")
		shuffled := make([]fare.Trip, len(trips))
		for i, k := range order {
			shuffled[i] = trips[k]
		}
		var state fare.State
		for i, d := range f.Fold(&state, shuffled) {
			if !reflect.DeepEqual(d, want[order[i]]) {
				t.Fatalf("trip %d is decided otherwise when the trips come in the order %v:\n%+v\n%+v", order[i], order, d, want[order[i]])
			}
		}
		if !reflect.DeepEqual(state, end) {
			t.Fatal("another state is left")
		}
		cut := rapid.IntRange(0, len(trips)).Draw(t, "cut")
		state = fare.State{}
		f.Fold(&state, trips[:cut])
		clone := state.Clone()
		if got := f.Fold(&clone, trips[cut:]); !reflect.DeepEqual(got, want[cut:]) && cut < len(trips) {
			t.Fatal("from a state in between the decisions differ")
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// TestACapIsAnAmount: with nothing but a cap the rider pays the lesser of the
// nominal sum and the limit in every period (invariant 4).
func TestACapIsAnAmount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 5000).Draw(t, "limit")
		tariff := drawTariff(t)
		*tariff = fare.Tariff{Name: "cap", Version: 1, Currency: "EUR", Operators: tariff.Operators, Rules: tariff.Rules, Incomplete: tariff.Incomplete,
			Caps: []fare.Cap{{ID: "month", Period: fare.Period{Kind: "rolling", Days: 366}, Amounts: fare.Amounts{"adult": limit}}}}
		if err := tariff.Compile(); err != nil {
			t.Fatal(err)
		}
		paid, nominal := int64(0), int64(0)
		f := &fare.Folder{Tariff: func(int64) *fare.Tariff { return tariff }}
		for _, d := range f.Fold(&fare.State{}, drawTrips(t)) {
			paid += d.Amount.Minor
			nominal += d.Nominal
		}
		if paid != min(nominal, limit) {
			t.Fatalf("paid %d of %d with a cap of %d", paid, nominal, limit)
		}
	})
}

// TestGivingARideBackNeverCostsMore: whatever the tariff does with transfers
// left out, a void ride never makes the rider pay more in all. (A transfer can
// hang on the ride that is gone; then the next one is a first ride.)
func TestGivingARideBackNeverCostsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 3000).Draw(t, "limit")
		tariff, calendar, trips := drawTariff(t), drawCalendar(t), drawTrips(t)
		*tariff = fare.Tariff{Name: "cap", Version: 1, Currency: "EUR", Operators: tariff.Operators, Rules: tariff.Rules, Incomplete: tariff.Incomplete,
			Caps: []fare.Cap{{ID: "day", Period: fare.Period{Kind: "day"}, Amounts: fare.Amounts{"adult": limit}}}}
		if err := tariff.Compile(); err != nil {
			t.Fatal(err)
		}
		f := &fare.Folder{Tariff: func(int64) *fare.Tariff { return tariff }, Calendar: calendar}
		before := sum(amounts(f.Fold(&fare.State{}, trips)))
		void := slices.Clone(trips)
		void[rapid.IntRange(0, len(void)-1).Draw(t, "void")].Void = true
		if after := sum(amounts(f.Fold(&fare.State{}, void))); after > before {
			t.Fatalf("the rider pays %d, before %d", after, before)
		}
	})
}

// TestBusinessDateFollowsFromInstantAndCalendar: invariant 16, over days of 23
// and 25 hours: every instant lies in the window of its own date, and windows
// follow each other without a gap.
func TestBusinessDateFollowsFromInstantAndCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		calendar := drawCalendar(t).Calendar
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 366*24*3600).Draw(t, "second")) * time.Second)
		d := calendar.BusinessDate(at)
		start, end := calendar.Window(d)
		next, _ := calendar.Window(d.AddDays(1))
		if at.Before(start) || !at.Before(end) || !next.Equal(end) || calendar.BusinessDate(at.In(time.FixedZone("x", 3600))) != d {
			t.Fatalf("%s is in %s, %s to %s", at, d, start, end)
		}
	})
}
