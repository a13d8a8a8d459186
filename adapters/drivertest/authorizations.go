package drivertest

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that charge contactless cards in steps: verify, authorise,
// capture, void.

var authorizeCases = []testCase{
	{"authorize_verify", "whether a card is good is asked for nothing: it holds and moves nothing, and is one step when it is asked again", authorizes, authorizeVerify},
	{"authorize_holds", "an authorisation holds exactly the amount asked for and moves nothing", authorizes, authorizeHolds},
	{"authorize_once", "two Authorizes of one id with equal content are one hold", authorizes, authorizeOnce},
	{"authorize_other_content", "one id with another amount holds nothing more and decides nothing", authorizes, authorizeOtherContent},
	{"authorize_lost_reply", "a hold whose reply was lost is open, and made once when it is asked for again", authorizes, authorizeLostReply},
	{"authorize_garbled", "an answer that makes no sense is neither a hold nor a decline", authorizes, authorizeGarbled},
	{"authorize_death", "a far side that holds and dies is not one that never heard the request", authorizes, authorizeDeath},
	{"authorize_decline", "a plain no is Declined, holds nothing and is not captured as if it had", authorizes, authorizeDecline},
	{"capture_exact", "a capture takes exactly what it asks for, less than was held as well, and nothing stays held", authorizes, captureExact},
	{"capture_once", "two Captures of one id are one, and one of another id takes nothing of what was captured", authorizes, captureOnce},
	{"capture_lost_reply", "a capture whose reply was lost is open, and made once when it is asked for again", authorizes, captureLostReply},
	{"capture_over", "more than was held is captured only where the product says that it may be", authorizes, captureOver},
	{"capture_of_nothing", "what was never authorised is not captured", authorizes, captureOfNothing},
	{"void_lets_go", "a void lets go of what was held, moves nothing, and leaves nothing to capture; two are one", authorizes, voidLetsGo},
	{"void_of_captured", "what was captured is not let go of: its void is no success", authorizes, voidOfCaptured},
	{"first_ride_capture", "a declined authorisation is captured as an insured first ride, and once", firstRides, firstRideCapture},
}

// A CardHarness is a Harness whose far side knows contactless cards. An adapter that is a
// driver.Authorizer has one. Its LoseNextReply, DieNext, GarbleNext and DeclineNext arm the
// far side for authorisations and captures as they do for debits.
type CardHarness interface {
	Harness
	// Tap gives a tap of a card that has money and may be charged. Two calls give equal
	// taps.
	Tap() driver.CardTap
	// Held lists what is held of cards now, neither captured nor let go of, by the ids of
	// the authorisations.
	Held() []Move
}

func authorizes(h Harness) bool { _, ok := driver.As[driver.Authorizer](h.Provider()); return ok }
func firstRides(h Harness) bool {
	return authorizes(h) && h.Provider().Describe().Limits.FirstRide
}

// A cardDesk is what the cases of cards need.
type cardDesk struct {
	CardHarness
	driver.Authorizer
	t TB
}

// cards gives it. A harness that has none fails the cases.
func cards(t TB, h Harness) cardDesk {
	t.Helper()
	has, ok := h.(CardHarness)
	if !ok {
		t.Fatalf("the adapter is a driver.Authorizer and its harness no CardHarness: give it Tap and Held")
	}
	if has.Tap().Token == "" {
		t.Fatalf("there is no card to charge: the test system of a program names one (manifest.test.card)")
	}
	by, _ := driver.As[driver.Authorizer](h.Provider())
	return cardDesk{has, by, t}
}

type stepFunc = func(context.Context, driver.Authorization) (driver.AuthorizationResult, error)

// hold asks for an amount of the card.
func (d cardDesk) hold(id string, minor int64) driver.Authorization {
	return driver.Authorization{OurID: id, Tap: d.Tap(), Amount: d.Debit(id, minor).Amount}
}

