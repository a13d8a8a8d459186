package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// PublishRules publishes a rule set as the tenant's next version and, for an
// operator, the bundle that carries it to its terminals. With offline roots that
// bundle is a draft until they have signed. The same again changes nothing.
func (g *Gateway) PublishRules(ctx context.Context, actor string, tenant citygate.TenantID, p policies.Proposal) (policies.Published, error) {
	if err := g.may(ctx, tenant, tenants.Configuring); err != nil {
		return policies.Published{}, err
	}
	accepts, err := g.acceptedBy(ctx, tenant, p.Set)
	if err != nil {
		return policies.Published{}, err
	}
	var out policies.Published
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if err := contractsExist(ctx, tx, p.Set); err != nil {
			return err
		}
		var err error
		if out, _, err = policies.PublishSet(ctx, tx, actor, p); err != nil {
			return err
		}
		chain, err := policies.Chain(ctx, tx) // what readers cannot carry is not published
		if err != nil {
			return err
		}
		body, err := chain.Encode()
		if err == nil && len(body) > bundle.PolicyMax {
			err = ruleset.ErrSet.Explain("with the versions that hold until it does it has %d bytes, and readers carry %d", len(body), bundle.PolicyMax)
		}
		return err
	})
	if err != nil {
		return policies.Published{}, err
	}
	_, err = g.carryPolicy(ctx, actor, tenant, accepts)
	if errors.Is(err, bundle.ErrEmpty) { // nobody's riders are admitted yet: there is nothing to tell a reader
		err = nil
	}
	return out, err
}

// RestoreRules publishes the rule set of an earlier version as the next one.
func (g *Gateway) RestoreRules(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, at time.Time) (policies.Published, error) {
	var source []byte
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		_, source, err = policies.Source(ctx, tx, version)
		return err
	})
	if err != nil {
		return policies.Published{}, err
	}
	set, err := ruleset.Parse(source)
	if err != nil {
		return policies.Published{}, err
	}
	return g.PublishRules(ctx, actor, tenant, policies.Proposal{Set: set, At: at, Restores: version})
}

// acceptedBy gives the tenants whose riders a rule set admits, beside its own.
func (g *Gateway) acceptedBy(ctx context.Context, tenant citygate.TenantID, set *ruleset.Set) ([]citygate.TenantID, error) {
	rules, err := set.Rules(tenant, 1, time.UnixMilli(0))
	if err != nil {
		return nil, err
	}
	var accepts []citygate.TenantID
	for _, i := range rules.Issuers {
		t, err := g.Tenants.ByIssuer(ctx, i.Issuer)
		if errors.Is(err, tenants.ErrNotFound) {
			return nil, ruleset.ErrSet.Explain("acceptance.issuers: no tenant issues under number %d", i.Issuer)
		}
		if err != nil {
			return nil, err
		}
		if t.ID != tenant {
			accepts = append(accepts, t.ID)
		}
	}
	slices.Sort(accepts)
	return slices.Compact(accepts), nil
}

func contractsExist(ctx context.Context, tx *pg.Tx, set *ruleset.Set) error {
	if len(set.Contracts()) == 0 {
		return nil
	}
	all, err := collect.Contracts(ctx, tx)
	if err != nil {
		return err
	}
	for _, name := range set.Contracts() {
		if !slices.ContainsFunc(all, func(c collect.Contract) bool { return c.Name == name && c.State == "active" }) {
			return ruleset.ErrSet.Explain("routing: the tenant has no active provider contract %q", name)
		}
	}
	return nil
}

// RulesAt implements [intake.Trust].
func (g *Gateway) RulesAt(ctx context.Context, tenant citygate.TenantID, at int64) (*accept.Rules, error) {
	var version uint64
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		version, err = policies.InForce(ctx, tx, time.UnixMilli(at))
		return err
	})
	if err != nil {
		return nil, err
	}
	return g.Rules(ctx, tenant, version)
}

func policyView(p policies.Published) edge.PolicyVersion {
	v := edge.PolicyVersion{Version: p.Version, EffectiveAt: p.EffectiveAt, PublishedAt: p.PublishedAt, PublishedBy: p.By, Restores: p.Restores}
	if p.Hash != [32]byte{} {
		v.Hash = hex.EncodeToString(p.Hash[:])
	}
	return v
}

func (g *Gateway) listPolicies(ctx context.Context, tenant citygate.TenantID, before uint64, limit int) (out []edge.PolicyVersion, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		out = nil
		all, err := policies.List(ctx, tx, before, limit)
		if err != nil || len(all) == 0 {
			return err
		}
		held, err := policies.InForce(ctx, tx, tx.Now)
		for _, p := range all {
			v := policyView(p)
			v.InForce = p.Version == held
			out = append(out, v)
		}
		return err
	})
	return out, err
}

func (g *Gateway) getPolicy(ctx context.Context, tenant citygate.TenantID, version uint64) (edge.PolicySource, error) {
	var out edge.PolicySource
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		held, err := policies.InForce(ctx, tx, tx.Now)
		if err != nil {
			return err
		}
		if version == 0 {
			version = held
		}
		p, source, err := policies.Source(ctx, tx, version)
		if err != nil {
			return err
		}
		out.PolicyVersion, out.Source = policyView(p), string(source)
		out.InForce = version == held
		return nil
	})
	if err != nil {
		return out, err
	}
	set, err := ruleset.Parse([]byte(out.Source))
	if err != nil {
		return out, err
	}
	out.Rules, out.Steps = set.Summary(), set.Steps()
	return out, nil
}

func (g *Gateway) publishPolicy(ctx context.Context, actor string, tenant citygate.TenantID, p edge.PublishPolicy) (edge.PolicyVersion, error) {
	for _, kind := range []string{manifest.KindAcceptance, manifest.KindRules} {
		if err := g.byHand(ctx, tenant, kind, ""); err != nil {
			return edge.PolicyVersion{}, err
		}
	}
	set, err := ruleset.Parse([]byte(p.Source))
	if err != nil {
		return edge.PolicyVersion{}, err
	}
	var at time.Time
	if p.EffectiveAt != nil {
		at = *p.EffectiveAt
	}
	out, err := g.PublishRules(ctx, actor, tenant, policies.Proposal{Set: set, At: at})
	return policyView(out), err
}

func (g *Gateway) restorePolicy(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, at *time.Time) (edge.PolicyVersion, error) {
	for _, kind := range []string{manifest.KindAcceptance, manifest.KindRules} {
		if err := g.byHand(ctx, tenant, kind, ""); err != nil {
			return edge.PolicyVersion{}, err
		}
	}
	var when time.Time
	if at != nil {
		when = *at
	}
	out, err := g.RestoreRules(ctx, actor, tenant, version, when)
	return policyView(out), err
}

func (g *Gateway) checkPolicy(_ context.Context, source string) (edge.PolicyCheck, error) {
	set, err := ruleset.Parse([]byte(source))
	if faults := ruleset.FaultsOf(err); faults != nil {
		return edge.PolicyCheck{Faults: faults}, nil
	}
	if err != nil {
		return edge.PolicyCheck{}, err
	}
	hash := set.Hash()
	return edge.PolicyCheck{Valid: true, Hash: hex.EncodeToString(hash[:]), Rules: set.Summary(), Steps: set.Steps()}, nil
}
