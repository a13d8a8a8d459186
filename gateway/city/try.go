package city

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
)

// A Tried is what became of a test tap.
type Tried struct {
	Tenant   string      `json:"tenant"`
	Issuer   string      `json:"issuer"`
	Rider    string      `json:"rider"`
	Terminal uint32      `json:"terminal"`
	Seq      uint64      `json:"seq"`
	Offline  bool        `json:"accepted_offline"`
	Outcome  string      `json:"outcome"`
	Reason   code.Reason `json:"reason,omitempty"`
}

// A Trial is a test tap at an operator in sandbox mode: a phone that is made up
// gets a credential of an issuer the operator accepts, a reader that is made up
// verifies its code offline and uploads the tap. Everything goes the way of real
// phones and readers, over the API.
type Trial struct {
	Gateway *gateway.Gateway
	Actor   string
	Tenant  tenants.Tenant
	// Dir is an empty directory for the reader's journal.
	Dir string
}

// handlerTransport answers requests by the handler, without a network.
type handlerTransport struct{ handler http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

type trial struct {
	Trial
	now citygate.Clock // of the phone and of the reader
	network
	token string
	calls int
	run   string // keeps the keys of two trials apart
}

// Run plays the tap. The reader is suspended when it is done.
func (t Trial) Run(ctx context.Context) (got Tried, err error) {
	switch {
	case t.Tenant.Mode != tenants.Sandbox:
		return got, errors.New("a test tap is for sandbox tenants: at a live one somebody would pay for it")
	case t.Tenant.State != tenants.Active:
		return got, fmt.Errorf("the tenant is %s: activate it first", t.Tenant.State)
	}
	r := trial{Trial: t, network: network{url: "http://gateway", client: &http.Client{Transport: handlerTransport{t.Gateway.Handler()}}}}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return got, err
	}
	r.run = base64.RawURLEncoding.EncodeToString(nonce[:])
	r.now = t.Gateway.DB.ClockOf(t.Tenant.ID)
	if r.token, err = t.Gateway.Tokens.Mint(ctx, edge.Caller{Subject: t.Actor, Scopes: []string{edge.ScopePlatform}}, 10*time.Minute); err != nil {
		return got, err
	}
	rules, err := policies.Latest(ctx, t.Gateway.DB, t.Tenant.ID)
	if err != nil {
		return got, fmt.Errorf("%w: give the tenant acceptance rules", err)
	}
	p, issuer, err := r.phone(ctx, rules)
	if err != nil {
		return got, err
	}
	got.Tenant, got.Issuer = t.Tenant.Slug, issuer.Slug
	if err := t.sameTime(ctx, issuer); err != nil {
		return got, err
	}
	got.Rider = citygate.Rider{Issuer: issuer.Issuer, List: p.list, Index: p.idx}.String()
	if err := r.tap(ctx, rules, p, issuer, &got); err != nil {
		return got, err
	}
	return got, r.settleDown(ctx) // the fare is in both books
}

// sameTime refuses a tap between two clocks that differ: the code would be from
// another time than the reader's.
func (t Trial) sameTime(ctx context.Context, issuer tenants.Tenant) error {
	own, err := t.Gateway.Tenants.Clock(ctx, t.Tenant.ID)
	if err != nil {
		return err
	}
	theirs, err := t.Gateway.Tenants.Clock(ctx, issuer.ID)
	if apart := (own.Ahead - theirs.Ahead).Abs(); err == nil && apart > 30*time.Second {
		err = fmt.Errorf("the clocks of %s and %s are %s apart: citygate clock set brings them together", t.Tenant.Slug, issuer.Slug, apart)
	}
	return err
}

// api sends a JSON request as the platform's administrator.
func (r *trial) api(ctx context.Context, method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.calls++
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Idempotency-Key", fmt.Sprintf("try-%s-%d", r.run, r.calls))
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, got)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}

// phone makes a band and has the first sandbox issuer that the operator accepts
// and that has a contract issue it a credential.
func (r *trial) phone(ctx context.Context, rules *accept.Rules) (*phone, tenants.Tenant, error) {
	for _, rule := range rules.Issuers {
		issuer, err := r.Gateway.Tenants.ByIssuer(ctx, rule.Issuer)
		if err != nil || issuer.Mode != tenants.Sandbox || issuer.State != tenants.Active {
			continue
		}
		var contracts struct{ Items []edge.Contract }
		if err := r.api(ctx, http.MethodGet, fmt.Sprintf("/v1/tenants/%d/contracts", issuer.ID), nil, &contracts); err != nil {
			return nil, issuer, err
		}
		if len(contracts.Items) == 0 {
			continue
		}
		p, err := newPhone(0, r.run, 0, true)
		if err != nil {
			return nil, issuer, err
		}
		var answer struct{ Issued []edge.IssuedCredential }
		err = r.api(ctx, http.MethodPost, fmt.Sprintf("/v1/tenants/%d/credentials", issuer.ID), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: "test-rider", Contract: contracts.Items[0].Name, DeviceKey: p.public, Product: 1, Cap: 1000,
			Window: uint8(min(60, rules.MaxWindowSeconds)), TTLHours: uint16(min(24, rules.MaxTTLHours)),
		}}}, &answer)
		if err != nil {
			return nil, issuer, err
		}
		p.credential, p.list, p.idx = answer.Issued[0].Credential, answer.Issued[0].List, answer.Issued[0].Index
		return p, issuer, r.settleDown(ctx) // the deny list with its place is published
	}
	return nil, tenants.Tenant{}, errors.New("the tenant accepts no active sandbox issuer that has a provider contract")
}

