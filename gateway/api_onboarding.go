package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) onboarding() edge.Onboarding {
	return edge.Onboarding{
		SetState: g.setTenantState, Serves: g.serves, Serve: g.serve, Keys: g.tenantKeys, EnsureKey: g.ensureKey,
		RotateKey: g.rotateKeyOf, ActivateKey: g.activateKeyOf, RevokeKey: g.revokeKeyOf,
		Contracts: g.contractViews, Adapters: g.adapterViews, PutContract: g.addContract, PutSecret: g.addSecret,
		Tariffs: g.tariffs, Tariff: g.tariff, PublishTariff: g.publishTariff, RestoreTariff: g.restoreTariff, Acceptance: g.acceptance, PutAcceptance: g.publishAcceptance,
		Stops: g.stops, PutStops: g.putStops, Checklist: g.checklist,
	}
}

// byHand is [tenants.ErrState] where the tenant can no longer be set up by its
// state, and [tenants.ErrManaged] where a file manages what is about to be
// changed by the API. A file that is applied in the same moment may win or lose
// that race; the next diff shows which.
func (g *Gateway) byHand(ctx context.Context, tenant citygate.TenantID, kind string, names ...string) error {
	switch kind {
	case manifest.KindState: // it says itself where it may go
	case manifest.KindSecret, manifest.KindPayee: // also for what a closing tenant finishes: the edge says so
	default:
		if err := g.may(ctx, tenant, tenants.Configuring); err != nil {
			return err
		}
	}
	resources := make([]tenants.Resource, len(names))
	for i, name := range names {
		resources[i] = tenants.Resource{Kind: kind, Name: name}
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return tenants.RefuseManaged(ctx, tx, resources...) })
}

// byHand is the way of the API to publish what a file may manage as a whole.
func byHand[Document any](g *Gateway, kind string, publish func(context.Context, string, citygate.TenantID, Document) error) func(context.Context, string, citygate.TenantID, Document) error {
	return func(ctx context.Context, actor string, tenant citygate.TenantID, d Document) error {
		if err := g.byHand(ctx, tenant, kind, ""); err != nil {
			return err
		}
		return publish(ctx, actor, tenant, d)
	}
}

func (g *Gateway) setTenantState(ctx context.Context, actor string, tenant citygate.TenantID, state string) (edge.TenantDocument, error) {
	if err := g.byHand(ctx, tenant, manifest.KindState, ""); err != nil {
		return edge.TenantDocument{}, err
	}
	t, err := g.SetState(ctx, actor, tenant, tenants.State(state))
	return edge.DocumentOf(t), err
}

func (g *Gateway) serves(ctx context.Context, tenant citygate.TenantID) ([]int64, error) {
	ids, err := g.Tenants.Serves(ctx, tenant)
	list := make([]int64, len(ids))
	for i, id := range ids {
		list[i] = int64(id)
	}
	return list, err
}

func (g *Gateway) serve(ctx context.Context, actor string, tenant citygate.TenantID, authorities []int64) error {
	if err := g.byHand(ctx, tenant, manifest.KindServes, ""); err != nil {
		return err
	}
	ids := make([]citygate.TenantID, len(authorities))
	for i, id := range authorities {
		ids[i] = citygate.TenantID(id)
	}
	return g.Tenants.Serve(ctx, actor, tenant, ids...)
}

func keyView(k keys.Key) edge.TenantKey {
	return edge.TenantKey{
		Purpose: string(k.Purpose), KeyID: k.KeyID, Algorithm: string(k.Algorithm), Public: k.Public, State: string(k.State),
		NotBefore: k.NotBefore.UTC(), Expires: k.Expires.UTC(),
	}
}

func (g *Gateway) tenantKeys(ctx context.Context, tenant citygate.TenantID) ([]edge.TenantKey, error) {
	held, err := g.Ring.Keys(ctx, tenant)
	list := make([]edge.TenantKey, len(held))
	for i, k := range held {
		list[i] = keyView(k)
	}
	return list, err
}

