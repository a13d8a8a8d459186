package gateway

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func filePolicy(taps uint8) issuance.Policy {
	return issuance.Policy{
		Phone: issuance.Limits{Cap: 5, Taps: taps, TTLHours: 48, WindowSeconds: 30}, Band: issuance.Limits{Cap: 5, Taps: 2, TTLHours: 12, WindowSeconds: 60},
		Product: 1, Concessions: []issuance.Concession{}, BandsPerPhone: 1, WaitAfterLossHours: 72,
	}
}

// ridersFile is the example with everything about riders' codes and with every
// document that has versions.
func ridersFile(o *office, t *testing.T, taps uint8) Manifest {
	t.Helper()
	m := exampleFile(t)
	city, operator := &m.City.Tenants[0], &m.City.Tenants[1]
	var err error
	city.Issuance, err = issuanceDocument(filePolicy(taps))
	o.must(err)
	city.CodeSchemes = []manifest.CodeScheme{
		{Scheme: "token-defer", Params: manifest.Raw(`{}`), Operators: []string{operator.Slug}, Contract: "sandbox", Opens: true},
		{Scheme: "uic-dosipas", Params: manifest.Raw(`{}`), Keys: []manifest.SchemeKey{{Owner: "1187", ID: 5, Key: base64.StdEncoding.EncodeToString(newRailway(o).public(o))}}},
	}
	operator.Acceptance = manifest.Raw(strings.Replace(string(operator.Acceptance), `["ct1"]`, `["ct1","token-defer"]`, 1))
	from := pgtest.Epoch.Add(48 * time.Hour).UTC()
	operator.Products = []manifest.Version{{From: from, Document: manifest.Raw(`{"version":1,"currency":"CNY","products":[{"id":"staff","kind":"zero_fare","price":0}]}`)}}
	operator.JourneyRules = []manifest.Version{{From: from, Document: manifest.Raw(`{"version":1,"max_journey_minutes":180,"upload_grace_minutes":300}`)}}
	operator.RiskTerms = []manifest.Version{{From: from, Document: manifest.Raw(`{"version":1,"contracts":[]}`)}}
	return m
}

// Code schemes and the issuance policy of a file are put into effect, once,
// however often the process dies; a dump says the same; the API refuses to change
// them; another version in the file is another version here.
func TestCodesOfTheFile(t *testing.T) {
	var store *stoppable
	o := openWith(t, func(o *office) keyStore {
		store = &stoppable{keyStore: localStore(o), left: -1}
		return store
	})
	ctx := t.Context()
	m := ridersFile(o, t, 4)
	stops := 0
	for ; ; stops++ {
		if stops > 60 {
			t.Fatal("it never comes to its end")
		}
		store.left = 2
		_, err := o.Apply(ctx, actor, m)
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), errDied.Error()) {
			t.Fatal(err)
		}
	}
	store.left = -1
	if stops < 3 {
		t.Errorf("it was stopped %d times: the test shows nothing", stops)
	}
	none := func(what string, m Manifest) {
		t.Helper()
		if changes, err := o.Apply(ctx, actor, m); err != nil || len(changes) != 0 {
			t.Errorf("%s: %v, %v", what, changes, err)
		}
	}
	none("the file again", m)
	var policy edge.PolicyDocument
	o.send(http.MethodGet, "/v1/tenants/1/issuance-policy", nil, &policy)
	if policy.Version != 1 || policy.Phone.Taps != 4 {
		t.Errorf("after %d stops the issuance policy is %+v", stops, policy.Policy)
	}
	var schemes struct{ Items []edge.CodeScheme }
	o.send(http.MethodGet, "/v1/tenants/1/code-schemes", nil, &schemes)
	if len(schemes.Items) != 2 || !slices.Equal(schemes.Items[0].Operators, []int64{2}) || !schemes.Items[0].Opens || len(schemes.Items[1].Keys) != 1 {
		t.Errorf("code schemes: %+v", schemes.Items)
	}
	o.move(time.Minute) // what was read is held for some seconds
	bundle, err := o.Bundle(ctx, 2)
	o.must(err)
	if !strings.Contains(fmt.Sprintf("%+v", bundle), "token-defer") {
		t.Errorf("the operator's validators hear nothing of the scheme: %+v", bundle)
	}

	city, err := o.Describe(ctx)
	o.must(err)
	raw, err := city.Write()
	o.must(err)
	again, err := manifest.Parse(raw, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	none("a dump", Manifest{Name: "city.yaml", City: again})

	o.refusesByHand(t)

	m = ridersFile(o, t, 3)
	m.City.Tenants[0].CodeSchemes = again.Tenants[0].CodeSchemes // with the same railway
	m.City.Tenants[0].CodeSchemes[0].Opens, m.City.Tenants[0].CodeSchemes[0].Operators = false, nil
	for i, d := range []*[]manifest.Version{&m.City.Tenants[1].Products, &m.City.Tenants[1].JourneyRules, &m.City.Tenants[1].RiskTerms} {
		next := (*d)[0]
		var body map[string]json.RawMessage
		o.must(json.Unmarshal(next.Document, &body))
		body["version"] = json.RawMessage("2")
		next.Document, err = json.Marshal(body)
		o.must(err)
		next.From = next.From.Add(time.Duration(i+1) * time.Hour)
		*d = append(*d, next)
	}
	changes, err := o.Apply(ctx, actor, m)
	if err != nil || len(changes) != 5 {
		t.Errorf("a policy, a scheme and three documents changed: %v, %v", changes, err)
	}
	none("that again", m)
	o.send(http.MethodGet, "/v1/tenants/1/issuance-policy", nil, &policy)
	if policy.Version != 2 || policy.Phone.Taps != 3 {
		t.Errorf("the next issuance policy is %+v", policy.Policy)
	}
	o.move(time.Minute)
	if bundle, err = o.Bundle(ctx, 2); err != nil || strings.Contains(fmt.Sprintf("%+v", bundle), "token-defer") {
		t.Errorf("the operator's validators still read the scheme (%v)", err)
	}
}

