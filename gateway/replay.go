package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Replay is what a draft of the rules would have decided on a day's taps, and
// where its routing would have sent the day's charges.
type Replay struct {
	Day  citygate.Date
	Taps int // looked at
	Same int
	// Erased is how many could not be tried as their code is not kept any more, and
	// Unread how many as it is no code, or of a scheme that nothing says how to read.
	Erased  int
	Unread  int
	Refused []ReplayLine // accepted that day, and refused by the draft
	Admits  []ReplayLine // the other way round

	Charges int // looked at
	Stay    int // with the contract that collected them
	Moved   []ReplayRoute

	// Next goes on where a part ended; "" = the day is through.
	Next string
}

// A ReplayLine sums up the taps that change for one reason.
type ReplayLine struct {
	Reason code.Reason // of the refusal
	Rule   string      // that refuses in the draft, "" for a fixed check
	Taps   int
	// Fares are by currency what those taps cost: known at the reader, or decided by
	// pricing later for the ride that the tap began. Decided counts the latter. Parts
	// counts taps of rides that another tap began, and is summed up with that one if
	// it changes too; NoFare counts those whose fare nobody decided.
	Fares   map[citygate.Currency]int64
	Decided int
	Parts   int
	NoFare  int
}

// A ReplayRoute sums up the charges that another contract would have collected.
type ReplayRoute struct {
	From, To string
	Rule     string // of the draft, "" = none matched
	Finding  string // why a rule was not followed to the letter
	Charges  int
	Amounts  map[citygate.Currency]int64
}

// ReplayLimits says what a replay cannot know.
var ReplayLimits = []string{
	"limits that ask about a rider's earlier taps are passed over: what each reader remembered is not kept",
	"the draft sees what the reader knew: a fare that pricing decided later is counted, and never decides",
	"signatures, deny lists and copies were judged that day and are not judged again: a tap that the draft admits may have failed there",
	"a ride of which the draft refuses a part is counted with the fare it had as a whole",
	"charges are routed as if every active contract's provider had answered, and with the contracts that payers have now",
}

const (
	replayPage = 2_000 // taps in memory at a time

	// ReplayMost is how many taps, and how many charges, one part looks at.
	ReplayMost = 50_000
)

// tried are the reasons that a draft can undo: what the rules decide alone.
var tried = map[code.Reason]bool{
	code.PolicyRefused: true, code.OverLimit: true, code.ProductNotValidHere: true, code.AmountOverCap: true, code.Unsupported: true, code.UnknownIssuer: true,
	code.ExpiredCredential: true, code.ExpiredCode: true, code.NotYetValid: true, code.TapsExhausted: true,
}

// ErrReplay says that a replay cannot begin there.
var ErrReplay = &citygate.Code{Name: "policy.replay", Kind: citygate.Invalid, Title: "The replay cannot go on there. Send next as the last part gave it, or leave it out."}

// ReplayRules decides on all of a day's taps by a draft, asks its routing about the
// day's charges, and says what would change. It changes nothing; [ReplayLimits]
// says what it cannot know.
func (g *Gateway) ReplayRules(ctx context.Context, tenant citygate.TenantID, set *ruleset.Set, day citygate.Date) (*Replay, error) {
	r, err := g.newReplay(ctx, tenant, set, day)
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		if more, err = r.taps(ctx, replayPage); err != nil {
			return nil, err
		}
	}
	for more := true; more; {
		if more, err = r.charges(ctx, replayPage); err != nil {
			return nil, err
		}
	}
	return r.sum(), nil
}

// ReplayPart is a part of [Gateway.ReplayRules]: at most limit taps, or that many
// charges when the taps are through, behind where next of the last part says.
func (g *Gateway) ReplayPart(ctx context.Context, tenant citygate.TenantID, set *ruleset.Set, day citygate.Date, next string, limit int) (*Replay, error) {
	r, err := g.newReplay(ctx, tenant, set, day)
	if err != nil {
		return nil, err
	}
	charges := false
	if next != "" {
		kind, at, _ := strings.Cut(next, ":")
		var wrong error
		switch kind {
		case "taps":
			_, wrong = fmt.Sscanf(at, "%d:%d", &r.after.Terminal, &r.after.Seq)
		case "charges":
			charges = true
			if at != "" {
				r.charge, wrong = citygate.ParseUUID("chg_", at)
			}
		default:
			wrong = ErrReplay
		}
		if wrong != nil {
			return nil, ErrReplay.Explain("next: %.80q", next)
		}
	}
	step, more := r.taps, true
	if charges {
		step = r.charges
	}
	for left := min(max(1, limit), ReplayMost); more && left > 0; left -= replayPage {
		if more, err = step(ctx, min(left, replayPage)); err != nil {
			return nil, err
		}
	}
	out := r.sum()
	switch {
	case more && charges:
		out.Next = "charges:" + r.charge.Text("chg_")
	case more:
		out.Next = fmt.Sprintf("taps:%d:%d", r.after.Terminal, r.after.Seq)
	case !charges:
		out.Next = "charges:"
	}
	return out, nil
}

// A replaying is a replay under way.
type replaying struct {
	*Gateway
	tenant          tenants.Tenant
	set             *ruleset.Set
	rules           *accept.Rules
	mode            accept.Mode // of the tenant's readers, as the draft names it
	schemes         *code.Dispatcher
	out             Replay
	refused, admits map[ruleReason]*ReplayLine
	moved           map[routeKey]*ReplayRoute
	after           citygate.TapID
	charge          citygate.UUID
}

