package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// devices is the edge's way to the issuance office.
func (g *Gateway) devices() edge.Devices {
	return edge.Devices{
		Challenge: g.Issuance.Challenge, Register: g.registerDevice, Release: g.Issuance.Release, Found: g.Issuance.Found,
		ReportLoss: g.Issuance.ReportLoss, Concession: g.Issuance.SetConcession, ConcessionOf: g.Issuance.Category,
		Policy: func(ctx context.Context, tenant citygate.TenantID) (p issuance.Policy, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				p, err = issuance.Latest(ctx, tx)
				return err
			})
			return p, err
		},
		PublishPolicy: func(ctx context.Context, actor string, tenant citygate.TenantID, p issuance.Policy) (stored issuance.Policy, err error) {
			if err := g.byHand(ctx, tenant, manifest.KindIssuance, ""); err != nil {
				return stored, err
			}
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				stored, err = issuance.Publish(ctx, tx, actor, p)
				return err
			})
			return stored, err
		},
		LargestLoss: func(ctx context.Context, tenant citygate.TenantID, p *issuance.Policy, unreported time.Duration) (edge.Losses, error) {
			t, err := g.Tenants.ByID(ctx, tenant)
			unit := citygate.Money{Minor: t.CapUnit, Currency: t.Currency}
			return edge.Losses{Devices: p.LargestLoss(unit, unreported), Batch: p.LargestBatchLoss(unit, unreported)}, err
		},
		Batch: g.codeBatch, RevokeBatch: g.Issuance.RevokeBatch,
		List: func(ctx context.Context, tenant citygate.TenantID, account citygate.UUID) (list []issuance.Device, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				list, err = issuance.Devices(ctx, tx, account)
				return err
			})
			return list, err
		},
		Renew: func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID, anchor []byte) (edge.RenewedCredential, error) {
			if err := g.may(ctx, tenant, tenants.Issuing); err != nil {
				return edge.RenewedCredential{}, err
			}
			renew := g.Issuance.Renew
			if len(anchor) > 0 {
				renew = func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (credential.Issue, error) {
					return g.Issuance.RenewChain(ctx, actor, tenant, device, anchor)
				}
			}
			x, err := renew(ctx, actor, tenant, device)
			return edge.RenewedCredential{
				List: x.Rider.List, Index: x.Rider.Index, Credential: x.Credential, ExpiresAt: x.ExpiresAt.Unix(), ServerTime: x.ServerTime.Unix(),
			}, err
		},
	}
}

// codeBatch gives the codes of a medium without a key.
func (g *Gateway) codeBatch(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (edge.CodeBatch, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err == nil {
		err = t.May(tenants.Issuing)
	}
	if err != nil {
		return edge.CodeBatch{}, err
	}
	b, err := g.Issuance.Batch(ctx, actor, tenant, device)
	if err != nil {
		return edge.CodeBatch{}, err
	}
	var c code.Code
	if err := ct1.ParseCredential(b.Credential, &c); err != nil {
		return edge.CodeBatch{}, err
	}
	return edge.CodeBatch{
		List: b.Rider.List, Index: b.Rider.Index, From: b.From.Unix(), WindowSeconds: int64(b.Window / time.Second), Until: b.Until().Unix(),
		RenewFrom: b.From.Add(b.Until().Sub(b.From)/2).Unix() + 1, Codes: b.Codes, ServerTime: b.ServerTime.Unix(), Strength: string(code.StaticSigned),
		LargestLoss: citygate.Money{Minor: int64(len(b.Codes)) * int64(c.Cap) * t.CapUnit, Currency: t.Currency},
	}, nil
}

func (g *Gateway) registerDevice(ctx context.Context, actor string, tenant citygate.TenantID, r issuance.Registration) (issuance.Device, error) {
	if err := g.may(ctx, tenant, tenants.Issuing); err != nil {
		return issuance.Device{}, err
	}
	if err := g.collectsRides(ctx, tenant, r.Contract); err != nil {
		return issuance.Device{}, err
	}
	return g.Issuance.Register(ctx, actor, tenant, r)
}
