package fare

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Reason says why a fare is unknown: a closed set, the same words in rows and
// at the API.
type Reason string

// The reasons.
const (
	JourneyOpen       Reason = "journey_open"         // a tap may still come
	NoTaps            Reason = "no_taps"              // nothing to price
	NoCategory        Reason = "category_unknown"     // the product maps to no category
	NoRule            Reason = "no_rule"              // no rule serves the route
	NoAmount          Reason = "no_amount"            // the rule has no price for the category
	NoStop            Reason = "stop_unknown"         // the tariff does not know the stop or section
	NoPair            Reason = "no_price_for_pair"    // the table has no price for the two stops
	NoSameStop        Reason = "same_stop"            // ended where it began, to be set aside
	NoIncomplete      Reason = "incomplete"           // a tap is missing, to be set aside
	NeedsOff          Reason = "destination_unknown"  // the rule needs an off, the tap was single
	BeyondTable       Reason = "beyond_last_band"     // farther than the tariff goes
	NotEntered        Reason = "amount_missing"       // the driver entered none
	EnteredCurrency   Reason = "entered_currency"     // entered in another currency
	EnteredOutOfRange Reason = "entered_out_of_range" // outside the rule's limits
	NotCompiled       Reason = "tariff_not_compiled"  // the tariff was not prepared for use
)

// A Decision is what a journey costs, or why nobody can say. Amount is set only
// if Known; Reason only if not.
type Decision struct {
	Known         bool
	Reason        Reason
	Amount        citygate.Money
	TariffVersion uint64
	InputsHash    [32]byte // SHA-256 over tariff, category and journey
	Explanation   Explanation
}

// An Explanation lists what was done, in order, so that a rider, an operator or
// an auditor can follow and repeat it. The last step's Minor is the fare.
type Explanation struct {
	Tariff   string            `json:"tariff"`
	Version  uint64            `json:"version"`
	Currency citygate.Currency `json:"currency"`
	Category Category          `json:"category"`
	Steps    []Step            `json:"steps"`
	Unknown  Reason            `json:"unknown,omitempty"`
}

