package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants"
)

// exampleFile is the example with a provider secret.
func exampleFile(t *testing.T) Manifest {
	t.Helper()
	raw := strings.Replace(string(deploy.ExampleCity), "        # secrets:\n", "        secrets: {api-key: {env: KEY}}\n", 1)
	city, err := manifest.Parse([]byte(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Manifest{Name: "city.yaml", City: city, Resolve: func(manifest.Secret) (citygate.Secret, error) {
		return citygate.NewSecret([]byte("sentinel-of-a-provider")), nil
	}}
}

// A stoppable key store dies after a number of calls that change something.
type stoppable struct {
	keyStore
	left int // -1 = it lives
}

var errDied = errors.New("the process died here")

func (s *stoppable) die() error {
	if s.left == 0 {
		return errDied
	}
	if s.left > 0 {
		s.left--
	}
	return nil
}

// Create acts, and then dies: the caller never hears of it.
func (s *stoppable) Create(ctx context.Context, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error {
	if err := s.keyStore.Create(ctx, tenant, p, a); err != nil {
		return err
	}
	return s.die()
}

func (s *stoppable) Put(ctx context.Context, tenant citygate.TenantID, name string, value citygate.Secret, cas int) (int, error) {
	version, err := s.keyStore.Put(ctx, tenant, name, value, cas)
	if err != nil {
		return 0, err
	}
	return version, s.die()
}

func (s *stoppable) Sign(ctx context.Context, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
	if tenant == keys.Platform && p == keys.Root {
		if err := s.die(); err != nil {
			return nil, err
		}
	}
	return s.keyStore.Sign(ctx, tenant, p, version, messages)
}

// However often an apply is stopped, the next one goes on where it was, and in
// the end the gateway is as the file says.
func TestApplyIsResumable(t *testing.T) {
	var store *stoppable
	var whole keyStore
	o := openWith(t, func(o *office) keyStore {
		whole = localStore(o)
		store = &stoppable{keyStore: whole, left: -1}
		return store
	})
	ctx := t.Context()
	stops := 0
	for steps := 0; ; steps++ {
		const most = 40
		if steps > most {
			t.Fatal("it never comes to its end")
		}
		store.left = 2 // a bundle needs two roots to sign
		_, err := o.Apply(ctx, actor, exampleFile(t))
		if err == nil {
			break
		}
		if !errors.Is(err, errDied) && !strings.Contains(err.Error(), errDied.Error()) {
			t.Fatal(err)
		}
		stops++
	}
	if stops < 3 {
		t.Errorf("it was stopped %d times: the test shows nothing", stops)
	}
	store.left = -1
	changes, err := o.Diff(ctx, exampleFile(t))
	o.must(err)
	if len(changes) > 0 {
		t.Errorf("after %d stops there is still to do: %v", stops, changes)
	}
	secret, version, err := store.Get(ctx, 1, "sandbox.api-key")
	if err != nil || version != 1 || string(secret.Reveal()) != "sentinel-of-a-provider" {
		t.Errorf("the secret has version %d (%v), want it to be put once", version, err)
	}
	for _, id := range []citygate.TenantID{1, 2} {
		if got, err := o.Tenants.ByID(ctx, id); err != nil || got.State != tenants.Active {
			t.Errorf("tenant %d is %s (%v)", id, got.State, err)
		}
	}
}

// Rules that were stored before the process died reach the readers with the next
// apply, though it finds no difference.
func TestApplyCarriesWhatItStored(t *testing.T) {
	var store *stoppable
	o := openWith(t, func(o *office) keyStore {
		store = &stoppable{keyStore: localStore(o), left: -1}
		return store
	})
	ctx := t.Context()
	_, err := o.Apply(ctx, actor, exampleFile(t))
	o.must(err)
	next := exampleFile(t)
	bus := &next.City.Tenants[1]
	bus.Acceptance = manifest.Raw(strings.Replace(string(bus.Acceptance), `"late_upload_days":7`, `"late_upload_days":6`, 1))
	store.left = 0
	if _, err := o.Apply(ctx, actor, next); err == nil || !strings.Contains(err.Error(), errDied.Error()) {
		t.Fatalf("it did not die: %v", err)
	}
	store.left = -1
	if changes, err := o.Apply(ctx, actor, next); err != nil || len(changes) != 0 {
		t.Fatalf("the rules were not stored before: %v, %v", changes, err)
	}
	if held, err := o.Bundles.Profile(ctx, 2); err != nil || held.Policy.Version != 2 {
		t.Errorf("readers have version %d of the rules (%v), the gateway judges by 2", held.Policy.Version, err)
	}
}

// What a file manages the API refuses to change, and names the file; what it
// lets go the API may change again.
func TestManagedIsRefusedByTheAPI(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	m := exampleFile(t)
	if _, err := o.Apply(ctx, actor, m); err != nil {
		t.Fatal(err)
	}
	was := o.rows("audit_log")
	for path, body := range map[string]any{
		"PUT 1/state":                             map[string]string{"state": "suspended"},
		"PUT 1/keys/credential":                   map[string]string{},
		"PUT 1/contracts/sandbox":                 edge.PutContract{Adapter: "sandbox", FeePPM: 5},
		"PUT 1/contracts/sandbox/secrets/api-key": map[string]any{"value": []byte("x")},
		"POST 2/payees":                           map[string]any{"payees": []edge.PutPayee{{ID: "owner-1", Kind: "owner", Name: "Me", Account: "MINE"}}},
		"POST 2/vehicles":                         map[string]any{"vehicles": []edge.Vehicle{{ID: "bus-1", Kind: "taxi"}}},
		"POST 2/stops":                            map[string]any{"stops": []edge.Stop{{ID: "pier", Name: "Pier"}}},
		"POST 2/assignments":                      map[string]any{"assignments": []edge.Assignment{{Kind: "vehicle", Subject: "bus-1", From: o.now()}}},
		"POST 2/settlement-terms":                 edge.Terms{Version: 2, From: "2027-01-01", CloseAfterMinutes: 1, PayAfterMinutes: 2},
		"PUT 2/tariffs/2":                         map[string]any{"from": o.now(), "tariff": map[string]any{"name": "x", "version": 2, "currency": "CNY", "rules": []any{map[string]any{"id": "f", "flat": map[string]int{"adult": 1}}}}},
		"PUT 2/acceptance":                        map[string]any{"rules": map[string]any{}},
		"POST 2/policies":                         map[string]any{"source": "rules: 1"},
		"POST 2/policies/1/restore":               map[string]any{},
		"PUT 2/serves":                            map[string]any{"authorities": []int64{}},
	} {
		method, rest, _ := strings.Cut(path, " ")
		w := o.ask(method, "/v1/tenants/"+rest, "application/json", []byte(asJSON(t, body)))
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "tenant.managed") || !strings.Contains(w.Body.String(), "managed by city.yaml") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	unchanged(t, "an edit that was refused", was, o.rows("audit_log"))

	// Things of the same kind that the file does not name are free.
	o.send(http.MethodPost, "/v1/tenants/2/payees", map[string]any{"payees": []edge.PutPayee{{ID: "owner-2", Kind: "owner", Name: "Another"}}}, nil)
	changes, err := o.Diff(ctx, exampleFile(t))
	o.must(err)
	if len(changes) > 0 {
		t.Errorf("more than the file says is no difference: %v", changes)
	}

	// Another file may not take them, and when the file lets go the API may.
	other := exampleFile(t)
	other.Name = "other.yaml"
	if changes, err := o.Apply(ctx, actor, other); err != nil || len(changes) > 0 {
		t.Errorf("a copy of the file is not what is there: %v, %v", changes, err)
	}
	if w := o.ask(http.MethodPost, "/v1/tenants/2/vehicles", "application/json", []byte(`{"vehicles":[{"id":"bus-1","kind":"minibus"}]}`)); !strings.Contains(w.Body.String(), "managed by city.yaml") {
		t.Errorf("a copy took over: %s", w.Body)
	}
	other.City.Tenants[1].Stops[0].Name = "Another pier"
	if _, err := o.Apply(ctx, actor, other); !errors.Is(err, tenants.ErrManaged) {
		t.Errorf("another file took over: %v", err)
	}
	m = exampleFile(t)
	m.City.Tenants[1].Vehicles, m.City.Tenants[1].Assignments = nil, nil
	if _, err := o.Apply(ctx, actor, m); err != nil {
		t.Fatal(err)
	}
	o.send(http.MethodPost, "/v1/tenants/2/vehicles", map[string]any{"vehicles": []edge.Vehicle{{ID: "bus-1", Kind: "minibus"}}}, nil)
	changes, err = o.Diff(ctx, exampleFile(t))
	o.must(err)
	if len(changes) != 1 || changes[0].Kind != manifest.KindVehicle {
		t.Errorf("drift: %v", changes)
	}
}

// Where a rule set is published, neither a file nor the API puts plain acceptance
// fields in its place: nothing of the file is done, and the readers keep the rules.
func TestFieldsDoNotReplaceARuleSet(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	if _, err := o.Apply(ctx, actor, exampleFile(t)); err != nil {
		t.Fatal(err)
	}
	set, err := ruleset.Parse([]byte(fileRules))
	o.must(err)
	_, err = o.PublishRules(ctx, actor, 2, policies.Proposal{Set: set})
	o.must(err)
	was := o.rows()

	m := exampleFile(t)
	m.City.Tenants[1].Name = "Another name"
	changes, err := o.Apply(ctx, actor, m)
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), policies.ErrRuleSet.Name) {
		t.Errorf("the file: %v", err)
	}
	refused := 0
	for _, c := range changes {
		if c.Refused != "" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("refused are %d of %v", refused, changes)
	}
	unchanged(t, "a file that was refused", was, o.rows())

	// A file that says nothing of it leaves the rule set, and lets the API try.
	m.City.Tenants[1].Acceptance = nil
	if _, err := o.Apply(ctx, actor, m); err != nil {
		t.Fatal(err)
	}
	was = o.rows()
	fields := exampleFile(t).City.Tenants[1].Acceptance
	w := o.ask(http.MethodPut, "/v1/tenants/2/acceptance", "application/json", []byte(asJSON(t, map[string]any{"rules": fields})))
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), policies.ErrRuleSet.Name) {
		t.Errorf("the API: %d %s", w.Code, w.Body)
	}
	unchanged(t, "an edit that was refused", was, o.rows("idempotency"))

	// What is in force, said again in fields, is nothing to refuse.
	rules, err := policies.Latest(ctx, o.DB, 2)
	o.must(err)
	same, err := manifest.AcceptanceOf(rules)
	o.must(err)
	o.send(http.MethodPut, "/v1/tenants/2/acceptance", map[string]any{"rules": same}, nil)
}

