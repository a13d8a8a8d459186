package recon_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

var tuesday = monday.AddDays(1)

// history gives "item n state", of everything that items were.
func (w *world) history() (list []string) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) error {
		past, err := recon.History(w.t.Context(), tx, recon.HistoryQuery{}, "", "", 0, 1000)
		list = nil
		for _, p := range past {
			list = append(list, fmt.Sprintf("%s %d %s", p.Item.Item, p.N, p.Kind))
		}
		return err
	})
	return list
}

// transfers counts the books' rows.
func (w *world) transfers() int64 {
	w.t.Helper()
	return pgtest.Owner(w.t, w.db).Count(tenant, `SELECT count(*) FROM transfers WHERE tenant_id = $1`, int64(tenant))
}

func (w *world) issues() int64 {
	w.t.Helper()
	return pgtest.Owner(w.t, w.db).Count(tenant, `SELECT count(*) FROM external_files WHERE tenant_id = $1 AND day = '2026-03-02'`, int64(tenant))
}

// expect checks the exceptions, the history and the bank, and that the books explain
// themselves.
func (w *world) expect(exceptions, history string, bank int64) {
	w.t.Helper()
	if got := joined(w.exceptions()); got != exceptions {
		w.t.Errorf("exceptions:\n%s\nwant\n%s", got, exceptions)
	}
	if got := joined(w.history()); got != history {
		w.t.Errorf("history:\n%s\nwant\n%s", got, history)
	}
	if got := w.balance("bank"); got != bank {
		w.t.Errorf("the bank has %d; want %d", got, bank)
	}
	w.count()
	w.settled()
}

// A provider is asked again, once in each of its days, and an issue that says the same
// in other bytes, or in the same ones, does nothing.
func TestIdenticalReissueDoesNothing(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1001, 6)}
	for range 3 {
		w.importAt(morning(monday))
	}
	if len(w.fetched) != 1 {
		t.Errorf("asked for %v within a day", w.fetched)
	}
	before := w.transfers()
	w.biller.bills[monday] = []driver.BillLine{row(5, "a", 1000, 6), row(9, "b", 1001, 6)} // at other lines of the file
	for n := range 12 {
		w.importAt(morning(monday.AddDays(n)))
		w.importAt(morning(monday.AddDays(n)).Add(time.Hour))
	}
	if len(w.fetched) != 1+6 {
		t.Errorf("asked %d times; want once, and once on each of the six next days", len(w.fetched))
	}
	if w.issues() != 1 || w.transfers() != before {
		t.Errorf("%d issues, %d transfers where %d were", w.issues(), w.transfers(), before)
	}
	w.expect("amount_diff b finance", "", 994)
}

