package fare_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// one tariff with every kind of rule; the tests price against it.
const everyRule = `{
	"name": "city", "version": 7, "currency": "CNY",
	"categories": {"products": {"2": "student", "9": "ghost"}, "default": "adult"},
	"rules": [
		{"id": "flat", "routes": ["12"], "flat": {"adult": 480, "student": 240, "child": 0}},
		{"id": "minibus", "routes": ["61S"], "sections": {"stops": {"pier": "lower", "market": "upper"},
			"amounts": {"lower": {"adult": 900, "student": 700}, "upper": {"adult": 550}}}},
		{"id": "taxi", "routes": ["T"], "entered": {"min": 100, "max": 50000}},
		{"id": "red", "routes": ["R"], "entered": {"min": 100, "max": 5000, "per_person": true}},
		{"id": "od", "routes": ["M"], "table": {"stops": ["A", "B", "C", "D"], "linked": [["C", "D"]],
			"amounts": {"adult": [-1, 300, 700, 900, 310, -1, 400, 600, 700, 400, -1, -1, 900, 600, -1, -1],
			            "student": [-1, 150, 350, 450, 150, -1, -1, 300, 350, 200, -1, -1, 450, 300, -1, -1]}}},
		{"id": "km", "routes": ["D"], "distance": {"base": {"upto_m": 4000, "amount": 200},
			"bands": [{"upto_m": 12000, "per_m": 4000, "add": 100}],
			"links": [{"a": "P", "b": "Q", "m": 3000}, {"a": "Q", "b": "R", "m": 5000}, {"a": "P", "b": "R", "m": 9000}, {"a": "R", "b": "S", "m": 90000}, {"a": "X", "b": "Y", "m": 10}],
			"permille": {"adult": 1000, "student": 475}}}
	],
	"incomplete": {"mode": "max_from_stop"},
	"same_stop": {"mode": "fixed", "amounts": {"adult": 200}},
	"rounding": {"step": 10}
}`

func parse(t testing.TB, raw string) *fare.Tariff {
	t.Helper()
	tariff, err := fare.ParseTariff([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return tariff
}

func single(route, stop string) *journey.Journey {
	taps := []journey.Tap{{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.Single, At: 1, Route: route, Stop: stop, Party: 1}}
	return &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}
}

func ride(route, from, to string) *journey.Journey {
	taps := []journey.Tap{
		{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.On, At: 1, Route: route, Stop: from, Party: 1},
		{ID: citygate.TapID{Terminal: 2, Seq: 1}, Kind: tap.Off, At: 2, Route: route, Stop: to, Party: 1},
	}
	return &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}
}

func half(route, stop string, missing journey.Missing) *journey.Journey {
	j := single(route, stop)
	j.Taps[0].Kind = tap.On
	if missing == journey.MissingOn {
		j.Taps[0].Kind = tap.Off
	}
	j.State, j.Missing = journey.Incomplete, missing
	return j
}

func with(j *journey.Journey, change func(*journey.Journey)) *journey.Journey {
	change(j)
	return j
}

func party(n uint8) func(*journey.Journey) {
	return func(j *journey.Journey) { j.Taps[0].Party = n }
}

func entered(minor int64, c citygate.Currency) func(*journey.Journey) {
	return func(j *journey.Journey) { j.Taps[0].Entered = citygate.Money{Minor: minor, Currency: c} }
}

