package audit

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// of gives a statement for a tenant's log or for the platform's, whose tables have
// the same names and columns in a schema of their own.
func of(tenant citygate.TenantID, sql string) string {
	if tenant == Platform {
		return strings.ReplaceAll(sql, " audit_", " platform.audit_")
	}
	return sql
}

func in(ctx context.Context, db *pg.DB, tenant citygate.TenantID, fn func(*pg.Tx) error) error {
	if tenant == Platform {
		return db.InSystem(ctx, fn)
	}
	return db.InTenant(ctx, tenant, fn)
}

const rowColumns = `entry_id, actor, verb, object, before::text, after::text, at, coalesce(seq, 0), coalesce(prev_hash, ''), coalesce(hash, '')`

func scanRow(tenant citygate.TenantID) pgx.RowToFunc[Row] {
	return func(row pgx.CollectableRow) (Row, error) {
		r := Row{Tenant: tenant}
		var before, after *string
		var prev, hash []byte
		err := row.Scan(&r.ID, &r.Actor, &r.Verb, &r.Object, &before, &after, &r.At, &r.Seq, &prev, &hash)
		if before != nil {
			r.Before = []byte(*before)
		}
		if after != nil {
			r.After = []byte(*after)
		}
		r.At = r.At.UTC()
		copy(r.Prev[:], prev)
		copy(r.Hash[:], hash)
		return r, err
	}
}

func rows(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Row, error) {
	found, err := tx.Query(ctx, of(tx.Tenant, sql), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, scanRow(tx.Tenant))
}

// A link is a place in a chain: a row's number and its hash.
type link struct {
	seq  int64
	hash Hash
}

const (
	selectHead = `SELECT seq, hash FROM audit_heads WHERE tenant_id = $1`
	insertHead = `INSERT INTO audit_heads (tenant_id, seq, hash) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING`
	moveHead   = `UPDATE audit_heads SET seq = $2, hash = $3 WHERE tenant_id = $1`
)

// head gives the last link of a chain. A log without one begins behind row 0.
func head(ctx context.Context, tx *pg.Tx, lock string) (l link, ok bool, err error) {
	var hash []byte
	err = tx.QueryRow(ctx, of(tx.Tenant, selectHead+lock), tx.Tenant).Scan(&l.seq, &hash)
	if pg.IsNoRows(err) {
		return link{}, false, nil
	}
	copy(l.hash[:], hash)
	return l, err == nil, err
}

// lockHead gives the last link and keeps everybody else from adding one.
func lockHead(ctx context.Context, tx *pg.Tx) (link, error) {
	for {
		l, ok, err := head(ctx, tx, " FOR UPDATE")
		if ok || err != nil {
			return l, err
		}
		if _, err := tx.Exec(ctx, of(tx.Tenant, insertHead), tx.Tenant, l.hash[:]); err != nil {
			return link{}, err
		}
	}
}

const selectWaiting = `SELECT ` + rowColumns + ` FROM audit_log WHERE tenant_id = $1 AND seq IS NULL ORDER BY at, entry_id LIMIT $2`

const chainRows = `
	UPDATE audit_log AS a SET seq = u.seq, prev_hash = u.prev_hash, hash = u.hash
	FROM unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[]) AS u (entry_id, seq, prev_hash, hash)
	WHERE a.tenant_id = $1 AND a.entry_id = u.entry_id AND a.seq IS NULL`

// store writes the links of rows that had none, and the chain's new head.
func store(ctx context.Context, tx *pg.Tx, chained []Row) error {
	n := len(chained)
	ids, seqs, prevs, hashes := make([]citygate.UUID, n), make([]int64, n), make([][]byte, n), make([][]byte, n)
	for i := range chained {
		r := &chained[i]
		ids[i], seqs[i], prevs[i], hashes[i] = r.ID, r.Seq, r.Prev[:], r.Hash[:]
	}
	tag, err := tx.Exec(ctx, of(tx.Tenant, chainRows), tx.Tenant, ids, seqs, prevs, hashes)
	if err != nil {
		return err
	}
	if tag.RowsAffected() != int64(n) {
		return errChain.Because(nil, "tenant %d: %d rows took a link, %d were to", tx.Tenant, tag.RowsAffected(), n)
	}
	last := chained[n-1]
	_, err = tx.Exec(ctx, of(tx.Tenant, moveHead), tx.Tenant, last.Seq, last.Hash[:])
	return err
}

// workSQL tells in one look whether there is anything to chain or to seal.
const workSQL = `
	SELECT EXISTS (SELECT FROM audit_log WHERE tenant_id = $1 AND seq IS NULL),
	       coalesce((SELECT seq FROM audit_heads WHERE tenant_id = $1), 0) >
	       coalesce((SELECT max(seq) FROM audit_checkpoints WHERE tenant_id = $1), 0)`

