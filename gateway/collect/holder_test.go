package collect

import (
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// shown gives tap n of rider 5: terminal 70, sequence and counter n.
func shown(n int) interbook.ClaimTap {
	return interbook.ClaimTap{Terminal: 70, Seq: uint64(n), Counter: uint16(n), Evidence: text(5, uint16(n), ""), EventTime: morning.Add(time.Duration(n) * time.Minute)}
}

// trip gives decision n of journey j of rider 5 over the taps given.
func trip(j, n int, amount int64, taps ...int) interbook.Claim {
	c := ride(j, n, 5, 1, amount)
	c.Taps = nil
	for _, t := range taps {
		c.Taps = append(c.Taps, shown(t))
	}
	return c
}

// refusedFor fails unless exactly the taps given are refused as double use.
func refusedFor(t *testing.T, v interbook.Verdict, taps ...uint64) {
	t.Helper()
	if v.Accepted || len(v.Refused) != len(taps) {
		t.Errorf("verdict %+v, want %v refused", v, taps)
		return
	}
	for i, r := range v.Refused {
		if r.Seq != taps[i] || r.Reason != code.DoubleUse {
			t.Errorf("refused %+v, want tap %d for double_use", r, taps[i])
		}
	}
}

func (c *city) owes(want int64) {
	c.t.Helper()
	if got := -c.net(ledger.InterbookPayable(metro)); got != want {
		c.t.Errorf("we owe the metro %d, want %d", got, want)
	}
}

// One tap pays for one journey, whichever way an operator claims it twice.
func TestOneTapPaysForOneJourney(t *testing.T) {
	second := trip(2, 1, 400, 1)
	for name, messages := range map[string][][]interbook.Claim{
		"one message":    {{trip(1, 1, 500, 1), second}},
		"two messages":   {{trip(1, 1, 500, 1)}, {second}},
		"claimed again":  {{trip(1, 1, 300, 1)}, {trip(1, 2, 500, 1)}, {second}},
		"with another":   {{trip(1, 1, 500, 1, 2)}, {trip(2, 1, 400, 1, 3)}},
		"raised later":   {{trip(1, 1, 500, 1)}, {trip(2, 1, 0)}, {trip(2, 2, 400, 1)}},
		"beside a claim": {{trip(1, 1, 300, 1)}, {trip(1, 2, 500, 1), second}},
	} {
		c := newCity(t)
		var last []interbook.Verdict
		for _, m := range messages {
			last = c.claim(metro, m...)
		}
		t.Run(name, func(t *testing.T) { refusedFor(t, last[len(last)-1], 1) })
		c.owes(500)
		c.clock.set(closed)
		c.due()
		c.settled()
	}
}

// Late taps move a tap from one journey to another: the operator claims both.
func TestTapMovesBetweenJourneys(t *testing.T) {
	c := newCity(t)
	c.claim(metro, trip(1, 1, 500, 1, 2))
	for _, v := range c.claim(metro, trip(1, 2, 200, 1), trip(2, 1, 400, 2)) {
		if !v.Accepted {
			t.Fatalf("refused: %+v", v)
		}
	}
	c.owes(600)
	refusedFor(t, c.claim(metro, trip(3, 1, 100, 2))[0], 2)               // it is journey 2's now
	refusedFor(t, c.claim(metro, trip(1, 3, 500, 1, 2))[0], 2)            // and no longer journey 1's
	for _, v := range c.claim(metro, trip(3, 2, 100, 2), trip(2, 2, 0)) { // in any order of the message
		if !v.Accepted {
			t.Fatalf("refused: %+v", v)
		}
	}
	c.owes(300)
	c.claim(metro, trip(3, 3, 0))
	if v := c.claim(metro, trip(1, 4, 450, 1, 2))[0]; !v.Accepted { // nothing is accepted of it elsewhere
		t.Fatalf("refused: %+v", v)
	}
	c.owes(450)
	c.clock.set(closed)
	c.due()
	c.settled()
}

// A tap given up in an earlier message is free; one of a refused claim is not,
// as what was accepted before still rests on it.
func TestTapIsFreeWhenGivenUp(t *testing.T) {
	c := newCity(t)
	c.claim(bus, ride(8, 1, 5, 9, 100))
	c.claim(metro, trip(1, 1, 500, 1, 2))
	refusedFor(t, c.claim(metro, trip(1, 2, 700, 1, 9))[0], 9) // the bus has display 9
	refusedFor(t, c.claim(metro, trip(2, 1, 400, 2))[0], 2)
	c.owes(500)
	c.claim(metro, trip(1, 3, 300, 1))
	if v := c.claim(metro, trip(2, 2, 400, 2))[0]; !v.Accepted {
		t.Errorf("refused: %+v", v)
	}
	c.owes(700)
	c.clock.set(closed)
	c.due()
	c.settled()
}

// The journey that gives a tap up is refused for another tap in the same message:
// what was accepted of it goes, until the operator decides it again.
func TestRefusedJourneyKeepsNoTapItGaveUp(t *testing.T) {
	for name, charged := range map[string]bool{"open": false, "charged": true} {
		t.Run(name, func(t *testing.T) {
			c := newCity(t)
			c.claim(bus, ride(8, 1, 5, 9, 100))
			c.claim(metro, trip(1, 1, 500, 1, 2))
			if charged {
				c.clock.set(closed)
				c.due()
			}
			vs := c.claim(metro, trip(1, 2, 700, 1, 9), trip(2, 1, 400, 2))
			refusedFor(t, vs[0], 9)
			if !vs[1].Accepted {
				t.Errorf("refused: %+v", vs[1])
			}
			c.owes(400)
			if v := c.claim(metro, trip(1, 3, 200, 1))[0]; !v.Accepted {
				t.Errorf("refused: %+v", v)
			}
			c.owes(600)
			c.clock.set(closed.Add(48 * time.Hour))
			c.due()
			c.settled()
		})
	}
}

// Two transactions at once never give one display to two journeys.
func TestTapIsHeldAgainstARace(t *testing.T) {
	c := newCity(t)
	for i := 1; i <= 20; i++ {
		c.claim(metro, trip(100+i, 1, 300, i))
		// One lets the first journey go and takes its tap, the other raises it.
		var wg sync.WaitGroup
		for _, m := range [][]interbook.Claim{{trip(100+i, 2, 0), trip(200+i, 1, 300, i)}, {trip(300+i, 1, 300, i)}, {trip(100+i, 3, 300, i)}} {
			wg.Go(func() {
				err := c.DB.InTenant(t.Context(), issuer, func(tx *pg.Tx) error {
					_, transfers, err := c.Accept(t.Context(), tx, metro, citygate.Currency("HKD"), m)
					if err != nil {
						return err
					}
					return ledger.Post(t.Context(), tx, transfers)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		c.owes(int64(300 * i))
	}
	c.clock.set(closed)
	c.due()
	c.settled()
}
