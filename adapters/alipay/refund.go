package alipay

import (
	"context"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	methodRefund      = "alipay.trade.refund"
	methodRefundQuery = "alipay.trade.fastpay.refund.query"
)

type refundRequest struct {
	OutTradeNo   string `json:"out_trade_no"`
	RefundAmount string `json:"refund_amount"`
	OutRequestNo string `json:"out_request_no"`
	RefundReason string `json:"refund_reason,omitempty"`
}

type refundAnswer struct {
	OutTradeNo string `json:"out_trade_no"`
	TradeNo    string `json:"trade_no"`
	FundChange string `json:"fund_change"`
	RefundFee  string `json:"refund_fee"` // everything given back of the trade so far, not this refund
}

type refundQueryRequest struct {
	OutTradeNo   string `json:"out_trade_no"`
	OutRequestNo string `json:"out_request_no"`
}

type refundQueryAnswer struct {
	OutTradeNo   string `json:"out_trade_no"`
	OutRequestNo string `json:"out_request_no"`
	TradeNo      string `json:"trade_no"`
	RefundStatus string `json:"refund_status"`
	RefundAmount string `json:"refund_amount"`
	TotalAmount  string `json:"total_amount"`
}

// Refund implements [driver.Refunder]. The platform makes one refund of one
// out_request_no, however often it is asked. fund_change says whether this very
// call moved money: N is what a repetition gets, and also what a refund gets
// that has not been made, so it is not believed either way but looked up.
func (p *Provider) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := refundable(refund); err != nil {
		return driver.Result{}, err
	}
	var answer refundAnswer
	r, err := p.call(ctx, methodRefund, refundRequest{
		OutTradeNo:   refund.Charge.OurID,
		RefundAmount: yuan(refund.Amount.Minor),
		OutRequestNo: refund.OurID,
		RefundReason: refund.Reason,
	}, &answer)
	if err != nil {
		return driver.Result{}, err
	}
	result := driver.Result{OurID: refund.OurID, ReasonCode: clip(r.SubCode)}
	switch {
	case r.Code == codeWaiting:
		result.Outcome = driver.Accepted
		return result, nil
	case r.refusedBy(refundRefused):
		result.Outcome = driver.Declined
		return result, nil
	case r.Code != codeOK:
		return driver.Result{}, r.open(methodRefund)
	case answer.OutTradeNo != refund.Charge.OurID:
		return driver.Result{}, fmt.Errorf("alipay: refunded order %s, was told of %q", refund.Charge.OurID, clip(answer.OutTradeNo))
	case answer.FundChange != "Y":
		return p.QueryRefund(ctx, refund)
	}
	total, err := fen(answer.RefundFee)
	if err != nil {
		return driver.Result{}, err
	}
	if total < refund.Amount.Minor {
		return driver.Result{}, fmt.Errorf("alipay: refund %s of %s yuan, but only %s were ever given back", refund.OurID, yuan(refund.Amount.Minor), yuan(total))
	}
	result.Outcome, result.ProviderRef = driver.Succeeded, clip(answer.TradeNo)
	return result, nil
}

// QueryRefund implements [driver.Refunder]. An answer without refund_status
// means "not received, or failed, or asked too soon": Absent, never "no".
func (p *Provider) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := refundable(refund); err != nil {
		return driver.Result{}, err
	}
	var answer refundQueryAnswer
	r, err := p.call(ctx, methodRefundQuery, refundQueryRequest{refund.Charge.OurID, refund.OurID}, &answer)
	if err != nil {
		return driver.Result{}, err
	}
	result := driver.Result{OurID: refund.OurID, ReasonCode: clip(r.SubCode)}
	switch {
	case refusing[r.Code] && r.SubCode == noTrade:
		result.Outcome = driver.Absent
		return result, nil
	case r.Code != codeOK:
		return driver.Result{}, r.open(methodRefundQuery)
	case answer.RefundStatus == "":
		result.Outcome = driver.Absent
		return result, nil
	case answer.RefundStatus != "REFUND_SUCCESS":
		result.Outcome, result.ReasonCode = driver.Unknown, clip(answer.RefundStatus)
		return result, nil
	case answer.OutRequestNo != refund.OurID || answer.OutTradeNo != refund.Charge.OurID:
		return driver.Result{}, fmt.Errorf("alipay: asked for refund %s, was told of %q", refund.OurID, clip(answer.OutRequestNo))
	}
	given, err := fen(answer.RefundAmount)
	if err != nil {
		return driver.Result{}, err
	}
	if given != refund.Amount.Minor {
		return driver.Result{}, fmt.Errorf("alipay: refund %s is of %s yuan there and of %s here", refund.OurID, yuan(given), yuan(refund.Amount.Minor))
	}
	result.Outcome, result.ProviderRef = driver.Succeeded, clip(answer.TradeNo)
	return result, nil
}

func refundable(refund driver.Refund) error {
	if err := priced(refund.OurID, refund.Amount); err != nil {
		return err
	}
	return priced(refund.Charge.OurID, citygate.Money{Minor: refund.Amount.Minor, Currency: refund.Amount.Currency})
}
