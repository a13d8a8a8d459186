package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func check(t testing.TB, db *pg.DB, sources ...Source) Report {
	t.Helper()
	r, err := Check(t.Context(), db, []citygate.TenantID{1}, sources)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// One transfer is dropped, one doubled and one altered behind the gateway's
// back, balances included: each is named.
func TestCheckNamesDroppedDoubledAndAltered(t *testing.T) {
	db := pgtest.New(t)
	var ts listSource
	for i := range 9 {
		ts = append(ts, fare(1, i, fmt.Sprint("r", i), "metro", int64(100+i)))
	}
	post(t, db, 1, ts...)
	owner := pgtest.Owner(t, db)
	for _, sql := range []string{
		`DELETE FROM transfers WHERE tenant_id = 1 AND event = 'fare:2/1'`,
		`INSERT INTO transfers SELECT tenant_id, gen_random_uuid(), debit, credit, amount, currency, code, event, interbook_id, link_id, phase, pending_id, effective_at, business_date, recorded_at FROM transfers WHERE tenant_id = 1 AND event = 'fare:4/1'`,
		`UPDATE transfers SET amount = 999 WHERE tenant_id = 1 AND event = 'fare:6/1'`,
		`INSERT INTO transfers SELECT tenant_id, gen_random_uuid(), debit, 'payable:thief', amount, currency, code, 'fare:99/1', interbook_id, link_id, phase, pending_id, effective_at, business_date, recorded_at FROM transfers WHERE tenant_id = 1 AND event = 'fare:7/1'`,
	} {
		if n := owner.Exec(1, sql); n != 1 {
			t.Fatalf("%s touched %d rows", sql, n)
		}
	}
	if err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { _, err := Rebuild(t.Context(), tx, "test"); return err }); err != nil {
		t.Fatal(err)
	}
	r := check(t, db, ts)
	got := map[string]Finding{}
	for _, f := range r.Findings {
		got[f.Kind] = f
	}
	if r.OK() || r.Wrong != 4 || len(r.Findings) != 4 || r.Holds("books_rederive") {
		t.Fatalf("want four findings, got %+v", r)
	}
	if f := got[Missing]; f.Event != "fare:2/1" || f.Transfer != ts[2].ID.String() || f.Code != "fare" {
		t.Errorf("missing: %v", f)
	}
	if f := got[Doubled]; f.Event != "fare:4/1" {
		t.Errorf("doubled: %v", f)
	}
	if f := got[Altered]; f.Event != "fare:6/1" || f.Field != "amount" || f.Want != "106" || f.Got != "999" {
		t.Errorf("altered: %v", f)
	}
	if f := got[Extra]; f.Event != "fare:99/1" {
		t.Errorf("extra: %v", f)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestOneTransferOfTwoSourcesIsFound(t *testing.T) {
	db := pgtest.New(t)
	a := fare(1, 1, "ann", "metro", 500)
	post(t, db, 1, a)
	r := check(t, db, listSource{a}, listSource{a})
	if r.Wrong != 1 || r.Findings[0].Kind != DerivedTwice {
		t.Errorf("got %+v", r)
	}
}

func TestManyFindingsAreCountedAndCut(t *testing.T) {
	db := pgtest.New(t)
	var ts listSource
	for i := range findingsMax + 10 {
		ts = append(ts, fare(1, i, "r", "metro", 1))
	}
	r := check(t, db, ts)
	if r.Wrong != len(ts) || len(r.Findings) != findingsMax || r.Holds("interbook_pairs") {
		t.Errorf("%d wrong, %d findings", r.Wrong, len(r.Findings))
	}
}

func interbook(tenant citygate.TenantID, journey byte, n int, debit, credit string, amount int64) Transfer {
	x := fare(tenant, int(journey)*100+n, "r", "p", 1)
	x.Debit, x.Credit, x.Amount = debit, credit, amount
	x.Interbook = InterbookID(1, citygate.UUID{journey})
	return NewTransfer(tenant, 0, x)
}

func TestPairsMustBeEqualAndOpposite(t *testing.T) {
	db := pgtest.New(t)
	const operator, issuer = 1, 2
	r1, p1 := InterbookReceivable(issuer), InterbookPayable(operator)
	ours := listSource{
		interbook(operator, 1, 1, r1, "payable:x", 500), interbook(operator, 1, 2, r1, "payable:x", -120),
		interbook(operator, 2, 1, r1, "payable:x", 700),
		interbook(operator, 3, 1, r1, "payable:x", 50),
	}
	theirs := listSource{
		interbook(issuer, 1, 1, "rider_receivable:a", p1, 380), // the first claim never came, the second said it all
		interbook(issuer, 2, 1, "rider_receivable:a", p1, 701),
	}
	post(t, db, operator, ours...)
	post(t, db, issuer, theirs...)
	r, err := Check(t.Context(), db, []citygate.TenantID{operator, issuer}, []Source{byTenant{operator: ours, issuer: theirs}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Pairs != 3 || r.Wrong != 2 || r.Holds("interbook_pairs") || !r.Holds("books_rederive") {
		t.Fatalf("want two bad pairs of three, got %+v", r)
	}
	for _, f := range r.Findings {
		if wrong := f.Want + " " + f.Got; f.Kind != Unpaired || wrong != "700 701" && wrong != "50 0" {
			t.Errorf("unexpected %v", f)
		}
	}
}

type byTenant map[citygate.TenantID]listSource

func (byTenant) Name() string { return "by tenant" }

func (s byTenant) Derive(ctx context.Context, tx *pg.Tx, yield func(Transfer) error) error {
	return s[tx.Tenant].Derive(ctx, tx, yield)
}

func TestClearingAccountsNeedAnExplanation(t *testing.T) {
	db := pgtest.New(t)
	x := fare(1, 1, "ann", "metro", 500)
	x.Debit, x.Credit = ProviderReceivable("c1"), "rider_receivable:ann"
	post(t, db, 1, x)
	held := int64(0)
	run := func() Report {
		r, err := CheckClearing(t.Context(), db, []citygate.TenantID{1}, []string{PrefixProviderReceivable},
			func(context.Context, *pg.Tx) ([]Explained, error) {
				return []Explained{{Account: ProviderReceivable("c1"), Currency: "CNY", Net: held, Why: "missing_provider"}}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(); r.Wrong != 1 || r.Findings[0].Got != "500" || r.Findings[0].Want != "0" || r.Holds("clearing_zero") {
		t.Errorf("unexplained: %+v", r)
	}
	held = 500
	if r := run(); !r.OK() {
		t.Errorf("explained: %+v", r)
	}
}
