package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote/remoteproduct"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A listener is a provider that takes the operator's refusals.
type listener struct {
	driver.Provider
	mu    sync.Mutex
	heard []driver.DenyChange
	fault error
}

func (l *listener) PushDeny(_ context.Context, c driver.DenyChange) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		return l.fault
	}
	l.heard = append(l.heard, c)
	return nil
}

func (l *listener) breaks(err error) { l.mu.Lock(); defer l.mu.Unlock(); l.fault = err }

// told gives what was heard since, as "ann denied debt".
func (l *listener) told() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.heard {
		list = append(list, fmt.Sprintf("%s %t %s", c.RiderRef, c.Denied, c.Reason))
	}
	return list
}

// A lossy program acts and drops the connection before its answer, as often as it is
// told to, for the calls of one path.
type lossy struct {
	inner http.Handler
	path  string
	mu    sync.Mutex
	lose  int
}

func (h *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	lost := r.URL.Path == h.path && h.lose > 0
	if lost {
		h.lose--
	}
	h.mu.Unlock()
	if !lost {
		h.inner.ServeHTTP(w, r)
		return
	}
	h.inner.ServeHTTP(nowhere{}, r)
	panic(http.ErrAbortHandler)
}

// nowhere takes an answer to nobody.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// accountsOf opens accounts of riders under a contract.
func (o *office) accountsOf(contract string, riders ...string) (ids []citygate.UUID) {
	o.t.Helper()
	o.in(bus, func(tx *pg.Tx) error {
		ids = nil
		for _, r := range riders {
			opened, err := credential.OpenAccounts(o.t.Context(), tx, actor, []credential.Account{{Contract: contract, RiderRef: r, Category: "adult"}})
			if err != nil {
				return err
			}
			ids = append(ids, opened[0].ID)
		}
		return nil
	})
	return ids
}

// denies has the bus deny or let go an account for a reason.
func (o *office) denies(account citygate.UUID, reason string, denied bool) {
	o.t.Helper()
	o.in(bus, func(tx *pg.Tx) error {
		if denied {
			return credential.Deny(o.t.Context(), tx, actor, reason, credential.Targets{Accounts: []citygate.UUID{account}})
		}
		return credential.Lift(o.t.Context(), tx, actor, reason, credential.Targets{Accounts: []citygate.UUID{account}})
	})
}

// A program behind the HTTP provider protocol is told whom the bus denies. An answer is
// lost: the same change is sent again under its id before what was decided since, and
// each change counts once. A process that died before it sent anything, a program that
// is away and one that refuses are caught up with; what it said itself it is not told.
func TestProvidersAreToldOfDenials(t *testing.T) {
	o := open(t)
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	heard := &listener{}
	a, contract := o.programOf(ed25519.PublicKey(own.Public), func(p driver.Provider) driver.Provider { heard.Provider = p; return heard })
	contract.Manifest.Secrets = nil
	line := &lossy{inner: a.server.Config.Handler, path: "/v1/deny/change"}
	a.server.Config.Handler = line
	config, err := json.Marshal(remoteproduct.Contract{Contract: contract, Feeds: adapters.Feeds{PushDenials: true}})
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", Config: config}, nil)
	ids := o.accountsOf("acme", "ann", "bob")
	ann, bob := ids[0], ids[1]
	want := func(what string, told ...string) {
		t.Helper()
		if got := heard.told(); !slices.Equal(got, told) {
			t.Errorf("%s: the provider was told %q; want %q", what, got, told)
		}
	}
	states := func() map[string]string {
		out := map[string]string{}
		for _, p := range list[edge.DenialPush](o, "denial-pushes") {
			out[p.RiderRef] = p.State
		}
		return out
	}
	tell := func(after time.Duration) {
		o.move(after)
		_ = o.tellProviders(t.Context(), bus) // what it could not is in the rows
	}

	line.lose = 1
	o.denies(ann, "debt", true)
	tell(0)
	want("the answer was lost", "ann true debt")
	if s := states(); s["ann"] != "unknown" {
		t.Errorf("after a lost answer: %v", s)
	}
	o.denies(ann, "debt", false) // she pays meanwhile
	o.denies(ann, "stolen", true)
	tell(0)
	want("within the minute", "ann true debt")
	tell(61 * time.Second)
	want("the same again", "ann true debt", "ann true debt")
	if heard.heard[0] != heard.heard[1] {
		t.Errorf("sent again: %+v; want %+v", heard.heard[1], heard.heard[0])
	}
	tell(time.Second) // she is denied still, for another reason: nothing new
	o.denies(ann, "stolen", false)
	tell(time.Second)
	want("let go", "ann true debt", "ann true debt", "ann false debt")
	tell(24 * time.Hour)
	if heard.told(); len(heard.heard) != 3 || heard.heard[2].OurID == heard.heard[0].OurID || states()["ann"] != "told" {
		t.Errorf("in the end %q, %v", heard.told(), states())
	}

	o.denies(bob, providerList, true) // it said so itself
	tell(time.Second)
	if len(heard.told()) != 3 {
		t.Errorf("the provider was told what it said: %q", heard.told())
	}
	o.denies(bob, "stolen", true)
	var begun []credential.Push
	o.in(bus, func(tx *pg.Tx) (err error) { // a process that died before it sent anything
		begun, err = credential.DuePushes(t.Context(), tx, "acme", 10)
		return err
	})
	tell(time.Second)
	tell(time.Minute)
	if len(begun) != 1 || len(heard.heard) != 4 || heard.heard[3].OurID != begun[0].OurID(bus) || heard.heard[3].RiderRef != "bob" {
		t.Errorf("after a process died: %+v, begun %+v", heard.told(), begun)
	}

	heard.breaks(driver.ErrNotPerformed)
	o.denies(bob, "stolen", false)
	tell(time.Second)
	if s := list[edge.DenialPush](o, "denial-pushes?state=refused"); len(s) != 1 || s[0].RiderRef != "bob" || s[0].Error == "" || !s[0].Told || s[0].Denied {
		t.Errorf("refused: %+v", s)
	}
	heard.breaks(errors.New("later"))
	tell(2 * time.Minute)
	if s := states(); s["bob"] != "unknown" {
		t.Errorf("an error that says nothing: %v", s)
	}
	// What may have been taken is taken back, though it is what was confirmed before, and
	// though the last attempt at it certainly did not arrive.
	heard.breaks(driver.ErrNotPerformed)
	tell(5 * time.Minute)
	o.denies(bob, "stolen", true)
	heard.breaks(nil)
	for range 2 {
		tell(time.Hour)
		if n := len(heard.heard); n != 5 || !heard.heard[n-1].Denied || heard.heard[n-1].RiderRef != "bob" || states()["bob"] != "told" {
			t.Errorf("denied again: %q, %v", heard.told(), states())
		}
	}
	o.denies(bob, "stolen", false)
	a.server.Close()
	tell(5 * time.Minute)
	if s := states(); s["bob"] == "told" {
		t.Errorf("nobody is there: %v", s)
	}
}

