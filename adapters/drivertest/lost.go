package drivertest

import (
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The case of a request that never arrives. Whoever sent it cannot tell it from one whose
// answer was lost, so neither can the adapter.

var lostCases = []testCase{
	{"lost_request", "a payment whose request was lost on its way is open and not declined, is not made, and is made once when it is sent again", drops, lostRequest},
}

// A DropHarness is a Harness whose line can lose a request.
type DropHarness interface {
	Harness
	DropNext() // the next request is sent whole and never arrives: the connection is closed
}

func drops(h Harness) bool { _, ok := h.(DropHarness); return ok }

func lostRequest(t TB, h Harness) {
	d := debit(h, "astray", 470)
	h.(DropHarness).DropNext()
	r, err := submit(t.Context(), h, d)
	open(t, "a request that was lost", r, err)
	moved(t, h)
	if r, err := h.Provider().Query(t.Context(), ref(d)); err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("Query = %q, of a debit that never arrived", r.Outcome)
	}
	if resubmits(h) {
		pay(t, h, d)
		moved(t, h, took(d))
	}
}
