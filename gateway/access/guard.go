package access

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
)

// A snapshot is everything about one tenant at one version. It never changes.
type snapshot struct {
	*authz.Enforcer
	members   map[string]Member
	keys      map[citygate.UUID]*heldKey // that are not revoked
	issuers   []Issuer
	revoked   map[string]time.Time // subject, "" = everybody -> tokens until then count no more
	twoPerson []string             // nil = as the tenant's mode says
}

type heldKey struct {
	APIKey
	hash   [32]byte
	noted  atomic.Int64 // unix time of the use that was written down last
	scopes []authz.Permission
}

// A Request is what is to be decided.
type Request struct {
	Caller    Caller
	Tenant    citygate.TenantID // 0 = a route of no one tenant
	Operation string            // its id, for the refusal
	Need      authz.Permission
	Write     bool
}

// Authorize decides whether a request may go on.
//
// [ErrToken] says that the credential is none any more, [ErrHidden] that the
// tenant is none of the caller's business, [ErrForbidden] which permission is
// missing and who could give it, [ErrStale] that a change cannot be decided now.
//
// Before it refuses it looks again: a role that somebody was just given at another
// instance, or by a command, counts with the next request.
func (g *Guard) Authorize(ctx context.Context, r Request) error {
	err := g.authorize(ctx, r)
	if (errors.Is(err, ErrToken) || errors.Is(err, ErrForbidden)) && g.lookAgain(ctx) {
		err = g.authorize(ctx, r)
	}
	return err
}

func (g *Guard) authorize(ctx context.Context, r Request) error {
	home, err := g.current(ctx, r.Caller.Tenant)
	if err != nil {
		return err
	}
	var now time.Time
	if r.Caller.Owner != "" { // only of API keys the time is asked here
		if now, err = g.DB.NowOf(ctx, r.Caller.Tenant); err != nil {
			return err
		}
	}
	if err := home.admits(r.Caller, now); err != nil {
		return err
	}
	domain, err := g.domain(ctx, r)
	if err != nil {
		return err
	}
	if !home.allows(r.Caller, domain, r.Need) {
		return home.refuse(r, domain)
	}
	if r.Write {
		if age := g.age(); age < 0 || age > staleAfter {
			return ErrStale.Because(nil, "last look %s ago", age)
		}
	}
	return nil
}

// admits reports whether the credential still counts.
func (s *snapshot) admits(c Caller, now time.Time) error {
	if c.Owner != "" {
		k, ok := s.keys[c.Key]
		if !ok || k.Owner != c.Owner || !now.Before(k.ExpiresAt) {
			return ErrToken.Because(nil, "API key %s", c.Key)
		}
	}
	for _, subject := range []string{"", c.Subject} {
		if before, ok := s.revoked[subject]; ok && c.Owner == "" && !c.Issued.After(before) {
			return ErrToken.Because(nil, "tokens of %q until %s are revoked", subject, before)
		}
	}
	if _, ok := s.members[c.Person()]; c.member() && !ok {
		return ErrToken.Because(nil, "%s is no member", c.Person())
	}
	return nil
}

func (s *snapshot) allows(c Caller, domain authz.Domain, need authz.Permission) bool {
	if need.Resource == "platform" && s.Tenant() != 0 {
		return false // whatever a role says: routes of the platform name no tenant
	}
	if c.Owner != "" && !slices.ContainsFunc(c.KeyScopes, func(p authz.Permission) bool { return p.Covers(need) }) {
		return false
	}
	if c.member() {
		return s.Allows(c.Person(), domain, need)
	}
	return s.RolesAllow(c.roles(), domain, need)
}

// refuse says which permission was missing and who could give it: people of the
// caller's own tenant, and nothing of any other.
func (s *snapshot) refuse(r Request, domain authz.Domain) error {
	roles := s.HoldersOf(domain, r.Need)
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = string(role)
	}
	held := "no role of your tenant has it"
	if len(names) > 0 {
		held = "roles that have it: " + strings.Join(names, ", ")
	}
	if r.Caller.Owner != "" && s.Allows(r.Caller.Owner, domain, r.Need) {
		held = "the key's owner has it, but the key's scopes do not: make a key with that scope"
	}
	return ErrForbidden.Explain("%s needs the permission %s; %s; %s", r.Operation, r.Need, held, s.whoGrants())
}

