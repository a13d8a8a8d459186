package wechatpaysim

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// Kinds of orders.
const (
	kindCode   = "MICROPAY"
	kindRide   = "PAP"
	kindGlobal = "GLOBAL"
)

// States of an order, in the words of APIv3.
const (
	success    = "SUCCESS"
	accepted   = "ACCEPTED"
	userPaying = "USERPAYING"
	payFail    = "PAY_FAIL"
	payError   = "PAYERROR"
	revoked    = "REVOKED"
	closed     = "CLOSED"
	refunded   = "REFUND"
)

// An order is a payment in the platform's book.
type order struct {
	kind, outTradeNo, id string
	digest               [sha256.Size]byte // of the content; the same number with other content is another order
	description, attach  string
	payer                string // contract, or payment code
	openID               string
	amount               int64
	currency             citygate.Currency
	paid                 int64 // of the payer, in his currency
	paidIn               citygate.Currency
	rate                 int64 // times 100,000,000; 0 = none
	fee                  int64
	state                string
	declined             string // code of a no
	created, at          time.Time
	decideAt             time.Time // of an order that is not decided
	repay                string    // "", NOT_REPAY, REPAID, ALL_REFUND
	repaidAt             time.Time
	notifyURL            string
	v2                   bool
	refunds              []*refund
	seq                  int
	said                 bool // a notice was queued
}

// A refund is money given back, or about to be.
type refund struct {
	outRefundNo, id string
	amount          int64
	created, at     time.Time
	abnormal        bool
	reversal        bool
	seq             int
}

func (o *order) moved() bool { return o.seq > 0 }

func (o *order) left() int64 {
	left := o.amount
	for _, r := range o.refunds {
		left -= r.amount
	}
	return left
}

// A wish is an order as a merchant asks for it.
type wish struct {
	kind, outTradeNo, description, attach, payer, notifyURL string
	amount                                                  int64
	currency                                                citygate.Currency
	content                                                 []byte
	v2                                                      bool
}

