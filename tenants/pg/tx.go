package pg

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Tx is one transaction, bound to Tenant (0 in [DB.InSystem]). It can be
// neither committed nor rolled back half-way, and is not safe for concurrent use.
type Tx struct {
	Tenant citygate.TenantID
	Now    time.Time // on the tenant's clock, fixed at the begin; UTC, whole microseconds as rows store it

	db     *DB
	tx     pgx.Tx
	ahead  time.Duration // of the tenant's clock
	failed error         // found where no error could be returned; fails the commit
}

// Exec runs a statement that returns no rows.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tx.tell(sql)
	sql, args = compact(sql, args)
	return tx.tx.Exec(ctx, sql, args...)
}

// Query runs a statement that returns rows.
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	tx.tell(sql)
	sql, args = compact(sql, args)
	return tx.tx.Query(ctx, sql, args...)
}

// QueryRow runs a statement that returns one row.
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	tx.tell(sql)
	return tx.tx.QueryRow(ctx, sql, args...)
}

// SendBatch sends statements in one round trip. For many rows of one kind a
// single INSERT ... SELECT unnest(...) costs the server less than half of it.
func (tx *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	for _, q := range b.QueuedQueries {
		tx.tell(q.SQL)
		q.SQL, q.Arguments = compact(q.SQL, q.Arguments)
	}
	return tx.tx.SendBatch(ctx, b)
}

const (
	beginAttempt = `SAVEPOINT attempt`
	endAttempt   = `RELEASE SAVEPOINT attempt`
	undoAttempt  = `ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt`
)

// Attempt runs an insert of rows that hardly ever are there already, and says
// whether one was: then nothing of the statement remains, and the transaction
// goes on. It costs one round trip. To look for a row in the way of each, as ON
// CONFLICT does, costs up to a third of the insert: more than this from some
// dozens of rows on. Waiting for another transaction's row is the same.
func (tx *Tx) Attempt(ctx context.Context, sql string, args ...any) (taken bool, err error) {
	tx.tell(sql)
	sql, args = compact(sql, args)
	b := &pgx.Batch{}
	b.Queue(beginAttempt)
	b.Queue(sql, args...)
	b.Queue(endAttempt)
	if err := tx.tx.SendBatch(ctx, b).Close(); SQLState(err) != StateUniqueViolation {
		return false, err
	}
	_, err = tx.tx.Exec(ctx, undoAttempt)
	return true, err
}

func (tx *Tx) tell(sql string) {
	if tx.db.onStatement != nil {
		tx.db.onStatement(sql)
	}
}

// NewID makes a version 7 UUID from the tenant's clock and the injected randomness. Where
// the randomness fails the transaction fails with it.
func (tx *Tx) NewID() citygate.UUID {
	id, err := tx.db.newID(tx.ahead)
	if err != nil {
		tx.failed = err
	}
	return id
}

// A Job asks for work after the commit. It is a struct of ids that marshals to
// JSON; what it is about lies in tables.
type Job interface{ Kind() string }

// An Enqueuer puts jobs into the queue within tx.
type Enqueuer interface {
	Enqueue(ctx context.Context, tx pgx.Tx, jobs []Job) error
}

// Enqueue adds jobs that exist if and only if this transaction commits.
func (tx *Tx) Enqueue(ctx context.Context, jobs ...Job) error {
	if len(jobs) == 0 {
		return nil
	}
	if tx.db.enqueuer == nil {
		return ErrConfig.Because(nil, "job %s: this process was opened without a job queue", jobs[0].Kind())
	}
	return tx.db.enqueuer.Enqueue(ctx, tx.tx, jobs)
}

// An AuditEntry says who did what. Before and After marshal to JSON and hold no
// secret; nil is left empty.
type AuditEntry struct {
	Actor  string // such as "user:ada", "terminal:7", "system:settle"
	Verb   string // such as "tenant.create"
	Object string // what it was done to
	Before any
	After  any
}

const (
	insertTenantAudit = `
		INSERT INTO audit_log (tenant_id, entry_id, actor, verb, object, before, after, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	insertPlatformAudit = `
		INSERT INTO platform.audit_log (entry_id, actor, verb, object, before, after, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`
)

type joinKey struct{}

type joiner struct {
	tenant citygate.TenantID
	join   func(ctx context.Context, tx *Tx, verb string) error
}

// Joining gives a context whose audited changes of tenant run join first, each
// in its own transaction: what join writes is there exactly when the change is,
// and a change whose join fails is not made. join gets the verb of the change,
// and may audit itself; like every transaction it may run more than once.
func Joining(ctx context.Context, tenant citygate.TenantID, join func(ctx context.Context, tx *Tx, verb string) error) context.Context {
	return context.WithValue(ctx, joinKey{}, joiner{tenant, join})
}

// Audit records e in the same transaction as the change it describes: in the
// tenant's log, or in the platform's when no tenant is bound.
func (tx *Tx) Audit(ctx context.Context, e AuditEntry) error {
	before, err := optionalJSON(e.Before)
	if err != nil {
		return err
	}
	after, err := optionalJSON(e.After)
	if err != nil {
		return err
	}
	if j, ok := ctx.Value(joinKey{}).(joiner); ok && j.tenant == tx.Tenant {
		if err := j.join(context.WithValue(ctx, joinKey{}, nil), tx, e.Verb); err != nil {
			return err
		}
	}
	if tx.db.onAudit != nil {
		tx.db.onAudit(tx.Tenant)
	}
	id := tx.NewID()
	if tx.Tenant == 0 {
		_, err = tx.Exec(ctx, insertPlatformAudit, id, e.Actor, e.Verb, e.Object, before, after, tx.Now)
	} else {
		_, err = tx.Exec(ctx, insertTenantAudit, tx.Tenant, id, e.Actor, e.Verb, e.Object, before, after, tx.Now)
	}
	return err
}

func optionalJSON(v any) (*string, error) {
	if v == nil {
		return nil, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	s := string(raw)
	return &s, nil
}
