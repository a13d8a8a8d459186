package settle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (w *world) rules(r PayoutRules, loosen bool) error {
	w.t.Helper()
	return w.try(operator, func(ctx context.Context, tx *pg.Tx) error {
		_, err := SetPayoutRules(ctx, tx, "user:ada", r, loosen)
		return err
	})
}

func above(minor int64) *int64 { return &minor }

func releaseOf(p Payout) Release {
	return Release{Payout: p.ID, Amount: citygate.Money{Minor: p.Amount, Currency: p.Currency}, Payee: p.Payee}
}

func (w *world) proven() {
	w.t.Helper()
	if r := w.checkPayouts(); !r.OK() {
		w.t.Errorf("findings %v", r.Findings)
	}
	if r := w.rederive(); !r.Holds("books_rederive") {
		w.t.Errorf("findings %v", r.Findings)
	}
}

// heldDay pays the first day: 694 to owner:1 go, 900 and 950 to others wait.
func heldDay(t *testing.T) (w *world, large, listed Payout) {
	t.Helper()
	w = newWorld(t)
	if err := w.rules(PayoutRules{HoldAbove: above(800), HoldPayees: []string{"owner:3"}}, false); err != nil {
		t.Fatal(err)
	}
	w.mustTake(issuer, item(interbook.AdviceCleared, ride(1, 1), 694, "c1"), item(interbook.AdviceCleared, ride(2, 2), 900, "c2"),
		item(interbook.AdviceCleared, ride(3, 3), 50, "c3"))
	w.at(local(day, 24+4).Add(PayAfter))
	w.run()
	w.run() // the due work leaves it alone
	got := w.payouts(day)
	if len(got) != 3 || got[0].State != "sent" || got[1].State != "held" || got[1].HeldFor != "above_limit" || got[2].State != "held" || got[2].HeldFor != "payee" {
		t.Fatalf("payouts %+v", got)
	}
	return w, got[1], got[2]
}

// A payout that waits is owed and in no book and no file; released, it is booked
// and ordered once, whoever asks again and however often.
func TestPayoutIsReleasedOnce(t *testing.T) {
	w, large, listed := heldDay(t)
	if n := w.balance(ledger.Bank()); n != large.Amount+listed.Amount {
		t.Errorf("the bank holds %d, want what waits", n)
	}
	w.proven()
	first, err := os.ReadFile(filepath.Join(w.dir, "payout-green-minibus-2026-11-21.csv"))
	if err != nil || strings.Contains(string(first), "owner:2") {
		t.Errorf("the first file: %v\n%s", err, first)
	}
	for range 2 { // the answer was lost
		if got, err := w.s.Release(t.Context(), "user:bea", operator, releaseOf(large)); err != nil || got[0].ReleasedBy != "user:bea" || got[0].State == "held" {
			t.Fatalf("%+v, %v", got, err)
		}
		w.run()
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM transfers WHERE code = 'payout' AND event = 'payout:`+large.ID.String()+`'`); n != 1 {
		t.Errorf("it is booked %d times", n)
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM audit_log WHERE verb = 'payout.release'`); n != 1 {
		t.Errorf("the audit log has %d releases", n)
	}
	w.proven()
	second, err := os.ReadFile(filepath.Join(w.dir, "payout-green-minibus-2026-11-21-r1.xml"))
	if err != nil || !strings.Contains(string(second), large.EndToEndID) || strings.Contains(string(second), listed.EndToEndID) ||
		!strings.Contains(string(second), "<MsgId>CG-12-2026-11-21-r1</MsgId>") {
		t.Errorf("the file of the release: %v\n%s", err, second)
	}
	if after, err := os.ReadFile(filepath.Join(w.dir, "payout-green-minibus-2026-11-21.csv")); err != nil || string(after) != string(first) {
		t.Errorf("the first file changed: %v", err)
	}
	if got := w.payouts(day); got[2].State != "held" {
		t.Errorf("the other one is %s", got[2].State)
	}
}

