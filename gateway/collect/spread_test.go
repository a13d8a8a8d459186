package collect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const bearing = `  - {id: own, use: [box]}
liability:
  - {id: scheme, when: amount == 400, bearer: provider, pay_after_days: 10}
  - {id: pool, when: amount == 600, bearer: platform, up_to: 500, pay_after_days: 0}
  - {id: buses, operators: [3], bearer: issuer, up_to: 200, pay_after_days: 10}
`

// guaranteed has the issuer answer to the metro for all its riders do not pay.
func (r *routed) guaranteed(days int) {
	config := r.Config
	config.Bears = func(_ context.Context, _ *pg.Tx, operator citygate.TenantID, _ time.Time) (Guarantee, error) {
		return Guarantee{Holds: operator == metro, PayDays: days}, nil
	}
	r.Collector = New(config)
}

func (r *routed) declining(riders ...uint32) {
	var s sandbox.Script
	for _, n := range riders {
		s.Decline = append(s.Decline, sandbox.Refusal{Rider: payer(int(n))})
	}
	r.box.SetScript(s)
}

func (r *routed) wantNet(what string, want map[string]int64) {
	r.t.Helper()
	for prefix, n := range want {
		if got := r.net(prefix); got != n {
			r.t.Errorf("%s: %s holds %d, want %d", what, prefix, got, n)
		}
	}
	r.rederive()
}

func (r *routed) debts() (all []DebtView) {
	r.t.Helper()
	r.in(func(tx *pg.Tx) (err error) {
		all, err = Debts(r.t.Context(), tx, "", citygate.UUID{}, citygate.UUID{}, 1000)
		return err
	})
	return all
}

// What the issuer bears crosses once the days are over, once; what the rider pays then
// is the issuer's, with the fee of it, and the operator pays nothing back.
func TestWhatTheIssuerBearsCrosses(t *testing.T) {
	c := newRouted(t, "  - {id: own, use: [box]}\n")
	c.guaranteed(10)
	c.declining(1)
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	c.passBack()
	c.wantNet("declined", map[string]int64{"rider_debt": 1000, "interbook_payable": -1000, "bank": 0})
	c.clock.add(9 * 24 * time.Hour)
	c.passBack()
	c.wantNet("before it is due", map[string]int64{"interbook_payable": -1000, "bank": 0})
	c.clock.add(24 * time.Hour)
	for range 2 {
		c.passBack()
		c.wantNet("due", map[string]int64{"rider_debt": 1000, "interbook_payable": 0, "bank": -1000})
		c.wantAdvice(metro, map[string]int64{"cleared": 1000})
	}
	// The fare is corrected: the operator gives that back.
	c.claim(metro, ride(1, 2, 1, 1, 800))
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"cleared": 800})
	c.wantNet("corrected", map[string]int64{"rider_debt": 800, "interbook_payable": 0, "bank": -800})
	c.declining()
	c.in(func(tx *pg.Tx) error { _, err := c.RetryDebts(t.Context(), tx, "test", accountID(1)); return err })
	c.due()
	c.release()
	fee := citygate.PartPerMillion(800, feePPM)
	c.wantNet("paid", map[string]int64{"rider_debt": 0, "interbook_payable": 0, "bank": -800, "provider_receivable": 800 - fee, "provider_fee_expense": 0, "provider_fee_borne": fee})
	c.wantAdvice(metro, map[string]int64{"cleared": 800})
	// A refund after that is the operator's again: it has been paid for more than it carried.
	c.claim(metro, ride(1, 3, 1, 1, 500))
	c.due()
	c.release()
	c.wantAdvice(metro, map[string]int64{"cleared": 500})
	c.wantNet("refunded", map[string]int64{"interbook_payable": 0, "bank": -500})
	c.settled()
}

