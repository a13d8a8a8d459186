package edge_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
)

// Every document has an entity tag, and who holds it gets nothing but that it holds.
func TestDocumentsAreAskedForAgain(t *testing.T) {
	b := newBench(t)
	reader := b.token(t, 1, edge.ScopeRead)
	for _, path := range []string{"/v1/tenants", "/v1/tenants/1", "/v1/tenants/1/balances", "/v1/tenants/1/terminals?limit=3"} {
		first := b.call("GET", path, reader, "")
		etag := first.Header().Get("ETag")
		if first.Code != http.StatusOK || !strings.HasPrefix(etag, `"`) || first.Header().Get("Cache-Control") != "private, no-cache" {
			t.Fatalf("%s: %d %v", path, first.Code, first.Header())
		}
		for _, held := range []string{etag, `"other", W/` + etag, "*"} {
			if w := b.call("GET", path, reader, "", "If-None-Match", held); w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
				t.Errorf("%s, holding %s: %d %s %v", path, held, w.Code, w.Body, w.Header())
			}
		}
		if w := b.call("GET", path, reader, "", "If-None-Match", `"other"`); w.Code != http.StatusOK || w.Body.String() != first.Body.String() {
			t.Errorf("%s, holding another: %d %s", path, w.Code, w.Body)
		}
	}
	if w := b.call("GET", "/v1/tenants/9", b.token(t, 0, edge.ScopePlatform), "", "If-None-Match", "*"); w.Code != http.StatusNotFound {
		t.Errorf("what is not there: %d", w.Code)
	}
}

// A document is replaced only as the condition says; of two who read the same form
// one loses, also when they come at once.
func TestADocumentIsReplacedOnCondition(t *testing.T) {
	b := newBench(t)
	v := b.Verticals
	var mu sync.Mutex
	policy, puts := issuance.Policy{
		Phone: issuance.Limits{Cap: 5, Taps: 4, TTLHours: 48, WindowSeconds: 30}, Band: issuance.Limits{Cap: 5, Taps: 2, TTLHours: 12, WindowSeconds: 60},
		Product: 1, Concessions: []issuance.Concession{}, BandsPerPhone: 1, WaitAfterLossHours: 72,
	}, 0
	var entered chan struct{}
	var leave chan struct{}
	v.Devices.Policy = func(_ context.Context, tenant citygate.TenantID) (issuance.Policy, error) {
		mu.Lock()
		defer mu.Unlock()
		return policy, nil
	}
	v.Devices.PublishPolicy = func(_ context.Context, _ string, _ citygate.TenantID, p issuance.Policy) (issuance.Policy, error) {
		if entered != nil {
			entered <- struct{}{}
			<-leave
		}
		mu.Lock()
		defer mu.Unlock()
		policy, puts = p, puts+1
		return p, nil
	}
	v.Devices.LargestLoss = func(context.Context, citygate.TenantID, *issuance.Policy, time.Duration) (edge.Losses, error) {
		return edge.Losses{}, nil
	}
	b.Edge = edge.New(v, slog.New(slog.NewTextHandler(&b.log, nil)))
	admin := b.token(t, 1, edge.ScopeAdmin)
	const path = "/v1/tenants/1/issuance-policy"
	body := func(product string) string {
		return `{"phone":{"cap":5,"taps":4,"ttl_hours":48,"window_seconds":30},"band":{"cap":5,"taps":2,"ttl_hours":12,"window_seconds":60},"product":` + product +
			`,"concessions":[],"bands_per_phone":1,"wait_after_loss_hours":72}`
	}
	first := b.call("GET", path, admin, "").Header().Get("ETag")
	if w := b.call("PUT", path, admin, body("2"), "Idempotency-Key", "k1", "If-Match", first); w.Code != http.StatusOK {
		t.Fatalf("the form that was read: %d %s", w.Code, w.Body)
	}
	if w := b.call("PUT", path, admin, body("2"), "Idempotency-Key", "k1", "If-Match", first); w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same request again: %d %s", w.Code, w.Body)
	}
	for name, value := range map[string]string{"If-Match": first, "If-None-Match": "*"} {
		if w := b.call("PUT", path, admin, body("3"), "Idempotency-Key", "k2", name, value); w.Code != http.StatusPreconditionFailed || code(w) != "request.precondition" {
			t.Errorf("%s %s: %d %s", name, value, w.Code, w.Body)
		}
	}
	if puts != 1 {
		t.Errorf("it was replaced %d times", puts)
	}
	if w := b.call("PUT", path, admin, body("3"), "Idempotency-Key", "k2", "If-Match", b.call("GET", path, admin, "").Header().Get("ETag")); w.Code != http.StatusOK {
		t.Errorf("the key of a request that was refused so: %d %s", w.Code, w.Body)
	}
	if w := b.call("POST", "/v1/tenants/1/denials", admin, `{"list":1,"index":2,"reason":"lost"}`, "Idempotency-Key", "k3", "If-Match", "*"); code(w) != "request.no_precondition" {
		t.Errorf("where nothing is replaced: %d %s", w.Code, w.Body)
	}

	entered, leave = make(chan struct{}), make(chan struct{})
	now := b.call("GET", path, admin, "").Header().Get("ETag")
	var done sync.WaitGroup
	var slow *httptest.ResponseRecorder
	done.Go(func() { slow = b.call("PUT", path, admin, body("4"), "Idempotency-Key", "k4", "If-Match", now) })
	<-entered
	if w := b.call("PUT", path, admin, body("5"), "Idempotency-Key", "k5", "If-Match", now); w.Code != http.StatusConflict || code(w) != "idempotency.in_progress" || w.Header().Get("Retry-After") == "" {
		t.Errorf("at the same time: %d %s", w.Code, w.Body)
	}
	close(leave)
	done.Wait()
	entered = nil
	if slow.Code != http.StatusOK {
		t.Errorf("the first one: %d %s", slow.Code, slow.Body)
	}
	if w := b.call("PUT", path, admin, body("5"), "Idempotency-Key", "k5", "If-Match", now); w.Code != http.StatusPreconditionFailed {
		t.Errorf("the second one, repeated: %d %s", w.Code, w.Body)
	}
	if n := b.keys(t); n != 3 { // k1, k2 and k4
		t.Errorf("%d keys are held", n)
	}
}

