package policytest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

// A Failure is one line that did not come out as it says.
type Failure struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func (f Failure) Error() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message) }

// Run runs one file's cases. load gives the rule set that the file names. It gives
// how many cases there were, and those that failed; an error is a file that cannot
// be read as one, and names its line.
func Run(file string, source []byte, load func(name string) ([]byte, error)) (cases int, failures []Failure, err error) {
	r := &runner{file: file, load: load, defaults: map[string]string{}}
	for i, line := range strings.Split(string(source), "\n") {
		r.line = i + 1
		if at := strings.IndexByte(line, '#'); at >= 0 {
			line = line[:at]
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := r.read(line); err != nil {
			return r.cases, r.failures, err
		}
	}
	if r.cases == 0 {
		return 0, nil, Failure{file, r.line, "there is no case in it"}
	}
	return r.cases, r.failures, nil
}

type runner struct {
	file     string
	line     int
	load     func(string) ([]byte, error)
	set      *ruleset.Set
	table    *accept.Table
	defaults map[string]string

	kind     string
	in, out  []string // the columns left and right of the bar
	cases    int
	failures []Failure
}

func (r *runner) fault(format string, args ...any) error {
	return Failure{r.file, r.line, fmt.Sprintf(format, args...)}
}

// kinds are the columns that each kind of table may have.
var kinds = map[string]struct{ in, out []string }{
	"taps": {[]string{"at", "clock_ok", "scheme", "mode", "kind", "medium", "currency", "stop", "route", "issuer", "product", "party", "amount", "counter",
		"credential_age", "day_taps", "day_amount", "hour_taps", "since_last"}, []string{"outcome", "rule"}},
	"routes":    {[]string{"at", "wallet", "contract", "kind", "attempt", "amount", "currency", "up", "may"}, []string{"contract", "rule"}},
	"liability": {[]string{"at", "operator", "amount", "currency", "contract", "age_days", "reversed"}, []string{"issuer_bears", "provider_bears", "platform_bears", "rule"}},
}

func (r *runner) read(line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return r.row(line)
	case word == "rules":
		return r.rules(strings.TrimSpace(rest))
	case word == "defaults":
		for _, pair := range strings.Fields(rest) {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return r.fault("defaults: want name=value, not %q", pair)
			}
			r.defaults[name] = value
		}
		return nil
	case kinds[word].in != nil:
		return r.header(word, rest)
	}
	return r.fault("want rules:, defaults:, taps:, routes: or liability:, or a case that begins with a blank; not %q", word)
}

func (r *runner) rules(name string) error {
	source, err := r.load(name)
	if err != nil {
		return r.fault("%v", err)
	}
	if r.set, err = ruleset.Parse(source); err != nil {
		faults := ruleset.FaultsOf(err)
		for i := range faults {
			if i == 0 {
				continue
			}
			r.failures = append(r.failures, Failure{name, faults[i].Line, faults[i].String()})
		}
		if len(faults) > 0 {
			return Failure{name, faults[0].Line, faults[0].String()}
		}
		return r.fault("%s: %v", name, err)
	}
	rules, err := r.set.Rules(1, 1, time.Unix(0, 0).AddDate(50, 0, 0))
	if err != nil {
		return r.fault("%s: %v", name, err)
	}
	r.table = rules.Table
	return nil
}

func (r *runner) header(kind, rest string) error {
	if r.set == nil {
		return r.fault("no rule set is named before: rules: FILE")
	}
	left, right, ok := strings.Cut(rest, "|")
	r.kind, r.in, r.out = kind, strings.Fields(left), strings.Fields(right)
	if !ok || len(r.out) == 0 {
		return r.fault("%s: want columns, a bar, and what must come out", kind)
	}
	for _, name := range r.in {
		if !slices.Contains(kinds[kind].in, name) {
			return r.fault("%s: no column is called %q: there are %s", kind, name, strings.Join(kinds[kind].in, ", "))
		}
	}
	for _, name := range r.out {
		if !slices.Contains(kinds[kind].out, name) {
			return r.fault("%s: right of the bar there is no %q: there are %s", kind, name, strings.Join(kinds[kind].out, ", "))
		}
	}
	return nil
}

// A caseRow is one case: its columns over the defaults.
type caseRow struct {
	r      *runner
	values map[string]string
	err    error
}

