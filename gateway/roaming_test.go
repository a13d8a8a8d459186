package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// hill is a city of another tree, whose riders come to the valley's bus.
const (
	hill       = citygate.TenantID(1004)
	hillIssuer = citygate.Issuer(11)
)

func pathOf(tenant citygate.TenantID, rest string) string {
	return fmt.Sprintf("/v1/tenants/%d/%s", tenant, rest)
}

// neighbour makes hill, and has the bus's rules name its issuer.
func (o *office) neighbour(config string) {
	o.t.Helper()
	ctx := o.t.Context()
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", hill), edge.TenantDocument{
		Slug: "hill-city", Name: "Hill City", Kind: "authority", Mode: "sandbox", Issuer: uint16(hillIssuer), Currency: "CNY", TimeZone: "Asia/Shanghai",
		CutMinutes: 240, CapUnit: 100,
	}, nil)
	for _, p := range []keys.Purpose{keys.Policy, keys.Audit, keys.Credential, keys.DenyList} {
		_, err := o.Ring.Ensure(ctx, actor, hill, p, keys.Ed25519)
		o.must(err)
	}
	o.in(hill, func(tx *pg.Tx) error {
		return collect.AddContract(ctx, tx, actor, collect.Contract{Name: "sandbox", Adapter: "sandbox", FeePPM: feePPM,
			Config: json.RawMessage(fmt.Sprintf(`{"fee_ppm":%d,"utc_offset_minutes":480,"bill_delay_minutes":540%s}`, feePPM, config))})
	})
	own := rules(1)
	own.Tenant, own.Issuers = hill, []accept.IssuerRule{{Issuer: hillIssuer, Currency: "CNY", CapUnitMinor: 100}}
	_, err := o.PublishPolicy(ctx, actor, own)
	o.must(err)
	next := rules(2)
	next.Issuers = append(next.Issuers, own.Issuers...)
	_, err = o.PublishPolicy(ctx, actor, next, hill)
	o.must(err)
}

// visitor enrols a rider of the hill.
func (o *office) visitor(device string, product int) []byte {
	o.t.Helper()
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, pathOf(hill, "credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: device, Contract: "sandbox", DeviceKey: key(device)[ed25519.SeedSize:], Product: uint16(product), Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0].Credential
}

// agree has the hill propose terms and the bus agree to them.
func (o *office) agree(terms edge.Roamable) edge.RoamingTerms {
	o.t.Helper()
	var v edge.RoamingTerms
	with := edge.RoamingPartner{Partner: int64(bus), Role: "issuer"}
	o.send(http.MethodPost, pathOf(hill, "roaming"), edge.ProposeRoaming{RoamingPartner: with, Terms: terms}, &v)
	o.send(http.MethodPost, busPath("roaming/agree"), map[string]any{"partner": hill, "role": "host", "version": v.Version}, &v)
	return v
}

// syncAll has a validator install the bundle, and the deny lists of everybody in it.
func (o *office) syncAll(v *terminal.Verifier) {
	o.t.Helper()
	o.sync(v)
	b, err := o.Bundle(o.t.Context(), bus)
	o.must(err)
	if _, ok := b.IssuerTenant(hillIssuer); !ok {
		return
	}
	var heads struct {
		Lists []edge.ListHead `json:"lists"`
	}
	o.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", hillIssuer), nil, &heads)
	for _, l := range heads.Lists {
		o.must(v.InstallList(o.now().UnixMilli(), o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", hillIssuer, l.List), "", nil)))
	}
}

// visit gives what the validator decides on a rider's code, by its reason.
func (o *office) visit(v *terminal.Verifier, credential []byte, device string, counter uint16, fare int64) string {
	o.t.Helper()
	raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: counter, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key(device), m), nil })
	o.must(err)
	d, err := v.Tap(o.now().UnixMilli(), raw, terminal.Input{MonotonicMS: uint64(o.now().UnixMilli()), Clock: tap.ClockGNSS, Kind: tap.Single,
		Stop: "Central", Route: "12", Vehicle: "V-12", TariffVersion: 1, Fare: citygate.Money{Minor: fare, Currency: "CNY"}})
	o.must(err)
	return string(d.Reason)
}

