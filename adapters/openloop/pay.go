package openloop

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// The operations.
const (
	opVerify    = "VERIFY"
	opAuthorize = "AUTHORIZE"
	opCapture   = "CAPTURE"
	opPay       = "PAY"
	opVoid      = "VOID"
	opRefund    = "REFUND"
)

// What a transaction is in transport.
const (
	kindDeferred  = "DEFERRED_AUTHORIZATION"
	kindAggregate = "AGGREGATED_AUTHORIZATION"
	kindFirstRide = "FIRST_RIDE_RISK"
)

var recoveries = map[driver.Recovery]string{
	driver.RecoverByMerchant: "DEBT_RECOVERY_MERCHANT_INITIATED",
	driver.RecoverByRider:    "DEBT_RECOVERY_PAYER_INITIATED",
	driver.RecoverByTap:      "DEBT_RECOVERY_TAP_INITIATED",
}

const (
	firstTransaction = "1"
	textMax          = 120

	codeInconsistent = "CONTENT_DIFFERS"
	codeNotFound     = "NOT_FOUND"
)

// notTaken are codes with which the processor turns a request away unread.
var notTaken = map[string]bool{"BAD_SIGNATURE": true, "BAD_REQUEST": true, "MERCHANT_UNKNOWN": true}

// outcomes are the words of a transaction. What is not here is open.
var outcomes = map[string]driver.Outcome{
	"APPROVED": driver.Succeeded, "VERIFIED": driver.Succeeded,
	"DECLINED": driver.Declined, "LOST": driver.Declined, "STOLEN": driver.Declined, "INVALID": driver.Declined,
	"PENDING": driver.Accepted,
}

type money struct {
	Minor    int64             `json:"minor"`
	Currency citygate.Currency `json:"currency"`
}

type source struct {
	Token   string `json:"token"`
	Account string `json:"account,omitempty"` // FUNDING: the card itself, not the device's number
	Chip    string `json:"emv,omitempty"`
}

type transit struct {
	Kind     string `json:"type"`
	First    string `json:"aggregation_start,omitempty"`
	Within   int64  `json:"aggregation_seconds,omitempty"` // how old the first may be
	Terminal string `json:"terminal,omitempty"`
	Tapped   string `json:"tapped_at,omitempty"`
}

// A request is one transaction. It has nothing in it but what it was made of, so
// that the same is the same bytes.
type request struct {
	Operation   string   `json:"operation"`
	Amount      money    `json:"amount"`
	Source      *source  `json:"source,omitempty"`
	Transit     *transit `json:"transit,omitempty"`
	Target      string   `json:"target_transaction,omitempty"`
	TargetOrder string   `json:"target_order,omitempty"`
	Text        string   `json:"description,omitempty"`
	NotifyURL   string   `json:"notify_url,omitempty"`
}

// A transaction is one as the processor answers it and tells of it.
type transaction struct {
	Order     string `json:"order"`
	ID        string `json:"transaction"`
	Operation string `json:"operation"`
	Status    string `json:"status"`
	Code      string `json:"response_code"`
	Reference string `json:"retrieval_reference"`
	Amount    money  `json:"amount"`
	Voided    bool   `json:"voided"`
	Liability string `json:"payment_liability"` // ISSUER or OPERATOR
	FirstRide bool   `json:"first_ride_eligible"`
	Error     string `json:"error"` // of the call; then the rest is empty
}

// put sends one transaction. Order and transaction name it for ever.
func (p *Provider) put(ctx context.Context, order, id string, r request) (transaction, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return transaction{}, fmt.Errorf("%w: openloop: the request cannot be written", driver.ErrNotPerformed)
	}
	status, raw, err := p.call(ctx, http.MethodPut, "/orders/"+url.PathEscape(order)+"/transactions/"+url.PathEscape(id), body, wire.CallLimit)
	if err != nil {
		return transaction{}, err
	}
	return p.transaction(status, raw, order, id)
}

// transaction reads an answer: it is about what was asked, or an error.
func (p *Provider) transaction(status int, raw []byte, order, id string) (transaction, error) {
	var t transaction
	if err := read(raw, &t); err != nil {
		return transaction{}, err
	}
	switch {
	case notTaken[t.Error]:
		return transaction{}, fmt.Errorf("%w: openloop: refused: %s", driver.ErrNotPerformed, t.Error)
	case t.Error != "":
		return transaction{Error: clip(t.Error)}, nil
	case status != http.StatusOK:
		return transaction{}, fmt.Errorf("openloop: HTTP status %d", status)
	case t.Order != order || t.ID != id:
		return transaction{}, errors.New("openloop: the answer is about something else")
	}
	return t, nil
}

