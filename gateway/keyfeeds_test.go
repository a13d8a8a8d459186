package gateway

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
)

// alipayKeys signs a contract with a simulated Alipay for the bus that follows its list
// of keys, and has readers take codes of the Ministry's layout by them.
func (o *office) alipayKeys(list map[uint32][]byte) *alipaysim.Server {
	o.t.Helper()
	return o.alipayKeysOf(bus, issuer, list)
}

// alipayKeysOf does it for a tenant, whose codes the readers of operators take.
func (o *office) alipayKeysOf(tenant citygate.TenantID, number citygate.Issuer, list map[uint32][]byte, operators ...int64) *alipaysim.Server {
	o.t.Helper()
	held, err := o.Ring.Ensure(o.t.Context(), actor, tenant, keys.ProviderPurpose("alipay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	sim, err := alipaysim.Start(alipaysim.Config{
		Clock: o.now, KeyList: list, Merchants: []alipaysim.Merchant{{AppID: "2026", Account: "2088", Key: public.(*rsa.PublicKey), FeePPM: feePPM}},
	})
	o.must(err)
	o.t.Cleanup(sim.Close)
	der, err := x509.MarshalPKIXPublicKey(sim.Public())
	o.must(err)
	raw, err := json.Marshal(alipayproduct.Contract{Gateway: sim.URL(), AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der},
		Feeds: adapters.Feeds{KeysEvery: "1h", KeysScheme: string(motsm2.ID), KeysKind: motsm2.RootKey(1).Kind}})
	o.must(err)
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d/contracts/alipay", tenant), map[string]any{"adapter": "alipay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	o.send(http.MethodPut, schemePath(tenant, motsm2.ID), edge.CodeScheme{Params: fmt.Appendf(nil, `{"issuer":%d}`, number), Contract: "alipay", Opens: true, Operators: operators}, nil)
	return sim
}

// listed gives the numbers of the contract's keys by their states.
func (o *office) listed() map[string][]uint32 {
	o.t.Helper()
	out := map[string][]uint32{}
	for _, k := range list[edge.ProviderKey](o, "contracts/alipay/keys") {
		out[k.State] = append(out[k.State], k.ID)
	}
	return out
}

// renewed brings a reader the newest bundle.
func (o *office) renewed(v *terminal.Verifier) {
	o.t.Helper()
	o.must(v.InstallBundle(o.now().UnixMilli(), o.call(http.MethodGet, busPath("bundle"), "", nil)))
}

// A provider rotates the key of its codes. Readers take codes under the new one as soon
// as they have the next bundle, and under the old one until it has left two lists; a
// list that is broken, empty, lost or rolled back costs them nothing. What a reader
// took offline under a key that went meanwhile is recorded and collected.
func TestProvidersKeysReachReaders(t *testing.T) {
	o := open(t)
	o.onboard()
	first, second := newMinistry(o), newMinistry(o)
	second.index = 2
	one, two := sm2.Compress(first.root.Public()), sm2.Compress(second.root.Public())
	sim := o.alipayKeys(map[uint32][]byte{1: one})
	r := rules(2)
	r.Schemes = []code.SchemeID{ct1.ID, motsm2.ID}
	_, err := o.PublishPolicy(t.Context(), actor, r)
	o.must(err)
	reader := o.reader(1)
	if got := o.offer(reader, first.show(o, 1, o.now())); got != code.UnknownIssuer {
		t.Errorf("before any list was read: %q", got)
	}
	o.settleDown()
	stale := o.reader(2) // and offline from now on
	o.renewed(reader)
	if got := o.offer(reader, first.show(o, 2, o.now())); got != "" {
		t.Errorf("under the listed key: %q", got)
	}
	if got := o.offer(reader, second.show(o, 3, o.now())); got != code.UnknownKey {
		t.Errorf("under a key that is not listed: %q", got)
	}

	later := func(d time.Duration, want map[string][]uint32) {
		t.Helper()
		o.move(d)
		o.settleDown()
		if got := o.listed(); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("held are %v; want %v", got, want)
		}
	}
	failed := func(n int, why string) {
		t.Helper()
		f := list[edge.ProviderFeed](o, "provider-feeds")
		if len(f) != 1 || f[0].Feed != "keys" || f[0].Failures != n || (why != "") != (f[0].Error != "") || !f[0].Carried || f[0].Every != "1h0m0s" || f[0].Scheme != "mot-sm2" {
			t.Errorf("the list stands as %+v; want %d failures %s", f, n, why)
		}
	}
	sim.SetKeyList(map[uint32][]byte{2: two}) // rotated at the provider
	later(61*time.Minute, map[string][]uint32{"missed": {1}, "in_force": {2}})
	failed(0, "")
	o.renewed(reader)
	for i, m := range []*ministry{first, second} {
		if got := o.offer(reader, m.show(o, byte(10+i), o.now())); got != "" {
			t.Errorf("key %d after the rotation: %q", i+1, got)
		}
	}
	if got := o.offer(stale, first.show(o, 20, o.now())); got != "" {
		t.Errorf("at the reader that is offline: %q", got)
	}
	later(11*time.Minute, map[string][]uint32{"former": {1}, "in_force": {2}})
	o.renewed(reader)
	if got := o.offer(reader, first.show(o, 30, o.now())); got != code.UnknownKey && got != code.UnknownIssuer {
		t.Errorf("under the key that went: %q", got)
	}
	if got := o.offer(reader, second.show(o, 31, o.now())); got != "" {
		t.Errorf("under the key that stayed: %q", got)
	}

	bundle := o.call(http.MethodGet, busPath("bundle"), "", nil)
	held := map[string][]uint32{"former": {1}, "in_force": {2}}
	for i, bad := range []map[uint32][]byte{{}, {2: two, 3: {2, 1}}, {1: one}, {1: one, 2: two}} {
		sim.SetKeyList(bad)
		later(61*time.Minute, held)
		failed(i+1, "for what it is")
	}
	sim.Close()
	later(61*time.Minute, held)
	failed(5, "because nobody answers")
	if !slices.Equal(bundle, o.call(http.MethodGet, busPath("bundle"), "", nil)) {
		t.Error("lists that were refused made a bundle")
	}

	if got := o.drain(stale); !slices.Equal(got, []string{"recorded"}) {
		t.Errorf("what the reader took offline under the key that went: %v", got)
	}
	o.settleDown()
	for seq, reason := range o.finals() {
		if seq == "2/1" && reason != "" {
			t.Errorf("tap %s: %q", seq, reason)
		}
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM journeys`); n == 0 {
		t.Error("the ride under the key that went has no journey")
	}
	if got := o.refused(http.MethodPost, busPath("contracts/sandbox/keys/take"), map[string]any{"reason": "x"}); got != "collect.no_key_list" {
		t.Errorf("a contract without a list: %q", got)
	}
	o.booksHold()
}

// A list that was rolled back is taken once somebody has looked.
func TestRolledBackKeysAreLetThrough(t *testing.T) {
	o := open(t)
	o.onboard()
	key := func() []byte {
		k, err := sm2.GenerateKey(rand.Reader)
		o.must(err)
		return sm2.Compress(k.Public())
	}
	one, two := key(), key()
	sim := o.alipayKeys(map[uint32][]byte{1: one})
	o.settleDown()
	for i, step := range []struct {
		list map[uint32][]byte
		want string
	}{
		{map[uint32][]byte{2: two}, "map[in_force:[2] missed:[1]]"}, {map[uint32][]byte{2: two}, "map[former:[1] in_force:[2]]"},
		{map[uint32][]byte{1: one}, "map[former:[1] in_force:[2]]"},
	} {
		sim.SetKeyList(step.list)
		o.move(61 * time.Minute)
		o.settleDown()
		if got := fmt.Sprint(o.listed()); got != step.want {
			t.Errorf("%d: %s; want %s", i, got, step.want)
		}
	}
	o.send(http.MethodPost, busPath("contracts/alipay/keys/take"), map[string]any{"reason": "the provider went back, by letter"}, nil)
	o.settleDown()
	if got := fmt.Sprint(o.listed()); got != "map[former:[1 2] in_force:[1]]" {
		t.Errorf("let through: %s", got)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM audit_log WHERE verb = 'provider_keys.let_through'`); n != 1 {
		t.Errorf("%d audit rows", n)
	}
}

