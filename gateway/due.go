package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A DueJob asks to look at everything that may be due in a tenant.
type DueJob struct {
	Tenant citygate.TenantID `json:"tenant"`
	Quiet  bool              `json:"quiet,omitempty"` // nothing looks due: see Config.OnMissed
}

// Kind implements [pg.Job].
func (DueJob) Kind() string { return "due" }

// A ListsJob asks for a tenant's deny lists to be published. It is a job of its
// own because riders that are denied must be on a list within the minute, and what
// else is due may wait for a provider for longer than that.
type ListsJob struct {
	Tenant citygate.TenantID `json:"tenant"`
}

// Kind implements [pg.Job].
func (ListsJob) Kind() string { return "lists" }

// handlers are the jobs this program works. Each is idempotent: a job may run
// again after the process that ran it died.
func (g *Gateway) handlers() map[string]jobs.Handler {
	return map[string]jobs.Handler{
		intake.BatchJob{}.Kind(): handler(func(ctx context.Context, j intake.BatchJob) error {
			return g.price(ctx, []intake.BatchJob{j})
		}),
		interbook.CarryJob{}.Kind(): handler(g.carry),
		DueJob{}.Kind():             handler(g.due),
		ListsJob{}.Kind():           handler(g.lists),
		audit.Job{}.Kind():          handler(g.seal),
	}
}

// price prices uploads of one tenant.
func (g *Gateway) price(ctx context.Context, uploads []intake.BatchJob) error {
	tenant := uploads[0].Tenant
	if err := g.prime(ctx, tenant); err != nil {
		return err
	}
	batches := make([]pricing.Batch, len(uploads))
	for i, u := range uploads {
		batches[i] = pricing.Batch{Terminal: u.Terminal, First: u.FirstSeq, Count: u.Count}
	}
	return g.Pricing.RunBatches(ctx, tenant, batches)
}

// together says which jobs are done at once: uploads of one tenant, and what is
// said twice.
func (g *Gateway) together() map[string]jobs.Together {
	return map[string]jobs.Together{
		intake.BatchJob{}.Kind():    together(g.price),
		interbook.CarryJob{}.Kind(): together(func(ctx context.Context, js []interbook.CarryJob) error { return g.carry(ctx, js[0]) }),
	}
}

// ofTenant is the part of every job that says whose it is.
type ofTenant struct {
	Tenant citygate.TenantID `json:"tenant"`
}

// together does jobs of one tenant at once.
func together[Job pg.Job](work func(context.Context, []Job) error) jobs.Together {
	return jobs.Together{
		Key: func(args json.RawMessage) string {
			var j ofTenant
			if json.Unmarshal(args, &j) != nil || j.Tenant == 0 {
				return ""
			}
			return j.Tenant.String()
		},
		Run: func(ctx context.Context, args []json.RawMessage) error {
			list := make([]Job, len(args))
			for i := range args {
				if err := json.Unmarshal(args[i], &list[i]); err != nil {
					return err
				}
			}
			return work(ctx, list)
		},
	}
}

// lanes keep the jobs apart whose order shows: which operator claims a display
// first, and what a window or an account holds when it is closed. Fares and
// messages each go one after another; what is due is done for all tenants side
// by side, and no message beside it.
func lanes(name string, args json.RawMessage) []jobs.Lane {
	switch name {
	case intake.BatchJob{}.Kind():
		return []jobs.Lane{{Name: "fares"}}
	case interbook.CarryJob{}.Kind():
		return []jobs.Lane{{Name: "messages"}}
	case audit.Job{}.Kind():
		return []jobs.Lane{{Name: "seals"}} // of no tenant, and beside whatever else is done
	}
	var j ofTenant
	if json.Unmarshal(args, &j) != nil {
		return nil
	}
	return []jobs.Lane{{Name: "messages", Shared: true}, {Name: "fares", Shared: true}, {Name: j.Tenant.String()}}
}

func handler[Job pg.Job](work func(context.Context, Job) error) jobs.Handler {
	return func(ctx context.Context, args json.RawMessage) error {
		var j Job
		if err := json.Unmarshal(args, &j); err != nil {
			return fmt.Errorf("job %s: %w", j.Kind(), err)
		}
		return work(ctx, j)
	}
}

// prime reads what work inside a transaction needs from outside of it: the
// tenants, and this one's keys and rules.
func (g *Gateway) prime(ctx context.Context, tenant citygate.TenantID) error {
	if err := g.hold(ctx); err != nil {
		return err
	}
	if err := g.People.Prime(ctx, tenant); err != nil {
		return err
	}
	if _, err := g.Bundle(ctx, tenant); err != nil && !errors.Is(err, fleet.ErrNoBundle) {
		return err
	}
	if _, err := g.latestRules(ctx, tenant); err != nil && !errors.Is(err, policies.ErrNone) {
		return err
	}
	return nil
}