func (g *Gateway) ensureKey(ctx context.Context, actor string, tenant citygate.TenantID, purpose, algorithm string) (edge.TenantKey, error) {
	if err := g.byHand(ctx, tenant, manifest.KindKey, purpose); err != nil {
		return edge.TenantKey{}, err
	}
	kind, err := algorithmNamed(algorithm)
	if err != nil {
		return edge.TenantKey{}, err
	}
	k, err := g.Ring.Ensure(ctx, actor, tenant, keys.Purpose(purpose), kind)
	return keyView(k), err
}

func (g *Gateway) rotateKeyOf(ctx context.Context, actor string, tenant citygate.TenantID, purpose string) (edge.TenantKey, error) {
	if err := g.may(ctx, tenant, tenants.Configuring); err != nil {
		return edge.TenantKey{}, err
	}
	k, err := g.RotateKey(ctx, actor, tenant, keys.Purpose(purpose))
	return keyView(k), err
}

func (g *Gateway) activateKeyOf(ctx context.Context, actor string, tenant citygate.TenantID, purpose string, kid uint8, anyway string) (edge.TenantKey, error) {
	if err := g.may(ctx, tenant, tenants.Configuring); err != nil {
		return edge.TenantKey{}, err
	}
	k, err := g.ActivateKey(ctx, actor, tenant, keys.Purpose(purpose), kid, anyway)
	return keyView(k), err
}

// revokeKeyOf asks for no state of the tenant: a stolen key is taken out of use in any.
func (g *Gateway) revokeKeyOf(ctx context.Context, actor string, tenant citygate.TenantID, purpose string, kid uint8, r edge.RevokeKey) (edge.RevokedKey, error) {
	var limit time.Time
	if r.NotIssuedAfter != nil {
		limit = *r.NotIssuedAfter
	}
	stolen, next, err := g.EmergencyKey(ctx, actor, tenant, keys.Purpose(purpose), kid, limit, r.Reason)
	if err != nil {
		return edge.RevokedKey{}, err
	}
	v := edge.RevokedKey{Key: keyView(stolen)}
	if stolen.KeyID == 0 { // it was revoked before, and what was left was done
		all, err := g.Ring.Keys(ctx, tenant)
		if err != nil {
			return v, err
		}
		for _, k := range all {
			if k.Purpose == keys.Purpose(purpose) && k.KeyID == kid {
				v.Key = keyView(k)
			}
		}
	}
	if next.KeyID != 0 {
		n := keyView(next)
		v.Next = &n
	}
	return v, nil
}

func (g *Gateway) contractViews(ctx context.Context, tenant citygate.TenantID) (list []edge.Contract, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := collect.Contracts(ctx, tx)
		if err != nil {
			return err
		}
		down, err := collect.Breakers(ctx, tx)
		if err != nil {
			return err
		}
		tokens, err := collect.NotifyTokens(ctx, tx)
		if err != nil {
			return err
		}
		secrets, err := collect.ContractSecrets(ctx, tx)
		list = make([]edge.Contract, len(found))
		for i, c := range found {
			list[i] = edge.Contract{Name: c.Name, Adapter: c.Adapter, FeePPM: c.FeePPM, Config: c.Config, State: c.State, Secrets: []edge.ContractSecret{}}
			list[i].Notify = g.notifyURL(tenant, c.Adapter, tokens[c.Name])
			if b, open := down[c.Name]; open {
				list[i].Down = &edge.ContractDown{Since: b.OpenedAt, Failures: b.Failures, ProbeAt: b.ProbeAt}
			}
			for _, s := range secrets {
				if s.Contract == c.Name {
					list[i].Secrets = append(list[i].Secrets, edge.ContractSecret{Name: s.Name, Version: s.Version, SetAt: s.SetAt})
				}
			}
		}
		return err
	})
	return list, err
}