func work(ctx context.Context, tx *pg.Tx) (unchained, unsealed bool, err error) {
	err = tx.QueryRow(ctx, of(tx.Tenant, workSQL), tx.Tenant).Scan(&unchained, &unsealed)
	return unchained, unsealed, err
}

const (
	checkpointColumns = `n, seq, root, prev_root, at, kid, signature`

	selectCheckpoints = `SELECT ` + checkpointColumns + ` FROM audit_checkpoints WHERE tenant_id = $1 AND n > $2 ORDER BY n LIMIT $3`
	lastCheckpoint    = `SELECT ` + checkpointColumns + ` FROM audit_checkpoints WHERE tenant_id = $1 ORDER BY n DESC LIMIT 1`
	insertCheckpoint  = `
		INSERT INTO audit_checkpoints (tenant_id, ` + checkpointColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT DO NOTHING`
)

func checkpoints(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Checkpoint, error) {
	found, err := tx.Query(ctx, of(tx.Tenant, sql), append([]any{tx.Tenant}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (Checkpoint, error) {
		c := Checkpoint{Tenant: tx.Tenant}
		var root, prev []byte
		err := row.Scan(&c.N, &c.Seq, &root, &prev, &c.At, &c.KeyID, &c.Signature)
		copy(c.Root[:], root)
		copy(c.Prev[:], prev)
		c.At = c.At.UTC()
		return c, err
	})
}

// add stores a checkpoint unless there is one of its number or up to its row.
func add(ctx context.Context, tx *pg.Tx, c Checkpoint) (added bool, err error) {
	tag, err := tx.Exec(ctx, of(tx.Tenant, insertCheckpoint), tx.Tenant, c.N, c.Seq, c.Root[:], c.Prev[:], c.At, int16(c.KeyID), c.Signature)
	return err == nil && tag.RowsAffected() == 1, err
}

// A standing is where a log is at one moment.
type standing struct {
	head    link
	last    int64 // highest seq of any row
	waiting int64 // rows without a link
	oldest  Row   // of those
}

const standingSQL = `
	SELECT coalesce((SELECT seq FROM audit_heads WHERE tenant_id = $1), 0),
	       coalesce((SELECT hash FROM audit_heads WHERE tenant_id = $1), ''),
	       coalesce((SELECT max(seq) FROM audit_log WHERE tenant_id = $1), 0),
	       (SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND seq IS NULL)`

func standingOf(ctx context.Context, tx *pg.Tx) (s standing, err error) {
	var hash []byte
	err = tx.QueryRow(ctx, of(tx.Tenant, standingSQL), tx.Tenant).Scan(&s.head.seq, &hash, &s.last, &s.waiting)
	copy(s.head.hash[:], hash)
	if err != nil || s.waiting == 0 {
		return s, err
	}
	first, err := rows(ctx, tx, selectWaiting, tx.Tenant, 1)
	if s.waiting = min(s.waiting, int64(len(first))*s.waiting); err == nil && len(first) == 1 { // chained since: none waits
		s.oldest = first[0]
	}
	return s, err
}

const selectChained = `SELECT ` + rowColumns + ` FROM audit_log WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`

const listSQL = `
	SELECT ` + rowColumns + ` FROM audit_log
	WHERE tenant_id = $1
	  AND ($2::uuid IS NULL OR entry_id < $2)
	  AND ($3 = '' OR actor = $3)
	  AND ($4 = '' OR verb = $4 OR (right($4, 1) = '.' AND starts_with(verb, $4)))
	  AND ($5 = '' OR object = $5)
	  AND ($6::timestamptz IS NULL OR at >= $6)
	  AND ($7::timestamptz IS NULL OR at < $7)
	ORDER BY entry_id DESC LIMIT $8`

// List gives the rows of the transaction's log that pass f, newest first, behind
// the row after (the zero id = from the newest).
func List(ctx context.Context, tx *pg.Tx, f Filter, after citygate.UUID, limit int) ([]Row, error) {
	var behind *citygate.UUID
	if !after.IsZero() {
		behind = &after
	}
	return rows(ctx, tx, listSQL, tx.Tenant, behind, f.Actor, f.Verb, f.Object, orNil(f.From), orNil(f.Until), limit)
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Checkpoints gives the checkpoints of the transaction's log behind number after,
// oldest first.
func Checkpoints(ctx context.Context, tx *pg.Tx, after int64, limit int) ([]Checkpoint, error) {
	return checkpoints(ctx, tx, selectCheckpoints, after, limit)
}
