package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// responseMax bounds what is read of one answer. A key of 3,000 versions has
// less than 1 MiB.
const responseMax = 32 << 20

// retryPause is the shortest wait before a second try, the longest is double.
const retryPause = 20 * time.Millisecond

// A request is one request of the API.
type request func(ctx context.Context, vault *api.Logical) (*api.Secret, error)

// call makes a request for a tenant under an identity, within the deadline. One
// that is safe to send twice is, after a broken connection. The answer of a path
// that is not there is nil.
func (s *Store) call(ctx context.Context, tenant citygate.TenantID, who *session, safe bool, do request) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	in, err := s.lanes.enter(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var wait time.Duration
	defer func() { s.lanes.leave(tenant, in, wait) }()
	got, token, err := s.attempt(ctx, who, do)
	if safe && isBroken(err) && s.pause(ctx) {
		got, token, err = s.attempt(ctx, who, do)
	}
	if hasStatus(err, http.StatusForbidden) {
		// Nothing happened, whatever it was: it may be sent again.
		if fresh := who.replace(ctx, token); fresh == nil {
			got, _, err = s.attempt(ctx, who, do)
		} else {
			err = fresh
		}
	}
	var t *throttled
	if errors.As(err, &t) {
		wait = t.wait
	}
	return got, s.explain(err)
}

// attempt sends the request once, if the breaker lets it pass, and gives the
// number of the token it went with.
func (s *Store) attempt(ctx context.Context, who *session, do request) (*api.Secret, int, error) {
	done, err := s.breaker.enter()
	if err != nil {
		return nil, 0, err
	}
	token, err := who.ready(ctx)
	if err != nil {
		done(judge(ctx, err))
		return nil, 0, err
	}
	var h hint
	got, err := do(context.WithValue(ctx, hintKey{}, &h), who.client.Logical())
	done(judge(ctx, err))
	if hasStatus(err, http.StatusTooManyRequests) {
		err = &throttled{err, h.wait()}
	}
	return got, token, err
}

// pause waits a moment before a second try.
func (s *Store) pause(ctx context.Context) bool {
	timer := time.NewTimer(retryPause + time.Duration(s.random.Int64N(int64(retryPause))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// judge says what an error means for the breaker.
func judge(ctx context.Context, err error) (outcome, keys.Reason) {
	var refused *api.ResponseError
	var known *keys.Unavailable
	switch {
	case err == nil:
		return answered, ""
	case errors.Is(err, errTooSoon):
		return abandoned, "" // the server was not asked
	case errors.As(err, &refused):
		if refused.StatusCode >= http.StatusInternalServerError {
			return failed, reasonOf(refused)
		}
		return answered, ""
	case errors.As(err, &known):
		if known.Reason == keys.Down || known.Reason == keys.Slow || known.Reason == keys.Sealed {
			return failed, known.Reason
		}
		return answered, ""
	case errors.Is(ctx.Err(), context.Canceled):
		return abandoned, ""
	case ctx.Err() != nil || isTimeout(err):
		return failed, keys.Slow
	default:
		return failed, keys.Down
	}
}

func reasonOf(refused *api.ResponseError) keys.Reason {
	if refused.StatusCode == http.StatusServiceUnavailable && strings.Contains(strings.Join(refused.Errors, " "), "sealed") {
		return keys.Sealed
	}
	return keys.Down
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// isBroken reports whether a request ended without any answer, sooner than its
// deadline.
func isBroken(err error) bool {
	var refused *api.ResponseError
	var code *citygate.Code
	return err != nil && !errors.As(err, &refused) && !errors.As(err, &code) && !isTimeout(err) && !errors.Is(err, context.Canceled)
}

func hasStatus(err error, status int) bool {
	var refused *api.ResponseError
	return errors.As(err, &refused) && refused.StatusCode == status
}

// refuses reports whether Vault answered 400 with a text that has part.
func refuses(err error, part string) bool {
	var refused *api.ResponseError
	return errors.As(err, &refused) && refused.StatusCode == http.StatusBadRequest && strings.Contains(strings.Join(refused.Errors, " "), part)
}

// explain turns an error of the library into one of package keys. What was
// refused with 400 stays as it is, for the caller knows what it means.
func (s *Store) explain(err error) error {
	var refused *api.ResponseError
	var code *citygate.Code
	var t *throttled
	switch {
	case err == nil || errors.As(err, &code):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &t):
		return &keys.Unavailable{Reason: keys.Throttled, After: max(t.wait, time.Second), Cause: plain(err)}
	case errors.As(err, &refused):
		switch {
		case refused.StatusCode == http.StatusForbidden:
			return keys.ErrForbidden.Because(plain(err), "")
		case refused.StatusCode >= http.StatusInternalServerError:
			return &keys.Unavailable{Reason: reasonOf(refused), After: openFirst, Cause: plain(err)}
		default:
			return err
		}
	case isTimeout(err):
		return &keys.Unavailable{Reason: keys.Slow, After: openFirst, Cause: err}
	default:
		return &keys.Unavailable{Reason: keys.Down, After: openFirst, Cause: err}
	}
}

// plain says an answer of Vault on one line, without the address and what the
// library puts around it.
func plain(err error) error {
	var refused *api.ResponseError
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("vault answered %d: %s", refused.StatusCode, strings.Join(refused.Errors, "; "))
}

// throttled is an answer of 429.
type throttled struct {
	cause error
	wait  time.Duration // below 0 = the server did not say
}

func (t *throttled) Error() string { return t.cause.Error() }
func (t *throttled) Unwrap() error { return t.cause }

// A hint is what the library drops of an answer: its Retry-After.
type hint struct{ after string }

type hintKey struct{}

// wait gives how long the server wants to be left alone.
func (h *hint) wait() time.Duration {
	seconds, err := strconv.Atoi(h.after)
	if err != nil || seconds < 1 {
		return -1
	}
	return min(time.Duration(seconds)*time.Second, throttledLongest)
}

// hinting notes hints and bounds answers.
type hinting struct{ base http.RoundTripper }

func (t *hinting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if h, ok := r.Context().Value(hintKey{}).(*hint); ok {
		h.after = resp.Header.Get("Retry-After")
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, responseMax), resp.Body}
	return resp, nil
}
