package alipaysim

import (
	"cmp"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Trade is an order as the platform's own book has it.
type Trade struct {
	AppID      string
	OutTradeNo string
	TradeNo    string
	Rider      string
	Amount     citygate.Money
	Fee        int64 // minor units, the merchant's
	Paid       bool  // false: declined
	Reason     string
	At         time.Time
	Records    int
	Refunds    []Refund
	Seq        int // the place of the payment among all movements of money, from 1
}

// A Refund is money the platform gave back.
type Refund struct {
	OutRequestNo string
	Amount       citygate.Money
	At           time.Time
	Seq          int
}

// Book lists every decided order, paid or declined, by application and number:
// the count that owes nothing to the gateway.
func (s *Server) Book() []Trade {
	s.mu.Lock()
	defer s.mu.Unlock()
	var book []Trade
	for _, m := range s.merchants {
		for _, t := range m.trades {
			if t.decided() {
				book = append(book, t.entry(m.AppID))
			}
		}
	}
	slices.SortFunc(book, func(a, b Trade) int {
		return cmp.Or(cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.OutTradeNo, b.OutTradeNo))
	})
	return book
}

func (t *trade) entry(appID string) Trade {
	e := Trade{
		AppID: appID, OutTradeNo: t.item.OutTradeNo, TradeNo: t.no, Rider: t.item.UserID,
		Amount: citygate.Money{Minor: t.amount, Currency: cny}, Fee: t.fee,
		Paid: t.paid, Reason: t.declined, At: t.at, Records: len(t.item.Records), Seq: t.seq,
	}
	for _, r := range t.refunds {
		e.Refunds = append(e.Refunds, Refund{r.requestNo, citygate.Money{Minor: r.amount, Currency: cny}, r.at, r.seq})
	}
	return e
}
