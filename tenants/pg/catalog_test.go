package pg_test

import (
	"context"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/migrations"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/jackc/pgx/v5"
)

// policyForm is the one form in which PostgreSQL prints the tenant policy.
const policyForm = `(tenant_id = (NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))::bigint)`

// ours are the tables the rules are about: tenant tables, in schema public. River's
// schema and goose's table are others' work.
const ours = `
	SELECT c.oid, c.relname::text AS name, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relowner
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND c.relname <> 'goose_db_version'`

// A rule finds what breaks it: finds gives one row of text per offence. Each
// rule is shown to go red on the DDL of breaks, whose offender is named bad.
type rule struct {
	name   string
	finds  string
	breaks []string
}

// newTable is a table that breaks no rule.
const newTable = `
	CREATE TABLE bad (tenant_id bigint NOT NULL, n int NOT NULL, other int, PRIMARY KEY (tenant_id, n));
	COMMENT ON TABLE bad IS 'For a test.';
	ALTER TABLE bad ENABLE ROW LEVEL SECURITY; ALTER TABLE bad FORCE ROW LEVEL SECURITY;
	CREATE POLICY tenant ON bad USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
		WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
	GRANT SELECT, INSERT ON bad TO citygate_app;`

var catalogRules = []rule{
	{
		"L1: tenant_id leads the primary key, every index and every foreign key",
		`WITH ours AS (` + ours + `), tenant_col AS (
			SELECT a.attrelid, a.attnum FROM pg_attribute a WHERE a.attname = 'tenant_id' AND NOT a.attisdropped)
		SELECT name || ': no tenant_id NOT NULL' FROM ours WHERE NOT EXISTS (
			SELECT FROM pg_attribute a WHERE a.attrelid = ours.oid AND a.attname = 'tenant_id' AND a.attnotnull)
		UNION ALL
		SELECT name || ': no primary key' FROM ours WHERE NOT EXISTS (
			SELECT FROM pg_constraint k WHERE k.conrelid = ours.oid AND k.contype = 'p')
		UNION ALL
		SELECT name || ': index ' || i.indexrelid::regclass FROM ours JOIN pg_index i ON i.indrelid = ours.oid
		WHERE NOT EXISTS (SELECT FROM tenant_col t WHERE t.attrelid = ours.oid AND t.attnum = i.indkey[0])
		UNION ALL
		SELECT name || ': foreign key ' || k.conname FROM ours JOIN pg_constraint k ON k.conrelid = ours.oid AND k.contype = 'f'
		WHERE NOT EXISTS (SELECT FROM tenant_col t WHERE t.attrelid = k.conrelid AND t.attnum = k.conkey[1])
		   OR NOT EXISTS (SELECT FROM tenant_col t WHERE t.attrelid = k.confrelid AND t.attnum = k.confkey[1])`,
		[]string{
			`CREATE TABLE bad (tenant_id bigint, n int PRIMARY KEY)`,
			newTable + `CREATE INDEX bad_other ON bad (other)`,
			newTable + `ALTER TABLE bad ADD UNIQUE (other)`,
			newTable + `ALTER TABLE bad ADD FOREIGN KEY (n, tenant_id) REFERENCES bad (n, tenant_id)`,
			`CREATE TABLE bad (tenant_id bigint NOT NULL)`,
		},
	},
	{
		"L2: a table without tenant_id refers to no tenant table",
		`SELECT k.conrelid::regclass || ': foreign key ' || k.conname FROM pg_constraint k
		JOIN pg_class f ON f.oid = k.conrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
		JOIN pg_class t ON t.oid = k.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
		WHERE k.contype = 'f' AND fn.nspname IN ('public', 'platform') AND tn.nspname = 'public'
		  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = f.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)`,
		[]string{`CREATE TABLE bad (owner bigint, entry uuid, PRIMARY KEY (owner), FOREIGN KEY (owner, entry) REFERENCES audit_log (tenant_id, entry_id))`},
	},
	{
		"L3: row-level security is on and forced, by one policy of the one form for everybody",
		`WITH ours AS (` + ours + `)
		SELECT name || ': row-level security not on and forced' FROM ours
		WHERE NOT relispartition AND NOT (relrowsecurity AND relforcerowsecurity)
		UNION ALL
		SELECT name || ': ' || count(p.oid) || ' policies' FROM ours LEFT JOIN pg_policy p ON p.polrelid = ours.oid
		WHERE NOT relispartition GROUP BY name HAVING count(p.oid) <> 1
		UNION ALL
		SELECT name || ': policy ' || p.polname FROM ours JOIN pg_policy p ON p.polrelid = ours.oid
		WHERE NOT (p.polpermissive AND p.polcmd = '*' AND p.polroles = '{0}'
		  AND pg_get_expr(p.polqual, p.polrelid) = '` + policyForm + `'
		  AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid) = '` + policyForm + `', false))`,
		[]string{
			newTable + `ALTER TABLE bad NO FORCE ROW LEVEL SECURITY`,
			newTable + `ALTER TABLE bad DISABLE ROW LEVEL SECURITY`,
			newTable + `CREATE POLICY everything ON bad USING (true)`,
			newTable + `DROP POLICY tenant ON bad; CREATE POLICY tenant ON bad USING (tenant_id = current_setting('app.tenant_id')::bigint)`,
			newTable + `DROP POLICY tenant ON bad; CREATE POLICY tenant ON bad TO citygate_app
				USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
				WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)`,
		},
	},
	{
		"L4: the gateway's and the workers' roles own nothing, bypass nothing, truncate nothing",
		`WITH bound AS (SELECT oid, rolname FROM pg_roles WHERE rolname IN ('citygate_app', 'citygate_jobs'))
		SELECT rolname || ' is ' || what FROM bound JOIN pg_roles USING (rolname),
			LATERAL (VALUES ('a superuser', rolsuper), ('BYPASSRLS', rolbypassrls), ('CREATEROLE', rolcreaterole)) AS v (what, so) WHERE so
		UNION ALL
		SELECT c.relname || ': belongs to ' || rolname FROM pg_class c JOIN bound ON pg_has_role(bound.oid, c.relowner, 'MEMBER')
		UNION ALL
		SELECT c.relname || ': ' || privilege || ' for ' || rolname FROM bound, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
			unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
		WHERE n.nspname IN ('public', 'platform', 'river') AND c.relkind IN ('r', 'p', 'v', 'm')
		  AND has_table_privilege(bound.oid, c.oid, privilege)`,
		[]string{
			newTable + `GRANT TRUNCATE ON bad TO citygate_app`,
			newTable + `GRANT REFERENCES ON bad TO PUBLIC`,
			newTable + `ALTER TABLE bad OWNER TO citygate_app`,
		},
	},
	{
		"L5: partitions carry no grants of their own, and nothing is granted in advance",
		`WITH ours AS (` + ours + `)
		SELECT name || ': grant to ' || coalesce(nullif(g.grantee, 0)::regrole::text, 'PUBLIC')
		FROM ours, LATERAL aclexplode(relacl) AS g WHERE relispartition AND g.grantee <> relowner
		UNION ALL
		SELECT 'default privileges: ' || coalesce(d.defaclnamespace::regnamespace::text, '') FROM pg_default_acl d`,
		[]string{
			`CREATE TABLE whole (tenant_id bigint NOT NULL, n int NOT NULL, PRIMARY KEY (tenant_id, n)) PARTITION BY RANGE (n);
			CREATE TABLE bad PARTITION OF whole DEFAULT; GRANT SELECT ON bad TO citygate_app`,
			`ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO citygate_app`,
		},
	},
	{
		"L6: a view asks with the rights of its reader; no materialized view",
		`SELECT c.relname || ': ' || CASE c.relkind WHEN 'v' THEN 'view without security_invoker' ELSE 'materialized view' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('public', 'platform') AND (c.relkind = 'm' OR c.relkind = 'v'
		  AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false))`,
		[]string{
			`CREATE VIEW bad AS SELECT * FROM audit_log`,
			`CREATE MATERIALIZED VIEW bad AS SELECT * FROM audit_log`,
		},
	},
	{
		"L7: no function runs with its owner's rights",
		`SELECT p.proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname IN ('public', 'platform', 'river') AND p.prosecdef`,
		[]string{`CREATE FUNCTION bad() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM audit_log'`},
	},
	{
		"L8: columns are of leakproof, exact types",
		`WITH ours AS (` + ours + `)
		SELECT name || '.' || a.attname || ': ' || format_type(t.oid, NULL) FROM ours JOIN pg_attribute a ON a.attrelid = ours.oid
		JOIN pg_type t ON t.oid = a.atttypid
		WHERE a.attnum > 0 AND NOT a.attisdropped AND (t.typtype = 'e' OR t.typname IN ('numeric', 'money', 'float4', 'float8'))`,
		[]string{
			newTable + `ALTER TABLE bad ADD amount numeric`,
			newTable + `ALTER TABLE bad ADD amount double precision`,
			newTable + `CREATE TYPE mood AS ENUM ('good'); ALTER TABLE bad ADD m mood`,
		},
	},
	{
		"L9: no sequences",
		`SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('public', 'platform') AND c.relkind = 'S' AND c.relname <> 'goose_db_version_id_seq'`,
		[]string{
			newTable + `ALTER TABLE bad ADD id bigserial`,
			newTable + `ALTER TABLE bad ADD id bigint GENERATED ALWAYS AS IDENTITY`,
		},
	},
	{
		"L10: no rules, no partitions of partitions, no triggers",
		`SELECT c.relname || ': rule ' || r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'platform') AND r.rulename <> '_RETURN'
		UNION ALL
		SELECT c.relname || ': partition with partitions' FROM pg_class c WHERE c.relkind = 'p' AND c.relispartition
		UNION ALL
		SELECT c.relname || ': trigger ' || g.tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'platform') AND NOT g.tgisinternal`,
		[]string{
			newTable + `CREATE RULE quiet AS ON DELETE TO bad DO INSTEAD NOTHING`,
			`CREATE TABLE whole (tenant_id bigint, n int) PARTITION BY RANGE (n);
			CREATE TABLE bad PARTITION OF whole DEFAULT PARTITION BY RANGE (n)`,
			newTable + `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER t BEFORE INSERT ON bad FOR EACH ROW EXECUTE FUNCTION f()`,
		},
	},
	{
		"L11: no function locks by advice or notifies",
		`SELECT p.proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname IN ('public', 'platform') AND p.prosrc ~* 'pg_(try_)?advisory|pg_notify|\mlisten\M|\mnotify\M'`,
		[]string{`CREATE FUNCTION bad() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(1)'`},
	},
	{
		"L12: no deferrable constraints",
		`SELECT k.conrelid::regclass || ': ' || k.conname FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
		WHERE n.nspname IN ('public', 'platform') AND k.condeferrable`,
		[]string{newTable + `ALTER TABLE bad ADD UNIQUE (tenant_id, other) DEFERRABLE`},
	},
	{
		"L16: tenant_id is a bigint that is neither changed nor given again",
		`SELECT c.relname || '.tenant_id: ' || format_type(a.atttypid, NULL) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('public', 'platform') AND c.relkind IN ('r', 'p') AND a.attname = 'tenant_id' AND NOT a.attisdropped
		  AND a.atttypid <> 'bigint'::regtype
		UNION ALL
		SELECT 'platform.tenants: ' || what FROM (VALUES
			('DELETE', has_table_privilege('citygate_app', 'platform.tenants', 'DELETE')),
			('UPDATE of tenant_id', has_column_privilege('citygate_app', 'platform.tenants', 'tenant_id', 'UPDATE')),
			('UPDATE of mode', has_column_privilege('citygate_app', 'platform.tenants', 'mode', 'UPDATE'))) AS v (what, so) WHERE so`,
		[]string{
			`CREATE TABLE bad (tenant_id int NOT NULL, n int, PRIMARY KEY (tenant_id, n))`,
			`GRANT DELETE ON platform.tenants TO citygate_app`,
			`GRANT UPDATE ON platform.tenants TO citygate_app`,
		},
	},
	{
		"no column takes the time from the database",
		`SELECT d.adrelid::regclass || '.' || a.attname FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		JOIN pg_class c ON c.oid = d.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('public', 'platform') AND c.relname <> 'goose_db_version'
		  AND pg_get_expr(d.adbin, d.adrelid) ~* 'now\(\)|current_|clock_timestamp|localtime|statement_timestamp'`,
		[]string{newTable + `ALTER TABLE bad ADD at timestamptz DEFAULT now()`},
	},
	{
		"every table says what it is for",
		`WITH ours AS (` + ours + `) SELECT name FROM ours WHERE NOT relispartition AND obj_description(oid, 'pg_class') IS NULL`,
		[]string{newTable + `COMMENT ON TABLE bad IS NULL`},
	},
}

