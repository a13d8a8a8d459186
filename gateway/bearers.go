package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) bearers() edge.Bearers {
	return edge.Bearers{
		Disputes: func(ctx context.Context, tenant citygate.TenantID, state string, page edge.Page) (list []edge.Dispute, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := collect.Disputes(ctx, tx, state, page.After, page.Limit)
				list = make([]edge.Dispute, len(found))
				for i, d := range found {
					list[i] = disputeView(d)
				}
				return err
			})
			return list, err
		},
		Dispute: func(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID, d edge.OpenDispute) (edge.Dispute, error) {
			v, err := g.OpenDispute(ctx, actor, tenant, collect.Dispute{Debt: debt, Bearer: d.Bearer, Reason: d.Reason, Evidence: d.Evidence})
			return disputeView(v), err
		},
		Decide: func(ctx context.Context, actor string, tenant citygate.TenantID, dispute citygate.UUID, d edge.DecideDispute) (edge.Dispute, error) {
			v, err := g.DecideDispute(ctx, actor, tenant, dispute, d.Outcome, d.BearsInstead, d.Reason)
			return disputeView(v), err
		},
		Claims: func(ctx context.Context, tenant citygate.TenantID) (list []edge.BearerClaim, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := collect.BearerClaims(ctx, tx)
				list = make([]edge.BearerClaim, len(found))
				for i := range found {
					b := &found[i]
					money := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: b.Currency} }
					list[i] = edge.BearerClaim{Bearer: b.Bearer, Contract: b.Contract, Claimed: money(b.Claimed), Disputed: money(b.Disputed), Paid: money(b.Paid), Owed: money(b.Owed())}
				}
				return err
			})
			return list, err
		},
		Payments: func(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.BearerPayment, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := collect.BearerPayments(ctx, tx, page.After, page.Limit)
				list = make([]edge.BearerPayment, len(found))
				for i, p := range found {
					list[i] = bearerPaymentView(p)
				}
				return err
			})
			return list, err
		},
		Paid: func(ctx context.Context, actor string, tenant citygate.TenantID, p edge.RecordBearerPayment) (edge.BearerPayment, error) {
			v, err := g.RecordBearerPayment(ctx, actor, tenant, collect.BearerPayment{Bearer: p.Bearer, Contract: p.Contract, Reference: p.Reference, Amount: p.Amount, Reason: p.Reason})
			return bearerPaymentView(v), err
		},
	}
}

func disputeView(d collect.Dispute) edge.Dispute {
	return edge.Dispute{ID: d.ID.Text("dsp_"), Debt: d.Debt.Text("dbt_"), Bearer: d.Bearer, State: d.State, Reason: d.Reason, Evidence: d.Evidence,
		OpenedBy: d.OpenedBy, OpenedAt: d.OpenedAt, BearsInstead: d.BearsInstead, Decision: d.Decision, DecidedBy: d.DecidedBy, DecidedAt: orNever(d.DecidedAt)}
}

func bearerPaymentView(p collect.BearerPayment) edge.BearerPayment {
	return edge.BearerPayment{ID: p.ID.Text("bpm_"), Bearer: p.Bearer, Contract: p.Contract, Reference: p.Reference, Amount: p.Amount, Reason: p.Reason,
		RecordedBy: p.RecordedBy, At: p.At}
}

// OpenDispute disputes that a party bears a debt; see [collect.Collector.OpenDispute].
func (g *Gateway) OpenDispute(ctx context.Context, actor string, tenant citygate.TenantID, d collect.Dispute) (collect.Dispute, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return collect.Dispute{}, err
	}
	return g.Collector.OpenDispute(ctx, actor, tenant, d)
}

// DecideDispute decides who bears a disputed debt; see [collect.Collector.DecideDispute].
func (g *Gateway) DecideDispute(ctx context.Context, actor string, tenant citygate.TenantID, dispute citygate.UUID, outcome, instead, reason string) (collect.Dispute, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return collect.Dispute{}, err
	}
	return g.Collector.DecideDispute(ctx, actor, tenant, dispute, outcome, instead, reason)
}

// RecordBearerPayment records what a bearer paid; see
// [collect.Collector.RecordBearerPayment].
func (g *Gateway) RecordBearerPayment(ctx context.Context, actor string, tenant citygate.TenantID, p collect.BearerPayment) (collect.BearerPayment, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return collect.BearerPayment{}, err
	}
	return g.Collector.RecordBearerPayment(ctx, actor, tenant, p)
}