func (g *Gateway) adapterViews() []edge.Adapter {
	var list []edge.Adapter
	for _, name := range g.Products.Names() {
		p := g.Products[name]
		a := edge.Adapter{Name: name, Title: p.Title, Config: p.Config, Secrets: []edge.AdapterSecret{}}
		for _, s := range p.Secrets {
			a.Secrets = append(a.Secrets, edge.AdapterSecret(s))
		}
		if p.Signed {
			a.Key = string(keys.ProviderPurpose(name))
		}
		list = append(list, a)
	}
	return list
}

func (g *Gateway) addContract(ctx context.Context, actor string, tenant citygate.TenantID, name string, c edge.PutContract) (edge.Contract, error) {
	if err := g.byHand(ctx, tenant, manifest.KindContract, name); err != nil {
		return edge.Contract{}, err
	}
	if err := g.putContract(ctx, actor, tenant, collect.Contract{Name: name, Adapter: c.Adapter, FeePPM: c.FeePPM, Config: c.Config}); err != nil {
		return edge.Contract{}, err
	}
	all, err := g.contractViews(ctx, tenant)
	for _, v := range all {
		if v.Name == name {
			return v, err
		}
	}
	return edge.Contract{}, err
}

func (g *Gateway) addSecret(ctx context.Context, actor string, tenant citygate.TenantID, contract, name string, value citygate.Secret) (edge.ContractSecret, error) {
	if err := g.byHand(ctx, tenant, manifest.KindSecret, contract+"/"+name); err != nil {
		return edge.ContractSecret{}, err
	}
	version, err := g.putSecret(ctx, actor, tenant, contract, name, value)
	return edge.ContractSecret{Name: name, Version: version, SetAt: g.DB.ClockOf(tenant)().UTC()}, err
}

func (g *Gateway) tariffs(ctx context.Context, tenant citygate.TenantID, after uint64, page pg.Span) (list []edge.Tariff, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.TariffVersions(ctx, tx, after, page)
		list = make([]edge.Tariff, len(found))
		for i, v := range found {
			list[i] = edge.Tariff{Version: v.Version, From: v.From, WithdrawnAt: since(v.Withdrawn)}
		}
		return err
	})
	return list, err
}

// since is how an instant that may not be is told.
func since(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

var errNoTariff = &citygate.Code{Name: "pricing.no_tariff", Kind: citygate.NotFound, Title: "The tenant has no such tariff version. List the tariffs for their numbers."}

func (g *Gateway) tariff(ctx context.Context, tenant citygate.TenantID, version uint64) (v edge.Tariff, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		p, ok, err := pricing.Tariff(ctx, tx, version)
		if err != nil {
			return err
		}
		if !ok {
			return errNoTariff.Explain("version %d", version)
		}
		v = edge.Tariff{Version: version, From: p.From, WithdrawnAt: since(p.Withdrawn)}
		v.Tariff, err = p.Tariff.Encode()
		return err
	})
	return v, err
}

func (g *Gateway) publishTariff(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, t edge.Tariff) (edge.Tariff, error) {
	if err := g.byHand(ctx, tenant, manifest.KindTariff, ""); err != nil {
		return edge.Tariff{}, err
	}
	prices, err := fare.ParseTariff(t.Tariff)
	if err != nil {
		return edge.Tariff{}, err
	}
	own, err := g.Tenants.ByID(ctx, tenant)
	switch {
	case err != nil:
		return edge.Tariff{}, err
	case prices.Version != version:
		return edge.Tariff{}, fare.ErrTariff.Explain("the tariff says version %d, the path %d", prices.Version, version)
	case prices.Currency != own.Currency:
		return edge.Tariff{}, fare.ErrTariff.Explain("the tariff is in %s, the tenant's prices are in %s", prices.Currency, own.Currency)
	case t.From.IsZero():
		return edge.Tariff{}, fare.ErrTariff.Explain("from: want the instant from which these prices hold")
	}
	publish := pricing.Publish
	if t.WithdrawLater {
		publish = pricing.PublishInstead
	}
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return publish(ctx, tx, actor, prices, t.From) }); err != nil {
		return edge.Tariff{}, err
	}
	if err := g.carryFares(ctx, actor, tenant); err != nil {
		return edge.Tariff{}, err
	}
	return g.tariff(ctx, tenant, version)
}

