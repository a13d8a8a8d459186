package recon_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// ok is a charge of 10.00 with a fee of 0.06 that succeeded on monday.
func ok(ourID string) charge { return charge{ourID, 1000, 6, "succeeded", noon} }

// Every kind of disagreement is named, with its order and owner, and nothing else is.
func TestEveryLineIsMatchedOrNamed(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("good"), ok("missing"), ok("cent"), ok("fee"), ok("hkd"), ok("taken"), ok("twice"), ok("refunded"),
		charge{"no", 1000, 6, "declined", noon}, charge{"open", 1000, 6, "unknown", noon}, charge{"silent", 1000, 6, "unknown", noon})
	w.refund("back", "refunded", 300, "succeeded", noon)
	w.refund("lost", "good", 100, "succeeded", noon)
	hkd := row(6, "hkd", 1000, 6)
	hkd.Amount.Currency = "HKD"
	w.biller.bills[monday] = []driver.BillLine{
		row(1, "good", 1000, 6), row(2, "cent", 1001, 6), row(3, "fee", 1000, 7), row(4, "stranger", 500, 3), row(5, "no", 1000, 6), hkd,
		row(7, "taken", 1000, 6), back(8, "taken", "nobody", 1000), row(9, "twice", 1000, 6), row(10, "twice", 1000, 6),
		row(11, "refunded", 1000, 6), back(12, "refunded", "back", 300), row(13, "open", 1000, 6),
	}
	w.importAt(morning(monday))
	want := "amount_diff cent finance, amount_diff fee finance, currency_diff hkd provider, duplicate twice provider, missing_ledger no operator, " +
		"missing_ledger stranger operator, missing_provider good provider, missing_provider missing provider, refund_unexpected taken finance"
	if got := joined(w.exceptions()); got != want {
		t.Errorf("exceptions:\n%s\nwant\n%s", got, want)
	}
	c := w.count()
	if c.Matched != 6 || c.Lines != 13+2 || c.Open != 9 { // good taken twice refunded back open
		t.Errorf("counts %+v; want 6 matched of 15", c)
	}
	if held := w.held(); len(held) != 8 { // all but the stranger's; good for its refund that no bill has
		t.Errorf("%d charges are held; want 8", len(held))
	}
	if got := w.balance("bank"); got != 5*994-300 {
		t.Errorf("the bank has %d; want %d", got, 5*994-300)
	}
	w.settled()
}

// A bill that comes twice, or is worked on by two at once, has one effect.
func TestImportingAgainChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"), ok("c"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1001, 6)}
	w.at(morning(monday))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := w.r.ImportDue(t.Context(), tenant); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first, bank := w.count(), w.balance("bank")
	bill, err := w.biller.FetchBill(t.Context(), monday)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.r.Import(t.Context(), tenant, contract, w.biller, bill); err != nil {
			t.Errorf("the same bill again: %v", err)
		}
		w.importAt(morning(monday))
	}
	if again := w.count(); again.Lines != first.Lines || again.Matched != 1 || first.Matched != 1 || w.balance("bank") != bank || bank != 994 {
		t.Errorf("first %+v with %d at the bank, then %+v with %d", first, bank, again, w.balance("bank"))
	}
	w.settled()
}

// A row for a payment that nobody here knows the outcome of decides it.
func TestBillDecidesTheUnknown(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), charge{"u", 1000, 6, "unknown", noon}, charge{"sent", 700, 4, "sent", noon}, charge{"odd", 1000, 6, "unknown", noon})
	w.refund("r", "a", 200, "unknown", noon)
	w.biller.bills[monday] = []driver.BillLine{row(1, "u", 1000, 6), row(2, "sent", 700, 4), back(3, "a", "r", 200), row(4, "a", 1000, 6), row(5, "odd", 1001, 6)}
	w.importAt(morning(monday))
	if got := joined(w.exceptions()); got != "amount_diff odd finance" {
		t.Errorf("exceptions %q; want only the one that is a cent off", got)
	}
	if c := w.count(); c.Matched != 4 {
		t.Errorf("counts %+v; want 4 matched", c)
	}
	states := pgtest.Owner(t, w.db).Count(tenant, `SELECT count(*) FROM charges WHERE tenant_id = $1 AND state = 'succeeded'`, int64(tenant))
	if states != 4 {
		t.Errorf("%d charges succeeded; want 4", states)
	}
}

