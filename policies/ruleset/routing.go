package ruleset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// A route says which provider contracts collect a payment, the first one first.
type route struct {
	id    string
	parts []*compiled
	use   []string
}

// A Payment is one charge on its way to a provider, as routing sees it.
type Payment struct {
	At       time.Time
	Wallet   string // the payment product of the payer's own contract, such as "alipay"
	Contract string // the payer's own contract
	Kind     string // charge, recovery or till
	Attempt  int
	Amount   citygate.Money
	Up       map[string]bool // contracts whose provider answers
}

// A Routing is where a payment goes, and by which rule; without one Rule is "".
type Routing struct {
	Contract string
	Rule     string
}

// Route gives the contract that collects a payment: of the first rule that matches
// the first contract that is up and may serves, or the first that may if none is
// up. Without a rule that matches, or with none of whose contracts may, it is the
// payer's own. A condition that fails passes its rule over; errors say which.
func (s *Set) Route(p *Payment, may func(contract string) bool) (Routing, error) {
	own := Routing{Contract: p.Contract}
	if s == nil || len(s.routes) == 0 {
		return own, nil
	}
	minute, weekday, date := s.local(p.At)
	vars := map[string]any{
		"wallet": p.Wallet, "contract": p.Contract, "currency": string(p.Amount.Currency), "kind": p.Kind, "amount": p.Amount.Minor,
		"attempt": int64(p.Attempt), "minute": minute, "weekday": weekday, "date": date, "up": p.Up,
	}
	var failed error
	for _, r := range s.routes {
		held, err := all(r.parts, vars)
		if err != nil {
			failed = fmt.Errorf("routing rule %s: %w", r.id, err)
			continue
		}
		if !held {
			continue
		}
		first := ""
		for _, name := range r.use {
			if !may(name) {
				continue
			}
			if p.Up[name] {
				return Routing{name, r.id}, failed
			}
			if first == "" {
				first = name
			}
		}
		if first != "" {
			return Routing{first, r.id}, failed
		}
	}
	return own, failed
}

func all(parts []*compiled, vars map[string]any) (bool, error) {
	for _, p := range parts {
		if held, err := p.eval(vars); err != nil || !held {
			return false, err
		}
	}
	return true, nil
}

func (c *compiler) compileRoutes(s *Set) {
	for i := range c.d.Routing {
		r := &c.d.Routing[i]
		out := route{id: c.id(r.ID), use: r.Use}
		for _, generated := range []string{inTexts("wallet", r.Wallets), inTexts("contract", r.Contracts), inTexts("currency", r.Currencies),
			c.hours(r.ID, r.Hours), c.days(r.ID, r.Days)} {
			if generated != "" {
				out.parts = append(out.parts, c.condition(routeEnv, r.ID.S, r.ID, generated))
			}
		}
		if r.When.S != "" {
			out.parts = append(out.parts, c.condition(routeEnv, r.ID.S, r.When, ""))
		}
		if len(r.Use) == 0 {
			c.plain(r.ID.S, r.ID, "use: name at least one provider contract")
		}
		for j, name := range r.Use {
			if name == "" || slices.Contains(r.Use[:j], name) {
				c.plain(r.ID.S, r.ID, "use: %q is empty or named twice", name)
			}
			if !slices.Contains(s.contracts, name) {
				s.contracts = append(s.contracts, name)
			}
		}
		s.routes = append(s.routes, out)
	}
	slices.Sort(s.contracts)
}

// A Bearer is who bears what a rider does not pay.
type Bearer string

// The bearers.
const (
	Operator Bearer = "operator" // the issuer passes it back: the default
	Issuer   Bearer = "issuer"   // it pays the operator after a while
	Provider Bearer = "provider" // the issuer pays the operator, and claims it from the provider
	Platform Bearer = "platform" // the same, from who runs the platform
)

