package tenants

import (
	"context"
	"encoding/json"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Rate is so much a second in the long run, and up to Burst at once after a
// rest. 0 stands for the usual.
type Rate struct {
	PerSecond int `json:"per_second,omitempty"`
	Burst     int `json:"burst,omitempty"`
}

// A Quota is what a tenant may ask of one process. The zero one is the usual.
type Quota struct {
	Taps   Rate `json:"taps,omitzero"`   // in uploads
	Reads  Rate `json:"reads,omitzero"`  // requests that change nothing
	Writes Rate `json:"writes,omitzero"` // the others
}

// rateMost bounds what a quota says.
const rateMost = 1_000_000

// ErrQuota refuses a quota.
var ErrQuota = &citygate.Code{Name: "tenant.quota", Kind: citygate.Invalid, Title: "That is no quota. Rates are 0 (the usual) to a million, and a burst is not below a second's worth."}

// Check reports the first rate that cannot be.
func (q Quota) Check() error {
	for name, r := range map[string]Rate{"taps": q.Taps, "reads": q.Reads, "writes": q.Writes} {
		if r.PerSecond < 0 || r.Burst < 0 || r.PerSecond > rateMost || r.Burst > 10*rateMost || r.Burst != 0 && r.Burst < r.PerSecond {
			return ErrQuota.Explain("%s: %d a second, %d at once", name, r.PerSecond, r.Burst)
		}
	}
	return nil
}

// Quota gives what a tenant may ask of a process as this process read it last,
// without any I/O.
func (d *Directory) Quota(id citygate.TenantID) Quota {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		return Quota{}
	}
	return d.last.quotas[id]
}

// QuotaOf gives what a tenant may ask of a process; all zero is the usual.
func (d *Directory) QuotaOf(ctx context.Context, id citygate.TenantID) (q Quota, err error) {
	all, err := d.Snapshot(ctx)
	if err != nil {
		return q, err
	}
	if _, ok := all.byID[id]; !ok {
		return q, ErrNotFound.Because(nil, "tenant %d", id)
	}
	return all.quotas[id], nil
}

// SetQuota says what a tenant may ask of a process. Who may say so is the
// caller's business: never the tenant itself.
func (d *Directory) SetQuota(ctx context.Context, actor string, id citygate.TenantID, q Quota) error {
	if err := q.Check(); err != nil {
		return err
	}
	err := d.db.InTenant(ctx, id, func(tx *pg.Tx) error {
		if _, err := lockTenant(ctx, tx, id); err != nil {
			return err
		}
		var raw []byte
		if err := tx.QueryRow(ctx, `SELECT coalesce(quota, '{}'::jsonb) FROM platform.tenants WHERE tenant_id = $1`, id).Scan(&raw); err != nil {
			return err
		}
		var was Quota
		if err := json.Unmarshal(raw, &was); err != nil || was == q {
			return err
		}
		next, err := json.Marshal(q)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET quota = nullif($2::jsonb, '{}'::jsonb) WHERE tenant_id = $1`, id, next); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "quota.set", Object: "quota", Before: was, After: q})
	})
	if err == nil {
		d.forget()
	}
	return err
}
