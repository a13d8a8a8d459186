package edge

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
)

// Audit is what the edge calls for audit logs; tenant 0 is the platform.
type Audit struct {
	// Entries gives rows that pass a filter, newest first.
	Entries func(ctx context.Context, tenant citygate.TenantID, f audit.Filter, page Page) ([]audit.Row, error)
	// Checkpoints gives the seals behind a number, oldest first.
	Checkpoints func(ctx context.Context, tenant citygate.TenantID, after int64, limit int) ([]audit.Checkpoint, error)
}

// An AuditEntry is one change: who did what, and what it was before and after.
type AuditEntry struct {
	ID     string          `json:"id" example:"aud_0195e2…"`
	Actor  string          `json:"actor" example:"user:ada"`
	Verb   string          `json:"verb" example:"terminal.state"`
	Object string          `json:"object" example:"terminal:7"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	At     time.Time       `json:"at"`
	Seq    int64           `json:"seq,omitempty" doc:"place in the hash chain; absent for the seconds until it has one"`
	Prev   string          `json:"prev_hash,omitempty" doc:"hash of the entry before, hexadecimal"`
	Hash   string          `json:"hash,omitempty" doc:"SHA-256 over the entry's canonical form, hexadecimal"`
}

// AuditView gives a row as the API shows it.
func AuditView(r audit.Row) AuditEntry {
	e := AuditEntry{ID: r.ID.Text(audit.Prefix), Actor: r.Actor, Verb: r.Verb, Object: r.Object, Before: r.Before, After: r.After, At: r.At, Seq: r.Seq}
	if r.Seq > 0 {
		e.Prev, e.Hash = hex.EncodeToString(r.Prev[:]), hex.EncodeToString(r.Hash[:])
	}
	return e
}

// An AuditCheckpoint is a signed seal over a log up to an entry.
type AuditCheckpoint struct {
	Tenant    int64     `json:"tenant" doc:"0 = the platform"`
	N         int64     `json:"n" doc:"from 1, without gaps"`
	Seq       int64     `json:"seq" doc:"the last entry it seals"`
	Root      string    `json:"root" doc:"hash of that entry, and so of every one before; hexadecimal"`
	Prev      string    `json:"prev_root" doc:"root of the checkpoint before"`
	At        time.Time `json:"at"`
	KeyID     uint8     `json:"kid" doc:"of the audit key: audit-<kid> in the tenant's key set"`
	Signature []byte    `json:"signature"`
}

// AuditQuery says which entries. Exported, or huma does not see its fields.
type AuditQuery struct {
	Paging
	Actor  string    `query:"actor" example:"user:ada"`
	Verb   string    `query:"verb" doc:"one that ends in a dot stands for all that begin so" example:"key."`
	Object string    `query:"object" example:"terminal:7"`
	From   time.Time `query:"from" doc:"not before"`
	Until  time.Time `query:"until" doc:"before"`
}

// CheckpointQuery says which checkpoints.
type CheckpointQuery struct{ Paging }

func (e *Edge) auditRoutes() {
	register(e, get("list-audit", "/v1/tenants/{tenant}/audit", "Who changed what in a tenant, newest first", "audit"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			AuditQuery
		}) (*body[list[AuditEntry]], error) {
			return e.auditEntries(ctx, r.id(), r.AuditQuery)
		})
	register(e, get("list-audit-checkpoints", "/v1/tenants/{tenant}/audit/checkpoints", "The signed seals over a tenant's audit log: keep a copy elsewhere", "audit"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			CheckpointQuery
		}) (*body[list[AuditCheckpoint]], error) {
			return e.auditCheckpoints(ctx, r.id(), r.CheckpointQuery)
		})
	register(e, get("list-platform-audit", "/v1/audit", "Who changed what outside any tenant, newest first (platform only)", "audit"),
		func(ctx context.Context, who Caller, r *struct{ AuditQuery }) (*body[list[AuditEntry]], error) {
			if who.Tenant != 0 {
				return nil, errForbidden
			}
			return e.auditEntries(ctx, audit.Platform, r.AuditQuery)
		})
	register(e, get("list-platform-audit-checkpoints", "/v1/audit/checkpoints", "The signed seals over the platform's audit log (platform only)", "audit"),
		func(ctx context.Context, who Caller, r *struct{ CheckpointQuery }) (*body[list[AuditCheckpoint]], error) {
			if who.Tenant != 0 {
				return nil, errForbidden
			}
			return e.auditCheckpoints(ctx, audit.Platform, r.CheckpointQuery)
		})
}

func (e *Edge) auditEntries(ctx context.Context, tenant citygate.TenantID, q AuditQuery) (*body[list[AuditEntry]], error) {
	page, err := q.page(audit.Prefix)
	if err != nil {
		return nil, err
	}
	rows, err := e.Audit.Entries(ctx, tenant, audit.Filter{Actor: q.Actor, Verb: q.Verb, Object: q.Object, From: q.From, Until: q.Until}, page)
	entries := make([]AuditEntry, len(rows))
	for i, r := range rows {
		entries[i] = AuditView(r)
	}
	return inPages(ctx, q.Paging, func(e AuditEntry) string { return e.ID })(entries, err)
}

func (e *Edge) auditCheckpoints(ctx context.Context, tenant citygate.TenantID, q CheckpointQuery) (*body[list[AuditCheckpoint]], error) {
	after, err := q.number()
	if err != nil || after > math.MaxInt64 {
		return nil, errCursor
	}
	found, err := e.Audit.Checkpoints(ctx, tenant, int64(after), q.more())
	seals := make([]AuditCheckpoint, len(found))
	for i, c := range found {
		seals[i] = AuditCheckpoint{
			Tenant: int64(c.Tenant), N: c.N, Seq: c.Seq, Root: hex.EncodeToString(c.Root[:]), Prev: hex.EncodeToString(c.Prev[:]), At: c.At, KeyID: c.KeyID,
			Signature: c.Signature,
		}
	}
	return inPages(ctx, q.Paging, func(c AuditCheckpoint) string { return strconv.FormatInt(c.N, 10) })(seals, err)
}