// simulatedAlipay is Alipay with the bus as its merchant, and its public key.
func (o *office) simulatedAlipay() (sim *alipaysim.Server, der []byte) {
	o.t.Helper()
	held, err := o.Ring.Ensure(o.t.Context(), actor, bus, keys.ProviderPurpose("alipay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	sim, err = alipaysim.Start(alipaysim.Config{Clock: o.now, Merchants: []alipaysim.Merchant{{AppID: "2026", Account: "2088", Key: public.(*rsa.PublicKey)}}})
	o.must(err)
	o.t.Cleanup(sim.Close)
	der, err = x509.MarshalPKIXPublicKey(sim.Public())
	o.must(err)
	return sim, der
}

// Alipay's name list has whom the bus denies, over its own protocol, beside the riders
// whom Alipay refuses, who are not told back.
func TestAlipayIsToldOfDenials(t *testing.T) {
	o := open(t)
	o.onboard()
	sim, der := o.simulatedAlipay()
	raw, err := json.Marshal(alipayproduct.Contract{Gateway: sim.URL(), AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der},
		Feeds: adapters.Feeds{DenyEvery: "1h", PushDenials: true}})
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/alipay"), map[string]any{"adapter": "alipay", "fee_ppm": 0, "config": json.RawMessage(raw)}, nil)
	ids := o.accountsOf("alipay", "2088ann", "2088bob")
	sim.SetBlacklisted("2088bob", true)
	o.denies(ids[0], "debt", true)
	o.settleDown()
	o.settleDown()
	refused := func(rider string, want bool) {
		t.Helper()
		if got := sim.Refused("2026", rider); got != want {
			t.Errorf("%s is refused at Alipay by the bus: %t; want %t", rider, got, want)
		}
	}
	refused("2088ann", true)
	refused("2088bob", false)
	if n := o.audit.Count(bus, `SELECT count(*) FROM deny_entries WHERE reason = 'provider_list' AND lifted_at IS NULL`); n != 1 {
		t.Errorf("%d riders of Alipay's own list are denied; want one", n)
	}
	o.denies(ids[0], "debt", false)
	o.settleDown()
	refused("2088ann", false)
}

// A contract that tells a provider that takes nothing says so.
func TestPushToNobodyIsSaid(t *testing.T) {
	o := open(t)
	o.Products.Replace("listed", func(adapters.Deps) (driver.Provider, error) { return &lister{}, nil })
	o.onboard()
	o.in(bus, func(tx *pg.Tx) error {
		return collect.AddContract(t.Context(), tx, actor, collect.Contract{Name: "a", Adapter: "listed", Config: json.RawMessage(`{"push_denials":true}`)})
	})
	o.must(o.tellProviders(t.Context(), bus)) // nobody is denied
	o.denies(o.accountsOf("a", "ann")[0], "debt", true)
	if err := o.tellProviders(t.Context(), bus); !errors.Is(err, ErrPush) {
		t.Errorf("%v; want ErrPush", err)
	}
}