func (r *runner) row(line string) error {
	if r.kind == "" {
		return r.fault("a case comes before any taps:, routes: or liability:")
	}
	left, right, ok := strings.Cut(line, "|")
	in, out := strings.Fields(left), strings.Fields(right)
	if !ok || len(in) != len(r.in) || len(out) > len(r.out) || len(out) == 0 {
		return r.fault("want %d columns, a bar, and 1 to %d after it", len(r.in), len(r.out))
	}
	c := &caseRow{r: r, values: map[string]string{}}
	for _, name := range kinds[r.kind].in {
		c.values[name] = r.defaults[name]
	}
	for i, name := range r.in {
		if in[i] != "-" {
			c.values[name] = in[i]
		}
	}
	r.cases++
	got := map[string]string{}
	var err error
	switch r.kind {
	case "taps":
		err = c.tap(got)
	case "routes":
		err = c.route(got)
	case "liability":
		err = c.liability(got)
	}
	if c.err != nil {
		return c.err
	}
	if err != nil {
		r.failures = append(r.failures, Failure{r.file, r.line, err.Error()})
		return nil
	}
	for i, want := range out {
		name := r.out[i]
		if name == "rule" && want == "none" {
			want = ""
		}
		if want != "-" && got[name] != want {
			by := "by no rule"
			if got["rule"] != "" {
				by = "by rule " + got["rule"]
			}
			r.failures = append(r.failures, Failure{r.file, r.line, fmt.Sprintf("got %s %s, %s; want %s", name, orNone(got[name]), by, orNone(want))})
			return nil
		}
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (c *caseRow) number(name string) int64 {
	if c.values[name] == "" {
		return 0
	}
	n, err := strconv.ParseInt(c.values[name], 10, 64)
	if err != nil && c.err == nil {
		c.err = c.r.fault("%s: want a whole number, not %q", name, c.values[name])
	}
	return n
}

func (c *caseRow) time() time.Time {
	text := c.values["at"]
	if text == "" {
		text = "2026-01-01T12:00"
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, c.r.set.Zone()); err == nil {
			return at
		}
	}
	if c.err == nil {
		c.err = c.r.fault("at: want a time such as 2026-11-22T23:00, not %q", text)
	}
	return time.Time{}
}

func (c *caseRow) tap(got map[string]string) error {
	s := accept.Situation{
		At: c.time().UnixMilli(), ClockOK: c.values["clock_ok"] != "false", Scheme: c.values["scheme"], Mode: c.values["mode"], Kind: c.values["kind"],
		Medium: c.values["medium"], Currency: c.values["currency"], Stop: c.values["stop"], Route: c.values["route"], Issuer: c.number("issuer"),
		Product: c.number("product"), Party: c.number("party"), Amount: c.number("amount"), Counter: c.number("counter"), CredentialAge: c.number("credential_age"),
	}
	s.Memory = accept.Memory{DayTaps: 1, DayMinor: s.Amount, HourTaps: 1, SinceLast: accept.NeverBefore}
	for name, into := range map[string]*int64{"day_taps": &s.Memory.DayTaps, "day_amount": &s.Memory.DayMinor, "hour_taps": &s.Memory.HourTaps, "since_last": &s.Memory.SinceLast} {
		if c.values[name] != "" {
			*into, s.Memory.Known = c.number(name), true
		}
	}
	if c.err != nil {
		return c.err
	}
	rule, effect := c.r.table.Decide(&s)
	got["outcome"], got["rule"] = []string{"accept", "refuse", "limit"}[effect], rule
	byCondition, same, err := c.r.set.Decide(&s)
	if err != nil {
		return err
	}
	if same != effect || byCondition != rule {
		return fmt.Errorf("readers decide %s by %q, the conditions say %d by %q: report this", got["outcome"], rule, same, byCondition)
	}
	return nil
}

func (c *caseRow) money() citygate.Money {
	return citygate.Money{Minor: c.number("amount"), Currency: citygate.Currency(c.values["currency"])}
}

func (c *caseRow) route(got map[string]string) error {
	up := map[string]bool{}
	for _, name := range strings.Split(c.values["up"], ",") {
		if name != "" {
			up[name] = true
		}
	}
	p := ruleset.Payment{At: c.time(), Wallet: c.values["wallet"], Contract: c.values["contract"], Kind: c.values["kind"], Attempt: int(max(1, c.number("attempt"))),
		Amount: c.money(), Up: up}
	if p.Kind == "" {
		p.Kind = "charge"
	}
	if c.err != nil {
		return c.err
	}
	may := strings.Split(c.values["may"], ",")
	routed, err := c.r.set.Route(&p, func(name string) bool { return c.values["may"] == "" || slices.Contains(may, name) })
	got["contract"], got["rule"] = routed.Contract, routed.Rule
	return err
}

func (c *caseRow) liability(got map[string]string) error {
	f := ruleset.Shortfall{At: c.time(), Operator: citygate.TenantID(c.number("operator")), Amount: c.money(), Contract: c.values["contract"], AgeDays: int(c.number("age_days")),
		Reversed: c.values["reversed"] == "true"}
	if c.err != nil {
		return c.err
	}
	l, err := c.r.set.Liable(&f)
	got["issuer_bears"], got["provider_bears"], got["platform_bears"], got["rule"] = "0", "0", "0", l.Rule
	if l.Bearer != "" {
		got[string(l.Bearer)+"_bears"] = strconv.FormatInt(l.Minor, 10)
	}
	return err
}
