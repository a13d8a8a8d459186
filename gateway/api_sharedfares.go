package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// handleAdvice takes what an issuer says about fares: those that are divided among
// the members of an integrated tariff go on to them, the others are this tenant's.
func (g *Gateway) handleAdvice(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var advice interbook.Advice
	if err := json.Unmarshal(body, &advice); err != nil {
		return fmt.Errorf("advice from %d: %w", from, err)
	}
	return receipts{g}.TakeAdvice(ctx, tx, from, advice.Items)
}

// receipts are where advice goes.
type receipts struct{ g *Gateway }

func (r receipts) TakeAdvice(ctx context.Context, tx *pg.Tx, from citygate.TenantID, items []interbook.AdviceItem) error {
	rest, err := r.g.Pricing.TakeAdvice(ctx, tx, from, items)
	if err != nil {
		return err
	}
	return r.g.Settler.TakeAdvice(ctx, tx, from, rest)
}

// sharedFaresAPI is the edge's way to integrated tariffs.
func (g *Gateway) sharedFaresAPI() edge.SharedFares {
	view := func(tenant citygate.TenantID, m pricing.Member, err error) (edge.FareMember, error) {
		return memberView(&m, g.DB.ClockOf(tenant)()), err
	}
	when := func(at *time.Time) time.Time {
		if at == nil {
			return time.Time{}
		}
		return *at
	}
	return edge.SharedFares{
		Members: func(ctx context.Context, tenant citygate.TenantID) (list []edge.FareMember, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				all, err := pricing.Members(ctx, tx)
				list = make([]edge.FareMember, len(all))
				for i := range all {
					list[i] = memberView(&all[i], tx.Now)
				}
				return err
			})
			return list, err
		},
		Propose: func(ctx context.Context, actor string, tenant citygate.TenantID, p edge.ProposeFareMember) (edge.FareMember, error) {
			m, err := g.Pricing.ProposeMember(ctx, actor, tenant, citygate.TenantID(p.Operator), p.Name, when(p.From))
			return view(tenant, m, err)
		},
		Agree: func(ctx context.Context, actor string, tenant citygate.TenantID, version int) (edge.FareMember, error) {
			m, err := g.AgreeMember(ctx, actor, tenant, version)
			return view(tenant, m, err)
		},
		End: func(ctx context.Context, actor string, tenant, operator citygate.TenantID, at *time.Time) (edge.FareMember, error) {
			m, err := g.EndMember(ctx, actor, tenant, operator, when(at))
			return view(tenant, m, err)
		},
		Shares: g.fareShares,
	}
}

func memberView(m *pricing.Member, now time.Time) edge.FareMember {
	known := func(at time.Time) *time.Time {
		if at.IsZero() {
			return nil
		}
		return &at
	}
	return edge.FareMember{
		Authority: int64(m.Authority), Operator: int64(m.Operator), Version: m.Version, Name: m.Name, State: m.State(now),
		ProposedBy: m.ProposedBy, ProposedAt: m.ProposedAt, AgreedBy: m.AgreedBy, AgreedAt: known(m.AgreedAt), EffectiveAt: known(m.EffectiveAt),
		EndedBy: m.EndedBy, EndsAt: known(m.EndsAt),
	}
}

func (g *Gateway) fareShares(ctx context.Context, tenant citygate.TenantID, after edge.ShareAfter, limit int) (list []edge.FareShare, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.ListShares(ctx, tx, after.Journey, after.Operator, limit)
		list = make([]edge.FareShare, len(found))
		for i, s := range found {
			list[i] = edge.FareShare{Journey: s.Journey.Text(pricing.Prefix), Authority: int64(s.Authority), Operator: int64(s.Operator), N: s.N,
				Amount: s.Amount, At: s.At, BusinessDate: s.BusinessDate.String(), Taps: strings.Fields(s.Taps), Explanation: s.Explanation}
		}
		return err
	})
	return list, err
}
