package journey

import (
	"bytes"
	"slices"

	"github.com/cashlesscity/citygate"
)

// A Delta is by how much the amount of one journey changed, in minor units.
type Delta struct {
	Journey citygate.UUID
	Amount  int64
}

// A Correction is money that moved from one journey to another because late
// knowledge moved a fare: the two halves, -Amount and +Amount, sum to zero.
type Correction struct {
	From, To citygate.UUID
	Amount   int64 // > 0, minor units
}

// Corrections splits the changes of one rider's journeys into pairs that sum to
// zero and what is left, which is what the rider really pays more or less. It
// does not depend on the order of changes; journeys are matched in the order of
// their ids, which is that of their first taps.
func Corrections(changes []Delta) (pairs []Correction, rest []Delta) {
	ordered := slices.Clone(changes)
	slices.SortFunc(ordered, func(a, b Delta) int { return bytes.Compare(a.Journey[:], b.Journey[:]) })
	var down, up []Delta
	for _, d := range ordered {
		switch {
		case d.Amount < 0:
			down = append(down, Delta{d.Journey, -d.Amount})
		case d.Amount > 0:
			up = append(up, d)
		}
	}
	for len(down) > 0 && len(up) > 0 {
		amount := min(down[0].Amount, up[0].Amount)
		pairs = append(pairs, Correction{From: down[0].Journey, To: up[0].Journey, Amount: amount})
		down[0].Amount -= amount
		up[0].Amount -= amount
		if down[0].Amount == 0 {
			down = down[1:]
		}
		if up[0].Amount == 0 {
			up = up[1:]
		}
	}
	for _, d := range down {
		rest = append(rest, Delta{d.Journey, -d.Amount})
	}
	return pairs, append(rest, up...)
}
