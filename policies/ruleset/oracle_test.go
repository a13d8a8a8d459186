package ruleset_test

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

var update = flag.Bool("update", false, "write the shared corpus again")

// head is a rule set's fields that are no conditions.
const head = `citygate: rules/1
time_zone: %s
areas:
  centre: [S1, S2, N9]
  edge: [S7]
  nowhere: []
acceptance:
  schemes: [ct1]
  issuers: [{issuer: 101, currency: CNY, cap_unit_minor: 10}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 200
  late_upload_days: 30
  clock_suspect_seconds: 120
  incomplete: {charge: max, max_journey_minutes: 240, grace_minutes: 60}
`

var (
	numberFacts = []string{"issuer", "product", "party", "amount", "minute", "weekday", "date", "counter", "credential_age"}
	memoryFacts = []string{"day_taps", "day_amount", "hour_taps", "since_last"}
	textValues  = map[string][]string{
		"scheme": {"ct1", "mot-sm2", ""}, "mode": {"bus", "metro", "taxi"}, "kind": {"on", "off", "single"}, "medium": {"phone", "band", "server", "other"},
		"currency": {"CNY", "HKD", ""}, "stop": {"S1", "S2", "S7", "S8", ""}, "route": {"N9", "12", ""},
	}
	textFacts = []string{"scheme", "mode", "kind", "medium", "currency", "stop", "route"}
	zones     = []string{"Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"}
	numbers   = []int64{0, 1, -1, 2, 7, 101, 300, 719, 1320, 1439, 5000, 20261122, math.MaxInt64, math.MinInt64 + 1, math.MaxInt64 - 1}
)