// A death between the release and its file, and one between the file and its
// note, leave a payout that is booked once and ordered in the same bytes.
func TestReleaseSurvivesADeath(t *testing.T) {
	w, large, _ := heldDay(t)
	if _, err := w.s.Release(t.Context(), "user:bea", operator, releaseOf(large)); err != nil {
		t.Fatal(err)
	}
	w.fail = errors.New("died") // the file is there, and nobody notes it
	if err := w.s.RunDue(t.Context(), operator); !errors.Is(err, w.fail) && err == nil {
		t.Fatal("nothing died")
	}
	before, err := os.ReadFile(filepath.Join(w.dir, "payout-green-minibus-2026-11-21-r1.csv"))
	if err != nil {
		t.Fatal(err)
	}
	w.at(w.clock().AddDate(0, 0, 1))
	w.run()
	after, err := os.ReadFile(filepath.Join(w.dir, "payout-green-minibus-2026-11-21-r1.csv"))
	if err != nil || string(before) != string(after) {
		t.Errorf("the file changed: %v", err)
	}
	if got := w.payouts(day); got[1].State != "sent" || got[1].CSVFile != "payout-green-minibus-2026-11-21-r1.csv" {
		t.Errorf("%+v", got[1])
	}
	w.proven()
}

func TestReleaseIsOfWhatWasSeen(t *testing.T) {
	w, large, listed := heldDay(t)
	release := func(r ...Release) error {
		_, err := w.s.Release(t.Context(), "user:bea", operator, r...)
		return err
	}
	other := releaseOf(large)
	other.Amount.Minor--
	to := releaseOf(large)
	to.Payee = "owner:1"
	for what, c := range map[string]struct {
		err  error
		want *citygate.Code
	}{
		"another amount":               {release(other), ErrPayoutDiffers},
		"another payee":                {release(to), ErrPayoutDiffers},
		"one that did not wait":        {release(releaseOf(w.payouts(day)[0])), ErrNotHeld},
		"one of nobody":                {release(Release{Payout: citygate.UUID{1}}), ErrNoPayout},
		"a good one beside a bad one":  {release(releaseOf(listed), other), ErrPayoutDiffers},
		"none":                         {release(), ErrPayoutRules},
		"rules that are laxer, unseen": {w.rules(PayoutRules{HoldAbove: above(900), HoldPayees: []string{"owner:3"}}, false), ErrRulesLoosened},
		"rules without a payee":        {w.rules(PayoutRules{HoldAbove: above(800)}, false), ErrRulesLoosened},
		"rules that cannot be":         {w.rules(PayoutRules{HoldAbove: above(-1)}, true), ErrPayoutRules},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %s", what, c.err, c.want.Name)
		}
	}
	if n := w.owner.Count(operator, `SELECT count(*) FROM payouts WHERE state = 'held'`); n != 2 {
		t.Errorf("%d wait still, want both", n)
	}
	if _, err := w.s.Release(t.Context(), "user:bea", issuer, releaseOf(large)); !errors.Is(err, ErrNoPayout) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := w.rules(PayoutRules{Manual: true}, false); err != nil {
		t.Errorf("stricter rules: %v", err)
	}
	if err := w.rules(PayoutRules{}, true); err != nil {
		t.Errorf("laxer rules that were approved: %v", err)
	}
}

// Those who release at once share nothing: each payout goes once, and each
// release has files of its own.
func TestReleasesRace(t *testing.T) {
	w, large, listed := heldDay(t)
	var all sync.WaitGroup
	for _, p := range []Payout{large, listed, large, listed} {
		all.Go(func() {
			if _, err := w.s.Release(t.Context(), "user:bea", operator, releaseOf(p)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.run()
	if n := w.owner.Count(operator, `SELECT count(*) FROM transfers WHERE code = 'payout'`); n != 3 {
		t.Errorf("%d payouts are booked, want 3", n)
	}
	if n := w.owner.Count(operator, `SELECT count(DISTINCT batch) FROM payouts WHERE state = 'sent'`); n != 3 {
		t.Errorf("%d orders, want 3", n)
	}
	w.proven()
}