// why names a transaction's end in the processor's words.
func (t *transaction) why() string {
	if t.Error != "" {
		return t.Error
	}
	return strings.TrimSpace(clip(t.Status) + " " + clip(t.Code))
}

// result says what a transaction means for an amount.
func (t *transaction) result(ourID string, m citygate.Money) (driver.Result, error) {
	r := driver.Result{OurID: ourID, ProviderRef: clip(t.Reference), ReasonCode: t.why()}
	if t.Error != "" {
		return r, nil
	}
	r.Outcome = outcomes[t.Status]
	if t.Voided {
		r.Outcome = driver.Declined // it is not settled and never will be
	}
	if r.Outcome == driver.Succeeded && citygate.Money(t.Amount) != m {
		return driver.Result{}, fmt.Errorf("openloop: %s is of another amount there", clip(ourID))
	}
	if r.Outcome == driver.Succeeded {
		r.Amount = m
	}
	return r, nil
}

// Submit implements [driver.Provider]: rides that were gathered, authorised late
// and captured at once.
func (p *Provider) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) == 0 {
		return nil, nil
	}
	if len(debits) != 1 {
		return nil, fmt.Errorf("%w: %d debits in a call, want one", driver.ErrNotPerformed, len(debits))
	}
	d := debits[0]
	if err := errors.Join(p.priced(d.OurID, d.Amount), tokenOnly(d.RiderRef)); err != nil {
		return nil, err
	}
	r := request{
		Operation: opPay, Amount: money(d.Amount), Source: &source{Token: d.RiderRef}, Text: fitted(d.Subject), NotifyURL: p.config.NotifyURL,
		Transit: &transit{Kind: kindDeferred, First: d.TripTime.UTC().Format(time.RFC3339)},
	}
	if len(d.Evidence) > 0 {
		r.Source.Chip = base64.StdEncoding.EncodeToString(d.Evidence[0])
	}
	if within := time.Duration(p.config.Rules.AggregateWithin); within > 0 {
		r.Transit.Kind, r.Transit.Within = kindAggregate, int64(within/time.Second)
	}
	if err := p.again(&d, &r); err != nil {
		return nil, err
	}
	t, err := p.put(ctx, d.OurID, firstTransaction, r)
	if err != nil {
		return nil, err
	}
	if t.Error == codeNotFound && r.TargetOrder != "" { // the processor knows no such decline, so nothing was done
		return []driver.Result{{OurID: d.OurID, Outcome: driver.Declined, ReasonCode: t.Error}}, nil
	}
	result, err := t.result(d.OurID, d.Amount)
	if err != nil {
		return nil, err
	}
	return []driver.Result{result}, nil
}

// again makes of a payment that was declined before what the scheme calls it. A debt
// is that of one declined authorisation and no aggregate any more, however old its
// rides are.
func (p *Provider) again(d *driver.Debit, r *request) error {
	r.TargetOrder = d.Recovers.OurID
	switch {
	case d.FirstRide && d.Recovery != "":
		return fmt.Errorf("%w: %s: an insured first ride is no recovery", driver.ErrNotPerformed, d.OurID)
	case d.FirstRide:
		if d.Amount.Minor > p.config.Rules.FirstRideMax {
			return fmt.Errorf("%w: %s: first rides are insured up to %d", driver.ErrNotPerformed, d.OurID, p.config.Rules.FirstRideMax)
		}
		r.Operation, r.Transit.Kind = opCapture, kindFirstRide
		return nil
	case d.Recovery == "":
		r.TargetOrder = ""
		return nil
	}
	if err := p.priced(d.Recovers.OurID, d.Recovers.Amount); err != nil {
		return err
	}
	if r.Transit.Kind = recoveries[d.Recovery]; r.Transit.Kind == "" {
		return fmt.Errorf("%w: %s: a recovery is the merchant's, the rider's or a tap's", driver.ErrNotPerformed, clip(d.OurID))
	}
	r.Transit.Within = 0
	switch d.Recovery {
	case driver.RecoverByTap:
		if len(d.Shown) == 0 {
			return fmt.Errorf("%w: %s: a recovery by a tap needs what the chip said then", driver.ErrNotPerformed, d.OurID)
		}
		r.Source.Chip = base64.StdEncoding.EncodeToString(d.Shown)
	case driver.RecoverByMerchant:
		r.Source.Account, r.Source.Chip = "FUNDING", ""
	case driver.RecoverByRider:
	}
	return nil
}

