package edge_test

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/roaming"
)

// Refusals that are a matter of one request, as the API answers them.
func TestRefusalsHaveTheirCodes(t *testing.T) {
	w := newWorld(t)
	bus := &party{id: quietTenant, issuer: 7, slug: "quiet-bus"}
	w.operator(bus)
	w.authority(foreignTenant, "foreign-authority") // it issues no codes
	const liveTenant = citygate.TenantID(1910)
	w.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", liveTenant), edge.TenantDocument{
		Slug: "live-bus", Name: "Live", Kind: "bus", Mode: "live", Issuer: 11, Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240, CapUnit: 100,
	}, nil)
	account := w.credential(bus, "rider", "phone").Account
	foreign := fmt.Sprintf("/v1/tenants/%d/", foreignTenant)
	rider := func(scheme string, code []byte) map[string]any {
		return map[string]any{"requests": []edge.RegisterForeign{{Scheme: scheme, Code: code, Contract: "pay-quiet-bus", RiderRef: "somebody"}}}
	}
	terms := func(partner citygate.TenantID, role string) map[string]any {
		return map[string]any{"partner": partner, "role": role, "terms": map[string]any{"uncollected": "host"}}
	}
	proposes := func(*testing.T) { // by the vertical: a route of a live tenant asks for a second person
		_, err := w.ProposeRoaming(t.Context(), worldActor, liveTenant, roaming.Pair{Host: liveTenant, Issuer: quietTenant}, roaming.Terms{Uncollected: roaming.ByHost}, time.Time{})
		w.must(err)
	}
	bind := map[string]any{"params": map[string]any{"issuer": 7}}
	for _, c := range []struct {
		code, method, path string
		body               any
		before             func(*testing.T)
		status             int
	}{
		{"settle.no_file", "GET", bus.path("payout-files/none.csv"), nil, nil, 404},
		{"recon.bad_id", "GET", bus.path("reconciliation?cursor=%s", edge.CursorOf(&url.URL{Path: bus.path("reconciliation")}, 0, "row")), nil, nil, 422},
		{"request.method", "DELETE", bus.path("balances"), nil, nil, 405},
		{"request.invalid", "GET", bus.path("charges?stat=open"), nil, nil, 422}, // and not all of them, as if nothing had been asked
		{"pricing.no_tariff", "GET", bus.path("tariffs/9"), nil, nil, 404},
		{"collect.secret", "PUT", bus.path("contracts/nobody/secrets/token"), map[string]any{"value": []byte("x")}, nil, 422},
		{"collect.payer", "PUT", bus.path("accounts/%s/payers/pay-quiet-bus", account), map[string]any{"rider_ref": "somebody else"}, nil, 409},
		{"foreign.no_scheme", "POST", bus.path("foreign-riders"), rider("token-defer", []byte("code")), nil, 409},
		{"foreign.code", "POST", bus.path("foreign-riders"), rider("token-defer", []byte("code")), func(*testing.T) {
			w.send(http.MethodPut, bus.path("code-schemes/token-defer"), bind, nil)
		}, 422},
		{"foreign.full", "POST", bus.path("foreign-riders"), rider("token-defer", []byte("TKN1:palm-co:rkSKyGxOjk3sZFcpcI70GA")), func(*testing.T) {
			w.owner.Exec(quietTenant, `INSERT INTO foreign_lists (tenant_id, list, riders) VALUES ($1, $2, $3)`, quietTenant, int32(citygate.ForeignLists), int64(math.MaxUint32))
		}, 500},
		{"foreign.no_issuer", "POST", foreign + "foreign-riders", rider("token-defer", []byte("code")), nil, 409},
		{"roaming.no_issuer", "POST", foreign + "roaming", terms(quietTenant, "issuer"), nil, 409},
		{"roaming.mode", "POST", bus.path("roaming/agree"), map[string]any{"partner": liveTenant, "role": "issuer", "version": 1}, proposes, 409},
	} {
		t.Run(c.code, func(t *testing.T) {
			if c.before != nil {
				c.before(t)
			}
			var raw []byte
			if c.body != nil {
				raw = mustJSON(t, c.body)
			}
			rec := w.ask(w.root, c.method, c.path, "application/json", raw)
			if rec.Code != c.status || code(rec) != c.code {
				t.Errorf("%s %s: %d %s", c.method, c.path, rec.Code, rec.Body)
			}
		})
	}
}
