package alipayplus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// An amount is money on the wire: the smallest unit of its currency, as text.
type amount struct {
	Currency string `json:"currency"`
	Value    string `json:"value"`
}

func wireAmount(m citygate.Money) *amount {
	return &amount{string(m.Currency), strconv.FormatInt(m.Minor, 10)}
}

// money reads an amount; none at all is no money and no error.
func (a *amount) money() (citygate.Money, error) {
	if a == nil || (a.Currency == "" && a.Value == "") {
		return citygate.Money{}, nil
	}
	n, err := strconv.ParseInt(a.Value, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != a.Value || !citygate.Currency(a.Currency).Valid() {
		return citygate.Money{}, errors.New("alipayplus: an amount that is none")
	}
	return citygate.Money{Minor: n, Currency: citygate.Currency(a.Currency)}, nil
}

// A truth is true or false, written as such or as text: the platform's documents
// say the one, its own libraries do the other.
type truth bool

// UnmarshalJSON implements [json.Unmarshaler].
func (t *truth) UnmarshalJSON(raw []byte) error {
	switch strings.Trim(string(raw), `"`) {
	case "true":
		*t = true
	case "false", "null", "":
		*t = false
	default:
		return errors.New("alipayplus: neither true nor false")
	}
	return nil
}

// A decimal is a rate, written as a number or as text. It is kept as its digits.
type decimal string

// UnmarshalJSON implements [json.Unmarshaler].
func (d *decimal) UnmarshalJSON(raw []byte) error {
	if string(raw) != "null" {
		*d = decimal(strings.Trim(string(raw), `"`))
	}
	return nil
}

// A quote is a rate as the platform writes it. Its price is never a float.
type quote struct {
	ID         string  `json:"quoteId,omitempty"`
	Pair       string  `json:"quoteCurrencyPair,omitempty"`
	Price      decimal `json:"quotePrice,omitempty"`
	Start      string  `json:"quoteStartTime,omitempty"`
	Expiry     string  `json:"quoteExpiryTime,omitempty"`
	Guaranteed truth   `json:"guaranteed,omitempty"`
}

// rate reads a quote. One whose times or price do not read is refused whole.
func (q *quote) rate() (driver.Rate, error) {
	if q == nil || (q.ID == "" && q.Pair == "" && q.Price == "") {
		return driver.Rate{}, nil
	}
	r := driver.Rate{ID: clip(q.ID), Pair: q.Pair, Price: string(q.Price), Guaranteed: bool(q.Guaranteed)}
	var err1, err2 error
	r.From, err1 = instant(q.Start)
	r.Until, err2 = instant(q.Expiry)
	if len(r.Pair) != 7 || r.Pair[3] != '/' || !citygate.Currency(r.Pair[:3]).Valid() || !citygate.Currency(r.Pair[4:]).Valid() {
		return driver.Rate{}, errors.New("alipayplus: a quote for no pair of currencies")
	}
	if _, err := driver.Convert(1, r.Price, 0, 0); err != nil {
		return driver.Rate{}, errors.New("alipayplus: a quote without a price")
	}
	if err1 != nil || err2 != nil {
		return driver.Rate{}, errors.New("alipayplus: a quote at no time")
	}
	return r, nil
}

// instant reads a time; none is the zero time.
func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}

// A result is what came of a call.
type result struct {
	Code    string `json:"resultCode"`
	Status  string `json:"resultStatus"` // S, F or U
	Message string `json:"resultMessage,omitempty"`
}

const (
	statusYes  = "S"
	statusNo   = "F"
	statusOpen = "U"
)

// An answer has what any call of the platform answers and what it notifies of.
type answer struct {
	Result          result  `json:"result"`
	PaymentResult   *result `json:"paymentResult,omitempty"` // aps
	PaymentStatus   string  `json:"paymentStatus,omitempty"` // ams
	NotifyType      string  `json:"notifyType,omitempty"`
	RequestID       string  `json:"paymentRequestId,omitempty"`
	PaymentID       string  `json:"paymentId,omitempty"`
	PaymentAmount   *amount `json:"paymentAmount,omitempty"`
	PaymentTime     string  `json:"paymentTime,omitempty"`
	ActualAmount    *amount `json:"actualPaymentAmount,omitempty"`
	PaymentQuote    *quote  `json:"paymentQuote,omitempty"`
	GrossSettlement *amount `json:"grossSettlementAmount,omitempty"` // ams
	Settlement      *amount `json:"settlementAmount,omitempty"`      // aps
	SettlementQuote *quote  `json:"settlementQuote,omitempty"`

	RefundRequestID       string  `json:"refundRequestId,omitempty"`
	RefundID              string  `json:"refundId,omitempty"`
	RefundStatus          string  `json:"refundStatus,omitempty"`
	RefundAmount          *amount `json:"refundAmount,omitempty"`
	GrossRefundSettlement *amount `json:"grossSettlementRefundAmount,omitempty"`

	DisputeID     string `json:"disputeId,omitempty"` // ams
	DisputeType   string `json:"disputeNotificationType,omitempty"`
	DisputeResult string `json:"disputeJudgedResult,omitempty"`
	DisputeTime   string `json:"disputeTime,omitempty"`
}

// exchange reads what became of money between currencies. paid is the currency's
// side that belongs to the payer.
func (a *answer) exchange(paid *amount, settled ...*amount) (e driver.Exchange, err error) {
	var err1, err2, err3, err4 error
	if e.Paid, err1 = paid.money(); e.Paid == (citygate.Money{}) && err1 == nil {
		e.Paid, err1 = a.ActualAmount.money()
	}
	for _, s := range settled {
		if s != nil && err2 == nil {
			e.Settled, err2 = s.money()
		}
	}
	e.PaidRate, err3 = a.PaymentQuote.rate()
	e.SettleRate, err4 = a.SettlementQuote.rate()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return driver.Exchange{}, fmt.Errorf("alipayplus: %w", err)
	}
	return e, nil
}

// domestic drops an exchange in which nothing was exchanged.
func domestic(e driver.Exchange, of citygate.Money) driver.Exchange {
	same := e.Paid == (citygate.Money{}) || e.Paid == of
	if same && (e.Settled == (citygate.Money{}) || e.Settled == of) && e.SettleRate == (driver.Rate{}) {
		return driver.Exchange{}
	}
	return e
}

// clip keeps text of the far side short.
func clip(s string) string { return s[:min(len(s), 64)] }

// why names a result in the platform's own words.
func (r result) why() string { return clip(r.Code) }

var _ json.Unmarshaler = (*truth)(nil)
