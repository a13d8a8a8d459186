package wechatpaysim

import (
	"cmp"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
)

type refundWish struct {
	MchID         string `json:"mchid"`
	OutTradeNo    string `json:"out_trade_no"`
	TransactionID string `json:"transaction_id"`
	OutRefundNo   string `json:"out_refund_no"`
	NotifyURL     string `json:"notify_url"`
	Amount        struct {
		Refund   int64             `json:"refund"`
		Total    int64             `json:"total"`
		Currency citygate.Currency `json:"currency"`
	} `json:"amount"`
}

// A shownRefund is what APIv3 tells of a refund.
type shownRefund struct {
	RefundID      string            `json:"refund_id,omitempty"`
	ID            string            `json:"id,omitempty"`
	OutRefundNo   string            `json:"out_refund_no"`
	TransactionID string            `json:"transaction_id"`
	OutTradeNo    string            `json:"out_trade_no"`
	Channel       string            `json:"channel"`
	Received      string            `json:"user_received_account"`
	SuccessTime   string            `json:"success_time,omitempty"`
	CreateTime    string            `json:"create_time"`
	Status        string            `json:"status,omitempty"`
	Amount        shownRefundAmount `json:"amount"`
}

type shownRefundAmount struct {
	Total         int64             `json:"total"`
	Refund        int64             `json:"refund"`
	PayerTotal    int64             `json:"payer_total"`
	PayerRefund   int64             `json:"payer_refund"`
	Currency      citygate.Currency `json:"currency"`
	PayerCurrency citygate.Currency `json:"payer_currency,omitempty"`
	Rate          *shownRate        `json:"exchange_rate,omitempty"`
}

func (s *Server) showRefund(o *order, r *refund) shownRefund {
	v := shownRefund{
		RefundID: r.id, OutRefundNo: r.outRefundNo, TransactionID: o.id, OutTradeNo: o.outTradeNo, Channel: "ORIGINAL", Received: "支付用户零钱",
		CreateTime: stamp(r.created), Status: "PROCESSING",
		Amount: shownRefundAmount{Total: o.amount, Refund: r.amount, PayerTotal: o.paid, PayerRefund: r.amount, Currency: o.currency},
	}
	switch {
	case r.abnormal:
		v.Status = "ABNORMAL"
	case !s.config.Clock().Before(r.at):
		v.Status, v.SuccessTime = success, stamp(r.at)
	}
	if o.kind == kindGlobal {
		v.RefundID, v.ID = "", r.id
		v.Amount.PayerCurrency = o.paidIn
		if o.rate > 0 {
			v.Amount.PayerRefund, v.Amount.Rate = exchanged(r.amount, o.rate), &shownRate{"USERPAYMENT_RATE", o.rate}
		}
	}
	return v
}

// refund is POST /v3/refund/domestic/refunds.
func (s *Server) refund(in asked) (any, fate) {
	o, r, refused, f := s.giveBack(in, kindCode, kindRide)
	if r == nil {
		return refused, f
	}
	return s.showRefund(o, r), f
}

// refundGlobal is POST /v3/global/refunds, whose answer has no status.
func (s *Server) refundGlobal(in asked) (any, fate) {
	o, r, refused, f := s.giveBack(in, kindGlobal)
	if r == nil {
		return refused, f
	}
	v := s.showRefund(o, r)
	v.Status, v.SuccessTime = "", ""
	return v, f
}

// giveBack makes a refund or finds it again: the one place where money moves out.
func (s *Server) giveBack(in asked, kinds ...string) (*order, *refund, problem, fate) {
	var w refundWish
	if !in.read(&w) || w.OutRefundNo == "" || len(w.OutRefundNo) > 64 || w.Amount.Refund <= 0 {
		return nil, nil, refusal(http.StatusBadRequest, "PARAM_ERROR", "out_refund_no or amount"), delivered
	}
	arm := s.Disarm()
	o := s.find(in.m, w.OutTradeNo)
	if o == nil || (o.kind != kinds[0] && o.kind != kinds[len(kinds)-1]) || !o.moved() {
		return nil, nil, refusal(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "no such paid order"), armFates[arm]
	}
	invalid := refusal(http.StatusBadRequest, "INVALID_REQUEST", "the amounts are not those of the order, or of the refund that has this number")
	for _, other := range in.m.orders {
		for _, r := range other.refunds {
			if r.outRefundNo == w.OutRefundNo {
				if other != o || r.amount != w.Amount.Refund {
					return nil, nil, invalid, armFates[arm]
				}
				return o, r, problem{}, armFates[arm]
			}
		}
	}
	if w.Amount.Total != o.amount || w.Amount.Currency != o.currency || w.Amount.Refund > o.left() || o.state == revoked {
		return nil, nil, invalid, armFates[arm]
	}
	now := s.config.Clock()
	s.acts++
	r := &refund{
		outRefundNo: w.OutRefundNo, id: "50" + now.In(beijing).Format("20060102") + cmp.Or(o.id[10:], "0"), amount: w.Amount.Refund,
		created: now, at: now.Add(s.config.RefundAfter), abnormal: chosen(s.config.Faults.Abnormal, w.OutRefundNo), seq: s.acts,
	}
	o.refunds = append(o.refunds, r)
	if o.repay == "NOT_REPAY" && o.left() == 0 {
		o.repay = "ALL_REFUND"
		if c := s.contracts[o.payer]; c != nil {
			c.owes -= o.amount
		}
	}
	if w.NotifyURL != "" {
		s.announceRefund(in.m, o, r, w.NotifyURL)
	}
	f := armFates[arm]
	if f == delivered {
		f = s.replyFault(in.m, w.OutRefundNo)
	}
	return o, r, problem{}, f
}

// queryRefund is GET /v3/refund/domestic/refunds/{no}.
func (s *Server) queryRefund(in asked) (any, fate) { return s.findRefund(in, kindCode, kindRide) }

// queryRefundGlobal is GET /v3/global/refunds/out-refund-no/{no}.
func (s *Server) queryRefundGlobal(in asked) (any, fate) { return s.findRefund(in, kindGlobal) }

func (s *Server) findRefund(in asked, kinds ...string) (any, fate) {
	for _, o := range in.m.orders {
		if o.kind != kinds[0] && o.kind != kinds[len(kinds)-1] {
			continue
		}
		for _, r := range o.refunds {
			if r.outRefundNo == in.path["no"] && !r.reversal {
				return s.showRefund(o, r), delivered
			}
		}
	}
	return refusal(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "no such refund"), delivered
}

// An Order is a payment as the platform's own book has it.
type Order struct {
	MchID      string
	OutTradeNo string
	ID         string
	Payer      string
	Amount     citygate.Money
	PaidBy     citygate.Money // what the payer paid, in his currency
	Fee        int64          // minor units, the merchant's
	State      string
	Paid       bool
	Repay      string // of an advanced order: NOT_REPAY, REPAID, ALL_REFUND
	At         time.Time
	Refunds    []Refund
	Seq        int // the place of the payment among all movements of money, from 1
}

// A Refund is money the platform gave back.
type Refund struct {
	OutRefundNo string // "" of a reversal
	Amount      citygate.Money
	At          time.Time
	Seq         int
}
