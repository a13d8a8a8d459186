package gateway

import (
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/gateway/roaming"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// visits is whose riders a host takes, as it was read at one time: those of its
// tree, and those of issuers that agreed. It never changes and does no I/O.
type visits struct {
	host  citygate.TenantID
	all   *tenants.Snapshot
	terms map[citygate.TenantID][]roaming.Version // by the issuer
	stays []accept.Stay                           // that have not passed
	late  map[citygate.TenantID][]risk.Published  // what issuers of the tree published of late records
	read  time.Time
}

type visitCache struct {
	mu   sync.Mutex
	held map[citygate.TenantID]*visits
	late map[citygate.TenantID]lateTerms
}

// lateTerms are an issuer's risk terms, as far as they are about late records.
type lateTerms struct {
	versions []risk.Published
	read     time.Time
}

// lateFor is how old they may be: what is late by them happened a day ago at least,
// when they were published.
const lateFor = time.Minute

// lateTerms gives what an issuer published of who bears late records.
func (g *Gateway) lateTerms(ctx context.Context, issuer citygate.TenantID) ([]risk.Published, error) {
	now := g.Clock()
	g.abroad.mu.Lock()
	t, ok := g.abroad.late[issuer]
	g.abroad.mu.Unlock()
	if age := now.Sub(t.read); ok && age >= 0 && age < lateFor {
		return t.versions, nil
	}
	t.read = now
	if err := g.DB.InTenant(ctx, issuer, func(tx *pg.Tx) (err error) {
		t.versions, err = risk.Versions(ctx, tx)
		return err
	}); err != nil {
		return nil, err
	}
	g.abroad.mu.Lock()
	defer g.abroad.mu.Unlock()
	if g.abroad.late == nil {
		g.abroad.late = map[citygate.TenantID]lateTerms{}
	}
	g.abroad.late[issuer] = t
	return t.versions, nil
}

func (c *visitCache) forget(host citygate.TenantID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, host)
}

// visits gives whose riders a host takes, at most a moment old.
func (g *Gateway) visits(ctx context.Context, host citygate.TenantID) (*visits, error) {
	g.abroad.mu.Lock()
	v := g.abroad.held[host]
	g.abroad.mu.Unlock()
	if v != nil {
		if age := g.Clock().Sub(v.read); age >= 0 && age < trustFor {
			return v, nil
		}
	}
	return g.readVisits(ctx, host)
}

