package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func debtView(d collect.DebtView) edge.Debt {
	v := edge.Debt{
		ID: d.ID.Text("dbt_"), Account: d.Account.Text("acc_"), Opened: d.Opened, Left: d.Left, BusinessDate: d.BusinessDate.String(), State: d.State,
		Tries: d.Tries, RetryAt: orNever(d.RetryAt), RetryBy: d.RetryBy, Insured: d.Insured, OpenedAt: d.OpenedAt, ClosedAt: orNever(d.ClosedAt), RepaidAt: orNever(d.RepaidAt), Blocks: d.Blocks,
	}
	if !d.Reversal.IsZero() {
		v.Reversal = d.Reversal.Text("rvs_")
	}
	if !d.Sale.IsZero() {
		v.Sale = d.Sale.Text(sales.Prefix)
	}
	return v
}

func (g *Gateway) writeOffDebt(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID, w edge.WriteOffDebt) (edge.Debt, error) {
	d, err := g.WriteOff(ctx, actor, tenant, collect.WriteOff{Debt: debt, Amount: w.Amount, Reason: w.Reason})
	return debtView(d), err
}

// WriteOff gives up a debt of a tenant's rider; see [collect.Collector.WriteOff].
func (g *Gateway) WriteOff(ctx context.Context, actor string, tenant citygate.TenantID, w collect.WriteOff) (collect.DebtView, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return collect.DebtView{}, err
	}
	return g.Collector.WriteOff(ctx, actor, tenant, w)
}

func (g *Gateway) collectWrittenOff(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID) (edge.Debt, error) {
	d, err := g.CollectWrittenOff(ctx, actor, tenant, debt)
	return debtView(d), err
}

// CollectWrittenOff has a written-off debt collected once more; see
// [collect.PayWrittenOff].
func (g *Gateway) CollectWrittenOff(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID) (d collect.DebtView, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		d, err = collect.PayWrittenOff(ctx, tx, actor, debt)
		return err
	})
	return d, err
}
