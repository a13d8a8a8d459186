package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Checklist says what a tenant still needs before riders can use it, and what to
// do about each.
func (g *Gateway) Checklist(ctx context.Context, tenant citygate.TenantID) (edge.Checklist, error) {
	return g.checklist(ctx, tenant)
}

func (g *Gateway) checklist(ctx context.Context, tenant citygate.TenantID) (list edge.Checklist, err error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return list, err
	}
	c := checker{Gateway: g, tenant: t}
	if c.now, err = g.DB.NowOf(ctx, tenant); err != nil {
		return list, err
	}
	if c.have, err = g.describe(ctx, t, map[citygate.TenantID]string{}); err != nil {
		return list, err
	}
	if err := c.keys(ctx); err != nil {
		return list, err
	}
	if t.Issuer != 0 {
		if err := c.contract(ctx); err != nil {
			return list, err
		}
	}
	if t.Kind != tenants.Authority {
		c.payee()
		c.tariff()
	}
	if t.Kind != tenants.Authority || t.Issuer != 0 { // an issuer proves what operators claim by its own bundle
		if err := c.acceptance(ctx); err != nil {
			return list, err
		}
	}
	if t.Kind != tenants.Authority {
		if err := c.terminals(ctx); err != nil {
			return list, err
		}
	}
	if err := c.abroad(ctx); err != nil {
		return list, err
	}
	if err := c.rules(); err != nil {
		return list, err
	}
	if err := c.people(ctx); err != nil {
		return list, err
	}
	c.add(edge.ChecklistItem{Name: "settlement", Optional: true, Done: len(c.have.Settlement) > 0,
		Detail: said(len(c.have.Settlement), versions, "without terms of its own a window closes 2 hours after its business date and is paid after 32"),
		Do:     "POST /v1/tenants/{tenant}/settlement-terms, or settlement in the file"})
	c.add(edge.ChecklistItem{Name: "state", Done: t.State == tenants.Active, Detail: "the tenant is " + string(t.State),
		Do: "PUT /v1/tenants/{tenant}/state {\"state\":\"active\"} when the rest is done"})
	list = edge.Checklist{Ready: true, Items: c.items}
	for i, item := range c.items {
		if item.Done {
			c.items[i].Do = ""
		}
		list.Ready = list.Ready && (item.Done || item.Optional)
	}
	return list, nil
}

type checker struct {
	*Gateway
	tenant tenants.Tenant
	now    time.Time // on its clock
	have   manifest.Tenant
	items  []edge.ChecklistItem
}

func (c *checker) add(item edge.ChecklistItem) { c.items = append(c.items, item) }

func (c *checker) keys(ctx context.Context) error {
	held, err := c.Ring.Keys(ctx, c.tenant.ID)
	if err != nil {
		return err
	}
	purposes := []keys.Purpose{keys.Audit}
	if c.tenant.Kind != tenants.Authority || c.tenant.Issuer != 0 {
		purposes = append(purposes, keys.Policy)
	}
	if c.tenant.Issuer != 0 {
		purposes = append(purposes, keys.Credential, keys.DenyList)
	}
	for _, k := range c.have.Contracts {
		if c.Products[k.Adapter].Signed {
			purposes = append(purposes, keys.ProviderPurpose(k.Adapter))
		}
	}
	for _, p := range purposes {
		now := c.now
		active := slices.ContainsFunc(held, func(k keys.Key) bool { return k.Purpose == p && k.State == bundle.Active && k.Expires.After(now) })
		item := edge.ChecklistItem{Name: "key " + string(p), Done: active, Do: fmt.Sprintf("PUT /v1/tenants/{tenant}/keys/%s, or keys in the file", p)}
		if !active {
			item.Detail = "no key of this purpose signs"
		}
		c.add(item)
	}
	return nil
}

