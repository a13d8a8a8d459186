package edge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// Nobody makes the person who approves: where anything needs a second person, so
// do the members, roles and issuers by which somebody becomes one.
func TestOneCannotMakeTheSecondPerson(t *testing.T) {
	b := newProposals(t)
	for at, body := range map[string]string{
		"PUT issuers/mine":        `{"url":"https://login.mine.example","client_id":"cg"}`,
		"DELETE issuers/corp":     "",
		"POST members":            `{"external":"puppet","roles":["operator_admin"]}`,
		"PUT members/user:bea":    `{"roles":["auditor"]}`,
		"DELETE members/user:bea": "",
		"PUT roles/helper":        `{"permissions":["approval.*"]}`,
		"DELETE roles/helper":     "",
	} {
		method, path, _ := strings.Cut(at, " ")
		if p := b.send(method, path, b.ada, body, "", http.StatusAccepted, ""); p.Kind != "access_change" {
			t.Errorf("%s: %+v", at, p)
		}
	}
	if n := pgtest.Owner(t, b.db).Count(1, `SELECT count(*) FROM access_members`); n != 2 {
		t.Errorf("%d members, want the two", n)
	}
	const cem = `{"external":"cem","roles":["finance"]}`
	p := b.send("POST", "members", b.ada, cem, "", http.StatusAccepted, "")
	b.send("POST", "proposals/"+p.ID+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("POST", "members", b.ada, cem, p.ID, http.StatusOK, "")

	// Without anything that needs two, one is enough.
	if err := b.Access.SetTwoPerson(t.Context(), "test", 1, nil, true); err != nil {
		t.Fatal(err)
	}
	b.send("POST", "members", b.ada, `{"external":"dov","roles":["finance"]}`, "", http.StatusOK, "")
}

// Names are each tenant's own: an authority's user:ada is not her operator's
// user:ada, neither in the log, nor for what that one proposed, nor as the owner
// of an API key.
func TestPeopleOfTheAuthorityAreNamedWithIt(t *testing.T) {
	b := newBench(t)
	if err := b.Tenants.Create(t.Context(), "test", tenants.Tenant{
		ID: 3, Slug: "harbour-bus", Name: "Bus", Kind: tenants.Bus, Parent: 1, Mode: tenants.Sandbox, Currency: "CNY", TimeZone: "UTC",
	}); err != nil {
		t.Fatal(err)
	}
	for tenant, role := range map[citygate.TenantID]authz.Role{1: authz.Authority, 3: authz.OperatorAdmin} {
		if _, err := b.Access.AddMember(t.Context(), "test", tenant, access.Member{External: "ada", Roles: []authz.Role{role}}); err != nil {
			t.Fatal(err)
		}
	}
	b.Onboarding.PublishTariff = func(context.Context, string, citygate.TenantID, uint64, edge.Tariff) (edge.Tariff, error) {
		t.Error("it was published")
		return edge.Tariff{}, nil
	}
	if err := b.Access.SetTwoPerson(t.Context(), "test", 3, []string{"policy_publish"}, false); err != nil {
		t.Fatal(err)
	}
	member := []string{edge.ScopeMember}
	above, own := b.tokenOf(t, edge.Caller{Subject: "user:ada", Tenant: 1, Scopes: member}), b.tokenOf(t, edge.Caller{Subject: "user:ada", Tenant: 3, Scopes: member})
	root := b.tokenOf(t, edge.Caller{Subject: "user:ada", Scopes: []string{edge.ScopePlatform}})
	n := 0
	send := func(method, path, token, body, approval string, status int, want string) {
		t.Helper()
		n++
		w := b.call(method, "/v1/tenants/3/"+path, token, body, "Idempotency-Key", strings.Repeat("s", n), "Approval", approval)
		if w.Code != status || (want != "" && code(w) != want) {
			t.Errorf("%s %s: %d %s, want %d %s", method, path, w.Code, w.Body, status, want)
		}
	}
	const prices = `{"from":"2026-03-03T00:00:00Z","tariff":{}}`
	w := b.call("PUT", "/v1/tenants/3/tariffs/2", own, prices, "Idempotency-Key", "first")
	proposal := proposalID(t, w.Body.Bytes())
	for _, other := range []string{above, root} {
		send("POST", "proposals/"+proposal+"/withdraw", other, "", "", http.StatusConflict, "approval.not_proposer")
		send("PUT", "tariffs/2", other, prices, proposal, http.StatusConflict, "approval.not_proposer")
		send("POST", "api-keys", other, `{"name":"x","scopes":["settlement.*"],"days":7}`, "", http.StatusNotFound, "access.not_found")
	}
	send("PUT", "tariffs/2", above, prices, "", http.StatusAccepted, "")
	send("PUT", "tariffs/2", root, prices, "", http.StatusAccepted, "")
	rows := pgtest.Owner(t, b.db).Rows(3, `SELECT actor FROM audit_log WHERE verb = 'approval.propose' ORDER BY actor COLLATE "C"`)
	if len(rows) != 3 || rows[0][0] != "platform:user:ada" || rows[1][0] != "tenant:1/user:ada" || rows[2][0] != "user:ada" {
		t.Errorf("the log names %v", rows)
	}
	// They are different persons: one approves what the other proposed.
	send("POST", "proposals/"+proposal+"/approve", above, "", "", http.StatusOK, "")
}

func proposalID(t *testing.T, raw []byte) string {
	t.Helper()
	var p edge.ProposalDocument
	if err := json.Unmarshal(raw, &p); err != nil || p.ID == "" {
		t.Fatalf("%s: no proposal", raw)
	}
	return p.ID
}
