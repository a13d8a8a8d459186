package entitlement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Kind says what a product gives.
type Kind string

// The kinds.
const (
	ZeroFare    Kind = "zero_fare"
	Pass        Kind = "pass"
	Ticket      Kind = "ticket"
	StoredValue Kind = "stored_value"
)

// A Product is what a tenant sells or gives. Amounts are minor units of the
// tariff's currency. A period is Days (24 hours each) or Minutes, from purchase
// or, with FirstUse, from the first ride; neither means without end. A product
// that begins with its first use must be used within Within days of its purchase,
// if that is set.
type Product struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Kind     Kind   `json:"kind"`
	Price    int64  `json:"price"`
	Rides    int    `json:"rides,omitempty"`
	Value    int64  `json:"value,omitempty"`
	Days     int    `json:"days,omitempty"`
	Minutes  int    `json:"minutes,omitempty"`
	FirstUse bool   `json:"first_use,omitempty"`
	Within   int    `json:"within_days,omitempty"`
	Scope    Scope  `json:"scope,omitzero"`
	Funder   string `json:"funder,omitempty"` // of a zero fare: who pays the operators
}

// A Scope says which rides a product is for; what is not given is no condition.
// A ride is inside Zones if both its ends can be counted as one of them.
type Scope struct {
	Operators  []string `json:"operators,omitempty"`
	Routes     []string `json:"routes,omitempty"`
	Zones      []string `json:"zones,omitempty"`
	Categories []string `json:"categories,omitempty"`
}

// A Holding is a product somebody has. Times are unix milliseconds; Until 0 means
// without end. Lasts is the period after the first use, in milliseconds; 0 means
// that only From and Until bound it. Ended is when the holding was taken back;
// rides before it keep what they used. Paid is what was paid for it, in minor
// units, and Of the rides that were bought, of which Rides may be used: fewer once
// the rest was given back.
type Holding struct {
	ID      citygate.UUID `json:"id"`
	Product string        `json:"product"`
	Kind    Kind          `json:"kind"`
	Scope   Scope         `json:"scope,omitzero"`
	From    int64         `json:"from"`
	Until   int64         `json:"until,omitempty"`
	Lasts   int64         `json:"lasts,omitempty"`
	Ended   int64         `json:"ended,omitempty"`
	Rides   int           `json:"rides,omitempty"`
	Value   int64         `json:"value,omitempty"`
	Funder  string        `json:"funder,omitempty"`
	Paid    int64         `json:"paid,omitempty"`
	Of      int           `json:"of,omitempty"`
}

// A Ride is what of a ride decides whether a product covers it. Ends are the
// zones that each known end of the ride can be counted as.
type Ride struct {
	At       int64 // event time of the first tap, unix milliseconds
	Operator string
	Route    string
	Category string
	Ends     [][]string
}

// A Used is what rides have taken of one holding.
type Used struct {
	Holding citygate.UUID `json:"holding"`
	First   int64         `json:"first"` // first tap of the first ride
	Rides   int           `json:"rides,omitempty"`
	Value   int64         `json:"value,omitempty"` // of a pass that was paid for: what its rides would have cost
}

// Uses are what rides have taken of a rider's holdings, ascending by holding.
type Uses []Used

const maxAmount = 1 << 40

// Check refuses a product that cannot be sold.
func (p *Product) Check() error {
	switch {
	case p.ID == "":
		return errors.New("a product needs an id")
	case p.Price < 0 || p.Price > maxAmount || p.Value < 0 || p.Value > maxAmount:
		return fmt.Errorf("product %s: the price or value is out of range", p.ID)
	case p.Days < 0 || p.Days > 3660 || p.Minutes < 0 || p.Minutes > 60*24*366 || p.Within < 0 || p.Within > 3660 || p.Days > 0 && p.Minutes > 0:
		return fmt.Errorf("product %s: give days or minutes, inside ten years", p.ID)
	case p.FirstUse && p.Days == 0 && p.Minutes == 0, !p.FirstUse && p.Within > 0:
		return fmt.Errorf("product %s: first_use needs days or minutes, and within_days needs first_use", p.ID)
	case (p.Kind == Ticket) != (p.Rides > 0) || p.Rides > 1_000:
		return fmt.Errorf("product %s: rides go with the kind ticket, up to 1,000", p.ID)
	case (p.Kind == StoredValue) != (p.Value > 0):
		return fmt.Errorf("product %s: a value goes with the kind stored_value", p.ID)
	case p.Kind == Pass && p.Days == 0 && p.Minutes == 0:
		return fmt.Errorf("product %s: a pass needs days or minutes", p.ID)
	case p.Funder != "" && p.Kind != ZeroFare:
		return fmt.Errorf("product %s: a funder goes with the kind zero_fare", p.ID)
	case !slices.Contains([]Kind{ZeroFare, Pass, Ticket, StoredValue}, p.Kind):
		return fmt.Errorf("product %s: no kind %q", p.ID, p.Kind)
	}
	return nil
}

// Hold gives the holding of a product bought at an instant.
func (p *Product) Hold(id citygate.UUID, at time.Time) Holding {
	const dayMS = 24 * 60 * 60 * 1000
	h := Holding{ID: id, Product: p.ID, Kind: p.Kind, Scope: p.Scope, From: at.UnixMilli(), Rides: p.Rides, Value: p.Value, Funder: p.Funder}
	period := int64(p.Days)*dayMS + int64(p.Minutes)*60_000
	switch {
	case p.FirstUse:
		h.Lasts = period
		if p.Within > 0 {
			h.Until = h.From + int64(p.Within)*dayMS
		}
	case period > 0:
		h.Until = h.From + period
	}
	return h
}

