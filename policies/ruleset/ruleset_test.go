package ruleset_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

func document(body string) string { return fmt.Sprintf(head, "Asia/Shanghai") + body }

const headLines = 16 // of head

// Every refusal names line, column, rule and variable.
func TestFaultsNameTheirPlace(t *testing.T) {
	for _, tt := range []struct {
		name, body     string
		line, column   int
		rule, variable string
		message        string
	}{
		{"unknown variable", "  rules:\n    - {id: a, then: refuse, when: 'amout > 5'}\n", 2, 36, "a", "amout", "undeclared reference"},
		{"in a block", "  rules:\n    - id: a\n      then: refuse\n      when: |\n        minute > 5 &&\n        mde == \"bus\"\n", 6, 9, "a", "mde", "undeclared reference"},
		{"wrong type", "  rules:\n    - id: a\n      then: refuse\n      when: amount > \"5\"\n", 4, 20, "a", "", "no matching overload"},
		{"no truth", "  rules:\n    - {id: a, then: refuse, when: amount + 1}\n", 2, 35, "a", "", "want true or false"},
		{"two facts", "  rules:\n    - id: a\n      then: refuse\n      when: clock_ok && amount > counter\n", 4, 32, "a", "amount", "compared with counter"},
		{"arithmetic on a fact", "  rules:\n    - id: a\n      then: refuse\n      when: minute % 60 == 0\n", 4, 13, "a", "minute", "readers are offline"},
		{"function", "  rules:\n    - id: a\n      then: refuse\n      when: route.startsWith(\"N\")\n", 4, 29, "a", "route", "startsWith has no place"},
		{"order of texts", "limits:\n    - {id: a, per_tap: 5, currency: CNY, when: 'stop < \"S\"'}\n", 2, 0, "a", "stop", "texts have no order"},
		{"unknown area", "  rules:\n    - id: a\n      then: refuse\n      when: stop in areas.center\n", 4, 0, "a", "areas.center", "no such area"},
		{"overflow", "  rules:\n    - id: a\n      then: refuse\n      when: amount > 9223372036854775807 + 1\n", 4, 0, "a", "", ""},
		{"memory in acceptance", "  rules:\n    - id: a\n      then: refuse\n      when: day_taps > 3\n", 4, 13, "a", "day_taps", "only limits"},
		{"unknown field", "  rules:\n    - {id: a, then: refuse, wen: 'true'}\n", 2, 0, "", "", "unknown field"},
		{"field twice", "  default: accept\n  default: refuse\n", 2, 0, "", "", ""},
		{"anchor", "  rules: &x []\n", 1, 0, "", "", "anchors"},
		{"id twice", "  rules:\n    - {id: a, then: refuse}\nlimits:\n    - {id: a, per_day: {taps: 3}}\n", 4, 12, "a", "", "another rule"},
		{"limits nothing", "limits:\n    - {id: a}\n", 2, 12, "a", "", "limits nothing"},
		{"hours", "  rules:\n    - {id: a, then: refuse, hours: [\"25:00-26:00\"]}\n", 2, 12, "a", "", "hours"},
		{"routing variable", "routing:\n    - {id: a, use: [x], when: 'stop == \"S1\"'}\n", 2, 32, "a", "stop", "undeclared"},
		{"cost", "routing:\n    - id: a\n      use: [x]\n      when: '" + strings.Repeat("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, a+b+c+d > amount)))) && ", 2) + "true'\n", 4, 0, "a", "", "may cost"},
		{"bearer", "liability:\n    - {id: a, bearer: rider}\n", 2, 12, "a", "", "bearer"},
	} {
		_, err := ruleset.Parse([]byte(document(tt.body)))
		faults := ruleset.FaultsOf(err)
		if !errors.Is(err, ruleset.ErrSet) || len(faults) == 0 {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		f := faults[0]
		if f.Line != headLines+tt.line || tt.column != 0 && f.Column != tt.column || f.Rule != tt.rule || f.Variable != tt.variable || !strings.Contains(f.Message, tt.message) {
			t.Errorf("%s: %s (variable %q), want %d:%d rule %q variable %q: …%s…", tt.name, f, f.Variable, headLines+tt.line, tt.column, tt.rule, tt.variable, tt.message)
		}
	}
}

// The hash is of what a set says, not of how it is written.
func TestHashIsOfTheContent(t *testing.T) {
	parse := func(body string) *ruleset.Set {
		s, err := ruleset.Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := parse(document("  rules:\n    - {id: a, then: refuse, issuers: [101, 102], when: 'amount > 5'}\n"))
	b := parse("# a comment\n" + document("  rules:\n    - id: a\n      issuers: [102, 101] # another order\n      when: amount > 5\n      then: refuse\n"))
	c := parse(document("  rules:\n    - {id: a, then: refuse, issuers: [101, 102], when: 'amount > 6'}\n"))
	if a.Hash() != b.Hash() {
		t.Errorf("one content, two hashes:\n%s\n%s", a.Canonical(), b.Canonical())
	}
	if a.Hash() == c.Hash() {
		t.Error("two contents, one hash")
	}
}

func TestRouteTakesTheFirstThatIsUp(t *testing.T) {
	s, err := ruleset.Parse([]byte(document(`routing:
    - {id: large, when: 'amount >= 1000 && kind == "charge"', use: [a, b, c]}
    - {id: night, hours: ["23:00-05:00"], use: [c]}
    - {id: broken, when: 'up["nobody"]', use: [c]}
    - {id: rest, wallets: [alipay], use: [b]}
`)))
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	all := func(string) bool { return true }
	for _, tt := range []struct {
		name  string
		p     ruleset.Payment
		may   func(string) bool
		want  ruleset.Routing
		fails bool
	}{
		{"first", ruleset.Payment{At: noon, Kind: "charge", Amount: cny(1000), Up: map[string]bool{"a": true}}, all, ruleset.Routing{Contract: "a", Rule: "large"}, false},
		{"fail over", ruleset.Payment{At: noon, Kind: "charge", Amount: cny(1000), Up: map[string]bool{"b": true, "c": true}}, all, ruleset.Routing{Contract: "b", Rule: "large"}, false},
		{"none is up", ruleset.Payment{At: noon, Kind: "charge", Amount: cny(1000)}, all, ruleset.Routing{Contract: "a", Rule: "large"}, false},
		{"cannot charge the payer", ruleset.Payment{At: noon, Kind: "charge", Amount: cny(1000), Up: map[string]bool{"a": true}}, func(c string) bool { return c == "c" }, ruleset.Routing{Contract: "c", Rule: "large"}, false},
		{"by night", ruleset.Payment{At: noon.Add(12 * time.Hour), Amount: cny(1), Up: map[string]bool{"c": true}}, all, ruleset.Routing{Contract: "c", Rule: "night"}, false},
		{"a condition fails", ruleset.Payment{At: noon, Amount: cny(1), Wallet: "alipay", Up: map[string]bool{"b": true}}, all, ruleset.Routing{Contract: "b", Rule: "rest"}, true},
		{"nothing matches", ruleset.Payment{At: noon, Amount: cny(1), Contract: "own"}, all, ruleset.Routing{Contract: "own"}, true},
	} {
		got, err := s.Route(&tt.p, tt.may)
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

// Each way to say which payments a routing rule is about leaves out the others, to
// the minute and the minor unit.
func TestRouteConditions(t *testing.T) {
	at := func(clock string) time.Time {
		got, err := time.Parse(time.RFC3339, "2026-11-2"+clock+":00+08:00") // 22 is a Sunday
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	usual := ruleset.Payment{At: at("2T12:00"), Kind: "charge", Contract: "own", Wallet: "alipay", Attempt: 1, Amount: cny(1000), Up: map[string]bool{"a": true}}
	for _, tt := range []struct {
		rule string
		held []func(*ruleset.Payment)
		not  []func(*ruleset.Payment)
	}{
		{"when: amount >= 1000", []func(*ruleset.Payment){func(*ruleset.Payment) {}}, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Amount = cny(999) }}},
		{"when: amount > 1000", []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Amount = cny(1001) }}, []func(*ruleset.Payment){func(*ruleset.Payment) {}}},
		{"when: attempt == 2", []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Attempt = 2 }}, []func(*ruleset.Payment){func(*ruleset.Payment) {}}},
		{`when: 'kind == "recovery"'`, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Kind = "recovery" }}, []func(*ruleset.Payment){func(*ruleset.Payment) {}}},
		{"when: date == 20261122", []func(*ruleset.Payment){func(p *ruleset.Payment) { p.At = at("2T00:00") }}, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.At = at("1T23:59") }}},
		{"wallets: [alipay, wechatpay]", []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Wallet = "wechatpay" }}, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Wallet = "unionpay" }}},
		{"contracts: [own]", []func(*ruleset.Payment){func(*ruleset.Payment) {}}, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Contract = "other" }}},
		{"currencies: [CNY]", []func(*ruleset.Payment){func(*ruleset.Payment) {}}, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.Amount.Currency = "HKD" }}},
		{"days: [sun]", []func(*ruleset.Payment){func(p *ruleset.Payment) { p.At = at("2T23:59") }}, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.At = at("1T12:00") }, func(p *ruleset.Payment) { p.At = at("3T00:00") }}},
		{`hours: ["23:00-05:00"]`, []func(*ruleset.Payment){func(p *ruleset.Payment) { p.At = at("2T23:00") }, func(p *ruleset.Payment) { p.At = at("2T04:59") }},
			[]func(*ruleset.Payment){func(p *ruleset.Payment) { p.At = at("2T22:59") }, func(p *ruleset.Payment) { p.At = at("2T05:00") }}},
		{"wallets: [alipay], contracts: [own], currencies: [CNY], when: amount < 2000", []func(*ruleset.Payment){func(*ruleset.Payment) {}},
			[]func(*ruleset.Payment){func(p *ruleset.Payment) { p.Wallet = "x" }, func(p *ruleset.Payment) { p.Contract = "x" }, func(p *ruleset.Payment) { p.Amount.Currency = "HKD" },
				func(p *ruleset.Payment) { p.Amount = cny(2000) }}},
	} {
		s, err := ruleset.Parse([]byte(document("routing:\n    - {id: r, " + tt.rule + ", use: [a]}\n")))
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
			continue
		}
		try := func(changes []func(*ruleset.Payment), want ruleset.Routing) {
			for i, change := range changes {
				p := usual
				change(&p)
				want := want
				if want.Rule == "" {
					want.Contract = p.Contract
				}
				if got, err := s.Route(&p, func(string) bool { return true }); err != nil || got != want {
					t.Errorf("%s, %d: %+v, %v; want %+v", tt.rule, i, got, err, want)
				}
			}
		}
		try(tt.held, ruleset.Routing{Contract: "a", Rule: "r"})
		try(tt.not, ruleset.Routing{})
	}
}

