package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

// replayTaps is how much one part looks at where nobody says.
const replayTaps = 20_000

func (g *Gateway) replayPolicy(ctx context.Context, tenant citygate.TenantID, r edge.ReplayPolicy) (edge.PolicyReplay, error) {
	set, err := ruleset.Parse([]byte(r.Source))
	if err != nil {
		return edge.PolicyReplay{}, err
	}
	day, err := citygate.ParseDate(r.Day)
	if err != nil {
		return edge.PolicyReplay{}, ErrReplay.Explain("day: want a date such as 2026-11-21")
	}
	if r.Limit == 0 {
		r.Limit = replayTaps
	}
	part, err := g.ReplayPart(ctx, tenant, set, day, r.Next, r.Limit)
	if err != nil {
		return edge.PolicyReplay{}, err
	}
	return ReplayView(part), nil
}

// ReplayView gives a replay as the API shows it.
func ReplayView(r *Replay) edge.PolicyReplay {
	lines := func(in []ReplayLine) []edge.ReplayLine {
		out := make([]edge.ReplayLine, len(in))
		for i, l := range in {
			out[i] = edge.ReplayLine{Reason: string(l.Reason), Rule: l.Rule, Taps: l.Taps, Fares: l.Fares, Decided: l.Decided, Parts: l.Parts, NoFare: l.NoFare}
		}
		return out
	}
	moved := make([]edge.ReplayRoute, len(r.Moved))
	for i, m := range r.Moved {
		moved[i] = edge.ReplayRoute(m)
	}
	return edge.PolicyReplay{
		Day: r.Day.String(), Taps: r.Taps, Same: r.Same, Erased: r.Erased, Unread: r.Unread, Refused: lines(r.Refused), Admits: lines(r.Admits),
		Charges: r.Charges, Stay: r.Stay, Moved: moved, Unknown: ReplayLimits, Next: r.Next,
	}
}
