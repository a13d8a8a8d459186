package fare

import (
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Trip is a journey and what else its price depends on.
type Trip struct {
	Journey  *journey.Journey
	Category Category
	Medium   string // what the code was shown on; "" where nobody knows
	Operator string // "" = the one whose route the first tap was on
	// Void says that the fare was given back whole, as if the ride had not been:
	// it costs 0 and counts toward nothing.
	Void bool
	// Goodwill is given back of the fare after everything else, in minor units.
	// The ride counts toward caps as if nothing had been given back.
	Goodwill int64
}

// Price decides what journey j costs a rider of the category, by itself: without
// transfers, caps and products, and by the wall clock of UTC. It never fails:
// what cannot be priced is a decision with Known false.
func (t *Tariff) Price(j *journey.Journey, category Category) Decision {
	return t.decide(&Trip{Journey: j, Category: category}, Calendar{}, nil)
}

func (t *Tariff) decide(trip *Trip, calendar Calendar, f *folding) Decision {
	d := Decision{
		TariffVersion: t.Version,
		Explanation:   Explanation{Tariff: t.Name, Version: t.Version, Currency: t.Currency, Category: trip.Category, Steps: make([]Step, 0, 2)},
	}
	p := pricing{Trip: trip, tariff: t, steps: d.Explanation.Steps}
	p.begin(calendar)
	if t.timed && len(trip.Journey.Taps) > 0 {
		d.Explanation.Day = p.at.day()
	}
	if t.media {
		d.Explanation.Medium = trip.Medium
	}
	d.InputsHash = p.inputsHash(f)
	amount, reason := p.price(f)
	d.Explanation.Steps = p.steps
	if reason != "" {
		d.Reason, d.Explanation.Unknown = reason, reason
		return d
	}
	d.Known, d.Amount, d.Nominal = true, citygate.Money{Minor: amount, Currency: t.Currency}, amount+p.taken()
	d.Explanation.Adjustments, d.Explanation.Caps = p.lines, p.caps
	if len(p.lines)+len(p.caps) > 0 {
		nominal, payable := d.Nominal, amount
		d.Explanation.Nominal, d.Explanation.Payable = &nominal, &payable
	}
	return d
}

// pricing is one run of Price.
type pricing struct {
	*Trip
	tariff *Tariff
	at     moment // of the first tap; only of tariffs with times in them
	rule   *Rule
	steps  []Step

	calendar  Calendar
	fold      *folding // nil where nothing depends on other rides
	own       Category // of the rider, also while another one is priced for reference
	continued bool     // it was priced as part of a journey of a feed

	operator string
	running  exact // what one rider pays after the lines so far
	lines    []Adjustment
	caps     []CapState
}

func (p *pricing) step(s Step) { s.Rule = p.rule.ID; p.steps = append(p.steps, s) }

// begin finds out what the conditions of the tariff ask for.
func (p *pricing) begin(calendar Calendar) {
	if len(p.Journey.Taps) == 0 {
		return
	}
	first := &p.Journey.Taps[0]
	p.calendar, p.own = calendar, p.Category
	p.operator = p.Operator
	if p.operator == "" {
		p.operator = p.tariff.operator[first.Route]
	}
	if p.tariff.timed {
		p.at = calendar.moment(first.At, p.tariff)
	}
}

// price gives what the journey costs all its riders.
func (p *pricing) price(f *folding) (int64, Reason) {
	switch {
	case !p.tariff.ready:
		return 0, NotCompiled
	case len(p.Journey.Taps) == 0:
		return 0, NoTaps
	case p.Journey.State == journey.Open:
		return 0, JourneyOpen
	case p.Category == "":
		return 0, NoCategory
	}
	if p.rule = p.ruleFor(); p.rule == nil {
		return 0, NoRule
	}
	party := p.Journey.Party()
	if p.rule.Entered != nil && !p.rule.Entered.PerPerson {
		party = 1 // a meter reading is for the vehicle
	}
	if !p.Void {
		p.fold = f
	}
	if reason := p.alone(); reason != "" {
		return 0, reason
	}
	companion := *p // pays without anything that belongs to the holder
	companion.lines = slices.Clone(p.lines)
	if p.continued && party > 1 {
		companion.fold, companion.steps, companion.lines, companion.continued = nil, nil, nil, false
		if reason := companion.alone(); reason != "" {
			return 0, reason
		}
	}
	if f != nil && !p.Void {
		f.before(p)
	}
	amount := p.round()
	if f != nil && !p.Void {
		amount = f.after(p, amount)
	}
	if party > 1 {
		companion.steps = nil // they would be written over the holder's
		amount += companion.round() * (party - 1)
		p.merge(companion.lines, party-1)
		p.step(Step{Op: OpParty, Factor: party, Counted: p.Journey.Counted(), Minor: amount + p.taken()})
	}
	return p.returned(amount), ""
}

// taken is what the applied lines take off together.
func (p *pricing) taken() (sum int64) {
	for i := range p.lines {
		if !p.lines[i].NotApplied {
			sum += p.lines[i].Minor
		}
	}
	return sum
}

// merge adds the lines of companions to those of the holder.
func (p *pricing) merge(lines []Adjustment, times int64) {
	for _, l := range lines {
		l.Minor *= times
		same := slices.IndexFunc(p.lines, func(o Adjustment) bool {
			return o.Kind == l.Kind && o.ID == l.ID && o.Funder == l.Funder && !o.NotApplied
		})
		if same < 0 {
			p.lines = append(p.lines, l)
			continue
		}
		p.lines[same].Minor += l.Minor
	}
}

// returned takes off what was given back.
func (p *pricing) returned(amount int64) int64 {
	switch {
	case p.Void && amount > 0:
		p.lines = append(p.lines, Adjustment{Kind: KindVoid, Minor: amount})
		return 0
	case p.Goodwill > 0 && amount > 0:
		back := min(amount, p.Goodwill)
		p.lines = append(p.lines, Adjustment{Kind: KindGoodwill, Minor: back})
		return amount - back
	}
	return amount
}

// round is the one rounding step of a decision.
func (p *pricing) round() int64 {
	unit := max(p.tariff.Rounding.Step, 1)
	if p.rule.Entered != nil && !p.rule.Entered.PerPerson {
		unit = 1 // what the driver entered is not rounded; a share of it to whole minor units
	}
	whole, rest, half := p.running.div(unit)
	switch p.tariff.Rounding.Mode {
	case Down:
	case Up:
		if rest {
			whole++
		}
	default:
		if half {
			whole++
		}
	}
	amount := whole * unit
	if !rest {
		return amount
	}
	if len(p.lines) == 0 {
		p.step(Step{Op: OpRound, Factor: unit, Minor: amount})
		return amount
	}
	// After a line the difference is a line of its own, so that they add up.
	if off := p.running.floor() - amount; off != 0 {
		p.lines = append(p.lines, Adjustment{Kind: KindRounding, Minor: off})
	}
	return amount
}

func (p *pricing) ruleFor() *Rule {
	route := p.Journey.Taps[0].Route
	for i := range p.tariff.Rules {
		r := &p.tariff.Rules[i]
		if (len(r.Routes) == 0 || slices.Contains(r.Routes, route)) && (len(r.Operators) == 0 || slices.Contains(r.Operators, p.operator)) &&
			(len(r.Media) == 0 || slices.Contains(r.Media, p.Medium)) && during(r.When, p.at) {
			return r
		}
	}
	return nil
}
