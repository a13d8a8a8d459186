package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
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
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A county issues codes, owns the tariff, and has two bus operators.
const (
	county       = citygate.TenantID(1040)
	countyIssuer = citygate.Issuer(41)
	northBus     = citygate.TenantID(1041)
	southBus     = citygate.TenantID(1042)
)

const countyTariff = `{"name":"county","version":1,"currency":"CNY","categories":{"default":"adult"},
	"rules":[{"id":"north","operators":["north"],"flat":{"adult":450}},{"id":"south","operators":["south"],"flat":{"adult":450}}],
	"transfers":[{"id":"change","window_min":60,"permille":500}],"incomplete":{},"same_stop":{},"rounding":{},"sharing":{"pool":"transfers"}}`

// found makes the county and its operators, which have prices of their own as well.
func (o *office) found() {
	o.t.Helper()
	ctx := o.t.Context()
	o.send(http.MethodPut, pathOf(county, "")[:len(pathOf(county, ""))-1], edge.TenantDocument{Slug: "the-county", Name: "County", Kind: "authority", Mode: "sandbox",
		Issuer: uint16(countyIssuer), Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240, CapUnit: 100}, nil)
	for _, p := range []keys.Purpose{keys.Policy, keys.Audit, keys.Credential, keys.DenyList} {
		_, err := o.Ring.Ensure(ctx, actor, county, p, keys.Ed25519)
		o.must(err)
	}
	tariff, err := fare.ParseTariff([]byte(countyTariff))
	o.must(err)
	o.in(county, func(tx *pg.Tx) error {
		if err := collect.AddContract(ctx, tx, actor, collect.Contract{Name: "sandbox", Adapter: "sandbox", FeePPM: feePPM,
			Config: json.RawMessage(fmt.Sprintf(`{"fee_ppm":%d,"utc_offset_minutes":480,"bill_delay_minutes":540}`, feePPM))}); err != nil {
			return err
		}
		return pricing.Publish(ctx, tx, actor, tariff, o.now().Add(-24*time.Hour))
	})
	reads := rules(1) // an issuer proves claims by the bundle that its rules are in
	reads.Tenant, reads.Issuers = county, []accept.IssuerRule{{Issuer: countyIssuer, Currency: "CNY", CapUnitMinor: 100}}
	_, err = o.PublishPolicy(ctx, actor, reads)
	o.must(err)
	for id, slug := range map[citygate.TenantID]string{northBus: "north-bus", southBus: "south-bus"} {
		o.send(http.MethodPut, pathOf(id, "")[:len(pathOf(id, ""))-1], edge.TenantDocument{Slug: slug, Name: slug, Kind: "bus", Mode: "sandbox", Parent: int64(county),
			Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240}, nil)
		for _, p := range []keys.Purpose{keys.Policy, keys.Audit} {
			_, err := o.Ring.Ensure(ctx, actor, id, p, keys.Ed25519)
			o.must(err)
		}
		o.must(o.Fleet.PutPayees(ctx, actor, id, fleet.Payee{ID: slug, Kind: fleet.Operator, Name: slug, Account: "ACCOUNT-" + slug, BankID: "BANK", Default: true}))
		own := &fare.Tariff{Name: "own", Version: 1, Currency: "CNY", Categories: fare.Categories{Default: "adult"}, Rules: []fare.Rule{{ID: "own", Flat: fare.Amounts{"adult": 999}}}}
		o.must(own.Compile())
		o.in(id, func(tx *pg.Tx) error { return pricing.Publish(ctx, tx, actor, own, o.now().Add(-24*time.Hour)) })
		r := rules(1)
		r.Tenant, r.Issuers = id, []accept.IssuerRule{{Issuer: countyIssuer, Currency: "CNY", CapUnitMinor: 100}}
		_, err := o.PublishPolicy(ctx, actor, r, county)
		o.must(err)
	}
}

