package ruleset

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

const areaMax = 1024 // stops and routes of one area

// What an acceptance rule does.
const (
	thenAccept = "accept"
	thenRefuse = "refuse"
)

// A row is an acceptance rule or a limit, as CEL and as alternatives.
type row struct {
	id     string
	effect accept.Effect
	parts  []*compiled // all must hold
	any    []clause
}

// A compiler turns a document into a set and gathers what is wrong.
type compiler struct {
	d      *document
	lines  []string
	ids    map[string]bool
	faults Faults
}

func newCompiler(source []byte, d *document) *compiler {
	return &compiler{d: d, lines: strings.Split(string(source), "\n"), ids: map[string]bool{}}
}

func (c *compiler) compile() *Set {
	s := &Set{areas: c.d.Areas}
	nowhere := text{Line: 1, Column: 1}
	if c.d.Format != format {
		c.plain("", nowhere, "citygate: want %q, not %q", format, c.d.Format)
	}
	var err error
	if s.zone, err = time.LoadLocation(c.d.TimeZone); err != nil || c.d.TimeZone == "" || c.d.TimeZone == "Local" {
		c.plain("", nowhere, "time_zone: want a name such as Asia/Shanghai, not %q", c.d.TimeZone)
		s.zone = time.UTC
	}
	for _, name := range slices.Sorted(maps.Keys(c.d.Areas)) {
		if !accept.RuleID(name) || len(c.d.Areas[name]) > areaMax {
			c.plain("", nowhere, "areas: %q is no name of a-z, 0-9, - and _, or has more than %d stops and routes", name, areaMax)
		}
	}
	s.base = c.base()
	for i := range c.d.Acceptance.Rules {
		r := &c.d.Acceptance.Rules[i]
		effect := accept.Admit
		switch r.Then {
		case thenRefuse:
			effect = accept.Refuse
		case thenAccept:
		default:
			c.plain(r.ID.S, r.ID, "then: want accept or refuse, not %q", r.Then)
		}
		s.rows = append(s.rows, c.row(r.ID, effect, &r.Match, ""))
	}
	switch c.d.Acceptance.Default {
	case thenRefuse:
		s.rows = append(s.rows, c.row(text{S: "default", Line: 1, Column: 1}, accept.Refuse, new(match), ""))
	case thenAccept:
	default:
		c.plain("", nowhere, "acceptance.default: want accept or refuse, not %q", c.d.Acceptance.Default)
	}
	for i := range c.d.Limits {
		l := &c.d.Limits[i]
		s.rows = append(s.rows, c.row(l.ID, accept.Limit, &l.Match, c.exceeded(l)))
	}
	c.compileRoutes(s)
	c.compileLiability(s)
	if len(c.faults) == 0 {
		if _, err := s.table(time.Unix(0, 0)); err != nil { // as large as any other instant makes it
			c.plain("", nowhere, "%v", err)
		}
	}
	return s
}

// base gives the fields of the acceptance rules that are no conditions.
func (c *compiler) base() accept.Rules {
	a := &c.d.Acceptance
	r := accept.Rules{
		Version: 1, Tenant: 1, SkewSeconds: a.SkewSeconds, MaxWindowSeconds: a.MaxWindowSeconds, MaxTTLHours: a.MaxTTLHours,
		StaleListSeconds: a.StaleListSeconds, StaleLimitSeconds: a.StaleLimitSeconds, MissingListOK: a.MissingListOK,
		LateUploadDays: a.LateUploadDays, ClockSuspectSeconds: a.ClockSuspectSeconds,
		Incomplete: accept.Incomplete{Charge: accept.IncompleteCharge(a.Incomplete.Charge), Minor: a.Incomplete.Minor,
			MaxJourneyMinutes: a.Incomplete.MaxJourneyMinutes, GraceMinutes: a.Incomplete.GraceMinutes},
	}
	nowhere := text{Line: 1, Column: 1}
	for _, s := range a.Schemes {
		r.Schemes = append(r.Schemes, code.SchemeID(s))
	}
	for _, i := range a.Issuers {
		if i.Issuer < 1 || i.Issuer > 0xffff {
			c.plain("", nowhere, "acceptance.issuers: %d is no issuer number", i.Issuer)
		}
		r.Issuers = append(r.Issuers, accept.IssuerRule{Issuer: citygate.Issuer(i.Issuer), Currency: citygate.Currency(i.Currency),
			CapUnitMinor: i.CapUnitMinor, UnsureCapMinor: i.UnsureCapMinor, StaleCapMinor: i.StaleCapMinor})
	}
	for _, d := range a.Deferred {
		r.Deferred = append(r.Deferred, accept.DeferredRule{Scheme: code.SchemeID(d.Scheme), LimitMinor: d.LimitMinor, ResolveMinutes: d.ResolveMinutes})
	}
	for _, m := range a.Modes {
		rule := accept.ModeRule{Mode: accept.Mode(m.Mode)}
		for _, p := range m.Products {
			if p < 0 || p > 0xffff {
				c.plain("", nowhere, "acceptance.modes: %d is no product number", p)
			}
			rule.Products = append(rule.Products, uint16(p))
		}
		for _, k := range m.Kinds {
			kind, ok := map[string]tap.Kind{"on": tap.On, "off": tap.Off, "single": tap.Single}[k]
			if !ok {
				c.plain("", nowhere, "acceptance.modes: kind %q is none of on, off, single", k)
			}
			rule.Kinds = append(rule.Kinds, kind)
		}
		slices.Sort(rule.Kinds)
		r.Modes = append(r.Modes, rule)
	}
	if len(c.faults) == 0 {
		if err := r.Check(); err != nil {
			c.plain("", nowhere, "acceptance: %v", err)
		}
	}
	return r
}