// The provider's day is not ours: a payment that crosses midnight matches in
// whichever bill has it, and one that is missing may still come.
func TestRowOnAnotherDayIsMatched(t *testing.T) {
	w := newWorld(t)
	tuesday := monday.AddDays(1)
	evening := time.Date(2026, 3, 2, 23, 59, 50, 0, zone)
	w.charges(charge{"late", 1000, 6, "succeeded", evening}, charge{"next", 1000, 6, "succeeded", evening.Add(time.Hour)}, charge{"never", 1000, 6, "succeeded", evening})
	w.biller.bills[monday] = []driver.BillLine{row(1, "next", 1000, 6)} // known here only an hour later
	w.biller.bills[tuesday] = []driver.BillLine{row(1, "late", 1000, 6), row(2, "next", 1000, 6)}
	w.importAt(morning(monday))
	if got := joined(w.exceptions()); got != "missing_provider late provider, missing_provider never provider" {
		t.Errorf("after monday: %q", got)
	}
	w.settled()
	w.importAt(morning(tuesday))
	if got := joined(w.exceptions()); got != "date_diff next provider, missing_provider never provider" {
		t.Errorf("after tuesday: %q", got)
	}
	if c := w.count(); c.Matched != 2 || c.Lines != 4 {
		t.Errorf("counts %+v; want 2 of 4 matched", c)
	}
	w.settled()
}

func TestBillsWaitAndComeInOrder(t *testing.T) {
	w := newWorld(t)
	friday := monday.AddDays(4)
	w.charges(ok("a"), charge{"b", 1000, 6, "succeeded", noon.AddDate(0, 0, 4)})
	pgtest.Owner(t, w.db).Exec(tenant, `UPDATE charges SET business_date = '2026-03-06', created_at = final_at, sent_at = final_at WHERE tenant_id = $1 AND our_id = 'b'`, int64(tenant))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.biller.bills[friday] = []driver.BillLine{row(1, "b", 1000, 6)}
	w.importAt(noon.Add(time.Hour)) // the day is not over: nobody is asked
	w.importAt(morning(monday).Add(-time.Hour))
	if len(w.fetched) != 1 || w.count().Lines != 0 {
		t.Errorf("asked for %v, %+v", w.fetched, w.count())
	}
	w.biller.broken = true
	w.at(morning(monday))
	if err := w.r.ImportDue(t.Context(), tenant); err == nil {
		t.Error("a provider that fails is no error")
	}
	w.biller.broken = false
	w.importAt(morning(friday))
	w.importAt(morning(friday))
	if got := fmt.Sprint(w.fetched); got != "[2026-03-02 2026-03-02 2026-03-02 2026-03-06]" {
		t.Errorf("asked for %s: want each touched day until it came, in order, and no other", got)
	}
	if c := w.count(); c.Matched != 2 {
		t.Errorf("counts %+v; want 2 matched", c)
	}
}

// A file that cannot be read is kept and named, and stops nothing else.
func TestUnreadableBillIsKept(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"))
	w.at(morning(monday))
	bill := driver.Bill{Day: monday, Name: "../torn bill.csv", Body: []byte("torn"), Currency: "CNY"}
	if err := w.r.Import(t.Context(), tenant, contract, w.biller, bill); !errors.Is(err, recon.ErrBill) {
		t.Errorf("Import = %v; want ErrBill", err)
	}
	for name, body := range w.files {
		if string(body) != "torn" || strings.Contains(name, "..") || !strings.HasPrefix(name, "bills/7/alipay_main/2026-03-02_") {
			t.Errorf("kept %s: %s", name, body)
		}
	}
	if len(w.files) != 1 || w.count().Lines != 0 {
		t.Errorf("%d files kept, %+v", len(w.files), w.count())
	}
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.importAt(morning(monday))
	if w.count().Matched != 1 {
		t.Errorf("the readable bill was not matched: %+v", w.count())
	}
}

// A streamer is a biller that reads row by row.
type streamer struct {
	*biller
	short  bool // its totals, at the end of the file, do not agree
	panics bool
	read   int
}

func (s *streamer) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	for _, l := range s.bills[bill.Day] {
		if err := visit(l); err != nil {
			return err
		}
		s.read++
	}
	if s.panics {
		panic("index out of range")
	}
	if s.short {
		return errors.New("the rows do not add up")
	}
	return nil
}