// neverCollected names the riders who were opened under a contract before it was known, or
// told, that it collects by codes alone: what they ride is never collected.
func (c *checker) neverCollected(ctx context.Context, contract string) error {
	const few = 5
	var n int
	var some []citygate.UUID
	err := c.DB.InTenant(ctx, c.tenant.ID, func(tx *pg.Tx) (err error) {
		n, some, err = collect.Under(ctx, tx, contract, few)
		return err
	})
	if err != nil || n == 0 {
		return err
	}
	names := make([]string, len(some))
	for i, id := range some {
		names[i] = id.Text("acc_")
	}
	if n > len(some) {
		names = append(names, "...")
	}
	c.add(edge.ChecklistItem{Name: "riders under " + contract, Detail: fmt.Sprintf("%s under %s, which collects by codes at a till: their rides are never collected (%s)",
		plural(n, "account"), contract, strings.Join(names, ", ")),
		Do: "PUT /v1/tenants/{tenant}/accounts/{account}/payers/{contract} with a contract that collects rides, and a rule of routing that names it"})
	return nil
}

func (c *checker) contract(ctx context.Context) error {
	item := edge.ChecklistItem{Name: "provider contract", Do: "PUT /v1/tenants/{tenant}/contracts/{contract}, or contracts in the file"}
	var names []string
	for _, k := range c.have.Contracts {
		if c.tenant.Mode == tenants.Live && c.Products[k.Adapter].InProcess {
			item.Detail = "the sandbox moves no money: a live tenant needs a contract with a payment provider"
			continue
		}
		switch byCode, err := c.byCode(ctx, c.tenant.ID, k.Name); {
		case err != nil:
			return err
		case byCode:
			item.Detail = k.Name + " collects by codes at a till: rides need a contract of another kind"
			if err := c.neverCollected(ctx, k.Name); err != nil {
				return err
			}
			continue
		}
		names = append(names, k.Name)
	}
	if item.Done = len(names) > 0; item.Done {
		item.Detail = strings.Join(names, ", ")
	} else if item.Detail == "" {
		item.Detail = "an issuer's riders are collected under a contract, and there is none"
	}
	c.add(item)
	return nil
}

func (c *checker) payee() {
	item := edge.ChecklistItem{Name: "default payee", Detail: "fares that no assignment gives to another belong to it", Do: "POST /v1/tenants/{tenant}/payees with default: true, or payees in the file"}
	i := slices.IndexFunc(c.have.Payees, func(p manifest.Payee) bool { return p.Default })
	if item.Done = i >= 0 && c.have.Payees[i].Account != ""; i >= 0 {
		if item.Detail = c.have.Payees[i].ID; !item.Done {
			item.Detail += " has no bank account"
		}
	}
	c.add(item)
}

func (c *checker) tariff() {
	item := edge.ChecklistItem{Name: "tariff", Detail: "no prices hold now", Do: "PUT /v1/tenants/{tenant}/tariffs/1, or tariffs in the file"}
	for _, p := range c.have.Tariffs {
		switch compiled, err := p.Compiled(); {
		case err != nil || p.From.After(c.now):
		case compiled.Currency != c.tenant.Currency:
			item.Done, item.Detail = false, fmt.Sprintf("version %d is in %s, the books are in %s", compiled.Version, compiled.Currency, c.tenant.Currency)
		default:
			item.Done, item.Detail = true, fmt.Sprintf("%s, version %d", compiled.Name, compiled.Version)
		}
	}
	c.add(item)
}

