package unionpay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const (
	callBack  = "/backTransReq.do"
	callQuery = "/queryTrans.do"

	typeQuery   = "00"
	typeConsume = "01"
	typeRefund  = "04"
	typeRevoke  = "31"
	typeFile    = "76"
	subFile     = "01"

	codeOK      = "00"
	codePartial = "A6" // made, with something missing on the way
	codeAbsent  = "34" // there is no such order, or not yet

	stampForm = "20060102150405"
)

// notTaken are codes with which the gateway turns a message away unread.
var notTaken = map[string]bool{"10": true, "11": true, "13": true, "31": true, "32": true}

// declined are codes that say for good that a payment was not made.
var declined = map[string]bool{
	"33": true, "38": true, "39": true, "60": true, "61": true, "62": true, "63": true, "64": true, "65": true, "66": true, "67": true,
	"68": true, "69": true, "70": true, "71": true, "72": true, "73": true, "78": true,
}

// backRefused are codes that say for good that a refund or a reversal was not made.
var backRefused = map[string]bool{"33": true, "35": true, "36": true, "38": true, "39": true}

// common gives the fields of every request.
func (p *Provider) common(kind, sub string) message {
	return message{
		"version": version, "encoding": "UTF-8", "signMethod": signRSA, "certId": p.certID, "merId": p.config.MerID, "accessType": "0",
		"bizType": "000000", "txnType": kind, "txnSubType": sub, "channelType": "08",
	}
}

// call sends one request and gives the believed answer.
func (p *Provider) call(ctx context.Context, address string, m message, limit int64) (message, error) {
	if err := m.sign(p.config.Signer); err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(m.form()))
	if err != nil {
		return nil, fmt.Errorf("%w: unionpay: the request cannot be built", driver.ErrNotPerformed)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8")
	got, err := wire.Do(p.config.HTTP, req, limit)
	if err != nil {
		return nil, fmt.Errorf("unionpay: %w", err)
	}
	if got.Status != http.StatusOK {
		return nil, fmt.Errorf("unionpay: HTTP status %d", got.Status)
	}
	out, err := readAnswer(got.Body)
	if err != nil {
		return nil, err
	}
	if err := p.proven(out, p.config.Clock()); err != nil {
		return nil, err
	}
	if out["merId"] != p.config.MerID || out["txnType"] != m["txnType"] || out["orderId"] != m["orderId"] || out["txnTime"] != m["txnTime"] {
		return nil, errors.New("unionpay: the answer is about something else")
	}
	return out, nil
}

// Submit implements [driver.Provider].
func (p *Provider) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) == 0 {
		return nil, nil
	}
	if len(debits) != 1 {
		return nil, fmt.Errorf("%w: %d debits in a call, want one", driver.ErrNotPerformed, len(debits))
	}
	d := debits[0]
	if err := priced(d.OurID, d.Amount, d.Attempted); err != nil {
		return nil, err
	}
	m, err := p.consume(d)
	if err != nil {
		return nil, err
	}
	m["orderId"], m["txnTime"], m["txnAmt"], m["currencyCode"] = d.OurID, timeOf(d.Mark, d.Attempted), strconv.FormatInt(d.Amount.Minor, 10), "156"
	m["backUrl"], m["termId"] = p.config.BackURL, p.config.TermID
	out, err := p.call(ctx, p.config.Gateway+callBack, m, wire.CallLimit)
	if err != nil {
		return nil, err
	}
	result := driver.Result{OurID: d.OurID, ProviderRef: clip(out["queryId"]), ReasonCode: clip(out["respCode"])}
	switch code := out["respCode"]; {
	case code == codeOK || code == codePartial:
		result.Outcome = driver.Accepted
	case declined[code]:
		result.Outcome = driver.Declined
	case notTaken[code]:
		return nil, fmt.Errorf("%w: unionpay: refused: %s", driver.ErrNotPerformed, clip(code))
	}
	return []driver.Result{result}, nil
}

// consume begins a payment by what the payer gave: a code of this minute, or a token
// that he agreed to before.
func (p *Provider) consume(d driver.Debit) (message, error) {
	if p.config.Collect == Token {
		if !tokenForm.MatchString(d.RiderRef) {
			return nil, fmt.Errorf("%w: debit %s: want the payer's token", driver.ErrNotPerformed, d.OurID)
		}
		m := p.common(typeConsume, "01")
		m["bizType"], m["tokenPayData"] = "000902", "{token="+d.RiderRef+"&trId="+p.config.TokenRequestor+"}"
		return m, nil
	}
	shown := string(d.AuthCode.Reveal())
	if len(shown) < 1 || len(shown) > 20 || strings.Trim(shown, "0123456789") != "" {
		return nil, fmt.Errorf("%w: debit %s: want a payment code of at most 20 digits", driver.ErrNotPerformed, d.OurID)
	}
	m := p.common(typeConsume, "06")
	m["qrNo"] = shown
	return m, nil
}

