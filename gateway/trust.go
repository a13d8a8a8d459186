package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// trustFor bounds how long another process's new bundle or policy stays unseen.
const trustFor = 2 * time.Second

// A trustCache keeps each tenant's opened bundle and its rule sets, so that
// intake asks the database for them once in a while and not per batch.
type trustCache struct {
	mu      sync.Mutex
	bundles map[citygate.TenantID]cachedBundle
	waiting map[citygate.TenantID]waiting
	rules   map[ruleKey]*accept.Rules
}

type cachedBundle struct {
	bundle *bundle.Bundle
	read   time.Time
}

type ruleKey struct {
	tenant  citygate.TenantID
	version uint64 // 0 = the latest, which is forgotten with the bundle
}

// forget has what is kept of a tenant read again. Its keys stay held meanwhile:
// a transaction under way has nowhere else to take them from.
func (t *trustCache) forget(tenant citygate.TenantID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cached, ok := t.bundles[tenant]; ok {
		cached.read = time.Time{}
		t.bundles[tenant] = cached
	}
	delete(t.rules, ruleKey{tenant, 0})
}

// Bundle gives a tenant's newest trust bundle, opened.
func (g *Gateway) Bundle(ctx context.Context, tenant citygate.TenantID) (*bundle.Bundle, error) {
	now, err := g.DB.NowOf(ctx, tenant)
	if err != nil {
		return nil, err
	}
	g.trust.mu.Lock()
	cached, ok := g.trust.bundles[tenant]
	g.trust.mu.Unlock()
	if age := now.Sub(cached.read); ok && age >= 0 && age < trustFor {
		return cached.bundle, nil
	}
	opened, err := g.readBundle(ctx, tenant, cached.bundle, now)
	if err != nil {
		return nil, err
	}
	changed := !ok || cached.bundle.Version() != opened.Version()
	cached.bundle = opened
	g.trust.mu.Lock()
	defer g.trust.mu.Unlock()
	if g.trust.bundles == nil {
		g.trust.bundles, g.trust.rules = map[citygate.TenantID]cachedBundle{}, map[ruleKey]*accept.Rules{}
	}
	g.trust.bundles[tenant] = cachedBundle{cached.bundle, now}
	if changed {
		delete(g.trust.rules, ruleKey{tenant, 0})
	}
	return cached.bundle, nil
}

// readBundle gives the newest bundle, renewed if it is time; held is what is
// known of it, or nil.
func (g *Gateway) readBundle(ctx context.Context, tenant citygate.TenantID, held *bundle.Bundle, now time.Time) (*bundle.Bundle, error) {
	published, err := g.Bundles.Latest(ctx, tenant)
	if err != nil {
		return nil, err
	}
	roots, err := g.Bundles.Roots(ctx)
	if err != nil {
		return nil, err
	}
	signed, _, err := bundle.Inspect(published.Body)
	if err != nil {
		return nil, err
	}
	abroad, err := g.visits(ctx, tenant)
	if err != nil {
		return nil, err
	}
	left := slices.ContainsFunc(signed.Tenants, func(t bundle.Tenant) bool { return !abroad.admits(t.ID) })
	if g.trust.due(tenant, published, signed.RootSet(), roots, left, now) {
		published = g.renew(ctx, tenant, published, left)
	}
	if held != nil && held.Version() == published.Version {
		return held, nil
	}
	return g.Bundles.Open(ctx, published)
}

// held gives the keys of a tenant's bundle without any I/O, for use inside a
// transaction: whoever runs one has called [Gateway.Bundle] before.
func (t *trustCache) held(tenant citygate.TenantID) (code.KeySource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cached, ok := t.bundles[tenant]; ok {
		return cached.bundle, nil
	}
	return nil, fleet.ErrNoBundle.Because(nil, "tenant %d", tenant)
}

// Keys implements [intake.Trust]. They go with the secrets that prove the codes
// of some schemes ([sharedSecrets]), and with keys of issuers that were roamed
// with and are in the bundle no more, for taps that are uploaded late.
func (g *Gateway) Keys(ctx context.Context, tenant citygate.TenantID) (code.KeySource, error) {
	b, err := g.Bundle(ctx, tenant)
	if err != nil {
		return nil, err
	}
	held, err := g.withFormer(ctx, tenant, b)
	if err != nil {
		return nil, err
	}
	if held, err = g.withLate(ctx, tenant, b, held); err != nil {
		return nil, err
	}
	return g.withSecrets(ctx, tenant, b, held), nil
}