func (g *Gateway) newReplay(ctx context.Context, tenant citygate.TenantID, set *ruleset.Set, day citygate.Date) (*replaying, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return nil, err
	}
	rules, err := set.Rules(tenant, 1, time.UnixMilli(0))
	if err != nil {
		return nil, err
	}
	r := &replaying{Gateway: g, tenant: t, set: set, rules: rules, out: Replay{Day: day},
		refused: map[ruleReason]*ReplayLine{}, admits: map[ruleReason]*ReplayLine{}, moved: map[routeKey]*ReplayRoute{}}
	var others []accept.Mode
	r.mode, others = modesOf(t.Kind)
	for _, m := range rules.Modes {
		if slices.Contains(others, m.Mode) {
			r.mode = m.Mode
		}
	}
	// What was read that day and what the draft would read: codes of a scheme that the
	// draft leaves out are still codes.
	read := *rules
	read.Schemes = slices.Clone(rules.Schemes)
	b, err := g.Bundle(ctx, tenant)
	switch {
	case errors.Is(err, fleet.ErrNoBundle):
		r.schemes = g.schemes
		return r, nil
	case err != nil:
		return nil, err
	}
	for _, s := range b.Schemes {
		read.Schemes = append(read.Schemes, s.ID)
	}
	read.Schemes = append(read.Schemes, ct1.ID)
	slices.Sort(read.Schemes)
	read.Schemes = slices.Compact(read.Schemes)
	r.schemes, err = g.schemesOf(ctx, tenant, &read)
	return r, err
}

// taps decides on the next taps of the day, and reports whether there may be more.
func (r *replaying) taps(ctx context.Context, limit int) (more bool, err error) {
	var page []intake.DayTap
	var rides map[citygate.TapID]pricing.RideOf
	err = r.DB.InTenant(ctx, r.tenant.ID, func(tx *pg.Tx) (err error) {
		if page, err = intake.TapsOfDay(ctx, tx, r.out.Day, r.after, limit); err != nil {
			return err
		}
		var later []pricing.TapOf
		for _, d := range page {
			if d.Accepted && d.Entered.Currency == "" {
				later = append(later, pricing.TapOf{ID: d.ID, Rider: d.Rider, At: d.At})
			}
		}
		rides, err = pricing.RidesOf(ctx, tx, later)
		return err
	})
	if err != nil {
		return false, err
	}
	for i := range page {
		d := &page[i]
		r.after = d.ID
		r.out.Taps++
		var c code.Code
		if len(d.Code) == 0 {
			r.out.Erased++
			continue
		}
		if r.schemes.Parse(d.Code, &c) != nil {
			r.out.Unread++
			continue
		}
		reason, rule := r.rules.Judge(&c, accept.Facts{At: d.At.UnixMilli(), ClockOK: !d.ClockSuspect, Mode: r.mode, Kind: d.Kind, Fare: d.Entered, Riders: d.Party,
			Stop: d.Stop, Route: d.Route})
		switch {
		case d.Accepted && reason != "":
			line(r.refused, reason, rule).add(d, rides)
		case tried[d.Reason] && reason == "":
			line(r.admits, d.Reason, "").add(d, rides)
		default:
			r.out.Same++
		}
	}
	return len(page) == limit, nil
}

// charges asks the draft about the next charges of the day.
func (r *replaying) charges(ctx context.Context, limit int) (more bool, err error) {
	var page []collect.Rerouted
	err = r.DB.InTenant(ctx, r.tenant.ID, func(tx *pg.Tx) (err error) {
		page, err = collect.Reroute(ctx, tx, r.set, r.out.Day, r.charge, limit)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, c := range page {
		r.charge = c.Charge
		r.out.Charges++
		if c.From == c.To {
			r.out.Stay++
			continue
		}
		k := routeKey{c.From, c.To, c.Rule, c.Finding}
		if r.moved[k] == nil {
			r.moved[k] = &ReplayRoute{From: c.From, To: c.To, Rule: c.Rule, Finding: c.Finding, Amounts: map[citygate.Currency]int64{}}
		}
		r.moved[k].Charges++
		r.moved[k].Amounts[c.Amount.Currency] += c.Amount.Minor
	}
	return len(page) == limit, nil
}

type routeKey struct{ from, to, rule, finding string }

func (r *replaying) sum() *Replay {
	out := r.out
	out.Refused, out.Admits = inOrder(r.refused), inOrder(r.admits)
	for _, m := range r.moved {
		out.Moved = append(out.Moved, *m)
	}
	slices.SortFunc(out.Moved, func(a, b ReplayRoute) int {
		return cmp.Or(cmp.Compare(b.Charges, a.Charges), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Finding, b.Finding))
	})
	return &out
}

type ruleReason struct {
	reason code.Reason
	rule   string
}

func line(at map[ruleReason]*ReplayLine, reason code.Reason, rule string) *ReplayLine {
	k := ruleReason{reason, rule}
	if at[k] == nil {
		at[k] = &ReplayLine{Reason: reason, Rule: rule, Fares: map[citygate.Currency]int64{}}
	}
	return at[k]
}

func inOrder(at map[ruleReason]*ReplayLine) []ReplayLine {
	out := make([]ReplayLine, 0, len(at))
	for _, l := range at {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b ReplayLine) int {
		return cmp.Or(cmp.Compare(b.Taps, a.Taps), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

func (l *ReplayLine) add(d *intake.DayTap, rides map[citygate.TapID]pricing.RideOf) {
	l.Taps++
	ride, there := rides[d.ID]
	switch {
	case d.Entered.Currency != "":
		l.Fares[d.Entered.Currency] += d.Entered.Minor
	case there && !ride.First:
		l.Parts++
	case ride.Fare.Currency != "":
		l.Decided++
		l.Fares[ride.Fare.Currency] += ride.Fare.Minor
	default:
		l.NoFare++
	}
}
