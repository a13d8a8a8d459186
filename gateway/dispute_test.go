package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

// A rule set has the platform bear what riders do not pay. It disputes one debt: as long
// as that is open it pays nothing; upheld, the operator bears the debt in its place, in
// every book, and what the rider pays in the end is the operator's.
func TestADisputeThatIsUpheldMovesTheLoss(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{})
	o.onboard()
	rules := strings.NewReplacer("issuer: 101", fmt.Sprintf("issuer: %d", issuer), "cap_unit_minor: 10", "cap_unit_minor: 100", "{id: no-bands, mediums: [band], then: refuse}", "").Replace(fileRules)
	set, err := ruleset.Parse([]byte(rules + "liability: [{id: pool, bearer: platform, pay_after_days: 0}]\n"))
	o.must(err)
	_, err = o.PublishRules(t.Context(), actor, bus, policies.Proposal{Set: set})
	o.must(err)
	o.move(time.Minute)
	mine, v := o.credential("phone"), o.validator()
	o.board(v, mine, "phone")
	o.drain(v)
	o.until("collected", func() bool {
		all := list[edge.Charge](o, "charges")
		return len(all) == 1 && all[0].State == "succeeded"
	})
	o.move(40 * time.Hour) // reconciled, and paid out
	o.settleDown()
	mine = o.credential("phone")
	o.reverse(bus, list[edge.Charge](o, "charges")[0], "CB-1", price)
	o.settleDown()
	o.booksHold()
	owed := func() (claimed, disputed, owed int64) {
		var all edge.BearerStatement
		o.send(http.MethodGet, busPath("bearer-claims"), nil, &all)
		for _, c := range all.Claims {
			claimed, disputed, owed = claimed+c.Claimed.Minor, disputed+c.Disputed.Minor, owed+c.Owed.Minor
		}
		return claimed, disputed, owed
	}
	if claimed, disputed, left := owed(); claimed != price || disputed != 0 || left != price || o.net(bus)["platform_receivable"] != price {
		t.Fatalf("the platform bears %d, disputes %d and owes %d; the book: %v", claimed, disputed, left, o.net(bus))
	}

	debt := list[edge.Debt](o, "debts?state=open")[0]
	var d edge.Dispute
	open := edge.OpenDispute{Bearer: "platform", Reason: "the reader's list was two days old", Evidence: "list 4711, terminal 12"}
	for range 2 { // a reply may be lost
		o.send(http.MethodPost, busPath("debts/"+debt.ID+"/disputes"), open, &d)
	}
	o.settleDown()
	o.booksHold()
	if _, disputed, left := owed(); d.State != "open" || disputed != price || left != 0 {
		t.Errorf("%+v: disputed %d, owed %d", d, disputed, left)
	}
	pay := edge.RecordBearerPayment{Bearer: "platform", Reference: "T-1", Amount: citygate.Money{Minor: price, Currency: "CNY"}, Reason: "bank statement"}
	if got := o.refused(http.MethodPost, busPath("bearer-payments"), pay); got != "bearer.not_owed" {
		t.Errorf("paid while it is disputed: %s", got)
	}

	decide := edge.DecideDispute{Outcome: "upheld", BearsInstead: "operator", Reason: "list 4711 was two days old"}
	for range 2 {
		o.send(http.MethodPost, busPath("liability-disputes/"+d.ID+"/decision"), decide, &d)
		o.settleDown()
		o.booksHold()
	}
	if claimed, disputed, left := owed(); d.State != "upheld" || d.BearsInstead != "operator" || claimed != 0 || disputed != 0 || left != 0 || o.net(bus)["platform_receivable"] != 0 {
		t.Errorf("upheld %+v, and the platform bears %d, disputes %d and owes %d; the book: %v", d, claimed, disputed, left, o.net(bus))
	}
	if got := o.refused(http.MethodPost, busPath("bearer-payments"), pay); got != "bearer.not_owed" {
		t.Errorf("paid although it was right: %s", got)
	}
	if got := o.refused(http.MethodPost, busPath("liability-disputes/"+d.ID+"/decision"), edge.DecideDispute{Outcome: "rejected", Reason: "after all"}); got != "dispute.decided" {
		t.Errorf("decided again: %s", got)
	}

	var paid struct{ Debts int }
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(mine, "phone", 31)}, &paid)
	o.until("paid", func() bool { return len(list[edge.Debt](o, "debts?state=recovered")) == 1 })
	o.move(3 * 24 * time.Hour)
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["platform_receivable"] != 0 || got["rider_debt"] != 0 || got["rider_receivable"] != 0 {
		t.Errorf("the book: %v", got)
	}
}