// Covers reports whether a ride is inside s.
func (s *Scope) Covers(r *Ride) bool {
	in := func(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }
	if !in(s.Operators, r.Operator) || !in(s.Routes, r.Route) || !in(s.Categories, r.Category) {
		return false
	}
	return InZones(s.Zones, r.Ends)
}

// InZones reports whether every end of a ride can be counted as one of zones; no
// zones means everywhere. A ride with no known end is in none.
func InZones(zones []string, ends [][]string) bool {
	if len(zones) == 0 {
		return true
	}
	return len(ends) > 0 && !slices.ContainsFunc(ends, func(end []string) bool {
		return !slices.ContainsFunc(end, func(z string) bool { return slices.Contains(zones, z) })
	})
}

func (u Uses) of(id citygate.UUID) (Used, int, bool) {
	i, found := slices.BinarySearchFunc(u, id, func(a Used, id citygate.UUID) int { return slices.Compare(a.Holding[:], id[:]) })
	if !found {
		return Used{Holding: id}, i, false
	}
	return u[i], i, true
}

// add notes that a ride at an instant took of a holding.
func (u *Uses) add(h *Holding, at int64, rides int, value int64) {
	used, i, found := u.of(h.ID)
	if !found {
		used.First = at
		*u = slices.Insert(*u, i, used)
	}
	used.Rides += rides
	used.Value += value
	(*u)[i] = used
}

// serves reports whether h can be used for r, and when it ends for ordering.
func (u Uses) serves(h *Holding, r *Ride) (ends int64, ok bool) {
	ends = h.Until
	if ends == 0 {
		ends = 1<<63 - 1
	}
	used, _, begun := u.of(h.ID)
	if begun && h.Lasts > 0 {
		ends = used.First + h.Lasts // within is for the first use alone
	}
	switch {
	case r.At < h.From || r.At >= ends, h.Ended != 0 && r.At >= h.Ended, !h.Scope.Covers(r):
		return 0, false
	case h.Kind == Ticket && used.Rides >= h.Rides, h.Kind == StoredValue && used.Value >= h.Value:
		return 0, false
	}
	return ends, true
}

// next gives the holding of kind to use for r.
func (u Uses) next(holdings []Holding, kind Kind, r *Ride) *Holding {
	var best *Holding
	var bestEnds int64
	for i := range holdings {
		h := &holdings[i]
		if h.Kind != kind {
			continue
		}
		ends, ok := u.serves(h, r)
		if ok && (best == nil || cmp.Or(cmp.Compare(ends, bestEnds), slices.Compare(h.ID[:], best.ID[:])) < 0) {
			best, bestEnds = h, ends
		}
	}
	return best
}

// Free gives the zero fare or pass that covers r, and notes its use. Nil means
// there is none.
func (u *Uses) Free(holdings []Holding, r *Ride) *Holding {
	for _, kind := range []Kind{ZeroFare, Pass} {
		if h := u.next(holdings, kind, r); h != nil {
			u.add(h, r.At, 1, 0)
			return h
		}
	}
	return nil
}

// Ticket uses up one ride of a ticket for r. Nil means there is none.
func (u *Uses) Ticket(holdings []Holding, r *Ride) *Holding {
	h := u.next(holdings, Ticket, r)
	if h != nil {
		u.add(h, r.At, 1, 0)
	}
	return h
}

// Earn gives what of the price paid for h the ride that was just counted uses up,
// in minor units; nominal is what the ride would have cost. The shares of a
// ticket's rides add up to its price whatever that is. A pass is used up by the
// fares of its rides, as far as its price reaches.
func (u *Uses) Earn(h *Holding, nominal int64) int64 {
	used, i, found := u.of(h.ID)
	if h.Paid == 0 || !found {
		return 0
	}
	switch h.Kind {
	case ZeroFare, StoredValue: // nobody paid, or what is drawn says it
	case Ticket:
		of, k := int64(max(h.Of, h.Rides)), int64(used.Rides)
		return h.Paid*k/of - h.Paid*(k-1)/of
	case Pass:
		before := min(used.Value, h.Paid)
		used.Value += nominal
		(*u)[i] = used
		return min(used.Value, h.Paid) - before
	}
	return 0
}

// A Draw is what a ride took of one holding of stored value, in minor units.
// Earned is how much of that was paid for: what was paid goes first, and then
// what was given on top.
type Draw struct {
	Holding *Holding
	Minor   int64
	Earned  int64
}

// Draw takes up to minor from stored value for r; the sum of the draws is less
// where not enough is left.
func (u *Uses) Draw(holdings []Holding, r *Ride, minor int64) []Draw {
	var draws []Draw
	for minor > 0 {
		h := u.next(holdings, StoredValue, r)
		if h == nil {
			break
		}
		used, _, _ := u.of(h.ID)
		take := min(minor, h.Value-used.Value)
		u.add(h, r.At, 1, take)
		draws = append(draws, Draw{h, take, min(used.Value+take, h.Paid) - min(used.Value, h.Paid)})
		minor -= take
	}
	return draws
}

// Rest gives what is left of h: rides of a ticket, minor units of stored value.
func (u Uses) Rest(h *Holding) (rides int, value int64) {
	used, _, _ := u.of(h.ID)
	return max(h.Rides-used.Rides, 0), max(h.Value-used.Value, 0)
}

// Rides gives how many rides have used h.
func (u Uses) Rides(h *Holding) int {
	used, _, _ := u.of(h.ID)
	return used.Rides
}

// Used gives what rides have taken of h: rides of a ticket, minor units of stored
// value.
func (u Uses) Used(h *Holding) (rides int, value int64) {
	used, _, _ := u.of(h.ID)
	if h.Kind == Ticket {
		rides = used.Rides
	}
	if h.Kind == StoredValue {
		value = used.Value
	}
	return rides, value
}
