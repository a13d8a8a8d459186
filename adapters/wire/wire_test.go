package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// post makes a request as a careful integrator would: with an idempotency key,
// which is what makes net/http send it again behind everybody's back.
func post(t *testing.T, ctx context.Context, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"amount":100}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "k1")
	return req
}

// A far side acts on a request over a kept connection, drops the connection and
// dies. net/http dials again and gets "connection refused": taken at its word,
// that error says that nothing was sent while the money has moved.
func TestDeathAfterActingIsNeverNotPerformed(t *testing.T) {
	var acted atomic.Int32
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if acted.Add(1) == 1 {
			return // the warm-up leaves an open connection
		}
		_ = server.Listener.Close() // later dials are refused
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}))
	defer server.Close()

	if _, err := wire.Do(server.Client(), post(t, t.Context(), server.URL), wire.CallLimit); err != nil {
		t.Fatal(err)
	}
	_, err := wire.Do(server.Client(), post(t, t.Context(), server.URL), wire.CallLimit)
	if err == nil {
		t.Fatal("Do succeeded against a far side that died")
	}
	if errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("Do says not performed, but the far side acted: %v", err)
	}
	if acted.Load() != 2 {
		t.Fatalf("the far side acted %d times, want 2: the test does not test what it says", acted.Load())
	}
	var refused *net.OpError
	if !errors.As(err, &refused) || refused.Op != "dial" {
		t.Errorf("the last error is not the dial that makes the trap: %v", err)
	}
}

func TestRefusedConnectionIsNotPerformed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	_, err := wire.Do(&http.Client{}, post(t, t.Context(), url), wire.CallLimit)
	if !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("err = %v, want ErrNotPerformed", err)
	}
}

func TestContextThatEndedBeforeTheCallIsNotPerformed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := wire.Do(&http.Client{}, post(t, ctx, "http://127.0.0.1:1"), wire.CallLimit)
	if !errors.Is(err, driver.ErrNotPerformed) || !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want ErrNotPerformed because of context.Canceled", err)
	}
}

func TestContextThatEndsInsideTheCallIsOpen(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := wire.Do(server.Client(), post(t, ctx, server.URL), wire.CallLimit)
	if err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("err = %v, want an open outcome", err)
	}
}

type deaf struct{}

func (deaf) Do(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }

// A Doer that tells the trace nothing may have sent anything.
func TestDoerWithoutTraceIsNeverNotPerformed(t *testing.T) {
	_, err := wire.Do(deaf{}, post(t, t.Context(), "http://provider.test"), wire.CallLimit)
	if err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("err = %v, want an open outcome", err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var visited atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Store(true) }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	_, err := wire.Do(server.Client(), post(t, t.Context(), server.URL), wire.CallLimit)
	if !errors.Is(err, wire.ErrRedirect) {
		t.Errorf("err = %v, want ErrRedirect", err)
	}
	if visited.Load() {
		t.Error("the signed request was sent on to another host")
	}
	_, err = wire.Do(following{}, post(t, t.Context(), server.URL), wire.CallLimit)
	if !errors.Is(err, wire.ErrRedirect) {
		t.Errorf("a Doer that follows redirects: err = %v, want ErrRedirect", err)
	}
}

// following is a Doer of the host's own that follows redirects.
type following struct{}

func (following) Do(r *http.Request) (*http.Response, error) { return (&http.Client{}).Do(r) }

func TestBodyIsReadToTheLimitAndNotBeyond(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("0123456789"))
	}))
	defer server.Close()
	reply, err := wire.Do(server.Client(), post(t, t.Context(), server.URL), 10)
	if err != nil || string(reply.Body) != "0123456789" || reply.Status != http.StatusOK {
		t.Errorf("reply = %+v, %v", reply, err)
	}
	_, err = wire.Do(server.Client(), post(t, t.Context(), server.URL), 9)
	if !errors.Is(err, wire.ErrTooLarge) || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("err = %v, want ErrTooLarge with an open outcome", err)
	}
}

func TestAnswerThatBreaksOffIsOpen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
	}))
	defer server.Close()
	_, err := wire.Do(server.Client(), post(t, t.Context(), server.URL), wire.CallLimit)
	if err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("err = %v, want an open outcome", err)
	}
}

func TestErrorsDoNotHoldTheURL(t *testing.T) {
	_, err := wire.Do(&http.Client{}, post(t, t.Context(), "http://127.0.0.1:1/pay?sign=c2VjcmV0"), wire.CallLimit)
	if err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("err = %v", err)
	}
}
