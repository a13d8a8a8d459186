package gateway

import (
	"context"
	"slices"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A schemeCache keeps the dispatchers of tenants, made as their terminals make
// theirs. A new bundle of a tenant replaces all of its own.
type schemeCache struct {
	mu      sync.Mutex
	tenants map[citygate.TenantID]readBy
}

// readBy is what a tenant's codes are read by under one bundle.
type readBy struct {
	bundle uint64
	rules  map[string]*code.Dispatcher // by the schemes allowed, in order
}

// schemesOf gives the schemes that a tenant's terminals read under some rules, by
// its latest bundle.
func (g *Gateway) schemesOf(ctx context.Context, tenant citygate.TenantID, rules *accept.Rules) (*code.Dispatcher, error) {
	if !slices.ContainsFunc(rules.Schemes, g.foreignScheme) {
		return g.schemes, nil // what every terminal reads; the rules may allow fewer
	}
	b, err := g.Bundle(ctx, tenant)
	if err != nil {
		return nil, err
	}
	key := ""
	for _, id := range rules.Schemes {
		key += string(id) + "\x00"
	}
	g.readers.mu.Lock()
	defer g.readers.mu.Unlock()
	if g.readers.tenants == nil {
		g.readers.tenants = map[citygate.TenantID]readBy{}
	}
	by, ok := g.readers.tenants[tenant]
	if !ok || by.bundle != b.Version() {
		by = readBy{b.Version(), map[string]*code.Dispatcher{}}
		g.readers.tenants[tenant] = by
	}
	d, ok := by.rules[key]
	if !ok {
		d, _ = terminal.Schemes(b, rules, g.schemes, schemes.All())
		by.rules[key] = d
	}
	return d, nil
}

// foreignScheme reports whether a scheme is read only where a bundle says how.
func (g *Gateway) foreignScheme(id code.SchemeID) bool {
	_, ok := g.schemes.Scheme(id)
	return !ok
}
