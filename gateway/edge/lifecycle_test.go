package edge_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
)

// What each state of a tenant refuses is refused by every route that is part of
// it, to whoever asks, before anything is looked up; and nothing is changed. The
// table for people ("citygate tenant state --help") is what is asked here.
func TestEachStateRefuses(t *testing.T) {
	w := newWorld(t)
	p := &party{id: quietTenant, issuer: 7, slug: "quiet-bus"}
	w.operator(p)
	has := maps.Clone(nobodys)
	maps.Copy(has, p.has)
	refused := map[tenants.State]int{}
	for _, state := range []tenants.State{tenants.Draft, tenants.Suspended, tenants.Closing, tenants.Closed} {
		w.owner.Exec(0, `UPDATE platform.tenants SET state = $1 WHERE tenant_id = $2`, string(state), p.id)
		w.Tenants.Forget()
		was := w.rowsOf(p.id)
		for _, r := range w.edge.DocumentedRoutes() {
			op := r.Operation
			of, listed := edge.ActivitiesOf(op.OperationID)
			if op.Method == http.MethodGet || !strings.Contains(op.Path, "{tenant}") {
				if listed {
					t.Errorf("%s changes nothing in a tenant: take it out of activities", op.OperationID)
				}
				continue
			}
			if len(of) == 0 || slices.ContainsFunc(of, state.Allows) {
				continue
			}
			refused[state]++
			c, _ := sample(w.edge.OpenAPI(), r, p.id, has)
			token := w.root
			if r.Class == "proof" {
				token = ""
			}
			if rec := w.ask(token, c.method, c.url(), "application/json", c.raw()); code(rec) != "tenant.state" || rec.Code != http.StatusConflict {
				t.Errorf("%s of a tenant that is %s: %d %s", op.OperationID, state, rec.Code, rec.Body)
			}
		}
		for table, rows := range w.rowsOf(p.id) {
			if was[table] != rows && !unaudited[table] {
				t.Errorf("what a tenant that is %s refuses changed %s", state, table)
			}
		}
	}
	if refused[tenants.Closed] < 50 || refused[tenants.Closing] < 40 || refused[tenants.Suspended] < 20 || refused[tenants.Draft] < 20 {
		t.Errorf("refused are %v operations", refused)
	}
}
