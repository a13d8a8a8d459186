package alipayplus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// acknowledged is what the platform wants to hear, byte for byte. It need not be
// signed.
const acknowledged = `{"result":{"resultCode":"SUCCESS","resultStatus":"S","resultMessage":"success"}}`

// ParseNotify implements [driver.Notifier]. It is signed for the path that the
// platform was told, which a proxy in front of us may have changed since.
func (p *Provider) ParseNotify(_ context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	refused := driver.Ack{Status: http.StatusUnauthorized}
	if int64(len(n.Body)) > wire.CallLimit {
		return driver.Notice{}, refused, wire.ErrTooLarge
	}
	header := func(name string) string { return textproto.MIMEHeader(n.Header).Get(name) }
	if header(headerClient) != p.config.ClientID {
		return driver.Notice{}, refused, fmt.Errorf("%w: for another client", errUnproven)
	}
	said := content(n.Method, p.notify, p.config.ClientID, header(headerRequestTime), n.Body)
	if err := p.proven(header(headerSignature), said); err != nil {
		return driver.Notice{}, refused, err
	}
	var a answer
	if err := read(n.Body, &a); err != nil {
		return driver.Notice{}, refused, err
	}
	taken := driver.Ack{Status: http.StatusOK, ContentType: "application/json; charset=UTF-8", Body: []byte(acknowledged)}
	notice, err := p.notice(&a)
	if err != nil {
		return driver.Notice{}, refused, err
	}
	return notice, taken, nil
}

// notice reads what a proven notification says. An amount in the fares' currency
// is named as such; one in the payer's is part of the exchange, and the gateway
// compares it with the quote of the charge.
func (p *Provider) notice(a *answer) (driver.Notice, error) {
	if a.DisputeID != "" || a.DisputeType != "" {
		return disputed(a), nil
	}
	result := a.Result
	if a.PaymentResult != nil {
		result = *a.PaymentResult
	}
	if a.RefundRequestID != "" {
		r := driver.Result{OurID: a.RefundRequestID, ProviderRef: clip(a.RefundID), ReasonCode: result.why()}
		switch a.RefundStatus {
		case "SUCCESS":
			r.Outcome = driver.Succeeded
		case "FAIL":
			r.Outcome = driver.Declined
		}
		err := p.fill(&r, a, a.RefundAmount, a.GrossRefundSettlement)
		return driver.Notice{Kind: driver.NoticeRefund, ChargeID: a.RequestID, Result: r}, err
	}
	if a.RequestID == "" {
		return driver.Notice{Kind: driver.NoticeOther}, nil
	}
	r := driver.Result{OurID: a.RequestID, ProviderRef: clip(a.PaymentID), ReasonCode: result.why()}
	switch {
	case a.NotifyType == "PAYMENT_PENDING":
		r.Outcome = driver.Accepted
	case result.Status == statusYes:
		r.Outcome = driver.Succeeded
	case result.Status == statusNo && declined[result.Code]:
		r.Outcome = driver.Declined
	}
	err := p.fill(&r, a, a.PaymentAmount, a.GrossSettlement)
	return driver.Notice{Kind: driver.NoticePayment, Result: r}, err
}

// disputed reads a notification of a dispute (notifyDispute of Antom): that it began, was
// judged or withdrawn, or that there is a day to answer by. It is noted and moves no money:
// what a dispute takes, and gives back, are rows of the file with numbers of their own, and
// what is documented does not say that such a number is the dispute's.
func disputed(a *answer) driver.Notice {
	why := a.DisputeType
	if a.DisputeResult != "" {
		why += " " + a.DisputeResult
	}
	taken := driver.Taken{Reference: clip(a.DisputeID), State: driver.TakenOther, FeeUnsaid: true, ReasonCode: clip(why)}
	if at, err := time.Parse(time.RFC3339, a.DisputeTime); err == nil {
		taken.At = at.UTC()
	}
	return driver.Notice{Kind: driver.NoticeReversal, ChargeID: a.RequestID, Taken: taken}
}

func (p *Provider) fill(r *driver.Result, a *answer, paid, settled *amount) error {
	m, err1 := paid.money()
	e, err2 := a.exchange(paid, settled, a.Settlement)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if m.Currency == p.config.Currency {
		r.Amount = m
	}
	r.Exchange = domestic(e, r.Amount)
	if r.Outcome == driver.Succeeded && m == (citygate.Money{}) {
		return errors.New("alipayplus: a notification of a payment without an amount")
	}
	return nil
}

// CertifyDevice implements [driver.DeviceEnroller].
func (p *Provider) CertifyDevice(ctx context.Context, ourID string, devicePublicKey []byte) ([]byte, error) {
	if ourID == "" || len(ourID) > idMax || len(devicePublicKey) == 0 {
		return nil, fmt.Errorf("%w: a device needs a number and a key", driver.ErrNotPerformed)
	}
	var a struct {
		Result      result `json:"result"`
		Certificate string `json:"deviceCertificate"`
	}
	request := map[string]string{"deviceRequestId": ourID, "devicePublicKey": base64.StdEncoding.EncodeToString(devicePublicKey)}
	if err := p.ask(ctx, opCertificate, request, &a); err != nil {
		return nil, err
	}
	certificate, err := base64.StdEncoding.DecodeString(a.Certificate)
	if a.Result.Status != statusYes || err != nil || len(certificate) == 0 {
		return nil, fmt.Errorf("alipayplus: no certificate: %s", a.Result.why())
	}
	return certificate, nil
}

// SyncArrear implements [driver.ArrearSync].
func (p *Provider) SyncArrear(ctx context.Context, ref driver.Ref) error {
	if err := p.priced(ref); err != nil {
		return err
	}
	var a answer
	if err := p.ask(ctx, opArrear, map[string]string{"paymentRequestId": ref.OurID}, &a); err != nil {
		return err
	}
	if a.Result.Status != statusYes {
		return fmt.Errorf("alipayplus: an arrear was not taken: %s", a.Result.why())
	}
	return nil
}
