// Package party lets people outside this program meet a payment product's protocol
// from either side, over a directory of keys: [Tools] runs the product's simulator
// for clients of others, and sends single requests as the product's adapter does.
package party

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Tools are what a product offers those outside.
type Tools struct {
	Account map[string]string // what account.json says when it is made

	// Sim starts the product's simulator at listen with the provider's side of
	// the directory. It serves until Stop; ctx is only that of its announcements.
	Sim func(ctx context.Context, m Meeting, listen string) (Running, error)
	// Call sends one request with the merchant's side of the directory. An error
	// says that nothing was done.
	Call func(ctx context.Context, m Meeting, c Call) (Answer, error)
}

// A Meeting is what both sides share.
type Meeting struct {
	Dir    *Dir
	Clock  citygate.Clock
	Random io.Reader
	HTTP   *http.Client
}

// A Running is a simulator that takes requests at Address, a base URL.
type Running struct {
	Address string
	Stop    func()
}

// A Call is one request. Biz is what the caller wants in it, as JSON; nil if nothing.
type Call struct {
	Endpoint, Op string
	Biz          json.RawMessage
}

// An Answer is what came of a call. Body was proven to be the provider's.
type Answer struct {
	Body    []byte
	Unknown string // why the outcome is open; "" if it is not
	Refused string // why the provider said a final no; "" if it did not
}

// Heard gives what a call that was answered came to: a final no, an open outcome, or a yes.
func Heard(body []byte, refused, open bool, why string) Answer {
	a := Answer{Body: body}
	switch {
	case refused:
		a.Refused = why
	case open:
		a.Unknown = why
	}
	return a
}

// Failed gives what a call that ended in err came to: an error where it is certain
// that nothing was done, an open outcome otherwise.
func Failed(err error) (Answer, error) {
	var code *citygate.Code
	if errors.Is(err, driver.ErrNotPerformed) || errors.As(err, &code) {
		return Answer{}, err
	}
	return Answer{Unknown: err.Error()}, nil
}

// Announce has a simulator deliver, and repeat, the notifications that are due, until
// stop; stop waits for a delivery under way. One that was made to die comes back before,
// at its address and with its book; where that fails it is tried again the next time.
func Announce(ctx context.Context, every time.Duration, sim interface{ Revive() error }, deliver func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if sim.Revive() == nil {
					deliver(ctx)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}
