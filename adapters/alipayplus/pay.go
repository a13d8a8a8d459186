package alipayplus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	opPay           = "pay"
	opInquiry       = "inquiryPayment"
	opCancel        = "cancel"
	opCancelAps     = "cancelPayment"
	opRefund        = "refund"
	opInquiryRefund = "inquiryRefund"
	opQuote         = "inquireExchangeRate"
	opCertificate   = "createDeviceCertificate"
	opArrear        = "syncArrear"

	codeAbsent = "ORDER_NOT_EXIST"
	subjectMax = 256
	subject    = "Rides"
)

// notTaken are codes with which the platform turns a request away before it does
// anything. A quote that is over is one: the same debit may be asked for again,
// under the same id, with another.
var notTaken = map[string]bool{
	"INVALID_SIGNATURE": true, "ACCESS_DENIED": true, "INVALID_CLIENT": true, "KEY_NOT_FOUND": true, "INVALID_API": true, "NO_INTERFACE_DEF": true,
	"MEDIA_TYPE_NOT_ACCEPTABLE": true, "METHOD_NOT_SUPPORTED": true, "INVALID_QUOTE": true, "EXPIRED_QUOTE": true,
}

// declined are codes that say for good that a payment was not made.
var declined = map[string]bool{
	"USER_BALANCE_NOT_ENOUGH": true, "RISK_REJECT": true, "PAYMENT_AMOUNT_EXCEED_LIMIT": true, "USER_AMOUNT_EXCEED_LIMIT": true,
	"USER_PAYMENT_VERIFICATION_FAILED": true, "USER_KYC_NOT_QUALIFIED": true, "USER_NOT_EXIST": true, "USER_STATUS_ABNORMAL": true, "ORDER_IS_CLOSED": true,
	"ORDER_IS_CANCELED": true, "EXPIRED_CODE": true, "INVALID_CODE": true, "EXPIRED_ACCESS_TOKEN": true, "INVALID_ACCESS_TOKEN": true,
	"PAYMENT_COUNT_EXCEED_LIMIT": true, "INVALID_MERCHANT_STATUS": true, "CURRENCY_NOT_SUPPORT": true, "PROCESS_FAIL": true,
}

type payMethod struct {
	Type string `json:"paymentMethodType"`
	ID   string `json:"paymentMethodId,omitempty"`
}

type payStore struct {
	ID   string `json:"referenceStoreId,omitempty"`
	Name string `json:"storeName,omitempty"`
	MCC  string `json:"storeMCC,omitempty"`
}

type payMerchant struct {
	ID    string    `json:"referenceMerchantId"`
	Store *payStore `json:"store,omitempty"`
}

type payOrder struct {
	ID          string      `json:"referenceOrderId"`
	Description string      `json:"orderDescription"`
	Amount      *amount     `json:"orderAmount"`
	Merchant    payMerchant `json:"merchant"`
}

type payFactor struct {
	Scenario string `json:"inStorePaymentScenario"`
}

type paySettlement struct {
	Currency string `json:"settlementCurrency"`
}

type payQuote struct {
	ID string `json:"quoteId"`
}

// A payRequest has nothing in it but what a debit and the contract say, so that
// the same debit is the same bytes.
type payRequest struct {
	Product     string        `json:"productCode"`
	RequestID   string        `json:"paymentRequestId"`
	Order       payOrder      `json:"order"`
	Amount      *amount       `json:"paymentAmount"`
	Quote       *payQuote     `json:"paymentQuote,omitempty"`
	Method      payMethod     `json:"paymentMethod"`
	Factor      *payFactor    `json:"paymentFactor,omitempty"`
	Settlement  paySettlement `json:"settlementStrategy"`
	NotifyURL   string        `json:"paymentNotifyUrl"`
	DualOffline string        `json:"dualOfflinePayment,omitempty"`
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
	request, err := p.payment(d)
	if err != nil {
		return nil, err
	}
	var a answer
	if err := p.ask(ctx, opPay, request, &a); err != nil {
		return nil, err
	}
	r := driver.Result{OurID: d.OurID, ProviderRef: clip(a.PaymentID), ReasonCode: a.Result.why()}
	switch {
	case a.Result.Status == statusYes:
		return one(p.settled(&a, r, driver.Ref{OurID: d.OurID, Amount: d.Amount, Quote: d.Quote}, driver.Succeeded))
	case a.Result.Status == statusNo && notTaken[a.Result.Code]:
		return nil, fmt.Errorf("%w: alipayplus: refused: %s", driver.ErrNotPerformed, a.Result.why())
	case a.Result.Status == statusNo && declined[a.Result.Code]:
		r.Outcome = driver.Declined
	case a.Result.Status == statusOpen && a.Result.Code == "PAYMENT_IN_PROCESS":
		r.Outcome = driver.Accepted
	}
	return []driver.Result{r}, nil
}

func one(r driver.Result, err error) ([]driver.Result, error) {
	if err != nil {
		return nil, err
	}
	return []driver.Result{r}, nil
}

