package share

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// A Pool names the rides whose money is divided together.
type Pool string

// The pools. The empty Pool is PerRide.
const (
	PerRide      Pool = "ride"      // each ride by itself
	PerTransfers Pool = "transfers" // a ride and those it was transferred to
	PerDay       Pool = "day"       // the rides of a business date
)

// Terms say how the money of an integrated tariff is divided. They are part of the
// tariff version and hold for the rides that it prices.
type Terms struct {
	Pool  Pool   `json:"pool,omitempty"`
	Paths []Path `json:"paths,omitempty"`
}

// A Path is one way to ride between two stops, both directions alike.
type Path struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Weight is the part of the riders who take this path; the weights of all
	// paths between two stops are whole.
	Weight int64 `json:"weight"`
	Legs   []Leg `json:"legs"`
}

// A Leg is the stretch of a path on one operator's line.
type Leg struct {
	Operator string `json:"operator"` // its name in the tariff
	Metres   int64  `json:"m"`
}

// most bounds weights and metres.
const most = 1_000_000_000

// Check refuses terms that cannot be applied.
func (t *Terms) Check() error {
	if !slices.Contains([]Pool{"", PerRide, PerTransfers, PerDay}, t.Pool) {
		return fmt.Errorf("pool %q is not one of ride, transfers and day", t.Pool)
	}
	for i := range t.Paths {
		p := &t.Paths[i]
		if p.From == "" || p.To == "" || p.Weight <= 0 || p.Weight > most || len(p.Legs) == 0 {
			return fmt.Errorf("path %d: from, to, a weight and legs are required", i+1)
		}
		for _, l := range p.Legs {
			if l.Operator == "" || l.Metres <= 0 || l.Metres > most {
				return fmt.Errorf("path %d: a leg needs an operator and its metres", i+1)
			}
		}
	}
	return nil
}

// A Part is an operator's exact part of one ride.
type Part struct {
	Operator string
	Of       *big.Rat // the parts of a ride add up to 1
}

var errNobody = errors.New("share: a ride of nobody")

// Parts says who carried how much of a ride between two stops, ascending by
// operator. The operators of its taps count where the terms know no path.
func (t *Terms) Parts(from, to string, operators []string) ([]Part, error) {
	parts := make(map[string]*big.Rat)
	add := func(operator string, by *big.Rat) {
		if parts[operator] == nil {
			parts[operator] = new(big.Rat)
		}
		parts[operator].Add(parts[operator], by)
	}
	total := int64(0)
	for i := range t.Paths {
		if t.Paths[i].joins(from, to) {
			total += t.Paths[i].Weight
		}
	}
	for i := range t.Paths {
		p := &t.Paths[i]
		if !p.joins(from, to) {
			continue
		}
		metres := int64(0)
		for _, l := range p.Legs {
			metres += l.Metres
		}
		for _, l := range p.Legs {
			add(l.Operator, new(big.Rat).Mul(big.NewRat(p.Weight, total), big.NewRat(l.Metres, metres)))
		}
	}
	if total == 0 {
		names := slices.Compact(slices.Sorted(slices.Values(operators)))
		if len(names) == 0 {
			return nil, errNobody
		}
		for _, name := range names {
			add(name, big.NewRat(1, int64(len(names))))
		}
	}
	out := make([]Part, 0, len(parts))
	for operator, of := range parts {
		out = append(out, Part{operator, of})
	}
	slices.SortFunc(out, func(a, b Part) int {
		switch {
		case a.Operator < b.Operator:
			return -1
		case a.Operator > b.Operator:
			return 1
		}
		return 0
	})
	return out, nil
}

func (p *Path) joins(a, b string) bool {
	return a != "" && b != "" && (p.From == a && p.To == b || p.From == b && p.To == a)
}
