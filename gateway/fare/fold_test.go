package fare_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// foldingTariff is a city with everything that depends on the rides before.
const foldingTariff = `{
	"name": "folding", "version": 1, "currency": "EUR", "categories": {"default": "adult"},
	"operators": {"bus": ["B1", "B2"], "metro": ["M"]},
	"rules": [{"id": "bus", "operators": ["bus"], "flat": {"adult": 290, "child": 100}},
		{"id": "metro", "routes": ["M"], "table": {"stops": ["A", "B", "C"], "amounts": {"adult": [-1, 300, 500, 300, -1, 400, 500, 400, -1]}}}],
	"transfers": [{"id": "bus-metro", "from": {"operators": ["bus"]}, "to": {"operators": ["metro"]}, "window_min": 90, "amounts": {"adult": 150}, "funder": "city:hub"},
		{"id": "any", "window_min": 60, "permille": 200, "count": 1}],
	"cumulative": [{"id": "month10", "period": {"kind": "month"}, "steps": [{"over": 7000, "permille": 100}]}],
	"nth_ride": [{"id": "tenth", "match": {"operators": ["bus"]}, "period": {"kind": "week"}, "n": 10, "every": true}],
	"caps": [{"id": "day", "period": {"kind": "day", "cut": "04:30"}, "amounts": {"adult": 1500}},
		{"id": "bus-week", "match": {"operators": ["bus"]}, "period": {"kind": "week"}, "amounts": {"adult": 3000}, "exclude_incomplete": true}],
	"incomplete": {"mode": "max"}, "same_stop": {}, "rounding": {}
}`

// minutes after Monday 2026-11-02 00:00 UTC, in milliseconds.
func minute(m int64) int64 {
	return time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).UnixMilli() + m*60_000
}

var tripSeq uint64

// bus and metro give trips of their own taps, at a minute after the Monday.
func bus(m int64, route string) fare.Trip {
	tripSeq++
	taps := []journey.Tap{{ID: citygate.TapID{Terminal: 1, Seq: tripSeq}, Kind: tap.Single, At: minute(m), Route: route, Party: 1}}
	return fare.Trip{Journey: &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}, Category: "adult"}
}

func metro(m int64, from, to string, lasts int64) fare.Trip {
	tripSeq++
	taps := []journey.Tap{
		{ID: citygate.TapID{Terminal: 2, Seq: tripSeq}, Kind: tap.On, At: minute(m), Route: "M", Stop: from, Party: 1},
		{ID: citygate.TapID{Terminal: 3, Seq: tripSeq}, Kind: tap.Off, At: minute(m + lasts), Route: "M", Stop: to, Party: 1},
	}
	return fare.Trip{Journey: &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}, Category: "adult"}
}

func incomplete(m int64) fare.Trip {
	t := metro(m, "A", "B", 1)
	t.Journey.Taps = t.Journey.Taps[:1]
	t.Journey.State, t.Journey.Missing = journey.Incomplete, journey.MissingOff
	return t
}

func folder(tariffs ...*fare.Tariff) *fare.Folder {
	return &fare.Folder{Tariff: func(int64) *fare.Tariff { return tariffs[0] }}
}

func amounts(decisions []fare.Decision) []int64 {
	out := make([]int64, len(decisions))
	for i, d := range decisions {
		out[i] = d.Amount.Minor
		if !d.Known {
			out[i] = -1
		}
	}
	return out
}

func sum(list []int64) (total int64) {
	for _, n := range list {
		total += n
	}
	return total
}

func flatWith(parts string) string {
	return `{"name": "flat", "version": 1, "currency": "USD", "categories": {"default": "adult"},
		"operators": {"bus": ["B1"], "ferry": ["F"]},
		"rules": [{"id": "ride", "flat": {"adult": 290}}], "incomplete": {"mode": "fixed", "amounts": {"adult": 800}}, "same_stop": {}, "rounding": {}, ` + parts + `}`
}