// noDocument are PUTs of which GET of the same path gives no document, and why.
var noDocument = map[string]string{}

// Whatever a PUT replaces can be read at its path, so that its conditions have
// something to hold.
func TestEveryPutHasItsDocument(t *testing.T) {
	b := newBench(t)
	routes, puts := b.Routes(), 0
	for route, class := range routes {
		path, put := strings.CutPrefix(route, "PUT ")
		if !put {
			continue
		}
		puts++
		if _, excused := noDocument[route]; (routes["GET "+path] != class) != excused {
			t.Errorf("%s: GET of that path is of class %q; want %q, or a reason in noDocument", route, routes["GET "+path], class)
		}
	}
	if puts < 25 {
		t.Errorf("only %d PUTs", puts)
	}
}

// A document that is read by itself is replaced by who knows it, or made by who
// wants none to be there.
func TestARoleIsReplacedByWhoKnowsIt(t *testing.T) {
	b := newBench(t)
	admin, n := b.token(t, 1, edge.ScopeAdmin), 0
	const path = "/v1/tenants/1/roles/office"
	put := func(permission string, condition ...string) *httptest.ResponseRecorder {
		n++
		return b.call("PUT", path, admin, `{"permissions":["`+permission+`"]}`, append([]string{"Idempotency-Key", strconv.Itoa(n)}, condition...)...)
	}
	if w := put("money.read", "If-Match", "*"); code(w) != "request.precondition" {
		t.Errorf("one that is not there: %d %s", w.Code, w.Body)
	}
	if w := put("money.read", "If-None-Match", "*"); w.Code != http.StatusOK {
		t.Errorf("made: %d %s", w.Code, w.Body)
	}
	if w := put("money.read", "If-None-Match", "*"); code(w) != "request.precondition" {
		t.Errorf("made twice: %d %s", w.Code, w.Body)
	}
	read := b.call("GET", path, admin, "")
	etag := read.Header().Get("ETag")
	if read.Code != http.StatusOK || etag == "" || !strings.Contains(read.Body.String(), `"permissions":["money.read"]`) {
		t.Fatalf("%d %v %s", read.Code, read.Header(), read.Body)
	}
	if w := put("rider.read", "If-Match", etag); w.Code != http.StatusOK {
		t.Errorf("replaced: %d %s", w.Code, w.Body)
	}
	if w := put("debt.read", "If-Match", etag); code(w) != "request.precondition" {
		t.Errorf("replaced by who knows the one before: %d %s", w.Code, w.Body)
	}
	if w := b.call("GET", "/v1/tenants/1/roles/nobody", admin, ""); w.Code != http.StatusNotFound {
		t.Errorf("a role that is none: %d %s", w.Code, w.Body)
	}
}
