package edge_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/access"
	ridecode "github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/keys/sentinel"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// A world is a whole gateway with tenants that know nothing of each other, each
// with things of its own that were made by the real verticals.
type world struct {
	*gateway.Gateway
	t     testing.TB
	edge  *edge.Edge // behind the handler that holds it to its document
	micro atomic.Int64
	audit *pgtest.Conn // reads every tenant's rows
	owner *pgtest.Conn // writes rows that take too long to come about
	super *pgtest.Conn // is held by nothing
	db    *pg.DB
	root  string // token of a platform administrator
	calls int

	changed map[string]bool // operations that changed rows of a tenant

	secrets     sentinel.Set // what must turn up nowhere
	told        []string     // secrets that an answer told
	dir, keyDir string       // of files; of the sealed keys, which alone may hold some
}

// A party is a tenant of a world and what it has.
type party struct {
	id     citygate.TenantID
	issuer citygate.Issuer
	slug   string
	parent citygate.TenantID
	has    objects
}

// objects are a tenant's things, by the kind of reference that names one.
type objects map[string]string

const worldActor = "user:world"

// The tenants of a world. Busy has everything; quiet has the least a tenant can
// have and be asked about; the authority above owns busy, the other one nothing.
const (
	quietTenant   = citygate.TenantID(1001)
	busyTenant    = citygate.TenantID(1002)
	ownerTenant   = citygate.TenantID(1900)
	foreignTenant = citygate.TenantID(1901)
	noTenant      = citygate.TenantID(1909)
)

func (w *world) now() time.Time { return time.UnixMicro(w.micro.Load()).UTC() }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// newWorld opens a gateway without a tenant.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, changed: map[string]bool{}}
	w.micro.Store(pgtest.Epoch.UnixMicro())
	db := pgtest.New(t)
	w.db, w.audit, w.owner, w.super = db, pgtest.As(t, db, pglocal.Auditor), pgtest.Owner(t, db), pgtest.As(t, db, pglocal.Superuser)
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "keys.key")
	w.must(local.CreateKeyFile(keyFile, w.secrets.Random("the key file", rand.Reader)))
	w.keyDir, w.dir = filepath.Join(dir, "keys"), t.TempDir()
	store, err := local.Open(local.Config{Dir: w.keyDir, KeyFile: keyFile, Random: w.secrets.Random("a key of the store", rand.Reader), Clock: w.now})
	w.must(err)
	files, err := os.OpenRoot(w.dir)
	w.must(err)
	t.Cleanup(func() { _ = files.Close() })
	w.Gateway, err = gateway.New(t.Context(), gateway.Config{
		AppURL: pgtest.URL(t, db), JobsURL: pgtest.RoleURL(t, db, pglocal.Jobs), Clock: w.now, Random: rand.Reader, Signer: store, Secrets: w.secrets.Watch(store),
		Files: files, Products: faultyProducts(), HTTP: http.DefaultClient, Collect: collect.DefaultRules(), Exclusive: true, Log: w.secrets.Logger(),
		Served: func(h http.Handler) http.Handler {
			w.edge, _ = h.(*edge.Edge)
			return conform.Handler(t, h)
		},
		Limits: edge.Limits{Quota: func(citygate.TenantID) edge.Quota { // no quota comes back while the clock stands still
			wide := edge.Rate{PerSecond: 1 << 30, Burst: 1 << 30}
			return edge.Quota{Taps: wide, Reads: wide, Writes: wide}
		}, Public: edge.Rate{PerSecond: 1 << 30, Burst: 1 << 30}, SignIns: edge.Rate{PerSecond: 1 << 30, Burst: 1 << 30}, Unknown: edge.Rate{PerSecond: 1 << 30, Burst: 1 << 30}},
	})
	w.must(err)
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.must(w.Start(context.Background()))
	_, err = w.EnsurePlatform(t.Context(), worldActor)
	w.must(err)
	w.root = w.mint(edge.Caller{Subject: worldActor, Scopes: []string{edge.ScopePlatform}})
	return w
}

