package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrSecond says that changes of a file wait for a second person; nothing was
// changed.
var ErrSecond = &citygate.Code{Name: "manifest.second_person", Kind: citygate.Conflict,
	Title: "Changes of the file need a second person, and nothing was changed. Have somebody else approve the named proposals, by the API or citygate access approve, and apply the same file again."}

// guarded says which parts of a file are changed by the API only with a second
// person, where the tenant wants one: by a file they need one as well.
var guarded = map[string]access.Kind{
	manifest.KindSignIn: access.AccessChange, manifest.KindRole: access.AccessChange, manifest.KindMember: access.AccessChange,
	manifest.KindApprovals: access.ApprovalSettings, // where it is lowered

	manifest.KindRules: access.PolicyPublish, manifest.KindAcceptance: access.PolicyPublish, manifest.KindTariff: access.PolicyPublish,
	manifest.KindProducts: access.PolicyPublish, manifest.KindJourneyRules: access.PolicyPublish, manifest.KindRiskTerms: access.PolicyPublish,
	manifest.KindIssuance: access.PolicyPublish, manifest.KindCodeScheme: access.PolicyPublish, manifest.KindRoaming: access.PolicyPublish,

	manifest.KindSettlement: access.PayoutRelease, manifest.KindCalendar: access.PayoutRelease, manifest.KindPayee: access.PayoutRelease,
	manifest.KindContract: access.ProviderCredential, manifest.KindSecret: access.ProviderCredential,
}

// A consent lets a file's changes of one tenant be made.
type consent struct {
	join  func(context.Context) context.Context // ties them to their proposal
	end   func(worked bool)
	lower bool // the approval settings may be lowered
}

// consents asks a second person for the changes of a file that need one, and begins
// to execute what was approved. A tenant that is new, or a draft still, has nobody
// who could approve. It is [ErrSecond] as long as somebody is waited for.
func (a *applier) consents(ctx context.Context, changes []manifest.Change) (map[string]consent, error) {
	given := map[string]consent{}
	var waiting []string
	end := func(worked bool) {
		for _, c := range given {
			if c.end != nil {
				c.end(worked)
			}
		}
	}
	for _, want := range a.City.Tenants {
		t, err := a.Tenants.BySlug(ctx, want.Slug)
		if errors.Is(err, tenants.ErrNotFound) || err == nil && t.State == tenants.Draft {
			given[want.Slug] = consent{lower: true}
			continue
		}
		if err != nil {
			return nil, err
		}
		content, err := a.content(ctx, t.ID, want, changes)
		if err != nil {
			return nil, err
		}
		if content == nil {
			given[want.Slug] = consent{}
			continue
		}
		who := access.Caller{Subject: a.actor, Tenant: t.ID} // as "citygate access approve" names whoever runs it
		p, err := a.Access.Propose(ctx, who, t.ID, *content)
		if err == nil && p.State == access.Open {
			waiting = append(waiting, fmt.Sprintf("%s: %s", want.Slug, p.ID.Text(access.ProposalPrefix)))
			continue
		}
		var run *access.Run
		if err == nil {
			run, _, err = a.Access.Begin(ctx, who, t.ID, p.ID, content.Hash)
		}
		if err != nil {
			end(false)
			return nil, err
		}
		given[want.Slug] = consent{join: run.Join, lower: true, end: func(worked bool) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := run.End(ctx, http.StatusOK, worked); err != nil {
				a.Log.ErrorContext(ctx, "the end of an approved file is not stored", "proposal", p.ID, "err", err)
			}
		}}
	}
	if len(waiting) > 0 {
		end(false)
		return nil, ErrSecond.Explain("%s", strings.Join(waiting, ", "))
	}
	return given, nil
}

