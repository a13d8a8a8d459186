package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// SetState moves a tenant along its life. One that is to be closed and still has
// work under way becomes closing first; the work that is due closes it when
// nothing is left.
func (g *Gateway) SetState(ctx context.Context, actor string, tenant citygate.TenantID, to tenants.State) (tenants.Tenant, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return t, err
	}
	if to == tenants.Closed && (t.State == tenants.Active || t.State == tenants.Suspended) {
		if err := g.Tenants.SetState(ctx, actor, tenant, tenants.Closing); err != nil {
			return t, err
		}
		return t, g.closeDrained(ctx, actor, tenant, &t)
	}
	if to == tenants.Closed && t.State == tenants.Closing {
		return t, g.closeDrained(ctx, actor, tenant, &t)
	}
	if err := g.Tenants.SetState(ctx, actor, tenant, to); err != nil {
		return t, err
	}
	return g.Tenants.ByID(ctx, tenant)
}

// closeDrained closes a closing tenant that has nothing under way.
func (g *Gateway) closeDrained(ctx context.Context, actor string, tenant citygate.TenantID, t *tenants.Tenant) error {
	open, err := g.UnderWay(ctx, tenant)
	if err == nil && open == "" {
		err = g.Tenants.SetState(ctx, actor, tenant, tenants.Closed)
	}
	if err == nil {
		*t, err = g.Tenants.ByID(ctx, tenant)
	}
	return err
}

// UnderWay says what a tenant has not finished, or "". For as long as its rules
// take late uploads a closing operator waits for what its readers still hold.
// Debts do not count: they may stay for ever, and an export names them.
func (g *Gateway) UnderWay(ctx context.Context, tenant citygate.TenantID) (open string, err error) {
	t, since, err := g.Tenants.StateSince(ctx, tenant)
	if err != nil {
		return "", err
	}
	late := ""
	if rules, err := policies.Latest(ctx, g.DB, tenant); err == nil && t.State == tenants.Closing {
		now, err := g.DB.NowOf(ctx, tenant)
		if err != nil {
			return "", err
		}
		until := since.AddDate(0, 0, int(rules.LateUploadDays))
		if now.Before(until) {
			late = "uploads that may come until " + until.Format(time.DateOnly)
		}
	} else if err != nil && !errors.Is(err, policies.ErrNone) {
		return "", err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		const count = `
			SELECT (SELECT count(*) FROM journeys WHERE tenant_id = $1 AND state = 'open'),
				(SELECT count(*) FROM aggregations WHERE tenant_id = $1 AND state IN ('open', 'charging')),
				(SELECT count(*) FROM charges WHERE tenant_id = $1 AND (state IN ('created', 'sent', 'unknown') OR state = 'succeeded' AND NOT (passed AND released))),
				(SELECT count(*) FROM windows AS w WHERE w.tenant_id = $1 AND w.state <> 'paid' AND
					(EXISTS (SELECT FROM fare_decisions AS d WHERE d.tenant_id = $1 AND d.window_date = w.business_date)
					OR EXISTS (SELECT FROM receipts AS r WHERE r.tenant_id = $1 AND r.window_date = w.business_date))),
				(SELECT count(*) FROM outbox WHERE tenant_id = $1 AND delivered_at IS NULL),
				(SELECT count(*) FROM recon_items WHERE tenant_id = $1 AND state = 'open'),
				(SELECT count(*) FROM payouts WHERE tenant_id = $1 AND state = 'held'),
				(SELECT count(*) FROM (SELECT FROM receipts WHERE tenant_id = $1 AND journey_id = '00000000-0000-0000-0000-000000000000' AND kind = 'carried'
					GROUP BY payee, currency HAVING sum(amount) < 0) AS owed)`
		var n [8]int
		if err := tx.QueryRow(ctx, count, tx.Tenant).Scan(&n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]); err != nil {
			return err
		}
		var parts []string
		if late != "" {
			parts = append(parts, late)
		}
		for i, what := range []string{"open journey", "uncollected account", "charge under way", "unpaid window", "undelivered message", "open reconciliation item", "held payout", "payee with a cancelled payout"} {
			if n[i] > 0 {
				parts = append(parts, plural(n[i], what))
			}
		}
		open = strings.ReplaceAll(strings.Join(parts, ", "), "charge under ways", "charges under way")
		return nil
	})
	return open, err
}

// may is [tenants.ErrState] where the tenant's state refuses an activity.
func (g *Gateway) may(ctx context.Context, tenant citygate.TenantID, a tenants.Activity) error {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return err
	}
	return t.May(a)
}

// finishClosing closes a tenant whose last work is done.
func (g *Gateway) finishClosing(ctx context.Context, tenant citygate.TenantID) error {
	var t tenants.Tenant
	return g.closeDrained(ctx, "system:close", tenant, &t)
}