// Query implements [driver.Provider].
func (p *Provider) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if err := p.priced(ref.OurID, ref.Amount); err != nil {
		return driver.Result{}, err
	}
	return p.ask(ctx, ref.OurID, firstTransaction, ref.OurID, ref.Amount)
}

func (p *Provider) ask(ctx context.Context, order, id, ourID string, m citygate.Money) (driver.Result, error) {
	status, raw, err := p.call(ctx, http.MethodGet, "/orders/"+url.PathEscape(order)+"/transactions/"+url.PathEscape(id), nil, wire.CallLimit)
	if err != nil {
		return driver.Result{}, err
	}
	t, err := p.transaction(status, raw, order, id)
	switch {
	case err != nil:
		return driver.Result{}, err
	case t.Error == codeNotFound:
		return driver.Result{OurID: ourID, Outcome: driver.Absent, ReasonCode: t.Error}, nil
	case t.Error != "":
		return driver.Result{}, fmt.Errorf("openloop: query: %s", t.Error)
	}
	return t.result(ourID, m)
}

// Refund implements [driver.Refunder]: a credit of its own, under the order of what
// was captured.
func (p *Provider) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := errors.Join(p.priced(refund.OurID, refund.Amount), p.priced(refund.Charge.OurID, refund.Charge.Amount)); err != nil {
		return driver.Result{}, err
	}
	t, err := p.put(ctx, refund.Charge.OurID, refundID(refund.OurID), request{
		Operation: opRefund, Amount: money(refund.Amount), Target: firstTransaction, Text: fitted(refund.Reason), NotifyURL: p.config.NotifyURL,
	})
	if err != nil {
		return driver.Result{}, err
	}
	if t.Error == codeNotFound {
		return driver.Result{OurID: refund.OurID, Outcome: driver.Declined, ReasonCode: t.Error}, nil
	}
	return t.result(refund.OurID, refund.Amount)
}

// refundID keeps refunds apart from the first transaction of an order.
func refundID(id string) string { return "r_" + id }

// QueryRefund implements [driver.Refunder].
func (p *Provider) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := errors.Join(p.priced(refund.OurID, refund.Amount), p.priced(refund.Charge.OurID, refund.Charge.Amount)); err != nil {
		return driver.Result{}, err
	}
	return p.ask(ctx, refund.Charge.OurID, refundID(refund.OurID), refund.OurID, refund.Amount)
}

// Reverse implements [driver.Reverser]: a void, which undoes what is not settled.
func (p *Provider) Reverse(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
	if err := p.priced(ref.OurID, ref.Amount); err != nil {
		return driver.ReversalUnknown, "", err
	}
	t, err := p.put(ctx, ref.OurID, "void", request{Operation: opVoid, Amount: money(ref.Amount), Target: firstTransaction})
	switch {
	case err != nil:
		return driver.ReversalUnknown, "", err
	case t.Error == "" && t.Status == "APPROVED":
		return driver.ReversalClosed, t.why(), nil
	case t.Error == "" && outcomes[t.Status] == driver.Declined:
		return driver.ReversalRefused, t.why(), nil
	}
	return driver.ReversalUnknown, t.why(), nil
}

// priced refuses what the processor would not take.
func (p *Provider) priced(id string, m citygate.Money) error {
	switch {
	case m.Currency != p.config.Currency:
		return fmt.Errorf("%w: this contract is in %s, not %s", driver.ErrCurrencyUnsupported, p.config.Currency, m.Currency)
	case m.Minor <= 0 || m.Minor > amountMax:
		return fmt.Errorf("%w: %s has an amount outside 1 to %d", driver.ErrNotPerformed, clip(id), int64(amountMax))
	case id == "" || len(id) > idMax || !driver.AlnumUnderscore.Holds(id):
		return fmt.Errorf("%w: id %q: want at most %d letters, digits and underscores", driver.ErrNotPerformed, clip(id), idMax)
	}
	return nil
}

