package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases about what an adapter says of itself, and about payments beyond the
// first ones.

var paymentCases = []testCase{
	{"describe_named", "an adapter has a name, takes at least one debit and the gateway's ids of 32 characters", always, describeNamed},
	{"describe_static", "a description and its abilities are the same before and after a payment", always, describeStatic},
	{"describe_limits", "limits do not contradict each other", always, describeLimits},
	{"describe_notices", "what is promised about notices is a word of the contract", always, describeNotices},
	{"no_debits", "no debits are no request", always, noDebits},
	{"full_batch", "a full batch is paid item by item, in the order of the debits", always, fullBatch},
	{"longest_id", "an id of the longest length the description allows names a payment", always, longestID},
	{"id_too_long", "an id that is too long is never cut to one that fits", always, idTooLong},
	{"id_case", "ids that differ in case alone are two payments", always, idCase},
	{"id_digits", "an id of digits keeps its leading zeros", always, idDigits},
	{"nothing_to_pay", "an amount of nothing is never sent", always, nothingToPay},
	{"negative_amount", "a negative debit pays nobody", always, negativeAmount},
	{"large_amount", "a large amount arrives to the minor unit", always, largeAmount},
	{"over_limit", "an amount over the limit is never cut to the limit", limitedAmounts, overLimit},
	{"no_currency", "an amount without a currency is never sent", oneCurrency, noCurrency},
	{"lost_twice", "a payment whose reply was lost twice is made once", resubmits, lostTwice},
	{"garbled_twice", "two answers that make no sense decide no more than one", resubmits, garbledTwice},
	{"ended_context", "a context that ended before the call sends nothing, or says nothing final", always, endedContext},
	{"deadline", "a deadline that passes is no decline", always, deadlinePasses},
	{"query_ended_context", "a Query whose context ended says nothing final", always, queryEndedContext},
	{"gone", "a far side that is gone declines nothing", always, gone},
	{"query_gone", "a Query that reaches nobody says nothing", always, queryGone},
	{"decline_reason", "a decline names the provider's own code", always, declineReason},
	{"declined_again", "what was declined for good is not paid when it is asked again", resubmits, declinedAgain},
	{"decline_one", "a decline of one debit says nothing of the next", always, declineOne},
	{"provider_ref", "Submit and Query name one payment by one reference", always, providerRef},
	{"query_found", "a Query never denies a payment that was made", always, queryFound},
	{"query_moves_nothing", "asking moves nothing, however often", always, queryMovesNothing},
	{"query_other_amount", "a payment of another amount is no confirmation of this one", always, queryOtherAmount},
	{"query_other_ref", "a reference of another payment confirms nothing", always, queryOtherRef},
	{"attempted", "the instant of an attempt is no part of what is asked for", resubmits, attempted},
	{"zone", "one instant written in two zones is one content", resubmits, zone},
	{"subject_hostile", "text for people can hold any character and break nothing", always, subjectHostile},
	{"subject_long", "text for people can be long and breaks nothing", always, subjectLong},
	{"parallel_same", "one debit submitted eight times at once is one payment", resubmits, parallelSame},
	{"parallel_many", "a hundred debits submitted at once are each paid, once", always, parallelMany},
	{"secrets_described", "a description holds no secret", always, secretsDescribed},
	{"prompt_query", "a context that ends makes Query return promptly", always, promptQuery},
}

func resubmits(h Harness) bool      { return h.Provider().Describe().ResubmitSafe }
func limitedAmounts(h Harness) bool { return h.Provider().Describe().Limits.AmountMax > 0 }

// undecided checks that nothing final was said.
func undecided(t TB, what string, r driver.Result, err error) {
	t.Helper()
	if err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("%s: %q, which nobody can know", what, r.Outcome)
	}
}

func describeNamed(t TB, h Harness) {
	d := h.Provider().Describe()
	if d.Name == "" || d.BatchMax < 1 || d.IDMax < driver.IDMade || d.Limits.IDMin > driver.IDMade {
		t.Errorf("name %q, batch %d, ids of %d characters", d.Name, d.BatchMax, d.IDMax)
	}
}

