package accept_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/policies/accept"
)

type corpus struct {
	Tables map[string]string `json:"tables"`
	Cases  []struct {
		ID    string            `json:"id"`
		Table string            `json:"table"`
		Facts map[string]string `json:"facts"`
		Rule  string            `json:"rule"`
		Want  string            `json:"want"`
	} `json:"cases"`
}

func readCorpus(t testing.TB) (*corpus, map[string]*accept.Table) {
	t.Helper()
	raw, err := os.ReadFile("testdata/tables.json")
	if err != nil {
		t.Fatal(err)
	}
	c := new(corpus)
	if err := json.Unmarshal(raw, c); err != nil {
		t.Fatal(err)
	}
	if len(c.Cases) < 200 {
		t.Fatalf("%d cases", len(c.Cases))
	}
	tables := map[string]*accept.Table{}
	for name, encoded := range c.Tables {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if tables[name], err = accept.ParseTable(raw); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return c, tables
}

func situationOf(t testing.TB, f map[string]string) accept.Situation {
	n := func(name string) int64 {
		v, err := strconv.ParseInt(f[name], 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	s := accept.Situation{
		At: n("at"), ClockOK: f["clock_ok"] == "true", Scheme: f["scheme"], Mode: f["mode"], Kind: f["kind"], Medium: f["medium"], Currency: f["currency"],
		Stop: f["stop"], Route: f["route"], Issuer: n("issuer"), Product: n("product"), Party: n("party"), Amount: n("amount"), Counter: n("counter"),
		CredentialAge: n("credential_age"),
	}
	if _, ok := f["day_taps"]; ok {
		s.Memory = accept.Memory{Known: true, DayTaps: n("day_taps"), DayMinor: n("day_amount"), HourTaps: n("hour_taps"), SinceLast: n("since_last")}
	}
	return s
}

func TestTableCorpus(t *testing.T) {
	c, tables := readCorpus(t)
	effects := map[accept.Effect]string{accept.Admit: "accept", accept.Refuse: "refuse", accept.Limit: "limit"}
	for _, tt := range c.Cases {
		s := situationOf(t, tt.Facts)
		if rule, effect := tables[tt.Table].Decide(&s); rule != tt.Rule || effects[effect] != tt.Want {
			t.Errorf("%s: %s by %q, want %s by %q", tt.ID, effects[effect], rule, tt.Want, tt.Rule)
		}
	}
}

// The local calendar of a table is that of the time package, wherever it is asked.
func TestTableCalendar(t *testing.T) {
	table, err := accept.NewTable([]accept.Shift{{At: 0, Offset: 0}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for at := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2200; at = at.Add(7*24*time.Hour + 3599*time.Second) {
		day, second := table.Local(at.UnixMilli())
		y, m, d := at.Date()
		start := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		if day*86400 != start.Unix() || second != at.Unix()-start.Unix() {
			t.Fatalf("%s: day %d, second %d", at, day, second)
		}
	}
	for _, edge := range []int64{math.MinInt64, math.MaxInt64, -1} { // no panic, and a second of a day
		if _, second := table.Local(edge); second < 0 || second >= 86400 {
			t.Errorf("%d: second %d", edge, second)
		}
	}
}

func nightTable(t testing.TB) *accept.Table {
	t.Helper()
	all := []accept.Test{{Fact: accept.FactMedium, In: []accept.Span{{Lo: 0, Hi: 0}}}, {Fact: accept.FactMinute, In: []accept.Span{{Lo: 0, Hi: 299}, {Lo: 1380, Hi: 1439}}}}
	gap := []accept.Test{{Fact: accept.FactSinceLast, In: []accept.Span{{Lo: math.MinInt64, Hi: 59}}}}
	crowd := []accept.Test{{Fact: accept.FactParty, In: []accept.Span{{Lo: 6, Hi: math.MaxInt64}}}}
	table, err := accept.NewTable([]accept.Shift{{At: 0, Offset: 8 * 3600}}, []string{"band"}, []accept.Row{
		{ID: "no-bands-at-night", Effect: accept.Refuse, Any: [][]accept.Test{all}},
		{ID: "crowd", Effect: accept.Refuse, Any: [][]accept.Test{crowd}},
		{ID: "gap", Effect: accept.Limit, Any: [][]accept.Test{gap}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Rules decide last, name themselves, and only of the version in force.
func TestRulesDecideByTheTableInForce(t *testing.T) {
	prior := rules()
	r := rules()
	r.Version, r.From, r.Prior, r.Table = 4, noon*1000, prior, nightTable(t)
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	night := func(c *code.Code, f *accept.Facts) { // 23:30 in the table's zone
		f.At = (noon/86400)*86400_000 + 15*3600_000 + 1800_000
		c.GeneratedAt, c.IssuedAt, c.ExpiresAt = f.At/1000, f.At/1000-3600, f.At/1000+3600
	}
	for _, tt := range []struct {
		name   string
		change func(*code.Code, *accept.Facts)
		reason code.Reason
		rule   string
	}{
		{"by day", func(*code.Code, *accept.Facts) {}, "", ""},
		{"band by night", func(c *code.Code, f *accept.Facts) { night(c, f); f.At += 0; c.Medium = code.MediumBand }, code.PolicyRefused, "no-bands-at-night"},
		{"phone by night", night, "", ""},
		{"five ride", func(c *code.Code, f *accept.Facts) { c.Party, f.Riders = 2, 5 }, "", ""},
		{"six by the reader's count", func(c *code.Code, f *accept.Facts) { c.Party, f.Riders = 2, 6 }, code.PolicyRefused, "crowd"},
		{"six by the code, one by the reader", func(c *code.Code, f *accept.Facts) { c.Party, f.Riders = 6, 1 }, code.PolicyRefused, "crowd"},
		{"again after 59 s", func(_ *code.Code, f *accept.Facts) { f.Memory = accept.Memory{Known: true, SinceLast: 59} }, code.OverLimit, "gap"},
		{"again after 60 s", func(_ *code.Code, f *accept.Facts) { f.Memory = accept.Memory{Known: true, SinceLast: 60} }, "", ""},
		{"nobody remembers", func(_ *code.Code, f *accept.Facts) { f.Memory = accept.Memory{SinceLast: 1} }, "", ""},
		{"before the version", func(c *code.Code, f *accept.Facts) {
			f.At, f.Memory = noon*1000-1, accept.Memory{Known: true, SinceLast: 1}
			c.GeneratedAt = noon - 1
		}, "", ""},
		{"budget first", func(c *code.Code, f *accept.Facts) {
			c.Counter, f.Memory = 101, accept.Memory{Known: true, SinceLast: 1}
		}, code.TapsExhausted, ""},
	} {
		c, f := display(), facts()
		tt.change(&c, &f)
		if reason, rule := r.Judge(&c, f); reason != tt.reason || rule != tt.rule {
			t.Errorf("%s: %q by %q, want %q by %q", tt.name, reason, rule, tt.reason, tt.rule)
		}
	}
	if r.InForce(noon*1000-1) != prior || r.InForce(noon*1000) != r {
		t.Error("a version holds from its own instant on")
	}
}

func TestTableRefusalAllocatesNothing(t *testing.T) {
	r, c, f := rules(), display(), facts()
	r.Table = nightTable(t)
	f.Memory, f.Stop, f.Route = accept.Memory{Known: true, SinceLast: 1}, "S1", "N9"
	if n := testing.AllocsPerRun(100, func() {
		if r.BeforeSignatures(&c, f) != code.OverLimit {
			t.Error("not refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRulesWithTablesAreCanonical(t *testing.T) {
	r := rules()
	r.Version, r.From, r.Prior, r.Table = 4, noon*1000, rules(), nightTable(t)
	raw, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := accept.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || !bytes.Equal(again, raw) {
		t.Errorf("%v\n%s\n%s", err, raw, again)
	}
	if back.InForce(0).Version != 3 || len(back.Table.Rows()) != 3 {
		t.Errorf("%+v", back)
	}
	for name, break_ := range map[string]func(*accept.Rules){
		"prior of a higher version": func(r *accept.Rules) { r.Prior.Version = 5 },
		"prior of another tenant":   func(r *accept.Rules) { r.Prior.Tenant = citygate.TenantID(9) },
		"prior from later":          func(r *accept.Rules) { r.Prior.From = r.From },
	} {
		r := rules()
		r.Version, r.From, r.Prior = 4, noon*1000, rules()
		break_(r)
		if r.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever parses encodes back to the same bytes, within the bounds, and decides.
func FuzzParseTable(f *testing.F) {
	_, tables := readCorpus(f)
	for _, name := range []string{"midnight", "summer", "overflow", "velocity", "random1", "random2"} {
		if t, ok := tables[name]; ok {
			f.Add(t.Encode())
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		table, err := accept.ParseTable(raw)
		if (table == nil) != (err != nil) {
			t.Fatalf("ParseTable = %v, %v; want exactly one of them", table, err)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(table.Encode(), raw) {
			t.Fatal("two encodings of one table")
		}
		if table.Steps() > 64*accept.TableTestsMax {
			t.Fatalf("%d steps", table.Steps())
		}
		table.Decide(&accept.Situation{At: int64(len(raw)) * 1e9, Memory: accept.Memory{Known: true}})
	})
}

// BenchmarkTable is one decision by a table whose rules all miss: the dearest.
func BenchmarkTable(b *testing.B) {
	_, tables := readCorpus(b)
	s := accept.Situation{At: noon * 1000, Scheme: "ct1", Mode: "bus", Kind: "single", Medium: "phone", Currency: "CNY", Stop: "S8", Route: "12",
		Issuer: 101, Amount: 200, Party: 1, Memory: accept.Memory{Known: true, DayTaps: 1, HourTaps: 1, SinceLast: accept.NeverBefore}}
	for _, name := range []string{"midnight", "velocity", "half-hour", "random7"} {
		table, ok := tables[name]
		if !ok {
			continue
		}
		b.Run(name+"-"+strconv.Itoa(table.Steps())+"steps", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Decide(&s)
			}
		})
	}
	full := make([]accept.Row, accept.TableRowsMax)
	for i := range full {
		full[i] = accept.Row{ID: "r" + strconv.Itoa(i), Effect: accept.Refuse}
		for j := range int64(4) {
			full[i].Any = append(full[i].Any, []accept.Test{{Fact: accept.FactMinute, In: []accept.Span{{Lo: 0, Hi: 1439}}}, {Fact: accept.FactCounter, In: []accept.Span{{Lo: 1000 + j, Hi: 2000}}}})
		}
	}
	table, err := accept.NewTable([]accept.Shift{{At: 0, Offset: 0}}, []string{"x"}, full)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("largest-"+strconv.Itoa(table.Steps())+"steps", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Decide(&s)
		}
	})
}

// Bytes that are no table, or not the one encoding of theirs, are refused.
func TestBadTablesAreRefused(t *testing.T) {
	table, err := accept.NewTable([]accept.Shift{{At: 0, Offset: 0}}, []string{"bus"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := table.Encode()
	for what, raw := range map[string][]byte{
		"nothing": nil, "another magic": []byte("XXXX"), "cut short": good[:len(good)-1], "too long": append(slices.Clone(good), 0),
	} {
		if _, err := accept.ParseTable(raw); !errors.Is(err, accept.ErrTable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestMediumOf: a CT1 code says what it is shown on; of others the scheme is all
// that is known. The word of the scheme is that of its package.
func TestMediumOf(t *testing.T) {
	for medium, want := range map[uint8]string{code.MediumPhone: "phone", code.MediumBand: "band", code.MediumServerBatch: "server", code.MediumOther: "other"} {
		if got := accept.MediumOf(&code.Code{Scheme: ct1.ID, Medium: medium}); got != want {
			t.Errorf("medium %d is %q, want %q", medium, got, want)
		}
	}
	if got := accept.MediumOf(&code.Code{Scheme: "emv-cpm"}); got != "emv-cpm" {
		t.Errorf("another scheme is %q", got)
	}
}
