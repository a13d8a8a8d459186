package data

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

func mtr(t *testing.T) (*fare.Table, func(category fare.Category, from, to string) int64) {
	t.Helper()
	table, err := MTRTable()
	if err != nil {
		t.Fatal(err)
	}
	return table, func(category fare.Category, from, to string) int64 {
		a, b := slices.Index(table.Names, from), slices.Index(table.Names, to)
		if a < 0 || b < 0 {
			t.Fatalf("no station %q or %q", from, to)
		}
		return table.Amounts[category][a*len(table.Stops)+b]
	}
}

// TestMTRFacts checks the table against what is known of it, so that a changed
// or truncated file does not become somebody's fare.
func TestMTRFacts(t *testing.T) {
	table, price := mtr(t)
	n := len(table.Stops)
	if n != 96 {
		t.Fatalf("%d stations, want 96", n)
	}
	amounts := map[int64]bool{0: true} // the file's own 0.00 is one of its 173 amounts
	low, high, free := int64(1<<62), int64(0), 0
	for category, cells := range table.Amounts {
		for i, minor := range cells {
			if other := cells[i%n*n+i/n]; minor != other {
				t.Fatalf("%s: %s to %s costs %d, back %d", category, table.Names[i/n], table.Names[i%n], minor, other)
			}
			if i/n == i%n && minor != fare.NoPrice {
				t.Fatalf("%s has a price to itself", table.Names[i/n])
			}
			if minor == 0 {
				free++
			}
			if category == Adult && minor > 0 {
				amounts[minor] = true
				low, high = min(low, minor), max(high, minor)
			}
		}
	}
	if len(amounts) != 173 || low != 400 || high != 6080 {
		t.Errorf("%d adult amounts from %d to %d, want 173 from 400 to 6080", len(amounts), low, high)
	}
	if free != 4*len(mtrColumns) || len(table.Amounts) != 9 || len(table.Linked) != 0 {
		t.Errorf("%d free cells of %d categories, linked %v; want Central - Hong Kong and Tsim Sha Tsui - East Tsim Sha Tsui, both ways, in 9", free, len(table.Amounts), table.Linked)
	}
	if got := price(Adult, "Central", "Hong Kong"); got != 0 {
		t.Errorf("Central to Hong Kong = %d, want 0", got)
	}
	if got := price(JoyYou, "Admiralty", "Lo Wu"); got != 5220 {
		t.Errorf("Admiralty to Lo Wu for JoyYou = %d, want the full 5220", got)
	}
	for _, c := range []struct {
		category fare.Category
		want     int64
	}{{Adult, 5220}, {Student, 4600}} {
		if got := price(c.category, "Admiralty", "Lo Wu"); got != c.want {
			t.Errorf("Admiralty to Lo Wu, %s = %d, want %d", c.category, got, c.want)
		}
	}
}

// TestMTRIsNotAMetric: 514 ordered pairs are cheaper with a break on the way, so
// the table cannot be replaced by a formula of distance.
func TestMTRIsNotAMetric(t *testing.T) {
	table, price := mtr(t)
	n, cells := len(table.Stops), table.Amounts[Adult]
	cell := func(a, b int) int64 { // the file's number: 0 where there is no price
		return max(cells[a*n+b], 0)
	}
	failures := 0
	for a := range n {
		for b := range n {
			for via := range n {
				if via != a && via != b && a != b && cell(a, via)+cell(via, b) < cell(a, b) {
					failures++
					break
				}
			}
		}
	}
	if failures != 514 {
		t.Errorf("%d ordered pairs are cheaper when split, want 514", failures)
	}
	direct := price(Adult, "Lo Wu", "Yuen Long")
	split := price(Adult, "Lo Wu", "Fanling") + price(Adult, "Fanling", "Yuen Long")
	if direct != 5920 || split != 5150 {
		t.Errorf("Lo Wu to Yuen Long %d, by Fanling %d; want 5920 and 5150", direct, split)
	}
}

func ride(from, to string) *journey.Journey {
	taps := []journey.Tap{
		{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.On, At: 0, Stop: from, Party: 1},
		{ID: citygate.TapID{Terminal: 2, Seq: 1}, Kind: tap.Off, At: 60_000, Stop: to, Party: 1},
	}
	return &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}
}