func describeStatic(t TB, h Harness) {
	p := h.Provider()
	before, could := p.Describe(), driver.Capabilities(p)
	pay(t, h, debit(h, "static", 470))
	after, can := p.Describe(), driver.Capabilities(p)
	same := slices.Equal(before.Currencies, after.Currencies) && slices.Equal(could, can)
	before.Currencies, after.Currencies = nil, nil
	if !same || !equalDescriptions(before, after) {
		t.Errorf("it was %+v and is %+v", before, after)
	}
}

func equalDescriptions(a, b driver.Description) bool {
	return a.Name == b.Name && a.Version == b.Version && a.BatchMax == b.BatchMax && a.IDMax == b.IDMax && a.ResubmitSafe == b.ResubmitSafe &&
		a.QuietTime == b.QuietTime && a.PollEvery == b.PollEvery && a.Deadline == b.Deadline && a.Limits == b.Limits && slices.Equal(a.PaymentCodes, b.PaymentCodes)
}

func describeLimits(t TB, h Harness) {
	d := h.Provider().Describe()
	l := d.Limits
	negative := min(l.IDMin, l.RefundsMax, l.Recoveries.Tries) < 0 || min(l.AmountMin, l.AmountMax) < 0 ||
		min(l.ReverseAfter, l.ReverseWithin, l.RefundWithin, l.QueryDelay, l.NoticeWithin, l.PayerEvery, l.Recoveries.Within, d.QuietTime, d.PollEvery, d.Deadline) < 0
	crossed := l.IDMin > d.IDMax || (l.AmountMax > 0 && l.AmountMin > l.AmountMax) || (l.ReverseWithin > 0 && l.ReverseAfter > l.ReverseWithin)
	if negative || crossed {
		t.Errorf("limits %+v with ids of at most %d", l, d.IDMax)
	}
	for _, c := range d.Currencies {
		if !c.Valid() {
			t.Errorf("%q is not a currency", string(c))
		}
	}
}

func describeNotices(t TB, h Harness) {
	promised := h.Provider().Describe().Limits.Notices
	if promised != driver.NoNotices && promised != driver.SuccessOnly && promised != driver.EveryFinalState {
		t.Errorf("the promise %q is not in the contract", promised)
	}
}

func noDebits(t TB, h Harness) {
	results, err := h.Provider().Submit(t.Context(), nil)
	if (err != nil && !errors.Is(err, driver.ErrNotPerformed)) || len(results) != 0 {
		t.Errorf("Submit of nothing = %v, %v", results, err)
	}
	moved(t, h)
}

func fullBatch(t TB, h Harness) {
	n := min(h.Provider().Describe().BatchMax, 10)
	debits, want := make([]driver.Debit, n), make([]Move, n)
	for i := range debits {
		debits[i] = debit(h, "full"+string(rune('a'+i)), int64(100+i))
		want[i] = took(debits[i])
	}
	results, err := h.Provider().Submit(t.Context(), debits)
	if err != nil || len(results) != n {
		t.Fatalf("Submit of %d debits gave %d results, %v", n, len(results), err)
	}
	for i, r := range results {
		if r.OurID != debits[i].OurID || r.Outcome != driver.Succeeded {
			t.Errorf("result %d is %q of %s; want succeeded of %s", i, r.Outcome, r.OurID, debits[i].OurID)
		}
	}
	moved(t, h, want...)
}

// idOf makes an id of n characters.
func idOf(n int) string { return strings.Repeat("a1B2c3D4e5", n/10+1)[:n] }

func longestID(t TB, h Harness) {
	d := debit(h, idOf(h.Provider().Describe().IDMax), 470)
	pay(t, h, d)
	if r, err := h.Provider().Query(t.Context(), ref(d)); err != nil || r.OurID != d.OurID {
		t.Errorf("Query = %s, %v; want %s", r.OurID, err, d.OurID)
	}
	moved(t, h, took(d))
}

