package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A town is a bus operator that issues its own codes, in either mode. Its readers
// and phones have its clock.
type town struct {
	*office
	id     citygate.TenantID
	issuer citygate.Issuer
	reader *terminal.Verifier
	rides  uint16
}

func (o *office) town(id citygate.TenantID, number citygate.Issuer, mode tenants.Mode) *town {
	o.t.Helper()
	ctx := o.t.Context()
	w := &town{office: o, id: id, issuer: number}
	o.send(http.MethodPut, pathOf(id, "")[:len(pathOf(id, ""))-1], edge.TenantDocument{
		Slug: fmt.Sprintf("town-%d", id), Name: "Town", Kind: "bus", Mode: string(mode), Issuer: uint16(number), Currency: "CNY", TimeZone: "Asia/Shanghai",
		CutMinutes: 240, CapUnit: 100,
	}, nil)
	for _, p := range []keys.Purpose{keys.Policy, keys.Audit, keys.Credential, keys.DenyList} {
		_, err := o.Ring.Ensure(ctx, actor, id, p, keys.Ed25519)
		o.must(err)
	}
	o.must(o.Fleet.PutPayees(ctx, actor, id, fleet.Payee{ID: "town", Kind: fleet.Operator, Name: "Town", Account: "ACCOUNT", BankID: "BANK", Default: true}))
	tariff := &fare.Tariff{Name: "Flat", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{{ID: "flat", Flat: fare.Amounts{"adult": price}}}}
	o.must(tariff.Compile())
	o.in(id, func(tx *pg.Tx) error {
		if err := collect.AddContract(ctx, tx, actor, collect.Contract{Name: "sandbox", Adapter: "sandbox", FeePPM: feePPM,
			Config: json.RawMessage(fmt.Sprintf(`{"fee_ppm":%d,"utc_offset_minutes":480,"bill_delay_minutes":540}`, feePPM))}); err != nil {
			return err
		}
		if _, err := retention.Set(ctx, tx, actor, 120, true); err != nil {
			return err
		}
		return pricing.Publish(ctx, tx, actor, tariff, o.now().Add(-24*time.Hour))
	})
	own := rules(1)
	own.Tenant, own.Issuers = id, []accept.IssuerRule{{Issuer: number, Currency: "CNY", CapUnitMinor: 100}}
	_, err := o.PublishPolicy(ctx, actor, own)
	o.must(err)
	o.send(http.MethodPost, pathOf(id, "terminals"), edge.EnrolTerminal{ID: 1, Name: "1", PublicKey: key("reader")[ed25519.SeedSize:], Kind: "validator"}, nil)
	o.settleDown()
	roots, err := o.Bundles.Roots(ctx)
	o.must(err)
	dir, err := os.OpenRoot(o.t.TempDir())
	o.must(err)
	w.reader, err = terminal.Open(terminal.Config{
		Files: terminal.Dir(dir), Tenant: id, KeyID: 1, Mode: accept.Bus, Software: "test/1",
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(key("reader"), m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(16), Roots: roots.Roots, Threshold: int(roots.Threshold), BootID: 1,
	})
	o.must(err)
	o.t.Cleanup(func() { _, _ = w.reader.Close(), dir.Close() })
	return w
}

// clock is what the tenant's clock shows.
func (w *town) clock() time.Time {
	w.t.Helper()
	c, err := w.Tenants.Clock(w.t.Context(), w.id)
	w.must(err)
	return c.Now
}

// ride has a rider get a credential and ride, and gives the outcome of the upload.
func (w *town) ride() string {
	w.t.Helper()
	w.rides++
	phone := fmt.Sprintf("phone %d of %d", w.rides, w.id)
	var answer struct {
		ServerTime int64                   `json:"server_time"`
		Issued     []edge.IssuedCredential `json:"issued"`
	}
	w.send(http.MethodPost, pathOf(w.id, "credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: phone, Contract: "sandbox", DeviceKey: key(phone)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	w.settleDown()
	now := w.clock()
	if off := now.Unix() - answer.ServerTime; off < -1 || off > 1 {
		w.t.Errorf("a phone is told %d seconds from the tenant's clock", off)
	}
	w.must(w.reader.InstallBundle(now.UnixMilli(), w.call(http.MethodGet, pathOf(w.id, "bundle"), "", nil)))
	var heads struct {
		Lists []edge.ListHead `json:"lists"`
	}
	w.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", w.issuer), nil, &heads)
	for _, l := range heads.Lists {
		w.must(w.reader.InstallList(now.UnixMilli(), w.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", w.issuer, l.List), "", nil)))
	}
	raw, err := ct1.Display(answer.Issued[0].Credential, ct1.Dynamic{GeneratedAt: now.Unix(), Counter: 1, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key(phone), m), nil })
	w.must(err)
	d, err := w.reader.Tap(now.UnixMilli(), raw, terminal.Input{MonotonicMS: uint64(now.UnixMilli()), Clock: tap.ClockGNSS, Kind: tap.Single, TariffVersion: 1})
	w.must(err)
	if !d.Open {
		w.t.Fatalf("refused at %s: %s", now, d.Reason)
	}
	batch, err := w.reader.NextBatch(0)
	w.must(err)
	parsed, err := tap.ParseBatch(batch)
	w.must(err)
	got := w.upload(batch)
	w.must(w.reader.Ack(parsed.Hash))
	return strings.Join(got, ",")
}

// advance moves the tenant's clock on, by the API.
func (w *town) advance(by time.Duration) {
	w.t.Helper()
	w.send(http.MethodPost, pathOf(w.id, "clock/advance"), map[string]any{"seconds": int64(by / time.Second)}, nil)
}

// rowsOf gives every row that a tenant owns.
func (o *office) rowsOf(tenant citygate.TenantID) map[string]string {
	o.t.Helper()
	all := map[string]string{}
	for _, table := range o.owner.Rows(0, `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'tenant_id' ORDER BY 1`) {
		name := table[0].(string)
		if got := o.owner.Rows(tenant, fmt.Sprintf(`SELECT string_agg(row_to_json(t)::text, E'\n' ORDER BY row_to_json(t)::text) FROM %s AS t WHERE tenant_id = $1`, name), int64(tenant))[0][0]; got != nil {
			all[name] = got.(string)
		}
	}
	return all
}

// as asks for a tenant's clock with a token of its own.
func (o *office) as(token string, tenant citygate.TenantID) int {
	r := httptest.NewRequestWithContext(o.t.Context(), http.MethodGet, pathOf(tenant, "clock"), nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	o.Handler().ServeHTTP(w, r)
	return w.Code
}

// A day passes for a sandbox tenant and its window settles, 130 days and its taps
// are erased; for a live tenant beside it no time passes at all, and not a row of it
// changes. What the sandbox does later has its later time.
func TestSandboxHasItsOwnClock(t *testing.T) {
	o := open(t)
	play, live := o.town(1001, 7, tenants.Sandbox), o.town(1002, 8, tenants.Live)
	for _, w := range []*town{play, live} {
		if got := w.ride(); got != "recorded" {
			t.Fatalf("tenant %d: %s", w.id, got)
		}
	}
	o.settleDown()
	o.settleDown()
	tokens := map[*town]string{}
	for _, w := range []*town{play, live} {
		token, err := o.Tokens.Mint(t.Context(), edge.Caller{Subject: "user:ada", Tenant: w.id, Scopes: []string{edge.ScopeAdmin}}, time.Hour)
		o.must(err)
		if got := o.as(token, w.id); got != http.StatusOK {
			t.Fatalf("tenant %d: %d", w.id, got)
		}
		tokens[w] = token
	}
	before := o.rowsOf(live.id)
	delete(before, "idempotency_keys")
	if len(before) < 25 {
		t.Fatalf("the live tenant has rows in %d tables", len(before))
	}

	play.advance(24 * time.Hour)
	for range 12 { // each step of the chain looks at what the one before made
		o.settleDown()
		play.advance(6 * time.Hour)
	}
	o.settleDown()
	paid := o.owner.Rows(play.id, `SELECT state, count(*) FROM windows WHERE tenant_id = $1 GROUP BY 1 ORDER BY 1`, int64(play.id))
	if payouts := o.owner.Rows(play.id, `SELECT count(*), max(created_at) FROM payouts WHERE tenant_id = $1`, int64(play.id)); payouts[0][0].(int64) != 1 || !payouts[0][1].(time.Time).After(o.now().Add(24*time.Hour)) {
		t.Errorf("payouts %v, windows %v", payouts, paid)
	}
	if got := [2]int{o.as(tokens[play], play.id), o.as(tokens[live], live.id)}; got != [2]int{http.StatusUnauthorized, http.StatusOK} {
		t.Errorf("tokens of an hour after four days of one tenant: %v", got)
	}

	play.advance(130 * 24 * time.Hour)
	o.settleDown()
	left := func(w *town) int64 {
		return o.owner.Rows(w.id, `SELECT count(*) FROM taps WHERE tenant_id = $1`, int64(w.id))[0][0].(int64)
	}
	if play, live := left(play), left(live); play != 0 || live != 1 {
		t.Errorf("after 134 days of one tenant %d and %d taps are left, want 0 and 1", play, live)
	}
	if got := play.ride(); got != "recorded" {
		t.Errorf("a ride afterwards: %s", got)
	}
	o.settleDown()
	at := o.owner.Rows(play.id, `SELECT min(received_at), min(event_time) FROM taps WHERE tenant_id = $1`, int64(play.id))[0]
	for _, at := range at {
		if at.(time.Time).Sub(o.now()) < 134*24*time.Hour {
			t.Errorf("a row from afterwards is of %s", at)
		}
	}
	if last := o.owner.Rows(play.id, `SELECT max(at) FROM audit_log WHERE tenant_id = $1`, int64(play.id))[0][0].(time.Time); last.Sub(o.now()) < 134*24*time.Hour {
		t.Errorf("the last row of the audit log is of %s", last)
	}
	after := o.rowsOf(live.id)
	delete(after, "idempotency_keys")
	if !slices.Equal(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after))) {
		t.Errorf("the live tenant has other tables: %v, %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	unchanged(t, "the other tenant's time", before, after)
	o.booksHold()
	if report, err := o.VerifyAudit(t.Context(), nil, nil); err != nil || len(report.Findings) != 0 {
		t.Errorf("the audit logs: %+v, %v", report, err)
	}
}

// Nobody moves a live tenant's clock, and a sandbox's goes back only where that is
// said.
func TestClocksThatAreNotMoved(t *testing.T) {
	o := open(t)
	play, live := o.town(1001, 7, tenants.Sandbox), o.town(1002, 8, tenants.Live)
	show := func(w *town, at time.Time, back bool) string {
		return o.refused(http.MethodPut, pathOf(w.id, "clock"), map[string]any{"now": at, "back": back})
	}
	if a, b := o.refused(http.MethodPost, pathOf(live.id, "clock/advance"), map[string]any{"seconds": 60}), show(live, o.now().Add(time.Hour), true); a != "clock.live" || b != "clock.live" {
		t.Errorf("a live clock: %s, %s", a, b)
	}
	play.advance(48 * time.Hour)
	if a, b := show(play, o.now().Add(47*time.Hour), false), show(play, o.now().Add(-time.Hour), true); a != "clock.back" || b != "clock.invalid" {
		t.Errorf("back: %s, before the platform's: %s", a, b)
	}
	if got := show(play, o.now().AddDate(11, 0, 0), false); got != "clock.invalid" {
		t.Errorf("eleven years on: %s", got)
	}
	var c edge.Clock
	o.send(http.MethodPut, pathOf(play.id, "clock"), map[string]any{"now": o.now().Add(24 * time.Hour), "back": true}, &c)
	if c.AheadSeconds != 24*3600 || !play.clock().Equal(o.now().Add(24*time.Hour)) {
		t.Errorf("back by a day: %+v, %s", c, play.clock())
	}
	if got := live.clock(); !got.Equal(o.now()) {
		t.Errorf("the live clock shows %s", got)
	}
}
