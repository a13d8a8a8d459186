package alipaysim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// A BillFaultKind is something wrong with a bill.
type BillFaultKind string

// The kinds. They are the file's faults; what a reconciliation calls them is
// its own affair.
const (
	MissingRow       BillFaultKind = "missing_row"       // a payment without a row
	ExtraRow         BillFaultKind = "extra_row"         // a row without a payment
	CentOff          BillFaultKind = "cent_off"          // a row of one fen more than was paid
	UnexpectedRefund BillFaultKind = "unexpected_refund" // a refund nobody asked for and nobody got
)

// A BillFault is one fault of one bill.
type BillFault struct {
	Kind     BillFaultKind
	OrderID  string // out_trade_no of the row or payment concerned
	RefundID string // of an unexpected refund
	amount   int64
	at       citygate.Date
}

// BillFaultCounts says how many faults of each kind a bill gets.
type BillFaultCounts struct{ Missing, Extra, Cent, Refund int }

// SeedBillFaults puts faults into the bill of one merchant's day and returns
// them; the same call gives the same faults. Each falls on another payment of
// that day that was not given back, chosen by a hash of the seed and its
// number among those that eligible allows (nil: all); a day with too few of
// them gets fewer faults. Call it when the day is over and before anybody has
// downloaded the bill: a bill never changes once it was seen.
func (s *Server) SeedBillFaults(appID string, day citygate.Date, counts BillFaultCounts, eligible func(orderID string) bool) ([]BillFault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[appID]
	if m == nil {
		return nil, fmt.Errorf("alipaysim: no merchant %s", appID)
	}
	m.faults[day] = nil
	candidates := m.candidates(day, eligible)
	slices.SortFunc(candidates, func(a, b *trade) int {
		return cmp.Or(
			cmp.Compare(rank(s.config.Seed, "bill", a.item.OutTradeNo), rank(s.config.Seed, "bill", b.item.OutTradeNo)),
			cmp.Compare(a.item.OutTradeNo, b.item.OutTradeNo))
	})
	var faults []BillFault
	take := func(n int, make func(t *trade) BillFault) {
		for range n {
			if len(candidates) == 0 {
				return
			}
			faults, candidates = append(faults, make(candidates[0])), candidates[1:]
		}
	}
	take(counts.Missing, func(t *trade) BillFault { return BillFault{Kind: MissingRow, OrderID: t.item.OutTradeNo} })
	take(counts.Cent, func(t *trade) BillFault { return BillFault{Kind: CentOff, OrderID: t.item.OutTradeNo} })
	take(counts.Refund, func(t *trade) BillFault {
		return BillFault{Kind: UnexpectedRefund, OrderID: t.item.OutTradeNo, RefundID: "RX" + t.no, amount: t.amount, at: day}
	})
	for i := range counts.Extra {
		id := fmt.Sprintf("X%s%020d", day.Time().Format("20060102"), rank(s.config.Seed, "extra "+appID+day.String(), fmt.Sprint(i)))
		faults = append(faults, BillFault{Kind: ExtraRow, OrderID: id, amount: 100 + int64(rank(s.config.Seed, "extra amount", id)%900), at: day})
	}
	m.faults[day] = faults
	return slices.Clone(faults), nil
}

// Reissue issues the bill of a day again, without the faults that it had: the
// same file name, other content.
func (s *Server) Reissue(appID string, day citygate.Date) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[appID]
	if m == nil {
		return fmt.Errorf("alipaysim: no merchant %s", appID)
	}
	m.issues[day]++
	delete(m.faults, day)
	return nil
}

// SetBillLate has the bill of a day come no sooner than an instant.
func (s *Server) SetBillLate(appID string, day citygate.Date, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[appID]
	if m == nil {
		return fmt.Errorf("alipaysim: no merchant %s", appID)
	}
	m.notBefore[day] = until
	return nil
}

// candidates are the payments of the day that a fault may fall on.
func (m *merchant) candidates(day citygate.Date, eligible func(string) bool) []*trade {
	from, to := startOf(day), startOf(day.AddDays(1))
	var list []*trade
	for _, t := range m.trades {
		if t.paid && len(t.refunds) == 0 && within(t.at, from, to) && (eligible == nil || eligible(t.item.OutTradeNo)) {
			list = append(list, t)
		}
	}
	return list
}

// apply puts the fault into the rows of its day.
func (f BillFault) apply(rows []row) []row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.outTradeNo == f.OrderID && !r.refund })
	switch {
	case f.Kind == ExtraRow:
		return append(rows, row{
			tradeNo: "9" + f.OrderID[1:], outTradeNo: f.OrderID, subject: "乘车", rider: "2088000000000000",
			amount: f.amount, at: startOf(f.at).Add(billReady),
		})
	case i < 0:
		return rows
	case f.Kind == MissingRow:
		return slices.Delete(rows, i, i+1)
	case f.Kind == CentOff:
		rows[i].amount++
	case f.Kind == UnexpectedRefund:
		back := rows[i]
		back.refund, back.requestNo, back.amount, back.fee = true, f.RefundID, -f.amount, 0
		return append(rows, back)
	}
	return rows
}
