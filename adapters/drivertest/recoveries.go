package drivertest

import (
	"slices"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that know the recovery of a debt: what was declined is asked
// for once more, and they are told whose idea that is.

var recoveryCases = []testCase{
	{"recovery", "the debt of a declined debit is recovered in each way the product says it knows, once", recovers, recoveryPays},
	{"recovery_garbled", "a recovery whose answer makes no sense is open, is found again and made once", recovers, recoveryGarbled},
	{"recovery_of_paid", "what was paid is no debt: its recovery takes nothing and is no success", recovers, recoveryOfPaid},
	{"recovery_once", "two recoveries of one debt are not both paid", recovers, recoveryOnce},
	{"recovery_content", "one id with another decline to recover moves nothing and decides nothing", recoversAgain, recoveryContent},
}

func recovers(h Harness) bool { return h.Provider().Describe().Limits.Recoveries.Any() }
func recoversAgain(h Harness) bool {
	return recovers(h) && h.Provider().Describe().ResubmitSafe
}

func ways(h Harness) []driver.Recovery {
	known := h.Provider().Describe().Limits.Recoveries
	all := []driver.Recovery{driver.RecoverByMerchant, driver.RecoverByRider, driver.RecoverByTap}
	return slices.DeleteFunc(all, func(way driver.Recovery) bool { return !known.Has(way) })
}

// declinedDebit has the far side decline a debit.
func declinedDebit(t TB, h Harness, ourID string, minor int64) driver.Debit {
	t.Helper()
	d := debit(h, ourID, minor)
	h.DeclineNext()
	if r, err := submit(t.Context(), h, d); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("Submit(%s), declined = %q, %v", ourID, r.Outcome, err)
	}
	return d
}

// recovery asks for what was declined, an hour later.
func recovery(h Harness, ourID string, of driver.Debit, way driver.Recovery) driver.Debit {
	d := of
	d.OurID, d.Attempted, d.Mark, d.Recovery, d.Recovers = ourID, of.Attempted.Add(time.Hour), "", way, ref(of)
	if m, ok := driver.As[driver.Marker](h.Provider()); ok {
		d.Mark = m.Mark(d.Attempted)
	}
	if way == driver.RecoverByTap {
		d.Shown = []byte("shown to a reader an hour later")
	}
	return d
}

func recoveryPays(t TB, h Harness) {
	var want []Move
	for i, way := range ways(h) {
		again := recovery(h, "again"+string(way), declinedDebit(t, h, "debt"+string(way), 470+int64(i)), way)
		pay(t, h, again)
		if h.Provider().Describe().ResubmitSafe {
			pay(t, h, again)
		}
		if r, err := h.Provider().Query(t.Context(), ref(again)); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("Query of a recovery by %s = %q, %v; want succeeded", way, r.Outcome, err)
		}
		want = append(want, took(again))
	}
	moved(t, h, want...)
}

func recoveryGarbled(t TB, h Harness) {
	again := recovery(h, "again", declinedDebit(t, h, "debt", 470), ways(h)[0])
	h.GarbleNext()
	r, err := submit(t.Context(), h, again)
	open(t, "the answer made no sense", r, err)
	resolve(t, h, again)
	moved(t, h, took(again))
}

func recoveryOfPaid(t TB, h Harness) {
	paid := debit(h, "paid", 470)
	pay(t, h, paid)
	for _, way := range ways(h) {
		if r, err := submit(t.Context(), h, recovery(h, "again"+string(way), paid, way)); err == nil && r.Outcome == driver.Succeeded {
			t.Errorf("a recovery by %s of what was paid = %q", way, r.Outcome)
		}
	}
	moved(t, h, took(paid))
}

func recoveryOnce(t TB, h Harness) {
	owed := declinedDebit(t, h, "debt", 470)
	first := recovery(h, "first", owed, ways(h)[0])
	pay(t, h, first)
	for _, way := range ways(h) {
		if r, err := submit(t.Context(), h, recovery(h, "more"+string(way), owed, way)); err == nil && r.Outcome == driver.Succeeded {
			t.Errorf("a recovery by %s of what was recovered = %q", way, r.Outcome)
		}
	}
	moved(t, h, took(first))
}

func recoveryContent(t TB, h Harness) {
	one, two := declinedDebit(t, h, "debta", 470), declinedDebit(t, h, "debtb", 470)
	again := recovery(h, "again", one, ways(h)[0])
	pay(t, h, again)
	other := recovery(h, "again", two, ways(h)[0])
	if r, err := submit(t.Context(), h, other); err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("the same id for another debt = %q, which is decided by neither", r.Outcome)
	}
	moved(t, h, took(again))
}
