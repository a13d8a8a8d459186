package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// flagBatches is how many batches of taps one transaction looks at for flags.
const flagBatches = 100

func (g *Gateway) newFlagger() *risk.Flagger {
	denier := credential.Denier{Actor: "system:risk"}
	return risk.NewFlagger(risk.FlaggerConfig{
		DB: g.DB,
		New: func(ctx context.Context, tx *pg.Tx, after risk.Cursor) ([]risk.Sighting, risk.Cursor, bool, error) {
			taps, end, n, err := intake.ShownAfter(ctx, tx, intake.Mark(after), flagBatches)
			return sightings(taps), risk.Cursor(end), n == flagBatches, err
		},
		Of: func(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]risk.Sighting, error) {
			taps, err := intake.UsesOf(ctx, tx, riders)
			return sightings(taps), err
		},
		Places: func(ctx context.Context, tx *pg.Tx) (*journey.Places, error) {
			return g.Pricing.Places(ctx, tx, tx.Now)
		},
		Deny: func(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]citygate.Rider, error) {
			own, err := credential.AccountsOf(ctx, tx, riders)
			if err != nil {
				return nil, err
			}
			var issued []citygate.Rider
			for _, r := range riders {
				if _, ok := own[r]; ok {
					issued = append(issued, r)
				}
			}
			return issued, denier.DenyRiders(ctx, tx, issued, risk.DenyFlagged)
		},
		Lift: func(ctx context.Context, tx *pg.Tx, actor string, riders []citygate.Rider) error {
			return credential.Lift(ctx, tx, actor, risk.DenyFlagged, credential.Targets{Riders: riders})
		},
	})
}

// sightings are taps as flags look at them. A code of another scheme may be shown
// for as long as it likes, so its displays are not counted.
func sightings(taps []intake.Tap) []risk.Sighting {
	list := make([]risk.Sighting, len(taps))
	for i, t := range taps {
		list[i] = risk.Sighting{Tap: t.ID, Rider: t.Rider, At: t.At.UnixMilli(), Stop: t.Stop, Counted: !t.Rider.Foreign(), Counter: t.Counter, Code: t.Evidence}
	}
	return list
}

func (g *Gateway) riskFlags(ctx context.Context, tenant citygate.TenantID, f edge.RiskFlagFilter, page edge.Page) (list []edge.RiskFlag, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := risk.Flags(ctx, tx, risk.FlagFilter{Kind: risk.Kind(f.Kind), State: risk.FlagState(f.State), Tap: f.Tap}, page.After, page.Limit)
		list = make([]edge.RiskFlag, len(found))
		for i := range found {
			list[i] = flagView(&found[i])
		}
		return err
	})
	return list, err
}

func (g *Gateway) changeRiskFlag(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, state, reason string) (v edge.RiskFlag, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		r, err := g.Flagger.Change(ctx, tx, actor, id, risk.FlagState(state), reason)
		v = flagView(&r)
		return err
	})
	return v, err
}

func flagView(r *risk.Row) edge.RiskFlag {
	v := edge.RiskFlag{
		ID: r.ID.Text(risk.FlagPrefix), Kind: string(r.Kind), At: time.UnixMilli(r.At).UTC(), FoundAt: r.FoundAt, State: string(r.State),
		Blocks: r.Blocks, Reason: r.Reason, ChangedBy: r.ChangedBy, Taps: make([]string, len(r.Taps)),
	}
	if r.ChangedBy != "" {
		v.ChangedAt = &r.ChangedAt
	}
	for i, t := range r.Taps {
		v.Taps[i] = t.String()
	}
	return v
}