// tokenOnly refuses what names no card, or names one by its number.
func tokenOnly(token string) error {
	if token == "" || len(token) > 128 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: openloop: a card is named by the processor's token", driver.ErrNotPerformed)
	}
	if cardNumber(token) {
		return fmt.Errorf("%w: openloop: this is a card's number and not a token; nothing was sent", driver.ErrNotPerformed)
	}
	return nil
}

func fitted(s string) string {
	s = strings.ToValidUTF8(s, "")
	for len(s) > textMax {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// ParseNotify implements [driver.Notifier].
func (p *Provider) ParseNotify(_ context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	refused := driver.Ack{Status: http.StatusUnauthorized}
	if int64(len(n.Body)) > wire.CallLimit {
		return driver.Notice{}, refused, wire.ErrTooLarge
	}
	if err := p.proven(n); err != nil {
		return driver.Notice{}, refused, err
	}
	var t transaction
	if err := read(n.Body, &t); err != nil {
		return driver.Notice{}, refused, err
	}
	taken := driver.Ack{Status: http.StatusNoContent}
	notice := driver.Notice{ID: clip(t.Reference), Kind: driver.NoticeOther}
	id, back := strings.CutPrefix(t.ID, "r_")
	switch {
	case back:
		notice.Kind, notice.ChargeID = driver.NoticeRefund, t.Order
	case t.ID == firstTransaction:
		notice.Kind, id = driver.NoticePayment, t.Order
	default:
		return notice, taken, nil
	}
	r, err := t.result(id, citygate.Money(t.Amount))
	if err != nil {
		return driver.Notice{}, refused, err
	}
	notice.Result = r
	return notice, taken, nil
}

// PullDeny implements [driver.DenyFeed]: every page of one state of the list.
func (p *Provider) PullDeny(ctx context.Context) ([]string, error) {
	var tokens []string
	version, after := "", ""
	for range 10_000 {
		status, raw, err := p.call(ctx, http.MethodGet, "/deny-list?after="+url.QueryEscape(after), nil, wire.CallLimit)
		if err != nil {
			return nil, err
		}
		var page struct {
			Version string   `json:"version"`
			Tokens  []string `json:"tokens"`
			Next    string   `json:"next"`
		}
		if err := read(raw, &page); err != nil {
			return nil, err
		}
		switch {
		case status != http.StatusOK || page.Version == "":
			return nil, fmt.Errorf("openloop: deny list: HTTP status %d", status)
		case version != "" && page.Version != version:
			return nil, errors.New("openloop: the deny list changed while it was read; ask again")
		}
		version, after = page.Version, page.Next
		tokens = append(tokens, page.Tokens...)
		if after == "" {
			return tokens, nil
		}
	}
	return nil, errors.New("openloop: the deny list does not end")
}

// riderStates are the words for a card.
var riderStates = map[string]driver.RiderState{
	"NORMAL": driver.RiderNormal, "BLOCKED": driver.RiderBlocked, "DEBT": driver.RiderOverdue, "LOST": driver.RiderFrozen, "STOLEN": driver.RiderFrozen,
	"EXPIRED": driver.RiderDeleted,
}

// RiderState implements [driver.RiderCheck].
func (p *Provider) RiderState(ctx context.Context, q driver.RiderQuestion) (driver.RiderStatus, error) {
	if err := tokenOnly(q.RiderRef); err != nil {
		return driver.RiderStatus{}, err
	}
	status, raw, err := p.call(ctx, http.MethodGet, "/tokens/"+url.PathEscape(q.RiderRef), nil, wire.CallLimit)
	if err != nil {
		return driver.RiderStatus{}, err
	}
	var card struct {
		State string `json:"state"`
		Owes  *money `json:"owes"`
	}
	if err := read(raw, &card); err != nil {
		return driver.RiderStatus{}, err
	}
	if status != http.StatusOK {
		return driver.RiderStatus{}, fmt.Errorf("openloop: card: HTTP status %s", strconv.Itoa(status))
	}
	s := driver.RiderStatus{RiderRef: q.RiderRef, State: riderStates[card.State], ReasonCode: clip(card.State), At: p.config.Clock()}
	if card.Owes != nil {
		s.Owes = citygate.Money(*card.Owes)
	}
	return s, nil
}