func (r *trial) settleDown(ctx context.Context) error {
	if err := r.Gateway.Tick(ctx); err != nil {
		return err
	}
	return r.Gateway.Drain(ctx)
}

// tap shows the code at a reader of its own and uploads what it recorded.
func (r *trial) tap(ctx context.Context, rules *accept.Rules, p *phone, issuer tenants.Tenant, got *Tried) (err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if len(rules.Modes) == 0 || len(rules.Modes[0].Kinds) == 0 {
		return errors.New("the acceptance rules name no mode of transport")
	}
	mode := rules.Modes[0]
	kind := edge.EnrolTerminal{Name: "test reader " + r.run, PublicKey: public, Kind: "validator"}
	if slices.Contains(mode.Kinds, tap.On) {
		kind.Kind = "gate"
	}
	in := terminal.Input{MonotonicMS: 60_000, Clock: tap.ClockGNSS, Kind: mode.Kinds[0]}
	if err := r.place(ctx, &in); err != nil {
		return err
	}
	if kind.ID, err = r.free(ctx); err != nil {
		return err
	}
	if err = r.api(ctx, http.MethodPost, r.path("terminals"), kind, nil); err != nil {
		return err
	}
	got.Terminal = kind.ID
	defer func() {
		err = errors.Join(err, r.api(context.WithoutCancel(ctx), http.MethodPut, r.path(fmt.Sprintf("terminals/%d/state", kind.ID)), edge.TerminalState{State: "suspended"}, nil))
	}()
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	roots, err := r.Gateway.Bundles.Roots(ctx)
	if err != nil {
		return err
	}
	v := &validator{place: place{operator: r.Tenant.ID}, etags: map[string]string{}, fetched: map[string]int{}}
	v.sdk, err = terminal.Open(terminal.Config{
		Files: terminal.Dir(root), Tenant: r.Tenant.ID, KeyID: kind.ID, Mode: mode.Mode, Software: "citygate-try/1",
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(16), Roots: roots.Roots, Threshold: int(roots.Threshold), BootID: 1,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.sdk.Close()) }()
	now := r.now()
	if err := v.sync(ctx, &r.network, now, []citygate.Issuer{issuer.Issuer}); err != nil {
		return err
	}
	shown, err := p.show(now)
	if err != nil {
		return err
	}
	d, err := v.sdk.Tap(now.UnixMilli(), shown, in)
	if err != nil {
		return err
	}
	got.Offline, got.Reason = d.Open, d.Reason
	batch, err := v.sdk.NextBatch(0)
	if err != nil || batch == nil {
		return err
	}
	receipts, err := r.send(ctx, batch)
	if err != nil || len(receipts) == 0 {
		return err
	}
	got.Seq, got.Outcome, got.Reason = receipts[0].Seq, receipts[0].Outcome, receipts[0].Reason
	return nil
}

func (r *trial) path(rest string) string { return fmt.Sprintf("/v1/tenants/%d/%s", r.Tenant.ID, rest) }

// free gives the terminal number behind the last one. If somebody takes it in
// the same moment the enrolment is refused, and the trial can be run again.
func (r *trial) free(ctx context.Context) (uint32, error) {
	last := uint32(0)
	for query := "terminals?limit=500"; ; {
		var page struct {
			Items []edge.Terminal
			Next  string
		}
		if err := r.api(ctx, http.MethodGet, r.path(query), nil, &page); err != nil {
			return 0, err
		}
		if len(page.Items) > 0 {
			last = page.Items[len(page.Items)-1].ID
		}
		if page.Next == "" {
			return last + 1, nil
		}
		query = "terminals?limit=500&cursor=" + page.Next
	}
}

// place makes the tap one that the tenant's prices know.
func (r *trial) place(ctx context.Context, in *terminal.Input) error {
	have, err := r.Gateway.Describe(ctx, r.Tenant.ID)
	if err != nil {
		return err
	}
	t := have.Tenants[0]
	i := slices.IndexFunc(t.Tariffs, func(p manifest.Tariff) bool { return !p.From.After(r.now()) })
	if i < 0 {
		return errors.New("the tenant has no prices that hold now")
	}
	prices, err := t.Tariffs[i].Compiled()
	if err != nil {
		return err
	}
	in.TariffVersion = prices.Version
	rule := prices.Rules[0]
	if len(rule.Routes) > 0 {
		in.Route = rule.Routes[0]
	}
	switch {
	case rule.Entered != nil:
		in.Fare = citygate.Money{Minor: rule.Entered.Min, Currency: prices.Currency}
	case rule.Table != nil:
		in.Stop = rule.Table.Stops[0]
	case rule.Distance != nil && len(rule.Distance.Links) > 0:
		in.Stop = rule.Distance.Links[0].A
	case rule.Feed != nil:
		feed := rule.Feed.Fares()
		if places := feed.Places(); len(places) > 0 {
			in.Stop = places[0]
		}
		if routes := feed.Routes(); len(routes) > 0 && in.Route == "" {
			in.Route = routes[0]
		}
	case rule.Sections != nil:
		for section := range rule.Sections.Amounts {
			in.Stop = max(in.Stop, section)
		}
	}
	return nil
}
