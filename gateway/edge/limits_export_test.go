package edge

import "github.com/cashlesscity/citygate"

// Waiting tells how many requests of a tenant wait for a slot.
func (e *Edge) Waiting(tenant citygate.TenantID) int {
	return len(e.limits.tenant(tenant).slots.waiting)
}

// Remembered tells of how many tenants and addresses there are buckets.
func (e *Edge) Remembered() (tenants, addresses int) {
	e.limits.mu.Lock()
	defer e.limits.mu.Unlock()
	return len(e.limits.tenants.of), len(e.limits.addresses.of)
}
