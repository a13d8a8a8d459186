package fare

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Zones price a pair of stops by the zones they lie in, in one of three ways. A
// stop of the tariff's zones that lies in several (a boundary) counts as the one
// that is cheapest for the rider; a tap that carries the name of a zone in place
// of a stop needs no entry.
//
//   - Sets: the cheapest set of zones that holds both ends.
//   - Rings: zones are numbers, 1 the centre; the cheapest range that holds both.
//   - Counts: the number of zones on the shortest way over Neighbours, both ends
//     included.
type Zones struct {
	Sets       []ZoneSet           `json:"sets,omitempty"`
	Rings      []Ring              `json:"rings,omitempty"`
	Counts     []ZoneCount         `json:"counts,omitempty"`
	Neighbours map[string][]string `json:"neighbours,omitempty"`

	known map[string]bool
	hops  map[[2]string]int // zones from one to the other, both included
}

// A ZoneSet has one price for every ride inside its zones.
type ZoneSet struct {
	Zones   []string `json:"zones"`
	Amounts Amounts  `json:"amounts"`
}

// A Ring has one price for every ride from zone From to zone To at the farthest.
type Ring struct {
	From    int     `json:"from"`
	To      int     `json:"to"`
	Amounts Amounts `json:"amounts"`
}

// A ZoneCount has one price for rides through up to UpTo zones.
type ZoneCount struct {
	UpTo    int     `json:"upto"`
	Amounts Amounts `json:"amounts"`
}

const maxZones = 512

func (z *Zones) check() error {
	kinds := 0
	for _, n := range []int{len(z.Sets), len(z.Rings), len(z.Counts)} {
		if n > 0 {
			kinds++
		}
	}
	if kinds != 1 || (len(z.Counts) > 0) != (len(z.Neighbours) > 0) {
		return errors.New("zones: exactly one of sets, rings and counts (with neighbours) is required")
	}
	z.known = make(map[string]bool)
	for i, s := range z.Sets {
		if len(s.Zones) == 0 || len(s.Amounts) == 0 {
			return fmt.Errorf("zones: set %d needs zones and amounts", i+1)
		}
		for _, name := range s.Zones {
			z.known[name] = true
		}
		if err := s.Amounts.check(); err != nil {
			return fmt.Errorf("zones: set %d: %w", i+1, err)
		}
	}
	for i, r := range z.Rings {
		if r.From < 0 || r.To < r.From || r.To > maxZones || len(r.Amounts) == 0 {
			return fmt.Errorf("zones: ring %d: 0 <= from <= to and amounts are required", i+1)
		}
		for n := r.From; n <= r.To; n++ {
			z.known[strconv.Itoa(n)] = true
		}
		if err := r.Amounts.check(); err != nil {
			return fmt.Errorf("zones: ring %d: %w", i+1, err)
		}
	}
	last := 0
	for i, c := range z.Counts {
		if c.UpTo <= last || len(c.Amounts) == 0 {
			return fmt.Errorf("zones: count %d: rising upto and amounts are required", i+1)
		}
		last = c.UpTo
		if err := c.Amounts.check(); err != nil {
			return fmt.Errorf("zones: count %d: %w", i+1, err)
		}
	}
	return z.walk()
}

// walk counts the zones between every two of them, breadth first.
func (z *Zones) walk() error {
	if len(z.Neighbours) == 0 {
		return nil
	}
	next := make(map[string][]string)
	for _, a := range slices.Sorted(maps.Keys(z.Neighbours)) {
		z.known[a] = true
		for _, b := range z.Neighbours[a] {
			if a == "" || b == "" || a == b {
				return fmt.Errorf("zones: %q and %q are not neighbours", a, b)
			}
			z.known[b] = true
			next[a], next[b] = append(next[a], b), append(next[b], a)
		}
	}
	if len(z.known) > maxZones {
		return fmt.Errorf("zones: %d zones; %d are possible", len(z.known), maxZones)
	}
	z.hops = make(map[[2]string]int)
	for _, from := range slices.Sorted(maps.Keys(z.known)) {
		z.hops[[2]string{from, from}] = 1
		for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
			for _, to := range next[queue[0]] {
				if z.hops[[2]string{from, to}] == 0 {
					z.hops[[2]string{from, to}] = z.hops[[2]string{from, queue[0]}] + 1
					queue = append(queue, to)
				}
			}
		}
	}
	return nil
}

// of gives the zones of a stop.
func (z *Zones) of(stops map[string][]string, stop string) []string {
	if zones, ok := stops[stop]; ok {
		return zones
	}
	if stop != "" && z.known[stop] {
		return []string{stop}
	}
	return nil
}

// amounts gives the prices that serve a ride between two zones.
func (z *Zones) amounts(a, b string) (prices []Amounts, beyond bool) {
	for i := range z.Sets {
		if slices.Contains(z.Sets[i].Zones, a) && slices.Contains(z.Sets[i].Zones, b) {
			prices = append(prices, z.Sets[i].Amounts)
		}
	}
	if len(z.Rings) > 0 {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX != nil || errY != nil {
			return nil, false
		}
		for i := range z.Rings {
			if r := &z.Rings[i]; r.From <= min(x, y) && max(x, y) <= r.To {
				prices = append(prices, r.Amounts)
			}
		}
	}
	if hops := z.hops[[2]string{a, b}]; hops > 0 {
		for i := range z.Counts {
			if hops <= z.Counts[i].UpTo {
				return append(prices, z.Counts[i].Amounts), false
			}
		}
		return nil, true
	}
	return prices, false
}

