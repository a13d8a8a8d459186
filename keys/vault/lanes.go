package vault

import (
	"context"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// Waits after an answer of 429 that does not say how long.
const (
	throttledFirst   = time.Second
	throttledLongest = 30 * time.Second
)

// lanes keep tenants apart in front of the server, which sees them all as one
// client: each has so many calls at once, and waits alone when it is told to.
type lanes struct {
	clock citygate.Clock
	width int

	mu sync.Mutex
	of map[citygate.TenantID]*lane
}

type lane struct {
	slots chan struct{}

	// Guarded by lanes.mu.
	calls     int // waiting or under way; at 0 and unthrottled the lane goes
	until     time.Time
	throttled time.Duration // the last wait; 0 = none since the last success
}

// enter waits for a place in the tenant's lane.
func (l *lanes) enter(ctx context.Context, tenant citygate.TenantID) (*lane, error) {
	l.mu.Lock()
	in, ok := l.of[tenant]
	if !ok {
		in = &lane{slots: make(chan struct{}, l.width)}
		l.of[tenant] = in
	}
	if left := in.until.Sub(l.clock()); left > 0 {
		l.mu.Unlock()
		return nil, &keys.Unavailable{Reason: keys.Throttled, After: left}
	}
	in.calls++
	l.mu.Unlock()
	select {
	case in.slots <- struct{}{}:
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		in.calls--
		return nil, &keys.Unavailable{Reason: keys.Busy, After: time.Second, Cause: ctx.Err()}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := in.until.Sub(l.clock()); left > 0 { // told so while we waited
		in.calls--
		<-in.slots
		return nil, &keys.Unavailable{Reason: keys.Throttled, After: left}
	}
	return in, nil
}

// leave gives the place back. wait is how long the server told the tenant to
// stay away: 0 = it did not, below 0 = it did not say how long.
func (l *lanes) leave(tenant citygate.TenantID, in *lane, wait time.Duration) {
	<-in.slots
	l.mu.Lock()
	defer l.mu.Unlock()
	in.calls--
	switch {
	case wait > 0:
		in.throttled = wait
		in.until = l.clock().Add(wait)
	case wait < 0:
		in.throttled = min(max(2*in.throttled, throttledFirst), throttledLongest)
		in.until = l.clock().Add(in.throttled)
	case !l.clock().Before(in.until):
		in.throttled = 0
		if in.calls == 0 {
			delete(l.of, tenant)
		}
	}
}
