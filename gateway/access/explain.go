package access

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
)

// An Explanation says why somebody may or may not do something.
type Explanation struct {
	Subject    string
	Tenant     citygate.TenantID // whose people the subject is one of
	Operation  string
	Permission authz.Permission
	Domain     authz.Domain // own, or below: in a tenant that one owns
	Version    int64        // of the policy
	Allowed    bool
	Rule       string       // of casbin, that allowed it
	Roles      []authz.Role // of the subject
	Why        string       // in words
	HeldBy     []authz.Role // roles that have the permission
	GrantedBy  []string     // members that may give such a role
}

// Explain asks the policy of a tenant about one of its people, or about an API
// key by its id (the 32 digits of its prefix), and says which rule decided.
func (g *Guard) Explain(ctx context.Context, tenant citygate.TenantID, subject, operation string, need authz.Permission, domain authz.Domain) (Explanation, error) {
	s, err := g.current(ctx, tenant)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{
		Subject: subject, Tenant: tenant, Operation: operation, Permission: need, Domain: domain, Version: s.Version(),
		HeldBy: s.HoldersOf(domain, need), GrantedBy: s.Grantors(),
	}
	person, caller := subject, Caller{Subject: subject, Tenant: tenant, Scopes: []string{ScopeMember}, Issued: g.DB.ClockOf(tenant)()}
	if id, err := citygate.ParseUUID("", subject); err == nil {
		k, ok := s.keys[id]
		if !ok {
			e.Why = "there is no such API key, or it expired or was revoked"
			return e, nil
		}
		person, caller = k.Owner, Caller{Subject: subject, Tenant: tenant, Key: id, KeyScopes: k.scopes, Owner: k.Owner}
	}
	m, ok := s.members[person]
	if !ok {
		e.Why = person + " is no member of this tenant"
		return e, nil
	}
	e.Roles = m.Roles
	rule, err := s.Explain(person, domain, need)
	if err != nil {
		return Explanation{}, err
	}
	e.Allowed = s.allows(caller, domain, need)
	switch {
	case e.Allowed:
		e.Rule, e.Why = rule, "allowed by the rule "+rule
	case rule != "":
		e.Why = "the key's owner may, by the rule " + rule + ", and the key's scopes leave it out"
	default:
		e.Why = "no rule for any of these roles has it"
	}
	return e, nil
}
