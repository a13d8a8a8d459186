package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// refuseMoves refuses what would break books: another first time zone or cut once
// anything has a business date, and another authority while money is under way.
func (g *Gateway) refuseMoves(ctx context.Context, city *manifest.City, changes []manifest.Change) error {
	for i := range changes {
		c := &changes[i]
		at := slices.IndexFunc(city.Tenants, func(t manifest.Tenant) bool { return t.Slug == c.Tenant })
		if c.Kind != manifest.KindTenant || c.Verb != "change" || c.Refused != "" || at < 0 {
			continue
		}
		want := city.Tenants[at]
		t, err := g.Tenants.BySlug(ctx, want.Slug)
		if err != nil {
			return err
		}
		record, err := want.Record()
		if err != nil {
			return err
		}
		err = g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			if record.TimeZone != t.TimeZone || record.CutMinutes != t.CutMinutes {
				if free, err := undated(ctx, tx); err != nil || !free {
					c.Refused = "taps, fares or windows have business dates by this time zone and cut: add a version under calendars"
					return err
				}
				if later, err := tenants.Calendars(ctx, tx); err != nil || len(later) > 0 {
					c.Refused = "later versions of the calendar follow this time zone and cut: add the next one under calendars"
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		parent := tenants.Tenant{}
		if want.Parent != "" {
			parent, err = g.Tenants.BySlug(ctx, want.Parent)
			if errors.Is(err, tenants.ErrNotFound) && slices.ContainsFunc(city.Tenants, func(t manifest.Tenant) bool { return t.Slug == want.Parent }) {
				continue // made by this file; asked again when it is there
			}
			if err != nil {
				return fmt.Errorf("parent %s: %w", want.Parent, err)
			}
		}
		if parent.ID != t.Parent {
			if err := g.mayMove(ctx, t, parent); err != nil {
				if _, said := errors.AsType[*citygate.Explained](err); !said {
					return err
				}
				c.Refused = err.Error()
			}
		}
	}
	return nil
}

// mayMove is [tenants.ErrState] while a tenant has money under way with others:
// what is open was claimed and is passed back inside the tree it was ridden in.
func (g *Gateway) mayMove(ctx context.Context, t, parent tenants.Tenant) error {
	if err := g.Tenants.MayOwn(ctx, t, parent); err != nil {
		return err
	}
	var journeys, open, waiting int64
	err := g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM journeys WHERE tenant_id = $1 AND state = 'open'),
				(SELECT count(*) FROM balances WHERE tenant_id = $1 AND account LIKE 'interbook\_%' AND debit_total <> credit_total),
				(SELECT count(*) FROM outbox WHERE tenant_id = $1 AND delivered_at IS NULL)`, tx.Tenant).Scan(&journeys, &open, &waiting)
	})
	if err == nil && journeys+open+waiting > 0 {
		err = tenants.ErrState.Explain("%s has %d open journeys, %d balances with other tenants and %d messages to them: it moves to another authority when they are settled",
			t.Slug, journeys, open, waiting)
	}
	return err
}

// rehead gives a tenant the name, authority, time zone and cut that the file says.
func (a *applier) rehead(ctx context.Context, id citygate.TenantID, t manifest.Tenant) error {
	if err := a.Tenants.Rename(ctx, a.actor, id, t.Name); err != nil {
		return err
	}
	record, err := t.Record()
	if err != nil {
		return err
	}
	err = a.DB.InTenant(ctx, id, func(tx *pg.Tx) error { return tenants.Rezone(ctx, tx, a.actor, record.TimeZone, record.CutMinutes) })
	if err != nil {
		return err
	}
	a.Tenants.Forget()
	own, err := a.Tenants.ByID(ctx, id)
	if err != nil {
		return err
	}
	parent := tenants.Tenant{}
	if t.Parent != "" {
		if parent, err = a.Tenants.BySlug(ctx, t.Parent); err != nil {
			return fmt.Errorf("parent %s: %w", t.Parent, err)
		}
	}
	if parent.ID == own.Parent {
		return nil
	}
	if err := a.mayMove(ctx, own, parent); err != nil {
		return err
	}
	return a.Tenants.Move(ctx, a.actor, id, parent.ID)
}

// settings puts calendars, retention and quota into effect.
func (a *applier) settings(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	for i, c := range t.Calendars {
		if !a.is(t, manifest.KindCalendar, fmt.Sprint(i+2)) {
			continue
		}
		v, err := c.Version(i + 2)
		if err == nil {
			err = a.AddCalendar(ctx, a.actor, id, v)
		}
		if err != nil {
			return err
		}
	}
	if a.any(t, manifest.KindRetention) {
		if _, err := a.setRetention(ctx, a.actor, id, t.Retention.KeepDays, t.Retention.Automatic); err != nil {
			return err
		}
	}
	if a.any(t, manifest.KindQuota) {
		return a.Tenants.SetQuota(ctx, a.actor, id, t.Quota.Settings())
	}
	return nil
}

// riders puts terminals' profiles and code schemes into effect, when there are
// bundles to carry them.
func (a *applier) riders(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	for _, d := range t.Terminals {
		if !a.is(t, manifest.KindProfile, fmt.Sprint(d.ID)) {
			continue
		}
		if err := a.SetProfile(ctx, a.actor, id, d.ID, profileOf(*d.Profile)); err != nil {
			return fmt.Errorf("terminal %d: %w", d.ID, err)
		}
	}
	for _, s := range t.CodeSchemes {
		if !a.is(t, manifest.KindCodeScheme, s.Scheme) {
			continue
		}
		e, err := a.schemeEntry(ctx, t, s)
		if err != nil {
			return fmt.Errorf("code scheme %s: %w", s.Scheme, err)
		}
		if err := a.PutScheme(ctx, a.actor, id, e); err != nil {
			return fmt.Errorf("code scheme %s: %w", s.Scheme, err)
		}
	}
	if len(t.CodeSchemes) > 0 {
		return a.carrySchemes(ctx, id) // a stop between an entry and the bundles left some out
	}
	return nil
}

func profileOf(p manifest.Profile) fleet.TerminalProfile {
	out := fleet.TerminalProfile{Mode: p.Mode, Stop: p.Stop, Route: p.Route, Kinds: p.Kinds, MaxFareMinor: p.MaxFareMinor, Features: p.Features}
	for _, s := range p.Schemes {
		out.Schemes = append(out.Schemes, code.SchemeID(s))
	}
	return out
}

func profileDocument(p fleet.TerminalProfile) *manifest.Profile {
	out := &manifest.Profile{Mode: p.Mode, Stop: p.Stop, Route: p.Route, Kinds: p.Kinds, MaxFareMinor: p.MaxFareMinor, Features: p.Features}
	for _, s := range p.Schemes {
		out.Schemes = append(out.Schemes, string(s))
	}
	return out
}

// describeSettings gives what of a tenant's settings lies with the tenant.
func describeSettings(ctx context.Context, tx *pg.Tx, m *manifest.Tenant, slugs map[citygate.TenantID]string) error {
	m.Calendars, m.Retention, m.CodeSchemes, m.Issuance = nil, nil, nil, nil // a transaction may run twice
	later, err := tenants.Calendars(ctx, tx)
	if err != nil {
		return err
	}
	for _, v := range later {
		m.Calendars = append(m.Calendars, manifest.CalendarOf(v))
	}
	kept, err := retention.Read(ctx, tx)
	if err != nil {
		return err
	}
	m.Retention = &manifest.Retention{KeepDays: kept.KeepDays, Automatic: kept.Automatic}
	policy, err := issuance.Latest(ctx, tx)
	if err == nil {
		policy.Version = 0
		if m.Issuance, err = issuanceDocument(policy); err != nil {
			return err
		}
	} else if !errors.Is(err, issuance.ErrNoPolicy) {
		return err
	}
	entries, err := foreign.Entries(ctx, tx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		s := manifest.CodeScheme{Scheme: string(e.Scheme), Contract: e.Contract, Opens: e.Opens, Asks: e.Asks}
		if s.Params, err = manifest.WithoutIssuer(e.Params); err != nil {
			return err
		}
		for _, o := range e.Operators {
			s.Operators = append(s.Operators, slugs[o])
		}
		for _, r := range e.Roots {
			s.Keys = append(s.Keys, manifest.SchemeKey{Owner: r.Owner, List: r.List, Kind: r.Kind, ID: r.ID, Key: base64.StdEncoding.EncodeToString(r.Key)})
		}
		m.CodeSchemes = append(m.CodeSchemes, s)
	}
	return nil
}

// issuanceDocument gives an issuance policy as the file says it.
func issuanceDocument(p issuance.Policy) (manifest.Raw, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, err
	}
	delete(body, "version")
	return json.Marshal(body)
}

// versions publishes what the tenant sells, how its taps become journeys and its
// terms about money that does not come.
func (a *applier) versions(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	publish := map[string]func(from time.Time, raw []byte) error{
		manifest.KindProducts: func(from time.Time, raw []byte) error {
			return a.publishCatalogue(ctx, a.actor, id, edge.Catalogue{From: from, Catalogue: raw})
		},
		manifest.KindJourneyRules: func(from time.Time, raw []byte) error {
			return a.publishJourneyRules(ctx, a.actor, id, edge.JourneyRules{From: from, Rules: raw})
		},
		manifest.KindRiskTerms: func(from time.Time, raw []byte) error {
			return a.publishRiskTerms(ctx, a.actor, id, edge.RiskTerms{From: from, Terms: raw})
		},
	}
	for _, kind := range []string{manifest.KindProducts, manifest.KindJourneyRules, manifest.KindRiskTerms} {
		list, names, err := t.Documents(kind)
		if err != nil {
			return err
		}
		for i, d := range list {
			if !a.is(t, kind, names[i]) {
				continue
			}
			if err := publish[kind](d.From, d.Document); err != nil {
				return fmt.Errorf("%s %s: %w", kind, names[i], err)
			}
		}
	}
	return nil
}

// describeVersions gives the documents that versions publishes.
func describeVersions(ctx context.Context, tx *pg.Tx, m *manifest.Tenant) error {
	m.Products, m.JourneyRules, m.RiskTerms = nil, nil, nil // a transaction may run twice
	catalogues, err := pricing.Catalogues(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range catalogues {
		if err := describeVersion(&m.Products, p.From, p.Catalogue.Encode); err != nil {
			return err
		}
	}
	rules, err := pricing.RuleVersions(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range rules {
		if err := describeVersion(&m.JourneyRules, p.From, p.Document.Encode); err != nil {
			return err
		}
	}
	terms, err := risk.Versions(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range terms {
		if err := describeVersion(&m.RiskTerms, p.From, p.Terms.Encode); err != nil {
			return err
		}
	}
	return nil
}

func describeVersion(into *[]manifest.Version, from time.Time, encode func() ([]byte, error)) error {
	raw, err := encode()
	*into = append(*into, manifest.Version{From: from.UTC(), Document: raw})
	return err
}