// A bill is read as a stream; what its end says about the rows before it counts for
// all of them.
func TestStreamedBillCountsWholeOrNotAtAll(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"))
	w.at(morning(monday))
	const rows = 4_100 // more than two chunks
	list := []driver.BillLine{row(1, "a", 1000, 6)}
	for i := range rows - 1 {
		list = append(list, row(i+2, fmt.Sprint("nobodys", i), 1, 0))
	}
	w.biller.bills[monday] = list
	s := &streamer{biller: w.biller, short: true}
	bill := driver.Bill{Day: monday, Name: "bill.csv", Body: []byte("a"), Currency: "CNY"}
	if err := w.r.Import(t.Context(), tenant, contract, s, bill); !errors.Is(err, recon.ErrBill) {
		t.Errorf("Import = %v; want ErrBill", err)
	}
	if c := w.count(); s.read != rows || c.Lines != 0 {
		t.Errorf("after a bill that does not add up: %+v, %d rows were read", c, s.read)
	}
	list[0].Amount.Currency = "yuan" // no row of the database's
	if err := w.r.Import(t.Context(), tenant, contract, s, bill); err == nil || errors.Is(err, recon.ErrBill) {
		t.Errorf("rows that cannot be stored: %v; want the database's word", err)
	}
	list[0].Amount.Currency, s.panics = "CNY", true
	if err := w.r.Import(t.Context(), tenant, contract, s, bill); !errors.Is(err, recon.ErrBill) || w.count().Lines != 0 {
		t.Errorf("a reader that panics: %v; want ErrBill", err)
	}
	s.panics = false
	s.short = false
	if err := w.r.Import(t.Context(), tenant, contract, s, bill); err != nil {
		t.Fatal(err)
	}
	if c := w.count(); c.Lines != rows || c.Matched != 1 {
		t.Errorf("after the whole one: %+v", c)
	}
	var noted int
	w.in(func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT lines FROM external_files WHERE tenant_id = $1`, tx.Tenant).Scan(&noted)
	})
	if noted != rows {
		t.Errorf("%d rows are noted", noted)
	}
	w.settled()
}

// What an exception names is held until a person decides or the row comes.
func TestExceptionsHoldUntilTheyEnd(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"), ok("c"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), back(2, "a", "nobody", 1000), row(3, "b", 1000, 6)}
	w.importAt(morning(monday))
	releasable := func() (list []citygate.UUID) {
		w.in(func(tx *pg.Tx) (err error) {
			list, err = recon.Releasable(t.Context(), tx, []citygate.UUID{id("a"), id("b"), id("c"), id("unheard of")})
			return err
		})
		return list
	}
	if got := releasable(); len(got) != 1 || got[0] != id("b") {
		t.Errorf("releasable %v; want only b", got)
	}
	if held := w.held(); len(held) != 2 {
		t.Errorf("held %v; want a and c", held)
	}
	resolve := func(item string) error {
		return w.db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
			return recon.Resolve(t.Context(), tx, "user:ada", contract, item, recon.AcceptProvider, "provider confirmed by mail")
		})
	}
	if err := resolve("refund/nobody"); err != nil {
		t.Fatal(err)
	}
	if err := resolve("refund/nobody"); !errors.Is(err, recon.ErrNotOpen) {
		t.Errorf("a second time: %v; want ErrNotOpen", err)
	}
	if got := releasable(); len(got) != 2 || len(w.held()) != 1 {
		t.Errorf("after the decision %v can go on and %v is held", got, w.held())
	}
	if n := pgtest.Owner(t, w.db).Count(tenant, `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = 'recon.resolve'`, int64(tenant)); n != 1 {
		t.Errorf("%d audit entries; want 1", n)
	}
	w.settled()
	w.in(func(tx *pg.Tx) error {
		items, err := recon.Exceptions(t.Context(), tx, true, "", "", 10)
		if err != nil || len(items) != 1 || items[0].OurID != "c" || items[0].Age(tx.Now.Add(time.Hour)) != time.Hour {
			t.Errorf("open exceptions %+v, %v", items, err)
		}
		return nil
	})
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.importAt(morning(monday))
	err := w.db.InTenant(t.Context(), tenant+1, func(tx *pg.Tx) error {
		c, err := recon.Count(t.Context(), tx)
		held, heldErr := recon.HeldCharges(t.Context(), tx)
		if c.Lines != 0 || len(held) != 0 {
			t.Errorf("another tenant sees %+v and %v", c, held)
		}
		return errors.Join(err, heldErr)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// large makes n charges and a bill with a row for each but one.
func large(w *world, n int) {
	list := make([]charge, n)
	lines := make([]driver.BillLine, n)
	for i := range n {
		ourID := fmt.Sprintf("C%08d", i)
		list[i] = ok(ourID)
		lines[i] = row(i+7, ourID, 1000, 6)
	}
	lines[n/2].OurID = "stranger" // one row is another's, so one charge has none
	w.charges(list...)
	w.biller.bills[monday] = lines
	w.at(morning(monday))
}

// A process that dies at any statement, of storing, joining, judging, deciding or
// naming what is missing, leaves what the next one needs to go on. Here every
// statement dies the first two times that it is run.
func TestDyingAtEveryStatementHasOneEffect(t *testing.T) {
	const n = 30
	w := newWorld(t)
	large(w, n)
	w.charges(charge{"open", 1000, 6, "unknown", noon}, ok("silent"), ok("cent"))
	w.refund("back", "cent", 300, "succeeded", noon)
	w.biller.bills[monday] = append(w.biller.bills[monday], row(100, "open", 1000, 6), row(101, "cent", 1001, 6), back(102, "cent", "back", 300), row(103, "open", 1000, 6))
	died := map[string]int{}
	var die context.CancelFunc
	r := *w.r
	r.DB = pgtest.Reopen(t, w.db, pgtest.WithClock(func() time.Time { return morning(monday) }), pgtest.WithStatements(func(sql string) {
		if died[sql]++; died[sql] <= 2 {
			die()
		}
	}))
	recon.JoinRows(&r, 7)
	deaths := 0
	for ; ; deaths++ {
		ctx, cancel := context.WithCancel(t.Context())
		die = cancel
		err := r.ImportDue(ctx, tenant)
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || deaths > 200 {
			t.Fatalf("after %d deaths: %v", deaths, err)
		}
	}
	for _, step := range []string{"INSERT INTO external_lines", "SELECT DISTINCT ON (item)", "INSERT INTO transfers", "INSERT INTO balances", "missing_provider", "state = 'processed'"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(died)), func(sql string) bool { return strings.Contains(sql, step) }) {
			t.Errorf("nothing died at %q", step)
		}
	}
	want := "amount_diff cent finance, duplicate open provider, missing_ledger stranger operator, missing_provider C00000015 provider, missing_provider silent provider"
	if got := joined(w.exceptions()); got != want {
		t.Errorf("after %d deaths:\n%s\nwant\n%s", deaths, got, want)
	}
	if c := w.count(); c.Matched != n-1+2 || c.Lines != n+4+2 {
		t.Errorf("counts %+v", c)
	}
	if got := w.balance("bank"); got != int64(n)*994-300 {
		t.Errorf("the bank has %d; want %d", got, n*994-300)
	}
	w.settled()
}

// The row that says what our book says is the payment's, wherever it stands; any other
// is one too many.
func TestPlainRowIsThePayments(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), charge{"u", 1000, 6, "unknown", noon})
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 999, 6), row(2, "a", 1000, 6), row(3, "u", 999, 6), row(4, "u", 1000, 6)}
	w.importAt(morning(monday))
	if got := joined(w.exceptions()); got != "duplicate a provider, duplicate u provider" {
		t.Errorf("exceptions %q", got)
	}
	if c := w.count(); c.Matched != 2 {
		t.Errorf("counts %+v; want 2 matched", c)
	}
	w.settled()
}

// 100,000 rows against 100,000 charges: the time grows with the rows and not
// with their square.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{25_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				w := newWorld(b)
				large(w, n)
				b.StartTimer()
				w.importAt(morning(monday))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/row")
		})
	}
}

// A contract whose provider cannot even be opened does not hold up the others.
func TestContractsAreReconciledEachOnItsOwn(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.at(morning(monday))
	closed := errors.New("no key for the other contract")
	r := *w.r
	r.Billers = func(ctx context.Context, tenant citygate.TenantID) (map[string]driver.Biller, error) {
		good, err := w.r.Billers(ctx, tenant)
		return good, errors.Join(err, closed)
	}
	if err := r.ImportDue(t.Context(), tenant); !errors.Is(err, closed) {
		t.Errorf("ImportDue = %v; want what failed to be told", err)
	}
	if c := w.count(); c.Matched != 1 {
		t.Errorf("counts %+v; want the good contract's bill matched", c)
	}
}
