package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// What a statement says of tenants is read where PostgreSQL has understood it: in
// its plan. Every scan of a tenant table must ask for one tenant by itself,
// whatever row-level security would add; a word in the text may stand anywhere.
// Plans are made as the superuser, who is above that security, and for any
// parameters.

// oneTenant is a condition that holds a scan to one tenant.
var oneTenant = regexp.MustCompile(`^\(*(?:[a-z0-9_]+\.)?tenant_id = \(*(?:\$\d+|'?\d+)`)

// holds reports whether a condition, as EXPLAIN writes it, holds to one tenant
// whatever else it asks for.
func holds(condition string) bool {
	var parts []string // of the outermost AND
	depth, begin := 0, 1
	for i := range len(condition) {
		switch condition[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		switch {
		case depth == 1 && strings.HasPrefix(condition[i:], " OR "):
			return false
		case depth == 1 && strings.HasPrefix(condition[i:], " AND "):
			parts = append(parts, condition[begin:i])
			begin = i + len(" AND ")
		}
	}
	if begin < len(condition) {
		parts = append(parts, condition[begin:])
	}
	return slices.ContainsFunc(parts, oneTenant.MatchString)
}

// A planNode is what EXPLAIN says of one step.
type planNode struct {
	Type     string     `json:"Node Type"`
	Schema   string     `json:"Schema"`
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Cond"`
	Filter   string     `json:"Filter"`
	Recheck  string     `json:"Recheck Cond"`
	Plans    []planNode `json:"Plans"`
}

// everyTenant lists the tenant tables that a plan reads without naming a tenant.
func (n *planNode) everyTenant(isTenantTable func(string) bool) (tables []string) {
	if n.Type != "ModifyTable" && n.Schema == "public" && isTenantTable(n.Relation) &&
		!holds(n.Index) && !holds(n.Filter) && !holds(n.Recheck) {
		tables = append(tables, n.Relation)
	}
	for i := range n.Plans {
		tables = append(tables, n.Plans[i].everyTenant(isTenantTable)...)
	}
	return tables
}

// planned are the statements that this process has looked at.
var planned sync.Map

// A planCheck collects the statements of one database and looks at their plans
// when its test ends.
type planCheck struct {
	mu   sync.Mutex
	todo []string
}

func (c *planCheck) add(sql string) {
	if _, again := planned.LoadOrStore(sql, true); again {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.todo = append(c.todo, sql)
}

// run fails t for every statement whose plan reads more than one tenant.
func (c *planCheck) run(t testing.TB, d *database, isTenantTable func(string) bool) {
	t.Helper()
	c.mu.Lock()
	todo := slices.Clone(c.todo)
	c.mu.Unlock()
	if len(todo) == 0 {
		return
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, d.url(pglocal.Superuser))
	if err != nil {
		t.Errorf("pgtest: %v", err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range todo {
		tables, err := readsEveryTenant(ctx, conn, sql, isTenantTable)
		if err != nil {
			t.Errorf("pgtest: %v:\n%s", err, sql)
		}
		if len(tables) > 0 {
			t.Errorf("pgtest: a statement reads every tenant's %s:\n%s", strings.Join(tables, ", "), sql)
		}
	}
}

// readsEveryTenant gives the tenant tables that sql reads without naming a
// tenant. A statement that has no plan, or that PostgreSQL refuses (its test did
// it on purpose), reads none.
func readsEveryTenant(ctx context.Context, conn *pgx.Conn, sql string, isTenantTable func(string) bool) ([]string, error) {
	simple := func(sql string) ([][]byte, error) {
		results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		var rows [][]byte
		for _, r := range results {
			for _, row := range r.Rows {
				rows = append(rows, row[0])
			}
		}
		return rows, err
	}
	if _, err := simple("DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan; PREPARE held AS " + sql); err != nil {
		return nil, nil //nolint:nilerr // it cannot be planned: see above
	}
	count, err := simple(`SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'held'`)
	if err != nil {
		return nil, err
	}
	var parameters int
	if _, err := fmt.Sscan(string(count[0]), &parameters); err != nil {
		return nil, err
	}
	nulls := ""
	if parameters > 0 {
		nulls = "(" + strings.TrimSuffix(strings.Repeat("NULL,", parameters), ",") + ")"
	}
	raw, err := simple("EXPLAIN (FORMAT JSON, VERBOSE, COSTS OFF) EXECUTE held" + nulls)
	if err != nil {
		return nil, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(raw[0], &plans); err != nil {
		return nil, err
	}
	var tables []string
	for i := range plans {
		tables = append(tables, plans[i].Plan.everyTenant(isTenantTable)...)
	}
	return tables, nil
}

// A planCost is what EXPLAIN ANALYZE says that one step did.
type planCost struct {
	Rows     float64    `json:"Actual Rows"` // of each run, as an average
	Loops    float64    `json:"Actual Loops"`
	Filtered float64    `json:"Rows Removed by Filter"`
	Joined   float64    `json:"Rows Removed by Join Filter"`
	Checked  float64    `json:"Rows Removed by Index Recheck"`
	Plans    []planCost `json:"Plans"`
}

func (c *planCost) rows() float64 {
	n := (c.Rows + c.Filtered + c.Joined + c.Checked) * c.Loops
	for i := range c.Plans {
		n += c.Plans[i].rows()
	}
	return n
}

// Touched runs sql bound to tenant and gives how many rows its steps looked at,
// those they dropped included: what a statement costs, on any machine. Whatever
// sql changes is taken back.
func (c *Conn) Touched(tenant citygate.TenantID, sql string, args ...any) int64 {
	c.t.Helper()
	ctx := context.Background()
	var raw []byte
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		if err := bind(ctx, tx, tenant); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+sql, args...).Scan(&raw); err != nil {
			return err
		}
		return errTakeBack
	})
	if !errors.Is(err, errTakeBack) {
		c.t.Fatalf("%s: %v", sql, err)
	}
	var plans []struct{ Plan planCost }
	if err := json.Unmarshal(raw, &plans); err != nil || len(plans) != 1 {
		c.t.Fatalf("%s: %v", raw, err)
	}
	return int64(plans[0].Plan.rows())
}

var errTakeBack = errors.New("taken back")
