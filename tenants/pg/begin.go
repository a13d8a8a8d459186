package pg

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cashlesscity/citygate"
)

// beginSQL opens the transaction in one round trip. RESET ALL removes what an
// earlier borrower of the connection may have left in the session, and the
// binding replaces a leftover tenant even where the reset could not. With clock
// it asks for the tenant's clock as well, as the one statement with a result; in
// a snapshot that is what fixes it.
func beginSQL(tenant citygate.TenantID, snapshot, clock bool) string {
	begin := "BEGIN"
	if snapshot {
		begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
	}
	if tenant == 0 {
		return begin + "; RESET ROLE; RESET ALL; SET LOCAL app.tenant_id = ''"
	}
	// An integer of ours: nothing to inject. SET takes no parameters, and
	// set_config would not reach the workers of a distributed database.
	begin = fmt.Sprintf("%s; RESET ROLE; RESET ALL; SET LOCAL app.tenant_id = '%d'", begin, int64(tenant))
	if clock {
		begin += fmt.Sprintf("; EXECUTE "+clockStatement+"(%d)", int64(tenant))
	}
	return begin
}

// begin opens a transaction and says how far the tenant's clock is ahead. After a
// restart of the server the pool is full of dead connections, each of which is
// found out and dropped by its first use; where the begin failed nothing else can
// have happened, so the next connection is tried. A server that refuses new
// connections is not asked again.
func (db *DB) begin(ctx context.Context, tenant citygate.TenantID, snapshot bool) (*boundTx, time.Duration, error) {
	known, held := db.clockKnown(tenant)
	ask := tenant != 0 && (!held || !known.live)
	sql := beginSQL(tenant, snapshot, ask)
	for dead := int32(0); ; dead++ {
		tx, row, err := db.beginOn(ctx, sql)
		if err == nil {
			ahead, err := db.learnClock(tenant, row)
			if err != nil {
				return nil, 0, errors.Join(err, tx.Rollback(ctx))
			}
			return tx, ahead, nil
		}
		if ctx.Err() != nil || dead == db.pool.Config().MaxConns {
			return nil, 0, err
		}
		if _, refused := errors.AsType[*pgconn.ConnectError](err); refused {
			return nil, 0, err
		}
	}
}

// beginOn begins on a connection of the pool. It gives the row that sql asked for,
// if there is one.
func (db *DB) beginOn(ctx context.Context, sql string) (*boundTx, [][]byte, error) {
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	var row [][]byte
	results, err := c.Conn().PgConn().Exec(ctx, sql).ReadAll()
	for _, r := range results {
		if len(r.Rows) > 0 {
			row = r.Rows[0]
		}
	}
	if err != nil {
		// Whatever was begun ends with the connection: the pool destroys one that is
		// not idle.
		c.Release()
		return nil, nil, err
	}
	return &boundTx{c: c}, row, nil
}

// prepareClock has a new connection know [clockStatement]: parsed and planned anew
// for each transaction it would cost more than the round trip it saves. Before the
// schema is there it is not either; [Open] says so.
func prepareClock(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Prepare(ctx, clockStatement, selectClock)
	switch SQLState(err) {
	case "3F000", "42P01", StateInsufficientRights:
		return nil
	}
	return err
}

// learnClock reads the row of [selectClock] and keeps it. No row is a live clock that
// is known, the platform's, or a number that no tenant has, which runs with it.
func (db *DB) learnClock(tenant citygate.TenantID, row [][]byte) (time.Duration, error) {
	if row == nil {
		return 0, nil
	}
	us, err := strconv.ParseInt(string(row[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the clock of tenant %d: %w", tenant, err)
	}
	return db.keepClock(tenant, string(row[0]) == "t", us), nil
}

// A boundTx is the transaction that [DB.begin] opened, as pgx's own would be had
// it been begun without the row.
type boundTx struct{ c *pgxpool.Conn } // nil once it has ended

var _ pgx.Tx = (*boundTx)(nil)

var errParts = errors.New("pg: a transaction is done whole or not at all")

// Begin implements [pgx.Tx] and fails: [Tx.Attempt] is what there is.
func (tx *boundTx) Begin(context.Context) (pgx.Tx, error) { return nil, errParts }

// Commit implements [pgx.Tx].
func (tx *boundTx) Commit(ctx context.Context) error {
	tag, err := tx.end(ctx, "commit")
	if err == nil && tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return err
}

// Rollback implements [pgx.Tx].
func (tx *boundTx) Rollback(ctx context.Context) error {
	_, err := tx.end(ctx, "rollback")
	return err
}

// end gives the connection back. One on which the transaction did not end is
// destroyed by the pool, which ends it.
func (tx *boundTx) end(ctx context.Context, sql string) (pgconn.CommandTag, error) {
	if tx.c == nil {
		return pgconn.CommandTag{}, pgx.ErrTxClosed
	}
	defer func() {
		tx.c.Release()
		tx.c = nil
	}()
	return tx.c.Exec(ctx, sql)
}

// Exec implements [pgx.Tx].
func (tx *boundTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if tx.c == nil {
		return pgconn.CommandTag{}, pgx.ErrTxClosed
	}
	return tx.c.Exec(ctx, sql, args...)
}

// Query implements [pgx.Tx].
func (tx *boundTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if tx.c == nil {
		return nil, pgx.ErrTxClosed
	}
	return tx.c.Query(ctx, sql, args...)
}

// QueryRow implements [pgx.Tx].
func (tx *boundTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if tx.c == nil {
		return endedRow{}
	}
	return tx.c.QueryRow(ctx, sql, args...)
}

type endedRow struct{}

func (endedRow) Scan(...any) error { return pgx.ErrTxClosed }

// SendBatch implements [pgx.Tx].
func (tx *boundTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if tx.c == nil {
		return pgx.FailedBatchResults(b, pgx.ErrTxClosed)
	}
	return tx.c.SendBatch(ctx, b)
}

// CopyFrom implements [pgx.Tx].
func (tx *boundTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if tx.c == nil {
		return 0, pgx.ErrTxClosed
	}
	return tx.c.CopyFrom(ctx, table, columns, rows)
}

// Prepare implements [pgx.Tx].
func (tx *boundTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if tx.c == nil {
		return nil, pgx.ErrTxClosed
	}
	return tx.c.Conn().Prepare(ctx, name, sql)
}

// LargeObjects implements [pgx.Tx]. There are none here: those it gives belong to
// no transaction and fail.
func (tx *boundTx) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }

// Conn implements [pgx.Tx].
func (tx *boundTx) Conn() *pgx.Conn {
	if tx.c == nil {
		return nil
	}
	return tx.c.Conn()
}
