package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote/remoteproduct"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
)

// A verifying provider looks at records, and notes what it was asked for in which order.
type verifying struct {
	driver.Provider
	says driver.EvidenceVerdict
	mu   sync.Mutex
	log  []string
}

func (v *verifying) CheckEvidence(context.Context, []byte) (driver.EvidenceVerdict, string, error) {
	v.note("look")
	return v.says, "FORGED", nil
}

func (v *verifying) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	v.note("submit")
	return v.Provider.Submit(ctx, debits)
}

func (v *verifying) note(what string) { v.mu.Lock(); defer v.mu.Unlock(); v.log = append(v.log, what) }
func (v *verifying) heard() string    { v.mu.Lock(); defer v.mu.Unlock(); return strings.Join(v.log, " ") }

// Programs behind the HTTP provider protocol look at what charges rest on before these
// are sent: one takes the record for genuine, and the ride is charged; one refuses it, and
// is not asked for money; the answer of one is lost, and it judges the record with the
// charge. A contract that does not want it looks at nothing.
func TestProgramsLookAtEvidence(t *testing.T) {
	o := open(t)
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	programs := map[string]*verifying{
		"knows": {says: driver.EvidenceGenuine}, "refuses": {says: driver.EvidenceRefused}, "loses": {says: driver.EvidenceGenuine}, "unasked": {says: driver.EvidenceRefused},
	}
	for name, v := range programs {
		a, contract := o.programOf(ed25519.PublicKey(own.Public), func(p driver.Provider) driver.Provider { v.Provider = p; return v })
		contract.Manifest.Secrets = nil
		if name == "loses" {
			a.server.Config.Handler = &lossy{inner: a.server.Config.Handler, path: "/v1/evidence", lose: 1}
		}
		config, err := json.Marshal(remoteproduct.Contract{Contract: contract, Feeds: adapters.Feeds{CheckEvidence: name != "unasked"}})
		o.must(err)
		o.send(http.MethodPut, busPath("contracts/"+name), edge.PutContract{Adapter: "http", FeePPM: feePPM, Config: config}, nil)
	}
	v := o.validator()
	for name := range programs {
		var answer struct {
			Issued []edge.IssuedCredential `json:"issued"`
		}
		o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: "ann", Contract: name, DeviceKey: key(name)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
		}}}, &answer)
		batch := o.board(v, answer.Issued[0].Credential, name)
		if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
			t.Fatalf("the ride of %s: %v", name, got)
		}
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	o.until("three are collected", func() bool { return len(o.succeeded()) == 3 })
	for range 3 {
		o.move(10 * time.Minute)
		o.settleDown()
	}
	for name, want := range map[string]string{"knows": "look submit", "refuses": "look", "loses": "look submit", "unasked": "submit"} {
		if got := programs[name].heard(); got != want {
			t.Errorf("%s was asked to %s; want %s", name, got, want)
		}
	}
	for _, c := range list[edge.Charge](o, "charges") {
		want, why := "succeeded", ""
		if c.Contract == "refuses" {
			want, why = "declined", collect.EvidenceRefused+" FORGED"
		}
		if c.State != want || (why != "" && c.Reason != why) {
			t.Errorf("%s: the charge is %s for %q; want %s for %q", c.Contract, c.State, c.Reason, want, why)
		}
	}
	o.booksHold()
	o.noSecretIsOut()
}
