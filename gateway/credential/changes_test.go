package credential

import (
	"testing"
	"time"
)

// The answer to a change is lost, and the next attempt at it is certainly not taken. Nobody
// knows what the provider was told last: what is so by then is told, though the provider
// confirmed the same before. Once it has confirmed it again, nothing more is sent.
func TestAChangeThatMayHaveBeenTakenIsTakenBack(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := Push{State: PushTold}
	c := Card{State: PushTold, Told: CardEnabled}
	send := func(what string, denied string, want bool) {
		t.Helper()
		at = at.Add(time.Hour)
		if got := p.next(denied, at); got != want || got && p.State == PushTold {
			t.Errorf("%s: a denial is sent %t, %+v; want %t", what, got, p, want)
		}
		if got := c.next(denied != "", at); got != want || got && c.State == PushTold {
			t.Errorf("%s: a card is sent %t, %+v; want %t", what, got, c, want)
		}
	}
	refused := func() { p.State, c.State = PushRefused, PushRefused }
	send("nothing to say", "", false)
	send("he owes", "declined", true)
	refused()
	send("he paid, and nothing was taken", "", false)
	send("he owes again", "declined", true)
	n, cn := p.N, c.N
	send("the answer is lost", "declined", true)
	refused()
	send("he paid", "", true)
	if p.Denied || p.N != n+1 || c.Wanted != CardEnabled || c.N != cn+1 {
		t.Errorf("taken back by %+v, %+v", p, c)
	}
	refused()
	send("not taken", "", true)
	p.State, p.Told, p.unsure = PushTold, p.Denied, false // as recordTold
	c.State, c.Told, c.toldTip, c.unsure = PushTold, c.Wanted, c.WantedTip, false
	send("told", "", false)
}
