package recon_test

import (
	"errors"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func (w *world) decide(item string, how recon.Resolution) error {
	w.t.Helper()
	return w.db.InTenant(w.t.Context(), tenant, func(tx *pg.Tx) error {
		return recon.Resolve(w.t.Context(), tx, "user:ada", contract, item, how, "seen in the provider's portal")
	})
}

func (w *world) mustDecide(item string, how recon.Resolution) {
	w.t.Helper()
	if err := w.decide(item, how); err != nil {
		w.t.Fatalf("%s %s: %v", how, item, err)
	}
}

// disagreements are one exception of every kind but date_diff.
func disagreements(w *world) map[string]recon.Kind {
	w.charges(ok("missing"), ok("cent"), ok("short"), ok("hkd"), ok("taken"), ok("twice"), ok("good"))
	w.refund("lost", "good", 100, "succeeded", noon)
	hkd := row(3, "hkd", 1000, 6)
	hkd.Amount.Currency = "HKD"
	w.biller.bills[monday] = []driver.BillLine{
		row(1, "cent", 1001, 6), row(2, "short", 990, 6), hkd, row(4, "stranger", 500, 3), row(5, "taken", 1000, 6), back(6, "taken", "nobody", 1000),
		row(7, "twice", 1000, 6), row(8, "twice", 1000, 6), row(9, "good", 1000, 6),
	}
	w.importAt(morning(monday))
	return map[string]recon.Kind{
		"charge/missing": recon.MissingProvider, "charge/cent": recon.AmountDiff, "charge/short": recon.AmountDiff, "charge/hkd": recon.CurrencyDiff,
		"charge/stranger": recon.MissingLedger, "refund/nobody": recon.RefundUnexpected, "row/2026-03-02/8": recon.Duplicate,
		"refund/lost": recon.MissingProvider,
	}
}

// Every decision empties what the provider owes, sends the difference where the
// documentation says, and lets the charge go.
func TestDecisionsAreBooked(t *testing.T) {
	const matched = 3 * 994 // taken, twice, good
	// What each exception brings to the bank and what is then left of the debt.
	paid := map[string]int64{"charge/cent": 995, "charge/short": 984, "charge/stranger": 497, "refund/nobody": -1000, "row/2026-03-02/8": 994}
	left := map[string]int64{
		"charge/missing": 994, "charge/cent": -1, "charge/short": 10, "charge/hkd": 994, "charge/stranger": -497, "refund/nobody": 1000,
		"row/2026-03-02/8": -994, "refund/lost": -100,
	}
	for _, how := range []recon.Resolution{recon.AcceptProvider, recon.AcceptOurs, recon.WriteOff} {
		t.Run(string(how), func(t *testing.T) {
			w := newWorld(t)
			items := disagreements(w)
			bank, suspense, writeOff := int64(matched), int64(0), int64(0)
			for item, kind := range items {
				if kind == recon.CurrencyDiff && how == recon.AcceptProvider {
					if err := w.decide(item, how); !errors.Is(err, recon.ErrResolution) {
						t.Errorf("a row in another currency took our payment's place: %v", err)
					}
					continue
				}
				w.mustDecide(item, how)
				w.settled() // with the others still open
				if err := w.decide(item, how); !errors.Is(err, recon.ErrNotOpen) {
					t.Errorf("%s a second time: %v; want ErrNotOpen", item, err)
				}
				bank += paid[item]
				if how == recon.AcceptOurs || how == recon.AcceptProvider && left[item] < 0 {
					suspense += left[item]
				} else {
					writeOff += left[item]
				}
			}
			open := int64(0)
			if how == recon.AcceptProvider {
				open = 994 // of the other currency
			}
			for account, want := range map[string]int64{
				ledger.Bank(): bank, ledger.Suspense(contract): suspense, ledger.WriteOff(contract): writeOff, ledger.ProviderReceivable(contract): open,
			} {
				if got := w.balance(account); got != want {
					t.Errorf("%s has %d; want %d", account, got, want)
				}
			}
			w.in(func(tx *pg.Tx) error {
				all := []citygate.UUID{id("missing"), id("cent"), id("short"), id("hkd"), id("taken"), id("twice"), id("good")}
				free, err := recon.Releasable(t.Context(), tx, all)
				if want := len(all) - int(open/994); len(free) != want {
					t.Errorf("%d charges may go on; want %d", len(free), want)
				}
				return err
			})
			entries := pgtest.Owner(t, w.db).Count(tenant, `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = 'recon.resolve'`, int64(tenant))
			if want := int64(len(items)) - open/994; entries != want {
				t.Errorf("%d audit entries; want %d", entries, want)
			}
		})
	}
}

// A decision's transfers follow from the decision: one that is changed, or was
// never made by Resolve, is found.
func TestDecisionsReDerive(t *testing.T) {
	for name, tamper := range map[string]string{
		"another decision":  `UPDATE recon_items SET resolution = 'accept_ours' WHERE tenant_id = $1 AND item = 'charge/short'`,
		"a decision undone": `UPDATE recon_items SET state = 'open', resolution = '', resolved_at = NULL WHERE tenant_id = $1 AND item = 'charge/short'`,
		"closed in secret":  `UPDATE recon_items SET state = 'resolved', resolved_at = opened_at WHERE tenant_id = $1 AND item = 'charge/missing'`,
	} {
		w := newWorld(t)
		disagreements(w)
		w.mustDecide("charge/short", recon.WriteOff)
		if n := pgtest.Owner(t, w.db).Exec(tenant, tamper, int64(tenant)); n != 1 {
			t.Fatalf("%s: %d rows changed", name, n)
		}
		r, err := ledger.Check(t.Context(), w.db, []citygate.TenantID{tenant}, []ledger.Source{recon.Source{}, paymentSource{}})
		if err != nil || r.OK() {
			t.Errorf("%s is not found: %v", name, err)
		}
	}
}

// The row of a payment that was resolved as missing comes after all: it is not
// booked twice, and deciding it sets off what the first decision assumed.
func TestRowOfADecidedPaymentIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	w.charges(ok("late"), ok("other"))
	w.refund("touch", "other", 1, "succeeded", noon.AddDate(0, 0, 1)) // so that tuesday has a bill
	w.biller.bills[monday] = []driver.BillLine{row(1, "other", 1000, 6)}
	w.biller.bills[monday.AddDays(1)] = []driver.BillLine{row(1, "late", 1000, 6), back(2, "other", "touch", 1)}
	w.importAt(morning(monday))
	w.mustDecide("charge/late", recon.AcceptOurs)
	if got := w.balance(ledger.Suspense(contract)); got != 994 {
		t.Errorf("the provider owes %d outside its bills; want 994", got)
	}
	w.importAt(morning(monday.AddDays(1)))
	if got := joined(w.exceptions()); got != "date_diff late provider, missing_provider late provider" {
		t.Fatalf("exceptions %q", got)
	}
	w.settled()
	w.mustDecide("row/2026-03-03/1", recon.AcceptProvider)
	w.settled()
	for account, want := range map[string]int64{ledger.Suspense(contract): 0, ledger.WriteOff(contract): 0, ledger.Bank(): 2*994 - 1} {
		if got := w.balance(account); got != want {
			t.Errorf("%s has %d; want %d", account, got, want)
		}
	}
	if c := w.count(); c.Open != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestDecisionThatSaysNothingIsRefused(t *testing.T) {
	w := newWorld(t)
	disagreements(w)
	if err := w.decide("charge/short", "whatever"); !errors.Is(err, recon.ErrResolution) {
		t.Errorf("an unknown decision: %v", err)
	}
	err := w.db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
		return recon.Resolve(t.Context(), tx, "user:ada", contract, "charge/short", recon.WriteOff, "")
	})
	if !errors.Is(err, recon.ErrResolution) {
		t.Errorf("without a reason: %v", err)
	}
	err = w.db.InTenant(t.Context(), tenant+1, func(tx *pg.Tx) error {
		return recon.Resolve(t.Context(), tx, "user:eve", contract, "charge/short", recon.WriteOff, "mine now")
	})
	if !errors.Is(err, recon.ErrNotOpen) {
		t.Errorf("by another tenant: %v", err)
	}
	if err := w.decide("charge/good", recon.WriteOff); !errors.Is(err, recon.ErrNotOpen) {
		t.Errorf("a matched row: %v", err)
	}
	w.in(func(tx *pg.Tx) error {
		lost, err := recon.JudgedRefunds(t.Context(), tx, []citygate.UUID{id("lost"), id("unheard of")})
		if lost != 1 {
			t.Errorf("%d refunds are judged; want 1", lost)
		}
		return err
	})
	w.settled()
}
