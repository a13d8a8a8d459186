package edge_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/jackc/pgx/v5"
)

// policySeen is what the plan of a statement shows where the tenant policy holds it.
const policySeen = `current_setting('app.tenant_id'`

// tenantTables are the tables that tenants' rows lie in, from the catalog.
func (w *world) tenantTables() (names []string) {
	for _, row := range w.audit.Rows(0, `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`) {
		name, _ := row[0].(string)
		names = append(names, name)
	}
	return names
}

// A probe asks the database as the gateway's role does when a request of one
// tenant runs, past every statement of ours: it stands for any SQL.
type probe struct {
	w     *world
	conn  *pgx.Conn
	mine  citygate.TenantID
	other citygate.TenantID
}

func (w *world) probe(mine, other citygate.TenantID) *probe {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), pgtest.RoleURL(w.t, w.db, pglocal.App))
	w.must(err)
	w.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &probe{w, conn, mine, other}
}

// as runs a statement bound to a tenant and takes it back. It gives how many rows
// it touched, or its result where that is one number or text.
func (p *probe) as(tenant citygate.TenantID, sql string, args ...any) (n int64, text string, err error) {
	ctx := context.Background()
	tx, err := p.conn.Begin(ctx)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if tenant != 0 {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL app.tenant_id = '%d'", int64(tenant))); err != nil {
			return 0, "", err
		}
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return 0, "", err
	}
	for rows.Next() {
		if values, err := rows.Values(); err == nil && len(values) == 1 {
			switch v := values[0].(type) {
			case int64:
				n = v
			case string:
				text += v + "\n"
			}
		}
	}
	if rows.Err() == nil && !strings.HasPrefix(sql, "SELECT") && !strings.HasPrefix(sql, "EXPLAIN") {
		n = rows.CommandTag().RowsAffected()
	}
	return n, text, rows.Err()
}

// granted reports whether the gateway's role may do verb with table at all.
func (p *probe) granted(table, verb string) bool {
	_, yes, err := p.as(0, `SELECT (has_table_privilege('public.' || $1, $2) OR $2 <> 'DELETE' AND has_any_column_privilege('public.' || $1, $2))::text`, table, verb)
	p.w.must(err)
	return strings.HasPrefix(yes, "t")
}

// table gives what one tenant's transaction can see or do of another's rows in a
// table, and whether there were rows of the other to see.
func (p *probe) table(name string) (found []string, rows bool) {
	say := func(format string, args ...any) { found = append(found, name+": "+fmt.Sprintf(format, args...)) }
	count := func(tenant citygate.TenantID) int64 {
		return p.w.super.Count(0, `SELECT count(*) FROM public.`+name+` WHERE tenant_id = $1`, tenant)
	}
	theirs := count(p.other)
	if p.granted(name, "SELECT") {
		for _, tenant := range []citygate.TenantID{p.mine, 0} {
			if n, _, err := p.as(tenant, `SELECT count(*) FROM public.`+name+` WHERE tenant_id = $1`, p.other); err != nil || n != 0 {
				say("bound to %d it sees %d rows of %d, %v", tenant, n, p.other, err)
			}
		}
		if n, _, err := p.as(p.mine, `SELECT count(*) FROM public.`+name); err != nil || n != count(p.mine) {
			say("bound to %d it sees %d rows of its %d, %v", p.mine, n, count(p.mine), err)
		}
		if _, plan, err := p.as(p.mine, `EXPLAIN (COSTS OFF) SELECT * FROM public.`+name); err != nil || !strings.Contains(plan, policySeen) {
			say("a read is not held by the policy: %s%v", plan, err)
		}
	}
	if p.granted(name, "UPDATE") {
		column := p.w.super.Rows(0, `SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1
			AND has_column_privilege('citygate_app', 'public.' || $1, column_name, 'UPDATE') ORDER BY 1 LIMIT 1`, name)[0][0]
		if n, _, err := p.as(p.mine, fmt.Sprintf(`UPDATE public.%s SET %s = %s WHERE tenant_id = $1`, name, column, column), p.other); err != nil || n != 0 {
			say("it changes %d rows of %d, %v", n, p.other, err)
		}
	}
	if p.granted(name, "DELETE") {
		if n, _, err := p.as(p.mine, `DELETE FROM public.`+name+` WHERE tenant_id = $1`, p.other); err != nil || n != 0 {
			say("it removes %d rows of %d, %v", n, p.other, err)
		}
	}
	if p.granted(name, "INSERT") {
		_, _, err := p.as(p.mine, `INSERT INTO public.`+name+` (tenant_id) VALUES ($1)`, p.other)
		if pg.SQLState(err) != pg.StateInsufficientRights || !strings.Contains(err.Error(), "row-level security") {
			say("a row of %d is not refused by the policy: %v", p.other, err)
		}
	}
	if n := count(p.other); n != theirs {
		say("the probe changed something: %d rows of %d, %d before", n, p.other, theirs)
	}
	return found, theirs > 0
}

