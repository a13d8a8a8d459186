package settle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// payee makes a payee that has an account.
func (w *world) payee(name, account string) {
	w.owner.Exec(operator, `INSERT INTO payees (tenant_id, payee, kind, name, account, bank_id, is_default) VALUES ($1, $2, 'owner', $2, $3, '', false)`, operator, name, account)
}

// A payout that is taken back is owed again and paid once with the next window,
// however often it is taken back, and though nothing else came in for its payee.
func TestCancelledPayoutIsPaidWithTheNextWindow(t *testing.T) {
	w, large, _ := heldDay(t)
	var carriedOf []Carry
	for range 2 { // the answer was lost
		p, err := w.s.Cancel(t.Context(), "user:bea", operator, releaseOf(large))
		if err != nil || p.State != "cancelled" || p.CancelledBy != "user:bea" {
			t.Fatalf("%+v, %v", p, err)
		}
		w.run()
	}
	if n := w.balance(ledger.Payable(large.Payee)); n != 0 { // this book has payouts alone
		t.Errorf("%d is booked for %s", n, large.Payee)
	}
	w.proven()
	w.in(operator, func(ctx context.Context, tx *pg.Tx) (err error) {
		carriedOf, err = Carried(ctx, tx, Carry{}, 10)
		return err
	})
	if len(carriedOf) != 0 {
		t.Errorf("somebody has to make good what was taken back: %+v", carriedOf)
	}
	if _, err := w.s.Release(t.Context(), "user:bea", operator, releaseOf(large)); !errors.Is(err, ErrNotHeld) {
		t.Errorf("released after it was taken back: %v", err)
	}
	if _, err := w.s.Redirect(t.Context(), "user:bea", operator, releaseOf(large), "owner:1"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("redirected after it was taken back: %v", err)
	}
	if err := w.rules(PayoutRules{HoldPayees: []string{"owner:3"}}, true); err != nil {
		t.Fatal(err)
	}
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(9, 1), 55, "c9")) // for another payee
	w.at(local(day, 24+4).Add(PayAfter + 24*time.Hour))
	w.run()
	w.run()
	got := w.payouts(day.AddDays(1))
	if len(got) != 2 || got[1].Payee != large.Payee || got[1].Amount != large.Amount || got[1].State != "sent" || got[0].Amount != 55 {
		t.Fatalf("the next window pays %+v", got)
	}
	if n := w.balance(ledger.Payable(large.Payee)); n != large.Amount {
		t.Errorf("%d is booked for %s", n, large.Payee)
	}
	w.proven()
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(10, 1), 60, "c10"))
	w.at(local(day, 24+4).Add(PayAfter + 48*time.Hour))
	w.run()
	if got := w.payouts(day.AddDays(2)); len(got) != 1 {
		t.Errorf("the window after that pays %+v", got)
	}
	w.proven()
	if n := w.owner.Count(operator, `SELECT count(*) FROM audit_log WHERE verb = 'payout.cancel' AND actor = 'user:bea'`); n != 1 {
		t.Errorf("the audit log has it %d times", n)
	}
}

// A payout that waits is paid to another payee: the claim of the first is settled,
// the file names the other, and whoever releases it must have seen that.
func TestRedirectedPayoutGoesToTheOther(t *testing.T) {
	w, large, _ := heldDay(t)
	w.payee("heir", "6222020200012345678")
	w.payee("poor", "")
	w.payee("watched", "1")
	if err := w.rules(PayoutRules{HoldAbove: above(800), HoldPayees: []string{"owner:3", "watched"}}, false); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]*citygate.Code{"nobody": ErrRedirect, "poor": ErrRedirect, "watched": ErrRedirect} {
		if _, err := w.s.Redirect(t.Context(), "user:bea", operator, releaseOf(large), to); !errors.Is(err, want) {
			t.Errorf("to %s: %v", to, err)
		}
	}
	wrong := releaseOf(large)
	wrong.Amount.Minor++
	if _, err := w.s.Redirect(t.Context(), "user:bea", operator, wrong, "heir"); !errors.Is(err, ErrPayoutDiffers) {
		t.Errorf("of another amount: %v", err)
	}
	for range 2 {
		p, err := w.s.Redirect(t.Context(), "user:bea", operator, releaseOf(large), "heir")
		if err != nil || p.State != "held" || p.Recipient() != "heir" {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if _, err := w.s.Release(t.Context(), "user:cyd", operator, releaseOf(large)); !errors.Is(err, ErrPayoutDiffers) {
		t.Errorf("released to who is not paid any more: %v", err)
	}
	if _, err := w.s.Cancel(t.Context(), "user:cyd", operator, releaseOf(large)); !errors.Is(err, ErrPayoutDiffers) {
		t.Errorf("taken back by who has not seen it: %v", err)
	}
	seen := releaseOf(large)
	seen.Payee = "heir"
	if _, err := w.s.Release(t.Context(), "user:cyd", operator, seen); err != nil {
		t.Fatal(err)
	}
	w.run()
	for _, file := range []string{"csv", "xml"} {
		raw, err := os.ReadFile(filepath.Join(w.dir, "payout-green-minibus-2026-11-21-r1."+file))
		if err != nil || !strings.Contains(string(raw), "heir") || strings.Contains(string(raw), large.Payee) {
			t.Errorf("the %s file: %v\n%s", file, err, raw)
		}
	}
	if n := w.balance(ledger.Payable(large.Payee)); n != large.Amount {
		t.Errorf("%d is booked for %s, whose claim it settles", n, large.Payee)
	}
	w.proven()
	if _, err := w.s.Redirect(t.Context(), "user:bea", operator, seen, large.Payee); !errors.Is(err, ErrNotHeld) {
		t.Errorf("redirected after it was sent: %v", err)
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM audit_log WHERE verb = 'payout.redirect'`); n != 1 {
		t.Errorf("the audit log has it %d times", n)
	}
}

// Of a release, a cancellation and another cancellation at once one wins.
func TestCancelAndReleaseAtOnce(t *testing.T) {
	w, large, _ := heldDay(t)
	var wg sync.WaitGroup
	results := make([]error, 6)
	for i := range results {
		wg.Go(func() {
			if i%2 == 0 {
				_, results[i] = w.s.Release(t.Context(), "user:bea", operator, releaseOf(large))
			} else {
				_, results[i] = w.s.Cancel(t.Context(), "user:cyd", operator, releaseOf(large))
			}
		})
	}
	wg.Wait()
	for i := range results {
		if (results[i] == nil) != (results[i%2] == nil) || results[i] != nil && !errors.Is(results[i], ErrNotHeld) {
			t.Errorf("%d: %v", i, results[i])
		}
	}
	if (results[0] == nil) == (results[1] == nil) {
		t.Errorf("both or none: %v, %v", results[0], results[1])
	}
	w.run()
	w.proven()
}
