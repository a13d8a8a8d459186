package settle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func TestAdviceIsBookedOnceAndMirrorsTheIssuer(t *testing.T) {
	w := newWorld(t)
	a := ride(1, 1)
	items := []interbook.AdviceItem{
		item(interbook.AdviceFee, a, 6, "charge1"), item(interbook.AdviceUncollected, a, 300, "debt1"),
		item(interbook.AdviceRecovered, a, 200, "debt1"), item(interbook.AdviceCleared, a, 694, "charge1"),
		item(interbook.AdviceCleared, a, -100, "refund1"),
	}
	for range 2 {
		w.mustTake(issuer, items...)
	}
	for account, want := range map[string]int64{
		ledger.Payable("owner:1"):          6 + 300 - 200,
		ledger.InterbookReceivable(issuer): -6 - 300 + 200 - 694 + 100,
		ledger.Bank():                      694 - 100,
	} {
		if got := w.balance(account); got != want {
			t.Errorf("%s = %d; want %d", account, got, want)
		}
	}
	if r := w.rederive(); !r.Holds("books_rederive") || r.Derived != 5 {
		t.Errorf("%d derived, findings %v", r.Derived, r.Findings)
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM transfers WHERE interbook_id = $1`, ledger.InterbookID(operator, a).String()); n != 5 {
		t.Errorf("%d transfers carry the journey's interbook id; want 5", n)
	}
}

func TestOwnAdviceNamesItsAccountAndClearsNothing(t *testing.T) {
	w := newWorld(t)
	w.from = operator
	fee := item(interbook.AdviceFee, ride(1, 1), 6, "charge1")
	if err := w.take(operator, fee); !errors.Is(err, ErrAdvice) {
		t.Errorf("without an account: %v; want ErrAdvice", err)
	}
	fee.Contra = ledger.ProviderFeeExpense("main")
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		return w.s.TakeAdvice(ctx, tx, operator, []interbook.AdviceItem{fee, item(interbook.AdviceCleared, ride(1, 1), 694, "charge1")})
	})
	if got := w.balance(fee.Contra); got != -6 {
		t.Errorf("%s = %d; want -6", fee.Contra, got)
	}
	if got := w.balance(ledger.Bank()); got != 0 {
		t.Errorf("clearing our own money moved %d through the bank", got)
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM receipts`); n != 2 {
		t.Errorf("%d receipts; want 2", n)
	}
	if r := w.rederive(); !r.OK() {
		t.Errorf("findings %v", r.Findings)
	}
}

