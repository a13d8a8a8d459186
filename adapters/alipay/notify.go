package alipay

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ackSuccess is what the platform must hear: these seven bytes and no other.
var ackSuccess = driver.Ack{Status: http.StatusOK, ContentType: "text/plain;charset=utf-8", Body: []byte("success")}

// ackFail makes the platform send the notification again.
var ackFail = driver.Ack{Status: http.StatusBadRequest, ContentType: "text/plain;charset=utf-8", Body: []byte("fail")}

// ParseNotify implements [driver.Notifier]. A notification is a form whose
// values count as they are once the form is read; decoding them again breaks
// every value with a percent sign. Its signature covers all but sign, and covers
// sign_type for some kinds of message and not for others, so both are tried.
func (p *Provider) ParseNotify(_ context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	fields, err := formOf(n.Body)
	if err != nil {
		return driver.Notice{}, ackFail, err
	}
	if err := p.notified(fields); err != nil {
		return driver.Notice{}, ackFail, err
	}
	notice, err := p.notice(fields)
	if err != nil {
		return driver.Notice{}, ackFail, err
	}
	return notice, ackSuccess, nil
}

// formOf reads the body; a name that is there twice could mean one thing to the
// check and another to the reader.
func formOf(body []byte) (map[string]string, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("alipay: the notification is not a form")
	}
	fields := make(map[string]string, len(values))
	for name, list := range values {
		if len(list) != 1 {
			return nil, fmt.Errorf("alipay: the notification has %.40q twice", name)
		}
		fields[name] = list[0]
	}
	return fields, nil
}

// notified proves that the fields are the platform's and meant for this
// application.
func (p *Provider) notified(fields map[string]string) error {
	if t := fields["sign_type"]; t != "RSA2" {
		return fmt.Errorf("alipay: the notification is signed by %q, not RSA2", clip(t))
	}
	keys, err := p.notifyKeys(fields["alipay_cert_sn"])
	if err != nil {
		return err
	}
	signature := fields["sign"]
	withType := maps.Clone(fields)
	delete(withType, "sign")
	withoutType := maps.Clone(withType)
	delete(withoutType, "sign_type")
	if proven(keys, []byte(canonical(withoutType)), signature) != nil && proven(keys, []byte(canonical(withType)), signature) != nil {
		return errUnproven
	}
	if app := cmpOr(fields["app_id"], fields["auth_app_id"]); !sameText(app, p.config.AppID) {
		return fmt.Errorf("alipay: the notification is for application %q", clip(app))
	}
	if seller, said := fields["seller_id"]; said && seller != p.config.Account {
		return fmt.Errorf("alipay: the notification is of seller %q", clip(seller))
	}
	return nil
}

// notifyKeys are the keys of a notification: of the certificate that it names,
// or all that are known. None is fetched for it: anybody can send one.
func (p *Provider) notifyKeys(sn string) ([]*rsa.PublicKey, error) {
	k := p.chain
	if !k.certified() {
		return k.plain, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if sn == "" {
		return slices.Collect(maps.Values(k.bySN)), nil
	}
	if key, known := k.bySN[sn]; known {
		return []*rsa.PublicKey{key}, nil
	}
	return nil, errUnproven
}

func (p *Provider) notice(fields map[string]string) (driver.Notice, error) {
	notice := driver.Notice{ID: clip(fields["notify_id"]), Kind: driver.NoticeOther}
	switch {
	case fields["agreement_no"] != "" || fields["external_agreement_no"] != "":
		notice.Kind, notice.Agreement = driver.NoticeAgreement, agreementOf(fields)
	case fields["out_trade_no"] == "":
	case fields["refund_fee"] != "" || fields["gmt_refund"] != "":
		notice.ChargeID = fields["out_trade_no"]
		if id := fields["out_biz_no"]; id != "" { // without it the refund is nobody's
			notice.Kind = driver.NoticeRefund
			notice.Result = driver.Result{OurID: id, Outcome: driver.Succeeded, ProviderRef: clip(fields["trade_no"]), ReasonCode: clip(fields["trade_status"])}
		}
	default:
		amount, err := fen(fields["total_amount"])
		if err != nil {
			return notice, err
		}
		notice.Kind = driver.NoticePayment
		notice.Result = driver.Result{
			OurID: fields["out_trade_no"], Outcome: noticed(fields), ProviderRef: clip(fields["trade_no"]),
			ReasonCode: clip(fields["trade_status"]), Amount: citygate.Money{Minor: amount, Currency: cny},
		}
	}
	return notice, nil
}

// noticed reads a payment's state. TRADE_CLOSED says no only if nothing was ever
// paid.
func noticed(fields map[string]string) driver.Outcome {
	switch fields["trade_status"] {
	case "TRADE_SUCCESS", "TRADE_FINISHED":
		return driver.Succeeded
	case "WAIT_BUYER_PAY":
		return driver.Accepted
	case "TRADE_CLOSED":
		if fields["gmt_payment"] == "" {
			return driver.Declined
		}
		return driver.Succeeded
	}
	return driver.Unknown
}

// agreementOf reads an agreement out of a notification.
func agreementOf(fields map[string]string) driver.Agreement {
	return driver.Agreement{
		OurID: clip(fields["external_agreement_no"]), ID: clip(fields["agreement_no"]), RiderRef: clip(fields["alipay_user_id"]),
		State: agreementState(fields["status"]), ReasonCode: clip(fields["status"]),
		ValidFrom: instant(fields["valid_time"]), ValidTo: instant(fields["invalid_time"]),
	}
}

func cmpOr(texts ...string) string {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			return t
		}
	}
	return ""
}

// endless is the year from which on an end of validity is none.
const endless = 2100

func ends(at time.Time) time.Time {
	if at.Year() >= endless {
		return time.Time{}
	}
	return at
}
