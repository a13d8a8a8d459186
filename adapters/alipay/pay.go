package alipay

import (
	"context"
	"fmt"

	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	methodPay    = "alipay.trade.pay"
	methodCancel = "alipay.trade.cancel"
)

// A payRequest is biz_content of trade.pay. It depends on the debit alone.
type payRequest struct {
	OutTradeNo      string           `json:"out_trade_no"`
	TotalAmount     string           `json:"total_amount"`
	Subject         string           `json:"subject"`
	ProductCode     string           `json:"product_code"`
	Scene           string           `json:"scene,omitempty"`
	AuthCode        string           `json:"auth_code,omitempty"`
	AgreementParams *agreementParams `json:"agreement_params,omitempty"`
	TimeoutExpress  string           `json:"timeout_express,omitempty"`
}

type agreementParams struct {
	AgreementNo string `json:"agreement_no"`
}

type payAnswer struct {
	OutTradeNo       string `json:"out_trade_no"`
	TradeNo          string `json:"trade_no"`
	TotalAmount      string `json:"total_amount"`
	AsyncPaymentMode string `json:"async_payment_mode"`
	AdvanceAmount    string `json:"advance_amount"`
}

// pay collects one debit by trade.pay: on the rider's agreement, or on a code
// read from his phone.
func (p *Provider) pay(ctx context.Context, d driver.Debit) (driver.Result, error) {
	request, err := p.payment(d)
	if err != nil {
		return driver.Result{}, err
	}
	var answer payAnswer
	r, err := p.call(ctx, methodPay, request, &answer)
	if err != nil {
		return driver.Result{}, err
	}
	result := driver.Result{OurID: d.OurID, ReasonCode: clip(r.SubCode)}
	switch {
	case r.Code == codeWaiting:
		result.Outcome, result.ProviderRef = driver.Accepted, clip(answer.TradeNo)
		return result, nil
	case refusing[r.Code] && r.SubCode == paidBefore:
		// The order is paid, by an earlier request whose answer was lost. Whether
		// it is this debit only the order itself can tell.
		return p.Query(ctx, driver.Ref{OurID: d.OurID, Amount: d.Amount})
	case r.refusedBy(payRefused):
		result.Outcome = driver.Declined
		return result, nil
	case r.Code != codeOK:
		return driver.Result{}, r.open(methodPay)
	}
	if err := (queryAnswer{OutTradeNo: answer.OutTradeNo, TotalAmount: answer.TotalAmount}).names(d.OurID, d.Amount); err != nil {
		return driver.Result{}, err
	}
	result.Outcome, result.ProviderRef = driver.Succeeded, clip(answer.TradeNo)
	if mode := answer.AsyncPaymentMode; mode != "" && mode != "SYNC_DIRECT_PAYMENT" {
		result.Outcome, result.ReasonCode = driver.Accepted, clip(mode) // taken, and paid later or not
	}
	if advanced, err := fen(answer.AdvanceAmount); err == nil && advanced > 0 {
		result.Advance = driver.AdvanceOwed
	}
	return result, nil
}

func (p *Provider) payment(d driver.Debit) (payRequest, error) {
	if err := priced(d.OurID, d.Amount); err != nil {
		return payRequest{}, err
	}
	request := payRequest{OutTradeNo: d.OurID, TotalAmount: yuan(d.Amount.Minor), Subject: subject(d.Subject)}
	switch {
	case p.config.Collect == Barcode:
		code := string(d.AuthCode.Reveal())
		if !authCode(code) {
			return request, fmt.Errorf("%w: debit %s has no payment code of the platform", driver.ErrNotPerformed, d.OurID)
		}
		request.ProductCode, request.Scene, request.AuthCode = "FACE_TO_FACE_PAYMENT", "bar_code", code
		request.TimeoutExpress = "3m" // an order that nobody confirms closes itself
	case d.RiderRef == "":
		return request, fmt.Errorf("%w: debit %s has no agreement", driver.ErrNotPerformed, d.OurID)
	default:
		request.ProductCode, request.AgreementParams = "GENERAL_WITHHOLDING", &agreementParams{d.RiderRef}
	}
	return request, nil
}

// subject is the text on the rider's receipt; the platform takes no / = & in it
// and none that is empty.
func subject(text string) string {
	out := []rune(text)
	for i, r := range out {
		if r == '/' || r == '=' || r == '&' || r < ' ' {
			out[i] = ' '
		}
	}
	if len(out) == 0 {
		return "乘车"
	}
	return string(out[:min(len(out), 256)])
}

// authCode reports whether s has the form of a payment code: 16 to 24 digits
// that begin with 25 to 30, or a face code.
func authCode(s string) bool {
	if len(s) == 35 && s[:2] == "fp" {
		return true
	}
	return len(s) >= 16 && digits(s, 24) && s[:2] >= "25" && s[:2] <= "30"
}

type cancelRequest struct {
	OutTradeNo string `json:"out_trade_no"`
}

type cancelAnswer struct {
	OutTradeNo string `json:"out_trade_no"`
	Action     string `json:"action"`
	RetryFlag  string `json:"retry_flag"`
}

// Reverse implements [driver.Reverser]. The platform says yes also for an order
// it never had; then it names no action, and nothing is known.
func (p *Provider) Reverse(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
	if !plainID(ref.OurID) {
		return driver.ReversalUnknown, "", fmt.Errorf("%w: id %q", driver.ErrNotPerformed, clip(ref.OurID))
	}
	var answer cancelAnswer
	r, err := p.call(ctx, methodCancel, cancelRequest{ref.OurID}, &answer)
	if err != nil {
		return driver.ReversalUnknown, "", err
	}
	switch {
	case r.refusedBy(cancelRefused):
		return driver.ReversalRefused, clip(r.SubCode), nil
	case r.Code != codeOK:
		return driver.ReversalUnknown, "", r.open(methodCancel)
	case answer.OutTradeNo != ref.OurID:
		return driver.ReversalUnknown, "", fmt.Errorf("alipay: cancelled order %s, was told of %q", ref.OurID, clip(answer.OutTradeNo))
	}
	return answer.reversal(), clip(answer.Action), nil
}

func (a cancelAnswer) reversal() driver.Reversal {
	switch {
	case a.RetryFlag == "Y":
		return driver.ReversalUnknown
	case a.Action == "close":
		return driver.ReversalClosed
	case a.Action == "refund":
		return driver.ReversalGiven
	}
	return driver.ReversalUnknown
}
