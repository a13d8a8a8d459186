package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Replay is what a draft of the rules would have decided on a day's taps.
type Replay struct {
	Day  citygate.Date
	Taps int // of the day
	Same int
	// Unread is how many could not be tried: their code is no code, or not kept any more.
	Unread  int
	Refused []ReplayLine // accepted that day, and refused by the draft
	Admits  []ReplayLine // the other way round
}

// A ReplayLine sums up the taps that change for one reason.
type ReplayLine struct {
	Reason code.Reason // of the refusal
	Rule   string      // that refuses in the draft, "" for a fixed check
	Taps   int
	// Fares are the known fares of those taps by currency; NoFare counts taps whose
	// fare was not known at the reader.
	Fares  map[citygate.Currency]int64
	NoFare int
}

const replayPage = 2_000 // taps in memory at a time

// tried are the reasons that a draft can undo: what the rules decide alone.
var tried = map[code.Reason]bool{
	code.PolicyRefused: true, code.OverLimit: true, code.ProductNotValidHere: true, code.AmountOverCap: true, code.Unsupported: true, code.UnknownIssuer: true,
	code.ExpiredCredential: true, code.ExpiredCode: true, code.NotYetValid: true, code.TapsExhausted: true,
}

// ReplayRules decides on a day's taps by a draft, and says what would change. It
// changes nothing. Limits that ask about a rider's earlier taps are passed over, as
// what each reader remembered is not known here.
func (g *Gateway) ReplayRules(ctx context.Context, tenant citygate.TenantID, set *ruleset.Set, day citygate.Date) (*Replay, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return nil, err
	}
	rules, err := set.Rules(tenant, 1, time.UnixMilli(0))
	if err != nil {
		return nil, err
	}
	out := &Replay{Day: day}
	refused, admits := map[ruleReason]*ReplayLine{}, map[ruleReason]*ReplayLine{}
	var after citygate.TapID
	for {
		var page []intake.DayTap
		err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			page, err = intake.TapsOfDay(ctx, tx, day, after, replayPage)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := range page {
			d := &page[i]
			after = d.ID
			out.Taps++
			var c code.Code
			if len(d.Code) == 0 || g.schemes.Parse(d.Code, &c) != nil {
				out.Unread++
				continue
			}
			reason, rule := rules.Judge(&c, accept.Facts{At: d.At.UnixMilli(), ClockOK: !d.ClockSuspect, Mode: modes[t.Kind], Kind: d.Kind, Fare: d.Entered,
				Stop: d.Stop, Route: d.Route})
			switch {
			case d.Accepted && reason != "":
				line(refused, reason, rule).add(d)
			case tried[d.Reason] && reason == "":
				line(admits, d.Reason, "").add(d)
			default:
				out.Same++
			}
		}
		if len(page) < replayPage {
			out.Refused, out.Admits = inOrder(refused), inOrder(admits)
			return out, nil
		}
	}
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

func (l *ReplayLine) add(d *intake.DayTap) {
	l.Taps++
	if d.Entered.Currency == "" {
		l.NoFare++
		return
	}
	l.Fares[d.Entered.Currency] += d.Entered.Minor
}
