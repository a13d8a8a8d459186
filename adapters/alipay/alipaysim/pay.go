package alipaysim

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// waitLife is how long an order waits for its payer before it closes itself.
const waitLife = 3 * time.Minute

type payRequest struct {
	OutTradeNo      string `json:"out_trade_no"`
	TotalAmount     scalar `json:"total_amount"`
	Subject         string `json:"subject"`
	ProductCode     string `json:"product_code"`
	Scene           string `json:"scene"`
	AuthCode        string `json:"auth_code"`
	AgreementParams struct {
		AgreementNo string `json:"agreement_no"`
	} `json:"agreement_params"`
	IsAsyncPay bool `json:"is_async_pay"`
}

// pay is alipay.trade.pay: on a payment code, or on an agreement.
func (s *Server) pay(m *merchant, biz []byte) (any, fate) {
	var request payRequest
	amount := int64(0)
	err := json.Unmarshal(biz, &request)
	if err == nil {
		amount, err = fromYuan(request.TotalAmount)
	}
	if err != nil || amount <= 0 || request.OutTradeNo == "" || request.Subject == "" || strings.ContainsAny(request.Subject, "/=&") {
		return refusal("ACQ.INVALID_PARAMETER", "out_trade_no, total_amount or subject"), delivered
	}
	s.confirmWaiting(m)
	digest := sha256.Sum256(biz)
	if t := m.trades[request.OutTradeNo]; t != nil {
		return s.payAgain(t, digest)
	}
	arm := s.Disarm()
	rider, refused := s.payer(m, request)
	now := s.config.Clock()
	t := &trade{
		item:   offlineTrade{OutTradeNo: request.OutTradeNo, Amount: request.TotalAmount, Subject: request.Subject, UserID: rider},
		digest: digest, no: tradeNo(m.AppID, request.OutTradeNo, now), amount: amount, at: now, online: true, notifyURL: m.notifyURL,
	}
	m.trades[request.OutTradeNo] = t
	switch {
	case refused != "":
		t.declined = refused
	case arm == ArmDecline, s.isPoor(rider):
		t.declined = "ACQ.BUYER_BALANCE_NOT_ENOUGH"
	case s.banned[rider]:
		t.declined = "ACQ.BUYER_ENABLE_STATUS_FORBID"
	case arm == ArmWait, chosen(s.config.Faults.UserPaying, request.OutTradeNo), request.IsAsyncPay:
		t.waits = now.Add(s.retryAfter())
		return tradeAnswer{head: head{Code: "10003", Msg: "order success pay inprocess"}, OutTradeNo: request.OutTradeNo, TradeNo: t.no}, fateOf(arm)
	default:
		s.take(m, t, now)
	}
	fate := cmp.Or(fateOf(arm), s.replyFault(request.OutTradeNo))
	return t.payAnswer(), fate
}

// payAgain answers for an order number that was used before.
func (s *Server) payAgain(t *trade, digest [sha256.Size]byte) (any, fate) {
	switch {
	case t.digest != digest:
		return refusal("ACQ.CONTEXT_INCONSISTENT", "the number was used for another order"), delivered
	case t.closed:
		return refusal("ACQ.TRADE_HAS_CLOSE", "the order is closed"), delivered
	case t.paid:
		return refusal("ACQ.TRADE_HAS_SUCCESS", "the order was paid"), delivered
	case t.declined != "":
		return t.payAnswer(), delivered
	}
	return tradeAnswer{head: head{Code: "10003", Msg: "order success pay inprocess"}, OutTradeNo: t.item.OutTradeNo, TradeNo: t.no}, delivered
}

func (t *trade) payAnswer() any {
	if !t.paid {
		return refusal(t.declined, "not paid")
	}
	return tradeAnswer{
		head: ok, OutTradeNo: t.item.OutTradeNo, TradeNo: t.no, TotalAmount: toYuan(t.amount), BuyerPayAmount: toYuan(t.amount),
		ReceiptAmount: toYuan(t.amount), GmtPayment: text(t.at), BuyerUserID: t.item.UserID,
	}
}

// payer finds out who pays, or why nobody does.
func (s *Server) payer(m *merchant, r payRequest) (rider, refused string) {
	if r.ProductCode == "GENERAL_WITHHOLDING" {
		a := m.agreementBy("", r.AgreementParams.AgreementNo)
		switch {
		case a == nil:
			return "", "ACQ.AGREEMENT_NOT_EXIST"
		case a.status != "NORMAL":
			return a.rider, "ACQ.AGREEMENT_INVALID"
		}
		return a.rider, ""
	}
	code := r.AuthCode
	if r.Scene != "bar_code" || len(code) < 16 || len(code) > 24 || code[:2] < "25" || code[:2] > "30" || m.codes[code] {
		return "", "ACQ.PAYMENT_AUTH_CODE_INVALID"
	}
	m.codes[code] = true // a code pays once
	return "2088" + code[len(code)-12:], ""
}

// take moves the money of an online order.
func (s *Server) take(m *merchant, t *trade, now time.Time) {
	t.paid, t.waits, t.at, t.fee = true, time.Time{}, now, feeOf(t.amount, m.FeePPM)
	t.seq = s.acted()
	s.tell(m, t, "TRADE_SUCCESS", nil)
}

// confirmWaiting lets payers confirm whose time has come, and closes orders that
// nobody confirmed.
func (s *Server) confirmWaiting(m *merchant) {
	now := s.config.Clock()
	for _, t := range m.trades {
		if t.waits.IsZero() || t.paid || t.closed || now.Before(t.waits) {
			continue
		}
		if t.waits.After(t.at.Add(waitLife)) {
			t.closed = true
			s.tell(m, t, "TRADE_CLOSED", nil)
			continue
		}
		s.take(m, t, t.waits)
	}
}

