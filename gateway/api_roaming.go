package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/roaming"
)

// roamingAPI is the edge's way to roaming terms.
func (g *Gateway) roamingAPI() edge.Roaming {
	return edge.Roaming{
		List: func(ctx context.Context, tenant citygate.TenantID) ([]edge.RoamingTerms, error) {
			all, err := g.RoamingTerms(ctx, tenant)
			return g.roamingViews(tenant, all), err
		},
		Propose: func(ctx context.Context, actor string, tenant citygate.TenantID, p edge.ProposeRoaming) (edge.RoamingTerms, error) {
			var from time.Time
			if p.From != nil {
				from = *p.From
			}
			terms := roaming.Terms{Products: p.Terms.Products, CapMinor: p.Terms.CapMinor, DayCapMinor: p.Terms.DayCapMinor, Beyond: roaming.Bearer(p.Terms.Beyond), UploadDays: p.Terms.UploadDays,
				Uncollected: roaming.Bearer(p.Terms.Uncollected), PayDays: p.Terms.PayDays, NoticeDays: p.Terms.NoticeDays}
			for _, s := range p.Terms.Schemes {
				terms.Schemes = append(terms.Schemes, code.SchemeID(s))
			}
			pair := pairOf(tenant, p.RoamingPartner)
			if err := g.roamingByHand(ctx, tenant, pair); err != nil {
				return edge.RoamingTerms{}, err
			}
			v, err := g.ProposeRoaming(ctx, actor, tenant, pair, terms, from)
			return g.roamingView(tenant, &v), err
		},
		Agree: func(ctx context.Context, actor string, tenant citygate.TenantID, with edge.RoamingPartner, version int) (edge.RoamingTerms, error) {
			pair := pairOf(tenant, with)
			if err := g.roamingByHand(ctx, tenant, pair); err != nil {
				return edge.RoamingTerms{}, err
			}
			v, err := g.AgreeRoaming(ctx, actor, tenant, pair, version)
			return g.roamingView(tenant, &v), err
		},
		End: func(ctx context.Context, actor string, tenant citygate.TenantID, with edge.RoamingPartner, at *time.Time) ([]edge.RoamingTerms, error) {
			var when time.Time
			if at != nil {
				when = *at
			}
			pair := pairOf(tenant, with)
			if err := g.roamingByHand(ctx, tenant, pair); err != nil {
				return nil, err
			}
			ended, err := g.EndRoaming(ctx, actor, tenant, pair, when)
			return g.roamingViews(tenant, ended), err
		},
	}
}

func pairOf(tenant citygate.TenantID, with edge.RoamingPartner) roaming.Pair {
	partner := citygate.TenantID(with.Partner)
	if with.Role == "host" {
		return roaming.Pair{Issuer: partner, Host: tenant}
	}
	return roaming.Pair{Issuer: tenant, Host: partner}
}

func (g *Gateway) roamingViews(tenant citygate.TenantID, all []roaming.Version) []edge.RoamingTerms {
	list := make([]edge.RoamingTerms, len(all))
	for i := range all {
		list[i] = g.roamingView(tenant, &all[i])
	}
	return list
}

// roamingView shows a version as a tenant sees it now.
func (g *Gateway) roamingView(tenant citygate.TenantID, v *roaming.Version) edge.RoamingTerms {
	now := g.DB.ClockOf(tenant)()
	known := func(at time.Time) *time.Time {
		if at.IsZero() {
			return nil
		}
		return &at
	}
	out := edge.RoamingTerms{
		Issuer: int64(v.Issuer), Host: int64(v.Host), Version: v.Number, State: v.State(now), Currency: string(v.Currency),
		Terms: edge.Roamable{Products: v.Terms.Products, CapMinor: v.Terms.CapMinor, DayCapMinor: v.Terms.DayCapMinor, Beyond: string(v.Terms.Beyond), UploadDays: v.Terms.UploadDays,
			Uncollected: string(v.Terms.Uncollected), PayDays: v.Terms.PayDays, NoticeDays: v.Terms.NoticeDays},
		ProposedBy: v.ProposedBy, ProposedAt: v.ProposedAt, AgreedBy: v.AgreedBy, AgreedAt: known(v.AgreedAt), EffectiveAt: known(v.EffectiveAt),
		EndedBy: v.EndedBy, EndsAt: known(v.EndsAt),
	}
	for _, s := range v.Terms.Schemes {
		out.Terms.Schemes = append(out.Terms.Schemes, string(s))
	}
	return out
}
