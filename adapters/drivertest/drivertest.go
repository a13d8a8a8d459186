// Package drivertest is the conformance kit of adapters/driver: what every
// adapter must do when the far side loses replies, dies, dawdles or babbles. It
// runs offline, needs no account at any provider and knows nothing about any
// product, so an integrator can run it as it is:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newHarness(t) })
//	}
//
// The harness brings the adapter and a far side that can misbehave, which for a
// real product is a simulator behind HTTP. Each case gets a fresh harness. Cases
// for optional abilities run if the adapter has them.
//
// docs/adapter-tutorial.md lists the cases by subject, and says what is held elsewhere.
// Every case is known to catch something: the kit's own tests hold one broken
// adapter per case, which fails it. A case that fails prints its rule. What the kit cannot
// show is that the simulator is like the real product; that needs the product's
// own sandbox.
package drivertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A Harness is an adapter under test and the far side it talks to. The methods
// named ...Next arm the far side for the next request it gets (a debit, unless
// said otherwise) and for no other.
type Harness interface {
	// Provider gives the adapter. All calls give the same one.
	Provider() driver.Provider

	// Debit gives a debit that the far side will accept: a known rider,
	// valid evidence, the amount in a currency the adapter supports. Two
	// calls with equal arguments give equal debits.
	Debit(ourID string, minor int64) driver.Debit

	LoseNextReply() // the far side acts (on a debit or a refund), then drops the connection
	DieNext()       // the far side acts, drops the connection and is gone: later dials are refused
	DelayNext()     // the far side acts, and its answer takes two seconds
	GarbleNext()    // the far side acts, and its answer makes no sense or is not authentic
	DeclineNext()   // the far side does not act and says a final no

	// PartialNext arms the far side for a batch of three debits: it acts on the
	// first, does not act on the second and says it does not know, and says a
	// final no to the third. If the protocol allows it, the answer lists them in
	// another order.
	PartialNext()

	// Moved lists what the far side really moved, in the order it did.
	Moved() []Move

	// EndDay lets the far side's day end and its bill be ready, and gives the
	// day to fetch. It is called only if the adapter is a driver.Biller.
	EndDay() citygate.Date

	// Secrets lists byte strings that no error and no reason may hold.
	Secrets() []string
}

// A BillTamperer is a Harness that can take one row out of a bill, leaving its
// totals as they are.
type BillTamperer interface {
	TamperBill(driver.Bill) driver.Bill
}

// A Move is money that the far side moved: from a rider, or back if Refund.
type Move struct {
	OurID  string // of the debit, or of the refund
	Refund bool
	Amount citygate.Money // positive
}

// TB is the part of testing.TB that the cases use.
type TB interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A testCase is one rule. can says whether the rule applies to the adapter.
type testCase struct {
	name string
	rule string
	can  func(Harness) bool
	run  func(TB, Harness)
}

// Run runs every case that applies against a fresh harness.
func Run(t *testing.T, newHarness func(*testing.T) Harness) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			if !c.can(h) {
				return // the adapter does not have the ability
			}
			play(t, c, h)
		})
	}
}

// play runs a case, and prints its rule if it fails, however it ends.
func play(t interface {
	TB
	Failed() bool
	Logf(format string, args ...any)
}, c testCase, h Harness) {
	defer func() {
		if t.Failed() {
			t.Logf("the rule: %s", c.rule)
		}
	}()
	c.run(t, h)
}

var cases = slices.Concat(firstCases, paymentCases, refundCases, billCases, quoteCases, markCases, recoveryCases, limitCases, evidenceCases,
	paymentCodeCases, lostCases,
	agreementCases, authorizeCases, deviceCases, walletCases)

var firstCases = []testCase{
	{"amounts", "the far side moves exactly the amount asked for, to the minor unit", always, amounts},
	{"duplicate", "two Submits of one id with equal content are one payment", always, duplicate},
	{"lost_reply", "a payment whose reply was lost is found again and made once", always, lostReply},
	{"death", "a far side that acts and dies is not one that never heard the request", always, death},
	{"slow", "a context that ends makes Submit return promptly with an open outcome", always, slow},
	{"garbled", "an answer that makes no sense is neither a success nor a decline", always, garbled},
	{"decline", "a plain no is Declined, by Submit and never a success by Query", always, decline},
	{"partial", "each debit of a batch gets its own outcome, in the order of the debits", batches, partial},
	{"unknown_id", "a Query for an id the far side does not know is no decline", always, unknownID},
	{"other_content", "one id with other content moves nothing and decides nothing", always, otherContent},
	{"currency", "a currency the product does not settle is refused before anything is sent", oneCurrency, currency},
	{"refund_once", "two Refunds of one id are one refund", refunds, refundOnce},
	{"refund_lost_reply", "a refund whose reply was lost is found again and made once", refunds, refundLostReply},
	{"over_refund", "no more is given back than was paid", refunds, overRefund},
	{"secrets", "no error and no reason holds a secret", always, secrets},
	{"bill", "the bill of the day lists every payment and every refund with its amount and ids", bills, bill},
	{"code_known", "a code is its payer's, whenever and by whatever id it is asked about, and asking moves nothing", codes, codeKnown},
	{"code_stranger", "a code that the far side never gave is nobody's, for good", codes, codeStranger},
	{"code_lost_reply", "a question whose reply was lost is open, and answered when it is asked again", codes, codeLostReply},
	{"code_garbled", "an answer about a code that makes no sense names nobody and refuses nobody", codes, codeGarbled},
	{"bill_torn", "a bill that does not add up to its own totals is refused", tornBills, billTorn},
}