// faultPolls marks the contract whose first bill has a row nobody made.
const faultPolls = 61

func faultyProducts() adapters.Set {
	products := gateway.Products()
	var open adapters.Constructor
	open = products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := open(d)
		box, isBox := p.(*sandbox.Provider)
		if err == nil && isBox && bytes.Contains(d.Config, fmt.Appendf(nil, `"poll_seconds": %d`, faultPolls)) {
			var faults []sandbox.BillFault
			for day := range 4 {
				faults = append(faults, sandbox.BillFault{
					Kind: sandbox.ExtraRow, OurID: fmt.Sprintf("NOBODY%d", day), Day: citygate.DateOf(pgtest.Epoch).AddDays(day), Amount: citygate.Money{Minor: 7, Currency: "CNY"},
				})
			}
			box.SetBillFaults(faults)
		}
		return p, err
	})
	return products
}

func (w *world) mint(c edge.Caller) string {
	w.t.Helper()
	token, err := w.Tokens.Mint(w.t.Context(), c, 30*24*time.Hour)
	w.must(err)
	w.secrets.AddText("the token of "+c.Subject, token)
	return token
}

// ask sends a request; body nil means none.
func (w *world) ask(token, method, path, contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, bytes.NewReader(body))
	if body != nil {
		r.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w.calls++
	r.Header.Set("Idempotency-Key", fmt.Sprintf("world-%d", w.calls))
	r.Header.Set("X-Request-Id", "world") // answers are compared byte by byte
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	for _, name := range w.secrets.In(fmt.Append(rec.Body.Bytes(), rec.Header())) {
		w.told = append(w.told, fmt.Sprintf("%s %s tells %s: %s", method, path, name, rec.Body))
	}
	return rec
}

// send does as the platform, and gives the answer; it must succeed.
func (w *world) send(method, path string, body, answer any) []byte {
	w.t.Helper()
	var raw []byte
	if body != nil {
		var err error
		raw, err = json.Marshal(body)
		w.must(err)
	}
	got := w.ask(w.root, method, path, "application/json", raw)
	if got.Code != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, got.Code, got.Body)
	}
	if answer != nil {
		w.must(json.Unmarshal(got.Body.Bytes(), answer))
	}
	return got.Body.Bytes()
}

func (p *party) path(format string, args ...any) string {
	return fmt.Sprintf("/v1/tenants/%d/", p.id) + fmt.Sprintf(format, args...)
}

func deviceKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func deviceSign(name string, message []byte) []byte { return ed25519.Sign(deviceKey(name), message) }

func publicKey(name string) []byte { return deviceKey(name)[ed25519.SeedSize:] }

// authority makes a tenant that owns others, or none.
func (w *world) authority(id citygate.TenantID, slug string) {
	w.t.Helper()
	w.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", id), edge.TenantDocument{
		Slug: slug, Name: slug, Kind: "authority", Mode: "sandbox", Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240,
	}, nil)
}