func (p *Provider) payment(d driver.Debit) (payRequest, error) {
	ref := driver.Ref{OurID: d.OurID, Amount: d.Amount, Quote: d.Quote}
	if err := p.priced(ref); err != nil {
		return payRequest{}, err
	}
	r := payRequest{
		RequestID: d.OurID, Amount: wireAmount(agreed(ref)), NotifyURL: p.config.NotifyURL,
		Order: payOrder{
			ID: d.OurID, Description: fitted(d.Subject), Amount: wireAmount(d.Amount), Merchant: payMerchant{ID: p.config.Merchant},
		},
		Method: payMethod{Type: p.config.Method}, Settlement: paySettlement{string(p.config.SettlementCurrency)},
	}
	if s := p.config.Store; s != (Store{}) {
		r.Order.Merchant.Store = &payStore{s.ID, s.Name, s.MCC}
	}
	if d.Quote != (driver.Quote{}) {
		r.Quote = &payQuote{d.Quote.Rate.ID}
	}
	switch p.config.Collect {
	case Agreement:
		r.Product, r.Method.ID = "AGREEMENT_PAYMENT", d.RiderRef
	case PaymentCode, EntryCode:
		r.Product, r.Method.ID = "IN_STORE_PAYMENT", string(d.AuthCode.Reveal())
		r.Factor = &payFactor{map[Collect]string{PaymentCode: "PaymentCode", EntryCode: "EntryCode"}[p.config.Collect]}
	case DualOffline:
		r.Product, r.DualOffline = "IN_STORE_PAYMENT", "true"
		if len(d.Evidence) == 1 {
			r.Method.ID = base64.StdEncoding.EncodeToString(d.Evidence[0])
		}
	}
	if r.Method.ID == "" || len(r.Method.ID) > 4096 {
		return payRequest{}, fmt.Errorf("%w: debit %s: %s needs what names the payer: an access token, a payment code, or the code of one ride",
			driver.ErrNotPerformed, d.OurID, p.config.Collect)
	}
	return r, nil
}

// agreed is what the payer pays: by the quote if there is one.
func agreed(ref driver.Ref) citygate.Money {
	if ref.Quote != (driver.Quote{}) {
		return ref.Quote.Pays
	}
	return ref.Amount
}

// settled reads an answer or a notification that says that a payment was made. It
// is believed only if it is about this payment and the amount agreed on.
func (p *Provider) settled(a *answer, r driver.Result, ref driver.Ref, o driver.Outcome) (driver.Result, error) {
	paid, err := a.PaymentAmount.money()
	if err != nil {
		return driver.Result{}, err
	}
	named := a.RequestID == ref.OurID || (a.RequestID == "" && p.config.Family == AlipayPlus) // aps does not repeat it
	if !named || paid != agreed(ref) {
		return driver.Result{}, fmt.Errorf("alipayplus: payment %s is of another number or amount there", clip(ref.OurID))
	}
	e, err := a.exchange(a.ActualAmount, a.GrossSettlement, a.Settlement)
	if err != nil {
		return driver.Result{}, err
	}
	if e.Paid == (citygate.Money{}) {
		e.Paid = paid
	}
	r.Outcome, r.Amount, r.Exchange = o, ref.Amount, domestic(e, ref.Amount)
	return r, nil
}

// Query implements [driver.Provider].
func (p *Provider) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if err := p.priced(ref); err != nil {
		return driver.Result{}, err
	}
	var a answer
	if err := p.ask(ctx, opInquiry, map[string]string{"paymentRequestId": ref.OurID}, &a); err != nil {
		return driver.Result{}, err
	}
	r := driver.Result{OurID: ref.OurID, ProviderRef: clip(a.PaymentID), ReasonCode: a.Result.why()}
	switch {
	case a.Result.Status == statusNo && a.Result.Code == codeAbsent:
		r.Outcome = driver.Absent
		return r, nil
	case a.Result.Status != statusYes:
		return driver.Result{}, fmt.Errorf("alipayplus: inquiry: %s", a.Result.why())
	case a.RequestID != ref.OurID:
		return driver.Result{}, fmt.Errorf("alipayplus: the answer is about another payment than %s", ref.OurID)
	}
	if a.PaymentResult != nil {
		r.ReasonCode = a.PaymentResult.why()
	}
	switch a.standing() {
	case driver.Succeeded:
		return p.settled(&a, r, ref, driver.Succeeded)
	case driver.Declined:
		if a.PaymentTime == "" {
			r.Outcome = driver.Declined
			return r, nil
		}
		r, err := p.settled(&a, r, ref, driver.Succeeded) // it was made and cancelled since
		r.Returned = ref.Amount
		return r, err
	case driver.Accepted:
		r.Outcome = driver.Accepted
	case driver.Unknown, driver.Absent:
	}
	return r, nil
}