// place takes an order or finds it again. The caller holds the lock.
func (s *Server) place(m *merchant, w wish, arm Arm) (*order, problem) {
	if w.outTradeNo == "" || len(w.outTradeNo) > 32 || w.amount <= 0 || w.payer == "" || len(w.description) > 128 {
		return nil, refusal(http.StatusBadRequest, "PARAM_ERROR", "a field is missing, too long or out of range")
	}
	if arm == ArmBusy {
		return nil, refusal(http.StatusTooManyRequests, "FREQUENCY_LIMITED", "too many requests")
	}
	if w.kind == kindRide && s.config.AnyContract && s.contracts[w.payer] == nil {
		s.contracts[w.payer] = &contract{id: w.payer, openID: "o" + w.payer}
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %s %q %s", w.kind, w.amount, w.currency, w.payer, w.description, w.content))
	o := m.orders[w.outTradeNo]
	if o != nil && o.digest != digest {
		return nil, refusal(http.StatusForbidden, "OUT_TRADE_NO_USED", "the number was used for another order")
	}
	now := s.config.Clock()
	if o == nil {
		o = &order{
			kind: w.kind, outTradeNo: w.outTradeNo, digest: digest, description: w.description, attach: w.attach, payer: w.payer,
			openID: s.openID(w.payer), amount: w.amount, currency: w.currency, notifyURL: w.notifyURL, created: now, v2: w.v2,
			id: "42" + now.In(beijing).Format("20060102") + fmt.Sprintf("%018d", rank(0, m.MchID, w.outTradeNo)%1_000_000_000_000_000_000),
		}
		m.orders[w.outTradeNo] = o
		switch {
		case arm == ArmDecline:
			o.state, o.declined, o.at = payFail, "NOT_ENOUGH", now
		case w.kind == kindRide:
			o.state, o.decideAt = accepted, now.Add(s.config.DeductAfter)
		case chosen(s.config.Faults.Password, w.outTradeNo):
			o.state, o.decideAt = userPaying, now.Add(s.config.PasswordAfter)
		default:
			o.state, o.decideAt = accepted, now
		}
	}
	s.settle(m, o)
	return o, problem{}
}

// settle decides an order whose time has come: the one place where money moves in.
func (s *Server) settle(m *merchant, o *order) {
	if (o.state != accepted && o.state != userPaying) || s.config.Clock().Before(o.decideAt) {
		return
	}
	c := s.contracts[o.payer]
	o.at = o.decideAt
	switch {
	case o.kind == kindRide && c == nil:
		o.state, o.declined = payFail, "CONTRACT_NOT_EXIST"
	case o.kind == kindRide && c.ended:
		o.state, o.declined = payFail, "CONTRACT_TERMINATED"
	case o.kind == kindRide && c.blocked != "":
		o.state, o.declined = payFail, "ACCOUNT_ERROR"
	case s.poor[o.payer] && o.kind == kindRide:
		c.owes, c.since = c.owes+o.amount, o.at
		if !m.Advance {
			o.state, o.declined = payFail, "NOT_ENOUGH"
			return
		}
		o.repay = "NOT_REPAY"
		s.take(m, o)
	case s.poor[o.payer]:
		o.state, o.declined = payError, "NOT_ENOUGH"
	default:
		s.take(m, o)
	}
}

// take has the payer pay.
func (s *Server) take(m *merchant, o *order) {
	o.state, o.paid, o.paidIn = success, o.amount, o.currency
	if wallet := s.wallets[o.payer]; o.kind == kindGlobal && wallet != "" && wallet != o.currency {
		o.rate = s.config.Rates[string(o.currency)+"/"+string(wallet)]
		o.paid, o.paidIn = exchanged(o.amount, o.rate), wallet
	}
	o.fee = citygate.PartPerMillion(o.amount, m.FeePPM)
	s.acts++
	o.seq = s.acts
	s.announce(m, o, nil)
}

// exchanged turns cents of one currency into cents of another, rounding half up.
func exchanged(amount, rate int64) int64 {
	n := new(big.Int).Mul(big.NewInt(amount), big.NewInt(rate))
	n.Add(n, big.NewInt(50_000_000))
	return n.Quo(n, big.NewInt(100_000_000)).Int64()
}

func (s *Server) openID(payer string) string {
	if c := s.contracts[payer]; c != nil {
		return c.openID
	}
	return fmt.Sprintf("o%020d", rank(0, "openid", payer))
}

// A shownOrder is what APIv3 tells of an order.
type shownOrder struct {
	AppID         string      `json:"appid"`
	MchID         string      `json:"mchid"`
	OutTradeNo    string      `json:"out_trade_no"`
	TransactionID string      `json:"transaction_id,omitempty"`
	ID            string      `json:"id,omitempty"`
	TradeType     string      `json:"trade_type"`
	TradeState    string      `json:"trade_state"`
	Description   string      `json:"trade_state_desc"`
	BankType      string      `json:"bank_type,omitempty"`
	Attach        string      `json:"attach,omitempty"`
	SuccessTime   string      `json:"success_time,omitempty"`
	RepayState    string      `json:"user_repay_state,omitempty"`
	RepayID       string      `json:"repay_transaction_id,omitempty"`
	RepayTime     string      `json:"repay_time,omitempty"`
	Payer         *shownPayer `json:"payer,omitempty"`
	Amount        shownAmount `json:"amount"`
}

type shownPayer struct {
	OpenID string `json:"openid"`
}

type shownAmount struct {
	Total         int64             `json:"total"`
	Currency      citygate.Currency `json:"currency"`
	PayerTotal    int64             `json:"payer_total,omitempty"`
	PayerCurrency citygate.Currency `json:"payer_currency,omitempty"`
	Rate          *shownRate        `json:"exchange_rate,omitempty"`
}

type shownRate struct {
	Type string `json:"type"`
	Rate int64  `json:"rate"`
}

func (o *order) show(m *merchant) shownOrder {
	v := shownOrder{
		AppID: m.AppID, MchID: m.MchID, OutTradeNo: o.outTradeNo, TradeType: ifElse(o.kind == kindGlobal, kindCode, o.kind),
		TradeState: o.shownState(), Description: strings.ToLower(o.shownState()) + " / 状态", Attach: o.attach,
		Amount: shownAmount{Total: o.amount, Currency: o.currency},
	}
	if o.kind == kindGlobal {
		v.ID = o.id
	} else {
		v.TransactionID = o.id
	}
	if o.moved() {
		v.SuccessTime, v.BankType = stamp(o.at), ifElse(o.repay != "", "BPA", "OTHERS")
		v.RepayState = o.repay
		v.Payer = &shownPayer{o.openID}
		v.Amount.PayerTotal, v.Amount.PayerCurrency = o.paid, o.paidIn
		if o.rate > 0 {
			v.Amount.Rate = &shownRate{"USERPAYMENT_RATE", o.rate}
		}
		if o.repay == "REPAID" {
			v.RepayID, v.RepayTime = "R"+o.id, stamp(o.repaidAt)
		}
	}
	return v
}

// shownState is the state in the words of the product the order is of.
func (o *order) shownState() string {
	switch {
	case o.state == success && len(o.refunds) > 0:
		return refunded
	case o.state == payFail && o.kind != kindRide:
		return payError
	}
	return o.state
}

// find gives a merchant's order as it is now.
func (s *Server) find(m *merchant, outTradeNo string) *order {
	o := m.orders[outTradeNo]
	if o != nil {
		s.settle(m, o)
	}
	return o
}

var noSuchOrder = refusal(http.StatusNotFound, "ORDER_NOT_EXIST", "there is no such order")

// answerTo is what a merchant hears when it has placed an order.
func (s *Server) answerTo(m *merchant, o *order, arm Arm) (any, fate) {
	f := armFates[arm]
	if f == delivered {
		f = s.replyFault(m, o.outTradeNo)
	}
	switch {
	case chosen(s.config.Faults.Unsure, o.outTradeNo) && !s.hasActed[m.MchID+"?"+o.outTradeNo]:
		s.hasActed[m.MchID+"?"+o.outTradeNo] = true
		return refusal(http.StatusInternalServerError, "SYSTEM_ERROR", "ask what became of it"), f
	case o.declined != "":
		return refusal(ifElse(o.declined == "NOT_ENOUGH" || o.declined == "ACCOUNT_ERROR", http.StatusForbidden, http.StatusBadRequest), o.declined, "the payment was not made"), f
	case o.state == userPaying:
		return refusal(http.StatusAccepted, "USERPAYING", "the payer is typing a password"), f
	}
	return o.show(m), f
}
