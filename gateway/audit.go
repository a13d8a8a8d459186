package gateway

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// logsMax is how many audit logs one job seals: a job each would cost more than
// looking at them, and all in one would wait for each other's key.
const logsMax = 250

// auditLogs gives the logs of all tenants and the platform's, by the job.
func auditLogs(all []tenants.Tenant) [][]citygate.TenantID {
	logs := []citygate.TenantID{audit.Platform}
	for _, t := range all {
		logs = append(logs, t.ID)
	}
	return slices.Collect(slices.Chunk(logs, logsMax))
}

// An auditedSet knows the logs that this process has added to since they were
// taken from it.
type auditedSet struct {
	mu   sync.Mutex
	logs map[citygate.TenantID]bool
}

func (a *auditedSet) add(log citygate.TenantID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.logs == nil {
		a.logs = map[citygate.TenantID]bool{}
	}
	a.logs[log] = true
}

// take empties the set.
func (a *auditedSet) take() []citygate.TenantID {
	a.mu.Lock()
	defer a.mu.Unlock()
	logs := slices.Sorted(maps.Keys(a.logs))
	a.logs = nil
	return logs
}

// SealSoon asks for the audit logs to be sealed that this process has added to.
// Whoever runs the gateway calls it every second or so; with nothing to seal it
// costs nothing. [Gateway.Tick] asks for every log, in case a process died.
func (g *Gateway) SealSoon(ctx context.Context) error {
	logs := g.audited.take()
	if len(logs) == 0 {
		return nil
	}
	var list []pg.Job
	for part := range slices.Chunk(logs, logsMax) {
		list = append(list, audit.Job{Tenants: part})
	}
	err := g.DB.InSystem(ctx, func(tx *pg.Tx) error { return tx.Enqueue(ctx, list...) })
	if err != nil {
		for _, log := range logs {
			g.audited.add(log)
		}
	}
	return err
}

// seal does a job of sealing.
func (g *Gateway) seal(ctx context.Context, j audit.Job) error {
	if len(j.Tenants) > 0 {
		g.unsealed.begun(j.Tenants[0])
	}
	unfinished, err := g.Sealer.Run(ctx, j)
	if err != nil {
		if len(j.Tenants) > 0 {
			g.unsealed.add(g.Clock(), j.Tenants[0]) // the queue runs the job again
		}
		return err
	}
	for _, log := range unfinished {
		g.audited.add(log)
	}
	return nil
}

// SealAll seals every audit log to its end, the rows that making a key adds among
// them.
func (g *Gateway) SealAll(ctx context.Context) error {
	all, err := g.Tenants.All(ctx)
	if err != nil {
		return err
	}
	for _, logs := range auditLogs(all) {
		if err := g.sealToEnd(ctx, logs); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) sealToEnd(ctx context.Context, logs []citygate.TenantID) error {
	for len(logs) > 0 {
		unfinished, err := g.Sealer.Run(ctx, audit.Job{Tenants: logs})
		if err != nil {
			return err
		}
		logs = unfinished
		for _, log := range g.audited.take() {
			if !slices.Contains(logs, log) {
				logs = append(logs, log)
			}
		}
	}
	return nil
}

// sealLastWithin bounds sealing at the end: what is not sealed then is sealed by
// the next start, and the stop goes on.
const sealLastWithin = 5 * time.Second

// sealLast seals what this process has added to audit logs, when it ends.
func (g *Gateway) sealLast(ctx context.Context) {
	logs := g.audited.take()
	if len(logs) == 0 || g.Signer == nil || g.Sealer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sealLastWithin)
	defer cancel()
	if err := g.sealToEnd(ctx, logs); err != nil {
		g.Log.WarnContext(ctx, "audit rows are left to be sealed by the next start", "err", err)
	}
}

// VerifyAudit reads the audit logs of tenants, all and the platform's for none
// given, and says what is not as it was written.
func (g *Gateway) VerifyAudit(ctx context.Context, logs []citygate.TenantID, copies []audit.Copy) (audit.Report, error) {
	if len(logs) == 0 {
		all, err := g.Tenants.All(ctx)
		if err != nil {
			return audit.Report{}, err
		}
		logs = slices.Concat(auditLogs(all)...)
	}
	v := audit.Verifier{DB: g.DB, Ring: keys.NewRing(g.DB, g.Signer)}
	return v.Verify(ctx, logs, copies)
}

// inLog runs fn in a transaction of a tenant, or of the platform for 0.
func (g *Gateway) inLog(ctx context.Context, log citygate.TenantID, fn func(*pg.Tx) error) error {
	if log == audit.Platform {
		return g.DB.InSystem(ctx, fn)
	}
	return g.DB.InTenant(ctx, log, fn)
}

func (g *Gateway) auditEntries(ctx context.Context, log citygate.TenantID, f audit.Filter, page edge.Page) (rows []audit.Row, err error) {
	err = g.inLog(ctx, log, func(tx *pg.Tx) (err error) {
		rows, err = audit.List(ctx, tx, f, page.After, page.Limit)
		return err
	})
	return rows, err
}

func (g *Gateway) auditCheckpoints(ctx context.Context, log citygate.TenantID, after int64, limit int) (seals []audit.Checkpoint, err error) {
	err = g.inLog(ctx, log, func(tx *pg.Tx) (err error) {
		seals, err = audit.Checkpoints(ctx, tx, after, limit)
		return err
	})
	return seals, err
}
