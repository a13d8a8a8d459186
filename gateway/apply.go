package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Manifest is a file to compare a gateway with or to apply to it.
type Manifest struct {
	Name string // of the file, as refusals and the audit log show it
	City *manifest.City
	// TakeOver lets it manage what another file managed.
	TakeOver bool
	// Resolve gives the value of a secret that is not kept.
	Resolve func(manifest.Secret) (citygate.Secret, error)
}

// ErrRefused says that a file wants changes that cannot be made; nothing was
// changed.
var ErrRefused = &citygate.Code{Name: "manifest.refused", Kind: citygate.Conflict, Title: "The file asks for changes that are not possible. Nothing was changed; correct the named lines."}

// Diff says what [Gateway.Apply] would change.
func (g *Gateway) Diff(ctx context.Context, m Manifest) ([]manifest.Change, error) {
	have, err := g.Describe(ctx, g.existing(ctx, m.City)...)
	if err != nil {
		return nil, err
	}
	if err := g.weighSecrets(ctx, have, m); err != nil {
		return nil, err
	}
	if err := g.alignRules(ctx, have, m.City); err != nil {
		return nil, err
	}
	changes := manifest.Diff(have, m.City)
	if err := g.refusePeople(ctx, m.City, changes); err != nil {
		return nil, err
	}
	if err := g.refuseMoves(ctx, m.City, changes); err != nil {
		return nil, err
	}
	if err := g.refuseRiders(ctx, m.City, changes); err != nil {
		return nil, err
	}
	return changes, g.refuseFields(ctx, m.City, changes)
}

