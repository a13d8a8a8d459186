package gateway

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// A rider with a debt comes to a reader, which refuses the code as denied. The
// refused tap has the debt tried again, the provider approves, the next deny list
// lets the rider in. An inspector's question does the same.
func TestADeniedRiderWhoTapsIsLetInAgain(t *testing.T) {
	o := open(t)
	change := o.scripted(sandbox.Script{Decline: []sandbox.Refusal{{Rider: "rider-1"}}})
	o.onboard()
	terms := json.RawMessage(`{"version":1,"contracts":[{"contract":"sandbox","window":{"taps":1},"recovery":["tap"],"unblock":"approval","retries":1,"retry_within_days":30}]}`)
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: o.now().Add(time.Second), Terms: terms}, nil)
	o.move(time.Minute)
	mine, v := o.credential("phone"), o.validator()
	o.board(v, mine, "phone")
	o.drain(v)
	o.until("declined", func() bool { return len(list[edge.Debt](o, "debts?state=open")) == 1 })
	o.sync(v)
	o.move(time.Minute)
	if got := o.look(v, o.fresh(mine, "phone", 30)); got != code.Denied {
		t.Fatalf("with a debt at the reader: %q", got)
	}
	var paid struct{ Debts int }
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(mine, "phone", 31)}, &paid)
	if paid.Debts != 0 {
		t.Error("terms that name taps alone let the rider ask")
	}
	o.drain(v)
	o.settleDown() // the provider still declines
	change(sandbox.Script{})
	o.move(25 * time.Hour)
	if got := o.inspected(o.fresh(mine, "phone", 40)); got != "denied" {
		t.Errorf("inspected: %s", got)
	}
	o.settleDown()
	var by []string
	for _, c := range list[edge.Charge](o, "charges") {
		by = append(by, c.Kind+" "+c.By+" "+c.State)
	}
	if len(by) != 3 || by[1] != "recovery tap declined" || by[2] != "recovery tap succeeded" {
		t.Errorf("charges %v", by)
	}
	if open := list[edge.Debt](o, "debts?state=open"); len(open) != 0 {
		t.Errorf("open: %+v", open)
	}
	o.sync(v)
	if got := o.look(v, o.fresh(mine, "phone", 41)); got != "" {
		t.Errorf("approved, and at the reader: %q", got)
	}
	o.drain(v)
	o.settleDown()
	o.booksHold()
}
