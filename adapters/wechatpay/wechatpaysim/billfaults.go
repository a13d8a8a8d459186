package wechatpaysim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cashlesscity/citygate"
)

// A BillFaultKind is something wrong with a bill.
type BillFaultKind string

// The kinds. They are the file's faults; what a reconciliation calls them is its
// own affair.
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
	order    *order
	day      citygate.Date
}

// BillFaultCounts says how many faults of each kind a bill gets.
type BillFaultCounts struct{ Missing, Extra, Cent, Refund int }

// SeedBillFaults puts faults into the bill of one merchant's day and returns
// them; the same call gives the same faults. Each falls on another payment of the
// day that was not given back, chosen by a hash of the seed and its number; a day
// with too few of them gets fewer. Call it when the day is over and before
// anybody has downloaded the bill.
func (s *Server) SeedBillFaults(mchID string, day citygate.Date, counts BillFaultCounts) ([]BillFault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[mchID]
	if m == nil {
		return nil, fmt.Errorf("wechatpaysim: no merchant %s", mchID)
	}
	m.faults[day] = nil
	var candidates []*order
	for _, r := range s.rows(m, day) {
		if r.refund == nil && len(r.o.refunds) == 0 {
			candidates = append(candidates, r.o)
		}
	}
	slices.SortFunc(candidates, func(a, b *order) int {
		return cmp.Compare(rank(s.config.Seed, "bill", a.outTradeNo), rank(s.config.Seed, "bill", b.outTradeNo))
	})
	var faults []BillFault
	for _, want := range []struct {
		kind BillFaultKind
		n    int
	}{{MissingRow, counts.Missing}, {CentOff, counts.Cent}, {UnexpectedRefund, counts.Refund}} {
		for range min(want.n, len(candidates)) {
			o := candidates[0]
			candidates = candidates[1:]
			faults = append(faults, BillFault{Kind: want.kind, OrderID: o.outTradeNo, RefundID: ifElse(want.kind == UnexpectedRefund, "RX"+o.outTradeNo, ""), order: o, day: day})
		}
	}
	for i := range counts.Extra {
		id := fmt.Sprintf("X%d%020d", i, rank(s.config.Seed, "extra "+mchID+day.String(), fmt.Sprint(i)))
		o := &order{kind: kindRide, outTradeNo: id, id: "43" + id[1:], description: "乘车", openID: "o0", amount: 100 + int64(rank(s.config.Seed, "amount", id)%900), currency: cny}
		faults = append(faults, BillFault{Kind: ExtraRow, OrderID: id, order: o, day: day})
	}
	m.faults[day] = faults
	return slices.Clone(faults), nil
}

// apply puts the fault into the rows of its day.
func (f BillFault) apply(rows []row) []row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.orderNo == f.OrderID && r.refund == nil })
	switch {
	case f.Kind == ExtraRow:
		return append(rows, row{o: f.order, orderNo: f.OrderID, amount: f.order.amount, at: startOf(f.day).Add(billReady)})
	case i < 0:
		return rows
	case f.Kind == MissingRow:
		return slices.Delete(rows, i, i+1)
	case f.Kind == CentOff:
		rows[i].amount++
	case f.Kind == UnexpectedRefund:
		back := rows[i]
		back.refund, back.refundNo, back.fee = &refund{id: "51" + f.order.id, amount: back.amount}, f.RefundID, 0
		return append(rows, back)
	}
	return rows
}