// An issue adds rows, takes rows away and changes amounts: what was made of them is
// taken back in pairs, and what now holds is made.
func TestReissueCorrects(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("same"), ok("late"), ok("gone"), ok("off"), ok("right"), ok("twice"), charge{"open", 1000, 6, "unknown", noon})
	w.refund("back", "same", 300, "succeeded", noon)
	w.biller.bills[monday] = []driver.BillLine{
		row(1, "same", 1000, 6), row(2, "gone", 1000, 6), row(3, "off", 1000, 6), row(4, "right", 999, 6), row(5, "twice", 1000, 6), row(6, "twice", 1000, 6),
		row(7, "stranger", 500, 3), back(8, "same", "back", 300),
	}
	w.importAt(morning(monday))
	w.expect("amount_diff right finance, duplicate twice provider, missing_ledger stranger operator, missing_provider late provider", "", 4*994-300)
	w.biller.bills[monday] = []driver.BillLine{
		row(1, "late", 1000, 6), row(2, "same", 1000, 6), row(3, "off", 1002, 6), row(4, "right", 1000, 6), row(5, "twice", 1000, 6),
		row(6, "open", 1000, 6), back(7, "same", "back", 300), row(8, "other", 700, 0),
	}
	w.importAt(morning(tuesday))
	w.expect("amount_diff off finance, missing_ledger other operator, missing_provider gone provider",
		"charge/gone 1 matched, charge/late 1 missing_provider, charge/off 1 matched, charge/right 1 amount_diff, charge/stranger 1 missing_ledger, row/2026-03-02/6 1 duplicate",
		5*994-300)
	if c := w.count(); c.Matched != 6 || c.Lines != 8+1 || c.Open != 3 {
		t.Errorf("counts %+v", c)
	}
	// And a third issue, which is the first one again but for the stranger.
	w.biller.bills[monday] = []driver.BillLine{
		row(1, "same", 1000, 6), row(2, "gone", 1000, 6), row(3, "off", 1000, 6), row(4, "right", 999, 6), row(5, "twice", 1000, 6), row(6, "twice", 1000, 6), back(8, "same", "back", 300),
	}
	w.importAt(morning(tuesday.AddDays(1)))
	if got := joined(w.exceptions()); got != "amount_diff right finance, duplicate twice provider, missing_provider late provider, missing_provider open provider" {
		t.Errorf("after the third issue: %s", got)
	}
	if got := w.balance("bank"); got != 4*994-300 {
		t.Errorf("the bank has %d", got)
	}
	if w.issues() != 3 {
		t.Errorf("%d issues are kept", w.issues())
	}
	w.count()
	w.settled()
	n := w.transfers()
	w.importAt(morning(tuesday.AddDays(2)))
	if w.transfers() != n {
		t.Error("the same issue once more moved money")
	}
}

// A provider that withdraws a wrong issue by serving the one before it again, byte for
// byte, is followed. The same bytes from somebody's folder change nothing.
func TestWithdrawnIssueIsFollowed(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	first := []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1000, 6)}
	w.biller.bills[monday] = first
	w.importAt(morning(monday))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.importAt(morning(tuesday))
	w.expect("missing_provider b provider", "charge/b 1 matched", 994)
	w.biller.bills[monday] = first
	old, err := w.biller.FetchBill(t.Context(), monday)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.r.Import(t.Context(), tenant, contract, w.biller, old); err != nil || w.issues() != 2 {
		t.Errorf("an old file by hand: %v, %d issues", err, w.issues())
	}
	w.expect("missing_provider b provider", "charge/b 1 matched", 994)
	w.importAt(morning(tuesday.AddDays(1)))
	if got := joined(w.exceptions()); got != "" || w.balance("bank") != 2*994 || w.issues() != 3 {
		t.Errorf("after it was withdrawn: %q, the bank has %d, %d issues", got, w.balance("bank"), w.issues())
	}
	n := w.transfers()
	w.importAt(morning(tuesday.AddDays(2)))
	if w.transfers() != n || w.issues() != 3 {
		t.Error("the same once more moved money")
	}
	w.count()
	w.settled()
}

// A decision that a person made about a row holds as long as the row does.
func TestReissueAndDecisions(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"), ok("c"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 999, 6), row(2, "b", 999, 6), row(3, "x", 500, 0)}
	w.importAt(morning(monday))
	for item, how := range map[string]recon.Resolution{"charge/a": recon.WriteOff, "charge/b": recon.AcceptOurs, "charge/x": recon.AcceptProvider} {
		w.in(func(tx *pg.Tx) error {
			return recon.Resolve(t.Context(), tx, "user:ada", contract, item, how, "agreed")
		})
	}
	w.settled()
	// b comes right, a has a second row, and nobody paid x.
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 999, 6), row(2, "b", 1000, 6), row(3, "a", 5, 0)}
	w.importAt(morning(tuesday))
	w.expect("amount_diff a finance, duplicate a provider, missing_provider c provider", "charge/b 1 amount_diff, charge/x 1 missing_ledger", 993+994)
	for account, want := range map[string]int64{ledger.WriteOff(contract): 1, ledger.Suspense(contract): 0} {
		if got := w.balance(account); got != want {
			t.Errorf("%s has %d; want %d", account, got, want)
		}
	}
	var reason string
	w.in(func(tx *pg.Tx) error {
		past, err := recon.History(t.Context(), tx, recon.HistoryQuery{}, "", "", 0, 1)
		if err == nil {
			reason = past[0].Note + " " + string(past[0].Resolution)
		}
		return err
	})
	if reason != "agreed accept_ours" {
		t.Errorf("the decision is kept as %q", reason)
	}
}