// capture asks for an amount of what was held.
func (d cardDesk) capture(id string, of driver.Authorization, minor int64) driver.Authorization {
	a := driver.Authorization{OurID: id, Amount: of.Amount, Of: refOf(of)}
	a.Amount.Minor = minor
	return a
}

func refOf(a driver.Authorization) driver.Ref {
	return driver.Ref{OurID: a.OurID, SubmittedAt: a.Tap.At, Amount: a.Amount}
}

func (d cardDesk) step(what string, do stepFunc, a driver.Authorization, want driver.Outcome) driver.AuthorizationResult {
	d.t.Helper()
	r, err := do(d.t.Context(), a)
	if err != nil || r.Outcome != want || r.OurID != a.OurID {
		d.t.Fatalf("%s %s = %q of %q, %v; want %q", what, a.OurID, r.Outcome, r.OurID, err, want)
	}
	return r
}

// refused is a step that must not succeed, however it says so.
func (d cardDesk) refused(what string, do stepFunc, a driver.Authorization) {
	d.t.Helper()
	if r, err := do(d.t.Context(), a); err == nil && r.Outcome == driver.Succeeded {
		d.t.Errorf("%s = %q", what, r.Outcome)
	}
}

// open is a step of which nobody can say what became.
func (d cardDesk) open(what string, do stepFunc, a driver.Authorization) {
	d.t.Helper()
	r, err := do(d.t.Context(), a)
	if err == nil && r.Outcome == driver.Succeeded { // net/http may have sent it again by itself, and got an answer
		return
	}
	open(d.t, what, r.Result, err)
}

func (d cardDesk) held(want ...driver.Authorization) {
	d.t.Helper()
	got := d.Held()
	same := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && got[i] == Move{OurID: want[i].OurID, Amount: want[i].Amount}
	}
	if !same {
		d.t.Errorf("the far side holds %v; want %d holds", got, len(want))
	}
}

func captured(a driver.Authorization) Move { return Move{OurID: a.OurID, Amount: a.Amount} }

func authorizeVerify(t TB, h Harness) {
	d := cards(t, h)
	ask := driver.Authorization{OurID: "good", Tap: d.Tap()}
	for range 2 {
		d.step("Verify", d.Verify, ask, driver.Succeeded)
	}
	d.held()
	moved(t, h)
}

func authorizeHolds(t TB, h Harness) {
	d := cards(t, h)
	all := []driver.Authorization{d.hold("one", 1), d.hold("two", 470), d.hold("three", 1005)}
	for _, a := range all {
		d.step("Authorize", d.Authorize, a, driver.Succeeded)
	}
	d.held(all...)
	moved(t, h)
}

func authorizeOnce(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	for range 3 {
		d.step("Authorize", d.Authorize, a, driver.Succeeded)
	}
	d.held(a)
}

func authorizeOtherContent(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	d.step("Authorize", d.Authorize, a, driver.Succeeded)
	r, err := d.Authorize(t.Context(), d.hold("hold", 520))
	if err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("another amount under a known id = %q; the far side holds the one it knows", r.Outcome)
	}
	d.held(a)
}

func authorizeLostReply(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	h.LoseNextReply()
	d.open("lost reply", d.Authorize, a)
	d.step("the same Authorize again", d.Authorize, a, driver.Succeeded)
	d.held(a)
	moved(t, h)
}

func authorizeGarbled(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	h.GarbleNext()
	r, err := d.Authorize(t.Context(), a)
	open(t, "garbled answer", r.Result, err)
	d.step("the same Authorize again", d.Authorize, a, driver.Succeeded)
	d.held(a)
}

func authorizeDeath(t TB, h Harness) {
	d := cards(t, h)
	warm, last := d.hold("warm", 470), d.hold("last", 530)
	d.step("Authorize", d.Authorize, warm, driver.Succeeded) // leaves an open connection
	h.DieNext()
	r, err := d.Authorize(t.Context(), last)
	open(t, "death after acting", r.Result, err)
	d.held(warm, last)
}

