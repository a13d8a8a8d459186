package citygate_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate"
	"pgregory.net/rapid"
)

func TestAddRefusesAnotherCurrencyAndOverflow(t *testing.T) {
	if _, err := (citygate.Money{Minor: 1, Currency: "CNY"}).Add(citygate.Money{Minor: 1, Currency: "HKD"}); !errors.Is(err, citygate.ErrCurrencyMismatch) {
		t.Errorf("adding HKD to CNY: %v", err)
	}
	if _, err := (citygate.Money{Minor: math.MaxInt64, Currency: "CNY"}).Add(citygate.Money{Minor: 1, Currency: "CNY"}); !errors.Is(err, citygate.ErrMoneyOverflow) {
		t.Errorf("overflow: %v", err)
	}
	if _, err := (citygate.Money{Minor: 0, Currency: "CNY"}).Sub(citygate.Money{Minor: math.MinInt64, Currency: "CNY"}); !errors.Is(err, citygate.ErrMoneyOverflow) {
		t.Errorf("negating the smallest amount: %v", err)
	}
}

// A through fare of 5.00 over two paths: the worked case D of the fare rules.
// The weights are exact products of path probability and kilometre share.
func TestSplitGivesTheLargestRemainders(t *testing.T) {
	got, err := citygate.Split(500, []int64{329_87, 116_93, 53_20}, []string{"op1", "op2", "op3"})
	if err != nil || !slices.Equal(got, []int64{330, 117, 53}) {
		t.Errorf("Split = %v, %v; want 330 117 53", got, err)
	}
	if _, err := citygate.Split(1, []int64{0, 0}, []string{"a", "b"}); err == nil {
		t.Error("an amount without a weight to carry it was split")
	}
}

// Shares add up exactly, are within one unit of the exact share, and do not
// depend on the order in which the parties are listed.
func TestSplitProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1_000_000), n, n).Draw(t, "weights")
		weights[0]++
		keys := make([]string, n)
		for i := range keys {
			keys[i] = string(rune('a' + i))
		}
		amount := rapid.Int64Range(-1_000_000_000, 1_000_000_000).Draw(t, "amount")
		shares, err := citygate.Split(amount, weights, keys)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, s := range shares {
			sum += s
		}
		if sum != amount {
			t.Fatalf("shares %v add up to %d, want %d", shares, sum, amount)
		}
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "order")
		w2, k2 := make([]int64, n), make([]string, n)
		for i, j := range order {
			w2[i], k2[i] = weights[j], keys[j]
		}
		again, err := citygate.Split(amount, w2, k2)
		if err != nil {
			t.Fatal(err)
		}
		for i, j := range order {
			if again[i] != shares[j] {
				t.Fatalf("party %s has %d in one order and %d in another", k2[i], shares[j], again[i])
			}
		}
	})
}

func TestPartPerMillionRoundsHalfToEven(t *testing.T) {
	for _, c := range []struct{ amount, ppm, want int64 }{
		{1000, 6000, 6}, {250, 6000, 2}, {750, 6000, 4}, {417, 6000, 3}, {-250, 6000, -2}, {-417, 6000, -3}, {0, 6000, 0},
	} {
		if got := citygate.PartPerMillion(c.amount, c.ppm); got != c.want {
			t.Errorf("%d ppm of %d = %d, want %d", c.ppm, c.amount, got, c.want)
		}
	}
}
