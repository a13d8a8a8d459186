package unionpaysim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

// A Dispute is what a bank, or the merchant's acquirer, does about a transaction that was
// made, and what UnionPay clears by it.
type Dispute struct {
	MerID   string
	OrderID string // of the payment
	Code    string // default E23, a chargeback; E24 and E32 to E36, among others, are the merchant's side
	Amount  int64  // default all of it
	Fee     int64  // what the merchant pays for it
	Gives   bool   // the money comes to the merchant
	Reserve string // written into the file's last column, in GBK
}

// Dispute has a dispute about a payment cleared now, or of the dispute of it that came
// last. It is in the ZME file of today.
func (s *Server) Dispute(d Dispute) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *order
	for _, o := range s.orders {
		is := o.merchant == d.MerID && o.id == d.OrderID && o.code == "00" && (o.kind == "01" || o.dispute != nil)
		if is && (last == nil || o.seq > last.seq) {
			last = o
		}
	}
	d.Code = cmp.Or(d.Code, "E23")
	switch {
	case last == nil:
		return Order{}, fmt.Errorf("unionpaysim: no payment %q was made", d.OrderID)
	case d.Amount == 0:
		d.Amount = last.amount
	}
	if d.Amount < 0 || d.Amount > last.amount || len(d.Code) != 3 {
		return Order{}, fmt.Errorf("unionpaysim: %s of %d: want a code of three characters and at most %d", d.Code, d.Amount, last.amount)
	}
	s.acts++
	now := s.config.Clock()
	o := &order{
		merchant: d.MerID, id: d.OrderID, txnTime: now.In(beijing).Format(stampForm), kind: d.Code, amount: d.Amount, fee: d.Fee, code: "00", at: now,
		origin: last, dispute: &d, seq: s.acts, trace: s.nextTrace(),
	}
	s.orders["dispute"+o.trace+o.txnTime] = o
	return o.told(), nil
}

// serveDispute is POST /sim/dispute?mer_id=..&order_id=..&code=E23&amount=470&fee=0&gives=false.
func (s *Server) serveDispute(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d := Dispute{MerID: q.Get("mer_id"), OrderID: q.Get("order_id"), Code: q.Get("code"), Gives: q.Get("gives") == "true"}
	for name, into := range map[string]*int64{"amount": &d.Amount, "fee": &d.Fee} {
		var err error
		if *into, err = strconv.ParseInt(cmp.Or(q.Get(name), "0"), 10, 64); err != nil {
			http.Error(w, name+": want a number of fen", http.StatusBadRequest)
			return
		}
	}
	o, err := s.Dispute(d)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	simserve.Show(w, o)
}

// disputeWidths are the bytes of the columns of the ZME file.
var disputeWidths = []int{3, 11, 11, 6, 10, 19, 12, 4, 2, 2, 6, 10, 4, 12, 13, 13, 15, 15, 1, 12, 2, 135}

// row writes a dispute, its order o, as the ZME file has it.
func (d *Dispute) row(o *order) []byte {
	net := o.amount - o.fee
	if !d.Gives {
		net = -o.amount - o.fee
	}
	sign := func(n int64) string {
		if n < 0 {
			return amount("D", -n)
		}
		return amount("C", n)
	}
	const form = "0102150405"
	before := o.origin
	return fixed(disputeWidths, map[int]string{
		0: o.kind, 1: "00010000", 2: "01020000", 3: o.trace, 4: o.at.In(beijing).Format(form), 6: fmt.Sprintf("%012d", o.amount), 7: "4131", 8: "08", 9: "01",
		10: before.trace, 11: before.at.In(beijing).Format(form), 12: day(before.at).Time().Format("0102"), 13: fmt.Sprintf("%012d", before.amount),
		14: sign(-o.fee), 15: sign(net), 17: o.merchant, 19: fmt.Sprintf("%012d", 0), 21: gbk(d.Reserve),
	})
}

// sorted gives the book in the order in which it was made.
func sorted(book []Order) []Order {
	slices.SortFunc(book, func(a, b Order) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.OrderID, b.OrderID)) })
	return book
}

// told is an order as the book shows it.
func (o *order) told() Order {
	e := Order{MerID: o.merchant, OrderID: o.id, TxnTime: o.txnTime, Kind: o.kind, QueryID: o.queryID, Amount: citygate.Money{Minor: o.amount, Currency: "CNY"}, Made: o.code == "00", Trace: o.trace, Seq: o.seq}
	if o.origin != nil {
		e.Origin = o.origin.id
	}
	return e
}
