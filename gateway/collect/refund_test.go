package collect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// lower claims the rider's journey again at a lower fare.
func (c *city) lower(n int, amount int64) {
	c.t.Helper()
	if v := c.claim(metro, ride(1, n, 1, 1, amount))[0]; !v.Accepted {
		c.t.Fatalf("refused: %+v", v)
	}
}

func TestCorrectionAfterCollectionIsRefundedAtOnce(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 1, 2, 500))
	c.clock.set(closed)
	c.due()
	c.lower(2, 300)
	c.wantStates("refunds", "created")
	c.due()
	c.due()
	c.wantStates("refunds", "succeeded")
	if n := c.count(); n.Money["HKD"].Collected != 800 || n.Money["HKD"].Fees != 9 {
		t.Errorf("money %+v", n.Money["HKD"])
	}
	c.lower(3, 0)
	c.due()
	c.wantStates("refunds", "succeeded", "succeeded")
	c.settled()
}

// The outcome of the charge is open when the correction comes.
func TestRefundWaitsForTheCharge(t *testing.T) {
	for _, declined := range []bool{false, true} {
		t.Run(fmt.Sprintf("declined %v", declined), func(t *testing.T) {
			c := newCity(t)
			script := sandbox.Script{Outages: []sandbox.Span{{Until: closed.Add(time.Hour)}}}
			if declined {
				script.Decline = []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: closed.Add(2 * time.Hour)}}}
			}
			c.box.SetScript(script)
			c.claim(metro, ride(1, 1, 1, 1, 1000))
			c.clock.set(closed)
			c.due()
			c.lower(2, 300)
			c.wantStates("refunds", "waiting")
			c.due()
			c.wantStates("refunds", "waiting")
			c.clock.add(time.Hour)
			c.due()
			if declined {
				c.wantStates("refunds", "void")
				c.wantStates("debts", "open 300")
				c.passBack()
				c.wantAdvice(metro, map[string]int64{"uncollected": 300})
				c.clock.add(25 * time.Hour)
				c.due()
				c.wantStates("debts", "recovered 0")
			} else {
				c.wantStates("refunds", "succeeded")
			}
			c.settled()
		})
	}
}

// The whole charge was corrected away while it was declined.
func TestDeclineOfWhatIsNotOwedAnyMore(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{Until: closed.Add(time.Hour)}}, Decline: []sandbox.Refusal{{Rider: payer(1)}}})
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	c.lower(2, 0)
	c.clock.add(time.Hour)
	c.due()
	c.wantStates("debts", "corrected 0")
	c.wantStates("aggregations", "corrected")
	if len(c.bank.denied) != 0 {
		t.Errorf("denied %v who owes nothing", c.bank.denied)
	}
	c.settled()
}

func TestCorrectionLowersAnOpenDebt(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1)}}})
	c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 1, 2, 50))
	c.clock.set(closed)
	c.due()
	c.passBack()
	c.lower(2, 300)
	c.wantStates("debts", "open 350")
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"uncollected": 1050, "recovered": 700})
	c.lower(3, 0)
	two := ride(2, 2, 1, 2, 0)
	c.claim(metro, two)
	c.wantStates("debts", "corrected 0")
	if len(c.bank.denied) != 0 {
		t.Errorf("denied %v who owes nothing", c.bank.denied)
	}
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"uncollected": 1050, "recovered": 1050})
	for range 3 {
		c.clock.add(25 * time.Hour)
		c.due()
	}
	c.wantStates("charges", "charge declined") // nothing is left to recover
	c.settled()
}