// TestCatalogRules reads the rules of the schema back from a migrated database,
// so that a table which forgets one fails here and not in production.
func TestCatalogRules(t *testing.T) {
	conn := superuser(t)
	for _, r := range catalogRules {
		t.Run(r.name, func(t *testing.T) {
			for _, offence := range offences(t, conn, r) {
				t.Error(offence)
			}
			for _, ddl := range r.breaks {
				breaks(t, conn, r, ddl)
			}
		})
	}
}

// breaks shows that the rule sees the offence that ddl commits.
func breaks(t *testing.T, conn *pgx.Conn, r rule, ddl string) {
	t.Helper()
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	before := len(offences(t, conn, r))
	if _, err := tx.Exec(ctx, ddl); err != nil {
		t.Fatalf("%s: %v", ddl, err)
	}
	if after := offences(t, conn, r); len(after) == before {
		t.Errorf("the rule does not see the offence of:\n%s", ddl)
	}
}

func offences(t *testing.T, conn *pgx.Conn, r rule) []string {
	t.Helper()
	rows, err := conn.Query(context.Background(), r.finds)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func superuser(t *testing.T) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.NewURL(t, pglocal.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	return conn
}

// The rules that only the text of a migration shows.
var migrationRules = []struct {
	name   string
	banned *regexp.Regexp
	breaks string
}{
	{"L5: no GRANT ... ON ALL TABLES", regexp.MustCompile(`(?i)\bon\s+all\s+(tables|sequences|functions)\b`), "GRANT SELECT ON ALL TABLES IN SCHEMA public TO citygate_app"},
	{"L11: no advisory locks", regexp.MustCompile(`(?i)pg_(try_)?advisory`), "SELECT pg_advisory_lock(1)"},
	{"nothing is granted to everybody", regexp.MustCompile(`(?i)\bgrant\b[^;]*\bto\s+public\b`), "GRANT SELECT ON taps TO PUBLIC"},
}

func TestMigrationRules(t *testing.T) {
	for _, r := range migrationRules {
		if !r.banned.MatchString(r.breaks) {
			t.Errorf("%s: does not see %q", r.name, r.breaks)
		}
	}
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d migration files, %v", len(files), err)
	}
	for _, name := range files {
		raw, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		var sql strings.Builder
		for line := range strings.Lines(string(raw)) {
			line, _, _ = strings.Cut(line, "--")
			sql.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
		for _, r := range migrationRules {
			if hit := r.banned.FindString(sql.String()); hit != "" {
				t.Errorf("%s: %s: %q", name, r.name, hit)
			}
		}
	}
}