func (c *compiler) id(id text) string {
	switch {
	case !accept.RuleID(id.S):
		c.plain(id.S, id, "id: want 1 to 40 of a-z, 0-9, - and _")
	case c.ids[id.S]:
		c.plain(id.S, id, "id: another rule of the file has it")
	}
	c.ids[id.S] = true
	return id.S
}

// row compiles one rule: its lists and what exceeds its limit, both written as CEL,
// and its own condition.
func (c *compiler) row(id text, effect accept.Effect, m *match, exceeded string) row {
	r := row{id: c.id(id), effect: effect, any: []clause{{}}}
	l := &lowering{areas: c.d.Areas}
	add := func(at text, generated string) {
		compiled := c.condition(tapEnv, r.id, at, generated)
		if compiled == nil {
			return
		}
		tree := compiled.tree
		lowered, err := l.lower(tree.Expr(), false)
		if err == nil {
			var all []clause
			for _, a := range r.any {
				for _, b := range lowered {
					if both, ok := a.and(b); ok {
						all = append(all, both)
					}
				}
			}
			r.any, err = l.bounded(tree.Expr(), all)
		}
		var refused *refusal
		if errors.As(err, &refused) {
			place := tree.SourceInfo().GetStartLocation(refused.at)
			line, column := place.Line(), place.Column()
			if generated != "" {
				line, column = 0, 0
			}
			c.fault(r.id, refused.variable, at, line, column, "%s", refused.why)
			return
		}
		r.parts = append(r.parts, compiled)
	}
	for _, generated := range append(c.lists(id, m), exceeded) {
		if generated != "" {
			add(id, generated)
		}
	}
	if m.When.S != "" {
		add(m.When, "")
	}
	if effect != accept.Limit {
		for _, a := range r.any {
			for f := range a {
				if f.Remembered() {
					c.fault(r.id, f.String(), m.When, 1, max(0, strings.Index(m.When.S, f.String())), "only limits may ask about a rider's earlier taps")
					return r
				}
			}
		}
	}
	return r
}

// lists gives the lists of a match as CEL, each on its own.
func (c *compiler) lists(id text, m *match) []string {
	out := []string{inTexts("scheme", m.Schemes), inNumbers("issuer", m.Issuers), inNumbers("product", m.Products), inTexts("mode", m.Modes),
		inTexts("kind", m.Kinds), inTexts("medium", m.Mediums)}
	var areas []string
	for _, a := range m.Areas {
		areas = append(areas, fmt.Sprintf(`stop in areas[%s] || route in areas[%[1]s]`, strconv.Quote(a)))
	}
	out = append(out, strings.Join(areas, " || "))
	return append(out, c.hours(id, m.Hours), c.days(id, m.Days))
}

func inTexts(name string, values []string) string {
	if len(values) == 0 {
		return ""
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	return name + " in [" + strings.Join(quoted, ", ") + "]"
}

func inNumbers(name string, values []int64) string {
	if len(values) == 0 {
		return ""
	}
	return name + " in " + strings.ReplaceAll(fmt.Sprint(values), " ", ", ")
}

// hours gives spans of the local day, such as 22:00-05:00, as CEL. A span ends
// before its end.
func (c *compiler) hours(id text, spans []string) string {
	var all []string
	for _, s := range spans {
		a, b, ok := strings.Cut(s, "-")
		from, ok1 := minuteOf(a)
		to, ok2 := minuteOf(b)
		if !ok || !ok1 || !ok2 || from == to || from == 24*60 {
			c.plain(id.S, id, "hours: want spans such as 22:00-05:00, not %q", s)
			continue
		}
		join := "&&"
		if from > to {
			join = "||"
		}
		all = append(all, fmt.Sprintf("(minute >= %d %s minute < %d)", from, join, to))
	}
	return strings.Join(all, " || ")
}

func minuteOf(s string) (int, bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == 5
}

var dayNames = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func (c *compiler) days(id text, names []string) string {
	var days []int64
	for _, n := range names {
		i := slices.Index(dayNames, n)
		if i < 0 {
			c.plain(id.S, id, "days: %q is none of %s", n, strings.Join(dayNames, ", "))
		}
		days = append(days, int64(i+1))
	}
	return inNumbers("weekday", days)
}

// exceeded gives as CEL when a limit is exceeded.
func (c *compiler) exceeded(l *limitRule) string {
	var ways []string
	over := func(most int64, format string, args ...any) {
		if most < 0 {
			c.plain(l.ID.S, l.ID, "a limit must not be negative")
		}
		if most != 0 {
			ways = append(ways, fmt.Sprintf(format, args...))
		}
	}
	if (l.PerTap != 0 || l.PerDay.Amount != 0) && !citygate.Currency(l.Currency).Valid() {
		c.plain(l.ID.S, l.ID, "currency: want three capital letters beside an amount, not %q", l.Currency)
		return ""
	}
	over(l.PerTap, "currency == %q && amount > %d", l.Currency, l.PerTap)
	over(l.PerDay.Amount, "currency == %q && day_amount > %d", l.Currency, l.PerDay.Amount)
	over(l.PerDay.Taps, "day_taps > %d", l.PerDay.Taps)
	over(l.Offline.Displays, "counter > %d", l.Offline.Displays)
	over(l.Offline.Hours, "credential_age > %d", min(l.Offline.Hours, 1<<40)*60)
	over(l.Velocity.PerHour, "hour_taps > %d", l.Velocity.PerHour)
	over(l.Velocity.GapSeconds, "since_last < %d", l.Velocity.GapSeconds)
	if len(ways) == 0 {
		c.plain(l.ID.S, l.ID, "it limits nothing: want per_tap, per_day, offline or velocity")
		return ""
	}
	return "(" + strings.Join(ways, ") || (") + ")"
}
