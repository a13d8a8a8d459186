package drivertest

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases about refunds beyond the first ones.

var refundCases = []testCase{
	{"refund_full", "all of a payment can be given back, and not one unit more", refunds, refundFull},
	{"refund_parts", "parts that are given back add up to the payment", refunds, refundParts},
	{"refund_found", "a QueryRefund never denies a refund that was made", refunds, refundFound},
	{"refund_unknown", "a QueryRefund for a refund that was never asked for is no final word", refunds, refundUnknown},
	{"refund_other_amount", "one refund id with another amount gives nothing back and confirms nothing", refunds, refundOtherAmount},
	{"refund_of_nothing", "of a payment that never was nothing is given back", refunds, refundOfNothing},
	{"refund_of_declined", "of a declined payment nothing is given back", refunds, refundOfDeclined},
	{"refund_gone", "a far side that is gone neither made nor refused a refund", refunds, refundGone},
	{"refund_ended_context", "a refund whose context ended says nothing final", refunds, refundEndedContext},
	{"refund_currency", "a refund in another currency gives nothing back", refunds, refundCurrency},
	{"refund_zero", "a refund of nothing or less takes nothing", refunds, refundZero},
	{"refund_parallel", "one refund asked for eight times at once is one refund", refunds, refundParallel},
	{"refund_reason", "text for people in a refund breaks nothing", refunds, refundReason},
	{"refund_of_one", "a refund of one payment says nothing of another", refunds, refundOfOne},
	{"refunded_query", "a payment that was given back was still made", refunds, refundedQuery},
	{"refund_secrets", "no error and no reason of a refund holds a secret", refunds, refundSecrets},
}

// back gives back minor units of d under id, and must succeed.
func back(t TB, h Harness, d driver.Debit, paid driver.Result, id string, minor int64) driver.Refund {
	t.Helper()
	refund := refundOf(d, paid, id, minor)
	if r, err := refunder(h).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("Refund(%s) = %q, %v; want succeeded", id, r.Outcome, err)
	}
	return refund
}

// notMade checks a refund that must not be.
func notMade(t TB, h Harness, refund driver.Refund, want ...Move) {
	t.Helper()
	if r, err := refunder(h).Refund(t.Context(), refund); err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("Refund(%s) of %s = succeeded", refund.OurID, refund.Amount)
	}
	moved(t, h, want...)
}

func refundFull(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	all := back(t, h, d, paid, "all", 500)
	notMade(t, h, refundOf(d, paid, "onemore", 1), took(d), gave(all))
}

func refundParts(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	want := []Move{took(d)}
	for i, minor := range []int64{1, 166, 333} {
		want = append(want, gave(back(t, h, d, paid, "part"+string(rune('a'+i)), minor)))
	}
	moved(t, h, want...)
}

func refundFound(t TB, h Harness) {
	d := debit(h, "paid", 500)
	refund := back(t, h, d, pay(t, h, d), "back", 200)
	r, err := refunder(h).QueryRefund(t.Context(), refund)
	if err == nil && (r.Outcome == driver.Declined || r.OurID != refund.OurID) {
		t.Errorf("QueryRefund = %q of %q, for a refund that was made", r.Outcome, r.OurID)
	}
	moved(t, h, took(d), gave(refund))
}

func refundUnknown(t TB, h Harness) {
	d := debit(h, "paid", 500)
	r, err := refunder(h).QueryRefund(t.Context(), refundOf(d, pay(t, h, d), "neverasked", 200))
	undecided(t, "QueryRefund of a refund that was never asked for", r, err)
	moved(t, h, took(d))
}

func refundOtherAmount(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	first := back(t, h, d, paid, "back", 200)
	r, err := refunder(h).Refund(t.Context(), refundOf(d, paid, "back", 150))
	if err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("the refund of 200 was confirmed as one of 150")
	}
	moved(t, h, took(d), gave(first))
}

func refundOfNothing(t TB, h Harness) {
	notMade(t, h, refundOf(debit(h, "neverpaid", 500), driver.Result{}, "back", 200))
}