func idTooLong(t TB, h Harness) {
	d := debit(h, idOf(h.Provider().Describe().IDMax+1), 470)
	r, err := submit(t.Context(), h, d)
	for _, m := range h.Moved() {
		if m.OurID != d.OurID {
			t.Errorf("the far side knows it as %s", m.OurID)
		}
	}
	if err == nil && r.Outcome == driver.Succeeded && len(h.Moved()) != 1 {
		t.Errorf("it says succeeded and the far side moved %v", h.Moved())
	}
}

func idCase(t TB, h Harness) {
	a, b := debit(h, "CaseMatters", 470), debit(h, "casematters", 530)
	pay(t, h, a)
	pay(t, h, b)
	moved(t, h, took(a), took(b))
}

func idDigits(t TB, h Harness) {
	a, b := debit(h, "0001234567890123", 470), debit(h, "1234567890123000", 530)
	pay(t, h, a)
	pay(t, h, b)
	moved(t, h, took(a), took(b))
}

// unpayable checks a debit that must not leave.
func unpayable(t TB, h Harness, d driver.Debit) {
	t.Helper()
	if r, err := submit(t.Context(), h, d); err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("Submit of %d = succeeded", d.Amount.Minor)
	}
	moved(t, h)
}

func nothingToPay(t TB, h Harness)   { unpayable(t, h, of(debit(h, "zero", 470), 0)) }
func negativeAmount(t TB, h Harness) { unpayable(t, h, of(debit(h, "minus", 470), -470)) }

func overLimit(t TB, h Harness) {
	unpayable(t, h, of(debit(h, "over", 470), h.Provider().Describe().Limits.AmountMax+1))
}

func of(d driver.Debit, minor int64) driver.Debit { d.Amount.Minor = minor; return d }

func largeAmount(t TB, h Harness) {
	minor := int64(99_999_999) // a cent below a million, in most currencies
	if most := h.Provider().Describe().Limits.AmountMax; most > 0 {
		minor = min(minor, most)
	}
	d := debit(h, "large", minor)
	pay(t, h, d)
	moved(t, h, took(d))
}

func noCurrency(t TB, h Harness) {
	d := debit(h, "bare", 470)
	d.Amount.Currency = ""
	if r, err := submit(t.Context(), h, d); err == nil {
		t.Errorf("Submit without a currency = %q and no error", r.Outcome)
	}
	moved(t, h)
}

func lostTwice(t TB, h Harness) {
	d := debit(h, "losttwice", 470)
	for range 2 {
		h.LoseNextReply()
		if r, err := submit(t.Context(), h, d); err != nil || r.Outcome != driver.Succeeded { // net/http may have sent it again by itself
			open(t, "lost reply", r, err)
		}
	}
	resolve(t, h, d)
	moved(t, h, took(d))
}

func garbledTwice(t TB, h Harness) {
	d := debit(h, "garbledtwice", 470)
	for range 2 {
		h.GarbleNext()
		r, err := submit(t.Context(), h, d)
		if err != nil || r.Outcome != driver.Succeeded { // of a debit it knows, the far side may answer without acting
			open(t, "garbled answer", r, err)
		}
	}
	resolve(t, h, d)
	moved(t, h, took(d))
}

func endedContext(t TB, h Harness) {
	d := debit(h, "ended", 470)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := submit(ctx, h, d)
	undecided(t, "Submit in a context that has ended", r, err)
	if errors.Is(err, driver.ErrNotPerformed) {
		moved(t, h)
	}
}

func deadlinePasses(t TB, h Harness) {
	d := debit(h, "deadline", 470)
	h.DelayNext()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := submit(ctx, h, d)
	open(t, "a deadline that passed", r, err)
	resolve(t, h, d)
	moved(t, h, took(d))
}

func queryEndedContext(t TB, h Harness) {
	d := debit(h, "asked", 470)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := h.Provider().Query(ctx, ref(d))
	undecided(t, "Query in a context that has ended", r, err)
}

