package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// devices is the edge's way to the issuance office.
func (g *Gateway) devices() edge.Devices {
	return edge.Devices{
		Challenge: g.Issuance.Challenge, Register: g.Issuance.Register, Release: g.Issuance.Release, Found: g.Issuance.Found,
		ReportLoss: g.Issuance.ReportLoss, Concession: g.Issuance.SetConcession,
		Policy: func(ctx context.Context, tenant citygate.TenantID) (p issuance.Policy, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				p, err = issuance.Latest(ctx, tx)
				return err
			})
			return p, err
		},
		PublishPolicy: func(ctx context.Context, actor string, tenant citygate.TenantID, p issuance.Policy) (stored issuance.Policy, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				stored, err = issuance.Publish(ctx, tx, actor, p)
				return err
			})
			return stored, err
		},
		LargestLoss: func(ctx context.Context, tenant citygate.TenantID, p *issuance.Policy, unreported time.Duration) (citygate.Money, error) {
			t, err := g.Tenants.ByID(ctx, tenant)
			return p.LargestLoss(citygate.Money{Minor: t.CapUnit, Currency: t.Currency}, unreported), err
		},
		List: func(ctx context.Context, tenant citygate.TenantID, account citygate.UUID) (list []issuance.Device, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				list, err = issuance.Devices(ctx, tx, account)
				return err
			})
			return list, err
		},
		Renew: func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (edge.RenewedCredential, error) {
			x, err := g.Issuance.Renew(ctx, actor, tenant, device)
			return edge.RenewedCredential{
				List: x.Rider.List, Index: x.Rider.Index, Credential: x.Credential, ExpiresAt: x.ExpiresAt.Unix(), ServerTime: x.ServerTime.Unix(),
			}, err
		},
	}
}