// refuseFields refuses to put acceptance fields in the place of rule sets.
func (g *Gateway) refuseFields(ctx context.Context, city *manifest.City, changes []manifest.Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Kind != manifest.KindAcceptance || c.Refused != "" {
			continue
		}
		for _, t := range city.Tenants {
			if t.Slug != c.Tenant {
				continue
			}
			err := policies.MayPublishFields(ctx, g.DB, citygate.TenantID(t.ID))
			if errors.Is(err, policies.ErrRuleSet) {
				c.Refused, err = err.Error(), nil
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// existing gives the numbers that the file's tenants have; one that is new, or
// has another tenant's slug, is found out by the comparison.
func (g *Gateway) existing(ctx context.Context, city *manifest.City) (ids []citygate.TenantID) {
	for _, t := range city.Tenants {
		ids = append(ids, citygate.TenantID(t.ID))
		if other, err := g.Tenants.BySlug(ctx, t.Slug); err == nil {
			ids = append(ids, other.ID)
		}
	}
	return ids
}

// weighSecrets gives both sides' secrets digests to be compared by. A value that
// is kept is not asked for.
func (g *Gateway) weighSecrets(ctx context.Context, have *manifest.City, m Manifest) error {
	for _, t := range m.City.Tenants {
		for _, c := range t.Contracts {
			for name, s := range c.Secrets {
				held, there := secretOf(have, t.ID, c.Name, name)
				if s.Kept || m.Resolve == nil {
					s.Digest, held.Digest = "kept", "kept"
				} else {
					value, err := m.Resolve(s)
					if err != nil {
						return err
					}
					s.Digest = digest(value)
					if there {
						stored, _, err := g.Secrets.Get(ctx, citygate.TenantID(t.ID), collect.SecretName(c.Name, name))
						if err != nil && !errors.Is(err, keys.ErrNotFound) {
							return err
						}
						held.Digest = digest(stored)
					}
				}
				c.Secrets[name] = s
				if there {
					putSecret(have, t.ID, c.Name, name, held)
				}
			}
		}
	}
	return nil
}

func digest(s citygate.Secret) string {
	sum := sha256.Sum256(s.Reveal())
	return hex.EncodeToString(sum[:])
}

func secretOf(city *manifest.City, tenant int64, contract, name string) (s manifest.Secret, there bool) {
	for _, t := range city.Tenants {
		for _, c := range t.Contracts {
			if t.ID == tenant && c.Name == contract {
				s, there = c.Secrets[name]
			}
		}
	}
	return s, there
}

func putSecret(city *manifest.City, tenant int64, contract, name string, s manifest.Secret) {
	for _, t := range city.Tenants {
		for _, c := range t.Contracts {
			if t.ID == tenant && c.Name == contract {
				c.Secrets[name] = s
			}
		}
	}
}

// Apply makes the gateway agree with a file and gives what it changed. What the
// file names is managed by it from then on: the API refuses to change it.
//
// It can be stopped anywhere and run again: every step is one of a vertical's
// idempotent verbs, and what is done is no longer a difference. If one change
// cannot be made ([ErrRefused]) none is. What another file manages is
// [tenants.ErrManaged], unless there is nothing to change: then it stays that file's.
// What needs a second person by the API needs one here: [ErrSecond] says where it
// waits, and the same file applied again by the same person goes through when it is
// approved.
func (g *Gateway) Apply(ctx context.Context, actor string, m Manifest) ([]manifest.Change, error) {
	changes, err := g.Diff(ctx, m)
	if err != nil {
		return nil, err
	}
	var refused manifest.Problems
	for _, c := range changes {
		if c.Refused != "" {
			refused = append(refused, manifest.Problem{Line: c.Line, Path: strings.TrimSpace(c.Tenant + " " + c.Kind + " " + c.Name), Text: c.Refused})
		}
	}
	if len(refused) > 0 {
		return changes, ErrRefused.Explain("%s", refused.Error())
	}
	a := applier{Gateway: g, Manifest: m, actor: actor, todo: map[string]map[string][]manifest.Change{}}
	for _, c := range changes {
		if a.todo[c.Tenant] == nil {
			a.todo[c.Tenant] = map[string][]manifest.Change{}
		}
		a.todo[c.Tenant][c.Kind] = append(a.todo[c.Tenant][c.Kind], c)
	}
	if a.given, err = a.consents(ctx, changes); err != nil {
		return changes, err
	}
	worked := false
	defer func() {
		for _, c := range a.given {
			if c.end != nil {
				c.end(worked)
			}
		}
	}()
	// Tenants and their keys first, all of them: what one accepts names others.
	for _, phase := range []func(context.Context, manifest.Tenant) error{
		a.tenant, a.keys, a.settings, a.money, a.fleet, a.prices, a.versions, a.issuance, a.people, a.accept, a.rules, a.riders, a.roaming, a.approvals, a.state,
	} {
		for _, t := range m.City.Tenants {
			in := ctx
			if join := a.given[t.Slug].join; join != nil {
				in = join(ctx)
			}
			switch err := phase(in, t); {
			case len(changes) == 0 && errors.Is(err, tenants.ErrManaged):
				return nil, nil // a dump, or a copy: what the other file manages stays the other's
			case err != nil:
				return changes, fmt.Errorf("%s: %w", t.Slug, err)
			}
		}
	}
	worked = true
	return changes, nil
}

// An applier puts the changes of one file into effect.
type applier struct {
	*Gateway
	Manifest

	actor string
	todo  map[string]map[string][]manifest.Change // by tenant and kind
	given map[string]consent                      // by tenant
}

func (a *applier) is(t manifest.Tenant, kind, name string) bool {
	return slices.ContainsFunc(a.todo[t.Slug][kind], func(c manifest.Change) bool { return c.Name == name })
}

// any reports whether anything of a kind is to be changed.
func (a *applier) any(t manifest.Tenant, kind string) bool { return len(a.todo[t.Slug][kind]) > 0 }

func (a *applier) tenant(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	for _, c := range a.todo[t.Slug][manifest.KindTenant] {
		if c.Verb == "change" {
			if err := a.rehead(ctx, id, t); err != nil {
				return err
			}
			continue
		}
		record, err := t.Record()
		if err != nil {
			return err
		}
		record.State = tenants.Draft // it becomes what the file says when all of it is there
		if t.Parent != "" {
			parent, err := a.Tenants.BySlug(ctx, t.Parent)
			if err != nil {
				return fmt.Errorf("parent %s: %w", t.Parent, err)
			}
			record.Parent = parent.ID
		}
		if err := a.Tenants.Create(ctx, a.actor, record); err != nil {
			return err
		}
	}
	return a.DB.InTenant(ctx, id, func(tx *pg.Tx) error {
		return tenants.Manage(ctx, tx, a.actor, a.Name, t.Managed(), a.TakeOver)
	})
}

func (a *applier) keys(ctx context.Context, t manifest.Tenant) error {
	if a.any(t, manifest.KindServes) {
		var served []citygate.TenantID
		for _, slug := range t.Serves {
			authority, err := a.Tenants.BySlug(ctx, slug)
			if err != nil {
				return fmt.Errorf("serves %s: %w", slug, err)
			}
			served = append(served, authority.ID)
		}
		if err := a.Tenants.Serve(ctx, a.actor, citygate.TenantID(t.ID), served...); err != nil {
			return err
		}
	}
	for _, k := range t.Keys {
		if !a.is(t, manifest.KindKey, k.Purpose) {
			continue
		}
		algorithm, err := algorithmNamed(k.Algorithm)
		if err != nil {
			return err
		}
		if _, err := a.Ring.Ensure(ctx, a.actor, citygate.TenantID(t.ID), keys.Purpose(k.Purpose), algorithm); err != nil {
			return err
		}
	}
	return nil
}

// algorithmNamed gives the algorithm of a name; the empty one is Ed25519.
func algorithmNamed(name string) (keys.Algorithm, error) {
	for _, a := range []keys.Algorithm{keys.Ed25519, keys.P256, keys.RSA2048} {
		if string(a) == name || name == "" {
			return a, nil
		}
	}
	return "", keys.ErrInvalid.Explain("algorithm %q: want ed25519, ecdsa-p256 or rsa-2048", name)
}

func (a *applier) money(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	for _, c := range t.Contracts {
		if a.is(t, manifest.KindContract, c.Name) {
			contract := collect.Contract{Name: c.Name, Adapter: c.Adapter, FeePPM: c.FeePPM, Config: json.RawMessage(c.Config)}
			if err := a.putContract(ctx, a.actor, id, contract); err != nil {
				return err
			}
		}
		for name, s := range c.Secrets {
			if !a.is(t, manifest.KindSecret, c.Name+"/"+name) || s.Kept {
				continue
			}
			value, err := a.Resolve(s)
			if err != nil {
				return err
			}
			if _, err := a.putSecret(ctx, a.actor, id, c.Name, name, value); err != nil {
				return err
			}
		}
	}
	if !a.any(t, manifest.KindSettlement) {
		return nil
	}
	return a.DB.InTenant(ctx, id, func(tx *pg.Tx) error {
		for i, s := range t.Settlement {
			from, err := citygate.ParseDate(s.From)
			if err != nil {
				return err
			}
			if err := settle.AddTerms(ctx, tx, a.actor, settle.Terms{
				Version: i + 1, From: from, CloseAfter: time.Duration(s.CloseAfterMinutes) * time.Minute, PayAfter: time.Duration(s.PayAfterMinutes) * time.Minute,
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// putContract adds a contract of a product that this build has.
func (g *Gateway) putContract(ctx context.Context, actor string, tenant citygate.TenantID, c collect.Contract) error {
	if !slices.Contains(g.Products.Names(), c.Adapter) {
		return collect.ErrContract.Explain("there is no adapter %q here; there are %s", c.Adapter, strings.Join(g.Products.Names(), ", "))
	}
	if err := g.Products.CheckConfig(c.Adapter, c.Config); err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.AddContract(ctx, tx, actor, c) })
}

// putSecret keeps a contract's secret in the secret store and notes in the
// database that it is there. The same value again changes nothing. Between the
// two it may die: the next time the value is found to be there and is noted.
func (g *Gateway) putSecret(ctx context.Context, actor string, tenant citygate.TenantID, contract, name string, value citygate.Secret) (version int, err error) {
	if err := collect.CheckSecret(contract, name); err != nil {
		return 0, err
	}
	if n := len(value.Reveal()); n == 0 || n > collect.SecretMost {
		return 0, collect.ErrSecret.Explain("a value of %d bytes", n)
	}
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.HasContract(ctx, tx, contract) }); err != nil {
		return 0, err
	}
	at := collect.SecretName(contract, name)
	held, version, err := g.Secrets.Get(ctx, tenant, at)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return 0, err
	}
	if err != nil || subtle.ConstantTimeCompare(held.Reveal(), value.Reveal()) != 1 {
		if version, err = g.Secrets.Put(ctx, tenant, at, value, version); err != nil {
			return 0, err
		}
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.NoteSecret(ctx, tx, actor, contract, name, version) })
	g.providers.forget(tenant, contract)
	g.passes.forget(tenant)
	return version, err
}

func (a *applier) fleet(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	var payees []fleet.Payee
	for _, p := range t.Payees {
		if a.is(t, manifest.KindPayee, p.ID) {
			payees = append(payees, fleet.Payee{ID: p.ID, Kind: fleet.PayeeKind(p.Kind), Name: p.Name, Account: p.Account, BankID: p.BankID, Default: p.Default})
		}
	}
	if err := a.Fleet.PutPayees(ctx, a.actor, id, payees...); err != nil {
		return err
	}
	var stops []fleet.Stop
	for _, s := range t.Stops {
		if a.is(t, manifest.KindStop, s.ID) {
			stops = append(stops, fleet.Stop(s))
		}
	}
	if err := a.Fleet.PutStops(ctx, a.actor, id, stops...); err != nil {
		return err
	}
	var vehicles []fleet.Vehicle
	for _, v := range t.Vehicles {
		if a.is(t, manifest.KindVehicle, v.ID) {
			vehicles = append(vehicles, fleet.Vehicle{ID: v.ID, Kind: fleet.VehicleKind(v.Kind), Plate: v.Plate})
		}
	}
	if err := a.Fleet.PutVehicles(ctx, a.actor, id, vehicles...); err != nil {
		return err
	}
	if a.any(t, manifest.KindAssignment) {
		var list []fleet.Assignment
		for _, s := range t.Assignments {
			subject := fleet.Subject{Kind: fleet.OfVehicle, ID: s.Vehicle}
			if s.Driver != "" {
				subject = fleet.Subject{Kind: fleet.OfDriver, ID: s.Driver}
			}
			list = append(list, fleet.Assignment{Subject: subject, Payee: s.Payee, From: s.From})
		}
		if err := a.Fleet.Assign(ctx, a.actor, id, list...); err != nil {
			return err
		}
	}
	for _, c := range a.todo[t.Slug][manifest.KindTerminal] {
		i := slices.IndexFunc(t.Terminals, func(d manifest.Terminal) bool { return fmt.Sprint(d.ID) == c.Name })
		if err := a.terminal(ctx, id, t.Terminals[i]); err != nil {
			return fmt.Errorf("terminal %s: %w", c.Name, err)
		}
	}
	return nil
}

func (a *applier) terminal(ctx context.Context, tenant citygate.TenantID, d manifest.Terminal) error {
	public, err := base64.StdEncoding.DecodeString(d.PublicKey)
	if err != nil {
		return fleet.ErrInvalid.Explain("public_key: %v", err)
	}
	if _, err := a.Fleet.Enrol(ctx, a.actor, tenant, fleet.Terminal{
		ID: d.ID, Name: d.Name, Kind: fleet.Kind(d.Kind), Mode: terminalMode(d.Kind), Stop: d.Stop, Route: d.Route, Vehicle: d.Vehicle,
	}, ed25519.PublicKey(public)); err != nil {
		return err
	}
	if err := a.Fleet.Place(ctx, a.actor, tenant, d.ID, d.Name, d.Stop, d.Route, d.Vehicle); err != nil {
		return err
	}
	state := fleet.State(d.State)
	if state == "" {
		state = fleet.Active
	}
	return a.Fleet.SetState(ctx, a.actor, tenant, d.ID, state)
}

// terminalMode is how riders use a terminal of a kind.
func terminalMode(kind string) fleet.Mode {
	if kind == string(fleet.Gate) {
		return fleet.OnOff
	}
	return fleet.Single
}

func (a *applier) prices(ctx context.Context, t manifest.Tenant) error {
	for _, p := range t.Tariffs {
		compiled, err := p.Compiled()
		if err != nil {
			return err
		}
		if !a.is(t, manifest.KindTariff, fmt.Sprint(compiled.Version)) {
			continue
		}
		if err := a.DB.InTenant(ctx, citygate.TenantID(t.ID), func(tx *pg.Tx) error {
			if p.WithdrawLater {
				return pricing.PublishInstead(ctx, tx, a.actor, compiled, p.From)
			}
			return pricing.Publish(ctx, tx, a.actor, compiled, p.From)
		}); err != nil {
			return err
		}
		if err := a.carryFares(ctx, a.actor, citygate.TenantID(t.ID)); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) accept(ctx context.Context, t manifest.Tenant) error {
	if !a.any(t, manifest.KindAcceptance) {
		if len(t.Acceptance) == 0 {
			return nil
		}
		// A stop between the policy and its bundle left the bundle out.
		if carried, err := a.carriesFields(ctx, citygate.TenantID(t.ID)); err != nil || carried {
			return err
		}
	}
	return a.putAcceptance(ctx, a.actor, citygate.TenantID(t.ID), t.Rules)
}

// carriesFields reports whether a tenant's newest bundle has its newest acceptance
// fields, or it has rule sets in their place.
func (g *Gateway) carriesFields(ctx context.Context, tenant citygate.TenantID) (bool, error) {
	if err := policies.MayPublishFields(ctx, g.DB, tenant); err != nil {
		if errors.Is(err, policies.ErrRuleSet) {
			return true, nil
		}
		return false, err
	}
	last, err := policies.Latest(ctx, g.DB, tenant)
	if err != nil {
		return false, err
	}
	held, err := g.Bundles.Profile(ctx, tenant)
	if errors.Is(err, fleet.ErrNoBundle) {
		return false, nil
	}
	return held.Policy.Version >= last.Version, err
}

// putAcceptance publishes rules as the tenant's next version, with the bundle
// that carries them. Rules that are in force already are given their bundle
// again, which changes nothing where it is there.
func (g *Gateway) putAcceptance(ctx context.Context, actor string, tenant citygate.TenantID, rules func(version uint64) (*accept.Rules, error)) error {
	last, err := policies.Latest(ctx, g.DB, tenant)
	if err != nil && !errors.Is(err, policies.ErrNone) {
		return err
	}
	next := uint64(1)
	if last != nil {
		same, err := rules(last.Version)
		if err != nil {
			return err
		}
		a, err := same.Encode()
		if err != nil {
			return err
		}
		b, err := last.Encode()
		if err != nil {
			return err
		}
		next = last.Version + 1
		if string(a) == string(b) {
			next = last.Version
		}
	}
	r, err := rules(next)
	if err != nil {
		return err
	}
	var accepts []citygate.TenantID
	for i, rule := range r.Issuers {
		issuer, err := g.Tenants.ByIssuer(ctx, rule.Issuer)
		if errors.Is(err, tenants.ErrNotFound) {
			return accept.ErrRules.Explain("issuers[%d].issuer: nobody issues codes as %d", i, rule.Issuer)
		}
		if err != nil {
			return err
		}
		if issuer.ID != tenant {
			accepts = append(accepts, issuer.ID)
		}
	}
	_, err = g.PublishPolicy(ctx, actor, r, accepts...)
	return err
}

func (a *applier) state(ctx context.Context, t manifest.Tenant) error {
	to := tenants.State(t.State)
	if to == "" {
		to = tenants.Active
	}
	if to == tenants.Draft || !a.any(t, manifest.KindState) {
		return nil
	}
	if now, err := a.Tenants.ByID(ctx, citygate.TenantID(t.ID)); err != nil || now.State == to {
		return err
	}
	for _, step := range []tenants.State{tenants.Active, to} { // a new tenant may begin as suspended or closed
		now, err := a.Tenants.ByID(ctx, citygate.TenantID(t.ID))
		if err != nil {
			return err
		}
		if now.State == tenants.Draft || step == to {
			if _, err := a.SetState(ctx, a.actor, now.ID, step); err != nil {
				return err
			}
		}
	}
	return nil
}
