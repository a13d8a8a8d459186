package edge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	denials = "/v1/tenants/1/denials"
	denial  = `{"list":1,"index":2,"reason":"lost"}`
)

var errGone = &citygate.Code{Name: "test.gone", Kind: citygate.NotFound, Title: "Gone."}
var errWrong = &citygate.Code{Name: "test.wrong", Kind: citygate.Invalid, Title: "Wrong."}

// denies makes what a denial answers, and counts how often it ran.
func (b *testBench) denies(fn func(list uint16) error) *atomic.Int64 {
	ran := &atomic.Int64{}
	b.Deny = func(_ context.Context, _ string, _ citygate.TenantID, list uint16, _ uint32, _ string) error {
		ran.Add(1)
		return fn(list)
	}
	b.Lift = b.Deny
	return ran
}

func fine(uint16) error { return nil }

// Rule 1: another tenant's key and another route's key are other keys.
func TestAKeyCountsInItsTenantAndRoute(t *testing.T) {
	b := newBench(t)
	ran := b.denies(fine)
	for _, path := range []string{denials, "/v1/tenants/1/denials/lift", "/v1/tenants/2/denials"} {
		tenant := citygate.TenantID(1)
		if strings.Contains(path, "/2/") {
			tenant = 2
		}
		w := b.call("POST", path, b.token(t, tenant, edge.ScopeAdmin), denial, "Idempotency-Key", "same")
		if w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if ran.Load() != 3 {
		t.Errorf("it ran %d times, want 3", ran.Load())
	}
}

// Rules 2 and 3: the same request, however its JSON is written, gets the same
// status, bytes and type; another one is refused and does nothing.
func TestTheSameRequestGetsTheSameAnswer(t *testing.T) {
	b := newBench(t)
	ran := b.denies(func(list uint16) error {
		if list == 5 {
			return errGone
		}
		return nil
	})
	admin := b.token(t, 1, edge.ScopeAdmin)
	for key, bodies := range map[string][]string{
		"ok":   {denial, " {\"reason\" : \"lost\",\n\"index\":2, \"list\":1}", denial},
		"gone": {`{"list":5,"index":2,"reason":"lost"}`, `{"index":2,"list":5,"reason":"\u006cost"}`},
	} {
		first := b.call("POST", denials, admin, bodies[0], "Idempotency-Key", key)
		for _, body := range bodies[1:] {
			w := b.call("POST", denials, admin, body, "Idempotency-Key", key)
			if w.Code != first.Code || w.Body.String() != first.Body.String() || w.Header().Get("Content-Type") != first.Header().Get("Content-Type") ||
				w.Header().Get("Idempotency-Replayed") != "true" {
				t.Errorf("%s: %d %v %s, first %d %v %s", key, w.Code, w.Header(), w.Body, first.Code, first.Header(), first.Body)
			}
		}
	}
	if ran.Load() != 2 {
		t.Errorf("it ran %d times, want 2", ran.Load())
	}
	for _, what := range []string{`{"list":1,"index":3,"reason":"lost"}`, `{"list":1.0,"index":2,"reason":"lost"}`} {
		if w := b.call("POST", denials, admin, what, "Idempotency-Key", "ok"); w.Code != http.StatusUnprocessableEntity || code(w) != "idempotency.key_reused" {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if w := b.call("POST", denials+"?x=1", admin, denial, "Idempotency-Key", "ok"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("with a query: %d %s", w.Code, w.Body)
	}
	if ran.Load() != 2 {
		t.Error("a refused request ran")
	}
}

// Rule 4, on two instances: one runs, whoever comes meanwhile is told to wait.
func TestOneOfManyAtOnceRuns(t *testing.T) {
	b := newBench(t)
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	ran := b.denies(func(uint16) error {
		entered <- struct{}{}
		<-leave
		return nil
	})
	other := &testBench{t: t, Edge: edge.New(b.Verticals, slog.New(slog.DiscardHandler)), tokens: b.tokens, db: b.db}
	admin := b.token(t, 1, edge.ScopeAdmin)
	var first sync.WaitGroup
	codes := make(chan int, 1)
	first.Go(func() { codes <- b.call("POST", denials, admin, denial, "Idempotency-Key", "race").Code })
	<-entered
	for _, instance := range []*testBench{other, b, other} {
		w := instance.call("POST", denials, admin, denial, "Idempotency-Key", "race")
		if w.Code != http.StatusConflict || code(w) != "idempotency.in_progress" || w.Header().Get("Retry-After") == "" {
			t.Errorf("while it runs: %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
	close(leave)
	first.Wait()
	if got := <-codes; got != http.StatusOK || ran.Load() != 1 {
		t.Errorf("the first got %d, it ran %d times", got, ran.Load())
	}
	if w := other.call("POST", denials, admin, denial, "Idempotency-Key", "race"); w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
	entered = make(chan struct{}, 100)
	var all sync.WaitGroup
	before := ran.Load()
	for i := range 16 {
		instance := []*testBench{b, other}[i%2]
		all.Go(func() {
			w := instance.call("POST", denials, admin, denial, "Idempotency-Key", "storm")
			if w.Code != http.StatusOK && w.Code != http.StatusConflict {
				t.Errorf("in a storm: %d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if ran.Load()-before != 1 {
		t.Errorf("of 16 at once %d ran", ran.Load()-before)
	}
}

// Rule 5: what is refused for what it says leaves its key free, whether its form
// or its meaning is wrong.
func TestARefusedRequestLeavesItsKeyFree(t *testing.T) {
	b := newBench(t)
	ran := b.denies(func(list uint16) error {
		if list == 6 {
			return errWrong
		}
		return nil
	})
	admin := b.token(t, 1, edge.ScopeAdmin)
	for _, body := range []string{`{"list":1}`, `{`, `{"list":6,"index":2,"reason":"lost"}`, `{"list":1,"index":2,"reason":"lost","more":1}`} {
		if w := b.call("POST", denials, admin, body, "Idempotency-Key", "k"); w.Code < 400 || w.Code >= 500 {
			t.Errorf("%s: %d", body, w.Code)
		}
		if n := b.keys(t); n != 0 {
			t.Errorf("%s: %d keys are kept", body, n)
		}
	}
	if w := b.call("POST", denials, admin, denial, "Idempotency-Key", "k"); w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "" || ran.Load() != 2 {
		t.Errorf("the corrected request: %d %s, ran %d", w.Code, w.Body, ran.Load())
	}
}

// Rule 6: nobody knows what a failed request did, so its repeat runs.
func TestAFailureIsNotKept(t *testing.T) {
	b := newBench(t)
	var failing error
	ran := b.denies(func(uint16) error { return failing })
	admin := b.token(t, 1, edge.ScopeAdmin)
	for status, err := range map[int]error{http.StatusInternalServerError: context.DeadlineExceeded, http.StatusServiceUnavailable: pg.ErrInDoubt, http.StatusTooManyRequests: access.ErrTooMany} {
		key, before := fmt.Sprint("k", status), ran.Load()
		failing = err
		if w := b.call("POST", denials, admin, denial, "Idempotency-Key", key); w.Code != status || ran.Load() != before+1 {
			t.Errorf("%d: %d, ran %d", status, w.Code, ran.Load()-before)
		}
		failing = nil
		if w := b.call("POST", denials, admin, denial, "Idempotency-Key", key); w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "" || ran.Load() != before+2 {
			t.Errorf("the repeat after %d: %d, ran %d", status, w.Code, ran.Load()-before)
		}
	}
}

// A process died between the effect and the answer: its key stands until the
// lease is over, then the repeat runs. If the first one was only slow, its late
// answer does not replace the repeat's.
func TestAKeyOutlivesItsProcessForALease(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	owner := pgtest.Owner(t, b.db)
	entered, leave := make(chan struct{}), make(chan struct{})
	var slow atomic.Bool
	slow.Store(true)
	ran := b.denies(func(uint16) error {
		if slow.Swap(false) {
			close(entered)
			<-leave
			return errGone
		}
		return nil
	})
	var first sync.WaitGroup
	first.Go(func() { b.call("POST", denials, admin, denial, "Idempotency-Key", "k") })
	<-entered
	owner.Exec(1, `UPDATE idempotency_keys SET created_at = $1`, now.Add(-2*time.Minute))
	if w := b.call("POST", denials, admin, denial, "Idempotency-Key", "k"); code(w) != "idempotency.in_progress" {
		t.Errorf("within the lease: %d %s", w.Code, w.Body)
	}
	owner.Exec(1, `UPDATE idempotency_keys SET created_at = $1`, now.Add(-2*time.Minute-time.Microsecond))
	if w := b.call("POST", denials, admin, denial, "Idempotency-Key", "k"); w.Code != http.StatusOK || ran.Load() != 2 {
		t.Errorf("behind the lease: %d %s, ran %d", w.Code, w.Body, ran.Load())
	}
	close(leave)
	first.Wait()
	if w := b.call("POST", denials, admin, denial, "Idempotency-Key", "k"); w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("the slow one's answer replaced the repeat's: %d %s", w.Code, w.Body)
	}
}