func TestAdviceThatCannotBeTrueIsRefusedWhole(t *testing.T) {
	w := newWorld(t)
	good := item(interbook.AdviceCleared, ride(1, 1), 694, "charge1")
	w.mustTake(issuer, good)
	changed, foreign := good, good
	changed.Amount++
	foreign.Currency = "HKD"
	other := item(interbook.AdviceCleared, ride(2, 1), 100, "charge2")
	for name, c := range map[string]struct {
		items []interbook.AdviceItem
		want  error
	}{
		"another amount":     {[]interbook.AdviceItem{other, changed}, ErrConflict},
		"another currency":   {[]interbook.AdviceItem{other, foreign}, ErrConflict},
		"a kind not known":   {[]interbook.AdviceItem{other, item("gift", ride(3, 1), 1, "x")}, ErrAdvice},
		"a kind of our own":  {[]interbook.AdviceItem{other, item(carried, ride(3, 1), 1, "x")}, ErrAdvice},
		"nothing":            {[]interbook.AdviceItem{other, item(interbook.AdviceFee, ride(3, 1), 0, "x")}, ErrAdvice},
		"no reference":       {[]interbook.AdviceItem{other, item(interbook.AdviceFee, ride(3, 1), 1, "")}, ErrAdvice},
		"one item twice":     {[]interbook.AdviceItem{other, other}, ErrAdvice},
		"a journey not ours": {[]interbook.AdviceItem{other, item(interbook.AdviceFee, ride(3, 0), 1, "x")}, ErrNoPayee},
	} {
		if err := w.take(issuer, c.items...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	for name, it := range map[string]interbook.AdviceItem{"the same item": good, "another journey": other} {
		if err := w.take(citygate.TenantID(8), it); !errors.Is(err, ErrAdvice) {
			t.Errorf("%s from a tenant that did not issue the rider's credential: %v; want ErrAdvice", name, err)
		}
	}
	if err := w.take(operator, good); !errors.Is(err, ErrAdvice) {
		t.Errorf("the operator itself about another's rider: %v; want ErrAdvice", err)
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM receipts`); n != 1 {
		t.Errorf("%d receipts; want the first one alone", n)
	}
	if err := w.try(operator, func(ctx context.Context, tx *pg.Tx) error { return w.s.HandleAdvice(ctx, tx, issuer, []byte("{")) }); !errors.Is(err, ErrAdvice) {
		t.Errorf("rubbish: %v; want ErrAdvice", err)
	}
}

func TestWindowPaysWhatCameInAndNoMore(t *testing.T) {
	w := newWorld(t)
	w.decide(ride(1, 1), 1, "owner:1", 700)
	w.mustTake(issuer, item(interbook.AdviceFee, ride(1, 1), 6, "c1"), item(interbook.AdviceCleared, ride(1, 1), 694, "c1"),
		item(interbook.AdviceCleared, ride(2, 2), 300, "c2"), item(interbook.AdviceUncollected, ride(3, 2), 40, "d3"))
	due := local(day, 24+4).Add(PayAfter)
	w.at(due.Add(-time.Second))
	w.run()
	if got := w.payouts(day); len(got) != 0 {
		t.Fatalf("paid before its time: %v", got)
	}
	w.at(due)
	for range 2 { // twice changes nothing
		w.run()
	}
	got := w.payouts(day)
	if len(got) != 2 || got[0].Payee != "owner:1" || got[0].Amount != 694 || got[1].Payee != "owner:2" || got[1].Amount != 300 {
		t.Fatalf("payouts %+v", got)
	}
	for _, p := range got {
		if p.State != "sent" || len(p.EndToEndID) != 26 || p.SentAt == nil {
			t.Errorf("payout %+v", p)
		}
	}
	if n := w.balance(ledger.Bank()); n != 0 {
		t.Errorf("the bank holds %d after all was paid", n)
	}
	// Late money goes to the next window.
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(4, 1), 55, "c4"))
	w.at(due.Add(24 * time.Hour))
	w.run()
	if got := w.payouts(day.AddDays(1)); len(got) != 1 || got[0].Amount != 55 {
		t.Errorf("payouts of the next window %+v", got)
	}
	if got := w.payouts(day); len(got) != 2 {
		t.Errorf("the paid window has %d payouts now", len(got))
	}
	if r := w.checkPayouts(); !r.OK() {
		t.Errorf("findings %v", r.Findings)
	}
	if r := w.rederive(); !r.Holds("books_rederive") {
		t.Errorf("findings %v", r.Findings)
	}
}

func TestNegativeSumIsCarriedToTheNextWindow(t *testing.T) {
	w := newWorld(t)
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 100, "c1"), item(interbook.AdviceCleared, ride(1, 1), -250, "r1"),
		item(interbook.AdviceCleared, ride(2, 2), 80, "c2"))
	due := local(day, 24+4).Add(PayAfter)
	w.at(due)
	w.run()
	if got := w.payouts(day); len(got) != 1 || got[0].Payee != "owner:2" {
		t.Fatalf("payouts %+v; want owner:2 alone", got)
	}
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(3, 1), 500, "c3"))
	w.at(due.Add(24 * time.Hour))
	w.run()
	if got := w.payouts(day.AddDays(1)); len(got) != 1 || got[0].Amount != 350 {
		t.Fatalf("payouts of the next window %+v; want 350", got)
	}
	if r := w.checkPayouts(); !r.OK() {
		t.Errorf("findings %v", r.Findings)
	}
	if r := w.rederive(); !r.Holds("books_rederive") {
		t.Errorf("findings %v", r.Findings)
	}
}

// A payee whose refunds exceed its money for good must not keep settlement busy
// for ever: nothing is written for a window without money, and what is carried
// meets the money whenever it comes.
func TestCarriedSumWaitsForMoney(t *testing.T) {
	w := newWorld(t)
	carriedNow := func() (sum int64) {
		w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
			all, err := Carried(ctx, tx, Carry{}, 10)
			if sum = 0; len(all) > 0 {
				sum = -all[0].Amount
			}
			return err
		})
		return sum
	}
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 100, "c1"), item(interbook.AdviceCleared, ride(1, 1), -250, "r1"),
		item(interbook.AdviceCleared, ride(2, 2), 80, "c2"))
	pay := func(days int) {
		t.Helper()
		w.at(local(day.AddDays(days), 24+4).Add(PayAfter))
		w.run()
	}
	for days := range 5 {
		pay(days)
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM receipts WHERE kind = 'carried'`); n != 1 {
		t.Errorf("%d rows carry one negative sum; want 1", n)
	}
	if got := carriedNow(); got != -150 {
		t.Errorf("carried %d; want -150", got)
	}
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		due, err := Pending(ctx, tx)
		if due.Windows != 0 || !due.Next.IsZero() {
			t.Errorf("a carried sum alone keeps settlement waiting: %+v", due)
		}
		return err
	})
	for i, c := range []struct{ cleared, paid, carried int64 }{
		{100, 0, -50}, // not enough: all of it is set off
		{-30, 0, -80}, // it gets worse
		{80, 0, 0},    // just enough
		{500, 500, 0}, // free again
		{-10, 0, -10}, //
		{60, 50, 0},   // more than enough
	} {
		days := 5 + i
		w.mustTake(issuer, item(interbook.AdviceCleared, ride(byte(10+i), 1), c.cleared, "later"))
		pay(days)
		var paid int64
		for _, p := range w.payouts(day.AddDays(days)) {
			paid += p.Amount
		}
		if paid != c.paid || carriedNow() != c.carried {
			t.Errorf("after %d came in: paid %d and carried %d; want %d and %d", c.cleared, paid, carriedNow(), c.paid, c.carried)
		}
	}
	// Everything that came in is paid out or carried.
	came := w.owner.Count(operator, `SELECT sum(amount)::bigint FROM receipts WHERE kind = 'cleared'`)
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		out, err := PaidOut(ctx, tx)
		if out["CNY"]+carriedNow() != came {
			t.Errorf("paid out %d and carried %d of %d", out["CNY"], carriedNow(), came)
		}
		return err
	})
	if r := w.checkPayouts(); !r.OK() {
		t.Errorf("findings %v", r.Findings)
	}
	if r := w.rederive(); !r.Holds("books_rederive") {
		t.Errorf("findings %v", r.Findings)
	}
}

