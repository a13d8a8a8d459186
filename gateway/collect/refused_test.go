package collect

import (
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// refuseRefund has the provider decline the one refund that is on its way.
func (c *city) refuseRefund() RefundView {
	c.t.Helper()
	c.in(func(tx *pg.Tx) error {
		batch, err := takeRefunds(c.t.Context(), tx, "box", 10, tx.Now.Add(time.Minute))
		if err != nil || len(batch) != 1 {
			c.t.Fatalf("%d refunds are due, %v", len(batch), err)
		}
		declined := driver.Result{OurID: batch[0].OurID, Outcome: driver.Declined, ReasonCode: "BALANCE_NOT_ENOUGH"}
		contradictions, err := c.applyRefunds(c.t.Context(), tx, driver.Description{}, classify([]driver.Result{declined}, nil), nil)
		if len(contradictions) > 0 {
			c.t.Fatal(contradictions)
		}
		return err
	})
	refused := c.refused()
	if len(refused) != 1 {
		c.t.Fatalf("refused refunds: %+v", refused)
	}
	return refused[0]
}

func (c *city) refused() (list []RefundView) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) (err error) {
		list, err = Refunds(c.t.Context(), tx, "declined", citygate.UUID{}, 100)
		return err
	})
	return list
}

// A refund that the provider declines is named until somebody has it made; until
// then the operator is not paid the fare that was corrected away.
func TestRefundViewIsNobodysFare(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 2, 1, 500))
	c.clock.set(closed)
	c.due()
	c.lower(2, 300)
	r := c.refuseRefund()
	if r.Amount.Minor != 700 || r.Account != accountID(1) || r.Attempt != 1 || r.Reason != "BALANCE_NOT_ENOUGH" {
		t.Errorf("refused %+v", r)
	}
	if n := c.count(); n.RefundsRefused != 1 {
		t.Errorf("counted %d", n.RefundsRefused)
	}
	c.in(func(tx *pg.Tx) error {
		for _, state := range []string{"lost", "declined' OR '' = '"} {
			if _, err := Refunds(t.Context(), tx, state, citygate.UUID{}, 1); !errors.Is(err, ErrFilter) {
				t.Errorf("refunds that are %s: %v", state, err)
			}
			if _, err := Debts(t.Context(), tx, state, citygate.UUID{}, citygate.UUID{}, 1); !errors.Is(err, ErrFilter) {
				t.Errorf("debts that are %s: %v", state, err)
			}
		}
		return nil
	})
	kept := map[string]int64{"fee": 9, "cleared": 300 + 500 - 9}
	c.release()
	c.wantAdvice(metro, kept)
	if owed, rider := c.net(ledger.PrefixInterbookPayable), c.net(ledger.PrefixRiderReceivable); owed != 0 || rider != -700 {
		t.Errorf("operators are owed %d and the rider %d, want 0 and 700", -owed, -rider)
	}
	c.rederive()

	var again citygate.UUID
	c.in(func(tx *pg.Tx) (err error) { again, err = RetryRefund(t.Context(), tx, "usr_test", r.ID); return err })
	if again == r.ID || len(c.refused()) != 0 {
		t.Errorf("retried as %s, refused still %+v", again, c.refused())
	}
	for _, id := range []citygate.UUID{r.ID, again, {}} { // once, and only what was declined
		err := c.DB.InTenant(t.Context(), issuer, func(tx *pg.Tx) error { _, err := RetryRefund(t.Context(), tx, "usr_test", id); return err })
		if !errors.Is(err, ErrNotRefused) {
			t.Errorf("retrying %s: %v", id, err)
		}
	}
	second := c.refuseRefund() // and again
	if second.OurID == r.OurID || second.Attempt != 2 {
		t.Errorf("the second attempt: %+v", second)
	}
	c.in(func(tx *pg.Tx) error { _, err := RetryRefund(t.Context(), tx, "usr_test", second.ID); return err })
	c.due()
	c.due()
	c.wantStates("charges", "charge succeeded", "charge succeeded")
	if n := c.count(); n.RefundsRefused != 0 || n.Money["HKD"].Collected != 800 {
		t.Errorf("after the third attempt: %+v", n)
	}
	c.release()
	c.wantAdvice(metro, kept)
	c.settled()
}

// A refund that is still on its way is not cleared to the operator either.
func TestRefundUnderWayIsNotCleared(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	c.release()
	c.lower(2, 300)
	c.release()
	c.wantAdvice(metro, map[string]int64{"fee": 6, "cleared": 300 - 6})
	c.due()
	c.release()
	c.wantAdvice(metro, map[string]int64{"fee": 6, "cleared": 300 - 6})
	c.settled()
}

// A correction and the recovery of the same debt begin at the same time. Whoever
// is first, the rider pays the corrected fare.
func TestCorrectionRacingARecovery(t *testing.T) {
	for _, first := range []string{"recovery", "correction"} {
		t.Run(first+" first", func(t *testing.T) {
			c := newCity(t)
			retry := closed.Add(25 * time.Hour)
			c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: retry}}}})
			c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 1, 2, 50))
			c.clock.set(closed)
			c.due()
			c.wantStates("debts", "open 1050")
			c.clock.set(retry)

			collectAgain := func(tx *pg.Tx) error {
				due, err := takeDebts(t.Context(), tx)
				if err != nil {
					return err
				}
				return c.intend(t.Context(), tx, kindRecovery, due)
			}
			correct := func(tx *pg.Tx) error {
				_, transfers, err := c.Accept(t.Context(), tx, metro, "HKD", []interbook.Claim{ride(1, 2, 1, 1, 400)})
				if err != nil {
					return err
				}
				return ledger.Post(t.Context(), tx, transfers)
			}
			one, other := collectAgain, correct
			if first == "correction" {
				one, other = correct, collectAgain
			}
			done := make(chan error, 1)
			c.in(func(tx *pg.Tx) error { // the second transaction works while the first is open
				if err := one(tx); err != nil {
					return err
				}
				go func() { done <- c.DB.InTenant(t.Context(), issuer, other) }()
				select {
				case err := <-done: // it found the rows locked and left them for later
					done <- err
				case <-time.After(300 * time.Millisecond):
				}
				return nil
			})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			for range 3 {
				c.due()
				c.clock.add(time.Hour)
			}
			c.wantStates("debts", "recovered 0")
			if n := c.count(); n.Money["HKD"].Collected != 450 {
				t.Errorf("the rider paid %d, want 450", n.Money["HKD"].Collected)
			}
			c.settled()
		})
	}
}

// An attempt between the first and the last may be the one the provider acted on:
// its day is among those whose bill is looked at.
func TestEveryDayOfAChargeIsTouched(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{From: closed, Until: closed.Add(71 * time.Hour)}}})
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	for range 4 {
		c.due()
		c.clock.add(24 * time.Hour)
	}
	c.due()
	days := map[int]bool{}
	c.in(func(tx *pg.Tx) error {
		touched, err := Touched(t.Context(), tx, "box", morning)
		for _, at := range touched {
			days[at.Day()] = true
		}
		return err
	})
	for day := 22; day <= 25; day++ {
		if !days[day] {
			t.Errorf("day %d is not among %v", day, days)
		}
	}
	c.in(func(tx *pg.Tx) error {
		touched, err := Touched(t.Context(), tx, "box", closed.Add(49*time.Hour))
		for _, at := range touched {
			if at.Before(closed.Add(48 * time.Hour)) {
				t.Errorf("%s is before what was asked for", at)
			}
		}
		return err
	})
	c.settled()
}