// refusesByHand holds that the API changes nothing of what ridersFile manages.
func (o *office) refusesByHand(t *testing.T) {
	t.Helper()
	later := o.now().Add(240 * time.Hour)
	for path, body := range map[string]any{
		"PUT 1/issuance-policy":          filePolicy(1),
		"PUT 1/code-schemes/token-defer": edge.CodeScheme{Params: json.RawMessage(`{"issuer":101}`)},
		"POST 2/product-catalogues":      map[string]any{"from": later, "catalogue": map[string]any{"version": 2, "currency": "CNY", "products": []any{}}},
		"POST 2/journey-rules":           map[string]any{"from": later, "rules": map[string]any{"version": 2, "max_journey_minutes": 180, "upload_grace_minutes": 300}},
		"POST 2/risk-terms":              map[string]any{"from": later, "terms": map[string]any{"version": 2, "contracts": []any{}}},
	} {
		method, rest, _ := strings.Cut(path, " ")
		w := o.ask(method, "/v1/tenants/"+rest, "application/json", []byte(asJSON(t, body)))
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "tenant.managed") || !strings.Contains(w.Body.String(), "managed by city.yaml") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// What cannot be is refused before anything is changed, and says why.
func TestCodesThatCannotBeAreRefusedWhole(t *testing.T) {
	o := open(t)
	for why, spoil := range map[string]func(city *manifest.Tenant){
		"there is no tenant nobody":    func(c *manifest.Tenant) { c.CodeSchemes[0].Operators = []string{"nobody"} },
		"does not know":                func(c *manifest.Tenant) { c.CodeSchemes[0].Scheme = "no-such" },
		"no contract elsewhere":        func(c *manifest.Tenant) { c.CodeSchemes[0].Contract = "elsewhere" },
		"accounts that are opened":     func(c *manifest.Tenant) { c.CodeSchemes[0].Contract = "" },
		"loss without bound":           func(c *manifest.Tenant) { c.Issuance, _ = issuanceDocument(filePolicy(0)) },
		"unknown field \"generosity\"": func(c *manifest.Tenant) { c.Issuance = manifest.Raw(`{"generosity":1}`) },
	} {
		m := ridersFile(o, t, 4)
		spoil(&m.City.Tenants[0])
		_, err := o.Apply(t.Context(), actor, m)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if all, err := o.Tenants.All(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a file that was refused made %v (%v)", all, err)
	}
}