func TestFilesAreWrittenAfterADeathWithTheSameBytes(t *testing.T) {
	w := newWorld(t)
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 694, "c1"))
	w.at(local(day, 24+4).Add(PayAfter))
	died := errors.New("died")
	w.fail = died
	if err := w.s.RunDue(t.Context(), operator); !errors.Is(err, died) {
		t.Fatalf("err = %v", err)
	}
	csvName := filepath.Join(w.dir, "payout-green-minibus-2026-11-21.csv")
	before, err := os.ReadFile(csvName)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.payouts(day); len(got) != 1 || got[0].State != "created" {
		t.Fatalf("payouts %+v; want one that is not sent", got)
	}
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		due, err := Pending(ctx, tx)
		if due.Files != 1 {
			t.Errorf("Pending = %+v; want one file", due)
		}
		return err
	})
	w.at(w.clock().Add(3 * time.Hour)) // it comes back later
	w.run()
	after, err := os.ReadFile(csvName)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file changed: %v", err)
	}
	if got := w.payouts(day); got[0].State != "sent" || got[0].XMLFile != "payout-green-minibus-2026-11-21.xml" {
		t.Errorf("payout %+v", got[0])
	}
	// A second directory gives the same bytes: they follow from the rows alone.
	w.owner.Exec(operator, `UPDATE payouts SET state = 'created', sent_at = NULL, csv_file = '', xml_file = '' WHERE tenant_id = $1`, int64(operator))
	other := t.TempDir()
	if err := w.settler(other).RunDue(t.Context(), operator); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"payout-green-minibus-2026-11-21.csv", "payout-green-minibus-2026-11-21.xml"} {
		a, err1 := os.ReadFile(filepath.Join(w.dir, name))
		b, err2 := os.ReadFile(filepath.Join(other, name))
		if err := errors.Join(err1, err2); err != nil || string(a) != string(b) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
}

func TestForeignFileIsLeftAloneAndStopsTheSending(t *testing.T) {
	w := newWorld(t)
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 694, "c1"))
	w.at(local(day, 24+4).Add(PayAfter))
	name := filepath.Join(w.dir, "payout-green-minibus-2026-11-21.xml")
	if err := os.WriteFile(name, []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.s.RunDue(t.Context(), operator); !errors.Is(err, ErrFile) {
		t.Errorf("err = %v; want ErrFile", err)
	}
	if got := w.payouts(day); len(got) != 1 || got[0].State != "created" {
		t.Errorf("payouts %+v", got)
	}
}

