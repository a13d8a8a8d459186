package wechatpay

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const (
	pathGlobalPay        = "/v3/global/micropay/transactions/pay"
	pathGlobalOrder      = "/v3/global/transactions/out-trade-no/"
	pathGlobalReverse    = "/v3/global/micropay/transactions/out-trade-no/"
	pathGlobalRefund     = "/v3/global/refunds"
	pathGlobalStatements = "/v3/global/statements"
)

// rateScale is what an exchange rate is multiplied with on the wire. The platform
// does not document the scale; its examples fit no other.
const rateScale = 8

// An exchangeRate is the platform's, between the currency of the fare and the
// one the rider paid in.
type exchangeRate struct {
	Type string `json:"type"` // USERPAYMENT_RATE or SETTLEMENT_RATE
	Rate int64  `json:"rate"`
}

// An Exchange is what became of a payment on its way from one currency to
// another: the fare as it was asked for, what the rider paid, and the rate the
// platform used, as a decimal of eight places.
type Exchange struct {
	Asked citygate.Money
	Paid  citygate.Money
	Kind  string // USERPAYMENT_RATE or SETTLEMENT_RATE
	Rate  string // units of the rider's currency for one of the fare's: "0.92010000"
}

// Exact reports whether the rate gives what the rider paid, to the minor unit,
// rounding half up. exponents are the decimals of the two currencies.
func (e Exchange) Exact(asked, paid int) bool {
	rate, ok := new(big.Rat).SetString(e.Rate)
	if !ok {
		return false
	}
	ten := func(n int) *big.Rat {
		return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
	}
	want := new(big.Rat).Mul(new(big.Rat).SetInt64(e.Asked.Minor), rate)
	want.Mul(want, ten(paid)).Quo(want, ten(asked))
	want.Add(want, big.NewRat(1, 2))
	return new(big.Int).Quo(want.Num(), want.Denom()).Int64() == e.Paid.Minor
}

// decimal writes a scaled rate.
func (r exchangeRate) decimal() (string, error) {
	if r.Rate <= 0 {
		return "", errors.New("wechatpay: an exchange rate of nothing")
	}
	text := fmt.Sprintf("%0*d", rateScale+1, r.Rate)
	return text[:len(text)-rateScale] + "." + text[len(text)-rateScale:], nil
}

// global collects by payment codes in Hong Kong and cross-border. Fares are in
// the contract's currency; the rider pays in his own.
type global struct{ *client }

type globalRequest struct {
	MchID       string    `json:"mchid"`
	AppID       string    `json:"appid"`
	Description string    `json:"description"`
	OutTradeNo  string    `json:"out_trade_no"`
	TradeType   string    `json:"trade_type"`
	MCC         string    `json:"merchant_category_code"`
	Payer       codePayer `json:"payer"`
	Amount      amount    `json:"amount"`
	Scene       *scene    `json:"scene_info,omitempty"`
	NotifyURL   string    `json:"notify_url,omitempty"`
}

// Describe implements [driver.Provider].
func (p *global) Describe() driver.Description {
	d := p.describe("v3-global-micropay", false)
	d.Limits.ReverseAfter, d.Limits.ReverseWithin = reverseAfter, reverseWithin
	d.Limits.QueryDelay = codeQueryDelay
	d.PaymentCodes, d.Limits.PayerEvery = paymentCodes, payerEvery
	return d
}

// Submit implements [driver.Provider].
func (p *global) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
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
	request := globalRequest{
		MchID: p.config.MchID, AppID: p.config.AppID, Description: fitted(d.Subject, subject, descriptionMax), OutTradeNo: d.OurID,
		TradeType: "MICROPAY", MCC: p.config.MCC, Payer: codePayer{shown}, Amount: amount{d.Amount.Minor, d.Amount.Currency},
	}
	if p.config.Store != (Store{}) {
		request.Scene = &scene{&p.config.Store}
	}
	var answer transaction
	r, err := p.call(ctx, http.MethodPost, pathGlobalPay, request, &answer)
	return one(p.paid(r, err, answer, "micropay", d))
}

// Query implements [driver.Provider].
func (p *global) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	return p.query(ctx, pathGlobalOrder+ref.OurID+"?"+p.me().Encode(), ref)
}

func (p *global) me() url.Values { return url.Values{"mchid": {p.config.MchID}} }

// An Exchanger tells how a payment was exchanged. The provider of Global is one.
type Exchanger interface {
	// Exchange asks about a payment that was made. A payment in the fare's own
	// currency has a rate of one.
	Exchange(ctx context.Context, ref driver.Ref) (Exchange, error)
}

// Exchange implements [Exchanger].
func (p *global) Exchange(ctx context.Context, ref driver.Ref) (Exchange, error) {
	if err := p.priced(ref.OurID, ref.Amount); err != nil {
		return Exchange{}, err
	}
	var answer transaction
	r, err := p.call(ctx, http.MethodGet, pathGlobalOrder+ref.OurID+"?"+p.me().Encode(), nil, &answer)
	if err != nil {
		return Exchange{}, err
	}
	if r.status != http.StatusOK {
		return Exchange{}, r.open("query")
	}
	result, err := answer.settles(p.client, ref.OurID, ref.Amount)
	if err != nil {
		return Exchange{}, err
	}
	if result.Outcome != driver.Succeeded {
		return Exchange{}, fmt.Errorf("wechatpay: order %s is %s, nothing was exchanged", ref.OurID, orText(string(result.Outcome), "unknown"))
	}
	return answer.Amount.exchange(ref.Amount)
}