// TestCaseA: 11 rides of 2.90 and then a cap of 34.00 over 7 days from the first
// tap: the 12th pays 2.10, the 13th nothing. A third tap that arrives last gives
// the same total and moves the 2.10 to the right ride: one pair of corrections
// that sums to zero.
func TestCaseA(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [{"id": "week", "period": {"kind": "rolling", "days": 7}, "amounts": {"adult": 3400}}]`))
	trips := make([]fare.Trip, 13)
	for i := range trips {
		trips[i] = bus(int64(i)*12*60+7, "B1") // two a day, from the first tap on
	}
	f, state := folder(tariff), fare.State{}
	got := amounts(f.Fold(&state, trips))
	want := append(slices.Repeat([]int64{290}, 11), 210, 0)
	if !slices.Equal(got, want) {
		t.Fatalf("13 rides cost %v, want %v", got, want)
	}
	if c := state.Counters[0]; c.From != minute(7) || c.Until != minute(7+7*24*60) {
		t.Errorf("the window is %d to %d, want seven days from the first tap", c.From, c.Until)
	}
	// the third tap is late: the others were decided without it
	late := slices.Delete(slices.Clone(trips), 2, 3)
	before := amounts(f.Fold(&fare.State{}, late))
	if want := append(slices.Repeat([]int64{290}, 11), 210); !slices.Equal(before, want) {
		t.Fatalf("12 rides cost %v, want %v", before, want)
	}
	corrections := map[int]int64{}
	for i, was := range before {
		k := i
		if i >= 2 {
			k++ // the third ride is new
		}
		if got[k] != was {
			corrections[k] = got[k] - was
		}
	}
	// the late ride costs 2.90; what was the 11th ride now costs 2.10 and the last 0
	if sum(got) != 3400 || sum(before) != 3400 || sum(slices.Collect(mapValues(corrections)))+got[2] != 0 {
		t.Errorf("totals %d and %d, corrections %v with the late ride %d do not sum to zero", sum(before), sum(got), corrections, got[2])
	}
	if !reflect.DeepEqual(corrections, map[int]int64{11: -80, 12: -210}) {
		t.Errorf("corrections %v, want the 2.10 moved from ride 13 to ride 12", corrections)
	}
	// the 14th ride after the window pays in full again
	if d := f.Step(&state, ptr(bus(7+7*24*60, "B1"))); d.Amount.Minor != 290 {
		t.Errorf("the first ride of the next window costs %d", d.Amount.Minor)
	}
}

func ptr[T any](v T) *T { return &v }

func mapValues(m map[int]int64) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// TestCaseB, the fare part: tap-on 23:58, tap-off 00:40, the cap's day ends at
// 04:30: both belong to one business date.
func TestCaseB(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [{"id": "day", "period": {"kind": "day", "cut": "04:30"}, "amounts": {"adult": 500}}]`))
	trips := []fare.Trip{bus(12*60, "B1"), metro(23*60+58, "A", "B", 42), bus(28*60, "B1"), bus(28*60+30, "B1")}
	f, state := folder(tariff), fare.State{}
	decisions := f.Fold(&state, trips)
	if got := amounts(decisions); !slices.Equal(got, []int64{290, 210, 0, 290}) {
		t.Errorf("the rides cost %v, want the one over midnight and the one at 04:00 in the first day", got)
	}
	caps := decisions[1].Explanation.Caps
	if len(caps) != 1 || caps[0].From != minute(4*60+30) || caps[0].Until != minute(28*60+30) || caps[0].Before != 290 || caps[0].After != 500 || !caps[0].Applied {
		t.Errorf("cap state %+v", caps)
	}
}

