package edge_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
)

func (w *world) redeem(tenant citygate.TenantID, code, device string) (status int, answer string) {
	message, _ := fleet.PairingProof(tenant, code, publicKey(device))
	raw, err := json.Marshal(edge.RedeemPairing{Code: code, PublicKey: publicKey(device), Signature: ed25519.Sign(deviceKey(device), message)})
	w.must(err)
	rec := w.ask("", http.MethodPost, fmt.Sprintf("/v1/tenants/%d/paired-terminals", tenant), "application/json", raw)
	return rec.Code, canonical(rec, nil)
}

// pairing holds that whoever is nobody learns nothing from a code of a tenant:
// whatever is wrong answers the same bytes, also for a tenant that is none.
func (w *world) pairing(t *testing.T, quiet, busy *party) {
	was := w.rowsOf(busy.id)
	code := busy.has["used pairing code"]
	var answers []string
	for what, asked := range map[string]struct {
		tenant citygate.TenantID
		code   string
	}{
		"another tenant's code":          {quiet.id, code},
		"a code of nobody":               {busy.id, "0000-0000-0000"},
		"no code":                        {busy.id, "hello"},
		"a tenant that does not exist":   {noTenant, code},
		"a tenant that has never paired": {foreignTenant, "0000-0000-0000"},
	} {
		status, answer := w.redeem(asked.tenant, asked.code, "stranger")
		if status != http.StatusUnauthorized {
			t.Errorf("%s: %s", what, answer)
		}
		answers = append(answers, answer)
	}
	if slices.Sort(answers); answers[0] != answers[len(answers)-1] {
		t.Errorf("the refusals differ:\n%s\n%s", answers[0], answers[len(answers)-1])
	}
	for table, rows := range w.rowsOf(busy.id) {
		if was[table] != rows {
			t.Errorf("being refused changed %s", table)
		}
	}
	if status, answer := w.redeem(busy.id, code, "gate of "+busy.slug); status != http.StatusOK {
		t.Errorf("the device that it is for: %s", answer)
	}
	if n := w.audit.Count(busy.id, `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND actor = 'pairing:`+busy.has["used pairing"]+`/`+worldActor+`'`, busy.id); n != 1 {
		t.Errorf("the enrolment is audited %d times", n)
	}
}

// Codes are guessed at the rate of sign-ins from one address, and no faster.
func TestPairingIsLimited(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{SignIns: edge.Rate{PerSecond: 1, Burst: 3}}, func(v *edge.Verticals) {
		v.Pairings.Redeem = func(context.Context, citygate.TenantID, edge.RedeemPairing) (edge.PairedTerminal, error) {
			return edge.PairedTerminal{}, fleet.ErrPairing
		}
	})
	for i := range 4 {
		w := b.call("POST", "/v1/tenants/1/paired-terminals", "", `{"code":"0000-0000-0000","public_key":"","signature":""}`)
		if limited := code(w) == "limit.rate"; limited != (i == 3) {
			t.Errorf("try %d: %d %s", i+1, w.Code, w.Body)
		}
	}
}