func (a paidOrder) exchange(asked citygate.Money) (Exchange, error) {
	e := Exchange{Asked: asked, Paid: citygate.Money{Minor: a.PayerTotal, Currency: orCurrency(a.PayerCurrency, asked.Currency)}, Rate: "1.00000000"}
	switch {
	case a.ExchangeRate != nil:
		rate, err := a.ExchangeRate.decimal()
		if err != nil {
			return Exchange{}, err
		}
		e.Kind, e.Rate = a.ExchangeRate.Type, rate
	case e.Paid.Currency != asked.Currency:
		return Exchange{}, errors.New("wechatpay: paid in another currency, and no rate")
	}
	return e, nil
}

// exchanged is what the platform says of a payment in another currency than asked; of
// one in the same, whatever discount the payer had, nothing. A rate that is missing or
// makes no sense leaves the money as it is: it was paid all the same.
func (a paidOrder) exchanged(asked citygate.Money) driver.Exchange {
	if !a.PayerCurrency.Valid() || a.PayerCurrency == asked.Currency || a.PayerTotal <= 0 {
		return driver.Exchange{}
	}
	e, err := a.exchange(asked)
	if err != nil {
		return driver.Exchange{Paid: citygate.Money{Minor: a.PayerTotal, Currency: a.PayerCurrency}}
	}
	return driver.Exchange{Paid: e.Paid, PaidRate: driver.Rate{Pair: string(asked.Currency) + "/" + string(e.Paid.Currency), Price: e.Rate}}
}

// Reverse implements [driver.Reverser]. A yes has no content.
func (p *global) Reverse(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
	return p.reverse(ctx, pathGlobalReverse+ref.OurID+"/reverse", reverseRequest{p.config.AppID, p.config.MchID}, ref)
}

type globalRefundRequest struct {
	MchID       string       `json:"mchid"`
	AppID       string       `json:"appid"`
	OutTradeNo  string       `json:"out_trade_no"`
	OutRefundNo string       `json:"out_refund_no"`
	Reason      string       `json:"reason,omitempty"`
	Amount      refundAmount `json:"amount"`
}

// globalRefunded is a refund as Global tells of it: an answer to a request has no
// status, because it was only accepted.
type globalRefunded struct {
	refunded
	ID string `json:"id"`
}

func (a globalRefunded) plain() refunded {
	r := a.refunded
	r.RefundID = a.ID
	if r.Status == "" {
		r.Status = "PROCESSING"
	}
	return r
}

// Refund implements [driver.Refunder]. A refund goes back in the rider's currency
// at the rate the platform chooses then, which need not be that of the payment.
func (p *global) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := p.refundable(refund); err != nil {
		return driver.Result{}, err
	}
	var answer globalRefunded
	r, err := p.call(ctx, http.MethodPost, pathGlobalRefund, globalRefundRequest{
		MchID: p.config.MchID, AppID: p.config.AppID, OutTradeNo: refund.Charge.OurID, OutRefundNo: refund.OurID,
		Reason: fitted(refund.Reason, "", reasonMax), Amount: refundAmount{refund.Amount.Minor, refund.Charge.Amount.Minor, refund.Amount.Currency},
	}, &answer)
	return p.gaveBack(r, err, answer.plain(), refund, "refund")
}

// QueryRefund implements [driver.Refunder].
func (p *global) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	if err := p.refundable(refund); err != nil {
		return driver.Result{}, err
	}
	var answer globalRefunded
	r, err := p.call(ctx, http.MethodGet, pathGlobalRefund+"/out-refund-no/"+refund.OurID+"?"+p.me().Encode(), nil, &answer)
	switch {
	case err != nil:
		return driver.Result{}, err
	case r.status == http.StatusOK:
		return answer.plain().settles(refund)
	case r.missing():
		return driver.Result{OurID: refund.OurID, Outcome: driver.Absent, ReasonCode: clip(r.Code)}, nil
	}
	return driver.Result{}, r.open("refund query")
}

// ParseNotify implements [driver.Notifier].
func (p *global) ParseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	return p.parseNotify(ctx, n)
}

// FetchBill implements [driver.Biller]. A statement comes at once, without a
// signature; the digest in its header says whether it is whole, and nothing says
// whose it is but the connection.
func (p *global) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	if err := p.over(day); err != nil {
		return driver.Bill{}, err
	}
	date := strings.ReplaceAll(day.String(), "-", "")
	query := p.me()
	query.Set("date", date)
	got, err := p.send(ctx, http.MethodGet, pathGlobalStatements+"?"+query.Encode(), nil, wire.BillLimit)
	if err != nil {
		return driver.Bill{}, fmt.Errorf("wechatpay: statement of %s: %w", day, err)
	}
	if got.Status != http.StatusOK {
		if err := p.proven(ctx, got.Header, got.Body); err != nil {
			return driver.Bill{}, withoutCertainty(err)
		}
		r := reply{status: got.Status, Code: codeOf(got.Body)}
		if r.status < 500 && noBill[r.Code] {
			return driver.Bill{}, fmt.Errorf("%w: %s: %s", driver.ErrBillNotReady, day, r)
		}
		return driver.Bill{}, r.open("statement")
	}
	if err := whole(got.Body, "SHA1", got.Header.Get("Wechatpay-Statement-Sha1")); err != nil {
		return driver.Bill{}, fmt.Errorf("wechatpay: statement of %s: %w", day, err)
	}
	return driver.Bill{Day: day, Name: nameOf(p.config.MchID+"_statement_"+date, got.Body), Body: got.Body, Currency: p.config.Currency}, nil
}