// TestTariffChangeAtMidnightInsideAnOpenJourney: the version valid at the first
// tap prices the whole journey, and a cap of the same id goes on in its period
// with the limit of the version that prices the ride.
func TestTariffChangeAtMidnightInsideAnOpenJourney(t *testing.T) {
	caps := `"caps": [{"id": "day", "period": {"kind": "day", "cut": "04:30"}, "amounts": {"adult": %d}}]`
	old := parse(t, flatWith(fmt.Sprintf(caps, 500)))
	raised := parse(t, fmt.Sprintf(`{"name": "flat", "version": 2, "currency": "USD", "categories": {"default": "adult"},
		"rules": [{"id": "ride", "flat": {"adult": 400}}], "incomplete": {}, "same_stop": {}, "rounding": {}, `+caps+`}`, 700))
	f := &fare.Folder{Tariff: func(at int64) *fare.Tariff {
		if at < minute(24*60) {
			return old
		}
		return raised
	}}
	decisions := f.Fold(&fare.State{}, []fare.Trip{metro(23*60+58, "A", "B", 42), bus(25*60, "B1"), bus(26*60, "B1")})
	if got := amounts(decisions); !slices.Equal(got, []int64{290, 400, 10}) {
		t.Errorf("the rides cost %v, want the open one at the old price, and 7.00 in all", got)
	}
	if v := []uint64{decisions[0].TariffVersion, decisions[1].TariffVersion}; v[0] != 1 || v[1] != 2 {
		t.Errorf("versions %v", v)
	}
}

// TestARefundAfterTheCapWasReached: a ride given back as if it had not been
// leaves its place under the cap to the others; money given back on top does not.
func TestARefundAfterTheCapWasReached(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 600}}]`))
	trips := []fare.Trip{bus(10, "B1"), bus(20, "B1"), bus(30, "B1"), bus(40, "B1")}
	plain := amounts(folder(tariff).Fold(&fare.State{}, trips))
	if !slices.Equal(plain, []int64{290, 290, 20, 0}) {
		t.Fatalf("%v", plain)
	}
	void := slices.Clone(trips)
	void[0].Void = true
	if got := amounts(folder(tariff).Fold(&fare.State{}, void)); !slices.Equal(got, []int64{0, 290, 290, 20}) {
		t.Errorf("with the first ride void %v: the rider never pays more in all than before", got)
	}
	kind := slices.Clone(trips)
	kind[0].Goodwill = 200
	if got := amounts(folder(tariff).Fold(&fare.State{}, kind)); !slices.Equal(got, []int64{90, 290, 20, 0}) {
		t.Errorf("with 2.00 given back %v: the others stay as they are", got)
	}
}

func TestTransfersCapsAndDiscountsOfTheCity(t *testing.T) {
	tariff := parse(t, foldingTariff)
	for _, c := range []struct {
		name  string
		trips []fare.Trip
		want  []int64
	}{
		{"bus to metro in time: 1.50 off, more than 20 %", []fare.Trip{bus(0, "B1"), metro(90, "A", "B", 10)}, []int64{290, 150}},
		{"a minute late", []fare.Trip{bus(0, "B1"), metro(91, "A", "B", 10)}, []int64{290, 300}},
		{"bus to bus: 20 % once, by count", []fare.Trip{bus(0, "B1"), bus(30, "B2"), bus(50, "B1")}, []int64{290, 232, 290}},
		{"not on the route one came on", []fare.Trip{bus(0, "B1"), bus(30, "B1")}, []int64{290, 290}},
		{"the window runs from the first tap of the chain", []fare.Trip{bus(0, "B1"), bus(50, "B2"), metro(100, "A", "B", 5)}, []int64{290, 232, 300}},
		{"an incomplete ride breaks the chain and costs the most", []fare.Trip{bus(0, "B1"), incomplete(10), bus(20, "B2")}, []int64{290, 500, 290}},
		{"every tenth bus of the week is free", tenBuses(), append(slices.Repeat([]int64{290}, 9), 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := amounts(folder(tariff).Fold(&fare.State{}, c.trips)); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func tenBuses() []fare.Trip {
	trips := make([]fare.Trip, 10)
	for i := range trips {
		trips[i] = bus(int64(i)*600, "B1") // two or three a day, in one week: 29.00 before the tenth
	}
	return trips
}

// TestShanghaiMonth: 10 % off once 70.00 were paid in the month. The ride that
// passes 70.00 still pays in full, and the month begins anew.
func TestShanghaiMonth(t *testing.T) {
	tariff := parse(t, `{"name": "sh", "version": 1, "currency": "CNY", "categories": {"default": "adult"}, "rules": [{"id": "r", "flat": {"adult": 400}}],
		"cumulative": [{"id": "month", "period": {"kind": "month"}, "steps": [{"over": 7000, "permille": 100}]}],
		"incomplete": {}, "same_stop": {}, "rounding": {}}`)
	var trips []fare.Trip
	for i := range 20 {
		trips = append(trips, bus(int64(i)*24*60, "B1")) // from Monday 2 November on
	}
	trips = append(trips, bus(30*24*60, "B1")) // 2 December
	got := amounts(folder(tariff).Fold(&fare.State{}, trips))
	want := append(slices.Repeat([]int64{400}, 18), 360, 360, 400) // 17 rides are 68.00, 18 are 72.00
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestTheBestCapIsAppliedTheOthersAreRecorded: one ride meets two caps.
func TestTheBestCapIsAppliedTheOthersAreRecorded(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [
		{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 500}},
		{"id": "bus", "match": {"operators": ["bus"]}, "period": {"kind": "trailing", "days": 3}, "amounts": {"adult": 400}, "funder": "city:green"},
		{"id": "ferry", "match": {"operators": ["ferry"]}, "period": {"kind": "day"}, "amounts": {"adult": 100}}]`))
	decisions := folder(tariff).Fold(&fare.State{}, []fare.Trip{bus(0, "B1"), bus(10, "B1"), bus(3*24*60, "B1")})
	if got := amounts(decisions); !slices.Equal(got, []int64{290, 110, 290}) {
		t.Fatalf("%v", got)
	}
	if got := lines(decisions[1]); got != "cap bus 180 city:green; " {
		t.Errorf("lines %q", got)
	}
	adjustments := decisions[1].Explanation.Adjustments
	if len(adjustments) != 2 || adjustments[0].ID != "day" || !adjustments[0].NotApplied || adjustments[0].Minor != 80 {
		t.Errorf("the cap that was possible is not recorded: %+v", adjustments)
	}
	if caps := decisions[1].Explanation.Caps; len(caps) != 2 || caps[0].After != 400 || caps[1].After != 400 {
		t.Errorf("both caps count what was paid: %+v", caps)
	}
}