// What the owner role does behind the gateway's back is found.
func TestTamperingIsFound(t *testing.T) {
	w := newWorld(t)
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 694, "c1"), item(interbook.AdviceFee, ride(1, 1), 6, "c1"))
	w.at(local(day, 24+4).Add(PayAfter))
	w.run()
	for name, tamper := range map[string]string{
		"a receipt less":  `DELETE FROM receipts WHERE tenant_id = $1 AND kind = 'cleared'`,
		"a larger payout": `UPDATE payouts SET amount = amount + 1 WHERE tenant_id = $1`,
	} {
		v := newWorld(t)
		v.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 694, "c1"))
		v.at(local(day, 24+4).Add(PayAfter))
		v.run()
		if n := v.owner.Exec(operator, tamper, int64(operator)); n != 1 {
			t.Fatalf("%s: %d rows changed", name, n)
		}
		if r := v.checkPayouts(); r.OK() || r.Findings[0].Invariant != PayoutsEqualReceipts || !strings.Contains(r.Findings[0].String(), "owner:1") {
			t.Errorf("%s: payouts %v", name, r.Findings)
		}
		if r := v.rederive(); r.Holds("books_rederive") {
			t.Errorf("%s: the books still re-derive", name)
		}
	}
	if _, err := pgtest.As(t, w.db, "citygate_app").Try(operator, `UPDATE receipts SET amount = 1 WHERE tenant_id = $1`, int64(operator)); err == nil {
		t.Error("the gateway's role may change receipts")
	}
}

func TestOtherTenantSeesNothing(t *testing.T) {
	w := newWorld(t)
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 694, "c1"))
	w.at(local(day, 24+4).Add(PayAfter))
	w.run()
	w.in(issuer, func(ctx context.Context, tx *pg.Tx) error {
		windows, err := Windows(ctx, tx, citygate.Date{}, 10)
		payouts, err2 := Payouts(ctx, tx, day)
		sums, err3 := PaidOut(ctx, tx)
		if len(windows)+len(payouts)+len(sums) != 0 {
			t.Errorf("another tenant sees %v %v %v", windows, payouts, sums)
		}
		return errors.Join(err, err2, err3)
	})
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		sums, err := PaidOut(ctx, tx)
		if sums["CNY"] != 694 {
			t.Errorf("paid out %v; want 694", sums)
		}
		return err
	})
}

// A list may be longer than a page and a year: pages miss nothing and repeat
// nothing, and a file is found by its name alone.
func TestPayoutsPageByPage(t *testing.T) {
	w := newWorld(t)
	for n, payee := range []byte{1, 2, 3} {
		w.mustTake(issuer, item(interbook.AdviceCleared, ride(byte(n), payee), 100, "c"))
	}
	w.at(local(day, 24+4).Add(PayAfter))
	w.run()
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(9, 2), 100, "c"), item(interbook.AdviceCleared, ride(8, 1), 100, "c"))
	w.at(local(day.AddDays(1), 24+4).Add(PayAfter))
	w.run()
	for _, limit := range []int{1, 2, 5, 6} {
		var got []string
		w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
			got = nil
			var after citygate.UUID
			for {
				page, err := PayoutsAfter(ctx, tx, "", after, limit)
				if err != nil || len(page) == 0 {
					return err
				}
				for _, p := range page {
					got = append(got, p.WindowDate.String()[8:]+" "+p.Payee)
				}
				after = page[len(page)-1].ID
			}
		})
		if want := "22 owner:1, 22 owner:2, 21 owner:1, 21 owner:2, 21 owner:3"; strings.Join(got, ", ") != want {
			t.Errorf("pages of %d: %s; want %s", limit, strings.Join(got, ", "), want)
		}
	}
	for name, there := range map[string]bool{
		"payout-green-minibus-2026-11-21.csv": true, "payout-green-minibus-2026-11-22.xml": true, "": false, "payout-green-minibus-2026-11-23.csv": false,
	} {
		err := w.try(operator, func(ctx context.Context, tx *pg.Tx) error { _, err := PayoutByFile(ctx, tx, name); return err })
		if (err == nil) != there || (!there && !pg.IsNoRows(err)) {
			t.Errorf("file %q: %v", name, err)
		}
		err = w.try(issuer, func(ctx context.Context, tx *pg.Tx) error { _, err := PayoutByFile(ctx, tx, name); return err })
		if !pg.IsNoRows(err) {
			t.Errorf("file %q of another tenant: %v", name, err)
		}
	}
}

func TestAPartIsMissing(t *testing.T) {
	if _, err := New(Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("put together of nothing: %v", err)
	}
}
