package till

import (
	"sync"

	"github.com/cashlesscity/citygate"
)

// How many requests may wait for a provider at once: of a contract, of a tenant, of all.
const (
	ofContract = 16
	ofTenant   = 32
	ofAll      = 128
)

// A line counts the requests that wait for providers. One that hangs holds up its own
// contract's and no other.
type line struct {
	mu       sync.Mutex
	contract map[place]int
	tenant   map[citygate.TenantID]int
	all      int
}

type place struct {
	tenant   citygate.TenantID
	contract string
}

// join takes a place until leave is called; [ErrBusy] if there is none.
func (l *line) join(tenant citygate.TenantID, contract string) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := place{tenant, contract}
	if l.contract[at] >= ofContract || l.tenant[tenant] >= ofTenant || l.all >= ofAll {
		return nil, ErrBusy.Explain("contract %s", contract)
	}
	if l.contract == nil {
		l.contract, l.tenant = map[place]int{}, map[citygate.TenantID]int{}
	}
	l.contract[at]++
	l.tenant[tenant]++
	l.all++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.contract[at]--; l.contract[at] == 0 {
			delete(l.contract, at)
		}
		if l.tenant[tenant]--; l.tenant[tenant] == 0 {
			delete(l.tenant, tenant)
		}
		l.all--
	}, nil
}
