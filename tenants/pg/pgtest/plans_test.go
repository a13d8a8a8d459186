package pgtest

import (
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// Each of these has as many words "tenant_id" as tables, or more: only the plan
// tells those that read one tenant from those that read all.
func TestPlansTellWhoReadsEveryTenant(t *testing.T) {
	d := create(t)
	conn, err := pgx.Connect(t.Context(), d.url(pglocal.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	tables, err := tenantTables(d)
	if err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		`SELECT seq FROM taps WHERE tenant_id = $1 AND terminal = $2`:                                                                  "",
		`SELECT amount FROM charges WHERE tenant_id = 7`:                                                                               "",
		`SELECT tenant_id FROM charges WHERE our_id = $1`:                                                                              "charges",
		`SELECT count(*) FROM charges GROUP BY tenant_id`:                                                                              "charges",
		`SELECT amount FROM charges WHERE tenant_id = $1 OR amount > 5`:                                                                "charges",
		`SELECT 1 FROM charges WHERE passed AND tenant_id = $1 AND (released OR amount > 5)`:                                           "",
		`SELECT 1 FROM charges WHERE NOT (passed AND tenant_id = $1)`:                                                                  "charges",
		`SELECT amount FROM charges WHERE tenant_id > $1`:                                                                              "charges",
		`SELECT c.amount FROM charges c JOIN refunds r ON r.tenant_id = c.tenant_id AND r.charge_id = c.charge_id`:                     "charges, refunds",
		`SELECT c.amount FROM charges c JOIN refunds r USING (tenant_id, charge_id) WHERE c.tenant_id = $1`:                            "",
		`SELECT c.amount FROM charges c LEFT JOIN refunds r ON r.charge_id = c.charge_id WHERE c.tenant_id = $1 AND $1 <> 0`:           "refunds",
		`UPDATE charges SET fee = 0 WHERE our_id = $1 RETURNING tenant_id`:                                                             "charges",
		`DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key IN (SELECT key FROM idempotency_keys WHERE created_at < $2)`:        "idempotency_keys",
		`INSERT INTO idempotency_keys (tenant_id, key, route, request_hash, state, created_at) VALUES ($1, '', '', '', '', $2)`:        "",
		`SELECT EXISTS (SELECT FROM debts d WHERE d.account_id = $2 AND tenant_id IS NOT NULL) FROM accounts a WHERE tenant_id = $1`:   "debts",
		`WITH all_of_them AS MATERIALIZED (SELECT tenant_id, amount FROM charges) SELECT amount FROM all_of_them WHERE tenant_id = $1`: "charges",
		`SELECT slug FROM platform.tenants WHERE tenant_id > $1`:                                                                       "",
		`LOCK TABLE charges`:          "",
		`SELECT nothing FROM nowhere`: "",
	} {
		got, err := readsEveryTenant(t.Context(), conn, sql, func(name string) bool { return tables[name] })
		if err != nil || strings.Join(sortedSet(got), ", ") != want {
			t.Errorf("%s\nreads every tenant's %v, want %q; %v", sql, got, want, err)
		}
	}
}

func sortedSet(names []string) (set []string) {
	for _, n := range []string{"accounts", "charges", "debts", "idempotency_keys", "refunds", "taps"} {
		for _, name := range names {
			if name == n || strings.HasPrefix(name, n+"_") {
				set = append(set, n)
				break
			}
		}
	}
	return set
}

// The cost of a statement counts the rows that were looked at in vain, and asking
// for it changes nothing.
func TestTouchedCountsWhatWasLookedAt(t *testing.T) {
	db := New(t)
	owner := Owner(t, db)
	owner.Exec(1, `INSERT INTO idempotency_keys (tenant_id, key, route, request_hash, state, created_at)
		SELECT 1, n::text, '', '', 'running', $1 FROM generate_series(1, 200) AS n`, Epoch)
	if got := owner.Touched(1, `SELECT FROM idempotency_keys WHERE tenant_id = 1 AND key = $1`, "7"); got > 5 {
		t.Errorf("one key touched %d rows", got)
	}
	if got := owner.Touched(1, `SELECT FROM idempotency_keys a JOIN idempotency_keys b ON a.key || 'x' > b.key AND a.route = b.state`); got < 200*200 {
		t.Errorf("all with all touched %d rows", got)
	}
	if got := owner.Touched(1, `DELETE FROM idempotency_keys WHERE tenant_id = 1`); got < 200 {
		t.Errorf("all touched %d rows", got)
	}
	if n := owner.Count(1, `SELECT count(*) FROM idempotency_keys`); n != 200 {
		t.Errorf("%d rows are left", n)
	}
}
