package edge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/roaming"
)

// unaudited are tables whose rows nobody's decision changes: what is kept to answer
// and to log, and what waits for a device.
var unaudited = map[string]bool{"audit_log": true, "platform.audit_log": true, "idempotency_keys": true, "platform.idempotency_keys": true, "device_challenges": true, "rider_proofs": true}

// logged counts a tenant's audit rows, and those of the platform.
func (w *world) logged(p *party) int64 {
	return w.audit.Count(0, `SELECT (SELECT count(*) FROM audit_log WHERE tenant_id = $1) + (SELECT count(*) FROM platform.audit_log)`, p.id)
}

// left tells in which tables of a tenant's run changed rows, and whether an audit
// row tells of it.
func (w *world) left(p *party, run func()) (tables []string, told bool) {
	was, before := w.rowsAround(p), w.logged(p)
	run()
	told = w.logged(p) > before
	for table, rows := range w.rowsAround(p) {
		if !unaudited[table] && was[table] != rows {
			tables = append(tables, table)
		}
	}
	return tables, told
}

// rowsAround gives a tenant's rows, and the terms it shares with another.
func (w *world) rowsAround(p *party) map[string]string {
	all := w.rowsOf(p.id)
	for _, row := range w.super.Rows(0, `SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM platform.roaming_terms AS t WHERE $1 IN (issuer_id, host_id)`, p.id) {
		all["platform.roaming_terms"], _ = row[0].(string)
	}
	for _, row := range w.super.Rows(0, `SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM platform.fare_members AS t WHERE $1 IN (authority_id, operator_id)`, p.id) {
		all["platform.fare_members"], _ = row[0].(string)
	}
	return all
}

// audited sends a request of a route, and holds that it left an audit row if it
// changed any row of the tenant's.
func (w *world) audited(t *testing.T, p *party, token string, c call) (rec *httptest.ResponseRecorder) {
	t.Helper()
	send := func() {
		rec = w.ask(token, c.method, c.url(), "application/json", c.raw())
		if c.op == "sell-product" || c.op == "refund-sale" { // they wake a job, whose changes are theirs
			w.must(w.Drain(t.Context()))
		}
	}
	if c.method == http.MethodGet {
		send()
		return rec
	}
	tables, told := w.left(p, send)
	if len(tables) > 0 {
		w.changed[c.op] = true
	}
	if len(tables) > 0 && !told {
		t.Errorf("%s changed %v and left no audit row", c.op, tables)
	}
	return rec
}

// notHere are unsafe operations that change no row of the tenants of a world, and why.
var notHere = map[string]string{
	"check-policy":        "it changes nothing",
	"simulate-tariff":     "it changes nothing",
	"replay-policy":       "it changes nothing",
	"explain-access":      "it changes nothing",
	"inspect":             "it changes nothing",
	"rider-challenge":     "it keeps nothing but what a device is to sign",
	"challenge-device":    "it keeps nothing but what a device is to sign",
	"activate-key":        "a reader that rides holds the next key up, which is asked for by hand in rotate_test.go",
	"rotate-key":          "the next key is announced when a key is made, and is there: rotate_test.go",
	"code-batch":          "it takes a wallet without a key: issuance's batch_test.go",
	"revoke-code-batch":   "likewise",
	"find-device":         "it takes a device that was lost: issuance's office_test.go",
	"put-concession":      "the policy of the world has none: issuance's office_test.go",
	"put-acceptance":      "a tenant with a rule set has no plain fields: policies' sets_test.go",
	"open-agreement":      "it takes a product with agreements: gateway/agreements_test.go",
	"ask-agreement":       "likewise",
	"ask-payer":           "it takes a product that says how payers stand: gateway/ridercheck_test.go",
	"end-agreement":       "likewise",
	"add-wallet-card":     "it takes a product with wallets: gateway/cards_test.go",
	"pay-at-till":         "it takes a contract that collects by payment codes: gateway's till_test.go",
	"cancel-till-payment": "likewise",
	"refund-till-payment": "likewise",
	"release-payout":      "it takes a payout that is held: settle's tests",
	"cancel-payout":       "likewise",
	"redirect-payout":     "likewise",

	"propose-fare-member": "the tenants of the world are no authorities; its authority proposes below, by the vertical",

	"retry-debts":           "it takes an account that owes: collect's tests",
	"write-off-debt":        "it takes a debt: gateway's tests",
	"dispute-liability":     "it takes a debt that others bear: collect's dispute_test.go",
	"record-bearer-payment": "likewise",
	"collect-written-off":   "it takes a debt that was written off: gateway's tests",
}

