package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// declines has every sandbox decline while it is told so.
func (o *office) declines() (say func(bool)) {
	var boxes []*sandbox.Provider
	var script sandbox.Script
	var open adapters.Constructor
	open = o.Products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := open(d)
		if err == nil {
			boxes = append(boxes, p.(*sandbox.Provider))
			p.(*sandbox.Provider).SetScript(script)
		}
		return p, err
	})
	return func(all bool) {
		script = sandbox.Script{}
		for n := range 40 {
			if all {
				script.Decline = append(script.Decline, sandbox.Refusal{Rider: fmt.Sprintf("v%d", n)})
			}
		}
		for _, b := range boxes {
			b.SetScript(script)
		}
	}
}

func (o *office) hillDebts(state string) []edge.Debt {
	o.t.Helper()
	var answer struct {
		Items []edge.Debt `json:"items"`
	}
	o.send(http.MethodGet, pathOf(hill, "debts?state="+state), nil, &answer)
	return answer.Items
}

func (o *office) writeOff(d edge.Debt) {
	o.t.Helper()
	o.send(http.MethodPost, pathOf(hill, "debts/"+d.ID+"/write-off"), edge.WriteOffDebt{Amount: d.Left, Reason: "moved away"}, nil)
}

// What an issuer bears by roaming terms crosses to the host, in both books, whatever
// happens in between: the books of both hold at every step, and in the end the host has
// every fare, less fees where the rider's own payment went to it.
func TestRoamingLiabilityCrosses(t *testing.T) {
	o := open(t)
	say := o.declines()
	o.onboard()
	o.neighbour("")
	v := o.validator()
	o.agree(edge.Roamable{Uncollected: "issuer", PayDays: 4})
	w := rand.New(rand.NewPCG(12, 2))
	rides := 0
	step := func() {
		o.settleDown()
		o.booksHold()
	}
	for range 22 {
		switch w.IntN(6) {
		case 0, 1:
			name := fmt.Sprintf("v%d", rides)
			credential := o.visitor(name, 1)
			o.move(time.Minute)
			o.settleDown()
			o.syncAll(v)
			if got := o.visit(v, credential, name, 1, price); got != "" {
				t.Fatalf("ride %d: %q", rides, got)
			}
			o.drain(v)
			rides++
		case 2:
			say(w.IntN(3) > 0)
		case 3:
			o.move(time.Duration(10+w.IntN(40)) * time.Hour)
		case 4:
			for _, d := range o.hillDebts("open") {
				o.send(http.MethodPost, pathOf(hill, "accounts/"+d.Account+"/retry-debts"), nil, nil)
			}
		case 5:
			if all := o.hillDebts("open"); len(all) > 0 {
				o.writeOff(all[0])
			}
		}
		step()
	}
	say(true)
	o.until("every fare is charged", func() bool { return o.net(hill)["rider_receivable"] == 0 })
	if len(o.hillDebts("open")) == 0 || rides < 4 {
		t.Fatalf("%d rides and %d open debts show nothing", rides, len(o.hillDebts("open")))
	}
	for range 3 {
		o.move(50 * time.Hour)
		step()
	}
	if got := o.net(bus); got["interbook_receivable"] != 0 {
		t.Errorf("after the days the hill still owes the bus: %v", got)
	}
	o.writeOff(o.hillDebts("open")[0])
	step()
	say(false)
	for _, state := range []string{"open", "written_off"} {
		for _, d := range o.hillDebts(state) {
			path := pathOf(hill, "accounts/"+d.Account+"/retry-debts")
			if state == "written_off" {
				if path = pathOf(hill, "debts/"+d.ID+"/collect"); d.RepaidAt != nil {
					continue
				}
			}
			o.send(http.MethodPost, path, nil, nil)
			step()
		}
	}
	for range 12 {
		o.move(12 * time.Hour)
		step()
	}
	got := o.net(hill)
	if got["rider_debt"] != 0 || got["interbook_payable"] != 0 || got["bad_debt"]+got["recovery_income"] != 0 || got["bad_debt"] == 0 {
		t.Errorf("the hill's book in the end: %v", got)
	}
	if got := o.net(bus); got["interbook_receivable"] != 0 || got["payable"] != 0 {
		t.Errorf("the bus's book in the end: %v", got)
	}
	var paid int64
	for _, p := range list[edge.Payout](o, "payouts") {
		paid += p.Amount.Minor
	}
	if all := int64(rides) * price; paid > all || paid < all-int64(rides)*10 {
		t.Errorf("the bus was paid %d for %d rides of %d", paid, rides, price)
	}
	var debts []string
	for _, row := range o.audit.Rows(hill, `SELECT object, actor, after->>'reason' FROM audit_log WHERE verb = 'debt.write_off' AND tenant_id = `+hill.String()) {
		debts = append(debts, fmt.Sprint(row...))
	}
	if len(debts) == 0 {
		t.Error("no write-off is in the audit log")
	}
}

// Giving up a debt needs another person where the tenant wants one for money, names
// what is owed, and says why a debt cannot be given up.
func TestWriteOffByTheAPI(t *testing.T) {
	o := open(t)
	say := o.declines()
	o.onboard()
	o.neighbour("")
	v := o.validator()
	o.agree(edge.Roamable{Uncollected: "issuer"})
	credential := o.visitor("v1", 1)
	o.move(time.Minute)
	o.settleDown()
	o.syncAll(v)
	o.visit(v, credential, "v1", 1, price)
	o.drain(v)
	o.settleDown()
	say(true)
	o.until("declined", func() bool { return len(o.hillDebts("open")) == 1 })
	d := o.hillDebts("open")[0]
	write := edge.WriteOffDebt{Amount: d.Left, Reason: "moved away"}
	other := write
	other.Amount.Minor++
	nobody := citygate.UUID{1}.Text("dbt_")
	for _, c := range []struct {
		path string
		body any
		want string
	}{
		{"debts/" + d.ID + "/write-off", other, "debt.other_amount"},
		{"debts/" + nobody + "/write-off", write, "debt.not_found"},
		{"debts/" + d.ID + "/collect", nil, "debt.closed"},
		{"debts/" + d.ID + "/write-off", edge.WriteOffDebt{Amount: d.Left, Reason: "   "}, "debt.no_reason"},
	} {
		if got := o.refused(http.MethodPost, pathOf(hill, c.path), c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	o.send(http.MethodPut, pathOf(hill, "approval-settings"), map[string]any{"two_person": []string{"payout_release"}}, nil)
	if got := o.ask(http.MethodPost, pathOf(hill, "debts/"+d.ID+"/write-off"), "application/json", []byte(asJSON(t, write))); got.Code != http.StatusAccepted {
		t.Errorf("alone: %d %s", got.Code, got.Body)
	}
	if left := o.hillDebts("open"); len(left) != 1 {
		t.Errorf("one person gave up %+v", d)
	}
	o.booksHold()
}
