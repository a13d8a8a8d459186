package recon

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
)

func krw(n int64) citygate.Money { return citygate.Money{Minor: n, Currency: "KRW"} }

// caseF is worked case F of fares-and-money.md 9.4: a fare of USD 14.50 for which
// the rider paid KRW 18000 by a quote, and a refund of half of it.
func caseF() (charge, refund Payment, rows [2]Line) {
	charge = Payment{ChargeID: citygate.UUID{1}, OurID: "ride1", Amount: 1450, Currency: "USD", Fee: 50, State: Succeeded, Pays: krw(18000), Guaranteed: true}
	refund = Payment{
		ChargeID: citygate.UUID{1}, RefundID: citygate.UUID{2}, OurID: "back1", ChargeOurID: "ride1", Amount: 725, Currency: "USD", State: Succeeded,
		Pays: krw(9000), Guaranteed: true,
	}
	rows[0] = Line{No: 2, OurID: "ride1", Amount: 1450, Currency: "USD", Fee: 50, Paid: krw(18000)}
	rows[1] = Line{No: 4, Refund: true, OurID: "ride1", RefundID: "back1", Amount: -725, Currency: "USD", Fee: -25, Paid: krw(-9000)}
	return charge, refund, rows
}

// The rows match, the bank has 7.00, and the provider owes nothing: the quarter of
// the fee that came back is named.
func TestWorkedCaseF(t *testing.T) {
	charge, refund, rows := caseF()
	now := time.Date(2026, 3, 4, 6, 0, 0, 0, time.UTC)
	items := []Item{outcome("box", &rows[0], &charge, &charge, now), outcome("box", &rows[1], &refund, &charge, now)}
	// What the payments themselves booked: 14.50 less 0.50, and 7.25 back.
	owed := map[string]int64{ledger.ProviderReceivable("box"): 1450 - 50 - 725}
	for i := range items {
		if items[i].Kind != Matched {
			t.Errorf("row %d is %s", rows[i].No, items[i].Kind)
		}
		for _, tr := range transfersOf(7, &items[i]) {
			owed[tr.Debit] += tr.Amount
			owed[tr.Credit] -= tr.Amount
		}
	}
	if owed[ledger.Bank()] != 700 || owed[ledger.ProviderReceivable("box")] != 0 || owed[ledger.ExchangeDifference("box")] != -25 {
		t.Errorf("the books say %v; want 700 at the bank, nothing owed, and 25 of the fee back", owed)
	}
}

func TestExchangeExplainsOnlyWhatItCan(t *testing.T) {
	for name, c := range map[string]struct {
		change func(charge, refund *Payment, rows *[2]Line)
		row    int
		want   Kind
	}{
		"a cent less":                        {func(_, _ *Payment, r *[2]Line) { r[0].Amount-- }, 0, Matched},
		"two cents less, guaranteed":         {func(_, _ *Payment, r *[2]Line) { r[0].Amount -= 2 }, 0, AmountDiff},
		"two cents less, not guaranteed":     {func(p, _ *Payment, r *[2]Line) { r[0].Amount -= 2; p.Guaranteed = false }, 0, Matched},
		"a tenth less, not guaranteed":       {func(p, _ *Payment, r *[2]Line) { r[0].Amount -= 145; p.Guaranteed = false }, 0, AmountDiff},
		"another amount was paid":            {func(_, _ *Payment, r *[2]Line) { r[0].Paid.Minor--; r[0].Amount-- }, 0, AmountDiff},
		"in another currency":                {func(_, _ *Payment, r *[2]Line) { r[0].Paid.Currency = "JPY"; r[0].Amount-- }, 0, AmountDiff},
		"nothing is said of what was paid":   {func(_, _ *Payment, r *[2]Line) { r[0].Paid = citygate.Money{}; r[0].Amount-- }, 0, AmountDiff},
		"there was no quote":                 {func(p, _ *Payment, r *[2]Line) { p.Pays = citygate.Money{}; r[0].Amount-- }, 0, AmountDiff},
		"a fee of two cents more":            {func(_, _ *Payment, r *[2]Line) { r[0].Fee += 2 }, 0, AmountDiff},
		"no fee comes back":                  {func(_, _ *Payment, r *[2]Line) { r[1].Fee = 0 }, 1, Matched},
		"more fee comes back than was taken": {func(_, _ *Payment, r *[2]Line) { r[1].Fee = -27 }, 1, AmountDiff},
		"the refund costs a fee":             {func(_, _ *Payment, r *[2]Line) { r[1].Fee = 1 }, 1, AmountDiff},
		"a refund row that takes":            {func(_, _ *Payment, r *[2]Line) { r[1].Amount = 725; r[1].Paid = krw(9000) }, 1, AmountDiff},
	} {
		charge, refund, rows := caseF()
		c.change(&charge, &refund, &rows)
		p := &charge
		if c.row == 1 {
			p = &refund
		}
		if got := verdict(&rows[c.row], p, &charge); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
	}
}
