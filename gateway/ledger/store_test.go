package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func post(t testing.TB, db *pg.DB, tenant citygate.TenantID, ts ...Transfer) {
	t.Helper()
	if err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error { return Post(t.Context(), tx, ts) }); err != nil {
		t.Fatal(err)
	}
}

func balances(t testing.TB, db *pg.DB, tenant citygate.TenantID, prefix string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
		clear(out)
		all, err := Balances(t.Context(), tx, prefix)
		for _, b := range all {
			out[b.Account+" "+string(b.Currency)] = b.Net()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// listSource derives a fixed list.
type listSource []Transfer

func (listSource) Name() string { return "list" }

func (s listSource) Derive(_ context.Context, _ *pg.Tx, yield func(Transfer) error) error {
	for _, t := range s {
		if err := yield(t); err != nil {
			return err
		}
	}
	return nil
}

func TestPostingTwicePostsOnce(t *testing.T) {
	db := pgtest.New(t)
	a, b, c := fare(1, 1, "ann", "metro", 500), fare(1, 2, "bob", "metro", 300), fare(1, 3, "ann", "bus", 200)
	post(t, db, 1, a, b)
	post(t, db, 1, a, b, c, c) // c alone is new
	got := balances(t, db, 1, "")
	for account, want := range map[string]int64{"rider_receivable:ann CNY": 700, "rider_receivable:bob CNY": 300, "payable:metro CNY": -800, "payable:bus CNY": -200} {
		if got[account] != want {
			t.Errorf("%s is %d, want %d", account, got[account], want)
		}
	}
	if r := check(t, db, listSource{a, b, c}); !r.OK() || r.Transfers != 3 {
		t.Errorf("check: %+v", r)
	}
}

func TestSameEventWithOtherContentIsRefused(t *testing.T) {
	db := pgtest.New(t)
	post(t, db, 1, fare(1, 1, "ann", "metro", 500))
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		return Post(t.Context(), tx, []Transfer{fare(1, 2, "ann", "metro", 100), fare(1, 1, "ann", "metro", 501)})
	})
	if !errors.Is(err, ErrConflict) {
		t.Errorf("got %v, want %v", err, ErrConflict)
	}
	if got := balances(t, db, 1, "payable:")["payable:metro CNY"]; got != -500 {
		t.Errorf("a refused batch moved the payable to %d", got)
	}
}

func TestBatchesBeyondOneStatement(t *testing.T) {
	db := pgtest.New(t)
	var ts listSource
	for i := range 2*rowsMax + 100 {
		ts = append(ts, fare(1, i, fmt.Sprint("r", i%2500), "metro", 1))
	}
	post(t, db, 1, ts[:100]...)
	post(t, db, 1, ts...)
	if r := check(t, db, ts); !r.OK() || r.Transfers != len(ts) {
		t.Errorf("check: %+v", r)
	}
	if got := balances(t, db, 1, "payable:")["payable:metro CNY"]; got != -int64(len(ts)) {
		t.Errorf("payable is %d, want %d", got, -len(ts))
	}
}

// Batches over the same accounts in opposite orders all commit.
func TestConcurrentPostsDoNotDeadlock(t *testing.T) {
	db := pgtest.New(t)
	var all listSource
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for w := range 8 {
		var ts []Transfer
		for i := range 200 {
			rider := i
			if w%2 == 1 {
				rider = 199 - i
			}
			ts = append(ts, fare(1, w*1000+i, fmt.Sprint("r", rider), fmt.Sprint("p", rider%7), 1))
		}
		all = append(all, ts...)
		wg.Go(func() {
			for part := range 4 {
				errs <- db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return Post(t.Context(), tx, ts[part*50:part*50+50]) })
			}
		})
	}
	go func() { wg.Wait(); close(errs) }()
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if r := check(t, db, all); !r.OK() {
		t.Errorf("check: %+v", r)
	}
}