// zone prices a pair of stops by their zones.
func (p *pricing) zone(z *Zones, from, to string) (exact, Reason) {
	as, bs := z.of(p.tariff.Zones, from), z.of(p.tariff.Zones, to)
	if len(as) == 0 || len(bs) == 0 {
		return exact{}, NoStop
	}
	best, section, why := int64(-1), "", NoPair
	for _, a := range as {
		for _, b := range bs {
			prices, beyond := z.amounts(a, b)
			if beyond && why == NoPair {
				why = BeyondTable
			}
			for _, amounts := range prices {
				amount, ok := amounts[p.Category]
				switch {
				case !ok && best < 0:
					why = NoAmount
				case ok && (best < 0 || amount < best):
					best, section = amount, a+"-"+b
				}
			}
		}
	}
	if best < 0 {
		return exact{}, why
	}
	p.step(Step{Op: OpZone, From: from, To: to, Section: section, Minor: best})
	return minor(best), ""
}

// A Time prices the minutes between the first and the last tap: the first step
// that is not passed, and past the last one Add for every started Per minutes,
// never more than Max where the category has one. Stops do not matter to it, so
// a ride that ends where it began is priced like any other.
type Time struct {
	Steps []TimeStep `json:"steps"`
	Per   int64      `json:"per_min,omitempty"`
	Add   Amounts    `json:"add,omitempty"`
	Max   Amounts    `json:"max,omitempty"`
}

// A TimeStep is the price of stays up to UpTo minutes, the last one included.
type TimeStep struct {
	UpTo    int64   `json:"upto_min"`
	Amounts Amounts `json:"amounts"`
}

const maxMinutes = 60 * 24 * 366

func (t *Time) check() error {
	if len(t.Steps) == 0 || (t.Per > 0) != (len(t.Add) > 0) || t.Per < 0 || t.Per > maxMinutes {
		return errors.New("time: steps are required, and per_min and add go together")
	}
	last := int64(0)
	for i, s := range t.Steps {
		if s.UpTo <= last || s.UpTo > maxMinutes || len(s.Amounts) == 0 {
			return fmt.Errorf("time: step %d: rising upto_min and amounts are required", i+1)
		}
		last = s.UpTo
		if err := s.Amounts.check(); err != nil {
			return fmt.Errorf("time: step %d: %w", i+1, err)
		}
	}
	for c, add := range t.Add {
		if add > maxAmount>>20 { // a year of minutes stays in range
			return fmt.Errorf("time: category %q: add is out of range", c)
		}
	}
	if err := t.Add.check(); err != nil {
		return fmt.Errorf("time: add: %w", err)
	}
	if err := t.Max.check(); err != nil {
		return fmt.Errorf("time: max: %w", err)
	}
	return nil
}

func (p *pricing) time(t *Time, from, to int64) (exact, Reason) {
	const ms = 60_000
	minutes := (max(to-from, 0) + ms - 1) / ms
	if minutes > maxMinutes {
		return exact{}, BeyondTable
	}
	amount, ok := int64(0), false
	step := slices.IndexFunc(t.Steps, func(s TimeStep) bool { return minutes <= s.UpTo })
	if step >= 0 {
		amount, ok = t.Steps[step].Amounts[p.Category]
	} else {
		last := t.Steps[len(t.Steps)-1]
		top, capped := t.Max[p.Category]
		if t.Per == 0 && !capped {
			return exact{}, BeyondTable
		}
		if t.Per > 0 {
			add, has := t.Add[p.Category]
			base, hasBase := last.Amounts[p.Category]
			amount, ok = base+(minutes-last.UpTo+t.Per-1)/t.Per*add, has && hasBase
		} else {
			amount, ok = top, true
		}
		if capped && ok {
			amount = min(amount, top)
		}
	}
	if !ok {
		return exact{}, NoAmount
	}
	p.step(Step{Op: OpTime, Minutes: minutes, Minor: amount})
	return minor(amount), ""
}

// extreme gives the highest or lowest price a stay can have; a rule without an
// end has no highest.
func (t *Time) extreme(c Category, better func(candidate, best exact) bool) (exact, bool) {
	found, best := false, exact{}
	consider := func(m int64) {
		if e := minor(m); !found || better(e, best) {
			found, best = true, e
		}
	}
	for _, s := range t.Steps {
		if amount, ok := s.Amounts[c]; ok {
			consider(amount)
		}
	}
	top, capped := t.Max[c]
	if capped {
		consider(top)
	}
	if t.Per > 0 && !capped && t.Add[c] > 0 {
		return exact{}, false
	}
	return best, found
}

// stopsOf gives every stop and zone that z can price, in order.
func (t *Tariff) stopsOf(z *Zones) []string {
	stops := slices.AppendSeq(slices.Collect(maps.Keys(t.Zones)), maps.Keys(z.known))
	slices.Sort(stops)
	return slices.Compact(stops)
}
