package alipay

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
)

const cny citygate.Currency = "CNY"

// amountMax is the platform's largest amount, 100,000,000.00 yuan, in fen.
const amountMax = 100_000_000_00

// yuan writes fen as the platform's decimal text: 1234 is "12.34".
func yuan(fen int64) string {
	sign, rest := "", uint64(fen)
	if fen < 0 {
		sign, rest = "-", -uint64(fen)
	}
	return fmt.Sprintf("%s%d.%02d", sign, rest/100, rest%100)
}

// fen reads the platform's decimal text, exactly: an optional minus, digits,
// and at most two decimals. Anything else is an error, never a rounded amount.
func fen(text string) (int64, error) {
	body, negative := strings.CutPrefix(text, "-")
	whole, part, dotted := strings.Cut(body, ".")
	if !digits(whole, 16) || (dotted && !digits(part, 2)) {
		return 0, fmt.Errorf("alipay: amount %.40q: want yuan with at most two decimals", text)
	}
	for len(part) < 2 {
		part += "0"
	}
	n, err := strconv.ParseInt(whole+part, 10, 64) // at most 18 digits: fits
	if err != nil {
		return 0, fmt.Errorf("alipay: amount %.40q: %w", text, err)
	}
	if negative {
		n = -n
	}
	return n, nil
}

// add sums amounts of a file, where a hostile file could overflow.
func add(a, b int64) (int64, error) {
	sum := a + b
	if (b > 0 && sum < a) || (b < 0 && sum > a) || sum == math.MinInt64 {
		return 0, fmt.Errorf("alipay: the amounts add up to more than can be counted")
	}
	return sum, nil
}
