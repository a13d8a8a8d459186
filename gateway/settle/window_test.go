package settle

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (w *world) window(d citygate.Date) Window {
	w.t.Helper()
	var all []Window
	w.in(operator, func(ctx context.Context, tx *pg.Tx) (err error) {
		all, err = Windows(ctx, tx, d.AddDays(1), 1)
		return err
	})
	if len(all) != 1 || all[0].BusinessDate != d {
		w.t.Fatalf("window of %s: %+v", d, all)
	}
	return all[0]
}

func TestDecisionOfAClosedDayGoesToTheNextWindow(t *testing.T) {
	w := newWorld(t)
	if got := w.decide(ride(1, 1), 1, "owner:1", 500); got != day {
		t.Fatalf("window %s; want %s", got, day)
	}
	closes := local(day, 24+4).Add(Grace)
	w.at(closes.Add(-time.Microsecond))
	w.run()
	if s := w.window(day).State; s != "open" {
		t.Fatalf("closed before its grace was over: %s", s)
	}
	w.at(closes)
	w.run()
	closed := w.window(day)
	if closed.State != "closed" || closed.ClosedAt == nil || len(closed.TotalsHash) != 32 {
		t.Fatalf("window %+v", closed)
	}
	if got := w.decide(ride(1, 1), 2, "owner:1", 300); got != day.AddDays(1) {
		t.Errorf("the late decision went to %s; want %s", got, day.AddDays(1))
	}
	w.run()
	if again := w.window(day); string(again.TotalsHash) != string(closed.TotalsHash) || !again.ClosedAt.Equal(*closed.ClosedAt) {
		t.Errorf("the closed window changed")
	}
	// The late decision takes back in its own window what it supersedes.
	w.at(local(day.AddDays(1), 24+4).Add(Grace))
	w.run()
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		for d, want := range map[citygate.Date]int64{day: 500, day.AddDays(1): -200} {
			got, err := earned(ctx, tx, d)
			if err != nil || len(got) != 1 || got[0].amount != want {
				t.Errorf("earned in %s: %+v, %v; want %d", d, got, err, want)
			}
		}
		return nil
	})
}

func TestClosedWindowShowsWhetherItStillHoldsTheSame(t *testing.T) {
	w := newWorld(t)
	w.decide(ride(1, 1), 1, "owner:1", 500)
	w.decide(ride(2, 2), 1, "owner:2", 700)
	w.at(local(day, 24+4).Add(Grace))
	w.run()
	verify := func() bool {
		report, err := CheckWindows(t.Context(), w.db, []citygate.TenantID{issuer, operator})
		if err != nil {
			t.Fatal(err)
		}
		if !report.OK() && (report.Wrong != 1 || report.Findings[0].Field != "window "+day.String() || report.Findings[0].Tenant != operator) {
			t.Errorf("found %+v", report)
		}
		return report.OK()
	}
	if !verify() {
		t.Error("an untouched window does not verify")
	}
	if n := w.owner.Exec(operator, `UPDATE fare_decisions SET amount = 501 WHERE tenant_id = $1 AND payee = 'owner:1'`, int64(operator)); n != 1 {
		t.Fatalf("%d rows changed", n)
	}
	if verify() {
		t.Error("a changed window verifies")
	}
}

// Closing waits for a transaction that has put a decision into the window.
func TestClosingWaitsForWhoWritesIntoTheWindow(t *testing.T) {
	w := newWorld(t)
	w.run() // the window is there
	inside, leave, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- w.db.InTenant(context.Background(), operator, func(tx *pg.Tx) error {
			_, err := w.s.DecisionWindow(context.Background(), tx, day)
			close(inside)
			<-leave
			return err
		})
	}()
	<-inside
	w.at(local(day, 24+4).Add(Grace))
	closed := make(chan error, 1)
	go func() { closed <- w.s.CloseDue(context.Background(), operator) }()
	early := time.AfterFunc(200*time.Millisecond, func() { close(leave) })
	err := <-closed
	if early.Stop() {
		t.Errorf("closed while a decision was being written: %v", err)
		close(leave)
	}
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if s := w.window(day).State; s != "closed" {
		t.Errorf("the window is %s; want closed", s)
	}
}

// And who comes while the window is being closed waits, and gets the next one.
func TestDecisionWaitsForTheClosing(t *testing.T) {
	w := newWorld(t)
	w.decide(ride(1, 1), 1, "owner:1", 500)
	w.at(local(day, 24+4).Add(Grace))
	inside, leave, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- w.db.InTenant(context.Background(), operator, func(tx *pg.Tx) error {
			d, _, err := lockDueToClose(context.Background(), tx)
			if err == nil {
				err = closeWindow(context.Background(), tx, d)
			}
			close(inside)
			<-leave
			return err
		})
	}()
	<-inside
	got := make(chan citygate.Date, 1)
	go func() {
		_ = w.db.InTenant(context.Background(), operator, func(tx *pg.Tx) error {
			d, err := w.s.DecisionWindow(context.Background(), tx, day)
			got <- d
			return err
		})
	}()
	time.Sleep(50 * time.Millisecond)
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if d := <-got; d != day.AddDays(1) {
		t.Errorf("window %s; want %s", d, day.AddDays(1))
	}
}