func TestPriceKnown(t *testing.T) {
	tariff := parse(t, everyRule)
	for _, c := range []struct {
		name     string
		journey  *journey.Journey
		category fare.Category
		want     int64
	}{
		{"flat", single("12", ""), "adult", 480},
		{"flat for a student", single("12", ""), "student", 240},
		{"a stated 0 is a price", single("12", ""), "child", 0},
		{"three riders on one code", with(single("12", ""), party(3)), "adult", 1440},
		{"a party of 0 is one rider", with(single("12", ""), party(0)), "adult", 480},
		{"section of the boarding stop", single("61S", "market"), "adult", 550},
		{"section named by the tap", single("61S", "lower"), "adult", 900},
		{"taxi", with(single("T", ""), entered(6580, "CNY")), "adult", 6580},
		{"a meter reading is for the vehicle and is not rounded", with(with(single("T", ""), entered(6583, "CNY")), party(4)), "adult", 6583},
		{"a fare named per head is multiplied", with(with(single("R", ""), entered(500, "CNY")), party(2)), "adult", 1000},
		{"table", ride("M", "A", "C"), "adult", 700},
		{"a table has a direction", ride("M", "B", "A"), "adult", 310},
		{"same station", ride("M", "A", "A"), "adult", 200},
		{"linked stations", ride("M", "D", "C"), "adult", 200},
		{"no off: highest from the on", half("M", "B", journey.MissingOff), "adult", 600},
		{"no on: highest to the off", half("M", "B", journey.MissingOn), "adult", 600},
		{"no on: highest to the off, other way", half("M", "A", journey.MissingOn), "adult", 900},
		{"incomplete on a flat route", half("12", "", journey.MissingOff), "adult", 480},
		{"distance inside the base", ride("D", "P", "Q"), "adult", 200},
		{"distance by the shortest path, not the direct line", ride("D", "P", "R"), "adult", 300},
		{"share rounded once: 475 permille of 300", ride("D", "P", "R"), "student", 140},
		{"rounded before it is multiplied", with(ride("D", "P", "R"), party(3)), "student", 420},
		{"incomplete by distance: the longest that has a price", half("D", "P", journey.MissingOff), "adult", 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tariff.Price(c.journey, c.category)
			if !d.Known || d.Reason != "" || d.Amount != (citygate.Money{Minor: c.want, Currency: "CNY"}) {
				t.Fatalf("Price = %+v, want %d", d, c.want)
			}
			if steps := d.Explanation.Steps; len(steps) == 0 || steps[len(steps)-1].Minor != c.want {
				t.Errorf("the explanation does not end at the fare: %+v", steps)
			}
		})
	}
}

func TestUnknownFareIsSetAsideNeverZero(t *testing.T) {
	tariff := parse(t, everyRule)
	for _, c := range []struct {
		name     string
		journey  *journey.Journey
		category fare.Category
		want     fare.Reason
	}{
		{"no rule", single("99", ""), "adult", fare.NoRule},
		{"category without an amount", single("12", ""), "elderly", fare.NoAmount},
		{"no category", single("12", ""), "", fare.NoCategory},
		{"section without an amount for the category", single("61S", "market"), "student", fare.NoAmount},
		{"unknown boarding stop", single("61S", "moon"), "adult", fare.NoStop},
		{"nothing entered", single("T", ""), "adult", fare.NotEntered},
		{"entered in another currency", with(single("T", ""), entered(500, "HKD")), "adult", fare.EnteredCurrency},
		{"entered too much", with(single("T", ""), entered(50001, "CNY")), "adult", fare.EnteredOutOfRange},
		{"entered nothing at all", with(single("T", ""), entered(0, "CNY")), "adult", fare.EnteredOutOfRange},
		{"entered less than nothing", with(single("T", ""), entered(-500, "CNY")), "adult", fare.EnteredOutOfRange},
		{"empty cell", ride("M", "B", "C"), "student", fare.NoPair},
		{"unknown station", ride("M", "A", "Z"), "adult", fare.NoStop},
		{"two unknown places are not one", ride("M", "", ""), "adult", fare.NoStop},
		{"same station without an amount for the category", ride("M", "A", "A"), "student", fare.NoAmount},
		{"a single tap cannot be priced by a table", single("M", "A"), "adult", fare.NeedsOff},
		{"unknown stop, incomplete", half("M", "Z", journey.MissingOff), "adult", fare.NoStop},
		{"category without prices, incomplete", half("M", "A", journey.MissingOff), "child", fare.NoAmount},
		{"incomplete taxi", half("T", "", journey.MissingOff), "adult", fare.NoAmount},
		{"no path", ride("D", "P", "X"), "adult", fare.NoPair},
		{"farther than the last band", ride("D", "P", "S"), "adult", fare.BeyondTable},
		{"still open", with(half("M", "A", journey.MissingOff), func(j *journey.Journey) { j.State = journey.Open }), "adult", fare.JourneyOpen},
		{"no taps", &journey.Journey{State: journey.Complete}, "adult", fare.NoTaps},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tariff.Price(c.journey, c.category)
			if d.Known || d.Reason != c.want || d.Amount != (citygate.Money{}) || d.Explanation.Unknown != c.want {
				t.Errorf("Price = %+v, want unknown because %s", d, c.want)
			}
		})
	}
	var raw fare.Tariff
	if d := raw.Price(single("12", ""), "adult"); d.Known || d.Reason != fare.NotCompiled {
		t.Errorf("a tariff that was not compiled priced %+v", d)
	}
}

