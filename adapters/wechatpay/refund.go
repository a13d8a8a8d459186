package wechatpay

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	pathRefund = "/v3/refund/domestic/refunds"
	reasonMax  = 80
)

type refundRequest struct {
	SubMchID    string       `json:"sub_mchid,omitempty"`
	OutTradeNo  string       `json:"out_trade_no"`
	OutRefundNo string       `json:"out_refund_no"`
	Reason      string       `json:"reason,omitempty"`
	NotifyURL   string       `json:"notify_url,omitempty"`
	Amount      refundAmount `json:"amount"`
}

type refundAmount struct {
	Refund   int64             `json:"refund"`
	Total    int64             `json:"total"`
	Currency citygate.Currency `json:"currency"`
}

// A refunded is a refund as the platform tells of it.
type refunded struct {
	RefundID    string `json:"refund_id"`
	OutRefundNo string `json:"out_refund_no"`
	OutTradeNo  string `json:"out_trade_no"`
	Status      string `json:"status"`
	Amount      struct {
		Refund   *int64            `json:"refund"`
		Currency citygate.Currency `json:"currency"`

		// Of Global: what goes back to the payer, at the platform's rate of then.
		PayerRefund   int64             `json:"payer_refund"`
		PayerCurrency citygate.Currency `json:"payer_currency"`
		ExchangeRate  *exchangeRate     `json:"exchange_rate"`
	} `json:"amount"`
}

// refundStates are what the states mean. ABNORMAL is not among them: the payer's
// bank sent the money back to the platform, and a person has to say where to.
var refundStates = map[string]driver.Outcome{
	"SUCCESS":     driver.Succeeded,
	"PROCESSING":  driver.Accepted,
	"CLOSED":      driver.Declined,
	"CLOSE":       driver.Declined, // as the API description lists it
	"REFUNDCLOSE": driver.Declined, // Global
}

// refundRefused are codes that say for good that a refund will not be made. That
// more is asked back than is left is not among them: the platform says
// INVALID_REQUEST then, as it does when the number is used with another amount.
var refundRefused = map[string]bool{"REFUND_FEE_MISMATCH": true, "TRADE_OVERDUE": true}

// refundLater are codes with which a refund was not made and can be sent again.
var refundLater = map[string]bool{"NOT_ENOUGH": true}

// Refund implements [driver.Refunder]. The platform makes one refund of one
// out_refund_no, however often it is asked.
func (p *ride) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.refund(ctx, refund)
}

// QueryRefund implements [driver.Refunder].
func (p *ride) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.queryRefund(ctx, refund)
}

// Refund implements [driver.Refunder].
func (p *codePay) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.refund(ctx, refund)
}

// QueryRefund implements [driver.Refunder].
func (p *codePay) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.queryRefund(ctx, refund)
}

func (c *client) refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := c.refundable(refund); err != nil {
		return driver.Result{}, err
	}
	var answer refunded
	r, err := c.call(ctx, http.MethodPost, pathRefund, refundRequest{
		SubMchID: c.config.SubMchID, OutTradeNo: refund.Charge.OurID, OutRefundNo: refund.OurID,
		Reason: fitted(refund.Reason, "", reasonMax), NotifyURL: c.config.NotifyURL,
		Amount: refundAmount{refund.Amount.Minor, refund.Charge.Amount.Minor, refund.Amount.Currency},
	}, &answer)
	return c.gaveBack(r, err, answer, refund, "refund")
}

// gaveBack reads the answer to a request to refund.
func (c *client) gaveBack(r reply, err error, answer refunded, refund driver.Refund, what string) (driver.Result, error) {
	switch {
	case err != nil:
		return driver.Result{}, err
	case r.status == http.StatusOK:
		return answer.settles(refund)
	case r.status >= 400 && r.status < 500 && refundRefused[r.Code]:
		return driver.Result{OurID: refund.OurID, Outcome: driver.Declined, ReasonCode: clip(r.Code)}, nil
	case r.status >= 400 && r.status < 500 && refundLater[r.Code]:
		return driver.Result{}, fmt.Errorf("%w: wechatpay: %s refused: %s", driver.ErrNotPerformed, what, r)
	}
	return driver.Result{}, r.open(what)
}

func (c *client) queryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := c.refundable(refund); err != nil {
		return driver.Result{}, err
	}
	target := pathRefund + "/" + refund.OurID
	if c.config.SubMchID != "" {
		target += "?sub_mchid=" + c.config.SubMchID
	}
	return c.askRefund(ctx, target, refund)
}

func (c *client) askRefund(ctx context.Context, target string, refund driver.Refund) (driver.Result, error) {
	var answer refunded
	r, err := c.call(ctx, http.MethodGet, target, nil, &answer)
	switch {
	case err != nil:
		return driver.Result{}, err
	case r.status == http.StatusOK:
		return answer.settles(refund)
	case r.missing():
		return driver.Result{OurID: refund.OurID, Outcome: driver.Absent, ReasonCode: clip(r.Code)}, nil
	}
	return driver.Result{}, r.open("refund query")
}

// settles gives the result of what the platform tells of a refund, provided that
// it tells of the one that was asked for, at the amount that was asked for.
func (a refunded) settles(refund driver.Refund) (driver.Result, error) {
	if a.OutRefundNo != refund.OurID || (a.OutTradeNo != "" && a.OutTradeNo != refund.Charge.OurID) {
		return driver.Result{}, fmt.Errorf("wechatpay: asked for refund %s, was told of %q", refund.OurID, clip(a.OutRefundNo))
	}
	if a.Amount.Refund == nil || *a.Amount.Refund != refund.Amount.Minor || (a.Amount.Currency != "" && a.Amount.Currency != refund.Amount.Currency) {
		return driver.Result{}, fmt.Errorf("wechatpay: refund %s is of another amount there", refund.OurID)
	}
	result := driver.Result{
		OurID: refund.OurID, Outcome: refundStates[a.Status], ProviderRef: clip(a.RefundID), ReasonCode: clip(a.Status), Amount: refund.Amount,
	}
	if result.Outcome == driver.Succeeded {
		back := paidOrder{PayerTotal: a.Amount.PayerRefund, PayerCurrency: a.Amount.PayerCurrency, ExchangeRate: a.Amount.ExchangeRate}
		result.Exchange = back.exchanged(refund.Amount)
	}
	return result, nil
}

func (c *client) refundable(refund driver.Refund) error {
	if err := c.priced(refund.OurID, refund.Amount); err != nil {
		return err
	}
	if err := c.priced(refund.Charge.OurID, refund.Charge.Amount); err != nil {
		return err
	}
	if refund.Amount.Minor > refund.Charge.Amount.Minor {
		return fmt.Errorf("%w: refund %s is of more than the charge", driver.ErrNotPerformed, refund.OurID)
	}
	return nil
}