// Every step of onboarding by the API, each sent twice, makes the same tenants
// as the file does.
func TestOnboardingByTheAPI(t *testing.T) {
	o := open(t)
	file := exampleFile(t)
	put := func(method string, tenant int64, rest string, body any) {
		t.Helper()
		for range 2 {
			o.send(method, fmt.Sprintf("/v1/tenants/%d%s", tenant, rest), body, nil)
		}
	}
	for _, m := range file.City.Tenants {
		r, err := m.Record()
		o.must(err)
		doc := edge.DocumentOf(r)
		if doc.State = "draft"; m.Parent != "" {
			doc.Parent = 1
		}
		put(http.MethodPut, m.ID, "", doc)
		for _, k := range m.Keys {
			put(http.MethodPut, m.ID, "/keys/"+k.Purpose, map[string]string{"algorithm": "ed25519"})
		}
		for _, c := range m.Contracts {
			put(http.MethodPut, m.ID, "/contracts/"+c.Name, map[string]any{"adapter": c.Adapter, "fee_ppm": c.FeePPM, "config": c.Config})
			put(http.MethodPut, m.ID, "/contracts/"+c.Name+"/secrets/api-key", map[string]any{"value": []byte("sentinel-of-a-provider")})
		}
		for _, p := range m.Payees {
			put(http.MethodPost, m.ID, "/payees", map[string]any{"payees": []edge.PutPayee{edge.PutPayee(p)}})
		}
		for _, s := range m.Stops {
			put(http.MethodPost, m.ID, "/stops", map[string]any{"stops": []edge.Stop{edge.Stop(s)}})
		}
		for _, v := range m.Vehicles {
			put(http.MethodPost, m.ID, "/vehicles", map[string]any{"vehicles": []edge.Vehicle{edge.Vehicle(v)}})
		}
		for _, a := range m.Assignments {
			put(http.MethodPost, m.ID, "/assignments", map[string]any{"assignments": []edge.Assignment{{Kind: "vehicle", Subject: a.Vehicle, Payee: a.Payee, From: a.From}}})
		}
		for i, s := range m.Settlement {
			put(http.MethodPost, m.ID, "/settlement-terms", edge.Terms{Version: i + 1, From: s.From, CloseAfterMinutes: s.CloseAfterMinutes, PayAfterMinutes: s.PayAfterMinutes})
		}
		for _, p := range m.Tariffs {
			put(http.MethodPut, m.ID, "/tariffs/1", map[string]any{"from": p.From, "tariff": p.Tariff})
		}
		if len(m.Acceptance) > 0 {
			put(http.MethodPut, m.ID, "/acceptance", map[string]any{"rules": m.Acceptance})
		}
	}
	var list edge.Checklist
	o.send(http.MethodGet, "/v1/tenants/1/checklist", nil, &list)
	if missing := missingOf(list); fmt.Sprint(missing) != "[state]" || list.Ready {
		t.Errorf("a draft that has everything misses %v", missing)
	}
	for _, id := range []int64{1, 2} {
		put(http.MethodPut, id, "/state", map[string]string{"state": "active"})
	}
	o.send(http.MethodGet, "/v1/tenants/2/checklist", nil, &list)
	if missing := missingOf(list); fmt.Sprint(missing) != "[terminal]" {
		t.Errorf("the operator misses %v", missing)
	}
	// What needs two persons asks for two who may approve; an auditor is none of them.
	o.must(o.Access.SetTwoPerson(t.Context(), actor, 2, []string{"payout_release"}, false))
	for _, m := range []struct {
		person  string
		role    authz.Role
		missing string
	}{{"ada", authz.OperatorAdmin, "[terminal second person]"}, {"bea", authz.Auditor, "[terminal second person]"}, {"cyd", authz.Finance, "[terminal]"}} {
		_, err := o.Access.AddMember(t.Context(), actor, 2, access.Member{External: m.person, Roles: []authz.Role{m.role}})
		o.must(err)
		list = edge.Checklist{} // members that are left out would keep what the last answer said
		o.send(http.MethodGet, "/v1/tenants/2/checklist", nil, &list)
		if missing := missingOf(list); fmt.Sprint(missing) != m.missing {
			t.Errorf("with %s the operator misses %v, want %s", m.person, missing, m.missing)
		}
	}
	for _, name := range []string{"journey rules", "travel times", "quota", "retention", "administrator", "sign-in"} {
		if !slices.ContainsFunc(list.Items, func(i edge.ChecklistItem) bool {
			return i.Name == name && i.Optional && i.Detail != "" && (i.Done || i.Do != "")
		}) {
			t.Errorf("the operator's list says nothing of its %s: %+v", name, list.Items)
		}
	}
	o.must(o.Access.SetTwoPerson(t.Context(), actor, 2, []string{}, true))
	changes, err := o.Diff(t.Context(), file)
	o.must(err)
	if len(changes) > 0 {
		t.Errorf("the file says otherwise: %v", changes)
	}
	var contracts struct{ Items []edge.Contract }
	o.send(http.MethodGet, "/v1/tenants/1/contracts", nil, &contracts)
	if c := contracts.Items[0]; len(c.Secrets) != 1 || c.Secrets[0].Name != "api-key" || c.Secrets[0].Version != 1 {
		t.Errorf("contract: %+v", c)
	}
	for table, rows := range o.rows() {
		if strings.Contains(rows, "sentinel-of-a-provider") || strings.Contains(rows, "c2VudGluZWwtb2YtYS1wcm92aWRlcg") {
			t.Errorf("the provider's secret lies in %s", table)
		}
	}
}

func missingOf(list edge.Checklist) (names []string) {
	for _, i := range list.Items {
		if !i.Done && !i.Optional {
			names = append(names, i.Name)
		}
	}
	return names
}

// asJSON gives v as JSON.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