// A correction while a recovery is under way is a refund of it, or lowers the
// debt if it fails.
func TestCorrectionWhileADebtIsRecovered(t *testing.T) {
	for _, declined := range []bool{false, true} {
		t.Run(fmt.Sprintf("declined %v", declined), func(t *testing.T) {
			c := newCity(t)
			retry := closed.Add(25 * time.Hour)
			until := retry
			if declined {
				until = retry.Add(3 * time.Hour)
			}
			c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: until}}},
				Outages: []sandbox.Span{{From: retry, Until: retry.Add(time.Hour)}}})
			c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 1, 2, 50))
			c.clock.set(closed)
			c.due()
			c.passBack()
			c.clock.set(retry)
			c.due()
			c.wantStates("charges", "charge declined", "recovery created")
			c.lower(2, 400)
			c.wantStates("refunds", "waiting")
			c.passBack()
			c.wantAdvice(metro, map[string]int64{"uncollected": 1050, "recovered": 600})
			c.clock.add(time.Hour)
			c.due()
			if declined {
				c.wantStates("debts", "open 450")
				c.passBack()
				c.wantAdvice(metro, map[string]int64{"uncollected": 1050, "recovered": 600})
				c.clock.add(25 * time.Hour)
				c.due()
			}
			c.wantStates("debts", "recovered 0")
			c.passBack()
			got := c.advice(metro)
			if got["uncollected"] != got["recovered"] {
				t.Errorf("told %v", got)
			}
			if n := c.count(); n.Money["HKD"].Collected != 450 {
				t.Errorf("collected %d, want 450", n.Money["HKD"].Collected)
			}
			c.settled()
		})
	}
}

func TestLostRefundReplyIsAskedFor(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	c.lower(2, 300)
	// The process dies after the provider gave the money back.
	var batch []refund
	c.in(func(tx *pg.Tx) (err error) {
		batch, err = takeRefunds(t.Context(), tx, "box", 10, tx.Now.Add(time.Minute))
		return err
	})
	r, _ := c.provider().Refunder()
	if _, err := r.Refund(t.Context(), batch[0].request()); err != nil {
		t.Fatal(err)
	}
	c.due()
	c.wantStates("refunds", "sent")
	c.clock.add(2 * time.Minute)
	c.due()
	c.wantStates("refunds", "succeeded")
	c.settled()
}

// What the operator gets in the end is the fare less the fee; nothing stays in
// between.
func TestEverythingIsPassedBackOnce(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 2, 1, 333))
	c.claim(bus, ride(3, 1, 1, 2, 999))
	c.clock.set(closed)
	c.due()
	for range 2 {
		c.passBack()
		c.wantAdvice(metro, map[string]int64{"fee": 6 + 2})
		c.wantAdvice(bus, map[string]int64{"fee": 6})
	}
	if got := c.net(ledger.PrefixProviderFeeExpense); got != 0 {
		t.Errorf("fees of %d were not passed back", got)
	}
	for range 2 {
		c.release()
	}
	c.wantAdvice(metro, map[string]int64{"fee": 8, "cleared": 1333 - 8})
	c.wantAdvice(bus, map[string]int64{"fee": 6, "cleared": 999 - 6})
	if got := c.net(ledger.PrefixInterbookPayable); got != 0 {
		t.Errorf("we still owe operators %d", -got)
	}
	// A late correction is refunded, and taken back once it is released.
	c.lower(2, 0)
	c.due()
	c.wantAdvice(metro, map[string]int64{"fee": 8, "cleared": 1333 - 8})
	c.release()
	c.release()
	c.wantAdvice(metro, map[string]int64{"fee": 8, "cleared": 333 - 8})
	if got := c.net(ledger.PrefixInterbookPayable); got != 0 {
		t.Errorf("we still owe operators %d", -got)
	}
	c.settled()
}

func TestHeldChargesAreNotReleased(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 2, 1, 500))
	c.clock.set(closed)
	c.due()
	ids := c.chargeIDs()
	c.release(ids[0])
	if got := c.advice(metro)["cleared"]; got != 500-3 && got != 1000-6 {
		t.Errorf("cleared %d, want one of the two", got)
	}
	c.release()
	if got := c.advice(metro)["cleared"]; got != 1500-9 {
		t.Errorf("cleared %d, want all", got)
	}
}

