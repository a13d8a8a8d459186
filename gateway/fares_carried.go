package gateway

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// faresAhead is for how long readers know how the clock goes: longer than any bundle
// lives, renewed or not.
const faresAhead = 10 * 365 * 24 * time.Hour

// fareCarrier is how the audit log names bundles that changed because the authority's
// prices or a membership in them did.
const fareCarrier = "system:fares"

// entryFares gives what readers of a tenant may know of prices: its own, and for the
// time of memberships in an integrated tariff the authority's. Each tenant's are read
// in a transaction of its own; what both sides agreed to is what a member may read.
func (g *Gateway) entryFares(ctx context.Context, tenant citygate.TenantID) ([]byte, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return nil, err
	}
	calendar, err := t.Calendar()
	if err != nil {
		return nil, err
	}
	var own []fare.EntryVersion
	var all []pricing.Member
	var now time.Time
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		now = tx.Now
		if all, err = pricing.Members(ctx, tx); err == nil {
			own, err = pricing.EntryVersions(ctx, tx, now)
		}
		return err
	}); err != nil {
		return nil, err
	}
	var members []fare.EntryMember
	for i := range all {
		m := &all[i]
		if m.Operator != tenant || m.EffectiveAt.IsZero() || !m.EndsAt.IsZero() && !m.EndsAt.After(now) {
			continue
		}
		entry, err := g.authorityFares(ctx, m, now)
		if err != nil {
			return nil, err
		}
		members = append(members, entry)
	}
	if len(own) == 0 && len(members) == 0 {
		return nil, nil
	}
	return fare.EncodeEntry(calendar, own, members, now, now.Add(faresAhead), bundle.FaresMax)
}

// authorityFares gives the prices of an authority for the time of a membership.
func (g *Gateway) authorityFares(ctx context.Context, m *pricing.Member, now time.Time) (entry fare.EntryMember, err error) {
	entry = fare.EntryMember{From: m.EffectiveAt.UnixMilli(), Operator: m.Name}
	if !m.EndsAt.IsZero() {
		entry.Until = m.EndsAt.UnixMilli()
	}
	authority, err := g.Tenants.ByID(ctx, m.Authority)
	if err != nil {
		return entry, err
	}
	if entry.Calendar, err = authority.Calendar(); err != nil {
		return entry, err
	}
	if m.EffectiveAt.After(now) {
		now = m.EffectiveAt
	}
	err = g.DB.InTenant(ctx, m.Authority, func(tx *pg.Tx) (err error) {
		entry.Versions, err = pricing.EntryVersions(ctx, tx, now)
		return err
	})
	return entry, err
}

// carryFares brings an operator's readers its prices and calendar as they stand now,
// with the versions to come, so that readers change over offline, and an authority's
// those of the members of its tariff as well. Where there is no bundle yet the first
// one brings them.
func (g *Gateway) carryFares(ctx context.Context, actor string, tenant citygate.TenantID) error {
	if err := g.carryOwnFares(ctx, actor, tenant); err != nil {
		return err
	}
	var all []pricing.Member
	var now time.Time
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		now = tx.Now
		all, err = pricing.Members(ctx, tx)
		return err
	}); err != nil {
		return err
	}
	for i := range all {
		m := &all[i]
		if m.Authority != tenant || m.EffectiveAt.IsZero() || !m.EndsAt.IsZero() && !m.EndsAt.After(now) {
			continue
		}
		// What one member cannot have now is no reason to tell the authority that its
		// prices were not published; the next renewal of the bundle brings it.
		if err := g.carryOwnFares(ctx, fareCarrier, m.Operator); err != nil {
			g.Log.Error("readers of a member have no new prices of the integrated tariff yet", "tenant", m.Operator, "authority", tenant, "error", err)
		}
	}
	return nil
}

func (g *Gateway) carryOwnFares(ctx context.Context, actor string, tenant citygate.TenantID) error {
	stale, err := g.faresStale(ctx, tenant)
	if err != nil || !stale {
		return err
	}
	_, err = g.carryAgain(ctx, actor, tenant)
	return err
}

// faresStale reports whether a tenant has a bundle that says other prices than hold.
func (g *Gateway) faresStale(ctx context.Context, tenant citygate.TenantID) (bool, error) {
	profile, err := g.Bundles.Profile(ctx, tenant)
	if errors.Is(err, fleet.ErrNoBundle) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fares, err := g.entryFares(ctx, tenant)
	return err == nil && !bytes.Equal(fares, profile.Fares), err
}

// AgreeMember is [pricing.Engine.AgreeMember]; the member's readers get the
// authority's prices ahead and change over to them offline.
func (g *Gateway) AgreeMember(ctx context.Context, actor string, operator citygate.TenantID, version int) (pricing.Member, error) {
	m, err := g.Pricing.AgreeMember(ctx, actor, operator, version)
	if err == nil {
		err = g.carryOwnFares(ctx, actor, operator)
	}
	return m, err
}

// EndMember is [pricing.Engine.EndMember]; the member's readers learn when its own
// prices hold again.
func (g *Gateway) EndMember(ctx context.Context, actor string, tenant, operator citygate.TenantID, at time.Time) (pricing.Member, error) {
	m, err := g.Pricing.EndMember(ctx, actor, tenant, operator, at)
	if err == nil && !m.EffectiveAt.IsZero() {
		err = g.carryOwnFares(ctx, fareCarrier, operator)
	}
	return m, err
}