// operator makes a bus operator that issues codes and collects for itself.
func (w *world) operator(p *party) {
	w.t.Helper()
	ctx := w.t.Context()
	w.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", p.id), edge.TenantDocument{
		Slug: p.slug, Name: p.slug, Kind: "bus", Mode: "sandbox", Issuer: uint16(p.issuer), Parent: int64(p.parent), Currency: "CNY",
		TimeZone: "Asia/Shanghai", CutMinutes: 240, CapUnit: 100,
	}, nil)
	for _, purpose := range []keys.Purpose{keys.Policy, keys.Audit, keys.Credential, keys.DenyList} {
		_, err := w.Ring.Ensure(ctx, worldActor, p.id, purpose, keys.Ed25519)
		w.must(err)
	}
	w.must(w.Fleet.PutPayees(ctx, worldActor, p.id, fleet.Payee{
		ID: p.slug, Kind: fleet.Operator, Name: p.slug, Account: "ACCOUNT-" + p.slug, BankID: "BANK", Default: true,
	}))
	polls := 60
	if p.id == busyTenant {
		polls = faultPolls
	}
	w.must(w.DB.InTenant(ctx, p.id, func(tx *pg.Tx) error {
		if err := collect.AddContract(ctx, tx, worldActor, collect.Contract{
			Name: "pay-" + p.slug, Adapter: "sandbox", FeePPM: 6000,
			Config: fmt.Appendf(nil, `{"fee_ppm":6000,"utc_offset_minutes":480,"bill_delay_minutes":540,"poll_seconds":%d,"script":{"decline":[{"rider":"poor-%s"}]}}`, polls, p.slug),
		}); err != nil {
			return err
		}
		return pricing.Publish(ctx, tx, worldActor, flatTariff(w, 1), w.now().Add(-24*time.Hour))
	}))
	_, err := w.PublishPolicy(ctx, worldActor, &accept.Rules{
		Version: 1, Tenant: p.id, Schemes: []ridecode.SchemeID{"ct1"}, SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 48,
		StaleListSeconds: 72 * 3600, LateUploadDays: 7, ClockSuspectSeconds: 600,
		Issuers:    []accept.IssuerRule{{Issuer: p.issuer, Currency: "CNY", CapUnitMinor: 100}},
		Modes:      []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 300},
	})
	w.must(err)
	w.send(http.MethodPut, p.path("issuance-policy"), issuance.Policy{
		Phone: issuance.Limits{Cap: 5, Taps: 4, TTLHours: 48, WindowSeconds: 30}, Band: issuance.Limits{Cap: 5, Taps: 2, TTLHours: 12, WindowSeconds: 60},
		Product: 1, Concessions: []issuance.Concession{}, BandsPerPhone: 1, WaitAfterLossHours: 72,
	}, nil)
	p.has = objects{"tenant": p.id.String(), "contract": "pay-" + p.slug, "payee": p.slug}
}

// worldShop is a catalogue with something to give and something to sell.
const worldShop = `{"version":1,"currency":"CNY","products":[{"id":"staff","kind":"zero_fare","price":0},
	{"id":"two","kind":"ticket","price":100,"rides":2,"sold_by":["operator","rider"]}]}`

// worldRules is a rule set that admits nobody.
const worldRules = `citygate: rules/1
time_zone: Asia/Shanghai
acceptance:
  schemes: [ct1]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 48
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 300}
`

func flatTariff(w *world, version uint64) *fare.Tariff {
	tariff := &fare.Tariff{
		Name: "Flat", Version: version, Currency: "CNY", Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{{ID: "flat", Flat: fare.Amounts{"adult": 450}}},
	}
	w.must(tariff.Compile())
	return tariff
}

