package drivertest

import (
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// The case of a request that never arrives. Whoever sent it cannot tell it from one whose
// answer was lost, so neither can the adapter.

var lostCases = []testCase{
	{"lost_request", "a payment whose request was lost on its way is open and not declined, is not made, and is made once when it is sent again", drops, lostRequest},
	{"shed_request", "a 503 of something before the far side is no word of the far side's: the payment is open, not declined nor certainly not performed, and is made once when it is sent again", sheds, shedRequest},
	{"shed_until", "Retry-After is heard, whatever else the answer says", sheds, shedUntil},
}

// A ShedHarness is a Harness whose far side has something before it, such as a proxy, that
// can turn requests away.
type ShedHarness interface {
	Harness
	// ShedNext has the next request turned away by 503 or 429, unsigned, with a Retry-After
	// in seconds, which it gives. The far side does not get it.
	ShedNext() time.Duration
}

func sheds(h Harness) bool { _, ok := h.(ShedHarness); return ok }

func shedRequest(t TB, h Harness) {
	d := debit(h, "shed", 470)
	h.(ShedHarness).ShedNext()
	r, err := submit(t.Context(), h, d)
	open(t, "a 503 that nobody signed", r, err)
	moved(t, h)
	if resubmits(h) {
		pay(t, h, d)
		moved(t, h, took(d))
	}
}

func shedUntil(t TB, h Harness) {
	now := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC) // of whoever calls: the header says how long
	ctx, later := wire.Heed(t.Context(), func() time.Time { return now })
	want := now.Add(h.(ShedHarness).ShedNext())
	r, _ := submit(ctx, h, debit(h, "shed", 470)) // what it says is another case's
	if !later.At().Equal(want) && !r.RetryAt.Equal(want) {
		t.Errorf("the far side is to be asked again in %s, and nobody heard it: send by adapters/wire", want.Sub(now))
	}
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