// TestACapOfTheOperatorHasNoFunder: whoever writes down that the operator bears a cap
// says what is so anyway, and nobody owes the operator anything for it.
func TestACapOfTheOperatorHasNoFunder(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 300}, "funder": "operator"}]`))
	d := folder(tariff).Fold(&fare.State{}, []fare.Trip{bus(0, "B1"), bus(10, "B1")})
	if l := d[1].Explanation.Adjustments; len(l) != 1 || l[0].Funder != "" || !l[0].Funder.Own() || l[0].Minor != 280 {
		t.Errorf("%+v", l)
	}
}

// TestIncompleteMaximumFaresOutsideTheCap: they neither count nor get cheaper,
// if the tenant says so.
func TestIncompleteMaximumFaresOutsideTheCap(t *testing.T) {
	for excluded, want := range map[bool][]int64{true: {290, 800, 290, 20}, false: {290, 310, 0, 0}} {
		tariff := parse(t, flatWith(fmt.Sprintf(`"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 600}, "exclude_incomplete": %v}]`, excluded)))
		trips := []fare.Trip{bus(0, "B1"), incomplete(10), bus(20, "B1"), bus(30, "B1")}
		if got := amounts(folder(tariff).Fold(&fare.State{}, trips)); !slices.Equal(got, want) {
			t.Errorf("excluded %v: %v, want %v", excluded, got, want)
		}
	}
}