func TestDebtsOfOwnLinesNameTheContraAccount(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(5)}}})
	c.in(func(tx *pg.Tx) error {
		_, _, err := c.Accept(t.Context(), tx, issuer, "HKD", []interbook.Claim{ride(1, 1, 5, 1, 500), ride(2, 1, 6, 1, 500)})
		return err
	})
	c.clock.set(closed)
	c.due()
	c.release()
	got := map[string]string{}
	for _, it := range c.own.items {
		got[it.Kind] = fmt.Sprint(it.Amount, " ", it.Contra)
	}
	if got["uncollected"] != "500 uncollected:1" || got["fee"] != "3 provider_fee_expense:box" || got["cleared"] != "497 " {
		t.Errorf("told %v", got)
	}
}

// Whatever is claimed, corrected, declined, lost and retried in whatever order:
// what is claimed is collected or owed, the provider's book agrees, and the
// books follow from the rows.
func TestAnyStoryAddsUp(t *testing.T) {
	stories := 0
	rapid.Check(t, func(rt *rapid.T) {
		if stories++; stories > 6 {
			return // each story has a database of its own
		}
		c := newCity(t)
		c.rules.AmountLimit = 1500
		fares := map[int]int{} // journey -> decisions so far
		span := func(name string) sandbox.Span {
			from := rapid.IntRange(0, 60).Draw(rt, name+" from")
			return sandbox.Span{From: morning.Add(time.Duration(from) * time.Hour), Until: morning.Add(time.Duration(from+rapid.IntRange(1, 40).Draw(rt, name)) * time.Hour)}
		}
		script := sandbox.Script{Outages: []sandbox.Span{span("outage")}}
		for r := range 3 {
			script.Decline = append(script.Decline, sandbox.Refusal{Rider: payer(r), Span: span("decline")})
		}
		script.LoseReply, script.Unsure = []string{payer(1)}, []string{payer(2)}
		c.box.SetScript(script)
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1, 2:
				j := rapid.IntRange(0, 7).Draw(rt, "journey")
				fares[j]++
				r := uint32(j % 3)
				operator := metro
				if j%2 == 1 {
					operator = bus
				}
				c.claim(operator, ride(j, fares[j], r, uint16(j+1), rapid.Int64Range(0, 900).Draw(rt, "fare")))
			case 3:
				c.due()
			case 4:
				c.clock.add(time.Duration(rapid.IntRange(1, 20).Draw(rt, "hours")) * time.Hour)
				c.due()
			case 5:
				c.passBack()
			}
			c.rederive()
		}
		c.box.SetScript(sandbox.Script{})
		for range 3 {
			c.clock.add(48 * time.Hour)
			c.due()
		}
		c.settled()
		c.release()
		if n := c.count(); n.DebtsOpen == 0 {
			for _, prefix := range []string{ledger.PrefixInterbookPayable, ledger.PrefixProviderFeeExpense, ledger.PrefixUncollected} {
				if got := c.net(prefix); got != 0 {
					t.Errorf("%s holds %d", prefix, got)
				}
			}
		}
		if t.Failed() {
			rt.Fatal("the story does not add up")
		}
	})
}

// A provider that cannot refund keeps refunds waiting, and says so, until it can.
func TestAProviderThatCannotRefund(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000), ride(2, 1, 1, 2, 500))
	c.clock.set(closed)
	c.due()
	c.lower(2, 300)
	able := c.Provider
	c.Provider = func(context.Context, citygate.TenantID, Contract) (*adapters.Provider, error) {
		return adapters.New(struct{ driver.Provider }{c.box}, c.clock.now), nil
	}
	if err := c.RunDue(t.Context(), issuer); !errors.Is(err, ErrNoRefund) {
		t.Errorf("without a refunder: %v", err)
	}
	c.wantStates("refunds", "sent")
	c.Provider = able
	c.clock.set(closed.Add(time.Hour))
	c.due()
	c.due()
	c.wantStates("refunds", "succeeded")
	c.settled()
}