// Rules implements [intake.Trust]: a version that is not known gives the
// current one.
func (g *Gateway) Rules(ctx context.Context, tenant citygate.TenantID, version uint64) (*accept.Rules, error) {
	if rules, ok := g.cachedRules(ruleKey{tenant, version}); ok && version != 0 {
		return rules, nil
	}
	if version != 0 {
		rules, err := policies.Version(ctx, g.DB, tenant, version)
		if err == nil {
			g.keepRules(ruleKey{tenant, version}, rules)
			return rules, nil
		}
		if !errors.Is(err, policies.ErrNone) {
			return nil, err
		}
	}
	return g.latestRules(ctx, tenant)
}

func (g *Gateway) latestRules(ctx context.Context, tenant citygate.TenantID) (*accept.Rules, error) {
	if rules, ok := g.cachedRules(ruleKey{tenant, 0}); ok {
		return rules, nil
	}
	var rules *accept.Rules
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		rules, err = policies.Chain(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	g.keepRules(ruleKey{tenant, 0}, rules)
	g.held.keep(tenant, rules)
	return rules, nil
}

func (g *Gateway) cachedRules(k ruleKey) (*accept.Rules, bool) {
	g.trust.mu.Lock()
	defer g.trust.mu.Unlock()
	rules, ok := g.trust.rules[k]
	return rules, ok
}

func (g *Gateway) keepRules(k ruleKey, rules *accept.Rules) {
	g.trust.mu.Lock()
	defer g.trust.mu.Unlock()
	if g.trust.rules == nil {
		g.trust.bundles, g.trust.rules = map[citygate.TenantID]cachedBundle{}, map[ruleKey]*accept.Rules{}
	}
	g.trust.rules[k] = rules
}

// PublishPolicy stores the next version of an operator's acceptance rules and
// the bundle that carries it to its terminals. With offline roots that bundle is
// a draft until they have signed.
func (g *Gateway) PublishPolicy(ctx context.Context, actor string, rules *accept.Rules, accepts ...citygate.TenantID) (fleet.Published, error) {
	if err := policies.Publish(ctx, g.DB, actor, rules); err != nil {
		return fleet.Published{}, err
	}
	return g.carryPolicy(ctx, actor, rules.Tenant, accepts)
}

// carryPolicy publishes the bundle that brings an operator's policy to its terminals.
func (g *Gateway) carryPolicy(ctx context.Context, actor string, tenant citygate.TenantID, accepts []citygate.TenantID) (fleet.Published, error) {
	var rules *accept.Rules
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		rules, err = policies.Chain(ctx, tx)
		return err
	})
	if err != nil {
		return fleet.Published{}, err
	}
	abroad, err := g.readVisits(ctx, tenant)
	if err != nil {
		return fleet.Published{}, err
	}
	accepts = slices.DeleteFunc(slices.Clone(accepts), func(issuer citygate.TenantID) bool { return !abroad.admits(issuer) })
	held, err := rules.WithStays(abroad.home, abroad.stays)
	if err != nil {
		return fleet.Published{}, err
	}
	body, err := held.Encode()
	if err != nil {
		return fleet.Published{}, err
	}
	profile, err := g.Bundles.Profile(ctx, rules.Tenant) // for what policies do not say
	if err != nil && !errors.Is(err, fleet.ErrNoBundle) {
		return fleet.Published{}, err
	}
	profile.Operator, profile.Accepts, profile.Policy = rules.Tenant, accepts, fleet.Policy{Version: rules.Version, Body: body}
	profile.MaxTTLHours = uint32(rules.MaxTTLHours)
	if profile.Fares, err = g.entryFares(ctx, tenant); err != nil {
		return fleet.Published{}, err
	}
	if profile.Schemes, err = g.schemesFor(ctx, rules.Tenant, accepts); err != nil {
		return fleet.Published{}, err
	}
	published, err := g.Bundles.Publish(ctx, actor, profile)
	g.trust.forget(rules.Tenant)
	return published, err
}
