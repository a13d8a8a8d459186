package share

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// A Party takes part in dividing an amount.
type Party struct {
	Weight   *big.Rat // exact, not negative
	Received int64    // so far in this period, minor units
	Turn     string   // decides last; distinct among the parties
}

// The errors of [Apportion].
var (
	errWeights = errors.New("share: no party has a weight to carry the amount")
	errWeight  = errors.New("share: a weight is negative")
	errTurn    = errors.New("share: two parties have one turn")
)

// Apportion divides amount (minor units) by weight with the method of the largest
// remainder. Equal remainders go by what was received so far, the smaller first,
// and then by turn. The shares are in the order of parties and add up to amount; no
// share depends on that order. A negative amount is divided by symmetry.
func Apportion(amount int64, parties []Party) ([]int64, error) {
	shares := make([]int64, len(parties))
	if amount == 0 {
		return shares, nil
	}
	total := new(big.Rat)
	for i := range parties {
		if parties[i].Weight.Sign() < 0 {
			return nil, errWeight
		}
		total.Add(total, parties[i].Weight)
	}
	if total.Sign() == 0 {
		return nil, errWeights
	}
	size := new(big.Int).Abs(big.NewInt(amount))
	rests := make([]*big.Rat, len(parties))
	order := make([]int, len(parties))
	left := new(big.Int).Set(size)
	for i := range parties {
		exact := new(big.Rat).Mul(new(big.Rat).SetInt(size), parties[i].Weight)
		exact.Quo(exact, total)
		whole := new(big.Int).Quo(exact.Num(), exact.Denom())
		left.Sub(left, whole)
		shares[i], order[i] = whole.Int64(), i
		rests[i] = exact.Sub(exact, new(big.Rat).SetInt(whole))
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(rests[b].Cmp(rests[a]), cmp.Compare(parties[a].Received, parties[b].Received), cmp.Compare(parties[a].Turn, parties[b].Turn))
	})
	for at, i := range order {
		if at > 0 && parties[i].Turn == parties[order[at-1]].Turn {
			return nil, fmt.Errorf("%w: %q", errTurn, parties[i].Turn)
		}
	}
	for _, i := range order[:left.Int64()] { // fewer units are left than there are parties
		shares[i]++
	}
	if amount < 0 {
		for i := range shares {
			shares[i] = -shares[i]
		}
	}
	return shares, nil
}