// net gives a tenant's balances that are not zero.
func (o *office) net(tenant citygate.TenantID) map[string]int64 {
	o.t.Helper()
	var answer struct {
		Items []edge.Balance `json:"items"`
	}
	o.send(http.MethodGet, pathOf(tenant, "balances"), nil, &answer)
	all := map[string]int64{}
	for _, b := range answer.Items {
		if b.Debit != b.Credit {
			name, _, _ := strings.Cut(b.Account, ":")
			all[name] += b.Debit - b.Credit
		}
	}
	return all
}

// A rider of one city boards another city's bus: not without terms; on the terms,
// offline, at the bus's fare, and the money goes from the one provider to the
// other's payee with the books of both balanced; and not after the terms, but for
// a tap from before that comes late.
func TestRoamingFromTapToClearedBalance(t *testing.T) {
	o := open(t)
	o.onboard()
	o.neighbour("")
	one, two, late := o.visitor("one", 1), o.visitor("two", 2), o.visitor("late", 1)
	v := o.validator()

	b, err := o.Bundle(t.Context(), bus)
	o.must(err)
	if _, ok := b.IssuerTenant(hillIssuer); ok {
		t.Error("the bus's bundle carries an issuer that nobody agreed with")
	}
	if got := o.visit(v, one, "one", 1, price); got != "unknown_issuer" {
		t.Errorf("without terms: %q", got)
	}

	v1 := o.agree(edge.Roamable{Schemes: []string{"ct1"}, Products: []uint16{1}, CapMinor: price, Uncollected: "host", NoticeDays: 1})
	if v1.State != "in_force" || v1.ProposedBy == "" || v1.AgreedBy == "" {
		t.Errorf("agreed: %+v", v1)
	}
	o.move(time.Minute)
	o.settleDown()
	o.syncAll(v)
	if got := o.visit(v, one, "one", 2, price); got != "" {
		t.Errorf("on the terms: %q", got)
	}
	if got := o.visit(v, two, "two", 1, price); got != "policy_refused" {
		t.Errorf("another product: %q", got)
	}
	if got := o.visit(v, late, "late", 1, price+1); got != "over_limit" {
		t.Errorf("a dear fare: %q", got)
	}
	if got := o.drain(v); !slices.Equal(got, []string{"refused unknown_issuer", "recorded", "refused policy_refused", "refused over_limit"}) {
		t.Fatalf("uploaded: %v", got)
	}
	o.settleDown()
	if got := o.net(bus); got["interbook_receivable"] != price || got["payable"] != -price {
		t.Errorf("the bus's book after pricing: %v", got)
	}
	if got := o.net(hill); got["rider_receivable"] != price || got["interbook_payable"] != -price {
		t.Errorf("the hill's book after pricing: %v", got)
	}
	o.booksHold()

	// What proves the rider to one of the two proves him to the other no more: neither
	// asks the other about him with a code that he gave it.
	for i, where := range [][2]citygate.TenantID{{bus, hill}, {hill, bus}} {
		var trips struct{ Items []edge.Trip }
		asked := edge.ByCode{Code: o.proof(one, "one", uint16(50+i))}
		o.send(http.MethodPost, pathOf(where[0], "rider/trips"), asked, &trips)
		if want := 1 - i; len(trips.Items) != want {
			t.Errorf("trips at %d: %+v", where[0], trips.Items)
		}
		for _, again := range where {
			if got := o.refused(http.MethodPost, pathOf(again, "rider/trips"), asked); got != "rider.proof" {
				t.Errorf("the same code at %d: %q", again, got)
			}
		}
	}

	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) == 1 })
	if p := list[edge.Payout](o, "payouts")[0]; p.Amount.Minor != price-3 {
		t.Errorf("the payout: %+v", p)
	}
	if got := o.net(bus); got["interbook_receivable"] != 0 || got["payable"] != 0 {
		t.Errorf("the bus's book in the end: %v", got)
	}
	if got := o.net(hill); got["interbook_payable"] != 0 || got["rider_receivable"] != 0 {
		t.Errorf("the hill's book in the end: %v", got)
	}
	o.booksHold()

	late = o.visitor("late2", 1)
	o.settleDown()
	o.syncAll(v)
	if got := o.visit(v, late, "late2", 1, price); got != "" { // stays on the reader
		t.Fatalf("before the end: %q", got)
	}
	var ended struct {
		Items []edge.RoamingTerms `json:"items"`
	}
	o.send(http.MethodPost, busPath("roaming/end"), map[string]any{"partner": hill, "role": "host"}, &ended)
	if len(ended.Items) != 1 || ended.Items[0].State != "in_force" || ended.Items[0].EndsAt.Before(o.now().Add(24*time.Hour)) {
		t.Fatalf("ended with a day's notice: %+v", ended)
	}
	o.syncAll(v) // the reader knows the end before it comes
	o.move(23 * time.Hour)
	if got := o.visit(v, late, "late2", 2, price); got != "" {
		t.Errorf("during the notice: %q", got)
	}
	o.move(time.Hour + time.Minute)
	if got := o.visit(v, late, "late2", 3, price); got != "policy_refused" {
		t.Errorf("after the end, by the bundle from before: %q", got)
	}
	o.settleDown()
	if b, err = o.Bundle(t.Context(), bus); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.IssuerTenant(hillIssuer); ok {
		t.Error("the bundle still carries the issuer after the terms")
	}
	o.syncAll(v)
	if got := o.visit(v, late, "late2", 4, price); got != "unknown_issuer" {
		t.Errorf("after the end: %q", got)
	}
	if got := o.drain(v); !slices.Equal(got, []string{"recorded", "recorded", "refused policy_refused", "refused unknown_issuer"}) {
		t.Errorf("uploaded late: %v", got)
	}
	o.until("paid out again", func() bool {
		return len(list[edge.Payout](o, "payouts")) > 1 && o.net(bus)["interbook_receivable"] == 0
	})
	o.booksHold()
}

