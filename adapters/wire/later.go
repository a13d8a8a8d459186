package wire

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
)

// laterMost is how far ahead a far side may put another try. Retry-After is signed by
// nobody: a line that lies must not lay a payment aside for good.
const laterMost = time.Hour

// A Later hears when a far side wants to be asked again.
type Later struct {
	clock citygate.Clock
	mu    sync.Mutex
	at    time.Time
}

type laterKey struct{}

// Heed gives a context in which [Do] tells the Later what the answers say of another
// try: with status 429 or 503, Retry-After in seconds or as a date (RFC 9110, 10.2.3).
// So no adapter has to read it.
//
// Neither status says what became of the request. Whatever stands before the far side
// answers so too, and may have passed the request on before it gave up. Only an answer that
// an adapter proves to be the far side's can make it certain that nothing was done.
func Heed(ctx context.Context, clock citygate.Clock) (context.Context, *Later) {
	l := &Later{clock: clock}
	return context.WithValue(ctx, laterKey{}, l), l
}

// At is the instant that the last answer named, at most an hour after it came; zero if it
// named none that is still to come.
func (l *Later) At() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

// hear takes an answer in.
func hear(ctx context.Context, status int, header http.Header) {
	l, ok := ctx.Value(laterKey{}).(*Later)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Time{}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		l.at = after(header.Get("Retry-After"), l.clock())
	}
}

// after reads the header's text; zero for what is none, or is over.
func after(text string, now time.Time) (at time.Time) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		at = now.Add(time.Duration(min(n, uint64(laterMost/time.Second))) * time.Second)
	} else if at, err = http.ParseTime(text); err != nil {
		return time.Time{}
	}
	if most := now.Add(laterMost); at.After(most) {
		at = most
	}
	if !at.After(now) {
		return time.Time{}
	}
	return at
}