// What somebody decides while another issue is corrected is as if it had been decided
// before: it is corrected as a decision, and never overwritten unseen.
func TestDecidedWhileCorrecting(t *testing.T) {
	for _, apart := range []bool{true, false} {
		t.Run(fmt.Sprint("apart ", apart), func(t *testing.T) {
			w := newWorld(t)
			if apart {
				recon.Apart(w.r)
			}
			w.charges(ok("a"), ok("b"))
			w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1001, 6), row(2, "b", 1000, 6)}
			w.importAt(morning(monday))
			w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1002, 6), row(2, "b", 1000, 6)}
			corrected, owner := make(chan error, 1), pgtest.Owner(t, w.db)
			err := w.db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
				if err := recon.Resolve(t.Context(), tx, "user:ada", contract, "charge/a", recon.WriteOff, "agreed"); err != nil {
					return err
				}
				w.at(morning(tuesday))
				go func() { corrected <- w.r.ImportDue(context.WithoutCancel(t.Context()), tenant) }()
				for range 2_000 { // until it waits for the decision
					if owner.Count(tenant, `SELECT count(*) FROM pg_locks WHERE NOT granted AND $1 <> 0`, int64(tenant)) > 0 {
						return nil
					}
					select {
					case err := <-corrected:
						return fmt.Errorf("corrected without waiting for the decision: %w", err)
					case <-time.After(5 * time.Millisecond):
					}
				}
				return errors.New("the correction came nowhere")
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-corrected; err != nil {
				t.Fatal(err)
			}
			w.expect("amount_diff a finance", "charge/a 1 amount_diff", 994)
		})
	}
}

// What was paid out stays paid out: the charge's exception is the issuer's to follow
// up, and nothing is released twice.
func TestReissueAfterPayout(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1000, 6)}
	w.importAt(morning(monday))
	pgtest.Owner(t, w.db).Exec(tenant, `UPDATE charges SET passed = true, released = true WHERE tenant_id = $1`, int64(tenant))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.importAt(morning(tuesday))
	w.expect("missing_provider b provider", "charge/b 1 matched", 994)
	if held := w.held(); len(held) != 1 || held[0] != id("b") {
		t.Errorf("held %v", held)
	}
	// Its row comes in a later day's bill, as rows do that were late.
	w.charges(charge{"c", 1000, 6, "succeeded", noon.AddDate(0, 0, 2)})
	w.biller.bills[tuesday.AddDays(1)] = []driver.BillLine{row(1, "c", 1000, 6), row(2, "b", 1000, 6)}
	w.importAt(morning(tuesday.AddDays(1)))
	w.expect("", "charge/b 1 matched, charge/b 2 missing_provider", 3*994)
}

// A row that moves to another day's bill is the payment's there, in whichever order
// the two bills come.
func TestRowMovesToAnotherDay(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), charge{"b", 1000, 6, "succeeded", noon.AddDate(0, 0, 1)})
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.importAt(morning(monday))
	w.biller.bills[tuesday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1000, 6)}
	w.at(morning(tuesday))
	b, err := w.biller.FetchBill(t.Context(), tuesday)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.r.Import(t.Context(), tenant, contract, w.biller, b); err != nil {
		t.Fatal(err)
	}
	w.expect("date_diff a provider", "", 2*994)
	w.biller.bills[monday] = nil
	w.importAt(morning(tuesday))
	w.expect("", "charge/a 1 matched, row/2026-03-03/1 1 date_diff", 2*994)
}

