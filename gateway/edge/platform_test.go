package edge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/access/issuertest"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// The platform is administered by people: one signs in, asks for a tenant to be
// suspended, another approves, and the audit log has both names. No token of a
// tenant is let in, whatever its roles.
func TestThePlatformsPeople(t *testing.T) {
	b := newBench(t)
	b.Onboarding.SetState = func(ctx context.Context, actor string, tenant citygate.TenantID, state string) (edge.TenantDocument, error) {
		if err := b.Tenants.SetState(ctx, actor, tenant, tenants.State(state)); err != nil {
			return edge.TenantDocument{}, err
		}
		found, err := b.Tenants.ByID(ctx, tenant)
		return edge.DocumentOf(found), err
	}
	issuer := issuertest.New(t, b.Clock)
	if _, err := b.Access.Recover(t.Context(), "user:shell", 0, access.Member{External: "ann"}); err != nil {
		t.Fatal(err)
	}
	mint := func(subject string) string {
		token, err := b.tokens.Mint(t.Context(), edge.Caller{Subject: subject, Scopes: []string{edge.ScopeMember}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	n := 0
	send := func(method, path, token, body, approval string, want int, name string) string {
		t.Helper()
		n++
		w := b.call(method, path, token, body, "Idempotency-Key", "p"+string(rune('a'+n)), "Approval", approval)
		if w.Code != want || name != "" && code(w) != name {
			t.Fatalf("%s %s: %d %s; want %d %s", method, path, w.Code, w.Body, want, name)
		}
		return w.Body.String()
	}
	ann := mint("platform:ann")
	send("PUT", "/v1/platform/issuers/corp", ann, `{"url":"`+issuer.URL+`","client_id":"cg"}`, "", http.StatusOK, "")
	send("POST", "/v1/platform/members", ann, `{"external":"x","roles":["auditor"]}`, "", http.StatusUnprocessableEntity, "access.invalid")
	send("POST", "/v1/platform/members", ann, `{"issuer":"corp","external":"bob","roles":["platform_admin"]}`, "", http.StatusOK, "")

	w := b.call("POST", "/v1/platform/tokens", "", `{"id_token":"`+issuer.Key("ES256").Sign(issuer.Claims("bob", "cg"), nil)+`"}`)
	var bob edge.AccessToken
	if err := json.Unmarshal(w.Body.Bytes(), &bob); err != nil || bob.Subject != "platform:bob@corp" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := b.call("POST", "/v1/tenants/1/tokens", "", `{"id_token":"`+issuer.Key("ES256").Sign(issuer.Claims("bob", "cg"), nil)+`"}`); code(w) != "auth.token_invalid" {
		t.Errorf("at a tenant: %d %s", w.Code, w.Body)
	}

	// There are two administrators now: a tenant's state and their own people need both.
	var p edge.ProposalDocument
	if err := json.Unmarshal([]byte(send("PUT", "/v1/tenants/2/state", bob.Token, `{"state":"suspended"}`, "", http.StatusAccepted, "")), &p); err != nil || p.Kind != "tenant_state" {
		t.Fatalf("%+v, %v", p, err)
	}
	send("POST", "/v1/platform/members", ann, `{"external":"cyd","roles":["platform_admin"]}`, "", http.StatusAccepted, "")
	send("DELETE", "/v1/platform/members/platform:ann", bob.Token, "", "", http.StatusAccepted, "")
	send("PUT", "/v1/platform/approval-settings", bob.Token, `{"two_person":[]}`, "", http.StatusAccepted, "")
	send("POST", "/v1/platform/proposals/"+p.ID+"/approve", bob.Token, "", "", http.StatusConflict, "approval.same_person")
	send("POST", "/v1/platform/proposals/"+p.ID+"/approve", ann, "", "", http.StatusOK, "")
	send("PUT", "/v1/tenants/2/state", bob.Token, `{"state":"suspended"}`, p.ID, http.StatusOK, "")
	if found, err := b.Tenants.ByID(t.Context(), 2); err != nil || found.State != tenants.Suspended {
		t.Errorf("the tenant is %s, %v", found.State, err)
	}
	log := pgtest.Owner(t, b.db).Rows(0, `SELECT actor, after ->> 'second' FROM platform.audit_log WHERE verb IN ('approval.execute', 'tenant.state') ORDER BY verb`)
	if len(log) != 2 || log[0][0] != "platform:bob@corp" || log[0][1] != "platform:ann" || log[1][0] != "platform:bob@corp" {
		t.Errorf("the log says %v", log)
	}

	// Nobody of a tenant, and a tenant's token with the platform's name.
	if _, err := b.Access.AddMember(t.Context(), "test", 1, access.Member{External: "ada", Roles: []authz.Role{authz.Authority, authz.Auditor}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/platform/members", "/v1/platform/api-keys", "/v1/platform/proposals/" + p.ID, "/v1/platform/issuers", "/v1/audit"} {
		for _, token := range []string{b.token(t, 1, edge.ScopeAdmin), b.token(t, 1, edge.ScopeRead), b.token(t, 1, edge.ScopeMember)} {
			if w := b.call("GET", path, token, ""); code(w) != "auth.forbidden" {
				t.Errorf("%s of a tenant: %d %s", path, w.Code, w.Body)
			}
		}
		if w := b.call("GET", path, ann, ""); w.Code != http.StatusOK && path != "/v1/audit" { // the bench has no audit
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for what, c := range map[string]edge.Caller{
		"both scopes": {Subject: "platform:ann", Scopes: []string{edge.ScopePlatform, edge.ScopeMember}}, "a reader of no tenant": {Subject: "platform:ann", Scopes: []string{edge.ScopeRead}},
		"no scope": {Subject: "platform:ann"}, "a member of nobody": {Subject: "platform:eve", Scopes: []string{edge.ScopeMember}},
		"its name in a tenant": {Subject: "platform:ann", Tenant: 1, Scopes: []string{edge.ScopeMember}},
	} {
		token, err := b.tokens.Mint(t.Context(), c, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if w := b.call("GET", "/v1/tenants", token, ""); code(w) != "auth.token_invalid" {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
}