func TestMTRTariffPricesRides(t *testing.T) {
	tariff, err := MTRTariff("CNY", 3)
	if err != nil {
		t.Fatal(err)
	}
	table := tariff.Rules[0].Table
	id := func(name string) string { return table.Stops[slices.Index(table.Names, name)] }
	for _, c := range []struct {
		name, from, to string
		category       fare.Category
		want           int64
	}{
		{"one journey costs more than two", id("Lo Wu"), id("Yuen Long"), Adult, 5920},
		{"first half", id("Lo Wu"), id("Fanling"), Adult, 2650},
		{"second half", id("Fanling"), id("Yuen Long"), Adult, 2500},
		{"same station: the lowest from there", "1", "1", Adult, 490},
		{"two stations one walks between", "1", "39", Adult, 0},
		{"JoyYou pays the full fare to the border", id("Admiralty"), id("Lo Wu"), JoyYou, 5220},
		{"student", "1", "2", Student, 320},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tariff.Price(ride(c.from, c.to), c.category)
			if !d.Known || d.Amount.Currency != "CNY" || d.Amount.Minor != c.want {
				t.Errorf("Price = %+v, want %d", d, c.want)
			}
		})
	}
	if c, ok := tariff.Category(2); !ok || c != Student {
		t.Errorf("product 2 rides as %q", c)
	}
	raw, err := tariff.Encode()
	if err != nil || len(raw) > 600_000 {
		t.Errorf("the tariff takes %d bytes, %v", len(raw), err)
	}
	if again, err := fare.ParseTariff(raw); err != nil || again.Digest() != tariff.Digest() {
		t.Errorf("the encoded tariff reads back differently: %v", err)
	}
}