// changes are requests that change something, for operations whose sample does not.
func (w *world) changes(p *party) []call {
	ctx := w.t.Context()
	fresh := w.credential(p, "fresh", "fresh")
	tariff, err := flatTariff(w, 3).Encode()
	w.must(err)
	proposal := func(by, path string) string {
		q, err := w.Access.Propose(ctx, edge.Caller{Subject: by, Tenant: p.id}, p.id, access.Content{Kind: access.PolicyPublish, Operation: "publish-policy", Method: "POST", Path: path})
		w.must(err)
		return q.ID.Text(access.ProposalPrefix)
	}
	_, err = w.ProposeRoaming(ctx, worldActor, quietTenant, roaming.Pair{Host: quietTenant, Issuer: p.id}, roaming.Terms{Uncollected: roaming.ByHost}, time.Time{})
	w.must(err)
	_, _ = w.Pricing.EndMember(ctx, worldActor, p.id, p.id, time.Time{}) // a proposal of the world's
	w.micro.Add((2 * time.Minute).Microseconds())                        // an agreed one ends with the minute
	member, err := w.Pricing.ProposeMember(ctx, worldActor, p.parent, p.id, p.slug, time.Time{})
	w.must(err)
	var challenge struct{ Challenge []byte }
	w.send(http.MethodPost, p.path("device-challenges"), nil, &challenge)
	device := edge.RegisterDevice{Kind: "phone", Contract: "pay-" + p.slug, RiderRef: "another phone", Vouched: true, Suite: ct1.SuiteEd25519, PublicKey: publicKey("another"), Challenge: challenge.Challenge}
	device.Signature = deviceSign("another", issuance.Proof(p.id, device.Challenge, device.PublicKey))
	type o = map[string]any
	rider := fmt.Sprintf("%d/%d/%d", p.issuer, fresh.List, fresh.Index)
	var right edge.Given
	w.send(http.MethodPost, p.path("rights"), edge.GiveRight{Rider: rider, Product: "staff", Evidence: "to be ended"}, &right)
	shop := o{"version": 2, "currency": "CNY", "products": []o{}}
	sandbox := o{"fee_ppm": 6000, "utc_offset_minutes": 480, "bill_delay_minutes": 540, "poll_seconds": 60}
	return append(w.platformChanges(), []call{
		{op: "publish-tariff", method: "PUT", path: p.path("tariffs/3"), body: edge.Tariff{From: w.now().Add(24 * time.Hour), Tariff: tariff}},
		{op: "publish-catalogue", method: "POST", path: p.path("product-catalogues"), body: o{"from": w.now().Add(24 * time.Hour), "catalogue": shop}},
		{op: "give-right", method: "POST", path: p.path("rights"), body: edge.GiveRight{Rider: rider, Product: "staff", Evidence: "given"}},
		{op: "end-right", method: "DELETE", path: p.path("rights/%s", right.ID)},
		{op: "sell-product", method: "POST", path: p.path("sales"), body: o{"rider": rider, "product": "two", "order": "second"}},
		{op: "put-quota", method: "PUT", path: p.path("quota"), body: o{"reads": o{"per_second": 77, "burst": 99}}},
		{op: "put-retention", method: "PUT", path: p.path("retention"), body: o{"keep_days": 200, "automatic": true}},
		{op: "add-calendar", method: "POST", path: p.path("calendars"), body: o{"version": 2, "from": "2027-06-01", "time_zone": "Asia/Shanghai", "cut_minutes": 180}},
		{op: "publish-journey-rules", method: "POST", path: p.path("journey-rules"), body: o{"from": w.now().Add(24 * time.Hour), "rules": worldJourneyRules}},
		{op: "restore-tariff", method: "POST", path: p.path("tariffs/1/restore"), body: o{"from": w.now().Add(23 * time.Hour), "withdraw_later": true}},
		{op: "publish-risk-terms", method: "POST", path: p.path("risk-terms"), body: o{"from": w.now().Add(24 * time.Hour), "terms": o{"version": 1, "contracts": []any{}}}},
		{op: "put-code-scheme", method: "PUT", path: p.path("code-schemes/token-defer"), body: o{"params": o{"issuer": p.issuer}, "operators": []int64{int64(quietTenant)}}},
		{op: "take-provider-keys", method: "POST", path: p.path("contracts/%s/keys/take", p.has["contract"]), body: o{"reason": "by letter"}},
		{op: "put-contract", method: "PUT", path: p.path("contracts/other"), body: o{"adapter": "sandbox", "config": sandbox, "fee_ppm": 6000}},
		{op: "lock-wallet-card", method: "POST", path: p.path("wallet-cards/%s/lock", p.has["wallet card"]), body: o{"why": "revoked"}},
		{op: "unlock-wallet-card", method: "POST", path: p.path("wallet-cards/%s/unlock", p.has["wallet card"])},
		{op: "put-payer", method: "PUT", path: p.path("accounts/%s/payers/other", fresh.Account), body: o{"rider_ref": "fresh-other"}},
		{op: "put-issuer", method: "PUT", path: p.path("issuers/other"), body: o{"url": "https://id.example/other", "client_id": "gateway"}},
		{op: "remove-issuer", method: "DELETE", path: p.path("issuers/other")},
		{op: "refuse-proposal", method: "POST", path: p.path("proposals/%s/refuse", proposal(worldActor, "/a"))},
		{op: "withdraw-proposal", method: "POST", path: p.path("proposals/%s/withdraw", proposal("user:own", "/b"))},
		{op: "set-terminal-profile", method: "PUT", path: p.path("terminals/%s/profile", p.has["terminal"]), body: o{"max_fare_minor": 500}},
		{op: "set-terminal-state", method: "PUT", path: p.path("terminals/%s/state", p.has["terminal"]), body: o{"state": "suspended"}},
		{op: "deny-credential", method: "POST", path: p.path("denials"), body: o{"list": fresh.List, "index": fresh.Index, "reason": "lost"}},
		{op: "ensure-key", method: "PUT", path: p.path("keys/webhook"), body: o{"algorithm": "ed25519"}},
		{op: "add-settlement-terms", method: "POST", path: p.path("settlement-terms"), body: o{"version": 1, "from": "2026-12-24", "close_after_minutes": 60, "pay_after_minutes": 600}},
		{op: "agree-roaming", method: "POST", path: p.path("roaming/agree"), body: o{"partner": int64(quietTenant), "role": "issuer", "version": 1}},
		{op: "propose-roaming", method: "POST", path: p.path("roaming"), body: o{"partner": int64(quietTenant), "role": "host", "terms": o{"uncollected": "host"}}},
		{op: "end-roaming", method: "POST", path: p.path("roaming/end"), body: o{"partner": int64(quietTenant), "role": "host"}},
		{op: "agree-fare-member", method: "POST", path: p.path("fare-members/agree"), body: o{"version": member.Version}},
		{op: "end-fare-member", method: "POST", path: p.path("fare-members/end"), body: o{"operator": int64(p.id)}},
		{op: "publish-policy", method: "POST", path: p.path("policies"), body: edge.PublishPolicy{Source: strings.Replace(worldRules, "skew_seconds: 30", "skew_seconds: 31", 1)}},
		{op: "put-payees", method: "POST", path: p.path("payees"), body: o{"payees": []o{{"id": "d-9", "kind": "driver", "name": "Driver", "account": "ACCOUNT-9", "bank_id": "BANK"}}}},
		{op: "put-payout-rules", method: "PUT", path: p.path("payout-rules"), body: o{"manual": true}},
		{op: "enrol-terminal", method: "POST", path: p.path("terminals"), body: edge.EnrolTerminal{ID: 790001, Name: "second", PublicKey: publicKey("second"), Kind: "validator"}},
		{op: "create-pairing-code", method: "POST", path: p.path("pairing-codes"), body: o{"name": "third", "kind": "validator"}},
		{op: "register-device", method: "POST", path: p.path("devices"), body: device},
		{op: "register-foreign-riders", method: "POST", path: p.path("foreign-riders"), body: o{"requests": []edge.RegisterForeign{{
			Scheme: "token-defer", Code: []byte("TKN1:palm-co:rkSKyGxOjk3sZFcpcI70GA"), Contract: "pay-" + p.slug, RiderRef: "foreign",
		}}}},
		{op: "put-served", method: "PUT", path: p.path("serves"), body: o{"authorities": []int64{int64(foreignTenant)}}},
		{op: "put-tenant", method: "PUT", path: fmt.Sprintf("/v1/tenants/%d", newTenant), body: edge.TenantDocument{
			Slug: "new-bus", Name: "New", Kind: "bus", Mode: "sandbox", Currency: "CNY", TimeZone: "Asia/Shanghai",
		}},
		{op: "set-clock", method: "PUT", path: p.path("clock"), body: o{"now": w.now().Add(30 * 24 * time.Hour)}},
		{op: "set-tenant-state", method: "PUT", path: p.path("state"), body: o{"state": "suspended"}},
	}...)
}