func (s *snapshot) whoGrants() string {
	const most = 3
	names := s.Grantors()
	switch {
	case len(names) == 0 && s.Tenant() == 0:
		return `nobody of the platform gives roles yet: "citygate access admin --platform" makes the first administrator`
	case len(names) == 0:
		return `nobody of this tenant gives roles yet: "citygate access admin" makes the first administrator`
	}
	if len(names) > most {
		names = append(names[:most], "others")
	}
	return "given by " + strings.Join(names, ", ")
}

// creates is the operation whose path names a tenant that need not be there.
const creates = "put-tenant"

// domain says how the request's tenant is related to the caller's own. Scopes
// without a membership do not reach into other tenants. The platform reaches into
// every tenant there is.
func (g *Guard) domain(ctx context.Context, r Request) (authz.Domain, error) {
	c, tenant := r.Caller, r.Tenant
	switch {
	case tenant == 0 || tenant == c.Tenant:
		return authz.Own, nil
	case c.Tenant == 0 && r.Operation == creates:
		return authz.Below, nil
	case c.Tenant == 0:
		// Its right does not hang on the directory: while that cannot be read the request goes on.
		if _, err := g.Directory.ByID(ctx, tenant); errors.Is(err, tenants.ErrNotFound) {
			return "", errNotFound
		}
		return authz.Below, nil
	case !c.member():
		return "", errNotFound
	}
	owned, err := g.owns(ctx, c.Tenant, tenant)
	if err != nil {
		return "", err
	}
	if !owned {
		return "", errNotFound
	}
	return authz.Below, nil
}

// deepest bounds how far up a tenant's owners are looked for.
const deepest = 8

// owns reports whether owner is above tenant in the tree.
func (g *Guard) owns(ctx context.Context, owner, tenant citygate.TenantID) (bool, error) {
	for range deepest {
		t, err := g.Directory.ByID(ctx, tenant)
		if errors.Is(err, tenants.ErrNotFound) || (err == nil && t.Parent == 0) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if t.Parent == owner {
			return true, nil
		}
		tenant = t.Parent
	}
	return false, nil
}

// current gives a tenant's snapshot, after a look at the versions if the last
// one is too old.
func (g *Guard) current(ctx context.Context, tenant citygate.TenantID) (*snapshot, error) {
	g.look(ctx)
	if s, ok := g.held.GetIfPresent(tenant); ok {
		return s, nil
	}
	s, err := g.load(ctx, tenant)
	if err != nil {
		return nil, err
	}
	g.held.Set(tenant, s)
	return s, nil
}

// age says how long ago the versions were seen.
func (g *Guard) age() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Clock().Sub(g.looked)
}

// look reads the versions of all tenants that are held, if the last look is more
// than a second old, and drops the snapshots that are not of today any more. One
// request looks; others go on meanwhile unless the last look is old. A look that
// fails leaves everything as it was.
func (g *Guard) look(ctx context.Context) { g.lookIfOlder(ctx, lookEvery) }

// lookAgain looks for a refusal, and reports whether there was a newer look to
// decide by. Who is refused again and again does not make more looks than that.
func (g *Guard) lookAgain(ctx context.Context) bool {
	g.mu.Lock()
	before := g.looked
	g.mu.Unlock()
	g.lookIfOlder(ctx, lookAgainEvery)
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.looked.Equal(before)
}

func (g *Guard) lookIfOlder(ctx context.Context, every time.Duration) {
	now := g.Clock()
	within := func(t time.Time, d time.Duration) bool { age := now.Sub(t); return age >= 0 && age < d }
	g.mu.Lock()
	if within(g.looked, every) || within(g.tried, every/2) {
		g.mu.Unlock()
		return
	}
	if under := g.under; under != nil {
		wait := !g.failing && !within(g.looked, waitBeyond)
		g.mu.Unlock()
		if wait {
			select {
			case <-under:
			case <-ctx.Done():
			}
		}
		return
	}
	under := make(chan struct{})
	g.under, g.tried = under, now
	g.mu.Unlock()

	err := g.drop(ctx)
	g.mu.Lock()
	if g.failing = err != nil; !g.failing {
		g.looked = now
	}
	g.under = nil
	g.mu.Unlock()
	close(under)
}

// drop forgets the snapshots whose version is not the database's.
func (g *Guard) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin) // others wait for it
	defer cancel()
	known := slices.Collect(g.held.Keys())
	versions, err := g.versions(ctx, known)
	if err != nil {
		return err
	}
	for _, tenant := range known {
		if s, ok := g.held.GetIfPresent(tenant); ok && s.Version() != versions[tenant] {
			g.held.Invalidate(tenant)
		}
	}
	return nil
}
