package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A DueJob asks to look at everything that may be due in a tenant.
type DueJob struct {
	Tenant citygate.TenantID `json:"tenant"`
}

// Kind implements [pg.Job].
func (DueJob) Kind() string { return "due" }

// handlers are the jobs this program works. Each is idempotent: a job may run
// again after the process that ran it died.
func (g *Gateway) handlers() map[string]jobs.Handler {
	return map[string]jobs.Handler{
		intake.BatchJob{}.Kind(): handler(func(ctx context.Context, j intake.BatchJob) error {
			if err := g.prime(ctx, j.Tenant); err != nil {
				return err
			}
			return g.Pricing.RunBatch(ctx, j.Tenant, j.Terminal, j.FirstSeq, j.Count)
		}),
		interbook.CarryJob{}.Kind(): handler(g.carry),
		DueJob{}.Kind():             handler(g.due),
	}
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
// tenant's keys and rules.
func (g *Gateway) prime(ctx context.Context, tenant citygate.TenantID) error {
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
		interbook.KindAdvice:   g.Settler.HandleAdvice,
	})
}

// due does what is due in a tenant, in the order in which one step can make
// the next one due: fares, charges, bills, what operators are told, payouts,
// deny lists. Every step looks at rows with times; none trusts that it was
// called at the right moment.
func (g *Gateway) due(ctx context.Context, j DueJob) error {
	if err := g.prime(ctx, j.Tenant); err != nil {
		return err
	}
	t, err := g.Tenants.ByID(ctx, j.Tenant)
	if err != nil {
		return err
	}
	if t.State != tenants.Active && t.State != tenants.Suspended {
		return nil
	}
	steps := []func(context.Context, citygate.TenantID) error{g.Settler.CloseDue}
	if _, priced := modes[t.Kind]; priced {
		steps = append(steps, g.Intake.Due, g.Pricing.RunDue)
	}
	if t.Issuer != 0 {
		steps = append(steps, g.Collector.RunDue, g.Reconciler.ImportDue, g.release, g.publishLists)
	}
	steps = append(steps, g.Settler.PayDue)
	for _, step := range steps {
		if err := step(ctx, j.Tenant); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) publishLists(ctx context.Context, tenant citygate.TenantID) error {
	_, err := g.Credentials.PublishLists(ctx, tenant)
	return err
}

// Tick asks to look at everything that may be due, in every tenant. Whoever
// runs the gateway calls it once in a while; calling it too often costs a few
// queries.
func (g *Gateway) Tick(ctx context.Context) error {
	all, err := g.Tenants.All(ctx)
	if err != nil {
		return err
	}
	return g.DB.InSystem(ctx, func(tx *pg.Tx) error {
		due := make([]pg.Job, 0, len(all))
		for _, t := range all {
			due = append(due, DueJob{t.ID})
		}
		return tx.Enqueue(ctx, due...)
	})
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
