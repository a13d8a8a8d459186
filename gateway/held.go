package gateway

import (
	"context"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
)

// held is what work inside a transaction may ask for: tenants and rules as they
// were last read outside of one. A read there would take a second connection,
// and when every connection waits for a second one, nothing moves any more.
type held struct {
	mu      sync.RWMutex
	tenants *tenants.Snapshot // nil: none was read yet
	rules   map[citygate.TenantID]*accept.Rules
}

// hold reads the list of tenants. It is called before a transaction that asks
// for them begins.
func (g *Gateway) hold(ctx context.Context) error {
	all, err := g.Tenants.Snapshot(ctx)
	if err != nil {
		return err
	}
	g.held.mu.Lock()
	defer g.held.mu.Unlock()
	g.held.tenants = all
	return nil
}

func (h *held) directory() *tenants.Snapshot {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.tenants
}

// keep notes a tenant's current rules.
func (h *held) keep(tenant citygate.TenantID, rules *accept.Rules) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rules == nil {
		h.rules = map[citygate.TenantID]*accept.Rules{}
	}
	h.rules[tenant] = rules
}

func (h *held) rulesOf(tenant citygate.TenantID) (*accept.Rules, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	rules, ok := h.rules[tenant]
	return rules, ok
}

// heldDirectory gives tenants as they are held; one that is not held yet is read.
type heldDirectory struct{ g *Gateway }

// ByID gives the tenant with the number id, or [tenants.ErrNotFound].
func (d heldDirectory) ByID(ctx context.Context, id citygate.TenantID) (tenants.Tenant, error) {
	if all := d.g.held.directory(); all != nil {
		if t, ok := all.ByID(id); ok {
			return t, nil
		}
	}
	return d.g.Tenants.ByID(ctx, id)
}

// ByIssuer gives the tenant that issues under a number, or [tenants.ErrNotFound].
func (d heldDirectory) ByIssuer(ctx context.Context, issuer citygate.Issuer) (tenants.Tenant, error) {
	if all := d.g.held.directory(); all != nil {
		t, ok := all.ByIssuer(issuer)
		if !ok {
			return tenants.Tenant{}, tenants.ErrNotFound.Because(nil, "issuer %d", issuer)
		}
		return t, nil
	}
	return d.g.Tenants.ByIssuer(ctx, issuer)
}
