package fare

import (
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// onePerson gives the price of one rider before rounding.
func (p *pricing) onePerson() (exact, Reason) {
	if p.Journey.State == journey.Incomplete && !p.rule.AtExit {
		return p.incomplete()
	}
	on := p.Journey.Taps[0]
	off, ended := p.Journey.Off()
	switch p.Journey.SameStation { // the network's rules come before the tariff's own
	case journey.NoCharge:
		p.step(Step{Op: OpSameStop, From: on.Stop, To: off.Stop})
		return exact{}, ""
	case journey.CheapestSingle:
		amount, reason := p.extreme(on.Stop, true, lower)
		if reason == "" {
			p.step(Step{Op: OpSameStop, From: on.Stop, To: off.Stop, Minor: amount.floor()})
		}
		return amount, reason
	default: // the tariff judges
	}
	if p.rule.AtExit {
		return exact{}, NeedsOff
	}
	if p.rule.Time != nil {
		if !ended {
			return exact{}, NeedsOff
		}
		return p.time(p.rule.Time, on.At, off.At)
	}
	if ended && p.sameStop(on.Stop, off.Stop) {
		return p.sameStopPrice(on.Stop, off.Stop)
	}
	switch r := p.rule; {
	case r.Sections != nil:
		return p.section(on.Stop)
	case r.Table != nil || r.Distance != nil || r.Zones != nil:
		if !ended {
			return exact{}, NeedsOff
		}
		return p.between(on.Stop, off.Stop)
	case r.Entered != nil:
		return p.entered(on.Entered)
	case r.Feed != nil:
		return p.feed(r.Feed)
	}
	amount, ok := p.rule.Flat[p.Category]
	if !ok {
		return exact{}, NoAmount
	}
	p.step(Step{Op: OpFlat, Minor: amount})
	return minor(amount), ""
}

func (p *pricing) section(stop string) (exact, Reason) {
	s := p.rule.Sections
	section, ok := s.Stops[stop]
	if !ok {
		section = stop
	}
	amounts, ok := s.Amounts[section]
	if !ok {
		return exact{}, NoStop
	}
	amount, ok := amounts[p.Category]
	if !ok {
		return exact{}, NoAmount
	}
	p.step(Step{Op: OpSection, From: stop, Section: section, Minor: amount})
	return minor(amount), ""
}

// between prices a pair of stops of a table or a network.
func (p *pricing) between(from, to string) (exact, Reason) {
	if d := p.rule.Distance; d != nil {
		return p.distance(d, from, to)
	}
	if z := p.rule.Zones; z != nil {
		return p.zone(z, from, to)
	}
	t := p.rule.Table
	cells, ok := t.Amounts[p.Category]
	if !ok {
		return exact{}, NoAmount
	}
	a, okA := t.index[from]
	b, okB := t.index[to]
	if !okA || !okB {
		return exact{}, NoStop
	}
	amount := cells[a*len(t.Stops)+b]
	if amount == NoPrice {
		return exact{}, NoPair
	}
	p.step(Step{Op: OpTable, From: from, To: to, Minor: amount})
	if t.Split != nil {
		if cheaper, via := t.split(cells, a, b, amount); cheaper < amount {
			amount = cheaper
			p.step(Step{Op: OpSplit, From: from, To: to, Via: strings.Join(via, ","), Minor: amount})
		}
	}
	return minor(amount), ""
}

func (p *pricing) distance(d *Distance, from, to string) (exact, Reason) {
	share, ok := d.Permille[p.Category]
	if !ok {
		return exact{}, NoAmount
	}
	metres, known, joined := d.shortest(from, to)
	switch {
	case !known:
		return exact{}, NoStop
	case !joined:
		return exact{}, NoPair
	}
	amount, ok := d.Amount(metres)
	if !ok {
		return exact{}, BeyondTable
	}
	p.step(Step{Op: OpDistance, From: from, To: to, Metres: metres, Minor: amount})
	if share != 1000 {
		p.step(Step{Op: OpShare, Factor: share, Minor: amount * share / 1000})
	}
	return minor(amount).share(share), ""
}

func (p *pricing) entered(m citygate.Money) (exact, Reason) {
	e := p.rule.Entered
	switch {
	case m.Currency == "":
		return exact{}, NotEntered
	case m.Currency != p.tariff.Currency:
		return exact{}, EnteredCurrency
	case m.Minor < e.Min || m.Minor > e.Max:
		return exact{}, EnteredOutOfRange
	}
	p.step(Step{Op: OpEntered, Minor: m.Minor})
	return minor(m.Minor), ""
}

// sameStop reports whether the journey ended at the station where it began. Two
// unknown places are not one place.
func (p *pricing) sameStop(from, to string) bool {
	return from != "" && (from == to || p.rule.Table != nil && p.rule.Table.linked(from, to))
}

func (p *pricing) sameStopPrice(from, to string) (exact, Reason) {
	rule := p.tariff.SameStop
	amount, reason := exact{}, NoSameStop
	switch rule.Mode {
	case Fixed:
		amount, reason = p.fixed(rule.Amounts)
	case MinFromStop:
		amount, reason = p.extreme(from, true, lower)
	default: // set aside
	}
	if reason == "" {
		p.step(Step{Op: OpSameStop, From: from, To: to, Minor: amount.floor()})
	}
	return amount, reason
}

// lower prefers the lowest price that is not 0: two stations one walks between do
// not make it free to enter and leave at either.
func lower(candidate, best exact) bool {
	if zero := (exact{}); candidate.cmp(zero) == 0 || best.cmp(zero) == 0 {
		return candidate.cmp(best) > 0
	}
	return candidate.cmp(best) < 0
}

func (p *pricing) incomplete() (exact, Reason) {
	rule := p.tariff.Incomplete
	known := p.Journey.Taps[0]
	outward := p.Journey.Missing == journey.MissingOff
	more := func(candidate, best exact) bool { return candidate.cmp(best) > 0 }
	amount, reason := exact{}, NoIncomplete
	switch rule.Mode {
	case Fixed:
		amount, reason = p.fixed(rule.Amounts)
	case MaxFromStop:
		amount, reason = p.extreme(known.Stop, outward, more)
	case MaxOfRule:
		amount, reason = p.extremeOfRule(more)
	default: // set aside
	}
	if reason == "" {
		s := Step{Op: OpIncomplete, Minor: amount.floor()}
		if outward {
			s.From = known.Stop
		} else {
			s.To = known.Stop
		}
		p.step(s)
	}
	return amount, reason
}

func (p *pricing) fixed(amounts Amounts) (exact, Reason) {
	amount, ok := amounts[p.Category]
	if !ok {
		return exact{}, NoAmount
	}
	return minor(amount), ""
}

// extreme gives the price of the rule that wins by better among all journeys
// from stop (outward) or to it. The candidates leave no step behind.
func (p *pricing) extreme(stop string, outward bool, better func(candidate, best exact) bool) (exact, Reason) {
	steps := p.steps
	defer func() { p.steps = steps }()
	var others []string
	switch r := p.rule; {
	case r.Table != nil:
		if _, ok := r.Table.index[stop]; !ok {
			return exact{}, NoStop
		}
		others = r.Table.Stops
	case r.Distance != nil:
		if _, ok := r.Distance.index[stop]; !ok {
			return exact{}, NoStop
		}
		for other := range r.Distance.index { // the best amount does not depend on the order
			others = append(others, other)
		}
	case r.Zones != nil:
		if len(r.Zones.of(p.tariff.Zones, stop)) == 0 {
			return exact{}, NoStop
		}
		others = p.tariff.stopsOf(r.Zones)
	case r.Feed != nil:
		return p.feedExtreme(r.Feed, stop, outward, better)
	default:
		return p.extremeOfRule(better)
	}
	found, best, why := false, exact{}, NoPair
	for _, other := range others {
		if p.sameStop(stop, other) {
			continue
		}
		from, to := stop, other
		if !outward {
			from, to = other, stop
		}
		amount, reason := p.between(from, to)
		p.steps = steps
		switch {
		case reason == NoAmount:
			why = NoAmount
		case reason == "" && (!found || better(amount, best)):
			found, best = true, amount
		}
	}
	if !found {
		return exact{}, why
	}
	return best, ""
}

// extremeOfRule gives the price of the rule that wins by better among all.
func (p *pricing) extremeOfRule(better func(candidate, best exact) bool) (exact, Reason) {
	found, best := false, exact{}
	consider := func(candidate exact) {
		if !found || better(candidate, best) {
			found, best = true, candidate
		}
	}
	switch r := p.rule; {
	case r.Table != nil:
		for _, cell := range r.Table.Amounts[p.Category] {
			if cell != NoPrice {
				consider(minor(cell))
			}
		}
	case r.Distance != nil:
		for stop := range r.Distance.index {
			if amount, reason := p.extreme(stop, true, better); reason == "" {
				consider(amount)
			}
		}
	case r.Zones != nil:
		for _, stop := range p.tariff.stopsOf(r.Zones) {
			if amount, reason := p.extreme(stop, true, better); reason == "" {
				consider(amount)
			}
		}
	case r.Feed != nil:
		for _, amount := range r.Feed.feed.Amounts(r.Feed.rider(p.Category), r.Feed.Media[p.Medium]) {
			consider(minor(amount))
		}
	case r.Time != nil:
		if amount, ok := r.Time.extreme(p.Category, better); ok {
			consider(amount)
		}
	case r.Sections != nil:
		for _, amounts := range r.Sections.Amounts {
			if amount, ok := amounts[p.Category]; ok {
				consider(minor(amount))
			}
		}
	default:
		if amount, ok := r.Flat[p.Category]; ok {
			consider(minor(amount))
		}
	}
	if !found {
		return exact{}, NoAmount
	}
	return best, ""
}