// Payments that the provider reversed have rows without a number of their own: each is
// an exception of its charge, and ends when another issue has it no more.
func TestReversedPaymentsAreNamedByTheirCharges(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), back(2, "a", "", 1000), row(3, "b", 1000, 6), back(4, "b", "", 1000)}
	w.importAt(morning(monday))
	w.expect("refund_unexpected a finance, refund_unexpected b finance", "", 2*994)
	w.biller.bills[monday] = w.biller.bills[monday][:3]
	w.importAt(morning(tuesday))
	w.expect("refund_unexpected a finance", "refund/of b 1 refund_unexpected", 2*994)
}

// Of two files of a day the one holds that was made later.
func TestOlderIssueChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.at(morning(monday))
	b := driver.Bill{Day: monday, Name: "bill.csv", Body: []byte("new"), Currency: "CNY", Issued: morning(monday)}
	if err := w.r.Import(t.Context(), tenant, contract, w.biller, b); err != nil {
		t.Fatal(err)
	}
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1000, 6)}
	b.Body, b.Issued = []byte("old"), b.Issued.Add(-time.Hour)
	if err := w.r.Import(t.Context(), tenant, contract, w.biller, b); !errors.Is(err, recon.ErrReissued) {
		t.Errorf("an older issue: %v; want ErrReissued", err)
	}
	w.expect("missing_provider b provider", "", 994)
	b.Body, b.Issued = []byte("newer"), b.Issued.Add(2*time.Hour)
	if err := w.r.Import(t.Context(), tenant, contract, w.biller, b); err != nil {
		t.Fatal(err)
	}
	w.expect("", "charge/b 1 missing_provider", 2*994)
}

// A process that dies at any statement of correcting leaves what the next one needs.
// Every statement dies the first two times that it is run.
func TestDyingWhileCorrectingHasOneEffect(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"), ok("c"), charge{"open", 1000, 6, "unknown", noon})
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1000, 6), row(3, "x", 5, 0)}
	w.importAt(morning(monday))
	w.biller.bills[monday] = []driver.BillLine{row(1, "b", 1001, 6), row(2, "c", 1000, 6), row(3, "open", 1000, 6), row(4, "c", 1000, 6)}
	var mu sync.Mutex // parts are corrected beside each other
	died := map[string]int{}
	var die context.CancelFunc
	r := *w.r
	r.DB = pgtest.Reopen(t, w.db, pgtest.WithClock(func() time.Time { return morning(tuesday) }), pgtest.WithStatements(func(sql string) {
		mu.Lock()
		defer mu.Unlock()
		if died[sql]++; died[sql] <= 2 {
			die()
		}
	}))
	w.at(morning(tuesday))
	file, err := w.biller.FetchBill(t.Context(), monday)
	if err != nil {
		t.Fatal(err)
	}
	deaths := 0
	for ; ; deaths++ {
		ctx, cancel := context.WithCancel(t.Context())
		mu.Lock()
		die = cancel
		mu.Unlock()
		err := r.Import(ctx, tenant, contract, w.biller, file)
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || deaths > 200 {
			t.Fatalf("after %d deaths: %v", deaths, err)
		}
	}
	if deaths < 20 {
		t.Errorf("died only %d times", deaths)
	}
	w.expect("amount_diff b finance, duplicate c provider, missing_provider a provider",
		"charge/a 1 matched, charge/b 1 matched, charge/c 1 missing_provider, charge/x 1 missing_ledger", 2*994)
}