// credential enrols a rider's device.
func (w *world) credential(p *party, rider, device string) (issued edge.IssuedCredential) {
	w.t.Helper()
	var answer struct{ Issued []edge.IssuedCredential }
	w.send(http.MethodPost, p.path("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: rider, Contract: "pay-" + p.slug, DeviceKey: publicKey(device), Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0]
}

// A reader is a validator of a party, offline but for what it is given.
type reader struct {
	*terminal.Verifier
	w *world
	p *party
}

// reader enrols a validator and gives it what the gateway publishes.
func (w *world) reader(p *party, id uint32) *reader {
	w.t.Helper()
	name := fmt.Sprintf("reader-%s", p.slug)
	vehicle := "V-" + p.slug
	w.send(http.MethodPost, p.path("vehicles"), map[string]any{"vehicles": []edge.Vehicle{{ID: vehicle, Kind: "bus"}}}, nil)
	w.send(http.MethodPost, p.path("terminals"), edge.EnrolTerminal{ID: id, Name: name, PublicKey: publicKey(name), Kind: "validator", Route: "12", Vehicle: vehicle}, nil)
	w.tick()
	roots, err := w.Bundles.Roots(w.t.Context())
	w.must(err)
	dir, err := os.OpenRoot(w.t.TempDir())
	w.must(err)
	v, err := terminal.Open(terminal.Config{
		Files: terminal.Dir(dir), Tenant: p.id, KeyID: id, Mode: accept.Bus, Software: "test/1",
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(deviceKey(name), m), nil },
		Schemes: ridecode.NewDispatcher(ct1.Scheme{}), Credentials: ridecode.NewCredentials(16), Roots: roots.Roots, Threshold: int(roots.Threshold), BootID: 1,
	})
	w.must(err)
	w.t.Cleanup(func() {
		_ = v.Close()
		_ = dir.Close()
	})
	w.must(v.InstallBundle(w.now().UnixMilli(), w.send(http.MethodGet, p.path("bundle"), nil, nil)))
	var heads struct{ Lists []edge.ListHead }
	w.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", p.issuer), nil, &heads)
	for _, l := range heads.Lists {
		w.must(v.InstallList(w.now().UnixMilli(), w.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", p.issuer, l.List), nil, nil)))
	}
	p.has["terminal"], p.has["vehicle"] = strconv.Itoa(int(id)), vehicle
	return &reader{v, w, p}
}

// ride shows a device's code; upload sends what the reader has recorded.
func (r *reader) ride(c edge.IssuedCredential, device string) {
	r.w.t.Helper()
	raw, err := ct1.Display(c.Credential, ct1.Dynamic{GeneratedAt: r.w.now().Unix(), Counter: 1, Party: 1, Medium: ridecode.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(deviceKey(device), m), nil })
	r.w.must(err)
	d, err := r.Tap(r.w.now().UnixMilli(), raw, terminal.Input{
		MonotonicMS: 60_000, Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "Central", Route: "12", Vehicle: r.p.has["vehicle"], TariffVersion: 1,
	})
	r.w.must(err)
	if !d.Open {
		r.w.t.Fatalf("%s: the rider was refused: %s", r.p.slug, d.Reason)
	}
}

func (r *reader) upload() {
	r.w.t.Helper()
	batch, err := r.NextBatch(0)
	r.w.must(err)
	if got := r.w.ask("", http.MethodPost, "/v1/tap-batches", "application/octet-stream", batch); got.Code != http.StatusOK || bytes.Contains(got.Body.Bytes(), []byte("refused")) {
		r.w.t.Fatalf("%s: the batch: %d %s", r.p.slug, got.Code, got.Body)
	}
}

// tick does what is due now.
func (w *world) tick() {
	w.t.Helper()
	w.must(w.Tick(w.t.Context()))
	w.must(w.Drain(w.t.Context()))
}

// page gives a list of p, as the platform sees it.
func page[T any](w *world, p *party, name string) []T {
	w.t.Helper()
	var answer struct{ Items []T }
	w.send(http.MethodGet, p.path("%s", name), nil, &answer)
	return answer.Items
}

// bind registers a phone by its own signature.
func (w *world) bind(p *party, device string, r edge.RegisterDevice) edge.DeviceView {
	w.t.Helper()
	var challenge struct{ Challenge []byte }
	w.send(http.MethodPost, p.path("device-challenges"), nil, &challenge)
	r.Suite, r.PublicKey, r.Challenge = ct1.SuiteEd25519, publicKey(device), challenge.Challenge
	r.Signature = ed25519.Sign(deviceKey(device), issuance.Proof(p.id, r.Challenge, r.PublicKey))
	var v edge.DeviceView
	w.send(http.MethodPost, p.path("devices"), r, &v)
	return v
}

// people gives a party a member, a role of its own, an issuer and an API key.
func (w *world) people(p *party) {
	w.t.Helper()
	ctx, office, issuer := w.t.Context(), "office_"+strings.ReplaceAll(p.slug, "-", "_"), "id-"+p.slug
	w.must(w.Access.PutRole(ctx, worldActor, p.id, access.RoleDefinition{Role: authz.Role(office), Permissions: []authz.Permission{{Resource: "rider", Verb: "read"}}}))
	w.must(w.Access.PutIssuer(ctx, worldActor, p.id, access.Issuer{Name: issuer, URL: "https://id.example/" + p.slug, ClientID: "gateway"}))
	m, err := w.Access.AddMember(ctx, worldActor, p.id, access.Member{External: "ann-" + p.slug, Roles: []authz.Role{authz.Support}})
	w.must(err)
	k, _, err := w.Access.CreateKey(ctx, worldActor, p.id, m.Subject, "reports", []string{"money.read"}, 24*time.Hour)
	w.must(err)
	q, err := w.Access.Propose(ctx, edge.Caller{Subject: worldActor}, p.id, access.Content{
		Kind: access.PolicyPublish, Operation: "publish-policy", Method: "POST", Path: p.path("policies"), Body: []byte(`{"source":"NAMED"}`),
	})
	w.must(err)
	p.has["proposal"] = q.ID.Text(access.ProposalPrefix)
	p.has["member"], p.has["role"], p.has["identity issuer"], p.has["api key"] = m.Subject, office, issuer, k.ID.Text("key_")
}

// platforms are the things of the platform itself that its routes name: an issuer,
// an auditor with an API key, and a request that waits.
func (w *world) platforms() objects {
	w.t.Helper()
	ctx := w.t.Context()
	w.must(w.Access.PutIssuer(ctx, worldActor, 0, access.Issuer{Name: "staff", URL: "https://id.example/staff", ClientID: "gateway"}))
	m, err := w.Access.AddMember(ctx, worldActor, 0, access.Member{External: "rita", Roles: []authz.Role{authz.PlatformAuditor}})
	w.must(err)
	k, _, err := w.Access.CreateKey(ctx, worldActor, 0, m.Subject, "reports", []string{"platform.read", "*.read"}, 30*24*time.Hour)
	w.must(err)
	q, err := w.Access.Propose(ctx, edge.Caller{Subject: worldActor}, 0, access.Content{Kind: access.TenantState, Operation: "set-tenant-state", Method: "PUT", Path: "/v1/tenants/1/state"})
	w.must(err)
	return objects{"platform member": m.Subject, "platform issuer": "staff", "platform api key": k.ID.Text("key_"), "platform proposal": q.ID.Text(access.ProposalPrefix)}
}

// live gives a party some days of business, until it has one of everything.
func (w *world) live(p *party, terminalID uint32) {
	w.people(p)
	w.t.Helper()
	ctx := w.t.Context()
	if p.parent != 0 {
		_, err := w.Pricing.ProposeMember(ctx, worldActor, p.parent, p.id, p.slug, time.Time{})
		w.must(err)
	}
	good := w.credential(p, "good-"+p.slug, "good")
	poor := w.credential(p, "poor-"+p.slug, "poor")
	third := w.credential(p, "third-"+p.slug, "third")
	r := w.reader(p, terminalID)
	r.ride(good, "good")
	r.ride(poor, "poor")
	r.upload()
	phone := w.bind(p, "phone", edge.RegisterDevice{Kind: "phone", Contract: "pay-" + p.slug, RiderRef: "phone-" + p.slug, Vouched: true})
	w.must(w.DB.InTenant(ctx, p.id, func(tx *pg.Tx) error { return fleet.Raise(ctx, tx, terminalID, fleet.ClockWrong, "an hour") }))
	w.send(http.MethodPost, p.path("denials"), map[string]any{"list": third.List, "index": third.Index, "reason": "lost"}, nil)
	var debts []edge.Debt
	var payouts []edge.Payout
	var items []edge.ReconItem
	for range 24 {
		if debts, payouts, items = page[edge.Debt](w, p, "debts"), page[edge.Payout](w, p, "payouts"), page[edge.ReconItem](w, p, "reconciliation"); len(debts) > 0 && len(payouts) > 0 && len(items) > 0 {
			break
		}
		w.micro.Add((4 * time.Hour).Microseconds())
		w.tick()
	}
	if len(debts) == 0 || len(payouts) == 0 || len(items) == 0 {
		w.t.Fatalf("%s: %d debts, %d payouts, %d exceptions after days of business", p.slug, len(debts), len(payouts), len(items))
	}
	w.must(w.DB.InTenant(ctx, p.id, func(tx *pg.Tx) error { return pricing.Publish(ctx, tx, worldActor, flatTariff(w, 2), w.now()) }))
	w.send(http.MethodPut, p.path("code-schemes/token-defer"), edge.CodeScheme{Params: fmt.Appendf(nil, `{"issuer":%d}`, p.issuer)}, nil)
	w.send(http.MethodPost, p.path("policies"), edge.PublishPolicy{Source: worldRules}, nil)
	w.send(http.MethodPut, p.path("contracts/pay-%s/secrets/token", p.slug), map[string]any{"value": []byte("the first secret of " + p.slug)}, nil)
	w.send(http.MethodPost, p.path("stops"), map[string]any{"stops": []edge.Stop{{ID: "S-" + p.slug, Name: "Stop"}}}, nil)
	for _, kind := range []string{"", "used "} { // one waits, the other is for who asks without a token
		pairing, code, err := w.Fleet.Pair(ctx, worldActor, p.id, fleet.Terminal{Name: kind + "gate", Kind: fleet.Gate, Mode: fleet.OnOff}, rand.Reader)
		w.must(err)
		w.secrets.AddText("a pairing code", string(code.Reveal()))
		p.has[kind+"pairing"], p.has[kind+"pairing code"] = pairing.ID.Text(fleet.PairingPrefix), string(code.Reveal())
	}
	ownKey, err := w.Ring.Rotate(ctx, worldActor, p.id, keys.Credential, w.now(), w.now().Add(keys.DefaultLife)) // quiet has two
	w.must(err)
	charge := page[edge.Charge](w, p, "charges")[0]
	w.send(http.MethodPost, p.path("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(worldShop)}, nil)
	rides := citygate.Rider{Issuer: p.issuer, List: good.List, Index: good.Index}.String()
	var right edge.Given
	w.send(http.MethodPost, p.path("rights"), edge.GiveRight{Rider: rides, Product: "staff", Evidence: "roster"}, &right)
	var sale edge.Sale
	w.send(http.MethodPost, p.path("sales"), map[string]any{"rider": rides, "product": "two", "order": "first"}, &sale)
	w.tick()
	var reversal edge.Reversal
	w.send(http.MethodPost, p.path("reversals"), edge.RecordReversal{Contract: charge.Contract, Reference: "CB-of-" + p.slug, Payment: charge.OurID,
		Amount: citygate.Money{Minor: 1, Currency: charge.Amount.Currency}, Reason: "a chargeback"}, &reversal)
	refund := citygate.UUID{0xbb, 1}
	w.owner.Exec(p.id, `INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, our_id, contract, account_id, operator_id, journey_id, n, amount, currency,
			business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at, final_at)
		SELECT tenant_id, $1, charge_id, 1, 'R-BUSY', contract, account_id, tenant_id, $1, 2, 50, currency, business_date, 'declined', false, 1, '', 'NO_BALANCE', '', $2, $2, $2
		FROM charges WHERE state = 'succeeded' LIMIT 1`, refund, w.now())
	dispute := citygate.UUID{0xbb, 3}
	w.owner.Exec(p.id, `INSERT INTO liability_disputes (tenant_id, dispute_id, debt_id, bearer, state, reason, evidence, opened_by, opened_at)
		SELECT tenant_id, $1, aggregation_id, 'platform', 'open', 'not ours', 'a list', 'user:ada', $2 FROM debts LIMIT 1`, dispute, w.now())
	w.owner.Exec(p.id, `INSERT INTO liability_disputes (tenant_id, dispute_id, debt_id, bearer, state, reason, evidence, opened_by, opened_at)
		SELECT tenant_id, $1, debt_id, 'provider', 'open', 'not ours', 'a list', 'user:ada', $2 FROM liability_disputes LIMIT 1`, citygate.UUID{0xbb, 4}, w.now())
	notice := citygate.UUID{0xbb, 2}
	w.owner.Exec(p.id, `INSERT INTO provider_notices (tenant_id, notice_id, contract, provider_id, digest, kind, our_id, charge_our_id, rider_ref, outcome,
			provider_ref, reason, verdict, detail, state, note, repeats, received_at, last_at)
		SELECT tenant_id, $1, contract, 'n-1', decode(repeat('ab', 32), 'hex'), 'payment', 'NOBODYS', '', '', 'succeeded', '', '', 'unknown_order', '', 'open', '', 0, $2, $2
		FROM provider_contracts LIMIT 1`, notice, w.now())
	agreed := citygate.UUID{0xbb, 5}
	w.owner.Exec(p.id, `INSERT INTO agreements (tenant_id, agreement_id, contract, our_id, provider_id, rider_ref, linked, state, ending, reason, error, asks, opened_at, changed_at)
		SELECT $1, id, $2, 'OURS' || n, 'THEIRS' || n, '2088', false, 'active', false, '', '', 0, $3, $3 FROM (VALUES ($4::uuid, 1), ($5::uuid, 2)) AS v (id, n)`,
		p.id, p.has["contract"], w.now(), agreed, citygate.UUID{0xbb, 6})
	card := citygate.UUID{0xbb, 7}
	w.owner.Exec(p.id, `INSERT INTO wallet_cards (tenant_id, card_id, contract, card_ref, rider_ref, locked, tip, told, told_tip, touched, n, wanted, wanted_tip, decided_at, state, attempts,
			next_try_at, error, created_at)
		SELECT $1, id, $2, 'CARD' || n, '2088', '', '', 'enabled', '', false, 1, 'enabled', '', $3, 'told', 0, $3, '', $3 FROM (VALUES ($4::uuid, 1), ($5::uuid, 2)) AS v (id, n)`,
		p.id, p.has["contract"], w.now(), card, citygate.UUID{0xbb, 8})
	w.owner.Exec(p.id, `INSERT INTO provider_feeds (tenant_id, contract, feed, due_at, pulled_at, items, failures) VALUES ($1, $2, 'keys', '2030-01-01', $3, 1, 0), ($1, $2, 'deny', '2030-01-01', $3, 1, 0)`,
		p.id, p.has["contract"], w.now())
	w.owner.Exec(p.id, `INSERT INTO deny_pushes (tenant_id, account_id, contract, rider_ref, touched, told, n, denied, reason, decided_at, state, attempts, next_try_at, error)
		SELECT tenant_id, account_id, contract, rider_ref, false, true, 1, true, 'stolen', $1, 'told', 0, $1, '' FROM accounts ON CONFLICT DO NOTHING`, w.now())
	w.owner.Exec(p.id, `INSERT INTO rider_questions (tenant_id, account_id, contract, denied, asks, next_ask_at)
		SELECT tenant_id, account_id, contract, true, 0, $1 FROM accounts ON CONFLICT DO NOTHING`, w.now().AddDate(1, 0, 0))
	w.owner.Exec(p.id, `INSERT INTO provider_keys (tenant_id, contract, key_id, since, material) VALUES ($1, $2, 5, $3, '\x0201'), ($1, $2, 6, $3, '\x0202')`, p.id, p.has["contract"], w.now())
	atTill := citygate.UUID{0xbb, 5}
	for i, id := range []citygate.UUID{atTill, {0xbb, 6}} {
		w.owner.Exec(p.id, `INSERT INTO till_payments (tenant_id, payment_id, order_key, amount, currency, subject, contract, named, till, payee, state, reason, our_id, business_date,
				asked_by, asked_at, wait_until, reversing_for, reversals, reversal_said, ended_at, refunded, returned)
			VALUES ($1, $2, $3, 100, 'CNY', 'tea', $4, '', '', $5, 'closed', '', $3, '2026-11-21', 'user:ada', $6, $6::timestamptz + interval '1 minute', 'timeout', 1, 'closed', $6, 0, 0)`,
			p.id, id, "T-"+strconv.Itoa(i), p.has["contract"], p.slug, w.now())
	}
	var flags []risk.Row
	w.must(w.DB.InTenant(w.t.Context(), p.id, func(tx *pg.Tx) (err error) {
		flags, err = risk.Keep(w.t.Context(), tx, []risk.Flag{{Kind: risk.Copied, Rider: citygate.Rider{Issuer: p.issuer, List: good.List, Index: good.Index}, At: w.now().UnixMilli(),
			Taps: []citygate.TapID{{Terminal: 7, Seq: 1}, {Terminal: 7, Seq: 2}}}})
		return err
	}))
	var report edge.RidershipReport
	w.send(http.MethodPost, p.path("ridership-reports"), edge.RidershipPeriod{From: "2026-10-05"}, &report)
	for kind, id := range map[string]string{
		"ridership report": report.ID, "ridership table": "od",
		"risk flag": flags[0].ID.Text(risk.FlagPrefix), "tap": "tap_7_1",
		"notice": notice.Text("ntc_"), "agreement": agreed.Text("agr_"), "wallet card": card.Text("crd_"), "account": phone.Account, "list": strconv.Itoa(int(third.List)), "index": strconv.Itoa(int(third.Index)), "device": phone.ID,
		"rider": citygate.Rider{Issuer: p.issuer, List: good.List, Index: good.Index}.String(), "journey": page[edge.Journey](w, p, "journeys")[0].ID,
		"charge": charge.ID, "payment": charge.OurID, "reversal": reversal.ID, "dispute": dispute.Text("dsp_"), "debt": debts[0].ID, "payout": payouts[0].ID, "payout file": payouts[0].Files[0], "item": items[0].Item,
		"item contract": items[0].Contract, "refund": refund.Text("ref_"), "flag": string(fleet.ClockWrong), "window": payouts[0].Window,
		"end to end": payouts[0].EndToEndID, "till payment": atTill.Text("tpy_"), "right": right.ID, "sale": sale.ID, "tariff": "2", "policy": "2", "secret": "token", "purpose": "credential", "kid": strconv.Itoa(int(ownKey.KeyID)), "stop": "S-" + p.slug, "scheme": "token-defer",
	} {
		if id == "" {
			w.t.Fatalf("%s has no %s", p.slug, kind)
		}
		p.has[kind] = id
	}
}

// cities makes the tenants of the matrix.
func cities(t testing.TB) (w *world, quiet, busy *party) {
	t.Helper()
	w = newWorld(t)
	w.authority(ownerTenant, "owner-authority")
	w.authority(foreignTenant, "foreign-authority")
	quiet = &party{id: quietTenant, issuer: 7, slug: "quiet-bus"}
	busy = &party{id: busyTenant, issuer: 8, slug: "busy-bus", parent: ownerTenant}
	w.operator(quiet)
	w.operator(busy)
	c := w.credential(quiet, "rider-quiet", "quiet")
	r := w.reader(quiet, 1)
	r.ride(c, "quiet")
	r.upload()
	w.live(busy, 770077)
	maps.Copy(busy.has, w.platforms())
	return w, quiet, busy
}
