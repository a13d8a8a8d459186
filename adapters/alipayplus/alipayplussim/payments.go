package alipayplussim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	bojanz "github.com/bojanz/currency"

	"github.com/cashlesscity/citygate"
)

// A cash is an amount on the wire.
type cash struct {
	Currency string `json:"currency"`
	Value    string `json:"value"`
}

func wire(m citygate.Money) cash { return cash{string(m.Currency), strconv.FormatInt(m.Minor, 10)} }

func (c cash) money() (citygate.Money, bool) {
	n, err := strconv.ParseInt(c.Value, 10, 64)
	m := citygate.Money{Minor: n, Currency: citygate.Currency(c.Currency)}
	return m, err == nil && n > 0 && m.Currency.Valid()
}

// An offer is a quote that was given.
type offer struct {
	id, pair, price string
	asked, pays     citygate.Money
	from, until     time.Time
	guaranteed      bool
}

// A payment is one number of one client.
type payment struct {
	client, id, request string
	content             [sha256.Size]byte
	asked, paid         citygate.Money // the order's amount, and the payer's
	settled             citygate.Money
	fee, paidFee        int64 // of settled, and of paid
	offer               *offer
	status, code        string // SUCCESS, FAIL, CANCELLED
	notify              string
	at                  time.Time
	cancelled           time.Time
	seq, cancelSeq      int
	back                int64 // of paid
	settledBack         int64 // of settled
}

type refund struct {
	client, id, request string
	of                  *payment
	amount, settled     citygate.Money // of the payer, and of settlement
	fee, paidFee        int64
	at                  time.Time
	seq                 int
	notify              string
}

// A Payment is one as the platform's own book has it.
type Payment struct {
	ClientID, RequestID, PaymentID, Status string
	Asked, Paid, Settled                   citygate.Money
	Quote                                  string
	Seq                                    int
	Cancelled                              int // place of the cancellation in the book's order; 0 = none
	Refunds                                []Refund
}

// A Refund is one as the platform's own book has it.
type Refund struct {
	RequestID       string
	Amount, Settled citygate.Money
	Seq             int
}

// Book lists every payment that was asked for, in the order of the numbers.
func (s *Server) Book() []Payment {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := []Payment{}
	for _, p := range s.payments {
		e := Payment{
			ClientID: p.client, RequestID: p.request, PaymentID: p.id, Status: p.status, Asked: p.asked, Paid: p.paid, Settled: p.settled,
			Seq: p.seq, Cancelled: p.cancelSeq,
		}
		if p.offer != nil {
			e.Quote = p.offer.id
		}
		for _, r := range s.refunds {
			if r.of == p {
				e.Refunds = append(e.Refunds, Refund{r.request, r.amount, r.settled, r.seq})
			}
		}
		slices.SortFunc(e.Refunds, func(a, b Refund) int { return cmp.Compare(a.Seq, b.Seq) })
		book = append(book, e)
	}
	slices.SortFunc(book, func(a, b Payment) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.RequestID, b.RequestID))
	})
	return book
}

// act does one call.
func (s *Server) act(m Merchant, aps bool, op string, body []byte) (fields, Arm) {
	var arm Arm
	if moves := op == "pay" || op == "refund"; moves {
		arm = s.Disarm()
		if arm == ArmBusy {
			return said("U", "REQUEST_TRAFFIC_EXCEED_LIMIT"), ""
		}
	}
	switch op {
	case "pay":
		return s.pay(m, aps, body, arm), arm
	case "inquiryPayment":
		return s.inquiry(m, aps, body), ""
	case "cancel", "cancelPayment":
		if (op == "cancelPayment") == aps {
			return s.cancel(m, body), ""
		}
	case "refund":
		return s.refund(m, body, arm), arm
	case "inquiryRefund":
		return s.inquiryRefund(m, body), ""
	case "inquireExchangeRate":
		return s.quote(body), ""
	case "createDeviceCertificate":
		return certificate(body), ""
	case "syncArrear":
		var in struct {
			Request string `json:"paymentRequestId"`
		}
		if json.Unmarshal(body, &in) == nil && s.payments[m.ClientID+"/"+in.Request] != nil {
			return said("S", "SUCCESS"), ""
		}
		return said("F", "ORDER_NOT_EXIST"), ""
	}
	return said("F", "INVALID_API"), ""
}

type payBody struct {
	Product string `json:"productCode"`
	Request string `json:"paymentRequestId"`
	Order   struct {
		ID     string `json:"referenceOrderId"`
		Amount cash   `json:"orderAmount"`
	} `json:"order"`
	Amount cash `json:"paymentAmount"`
	Quote  *struct {
		ID string `json:"quoteId"`
	} `json:"paymentQuote"`
	Method struct {
		Type string `json:"paymentMethodType"`
		ID   string `json:"paymentMethodId"`
	} `json:"paymentMethod"`
	Settlement struct {
		Currency string `json:"settlementCurrency"`
	} `json:"settlementStrategy"`
	Notify string `json:"paymentNotifyUrl"`
}

