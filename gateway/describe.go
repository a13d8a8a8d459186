package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Describe gives tenants as a manifest says them, every tenant if none is named.
// Applied to the same gateway it changes nothing. It has public keys only, and of
// secrets that they are kept; payees' bank accounts are in it.
func (g *Gateway) Describe(ctx context.Context, named ...citygate.TenantID) (*manifest.City, error) {
	all, err := g.Tenants.All(ctx)
	if err != nil {
		return nil, err
	}
	slugs := map[citygate.TenantID]string{}
	for _, t := range all {
		slugs[t.ID] = t.Slug
	}
	city := &manifest.City{Citygate: manifest.Form, Tenants: []manifest.Tenant{}}
	for _, t := range parentsFirst(all) {
		if len(named) > 0 && !slices.Contains(named, t.ID) {
			continue
		}
		described, err := g.describe(ctx, t, slugs)
		if err != nil {
			return nil, err
		}
		city.Tenants = append(city.Tenants, described)
	}
	return city, nil
}

// parentsFirst puts every authority before the tenants it owns.
func parentsFirst(all []tenants.Tenant) []tenants.Tenant {
	list := make([]tenants.Tenant, 0, len(all))
	var below func(parent citygate.TenantID)
	below = func(parent citygate.TenantID) {
		for _, t := range all {
			if t.Parent == parent {
				list = append(list, t)
				below(t.ID)
			}
		}
	}
	below(0)
	return list
}

func (g *Gateway) describe(ctx context.Context, t tenants.Tenant, slugs map[citygate.TenantID]string) (manifest.Tenant, error) {
	m := manifest.Tenant{
		ID: int64(t.ID), Slug: t.Slug, Name: t.Name, Kind: string(t.Kind), Parent: slugs[t.Parent], Mode: string(t.Mode), State: string(t.State),
		Issuer: uint16(t.Issuer), CapUnit: t.CapUnit, Currency: t.Currency, TimeZone: t.TimeZone, Cut: manifest.CutText(t.CutMinutes),
	}
	served, err := g.Tenants.Serves(ctx, t.ID)
	if err != nil {
		return m, err
	}
	for _, id := range served {
		m.Serves = append(m.Serves, slugs[id])
	}
	held, err := g.Ring.Keys(ctx, t.ID)
	if err != nil {
		return m, err
	}
	for _, k := range held {
		if k.State == bundle.Active {
			m.Keys = append(m.Keys, manifest.Key{Purpose: string(k.Purpose), Algorithm: string(k.Algorithm)})
		}
	}
	rules, err := policies.Latest(ctx, g.DB, t.ID)
	if err == nil {
		m.Acceptance, err = manifest.AcceptanceOf(rules)
	}
	if err != nil && !errors.Is(err, policies.ErrNone) {
		return m, err
	}
	quota, err := g.Tenants.QuotaOf(ctx, t.ID)
	if err != nil {
		return m, err
	}
	if m.Quota = nil; quota != (tenants.Quota{}) {
		m.Quota = manifest.QuotaOf(quota)
	}
	if err := g.describePeople(ctx, &m); err != nil {
		return m, err
	}
	err = g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
		if err := describeSettings(ctx, tx, &m, slugs); err != nil {
			return err
		}
		if err := describeRules(ctx, tx, &m); err != nil {
			return err
		}
		if err := describeRoaming(ctx, tx, &m, slugs); err != nil {
			return err
		}
		if err := describeMoney(ctx, tx, &m); err != nil {
			return err
		}
		if err := describeVersions(ctx, tx, &m); err != nil {
			return err
		}
		return describeFleet(ctx, tx, &m)
	})
	return m, err
}

