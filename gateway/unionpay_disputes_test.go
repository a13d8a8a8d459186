package gateway

import (
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// Two riders' fares are collected by UnionPay, matched and paid out. Ten days later their
// banks take one back (E23), and UnionPay gives the other back by a code that the contract
// does not name a chargeback (E74). The file of that day says so by trace number and time
// alone: the first is a reversal in the books, its rider owes the fare again and its fee is
// the operator's; the second is an exception that names the payment.
func TestUnionPayTakesAPaymentBack(t *testing.T) {
	o := open(t)
	o.onboard()
	o.reachable()
	sim, _, _ := o.unionpay()
	v := o.validator()
	for _, device := range []string{"ann", "ben"} {
		o.ridesByToken(v, device)
	}
	o.until("paid out", func() bool { return len(o.succeeded()) == 2 && len(list[edge.Payout](o, "payouts")) > 0 })
	paid := o.succeeded()
	o.move(10 * 24 * time.Hour)
	o.settleDown()
	o.ridesByToken(v, "cay") // the file of a day without payments is not asked for
	o.until("collected", func() bool { return len(o.succeeded()) == 3 })
	for _, d := range []unionpaysim.Dispute{{OrderID: paid[0].OurID, Fee: 9}, {OrderID: paid[1].OurID, Code: "E74"}} {
		d.MerID = unionMerID
		_, err := sim.Dispute(d)
		o.must(err)
	}
	o.until("told by the file", func() bool { return len(list[edge.Reversal](o, "reversals")) > 0 })
	book := sim.Book()
	taken := book[slices.IndexFunc(book, func(e unionpaysim.Order) bool { return e.Kind == "E23" })]
	all := list[edge.Reversal](o, "reversals")
	if r := all[0]; len(all) != 1 || r.Payment != paid[0].OurID || r.Source != "bill" || r.State != "open" || r.Amount.Minor != price || r.Owed.Minor != price || r.FeeMinor != 9 ||
		r.Reference != "E23-"+taken.TxnTime+taken.Trace+"-01020000" {
		t.Errorf("reversals %+v; want the one of %s, which is %+v", all, paid[0].OurID, taken)
	}
	debts := list[edge.Debt](o, "debts?state=open")
	if len(debts) != 1 || debts[0].ID != all[0].Debt {
		t.Errorf("debts %+v; want that of the reversal", debts)
	}
	items := list[edge.ReconItem](o, "reconciliation?state=open")
	if len(items) != 1 || items[0].Kind != "refund_unexpected" || items[0].OurID != paid[1].OurID {
		t.Errorf("exceptions %+v; want the refund that nobody asked for, of %s", items, paid[1].OurID)
	}
	o.booksHold()
	o.noSecretIsOut()
}
