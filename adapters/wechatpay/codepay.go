package wechatpay

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	pathCodePay = "/v3/pay/transactions/codepay"
	pathOrder   = "/v3/pay/transactions/out-trade-no/"

	reverseAfter   = 15 * time.Second   // of a payment: earlier the platform may not have decided
	reverseWithin  = 7 * 24 * time.Hour // afterwards only a refund is possible
	codeQueryDelay = 5 * time.Second    // after a system error the platform wants this long
	codeDigits     = 18
	payerEvery     = 10 * time.Second // while the payer types a password: the platform wants at least this
)

// paymentCodes are what wallets show.
var paymentCodes = []driver.CodeForm{{From: "10", To: "15", Min: codeDigits, Max: codeDigits}}

// codePay collects by a payment code that the rider showed: 18 digits. A code is
// good for a minute, so a payment is not sent again; it is asked for.
type codePay struct{ *client }

type codePayRequest struct {
	AppID       string    `json:"appid"`
	MchID       string    `json:"mchid"`
	Description string    `json:"description"`
	OutTradeNo  string    `json:"out_trade_no"`
	Payer       codePayer `json:"payer"`
	Amount      amount    `json:"amount"`
	Scene       *scene    `json:"scene_info,omitempty"`
}

type codePayer struct {
	AuthCode string `json:"auth_code"`
}

type scene struct {
	Store *Store `json:"store_info,omitempty"`
}

// Describe implements [driver.Provider].
func (p *codePay) Describe() driver.Description {
	d := p.describe("v3-codepay", false)
	d.Limits.ReverseAfter, d.Limits.ReverseWithin = reverseAfter, reverseWithin
	d.Limits.QueryDelay = codeQueryDelay
	d.PaymentCodes, d.Limits.PayerEvery = paymentCodes, payerEvery
	return d
}

// Submit implements [driver.Provider].
func (p *codePay) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) == 0 {
		return nil, nil
	}
	d, err := p.single(debits)
	if err != nil {
		return nil, err
	}
	shown, err := paymentCode(d)
	if err != nil {
		return nil, err
	}
	request := codePayRequest{
		AppID: p.config.AppID, MchID: p.config.MchID, Description: fitted(d.Subject, subject, descriptionMax),
		OutTradeNo: d.OurID, Payer: codePayer{shown}, Amount: amount{d.Amount.Minor, d.Amount.Currency},
	}
	if p.config.Store != (Store{}) {
		request.Scene = &scene{&p.config.Store}
	}
	var answer transaction
	r, err := p.call(ctx, http.MethodPost, pathCodePay, request, &answer)
	return one(p.paid(r, err, answer, "codepay", d))
}

// paymentCode gives the code of a debit.
func paymentCode(d driver.Debit) (string, error) {
	shown := d.AuthCode.Reveal()
	if len(shown) != codeDigits {
		return "", fmt.Errorf("%w: debit %s: want a payment code of %d digits", driver.ErrNotPerformed, d.OurID, codeDigits)
	}
	for _, c := range shown {
		if c < '0' || c > '9' {
			return "", fmt.Errorf("%w: debit %s: the payment code has other characters than digits", driver.ErrNotPerformed, d.OurID)
		}
	}
	return string(shown), nil
}

// Query implements [driver.Provider].
func (p *codePay) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	return p.query(ctx, pathOrder+ref.OurID+"?"+url.Values{"mchid": {p.config.MchID}}.Encode(), ref)
}

type reverseRequest struct {
	AppID string `json:"appid"`
	MchID string `json:"mchid"`
}

// Reverse implements [driver.Reverser]. The platform answers the same whether it
// closed an unpaid order, gave money back or had never heard of the number, so a
// yes is read as closed: the query that follows knows better.
func (p *codePay) Reverse(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
	return p.reverse(ctx, pathOrder+ref.OurID+"/reverse", reverseRequest{p.config.AppID, p.config.MchID}, ref)
}

// reverseRefused are codes with which the payment stays as it was.
var reverseRefused = map[string]bool{"REVERSE_EXPIRE": true, "TRADE_STATE_ERROR": true}

func (c *client) reverse(ctx context.Context, target string, in any, ref driver.Ref) (driver.Reversal, string, error) {
	if err := c.priced(ref.OurID, ref.Amount); err != nil {
		return driver.ReversalUnknown, "", err
	}
	r, err := c.call(ctx, http.MethodPost, target, in, nil)
	switch {
	case err != nil:
		return driver.ReversalUnknown, "", err
	case r.ok():
		return driver.ReversalClosed, "", nil
	case r.status >= 400 && r.status < 500 && reverseRefused[r.Code]:
		return driver.ReversalRefused, clip(r.Code), nil
	}
	return driver.ReversalUnknown, "", r.open("reverse")
}