func (c *checker) acceptance(ctx context.Context) error {
	const do = "PUT /v1/tenants/{tenant}/acceptance, or acceptance in the file"
	rules, err := policies.Latest(ctx, c.DB, c.tenant.ID)
	if errors.Is(err, policies.ErrNone) {
		c.add(edge.ChecklistItem{Name: "acceptance", Detail: "nothing says what is accepted", Do: do})
		return nil
	}
	if err != nil {
		return err
	}
	c.add(edge.ChecklistItem{Name: "acceptance", Done: len(rules.Issuers) > 0, Detail: fmt.Sprintf("version %d admits %s", rules.Version, plural(len(rules.Issuers), "issuer")), Do: do})
	c.modes(rules)
	for _, r := range rules.Issuers {
		issuer, err := c.Tenants.ByIssuer(ctx, r.Issuer)
		if err != nil {
			return err
		}
		item := edge.ChecklistItem{Name: fmt.Sprintf("issuer %d", r.Issuer), Done: issuer.State == tenants.Active || issuer.ID == c.tenant.ID, Detail: issuer.Slug, Do: "activate " + issuer.Slug}
		if issuer.Mode != c.tenant.Mode {
			item.Done, item.Detail = false, fmt.Sprintf("%s is %s, this tenant is %s: play money and real money do not mix", issuer.Slug, issuer.Mode, c.tenant.Mode)
			item.Do = "accept issuers of the same mode"
		}
		c.add(item)
	}
	item := edge.ChecklistItem{Name: "trust bundle", Do: "sign it with the offline roots: citygate bundle prepare, bundle root sign, bundle import"}
	latest, err := c.Bundles.Latest(ctx, c.tenant.ID)
	switch {
	case errors.Is(err, fleet.ErrNoBundle):
		item.Detail = "no bundle is in force"
	case err != nil:
		return err
	case !latest.ExpiresAt.After(c.now):
		item.Detail = fmt.Sprintf("bundle %d has expired", latest.Version)
	default:
		item.Done, item.Detail = true, fmt.Sprintf("version %d until %s", latest.Version, latest.ExpiresAt.Format("2006-01-02"))
	}
	c.add(item)
	return nil
}

func (c *checker) terminals(ctx context.Context) error {
	active := 0
	stops, vehicles := map[string]bool{"": true}, map[string]bool{"": true}
	for _, s := range c.have.Stops {
		stops[s.ID] = true
	}
	for _, v := range c.have.Vehicles {
		vehicles[v.ID] = true
	}
	var lost []string
	for _, t := range c.have.Terminals {
		if t.State != string(fleet.Active) {
			continue
		}
		active++
		if (len(stops) > 1 && !stops[t.Stop]) || (len(vehicles) > 1 && !vehicles[t.Vehicle]) {
			lost = append(lost, t.Name)
		}
	}
	c.add(edge.ChecklistItem{Name: "terminal", Done: active > 0, Detail: plural(active, "active terminal"), Do: "POST /v1/tenants/{tenant}/terminals, or terminals in the file"})
	if len(lost) > 0 {
		const shown = 5
		c.add(edge.ChecklistItem{Name: "places of terminals", Optional: true, Do: "add the stop or vehicle, or correct the terminal",
			Detail: fmt.Sprintf("%s at a stop or on a vehicle that is not listed: %s", plural(len(lost), "terminal"), strings.Join(lost[:min(len(lost), shown)], ", "))})
	}
	var taps bool
	err := c.DB.InTenant(ctx, c.tenant.ID, func(tx *pg.Tx) (err error) {
		taps, err = intake.AnyTap(ctx, tx)
		return err
	})
	c.add(edge.ChecklistItem{Name: "first tap", Optional: true, Done: taps, Do: "in a sandbox: citygate tenant try " + c.tenant.Slug})
	return err
}

// modes finds those that the rules name and no reader has: a device that is set up
// for one opens, and its taps are refused here.
func (c *checker) modes(rules *accept.Rules) {
	usual, known := modesOf(c.tenant.Kind)
	known = append(known, usual)
	for _, t := range c.have.Terminals {
		if t.Profile != nil {
			known = append(known, accept.Mode(t.Profile.Mode))
		}
	}
	for _, m := range rules.Modes {
		if !slices.Contains(known, m.Mode) {
			c.add(edge.ChecklistItem{Name: "mode " + string(m.Mode), Detail: fmt.Sprintf("readers of a tenant of kind %s are of mode %s: what others take is refused when it is uploaded", c.tenant.Kind, usual),
				Do: "PUT /v1/tenants/{tenant}/terminals/{terminal}/profile with this mode, or name the readers' own in the acceptance rules"})
		}
	}
}