// Provider and platform bear by rule: a claim on each, the operator is paid, and the
// claim is taken back when the rider pays.
func TestProviderAndPlatformBear(t *testing.T) {
	c := newRouted(t, bearing)
	c.declining(1)
	c.claim(bus, ride(1, 1, 1, 1, 400), ride(2, 1, 1, 2, 600))
	c.clock.set(closed)
	c.due()
	c.passBack()
	c.wantAdvice(bus, map[string]int64{"uncollected": 100, "cleared": 500}) // the platform's part at once
	c.wantNet("claimed", map[string]int64{"suspense": 400, "platform_receivable": 500, "covered:provider:box": -400, "covered:platform": -500,
		"uncollected": -100, "interbook_payable": -400, "bank": -500})
	c.clock.add(10 * 24 * time.Hour)
	c.passBack()
	c.wantNet("paid", map[string]int64{"interbook_payable": 0, "bank": -900})
	c.declining()
	c.in(func(tx *pg.Tx) error { _, err := c.RetryDebts(t.Context(), tx, "test", accountID(1)); return err })
	c.due()
	c.release()
	c.wantNet("the rider paid", map[string]int64{"suspense": 0, "platform_receivable": 0, "covered:": 0, "uncollected": 0, "interbook_payable": 0, "provider_fee_expense": 0})
	c.settled()
}

// A debt is written off once, by its amount and with a reason, to those who bear it;
// what the rider pays then is theirs; and while a payment is under way it is not.
func TestDebtIsWrittenOff(t *testing.T) {
	c := newRouted(t, bearing)
	c.declining(1, 2)
	c.claim(bus, ride(1, 1, 1, 1, 400), ride(2, 1, 1, 2, 600), ride(3, 1, 1, 3, 700))
	c.clock.set(closed)
	c.due()
	debt := c.debts()[0]
	write := func(amount int64, reason string) error {
		_, err := c.WriteOff(t.Context(), "user:test", issuer, WriteOff{Debt: debt.ID, Amount: citygate.Money{Minor: amount, Currency: "HKD"}, Reason: reason})
		return err
	}
	for want, err := range map[error]error{ErrNoReason: write(1700, ""), ErrDebtSum: write(1600, "moved away")} {
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if _, err := c.WriteOff(t.Context(), "user:test", issuer, WriteOff{Debt: citygate.UUID{1}, Reason: "nobody's"}); !errors.Is(err, ErrNoDebt) {
		t.Errorf("no debt: %v", err)
	}
	if !c.bank.denied[accountID(1)] {
		t.Error("the rider is not denied")
	}
	c.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{}}})
	c.in(func(tx *pg.Tx) error { _, err := c.RetryDebts(t.Context(), tx, "test", accountID(1)); return err })
	_ = c.RunDue(t.Context(), issuer)                                   // nothing connects
	if err := write(1700, "moved away"); !errors.Is(err, ErrDebtBusy) { // debt.busy
		t.Errorf("while it is collected: %v", err)
	}
	c.declining(1, 2)
	c.clock.add(time.Hour)
	c.due()
	for range 2 { // the answer to the first is lost
		if err := write(1700, "moved away"); err != nil {
			t.Fatal(err)
		}
		c.wantNet("written off", map[string]int64{"rider_debt": 0, "covered:": 0, "uncollected": 0, "bad_debt": 200, "suspense": 400, "platform_receivable": 500})
	}
	if c.bank.denied[accountID(1)] {
		t.Error("the rider is denied still")
	}
	c.clock.add(20 * 24 * time.Hour)
	c.due() // nobody tries it
	c.passBack()
	c.wantStates("debts", "written_off 1700")
	c.wantNet("paid to the operator", map[string]int64{"interbook_payable": 0, "bank": -1100})
	// A fare in it is corrected.
	c.claim(bus, ride(3, 2, 1, 3, 650))
	c.passBack()
	c.wantNet("corrected", map[string]int64{"rider_debt": 0, "rider_receivable": 0, "uncollected": 0, "interbook_payable": 0, "bad_debt": 200})
	pay := func() error {
		return c.DB.InTenant(t.Context(), issuer, func(tx *pg.Tx) error { _, err := PayWrittenOff(t.Context(), tx, "user:test", debt.ID); return err })
	}
	if err := pay(); err != nil {
		t.Fatal(err)
	}
	c.due() // declined again
	c.passBack()
	c.wantStates("debts", "written_off 1650")
	if c.bank.denied[accountID(1)] {
		t.Error("a try of what was given up denies the rider")
	}
	c.declining()
	if err := pay(); err != nil {
		t.Fatal(err)
	}
	c.due()
	c.release()
	c.wantStates("debts", "written_off 0")
	c.wantNet("paid after all", map[string]int64{"rider_debt": 0, "suspense": 0, "platform_receivable": 0, "covered:": 0, "uncollected": 0,
		"bad_debt": 200, "recovery_income": -200, "interbook_payable": 0, "provider_fee_expense": 0})
	if err := pay(); !errors.Is(err, ErrDebt) {
		t.Errorf("paid twice: %v", err)
	}
	if err := write(0, "once more"); !errors.Is(err, ErrDebt) {
		t.Errorf("written off after it was paid: %v", err)
	}
}

