package fare

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Funder bears what a ride costs less than its nominal price: "operator" (also
// the empty Funder), or city, programme or provider, a colon and a name.
type Funder string

// Operator bears a discount by getting less.
const Operator Funder = "operator"

func (f Funder) check() error {
	if f == "" || f == Operator {
		return nil
	}
	kind, name, ok := strings.Cut(string(f), ":")
	if !ok || name == "" || strings.ContainsAny(name, ": \t\n") || !slices.Contains([]string{"city", "programme", "provider"}, kind) {
		return fmt.Errorf("the funder %q is not operator, or city, programme or provider with a name after a colon", f)
	}
	return nil
}

// Own reports whether the operator itself bears the discount.
func (f Funder) Own() bool { return f == "" || f == Operator }

// A Match says which rides something is for; what is not given is no condition.
type Match struct {
	Operators  []string   `json:"operators,omitempty"`
	Routes     []string   `json:"routes,omitempty"`
	Rules      []string   `json:"rules,omitempty"`
	Zones      []string   `json:"zones,omitempty"` // both ends lie in one of these
	Categories []Category `json:"categories,omitempty"`
	Media      []string   `json:"media,omitempty"`
}

// A Discount takes a permille share or an amount of the price of one ride, or,
// with Surcharge, adds it. Every discount is of the nominal price, so their order
// does not matter; together they never take more than all of it.
type Discount struct {
	ID        string  `json:"id"`
	Match     Match   `json:"match,omitzero"`
	When      []When  `json:"when,omitempty"`
	Permille  int64   `json:"permille,omitempty"`
	Amounts   Amounts `json:"amounts,omitempty"`
	Surcharge bool    `json:"surcharge,omitempty"`
	Funder    Funder  `json:"funder,omitempty"`
}

// A Transfer makes a ride cheaper that follows another one soon enough. Window
// is in minutes, the last one included, and runs from the first tap of the chain
// of rides ("chain", the default), or from the first ("start") or last ("end")
// tap of the ride before. Count is how many rides of a chain may have a transfer;
// 0 means all. A ride on the route of the ride before is none, unless SameRoute.
// The one of several transfers that takes most is applied.
type Transfer struct {
	ID        string  `json:"id"`
	From      Match   `json:"from,omitzero"`
	To        Match   `json:"to,omitzero"`
	Window    int64   `json:"window_min"`
	Since     string  `json:"since,omitempty"`
	Count     int     `json:"count,omitempty"`
	SameRoute bool    `json:"same_route,omitempty"`
	Permille  int64   `json:"permille,omitempty"`
	Amounts   Amounts `json:"amounts,omitempty"`
	Funder    Funder  `json:"funder,omitempty"`
}

// A Period is how long something is counted. Exactly one of the kinds:
//
//	day, week, month  of business dates; weeks begin on Starts ("mon"), months on their first
//	rolling           Days times 24 hours from the first tap, then from the next one
//	trailing          the business date and the Days - 1 before it
//
// Cut is the time of day at which the day changes, "04:30"; without it the tenant's.
type Period struct {
	Kind   string `json:"kind"`
	Days   int    `json:"days,omitempty"`
	Starts string `json:"starts,omitempty"`
	Cut    string `json:"cut,omitempty"`

	cut *int
}

// A Cumulative discount takes a share of every ride that begins when the rider
// has paid at least Over in the period: the step with the highest Over reached,
// so a later step with permille 0 ends it. The ride that passes the threshold
// still pays in full.
type Cumulative struct {
	ID     string           `json:"id"`
	Match  Match            `json:"match,omitzero"`
	Period Period           `json:"period"`
	Steps  []CumulativeStep `json:"steps"`
	Funder Funder           `json:"funder,omitempty"`
}

// A CumulativeStep takes Permille of rides that begin with Over or more paid.
type CumulativeStep struct {
	Over     int64 `json:"over"`
	Permille int64 `json:"permille"`
}

// NthRide takes Permille (1000, free, if 0) of ride number N of a period; of
// every N-th with Every, and of all from the N-th on with From. A ride counts if
// it was decided, whatever it cost; an incomplete one does not.
type NthRide struct {
	ID       string `json:"id"`
	Match    Match  `json:"match,omitzero"`
	Period   Period `json:"period"`
	N        int    `json:"n"`
	Every    bool   `json:"every,omitempty"`
	From     bool   `json:"from,omitempty"`
	Permille int64  `json:"permille,omitempty"`
	Funder   Funder `json:"funder,omitempty"`
}

// A Cap is the most a rider pays for the matching rides of a period, by the
// category of the ride; a category without an amount has no cap. Of several caps
// the one that takes most off a ride is applied, all count what was paid.
// Incomplete journeys neither count nor are made cheaper if ExcludeIncomplete.
type Cap struct {
	ID                string  `json:"id"`
	Match             Match   `json:"match,omitzero"`
	Period            Period  `json:"period"`
	Amounts           Amounts `json:"amounts"`
	ExcludeIncomplete bool    `json:"exclude_incomplete,omitempty"`
	Funder            Funder  `json:"funder,omitempty"`
}

// Folds reports whether a ride's price depends on the rider's other rides, so
// that they have to be priced together, in event order: [Folder].
func (t *Tariff) Folds() bool {
	return len(t.Transfers)+len(t.Cumulative)+len(t.NthRide)+len(t.Caps)+len(t.Products) > 0 ||
		slices.ContainsFunc(t.Rules, func(r Rule) bool { return r.Feed != nil && r.Feed.Pause > 0 })
}

// Adjusts reports whether decisions can have lines at all.
func (t *Tariff) Adjusts() bool {
	return t.Folds() || len(t.Discounts)+len(t.Categories.Funded)+len(t.Minimum) > 0
}

// checkAdjustments checks everything after the price of a rule. rules are the
// ids of the rules.
func (t *Tariff) checkAdjustments(rules map[string]bool) error {
	if err := t.Minimum.check(); err != nil {
		return fmt.Errorf("minimum: %w", err)
	}
	ids := make(map[string]bool)
	// one checks what all have: an id of its own, a match and a funder.
	one := func(kind, id string, match Match, funder Funder, rest error) error {
		switch {
		case id == "" || ids[id]:
			rest = errors.New("the id is empty or taken")
		case rest == nil && slices.ContainsFunc(match.Rules, func(r string) bool { return !rules[r] }):
			rest = fmt.Errorf("match: %v are not all rules of the tariff", match.Rules)
		case rest == nil:
			rest = funder.check()
		}
		ids[id] = true
		if rest != nil {
			return fmt.Errorf("%s %q: %w", kind, id, rest)
		}
		return nil
	}
	var errs []error
	for i := range t.Discounts {
		d := &t.Discounts[i]
		errs = append(errs, one("discount", d.ID, d.Match, d.Funder, errors.Join(checkShare(d.Permille, d.Amounts, 10_000), checkWhens(d.When))))
	}
	for i := range t.Transfers {
		x := &t.Transfers[i]
		errs = append(errs, one("transfer", x.ID, x.From, "", x.check()), one("transfer", x.ID+" ", x.To, x.Funder, nil))
	}
	for i := range t.Cumulative {
		c := &t.Cumulative[i]
		errs = append(errs, one("cumulative", c.ID, c.Match, c.Funder, c.check()))
	}
	for i := range t.NthRide {
		n := &t.NthRide[i]
		errs = append(errs, one("nth_ride", n.ID, n.Match, n.Funder, n.check()))
	}
	for i := range t.Caps {
		c := &t.Caps[i]
		errs = append(errs, one("cap", c.ID, c.Match, c.Funder, c.check()))
	}
	for i := range t.Products {
		p := &t.Products[i]
		errs = append(errs, one("product", p.ID, Match{}, Funder(p.Funder), p.Check()))
	}
	return errors.Join(errs...)
}

func checkShare(permille int64, amounts Amounts, most int64) error {
	if (permille != 0) == (len(amounts) > 0) || permille < 0 || permille > most {
		return fmt.Errorf("exactly one of permille, up to %d, and amounts is required", most)
	}
	return amounts.check()
}

func (x *Transfer) check() error {
	if x.Window <= 0 || x.Window > maxMinutes || x.Count < 0 || x.Count > 1_000 {
		return errors.New("window_min > 0 and count >= 0 are required")
	}
	if !slices.Contains([]string{"", "chain", "start", "end"}, x.Since) {
		return fmt.Errorf("since: %q is not chain, start or end", x.Since)
	}
	return checkShare(x.Permille, x.Amounts, 1000)
}

func (p *Period) check() error {
	rolling := p.Kind == "rolling" || p.Kind == "trailing"
	switch {
	case !slices.Contains([]string{"day", "week", "month", "rolling", "trailing"}, p.Kind):
		return fmt.Errorf("period: %q is not day, week, month, rolling or trailing", p.Kind)
	case rolling != (p.Days > 0) || p.Days > 366:
		return errors.New("period: days go with rolling and trailing, up to 366")
	case p.Starts != "" && (p.Kind != "week" || !slices.Contains(weekdays, p.Starts)):
		return errors.New("period: starts is a day of the week, mon to sun")
	case p.Cut != "" && p.Kind == "rolling":
		return errors.New("period: a rolling period begins with a tap and has no cut")
	}
	p.cut = nil
	if p.Cut != "" {
		minutes, err := clock(p.Cut)
		if err != nil || minutes >= 24*60 {
			return fmt.Errorf("period: cut %q: want HH:MM", p.Cut)
		}
		p.cut = &minutes
	}
	return nil
}

func (c *Cumulative) check() error {
	last := int64(-1)
	for _, s := range c.Steps {
		if s.Over <= last || s.Over > maxAmount || s.Permille < 0 || s.Permille > 1000 {
			return errors.New("steps: rising over and permille up to 1000 are required")
		}
		last = s.Over
	}
	if len(c.Steps) == 0 {
		return errors.New("steps are required")
	}
	return c.Period.check()
}

func (n *NthRide) check() error {
	if n.N < 1 || n.N > 10_000 || n.Every && n.From || n.Permille < 0 || n.Permille > 1000 {
		return errors.New("n from 1 on, one of every and from, and permille up to 1000 are possible")
	}
	return n.Period.check()
}

func (c *Cap) check() error {
	if len(c.Amounts) == 0 {
		return errors.New("amounts are required")
	}
	if err := c.Amounts.check(); err != nil {
		return err
	}
	return c.Period.check()
}
