package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/roaming"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// describeRoaming gives the tenant's word to terms with tenants of other trees.
func describeRoaming(ctx context.Context, tx *pg.Tx, m *manifest.Tenant, slugs map[citygate.TenantID]string) error {
	m.Roaming = nil // a transaction may run twice
	all, err := roaming.List(ctx, tx)
	if err != nil {
		return err
	}
	for len(all) > 0 { // in the order of the two tenants
		n := 1
		for n < len(all) && all[n].Issuer == all[0].Issuer && all[n].Host == all[0].Host {
			n++
		}
		if v := roaming.Word(all[:n], tx.Tenant); v != nil {
			r := manifest.Roaming{Role: "issuer", With: slugs[v.Host], Terms: &v.Terms}
			if v.Host == tx.Tenant {
				r.Role, r.With = "host", slugs[v.Issuer]
			}
			if r.With != "" { // of a tenant that is not here a file can say nothing
				m.Roaming = append(m.Roaming, r)
			}
		}
		all = all[n:]
	}
	return nil
}

// roaming gives the tenant's word to what its part of the file says: it agrees to
// what the other one has proposed last if that is the same, else proposes. Each
// tenant of a file speaks for itself, in a transaction of its own.
func (a *applier) roaming(ctx context.Context, t manifest.Tenant) error {
	for _, r := range t.Roaming {
		if !a.is(t, manifest.KindRoaming, r.Name()) {
			continue
		}
		if err := a.word(ctx, citygate.TenantID(t.ID), r); err != nil {
			return fmt.Errorf("roaming with %s: %w", r.With, err)
		}
	}
	return nil
}

func (a *applier) word(ctx context.Context, tenant citygate.TenantID, r manifest.Roaming) error {
	other, err := a.Tenants.BySlug(ctx, r.With)
	if err != nil {
		return err
	}
	pair := roaming.Pair{Issuer: tenant, Host: other.ID}
	if r.Role == "host" {
		pair = roaming.Pair{Issuer: other.ID, Host: tenant}
	}
	if r.End {
		_, err := a.EndRoaming(ctx, a.actor, tenant, pair, time.Time{})
		return err
	}
	var all []roaming.Version
	err = a.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		all, err = roaming.Between(ctx, tx, pair.Issuer, pair.Host)
		return err
	})
	if err != nil {
		return err
	}
	if n := len(all); n > 0 {
		if last := all[n-1]; last.Proposer != tenant && last.AgreedAt.IsZero() && last.EndsAt.IsZero() && last.Terms.Equal(*r.Terms) {
			_, err := a.AgreeRoaming(ctx, a.actor, tenant, pair, last.Number)
			return err
		}
	}
	_, err = a.ProposeRoaming(ctx, a.actor, tenant, pair, *r.Terms, time.Time{})
	return err
}

// roamingByHand is [tenants.ErrManaged] where a file manages what the tenant says to
// the terms. Of a partner nobody knows no file says anything.
func (g *Gateway) roamingByHand(ctx context.Context, tenant citygate.TenantID, p roaming.Pair) error {
	all, err := g.Tenants.Snapshot(ctx)
	if err != nil {
		return err
	}
	r, partner := manifest.Roaming{Role: "issuer"}, p.Host
	if tenant == p.Host {
		r.Role, partner = "host", p.Issuer
	}
	other, ok := all.ByID(partner)
	if !ok {
		return nil
	}
	r.With = other.Slug
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tenants.RefuseManaged(ctx, tx, tenants.Resource{Kind: manifest.KindRoaming, Name: r.Name()})
	})
}