// cancel is alipay.trade.cancel: it closes what is unpaid and gives back what is
// paid. Of an order it does not have it says yes and names no action.
func (s *Server) cancel(m *merchant, biz []byte) (any, fate) {
	var request tradeRequest
	if err := json.Unmarshal(biz, &request); err != nil || request.OutTradeNo == "" {
		return refusal("ACQ.INVALID_PARAMETER", "out_trade_no"), delivered
	}
	s.confirmWaiting(m)
	t, now := m.trades[request.OutTradeNo], s.config.Clock()
	answer := tradeAnswer{head: ok, OutTradeNo: request.OutTradeNo, RetryFlag: "N"}
	if t == nil || !t.online {
		return answer, delivered
	}
	fate := fateOf(s.Disarm())
	answer.TradeNo = t.no
	switch {
	case now.Sub(t.at) > cancelLife:
		return refusal("ACQ.TRADE_CANCEL_TIME_OUT", "too late"), fate
	case t.paid && t.refunded() < t.amount:
		t.refunds = append(t.refunds, refund{"CANCEL" + t.no, t.amount - t.refunded(), now, s.acted()})
		answer.Action = "refund"
	case t.paid:
		answer.Action = "refund"
	default:
		t.closed, answer.Action = true, "close"
	}
	s.tell(m, t, "TRADE_CLOSED", nil)
	return answer, fate
}

const cancelLife = 24 * time.Hour

// An agreement lets the merchant debit a rider.
type agreement struct {
	no, external, rider, status string
	signed                      time.Time
}

func (m *merchant) agreementBy(external, no string) *agreement {
	if external != "" {
		return m.agreements[external]
	}
	for _, a := range m.agreements {
		if a.no == no {
			return a
		}
	}
	return nil
}

// Sign confirms an agreement as a rider does in the wallet, and gives the
// platform's number of it.
func (s *Server) Sign(appID, external, rider string) (agreementNo string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[appID]
	if m == nil || external == "" || rider == "" {
		return "", fmt.Errorf("alipaysim: an agreement of %q needs a merchant, a number and a rider", appID)
	}
	return s.sign(m, external, rider, "").no, nil
}

func (s *Server) sign(m *merchant, external, rider, notifyURL string) *agreement {
	a := m.agreements[external]
	if a == nil || a.status != "NORMAL" {
		now := s.config.Clock()
		a = &agreement{no: now.In(beijing).Format("20060102") + fmt.Sprintf("%012d", rank(0, "agreement "+m.AppID, external)%1e12), external: external, rider: rider, status: "NORMAL", signed: now}
		m.agreements[external] = a
		s.tellAgreement(m, a, "dut_user_sign", notifyURL)
	}
	return a
}

type agreementRequest struct {
	ExternalAgreementNo string `json:"external_agreement_no"`
	AgreementNo         string `json:"agreement_no"`
}

func (s *Server) agreementQuery(m *merchant, biz []byte) (any, fate) {
	var request agreementRequest
	if err := json.Unmarshal(biz, &request); err != nil {
		return illegal("isv.invalid-parameter", "biz_content"), delivered
	}
	a, fate := m.agreementBy(request.ExternalAgreementNo, request.AgreementNo), s.lineFault()
	if a == nil {
		return refusal("USER_AGREEMENT_NOT_EXIST", "no such agreement"), fate
	}
	return struct {
		head
		AgreementNo         string `json:"agreement_no"`
		ExternalAgreementNo string `json:"external_agreement_no"`
		PrincipalID         string `json:"principal_id"`
		Status              string `json:"status"`
		SignTime            string `json:"sign_time"`
		ValidTime           string `json:"valid_time"`
		InvalidTime         string `json:"invalid_time"`
	}{ok, a.no, a.external, a.rider, a.status, text(a.signed), text(a.signed), "2115-02-01 00:00:00"}, fate
}

func (s *Server) unsign(m *merchant, biz []byte) (any, fate) {
	var request agreementRequest
	if err := json.Unmarshal(biz, &request); err != nil {
		return illegal("isv.invalid-parameter", "biz_content"), delivered
	}
	a, fate := m.agreementBy(request.ExternalAgreementNo, request.AgreementNo), s.lineFault()
	switch {
	case a == nil:
		return refusal("USER_AGREEMENT_NOT_EXIST", "no such agreement"), fate
	case a.status != "NORMAL":
		return refusal("AGREEMENT_HAS_UNSIGNED", "it was ended before"), fate
	}
	a.status = "UNSIGN"
	s.tellAgreement(m, a, "dut_user_unsign", "")
	return ok, fate
}

// page is the page of an agreement that a rider opens. Opening it confirms it,
// for a rider made of its number.
func (s *Server) page(m *merchant, biz []byte) (any, fate) {
	var request agreementRequest
	if err := json.Unmarshal(biz, &request); err != nil || request.ExternalAgreementNo == "" {
		return illegal("isv.invalid-parameter", "external_agreement_no"), delivered
	}
	rider := fmt.Sprintf("2088%012d", rank(0, "rider", request.ExternalAgreementNo)%1e12)
	a := s.sign(m, request.ExternalAgreementNo, rider, m.notifyURL)
	return struct {
		head
		AgreementNo string `json:"agreement_no"`
		UserID      string `json:"alipay_user_id"`
	}{ok, a.no, a.rider}, delivered
}