// Whatever SQL runs in a transaction of one tenant, it sees and changes rows of
// that tenant alone, in every table that the catalog has. It can fail: each table
// is reported whose policy is opened, dropped or switched off.
func (w *world) rows(t *testing.T, quiet, busy *party) {
	p := w.probe(quiet.id, busy.id)
	tables := w.tenantTables()
	var empty []string
	for _, name := range tables {
		found, rows := p.table(name)
		for _, f := range found {
			t.Error(f)
		}
		if !rows {
			empty = append(empty, name)
		}
		w.super.Exec(0, `CREATE POLICY opened ON public.`+name+` USING (true) WITH CHECK (true)`)
		if found, _ := p.table(name); len(found) == 0 && (p.granted(name, "SELECT") || p.granted(name, "INSERT")) {
			t.Errorf("%s: every row is open to everybody, and the probe does not see it", name)
		}
		w.super.Exec(0, `DROP POLICY opened ON public.`+name)
		w.withoutPolicy(t, p, name)
	}
	if len(tables) < 50 || len(empty) > len(tables)/2 {
		t.Errorf("%d of %d tables have no row of the other tenant: %v", len(empty), len(tables), empty)
	}
	if !slices.Contains(tables, "taps") {
		t.Error("the catalog has no taps")
	}
}

// withoutPolicy holds that the probe reports a table whose policy is dropped, or
// whose row-level security is switched off, and is content when it is put back.
func (w *world) withoutPolicy(t *testing.T, p *probe, name string) {
	t.Helper()
	if !p.granted(name, "SELECT") && !p.granted(name, "INSERT") {
		return // nothing of it is the gateway's to see
	}
	var drop, restore []string
	for _, row := range w.super.Rows(0, `SELECT polname::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy WHERE polrelid = ('public.' || $1)::regclass`, name) {
		drop = append(drop, fmt.Sprintf(`DROP POLICY %s ON public.%s`, row[0], name))
		made := fmt.Sprintf(`CREATE POLICY %s ON public.%s USING (%s)`, row[0], name, row[1])
		if check, ok := row[2].(string); ok {
			made += fmt.Sprintf(` WITH CHECK (%s)`, check)
		}
		restore = append(restore, made)
	}
	for what, ddl := range map[string][2][]string{
		"the policy dropped":              {drop, restore},
		"row-level security switched off": {{`ALTER TABLE public.` + name + ` DISABLE ROW LEVEL SECURITY`}, {`ALTER TABLE public.` + name + ` ENABLE ROW LEVEL SECURITY`}},
	} {
		for _, sql := range ddl[0] {
			w.super.Exec(0, sql)
		}
		found, _ := p.table(name)
		for _, sql := range ddl[1] {
			w.super.Exec(0, sql)
		}
		if len(found) == 0 || len(ddl[0]) == 0 {
			t.Errorf("%s: %s, and the probe does not see it", name, what)
		}
	}
	if found, _ := p.table(name); len(found) > 0 {
		t.Errorf("put back: %v", found)
	}
}
