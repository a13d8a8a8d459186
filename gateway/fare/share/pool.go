package share

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"

	"github.com/cashlesscity/citygate"
)

// A Ride is one priced ride of a pool.
type Ride struct {
	Journey citygate.UUID `json:"journey"`
	First   string        `json:"first"`   // names it whatever came first: its first tap
	Paid    int64         `json:"paid"`    // what the rider pays for it, minor units
	Nominal int64         `json:"nominal"` // its fare before transfers and caps
	Parts   []TenantPart  `json:"parts"`   // who carried it; each operator once
}

// A TenantPart is the exact part of a ride that an operator carried.
type TenantPart struct {
	Operator citygate.TenantID `json:"operator"`
	Of       *big.Rat          `json:"of"`
}

// A Received is what an operator received in a period.
type Received struct {
	Operator citygate.TenantID `json:"operator"`
	Minor    int64             `json:"minor"`
}

// A State is what a payer's rides leave behind for dividing the next one. It is
// plain data, kept with each ride like the state of the fares.
type State struct {
	Period   string     `json:"period,omitempty"`   // of Received
	Received []Received `json:"received,omitempty"` // by pools before this one, ascending by operator
	Key      string     `json:"key,omitempty"`      // of the pool that Rides are in
	Rides    []Ride     `json:"rides,omitempty"`    // in event order
}

// A Share is what an operator gets for a ride.
type Share struct {
	Journey  citygate.UUID
	Operator citygate.TenantID
	Minor    int64
}

// Add takes the next ride in event order: into the pool that is open if it has
// the same key, else into a new one. Period names the time over which receipts
// are counted together.
func (s *State) Add(key, period string, r Ride) error {
	if s.Key != key || len(s.Rides) == 0 {
		shares, err := s.Shares()
		if err != nil {
			return err
		}
		received := slices.Clone(s.Received)
		for _, share := range shares {
			i, found := slices.BinarySearchFunc(received, share.Operator, func(r Received, o citygate.TenantID) int { return cmp.Compare(r.Operator, o) })
			if !found {
				received = slices.Insert(received, i, Received{Operator: share.Operator})
			}
			received[i].Minor += share.Minor
		}
		if s.Period != period {
			received = nil
		}
		*s = State{Period: period, Received: received, Key: key}
	}
	s.Rides = append(slices.Clone(s.Rides), r)
	return nil
}

// Pool gives the ride that names the pool: its first.
func (s *State) Pool() citygate.UUID {
	if len(s.Rides) == 0 {
		return citygate.UUID{}
	}
	return s.Rides[0].Journey
}

// Total is what was paid for the rides of the pool.
func (s *State) Total() (sum int64) {
	for i := range s.Rides {
		sum += s.Rides[i].Paid
	}
	return sum
}

// Shares divides what was paid for the rides of the pool: first among the
// operators, then each one's share among its rides. They are ascending by journey
// and operator, those of 0 included.
func (s *State) Shares() ([]Share, error) {
	entries, operators := s.weights()
	parties := make([]Party, len(operators))
	for i, o := range operators {
		parties[i] = Party{Weight: new(big.Rat), Turn: s.turn(o), Received: s.received(o)}
		for k := range entries {
			if entries[k].operator == o {
				parties[i].Weight.Add(parties[i].Weight, entries[k].weight)
			}
		}
	}
	totals, err := Apportion(s.Total(), parties)
	if err != nil {
		return nil, err
	}
	out := make([]Share, 0, len(entries))
	for i, o := range operators {
		var rides []Party
		var of []citygate.UUID
		for k := range entries {
			if e := &entries[k]; e.operator == o {
				rides, of = append(rides, Party{Weight: e.weight, Turn: fmt.Sprintf("%09d", k)}), append(of, e.journey)
			}
		}
		minor, err := Apportion(totals[i], rides)
		if err != nil {
			return nil, err
		}
		for k := range of {
			out = append(out, Share{of[k], o, minor[k]})
		}
	}
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(bytes.Compare(a.Journey[:], b.Journey[:]), cmp.Compare(a.Operator, b.Operator))
	})
	return out, nil
}

type entry struct {
	journey  citygate.UUID
	operator citygate.TenantID
	weight   *big.Rat
}

// weights gives what each operator's part of each ride weighs. Rides that have no
// nominal fare and cost something all the same weigh what they cost.
func (s *State) weights() (entries []entry, operators []citygate.TenantID) {
	nominal := int64(0)
	for i := range s.Rides {
		nominal += s.Rides[i].Nominal
	}
	for i := range s.Rides {
		r := &s.Rides[i]
		by := r.Nominal
		if nominal == 0 {
			by = r.Paid
		}
		for _, p := range r.Parts {
			entries = append(entries, entry{r.Journey, p.Operator, new(big.Rat).Mul(new(big.Rat).SetInt64(by), p.Of)})
			operators = append(operators, p.Operator)
		}
	}
	slices.Sort(operators)
	return entries, slices.Compact(operators)
}

func (s *State) received(o citygate.TenantID) int64 {
	if i, found := slices.BinarySearchFunc(s.Received, o, func(r Received, o citygate.TenantID) int { return cmp.Compare(r.Operator, o) }); found {
		return s.Received[i].Minor
	}
	return 0
}

// turn draws an operator's place among equals, for this pool.
func (s *State) turn(o citygate.TenantID) string {
	b := []byte("citygate share turn 1\n" + s.Rides[0].First + "\n")
	b = binary.BigEndian.AppendUint64(b, uint64(o))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]) // distinct operators, distinct turns
}

// Weight gives what an operator's part of a ride weighs, and all parts of the pool
// together.
func (s *State) Weight(journey citygate.UUID, operator citygate.TenantID) (own, all *big.Rat) {
	own, all = new(big.Rat), new(big.Rat)
	entries, _ := s.weights()
	for i := range entries {
		all.Add(all, entries[i].weight)
		if entries[i].journey == journey && entries[i].operator == operator {
			own.Add(own, entries[i].weight)
		}
	}
	return own, all
}