// Money is paid with the window of its ride's decision, or with the next one once
// that is paid; never with an earlier one, which was closed before the ride.
func TestMoneyGoesToTheWindowOfItsRide(t *testing.T) {
	w := newWorld(t)
	first, second, corrected := ride(1, 1), ride(2, 1), ride(3, 1)
	next, later := day.AddDays(1), day.AddDays(2)
	w.decide(first, 1, "owner:1", 500)
	w.decide(corrected, 1, "owner:1", 700)
	w.at(local(next, 12)) // the day is over and closed, and not paid
	w.run()
	if got := w.decideOn(next, second, 1, "owner:1", 600); got != next {
		t.Fatalf("the decision is in %s; want %s", got, next)
	}
	if got := w.decide(corrected, 2, "owner:1", 300); got != next {
		t.Fatalf("the correction is in %s; want %s", got, next)
	}
	windows := func() map[citygate.UUID]citygate.Date {
		found := map[citygate.UUID]citygate.Date{}
		for _, row := range w.owner.Rows(operator, `SELECT journey_id::text, window_date FROM receipts WHERE tenant_id = $1 AND ref = 'now'`, int64(operator)) {
			id, err := citygate.ParseUUID("", row[0].(string))
			if err != nil {
				t.Fatal(err)
			}
			found[id] = citygate.DateOf(row[1].(time.Time))
		}
		return found
	}
	check := func(want map[citygate.UUID]citygate.Date) {
		t.Helper()
		for journey, d := range windows() {
			if d != want[journey] {
				t.Errorf("money of ride %d is in %s; want %s", journey[0], d, want[journey])
			}
		}
		if len(windows()) != len(want) {
			t.Errorf("windows %v; want %v", windows(), want)
		}
	}
	w.mustTake(issuer, item(interbook.AdviceCleared, first, 500, "now"), item(interbook.AdviceCleared, second, 600, "now"),
		item(interbook.AdviceCleared, corrected, 700, "paid"), item(interbook.AdviceCleared, corrected, -400, "now"))
	check(map[citygate.UUID]citygate.Date{first: day, second: next, corrected: day})

	// What comes after its window was paid goes to the next one that is not.
	w.at(local(day, 24+4).Add(PayAfter))
	w.run()
	late := ride(4, 1) // decided in time, charged long after
	w.decideOn(day, late, 1, "owner:1", 40)
	w.owner.Exec(operator, `UPDATE fare_decisions SET window_date = $2 WHERE tenant_id = $1 AND journey_id = $3`, int64(operator), day.Time(), late.String())
	w.mustTake(issuer, item(interbook.AdviceCleared, late, 40, "now"), item(interbook.AdviceCleared, first, -100, "refund"))
	check(map[citygate.UUID]citygate.Date{first: day, second: next, corrected: day, late: next})
	w.at(local(next, 24+4).Add(PayAfter))
	w.run()
	for d, want := range map[citygate.Date]int64{day: 500 + 700 - 400, next: 600 + 40 - 100} {
		if got := w.payouts(d); len(got) != 1 || got[0].Amount != want {
			t.Errorf("payouts of %s: %+v; want %d", d, got, want)
		}
	}
	if s := w.window(later).State; s == "paid" {
		t.Errorf("the window of %s is %s before its time", later, s)
	}
	if r := w.checkPayouts(); !r.OK() {
		t.Errorf("findings %v", r.Findings)
	}
}

// Every window may be paid already when money comes.
func TestMoneyAfterTheLastWindowOpensTheNextOne(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.owner.Exec(operator, `UPDATE windows SET state = 'paid', closed_at = $2, paid_at = $2, totals_hash = '' WHERE tenant_id = $1`, int64(operator), w.clock())
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		d, err := w.s.ReceiptWindow(ctx, tx, citygate.Date{})
		if d != day.AddDays(1) {
			t.Errorf("money goes to %s; want %s", d, day.AddDays(1))
		}
		return err
	})
}

// Which windows there are does not depend on when anybody looked.
func TestDaysOnWhichNobodyLookedHaveWindows(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.at(local(day.AddDays(3), 12))
	w.run()
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		all, err := Windows(ctx, tx, citygate.Date{}, 10)
		if len(all) != 4 || all[0].BusinessDate != day.AddDays(3) || all[3].BusinessDate != day {
			t.Errorf("windows %+v", all)
		}
		return err
	})
}