// content gives what a second person is asked for, nil where none is needed: the
// parts that need one, as they are and as they are to be.
func (a *applier) content(ctx context.Context, tenant citygate.TenantID, want manifest.Tenant, changes []manifest.Change) (*access.Content, error) {
	var parts []manifest.Change
	var kind access.Kind
	secrets := sha256.New() // what the parts do not show
	for _, c := range changes {
		k, is := guarded[c.Kind]
		if c.Tenant != want.Slug || !is {
			continue
		}
		needed, err := a.Access.NeedsSecond(ctx, tenant, k)
		if err == nil && needed && k == access.ApprovalSettings {
			needed, err = a.Access.Lowers(ctx, tenant, want.Approvals.TwoPerson)
		}
		if err != nil {
			return nil, err
		}
		if needed {
			c.Line = 0
			parts, kind = append(parts, c), k
			if c.Kind == manifest.KindSecret {
				contract, name, _ := strings.Cut(c.Name, "/")
				s, _ := secretOf(a.City, want.ID, contract, name)
				_, _ = fmt.Fprintf(secrets, "%q %s\n", c.Name, s.Digest)
			}
		}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	body, err := json.MarshalIndent(parts, "", "  ")
	if err != nil {
		return nil, err
	}
	what := &access.Content{Kind: kind, Operation: edge.ApplyFile, Method: "APPLY", Path: a.Name, Body: body}
	what.Hash = sha256.Sum256(fmt.Appendf(nil, "citygate file 1\n%d\n%x\n%s", tenant, secrets.Sum(nil), body))
	return what, nil
}

// refusePeople refuses roles, contracts and issuers that are not there.
func (g *Gateway) refusePeople(ctx context.Context, city *manifest.City, changes []manifest.Change) error {
	for i := range changes {
		c := &changes[i]
		at := slices.IndexFunc(city.Tenants, func(t manifest.Tenant) bool { return t.Slug == c.Tenant })
		if c.Refused != "" || at < 0 {
			continue
		}
		t := city.Tenants[at]
		var err error
		switch c.Kind {
		case manifest.KindMember:
			err = g.rolesThere(ctx, t, c.Name)
		case manifest.KindSignIn:
			s := t.SignIn[slices.IndexFunc(t.SignIn, func(s manifest.SignIn) bool { return s.Name == c.Name })]
			err = g.Access.CheckIssuer(access.Issuer{Name: s.Name, URL: s.URL, ClientID: s.ClientID})
		case manifest.KindRules:
			err = g.contractsThere(ctx, t)
		}
		if said, is := errors.AsType[*citygate.Explained](err); is {
			c.Refused, err = said.Detail, nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) rolesThere(ctx context.Context, t manifest.Tenant, member string) error {
	m := t.Members[slices.IndexFunc(t.Members, func(m manifest.Member) bool { return m.Key() == member })]
	id := citygate.TenantID(t.ID)
	if _, err := access.SubjectOf(id, m.SignIn, m.ID); err != nil {
		return err
	}
	var own []access.RoleDefinition
	if _, err := g.Tenants.ByID(ctx, id); err == nil {
		if own, err = g.Access.OwnRoles(ctx, id); err != nil {
			return err
		}
	} else if !errors.Is(err, tenants.ErrNotFound) {
		return err
	}
	for _, role := range m.Roles {
		r := authz.Role(role)
		switch {
		case r == authz.Authority && t.Kind != string(tenants.Authority):
			return access.ErrInvalid.Explain("role %s is for members of authorities; operator_admin runs this tenant", role)
		case !slices.Contains(authz.Roles(), r) && !slices.ContainsFunc(t.Roles, func(o manifest.Role) bool { return o.Role == role }) &&
			!slices.ContainsFunc(own, func(o access.RoleDefinition) bool { return o.Role == r }):
			return access.ErrInvalid.Explain("there is no role %s: the tenant's own are made under roles", role)
		}
	}
	return nil
}

func (g *Gateway) contractsThere(ctx context.Context, t manifest.Tenant) error {
	set, err := t.RuleSet.Set()
	if err != nil {
		return err
	}
	var held []collect.Contract
	if _, err := g.Tenants.ByID(ctx, citygate.TenantID(t.ID)); err == nil {
		if err := g.DB.InTenant(ctx, citygate.TenantID(t.ID), func(tx *pg.Tx) (err error) {
			held, err = collect.Contracts(ctx, tx)
			return err
		}); err != nil {
			return err
		}
	} else if !errors.Is(err, tenants.ErrNotFound) {
		return err
	}
	for _, name := range set.Contracts() {
		if !slices.ContainsFunc(t.Contracts, func(c manifest.Contract) bool { return c.Name == name }) &&
			!slices.ContainsFunc(held, func(c collect.Contract) bool { return c.Name == name && c.State == "active" }) {
			return ruleset.ErrSet.Explain("routing: there is no active provider contract %q", name)
		}
	}
	return nil
}

// people puts sign-in issuers, roles and members into effect.
func (a *applier) people(ctx context.Context, t manifest.Tenant) error {
	id := citygate.TenantID(t.ID)
	for _, s := range t.SignIn {
		if a.is(t, manifest.KindSignIn, s.Name) {
			if err := a.Access.PutIssuer(ctx, a.actor, id, access.Issuer{Name: s.Name, URL: s.URL, ClientID: s.ClientID}); err != nil {
				return err
			}
		}
	}
	for _, r := range t.Roles {
		if !a.is(t, manifest.KindRole, r.Role) {
			continue
		}
		d := access.RoleDefinition{Role: authz.Role(r.Role)}
		for _, text := range r.Permissions {
			p, err := authz.ParsePermission(text)
			if err != nil {
				return err
			}
			d.Permissions = append(d.Permissions, p)
		}
		if err := a.Access.PutRole(ctx, a.actor, id, d); err != nil {
			return err
		}
	}
	for _, m := range t.Members {
		if !a.is(t, manifest.KindMember, m.Key()) {
			continue
		}
		if err := a.member(ctx, id, m); err != nil {
			return fmt.Errorf("member %s: %w", m.Key(), err)
		}
	}
	return nil
}

func (a *applier) member(ctx context.Context, tenant citygate.TenantID, m manifest.Member) error {
	roles := make([]authz.Role, len(m.Roles))
	for i, r := range m.Roles {
		roles[i] = authz.Role(r)
	}
	subject, err := access.SubjectOf(tenant, m.SignIn, m.ID)
	if err != nil {
		return err
	}
	_, err = a.Access.Member(ctx, tenant, subject)
	if errors.Is(err, access.ErrNotFound) {
		_, err = a.Access.AddMember(ctx, a.actor, tenant, access.Member{Issuer: m.SignIn, External: m.ID, Name: m.Name, Roles: roles})
		return err
	}
	if err == nil {
		_, err = a.Access.SetMember(ctx, a.actor, tenant, subject, m.Name, roles)
	}
	return err
}

// rules publishes the rule set.
func (a *applier) rules(ctx context.Context, t manifest.Tenant) error {
	if t.RuleSet == nil || !a.any(t, manifest.KindRules) {
		return nil
	}
	id := citygate.TenantID(t.ID)
	set, err := t.RuleSet.Set()
	if err != nil {
		return err
	}
	now, err := a.DB.NowOf(ctx, id)
	if err != nil {
		return err
	}
	p := policies.Proposal{Set: set, At: t.RuleSet.From}
	if !p.At.After(now) {
		p.At = time.Time{}
	}
	_, err = a.PublishRules(ctx, a.actor, id, p)
	return err
}

// approvals says what needs a second person from now on.
func (a *applier) approvals(ctx context.Context, t manifest.Tenant) error {
	if t.Approvals == nil || !a.any(t, manifest.KindApprovals) {
		return nil
	}
	return a.Access.SetTwoPerson(ctx, a.actor, citygate.TenantID(t.ID), t.Approvals.TwoPerson, a.given[t.Slug].lower)
}

// fileKeeps is [tenants.ErrManaged] where a file manages a part of a tenant's people.
func (g *Gateway) fileKeeps(ctx context.Context, tenant citygate.TenantID, part, name string) error {
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return tenants.RefuseManaged(ctx, tx, tenants.Resource{Kind: part, Name: name}) })
}

// describePeople gives who may do what in a tenant, and its rule set.
func (g *Gateway) describePeople(ctx context.Context, m *manifest.Tenant) error {
	id := citygate.TenantID(m.ID)
	issuers, err := g.Access.Issuers(ctx, id)
	if err != nil {
		return err
	}
	for _, i := range issuers {
		m.SignIn = append(m.SignIn, manifest.SignIn{Name: i.Name, URL: i.URL, ClientID: i.ClientID})
	}
	roles, err := g.Access.OwnRoles(ctx, id)
	if err != nil {
		return err
	}
	for _, r := range roles {
		d := manifest.Role{Role: string(r.Role)}
		for _, p := range r.Permissions {
			d.Permissions = append(d.Permissions, p.String())
		}
		m.Roles = append(m.Roles, d)
	}
	members, err := g.Access.Members(ctx, id)
	if err != nil {
		return err
	}
	for _, one := range members {
		d := manifest.Member{SignIn: one.Issuer, ID: one.External, Name: one.Name}
		for _, r := range one.Roles {
			d.Roles = append(d.Roles, string(r))
		}
		m.Members = append(m.Members, d)
	}
	kinds, chosen, err := g.Access.ChosenTwoPerson(ctx, id)
	if err == nil && chosen {
		m.Approvals = &manifest.Approvals{TwoPerson: kinds}
	}
	return err
}

// describeRules gives the newest rule set, in the place of acceptance fields.
func describeRules(ctx context.Context, tx *pg.Tx, m *manifest.Tenant) error {
	m.RuleSet = nil // a transaction may run twice
	last, err := policies.List(ctx, tx, 0, 1)
	if err != nil || len(last) == 0 || last[0].Hash == [32]byte{} {
		return err
	}
	_, source, err := policies.Source(ctx, tx, last[0].Version)
	if err != nil {
		return err
	}
	set, err := ruleset.Parse(source)
	if err != nil {
		return err
	}
	m.Acceptance = nil // it says what the rule set compiles to
	m.RuleSet, err = manifest.RulesOf(set, last[0].EffectiveAt)
	return err
}

// alignRules leaves the instants out of rule sets that hold already: a file that
// says none, or one that has passed, wants its rule set at once.
func (g *Gateway) alignRules(ctx context.Context, have, want *manifest.City) error {
	for i := range want.Tenants {
		r := want.Tenants[i].RuleSet
		at := slices.IndexFunc(have.Tenants, func(t manifest.Tenant) bool { return t.ID == want.Tenants[i].ID })
		if r == nil || at < 0 {
			continue
		}
		now, err := g.DB.NowOf(ctx, citygate.TenantID(want.Tenants[i].ID))
		if err != nil {
			return err
		}
		for _, side := range []*manifest.RuleSet{r, have.Tenants[at].RuleSet} {
			if side != nil && !side.From.After(now) {
				side.From = time.Time{}
			}
		}
	}
	return nil
}