func (s *Server) pay(m Merchant, aps bool, body []byte, arm Arm) fields {
	var in payBody
	asked, paid := citygate.Money{}, citygate.Money{}
	ok := json.Unmarshal(body, &in) == nil
	if ok {
		var ok1, ok2 bool
		asked, ok1 = in.Order.Amount.money()
		paid, ok2 = in.Amount.money()
		ok = ok1 && ok2
	}
	if !ok || in.Request == "" || len(in.Request) > 64 || in.Method.ID == "" || !slices.Contains([]string{"IN_STORE_PAYMENT", "AGREEMENT_PAYMENT"}, in.Product) {
		return said("F", "PARAM_ILLEGAL")
	}
	key, content := m.ClientID+"/"+in.Request, sha256.Sum256(body)
	if p := s.payments[key]; p != nil {
		if p.content != content {
			return said("F", "REPEAT_REQ_INCONSISTENT")
		}
		return p.answer(aps)
	}
	now := s.config.Clock()
	id := sha256.Sum256([]byte("payment " + key))
	p := &payment{
		client: m.ClientID, id: hex.EncodeToString(id[:16]), request: in.Request, content: content, asked: asked, paid: paid, notify: in.Notify, at: now,
		settled: citygate.Money{Currency: citygate.Currency(cmp.Or(in.Settlement.Currency, string(asked.Currency)))},
	}
	if in.Quote != nil {
		p.offer = s.quotes[in.Quote.ID]
		if p.offer == nil || p.offer.asked != asked || p.offer.pays != paid {
			return said("F", "INVALID_QUOTE")
		}
		if !now.Before(p.offer.until) {
			return said("F", "EXPIRED_QUOTE")
		}
	} else if paid != asked {
		return said("F", "PARAM_ILLEGAL")
	}
	if p.settled.Minor, ok = s.settles(p); !ok {
		return said("F", "CURRENCY_NOT_SUPPORT")
	}
	p.fee, p.paidFee = citygate.PartPerMillion(p.settled.Minor, m.FeePPM), citygate.PartPerMillion(paid.Minor, m.PaidPPM)
	s.payments[key] = p
	p.status, p.code = "SUCCESS", "SUCCESS"
	if arm == ArmDecline || s.poor[in.Method.ID] {
		p.status, p.code = "FAIL", "USER_BALANCE_NOT_ENOUGH"
	} else {
		s.acts++
		p.seq = s.acts
	}
	if p.notify != "" {
		s.notices.Add(notice{client: m.ClientID, address: p.notify, fields: p.told(aps)}, s.config.Clock())
	}
	return p.answer(aps)
}

// settles gives what the platform pays out for a payment.
func (s *Server) settles(p *payment) (int64, bool) {
	switch {
	case p.paid.Currency == p.settled.Currency:
		return p.paid.Minor, true
	case p.offer != nil && p.offer.guaranteed && p.asked.Currency == p.settled.Currency:
		return p.asked.Minor, true
	}
	return convert(p.paid, p.settled.Currency, s.config.Rates[string(p.paid.Currency+"/"+p.settled.Currency)])
}

// convert gives m in another currency at a price, rounded down.
func convert(m citygate.Money, into citygate.Currency, price string) (int64, bool) {
	rate, ok := new(big.Rat).SetString(price)
	from, ok1 := bojanz.GetDigits(string(m.Currency))
	to, ok2 := bojanz.GetDigits(string(into))
	if !ok || !ok1 || !ok2 || price == "" {
		return 0, false
	}
	ten := func(n uint8) *big.Rat {
		return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
	}
	v := rate.Mul(rate, new(big.Rat).SetInt64(m.Minor))
	v.Mul(v, ten(to)).Quo(v, ten(from))
	return new(big.Int).Quo(v.Num(), v.Denom()).Int64(), true
}

// price gives the rate at which one amount became the other, to ten places.
func price(from, to citygate.Money) string {
	a, _ := bojanz.GetDigits(string(from.Currency))
	b, _ := bojanz.GetDigits(string(to.Currency))
	v := new(big.Rat).SetFrac64(to.Minor, from.Minor)
	ten := func(n uint8) *big.Rat {
		return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
	}
	return v.Mul(v, ten(a)).Quo(v, ten(b)).FloatString(10)
}

func stamp(t time.Time) string { return t.In(zone).Format("2006-01-02T15:04:05-07:00") }