func describeMoney(ctx context.Context, tx *pg.Tx, m *manifest.Tenant) error {
	m.Contracts, m.Settlement, m.Tariffs = nil, nil, nil // a transaction may run twice
	contracts, err := collect.Contracts(ctx, tx)
	if err != nil {
		return err
	}
	secrets, err := collect.ContractSecrets(ctx, tx)
	if err != nil {
		return err
	}
	for _, c := range contracts {
		d := manifest.Contract{Name: c.Name, Adapter: c.Adapter, FeePPM: c.FeePPM, Config: manifest.Raw(c.Config)}
		for _, s := range secrets {
			if s.Contract != c.Name {
				continue
			}
			if d.Secrets == nil {
				d.Secrets = map[string]manifest.Secret{}
			}
			d.Secrets[s.Name] = manifest.Secret{Kept: true}
		}
		m.Contracts = append(m.Contracts, d)
	}
	terms, err := settle.AllTerms(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range terms {
		m.Settlement = append(m.Settlement, manifest.Terms{
			From: t.From.String(), CloseAfterMinutes: int(t.CloseAfter / time.Minute), PayAfterMinutes: int(t.PayAfter / time.Minute),
		})
	}
	tariffs, err := pricing.Tariffs(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range tariffs {
		raw, err := p.Tariff.Encode()
		if err != nil {
			return err
		}
		m.Tariffs = append(m.Tariffs, manifest.Tariff{From: p.From, Tariff: raw})
	}
	return nil
}

// pageSize is how many rows of a list are read at a time.
const pageSize = 1000

func describeFleet(ctx context.Context, tx *pg.Tx, m *manifest.Tenant) error {
	m.Payees, m.Stops, m.Vehicles, m.Assignments, m.Terminals = nil, nil, nil, nil, nil
	err := pages(func(after string) (string, bool, error) {
		found, err := fleet.Payees(ctx, tx, after, pageSize)
		for _, p := range found {
			m.Payees = append(m.Payees, manifest.Payee{ID: p.ID, Kind: string(p.Kind), Name: p.Name, Account: p.Account, BankID: p.BankID, Default: p.Default})
			after = p.ID
		}
		return after, len(found) == pageSize, err
	})
	if err != nil {
		return err
	}
	err = pages(func(after string) (string, bool, error) {
		found, err := fleet.Stops(ctx, tx, after, pageSize)
		for _, s := range found {
			m.Stops = append(m.Stops, manifest.Stop(s))
			after = s.ID
		}
		return after, len(found) == pageSize, err
	})
	if err != nil {
		return err
	}
	err = pages(func(after string) (string, bool, error) {
		found, err := fleet.Vehicles(ctx, tx, after, pageSize)
		for _, v := range found {
			m.Vehicles = append(m.Vehicles, manifest.Vehicle{ID: v.ID, Kind: string(v.Kind), Plate: v.Plate})
			after = v.ID
		}
		return after, len(found) == pageSize, err
	})
	if err != nil {
		return err
	}
	assigned, err := fleet.Assignments(ctx, tx)
	for _, a := range assigned {
		d := manifest.Assignment{Payee: a.Payee, From: a.From}
		if a.Subject.Kind == fleet.OfVehicle {
			d.Vehicle = a.Subject.ID
		} else {
			d.Driver = a.Subject.ID
		}
		m.Assignments = append(m.Assignments, d)
	}
	if err != nil {
		return err
	}
	for after, more := uint32(0), true; more; {
		found, err := fleet.List(ctx, tx, after, pageSize)
		if err != nil {
			return err
		}
		ids := make([]uint32, len(found))
		for i, t := range found {
			ids[i] = t.ID
		}
		profiles, err := fleet.Profiles(ctx, tx, ids...)
		if err != nil {
			return err
		}
		for _, t := range found {
			d := manifest.Terminal{
				ID: t.ID, Name: t.Name, PublicKey: base64.StdEncoding.EncodeToString(t.Public), Kind: string(t.Kind),
				Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle, State: string(t.State),
			}
			if p, ok := profiles[t.ID]; ok {
				d.Profile = profileDocument(p)
			}
			m.Terminals = append(m.Terminals, d)
			after = t.ID
		}
		more = len(found) == pageSize
	}
	return nil
}

// pages asks next for the page behind a name until there is none.
func pages(next func(after string) (last string, more bool, err error)) error {
	for after, more := "", true; more; {
		var err error
		if after, more, err = next(after); err != nil {
			return err
		}
	}
	return nil
}
