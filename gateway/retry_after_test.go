package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
)

// A shedding line turns every call away, as a proxy does before a provider that has too
// much to do: 503, ten minutes, signed by nobody.
type shedding struct {
	driver.Doer
	mu    sync.Mutex
	on    bool
	calls []string
}

func (s *shedding) Do(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return s.Doer.Do(r)
	}
	s.calls = append(s.calls, r.URL.Path)
	return &http.Response{
		StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"600"}}, Body: io.NopCloser(strings.NewReader("overloaded")), Request: r,
	}, nil
}

func (s *shedding) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, " ")
}

// A provider that asks for ten minutes is left alone for ten minutes, after the charge and
// after each question, and the charge is then collected once.
func TestRetryAfterIsKept(t *testing.T) {
	o := open(t)
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	line := &shedding{Doer: http.DefaultClient, on: true}
	o.HTTP = line
	_, contract := o.program(ed25519.PublicKey(own.Public))
	contract.Manifest.Secrets = nil
	config, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", FeePPM: 6000, Config: config}, nil)
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "ann", Contract: "acme", DeviceKey: key("phone")[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	v := o.validator()
	batch := o.board(v, answer.Issued[0].Credential, "phone")
	o.upload(batch)
	parsed, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(parsed.Hash))
	o.until("asked for", func() bool { return line.asked() != "" })
	for _, want := range []string{"/v1/submit", "/v1/submit /v1/query"} {
		for range 9 {
			if got := line.asked(); got != want {
				t.Fatalf("the provider was asked %s; want %s and ten minutes of nothing", got, want)
			}
			o.move(time.Minute)
			o.settleDown()
		}
		o.move(2 * time.Minute)
		o.settleDown()
	}
	line.mu.Lock()
	line.on = false
	line.mu.Unlock()
	o.until("collected", func() bool {
		for _, c := range list[edge.Charge](o, "charges") {
			if c.Contract == "acme" && c.State == "succeeded" {
				return true
			}
		}
		return false
	})
	o.booksHold()
}