// Another tenant's history is nobody else's.
func TestHistoryIsTheTenants(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6)}
	w.importAt(morning(monday))
	w.biller.bills[monday] = nil
	w.importAt(morning(tuesday))
	err := w.db.InTenant(t.Context(), tenant+1, func(tx *pg.Tx) error {
		past, err := recon.History(t.Context(), tx, recon.HistoryQuery{}, "", "", 0, 10)
		if len(past) != 0 {
			t.Errorf("another tenant sees %v", past)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.expect("missing_provider a provider", "charge/a 1 matched", 0)
}

// Each correction pair of history is in the books, and history is found by the bill that
// made it; position by position everything is seen once.
func TestHistoryNamesWhatItTookBack(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("a"), ok("b"))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 999, 6)}
	w.importAt(morning(monday))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 998, 6), row(2, "b", 1000, 6)}
	w.importAt(morning(tuesday))
	w.biller.bills[monday] = []driver.BillLine{row(1, "a", 1000, 6), row(2, "b", 1000, 6)}
	w.importAt(morning(tuesday.AddDays(1)))
	w.in(func(tx *pg.Tx) error {
		seen := ""
		var last recon.Past
		for {
			past, err := recon.History(t.Context(), tx, recon.HistoryQuery{}, last.Contract, last.Item.Item, last.N, 1)
			if err != nil || len(past) == 0 {
				if seen != "charge/a 1 2:1, charge/a 2 3:0, charge/b 1 2:0, " {
					t.Errorf("history, and how many pairs: %s", seen)
				}
				return err
			}
			last = past[0]
			pairs := last.Corrections(tenant)
			seen += fmt.Sprintf("%s %d %d:%d, ", last.Item.Item, last.N, last.EndedIssue, len(pairs))
			for _, c := range pairs {
				if n := pgtest.Owner(t, w.db).Count(tenant, `SELECT count(*) FROM transfers WHERE tenant_id = $1 AND transfer_id IN ($2, $3)`, int64(tenant), c.Transfer.ID, c.Reversal.ID); n != 2 {
					t.Errorf("%s: %d of its pair are in the books", last.Item.Item, n)
				}
			}
		}
	})
	for q, want := range map[recon.HistoryQuery]int{
		{Contract: contract, Day: monday, Issue: 2}: 2, {Issue: 3}: 1, {Contract: "another"}: 0, {Day: tuesday}: 0, {Day: monday}: 3,
	} {
		w.in(func(tx *pg.Tx) error {
			past, err := recon.History(t.Context(), tx, q, "", "", 0, 10)
			if len(past) != want {
				t.Errorf("%+v: %d; want %d", q, len(past), want)
			}
			if now, err := recon.Standing(t.Context(), tx, past); err != nil || len(past) > 0 && now[[2]string{contract, past[0].Item.Item}].Kind != recon.Matched {
				t.Errorf("%+v: now %+v, %v", q, now, err)
			}
			return err
		})
	}
	w.in(func(tx *pg.Tx) error {
		bills, err := recon.Issues(t.Context(), tx, "", "", citygate.Date{}, 0, 10)
		said := ""
		for _, b := range bills {
			said += fmt.Sprintf("%s %d: %d rows, %d corrected, %v; ", b.Day, b.Issue, b.Rows, b.Corrected, b.Holds)
		}
		if said != "2026-03-02 1: 2 rows, 0 corrected, false; 2026-03-02 2: 2 rows, 2 corrected, false; 2026-03-02 3: 2 rows, 1 corrected, true; " {
			t.Errorf("bills: %s", said)
		}
		return err
	})
}

// scrambled gives the rows of a bill as a provider may issue it that gets things wrong.
func scrambled(random *rand.Rand, right []driver.BillLine) (lines []driver.BillLine) {
	for _, l := range right {
		switch random.IntN(12) {
		case 0: // left out
			continue
		case 1, 2:
			l.Amount.Minor += random.Int64N(3) - 1
		case 3:
			l.Fee += random.Int64N(2)
		case 4:
			lines = append(lines, l) // twice
		case 5:
			l.OurID = "stranger " + l.OurID
		}
		lines = append(lines, l)
	}
	for i := range lines {
		lines[i].Line = i + 3
	}
	return lines
}