// platformChanges are the requests that change something of the platform's people,
// sent by worldActor.
func (w *world) platformChanges() []call {
	ctx := w.t.Context()
	proposal := func(by, path string) string {
		q, err := w.Access.Propose(ctx, edge.Caller{Subject: by}, 0, access.Content{Kind: access.TenantState, Operation: "set-tenant-state", Method: "PUT", Path: path})
		w.must(err)
		return "/v1/platform/proposals/" + q.ID.Text(access.ProposalPrefix)
	}
	k, _, err := w.Access.CreateKey(ctx, worldActor, 0, "platform:rita", "old", []string{"platform.read"}, time.Hour)
	w.must(err)
	type o = map[string]any
	return []call{
		{op: "add-platform-member", method: "POST", path: "/v1/platform/members", body: o{"external": "new", "roles": []string{"platform_auditor"}}},
		{op: "put-platform-member", method: "PUT", path: "/v1/platform/members/platform:new", body: o{"name": "New", "roles": []string{"platform_auditor"}}},
		{op: "remove-platform-member", method: "DELETE", path: "/v1/platform/members/platform:new"},
		{op: "create-platform-api-key", method: "POST", path: "/v1/platform/api-keys", body: o{"name": "x", "owner": "platform:rita", "scopes": []string{"platform.read"}, "days": 7}},
		{op: "revoke-platform-api-key", method: "POST", path: "/v1/platform/api-keys/" + k.ID.Text("key_") + "/revoke"},
		{op: "put-platform-issuer", method: "PUT", path: "/v1/platform/issuers/other", body: o{"url": "https://id.example/other", "client_id": "gateway"}},
		{op: "remove-platform-issuer", method: "DELETE", path: "/v1/platform/issuers/other"},
		{op: "revoke-platform-tokens", method: "POST", path: "/v1/platform/token-revocations", body: o{"subject": "platform:somebody"}},
		{op: "approve-platform-proposal", method: "POST", path: proposal("platform:x", "/a") + "/approve"},
		{op: "refuse-platform-proposal", method: "POST", path: proposal("platform:x", "/b") + "/refuse"},
		{op: "withdraw-platform-proposal", method: "POST", path: proposal(worldActor, "/c") + "/withdraw"},
		{op: "put-platform-approval-settings", method: "PUT", path: "/v1/platform/approval-settings", body: o{"two_person": []string{"key_revocation"}}},
	}
}

