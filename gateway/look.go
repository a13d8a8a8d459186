package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/explain"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// All that may be due in a tenant takes dozens of transactions, and in most tenants
// at most times it finds nothing. So [Gateway.Tick] looks first, in one statement a
// tenant, and asks for the work only where something may be due.
//
// Each package that has due work says next to it how to find it (its Looks). That no
// look is missing or too narrow is held three ways: by a test of every kind; by
// Config.OnMissed, with which tests do the work of quiet tenants nevertheless and
// hear of every row that it changes; and by roundEvery, after which all of it is
// done whatever the looks say, so that what they overlooked is late and not lost.

// roundEvery is how long after all work was asked for it is asked for again in a
// tenant in which nothing looks due: between half of it and all, by the tenant's
// number, so that not all fall due at once. It goes by the tenant's own clock, and a
// clock that is moved or set back counts.
const roundEvery = time.Hour

// billsEvery is how often providers are asked for bills that may be ready, where
// nothing else is due.
const billsEvery = 10 * time.Minute

// allLooks puts together what finds a tenant's due work.
func (g *Gateway) allLooks() *pg.Looks {
	return pg.NewLooks(audit.Looks, g.Credentials.Looks(), edge.Looks, retention.Looks, keys.Looks(), fleet.Looks, settle.Looks, intake.Looks, pricing.Looks,
		risk.Looks, foreign.Looks, collect.Looks, agreement.Looks, sales.Looks, till.Looks, recon.Looks, explain.Looks)
}

// A round is one asking for all the work of a tenant.
type round struct {
	at   time.Time // on the tenant's clock
	when standing
}

// A standing is what work there is in a tenant depends on besides its own rows.
type standing struct {
	state  tenants.State
	kind   tenants.Kind
	parent citygate.TenantID
	issuer citygate.Issuer
	roots  uint64 // the set of root keys
}

// rounds knows the last round of each tenant that this process asked for.
type rounds struct {
	mu   sync.Mutex
	last map[citygate.TenantID]round
}

func (r *rounds) of(tenant citygate.TenantID) (round, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.last[tenant]
	return last, ok
}

func (r *rounds) asked(tenant citygate.TenantID, now round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[citygate.TenantID]round{}
	}
	r.last[tenant] = now
}

// forget has all work of a tenant asked for at the next tick.
func (r *rounds) forget(tenant citygate.TenantID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, tenant)
}

// dueIn is what a tenant is to be woken for.
type dueIn struct {
	work  bool // all of it
	lists bool // deny lists alone
	audit bool // its audit log alone
	quiet bool // nothing was found, and nothing but time has passed since all was asked for
	round round
}

// patience is how long after all work was asked for these kinds alone do not wake a
// tenant again: what they find may be for others to end, such as a provider whose bill
// is not ready, offline roots that have not signed, or a key store that this process
// may not change.
var patience = map[string]time.Duration{
	recon.KindBill:    billsEvery,
	recon.KindRelease: billsEvery, // bills and decisions release at once
	keys.KindNext:     announceEvery,
	fleet.KindRenew:   renewEvery,
}

// look finds out what a tenant is to be woken for.
func (g *Gateway) look(ctx context.Context, t tenants.Tenant, roots uint64) (due dueIn, err error) {
	last, known := g.rounds.of(t.ID)
	now, kinds, err := g.lookAt(ctx, t, last.at)
	if err != nil {
		return due, err
	}
	due.round = round{now, standing{t.State, t.Kind, t.Parent, t.Issuer, roots}}
	age := now.Sub(last.at)
	due.work = t.State != tenants.Draft && (!known || last.when != due.round.when || age < 0 || age >= roundEvery/2+roundEvery/128*time.Duration(t.ID%64) || t.State == tenants.Closing)
	for _, kind := range kinds {
		switch part, _, _ := strings.Cut(kind, "."); part {
		case "list":
			due.lists = t.Issuer != 0
		case "audit":
			due.audit = true
		default:
			due.work = due.work || age >= patience[kind]
		}
	}
	due.quiet = len(kinds) == 0 && known && last.when == due.round.when && age >= 0
	return due, nil
}

// lookAt gives the time on a tenant's clock and the kinds of work that may be due
// then, where all work was last asked for at since.
func (g *Gateway) lookAt(ctx context.Context, t tenants.Tenant, since time.Time) (now time.Time, kinds []string, err error) {
	calendar, err := t.Calendar()
	if err != nil {
		return now, nil, err
	}
	err = g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
		now = tx.Now
		kinds, err = g.looks.Due(ctx, tx, calendar.BusinessDate(now), since)
		return err
	})
	return now, slices.DeleteFunc(kinds, func(kind string) bool { return !doneIn(t.State, kind) }), err
}

// doneIn reports whether work of a kind is done in a state. Of those in between it
// takes all: what the state keeps from being done is found in vain.
func doneIn(s tenants.State, kind string) bool {
	switch part, _, _ := strings.Cut(kind, "."); {
	case part == "audit":
		return true
	case s == tenants.Draft:
		return false
	case s == tenants.Closed:
		return part == "answer" || part == "retention"
	}
	return true
}

// lookers is how many tenants are looked at at once.
const lookers = 4

// lookAll looks at tenants beside each other. One that cannot be looked at is woken.
func (g *Gateway) lookAll(ctx context.Context, list []tenants.Tenant) ([]dueIn, error) {
	roots, err := g.Bundles.Roots(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]dueIn, len(list))
	var workers sync.WaitGroup
	for first := range lookers {
		workers.Go(func() {
			for i := first; i < len(list) && ctx.Err() == nil; i += lookers {
				var err error
				if found[i], err = g.look(ctx, list[i], roots.Version); err != nil {
					g.Log.WarnContext(ctx, "a tenant cannot be looked at and is woken", "tenant", list[i].ID, "error", err)
					found[i] = dueIn{work: true, lists: true, audit: true}
				}
			}
		})
	}
	workers.Wait()
	return found, ctx.Err()
}

type quietKey struct{}

// stillQuiet reports whether nothing looks due in a tenant whose work is to be done
// all the same, and gives the context in which that is held: see Config.OnMissed.
func (g *Gateway) stillQuiet(ctx context.Context, t tenants.Tenant) (context.Context, error) {
	last, _ := g.rounds.of(t.ID)
	_, kinds, err := g.lookAt(ctx, t, last.at)
	if err != nil || len(kinds) > 0 {
		return ctx, err
	}
	return context.WithValue(ctx, quietKey{}, t.ID), nil
}

// onChange hears of statements that changed rows.
func (g *Gateway) onChange(ctx context.Context, sql string) {
	if tenant, quiet := ctx.Value(quietKey{}).(citygate.TenantID); quiet && !slices.ContainsFunc(bookkeeping, func(s string) bool { return strings.Contains(sql, s) }) {
		g.OnMissed(tenant, sql)
	}
}

// bookkeeping is what rounds write where nothing is due.
var bookkeeping = []string{"risk_scans"}