// restoreTariff goes back to an earlier version by publishing it anew.
func (g *Gateway) restoreTariff(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, from time.Time, instead bool) (edge.Tariff, error) {
	if err := g.byHand(ctx, tenant, manifest.KindTariff, ""); err != nil {
		return edge.Tariff{}, err
	}
	var p pricing.Published
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		p, err = pricing.RestoreTariff(ctx, tx, actor, version, from, instead)
		return err
	})
	if err == nil {
		err = g.carryFares(ctx, actor, tenant)
	}
	if err != nil {
		return edge.Tariff{}, err
	}
	return g.tariff(ctx, tenant, p.Tariff.Version)
}

func (g *Gateway) acceptance(ctx context.Context, tenant citygate.TenantID) (v edge.Acceptance, err error) {
	rules, err := policies.Latest(ctx, g.DB, tenant)
	if err != nil {
		return v, err
	}
	v.Version = rules.Version
	raw, err := manifest.AcceptanceOf(rules)
	if err != nil {
		return v, err
	}
	v.Rules = json.RawMessage(raw)
	latest, err := g.Bundles.Latest(ctx, tenant)
	if err != nil && !errors.Is(err, fleet.ErrNoBundle) {
		return v, err
	}
	v.Bundle = latest.Version
	draft, err := g.Bundles.Draft(ctx, tenant)
	if err != nil && !errors.Is(err, fleet.ErrNoBundle) {
		return v, err
	}
	v.Waiting = draft.Version > latest.Version
	return v, nil
}

func (g *Gateway) publishAcceptance(ctx context.Context, actor string, tenant citygate.TenantID, raw json.RawMessage) (edge.Acceptance, error) {
	if err := g.byHand(ctx, tenant, manifest.KindAcceptance, ""); err != nil {
		return edge.Acceptance{}, err
	}
	t := manifest.Tenant{ID: int64(tenant), Acceptance: manifest.Raw(raw)}
	rules := func(version uint64) (*accept.Rules, error) {
		r, err := t.Rules(version)
		if err == nil && r == nil {
			err = accept.ErrRules.Explain("rules: want fields and their values")
		}
		return r, err
	}
	if err := g.putAcceptance(ctx, actor, tenant, rules); err != nil {
		return edge.Acceptance{}, err
	}
	return g.acceptance(ctx, tenant)
}

func (g *Gateway) stops(ctx context.Context, tenant citygate.TenantID, after string, limit int) (list []edge.Stop, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := fleet.Stops(ctx, tx, after, limit)
		list = make([]edge.Stop, len(found))
		for i, s := range found {
			list[i] = edge.Stop(s)
		}
		return err
	})
	return list, err
}

func (g *Gateway) putStops(ctx context.Context, actor string, tenant citygate.TenantID, stops []edge.Stop) error {
	list, names := make([]fleet.Stop, len(stops)), make([]string, len(stops))
	for i, s := range stops {
		list[i], names[i] = fleet.Stop(s), s.ID
	}
	if err := g.byHand(ctx, tenant, manifest.KindStop, names...); err != nil {
		return err
	}
	return g.Fleet.PutStops(ctx, actor, tenant, list...)
}

func terminalNames(ids ...uint32) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = strconv.FormatUint(uint64(id), 10)
	}
	return names
}

// plural gives "1 terminal", "2 terminals".
func plural(n int, what string) string {
	if n != 1 {
		what = strings.TrimSuffix(what, "y") + map[bool]string{true: "ies", false: "s"}[strings.HasSuffix(what, "y")]
	}
	return strconv.Itoa(n) + " " + what
}
