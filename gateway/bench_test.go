package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/keys/sentinel"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	bus        = citygate.TenantID(1001)
	issuer     = citygate.Issuer(7)
	actor      = "user:test"
	byPlatform = "platform:user:test" // the same, by a token of the platform, in tenants' logs
	price      = 450                  // minor units, of the flat fare
	feePPM     = 6000
)

// An office is a whole gateway over a database and a directory of its own.
type office struct {
	*Gateway
	t     *testing.T
	micro atomic.Int64
	audit *pgtest.Conn // reads every tenant's rows
	owner *pgtest.Conn // changes them behind the gateway's back
	token string       // of a platform administrator
	calls int
	kind  tenants.Kind // of the operator; "" = bus
	mode  accept.Mode  // of its readers; "" = bus

	secrets sentinel.Set // what no log, table or file may have; see noSecretIsOut
	super   *pgtest.Conn // held by nothing
	dir     string       // payout files, bills and the sandbox's book
}

// noSecretIsOut looks for every secret of the test in what was logged, in every
// table and in the files of the gateway, but for the key store.
func (o *office) noSecretIsOut() {
	o.t.Helper()
	found, lines := o.secrets.Logged()
	stored, rows := o.secrets.Tables(o.super)
	filed, err := o.secrets.Files(o.dir, nil)
	o.must(err)
	for _, what := range slices.Concat(found, stored, filed) {
		o.t.Error(what)
	}
	if rows < 100 {
		o.t.Errorf("%d log lines and %d rows were looked at", lines, rows)
	}
	o.Log.Info("a mistake", "token", o.token)
	if found, _ := o.secrets.Logged(); len(found) != 1 {
		o.t.Errorf("of a token that was logged there is found %v", found)
	}
}

func (o *office) now() time.Time { return time.UnixMicro(o.micro.Load()).UTC() }

func (o *office) move(d time.Duration) { o.micro.Add(d.Microseconds()) }

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// A keyStore has both halves of what a gateway needs.
type keyStore interface {
	keys.Signer
	keys.Secrets
}

func open(t *testing.T) *office {
	t.Helper()
	return openWith(t, localStore)
}

// localStore is a key store in files of the test's own.
func localStore(o *office) keyStore {
	dir := o.t.TempDir()
	keyFile := filepath.Join(dir, "keys.key")
	o.must(local.CreateKeyFile(keyFile, o.secrets.Random("the key file", rand.Reader)))
	store, err := local.Open(local.Config{
		Dir: filepath.Join(dir, "keys"), KeyFile: keyFile, Random: o.secrets.Random("a key of the store", rand.Reader), Clock: o.now,
	})
	o.must(err)
	return store
}

