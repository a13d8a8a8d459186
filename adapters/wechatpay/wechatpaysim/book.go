package wechatpaysim

import (
	"cmp"
	"slices"

	"github.com/cashlesscity/citygate"
)

// Book lists every order, by merchant and number: the count that owes nothing to
// the gateway.
func (s *Server) Book() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	var book []Order
	for _, m := range s.merchants {
		for no := range m.orders {
			book = append(book, s.find(m, no).entry(m.MchID))
		}
	}
	slices.SortFunc(book, func(a, b Order) int {
		return cmp.Or(cmp.Compare(a.MchID, b.MchID), cmp.Compare(a.OutTradeNo, b.OutTradeNo))
	})
	return book
}

func (o *order) entry(mchID string) Order {
	e := Order{
		MchID: mchID, OutTradeNo: o.outTradeNo, ID: o.id, Payer: o.payer, Amount: citygate.Money{Minor: o.amount, Currency: o.currency},
		PaidBy: citygate.Money{Minor: o.paid, Currency: o.paidIn}, Fee: o.fee, State: o.shownState(), Paid: o.moved(), Repay: o.repay, At: o.at, Seq: o.seq,
	}
	for _, r := range o.refunds {
		e.Refunds = append(e.Refunds, Refund{r.outRefundNo, citygate.Money{Minor: r.amount, Currency: o.currency}, r.at, r.seq})
	}
	return e
}