// A Step is one step of a decision: the rule that was applied, what it did, on
// which inputs, and the amount after it.
type Step struct {
	Rule    string `json:"rule"`
	Op      Op     `json:"op"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Section string `json:"section,omitempty"`
	Metres  int64  `json:"metres,omitempty"`
	Factor  int64  `json:"factor,omitempty"` // permille of a share, step of a rounding, riders of a party
	Minor   int64  `json:"minor"`
}

// An Op names what a step did.
type Op string

// The operations.
const (
	OpFlat       Op = "flat"
	OpSection    Op = "section"
	OpTable      Op = "table"
	OpDistance   Op = "distance"
	OpEntered    Op = "entered"
	OpIncomplete Op = "incomplete"
	OpSameStop   Op = "same_stop"
	OpShare      Op = "share" // permille of a category; the amount is shown rounded down
	OpRound      Op = "round"
	OpParty      Op = "party"
)

// Price decides what journey j costs a rider of the category. It never fails:
// what cannot be priced is a decision with Known false.
func (t *Tariff) Price(j *journey.Journey, category Category) Decision {
	d := Decision{
		TariffVersion: t.Version,
		Explanation:   Explanation{Tariff: t.Name, Version: t.Version, Currency: t.Currency, Category: category, Steps: make([]Step, 0, 2)},
	}
	d.InputsHash = t.inputsHash(j, category)
	p := pricing{tariff: t, journey: j, category: category, steps: d.Explanation.Steps}
	amount, reason := p.price()
	d.Explanation.Steps = p.steps
	if reason != "" {
		d.Reason, d.Explanation.Unknown = reason, reason
		return d
	}
	d.Known, d.Amount = true, citygate.Money{Minor: amount, Currency: t.Currency}
	return d
}

// pricing is one run of Price.
type pricing struct {
	tariff   *Tariff
	journey  *journey.Journey
	category Category
	rule     *Rule
	steps    []Step
}

func (p *pricing) step(s Step) { s.Rule = p.rule.ID; p.steps = append(p.steps, s) }

func (p *pricing) price() (int64, Reason) {
	switch {
	case !p.tariff.ready:
		return 0, NotCompiled
	case len(p.journey.Taps) == 0:
		return 0, NoTaps
	case p.journey.State == journey.Open:
		return 0, JourneyOpen
	case p.category == "":
		return 0, NoCategory
	}
	if p.rule = p.tariff.ruleFor(p.journey.Taps[0].Route); p.rule == nil {
		return 0, NoRule
	}
	one, reason := p.onePerson()
	if reason != "" {
		return 0, reason
	}
	if p.rule.Entered != nil && !p.rule.Entered.PerPerson {
		return one.thousandths / 1000, ""
	}
	amount := p.round(one)
	if n := p.journey.Party(); n > 1 {
		amount *= n
		p.step(Step{Op: OpParty, Factor: n, Minor: amount})
	}
	return amount, ""
}

// An exact is a price before its rounding step, in thousandths of a minor unit:
// permille shares are exact in it.
type exact struct{ thousandths int64 }

func minor(m int64) exact { return exact{m * 1000} }

// onePerson gives the price of one rider before rounding.
func (p *pricing) onePerson() (exact, Reason) {
	if p.journey.State == journey.Incomplete {
		return p.incomplete()
	}
	on := p.journey.Taps[0]
	off, ended := p.journey.Off()
	switch p.journey.SameStation { // the network's rules come before the tariff's own
	case journey.NoCharge:
		p.step(Step{Op: OpSameStop, From: on.Stop, To: off.Stop})
		return exact{}, ""
	case journey.CheapestSingle:
		amount, reason := p.extreme(on.Stop, true, func(candidate, best exact) bool { return candidate.thousandths < best.thousandths })
		if reason == "" {
			p.step(Step{Op: OpSameStop, From: on.Stop, To: off.Stop, Minor: amount.thousandths / 1000})
		}
		return amount, reason
	default: // the tariff judges
	}
	if ended && p.sameStop(on.Stop, off.Stop) {
		return p.sameStopPrice(on.Stop, off.Stop)
	}
	switch r := p.rule; {
	case r.Sections != nil:
		return p.section(on.Stop)
	case r.Table != nil || r.Distance != nil:
		if !ended {
			return exact{}, NeedsOff
		}
		return p.between(on.Stop, off.Stop)
	case r.Entered != nil:
		return p.entered(on.Entered)
	}
	amount, ok := p.rule.Flat[p.category]
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
	amount, ok := amounts[p.category]
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
	t := p.rule.Table
	cells, ok := t.Amounts[p.category]
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
	return minor(amount), ""
}

func (p *pricing) distance(d *Distance, from, to string) (exact, Reason) {
	share, ok := d.Permille[p.category]
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
	return exact{amount * share}, ""
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
		amount, reason = p.extreme(from, true, func(candidate, best exact) bool { return candidate.thousandths < best.thousandths })
	default: // set aside
	}
	if reason == "" {
		p.step(Step{Op: OpSameStop, From: from, To: to, Minor: amount.thousandths / 1000})
	}
	return amount, reason
}

func (p *pricing) incomplete() (exact, Reason) {
	rule := p.tariff.Incomplete
	known := p.journey.Taps[0]
	outward := p.journey.Missing == journey.MissingOff
	more := func(candidate, best exact) bool { return candidate.thousandths > best.thousandths }
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
		s := Step{Op: OpIncomplete, Minor: amount.thousandths / 1000}
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
	amount, ok := amounts[p.category]
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
		for _, cell := range r.Table.Amounts[p.category] {
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
	case r.Sections != nil:
		for _, amounts := range r.Sections.Amounts {
			if amount, ok := amounts[p.category]; ok {
				consider(minor(amount))
			}
		}
	default:
		if amount, ok := r.Flat[p.category]; ok {
			consider(minor(amount))
		}
	}
	if !found {
		return exact{}, NoAmount
	}
	return best, ""
}

// round is the one rounding step of a decision.
func (p *pricing) round(e exact) int64 {
	unit := max(p.tariff.Rounding.Step, 1)
	whole, rest := e.thousandths/(unit*1000), e.thousandths%(unit*1000)
	switch p.tariff.Rounding.Mode {
	case Down:
	case Up:
		if rest > 0 {
			whole++
		}
	default:
		if rest*2 >= unit*1000 {
			whole++
		}
	}
	amount := whole * unit
	if rest != 0 {
		p.step(Step{Op: OpRound, Factor: unit, Minor: amount})
	}
	return amount
}

func (t *Tariff) ruleFor(route string) *Rule {
	for i := range t.Rules {
		if r := &t.Rules[i]; len(r.Routes) == 0 || slices.Contains(r.Routes, route) {
			return r
		}
	}
	return nil
}

// inputsHash covers everything a decision depends on, in one unambiguous form:
// every text is preceded by its length.
func (t *Tariff) inputsHash(j *journey.Journey, category Category) [32]byte {
	b := make([]byte, 0, 256)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text("citygate fare inputs 1")
	b = append(b, t.digest[:]...)
	text(string(category))
	text(string(j.State))
	text(string(j.Missing))
	b = binary.AppendUvarint(b, uint64(len(j.Taps)))
	for i := range j.Taps {
		tp := &j.Taps[i]
		b = binary.BigEndian.AppendUint32(b, tp.ID.Terminal)
		b = binary.BigEndian.AppendUint64(b, tp.ID.Seq)
		b = append(b, byte(tp.Kind), tp.Party)
		b = binary.AppendVarint(b, tp.At)
		text(tp.Stop)
		text(tp.Route)
		b = binary.AppendVarint(b, tp.Entered.Minor)
		text(string(tp.Entered.Currency))
	}
	if j.SameStation != "" {
		text(string(j.SameStation))
	}
	return sha256.Sum256(b)
}