// Mark implements [driver.Marker]: the txnTime.
func (p *Provider) Mark(at time.Time) string { return stamp(at) }

// timeOf is the txnTime of an order: its mark, or where it has none the second at which
// it was sent.
func timeOf(mark string, at time.Time) string {
	if mark != "" {
		return mark
	}
	return stamp(at)
}

// Query implements [driver.Provider].
func (p *Provider) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if err := priced(ref.OurID, ref.Amount, ref.SubmittedAt); err != nil {
		return driver.Result{}, err
	}
	return p.ask(ctx, ref.OurID, timeOf(ref.Mark, ref.SubmittedAt), ref.Amount)
}

// ask asks for an order by its number and time. The answer has two results: its
// own, and that of the order.
func (p *Provider) ask(ctx context.Context, id, at string, amount citygate.Money) (driver.Result, error) {
	m := p.common(typeQuery, "00")
	m["orderId"], m["txnTime"] = id, at
	out, err := p.call(ctx, p.config.Gateway+callQuery, m, wire.CallLimit)
	if err != nil {
		return driver.Result{}, err
	}
	switch code := out["respCode"]; {
	case code == codeAbsent:
		return driver.Result{OurID: id, Outcome: driver.Absent, ReasonCode: code}, nil
	case code != codeOK:
		return driver.Result{}, fmt.Errorf("unionpay: query: %s", clip(code))
	}
	return settled(out, id, amount, out["origRespCode"])
}

// settled reads what became of an order at an amount.
func settled(out message, id string, amount citygate.Money, code string) (driver.Result, error) {
	said, err := strconv.ParseInt(out["txnAmt"], 10, 64)
	if err != nil || said != amount.Minor || (out["currencyCode"] != "" && out["currencyCode"] != "156") {
		return driver.Result{}, fmt.Errorf("unionpay: order %s is of another amount there", id)
	}
	result := driver.Result{OurID: id, ProviderRef: clip(out["queryId"]), ReasonCode: clip(code), Amount: amount}
	switch {
	case code == codeOK || code == codePartial:
		result.Outcome = driver.Succeeded
	case declined[code]:
		result.Outcome = driver.Declined
	case code == "03" || code == "04" || code == "05":
		result.Outcome = driver.Accepted
	}
	return result, nil
}

// Refund implements [driver.Refunder]. Without a mark of its own it takes the payment's
// txnTime: the pair of that and its own number names it for ever.
func (p *Provider) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.giveBack(ctx, typeRefund, refund)
}

func (p *Provider) giveBack(ctx context.Context, kind string, refund driver.Refund) (driver.Result, error) {
	if err := errors.Join(priced(refund.OurID, refund.Amount, refund.Charge.SubmittedAt), priced(refund.Charge.OurID, refund.Charge.Amount, refund.Charge.SubmittedAt)); err != nil {
		return driver.Result{}, err
	}
	if refund.Charge.ProviderRef == "" {
		return driver.Result{}, fmt.Errorf("%w: unionpay: the payment's queryId is not known; ask for it first", driver.ErrNotPerformed)
	}
	m := p.common(kind, "00")
	m["orderId"], m["txnTime"], m["txnAmt"] = refund.OurID, refundTime(refund), strconv.FormatInt(refund.Amount.Minor, 10)
	m["origQryId"], m["backUrl"] = refund.Charge.ProviderRef, p.config.BackURL
	out, err := p.call(ctx, p.config.Gateway+callBack, m, wire.CallLimit)
	if err != nil {
		return driver.Result{}, err
	}
	result := driver.Result{OurID: refund.OurID, ProviderRef: clip(out["queryId"]), ReasonCode: clip(out["respCode"])}
	switch code := out["respCode"]; {
	case code == codeOK || code == codePartial:
		result.Outcome = driver.Accepted
	case backRefused[code]:
		result.Outcome = driver.Declined
	case notTaken[code]:
		return driver.Result{}, fmt.Errorf("%w: unionpay: refused: %s", driver.ErrNotPerformed, clip(code))
	}
	return result, nil
}

// QueryRefund implements [driver.Refunder].
func (p *Provider) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := priced(refund.OurID, refund.Amount, refund.Charge.SubmittedAt); err != nil {
		return driver.Result{}, err
	}
	return p.ask(ctx, refund.OurID, refundTime(refund), refund.Amount)
}