// carry delivers a tenant's messages to the others' books.
func (g *Gateway) carry(ctx context.Context, j interbook.CarryJob) error {
	all, err := g.Tenants.All(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if err := g.prime(ctx, t.ID); err != nil {
			return err
		}
	}
	return interbook.Carry(ctx, g.DB, j.Tenant, map[string]interbook.Handler{
		interbook.KindClaims:   g.Collector.HandleClaims,
		interbook.KindVerdicts: g.Pricing.Verdicts,
		interbook.KindAdvice:   g.handleAdvice,

		interbook.KindFacts:        g.Pricing.Facts,
		interbook.KindFactVerdicts: g.Pricing.FactVerdicts,
		interbook.KindShares:       g.Pricing.Shares,

		interbook.KindSightings: g.Collector.HandleSightings,
		interbook.KindTouches:   g.Collector.HandleTouches,

		interbook.KindCodes: g.Foreign.HandleCodes,
		interbook.KindNames: g.handleNames,
	})
}

// due does what is due in a tenant, in the order in which one step can make
// the next one due: fares, charges, bills, what operators are told, payouts.
// Every step looks at rows with times; none trusts that it was called at the
// right moment, so one that fails keeps no other from its work. Deny lists go out
// before anybody waits for a provider, and again at the end with the riders that
// were declined.
func (g *Gateway) due(ctx context.Context, j DueJob) (err error) {
	g.waiting.begun(j.Tenant)
	defer func() {
		if err != nil {
			g.waiting.add(g.Clock(), j.Tenant) // the queue runs the job again
			g.rounds.forget(j.Tenant)
		}
	}()
	t, err := g.Tenants.ByID(ctx, j.Tenant)
	if err != nil {
		return err
	}
	if t.State == tenants.Draft {
		return nil
	}
	if j.Quiet {
		if ctx, err = g.stillQuiet(ctx, t); err != nil {
			return err
		}
	}
	if t.State == tenants.Closed {
		return g.forget(ctx, j.Tenant)
	}
	failed := g.prime(ctx, j.Tenant)
	for _, step := range g.steps(t) {
		failed = errors.Join(failed, step(ctx, j.Tenant))
	}
	return failed
}

// steps gives the steps of due for a tenant, in their order: those that its state
// allows.
func (g *Gateway) steps(t tenants.Tenant) []func(context.Context, citygate.TenantID) error {
	steps := []func(context.Context, citygate.TenantID) error{g.forget}
	if t.State.Allows(tenants.Configuring) {
		steps = append(steps, g.announceNext)
	}
	steps = append(steps, g.Settler.CloseDue)
	if t.State.Allows(tenants.Pricing) { // whoever has readers, and an authority for its integrated tariff
		price := g.priceDue
		if t.Kind == tenants.Authority {
			price = g.Pricing.RunDue
		}
		steps = append(steps, g.Intake.Due, price, g.Flagger.Run)
	}
	if t.Issuer != 0 {
		steps = append(steps, g.publishLists, g.Foreign.RunDue)
	}
	steps = append(steps, g.Till.RunDue)    // in any state: customers have been asked
	if t.State.Allows(tenants.Collecting) { // also of a shop, which issues no codes
		steps = append(steps, g.Collector.RunDue)
	}
	if t.Issuer != 0 {
		if t.State.Allows(tenants.Collecting) {
			steps = append(steps, g.Sales.RunDue)
		}
		steps = append(steps, g.followLists, g.Agreements.RunDue, g.tellProviders, g.tellWallets, g.askRiders)
	}
	steps = append(steps, g.Reconciler.ImportDue, g.release)
	if t.State.Allows(tenants.PayingOut) {
		steps = append(steps, g.Settler.PayDue)
	}
	if t.Issuer != 0 {
		steps = append(steps, g.publishLists)
	}
	steps = append(steps, g.Explanations.RunDue)
	if t.State == tenants.Closing {
		steps = append(steps, g.finishClosing)
	}
	return steps
}

// priceDue closes the journeys that are due. An operator that has no rules yet has
// none: its readers have no bundle.
func (g *Gateway) priceDue(ctx context.Context, tenant citygate.TenantID) error {
	if _, err := g.latestRules(ctx, tenant); errors.Is(err, policies.ErrNone) {
		return nil
	}
	return g.Pricing.RunDue(ctx, tenant)
}

func (g *Gateway) publishLists(ctx context.Context, tenant citygate.TenantID) error {
	_, err := g.Credentials.PublishLists(ctx, tenant)
	return err
}

// lists publishes what changed on a tenant's deny lists.
func (g *Gateway) lists(ctx context.Context, j ListsJob) error {
	g.unlisted.begun(j.Tenant)
	t, err := g.Tenants.ByID(ctx, j.Tenant)
	if err != nil || t.Issuer == 0 || t.State == tenants.Draft || t.State == tenants.Closed {
		return err
	}
	if err := g.publishLists(ctx, j.Tenant); err != nil {
		g.unlisted.add(g.Clock(), j.Tenant) // the queue runs the job again
		return errors.Join(err, g.warnLate(ctx, j.Tenant))
	}
	return nil
}