// TestCompanionsPayWithoutCap: the cap is the holder's; two others on the code
// pay what one ride costs.
func TestCompanionsPayWithoutCap(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 400}}]`))
	trips := []fare.Trip{bus(0, "B1"), bus(10, "B1")}
	trips[1].Journey.Taps[0].Party = 3
	d := folder(tariff).Fold(&fare.State{}, trips)[1]
	if d.Amount.Minor != 110+2*290 || d.Nominal != 3*290 || lines(d) != "cap day 180 ; " {
		t.Errorf("%d of %d, %q", d.Amount.Minor, d.Nominal, lines(d))
	}
}

// TestProductsAreUsedBeforeMoney: a pass covers, a ticket is used only where
// something is left to pay, stored value pays and counts toward the cap.
func TestProductsAreUsedBeforeMoney(t *testing.T) {
	tariff := parse(t, flatWith(`"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 600}}],
		"products": [{"id": "three", "kind": "ticket", "price": 700, "rides": 3}]`))
	id := func(n byte) citygate.UUID { return citygate.UUID{15: n} }
	day := int64(24 * 60)
	f := folder(tariff)
	f.Holdings = []entitlement.Holding{
		{ID: id(1), Product: "bus-day", Kind: entitlement.Pass, Scope: entitlement.Scope{Routes: []string{"F"}}, From: minute(0), Until: minute(day)},
		{ID: id(2), Product: "three", Kind: entitlement.Ticket, From: minute(0), Rides: 1},
		{ID: id(3), Product: "purse", Kind: entitlement.StoredValue, From: minute(0), Value: 400},
		{ID: id(4), Product: "staff", Kind: entitlement.ZeroFare, From: minute(2 * day), Funder: "city:staff"},
	}
	trips := []fare.Trip{bus(0, "F"), bus(10, "B1"), bus(20, "B1"), bus(30, "B1"), bus(40, "B1"), bus(50, "B1"), bus(2*day, "B1")}
	state := fare.State{}
	decisions := f.Fold(&state, trips)
	if got := amounts(decisions); !slices.Equal(got, []int64{0, 0, 0, 180, 20, 0, 0}) {
		t.Errorf("charged %v", got)
	}
	for i, want := range []string{
		"product 00000000-0000-0000-0000-000000000001 290 ; ",
		"product 00000000-0000-0000-0000-000000000002 290 ; ",
		"stored_value 00000000-0000-0000-0000-000000000003 290 ; ",
		"stored_value 00000000-0000-0000-0000-000000000003 110 ; ",
		"cap day 270 ; ", "cap day 290 ; ",
		"product 00000000-0000-0000-0000-000000000004 290 city:staff; ",
	} {
		if got := lines(decisions[i]); got != want {
			t.Errorf("ride %d: %q, want %q", i+1, got, want)
		}
	}
	if rides, _ := state.Uses.Rest(&f.Holdings[1]); rides != 0 {
		t.Errorf("%d rides are left on the ticket", rides)
	}
}

// TestStateReadsBack: a fold that begins again from a stored state goes on as if
// it had never stopped, and the next decision is bound to that state.
func TestStateReadsBack(t *testing.T) {
	f := folder(parse(t, foldingTariff))
	trips := append(tenBuses(), metro(6100, "A", "C", 20), bus(6130, "B1"))
	var whole fare.State
	want := f.Fold(&whole, trips)
	for cut := range trips {
		var state fare.State
		f.Fold(&state, trips[:cut])
		raw, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		var again fare.State
		if err := json.Unmarshal(raw, &again); err != nil {
			t.Fatal(err)
		}
		got := f.Fold(&again, trips[cut:])
		if !reflect.DeepEqual(got, want[cut:]) || !reflect.DeepEqual(again, whole) {
			t.Fatalf("from trip %d on the decisions differ", cut)
		}
	}
	if a, b := f.Step(&fare.State{}, &trips[11]), want[11]; a.InputsHash == b.InputsHash {
		t.Error("the state before is no part of the inputs")
	}
}

// TestNoFloatInMoney: nothing a price is made of or told in can hold a fraction
// that is not exact.
func TestNoFloatInMoney(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		if seen[ty] {
			return
		}
		seen[ty] = true
		switch ty.Kind() {
		case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
			t.Errorf("%s is a float", ty)
		case reflect.Struct:
			for i := range ty.NumField() {
				if ty.PkgPath() != "time" {
					walk(ty.Field(i).Type)
				}
			}
		case reflect.Map:
			walk(ty.Key())
			walk(ty.Elem())
		case reflect.Slice, reflect.Array, reflect.Pointer:
			walk(ty.Elem())
		default:
		}
	}
	for _, v := range []any{fare.Tariff{}, fare.Decision{}, fare.State{}, fare.Trip{}, entitlement.Holding{}} {
		walk(reflect.TypeOf(v))
	}
	if len(seen) < 30 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}