func (g *Gateway) readVisits(ctx context.Context, host citygate.TenantID) (*visits, error) {
	all, err := g.Tenants.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	v := &visits{host: host, all: all, read: g.Clock()}
	err = g.DB.InTenant(ctx, host, func(tx *pg.Tx) error {
		v.terms, v.stays = map[citygate.TenantID][]roaming.Version{}, nil
		found, err := roaming.List(ctx, tx)
		if err != nil {
			return err
		}
		var issuers []citygate.TenantID
		for _, t := range found {
			if t.Host == host {
				if v.terms[t.Issuer] == nil {
					issuers = append(issuers, t.Issuer)
				}
				v.terms[t.Issuer] = append(v.terms[t.Issuer], t)
			}
		}
		for _, id := range issuers {
			if t, ok := all.ByID(id); ok && t.Issuer != 0 && !all.OneTree(id, host) {
				v.stays = append(v.stays, roaming.Stays(t.Issuer, v.terms[id], tx.Now)...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	v.late = map[citygate.TenantID][]risk.Published{}
	for _, id := range all.IssuersWith(host) {
		if v.late[id], err = g.lateTerms(ctx, id); err != nil {
			return nil, err
		}
	}
	g.abroad.mu.Lock()
	defer g.abroad.mu.Unlock()
	if g.abroad.held == nil {
		g.abroad.held = map[citygate.TenantID]*visits{}
	}
	g.abroad.held[host] = v
	return v, nil
}

// home reports whether an issuer's riders are taken without terms. A number that
// is nobody's has no keys, and no code of it passes.
func (v *visits) home(issuer citygate.Issuer) bool {
	t, ok := v.all.ByIssuer(issuer)
	return !ok || v.all.OneTree(t.ID, v.host)
}

// admits reports whether a tenant's keys are to be in the host's bundle.
func (v *visits) admits(issuer citygate.TenantID) bool {
	t, ok := v.all.ByID(issuer)
	return v.all.OneTree(issuer, v.host) || ok && slices.ContainsFunc(v.stays, func(s accept.Stay) bool { return s.Issuer == t.Issuer })
}

// judge implements [intake.Abroad].
func (v *visits) judge(c *code.Code, at int64, fare citygate.Money) (code.Reason, string, int64) {
	issuer, ok := v.all.ByIssuer(c.Rider.Issuer)
	switch {
	case !ok:
		return "", "", 0
	case v.all.OneTree(issuer.ID, v.host):
		return "", "", risk.InForce(v.late[issuer.ID], time.UnixMilli(at)).OperatorAfter()
	}
	terms := roaming.InForce(v.terms[issuer.ID], time.UnixMilli(at))
	reason, rule := terms.Judge(issuer.Issuer, c.Scheme, c.Product, fare.Minor)
	if reason != "" {
		return reason, rule, 0
	}
	return "", "", terms.Terms.UploadDays
}

// abroadOf implements what [intake.Config] asks for.
func (g *Gateway) abroadOf(ctx context.Context, host citygate.TenantID) (intake.Abroad, error) {
	v, err := g.visits(ctx, host)
	if err != nil {
		return nil, err
	}
	return v.judge, nil
}

// termsWith implements what [collect.Config] asks for: what an issuer agreed on
// with an operator of another tree.
func (g *Gateway) termsWith(ctx context.Context, tx *pg.Tx, operator citygate.TenantID) (collect.Abroad, error) {
	all := g.held.directory()
	if all == nil { // whoever handles claims has called hold
		return nil, fmt.Errorf("no list of tenants is held")
	}
	if all.OneTree(tx.Tenant, operator) {
		return nil, nil
	}
	versions, err := roaming.Between(ctx, tx, tx.Tenant, operator)
	if err != nil {
		return nil, err
	}
	return func(at time.Time, scheme code.SchemeID, product uint16) collect.Stay {
		v := roaming.InForce(versions, at)
		if reason, _ := v.Judge(0, scheme, product, 0); reason != "" {
			return collect.Stay{Reason: reason}
		}
		s := collect.Stay{CapMinor: v.Terms.CapMinor, DayCapMinor: v.Terms.DayCapMinor}
		switch v.Terms.Beyond {
		case roaming.ByHost: // what the zero value says
		case roaming.ByRider:
			s.Beyond = collect.BeyondAtRisk
		case roaming.ByIssuer:
			s.Beyond = collect.BeyondLikeOther
		}
		return s
	}, nil
}

// issuerBears says whether the transaction's tenant answers for what its riders do
// not pay of an operator's fares: by the roaming terms of the time, across trees.
func (g *Gateway) issuerBears(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, at time.Time) (collect.Guarantee, error) {
	all := g.held.directory()
	if all == nil || all.OneTree(tx.Tenant, operator) {
		return collect.Guarantee{}, nil
	}
	versions, err := roaming.Between(ctx, tx, tx.Tenant, operator)
	if err != nil {
		return collect.Guarantee{}, err
	}
	v := roaming.InForce(versions, at)
	if v == nil || v.Terms.Uncollected != roaming.ByIssuer {
		return collect.Guarantee{}, nil
	}
	return collect.Guarantee{Holds: true, PayDays: v.Terms.Pays()}, nil
}

// formerKeys are a bundle's keys and those of issuers that it carries no more.
type formerKeys struct {
	*bundle.Bundle
	former  map[citygate.Issuer][]bundle.Key
	version uint64
}

// Version implements [code.KeySource]: it tells a revoked key of a former issuer.
func (k *formerKeys) Version() uint64 { return k.version }

// IssuerKey implements [code.KeySource].
func (k *formerKeys) IssuerKey(issuer citygate.Issuer, kid uint8, issuedAt int64) (crypto.PublicKey, code.Reason) {
	held, ok := k.former[issuer]
	if !ok {
		return k.Bundle.IssuerKey(issuer, kid, issuedAt)
	}
	for _, key := range held {
		if key.KeyID != kid || key.Usage != bundle.ForCredential {
			continue
		}
		switch {
		case key.State == bundle.Revoked || issuedAt >= key.Expires || key.NotIssuedAfter != 0 && issuedAt > key.NotIssuedAfter:
			return nil, code.KeyRevoked
		case issuedAt < key.NotBefore:
			return nil, code.UnknownKey
		}
		public, err := bundle.ParsePublic(key.Algorithm, key.Public)
		if err != nil {
			return nil, code.UnknownKey
		}
		return public, ""
	}
	return nil, code.UnknownKey
}

// withFormer adds the keys of issuers whose terms with a host ended, as they are
// now, as long as the host's readers may still bring taps from before.
func (g *Gateway) withFormer(ctx context.Context, host citygate.TenantID, b *bundle.Bundle) (code.ForeignKeySource, error) {
	v, err := g.visits(ctx, host)
	if err != nil {
		return nil, err
	}
	k := &formerKeys{Bundle: b, former: map[citygate.Issuer][]bundle.Key{}}
	sum := fnv.New64a()
	_ = binary.Write(sum, binary.BigEndian, b.Version())
	for id, versions := range v.terms {
		t, ok := v.all.ByID(id)
		_, carried := b.IssuerTenant(t.Issuer)
		if !ok || t.Issuer == 0 || carried || v.all.OneTree(id, host) || !slices.ContainsFunc(versions, func(v roaming.Version) bool { return !v.AgreedAt.IsZero() }) {
			continue
		}
		ring, err := g.Ring.Keys(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, key := range ring {
			if key.Purpose == keys.Credential {
				k.former[t.Issuer] = append(k.former[t.Issuer], key.Entry(t.Issuer))
			}
		}
	}
	if len(k.former) == 0 {
		return b, nil
	}
	for _, issuer := range slices.Sorted(maps.Keys(k.former)) {
		_, _ = fmt.Fprintln(sum, issuer, k.former[issuer])
	}
	k.version = sum.Sum64()
	return k, nil
}

// carryAgain makes an operator's bundle anew from its policy and the terms it has.
// One without a policy has none to make.
func (g *Gateway) carryAgain(ctx context.Context, actor string, host citygate.TenantID) (fleet.Published, error) {
	var issuers []citygate.Issuer
	err := g.DB.InTenant(ctx, host, func(tx *pg.Tx) error {
		issuers = nil
		rules, err := policies.Chain(ctx, tx)
		for ; err == nil && rules != nil; rules = rules.Prior {
			for _, i := range rules.Issuers {
				issuers = append(issuers, i.Issuer)
			}
		}
		return err
	})
	if errors.Is(err, policies.ErrNone) {
		return fleet.Published{}, nil
	}
	if err != nil {
		return fleet.Published{}, err
	}
	all, err := g.Tenants.Snapshot(ctx)
	if err != nil {
		return fleet.Published{}, err
	}
	var accepts []citygate.TenantID
	for _, i := range issuers {
		if t, ok := all.ByIssuer(i); ok && t.ID != host {
			accepts = append(accepts, t.ID)
		}
	}
	slices.Sort(accepts)
	published, err := g.carryPolicy(ctx, actor, host, slices.Compact(accepts))
	if errors.Is(err, bundle.ErrEmpty) {
		return fleet.Published{}, nil
	}
	return published, err
}

// ProposeRoaming puts down terms, from an event time on or from when they are
// agreed; see [roaming.Propose].
func (g *Gateway) ProposeRoaming(ctx context.Context, actor string, tenant citygate.TenantID, p roaming.Pair, terms roaming.Terms, from time.Time) (roaming.Version, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return roaming.Version{}, err
	}
	if err := t.May(tenants.Configuring); err != nil {
		return roaming.Version{}, err
	}
	if tenant == p.Issuer && t.Issuer == 0 {
		return roaming.Version{}, roaming.ErrIssuer
	}
	var v roaming.Version
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		v, err = roaming.Propose(ctx, tx, actor, p, terms, from, t.Currency)
		return err
	})
	return v, err
}

// AgreeRoaming agrees to what the other tenant proposed, and tells the host's
// readers; see [roaming.Agree].
func (g *Gateway) AgreeRoaming(ctx context.Context, actor string, tenant citygate.TenantID, p roaming.Pair, version int) (roaming.Version, error) {
	all, err := g.Tenants.Snapshot(ctx)
	if err != nil {
		return roaming.Version{}, err
	}
	t, ok := all.ByID(tenant)
	if !ok {
		return roaming.Version{}, tenants.ErrNotFound.Because(nil, "tenant %d", tenant)
	}
	if err := t.May(tenants.Configuring); err != nil {
		return roaming.Version{}, err
	}
	var v roaming.Version
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if v, err = roaming.Agree(ctx, tx, actor, p, version, t.Currency); err != nil {
			return err
		}
		other, _ := all.ByID(v.Proposer) // who proposed is a tenant
		issuer, _ := all.ByID(p.Issuer)
		switch {
		case other.Mode != t.Mode:
			return roaming.ErrMode
		case issuer.Issuer == 0:
			return roaming.ErrIssuer
		case all.OneTree(p.Issuer, p.Host):
			return roaming.ErrTree
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	return v, g.roamingChanged(ctx, p)
}

// EndRoaming ends what two tenants agreed on, and tells the host's readers; see
// [roaming.End].
func (g *Gateway) EndRoaming(ctx context.Context, actor string, tenant citygate.TenantID, p roaming.Pair, at time.Time) ([]roaming.Version, error) {
	var ended []roaming.Version
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		ended, err = roaming.End(ctx, tx, actor, p, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, g.roamingChanged(ctx, p)
}

// roamer is how the host's audit log names bundles that changed with terms.
const roamer = "system:roaming"

func (g *Gateway) roamingChanged(ctx context.Context, p roaming.Pair) error {
	g.abroad.forget(p.Host)
	if all, err := g.Tenants.Snapshot(ctx); err != nil || all.OneTree(p.Issuer, p.Host) {
		return err
	} else if _, ok := all.ByID(p.Host); !ok { // nobody agreed to what was withdrawn
		return nil
	}
	_, err := g.carryAgain(ctx, roamer, p.Host)
	return err
}

// RoamingTerms gives all versions a tenant is a party of.
func (g *Gateway) RoamingTerms(ctx context.Context, tenant citygate.TenantID) (list []roaming.Version, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		list, err = roaming.List(ctx, tx)
		return err
	})
	return list, err
}
