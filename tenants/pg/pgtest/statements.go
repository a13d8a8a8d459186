package pgtest

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// Statements are held to rules that the database itself does not hold: a
// statement that is right on one server is also right when tables are
// distributed over several by tenant.
var (
	tableRef    = regexp.MustCompile(`(?i)\b(?:from|join|into|update|using)\s+(?:only\s+)?(?:public\.)?([a-z_][a-z0-9_]*)`)
	tenantID    = regexp.MustCompile(`(?i)\btenant_id\b`)
	asksTime    = regexp.MustCompile(`(?i)\bnow\(\)|\bcurrent_(timestamp|date|time)\b|\b(clock|statement|transaction)_timestamp\(\)|\blocaltime`)
	bulkInsert  = regexp.MustCompile(`(?is)\binsert\s+into\b.*\bunnest\s*\(`)
	inTwoSteps  = regexp.MustCompile(`(?i)\bon\s+conflict\b|\breturning\b`) // else a distributed database makes COPY of it, which row-level security refuses
	sqlComment  = regexp.MustCompile(`--[^\n]*`)
	sqlLiterals = regexp.MustCompile(`'(?:[^']|'')*'`)
)

// broken gives the rule that sql breaks, "" if none. isTenantTable tells tenant
// tables from others.
func broken(sql string, isTenantTable func(string) bool) string {
	text := sqlLiterals.ReplaceAllString(sqlComment.ReplaceAllString(sql, " "), "''")
	refs := 0
	for _, m := range tableRef.FindAllStringSubmatch(text, -1) {
		if isTenantTable(strings.ToLower(m[1])) {
			refs++
		}
	}
	switch named := len(tenantID.FindAllString(text, -1)); {
	case named < refs:
		return fmt.Sprintf("names tenant_id %d times for %d uses of tenant tables", named, refs)
	case asksTime.MatchString(text):
		return "takes the time from the database"
	case refs > 0 && bulkInsert.MatchString(text) && !inTwoSteps.MatchString(text):
		return "is a bulk insert without ON CONFLICT or RETURNING"
	}
	return ""
}

var (
	tablesMu sync.Mutex
	tables   map[string]bool // the tenant tables; every database of a process has the same
)

func tenantTables(d *database) (map[string]bool, error) {
	tablesMu.Lock()
	defer tablesMu.Unlock()
	if tables != nil {
		return tables, nil
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, d.url(pglocal.Superuser))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	tables = make(map[string]bool, len(names))
	for _, n := range names {
		tables[n] = true
	}
	return tables, nil
}

// holdStatements fails t for every statement that breaks a rule, and at its end
// for every one whose plan reads more than one tenant.
func holdStatements(t testing.TB, d *database) func(sql string) {
	t.Helper()
	tables, err := tenantTables(d)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	var seen sync.Map
	var plans planCheck
	t.Cleanup(func() { plans.run(t, d, func(name string) bool { return tables[name] }) })
	return func(sql string) {
		plans.add(sql)
		if _, again := seen.LoadOrStore(sql, true); again {
			return
		}
		if rule := broken(sql, func(name string) bool { return tables[name] }); rule != "" {
			t.Errorf("pgtest: a statement %s:\n%s", rule, sql)
		}
	}
}
