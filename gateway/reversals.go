package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) reversals() edge.Reversals {
	return edge.Reversals{
		List: func(ctx context.Context, tenant citygate.TenantID, state string, page edge.Page) (list []edge.Reversal, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := collect.Reversals(ctx, tx, state, page.After, page.Limit)
				list = make([]edge.Reversal, len(found))
				for i := range found {
					list[i] = reversalView(&found[i])
				}
				return err
			})
			return list, err
		},
		Record: func(ctx context.Context, actor string, tenant citygate.TenantID, r edge.RecordReversal) (edge.Reversal, error) {
			v, err := g.Reverse(ctx, actor, tenant, collect.Reversal{Contract: r.Contract, Reference: r.Reference, Charge: r.Payment, Amount: r.Amount,
				Fee: orZero(r.FeeMinor), FeeUnsaid: r.FeeMinor == nil, Reason: r.Reason, Source: collect.FromPerson})
			return reversalView(&v), err
		},
		Conclude: func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, c edge.ConcludeReversal) (edge.Reversal, error) {
			v, err := g.ConcludeReversal(ctx, actor, tenant, collect.ReversalOutcome{Reversal: id, Reference: c.Reference, Outcome: c.Outcome, Amount: c.AmountMinor,
				Fee: orZero(c.FeeMinor), FeeUnsaid: c.FeeMinor == nil, Reason: c.Reason, Source: collect.FromPerson})
			return reversalView(&v), err
		},
	}
}

func orZero(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func reversalView(v *collect.ReversalView) edge.Reversal {
	r := edge.Reversal{
		ID: v.ID.Text("rvs_"), Contract: v.Contract, Reference: v.Reference, Payment: v.Charge, State: v.State, Amount: v.Amount, FeeMinor: v.Fee, FeeUnsaid: v.FeeUnsaid,
		Owed:     citygate.Money{Minor: v.Owed, Currency: v.Amount.Currency},
		Covered:  citygate.Money{Minor: v.Covered, Currency: v.Amount.Currency},
		Borne:    citygate.Money{Minor: v.Borne, Currency: v.Amount.Currency},
		Returned: citygate.Money{Minor: v.Returned, Currency: v.Amount.Currency},
		Pending:  v.Pending, Reason: v.Reason, Source: v.Source, RecordedBy: v.RecordedBy, RecordedAt: v.RecordedAt,
		AppliedAt: orNever(v.AppliedAt), ClosedAt: orNever(v.ClosedAt),
	}
	if !v.Till.IsZero() {
		r.Till = v.Till.Text(till.Prefix)
	}
	if !v.Account.IsZero() {
		r.Account = v.Account.Text("acc_")
	}
	if !v.Sale.IsZero() {
		r.Sale = v.Sale.Text(sales.Prefix)
	}
	if !v.Debt.IsZero() {
		r.Debt = v.Debt.Text("dbt_")
	}
	return r
}

// Reverse records that a provider took a payment back; see [collect.Collector.Reverse].
func (g *Gateway) Reverse(ctx context.Context, actor string, tenant citygate.TenantID, r collect.Reversal) (collect.ReversalView, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return collect.ReversalView{}, err
	}
	v, err := g.Collector.Reverse(ctx, actor, tenant, r)
	if err != nil {
		return v, err
	}
	return v, g.recognise(ctx, tenant, r.Contract, r.Reference)
}

// recognise matches the bill's rows of what was recorded, if they came before.
func (g *Gateway) recognise(ctx context.Context, tenant citygate.TenantID, contract, reference string) error {
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		outcomes, err := collect.OutcomesOf(ctx, tx, contract, reference) // those that waited for it
		if err != nil {
			return err
		}
		for _, ref := range append([]string{reference}, outcomes...) {
			if err := recon.Recognise(ctx, tx, recon.Payments{Collector: g.Collector}, contract, ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// ConcludeReversal records what became of a reversal; see [collect.Collector.Conclude].
func (g *Gateway) ConcludeReversal(ctx context.Context, actor string, tenant citygate.TenantID, o collect.ReversalOutcome) (collect.ReversalView, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return collect.ReversalView{}, err
	}
	v, err := g.Collector.Conclude(ctx, actor, tenant, o)
	if err != nil {
		return v, err
	}
	return v, g.recognise(ctx, tenant, v.Contract, o.Reference)
}
