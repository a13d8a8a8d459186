package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// fresh makes a code of a credential now, as its phone does for a request.
func (o *office) fresh(credential []byte, device string, counter uint16) []byte {
	o.t.Helper()
	raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: counter, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key(device), m), nil })
	o.must(err)
	return raw
}

// proof makes what proves a credential's rider to the gateway.
func (o *office) proof(credential []byte, device string, counter uint16) []byte {
	o.t.Helper()
	raw, err := ct1.DisplayProof(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: counter, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key(device), m), nil })
	o.must(err)
	return raw
}

func (o *office) trips(code []byte) []edge.Trip {
	o.t.Helper()
	var answer struct{ Items []edge.Trip }
	o.send(http.MethodPost, busPath("rider/trips"), edge.ByCode{Code: code}, &answer)
	return answer.Items
}

func (o *office) inspected(code []byte) (result string) {
	o.t.Helper()
	raw := o.call(http.MethodPost, busPath("inspections"), "application/json", mustJSON(edge.ByCode{Code: code}))
	var answer map[string]any
	o.must(json.Unmarshal(raw, &answer))
	for name, value := range answer {
		if text, ok := value.(string); name == "result" && ok {
			result = text
		} else if name != "$schema" {
			o.t.Errorf("an inspector also learns %s: %v", name, value)
		}
	}
	return result
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // of structs that always encode
	}
	return raw
}

// A rider without an account asks with a code of the phone: it proves the
// credential, once and while it is fresh, and shows nothing of another one.
func TestRidersAskWithACode(t *testing.T) {
	o := open(t)
	change := o.scripted(sandbox.Script{Decline: []sandbox.Refusal{{Rider: "rider-1"}}})
	o.onboard()
	mine, other := o.credential("phone"), o.credential("other phone")
	if got := o.inspected(o.fresh(mine, "phone", 2)); got != "not_valid" {
		t.Errorf("before boarding: %s", got)
	}
	o.upload(o.board(o.validator(), mine, "phone"))
	o.settleDown()
	if got := o.inspected(o.proof(mine, "phone", 3)); got != "not_valid" {
		t.Errorf("an inspector takes a proof for a ride: %s", got)
	}
	if got := o.inspected(o.fresh(mine, "phone", 3)); got != "valid" {
		t.Errorf("on board: %s", got)
	}
	if got := o.inspected(o.fresh(other, "other phone", 1)); got != "not_valid" {
		t.Errorf("the other phone did not board: %s", got)
	}

	asked := o.proof(mine, "phone", 4)
	found := o.trips(asked)
	if len(found) != 1 || found[0].Fare == nil || found[0].Fare.Minor != price || found[0].State != "priced" {
		t.Fatalf("trips %+v", found)
	}
	var trip edge.Trip
	about := func(code []byte) edge.ByCodeTrip {
		return edge.ByCodeTrip{ByCode: edge.ByCode{Code: code}, Journey: found[0].ID}
	}
	o.send(http.MethodPost, busPath("rider/trip"), about(o.proof(mine, "phone", 5)), &trip)
	if len(trip.Explanation) == 0 || trip.Decision != 1 {
		t.Errorf("why: %+v", trip)
	}
	if got := o.trips(o.proof(other, "other phone", 2)); len(got) != 0 {
		t.Errorf("another phone sees %+v", got)
	}

	ahead, err := ct1.Display(mine, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: 5, Party: 1, Medium: code.MediumServerBatch},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key("phone"), m), nil })
	o.must(err)
	if got := o.trips(ahead); len(got) != 1 {
		t.Errorf("a wallet, which can show its codes and nothing else, sees %+v", got)
	}
	forged := slices.Clone(o.proof(mine, "phone", 6))
	forged[len(forged)-1] ^= 1
	stale := o.proof(mine, "phone", 7)
	for _, c := range []struct {
		name string
		path string
		body any
		want string
	}{
		{"the same code again", "rider/trips", edge.ByCode{Code: asked}, "rider.proof"},
		{"a code as readers take it", "rider/trips", edge.ByCode{Code: o.fresh(mine, "phone", 10)}, "rider.proof"},
		{"a forged code", "rider/trips", edge.ByCode{Code: forged}, "rider.proof"},
		{"no code", "rider/trips", edge.ByCode{Code: make([]byte, 192)}, "rider.proof"},
		{"another phone's trip", "rider/trip", about(o.proof(other, "other phone", 3)), "pricing.not_found"},
		{"a claim where nothing is missing", "rider/claims", map[string]any{"code": o.proof(mine, "phone", 8), "journey": found[0].ID, "stop": "Central"}, "pricing.no_claim"},
		{"a claim about another phone's trip", "rider/claims", map[string]any{"code": o.proof(other, "other phone", 4), "journey": found[0].ID, "stop": "Central"}, "pricing.not_found"},
	} {
		if got := o.refused(http.MethodPost, busPath(c.path), c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if got := o.refused(http.MethodPost, "/v1/tenants/880088/rider/trips", edge.ByCode{Code: o.proof(mine, "phone", 9)}); got != "rider.proof" {
		t.Errorf("at a tenant that does not exist: %s", got)
	}

	owes := func(counter uint16) (list struct{ Items []edge.OwnDebt }) {
		o.send(http.MethodPost, busPath("rider/debts"), edge.ByCode{Code: o.proof(mine, "phone", counter)}, &list)
		return list
	}
	o.until("declined", func() bool { return len(list[edge.Debt](o, "debts?state=open")) == 1 })
	if got := o.refused(http.MethodPost, busPath("rider/trips"), edge.ByCode{Code: stale}); got != "rider.proof" {
		t.Errorf("a code of another day: %s", got)
	}
	if got := owes(20).Items; len(got) != 1 || got[0].Left.Minor != price {
		t.Errorf("debts %+v", got)
	}
	if got := o.inspected(o.fresh(mine, "phone", 21)); got != "denied" {
		t.Errorf("with a debt: %s", got)
	}
	change(sandbox.Script{})
	var paid struct{ Debts int }
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(mine, "phone", 22)}, &paid)
	o.settleDown()
	if got := owes(23).Items; paid.Debts != 1 || len(got) != 0 {
		t.Errorf("%d debts were collected, open are %+v", paid.Debts, got)
	}
	if got := o.inspected(o.fresh(mine, "phone", 24)); got == "denied" {
		t.Error("paid, and denied")
	}
	o.booksHold()
}

