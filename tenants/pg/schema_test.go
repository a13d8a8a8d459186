package pg_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/jackc/pgx/v5"
)

var update = flag.Bool("update", false, "write migrations/schema.sql anew")

// described are the tables of the dump: schema river is described by its own
// migration, and goose's table by goose.
const described = `
	SELECT c.oid, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relowner, c.reloptions,
		CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS name
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname IN ('public', 'platform') AND c.relkind IN ('r', 'p', 'v') AND c.relname <> 'goose_db_version'`

// dumpLines gives the schema as SQL, in an order of its own: table, part, number.
const dumpLines = `
	WITH t AS (` + described + `), line (name, part, n, text) AS (
		SELECT t.name, 1, 0, E'\nCREATE TABLE ' || name || ' (' FROM t WHERE t.relkind <> 'v' AND NOT t.relispartition
		UNION ALL
		SELECT t.name, 1, 0, E'\nCREATE TABLE ' || name || ' PARTITION OF ' || i.inhparent::regclass || ' ' || pg_get_expr(c.relpartbound, c.oid) || ';'
		FROM t JOIN pg_class c USING (oid) JOIN pg_inherits i ON i.inhrelid = oid WHERE t.relispartition
		UNION ALL
		SELECT t.name, 1, 0, E'\nCREATE VIEW ' || name || ' AS' || pg_get_viewdef(oid) FROM t WHERE t.relkind = 'v'
		UNION ALL
		SELECT t.name, 2, a.attnum, '    ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
			|| CASE WHEN a.attcollation <> y.typcollation THEN ' COLLATE ' || quote_ident(l.collname) ELSE '' END
			|| CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') || ','
		FROM t JOIN pg_attribute a ON a.attrelid = t.oid JOIN pg_type y ON y.oid = a.atttypid
		LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attnum > 0 AND NOT a.attisdropped AND t.relkind <> 'v' AND NOT t.relispartition
		UNION ALL
		SELECT t.name, 3, row_number() OVER (PARTITION BY t.name ORDER BY k.contype = 'p' DESC, k.conname),
			'    CONSTRAINT ' || k.conname || ' ' || pg_get_constraintdef(k.oid) || ','
		FROM t JOIN pg_constraint k ON k.conrelid = t.oid WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND NOT t.relispartition
		UNION ALL
		SELECT t.name, 4, 0, ')' || coalesce(' PARTITION BY ' || pg_get_partkeydef(t.oid), '')
			|| coalesce(' WITH (' || array_to_string(t.reloptions, ', ') || ')', '') || ';' FROM t WHERE t.relkind <> 'v' AND NOT t.relispartition
		UNION ALL
		SELECT t.name, 5, 0, 'COMMENT ON TABLE ' || name || ' IS ' || quote_literal(obj_description(oid, 'pg_class')) || ';'
		FROM t WHERE NOT t.relispartition AND obj_description(oid, 'pg_class') IS NOT NULL
		UNION ALL
		SELECT t.name, 6, a.attnum, 'COMMENT ON COLUMN ' || name || '.' || a.attname || ' IS ' || quote_literal(col_description(t.oid, a.attnum)) || ';'
		FROM t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT t.relispartition AND col_description(t.oid, a.attnum) IS NOT NULL
		UNION ALL
		SELECT t.name, 7, row_number() OVER (PARTITION BY t.name ORDER BY x.relname), replace(pg_get_indexdef(x.oid), ' public.', ' ') || ';'
		FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class x ON x.oid = i.indexrelid
		WHERE NOT t.relispartition AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = t.oid)
		UNION ALL
		SELECT t.name, 8, 0, 'ALTER TABLE ' || name || ' ENABLE ROW LEVEL SECURITY;' FROM t WHERE t.relrowsecurity AND NOT t.relispartition
		UNION ALL
		SELECT t.name, 9, 0, 'ALTER TABLE ' || name || ' FORCE ROW LEVEL SECURITY;' FROM t WHERE t.relforcerowsecurity AND NOT t.relispartition
		UNION ALL
		SELECT t.name, 10, 0, 'CREATE POLICY ' || p.polname || ' ON ' || name || E'\n    USING ' || pg_get_expr(p.polqual, p.polrelid)
			|| E'\n    WITH CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid) || ';'
		FROM t JOIN pg_policy p ON p.polrelid = t.oid WHERE NOT t.relispartition
		UNION ALL
		SELECT t.name, 11, row_number() OVER (PARTITION BY t.name ORDER BY g.grantee::regrole::text),
			'GRANT ' || string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type) || ' ON ' || name || ' TO ' || g.grantee::regrole || ';'
		FROM t, LATERAL aclexplode(t.relacl) AS g WHERE g.grantee <> t.relowner GROUP BY t.name, g.grantee
		UNION ALL
		SELECT t.name, 12, row_number() OVER (PARTITION BY t.name ORDER BY g.grantee::regrole::text, g.privilege_type),
			'GRANT ' || g.privilege_type || ' (' || string_agg(a.attname, ', ' ORDER BY a.attnum) || ') ON ' || name || ' TO ' || g.grantee::regrole || ';'
		FROM t JOIN pg_attribute a ON a.attrelid = t.oid, LATERAL aclexplode(a.attacl) AS g GROUP BY t.name, g.grantee, g.privilege_type
		UNION ALL
		SELECT p.proname, 20, 0, E'\n' || pg_get_functiondef(p.oid) || ';' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname IN ('public', 'platform')
	)
	SELECT text FROM line ORDER BY part = 20, name, part, n`

const dumpHeader = `-- The schema that the migrations add up to, for readers. Not run by anything:
-- the migrations are. Written by
--   go test ./tenants/pg -run TestSchemaDumpIsUpToDate -update
-- Roles come from deploy/roles.sql, schema river from its own migration.

CREATE SCHEMA platform;
`

func dump(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	rows, err := conn.Query(context.Background(), dumpLines)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.Join(lines, "\n"), ",\n)", "\n)")
	return dumpHeader + text + "\n"
}

// TestSchemaDumpIsUpToDate holds migrations/schema.sql to what the migrations
// make, so that a review sees the schema change and not only the steps to it.
func TestSchemaDumpIsUpToDate(t *testing.T) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.NewURL(t, pglocal.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	got := dump(t, conn)
	file := filepath.Join("..", "..", "migrations", "schema.sql")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if line, differs := firstDifference(got, string(want)); differs {
		t.Errorf("schema.sql is not what the migrations make; the first difference:\n%s\nrun: go test ./tenants/pg -run TestSchemaDumpIsUpToDate -update", line)
	}
}

func firstDifference(got, want string) (line string, differs bool) {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			return "only in the file: " + w[i], true
		case i >= len(w):
			return "only in the database: " + g[i], true
		case g[i] != w[i]:
			return "in the database: " + g[i] + "\nin the file:     " + w[i], true
		}
	}
	return "", false
}
