package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A changeTracer tells of statements that changed rows: see [Config].OnChange. What
// a statement changes in a WITH of another is not told.
type changeTracer func(ctx context.Context, sql string)

var (
	_ pgx.QueryTracer = changeTracer(nil)
	_ pgx.BatchTracer = changeTracer(nil)
)

type statementKey struct{}

// TraceQueryStart implements [pgx.QueryTracer].
func (changeTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, statementKey{}, d.SQL)
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (t changeTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryEndData) {
	if sql, ok := ctx.Value(statementKey{}).(string); ok && changes(d.CommandTag) {
		t(ctx, sql)
	}
}

// TraceBatchStart implements [pgx.BatchTracer].
func (changeTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (t changeTracer) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	if changes(d.CommandTag) {
		t(ctx, d.SQL)
	}
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (changeTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func changes(tag pgconn.CommandTag) bool {
	return (tag.Insert() || tag.Update() || tag.Delete()) && tag.RowsAffected() > 0
}
