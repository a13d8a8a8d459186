package diary_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/diary"
)

const head = `{"name": "city", "version": 1, "currency": "CNY", "categories": {"default": "adult"}, "incomplete": {"mode": "max"}, "same_stop": {}, "rounding": {}, `

func tariff(t *testing.T, rest string) *fare.Tariff {
	t.Helper()
	out, err := fare.ParseTariff([]byte(head + rest + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func always(t *fare.Tariff) func(int64) *fare.Tariff { return func(int64) *fare.Tariff { return t } }

// singles gives bus rides every so many minutes from Monday 2 November 08:00 on.
func singles(n int, every time.Duration) []diary.Tap {
	taps := make([]diary.Tap, n)
	for i := range taps {
		taps[i] = diary.Tap{At: time.Date(2026, 11, 2, 8, 0, 0, 0, time.FixedZone("", 8*3600)).Add(time.Duration(i) * every), Kind: "single", Route: "B1"}
	}
	return taps
}

func price(t *testing.T, d *diary.Diary, tariffs func(int64) *fare.Tariff) *diary.Price {
	t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	read, err := diary.Parse("taps.json", raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := read.Price(tariffs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// amounts gives what rides cost, -1 where nobody knows, and holds the total against them.
func amounts(t *testing.T, p *diary.Price) []int64 {
	t.Helper()
	out, sum, known := make([]int64, len(p.Rides)), int64(0), true
	for i := range p.Rides {
		if p.Rides[i].Total == nil {
			out[i], known = -1, false
			continue
		}
		out[i] = *p.Rides[i].Total
		sum += out[i]
	}
	if known != (p.Total != nil) || known && *p.Total != sum {
		t.Errorf("the total is %v of rides that are %v", p.Total, out)
	}
	return out
}

// TestWorkedCaseA: eleven rides of 2.90, then 2.10, then none, in a window of seven days
// from the first tap; without the third ride the 2.10 is another ride's.
func TestWorkedCaseA(t *testing.T) {
	week := tariff(t, `"rules": [{"id": "bus", "flat": {"adult": 290}}], "caps": [{"id": "week", "period": {"kind": "rolling", "days": 7}, "amounts": {"adult": 3400}}]`)
	taps := singles(14, 10*time.Hour)
	want := append(slices.Repeat([]int64{290}, 11), 210, 0, 0)
	p := price(t, &diary.Diary{Taps: taps}, always(week))
	if got := amounts(t, p); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if caps := p.Rides[11].Explanation.Caps; len(caps) != 1 || !caps[0].Applied || caps[0].Before != 3190 || caps[0].After != 3400 {
		t.Errorf("the twelfth ride is explained by %+v", caps)
	}
	if got := amounts(t, price(t, &diary.Diary{Taps: slices.Concat(taps[:2], taps[3:])}, always(week))); !slices.Equal(got, want[:13]) {
		t.Errorf("without the third ride %v", got)
	}
	next := append(slices.Clone(taps), diary.Tap{At: taps[0].At.Add(7 * 24 * time.Hour), Kind: "single"})
	if got := amounts(t, price(t, &diary.Diary{Taps: next}, always(week))); got[14] != 290 {
		t.Errorf("the first ride of the next window costs %d", got[14])
	}
}

// TestShanghai: 10 % off once 70.00 were paid in the month; the ride that passes them
// pays in full, and December begins anew.
func TestShanghai(t *testing.T) {
	month := tariff(t, `"rules": [{"id": "metro", "flat": {"adult": 400}}], "cumulative": [{"id": "month", "period": {"kind": "month"}, "steps": [{"over": 7000, "permille": 100}]}]`)
	taps := append(singles(20, 24*time.Hour), diary.Tap{At: time.Date(2026, 12, 1, 0, 0, 0, 0, time.FixedZone("", 8*3600)), Kind: "single"})
	want := append(slices.Repeat([]int64{400}, 18), 360, 360, 400)
	if got := amounts(t, price(t, &diary.Diary{Taps: taps}, always(month))); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// twoOperators is a city of a bus and a metro, with a transfer between them, two caps and
// shares by the day.
const twoOperators = `"operators": {"bus": ["B1", "B2"], "metro": ["M"]},
	"rules": [{"id": "bus", "operators": ["bus"], "flat": {"adult": 290}},
		{"id": "metro", "operators": ["metro"], "table": {"stops": ["A", "B", "C"], "amounts": {"adult": [-1, 300, 500, 300, -1, 400, 500, 400, -1]}}}],
	"transfers": [{"id": "hub", "from": {"operators": ["bus"]}, "to": {"operators": ["metro"]}, "window_min": 90, "amounts": {"adult": 150}, "funder": "city:hub"}],
	"caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 800}},
		{"id": "green", "match": {"operators": ["bus"]}, "period": {"kind": "trailing", "days": 3}, "amounts": {"adult": 400}, "funder": "city:green"}],
	"sharing": {"pool": "day", "paths": [
		{"from": "A", "to": "C", "weight": 62, "legs": [{"operator": "metro", "m": 7100}, {"operator": "tram", "m": 4300}]},
		{"from": "A", "to": "C", "weight": 38, "legs": [{"operator": "metro", "m": 9000}, {"operator": "tram", "m": 3500}]}]}`

func dayOfTwo() []diary.Tap {
	taps := singles(4, 0)
	for i, after := range []time.Duration{0, 30 * time.Minute, 50 * time.Minute, 8 * time.Hour} {
		taps[i].At = taps[i].At.Add(after)
	}
	taps[1].Kind, taps[1].Stop, taps[1].Route = "on", "A", "M"
	taps[2].Kind, taps[2].Stop, taps[2].Route = "off", "C", "M"
	taps[3].Route = "B2"
	return taps
}

// TestTransfersCapsAndShares: by hand. 2.90; 5.00 less 1.50 for the transfer; 2.90 of
// which the bus cap of 4.00 leaves 1.10 and that of the day would have left 1.60. The day's
// 7.50 are divided by nominal fares, 5.80 of the bus and 5.00 over two paths:
// metro (0.62 x 71/114 + 0.38 x 90/125) x 5.00 = 3.2987, tram the rest, 1.7013; so of 7.50
// the exact shares are 4.0278, 2.2908 and 1.1815.
func TestTransfersCapsAndShares(t *testing.T) {
	p := price(t, &diary.Diary{Taps: dayOfTwo()}, always(tariff(t, twoOperators)))
	if got := amounts(t, p); !slices.Equal(got, []int64{290, 350, 110}) {
		t.Fatalf("%v", got)
	}
	if got := fmt.Sprint(p.Shares); got != "[{bus 403} {metro 229} {tram 118}]" {
		t.Errorf("shares %s", got)
	}
	var lines []string
	for _, a := range p.Rides[2].Explanation.Adjustments {
		lines = append(lines, fmt.Sprintf("%s %d %v", a.ID, a.Minor, a.NotApplied))
	}
	if got := strings.Join(lines, ", "); got != "day 130 true, green 180 false" {
		t.Errorf("the third ride: %s", got)
	}
	sums := make(map[string]int64)
	for _, r := range p.Rides {
		for _, s := range r.Shares {
			sums[s.Operator] += s.Minor
		}
	}
	for _, s := range p.Shares {
		if sums[s.Operator] != s.Minor {
			t.Errorf("%s has %d, of its rides %d", s.Operator, s.Minor, sums[s.Operator])
		}
	}
	taps := dayOfTwo()
	taps[3].Operator = "metro" // the tap knows better than its route
	if got := fmt.Sprint(price(t, &diary.Diary{Taps: taps}, always(tariff(t, twoOperators))).Rides[2].Explanation.Unknown); got != string(fare.NeedsOff) {
		t.Errorf("a single tap at the metro: %q", got)
	}
}

// TestTheOrderOfTheFileIsNothing: any permutation gives the same bytes.
func TestTheOrderOfTheFileIsNothing(t *testing.T) {
	all := tariff(t, twoOperators)
	taps := dayOfTwo()
	for i := range taps {
		again := taps[i]
		again.At = again.At.Add(26 * time.Hour).In(time.UTC)
		taps = append(taps, again)
	}
	taps = append(taps, taps[0]) // once more at the same instant
	want, err := json.Marshal(price(t, &diary.Diary{Taps: taps}, always(all)))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		random.Shuffle(len(taps), func(i, k int) { taps[i], taps[k] = taps[k], taps[i] })
		if got, err := json.Marshal(price(t, &diary.Diary{Taps: taps}, always(all))); err != nil || string(got) != string(want) {
			t.Fatalf("%v\n%s\nwant\n%s", err, got, want)
		}
	}
}

// TestBusinessDates: worked case B. A ride over midnight is of the day before the cut, and
// so is one at 04:29.
func TestBusinessDates(t *testing.T) {
	day := tariff(t, `"rules": [{"id": "all", "flat": {"adult": 290}}], "caps": [{"id": "day", "period": {"kind": "day"}, "amounts": {"adult": 500}}]`)
	raw := `{"time_zone": "Asia/Shanghai", "cut": "04:30", "taps": [
		{"at": "2026-11-02T23:58:00+08:00", "kind": "on", "stop": "A"}, {"at": "2026-11-03T00:40:00+08:00", "kind": "off", "stop": "B"},
		{"at": "2026-11-03T04:29:00+08:00", "kind": "single"}, {"at": "2026-11-02T20:30:00Z", "kind": "single"}]}`
	d, err := diary.Parse("b.json", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Price(always(day))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, r := range p.Rides {
		got = append(got, fmt.Sprint(r.BusinessDate, " ", amounts(t, p)[i]))
	}
	if want := "[2026-11-02 290 2026-11-02 210 2026-11-03 290]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestRightsAndVersions: proofs by the first tap, products before money, a change of the
// tariff inside a journey and after it, and a journey whose end may still come.
func TestRightsAndVersions(t *testing.T) {
	one := tariff(t, `"categories": {"default": "adult", "proof": {"student": "adult"}}, "rules": [{"id": "all", "flat": {"adult": 400, "student": 200}}],
		"products": [{"id": "purse", "kind": "stored_value", "price": 900, "value": 1000}, {"id": "single", "kind": "ticket", "price": 300, "rides": 1}]`)
	taps := singles(5, 10*time.Minute)
	until := taps[0].At.Add(15 * time.Minute)
	d := &diary.Diary{Taps: taps, Proofs: []diary.Proof{{Category: "student", From: taps[0].At, Until: &until}},
		Products: []diary.Bought{{Product: "purse", At: taps[0].At}, {Product: "single", At: taps[0].At, Given: true}}}
	p := price(t, d, always(one))
	if got := amounts(t, p); !slices.Equal(got, []int64{0, 0, 0, 0, 400}) { // a ticket, then 2.00 + 4.00 + 4.00 of the purse
		t.Errorf("%v", got)
	}
	if a := p.Rides[1].Explanation.Adjustments; len(a) != 1 || a[0].Prepaid != 200 {
		t.Errorf("of a purse that was paid for: %+v", a)
	}
	if a := p.Rides[0].Explanation.Adjustments; len(a) != 1 || a[0].Prepaid != 0 {
		t.Errorf("of a ticket that was given: %+v", a)
	}

	dear := tariff(t, `"rules": [{"id": "all", "flat": {"adult": 500}}]`)
	midnight := time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
	night := []diary.Tap{{At: midnight.Add(-time.Minute), Kind: "on", Stop: "A"}, {At: midnight.Add(time.Minute), Kind: "off", Stop: "B"}, {At: midnight.Add(time.Hour), Kind: "on", Stop: "A"}}
	now := midnight.Add(2 * time.Hour)
	p = price(t, &diary.Diary{Taps: night, Now: &now}, func(at int64) *fare.Tariff {
		if at < midnight.UnixMilli() {
			return one
		}
		return dear
	})
	if got := amounts(t, p); !slices.Equal(got, []int64{400, -1}) || p.Rides[1].Explanation.Unknown != fare.JourneyOpen {
		t.Errorf("%v, %s", got, p.Rides[1].Explanation.Unknown)
	}
	other := tariff(t, `"rules": [{"id": "all", "flat": {"adult": 500}}]`)
	other.Currency = "USD"
	if err := other.Compile(); err != nil {
		t.Fatal(err)
	}
	_, err := (&diary.Diary{Taps: night}).Price(func(at int64) *fare.Tariff {
		if at < midnight.UnixMilli() {
			return one
		}
		return other
	})
	if !errors.Is(err, diary.ErrDiary) {
		t.Errorf("two currencies: %v", err)
	}
}

func TestRefusedDiaries(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`:                         "want an object",
		`{"taps": []}`:               "taps: want 1 to",
		`{"taps": [{"kind": "on"}]}`: "taps[0].at",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "fly"}]}`:                                 `taps[0].kind: "fly"`,
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on", "amount": -1}]}`:                    "taps[0].amount",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on", "amount": "5"}]}`:                   "taps.amount: string does not fit",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on", "party": 17}]}`:                     "taps[0].party",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on", "currency": "CNY"}]}`:               "taps[0].currency",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "rider": 1}`:                      `unknown field "rider"`,
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "time_zone": "Local"}`:            "time_zone",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "cut": "24:00"}`:                  "cut",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "journey_rules": {"version": 1}}`: "journey_rules",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "tariffs": [{"file": "x"}]}`:      "tariffs[0]",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "proofs": [{"category": "x"}]}`:   "proofs[0]",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}], "products": [{"product": "x"}]}`:  "products[0]",
		`{"taps": [{"at": "2026-11-02T08:00:00Z", "kind": "on"}]} {}`:                               "something follows",
	} {
		if _, err := diary.Parse("odd.json", []byte(raw)); !errors.Is(err, diary.ErrDiary) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "odd.json: ") {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
	d := &diary.Diary{Taps: singles(1, 0), Products: []diary.Bought{{Product: "none", At: time.Unix(0, 0)}}}
	if _, err := d.Price(always(tariff(t, `"rules": [{"id": "all", "flat": {"adult": 400}}]`))); !errors.Is(err, diary.ErrDiary) {
		t.Errorf("a product that the tariff does not have: %v", err)
	}
	p, err := (&diary.Diary{Taps: singles(1, 0)}).Price(func(int64) *fare.Tariff { return nil })
	if err != nil || p.Total != nil || p.Rides[0].Explanation.Unknown != fare.NoTariff {
		t.Errorf("without a tariff: %+v, %v", p, err)
	}
}
