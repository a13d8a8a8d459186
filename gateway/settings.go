package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) settings() edge.Settings {
	return edge.Settings{
		Quota: g.Tenants.QuotaOf,
		SetQuota: func(ctx context.Context, actor string, tenant citygate.TenantID, q tenants.Quota) error {
			if err := g.byHand(ctx, tenant, manifest.KindQuota, ""); err != nil {
				return err
			}
			return g.Tenants.SetQuota(ctx, actor, tenant, q)
		},
		Calendars: g.calendars,
		AddCalendar: func(ctx context.Context, actor string, tenant citygate.TenantID, v tenants.CalendarVersion) error {
			if err := g.byHand(ctx, tenant, manifest.KindCalendar, ""); err != nil {
				return err
			}
			return g.AddCalendar(ctx, actor, tenant, v)
		},
		Retention: func(ctx context.Context, tenant citygate.TenantID) (v edge.Retention, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				s, err := retention.Read(ctx, tx)
				v = retentionView(s)
				return err
			})
			return v, err
		},
		SetRetention: func(ctx context.Context, actor string, tenant citygate.TenantID, keepDays int, automatic bool) (edge.Retention, error) {
			if err := g.byHand(ctx, tenant, manifest.KindRetention, ""); err != nil {
				return edge.Retention{}, err
			}
			s, err := g.setRetention(ctx, actor, tenant, keepDays, automatic)
			return retentionView(s), err
		},
	}
}

func (g *Gateway) setRetention(ctx context.Context, actor string, tenant citygate.TenantID, keepDays int, automatic bool) (s retention.Settings, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		s, err = retention.Set(ctx, tx, actor, keepDays, automatic)
		return err
	})
	return s, err
}

func retentionView(s retention.Settings) edge.Retention {
	v := edge.Retention{KeepDays: s.KeepDays, Automatic: s.Automatic, TapsErased: s.Taps}
	if !s.ErasedBefore.IsZero() {
		v.ErasedBefore = &s.ErasedBefore
	}
	return v
}

// quota is a tenant's quota for the limiter, as this process read it last.
func (g *Gateway) quota(tenant citygate.TenantID) edge.Quota {
	if g.Tenants == nil {
		return edge.DefaultQuota(tenant)
	}
	return edge.QuotaFrom(tenant, g.Tenants.Quota(tenant))
}

// calendars gives every version of a tenant's calendar, its own time zone and cut
// as the first.
func (g *Gateway) calendars(ctx context.Context, tenant citygate.TenantID, page edge.VersionsPage) (list []tenants.CalendarVersion, err error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return nil, err
	}
	until, err := untilDate(page.Until)
	if err != nil {
		return nil, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		list = nil
		behind := 1
		if page.Behind == nil {
			list = []tenants.CalendarVersion{{Version: 1, TimeZone: t.TimeZone, CutMinutes: t.CutMinutes}}
		} else {
			behind = int(*page.Behind)
		}
		later, err := tenants.CalendarsAfter(ctx, tx, behind, until, page.Limit-len(list))
		list = append(list, later...)
		return err
	})
	return list, err
}

// AddCalendar adds the next version of a tenant's settlement calendar.
func (g *Gateway) AddCalendar(ctx context.Context, actor string, tenant citygate.TenantID, v tenants.CalendarVersion) error {
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		free, err := undated(ctx, tx)
		if err != nil {
			return err
		}
		return tenants.AddCalendar(ctx, tx, actor, v, free)
	})
	if err != nil {
		return err
	}
	g.Tenants.Forget()
	return g.carryFares(ctx, actor, tenant)
}

// undated reports whether nothing of the transaction's tenant has a business date
// yet: no tap, window, fare or charge.
func undated(ctx context.Context, tx *pg.Tx) (free bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT NOT EXISTS (SELECT FROM taps WHERE tenant_id = $1) AND NOT EXISTS (SELECT FROM foreign_taps WHERE tenant_id = $1)
			AND NOT EXISTS (SELECT FROM windows WHERE tenant_id = $1) AND NOT EXISTS (SELECT FROM transfers WHERE tenant_id = $1)
			AND NOT EXISTS (SELECT FROM aggregations WHERE tenant_id = $1) AND NOT EXISTS (SELECT FROM fare_decisions WHERE tenant_id = $1)`, tx.Tenant).Scan(&free)
	return free, err
}