// The instants are wall clock times: a day of 23 hours is one window.
func TestWindowOfAShortDay(t *testing.T) {
	w := newWorld(t)
	berlin := citygate.Calendar{Version: 1, Location: mustZone("Europe/Berlin"), Cut: 4 * time.Hour}
	short := citygate.Date{Year: 2027, Month: 3, Day: 27} // 04:00 to 04:00, with the change of the 28th in it
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		_, err := DecisionWindow(ctx, tx, berlin, short)
		return err
	})
	got := w.window(short)
	if length := got.EndsAt.Sub(got.OpensAt); length != 23*time.Hour {
		t.Errorf("the window is %s long; want 23h", length)
	}
	if got.ClosesAt.Sub(got.EndsAt) != Grace || got.PaysAt.Sub(got.EndsAt) != PayAfter {
		t.Errorf("window %+v", got)
	}
}

func TestPendingNamesTheNextInstant(t *testing.T) {
	w := newWorld(t)
	pending := func() (due Due) {
		w.in(operator, func(ctx context.Context, tx *pg.Tx) (err error) {
			due, err = Pending(ctx, tx)
			return err
		})
		return due
	}
	w.run()
	if due := pending(); due.Windows != 0 || !due.Next.IsZero() {
		t.Errorf("with nothing in any window: %+v", due)
	}
	w.decide(ride(1, 1), 1, "owner:1", 500)
	closes := local(day, 24+4).Add(Grace)
	if due := pending(); due.Windows != 1 || !due.Next.Equal(closes) {
		t.Errorf("Pending = %+v; want the close at %s", due, closes)
	}
	w.at(closes)
	w.run()
	pays := local(day, 24+4).Add(PayAfter)
	if due := pending(); due.Windows != 1 || !due.Next.Equal(pays) {
		t.Errorf("Pending = %+v; want the payment at %s", due, pays)
	}
	w.at(pays)
	w.run()
	if due := pending(); due.Windows != 0 || due.Files != 0 {
		t.Errorf("Pending after the payment = %+v", due)
	}
}

// The windows of a tenant follow the terms it set for their date, and those it had
// before keep what they were made with.
func TestWindowsFollowTheTermsOfTheirDate(t *testing.T) {
	w := newWorld(t)
	w.run()
	add := func(terms Terms) error {
		return w.try(operator, func(ctx context.Context, tx *pg.Tx) error { return AddTerms(ctx, tx, "test", terms) })
	}
	soon := Terms{Version: 1, From: day.AddDays(2), CloseAfter: 0, PayAfter: 90 * time.Minute}
	for range 2 {
		if err := add(soon); err != nil {
			t.Fatal(err)
		}
	}
	later := Terms{Version: 2, From: day.AddDays(3), CloseAfter: 5 * time.Hour, PayAfter: 5 * time.Hour}
	if err := add(later); err != nil {
		t.Fatal(err)
	}
	other := soon
	other.PayAfter = time.Hour
	for what, terms := range map[string]Terms{
		"another content":     other,
		"a version too early": {Version: 4, From: day.AddDays(9), PayAfter: time.Hour},
		"version 0":           {From: day.AddDays(9), PayAfter: time.Hour},
		"no date":             {Version: 3, PayAfter: time.Hour},
		"a day with a window": {Version: 3, From: day, PayAfter: time.Hour},
		"pay before close":    {Version: 3, From: day.AddDays(9), CloseAfter: time.Hour, PayAfter: time.Minute},
		"seconds":             {Version: 3, From: day.AddDays(9), PayAfter: time.Second},
		"close after weeks":   {Version: 3, From: day.AddDays(9), CloseAfter: closeMost + time.Minute, PayAfter: payMost},
		"pay after months":    {Version: 3, From: day.AddDays(9), PayAfter: payMost + time.Minute},
	} {
		if err := add(terms); !errors.Is(err, ErrTerms) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.at(local(day.AddDays(4), 12))
	w.run()
	for n, want := range []Terms{DefaultTerms(), DefaultTerms(), soon, later, later} {
		got := w.window(day.AddDays(n))
		if got.Terms != want.Version || got.ClosesAt.Sub(got.EndsAt) != want.CloseAfter || got.PaysAt.Sub(got.EndsAt) != want.PayAfter {
			t.Errorf("day %d: %+v, want by %+v", n, got, want)
		}
	}
	if got := w.window(day.AddDays(2)); got.State != "paid" {
		t.Errorf("the window that is paid soon is %s", got.State)
	}
	w.in(issuer, func(ctx context.Context, tx *pg.Tx) error {
		all, err := AllTerms(ctx, tx)
		if len(all) != 0 {
			t.Errorf("another tenant has %+v", all)
		}
		return err
	})
}
