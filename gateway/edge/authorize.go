package edge

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
)

// scopeRoles are the roles that the scopes of a token stand for. Such a token
// acts in its own tenant alone, whatever that tenant owns.
var scopeRoles = map[string]authz.Role{
	ScopePlatform: authz.PlatformAdmin,
	ScopeAdmin:    authz.OperatorAdmin,
	ScopeRead:     authz.Auditor,
}

// scopeEnforcer decides for roles that nobody has to be a member for.
func scopeEnforcer() *authz.Enforcer {
	e, err := authz.NewBook().Compile(authz.Policy{})
	if err != nil {
		panic(err) // an empty policy is a valid one
	}
	return e
}

func (c Caller) roles() []authz.Role {
	var roles []authz.Role
	for _, scope := range c.Scopes {
		if role, ok := scopeRoles[scope]; ok {
			roles = append(roles, role)
		}
	}
	return roles
}

// authorize decides whether caller may run op for tenant; 0 is a route of no
// one tenant. A tenant that is none of the caller's business is not found,
// whether there is one or not.
func (e *Edge) authorize(ctx context.Context, caller Caller, tenant citygate.TenantID, op operation) error {
	domain, err := e.domain(ctx, caller, tenant)
	if err != nil {
		return err
	}
	if e.scopes.RolesAllow(caller.roles(), domain, op.needs) {
		return nil
	}
	return refuse(op, e.scopes.HoldersOf(domain, op.needs))
}

// domain says how tenant is related to the caller's own.
func (e *Edge) domain(ctx context.Context, caller Caller, tenant citygate.TenantID) (authz.Domain, error) {
	switch {
	case tenant == 0 || tenant == caller.Tenant:
		return authz.Own, nil
	case caller.Tenant == 0:
		return authz.Below, nil
	case len(caller.roles()) > 0: // scopes do not reach into other tenants
		return "", errNotFound
	}
	owned, err := owns(ctx, e.Tenants, caller.Tenant, tenant)
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
func owns(ctx context.Context, directory *tenants.Directory, owner, tenant citygate.TenantID) (bool, error) {
	for range deepest {
		t, err := directory.ByID(ctx, tenant)
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

// refuse says which permission was missing and which roles have it.
func refuse(op operation, holders []authz.Role) error {
	names := make([]string, len(holders))
	for i, role := range holders {
		names[i] = string(role)
	}
	slices.Sort(names)
	have := "no role of this tenant has it"
	if len(names) > 0 {
		have = "the roles that have it: " + strings.Join(names, ", ")
	}
	return errForbidden.Explain("%s needs the permission %s; %s", op.id, op.needs, have)
}