// die leaves the harness without a far side.
func die(t TB, h Harness) driver.Debit {
	t.Helper()
	d := debit(h, "lastone", 470)
	h.DieNext()
	_, err := submit(t.Context(), h, d)
	if err == nil {
		t.Fatalf("the far side was to die without an answer")
	}
	for end := time.After(2 * time.Second); ; { // an old connection may outlive it for a moment
		if _, err := h.Provider().Query(t.Context(), ref(d)); err != nil {
			return d
		}
		select {
		case <-end:
			t.Fatalf("the far side was to be gone and answers")
		case <-time.After(time.Millisecond):
		}
	}
}

func gone(t TB, h Harness) {
	last := die(t, h)
	r, err := submit(t.Context(), h, debit(h, "nobody", 530))
	if err == nil {
		undecided(t, "Submit to nobody", r, err)
	}
	moved(t, h, took(last))
}

func queryGone(t TB, h Harness) {
	last := die(t, h)
	r, err := h.Provider().Query(t.Context(), ref(last))
	undecided(t, "Query of nobody", r, err)
	if err == nil && r.Outcome == driver.Absent {
		t.Errorf("Query of nobody = absent, for a payment that was made")
	}
}

func declineReason(t TB, h Harness) {
	h.DeclineNext()
	r, err := submit(t.Context(), h, debit(h, "why", 470))
	if err != nil || r.Outcome != driver.Declined || r.ReasonCode == "" {
		t.Errorf("Submit = %q for %q, %v; want a decline with a reason", r.Outcome, r.ReasonCode, err)
	}
}

func declinedAgain(t TB, h Harness) {
	d := debit(h, "noagain", 470)
	h.DeclineNext()
	if r, err := submit(t.Context(), h, d); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("Submit = %q, %v; want declined", r.Outcome, err)
	}
	if r, err := submit(t.Context(), h, d); err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("the same again succeeded, after it was declined for good")
	}
	moved(t, h)
}

func declineOne(t TB, h Harness) {
	h.DeclineNext()
	if r, err := submit(t.Context(), h, debit(h, "first", 470)); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("Submit = %q, %v; want declined", r.Outcome, err)
	}
	d := debit(h, "second", 530)
	pay(t, h, d)
	moved(t, h, took(d))
}

func providerRef(t TB, h Harness) {
	a, b := debit(h, "refa", 470), debit(h, "refb", 530)
	first, second := pay(t, h, a), pay(t, h, b)
	if first.ProviderRef != "" && first.ProviderRef == second.ProviderRef {
		t.Errorf("two payments have the reference %s", first.ProviderRef)
	}
	r, err := h.Provider().Query(t.Context(), ref(a))
	if err == nil && r.ProviderRef != "" && first.ProviderRef != "" && r.ProviderRef != first.ProviderRef {
		t.Errorf("Query names %s, Submit %s", r.ProviderRef, first.ProviderRef)
	}
}

func queryFound(t TB, h Harness) {
	d := debit(h, "found", 470)
	pay(t, h, d)
	r, err := h.Provider().Query(t.Context(), ref(d))
	if err == nil && r.Outcome == driver.Declined {
		t.Errorf("Query denies a payment that was made")
	}
	if r.OurID != d.OurID && err == nil {
		t.Errorf("Query answers about %q", r.OurID)
	}
}

func queryMovesNothing(t TB, h Harness) {
	d := debit(h, "askedoften", 470)
	pay(t, h, d)
	first, _ := h.Provider().Query(t.Context(), ref(d))
	for range 3 {
		if r, err := h.Provider().Query(t.Context(), ref(d)); err == nil && r.Outcome != first.Outcome {
			t.Errorf("Query = %q, and %q before", r.Outcome, first.Outcome)
		}
	}
	moved(t, h, took(d))
}

func queryOtherAmount(t TB, h Harness) {
	d := debit(h, "othersum", 470)
	pay(t, h, d)
	other := ref(d)
	other.Amount.Minor = 520
	r, err := h.Provider().Query(t.Context(), other)
	if err == nil && r.Outcome == driver.Succeeded && r.Amount != d.Amount {
		t.Errorf("Query for 520 = succeeded with amount %s, of a payment of 470", r.Amount)
	}
	if err == nil && r.Outcome == driver.Declined {
		t.Errorf("Query for 520 = declined, of a payment of 470")
	}
}

