package drivertest

import (
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that know a payment by its id and something else that is chosen
// as it is sent, such as the second.

var markCases = []testCase{
	{"mark_pure", "what names a debit beside its id follows from the instant alone, and has 1 to 64 characters", marks, markPure},
	{"mark_kept", "a debit that is sent again later, or asked about, goes by the mark it was first sent with: it is found, and is one payment", marks, markKept},
	{"mark_of_refund", "a refund goes by its own mark and by its debit's, whenever it is asked about", marksRefunds, markOfRefund},
}

func marks(h Harness) bool        { _, ok := driver.As[driver.Marker](h.Provider()); return ok }
func marksRefunds(h Harness) bool { return marks(h) && refunds(h) }

func markOf(h Harness, at time.Time) string {
	m, _ := driver.As[driver.Marker](h.Provider())
	return m.Mark(at)
}

func markPure(t TB, h Harness) {
	first := debit(h, "marked", 470).Attempted
	for _, at := range []time.Time{first, first.Add(time.Second), first.Add(40 * time.Hour)} {
		mark := markOf(h, at)
		if mark == "" || len(mark) > 64 {
			t.Errorf("Mark of %s = %q", at, mark)
		}
		if again := markOf(h, at.In(time.FixedZone("", 8*60*60))); again != mark {
			t.Errorf("Mark of %s = %q, and again %q", at, mark, again)
		}
	}
	moved(t, h)
}

func markKept(t TB, h Harness) {
	d := debit(h, "marked", 470)
	pay(t, h, d)
	later := d
	later.Attempted = d.Attempted.Add(3 * time.Hour)
	if h.Provider().Describe().ResubmitSafe {
		if r, err := submit(t.Context(), h, later); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("the same debit again, hours later: %q, %v; want succeeded", r.Outcome, err)
		}
	}
	if r, err := h.Provider().Query(t.Context(), ref(later)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Query, hours later: %q, %v; want succeeded", r.Outcome, err)
	}
	moved(t, h, took(d))
}

func markOfRefund(t TB, h Harness) {
	d := debit(h, "marked", 470)
	refund := refundOf(d, pay(t, h, d), "back", 200)
	refund.Mark = markOf(h, d.Attempted.Add(time.Hour))
	refund.Charge.SubmittedAt = d.Attempted.Add(2 * time.Hour)
	for range 2 {
		if r, err := refunder(h).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("Refund = %q, %v; want succeeded", r.Outcome, err)
		}
	}
	if r, err := refunder(h).QueryRefund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("QueryRefund = %q, %v; want succeeded", r.Outcome, err)
	}
	other := refund
	other.Mark = markOf(h, d.Attempted.Add(9*time.Hour))
	if r, err := refunder(h).QueryRefund(t.Context(), other); err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("QueryRefund of one with another mark = %q: it was never asked for", r.Outcome)
	}
	moved(t, h, took(d), gave(refund))
}
