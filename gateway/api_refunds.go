package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) fareRefunds() edge.FareRefunds {
	return edge.FareRefunds{AloneMay: g.refundAlone, Refund: g.refundJourney, Rule: g.refundRule, SetRule: g.setRefundRule}
}

// refundAlone holds what is to be given back, with what went back of the journey
// already, against the tenant's rule: of a void that is the fare as it stands.
func (g *Gateway) refundAlone(ctx context.Context, tenant citygate.TenantID, journey citygate.UUID, r edge.RefundJourney) (alone bool, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		fare, err := pricing.FareOf(ctx, tx, journey)
		if err != nil {
			return err
		}
		if r.Kind == "goodwill" {
			fare = r.Goodwill
		}
		given, named, err := pricing.GivenBack(ctx, tx, journey, r.Name)
		if err != nil || named { // asked again, it changes nothing
			alone = named
			return err
		}
		alone, err = mayRefundAlone(ctx, tx, given+fare)
		return err
	})
	return alone, err
}

// mayRefundAlone holds all that goes back of a fare, or of a payment at a till, against the
// tenant's rule: in several parts one person gives back no more than at once.
func mayRefundAlone(ctx context.Context, tx *pg.Tx, sum int64) (bool, error) {
	rule, err := pricing.RefundRuleOf(ctx, tx)
	return rule.Version > 0 && sum <= rule.AloneUpTo, err
}

func (g *Gateway) refundJourney(ctx context.Context, actor string, tenant citygate.TenantID, journey citygate.UUID, r edge.RefundJourney, alone bool) (edge.Journey, error) {
	b := pricing.GiveBack{Journey: journey, Name: r.Name, Void: r.Kind == "void", Goodwill: r.Goodwill, Reason: r.Reason}
	if alone {
		b.Alone = mayRefundAlone
	}
	err := g.GiveBack(ctx, actor, tenant, b)
	if err != nil {
		return edge.Journey{}, err
	}
	return g.journey(ctx, tenant, journey)
}

// GiveBack gives a fare back; see [pricing.Engine.GiveBack].
func (g *Gateway) GiveBack(ctx context.Context, actor string, tenant citygate.TenantID, b pricing.GiveBack) error {
	if err := g.prime(ctx, tenant); err != nil {
		return err
	}
	return g.Pricing.GiveBack(ctx, tenant, actor, b)
}

func ruleView(r pricing.RefundRule) edge.RefundRule {
	return edge.RefundRule{AloneUpTo: r.AloneUpTo, Version: r.Version, SetBy: r.Actor}
}

func (g *Gateway) refundRule(ctx context.Context, tenant citygate.TenantID) (v edge.RefundRule, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		r, err := pricing.RefundRuleOf(ctx, tx)
		v = ruleView(r)
		return err
	})
	return v, err
}

func (g *Gateway) setRefundRule(ctx context.Context, actor string, tenant citygate.TenantID, r edge.RefundRule) (v edge.RefundRule, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		set, err := pricing.SetRefundRule(ctx, tx, actor, r.AloneUpTo)
		v = ruleView(set)
		return err
	})
	return v, err
}