// A writer makes random conditions of the subset.
type writer struct {
	*rand.Rand
	memory bool
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (w *writer) number() string {
	n := pick(w.Rand, numbers)
	switch w.IntN(6) {
	case 0:
		return fmt.Sprintf("(%d * 60 + %d)", w.IntN(24), w.IntN(60))
	case 1:
		return fmt.Sprintf("%d - %d", n/2, w.IntN(9))
	case 2:
		return fmt.Sprintf("-(%d)", w.IntN(1000))
	}
	return strconv.FormatInt(n, 10)
}

func (w *writer) fact() string {
	if w.memory && w.IntN(2) == 0 {
		return pick(w.Rand, memoryFacts)
	}
	return pick(w.Rand, numberFacts)
}

func (w *writer) expr(depth int) string {
	if depth > 0 {
		switch w.IntN(6) {
		case 0, 1:
			return "(" + w.expr(depth-1) + " && " + w.expr(depth-1) + ")"
		case 2, 3:
			return "(" + w.expr(depth-1) + " || " + w.expr(depth-1) + ")"
		case 4:
			return "!(" + w.expr(depth-1) + ")"
		case 5:
			return "(" + w.expr(depth-1) + " ? " + w.expr(depth-1) + " : " + w.expr(depth-1) + ")"
		}
	}
	ops := []string{"==", "!=", "<", "<=", ">", ">="}
	switch w.IntN(9) {
	case 0, 1, 2:
		return w.fact() + " " + pick(w.Rand, ops) + " " + w.number()
	case 3:
		return w.number() + " " + pick(w.Rand, ops) + " " + w.fact()
	case 4:
		f := pick(w.Rand, textFacts)
		return f + " " + pick(w.Rand, ops[:2]) + " " + strconv.Quote(pick(w.Rand, textValues[f]))
	case 5:
		var in []string
		for range w.IntN(5) {
			in = append(in, w.number())
		}
		return w.fact() + " in [" + strings.Join(in, ", ") + "]"
	case 6:
		f := pick(w.Rand, textFacts)
		var in []string
		for range w.IntN(4) {
			in = append(in, strconv.Quote(pick(w.Rand, textValues[f])))
		}
		return f + " in [" + strings.Join(in, ", ") + "]"
	case 7:
		return pick(w.Rand, []string{"stop in areas.centre", `route in areas["centre"]`, "stop in areas.nowhere", "!(stop in areas.edge)"})
	}
	return pick(w.Rand, []string{"clock_ok", "clock_ok == false", "clock_ok != true", "true", "false"})
}

// document makes a rule set of random conditions.
func (w *writer) document() string {
	var b strings.Builder
	fmt.Fprintf(&b, head, pick(w.Rand, zones))
	b.WriteString("  rules:\n")
	for i := range 1 + w.IntN(4) {
		fmt.Fprintf(&b, "    - {id: a%d, then: %s, when: '%s'", i, pick(w.Rand, []string{"accept", "refuse"}), w.expr(w.IntN(3)))
		if w.IntN(3) == 0 {
			b.WriteString(pick(w.Rand, []string{`, hours: ["22:00-05:00"]`, `, hours: ["00:00-24:00", "06:30-06:31"]`, ", days: [sat, sun]", ", issuers: [101, 102]", ", areas: [centre, edge]"}))
		}
		b.WriteString("}\n")
	}
	if w.IntN(4) == 0 {
		b.WriteString("  default: refuse\n")
	}
	b.WriteString("limits:\n")
	w.memory = true
	for i := range 1 + w.IntN(3) {
		limit := pick(w.Rand, []string{"currency: CNY, per_tap: 5000", "per_day: {taps: 7}", "currency: HKD, per_day: {amount: 300}", "offline: {displays: 101, hours: 5}",
			"velocity: {per_hour: 2}", "velocity: {gap_seconds: 300}"})
		fmt.Fprintf(&b, "    - {id: l%d, %s, when: '%s'}\n", i, limit, w.expr(w.IntN(3)))
	}
	w.memory = false
	return b.String()
}

// edges are instants at which a day, an hour or summer time begins or ends.
func edges() []int64 {
	var out []int64
	for _, name := range zones {
		zone, err := time.LoadLocation(name)
		if err != nil {
			panic(err)
		}
		for _, day := range []time.Time{time.Date(2026, 3, 29, 0, 0, 0, 0, zone), time.Date(2026, 10, 25, 0, 0, 0, 0, zone), time.Date(2026, 11, 1, 0, 0, 0, 0, zone),
			time.Date(2028, 2, 29, 0, 0, 0, 0, zone), time.Date(2026, 12, 31, 23, 59, 59, 0, zone), time.Date(2027, 4, 4, 0, 0, 0, 0, zone)} {
			for h := range 5 {
				out = append(out, day.Add(time.Duration(h)*time.Hour).UnixMilli())
			}
			at := day
			if _, next := day.ZoneBounds(); !next.IsZero() {
				at = next
			}
			out = append(out, at.UnixMilli())
		}
	}
	return out
}

var instants = edges()

func (w *writer) value() int64 {
	n := pick(w.Rand, numbers)
	if d := int64(w.IntN(3) - 1); n > math.MinInt64+2 && n < math.MaxInt64-2 {
		n += d
	}
	return n
}

func (w *writer) situation() accept.Situation {
	s := accept.Situation{
		At: pick(w.Rand, instants) + int64(w.IntN(3)-1), ClockOK: w.IntN(2) == 0,
		Issuer: w.value(), Product: w.value(), Party: w.value(), Amount: w.value(), Counter: w.value(), CredentialAge: w.value(),
	}
	if w.IntN(3) == 0 {
		s.At += w.Int64N(86400_000)
	}
	for _, f := range []struct {
		into *string
		name string
	}{{&s.Scheme, "scheme"}, {&s.Mode, "mode"}, {&s.Kind, "kind"}, {&s.Medium, "medium"}, {&s.Currency, "currency"}, {&s.Stop, "stop"}, {&s.Route, "route"}} {
		*f.into = pick(w.Rand, append(textValues[f.name], "strange"))
	}
	if w.IntN(3) > 0 {
		s.Memory = accept.Memory{Known: true, DayTaps: w.value(), DayMinor: w.value(), HourTaps: w.value(), SinceLast: w.value()}
	}
	return s
}

var from = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// same holds a set's table against its conditions in CEL.
func same(t *testing.T, set *ruleset.Set, table *accept.Table, s *accept.Situation, source string) (string, accept.Effect) {
	t.Helper()
	rule, effect, err := set.Decide(s)
	if err != nil {
		t.Fatalf("CEL: %v\n%s", err, source)
	}
	gotRule, gotEffect := table.Decide(s)
	if gotRule != rule || gotEffect != effect {
		t.Fatalf("table: %d by %q, CEL: %d by %q\n%+v\n%s", gotEffect, gotRule, effect, rule, *s, source)
	}
	return rule, effect
}

// parse compiles a random document; one that grew beyond what a table holds is passed over.
func parse(t *testing.T, source string) (*ruleset.Set, *accept.Table) {
	t.Helper()
	set, err := ruleset.Parse([]byte(source))
	if err != nil {
		if strings.Contains(err.Error(), "alternatives") || strings.Contains(err.Error(), "tests and") {
			return nil, nil
		}
		t.Fatalf("%v\n%s", err, source)
	}
	rules, err := set.Rules(7, 1, from)
	if err != nil {
		t.Fatal(err)
	}
	// What readers hold is what came out of the encoding.
	raw, err := rules.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := accept.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return set, back.Table
}

// Random conditions decide by the table as they do in CEL.
func TestTableIsTheCondition(t *testing.T) {
	w := &writer{Rand: rand.New(rand.NewPCG(20261122, 1))}
	seen := map[accept.Effect]int{}
	compiled := 0
	for range 400 {
		source := w.document()
		set, table := parse(t, source)
		if set == nil {
			continue
		}
		compiled++
		for range 60 {
			s := w.situation()
			_, effect := same(t, set, table, &s, source)
			seen[effect]++
		}
	}
	if compiled < 350 || seen[accept.Admit] < 2000 || seen[accept.Refuse] < 2000 || seen[accept.Limit] < 1000 {
		t.Errorf("%d sets, outcomes %v: the test does not reach what it should", compiled, seen)
	}
}

func FuzzTableIsTheCondition(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		w := &writer{Rand: rand.New(rand.NewPCG(a, b))}
		source := w.document()
		set, table := parse(t, source)
		if set == nil {
			return
		}
		for range 20 {
			s := w.situation()
			same(t, set, table, &s, source)
		}
	})
}

