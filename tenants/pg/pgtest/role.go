package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// A Conn runs SQL past the gateway, as another role: to tamper with what the
// gateway wrote, or to look at what it cannot see. Failures end the test.
type Conn struct {
	t    testing.TB
	conn *pgx.Conn
}

// Owner gives a connection of citygate_owner, who may change and remove what the
// gateway may only add. Row-level security holds the owner too: bind a tenant.
func Owner(t testing.TB, db *pg.DB) *Conn { return As(t, db, pglocal.Owner) }

// As gives a connection of any role.
func As(t testing.TB, db *pg.DB, role pglocal.Role) *Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), RoleURL(t, db, role))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &Conn{t, conn}
}

// Try runs sql bound to tenant (0 = none) and gives the number of rows it
// touched, or how it failed.
func (c *Conn) Try(tenant citygate.TenantID, sql string, args ...any) (rows int64, err error) {
	ctx := context.Background()
	err = pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		if err := bind(ctx, tx, tenant); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sql, args...)
		rows = tag.RowsAffected()
		return err
	})
	return rows, err
}

// Exec is [Conn.Try] for what must not fail.
func (c *Conn) Exec(tenant citygate.TenantID, sql string, args ...any) (rows int64) {
	c.t.Helper()
	rows, err := c.Try(tenant, sql, args...)
	if err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// Rows runs a query bound to tenant (0 = none) and gives its rows.
func (c *Conn) Rows(tenant citygate.TenantID, sql string, args ...any) (all [][]any) {
	c.t.Helper()
	ctx := context.Background()
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		if err := bind(ctx, tx, tenant); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
		return err
	})
	if err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
	return all
}

// Count runs a query of one number, such as SELECT count(*), bound to tenant.
func (c *Conn) Count(tenant citygate.TenantID, sql string, args ...any) int64 {
	c.t.Helper()
	rows := c.Rows(tenant, sql, args...)
	if len(rows) != 1 || len(rows[0]) != 1 {
		c.t.Fatalf("%s: want one number, got %v", sql, rows)
	}
	switch n := rows[0][0].(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	c.t.Fatalf("%s: want an integer, got %T (cast it to bigint)", sql, rows[0][0])
	return 0
}

func bind(ctx context.Context, tx pgx.Tx, tenant citygate.TenantID) error {
	if tenant == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL app.tenant_id = '%d'", int64(tenant)))
	return err
}
