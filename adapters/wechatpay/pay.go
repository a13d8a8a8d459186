package wechatpay

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// States of a payment, of all products.
const (
	stateSuccess  = "SUCCESS"
	stateRefund   = "REFUND" // paid, and something of it given back
	stateAccepted = "ACCEPTED"
	stateFailed   = "PAY_FAIL"
	stateRevoked  = "REVOKED" // reversed, paid or not
)

// bankAdvance is the bank of a payment that the platform advanced: the operator
// has its money, the rider owes the platform.
const bankAdvance = "BPA"

// An amount is of a payment, in fen or cents.
type amount struct {
	Total    int64             `json:"total"`
	Currency citygate.Currency `json:"currency,omitempty"`
}

// A transaction is a payment as the platform tells of it. Products leave out
// what they do not have.
type transaction struct {
	OutTradeNo    string    `json:"out_trade_no"`
	TransactionID string    `json:"transaction_id"`
	ID            string    `json:"id"` // Global's transaction_id
	MchID         string    `json:"mchid"`
	SpMchID       string    `json:"sp_mchid"`
	TradeState    string    `json:"trade_state"`
	SuccessTime   string    `json:"success_time"`
	BankType      string    `json:"bank_type"`
	RepayState    string    `json:"user_repay_state"`
	Amount        paidOrder `json:"amount"`
}

// A paidOrder is the amount of a payment with what the payer paid of it.
type paidOrder struct {
	Total         *int64            `json:"total"`
	Currency      citygate.Currency `json:"currency"`
	PayerTotal    int64             `json:"payer_total"`
	PayerCurrency citygate.Currency `json:"payer_currency"`
	ExchangeRate  *exchangeRate     `json:"exchange_rate"`
}

// outcomes are what the states mean. A state that is not here settles nothing.
var outcomes = map[string]driver.Outcome{
	stateSuccess:  driver.Succeeded,
	stateRefund:   driver.Succeeded,
	stateAccepted: driver.Accepted,
	"ACCEPT":      driver.Accepted, // APIv2
	"NOTPAY":      driver.Accepted, // the order is there and can still be paid
	"USERPAYING":  driver.Accepted, // the payer is typing a password
	stateFailed:   driver.Declined,
	"PAYERROR":    driver.Declined,
	"CLOSED":      driver.Declined,
}

// settles gives the result of what the platform tells of a payment, provided
// that it tells of the one that was asked for.
func (t transaction) settles(c *client, ourID string, asked citygate.Money) (driver.Result, error) {
	if t.OutTradeNo != ourID {
		return driver.Result{}, fmt.Errorf("wechatpay: asked for order %s, was told of %q", ourID, clip(t.OutTradeNo))
	}
	outcome, known := outcomes[t.TradeState]
	revoked := t.TradeState == stateRevoked
	switch paid := t.SuccessTime != "" || t.Amount.PayerTotal > 0; {
	case revoked && paid:
		outcome = driver.Succeeded // and went back
	case revoked:
		outcome = driver.Declined
	case !known:
		return driver.Result{}, fmt.Errorf("wechatpay: order %s: state %q settles nothing", ourID, clip(t.TradeState))
	}
	result := driver.Result{OurID: ourID, Outcome: outcome, ProviderRef: clip(t.TransactionID + t.ID), ReasonCode: clip(t.TradeState)}
	if t.Amount.Total == nil {
		if outcome == driver.Succeeded {
			return driver.Result{}, fmt.Errorf("wechatpay: order %s: paid, and no amount", ourID)
		}
		return result, nil
	}
	said := citygate.Money{Minor: *t.Amount.Total, Currency: t.Amount.Currency}
	if said.Currency == "" {
		said.Currency = c.config.Currency // Ride may leave it out: it has one
	}
	if said != asked {
		return driver.Result{}, fmt.Errorf("wechatpay: order %s is of %s there and of %s here", ourID, said, asked)
	}
	result.Amount = said
	if outcome == driver.Succeeded {
		result.Exchange = t.Amount.exchanged(said)
	}
	if revoked && outcome == driver.Succeeded {
		result.Returned = said
	}
	if t.BankType == bankAdvance && outcome == driver.Succeeded {
		if result.Advance = advances[t.RepayState]; result.Advance == driver.NoAdvance {
			result.Advance = driver.AdvanceOwed
		}
	}
	return result, nil
}

// advances are what the platform says of the debt of a rider it paid for. A word
// that is not here leaves him owing.
var advances = map[string]driver.Advance{
	"NOT_REPAY": driver.AdvanceOwed, "REPAID": driver.AdvanceRepaid, "ALL_REFUND": driver.AdvanceReturned,
}

// priced refuses what the platform would not take: a wrong currency, amount or
// number.
func (c *client) priced(ourID string, m citygate.Money) error {
	switch {
	case m.Currency != c.config.Currency:
		return fmt.Errorf("%w: this wechatpay contract settles %s, not %s", driver.ErrCurrencyUnsupported, c.config.Currency, m.Currency)
	case m.Minor <= 0 || m.Minor > amountMax:
		return fmt.Errorf("%w: %s has an amount outside 1 to %d", driver.ErrNotPerformed, clip(ourID), int64(amountMax))
	case !plainID(ourID):
		return fmt.Errorf("%w: id %q: want 1 to %d of A-Z a-z 0-9 _", driver.ErrNotPerformed, clip(ourID), idMax)
	}
	return nil
}

// single gives the one debit of a call.
func (c *client) single(debits []driver.Debit) (driver.Debit, error) {
	if len(debits) != 1 {
		return driver.Debit{}, fmt.Errorf("%w: %d debits in a call, want one", driver.ErrNotPerformed, len(debits))
	}
	d := debits[0]
	if err := c.priced(d.OurID, d.Amount); err != nil {
		return driver.Debit{}, err
	}
	if d.TripTime.IsZero() {
		return driver.Debit{}, fmt.Errorf("%w: debit %s has no trip time", driver.ErrNotPerformed, d.OurID)
	}
	return d, nil
}

func plainID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= idMax
}

// fitted cuts text to a number of bytes, which is how the platform counts, and
// never inside a character.
func fitted(s, otherwise string, most int) string {
	if s == "" {
		return otherwise
	}
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// instant writes a time as the platform does.
func instant(t time.Time) string { return t.In(beijing).Format(time.RFC3339) }

// add sums amounts of a file, where a hostile file could overflow.
func add(a, b int64) (int64, error) {
	sum := a + b
	if (b > 0 && sum < a) || (b < 0 && sum > a) || sum == math.MinInt64 {
		return 0, fmt.Errorf("wechatpay: the amounts add up to more than can be counted")
	}
	return sum, nil
}
