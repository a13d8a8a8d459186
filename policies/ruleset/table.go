package ruleset

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
)

// Rules gives what readers and intake run of the set: a version of a tenant's
// acceptance rules that holds from an event time on.
func (s *Set) Rules(tenant citygate.TenantID, version uint64, from time.Time) (*accept.Rules, error) {
	r := s.base
	r.Tenant, r.Version, r.From = tenant, version, from.UnixMilli()
	if len(s.rows) > 0 {
		var err error
		if r.Table, err = s.table(from); err != nil {
			return nil, err
		}
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	return &r, nil
}

// table makes the decision table of the set.
func (s *Set) table(from time.Time) (*accept.Table, error) {
	var texts []string
	for _, r := range s.rows {
		for _, c := range r.any {
			for _, w := range c {
				texts = append(texts, w.texts...)
			}
		}
	}
	texts = union(texts, nil)
	rows := make([]accept.Row, len(s.rows))
	for i, r := range s.rows {
		rows[i] = accept.Row{ID: r.id, Effect: r.effect, Any: make([][]accept.Test, len(r.any))}
		for j, c := range r.any {
			rows[i].Any[j] = c.tests(texts)
		}
	}
	return accept.NewTable(shifts(s.zone, from), texts, rows)
}

// tests gives a clause over the texts of a table, in the order of facts.
func (c clause) tests(texts []string) []accept.Test {
	out := make([]accept.Test, 0, len(c))
	for f, w := range c {
		in := w.spans
		if f.Text() {
			places := make([]int64, len(w.texts))
			for i, t := range w.texts {
				at, _ := slices.BinarySearch(texts, t)
				places[i] = int64(at)
			}
			if in = spansOf(places); w.not {
				in = complement(in)
			}
		}
		out = append(out, accept.Test{Fact: f, In: in})
	}
	slices.SortFunc(out, func(a, b accept.Test) int { return int(a.Fact) - int(b.Fact) })
	return out
}

// shifts gives how the zone's time goes from a year before from to ten years after.
func shifts(zone *time.Location, from time.Time) []accept.Shift {
	at := from.AddDate(-1, 0, 0).In(zone)
	end := from.AddDate(10, 0, 0)
	_, offset := at.Zone()
	out := []accept.Shift{{At: at.Unix(), Offset: int64(offset)}}
	for len(out) < 60 {
		_, next := at.ZoneBounds()
		if next.IsZero() || next.After(end) {
			return out
		}
		at = next
		if _, offset := at.Zone(); int64(offset) != out[len(out)-1].Offset {
			out = append(out, accept.Shift{At: at.Unix(), Offset: int64(offset)})
		}
	}
	return out
}

// Decide decides by the conditions themselves and not by the table: what
// [accept.Table.Decide] gives must be the same. It is for tests and explanations.
func (s *Set) Decide(tap *accept.Situation) (rule string, effect accept.Effect, err error) {
	vars := s.tapVariables(tap)
	settled := false
	for _, r := range s.rows {
		if settled && r.effect != accept.Limit || !tap.Memory.Known && r.remembers() {
			continue
		}
		held := true
		for _, p := range r.parts {
			if held, err = p.eval(vars); err != nil {
				return "", accept.Refuse, fmt.Errorf("rule %s: %w", r.id, err)
			} else if !held {
				break
			}
		}
		switch {
		case !held:
		case r.effect != accept.Admit:
			return r.id, r.effect, nil
		default:
			rule, settled = r.id, true
		}
	}
	return rule, accept.Admit, nil
}

// remembers reports whether the row asks about earlier taps. A condition that
// names them and comes to the same without them does not.
func (r *row) remembers() bool {
	for _, c := range r.any {
		for f := range c {
			if f.Remembered() {
				return true
			}
		}
	}
	return false
}

func (s *Set) tapVariables(tap *accept.Situation) map[string]any {
	minute, weekday, date := s.local(time.UnixMilli(tap.At))
	areas := s.areas
	return map[string]any{
		"scheme": tap.Scheme, "issuer": tap.Issuer, "product": tap.Product, "mode": tap.Mode, "kind": tap.Kind, "medium": tap.Medium, "party": tap.Party,
		"amount": tap.Amount, "currency": tap.Currency, "clock_ok": tap.ClockOK, "minute": minute, "weekday": weekday, "date": date,
		"stop": tap.Stop, "route": tap.Route, "counter": tap.Counter, "credential_age": tap.CredentialAge,
		"day_taps": tap.Memory.DayTaps, "day_amount": tap.Memory.DayMinor, "hour_taps": tap.Memory.HourTaps, "since_last": tap.Memory.SinceLast,
		"areas": areas,
	}
}

// local gives the minute of the day, the day of the week from 1 for Monday, and
// the date as yyyymmdd, by the set's zone.
func (s *Set) local(at time.Time) (minute, weekday, date int64) {
	at = at.In(s.zone)
	y, m, d := at.Date()
	return int64(at.Hour()*60 + at.Minute()), int64((at.Weekday()+6)%7 + 1), int64(y)*10000 + int64(m)*100 + int64(d)
}

// Steps gives the most comparisons a reader makes for one tap.
func (s *Set) Steps() int {
	t, err := s.table(time.Unix(0, 0))
	if err != nil {
		return math.MaxInt
	}
	return t.Steps()
}