// A provider uses the number of a key again, for another key. What readers took before
// is brought late, and proven where it is recorded and where its rider is named, as what
// comes under the new key is; what neither key signed is refused.
func TestAKeyNumberUsedAgainLosesNoLateTap(t *testing.T) {
	o := open(t)
	o.onboard()
	first, second := newMinistry(o), newMinistry(o)
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", rail), edge.TenantDocument{
		Slug: "valley-rail", Name: "Valley Rail", Kind: "authority", Mode: "sandbox", Issuer: uint16(railIssuer), Currency: "CNY", TimeZone: "Asia/Shanghai",
		CutMinutes: 240, CapUnit: 100,
	}, nil)
	o.send(http.MethodPut, busPath("serves"), map[string]any{"authorities": []int64{int64(rail)}}, nil)
	sim := o.alipayKeysOf(rail, railIssuer, map[uint32][]byte{1: sm2.Compress(first.root.Public())}, int64(bus))
	_, err := o.PublishPolicy(t.Context(), actor, foreignRules(), rail)
	o.must(err)
	o.settleDown()
	stale, reader := o.reader(1), o.reader(2)
	if got := o.offer(stale, first.show(o, 1, o.now())); got != "" {
		t.Fatalf("under the key of then: %q", got)
	}
	sim.SetKeyList(map[uint32][]byte{1: sm2.Compress(second.root.Public())})
	o.move(61 * time.Minute)
	o.settleDown()
	o.renewed(reader)
	if got := o.offer(reader, second.show(o, 2, o.now())); got != "" {
		t.Errorf("under the new key of that number: %q", got)
	}
	if got := o.offer(reader, first.show(o, 3, o.now())); got != code.BadIssuerCert {
		t.Errorf("under the key that went, at a reader that knows: %q", got)
	}
	if got := o.offer(stale, newMinistry(o).show(o, 4, o.now())); got != code.BadIssuerCert {
		t.Errorf("under neither: %q", got)
	}
	if got := o.drain(reader); !slices.Equal(got, []string{"recorded", "refused bad_issuer_cert"}) && !slices.Equal(got, []string{"recorded", "recorded"}) {
		t.Errorf("the reader that knows: %v", got)
	}
	if got := o.drain(stale); !slices.Equal(got, []string{"recorded", "refused bad_issuer_cert"}) {
		t.Errorf("what comes late: %v", got)
	}
	for range 4 {
		o.settleDown()
		o.move(time.Minute)
	}
	if got := o.finals(); got["1/1"] != "" || got["2/1"] != "" || got["1/2"] != "bad_issuer_cert" {
		t.Errorf("in the end: %v", got)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM journeys`); n < 2 {
		t.Errorf("%d journeys: the railway did not prove both", n)
	}
	o.booksHold()
}