// In whatever order rides, corrections, declines, payments, write-offs and time come,
// the books follow from the rows at each step, and when nothing is owed any more every
// operator has its fares less the fees, and nobody bears anything but what was given up.
func TestLiabilityInAnyOrder(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { anyOrder(t, rand.New(rand.NewPCG(seed, 5))) })
	}
}

func anyOrder(t *testing.T, w *rand.Rand) {
	c := newRouted(t, bearing)
	c.guaranteed(3)
	c.clock.set(closed)
	n, amounts, fares := map[int]int{}, []int64{0, 300, 400, 600, 700}, map[int]int64{}
	operator := func(j int) citygate.TenantID { return []citygate.TenantID{metro, bus}[j%2] }
	claim := func(j int) {
		n[j]++
		fares[j] = amounts[w.IntN(len(amounts))]
		for _, v := range c.claim(operator(j), ride(j, n[j], uint32(1+j%3), uint16(j), fares[j])) {
			if !v.Accepted {
				t.Fatalf("refused: %+v", v)
			}
		}
	}
	for range 40 {
		switch w.IntN(8) {
		case 0, 1:
			claim(1 + w.IntN(8))
		case 2:
			c.declining([][]uint32{{}, {1, 2, 3}, {2}}[w.IntN(3)]...)
		case 3:
			c.clock.add(time.Duration(w.IntN(50)) * time.Hour)
			c.due()
		case 4:
			c.passBack()
		case 5:
			c.release()
		case 6:
			for _, d := range c.debts() {
				_, err := c.WriteOff(t.Context(), "user:test", issuer, WriteOff{Debt: d.ID, Amount: d.Left, Reason: "given up"})
				if err != nil && !errors.Is(err, ErrDebt) && !errors.Is(err, ErrDebtBusy) {
					t.Fatal(err)
				}
			}
		case 7:
			c.in(func(tx *pg.Tx) error {
				_, err := c.RetryDebts(t.Context(), tx, "test", accountID(uint32(1+w.IntN(3))))
				return err
			})
		}
		c.rederive()
	}
	c.declining()
	for range 6 {
		for _, d := range c.debts() {
			c.in(func(tx *pg.Tx) error {
				if d.State == debtOpen {
					_, err := c.RetryDebts(t.Context(), tx, "test", d.Account)
					return err
				}
				if _, err := PayWrittenOff(t.Context(), tx, "test", d.ID); err != nil && !errors.Is(err, ErrDebt) {
					return err
				}
				return nil
			})
		}
		c.clock.add(30 * time.Hour)
		c.due()
		c.release()
	}
	c.wantNet("in the end", map[string]int64{"rider_debt": 0, "rider_receivable": 0, "interbook_payable": 0, "uncollected": 0, "covered:": 0,
		"suspense": 0, "platform_receivable": 0, "provider_fee_expense": 0})
	if lost := c.net(ledger.BadDebt()) + c.net(ledger.RecoveryIncome()); lost != 0 {
		t.Errorf("%d are lost though all was paid", lost)
	}
	for _, who := range []citygate.TenantID{metro, bus} {
		var want int64
		for j, fare := range fares {
			if operator(j) == who {
				want += fare
			}
		}
		if told := c.advice(who); told["cleared"]+told["fee"] != want || told["uncollected"] != told["recovered"] {
			t.Errorf("operator %d was told %v for fares of %d", who, told, want)
		}
	}
	var fees int64
	c.in(func(tx *pg.Tx) error {
		err := tx.QueryRow(t.Context(), `SELECT coalesce(sum(fee), 0)::bigint FROM charges WHERE tenant_id = $1 AND state = 'succeeded'`, issuer).Scan(&fees)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if told := c.advice(metro)["fee"] + c.advice(bus)["fee"] + c.net("provider_fee_borne"); told != fees {
		t.Errorf("of fees of %d, %d have found somebody", fees, told)
	}
}