// A reader that was told nothing of the terms opens its gate, and intake refuses.
func TestIntakeHoldsToTheTerms(t *testing.T) {
	o := open(t)
	o.onboard()
	o.neighbour("")
	rider := o.visitor("one", 1)
	v := o.validator()
	o.agree(edge.Roamable{Uncollected: "host"})
	o.move(time.Minute)
	o.settleDown()
	o.syncAll(v)
	o.send(http.MethodPost, busPath("roaming/end"), map[string]any{"partner": hill, "role": "host"}, nil)
	o.move(2 * time.Minute) // the reader is not told
	if got := o.visit(v, rider, "one", 1, price); got != "" {
		t.Fatalf("by the old bundle: %q", got)
	}
	if got := o.drain(v); !slices.Equal(got, []string{"refused unknown_issuer"}) {
		t.Errorf("uploaded: %v", got)
	}
	kept := o.audit.Rows(bus, `SELECT count(*)::int FROM taps t JOIN tap_evidence e ON e.tenant_id = t.tenant_id AND e.digest = t.evidence_digest WHERE t.tenant_id = `+bus.String())
	if fmt.Sprint(kept[0][0]) != "1" {
		t.Errorf("evidence kept of %v taps", kept[0][0])
	}
}

// Terms are two tenants' word: neither agrees for the other, nor to what is not
// proposed, nor across currencies; and nobody else sees them.
func TestRoamingTermsTakeTwo(t *testing.T) {
	o := open(t)
	o.onboard()
	o.neighbour("")
	with := edge.RoamingPartner{Partner: int64(bus), Role: "issuer"}
	propose := edge.ProposeRoaming{RoamingPartner: with, Terms: edge.Roamable{Uncollected: "issuer"}}
	var v edge.RoamingTerms
	for range 2 { // the reply to the first was lost
		o.send(http.MethodPost, pathOf(hill, "roaming"), propose, &v)
	}
	if v.Version != 1 || v.State != "proposed" {
		t.Fatalf("proposed: %+v", v)
	}
	own := map[string]any{"partner": bus, "role": "issuer", "version": 1}
	if got := o.refused(http.MethodPost, pathOf(hill, "roaming/agree"), own); got != "roaming.state" {
		t.Errorf("agreeing with oneself: %s", got)
	}
	host := func(version int) map[string]any {
		return map[string]any{"partner": hill, "role": "host", "version": version}
	}
	if got := o.refused(http.MethodPost, busPath("roaming/agree"), host(2)); got != "roaming.none" {
		t.Errorf("agreeing to nothing: %s", got)
	}
	propose.Terms.CapMinor = 1
	o.send(http.MethodPost, pathOf(hill, "roaming"), propose, &v)
	if got := o.refused(http.MethodPost, busPath("roaming/agree"), host(1)); got != "roaming.state" {
		t.Errorf("agreeing to what is proposed no more: %s", got)
	}
	o.send(http.MethodPost, busPath("roaming/agree"), host(2), nil)
	const abroad = citygate.TenantID(1005)
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", abroad), edge.TenantDocument{
		Slug: "far-bus", Name: "Far Bus", Kind: "bus", Mode: "sandbox", Currency: "HKD", TimeZone: "Asia/Hong_Kong", CutMinutes: 240,
	}, nil)
	propose.Partner = int64(abroad)
	o.send(http.MethodPost, pathOf(hill, "roaming"), propose, nil)
	if got := o.refused(http.MethodPost, pathOf(abroad, "roaming/agree"), host(1)); got != "roaming.currency" {
		t.Errorf("two currencies: %s", got)
	}
	if got := o.refused(http.MethodPost, pathOf(abroad, "roaming/end"), map[string]any{"partner": bus, "role": "issuer"}); got != "roaming.none" {
		t.Errorf("ending others' terms: %s", got)
	}
	for tenant, want := range map[citygate.TenantID]int{hill: 3, bus: 2, abroad: 1} {
		all, err := o.RoamingTerms(t.Context(), tenant)
		if o.must(err); len(all) != want {
			t.Errorf("tenant %d sees %d versions, want %d", tenant, len(all), want)
		}
		o.in(tenant, func(tx *pg.Tx) error {
			var n int
			err := tx.QueryRow(t.Context(), `SELECT count(*) FROM platform.roaming_terms WHERE $1::bigint > 0`, tx.Tenant).Scan(&n)
			if n != want {
				t.Errorf("SQL of tenant %d sees %d rows, want %d", tenant, n, want)
			}
			return err
		})
	}
	said := fmt.Sprint(o.audit.Rows(bus, `SELECT after::text FROM audit_log WHERE verb = 'roaming.agree' AND tenant_id = `+bus.String()))
	if !strings.Contains(said, "proposed_by") || !strings.Contains(said, "agreed_by") {
		t.Errorf("the audit log: %s", said)
	}
	// What the issuer bears is not passed back.
	o.move(time.Minute)
	must := func(want bool, at time.Time) {
		o.must(o.hold(t.Context()))
		o.in(hill, func(tx *pg.Tx) error {
			got, err := o.issuerBears(t.Context(), tx, bus, at)
			if got.Holds != want {
				t.Errorf("the issuer bears at %s: %v", at, got)
			}
			return err
		})
	}
	must(true, o.now())
	must(false, o.now().Add(-time.Hour))
}

