package vault

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// The breaker's measures.
const (
	failuresMax  = 5               // failures in a row that open it
	openFirst    = time.Second     // how long it refuses at first
	openLongest  = 4 * time.Second // and at most, before the spread
	openSpreadBy = 4               // a quarter more or less, so that gateways do not meet
)

// A breaker keeps calls from a server that does not answer. Open, it refuses
// all; when its time is up one caller tries, and what comes of that decides.
type breaker struct {
	clock  citygate.Clock
	random *rand.Rand

	mu       sync.Mutex
	failures int
	open     time.Duration // the present refusal; 0 = closed
	until    time.Time
	trying   bool
	why      keys.Reason
}

// An outcome is what a call says about the server.
type outcome int

const (
	answered  outcome = iota // whatever the answer was
	failed                   // it could not answer
	abandoned                // the caller gave up: nothing was learned
)

// enter asks to call. The caller says what came of it, once.
func (b *breaker) enter() (done func(outcome, keys.Reason), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open > 0 {
		if left := b.until.Sub(b.clock()); left > 0 || b.trying {
			return nil, &keys.Unavailable{Reason: b.why, After: max(left, openFirst)}
		}
		b.trying = true
		return func(o outcome, why keys.Reason) { b.done(o, why, true) }, nil
	}
	return func(o outcome, why keys.Reason) { b.done(o, why, false) }, nil
}

func (b *breaker) done(o outcome, why keys.Reason, try bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if try {
		b.trying = false
	}
	switch o {
	case answered:
		if try || b.open == 0 { // a straggler does not close it
			b.failures, b.open = 0, 0
		}
	case failed:
		b.failures++
		b.why = why
		switch {
		case try:
			b.refuse(min(2*b.open, openLongest))
		case b.open == 0 && b.failures >= failuresMax:
			b.refuse(openFirst)
		}
	case abandoned:
	}
}

func (b *breaker) refuse(d time.Duration) {
	b.open = d
	spread := d / openSpreadBy
	b.until = b.clock().Add(d - spread + time.Duration(b.random.Int64N(int64(2*spread)+1)))
}

// state reports whether the breaker is open, and why.
func (b *breaker) state() (open bool, why keys.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open > 0, b.why
}
