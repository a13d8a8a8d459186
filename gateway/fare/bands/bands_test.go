package bands

import (
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
)

func file(t testing.TB) []Tariff {
	t.Helper()
	raw, err := os.ReadFile("testdata/distance-tariffs.json")
	if err != nil {
		t.Fatal(err)
	}
	tariffs, err := Parse("distance-tariffs.json", raw)
	if err != nil {
		t.Fatal(err)
	}
	return tariffs
}

func TestPoints(t *testing.T) {
	points := 0
	for _, tariff := range file(t) {
		for _, p := range tariff.Points {
			points++
			if got, ok, err := tariff.Price(p.Km); err != nil || !ok || got != p.Minor {
				t.Errorf("%s %s km: %d %v %v, want %d", tariff.ID, p.Km, got, ok, err, p.Minor)
			}
		}
	}
	if points != 14 {
		t.Errorf("%d points, want 14", points)
	}
}

// TestWuhanWorkedCaseG: 21.73 km were ridden, the shortest path is 17.15 km.
func TestWuhanWorkedCaseG(t *testing.T) {
	wuhan := file(t)[0]
	for km, want := range map[string]int64{"17.15": 500, "21.73": 600, "0": 200, "4": 200, "4.000000000001": 300, "4.001": 300, "8.0": 300, "008.000": 300} {
		if got, ok, err := wuhan.Price(km); err != nil || !ok || got != want {
			t.Errorf("%s km: %d %v %v, want %d", km, got, ok, err, want)
		}
	}
}

func TestDistancesThatAreNone(t *testing.T) {
	for _, km := range []string{"", " 1", "-1", "+1", "1e3", "1,5", ".5", "5.", "1.2.3", "NaN", "0x10", "10000", "1.0000000000001", "१"} {
		if _, _, err := file(t)[0].Price(km); err == nil {
			t.Errorf("%q was taken", km)
		}
	}
}

func TestDamage(t *testing.T) {
	const good = `{"tariffs":[{"id":"x","currency":"CNY","base":{"upto_km":"4","amount":200},"steps":[{"upto_km":"12","per_km":"4","add":100},{"upto_km":null,"per_km":"6","add":100}]}]}`
	if _, err := Parse("T.json", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"id":"x"`, `"id":""`, "tariffs[0].id"},
		{`"CNY"`, `"yuan"`, "tariffs[0].currency"},
		{`"amount":200`, `"amount":-1`, "tariffs[0].base.amount"},
		{`"amount":200`, `"amount":2.5`, "tariffs[0].base.amount: number 2.5 does not fit here"},
		{`"steps":[`, `"steps":7,"points":[`, "tariffs[0].steps: number does not fit here"},
		{good, `[]`, "the whole: array does not fit here"},
		{good, `{"tariffs":{"a":[]}}`, "tariffs: object does not fit here"},
		{`"amount":200`, `"amount":"200"`, "tariffs[0].base.amount"},
		{`"upto_km":"4"`, `"upto_km":4`, "tariffs[0].base.upto_km"},
		{`"upto_km":"4"`, `"upto_km":"0"`, "tariffs[0].base.upto_km"},
		{`"upto_km":"4"`, `"upto_km":"4.0005"`, "tariffs[0].base.upto_km"},
		{`"upto_km":"12"`, `"upto_km":"3"`, "tariffs[0].steps[0].upto_km"},
		{`"upto_km":"12"`, `"upto_km":null`, "tariffs[0].steps[0].upto_km"},
		{`"per_km":"4"`, `"per_km":"four"`, "tariffs[0].steps[0].per_km"},
		{`"per_km":"4","add":100`, `"per_km":"4"`, "tariffs[0].steps[0].add"},
		{`"per_km":"4"`, `"per_km":"4","off_peak":1`, "tariffs[0].steps[0]."},
		{`"base"`, `"minimum":500,"base"`, "tariffs[0].minimum"},
		{`"base"`, `"bases"`, "tariffs[0].bases"},
		{`]}]}`, `],"points":[["1"]]}]}`, "tariffs[0].points[0]"},
		{`]}]}`, `]}]} x`, "follows"},
		{`[{"id"`, `[], "tariff":[{"id"`, "tariff"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if _, err := Parse("T.json", []byte(text)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "T.json") {
			t.Errorf("%s: %v, want %s in it", text, err, c.want)
		}
	}
}

// FuzzPrice compares with exact rational arithmetic on the kilometres as they
// were written, and holds that no farther ride is cheaper.
func FuzzPrice(f *testing.F) {
	for _, km := range []string{"17.15", "0", "12.001", "24.0000000001", "9999.999", "1e3", "-1"} {
		f.Add(km)
	}
	tariffs := file(f)
	f.Fuzz(func(t *testing.T, km string) {
		for _, tariff := range tariffs {
			got, ok, err := tariff.Price(km)
			if err != nil {
				continue
			}
			exact, valid := new(big.Rat).SetString(km)
			if !valid {
				t.Fatalf("%q was taken", km)
			}
			if want := slow(tariff, exact); !ok || got != want {
				t.Fatalf("%s %s km: %d %v, want %d", tariff.ID, km, got, ok, want)
			}
			if more, _, err := tariff.Price(fmt.Sprintf("%s1", withPoint(km))); err == nil && more < got {
				t.Fatalf("%s %s km: a little farther costs %d instead of %d", tariff.ID, km, more, got)
			}
		}
	})
}

func withPoint(km string) string {
	if strings.Contains(km, ".") {
		return km
	}
	return km + "."
}

// slow counts started steps one by one.
func slow(t Tariff, km *big.Rat) int64 {
	metres := new(big.Rat).Mul(km, big.NewRat(1000, 1))
	minor, from := t.Distance.Base.Amount, t.Distance.Base.UpTo
	for _, b := range t.Distance.Bands {
		for at := from; (b.UpTo == 0 || at < b.UpTo) && metres.Cmp(big.NewRat(at, 1)) > 0; at += b.Per {
			minor += b.Add
		}
		from = b.UpTo
	}
	return minor
}
