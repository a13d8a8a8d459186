package edge_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/access/issuertest"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// A day of a new tenant: the first administrator is made by command, adds an
// issuer and people, and they sign in and make keys.
func TestPeopleSignInAndMakeKeys(t *testing.T) {
	b := newBench(t)
	issuer := issuertest.New(t, b.Clock)
	if _, err := b.Access.Recover(t.Context(), "user:shell", 1, access.Member{External: "ada"}); err != nil {
		t.Fatal(err)
	}
	ada := b.token(t, 1, edge.ScopeMember) // of user:ada
	change := func(method, path, token, body, key string) string {
		t.Helper()
		w := b.call(method, "/v1/tenants/1/"+path, token, body, "Idempotency-Key", key)
		if w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	change("PUT", "issuers/corp", ada, `{"url":"`+issuer.URL+`","client_id":"cg"}`, "1")
	change("POST", "members", ada, `{"issuer":"corp","external":"00u/bob","roles":["finance"]}`, "2")
	w := b.call("POST", "/v1/tenants/1/tokens", "", `{"id_token":"`+issuer.Key("ES256").Sign(issuer.Claims("00u/bob", "cg"), nil)+`"}`)
	var signedIn edge.AccessToken
	if err := json.Unmarshal(w.Body.Bytes(), &signedIn); err != nil || w.Code != http.StatusOK || signedIn.Subject != "user:00u/bob@corp" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := b.call("POST", "/v1/tenants/2/tokens", "", `{"id_token":"`+issuer.Key("ES256").Sign(issuer.Claims("00u/bob", "cg"), nil)+`"}`); code(w) != "auth.token_invalid" {
		t.Errorf("at another tenant: %d %s", w.Code, w.Body)
	}
	if w := b.call("GET", "/v1/tenants/1/balances", signedIn.Token, ""); w.Code != http.StatusOK {
		t.Errorf("finance reads balances: %d %s", w.Code, w.Body)
	}
	w = b.call("POST", "/v1/tenants/1/denials", signedIn.Token, `{}`, "Idempotency-Key", "3")
	if code(w) != "auth.forbidden" || !strings.Contains(w.Body.String(), "rider.write") || !strings.Contains(w.Body.String(), "user:ada") {
		t.Errorf("finance denies a rider: %d %s", w.Code, w.Body)
	}
	if w := b.call("POST", "/v1/tenants/1/api-keys", ada, `{"name":"x","owner":"user:00u/bob@corp","scopes":["money.read"],"days":7}`, "Idempotency-Key", "4"); code(w) != "access.invalid" {
		t.Errorf("a key in another's name: %d %s", w.Code, w.Body)
	}
	var key edge.NewAPIKey
	if err := json.Unmarshal([]byte(change("POST", "api-keys", ada, `{"name":"x","scopes":["money.read"],"days":7}`, "5")), &key); err != nil || key.Owner != "user:ada" {
		t.Fatalf("%+v, %v", key, err)
	}
	if w := b.call("GET", "/v1/tenants/1/balances", key.Key, ""); w.Code != http.StatusOK {
		t.Errorf("the key reads balances: %d %s", w.Code, w.Body)
	}
	if w := b.call("GET", "/v1/tenants/2/balances", key.Key, ""); code(w) != "request.not_found" {
		t.Errorf("the key at another tenant: %d %s", w.Code, w.Body)
	}

	// The secret is nowhere but in the one answer.
	w = b.call("POST", "/v1/tenants/1/api-keys", ada, `{"name":"x","scopes":["money.read"],"days":7}`, "Idempotency-Key", "5")
	if code(w) != "idempotency.shown_once" || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("the request again: %d %s", w.Code, w.Body)
	}
	secret := key.Key[len(key.Prefix):]
	if n := pgtest.Owner(t, b.db).Count(1, `SELECT count(*) FROM idempotency_keys WHERE convert_from(body, 'UTF8') LIKE '%`+secret+`%'`); n != 0 {
		t.Error("the secret is kept with the answer")
	}
	if strings.Contains(b.log.String(), secret) || strings.Contains(b.call("GET", "/v1/tenants/1/api-keys", ada, "").Body.String(), secret) {
		t.Error("the secret is in the log or in the list")
	}

	x := b.call("GET", "/v1/tenants/1/access/explain?subject=user:00u/bob@corp&operation=list-payouts", ada, "").Body.String()
	if !strings.Contains(x, `"allowed":true`) || !strings.Contains(x, "p, finance, own, settlement, *") {
		t.Errorf("explained: %s", x)
	}
	change("PUT", "members/user:00u%2Fbob@corp", ada, `{"roles":["auditor"]}`, "6")
	change("POST", "api-keys/"+key.ID+"/revoke", ada, "", "7")
	if w := b.call("GET", "/v1/tenants/1/balances", key.Key, ""); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("a revoked key: %d %s", w.Code, w.Body)
	}
	change("PUT", "roles/ticket_office", ada, `{"permissions":["rider.*"]}`, "8")
	if got := b.call("GET", "/v1/tenants/1/roles", ada, "").Body.String(); !strings.Contains(got, "ticket_office") || !strings.Contains(got, "operator_admin") {
		t.Errorf("roles: %s", got)
	}
	change("DELETE", "roles/ticket_office", ada, "", "9")
	change("POST", "token-revocations", ada, `{"subject":"user:00u/bob@corp"}`, "10")
	if w := b.call("GET", "/v1/tenants/1/balances", signedIn.Token, ""); w.Code != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d %s", w.Code, w.Body)
	}
	change("DELETE", "members/user:00u%2Fbob@corp", ada, "", "11")
	if w := b.call("DELETE", "/v1/tenants/1/members/user:ada", ada, "", "Idempotency-Key", "12"); code(w) != "access.last_admin" {
		t.Errorf("the last one leaves: %d %s", w.Code, w.Body)
	}
	change("DELETE", "issuers/corp", ada, "", "13")
}