// What anybody may read of a tenant: who bears records that come late. Before the
// first terms it is what holds without them.
func TestLiabilityIsPublished(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{Decline: []sandbox.Refusal{{Rider: "rider-1"}}})
	o.onboard()
	read := func(path string) (l edge.Liability) {
		o.send(http.MethodGet, path, nil, &l)
		return l
	}
	if got := read(busPath("liability")); got.Version != 0 || len(got.Records) != 3 || got.Records[0] != (edge.LiabilityLine{Records: "late", Bearer: "rider"}) {
		t.Errorf("without terms: %+v", got)
	}
	terms := json.RawMessage(`{"version":1,"contracts":[{"contract":"sandbox","window":{"taps":1},"retries":2,"retry_within_days":30}],"late":[{"records":"late","after_days":30,"bearer":"operator"}]}`)
	from := o.now().Add(time.Second)
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: from, Terms: terms}, nil)
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: from, Terms: terms}, nil)
	if got := o.refused(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: from.Add(time.Hour), Terms: terms}); got != "risk.terms_exist" {
		t.Errorf("another instant: %s", got)
	}
	past := json.RawMessage(`{"version":2,"contracts":[]}`)
	if got := o.refused(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: from.Add(-time.Hour), Terms: past}); got != "risk.terms_date" {
		t.Errorf("in the past: %s", got)
	}
	for _, unheeded := range []string{`{"records":"late","after_days":3,"bearer":"issuer"}`, `{"records":"late","after_days":0,"bearer":"operator"}`, `{"records":"expired","after_days":0,"bearer":"platform"}`, `{"records":"denied","after_days":1,"bearer":"rider"}`} {
		asks := json.RawMessage(`{"version":2,"contracts":[],"late":[` + unheeded + `]}`)
		if got := o.refused(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: from.Add(time.Hour), Terms: asks}); got != "risk.bad_terms" {
			t.Errorf("%s, which nothing acts on: %s", unheeded, got)
		}
	}
	for _, unheeded := range []string{`"liability":"operator"`, `"first_ride_minor":500`, `"first_ride_minor":500,"unblock":"approval"`} {
		asks := json.RawMessage(`{"version":2,"contracts":[{"contract":"sandbox","window":{},` + unheeded + `,"retries":0,"retry_within_days":0}]}`)
		if got := o.refused(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: from.Add(time.Hour), Terms: asks}); got != "risk.bad_terms" {
			t.Errorf("%s, which nothing acts on: %s", unheeded, got)
		}
	}
	credential := o.credential("phone")
	o.until("in force", func() bool { return read(busPath("liability")).Version == 1 })
	if got := read(busPath("liability")); len(got.Records) != 4 || got.Records[1] != (edge.LiabilityLine{Records: "late", AfterDays: 30, Bearer: "operator"}) {
		t.Errorf("with terms: %+v", got)
	}
	if got := read("/v1/tenants/880088/liability"); got.Version != 0 {
		t.Errorf("of nobody: %+v", got)
	}
	// The contract's limit of one tap has the ride charged at once, and its decline is
	// tried again ten days later.
	o.upload(o.board(o.validator(), credential, "phone"))
	o.settleDown()
	debts := list[edge.Debt](o, "debts?state=open")
	if len(debts) != 1 || debts[0].RetryAt == nil || debts[0].RetryAt.Sub(debts[0].OpenedAt) != 10*24*time.Hour {
		t.Errorf("%+v", debts)
	}
	// What is published is what happens: a record is its rider's money for as many days
	// as the terms say that hold when he rode, and after that nobody's but the operator's.
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: o.now().Add(time.Hour), Terms: json.RawMessage(`{"version":2,"contracts":[],"late":[{"records":"late","after_days":2,"bearer":"operator"}]}`)}, nil)
	before, after := o.reader(validatorID+1), o.reader(validatorID+2)
	rides := o.ofPayer("late phone")
	if got := o.look(before, o.fresh(rides, "late phone", 1)); got != "" {
		t.Fatal(got)
	}
	o.move(2 * time.Hour)
	if got := o.look(after, o.fresh(rides, "late phone", 2)); got != "" {
		t.Fatal(got)
	}
	o.move(50 * time.Hour)
	if got := o.drain(before); !slices.Equal(got, []string{"recorded"}) {
		t.Errorf("a ride before the terms, uploaded late: %v", got)
	}
	if got := o.drain(after); !slices.Equal(got, []string{"refused too_late"}) {
		t.Errorf("a ride under the terms, uploaded late: %v", got)
	}
}
