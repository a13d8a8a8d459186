package edge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// Everything whose permission is to publish policies, to change providers, to
// revoke keys or to settle is guarded, unless it is said here why not.
func TestWhatNeedsASecondPerson(t *testing.T) {
	b := newBench(t)
	for id, need := range b.Needs() {
		guarded := false
		for _, p := range []string{"policy.publish", "provider.write", "key.revoke", "settlement.write", "settlement.release"} {
			guarded = guarded || need.String() == p
		}
		if guarded && !edge.Guarded(id) {
			t.Errorf("%s needs %s, and no second person: add it to guards", id, need)
		}
	}
}

type proposalBench struct {
	*testBench
	t        *testing.T
	secrets  atomic.Int64 // how often a secret was put
	ada, bea string
	n        int
}

func newProposals(t *testing.T) *proposalBench {
	b := &proposalBench{testBench: newBench(t), t: t}
	b.Onboarding.PutSecret = func(ctx context.Context, actor string, tenant citygate.TenantID, contract, name string, _ citygate.Secret) (edge.ContractSecret, error) {
		if contract == "broken" {
			return edge.ContractSecret{}, errWrong
		}
		return edge.ContractSecret{Name: name}, b.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "secret.put", Object: name})
			if err == nil {
				b.secrets.Add(1)
			}
			return err
		})
	}
	for _, name := range []string{"ada", "bea"} {
		if _, err := b.Access.AddMember(t.Context(), "test", 1, access.Member{External: name, Roles: []authz.Role{authz.OperatorAdmin}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Access.SetTwoPerson(t.Context(), "test", 1, []string{"provider_credential", "key_revocation"}, false); err != nil {
		t.Fatal(err)
	}
	b.ada, b.bea = b.tokenOf(t, edge.Caller{Subject: "user:ada", Tenant: 1, Scopes: []string{edge.ScopeMember}}), b.tokenOf(t, edge.Caller{Subject: "user:bea", Tenant: 1, Scopes: []string{edge.ScopeMember}})
	return b
}

// send makes a request with a key of its own, and wants a status and a code.
func (b *proposalBench) send(method, path, token, body, proposal string, status int, want string) (p edge.ProposalDocument) {
	b.t.Helper()
	b.n++
	w := b.call(method, "/v1/tenants/1/"+path, token, body, "Idempotency-Key", strings.Repeat("k", b.n), "Approval", proposal)
	if w.Code != status || (want != "" && code(w) != want) {
		b.t.Errorf("%s %s: %d %s, want %d %s", method, path, w.Code, w.Body, status, want)
	}
	_ = json.Unmarshal(w.Body.Bytes(), &p)
	return p
}

const (
	secretPath = "contracts/pay/secrets/token"
	secretBody = `{"value":"c2VjcmV0IG9mIGEgcHJvdmlkZXI="}`
)

func TestASecretNeedsTwoPersons(t *testing.T) {
	b := newProposals(t)
	b.send("PUT", secretPath, b.ada, `{"value":7}`, "", 422, "request.invalid") // what is not valid is not proposed
	p := b.send("PUT", secretPath, b.ada, secretBody, "", http.StatusAccepted, "")
	if p.State != "open" || p.Content != "" || p.Person != "user:ada" {
		t.Fatalf("%+v", p)
	}
	if n := pgtest.Owner(t, b.db).Count(1, `SELECT count(*) FROM access_proposals WHERE body <> ''`); n != 0 {
		t.Error("the secret is stored with the proposal")
	}
	at := "proposals/" + p.ID
	b.send("PUT", secretPath, b.ada, secretBody, p.ID, http.StatusConflict, "approval.waiting")
	b.send("POST", at+"/approve", b.ada, "", "", http.StatusConflict, "approval.same_person")
	key := b.key1(b.ada)
	b.send("POST", at+"/approve", key, "", "", http.StatusConflict, "approval.same_person")
	if w := b.call("GET", "/v1/tenants/2/"+at, b.token(t, 2, edge.ScopeAdmin), ""); code(w) != "approval.not_found" {
		t.Errorf("another tenant: %d %s", w.Code, w.Body)
	}
	b.send("POST", at+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("PUT", secretPath, b.bea, secretBody, p.ID, http.StatusConflict, "approval.not_proposer")
	b.send("PUT", secretPath, b.ada, ` { "value" : "c2VjcmV0IG9mIGEgcHJvdmlkZXI=" } `, p.ID, http.StatusOK, "")
	b.send("PUT", secretPath, b.ada, secretBody, p.ID, http.StatusConflict, "approval.executed")
	if n := b.secrets.Load(); n != 1 {
		t.Errorf("it was put %d times", n)
	}
	rows := pgtest.Owner(t, b.db).Rows(1, `SELECT actor, after->>'second' FROM audit_log WHERE verb = 'approval.execute'`)
	if len(rows) != 1 || rows[0][0] != "user:ada" || rows[0][1] != "user:bea" {
		t.Errorf("audit: %v", rows)
	}

	// By a key, for another value, and void by another body.
	p = b.send("PUT", secretPath, key, `{"value":"YQ=="}`, "", http.StatusAccepted, "")
	at = "proposals/" + p.ID
	b.send("POST", at+"/approve", b.ada, "", "", http.StatusConflict, "approval.same_person")
	b.send("POST", at+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("PUT", secretPath, key, `{"value":"Yg=="}`, p.ID, http.StatusConflict, "approval.content_changed")
	b.send("PUT", secretPath, key, `{"value":"YQ=="}`, p.ID, http.StatusConflict, "approval.over")
	if n := b.secrets.Load(); n != 1 {
		t.Errorf("it was put %d times", n)
	}
	// Refused by the operation: it may be sent again.
	p = b.send("PUT", "contracts/broken/secrets/token", b.ada, secretBody, "", http.StatusAccepted, "")
	b.send("POST", "proposals/"+p.ID+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("PUT", "contracts/broken/secrets/token", b.ada, secretBody, p.ID, 422, "test.wrong")
	b.send("PUT", "contracts/broken/secrets/token", b.ada, secretBody, p.ID, 422, "test.wrong")
	b.send("POST", "proposals/"+p.ID+"/refuse", b.bea, "", "", http.StatusOK, "")
	b.send("PUT", "contracts/broken/secrets/token", b.ada, secretBody, p.ID, http.StatusConflict, "approval.over")
	if got := b.call("GET", "/v1/tenants/1/proposals?state=refused", b.ada, "").Body.String(); !strings.Contains(got, p.ID) || strings.Contains(got, "c2VjcmV0") {
		t.Errorf("listed: %s", got)
	}
}

// key1 gives the text of an API key of whoever asks.
func (b *proposalBench) key1(token string) string {
	b.t.Helper()
	w := b.call("POST", "/v1/tenants/1/api-keys", token, `{"name":"x","scopes":["provider.*","approval.*"],"days":7}`, "Idempotency-Key", "key1")
	var k edge.NewAPIKey
	if err := json.Unmarshal(w.Body.Bytes(), &k); err != nil || k.Key == "" {
		b.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return k.Key
}

// The setting is raised by one person and lowered by two.
func TestTheApprovalSetting(t *testing.T) {
	b := newProposals(t)
	b.send("PUT", "approval-settings", b.ada, `{"two_person":["provider_credential","key_revocation","policy_publish"]}`, "", http.StatusOK, "")
	const less = `{"two_person":["policy_publish"]}`
	p := b.send("PUT", "approval-settings", b.ada, less, "", http.StatusAccepted, "")
	b.send("PUT", "approval-settings", b.ada, less, p.ID, http.StatusConflict, "approval.waiting")
	if got := b.call("GET", "/v1/tenants/1/approval-settings", b.ada, "").Body.String(); !strings.Contains(got, "key_revocation") {
		t.Errorf("one person lowered it: %s", got)
	}
	b.send("POST", "proposals/"+p.ID+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("PUT", "approval-settings", b.ada, less, p.ID, http.StatusOK, "")
	b.send("PUT", secretPath, b.ada, secretBody, "", http.StatusOK, "")
	p = b.send("POST", "policies", b.ada, `{"source":"x"}`, "", http.StatusAccepted, "")
	if p.Body == "" || p.Content == "" {
		t.Errorf("what is to be approved is not shown: %+v", p)
	}
	b.send("POST", "proposals/"+p.ID+"/withdraw", b.bea, "", "", http.StatusConflict, "approval.not_proposer")
	b.send("POST", "proposals/"+p.ID+"/withdraw", b.ada, "", "", http.StatusOK, "")
	b.send("POST", "policies", b.token0(), `{"source":"x"}`, "", http.StatusAccepted, "") // the platform's people too
}

func (b *proposalBench) token0() string {
	return b.tokenOf(b.t, edge.Caller{Subject: "user:root", Scopes: []string{edge.ScopePlatform}})
}

func (b *testBench) tokenOf(t *testing.T, c edge.Caller) string {
	t.Helper()
	token, err := b.tokens.Mint(t.Context(), c, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// What money and trust hang on is proposed by one and
// approved by another: to release a payout, to revoke a signing key, to publish
// prices, to say to which account a payee is paid. The content of a release is
// what it releases.
func TestWhatHangsOnTwoPersons(t *testing.T) {
	b := newProposals(t)
	var released atomic.Int64
	b.Payouts.Release = func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, r edge.ReleasePayout) (edge.Payout, error) {
		return edge.Payout{ID: id.Text("pay_"), State: "created", Window: "2026-11-20"}, b.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.release", Object: id.String(), After: r})
			if err == nil {
				released.Add(1)
			}
			return err
		})
	}
	if err := b.Access.SetTwoPerson(t.Context(), "test", 1, []string{"key_revocation", "payout_release", "policy_publish", "provider_credential"}, true); err != nil {
		t.Fatal(err)
	}
	const at, body = "payouts/pay_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c/release", `{"amount":{"minor":125000,"currency":"CNY"},"payee":"metro"}`
	for path, c := range map[string]struct{ method, body, kind string }{
		"keys/credential/2/revoke": {"POST", `{"reason":"stolen"}`, "key_revocation"},
		"tariffs/2":                {"PUT", `{"from":"2026-03-03T00:00:00Z","tariff":{}}`, "policy_publish"},
		"payees":                   {"POST", `{"payees":[{"id":"metro","kind":"operator","name":"Metro","account":"OTHER-1"}]}`, "payout_release"},
		at:                         {"POST", body, "payout_release"},
	} {
		if p := b.send(c.method, path, b.ada, c.body, "", http.StatusAccepted, ""); p.Kind != c.kind || p.Body == "" {
			t.Errorf("%s: %+v", path, p)
		}
	}
	p := b.send("POST", at, b.ada, body, "", http.StatusAccepted, "")
	b.send("POST", "proposals/"+p.ID+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("POST", at, b.ada, strings.Replace(body, "125000", "925000", 1), p.ID, http.StatusConflict, "approval.content_changed")
	b.send("POST", at, b.ada, body, p.ID, http.StatusConflict, "approval.over")

	// The answer is lost, and instances race: it is released once.
	p = b.send("POST", at, b.ada, body, "", http.StatusAccepted, "")
	b.send("POST", "proposals/"+p.ID+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("POST", at, b.ada, body, p.ID, http.StatusOK, "")
	for range 3 {
		b.send("POST", at, b.ada, body, p.ID, http.StatusConflict, "approval.executed")
	}
	if n := released.Load(); n != 1 {
		t.Errorf("released %d times", n)
	}
	rows := pgtest.Owner(t, b.db).Rows(1, `SELECT actor, after->>'second' FROM audit_log WHERE verb = 'approval.execute'`)
	if len(rows) != 1 || rows[0][0] != "user:ada" || rows[0][1] != "user:bea" {
		t.Errorf("audit: %v", rows)
	}
}

// Stricter payout rules take one person, laxer ones two.
func TestPayoutRulesAreLoosenedByTwo(t *testing.T) {
	b := newProposals(t)
	manual := false
	b.Payouts.Loosens = func(_ context.Context, _ citygate.TenantID, r edge.PayoutRules) (bool, error) {
		return manual && !r.Manual, nil
	}
	b.Payouts.SetRules = func(_ context.Context, _ string, _ citygate.TenantID, r edge.PayoutRules, loosen bool) (edge.PayoutRules, error) {
		if manual && !r.Manual && !loosen {
			t.Error("it is loosened without saying so")
		}
		manual = r.Manual
		return r, nil
	}
	if err := b.Access.SetTwoPerson(t.Context(), "test", 1, []string{"payout_release"}, true); err != nil {
		t.Fatal(err)
	}
	b.send("PUT", "payout-rules", b.ada, `{"manual":true}`, "", http.StatusOK, "")
	p := b.send("PUT", "payout-rules", b.ada, `{"manual":false}`, "", http.StatusAccepted, "")
	if !manual {
		t.Error("one person loosened them")
	}
	b.send("POST", "proposals/"+p.ID+"/approve", b.bea, "", "", http.StatusOK, "")
	b.send("PUT", "payout-rules", b.ada, `{"manual":false}`, p.ID, http.StatusOK, "")
	if manual {
		t.Error("two persons did not loosen them")
	}
}