// standing is what a payment's own result says: that of the call is read before.
func (a *answer) standing() driver.Outcome {
	if a.PaymentResult != nil {
		switch s := *a.PaymentResult; {
		case s.Status == statusYes:
			return driver.Succeeded
		case s.Status == statusNo && declined[s.Code]:
			return driver.Declined
		}
		return driver.Unknown
	}
	switch a.PaymentStatus {
	case "SUCCESS":
		return driver.Succeeded
	case "FAIL", "CANCELLED":
		return driver.Declined
	case "PROCESSING", "PENDING":
		return driver.Accepted
	}
	return driver.Unknown
}

// cancelRefused are codes that say for good that a payment was not cancelled.
var cancelRefused = map[string]bool{
	"CANCELLATION_WINDOW_EXCEED": true, "ORDER_STATUS_INVALID": true, "REFUND_HAS_BEEN_MADE": true, "CANCEL_NOT_ALLOWED": true,
}

// Reverse implements [driver.Reverser]. The platform says yes to what was paid, to
// what was not, and to what was cancelled before.
func (p *Provider) Reverse(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
	if err := p.priced(ref); err != nil {
		return driver.ReversalUnknown, "", err
	}
	var a answer
	if err := p.ask(ctx, p.cancelOp(), map[string]string{"paymentRequestId": ref.OurID}, &a); err != nil {
		return driver.ReversalUnknown, "", err
	}
	switch {
	case a.Result.Status == statusYes && (a.RequestID == "" || a.RequestID == ref.OurID):
		return driver.ReversalClosed, a.Result.why(), nil
	case a.Result.Status == statusNo && cancelRefused[a.Result.Code]:
		return driver.ReversalRefused, a.Result.why(), nil
	}
	return driver.ReversalUnknown, a.Result.why(), nil
}

func (p *Provider) cancelOp() string {
	if p.config.Family == AlipayPlus {
		return opCancelAps
	}
	return opCancel
}

// priced refuses what the platform would not take.
func (p *Provider) priced(ref driver.Ref) error {
	m := ref.Amount
	switch q := ref.Quote; {
	case m.Currency != p.config.Currency:
		return fmt.Errorf("%w: this contract is in %s, not %s", driver.ErrCurrencyUnsupported, p.config.Currency, m.Currency)
	case m.Minor <= 0 || m.Minor > amountMax:
		return fmt.Errorf("%w: %s has an amount outside 1 to %d", driver.ErrNotPerformed, clip(ref.OurID), int64(amountMax))
	case wholeOnly[m.Currency] && m.Minor%100 != 0:
		return fmt.Errorf("%w: %s: the platform takes %s in whole units", driver.ErrNotPerformed, clip(ref.OurID), m.Currency)
	case ref.OurID == "" || len(ref.OurID) > idMax || !driver.AlnumUnderscore.Holds(ref.OurID):
		return fmt.Errorf("%w: id %q: want at most %d letters, digits and underscores", driver.ErrNotPerformed, clip(ref.OurID), idMax)
	case q != (driver.Quote{}) && (q.Asked != m || q.Pays.Minor <= 0 || q.Pays.Currency != p.config.PayCurrency || q.Rate.ID == ""):
		return fmt.Errorf("%w: %s: its quote is for something else", driver.ErrNotPerformed, clip(ref.OurID))
	}
	return nil
}

// wholeOnly are currencies whose last two digits have to be zeros.
var wholeOnly = map[citygate.Currency]bool{"IDR": true}

func fitted(s string) string {
	s = strings.ToValidUTF8(s, "")
	if s == "" {
		return subject
	}
	for len(s) > subjectMax {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// errQuote says that the platform did not offer a rate.
var errQuote = errors.New("alipayplus: no quote")

// Quote implements [driver.Quoter].
func (p *Provider) Quote(ctx context.Context, m citygate.Money) (driver.Quote, error) {
	if p.config.PayCurrency == "" || m.Currency != p.config.Currency || m.Minor <= 0 {
		return driver.Quote{}, fmt.Errorf("%w: for %s", errQuote, m)
	}
	var a struct {
		Result result  `json:"result"`
		Quote  *quote  `json:"quote"`
		Pays   *amount `json:"exchangeAmount"`
	}
	request := map[string]any{
		"merchantId": p.config.Merchant, "paymentMethod": payMethod{Type: p.config.Method}, "sellAmount": wireAmount(m), "buyCurrency": string(p.config.PayCurrency),
	}
	if err := p.ask(ctx, opQuote, request, &a); err != nil {
		return driver.Quote{}, err
	}
	if a.Result.Status != statusYes {
		return driver.Quote{}, fmt.Errorf("%w: %s", errQuote, a.Result.why())
	}
	rate, err1 := a.Quote.rate()
	pays, err2 := a.Pays.money()
	if err := errors.Join(err1, err2); err != nil {
		return driver.Quote{}, err
	}
	if pays.Currency != p.config.PayCurrency || pays.Minor <= 0 || rate.ID == "" || rate.Pair != string(m.Currency)+"/"+string(p.config.PayCurrency) {
		return driver.Quote{}, fmt.Errorf("%w: for another pair of currencies", errQuote)
	}
	return driver.Quote{Asked: m, Pays: pays, Rate: rate}, nil
}