// warnLate writes to the log when denials have waited for too long to be
// published.
func (g *Gateway) warnLate(ctx context.Context, tenant citygate.TenantID) error {
	l, err := g.denyLatency(ctx, tenant)
	if err != nil {
		return err
	}
	if standing := credential.Standing(l.Standing); standing == credential.Alarm || standing == credential.Breach {
		g.Log.ErrorContext(ctx, "denials are not published", "standing", standing, "tenant", tenant, "pending", l.Pending, "oldest_s", l.OldestSeconds)
	}
	return nil
}

// forget drops answers that nobody may ask for again, and, where the tenant has it
// done by itself, erases once a day what it does not keep any more.
func (g *Gateway) forget(ctx context.Context, tenant citygate.TenantID) error {
	var s retention.Settings
	var now time.Time
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		now = tx.Now
		if err := edge.ForgetAnswers(ctx, tx); err != nil {
			return err
		}
		s, err = retention.Read(ctx, tx)
		return err
	})
	before := now.AddDate(0, 0, -s.KeepDays).Truncate(24 * time.Hour)
	if err != nil || !s.Automatic || !s.ErasedBefore.Before(before) {
		return err
	}
	_, err = retention.Erase(ctx, g.DB, "system:retention", tenant, before, false)
	return err
}

// A waitingSet knows the tenants for which this process has asked to look at
// what is due and not seen it begin. Another process may do the work, or may have
// died with it, so an entry holds for askAgain only: a job too many costs a few
// queries, one too few would cost a payout.
type waitingSet struct {
	mu    sync.Mutex
	asked map[citygate.TenantID]time.Time
}

// askAgain is how long a job that was asked for is trusted to come.
const askAgain = 5 * time.Minute

// add notes that a job for a tenant is on the queue.
func (w *waitingSet) add(now time.Time, tenant citygate.TenantID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		w.asked = map[citygate.TenantID]time.Time{}
	}
	w.asked[tenant] = now
}

// begun notes that a tenant's job has begun: what becomes due from now on needs
// another one.
func (w *waitingSet) begun(tenant citygate.TenantID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asked, tenant)
}

// has reports whether a job for a tenant waits.
func (w *waitingSet) has(now time.Time, tenant citygate.TenantID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.asked[tenant]
	age := now.Sub(at)
	return ok && age >= 0 && age < askAgain // a clock that was set back must not hold it for longer
}

// Tick asks for the work of every tenant in which something may be due and that does
// not wait for it already. Whoever runs the gateway calls it once in a while; calling
// it too often costs a query a tenant.
func (g *Gateway) Tick(ctx context.Context) error {
	all, err := g.Tenants.All(ctx)
	if err != nil {
		return err
	}
	found, err := g.lookAll(ctx, all)
	if err != nil {
		return err
	}
	now := g.Clock()
	var due []pg.Job
	var noted []func() // take back what follows
	ask := func(waiting *waitingSet, id citygate.TenantID, job pg.Job) {
		if waiting.has(now, id) {
			return
		}
		// Noted before the commit: a worker may begin a job before this call goes on.
		waiting.add(now, id)
		due, noted = append(due, job), append(noted, func() { waiting.begun(id) })
	}
	var audited []tenants.Tenant
	for i, t := range all {
		d := &found[i]
		if d.lists {
			ask(&g.unlisted, t.ID, ListsJob{t.ID})
		}
		if d.work && !g.waiting.has(now, t.ID) {
			g.rounds.asked(t.ID, d.round)
			noted = append(noted, func() { g.rounds.forget(t.ID) })
		}
		if d.work || g.OnMissed != nil && t.State != tenants.Draft {
			ask(&g.waiting, t.ID, DueJob{Tenant: t.ID, Quiet: d.quiet})
		}
		if d.audit || d.work || d.lists { // which are audited as they are done
			audited = append(audited, t)
		}
	}
	for _, logs := range auditLogs(audited) {
		ask(&g.unsealed, logs[0], audit.Job{Tenants: logs})
	}
	if len(due) == 0 {
		return nil
	}
	err = g.DB.InSystem(ctx, func(tx *pg.Tx) error {
		if err := edge.ForgetAnswers(ctx, tx); err != nil { // the platform's
			return err
		}
		return tx.Enqueue(ctx, due...)
	})
	if err != nil {
		for _, takeBack := range noted {
			takeBack()
		}
	}
	return err
}

// release tells operators what became of their fares, and clears what
// reconciliation lets go: charges whose row is matched and that no open
// exception holds.
func (g *Gateway) release(ctx context.Context, tenant citygate.TenantID) error {
	if err := g.Collector.PassBack(ctx, tenant); err != nil {
		return err
	}
	var free []citygate.UUID
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		waiting, err := collect.Unreleased(ctx, tx)
		if err != nil || len(waiting) == 0 {
			return err
		}
		free, err = recon.Releasable(ctx, tx, waiting)
		return err
	})
	if err != nil || len(free) == 0 {
		return err
	}
	return g.Collector.Release(ctx, tenant, free)
}