func always(Harness) bool        { return true }
func batches(h Harness) bool     { return h.Provider().Describe().BatchMax >= 3 }
func oneCurrency(h Harness) bool { return len(h.Provider().Describe().Currencies) > 0 }
func refunds(h Harness) bool     { _, ok := driver.As[driver.Refunder](h.Provider()); return ok }
func bills(h Harness) bool       { _, ok := driver.As[driver.Biller](h.Provider()); return ok }
func tornBills(h Harness) bool   { _, ok := h.(BillTamperer); return ok && bills(h) }

// debit gives a debit that nothing stands in the way of, marked as the gateway marks
// what it sends for the first time.
func debit(h Harness, ourID string, minor int64) driver.Debit {
	d := h.Debit(ourID, minor)
	if m, ok := driver.As[driver.Marker](h.Provider()); ok && d.Mark == "" {
		d.Mark = m.Mark(d.Attempted)
	}
	return d
}

// submit sends one debit and gives its result; an error makes it Unknown.
func submit(ctx context.Context, h Harness, d driver.Debit) (driver.Result, error) {
	results, err := h.Provider().Submit(ctx, []driver.Debit{d})
	if err != nil {
		return driver.Result{OurID: d.OurID}, err
	}
	if len(results) != 1 {
		return driver.Result{OurID: d.OurID}, errors.New("one debit did not get one result")
	}
	return results[0], nil
}

// pay submits a debit that nothing stands in the way of.
func pay(t TB, h Harness, d driver.Debit) driver.Result {
	t.Helper()
	r, err := submit(t.Context(), h, d)
	if err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("Submit(%s) = %q, %v; want succeeded", d.OurID, r.Outcome, err)
	}
	return r
}

// open checks that nothing was claimed about a debit of which nobody can say.
func open(t TB, what string, r driver.Result, err error) {
	t.Helper()
	if errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("%s: Submit said not performed, but the far side had the request: %v", what, err)
	}
	if r.Outcome == driver.Succeeded || r.Outcome == driver.Declined {
		t.Errorf("%s: Submit said %q, which nobody can know", what, r.Outcome)
	}
}

// resolve finds out about an open debit as the gateway does: query, and if the
// far side does not know the id, the same debit again where that is allowed.
func resolve(t TB, h Harness, d driver.Debit) {
	t.Helper()
	r, err := h.Provider().Query(t.Context(), ref(d))
	if err == nil && r.Outcome == driver.Succeeded {
		return
	}
	if !h.Provider().Describe().ResubmitSafe {
		t.Fatalf("Query(%s) = %q, %v; want succeeded, as submitting again is not allowed", d.OurID, r.Outcome, err)
	}
	if err == nil && r.Outcome == driver.Declined {
		t.Fatalf("Query(%s) = declined for a payment that the far side made", d.OurID)
	}
	if r, err = submit(t.Context(), h, d); err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("the same debit again: %q, %v; want succeeded", r.Outcome, err)
	}
}

func ref(d driver.Debit) driver.Ref {
	return driver.Ref{OurID: d.OurID, SubmittedAt: d.Attempted, Amount: d.Amount, Quote: d.Quote, Mark: d.Mark}
}

// moved checks the far side's own book.
func moved(t TB, h Harness, want ...Move) {
	t.Helper()
	got := h.Moved()
	same := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && got[i] == want[i]
	}
	if !same {
		t.Errorf("the far side moved %v; want %v", got, want)
	}
}

func took(d driver.Debit) Move { return Move{OurID: d.OurID, Amount: d.Amount} }

func amounts(t TB, h Harness) {
	var want []Move
	for i, minor := range []int64{1, 10, 99, 100, 1005, 1234567} {
		d := debit(h, "amount"+string(rune('a'+i)), minor)
		pay(t, h, d)
		want = append(want, took(d))
	}
	moved(t, h, want...)
}