func TestPendingMovesNothingUntilPosted(t *testing.T) {
	db := pgtest.New(t)
	p := fare(1, 1, "ann", "metro", 500)
	p.Phase = Pending
	post(t, db, 1, p)
	if got := balances(t, db, 1, ""); len(got) != 0 {
		t.Errorf("a pending transfer moved %v", got)
	}
	end := fare(1, 2, "ann", "metro", 500)
	end.Phase, end.Pending = PostOf, p.ID
	post(t, db, 1, end)
	if got := balances(t, db, 1, "payable:")["payable:metro CNY"]; got != -500 {
		t.Errorf("payable is %d, want -500", got)
	}
	again := fare(1, 3, "ann", "metro", 500)
	again.Phase, again.Pending = VoidOf, p.ID
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return Post(t.Context(), tx, []Transfer{again}) })
	if !pg.Violates(err, "transfers_ends") {
		t.Errorf("a pending transfer was ended twice: %v", err)
	}
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	db := pgtest.New(t)
	post(t, db, 1, fare(1, 1, "ann", "metro", 500))
	if got := balances(t, db, 2, ""); len(got) != 0 {
		t.Errorf("tenant 2 sees %v", got)
	}
}

func TestTransfersAreAppendOnly(t *testing.T) {
	db := pgtest.New(t)
	post(t, db, 1, fare(1, 1, "ann", "metro", 500))
	for _, sql := range []string{
		`UPDATE transfers SET amount = 1 WHERE tenant_id = $1`,
		`DELETE FROM transfers WHERE tenant_id = $1`,
		`DELETE FROM balances WHERE tenant_id = $1`,
	} {
		err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { _, err := tx.Exec(t.Context(), sql, 1); return err })
		if pg.SQLState(err) != pg.StateInsufficientRights {
			t.Errorf("%s: got %v, want a missing right", sql, err)
		}
	}
}

func TestRebuildRestoresBalances(t *testing.T) {
	db := pgtest.New(t)
	ts := listSource{fare(1, 1, "ann", "metro", 500), fare(1, 2, "bob", "metro", 300)}
	post(t, db, 1, ts...)
	owner := pgtest.Owner(t, db)
	if n := owner.Exec(1, `UPDATE balances SET credit_total = credit_total + 1 WHERE tenant_id = 1 AND account = 'payable:metro'`); n != 1 {
		t.Fatalf("tampered with %d rows", n)
	}
	owner.Exec(1, `DELETE FROM balances WHERE tenant_id = 1 AND account = 'rider_receivable:ann'`)
	r := check(t, db, ts)
	if r.Wrong != 2 || r.Findings[0].Kind != Unbalanced || r.Findings[0].Account != "payable:metro" || r.Findings[0].Want != "800" || r.Findings[0].Got != "801" {
		t.Errorf("drift: %+v", r)
	}
	for _, want := range []string{"[{1 payable:metro CNY {0 801} {0 800}} {1 rider_receivable:ann CNY {0 0} {500 0}}]", "[]"} {
		var mended []Drift
		if err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) (err error) { mended, err = Rebuild(t.Context(), tx, "test"); return err }); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(mended); got != want {
			t.Errorf("rebuilt %s, want %s", got, want)
		}
	}
	if r := check(t, db, ts); !r.OK() {
		t.Errorf("after the rebuild: %+v", r)
	}
	if n := owner.Count(1, `SELECT count(*) FROM audit_log WHERE tenant_id = 1 AND verb = 'ledger.rebuild' AND actor = 'test'`); n != 1 {
		t.Errorf("%d rebuilds in the audit log, want the one that changed something", n)
	}
}

// Every statement names the tenant besides what row-level security does.
func TestStatementsNameTheTenant(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	db := pgtest.New(t, pgtest.WithStatements(func(sql string) { mu.Lock(); seen = append(seen, sql); mu.Unlock() }))
	post(t, db, 1, fare(1, 1, "ann", "metro", 500))
	post(t, db, 1, fare(1, 1, "ann", "metro", 500))
	check(t, db, listSource{})
	if len(seen) == 0 {
		t.Fatal("no statement was seen")
	}
	for _, sql := range seen {
		if !containsAll(sql, "tenant_id", "$1") {
			t.Errorf("no tenant in %s", sql)
		}
	}
}

func BenchmarkPost1000(b *testing.B) {
	for name, payees := range map[string]int{"hot payee": 1, "100 payees": 100} {
		b.Run(name, func(b *testing.B) {
			db := pgtest.New(b)
			n := 0
			for b.Loop() {
				ts := make([]Transfer, 1000)
				for i := range ts {
					n++
					ts[i] = fare(1, n, fmt.Sprintf("018f3c52-0000-7000-8000-%012d", n*7919%200_000), fmt.Sprint("p", n%payees), 500)
				}
				if err := db.InTenant(b.Context(), 1, func(tx *pg.Tx) error { return Post(b.Context(), tx, ts) }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "transfers/s")
		})
	}
}
