package driver

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// This file holds what happens to a payment on its way from one currency to
// another. A charge is in the operator's currency; a rider from elsewhere pays in
// his wallet's, and the provider settles in that of the contract. Rates are
// decimal text, as the provider wrote them, and never a float; what the provider
// made of an amount is kept as it said, and only checked, never recomputed.

// A Rate is a provider's exchange rate.
type Rate struct {
	ID         string // the provider's name of the quote; "" = it has none
	Pair       string // "MOP/HKD": Price units of the second for one of the first
	Price      string // positive decimal text
	From       time.Time
	Until      time.Time // when it ends; zero = the provider does not say
	Guaranteed bool      // until then the provider converts at it, whatever the market does
}

// Expired reports whether a rate is over at an instant. One that names no end
// never is.
func (r Rate) Expired(at time.Time) bool { return !r.Until.IsZero() && !at.Before(r.Until) }

// A Quote is what a provider offers to take from a payer in his own currency for
// an amount in the operator's.
type Quote struct {
	Asked citygate.Money // in the operator's currency
	Pays  citygate.Money // in the payer's
	Rate  Rate
}

// An Exchange is what became of a payment or a refund between currencies, as the
// provider said. Zero values say that nothing was exchanged or nothing was said.
type Exchange struct {
	Paid       citygate.Money // what the payer paid, or got back, in his currency
	PaidRate   Rate
	Settled    citygate.Money // what the provider settles for it, before its fee
	SettleRate Rate
}

// A Quoter offers rates. Asking moves nothing and binds nobody but the provider.
type Quoter interface {
	// Quote asks what the payers of this contract would pay for an amount. An
	// error leaves the charge without a quote; it can be asked again at any time.
	Quote(ctx context.Context, amount citygate.Money) (Quote, error)
}

var errRate = errors.New("driver: a rate is positive decimal text")

// Convert gives from x price in the minor units of another currency, rounded half
// to even. The exponents are the decimals of the two currencies (2 for CNY, 0 for
// JPY).
func Convert(minor int64, price string, fromExponent, toExponent int) (int64, error) {
	rate, err := parseRate(price)
	if err != nil {
		return 0, err
	}
	ten := func(n int) *big.Rat {
		return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
	}
	v := new(big.Rat).Mul(new(big.Rat).SetInt64(minor), rate)
	v.Mul(v, ten(toExponent)).Quo(v, ten(fromExponent))
	return halfEven(v)
}

func parseRate(price string) (*big.Rat, error) {
	if len(price) > 40 || strings.Trim(price, "0123456789.") != "" || strings.Count(price, ".") > 1 || strings.HasPrefix(price, ".") || strings.HasSuffix(price, ".") {
		return nil, errRate
	}
	rate, ok := new(big.Rat).SetString(price)
	if !ok || rate.Sign() <= 0 {
		return nil, errRate
	}
	return rate, nil
}

func halfEven(v *big.Rat) (int64, error) {
	q, r := new(big.Int).QuoRem(v.Num(), v.Denom(), new(big.Int))
	twice := new(big.Int).Abs(new(big.Int).Lsh(r, 1))
	if c := twice.Cmp(v.Denom()); c > 0 || (c == 0 && q.Bit(0) == 1) {
		q.Add(q, big.NewInt(int64(v.Sign())))
	}
	if !q.IsInt64() {
		return 0, citygate.ErrMoneyOverflow
	}
	return q.Int64(), nil
}

// PartOf gives the payer's side of giving back the part from before to after, in
// minor units of an operator's amount whole, of which the payer paid pays. It is
// the original rate, cumulatively, so that all parts together give back exactly
// what was paid.
func PartOf(pays, whole, before, after int64) (int64, error) {
	if whole <= 0 || before < 0 || after < before || after > whole || pays < 0 {
		return 0, errors.New("driver: a part outside the whole")
	}
	share := func(n int64) (int64, error) {
		return halfEven(new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(pays), big.NewInt(n)), big.NewInt(whole)))
	}
	to, err := share(after)
	if err != nil {
		return 0, err
	}
	from, err := share(before)
	return to - from, err
}
