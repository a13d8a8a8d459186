package gateway

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/edge"
)

// Who changed what is listed with what it was before, sealed soon, and holds.
func TestAuditByTheAPI(t *testing.T) {
	o := open(t)
	o.onboard()
	o.validator()
	o.send(http.MethodPut, busPath("terminals/1/state"), edge.TerminalState{State: "suspended"}, nil)
	found := list[edge.AuditEntry](o, "audit?object=terminal:1&verb=terminal.suspended")
	if len(found) == 0 || found[0].Actor != byPlatform || string(found[0].Before) == "" || string(found[0].After) == "" {
		t.Fatalf("%+v", found)
	}
	o.must(o.SealSoon(t.Context()))
	o.must(o.Drain(t.Context()))
	o.must(o.SealSoon(t.Context())) // the rows that making the key added
	o.must(o.Drain(t.Context()))
	sealed := list[edge.AuditEntry](o, "audit?limit=1")
	seals := list[edge.AuditCheckpoint](o, "audit/checkpoints")
	if len(sealed) != 1 || sealed[0].Seq == 0 || len(seals) == 0 || seals[len(seals)-1].Seq < sealed[0].Seq {
		t.Errorf("sealed %+v by %+v", sealed, seals)
	}
	all := walk(o, "audit", 2, func(e edge.AuditEntry) string { return e.ID })
	if len(all) < 5 {
		t.Errorf("%d entries", len(all))
	}
	if got := walk(o, "audit/checkpoints", 1, func(c edge.AuditCheckpoint) string { return fmt.Sprint(c.N) }); len(got) != len(seals) {
		t.Errorf("%d checkpoints one by one, %d at once", len(got), len(seals))
	}
	report, err := o.VerifyAudit(t.Context(), nil, nil)
	o.must(err)
	if !report.OK() || report.Waiting != 0 || report.Logs != 2 {
		t.Errorf("%+v", report)
	}
	var platform struct{ Items []edge.AuditEntry }
	o.send(http.MethodGet, "/v1/audit?verb=tenant.", nil, &platform)
	if len(platform.Items) == 0 {
		t.Error("the platform's log has no tenant.create")
	}
	var err2 error
	o.token, err2 = o.Tokens.Mint(t.Context(), edge.Caller{Subject: "user:bus", Tenant: bus, Scopes: []string{edge.ScopeRead, edge.ScopeAdmin}}, time.Hour)
	o.must(err2)
	for _, path := range []string{"/v1/audit", "/v1/audit/checkpoints"} {
		if got := o.refused(http.MethodGet, path, nil); got != "auth.forbidden" {
			t.Errorf("%s for a tenant: %s", path, got)
		}
	}
}

// A process that ends seals what it added; the next one has nothing to do.
func TestClosingSealsTheAuditLog(t *testing.T) {
	o := open(t)
	o.onboard()
	o.sealLast(t.Context())
	report, err := o.VerifyAudit(t.Context(), nil, nil)
	o.must(err)
	if !report.OK() || report.Waiting != 0 || report.Rows == 0 {
		t.Errorf("%+v", report)
	}
	if n := o.owner.Count(bus, `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND seq IS NULL`, int64(bus)); n != 0 {
		t.Errorf("%d rows wait", n)
	}
	if len(o.audited.take()) != 0 {
		t.Error("something is left to seal")
	}
}
