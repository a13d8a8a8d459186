package gateway

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// acme is a provider's program: the sandbox behind the provider protocol.
type acme struct {
	mu     sync.Mutex
	secret string // the one the last call carried
	server *httptest.Server

	takes func(secret string) error // of each call; nil = any
}

func (a *acme) last() string { a.mu.Lock(); defer a.mu.Unlock(); return a.secret }

// program starts acme and gives the tenant's contract with it. Clocks are the
// office's.
func (o *office) program(gateway crypto.PublicKey) (*acme, remote.Contract) {
	o.t.Helper()
	return o.programOf(gateway, func(p driver.Provider) driver.Provider { return p })
}

// programOf is program with another driver around the one it has.
func (o *office) programOf(gateway crypto.PublicKey, around func(driver.Provider) driver.Provider) (*acme, remote.Contract) {
	o.t.Helper()
	raw, err := json.Marshal(sandbox.Config{})
	o.must(err)
	dir, err := os.OpenRoot(o.t.TempDir())
	o.must(err)
	box, err := sandbox.Open(dir, o.now, raw)
	o.must(err)
	o.t.Cleanup(func() { _ = errors.Join(box.Close(), dir.Close()) })
	return o.serves(gateway, around(box), "UTC", "api-key")
}

// serves starts a provider's program, which is a driver behind the provider protocol and
// wants the secrets that are named, and gives the tenant's contract with it.
func (o *office) serves(gateway crypto.PublicKey, served driver.Provider, zone string, secrets ...string) (*acme, remote.Contract) {
	o.t.Helper()
	m := remote.ManifestOf(served)
	m.Name, m.BillZone, m.Secrets = "acme", zone, secrets
	m.ConfigSchema = json.RawMessage(`{"type":"object","required":["merchant"],"properties":{"merchant":{"type":"string"}},"additionalProperties":false}`)
	own := ed25519.NewKeyFromSeed(key("acme")[:ed25519.SeedSize])
	a := &acme{}
	handler, err := remote.NewHandler(remote.Program{
		Open: func(terms remote.Terms) (driver.Provider, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.secret = string(terms.Secrets["api-key"].Reveal())
			if a.takes != nil {
				return served, a.takes(a.secret)
			}
			return served, nil
		},
		Manifest: m, Gateways: map[string]crypto.PublicKey{"tenant-7": gateway}, KeyID: "acme-1", Signer: own, Clock: o.now,
	})
	o.must(err)
	a.server = httptest.NewServer(handler)
	o.t.Cleanup(a.server.Close)
	der, err := x509.MarshalPKIXPublicKey(own.Public())
	o.must(err)
	return a, remote.Contract{
		URL: a.server.URL, KeyID: "tenant-7", Keys: []remote.ProgramKey{{ID: "acme-1", Public: der}}, Manifest: m, Config: json.RawMessage(`{"merchant":"m1"}`),
	}
}

// A tenant's rides are collected by a provider whose adapter is a program of its
// own; the secret comes from the tenant's store, and a new one counts at once.
func TestAProgramCollects(t *testing.T) {
	o := open(t)
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	a, contract := o.program(ed25519.PublicKey(own.Public))
	config, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", FeePPM: 6000, Config: config}, nil)
	secret := func(value string) {
		o.send(http.MethodPut, busPath("contracts/acme/secrets/api-key"), map[string]any{"value": base64.StdEncoding.EncodeToString([]byte(value))}, nil)
	}
	secret("the first secret")
	issued := func(device string) []byte {
		var answer struct {
			Issued []edge.IssuedCredential `json:"issued"`
		}
		o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: "ann", Contract: "acme", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
		}}}, &answer)
		return answer.Issued[0].Credential
	}
	v := o.validator()
	paid := func() (n int) {
		for _, c := range list[edge.Charge](o, "charges") {
			if c.Contract == "acme" && c.State == "succeeded" {
				n++
			}
		}
		return n
	}
	first := o.board(v, issued("phone"), "phone")
	o.upload(first)
	parsed, err := tap.ParseBatch(first)
	o.must(err)
	o.must(v.Ack(parsed.Hash))
	o.until("collected through the program", func() bool { return paid() == 1 })
	if a.last() != "the first secret" {
		t.Errorf("the program was given %q", a.last())
	}
	// Another instance of the gateway takes the new secret, so that nothing here is
	// told of it.
	version, err := o.Secrets.Put(t.Context(), bus, collect.SecretName("acme", "api-key"), citygate.NewSecret([]byte("the second secret")), 1)
	o.must(err)
	o.in(bus, func(tx *pg.Tx) error { return collect.NoteSecret(t.Context(), tx, actor, "acme", "api-key", version) })
	o.move(time.Minute)
	o.upload(o.board(v, issued("watch"), "watch"))
	o.until("collected with the new secret", func() bool { return paid() == 2 })
	if a.last() != "the second secret" {
		t.Errorf("after a new one the program was given %q", a.last())
	}
	o.booksHold()
	o.noSecretIsOut()
}

// A provider that takes a request and never answers holds up its own charges and
// no other contract's: not of another tenant, and not of its own.
func TestAProviderThatHangsHoldsUpNoOther(t *testing.T) {
	o := open(t)
	var faults []error
	o.Collector.Bulkhead = collect.NewBulkhead(8, o.now, func(err error) { faults = append(faults, err) })
	defer o.Collector.Bulkhead.Stop()
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	_, contract := o.program(ed25519.PublicKey(own.Public))
	asked, end := make(chan struct{}, 1), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-end:
		}
	}))
	defer hanging.Close()
	defer close(end)
	contract.URL, contract.Manifest.Secrets = hanging.URL, nil
	config, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", Config: config}, nil)
	v := o.validator()
	for rider, contract := range map[string]string{"ann": "acme", "bob": "sandbox"} {
		var answer struct {
			Issued []edge.IssuedCredential `json:"issued"`
		}
		o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: rider, Contract: contract, DeviceKey: key(rider)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
		}}}, &answer)
		batch := o.board(v, answer.Issued[0].Credential, rider)
		o.upload(batch)
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	state := func(contract string) string {
		for _, c := range list[edge.Charge](o, "charges") {
			if c.Contract == contract {
				return c.State
			}
		}
		return ""
	}
	o.until("sent to both", func() bool { return state("sandbox") != "" && state("acme") != "" })
	select { // the call hangs from here on
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatal("the program that hangs was never asked")
	}
	o.until("collected beside the one that hangs", func() bool { return state("sandbox") == "succeeded" })
	if got := state("acme"); got == "succeeded" || got == "declined" {
		t.Errorf("a charge that nobody answered is %s", got)
	}
	o.Collector.Bulkhead.Stop()
	if got := state("acme"); got == "succeeded" || got == "declined" || len(faults) > 0 {
		t.Errorf("after the end the charge is %s, faults %v", got, faults)
	}
}