// TestParseMTRRefusesDamage: a fare table with a hole must not load.
func TestParseMTRRefusesDamage(t *testing.T) {
	good := string(mtrFares)
	head, rest, _ := strings.Cut(good, "\n")
	first, tail, _ := strings.Cut(rest, "\n")
	for name, text := range map[string]string{
		"a row is missing":         head + "\n" + tail,
		"a row is given twice":     head + "\n" + first + "\n" + strings.Replace(rest, strings.SplitN(rest, "\n", 3)[1], first, 1),
		"a column is missing":      strings.Replace(good, "OCT_STD_FARE", "OTHER", 1),
		"a station costs itself":   strings.Replace(good, `"Central",1,"Central",1,0.00`, `"Central",1,"Central",1,1.00`, 1),
		"an amount has one digit":  strings.Replace(good, "4.90", "4.9", 1),
		"a number is not a number": strings.Replace(good, "4.90", "x.90", 1),
	} {
		if _, err := ParseMTR(strings.NewReader(text)); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func TestMTRLinesUseStationsOfTheTable(t *testing.T) {
	table, _ := mtr(t)
	lines, err := MTRLines()
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	outside := map[string]bool{}
	for _, l := range lines {
		codes[l.Code] = true
		for i, stop := range l.Stops {
			if k := slices.Index(table.Stops, stop); k < 0 {
				outside[l.Names[i]] = true
			} else if table.Names[k] != l.Names[i] {
				t.Errorf("station %s is %q in the lines and %q in the fares", stop, l.Names[i], table.Names[k])
			}
		}
	}
	if len(outside) != 5 || !outside["Airport"] { // the airport line sells its own tickets
		t.Errorf("stations without fares in the table: %v", outside)
	}
	if len(codes) != 10 {
		t.Errorf("%d lines, want 10: %v", len(codes), codes)
	}
}

// TestEveryMTRPairCostsWhatTheFileSays prices every pair of every column.
func TestEveryMTRPairCostsWhatTheFileSays(t *testing.T) {
	tariff, err := MTRTariff("HKD", 1)
	if err != nil {
		t.Fatal(err)
	}
	rows, column, err := readCSV(strings.NewReader(string(mtrFares)))
	if err != nil {
		t.Fatal(err)
	}
	pairs, j := 0, ride("", "")
	for _, row := range rows {
		j.Taps[0].Stop, j.Taps[1].Stop = row[column["SRC_STATION_ID"]], row[column["DEST_STATION_ID"]]
		if j.Taps[0].Stop == j.Taps[1].Stop {
			continue
		}
		for category, name := range mtrColumns {
			want := strings.Replace(row[column[name]], ".", "", 1)
			if d := tariff.Price(j, category); !d.Known || fmt.Sprintf("%03d", d.Amount.Minor) != want {
				t.Fatalf("%v, %s: %+v, the file says %s", row[:4], category, d, row[column[name]])
			}
			pairs++
		}
	}
	if pairs != 96*95*9 {
		t.Errorf("%d pairs, want %d", pairs, 96*95*9)
	}
}

// TestNeverMoreThanTheSplit: a rider pays what was tapped, unless the tenant
// promises never to take more than the cheapest legal split.
func TestNeverMoreThanTheSplit(t *testing.T) {
	table, err := MTRTable()
	if err != nil {
		t.Fatal(err)
	}
	id := func(name string) string { return table.Stops[slices.Index(table.Names, name)] }
	price := func(split *fare.Split) (cheaper int, border fare.Decision) {
		table.Split = split
		tariff := &fare.Tariff{Name: "m", Version: 1, Currency: "HKD", Rules: []fare.Rule{{ID: "od", Table: table}}}
		if err := tariff.Compile(); err != nil {
			t.Fatal(err)
		}
		j := ride("", "")
		for a := range table.Stops {
			for b := range table.Stops {
				if a == b {
					continue
				}
				j.Taps[0].Stop, j.Taps[1].Stop = table.Stops[a], table.Stops[b]
				d, direct := tariff.Price(j, Adult), table.Amounts[Adult][a*len(table.Stops)+b]
				if !d.Known || d.Amount.Minor > direct {
					t.Fatalf("%s to %s: %+v, direct %d", table.Names[a], table.Names[b], d, direct)
				}
				if d.Amount.Minor < direct {
					cheaper++
				}
			}
		}
		return cheaper, tariff.Price(ride(id("Lo Wu"), id("Yuen Long")), Adult)
	}
	if n, d := price(nil); n != 0 || d.Amount.Minor != 5920 {
		t.Errorf("%d pairs below the table, Lo Wu to Yuen Long %d; want what was tapped, 5920", n, d.Amount.Minor)
	}
	n, d := price(&fare.Split{Breaks: 1})
	if n != 514 || d.Amount.Minor != 5150 {
		t.Errorf("%d pairs are charged by a split, Lo Wu to Yuen Long %d; want 514 and 5150", n, d.Amount.Minor)
	}
	steps := d.Explanation.Steps
	if last := steps[len(steps)-1]; last.Op != fare.OpSplit || last.Via != id("Fanling") || last.Minor != 5150 {
		t.Errorf("the explanation ends with %+v, want the split at Fanling", last)
	}
	if n, d := price(&fare.Split{Breaks: 1, At: []string{id("Admiralty")}}); n >= 514 || d.Amount.Minor != 5920 {
		t.Errorf("with breaks at Admiralty alone %d pairs, Lo Wu to Yuen Long %d", n, d.Amount.Minor)
	}
}

// BenchmarkImport reads the embedded file and makes a tariff of it.
func BenchmarkImport(b *testing.B) {
	for b.Loop() {
		if _, err := MTRTariff("HKD", 1); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCaseG: a metro with distance bands charges the shortest path, 17.15 km,
// and not the 21.73 km that were ridden: 5.00. The MTR charges what was tapped:
// one journey from Lo Wu to Yuen Long 59.20, two with an exit at Fanling 51.50.
func TestCaseG(t *testing.T) {
	wuhan := &fare.Tariff{Name: "wuhan", Version: 1, Currency: "CNY", Rules: []fare.Rule{{ID: "km", Distance: &fare.Distance{
		Base:     fare.Base{UpTo: 4_000, Amount: 200},
		Bands:    []fare.Band{{UpTo: 12_000, Per: 4_000, Add: 100}, {UpTo: 24_000, Per: 6_000, Add: 100}, {UpTo: 40_000, Per: 8_000, Add: 100}, {UpTo: 50_000, Per: 10_000, Add: 100}, {Per: 20_000, Add: 100}},
		Links:    []fare.Link{{A: "in", B: "out", Metres: 17_150}, {A: "in", B: "way", Metres: 10_000}, {A: "way", B: "out", Metres: 11_730}},
		Permille: map[fare.Category]int64{Adult: 1000}}}}}
	if err := wuhan.Compile(); err != nil {
		t.Fatal(err)
	}
	if d := wuhan.Price(ride("in", "out"), Adult); d.Amount.Minor != 500 || d.Explanation.Steps[0].Metres != 17_150 {
		t.Errorf("Wuhan: %+v, want 500 for 17,150 m", d)
	}
	if ridden, _ := wuhan.Rules[0].Distance.Amount(21_730); ridden == 500 {
		t.Error("the ridden path costs the same: the case shows nothing")
	}
	mtr, err := MTRTariff("HKD", 1)
	if err != nil {
		t.Fatal(err)
	}
	table := mtr.Rules[0].Table
	price := func(from, to string) int64 {
		id := func(name string) string { return table.Stops[slices.Index(table.Names, name)] }
		return mtr.Price(ride(id(from), id(to)), Adult).Amount.Minor
	}
	if one, two := price("Lo Wu", "Yuen Long"), price("Lo Wu", "Fanling")+price("Fanling", "Yuen Long"); one != 5920 || two != 5150 {
		t.Errorf("as one journey %d, as two %d; want 5920 and 5150", one, two)
	}
}