func authorizeDecline(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	h.DeclineNext()
	d.step("Authorize", d.Authorize, a, driver.Declined)
	d.held()
	d.refused("a capture of what was declined", d.Capture, d.capture("take", a, 470))
	moved(t, h)
}

func captureExact(t TB, h Harness) {
	d := cards(t, h)
	whole, part := d.hold("whole", 470), d.hold("part", 530)
	d.step("Authorize", d.Authorize, whole, driver.Succeeded)
	d.step("Authorize", d.Authorize, part, driver.Succeeded)
	first, second := d.capture("takewhole", whole, 470), d.capture("takepart", part, 180)
	for _, c := range []driver.Authorization{first, second} {
		if r := d.step("Capture", d.Capture, c, driver.Succeeded); r.Amount != (citygate.Money{}) && r.Amount != c.Amount {
			t.Errorf("Capture says %s was moved; want %s", r.Amount, c.Amount)
		}
	}
	d.held()
	moved(t, h, captured(first), captured(second))
}

func captureOnce(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	d.step("Authorize", d.Authorize, a, driver.Succeeded)
	c := d.capture("take", a, 470)
	for range 2 {
		d.step("Capture", d.Capture, c, driver.Succeeded)
	}
	d.refused("a second capture of one hold", d.Capture, d.capture("more", a, 470))
	d.refused("a capture under the id of the hold", d.Capture, d.capture(a.OurID, a, 470))
	moved(t, h, captured(c))
}

func captureLostReply(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	d.step("Authorize", d.Authorize, a, driver.Succeeded)
	c := d.capture("take", a, 470)
	h.LoseNextReply()
	d.open("lost reply", d.Capture, c)
	d.step("the same Capture again", d.Capture, c, driver.Succeeded)
	moved(t, h, captured(c))
}

func captureOver(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	d.step("Authorize", d.Authorize, a, driver.Succeeded)
	c := d.capture("take", a, 471)
	if h.Provider().Describe().Limits.OverCapture {
		d.step("Capture of more than was held", d.Capture, c, driver.Succeeded)
		moved(t, h, captured(c))
		return
	}
	d.refused("a capture of more than was held", d.Capture, c)
	moved(t, h)
	d.held(a)
}

func captureOfNothing(t TB, h Harness) {
	d := cards(t, h)
	d.refused("a capture of what was never authorised", d.Capture, d.capture("take", d.hold("neversent", 470), 470))
	moved(t, h)
}

func voidLetsGo(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	d.step("Authorize", d.Authorize, a, driver.Succeeded)
	let := driver.Authorization{OurID: "let", Of: refOf(a)}
	for range 2 {
		d.step("Void", d.Void, let, driver.Succeeded)
	}
	d.held()
	d.refused("a capture of what was let go of", d.Capture, d.capture("take", a, 470))
	moved(t, h)
}

func voidOfCaptured(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	d.step("Authorize", d.Authorize, a, driver.Succeeded)
	c := d.capture("take", a, 470)
	d.step("Capture", d.Capture, c, driver.Succeeded)
	d.refused("a void of what was captured", d.Void, driver.Authorization{OurID: "let", Of: refOf(a)})
	moved(t, h, captured(c))
}

func firstRideCapture(t TB, h Harness) {
	d := cards(t, h)
	a := d.hold("hold", 470)
	h.DeclineNext()
	if r := d.step("Authorize", d.Authorize, a, driver.Declined); !r.FirstRide {
		t.Errorf("the first decline of a card does not say that it may be captured as a first ride")
	}
	first := func(id string) driver.Authorization {
		c := d.capture(id, a, 470)
		c.Tap, c.FirstRide = a.Tap, true
		return c
	}
	c := first("insured")
	for range 2 {
		d.step("Capture of a first ride", d.Capture, c, driver.Succeeded)
	}
	d.refused("a second capture of one first ride", d.Capture, first("more"))
	moved(t, h, captured(c))
}