func refundOfDeclined(t TB, h Harness) {
	d := debit(h, "declined", 500)
	h.DeclineNext()
	if r, err := submit(t.Context(), h, d); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("Submit = %q, %v; want declined", r.Outcome, err)
	}
	notMade(t, h, refundOf(d, driver.Result{}, "back", 200))
}

func refundGone(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	last := die(t, h)
	r, err := refunder(h).Refund(t.Context(), refundOf(d, paid, "back", 200))
	undecided(t, "Refund to nobody", r, err)
	r, err = refunder(h).QueryRefund(t.Context(), refundOf(d, paid, "back", 200))
	undecided(t, "QueryRefund of nobody", r, err)
	moved(t, h, took(d), took(last))
}

func refundEndedContext(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := refunder(h).Refund(ctx, refundOf(d, paid, "back", 200))
	undecided(t, "Refund in a context that has ended", r, err)
	if errors.Is(err, driver.ErrNotPerformed) {
		moved(t, h, took(d))
	}
}

func refundCurrency(t TB, h Harness) {
	d := debit(h, "paid", 500)
	refund := refundOf(d, pay(t, h, d), "back", 200)
	refund.Amount.Currency = "XTS"
	notMade(t, h, refund, took(d))
}

func refundZero(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	notMade(t, h, refundOf(d, paid, "zero", 0), took(d))
	notMade(t, h, refundOf(d, paid, "minus", -200), took(d))
}

func refundParallel(t TB, h Harness) {
	d := debit(h, "paid", 500)
	refund := refundOf(d, pay(t, h, d), "back", 200)
	together(8, func(int) { _, _ = refunder(h).Refund(t.Context(), refund) }) // what was moved tells
	if r, err := refunder(h).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("the same refund again = %q, %v; want succeeded", r.Outcome, err)
	}
	moved(t, h, took(d), gave(refund))
}

func refundReason(t TB, h Harness) {
	d := debit(h, "paid", 500)
	refund := refundOf(d, pay(t, h, d), "back", 200)
	refund.Reason = "a&b=c/d?e%41+f \"g\" <h> \\j 退款 {\"k\":1}"
	r, err := refunder(h).Refund(t.Context(), refund)
	switch {
	case err == nil && r.Outcome == driver.Succeeded:
		moved(t, h, took(d), gave(refund))
	case errors.Is(err, driver.ErrNotPerformed):
		moved(t, h, took(d))
	default:
		t.Errorf("Refund = %q, %v; want it made, or refused before it was sent", r.Outcome, err)
	}
}

func refundOfOne(t TB, h Harness) {
	a, b := debit(h, "one", 500), debit(h, "two", 500)
	paid := pay(t, h, a)
	pay(t, h, b)
	refund := back(t, h, a, paid, "back", 500)
	other := refundOf(b, driver.Result{}, "back2", 500)
	if r, err := refunder(h).QueryRefund(t.Context(), other); err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("QueryRefund of the other payment = succeeded")
	}
	moved(t, h, took(a), took(b), gave(refund))
}

func refundedQuery(t TB, h Harness) {
	d := debit(h, "paid", 500)
	back(t, h, d, pay(t, h, d), "back", 500)
	if r, err := h.Provider().Query(t.Context(), ref(d)); err == nil && r.Outcome == driver.Declined {
		t.Errorf("Query = declined, of a payment that was made and given back")
	}
}

func refundSecrets(t TB, h Harness) {
	d := debit(h, "paid", 500)
	paid := pay(t, h, d)
	check := func(what string, r driver.Result, err error) {
		t.Helper()
		if leak(h, r.ReasonCode) || (err != nil && leak(h, err.Error())) {
			t.Errorf("%s: the error or the reason holds a secret", what)
		}
	}
	r, err := refunder(h).Refund(t.Context(), refundOf(d, paid, "toomuch", 501))
	check("over-refund", r, err)
	h.LoseNextReply()
	r, err = refunder(h).Refund(t.Context(), refundOf(d, paid, "back", 200))
	check("lost reply", r, err)
	r, err = refunder(h).QueryRefund(t.Context(), refundOf(d, paid, "never", 100))
	check("query for nothing", r, err)
	die(t, h)
	r, err = refunder(h).Refund(t.Context(), refundOf(d, paid, "gone", 100))
	check("gone", r, err)
}