// The highest sum of a rider's day holds offline at one reader, by what it took
// itself; where two readers together let more through, the issuer refuses the claim
// and nobody is charged for the ride that went too far.
func TestRoamingDayCap(t *testing.T) {
	o := open(t)
	o.onboard()
	o.neighbour("")
	rider := o.visitor("one", 1)
	v := o.validator()
	o.agree(edge.Roamable{Uncollected: "issuer", DayCapMinor: 2 * price, Beyond: "host"})
	o.move(time.Minute)
	o.settleDown()
	o.syncAll(v)
	for i, want := range []string{"", "", "over_limit"} {
		if got := o.visit(v, rider, "one", uint16(i+1), price); got != want {
			t.Errorf("ride %d: %q, want %q", i, got, want)
		}
		o.move(5 * time.Minute)
	}
	if got := o.drain(v); !slices.Equal(got, []string{"recorded", "recorded", "refused over_limit"}) {
		t.Errorf("uploaded: %v", got)
	}
	o.settleDown()
	// What another reader let through, which knew nothing of these.
	o.move(5 * time.Minute)
	other := o.another()
	o.syncAll(other)
	if got := o.visit(other, rider, "one", 4, price); got != "" {
		t.Fatalf("at another reader: %q", got)
	}
	if got := o.drain(other); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("uploaded: %v", got)
	}
	o.settleDown()
	if got := o.net(hill); got["rider_receivable"] != 2*price || got["interbook_payable"] != -2*price {
		t.Errorf("the hill's book: %v", got)
	}
	if got := o.net(bus); got["interbook_receivable"] != 2*price || got["payable"] != -2*price {
		t.Errorf("the bus's book: %v", got)
	}
	o.booksHold()
}
