package pgtest_test

import (
	"context"
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// Two databases of one test share nothing, and the owner reaches into both.
func TestDatabasesAreSeparate(t *testing.T) {
	ctx := context.Background()
	one, two := pgtest.New(t), pgtest.New(t)
	err := one.InTenant(ctx, 7, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: "system:test", Verb: "test.run", Object: "x"})
	})
	if err != nil {
		t.Fatal(err)
	}
	const count = `SELECT count(*) FROM audit_log WHERE tenant_id = 7`
	if n := pgtest.Owner(t, one).Count(7, count); n != 1 {
		t.Errorf("the database that was written to has %d rows, want 1", n)
	}
	if n := pgtest.Owner(t, two).Count(7, count); n != 0 {
		t.Errorf("the other database has %d rows, want 0", n)
	}
}

// What the gateway may only add, the owner may change: tamper tests rely on it.
func TestOwnerChangesWhatTheGatewayMayNot(t *testing.T) {
	ctx := context.Background()
	db := pgtest.New(t)
	audit := func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: "system:test", Verb: "test.run", Object: "x"})
	}
	if err := db.InTenant(ctx, 7, audit); err != nil {
		t.Fatal(err)
	}
	const tamper = `UPDATE audit_log SET actor = 'user:mallory' WHERE tenant_id = 7`
	err := db.InTenant(ctx, 7, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, tamper)
		return err
	})
	if pg.SQLState(err) != pg.StateInsufficientRights {
		t.Errorf("the gateway's UPDATE: %v, want SQLSTATE 42501", err)
	}
	if n := pgtest.Owner(t, db).Exec(7, tamper); n != 1 {
		t.Errorf("the owner changed %d rows, want 1", n)
	}
}