func openWith(t *testing.T, keep func(o *office) keyStore) *office {
	t.Helper()
	o := &office{t: t}
	o.micro.Store(pgtest.Epoch.UnixMicro())
	db := pgtest.New(t)
	o.audit, o.owner, o.super = pgtest.As(t, db, pglocal.Auditor), pgtest.Owner(t, db), pgtest.As(t, db, pglocal.Superuser)
	store := keep(o)
	o.dir = t.TempDir()
	root, err := os.OpenRoot(o.dir)
	o.must(err)
	t.Cleanup(func() { _ = root.Close() })
	o.Gateway, err = New(t.Context(), Config{
		AppURL: pgtest.URL(t, db), JobsURL: pgtest.RoleURL(t, db, pglocal.Jobs), Clock: o.now, Random: rand.Reader, Signer: store, Secrets: o.secrets.Watch(store),
		Files: root, Products: Products(), HTTP: http.DefaultClient, Collect: collect.DefaultRules(), Exclusive: true, Log: o.secrets.Logger(),
		Served: func(h http.Handler) http.Handler { return conform.Handler(t, h) },
		OnMissed: func(tenant citygate.TenantID, sql string) {
			t.Errorf("nothing looked due in tenant %d, and its work changed rows: a look of the package with this statement is missing or too narrow\n%s", tenant, sql)
		},
	})
	o.must(err)
	t.Cleanup(func() {
		if err := o.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	o.must(o.Start(context.Background()))
	_, err = o.EnsurePlatform(t.Context(), actor)
	o.must(err)
	o.token, err = o.Tokens.Mint(t.Context(), edge.Caller{Subject: actor, Scopes: []string{edge.ScopePlatform}}, 30*24*time.Hour)
	o.must(err)
	o.secrets.AddText("the platform's token", o.token)
	return o
}

// call sends a request to the HTTP handler and gives the body of its answer.
func (o *office) call(method, path, contentType string, body []byte) []byte {
	o.t.Helper()
	w := o.ask(method, path, contentType, body)
	if w.Code != http.StatusOK {
		o.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// refused sends a request that must be refused, and gives the code.
func (o *office) refused(method, path string, body any) string {
	o.t.Helper()
	raw, err := json.Marshal(body)
	o.must(err)
	w := o.ask(method, path, "application/json", raw)
	var p edge.Problem
	if o.must(json.Unmarshal(w.Body.Bytes(), &p)); w.Code < 400 || w.Code >= 500 {
		o.t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return p.Code
}

func (o *office) ask(method, path, contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(o.t.Context(), method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Authorization", "Bearer "+o.token)
	o.calls++
	r.Header.Set("Idempotency-Key", fmt.Sprintf("test-%d", o.calls))
	w := httptest.NewRecorder()
	o.Handler().ServeHTTP(w, r)
	return w
}

// send is call with JSON in and out; answer may be nil.
func (o *office) send(method, path string, body, answer any) {
	o.t.Helper()
	var raw []byte
	if body != nil {
		var err error
		raw, err = json.Marshal(body)
		o.must(err)
	}
	got := o.call(method, path, "application/json", raw)
	if answer != nil {
		o.must(json.Unmarshal(got, answer))
	}
}

func (o *office) in(tenant citygate.TenantID, fn func(*pg.Tx) error) {
	o.t.Helper()
	o.must(o.DB.InTenant(o.t.Context(), tenant, fn))
}

// settleDown wakes what is due and waits until it is done.
func (o *office) settleDown() {
	o.t.Helper()
	o.must(o.Tick(o.t.Context()))
	o.must(o.Drain(o.t.Context()))
}

// rules are version v of what the bus takes: its own riders' codes.
func rules(v uint64) *accept.Rules {
	return &accept.Rules{
		Version: v, Tenant: bus, Schemes: []code.SchemeID{"ct1"}, SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 48,
		StaleListSeconds: 72 * 3600, LateUploadDays: 7, ClockSuspectSeconds: 600,
		Issuers:    []accept.IssuerRule{{Issuer: issuer, Currency: "CNY", CapUnitMinor: 100}},
		Modes:      []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 300},
	}
}

// onboard makes a bus operator that issues codes and collects for itself, by the
// sandbox.
func (o *office) onboard() {
	o.t.Helper()
	ctx := o.t.Context()
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", bus), edge.TenantDocument{
		Slug: "valley-bus", Name: "Valley Bus", Kind: string(cmp.Or(o.kind, tenants.Bus)), Mode: "sandbox", Issuer: uint16(issuer), Currency: "CNY", TimeZone: "Asia/Shanghai",
		CutMinutes: 240, CapUnit: 100,
	}, nil)
	for _, p := range []keys.Purpose{keys.Policy, keys.Audit, keys.Credential, keys.DenyList} {
		_, err := o.Ring.Ensure(ctx, actor, bus, p, keys.Ed25519)
		o.must(err)
	}
	o.must(o.Fleet.PutPayees(ctx, actor, bus, fleet.Payee{
		ID: "valley-bus", Kind: fleet.Operator, Name: "Valley Bus", Account: "OPERATOR-1001", BankID: "VALLEY-BANK", Default: true,
	}))
	tariff := &fare.Tariff{
		Name: "Flat", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{{ID: "flat", Flat: fare.Amounts{"adult": price}}},
	}
	o.must(tariff.Compile())
	o.in(bus, func(tx *pg.Tx) error {
		if err := collect.AddContract(ctx, tx, actor, collect.Contract{
			Name: "sandbox", Adapter: "sandbox", FeePPM: feePPM,
			Config: json.RawMessage(fmt.Sprintf(`{"fee_ppm":%d,"utc_offset_minutes":480,"bill_delay_minutes":540}`, feePPM)),
		}); err != nil {
			return err
		}
		return pricing.Publish(ctx, tx, actor, tariff, o.now().Add(-24*time.Hour))
	})
	r := rules(1)
	r.Modes[0].Mode = cmp.Or(o.mode, accept.Bus)
	_, err := o.PublishPolicy(ctx, actor, r)
	o.must(err)
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}
