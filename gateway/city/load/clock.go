package load

import (
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Clock shows played time that passes like real time and can be set. It is
// safe for concurrent use.
type Clock struct {
	real   citygate.Clock
	offset atomic.Int64 // nanoseconds
}

// NewClock starts a clock at an instant.
func NewClock(at time.Time, real citygate.Clock) *Clock {
	c := &Clock{real: real}
	c.Set(at)
	return c
}

// Now gives the played time.
func (c *Clock) Now() time.Time { return c.real().Add(time.Duration(c.offset.Load())).UTC() }

// Set moves the clock.
func (c *Clock) Set(at time.Time) { c.offset.Store(int64(at.Sub(c.real()))) }
