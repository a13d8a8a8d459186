// Package wire sends a provider's HTTP request and knows whether anybody can
// have seen it.
//
// After a failed call the one question that decides about money is whether the
// request may have reached the far side. The error does not answer it:
// net/http silently sends a request again when a reused connection breaks and
// the request carries an Idempotency-Key (or its method is idempotent), so a
// "connection refused" may belong to a second attempt while the first one was
// acted upon. The state of the write does not answer it either: after a
// cancelled context the write may still be under way when Do returns. So wire
// asks the transport, by net/http/httptrace, whether any attempt ever had a
// connection. Only when the transport is known to have looked for one and never
// got one does an error carry [driver.ErrNotPerformed]; a Doer that does not
// speak httptrace never earns that certainty.
//
// Besides, wire follows no redirect (a signed request belongs to one host),
// reads at most a stated number of bytes, and takes the URL out of errors
// because provider URLs carry signatures and short-lived download tickets. It hears
// Retry-After for all adapters ([Heed]).
//
// It does not retry, does not sleep and knows no provider's format or
// signature.
package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The limits on a body, for [Do].
const (
	CallLimit int64 = 1 << 20   // an API answer
	BillLimit int64 = 256 << 20 // a bill

	// UnfoldLimit is on what a bill that came compressed unfolds to, where it is
	// read as a stream.
	UnfoldLimit int64 = 2 << 30
)

// ErrTooLarge says that the answer is longer than the limit. The request was
// seen, so its outcome is unknown.
var ErrTooLarge = errors.New("wire: the answer is longer than the limit")

// ErrRedirect says that the far side answered with a redirect, which is never
// followed. The request was seen, so its outcome is unknown.
var ErrRedirect = errors.New("wire: the far side answered with a redirect")

// A Reply is an answer read to its end. The body is as received, so that a
// signature over raw bytes can be checked.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends req through doer and reads at most limit bytes of the answer. The
// deadline is that of req's context. Any status but a redirect is a Reply; what
// a status means is the adapter's business.
//
// An error wraps [driver.ErrNotPerformed] only if no attempt ever had a
// connection. Every other error leaves the outcome open.
func Do(doer driver.Doer, req *http.Request, limit int64) (Reply, error) {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return Reply{}, notPerformed(err)
	}
	var sought, connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sought.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }, // any attempt, resends included
	})
	req = req.WithContext(ctx)
	resp, err := stay(doer).Do(req)
	if err != nil {
		err = withoutURL(err)
		if sought.Load() && !connected.Load() {
			return Reply{}, notPerformed(err)
		}
		return Reply{}, fmt.Errorf("wire: %w", err)
	}
	hear(ctx, resp.StatusCode, resp.Header)
	defer func() { _ = resp.Body.Close() }() // read to the end or given up: nothing to learn from Close
	if resp.Request != nil && resp.Request.URL.String() != req.URL.String() {
		return Reply{}, ErrRedirect // a Doer of the host's followed it
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return Reply{}, fmt.Errorf("%w: status %d", ErrRedirect, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return Reply{}, fmt.Errorf("wire: reading the answer: %w", withoutURL(err))
	}
	if int64(len(body)) > limit {
		return Reply{}, fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	}
	return Reply{resp.StatusCode, resp.Header, body}, nil
}

func notPerformed(cause error) error {
	return fmt.Errorf("%w: nothing was sent: %w", driver.ErrNotPerformed, cause)
}

// stay gives a doer that does not follow redirects, where it can be told.
func stay(doer driver.Doer) driver.Doer {
	client, ok := doer.(*http.Client)
	if !ok {
		return doer
	}
	quiet := *client
	quiet.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &quiet
}

// withoutURL drops the URL that net/http puts in front of its errors.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
