package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// description lists everything in a schema whose form matters, one line each,
// without the schema's name.
const description = `
	SELECT replace(line, $1::text || '.', '') FROM (
		SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull
			|| ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-') || ' ' || c.relpersistence::text AS line
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT 'constraint ' || k.conrelid::regclass || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.connamespace = $1::text::regnamespace
		UNION ALL
		SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = $1::text
		UNION ALL
		SELECT 'enum ' || t.typname || ' ' || string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder)
		FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid WHERE t.typnamespace = $1::text::regnamespace GROUP BY t.typname
		UNION ALL
		SELECT 'function ' || p.proname || ' ' || p.provolatile::text || ' ' || regexp_replace(p.prosrc, '\s+', ' ', 'g') FROM pg_proc p WHERE p.pronamespace = $1::text::regnamespace
		UNION ALL
		SELECT 'trigger ' || tgname || ' ON ' || c.relname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = $1::text::regnamespace AND NOT tgisinternal
		UNION ALL
		SELECT 'version ' || $1::text || '.' || line || ' ' || version FROM river.river_migration WHERE $1::text = 'river'
		UNION ALL
		SELECT 'version ' || $1::text || '.' || line || ' ' || version FROM ours.river_migration WHERE $1::text = 'ours'
	) AS lines ORDER BY 1`

// Our migration makes what River's own migrations make, to the last index. When
// a new River brings a migration this test says what to add.
func TestOurTablesAreRivers(t *testing.T) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, pgtest.NewURL(t, pglocal.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, `ALTER SCHEMA river RENAME TO ours; CREATE SCHEMA river`); err != nil {
		t.Fatal(err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: "river", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	describe := func(schema string) []string {
		rows, err := pool.Query(ctx, description, schema)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for i := range lines { // River built its migration table twice, and PostgreSQL numbers the second key
			lines[i] = strings.Replace(lines[i], "river_migration_pkey1", "river_migration_pkey", 1)
		}
		slices.Sort(lines)
		return lines
	}
	theirs, ours := describe("river"), describe("ours")
	if len(theirs) < 40 {
		t.Fatalf("River's own schema has %d lines only:\n%s", len(theirs), strings.Join(theirs, "\n"))
	}
	for _, line := range theirs {
		if !slices.Contains(ours, line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range ours {
		if !slices.Contains(theirs, line) {
			t.Errorf("too much: %s", line)
		}
	}
}

// A queue whose tables are of another release is not worked.
func TestAnotherSchemaVersionIsRefused(t *testing.T) {
	db := pgtest.New(t)
	pgtest.Owner(t, db).Exec(0, `DELETE FROM river.river_migration WHERE version = 8`)
	_, err := jobs.New(t.Context(), jobs.Config{URL: pgtest.RoleURL(t, db, pglocal.Jobs)})
	if !errors.Is(err, jobs.ErrSchema) {
		t.Errorf("%v, want ErrSchema", err)
	}
}
