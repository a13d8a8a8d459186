package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// openTills are the tenants of which this process knows that a customer stands at a till.
// He waits for seconds and not for the next [Gateway.Tick]; what a process that died knew
// the tick finds.
type openTills struct {
	mu   sync.Mutex
	open map[citygate.TenantID]bool
}

func (o *openTills) note(tenant citygate.TenantID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = map[citygate.TenantID]bool{}
	}
	o.open[tenant] = true
}

func (o *openTills) list() (list []citygate.TenantID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for t := range o.open {
		list = append(list, t)
	}
	slices.Sort(list)
	return list
}

func (o *openTills) done(tenant citygate.TenantID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, tenant)
}

// TillsSoon asks after the payments at tills whose time has come, of tenants that asked for
// one through this process. Whoever runs the gateway calls it about once a second.
func (g *Gateway) TillsSoon(ctx context.Context) error {
	var failed error
	for _, tenant := range g.tills.list() {
		var due, open bool
		err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			due, open, err = till.Waiting(ctx, tx)
			return err
		})
		if err == nil && due {
			err = errors.Join(g.hold(ctx), g.Till.RunDue(ctx, tenant))
		}
		if err == nil && !open {
			g.tills.done(tenant)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// ErrByCode refuses riders under a contract that collects by payment codes.
var ErrByCode = &citygate.Code{Name: "gateway.collects_by_code", Kind: citygate.Conflict,
	Title: "The contract collects by the codes that wallets show at a till; a ride has none and would never be collected. Name a contract that collects rides."}

// wayToCollect remembers which contracts collect by payment codes. The terms of a contract
// never change.
type wayToCollect struct {
	known sync.Map // of providerKey, bool
}

// byCode reports whether a contract collects by payment codes. One that there is not, or
// whose provider cannot be opened now, is not known to.
func (g *Gateway) byCode(ctx context.Context, tenant citygate.TenantID, contract string) (bool, error) {
	if contract == "" { // whatever it means, it is none by codes
		return false, nil
	}
	key := providerKey{tenant, contract}
	if is, known := g.ways.known.Load(key); known {
		return is == true, nil
	}
	var all []collect.Contract
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		all, err = collect.Contracts(ctx, tx)
		return err
	})
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(c collect.Contract) bool { return c.Name == contract })
	if i < 0 {
		return false, nil
	}
	if g.Secrets == nil || g.Signer == nil { // a command that has no keys at hand
		return false, nil
	}
	provider, err := g.provider(ctx, tenant, all[i])
	if err != nil {
		return false, nil //nolint:nilerr // it says so where it is used; riders of a contract without its keys are set up all the same
	}
	is := len(provider.Describe().PaymentCodes) > 0
	g.ways.known.Store(key, is)
	return is, nil
}

// collectsRides is [ErrByCode] for a contract whose riders' rides would wait unsent for
// ever.
func (g *Gateway) collectsRides(ctx context.Context, tenant citygate.TenantID, contract string) error {
	is, err := g.byCode(ctx, tenant, contract)
	if err == nil && is {
		err = ErrByCode.Explain("contract %s", contract)
	}
	return err
}