// The published corpus: what Go, C and TypeScript are held to. Numbers are texts,
// as not every reader of JSON has 64 bits.
type corpus struct {
	About  string            `json:"about"`
	Tables map[string]string `json:"tables"`
	Cases  []tableCase       `json:"cases"`
}

type tableCase struct {
	ID    string            `json:"id"`
	Table string            `json:"table"`
	Facts map[string]string `json:"facts"`
	Rule  string            `json:"rule"`
	Want  string            `json:"want"` // accept, refuse or limit
}

func facts(s *accept.Situation) map[string]string {
	m := map[string]string{
		"at": strconv.FormatInt(s.At, 10), "clock_ok": strconv.FormatBool(s.ClockOK), "scheme": s.Scheme, "mode": s.Mode, "kind": s.Kind, "medium": s.Medium,
		"currency": s.Currency, "stop": s.Stop, "route": s.Route, "issuer": strconv.FormatInt(s.Issuer, 10), "product": strconv.FormatInt(s.Product, 10),
		"party": strconv.FormatInt(s.Party, 10), "amount": strconv.FormatInt(s.Amount, 10), "counter": strconv.FormatInt(s.Counter, 10),
		"credential_age": strconv.FormatInt(s.CredentialAge, 10),
	}
	if s.Memory.Known {
		m["day_taps"], m["day_amount"] = strconv.FormatInt(s.Memory.DayTaps, 10), strconv.FormatInt(s.Memory.DayMinor, 10)
		m["hour_taps"], m["since_last"] = strconv.FormatInt(s.Memory.HourTaps, 10), strconv.FormatInt(s.Memory.SinceLast, 10)
	}
	return m
}

const corpusFile = "../accept/testdata/tables.json"

// fixed are sets whose boundaries the corpus holds beside the random ones.
var fixed = map[string]string{
	"midnight":  "Asia/Shanghai|  rules:\n    - {id: night, then: refuse, hours: [\"23:30-00:30\"]}\n",
	"summer":    "Europe/Berlin|  rules:\n    - {id: two-to-three, then: refuse, when: minute >= 120 && minute < 180}\n",
	"half-hour": "Australia/Lord_Howe|  rules:\n    - {id: first-hour, then: refuse, when: minute < 60}\n    - {id: weekend, then: refuse, days: [sat, sun]}\n",
	"empty":     "UTC|  rules:\n    - {id: none, then: refuse, when: 'stop in areas.nowhere || issuer in []'}\n    - {id: never, then: refuse, when: 'false'}\n",
	"closed":    "UTC|  rules:\n    - {id: known, then: accept, when: 'stop != \"\"'}\n  default: refuse\n",
	"overflow":  "UTC|limits:\n    - {id: most, currency: CNY, per_day: {amount: 9223372036854775807}}\n    - {id: past, currency: CNY, per_tap: 9223372036854775806}\n    - {id: least, per_day: {taps: 3}, when: amount == -9223372036854775808}\n",
	"leap":      "UTC|  rules:\n    - {id: leap-day, then: refuse, when: date == 20280229 || date == 20261231}\n",
	"velocity":  "UTC|limits:\n    - {id: gap, velocity: {gap_seconds: 300, per_hour: 2}}\n    - {id: age, offline: {hours: 5, displays: 101}}\n",
}

func makeCorpus(t *testing.T) *corpus {
	c := &corpus{About: "Decision tables (AT1 in base64) with what they decide on one tap. Made by policies/ruleset with the CEL conditions as the judge.", Tables: map[string]string{}}
	w := &writer{Rand: rand.New(rand.NewPCG(7, 7))}
	add := func(name, source string, n int) {
		set, table := parse(t, source)
		if set == nil {
			return
		}
		c.Tables[name] = base64.StdEncoding.EncodeToString(table.Encode())
		for i := range n {
			s := w.situation()
			rule, effect := same(t, set, table, &s, source)
			c.Cases = append(c.Cases, tableCase{ID: fmt.Sprintf("%s-%d", name, i), Table: name, Facts: facts(&s), Rule: rule,
				Want: []string{"accept", "refuse", "limit"}[effect]})
		}
	}
	for _, name := range []string{"midnight", "summer", "half-hour", "empty", "closed", "overflow", "leap", "velocity"} {
		zone, body, _ := strings.Cut(fixed[name], "|")
		add(name, fmt.Sprintf(head, zone)+body, 20)
	}
	for i := range 40 {
		add(fmt.Sprintf("random%d", i), w.document(), 6)
	}
	return c
}

func TestCorpusIsUpToDate(t *testing.T) {
	raw, err := json.MarshalIndent(makeCorpus(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	if *update {
		if err := os.WriteFile(corpusFile, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(held) != string(raw) {
		t.Error("testdata/tables.json is out of date: run the test with -update, and tell who implements readers")
	}
}
