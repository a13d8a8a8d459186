package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// journeyReading hands the edge how taps become journeys.
func (g *Gateway) journeyReading() edge.JourneyReading {
	return edge.JourneyReading{Rules: g.journeyRulesList, Publish: byHand(g, manifest.KindJourneyRules, g.publishJourneyRules), Facts: g.journeyFacts, Record: g.recordFact}
}

func readingView(r *pricing.Reading) *edge.Reading {
	if r == nil {
		return nil
	}
	v := &edge.Reading{Rules: r.Rules, Missing: string(r.Missing), Doubt: string(r.Doubt), Retyped: r.Retyped, SameStation: string(r.SameStation)}
	if in := r.Inferred; in != nil {
		v.Inferred = &edge.InferredEnd{Stop: in.Stop, At: in.At, Method: string(in.Method), Confidence: in.Confidence, Claim: in.Claim, Evidence: in.Evidence}
	}
	return v
}

func corrections(ctx context.Context, tx *pg.Tx, id citygate.UUID) (list []edge.Correction, err error) {
	found, err := pricing.CorrectionsOf(ctx, tx, id)
	for _, c := range found {
		list = append(list, edge.Correction{From: c.From.Text(pricing.Prefix), FromDecision: c.FromN, To: c.To.Text(pricing.Prefix), ToDecision: c.ToN, Amount: c.Amount})
	}
	return list, err
}

func (g *Gateway) journeyRulesList(ctx context.Context, tenant citygate.TenantID, page pg.Span) (list []edge.JourneyRules, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.RuleVersions(ctx, tx, page)
		if err != nil {
			return err
		}
		list = make([]edge.JourneyRules, len(found))
		for i, v := range found {
			if list[i].Rules, err = v.Document.Encode(); err != nil {
				return err
			}
			list[i].From = v.From
		}
		return nil
	})
	return list, err
}

func (g *Gateway) publishJourneyRules(ctx context.Context, actor string, tenant citygate.TenantID, r edge.JourneyRules) error {
	d, err := journey.ParseDocument(r.Rules)
	if err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return pricing.PublishRules(ctx, tx, actor, d, r.From) })
}

func (g *Gateway) journeyFacts(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.JourneyFact, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.Facts(ctx, tx, page.After, page.Limit)
		list = make([]edge.JourneyFact, len(found))
		for i, f := range found {
			list[i] = factView(f)
		}
		return err
	})
	return list, err
}

func factView(f pricing.Fact) edge.JourneyFact {
	v := edge.JourneyFact{ID: f.ID.Text(pricing.FactPrefix), Kind: f.Kind, Terminal: f.Terminal, Stop: f.Stop, From: f.From, To: f.To, Actor: f.Actor}
	if !f.RecordedAt.IsZero() {
		v.RecordedAt = &f.RecordedAt
	}
	return v
}

func (g *Gateway) recordFact(ctx context.Context, actor string, tenant citygate.TenantID, f edge.JourneyFact) (edge.JourneyFact, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return edge.JourneyFact{}, err
	}
	if f.Terminal != 0 {
		err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			_, err := fleet.Get(ctx, tx, f.Terminal)
			return err
		})
		if err != nil {
			return edge.JourneyFact{}, err
		}
	}
	fact := pricing.Fact{Kind: f.Kind, Terminal: f.Terminal, Stop: f.Stop, From: f.From.UTC(), To: f.To.UTC(), Actor: actor}
	id, err := g.Pricing.Record(ctx, tenant, fact)
	fact.ID = id
	return factView(fact), err
}
