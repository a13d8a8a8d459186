package alipay

import (
	"context"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const methodQuery = "alipay.trade.query"

type queryRequest struct {
	OutTradeNo string `json:"out_trade_no"`
}

type queryAnswer struct {
	OutTradeNo     string `json:"out_trade_no"`
	TradeNo        string `json:"trade_no"`
	TradeStatus    string `json:"trade_status"`
	TotalAmount    string `json:"total_amount"`
	BuyerPayAmount string `json:"buyer_pay_amount"`
	SendPayDate    string `json:"send_pay_date"`
}

// Query implements [driver.Provider]. It asks by our number alone: the
// platform prefers its own when both are given, and a wrong one would answer
// for another order.
func (p *Provider) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if err := priced(ref.OurID, ref.Amount); err != nil {
		return driver.Result{}, err
	}
	var answer queryAnswer
	r, err := p.call(ctx, methodQuery, queryRequest{ref.OurID}, &answer)
	if err != nil {
		return driver.Result{}, err
	}
	result := driver.Result{OurID: ref.OurID, ReasonCode: clip(r.SubCode)}
	switch {
	case r.Code == codeWaiting:
		result.Outcome = driver.Accepted
		return result, nil
	case refusing[r.Code] && r.SubCode == noTrade:
		result.Outcome = driver.Absent
		return result, nil
	case r.Code != codeOK:
		return driver.Result{}, r.open(methodQuery)
	}
	if err := answer.names(ref.OurID, ref.Amount); err != nil {
		return driver.Result{}, err
	}
	result.ProviderRef = clip(answer.TradeNo)
	result.ReasonCode = clip(answer.TradeStatus)
	if result.Outcome, err = answer.outcome(); err == nil && result.Outcome == driver.Succeeded && answer.TradeStatus == "TRADE_CLOSED" {
		result.Returned = ref.Amount // closed after it was paid: all of it went back
	}
	return result, err
}

// names checks that the answer speaks of the order that was asked for, at the
// amount that was asked for; otherwise it answers nothing.
func (a queryAnswer) names(ourID string, amount citygate.Money) error {
	if a.OutTradeNo != ourID {
		return fmt.Errorf("alipay: asked for order %s, was told of %q", ourID, clip(a.OutTradeNo))
	}
	total, err := fen(a.TotalAmount)
	if err != nil {
		return err
	}
	if total != amount.Minor {
		return fmt.Errorf("alipay: order %s is of %s yuan there and of %s here", ourID, yuan(total), yuan(amount.Minor))
	}
	return nil
}

// outcome reads the status. TRADE_CLOSED alone does not say whether money
// moved: it stands for an order that was never paid and for one that was paid
// and given back in full. Only the payment's own facts tell them apart.
func (a queryAnswer) outcome() (driver.Outcome, error) {
	switch a.TradeStatus {
	case "TRADE_SUCCESS", "TRADE_FINISHED":
		return driver.Succeeded, nil
	case "WAIT_BUYER_PAY":
		return driver.Accepted, nil
	case "TRADE_CLOSED":
		if a.SendPayDate != "" {
			return driver.Succeeded, nil
		}
		if paid, err := fen(a.BuyerPayAmount); err == nil && paid == 0 {
			return driver.Declined, nil
		}
	}
	return driver.Unknown, fmt.Errorf("alipay: order %s: status %q settles nothing", a.OutTradeNo, clip(a.TradeStatus))
}