func refundTime(r driver.Refund) string {
	return cmp.Or(r.Mark, timeOf(r.Charge.Mark, r.Charge.SubmittedAt))
}

// Reverse implements [driver.Reverser]: it asks, and gives the whole back if it was
// paid and the day is not over.
func (p *Provider) Reverse(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
	r, err := p.Query(ctx, ref)
	switch {
	case err != nil:
		return driver.ReversalUnknown, "", err
	case r.Outcome == driver.Declined:
		return driver.ReversalClosed, r.ReasonCode, nil
	case r.Outcome != driver.Succeeded:
		return driver.ReversalUnknown, r.ReasonCode, nil
	case p.BillDay(p.config.Clock()) != p.BillDay(ref.SubmittedAt):
		return driver.ReversalRefused, "CLEARING_DAY_OVER", nil
	}
	ref.ProviderRef = r.ProviderRef
	back, err := p.giveBack(ctx, typeRevoke, driver.Refund{OurID: reversalID(ref.OurID), Charge: ref, Amount: ref.Amount})
	switch {
	case err != nil:
		return driver.ReversalUnknown, "", err
	case back.Outcome == driver.Accepted:
		return driver.ReversalGiven, back.ReasonCode, nil
	case back.Outcome == driver.Declined:
		return driver.ReversalRefused, back.ReasonCode, nil
	}
	// Asked for before, perhaps: the number has been used.
	if was, err := p.ask(ctx, reversalID(ref.OurID), refundTime(driver.Refund{Charge: ref}), ref.Amount); err == nil && was.Outcome == driver.Succeeded {
		return driver.ReversalGiven, was.ReasonCode, nil
	}
	return driver.ReversalUnknown, back.ReasonCode, nil
}

// reversalID is the number of an order's one reversal.
func reversalID(id string) string {
	sum := sha256.Sum256([]byte("reversal " + id))
	return base32.StdEncoding.EncodeToString(sum[:20])
}

// ParseNotify implements [driver.Notifier]: only payments that were made are told.
func (p *Provider) ParseNotify(_ context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	refused := driver.Ack{Status: http.StatusUnauthorized, ContentType: "text/plain", Body: []byte("fail")}
	if int64(len(n.Body)) > wire.CallLimit {
		return driver.Notice{}, refused, wire.ErrTooLarge
	}
	m, err := readForm(n.Body)
	if err != nil {
		return driver.Notice{}, refused, err
	}
	if err := p.proven(m, p.config.Clock()); err != nil {
		return driver.Notice{}, refused, err
	}
	if m["merId"] != p.config.MerID || m["orderId"] == "" {
		return driver.Notice{}, refused, errors.New("unionpay: a notice for another merchant, or of no order")
	}
	taken := driver.Ack{Status: http.StatusOK, ContentType: "text/plain", Body: []byte("ok")} // the platform looks at the status
	kind := map[string]driver.NoticeKind{typeConsume: driver.NoticePayment, typeRefund: driver.NoticeRefund}[m["txnType"]]
	amount, err := strconv.ParseInt(m["txnAmt"], 10, 64)
	if kind == "" || err != nil {
		return driver.Notice{ID: clip(m["queryId"]), Kind: driver.NoticeOther}, taken, nil
	}
	r, err := settled(m, m["orderId"], citygate.Money{Minor: amount, Currency: cny}, m["respCode"])
	if err != nil {
		return driver.Notice{}, refused, err
	}
	return driver.Notice{ID: clip(m["queryId"]), Kind: kind, Result: r}, taken, nil
}

// priced refuses what the platform would not take.
func priced(id string, m citygate.Money, at time.Time) error {
	switch {
	case m.Currency != cny:
		return fmt.Errorf("%w: unionpay settles %s, not %s", driver.ErrCurrencyUnsupported, cny, m.Currency)
	case m.Minor <= 0 || m.Minor > amountMax:
		return fmt.Errorf("%w: %s has an amount outside 1 to %d", driver.ErrNotPerformed, clip(id), int64(amountMax))
	case len(id) < idMin || len(id) > idMax || !alnum(id):
		return fmt.Errorf("%w: id %q: want %d to %d letters and digits", driver.ErrNotPerformed, clip(id), idMin, idMax)
	case at.IsZero():
		return fmt.Errorf("%w: %s has no time, which names an order with its number", driver.ErrNotPerformed, clip(id))
	}
	return nil
}

func stamp(t time.Time) string { return t.In(beijing).Format(stampForm) }

// clip keeps text of the far side short.
func clip(s string) string { return s[:min(len(s), 64)] }