const newTenant = citygate.TenantID(1950)

// everyChange holds that every unsafe operation was seen to change something, and
// to leave an audit row then, or is one of notHere.
func (w *world) everyChange(t *testing.T, p *party) {
	own := w.mint(edge.Caller{Subject: "user:own", Tenant: p.id, Scopes: []string{edge.ScopeAdmin}})
	routes := map[string]edge.Route{}
	for _, r := range w.tokenRoutes() {
		routes[r.Operation.OperationID] = r
	}
	for _, c := range w.changes(p) {
		if w.changed[c.op] {
			continue
		}
		token, whose := own, p
		if of := routes[c.op].Needs.Resource; of == "platform" || of == "quota" {
			token = w.root
		}
		switch {
		case c.op == "put-tenant":
			whose = &party{id: newTenant}
		case strings.HasPrefix(c.path, "/v1/platform/"):
			whose = &party{}
		}
		if rec := w.audited(t, whose, token, c); !w.changed[c.op] {
			t.Errorf("%s %s changed nothing: %d %s", c.op, c.path, rec.Code, rec.Body)
		}
	}
	if tables, told := w.left(p, func() { w.owner.Exec(p.id, `UPDATE payees SET name = 'Somebody' WHERE tenant_id = $1`, p.id) }); len(tables) == 0 || told {
		t.Errorf("a change that nobody tells of is not found: %v, %t", tables, told)
	}
	for op, r := range routes {
		switch _, excused := notHere[op]; {
		case r.Operation.Method == http.MethodGet:
		case excused && w.changed[op]:
			t.Errorf("%s changes something: take it out of notHere", op)
		case !excused && !w.changed[op]:
			t.Errorf("no request of this test has %s change anything: add one to changes", op)
		}
	}
}
