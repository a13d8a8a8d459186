package gateway

import (
	"fmt"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// A teller is an office with a payment that succeeded, whose provider tells of it.
type teller struct {
	*office
	paid edge.Charge
	told int
	box  func() *sandbox.Provider
}

func tells(t *testing.T) *teller {
	t.Helper()
	o := open(t)
	var box *sandbox.Provider
	var opened adapters.Constructor
	opened = o.Products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := opened(d)
		if err == nil {
			box = p.(*sandbox.Provider)
		}
		return p, err
	})
	o.onboard()
	mine, v := o.credential("phone"), o.validator()
	o.board(v, mine, "phone")
	o.drain(v)
	o.until("collected", func() bool {
		all := list[edge.Charge](o, "charges")
		return len(all) == 1 && all[0].State == "succeeded"
	})
	return &teller{office: o, paid: list[edge.Charge](o, "charges")[0], box: func() *sandbox.Provider { return box }}
}

func (o *teller) cny(minor int64) citygate.Money {
	return citygate.Money{Minor: minor, Currency: "CNY"}
}

// tell has the provider tell of the payment, and gives what became of the notice; id "" is a
// fresh one.
func (o *teller) tell(id string, taken driver.Taken) edge.Notice {
	o.t.Helper()
	if o.told++; id == "" {
		id = fmt.Sprint("n", o.told)
	}
	own, err := o.Tenants.ByID(o.t.Context(), bus)
	o.must(err)
	p, err := o.provider(o.t.Context(), bus, o.contract("sandbox"))
	o.must(err)
	o.must(o.takeNotice(o.t.Context(), own, o.contract("sandbox"), p, driver.Notice{ID: id, Kind: driver.NoticeReversal, ChargeID: o.paid.OurID, Taken: taken}))
	return o.notice(id)
}

func (o *teller) notice(id string) (found edge.Notice) {
	for _, n := range list[edge.Notice](o.office, "notices") {
		if n.ProviderID == id {
			found = n
		}
	}
	return found
}

// Outcomes come before what they are of, repeated, in any order, and one of another
// payment: they wait, and are recorded once when that is told, in the order they came.
func TestOutcomesWaitForTheirReversal(t *testing.T) {
	o := tells(t)
	wants := func(id, verdict, state string) {
		t.Helper()
		if n := o.notice(id); n.Verdict != verdict || n.State != state {
			t.Errorf("%s: %+v, want %s and %s", id, n, verdict, state)
		}
	}
	won := driver.Taken{Reference: "RP-1", Of: "CB-1", State: driver.TakenWon, Amount: o.cny(40)}
	for range 2 {
		o.tell("won", won)
	}
	o.tell("too much", driver.Taken{Reference: "RP-2", Of: "CB-1", State: driver.TakenWon, Amount: o.cny(21)})
	o.tell("lost", driver.Taken{Reference: "RP-3", Of: "CB-1", State: driver.TakenLost, Fee: 3})
	o.tell("after it was lost", driver.Taken{Reference: "RP-4", Of: "CB-1", State: driver.TakenWon, Amount: o.cny(1)})
	for _, id := range []string{"won", "too much", "lost", "after it was lost"} {
		wants(id, "waiting", "done")
	}
	o.tell("won again", won)
	wants("won again", "known", "done")
	won.Amount.Minor = 41
	o.tell("won otherwise", won)
	wants("won otherwise", "mismatch", "open")
	o.tell("of nothing", driver.Taken{Reference: "RP-5", State: driver.TakenLost})
	wants("of nothing", "mismatch", "open")
	if n := len(list[edge.Reversal](o.office, "reversals")); n != 0 {
		t.Errorf("%d reversals", n)
	}
	o.settleDown()
	o.booksHold()

	r := o.reverse(bus, o.paid, "CB-1", 60)
	if r.State != "lost" || r.Returned.Minor != 40 || r.Owed.Minor != 60 {
		t.Errorf("told, and what waited for it: %+v", r)
	}
	wants("won", "applied", "done")
	wants("too much", "mismatch", "open")
	wants("lost", "applied", "done")
	wants("after it was lost", "contradiction", "open")
	o.reverse(bus, o.paid, "CB-1", 60)
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["rider_debt"] != 20 || got["reversal_fee"] != 18 {
		t.Errorf("the book: %v", got)
	}
}

// A notice does not say what the provider keeps: it is booked once, from whoever says it
// first, and another one waits for somebody.
func TestABillSaysTheFee(t *testing.T) {
	o := tells(t)
	o.box().SetBillFaults([]sandbox.BillFault{{Kind: sandbox.TakenBack, OurID: o.paid.OurID, Amount: o.cny(60), Fee: 9}})
	reference := "cb_" + o.paid.OurID
	taken := driver.Taken{Reference: reference, State: driver.TakenBack, Amount: o.cny(60), FeeUnsaid: true}
	if n := o.tell("", taken); n.Verdict != "applied" {
		t.Errorf("%+v", n)
	}
	one := func() edge.Reversal {
		all := list[edge.Reversal](o.office, "reversals")
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	if r := one(); !r.FeeUnsaid || r.FeeMinor != 0 || o.net(bus)["reversal_fee"] != 0 {
		t.Errorf("told without a fee: %+v", r)
	}
	o.booksHold()
	o.until("the bill says it", func() bool { return !one().FeeUnsaid })
	for range 3 {
		o.until("later", func() bool { return true })
	}
	o.settleDown()
	o.booksHold()
	if r := one(); r.FeeMinor != 9 || o.net(bus)["reversal_fee"] != 9 || o.net(bus)["provider_receivable"] != 0 {
		t.Errorf("said by the bill: %+v, %v", r, o.net(bus))
	}
	if open := list[edge.ReconItem](o.office, "reconciliation?state=open"); len(open) != 0 {
		t.Errorf("exceptions %+v", open)
	}
	taken.ReasonCode = "again"
	if n := o.tell("", taken); n.Verdict != "known" {
		t.Errorf("told again without: %+v", n)
	}
	taken.FeeUnsaid, taken.Fee = false, 9
	if n := o.tell("", taken); n.Verdict != "known" {
		t.Errorf("told again with it: %+v", n)
	}
	taken.Fee = 8
	if n := o.tell("", taken); n.Verdict != "mismatch" || o.net(bus)["reversal_fee"] != 9 {
		t.Errorf("another fee: %+v", n)
	}
	// An outcome's is said by a later notice.
	won := driver.Taken{Reference: "RP-1", Of: reference, State: driver.TakenWon, Amount: o.cny(60), FeeUnsaid: true}
	o.tell("", won)
	won.FeeUnsaid, won.Fee = false, -4
	for range 2 {
		o.tell("", won)
	}
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["reversal_fee"] != 5 || one().State != "won" {
		t.Errorf("%+v, %v", one(), got)
	}
}