func (o *offer) fields() fields {
	return fields{
		"quoteId": o.id, "quoteCurrencyPair": o.pair, "quotePrice": o.price, "quoteStartTime": stamp(o.from), "quoteExpiryTime": stamp(o.until),
		"guaranteed": o.guaranteed,
	}
}

// settleQuote is the rate that a settlement in another currency had.
func settleQuote(paid, settled citygate.Money) fields {
	return fields{"quoteCurrencyPair": string(paid.Currency + "/" + settled.Currency), "quotePrice": price(paid, settled), "guaranteed": "false"}
}

// answer is what pay says of a payment, each time it is asked for.
func (p *payment) answer(aps bool) fields {
	switch p.status {
	case "FAIL":
		return said("F", p.code)
	case "CANCELLED":
		return said("F", "ORDER_IS_CANCELED")
	}
	out := said("S", "SUCCESS")
	p.fill(out, aps)
	return out
}

func (p *payment) fill(out fields, aps bool) {
	out["paymentRequestId"], out["paymentId"], out["paymentAmount"] = p.request, p.id, wire(p.paid)
	if p.seq == 0 {
		return
	}
	out["paymentTime"], out["actualPaymentAmount"] = stamp(p.at), wire(p.paid)
	if aps {
		out["settlementAmount"] = wire(p.settled)
	} else {
		out["grossSettlementAmount"] = wire(p.settled)
	}
	if p.offer != nil {
		out["paymentQuote"] = p.offer.fields()
	}
	if p.settled.Currency != p.paid.Currency {
		out["settlementQuote"] = settleQuote(p.paid, p.settled)
	}
}

// told is a notification of a payment.
func (p *payment) told(aps bool) fields {
	out := fields{}
	status := map[string]string{"SUCCESS": "S"}[p.status]
	own := map[string]string{"resultCode": p.code, "resultStatus": cmp.Or(status, "F"), "resultMessage": ""}
	if aps {
		out["paymentResult"] = own
	} else {
		out["notifyType"], out["result"] = "PAYMENT_RESULT", own
	}
	p.fill(out, aps)
	return out
}

func (s *Server) inquiry(m Merchant, aps bool, body []byte) fields {
	var in struct {
		Request string `json:"paymentRequestId"`
		ID      string `json:"paymentId"`
	}
	if json.Unmarshal(body, &in) != nil {
		return said("F", "PARAM_ILLEGAL")
	}
	p := s.find(m, in.Request, in.ID)
	if p == nil {
		return said("F", "ORDER_NOT_EXIST")
	}
	out := said("S", "SUCCESS")
	p.fill(out, aps)
	if aps {
		status := map[string]string{"SUCCESS": "S"}[p.status]
		code := p.code
		if p.status == "CANCELLED" {
			code = "ORDER_IS_CANCELED"
		}
		out["paymentResult"] = map[string]string{"resultCode": code, "resultStatus": cmp.Or(status, "F")}
	} else {
		out["paymentStatus"] = p.status
	}
	return out
}

// find gives a payment; the platform's own number wins.
func (s *Server) find(m Merchant, request, id string) *payment {
	if id == "" {
		return s.payments[m.ClientID+"/"+request]
	}
	for _, p := range s.payments {
		if p.client == m.ClientID && p.id == id {
			return p
		}
	}
	return nil
}

func (s *Server) cancel(m Merchant, body []byte) fields {
	var in struct {
		Request string `json:"paymentRequestId"`
		ID      string `json:"paymentId"`
	}
	if json.Unmarshal(body, &in) != nil {
		return said("F", "PARAM_ILLEGAL")
	}
	p := s.find(m, in.Request, in.ID)
	switch {
	case p == nil:
		return said("F", "ORDER_NOT_EXIST")
	case p.back > 0:
		return said("F", "REFUND_HAS_BEEN_MADE")
	case s.config.Clock().Sub(p.at) > 24*time.Hour:
		return said("F", "CANCELLATION_WINDOW_EXCEED")
	}
	if p.status == "SUCCESS" {
		s.acts++
		p.cancelSeq, p.cancelled = s.acts, s.config.Clock()
	}
	if p.status != "FAIL" {
		p.status = "CANCELLED"
	}
	out := said("S", "SUCCESS")
	out["paymentRequestId"], out["paymentId"] = p.request, p.id
	return out
}