// A bearing says who bears a shortfall.
type bearing struct {
	id     string
	parts  []*compiled
	bearer Bearer
	upTo   int64 // minor units of each fare; 0 = all of it
	after  int   // days until the operator is paid
}

// A Shortfall is what of one fare was not collected.
type Shortfall struct {
	At       time.Time // of the ride
	Operator citygate.TenantID
	Amount   citygate.Money
	Contract string
	AgeDays  int  // from the ride's business date to the decision
	Reversed bool // it was collected, and the bank took the payment back; else a charge was declined
}

// A Liability is how much of a shortfall another than the operator bears, which bears
// the rest. Rule is "" without a rule that matches: then the operator bears all of it.
type Liability struct {
	Bearer  Bearer // "" = Operator
	Minor   int64  // what of it is not the operator's
	PayDays int    // how long after the decline the operator is paid that
	Rule    string
}

// PayDaysUsual is how long after a decline an operator is paid what another bears, if
// nothing is said.
const PayDaysUsual = 30

// Liable says who bears a shortfall: by the first rule that matches.
func (s *Set) Liable(f *Shortfall) (Liability, error) {
	if s == nil {
		return Liability{}, nil
	}
	_, _, date := s.local(f.At)
	vars := map[string]any{"operator": int64(f.Operator), "amount": f.Amount.Minor, "currency": string(f.Amount.Currency), "contract": f.Contract,
		"age_days": int64(f.AgeDays), "date": date, "reversed": f.Reversed}
	var failed error
	for _, b := range s.bearings {
		held, err := all(b.parts, vars)
		switch {
		case err != nil:
			failed = fmt.Errorf("liability rule %s: %w", b.id, err)
		case held && b.bearer == Operator:
			return Liability{Rule: b.id}, failed
		case held && b.upTo > 0:
			return Liability{b.bearer, min(b.upTo, f.Amount.Minor), b.after, b.id}, failed
		case held:
			return Liability{b.bearer, f.Amount.Minor, b.after, b.id}, failed
		}
	}
	return Liability{}, failed
}

func (c *compiler) compileLiability(s *Set) {
	for i := range c.d.Liability {
		l := &c.d.Liability[i]
		out := bearing{id: c.id(l.ID), bearer: Bearer(l.Bearer), upTo: l.UpTo, after: PayDaysUsual}
		if l.PayAfterDays != nil {
			out.after = *l.PayAfterDays
		}
		if generated := inNumbers("operator", l.Operators); generated != "" {
			out.parts = append(out.parts, c.condition(liabilityEnv, l.ID.S, l.ID, generated))
		}
		if l.When.S != "" {
			out.parts = append(out.parts, c.condition(liabilityEnv, l.ID.S, l.When, ""))
		}
		switch {
		case !slices.Contains([]Bearer{Operator, Issuer, Provider, Platform}, out.bearer):
			c.plain(l.ID.S, l.ID, "bearer: want issuer, operator, provider or platform, not %s", strconv.Quote(l.Bearer))
		case out.after < 0 || out.after > 366 || l.PayAfterDays != nil && out.bearer == Operator:
			c.plain(l.ID.S, l.ID, "pay_after_days: want 0 to 366, with another bearer than the operator")
		case l.UpTo < 0 || l.UpTo > 0 && out.bearer == Operator:
			c.plain(l.ID.S, l.ID, "up_to: how much of a fare the bearer bears, in minor units; it goes with another bearer than the operator")
		}
		s.bearings = append(s.bearings, out)
	}
}

// Summary gives a line for each rule, in the order they are tried.
func (s *Set) Summary() []string {
	var out []string
	for _, r := range s.rows {
		out = append(out, []string{"accept ", "refuse ", "limit "}[r.effect]+r.id)
	}
	for _, r := range s.routes {
		out = append(out, "route "+r.id+" -> "+strings.Join(r.use, ", "))
	}
	for _, b := range s.bearings {
		out = append(out, "liability "+b.id+" -> "+string(b.bearer))
	}
	return out
}