func cny(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "CNY"} }

func TestLiability(t *testing.T) {
	s, err := ruleset.Parse([]byte(document(`liability:
    - {id: small, when: amount <= 300, bearer: issuer}
    - {id: partners, operators: [7], bearer: issuer, up_to: 1000}
    - {id: scheme, operators: [8], bearer: provider, pay_after_days: 5}
    - {id: pool, operators: [10], bearer: platform}
    - {id: others, bearer: operator}
`)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		operator citygate.TenantID
		minor    int64
		want     ruleset.Liability
	}{
		{9, 300, ruleset.Liability{Bearer: ruleset.Issuer, Minor: 300, PayDays: 30, Rule: "small"}},
		{7, 301, ruleset.Liability{Bearer: ruleset.Issuer, Minor: 301, PayDays: 30, Rule: "partners"}},
		{7, 5000, ruleset.Liability{Bearer: ruleset.Issuer, Minor: 1000, PayDays: 30, Rule: "partners"}},
		{8, 301, ruleset.Liability{Bearer: ruleset.Provider, Minor: 301, PayDays: 5, Rule: "scheme"}},
		{10, 301, ruleset.Liability{Bearer: ruleset.Platform, Minor: 301, PayDays: 30, Rule: "pool"}},
		{9, 301, ruleset.Liability{Rule: "others"}},
	} {
		if got, err := s.Liable(&ruleset.Shortfall{At: from, Operator: tt.operator, Amount: cny(tt.minor)}); err != nil || got != tt.want {
			t.Errorf("operator %d, %d: %+v, %v; want %+v", tt.operator, tt.minor, got, err, tt.want)
		}
	}
	if got, err := (*ruleset.Set)(nil).Liable(&ruleset.Shortfall{Amount: cny(5)}); err != nil || got != (ruleset.Liability{}) {
		t.Errorf("no rule set: %+v, %v", got, err)
	}
}

// A set too large for a reader is refused when it is read, not when it is carried.
func TestTooLargeForAReader(t *testing.T) {
	var b strings.Builder
	b.WriteString("  rules:\n")
	for i := range accept.TableRowsMax + 1 {
		fmt.Fprintf(&b, "    - {id: r%d, then: refuse, when: counter == %d}\n", i, i)
	}
	if _, err := ruleset.Parse([]byte(document(b.String()))); !errors.Is(err, ruleset.ErrSet) {
		t.Errorf("%d rules: %v", accept.TableRowsMax+1, err)
	}
	if _, err := ruleset.Parse([]byte(document("#" + strings.Repeat("x", ruleset.SourceMax)))); !errors.Is(err, ruleset.ErrSet) {
		t.Errorf("a large file: %v", err)
	}
}

// Nothing that can be written in a file makes a set that readers refuse.
func FuzzParse(f *testing.F) {
	f.Add(document("  rules:\n    - {id: a, then: refuse, when: 'amount > 5'}\n"))
	f.Add(document("limits:\n    - {id: a, per_day: {taps: 3}, days: [sat]}\n"))
	f.Add("citygate: rules/1\nacceptance: {rules: [{id: a, when: |\n   x}]}\n")
	f.Fuzz(func(t *testing.T, source string) {
		s, err := ruleset.Parse([]byte(source))
		if (s == nil) != (err != nil) {
			t.Fatalf("Parse = %v, %v; want exactly one of them", s, err)
		}
		if err != nil {
			if !errors.Is(err, ruleset.ErrSet) {
				t.Fatal(err)
			}
			return
		}
		rules, err := s.Rules(7, 1, from)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := rules.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := accept.Parse(raw); err != nil {
			t.Fatalf("readers refuse it: %v", err)
		}
	})
}