// Correcting by joining sets comes to the same as correcting thing by thing: the same
// items, the same history and the same transfers, to the last column.
func TestCorrectedTogetherIsCorrectedApart(t *testing.T) {
	for seed := range uint64(2) {
		var told []string
		for _, apart := range []bool{true, false} {
			w := newWorld(t)
			if apart {
				recon.Apart(w.r)
			}
			recon.JoinRows(w.r, 11)
			random := rand.New(rand.NewPCG(seed, 1))
			var right, later []driver.BillLine
			for n := range 40 {
				id, state := fmt.Sprintf("C%02d", n), "succeeded"
				if n%13 == 12 {
					state = "unknown"
				}
				w.charges(charge{id, 1000, 6, state, noon})
				right = append(right, row(n, id, 1000, 6))
				if n%5 == 0 {
					w.refund("R"+id, id, 300, "succeeded", noon)
					right = append(right, back(n, id, "R"+id, 300))
				}
				if n%9 == 1 {
					later = append(later, row(n, id, 1000, 6))
				}
			}
			w.charges(charge{"later", 1000, 6, "succeeded", noon.AddDate(0, 0, 1)})
			w.biller.bills[tuesday] = append(later, row(99, "later", 1000, 6)) // has some of monday's too
			for n := range 4 {
				w.biller.bills[monday] = scrambled(random, right)
				w.importAt(morning(monday.AddDays(n)))
				if n == 1 {
					w.in(func(tx *pg.Tx) error {
						items, err := recon.Exceptions(t.Context(), tx, true, "", "", 3)
						for _, i := range items {
							err = errors.Join(err, recon.Resolve(t.Context(), tx, "user:ada", contract, i.Item, recon.WriteOff, "agreed"))
						}
						return err
					})
				}
			}
			for i := range right {
				right[i].Line = i + 1
			}
			w.biller.bills[monday] = right
			w.importAt(morning(monday.AddDays(5)))
			w.settled()
			w.count()
			tables := ""
			for _, sql := range []string{
				`SELECT string_agg(i::text, E'\n' ORDER BY item) FROM recon_items AS i WHERE tenant_id = $1`,
				`SELECT string_agg(h::text, E'\n' ORDER BY item, n) FROM recon_history AS h WHERE tenant_id = $1`,
				`SELECT string_agg(t::text, E'\n' ORDER BY transfer_id) FROM transfers AS t WHERE tenant_id = $1`,
			} {
				for _, r := range pgtest.Owner(t, w.db).Rows(tenant, sql, int64(tenant)) {
					tables += r[0].(string) + "\n"
				}
			}
			told = append(told, tables)
			if got := len(w.history()); got < 20 {
				t.Errorf("only %d items are history", got)
			}
		}
		if apart, together := strings.Split(told[0], "\n"), strings.Split(told[1], "\n"); told[0] != told[1] {
			t.Errorf("seed %d: apart %d rows, together %d", seed, len(apart), len(together))
			for _, l := range apart {
				if !slices.Contains(together, l) {
					t.Logf("apart: %s", l)
				}
			}
			for _, l := range together {
				if !slices.Contains(apart, l) {
					t.Logf("together: %s", l)
				}
			}
		}
	}
}

// A bill whose every row is issued again with another amount, and then once more as it
// was: the time grows with the rows and not with their square.
func BenchmarkReissue(b *testing.B) {
	for _, n := range []int{25_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			large(w, n)
			w.importAt(morning(monday))
			right := w.biller.bills[monday]
			wrong := slices.Clone(right)
			for i := range wrong {
				wrong[i].Amount.Minor++
			}
			for i, lines := range [][]driver.BillLine{wrong, right} {
				b.Run([]string{"other", "as before"}[i], func(b *testing.B) {
					for n := range lines { // other bytes, or it is a file that was there
						lines[n].Line += 10
					}
					w.biller.bills[monday] = lines
					w.importAt(morning(tuesday.AddDays(i)))
					b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/row")
				})
			}
		})
	}
}
