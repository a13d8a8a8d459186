package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// issuancePolicy gives the issuance policy that a file wants.
func issuancePolicy(raw manifest.Raw) (p issuance.Policy, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, issuance.ErrPolicy.Explain("issuance: %v", err)
	}
	return p, p.Check()
}

// issuance publishes the issuance policy.
func (a *applier) issuance(ctx context.Context, t manifest.Tenant) error {
	if !a.any(t, manifest.KindIssuance) {
		return nil
	}
	p, err := issuancePolicy(t.Issuance)
	if err != nil {
		return err
	}
	return a.DB.InTenant(ctx, citygate.TenantID(t.ID), func(tx *pg.Tx) error {
		_, err := issuance.Publish(ctx, tx, a.actor, p)
		return err
	})
}

// schemeEntry gives how a file wants a scheme read. Operators are tenants that are
// there.
func (g *Gateway) schemeEntry(ctx context.Context, t manifest.Tenant, s manifest.CodeScheme) (foreign.Entry, error) {
	params, err := s.WithIssuer(t.Issuer)
	if err != nil {
		return foreign.Entry{}, err
	}
	e := foreign.Entry{Scheme: code.SchemeID(s.Scheme), Params: params, Contract: s.Contract, Opens: s.Opens, Asks: s.Asks}
	for _, slug := range s.Operators {
		o, err := g.Tenants.BySlug(ctx, slug)
		if err != nil {
			return e, fmt.Errorf("operator %s: %w", slug, err)
		}
		e.Operators = append(e.Operators, o.ID)
	}
	slices.Sort(e.Operators)
	for _, k := range s.Keys {
		raw, err := base64.StdEncoding.DecodeString(k.Key)
		if err != nil {
			return e, err
		}
		e.Roots = append(e.Roots, bundle.ForeignRoot{Owner: k.Owner, List: k.List, Kind: k.Kind, ID: k.ID, Key: raw})
	}
	return e, nil
}

// carrySchemes has the bundles of the file's tenants carry the schemes of one as
// they are; those that do are left alone.
func (a *applier) carrySchemes(ctx context.Context, tenant citygate.TenantID) error {
	for _, o := range a.City.Tenants {
		if err := a.renewSchemes(ctx, a.actor, tenant, citygate.TenantID(o.ID)); err != nil {
			return err
		}
	}
	return nil
}

// refuseRiders refuses code schemes that nobody could read and issuance policies
// under which a rider could lose without bound, before anything is changed.
func (g *Gateway) refuseRiders(ctx context.Context, city *manifest.City, changes []manifest.Change) error {
	for i := range changes {
		c := &changes[i]
		at := slices.IndexFunc(city.Tenants, func(t manifest.Tenant) bool { return t.Slug == c.Tenant })
		if at < 0 || c.Refused != "" {
			continue
		}
		t := city.Tenants[at]
		switch c.Kind {
		case manifest.KindIssuance:
			if _, err := issuancePolicy(t.Issuance); err != nil {
				c.Refused = err.Error()
			}
		case manifest.KindCodeScheme:
			n := slices.IndexFunc(t.CodeSchemes, func(s manifest.CodeScheme) bool { return s.Scheme == c.Name })
			if n < 0 {
				continue
			}
			refused, err := g.refuseScheme(ctx, city, t, t.CodeSchemes[n])
			if err != nil {
				return err
			}
			c.Refused = refused
		}
	}
	return nil
}

func (g *Gateway) refuseScheme(ctx context.Context, city *manifest.City, t manifest.Tenant, s manifest.CodeScheme) (why string, err error) {
	var there []string // those that the file makes are there in time
	for _, slug := range s.Operators {
		_, err := g.Tenants.BySlug(ctx, slug)
		switch {
		case err == nil:
			there = append(there, slug)
		case !errors.Is(err, tenants.ErrNotFound):
			return "", err
		case !slices.ContainsFunc(city.Tenants, func(o manifest.Tenant) bool { return o.Slug == slug }):
			return "operators: there is no tenant " + slug, nil
		}
	}
	s.Operators = there
	e, err := g.schemeEntry(ctx, t, s)
	if err == nil {
		err = g.Foreign.Check(e, citygate.Issuer(t.Issuer))
	}
	if err != nil {
		return err.Error(), nil //nolint:nilerr // it is the answer
	}
	if s.Contract != "" && !slices.ContainsFunc(t.Contracts, func(k manifest.Contract) bool { return k.Name == s.Contract }) {
		return "contract: the file says no contract " + s.Contract + " of the tenant", nil
	}
	return "", nil
}
