package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/tokendefer"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
)

// A stuck program takes requests to some paths and never answers them.
type stuck struct {
	t     *testing.T
	inner http.Handler
	end   chan struct{}

	mu    sync.Mutex
	asked map[string]int
}

func (s *stuck) times(path string) int { s.mu.Lock(); defer s.mu.Unlock(); return s.asked[path] }

func (s *stuck) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/bill" && r.URL.Path != "/v1/code" {
		s.inner.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	s.asked[r.URL.Path]++
	s.mu.Unlock()
	select {
	case <-r.Context().Done():
	case <-s.end:
	case <-time.After(30 * time.Second):
		s.t.Errorf("%s was waited for: the job that asked did nothing else meanwhile", r.URL.Path)
	}
}

// A provider that takes questions about codes and requests for bills, and answers
// neither, holds up what they were about and nothing else: not what the same
// provider collects, not the bills of another, not another tenant, and not what the
// jobs do after them.
func TestBillsAndQuestionsThatHangHoldUpNothingElse(t *testing.T) {
	o := open(t)
	var mu sync.Mutex
	var faults []error
	b := collect.NewBulkhead(8, o.now, func(err error) { mu.Lock(); defer mu.Unlock(); faults = append(faults, err) })
	o.bulkhead, o.Collector.Bulkhead, o.Reconciler.Bulkhead, o.Foreign.Beside = b, b, b, askBeside(b)
	o.onboard()
	city, railway := newMinistry(o), newRailway(o)
	o.answerFor(city, railway, "{}")
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	a, contract := o.program(ed25519.PublicKey(own.Public))
	contract.Manifest.Secrets = nil
	s := &stuck{t: t, inner: a.server.Config.Handler, end: make(chan struct{}), asked: map[string]int{}}
	a.server.Config.Handler = s
	defer b.Stop()
	defer close(s.end)
	config, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", Config: config}, nil)
	o.send(http.MethodPut, schemePath(bus, tokendefer.ID), edge.CodeScheme{Params: json.RawMessage(`{"issuer":7,"providers":["palm"]}`), Contract: "acme", Asks: true}, nil)
	o.send(http.MethodPost, busPath("foreign-riders"), map[string]any{"requests": []edge.RegisterForeign{
		{Scheme: string(tokendefer.ID), Code: token(o, 4), Contract: "acme", RiderRef: "dan"},
	}}, nil)
	v := o.reader(1)
	for i, raw := range [][]byte{city.show(o, 1, o.now()), railway.show(o, 1, o.now()), token(o, 4), token(o, 1)} { // the last one nobody knows
		if got := o.offer(v, raw); got != code.Reason("") {
			t.Fatalf("%d: %q", i, got)
		}
	}
	o.drain(v)
	step := func(what string, by time.Duration, done func() bool) {
		t.Helper()
		for i := range 400 {
			if i < 24 {
				o.move(by)
			}
			o.settleDown()
			if done() {
				return
			}
			<-time.After(20 * time.Millisecond) // what is done beside the jobs needs a moment
		}
		t.Fatalf("%s: never; asked %d times about codes, %d about bills", what, s.times("/v1/code"), s.times("/v1/bill"))
	}
	files := func(contract string) int64 {
		return o.audit.Count(bus, fmt.Sprintf(`SELECT count(*) FROM external_files WHERE contract = '%s' AND state = 'processed'`, contract))
	}
	step("the provider is asked whose a code is", 0, func() bool { return s.times("/v1/code") > 0 })
	step("all that is known is collected", 3*time.Hour, func() bool { return len(o.charged(bus)) == 2 && len(o.charged(rail)) == 1 })
	step("the other provider's bill is matched", 3*time.Hour, func() bool { return files("sandbox") > 0 && s.times("/v1/bill") > 0 })
	if files("acme") != 0 {
		t.Error("a bill that never came is processed")
	}
	step("what is matched is paid out", 3*time.Hour, func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	o.booksHold()
}