func duplicate(t TB, h Harness) {
	d := debit(h, "twice", 470)
	first := pay(t, h, d)
	again, err := submit(t.Context(), h, d)
	if err != nil || again.Outcome != driver.Succeeded {
		t.Errorf("the same debit again: %q, %v; want succeeded", again.Outcome, err)
	}
	if first.ProviderRef != "" && again.ProviderRef != "" && first.ProviderRef != again.ProviderRef {
		t.Errorf("one payment got two provider references, %q and %q", first.ProviderRef, again.ProviderRef)
	}
	moved(t, h, took(d))
}

func lostReply(t TB, h Harness) {
	d := debit(h, "lost", 470)
	h.LoseNextReply()
	r, err := submit(t.Context(), h, d)
	if err != nil || r.Outcome != driver.Succeeded { // net/http may have sent it again by itself, and got an answer
		open(t, "lost reply", r, err)
	}
	resolve(t, h, d)
	moved(t, h, took(d))
}

func death(t TB, h Harness) {
	warm, d := debit(h, "warm", 470), debit(h, "last", 530)
	pay(t, h, warm) // leaves an open connection, which is what makes this hard
	h.DieNext()
	r, err := submit(t.Context(), h, d)
	open(t, "death after acting", r, err)
	moved(t, h, took(warm), took(d))
}

// prompt is how soon a call returns whose context ended: not long before the far
// side's answer comes, so that a busy machine fails nobody who does not wait for it.
const prompt = 1800 * time.Millisecond

func slow(t TB, h Harness) {
	d := debit(h, "slow", 470)
	h.DelayNext()
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(50*time.Millisecond, cancel)
	defer stop.Stop()
	defer cancel()
	type answer struct {
		r   driver.Result
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := submit(ctx, h, d)
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		open(t, "slow answer", a.r, a.err)
	case <-time.After(prompt):
		t.Errorf("Submit had not returned %s after its context ended", prompt)
		<-done
		return
	}
	resolve(t, h, d)
	moved(t, h, took(d))
}

func garbled(t TB, h Harness) {
	d := debit(h, "garbled", 470)
	h.GarbleNext()
	r, err := submit(t.Context(), h, d)
	open(t, "garbled answer", r, err)
	resolve(t, h, d)
	moved(t, h, took(d))
}

func decline(t TB, h Harness) {
	d := debit(h, "declined", 470)
	h.DeclineNext()
	r, err := submit(t.Context(), h, d)
	if err != nil || r.Outcome != driver.Declined {
		t.Errorf("Submit = %q, %v; want declined: an outcome that stays open is asked about for ever", r.Outcome, err)
	}
	if r, err = h.Provider().Query(t.Context(), ref(d)); err == nil && r.Outcome == driver.Succeeded {
		t.Errorf("Query says that a declined debit succeeded")
	}
	moved(t, h)
}

func partial(t TB, h Harness) {
	debits := []driver.Debit{debit(h, "batch1", 100), debit(h, "batch2", 200), debit(h, "batch3", 300)}
	h.PartialNext()
	results, err := h.Provider().Submit(t.Context(), debits)
	if err != nil || len(results) != len(debits) {
		t.Fatalf("Submit gave %d results, %v; want %d", len(results), err, len(debits))
	}
	want := []driver.Outcome{driver.Succeeded, driver.Unknown, driver.Declined}
	for i, r := range results {
		if r.OurID != debits[i].OurID {
			t.Errorf("result %d is for %s; want %s: results come in the order of the debits", i, r.OurID, debits[i].OurID)
		}
		if r.Outcome != want[i] && (want[i] != driver.Unknown || r.Outcome != driver.Accepted) {
			t.Errorf("result %d is %q; want %q", i, r.Outcome, want[i])
		}
	}
	moved(t, h, took(debits[0]))
}

func unknownID(t TB, h Harness) {
	r, err := h.Provider().Query(t.Context(), ref(debit(h, "neversent", 470)))
	if err == nil && r.Outcome != driver.Absent && r.Outcome != driver.Unknown {
		t.Errorf("Query for an id that was never sent = %q; want absent or unknown", r.Outcome)
	}
}

func otherContent(t TB, h Harness) {
	d := debit(h, "content", 470)
	pay(t, h, d)
	r, err := submit(t.Context(), h, debit(h, "content", 520))
	if err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("other content under a known id is %q; want unknown or an error: the payment the far side knows has gone through", r.Outcome)
	}
	moved(t, h, took(d))
}

func currency(t TB, h Harness) {
	d := debit(h, "foreign", 470)
	d.Amount.Currency = "XTS"
	r, err := submit(t.Context(), h, d)
	if !errors.Is(err, driver.ErrCurrencyUnsupported) {
		t.Errorf("Submit in %s = %q, %v; want ErrCurrencyUnsupported", d.Amount.Currency, r.Outcome, err)
	}
	moved(t, h)
}

// leak names the secret that text holds, if any, without repeating it.
func leak(h Harness, text string) bool {
	for _, s := range h.Secrets() {
		if s != "" && strings.Contains(text, s) {
			return true
		}
	}
	return false
}
