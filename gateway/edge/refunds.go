package edge

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
)

// FareRefunds is what the edge calls for fares that people give back.
type FareRefunds struct {
	// AloneMay reports whether one person alone may give so much back, with what went back
	// of the journey already. Refund holds alone against the rule once more.
	AloneMay func(ctx context.Context, tenant citygate.TenantID, journey citygate.UUID, r RefundJourney) (bool, error)
	Refund   func(ctx context.Context, actor string, tenant citygate.TenantID, journey citygate.UUID, r RefundJourney, alone bool) (Journey, error)
	Rule     func(ctx context.Context, tenant citygate.TenantID) (RefundRule, error)
	SetRule  func(ctx context.Context, actor string, tenant citygate.TenantID, r RefundRule) (RefundRule, error)
}

// RefundJourney gives a fare back.
type RefundJourney struct {
	Kind     string `json:"kind" enum:"void,goodwill" doc:"void: as if the ride had not been, so that it counts toward no cap and those after it are priced again; goodwill: an amount, and no other ride changes"`
	Goodwill int64  `json:"goodwill_minor,omitempty" minimum:"0" doc:"of goodwill: how much, in minor units, at most the fare as it stands"`
	Name     string `json:"name" minLength:"1" maxLength:"64" doc:"your own name for the refund, once per journey: asked again under it, nothing is given twice"`
	Reason   string `json:"reason" minLength:"1" maxLength:"500"`
}

// A RefundRule says up to what amount one person alone gives a fare back.
type RefundRule struct {
	AloneUpTo int64  `json:"alone_up_to_minor" minimum:"0" doc:"of one journey, or one payment at a till, in all; in the tenant's currency. Above it a second person is needed where the tenant wants two for money that leaves (payout_release)"`
	Version   int    `json:"version,omitempty" readOnly:"true" doc:"0 = none was set: two are needed for every refund"`
	SetBy     string `json:"set_by,omitempty" readOnly:"true"`
}

func (e *Edge) fareRefundRoutes() {
	register(e, post("refund-journey", "/v1/tenants/{tenant}/journeys/{journey}/refunds", "Give a fare back, to the provider that collected it; above the tenant's limit a second person may be needed", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Journey string `path:"journey"`
			Body    RefundJourney
		}) (*body[Journey], error) {
			id, err := citygate.ParseUUID("jrn_", r.Journey)
			if err != nil {
				return nil, errNotFound.Because(err, "journey")
			}
			alone, err := e.FareRefunds.AloneMay(ctx, r.id(), id, r.Body)
			if err != nil {
				return nil, err
			}
			give := func(ctx context.Context) (*body[Journey], error) {
				began(ctx)
				return respond(e.FareRefunds.Refund(ctx, who.Subject, r.id(), id, r.Body, alone))
			}
			if alone {
				return give(ctx)
			}
			return approved(ctx, e, who, "refund-journey", access.PayoutRelease, give)
		})
	register(e, get("get-refund-rules", "/v1/tenants/{tenant}/refund-rules", "Up to what amount one person alone gives a fare back", "money"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[RefundRule], error) {
			return respond(e.FareRefunds.Rule(ctx, r.id()))
		})
	register(e, put("put-refund-rules", "/v1/tenants/{tenant}/refund-rules", "Say up to what amount one person alone gives a fare back", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body RefundRule
		}) (*body[RefundRule], error) {
			return respond(e.FareRefunds.SetRule(ctx, who.Subject, r.id(), r.Body))
		})
}
