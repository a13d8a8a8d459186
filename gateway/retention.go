package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// EraseBefore erases a tenant's taps and rider detail of the business dates before
// one ([retention.Erase]).
func (g *Gateway) EraseBefore(ctx context.Context, actor string, tenant citygate.TenantID, date citygate.Date, dryRun bool) (retention.Result, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return retention.Result{}, err
	}
	calendar, err := t.Calendar()
	if err != nil {
		return retention.Result{}, err
	}
	before, _ := calendar.Window(date)
	return retention.Erase(ctx, g.DB, actor, tenant, before, dryRun)
}

// erased says what of each tenant cannot be derived again.
func (g *Gateway) erased(ctx context.Context, ids []citygate.TenantID) (list []ledger.Erased, err error) {
	for _, id := range ids {
		var s retention.Settings
		if err := g.DB.InTenant(ctx, id, func(tx *pg.Tx) (err error) {
			s, err = retention.Read(ctx, tx)
			return err
		}); err != nil {
			return nil, err
		}
		if s.Taps+s.Journeys > 0 {
			list = append(list, ledger.Erased{Tenant: id, Before: s.ErasedBefore, Taps: s.Taps, Journeys: s.Journeys})
		}
	}
	return list, nil
}