func queryOtherRef(t TB, h Harness) {
	paid := pay(t, h, debit(h, "really", 470))
	never := ref(debit(h, "neverpaid", 470))
	never.ProviderRef = paid.ProviderRef
	r, err := h.Provider().Query(t.Context(), never)
	undecided(t, "Query of one payment with the reference of another", r, err)
}

// sameAgain submits d, and other, which is the same.
func sameAgain(t TB, h Harness, d, other driver.Debit) {
	t.Helper()
	pay(t, h, d)
	if r, err := submit(t.Context(), h, other); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("the same again = %q, %v; want succeeded", r.Outcome, err)
	}
	moved(t, h, took(d))
}

func attempted(t TB, h Harness) {
	d := debit(h, "attempt", 470)
	later := d
	later.Attempted = d.Attempted.Add(90 * time.Second)
	sameAgain(t, h, d, later)
}

func zone(t TB, h Harness) {
	d := debit(h, "zone", 470)
	elsewhere := d
	elsewhere.TripTime = d.TripTime.In(time.FixedZone("elsewhere", -5*60*60-30*60))
	sameAgain(t, h, d, elsewhere)
}

// spoken checks that a debit with a strange text is paid, or certainly not sent.
func spoken(t TB, h Harness, text string) {
	t.Helper()
	d := debit(h, "spoken", 470)
	d.Subject = text
	r, err := submit(t.Context(), h, d)
	switch {
	case err == nil && r.Outcome == driver.Succeeded:
		moved(t, h, took(d))
	case errors.Is(err, driver.ErrNotPerformed):
		moved(t, h)
	default:
		t.Errorf("Submit = %q, %v; want it paid, or refused before it was sent", r.Outcome, err)
	}
}

func subjectHostile(t TB, h Harness) {
	spoken(t, h, "a&b=c/d?e%41+f \"g\" <h> 'i' \\j 地铁 \u202e\u00e9 {\"k\":1}")
}
func subjectLong(t TB, h Harness) { spoken(t, h, strings.Repeat("乘车 ride ", 200)) }

// together runs f n times at once.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

func parallelSame(t TB, h Harness) {
	d := debit(h, "together", 470)
	results, errs := make([]driver.Result, 8), make([]error, 8)
	together(8, func(i int) { results[i], errs[i] = submit(t.Context(), h, d) })
	for i, r := range results {
		if errs[i] == nil && r.Outcome == driver.Declined {
			t.Errorf("one of them was declined")
		}
	}
	resolve(t, h, d)
	moved(t, h, took(d))
}

func parallelMany(t TB, h Harness) {
	debits := make([]driver.Debit, 100)
	for i := range debits {
		debits[i] = debit(h, fmt.Sprintf("many%02d", i), int64(100+i))
	}
	results, errs := make([]driver.Result, len(debits)), make([]error, len(debits))
	together(len(debits), func(i int) { results[i], errs[i] = submit(t.Context(), h, debits[i]) })
	paid := map[Move]int{}
	for _, m := range h.Moved() {
		paid[m]++
	}
	for i, r := range results {
		if errs[i] != nil || r.Outcome != driver.Succeeded || r.OurID != debits[i].OurID {
			t.Errorf("%s = %q of %q, %v; want succeeded", debits[i].OurID, r.Outcome, r.OurID, errs[i])
		}
		if paid[took(debits[i])] != 1 {
			t.Errorf("%s was paid %d times", debits[i].OurID, paid[took(debits[i])])
		}
	}
}

func secretsDescribed(t TB, h Harness) {
	d := h.Provider().Describe()
	if leak(h, d.Name+" "+d.Version+" "+citygateCurrencies(d.Currencies)) {
		t.Errorf("the description holds a secret")
	}
}

func citygateCurrencies(list []citygate.Currency) string {
	var b strings.Builder
	for _, c := range list {
		b.WriteString(string(c) + " ")
	}
	return b.String()
}

func promptQuery(t TB, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.Provider().Query(ctx, ref(debit(h, "prompt", 470))) // what it says is another case's
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
		t.Errorf("Query had not returned a second after its context ended")
		<-done
	}
}
