package citygate

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// A Currency is an ISO 4217 alphabetic code, such as "CNY".
type Currency string

// Valid reports whether c has the form of an ISO 4217 code: three capital letters.
func (c Currency) Valid() bool {
	if len(c) != 3 {
		return false
	}
	for i := range len(c) {
		if c[i] < 'A' || c[i] > 'Z' {
			return false
		}
	}
	return true
}

// Money is an exact amount in the minor unit of its currency (fen, cents).
// It is never a float. Exponents (2 for CNY, 0 for JPY) matter only at the
// edges, where amounts become text.
type Money struct {
	Minor    int64    `json:"minor"`
	Currency Currency `json:"currency"`
}

// ErrCurrencyMismatch says that two amounts of different currencies met.
var ErrCurrencyMismatch = &Code{Name: "money.currency_mismatch", Kind: Invalid, Title: "The amounts are in different currencies."}

// ErrMoneyOverflow says that a sum left the range of an int64 of minor units.
var ErrMoneyOverflow = &Code{Name: "money.overflow", Kind: Invalid, Title: "The amount is too large."}

// Add returns m + o. Both must be in one currency.
func (m Money) Add(o Money) (Money, error) {
	if m.Currency != o.Currency {
		return Money{}, ErrCurrencyMismatch.Because(nil, "%s and %s", m.Currency, o.Currency)
	}
	sum := m.Minor + o.Minor
	if (o.Minor > 0 && sum < m.Minor) || (o.Minor < 0 && sum > m.Minor) {
		return Money{}, ErrMoneyOverflow.Because(nil, "%d + %d", m.Minor, o.Minor)
	}
	return Money{sum, m.Currency}, nil
}

// Neg returns -m.
func (m Money) Neg() Money { return Money{-m.Minor, m.Currency} }

// Sub returns m - o. Both must be in one currency.
func (m Money) Sub(o Money) (Money, error) {
	if o.Minor == math.MinInt64 {
		return Money{}, ErrMoneyOverflow.Because(nil, "- %d", o.Minor)
	}
	return m.Add(o.Neg())
}

// String gives the minor amount and the currency, for logs: "1250 CNY minor".
// Text for people is made at the edges, where exponents are known.
func (m Money) String() string { return fmt.Sprintf("%d %s minor", m.Minor, m.Currency) }

// Split divides amount by weights with the largest-remainder method: the shares
// add up to amount exactly, and no share depends on the order of the others.
// A tie between equal remainders goes to the smaller key, so the keys must be
// distinct and are part of the result (fares-and-money 4: list order must not
// become money). A negative amount is split by symmetry. Weights must not be
// negative and must not all be zero unless amount is zero.
func Split(amount int64, weights []int64, keys []string) ([]int64, error) {
	if len(weights) != len(keys) {
		return nil, fmt.Errorf("split: %d weights, %d keys", len(weights), len(keys))
	}
	shares := make([]int64, len(weights))
	if amount == 0 {
		return shares, nil
	}
	total := new(big.Int)
	for _, w := range weights {
		if w < 0 {
			return nil, fmt.Errorf("split: negative weight %d", w)
		}
		total.Add(total, big.NewInt(w))
	}
	if total.Sign() == 0 {
		return nil, fmt.Errorf("split: no weight to carry %d", amount)
	}
	negative := amount < 0
	magnitude := new(big.Int).Abs(big.NewInt(amount))
	type rest struct {
		i         int
		remainder *big.Int
	}
	rests := make([]rest, len(weights))
	left := new(big.Int).Set(magnitude)
	for i, w := range weights {
		q, r := new(big.Int).QuoRem(new(big.Int).Mul(magnitude, big.NewInt(w)), total, new(big.Int))
		shares[i] = q.Int64()
		left.Sub(left, q)
		rests[i] = rest{i, r}
	}
	slices.SortFunc(rests, func(a, b rest) int {
		return cmp.Or(b.remainder.Cmp(a.remainder), cmp.Compare(keys[a.i], keys[b.i]))
	})
	for i := range left.Int64() { // left < len(weights): one unit for each of the largest remainders
		shares[rests[i].i]++
	}
	if negative {
		for i := range shares {
			shares[i] = -shares[i]
		}
	}
	return shares, nil
}

// PartPerMillion returns amount x ppm / 1,000,000 rounded half to even, the one
// rounding step of a provider's percentage fee (fares-and-money 5.8).
func PartPerMillion(amount int64, ppm int64) int64 {
	const million = 1_000_000
	q, r := new(big.Int).QuoRem(new(big.Int).Mul(big.NewInt(amount), big.NewInt(ppm)), big.NewInt(million), new(big.Int))
	whole, rem := q.Int64(), r.Int64()
	step := int64(1)
	if rem < 0 {
		rem, step = -rem, -1
	}
	if rem*2 > million || (rem*2 == million && whole%2 != 0) {
		whole += step
	}
	return whole
}