func (s *Server) refund(m Merchant, body []byte, arm Arm) fields {
	var in struct {
		Request  string `json:"refundRequestId"`
		Payment  string `json:"paymentRequestId"`
		ID       string `json:"paymentId"`
		Amount   cash   `json:"refundAmount"`
		Notify   string `json:"refundNotifyUrl"`
		Currency string `json:"-"`
	}
	amount, ok := citygate.Money{}, json.Unmarshal(body, &in) == nil
	if ok {
		amount, ok = in.Amount.money()
	}
	if !ok || in.Request == "" || len(in.Request) > 64 {
		return said("F", "PARAM_ILLEGAL")
	}
	key := m.ClientID + "/" + in.Request
	p := s.find(m, in.Payment, in.ID)
	if r := s.refunds[key]; r != nil {
		if r.amount != amount || r.of != p {
			return said("F", "REPEAT_REQ_INCONSISTENT")
		}
		return r.answer()
	}
	switch {
	case p == nil:
		return said("F", "ORDER_NOT_EXIST")
	case p.status != "SUCCESS":
		return said("F", "ORDER_STATUS_INVALID")
	case amount.Currency != p.paid.Currency:
		return said("F", "CURRENCY_NOT_SUPPORT")
	case amount.Minor > p.paid.Minor-p.back:
		return said("F", "REFUND_AMOUNT_EXCEED")
	case arm == ArmDecline:
		return said("F", "PROCESS_FAIL")
	}
	id := sha256.Sum256([]byte("refund " + key))
	r := &refund{client: m.ClientID, id: hex.EncodeToString(id[:16]), request: in.Request, of: p, amount: amount, at: s.config.Clock(), notify: in.Notify}
	r.settled = citygate.Money{Currency: p.settled.Currency}
	if other := s.config.RefundRates[string(amount.Currency+"/"+p.settled.Currency)]; other != "" {
		r.settled.Minor, _ = convert(amount, p.settled.Currency, other)
	} else { // the payment's own rate, cumulatively
		share := new(big.Int).Mul(big.NewInt(p.back+amount.Minor), big.NewInt(p.settled.Minor))
		r.settled.Minor = share.Quo(share, big.NewInt(p.paid.Minor)).Int64() - p.settledBack
	}
	r.fee, r.paidFee = citygate.PartPerMillion(r.settled.Minor, m.FeePPM), citygate.PartPerMillion(amount.Minor, m.PaidPPM)
	p.back += amount.Minor
	p.settledBack += r.settled.Minor
	s.acts++
	r.seq = s.acts
	s.refunds[key] = r
	if r.notify != "" {
		told := r.answer()
		told["notifyType"], told["refundStatus"] = "REFUND_RESULT", "SUCCESS"
		s.notices.Add(notice{client: m.ClientID, address: r.notify, fields: told}, s.config.Clock())
	}
	return r.answer()
}

func (r *refund) answer() fields {
	out := said("S", "SUCCESS")
	out["refundRequestId"], out["refundId"], out["refundAmount"], out["paymentRequestId"] = r.request, r.id, wire(r.amount), r.of.request
	out["grossSettlementRefundAmount"] = wire(r.settled)
	if r.settled.Currency != r.amount.Currency && r.settled.Minor > 0 {
		out["settlementQuote"] = settleQuote(r.amount, r.settled)
	}
	return out
}

func (s *Server) inquiryRefund(m Merchant, body []byte) fields {
	var in struct {
		Request string `json:"refundRequestId"`
	}
	if json.Unmarshal(body, &in) != nil {
		return said("F", "PARAM_ILLEGAL")
	}
	r := s.refunds[m.ClientID+"/"+in.Request]
	if r == nil {
		return said("F", "REFUND_NOT_EXIST")
	}
	out := r.answer()
	out["refundStatus"] = "SUCCESS"
	return out
}

func (s *Server) quote(body []byte) fields {
	var in struct {
		Sell cash   `json:"sellAmount"`
		Buy  string `json:"buyCurrency"`
	}
	asked, ok := citygate.Money{}, json.Unmarshal(body, &in) == nil
	if ok {
		asked, ok = in.Sell.money()
	}
	if !ok {
		return said("F", "PARAM_ILLEGAL")
	}
	now := s.config.Clock()
	o := &offer{pair: string(asked.Currency) + "/" + in.Buy, asked: asked, from: now, until: now.Add(s.config.QuoteFor), guaranteed: s.config.Guaranteed}
	o.price = s.config.Rates[o.pair]
	o.pays.Currency = citygate.Currency(in.Buy)
	if o.pays.Minor, ok = convert(asked, o.pays.Currency, o.price); !ok {
		return said("F", "CURRENCY_NOT_SUPPORT")
	}
	o.pays.Minor = max(o.pays.Minor, 1)
	o.id = fmt.Sprintf("quote_%s_%06d", strings.ToLower(in.Buy), len(s.quotes)+1)
	s.quotes[o.id] = o
	out := said("S", "SUCCESS")
	out["quote"], out["exchangeAmount"] = o.fields(), wire(o.pays)
	return out
}