func TestIncompleteModes(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		want       int64
		reason     fare.Reason
	}{
		{"fixed", `{"mode": "fixed", "amounts": {"adult": 1200}}`, 1200, ""},
		{"highest of the tariff", `{"mode": "max"}`, 900, ""},
		{"highest from the stop", `{"mode": "max_from_stop"}`, 600, ""},
		{"set aside", `{"mode": "set_aside"}`, 0, fare.NoIncomplete},
		{"nothing said is set aside", `{}`, 0, fare.NoIncomplete},
	} {
		t.Run(c.name, func(t *testing.T) {
			tariff := parse(t, strings.Replace(everyRule, `"incomplete": {"mode": "max_from_stop"}`, `"incomplete": `+c.rule, 1))
			d := tariff.Price(half("M", "B", journey.MissingOff), "adult")
			if d.Amount.Minor != c.want || d.Reason != c.reason {
				t.Errorf("Price = %+v, want %d %s", d, c.want, c.reason)
			}
		})
	}
}

func TestExplanationTellsTheWholeStory(t *testing.T) {
	d := parse(t, everyRule).Price(with(ride("D", "P", "R"), party(3)), "student")
	got, err := json.Marshal(d.Explanation)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"tariff":"city","version":7,"currency":"CNY","category":"student","steps":[` +
		`{"rule":"km","op":"distance","from":"P","to":"R","metres":8000,"minor":300},` +
		`{"rule":"km","op":"share","factor":475,"minor":142},` +
		`{"rule":"km","op":"round","factor":10,"minor":140},` +
		`{"rule":"km","op":"party","factor":3,"minor":420}]}`
	if string(got) != want {
		t.Errorf("explanation\n got %s\nwant %s", got, want)
	}
}

func TestRoundingModes(t *testing.T) {
	for mode, want := range map[string]int64{"half_up": 100, "down": 90, "up": 100, "": 100} {
		raw := `{"name":"r","version":1,"currency":"CNY","categories":{"default":"adult"},"rules":[{"id":"f","flat":{"adult":95}}],
			"incomplete":{},"same_stop":{},"rounding":{"step":10,"mode":"` + mode + `"}}`
		if d := parse(t, raw).Price(single("", ""), "adult"); d.Amount.Minor != want {
			t.Errorf("mode %q: %d, want %d", mode, d.Amount.Minor, want)
		}
	}
}

func TestParseTariffRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"an unknown field":             {`"version": 7`, `"version": 7, "colour": 1`},
		"version 0":                    {`"version": 7`, `"version": 0`},
		"no currency":                  {`"CNY"`, `"yuan"`},
		"a negative fare":              {`"student": 240`, `"student": -240`},
		"a fare with a fraction":       {`"student": 240`, `"student": 2.5`},
		"two rules with one id":        {`"id": "red"`, `"id": "taxi"`},
		"a rule of two kinds":          {`"id": "red",`, `"id": "red", "flat": {"adult": 1},`},
		"a rule of no kind":            {`"flat": {"adult": 480, "student": 240, "child": 0}`, `"flat": {}`},
		"a price to itself":            {`[-1, 300`, `[0, 300`},
		"a missing cell":               {`[-1, 300, 700, 900,`, `[-1, 300, 700,`},
		"a stop twice":                 {`["A", "B", "C", "D"]`, `["A", "B", "C", "A"]`},
		"a link to nowhere":            {`[["C", "D"]]`, `[["C", "E"]]`},
		"a stop in no section":         {`"market": "upper"`, `"market": "middle"`},
		"falling bands":                {`"upto_m": 12000`, `"upto_m": 3000`},
		"a step of no metres":          {`"per_m": 4000`, `"per_m": 0`},
		"limits the wrong way":         {`"min": 100, "max": 50000`, `"min": 100, "max": 50`},
		"amounts without fixed":        {`{"mode": "max_from_stop"}`, `{"mode": "max_from_stop", "amounts": {"adult": 1}}`},
		"fixed without amounts":        {`{"mode": "max_from_stop"}`, `{"mode": "fixed"}`},
		"a mode of the other rule":     {`{"mode": "max_from_stop"}`, `{"mode": "min_from_stop"}`},
		"an unknown rounding mode":     {`"step": 10`, `"step": 10, "mode": "nearest"`},
		"something after the tariff":   {`"rounding": {"step": 10}` + "\n}", `"rounding": {"step": 10}}{}`},
		"an amount beyond every range": {`"student": 240`, `"student": 9000000000000000000`},
	} {
		if !strings.Contains(everyRule, change[0]) {
			t.Fatalf("%s: nothing to change", name)
		}
		if _, err := fare.ParseTariff([]byte(strings.Replace(everyRule, change[0], change[1], 1))); !errors.Is(err, fare.ErrTariff) {
			t.Errorf("%s: %v, want fare.bad_tariff", name, err)
		}
	}
}

func TestEncodeReadsBackAsTheSameTariff(t *testing.T) {
	tariff := parse(t, everyRule)
	raw, err := tariff.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, string(raw))
	if again.Digest() != tariff.Digest() {
		t.Error("the digest changed")
	}
	other := parse(t, strings.Replace(everyRule, `"child": 0`, `"child": 10`, 1))
	if other.Digest() == tariff.Digest() {
		t.Error("two tariffs have one digest")
	}
}

// TestDistanceTariffsOfRealMetros prices the worked points of three public
// distance tariffs.
func TestDistanceTariffsOfRealMetros(t *testing.T) {
	raw, err := os.ReadFile("testdata/distance-tariffs.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tariffs []struct {
			ID   string
			Base struct {
				Upto   string `json:"upto_km"`
				Amount int64
			}
			Steps []struct {
				Upto *string `json:"upto_km"`
				Per  string  `json:"per_km"`
				Add  int64
			}
			Points [][2]any
			Worked *struct {
				Ridden   string `json:"ridden_km"`
				Shortest string `json:"shortest_km"`
				Fare     int64
			} `json:"worked_example"`
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	points := 0
	for _, f := range file.Tariffs {
		d := fare.Distance{Base: fare.Base{UpTo: metres(t, f.Base.Upto), Amount: f.Base.Amount}}
		for _, s := range f.Steps {
			b := fare.Band{Per: metres(t, s.Per), Add: s.Add}
			if s.Upto != nil {
				b.UpTo = metres(t, *s.Upto)
			}
			d.Bands = append(d.Bands, b)
		}
		check := func(km string, want int64) {
			points++
			if got, ok := d.Amount(metres(t, km)); !ok || got != want {
				t.Errorf("%s, %s km: %d %v, want %d", f.ID, km, got, ok, want)
			}
		}
		for _, p := range f.Points {
			km, _ := p[0].(string)
			want, _ := p[1].(float64)
			check(km, int64(want))
		}
		if w := f.Worked; w != nil {
			check(w.Shortest, w.Fare)
			if ridden, _ := d.Amount(metres(t, w.Ridden)); ridden == w.Fare {
				t.Errorf("%s: the example does not tell the ridden path from the shortest", f.ID)
			}
			// a rider whose train went the long way round pays the short way
			d.Links = []fare.Link{{A: "in", B: "out", Metres: metres(t, w.Shortest)}, {A: "in", B: "via", Metres: 1}, {A: "via", B: "out", Metres: metres(t, w.Ridden) - 1}}
			d.Permille = map[fare.Category]int64{"adult": 1000}
			tariff := &fare.Tariff{Name: f.ID, Version: 1, Currency: "CNY", Rules: []fare.Rule{{ID: "km", Distance: &d}}}
			if err := tariff.Compile(); err != nil {
				t.Fatal(err)
			}
			if got := tariff.Price(ride("", "in", "out"), "adult"); got.Amount.Minor != w.Fare {
				t.Errorf("%s: worked example costs %+v, want %d", f.ID, got, w.Fare)
			}
		}
	}
	if points < 15 {
		t.Errorf("only %d points were checked", points)
	}
}

// metres reads kilometres with up to three decimals.
func metres(t *testing.T, km string) int64 {
	t.Helper()
	whole, frac, _ := strings.Cut(km, ".")
	m, err := strconv.ParseInt(whole+(frac + "000")[:3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func drawJourney(t *rapid.T) (*journey.Journey, fare.Category) {
	stop := rapid.SampledFrom([]string{"", "A", "B", "C", "D", "P", "Q", "R", "S", "X", "pier", "lower", "moon"})
	route := rapid.SampledFrom([]string{"12", "61S", "T", "R", "M", "D", "?"}).Draw(t, "route")
	var j *journey.Journey
	switch rapid.IntRange(0, 3).Draw(t, "shape") {
	case 0:
		j = single(route, stop.Draw(t, "stop"))
	case 1:
		j = half(route, stop.Draw(t, "stop"), journey.MissingOn)
	case 2:
		j = half(route, stop.Draw(t, "stop"), journey.MissingOff)
	default:
		j = ride(route, stop.Draw(t, "from"), stop.Draw(t, "to"))
	}
	j.Taps[0].Party = rapid.Uint8().Draw(t, "party")
	if rapid.Bool().Draw(t, "entered") {
		j.Taps[0].Entered = citygate.Money{Minor: rapid.Int64().Draw(t, "minor"), Currency: "CNY"}
	}
	return j, fare.Category(rapid.SampledFrom([]string{"adult", "student", "child", "", "other"}).Draw(t, "category"))
}

func TestDecisionsAreRecomputableBitForBit(t *testing.T) {
	first, second := parse(t, everyRule), parse(t, everyRule)
	rapid.Check(t, func(t *rapid.T) {
		j, category := drawJourney(t)
		a, b := first.Price(j, category), second.Price(j, category)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("one journey, two decisions:\n%+v\n%+v", a, b)
		}
		if a.Known == (a.Reason != "") || a.Amount.Minor < 0 || (!a.Known && a.Amount != citygate.Money{}) {
			t.Fatalf("decision %+v", a)
		}
	})
}

// TestInputsHashCoversWhatThePriceDependsOn: a decision whose inputs were
// changed afterwards must be found by its hash.
func TestInputsHashCoversWhatThePriceDependsOn(t *testing.T) {
	tariff := parse(t, everyRule)
	base := func() *journey.Journey { return ride("M", "A", "B") }
	seen := map[[32]byte]string{tariff.Price(base(), "adult").InputsHash: "the journey itself"}
	note := func(name string, d fare.Decision) {
		if other, taken := seen[d.InputsHash]; taken {
			t.Errorf("%s has the inputs hash of %s", name, other)
		}
		seen[d.InputsHash] = name
	}
	for name, change := range map[string]func(*journey.Journey){
		"another stop":       func(j *journey.Journey) { j.Taps[1].Stop = "C" },
		"a moved boundary":   func(j *journey.Journey) { j.Taps[0].Stop, j.Taps[0].Route = "AM", "" },
		"another route":      func(j *journey.Journey) { j.Taps[0].Route = "D" },
		"another time":       func(j *journey.Journey) { j.Taps[1].At++ },
		"another party":      func(j *journey.Journey) { j.Taps[0].Party = 2 },
		"another amount":     func(j *journey.Journey) { j.Taps[0].Entered.Minor = 1 },
		"another tap":        func(j *journey.Journey) { j.Taps[1].ID.Seq = 2 },
		"another terminal":   func(j *journey.Journey) { j.Taps[1].ID.Terminal = 3 },
		"a tap less":         func(j *journey.Journey) { j.Taps = slices.Clone(j.Taps[:1]) },
		"another state":      func(j *journey.Journey) { j.State = journey.Incomplete },
		"something missing":  func(j *journey.Journey) { j.Missing = journey.MissingOn },
		"another kind":       func(j *journey.Journey) { j.Taps[0].Kind = tap.Single },
		"a currency entered": func(j *journey.Journey) { j.Taps[0].Entered.Currency = "CNY" },
	} {
		note(name, tariff.Price(with(base(), change), "adult"))
	}
	note("another category", tariff.Price(base(), "student"))
	note("another tariff", parse(t, strings.Replace(everyRule, `"version": 7`, `"version": 8`, 1)).Price(base(), "adult"))
}

func TestCategoryComesFromTheProduct(t *testing.T) {
	tariff := parse(t, everyRule)
	for product, want := range map[uint16]fare.Category{0: "adult", 2: "student", 9: "ghost", 500: "adult"} {
		if got, ok := tariff.Category(product); !ok || got != want {
			t.Errorf("product %d rides as %q, want %q", product, got, want)
		}
	}
	none := parse(t, strings.Replace(everyRule, `, "default": "adult"`, "", 1))
	if got, ok := none.Category(500); ok {
		t.Errorf("an unlisted product rides as %q although there is no default", got)
	}
}

func BenchmarkPriceFlat(b *testing.B) {
	tariff, j := parse(b, everyRule), single("12", "")
	b.ReportAllocs()
	for b.Loop() {
		tariff.Price(j, "adult")
	}
}
