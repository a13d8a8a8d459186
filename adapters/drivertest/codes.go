package drivertest

import (
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A CodeHarness is a Harness whose far side knows whose codes are. An adapter that
// is a driver.CodeResolver has one.
type CodeHarness interface {
	Harness
	// Question asks about a code that the far side knows the payer of, and names
	// him; or about one that it never gave anybody, for whom it names "".
	Question(ourID string, known bool) (q driver.CodeQuestion, payer string)
}

func codes(h Harness) bool { _, ok := driver.As[driver.CodeResolver](h.Provider()); return ok }

// asker gives what the cases of codes need. A harness that cannot ask fails them.
func asker(t TB, h Harness) (CodeHarness, driver.CodeResolver) {
	t.Helper()
	ch, ok := h.(CodeHarness)
	if !ok {
		t.Fatalf("the adapter is a driver.CodeResolver and its harness no CodeHarness: give it a Question method")
	}
	return ch, h.Provider().(driver.CodeResolver)
}

func codeKnown(t TB, h Harness) {
	ch, r := asker(t, h)
	for _, id := range []string{"q1", "q1", "q2"} { // asked again; and about the same code by another id
		q, payer := ch.Question(id, true)
		a, err := r.ResolveCode(t.Context(), q)
		if err != nil || a.OurID != id || a.Outcome != driver.CodeKnown || a.RiderRef != payer {
			t.Errorf("ResolveCode(%s) = %+v, %v; want %s known", id, a, err, payer)
		}
	}
	moved(t, h)
}

func codeStranger(t TB, h Harness) {
	ch, r := asker(t, h)
	q, _ := ch.Question("q1", false)
	if a, err := r.ResolveCode(t.Context(), q); err != nil || a.Outcome != driver.CodeRefused || a.RiderRef != "" {
		t.Errorf("ResolveCode of nobody's code = %+v, %v; want refused", a, err)
	}
}

func codeLostReply(t TB, h Harness) {
	ch, r := asker(t, h)
	q, payer := ch.Question("q1", true)
	ch.LoseNextReply()
	if a, err := r.ResolveCode(t.Context(), q); err == nil && a.Outcome == driver.CodeRefused {
		t.Errorf("lost reply: ResolveCode = %+v; want an open outcome", a)
	}
	if a, err := r.ResolveCode(t.Context(), q); err != nil || a.Outcome != driver.CodeKnown || a.RiderRef != payer {
		t.Errorf("the same question again = %+v, %v; want %s known", a, err, payer)
	}
}

func codeGarbled(t TB, h Harness) {
	ch, r := asker(t, h)
	q, _ := ch.Question("q1", true)
	ch.GarbleNext()
	if a, err := r.ResolveCode(t.Context(), q); err == nil && a.Outcome != driver.CodeUnknown {
		t.Errorf("an answer that makes no sense: ResolveCode = %+v; want an open outcome", a)
	}
}
