package wechatpay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The whole answers to a notification. The platform looks at the status alone in
// APIv3, and at the text in APIv2.
var (
	ackTaken   = driver.Ack{Status: http.StatusNoContent}
	ackRefused = driver.Ack{
		Status: http.StatusUnauthorized, ContentType: "application/json",
		Body: []byte(`{"code":"FAIL","message":"not proven"}`),
	}
	ackUnread = driver.Ack{
		Status: http.StatusBadRequest, ContentType: "application/json",
		Body: []byte(`{"code":"FAIL","message":"not understood"}`),
	}
	ack2Taken   = driver.Ack{Status: http.StatusOK, ContentType: "text/xml", Body: []byte("<xml><return_code><![CDATA[SUCCESS]]></return_code><return_msg><![CDATA[OK]]></return_msg></xml>")}
	ack2Refused = driver.Ack{Status: http.StatusUnauthorized, ContentType: "text/xml", Body: []byte("<xml><return_code><![CDATA[FAIL]]></return_code><return_msg><![CDATA[not proven]]></return_msg></xml>")}
)

const notifyMax = 1 << 20

type notification struct {
	ID           string    `json:"id"`
	CreateTime   time.Time `json:"create_time"`
	EventType    string    `json:"event_type"`
	ResourceType string    `json:"resource_type"`
	Resource     sealed    `json:"resource"`
}

// ParseNotify implements [driver.Notifier].
func (p *ride) ParseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	return p.parseNotify(ctx, n)
}

// ParseNotify implements [driver.Notifier].
func (p *codePay) ParseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	return p.parseNotify(ctx, n)
}

// parseNotify proves an APIv3 notification by its signature, then opens what it
// carries. A signature probe is refused like any bad signature.
func (c *client) parseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	if len(n.Body) > notifyMax {
		return driver.Notice{}, ackRefused, errors.New("wechatpay: a notification of more than 1 MiB")
	}
	if err := c.proven(ctx, n.Header, n.Body); err != nil {
		return driver.Notice{}, ackRefused, withoutCertainty(err)
	}
	var in notification
	if err := json.Unmarshal(n.Body, &in); err != nil || in.ResourceType != "encrypt-resource" {
		return driver.Notice{}, ackUnread, errors.New("wechatpay: a notification without a resource")
	}
	text, err := in.Resource.open(c.config.APIv3Key)
	if err != nil {
		return driver.Notice{}, ackUnread, err
	}
	notice, err := c.notice(in.EventType, text)
	if err != nil {
		return driver.Notice{}, ackUnread, err
	}
	notice.ID = clip(in.ID)
	return notice, ackTaken, nil
}

// notice reads what a notification carries. Its amounts are checked against the
// charge by whoever has it.
func (c *client) notice(event string, text []byte) (driver.Notice, error) {
	switch {
	case strings.HasPrefix(event, "TRANSACTION."):
		var t transaction
		if err := json.Unmarshal(text, &t); err != nil || t.OutTradeNo == "" {
			return driver.Notice{}, errors.New("wechatpay: a notice of no payment")
		}
		return c.paymentNotice(t)
	case strings.HasPrefix(event, "REFUND."):
		return c.refundNotice(text)
	}
	return driver.Notice{Kind: driver.NoticeOther}, nil
}

func (c *client) paymentNotice(t transaction) (driver.Notice, error) {
	if of := orText(t.MchID, t.SpMchID); of != "" && of != c.config.MchID {
		return driver.Notice{}, errors.New("wechatpay: a notice for another merchant")
	}
	asked := citygate.Money{Currency: orCurrency(t.Amount.Currency, c.config.Currency)}
	if t.Amount.Total != nil {
		asked.Minor = *t.Amount.Total
	}
	result, err := t.settles(c, t.OutTradeNo, asked)
	if err != nil {
		return driver.Notice{}, err
	}
	return driver.Notice{Kind: driver.NoticePayment, Result: result, ChargeID: t.OutTradeNo}, nil
}

// A refundNote is a refund as a notification tells of it: it is named otherwise
// than in an answer.
type refundNote struct {
	MchID       string `json:"mchid"`
	OutTradeNo  string `json:"out_trade_no"`
	OutRefundNo string `json:"out_refund_no"`
	RefundID    string `json:"refund_id"`
	Status      string `json:"refund_status"`
	Amount      struct {
		Refund   int64             `json:"refund"`
		Currency citygate.Currency `json:"currency"`
	} `json:"amount"`
}

func (c *client) refundNotice(text []byte) (driver.Notice, error) {
	var r refundNote
	if err := json.Unmarshal(text, &r); err != nil || r.OutRefundNo == "" {
		return driver.Notice{}, errors.New("wechatpay: a notice of no refund")
	}
	if r.MchID != "" && r.MchID != c.config.MchID {
		return driver.Notice{}, errors.New("wechatpay: a notice for another merchant")
	}
	return driver.Notice{Kind: driver.NoticeRefund, ChargeID: r.OutTradeNo, Result: driver.Result{
		OurID: r.OutRefundNo, Outcome: refundStates[r.Status], ProviderRef: clip(r.RefundID), ReasonCode: clip(r.Status),
		Amount: citygate.Money{Minor: r.Amount.Refund, Currency: orCurrency(r.Amount.Currency, c.config.Currency)},
	}}, nil
}

func orCurrency(c, otherwise citygate.Currency) citygate.Currency {
	if c == "" {
		return otherwise
	}
	return c
}

// ParseNotify implements [driver.Notifier]: payments come as signed XML, refunds
// as APIv3. APIv2 tells of success alone.
func (p *rideV2) ParseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	if len(http.Header(n.Header).Values("Wechatpay-Signature")) > 0 {
		return p.parseNotify(ctx, n)
	}
	if len(n.Body) > notifyMax {
		return driver.Notice{}, ack2Refused, errors.New("wechatpay: a notification of more than 1 MiB")
	}
	in, err := decode(n.Body)
	if err != nil {
		return driver.Notice{}, ack2Refused, err
	}
	if err := in.proven(p.config.APIv2Key); err != nil {
		return driver.Notice{}, ack2Refused, err
	}
	if in["appid"] != p.config.AppID || in["mch_id"] != p.config.MchID || in["out_trade_no"] == "" {
		return driver.Notice{}, ack2Refused, errors.New("wechatpay: a notice for another merchant, or of no payment")
	}
	if in["return_code"] != v2Success || in["result_code"] != v2Success {
		return driver.Notice{Kind: driver.NoticeOther}, ack2Taken, nil
	}
	if in["trade_state"] == "" {
		in["trade_state"] = stateSuccess // a notice is of success, and does not say so
	}
	t, err := v2Transaction(in)
	if err != nil {
		return driver.Notice{}, ack2Refused, err
	}
	notice, err := p.paymentNotice(t)
	if err != nil {
		return driver.Notice{}, ack2Refused, fmt.Errorf("wechatpay: %w", err)
	}
	notice.ID = clip(in["transaction_id"])
	return notice, ack2Taken, nil
}