// readerOf enrols a reader of an operator and installs what the gateway publishes.
func (o *office) readerOf(tenant citygate.TenantID, name string) *terminal.Verifier {
	o.t.Helper()
	o.send(http.MethodPost, pathOf(tenant, "terminals"), edge.EnrolTerminal{ID: validatorID, Name: name, PublicKey: key(name)[ed25519.SeedSize:], Kind: "validator", Route: "12", Vehicle: "V-12"}, nil)
	roots, err := o.Bundles.Roots(o.t.Context())
	o.must(err)
	dir, err := os.OpenRoot(o.t.TempDir())
	o.must(err)
	v, err := terminal.Open(terminal.Config{Files: terminal.Dir(dir), Tenant: tenant, KeyID: validatorID, Mode: accept.Bus, Software: "test/1",
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(key(name), m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(16), Roots: roots.Roots, Threshold: int(roots.Threshold), BootID: 1})
	o.must(err)
	o.t.Cleanup(func() { _ = v.Close(); _ = dir.Close() })
	o.settleDown() // the first deny lists are published
	clock := o.now().UnixMilli()
	o.must(v.InstallBundle(clock, o.call(http.MethodGet, pathOf(tenant, "bundle"), "", nil)))
	var heads struct {
		Lists []edge.ListHead `json:"lists"`
	}
	o.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", countyIssuer), nil, &heads)
	for _, l := range heads.Lists {
		o.must(v.InstallList(clock, o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", countyIssuer, l.List), "", nil)))
	}
	return v
}

func items[T any](o *office, tenant citygate.TenantID, name string) []T {
	o.t.Helper()
	var answer struct {
		Items []T `json:"items"`
	}
	o.send(http.MethodGet, pathOf(tenant, name), nil, &answer)
	return answer.Items
}

// A rider boards the north's bus and changes to the south's; the county prices both
// by its tariff, collects, and pays each operator its share of what was paid. The
// north's reader uploads days late, when the south's ride is paid out already: the
// south's fare is halved and given back in part, and what is left is divided anew.
func TestTwoOperatorsOfOneAuthorityFromTapToClearedBalances(t *testing.T) {
	o := open(t)
	o.found()
	for _, m := range []struct {
		id   citygate.TenantID
		name string
	}{{northBus, "north"}, {southBus, "south"}} {
		var v edge.FareMember
		o.send(http.MethodPost, pathOf(county, "fare-members"), edge.ProposeFareMember{Operator: int64(m.id), Name: m.name}, &v)
		if v.State != "proposed" || v.Version != 1 {
			t.Fatalf("proposed: %+v", v)
		}
		o.send(http.MethodPost, pathOf(m.id, "fare-members/agree"), map[string]any{"version": 1}, &v)
		if v.State != "agreed" || v.EffectiveAt == nil {
			t.Fatalf("agreed: %+v", v)
		}
	}
	if all := items[edge.FareMember](o, northBus, "fare-members"); len(all) != 1 || all[0].Name != "north" {
		t.Errorf("the north sees %+v", all)
	}
	// Their readers change over offline, at the instant it begins; a version to come of
	// the county's reaches them by itself.
	reads := func(id citygate.TenantID, at time.Time) int64 {
		t.Helper()
		profile, err := o.Bundles.Profile(t.Context(), id)
		o.must(err)
		fares, err := fare.ParseEntry(profile.Fares)
		o.must(err)
		money, _ := fares.Price(&journey.Tap{Kind: tap.Single, At: at.UnixMilli(), Route: "12", Party: 1})
		return money.Minor
	}
	later := o.now().Add(90 * 24 * time.Hour).Truncate(time.Second)
	o.send(http.MethodPut, pathOf(county, "tariffs/2"), map[string]any{"from": later, "tariff": json.RawMessage(strings.ReplaceAll(strings.Replace(countyTariff, `"version":1`, `"version":2`, 1), "450", "500"))}, nil)
	for at, want := range map[time.Time]int64{o.now(): 999, o.now().Add(2 * time.Minute): 450, later.Add(-time.Millisecond): 450, later: 500} {
		if north, south := reads(northBus, at), reads(southBus, at); north != want || south != want {
			t.Errorf("at %s readers know %d and %d, want %d", at, north, south, want)
		}
	}
	o.move(2 * time.Minute)
	var issued struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, pathOf(county, "credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "rider", Contract: "sandbox", DeviceKey: key("phone")[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48}}}, &issued)
	north, south := o.readerOf(northBus, "north"), o.readerOf(southBus, "south")
	board := func(v *terminal.Verifier, counter uint16, route string) {
		t.Helper()
		raw, err := ct1.Display(issued.Issued[0].Credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: counter, Party: 1, Medium: code.MediumBand},
			func(m []byte) ([]byte, error) { return ed25519.Sign(key("phone"), m), nil })
		o.must(err)
		d, err := v.Tap(o.now().UnixMilli(), raw, terminal.Input{MonotonicMS: uint64(o.now().UnixMilli()), Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "Central", Route: route, Vehicle: "V-12", TariffVersion: 1})
		o.must(err)
		if !d.Open {
			t.Fatalf("refused: %s", d.Reason)
		}
	}
	board(north, 1, "12")
	o.move(10 * time.Minute)
	board(south, 2, "7")
	if got := o.drain(south); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("the south's upload: %v", got)
	}
	o.settleDown()
	if got := o.net(southBus); got["interbook_receivable"] != 450 || got["payable"] != -450 {
		t.Errorf("the south's book after pricing: %v", got)
	}
	if got := o.net(county); got["rider_receivable"] != 450 || got["interbook_payable"] != -450 || got["payable"] != 0 {
		t.Errorf("the county's book after pricing: %v", got)
	}
	if own := items[edge.Journey](o, southBus, "journeys"); len(own) != 0 {
		t.Errorf("the south priced %+v", own)
	}
	o.booksHold()
	o.until("paid out to the south", func() bool { return len(items[edge.Payout](o, southBus, "payouts")) == 1 })
	if p := items[edge.Payout](o, southBus, "payouts")[0]; p.Payee != "south-bus" || p.Amount.Minor != 447 {
		t.Errorf("the payout: %+v", p)
	}
	if got := append(items[edge.Payout](o, county, "payouts"), items[edge.Payout](o, northBus, "payouts")...); len(got) != 0 {
		t.Errorf("others were paid: %+v", got)
	}
	o.booksHold()

	if got := o.drain(north); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("the north's upload: %v", got)
	}
	o.settleDown()
	shares := map[citygate.TenantID]int64{}
	for _, s := range items[edge.FareShare](o, county, "fare-shares") {
		shares[citygate.TenantID(s.Operator)] += s.Amount.Minor
	}
	if n, s := shares[northBus], shares[southBus]; n+s != 675 || n < 337 || n > 338 {
		t.Errorf("6.75 is divided as %v", shares)
	}
	if mine := items[edge.FareShare](o, northBus, "fare-shares"); len(mine) != 1 || mine[0].Amount.Minor != shares[northBus] || !slices.Equal(mine[0].Taps, []string{"1:1"}) || len(mine[0].Explanation) == 0 {
		t.Errorf("the north sees %+v", mine)
	}
	o.booksHold()
	o.until("cleared", func() bool {
		c, n, s := o.net(county), o.net(northBus), o.net(southBus)
		return c["interbook_payable"] == 0 && c["rider_receivable"] == 0 && c["provider_receivable"] == 0 && n["interbook_receivable"] == 0 && s["interbook_receivable"] == 0 &&
			len(items[edge.Payout](o, northBus, "payouts")) == 1
	})
	o.booksHold()
	if got := o.net(county); len(got) != 0 {
		t.Errorf("the county's book in the end: %v", got)
	}
	if got := items[edge.Payout](o, northBus, "payouts"); len(got) != 1 || got[0].Amount.Minor < shares[northBus]-4 || got[0].Amount.Minor >= shares[northBus] {
		t.Errorf("the north was paid %+v of %d", got, shares[northBus])
	}
	m, err := o.EndMember(t.Context(), actor, county, northBus, time.Time{})
	o.must(err)
	if before, after := reads(northBus, m.EndsAt.Add(-time.Millisecond)), reads(northBus, m.EndsAt); before != 450 || after != 999 {
		t.Errorf("readers of a member that leaves know %d before and %d after", before, after)
	}
}
