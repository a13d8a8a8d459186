package drivertest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that show an operator's cards in riders' wallets.

var walletCases = []testCase{
	{"card_shown", "a wallet shows a card as it was pushed last: to be used, locked while its rider owes, or given up", issues, cardShown},
	{"card_twice", "one state that is pushed twice is one card, and the second time is no error", issues, cardTwice},
	{"card_older", "a state that is older than the one a wallet shows is taken and undoes nothing", issues, cardOlder},
	{"card_apart", "what is pushed of one card changes no other", issues, cardApart},
	{"card_free", "pushing cards takes no money", issues, cardFree},
	{"card_unnamed", "a card without a number, a rider or an instant is not sent", issues, cardUnnamed},
	{"card_lost_reply", "a card whose reply was lost is shown when it is pushed again, once", issues, cardLostReply},
	{"card_garbled", "an answer about a card that makes no sense is an error, as nobody knows what the wallet shows", issues, cardGarbled},
	{"card_gone", "a card that reaches nobody is an error", issues, cardGone},
}

// A WalletHarness is a Harness whose far side has wallets. An adapter that is a
// driver.CardIssuer has one.
type WalletHarness interface {
	Harness
	// Card gives a card that is to be used, of a rider who has a wallet. Two calls with
	// one number give equal cards; all are of one rider.
	Card(ref string) driver.CardState
	// Cards lists what the wallets show: number, rider, Disabled and Overdue.
	Cards() []driver.CardState
}

func issues(h Harness) bool { _, ok := driver.As[driver.CardIssuer](h.Provider()); return ok }

// wallets gives what the cases of cards need. A harness without wallets fails them.
func wallets(t TB, h Harness) (WalletHarness, driver.CardIssuer) {
	t.Helper()
	has, ok := h.(WalletHarness)
	if !ok {
		t.Fatalf("the adapter is a driver.CardIssuer and its harness no WalletHarness: give it Card and Cards methods")
	}
	issuer, _ := driver.As[driver.CardIssuer](h.Provider())
	return has, issuer
}

func push(t TB, i driver.CardIssuer, c driver.CardState) {
	t.Helper()
	if err := i.PushCard(t.Context(), c); err != nil {
		t.Errorf("PushCard(%s): %v", c.CardRef, err)
	}
}

// later gives a card as it is some minutes later: locked while its rider owes, or to be used.
func later(c driver.CardState, minutes int, owes bool) driver.CardState {
	c.At, c.Disabled, c.Overdue = c.At.Add(time.Duration(minutes)*time.Minute), owes, owes
	if c.Tip = ""; owes {
		c.Tip = "a ride is not paid"
	}
	return c
}

// shows checks what the wallets show, in whatever order.
func shows(t TB, h WalletHarness, what string, want ...driver.CardState) {
	t.Helper()
	seen := func(list []driver.CardState) (out []driver.CardState) {
		for _, c := range list {
			out = append(out, driver.CardState{CardRef: c.CardRef, RiderRef: c.RiderRef, Disabled: c.Disabled, Overdue: c.Overdue})
		}
		slices.SortFunc(out, func(a, b driver.CardState) int { return strings.Compare(a.CardRef, b.CardRef) })
		return out
	}
	same := func(a, b driver.CardState) bool {
		return a.CardRef == b.CardRef && a.RiderRef == b.RiderRef && a.Disabled == b.Disabled && a.Overdue == b.Overdue
	}
	if got, want := seen(h.Cards()), seen(want); !slices.EqualFunc(got, want, same) {
		t.Errorf("%s: the wallets show %+v; want %+v", what, got, want)
	}
}

func cardShown(t TB, h Harness) {
	has, issuer := wallets(t, h)
	first := has.Card("card1")
	givenUp := later(first, 9, false)
	givenUp.Disabled, givenUp.Tip = true, "given back"
	for _, c := range []driver.CardState{first, later(first, 3, true), later(first, 6, false), givenUp} {
		push(t, issuer, c)
		shows(t, has, "pushed", c)
	}
}

func cardTwice(t TB, h Harness) {
	has, issuer := wallets(t, h)
	c := later(has.Card("card1"), 3, true)
	for range 2 {
		push(t, issuer, c)
		shows(t, has, "the same again", c)
	}
}

func cardOlder(t TB, h Harness) {
	has, issuer := wallets(t, h)
	older := has.Card("card1")
	newer := later(older, 3, true)
	push(t, issuer, newer)
	push(t, issuer, older)
	shows(t, has, "an older state came late", newer)
}

func cardApart(t TB, h Harness) {
	has, issuer := wallets(t, h)
	one, two := has.Card("card1"), has.Card("card2")
	push(t, issuer, one)
	push(t, issuer, two)
	locked := later(two, 3, true)
	push(t, issuer, locked)
	shows(t, has, "one of two is locked", one, locked)
}

func cardFree(t TB, h Harness) {
	has, issuer := wallets(t, h)
	c := has.Card("card1")
	for i := range 3 {
		push(t, issuer, later(c, i, i%2 == 1))
	}
	moved(t, h)
}

func cardUnnamed(t TB, h Harness) {
	has, issuer := wallets(t, h)
	for what, spoil := range map[string]func(*driver.CardState){
		"number": func(c *driver.CardState) { c.CardRef = "" }, "rider": func(c *driver.CardState) { c.RiderRef = "" }, "instant": func(c *driver.CardState) { c.At = time.Time{} },
	} {
		c := has.Card("card1")
		spoil(&c)
		if err := issuer.PushCard(t.Context(), c); !errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("PushCard of one without a %s: %v; want ErrNotPerformed", what, err)
		}
	}
	shows(t, has, "none was whole")
}

func cardLostReply(t TB, h Harness) {
	has, issuer := wallets(t, h)
	c := later(has.Card("card1"), 3, true)
	h.LoseNextReply()
	if err := issuer.PushCard(t.Context(), c); errors.Is(err, driver.ErrNotPerformed) { // none: net/http may have sent it again by itself
		t.Errorf("lost reply: PushCard said not performed, but the far side had the request: %v", err)
	}
	push(t, issuer, c)
	shows(t, has, "pushed again", c)
}

func cardGarbled(t TB, h Harness) {
	has, issuer := wallets(t, h)
	c := later(has.Card("card1"), 3, true)
	h.GarbleNext()
	if err := issuer.PushCard(t.Context(), c); err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("an answer that makes no sense: PushCard: %v; want an error that leaves it open", err)
	}
	push(t, issuer, c)
	shows(t, has, "pushed again", c)
}

func cardGone(t TB, h Harness) {
	has, issuer := wallets(t, h)
	c := has.Card("card1")
	die(t, h)
	if err := issuer.PushCard(t.Context(), c); err == nil {
		t.Errorf("PushCard to nobody = no error")
	}
}
