package drivertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases about money that goes back, about bills and about leaks.

func refunder(h Harness) driver.Refunder { return h.Provider().(driver.Refunder) }

// refundOf gives back minor units of the debit d.
func refundOf(d driver.Debit, r driver.Result, id string, minor int64) driver.Refund {
	charge := ref(d)
	charge.ProviderRef = r.ProviderRef
	return driver.Refund{
		OurID: id, Charge: charge, Reason: "fare corrected", Mark: d.Mark,
		Amount: citygate.Money{Minor: minor, Currency: d.Amount.Currency},
	}
}

func gave(r driver.Refund) Move { return Move{OurID: r.OurID, Refund: true, Amount: r.Amount} }

func refundOnce(t TB, h Harness) {
	d := debit(h, "paid", 500)
	refund := refundOf(d, pay(t, h, d), "back", 200)
	for range 2 {
		if r, err := refunder(h).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("Refund = %q, %v; want succeeded", r.Outcome, err)
		}
	}
	second := refundOf(d, driver.Result{}, "back2", 100)
	second.Charge = refund.Charge
	if r, err := refunder(h).Refund(t.Context(), second); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("a second refund under its own id = %q, %v; want succeeded", r.Outcome, err)
	}
	moved(t, h, took(d), gave(refund), gave(second))
}

func refundLostReply(t TB, h Harness) {
	d := debit(h, "paid", 500)
	refund := refundOf(d, pay(t, h, d), "back", 200)
	h.LoseNextReply()
	r, err := refunder(h).Refund(t.Context(), refund)
	// Succeeded is all right: net/http may have sent it again by itself.
	if errors.Is(err, driver.ErrNotPerformed) || (err == nil && r.Outcome == driver.Declined) {
		t.Errorf("lost reply: Refund = %q, %v; want an open outcome", r.Outcome, err)
	}
	if r, err = refunder(h).QueryRefund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		if r, err = refunder(h).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("the same refund again = %q, %v; want succeeded", r.Outcome, err)
		}
	}
	moved(t, h, took(d), gave(refund))
}

func overRefund(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	first := refundOf(d, paid, "back", 200)
	if r, err := refunder(h).Refund(t.Context(), first); err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("Refund = %q, %v; want succeeded", r.Outcome, err)
	}
	if r, err := refunder(h).Refund(t.Context(), refundOf(d, paid, "toomuch", 301)); err == nil && r.Outcome != driver.Declined {
		t.Errorf("a refund of 301 where 300 are left = %q; want declined", r.Outcome)
	}
	moved(t, h, took(d), gave(first))
}

// secrets looks at everything an adapter can say when things go wrong.
func secrets(t TB, h Harness) {
	check := func(what string, r driver.Result, err error) {
		t.Helper()
		said := fmt.Sprintf("%v %+v %s", err, err, r.ReasonCode)
		if leak(h, said) {
			t.Errorf("%s: the error or the reason holds a secret", what)
		}
	}
	h.GarbleNext()
	r, err := submit(t.Context(), h, debit(h, "s1", 470))
	check("garbled answer", r, err)
	h.DeclineNext()
	r, err = submit(t.Context(), h, debit(h, "s2", 470))
	check("decline", r, err)
	r, err = h.Provider().Query(t.Context(), ref(debit(h, "s3", 470)))
	check("query for nothing", r, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r, err = submit(ended, h, debit(h, "s4", 470))
	check("ended context", r, err)
	h.LoseNextReply()
	r, err = submit(t.Context(), h, debit(h, "s5", 470))
	check("lost reply", r, err)
	h.DieNext()
	r, err = submit(t.Context(), h, debit(h, "s6", 470))
	check("death", r, err)
	r, err = submit(t.Context(), h, debit(h, "s7", 470))
	check("refused connection", r, err)
}

func bill(t TB, h Harness) {
	d1, d2 := debit(h, "row1", 500), debit(h, "row2", 730)
	refund := refundOf(d1, pay(t, h, d1), "back", 120)
	pay(t, h, d2)
	want := map[string]int64{d1.OurID: 500, d2.OurID: 730}
	if refunds(h) {
		if r, err := refunder(h).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
			t.Fatalf("Refund = %q, %v; want succeeded", r.Outcome, err)
		}
		want[refund.OurID] = -120
	}
	biller := h.Provider().(driver.Biller)
	file, err := biller.FetchBill(t.Context(), h.EndDay())
	if err != nil {
		t.Fatalf("FetchBill: %v", err)
	}
	lines, err := biller.ParseBill(file)
	if err != nil {
		t.Fatalf("ParseBill: %v", err)
	}
	for _, l := range lines {
		id := l.OurID
		if l.Refund {
			if id = l.RefundID; l.OurID != d1.OurID {
				t.Errorf("the refund row names charge %q; want %q", l.OurID, d1.OurID)
			}
		}
		amount, known := want[id]
		if !known || l.Amount.Minor != amount || l.Amount.Currency != d1.Amount.Currency {
			t.Errorf("row %d is %q with %s; want %d", l.Line, id, l.Amount, amount)
		}
		if day := biller.BillDay(l.At); day != file.Day {
			t.Errorf("row %d is of %s, which BillDay puts into the bill of %s, not of %s", l.Line, l.At, day, file.Day)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("the bill lacks %v", want)
	}
}

func billTorn(t TB, h Harness) {
	pay(t, h, debit(h, "row1", 500))
	pay(t, h, debit(h, "row2", 730))
	biller := h.Provider().(driver.Biller)
	file, err := biller.FetchBill(t.Context(), h.EndDay())
	if err != nil {
		t.Fatalf("FetchBill: %v", err)
	}
	torn := h.(BillTamperer).TamperBill(file)
	if lines, err := biller.ParseBill(torn); err == nil {
		t.Errorf("ParseBill read %d rows of a bill that lost one and noticed nothing", len(lines))
	}
}
