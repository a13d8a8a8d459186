package fare

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

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
	NoTariff          Reason = "no_tariff"            // no version was valid at the first tap
)

// A Decision is what a journey costs, or why nobody can say. Amount and Nominal
// are set only if Known; Reason only if not. Amount is what the rider pays now:
// Nominal less the adjustments that were applied.
type Decision struct {
	Known         bool
	Reason        Reason
	Amount        citygate.Money
	Nominal       int64
	TariffVersion uint64
	InputsHash    [32]byte // SHA-256 over tariff, category and journey
	Explanation   Explanation
}

// An Explanation lists what was done, in order, so that a rider, an operator or
// an auditor can follow and repeat it. The last step's Minor is the nominal
// price; without adjustments that is the fare, and Nominal and Payable are left out.
type Explanation struct {
	Tariff   string            `json:"tariff"`
	Version  uint64            `json:"version"`
	Currency citygate.Currency `json:"currency"`
	Category Category          `json:"category"`
	Steps    []Step            `json:"steps"`

	Nominal     *int64       `json:"nominal,omitempty"`
	Adjustments []Adjustment `json:"adjustments,omitempty"`
	Payable     *int64       `json:"payable,omitempty"`
	Caps        []CapState   `json:"caps,omitempty"`

	// Joint says that the ride was counted together with those of the rider's other
	// devices. What caps counted before and after it is then left out: it would show
	// which devices those are.
	Joint bool `json:"joint,omitempty"`

	Unknown Reason `json:"unknown,omitempty"`
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
	Minutes int64  `json:"minutes,omitempty"`
	Via     string `json:"via,omitempty"`    // where a cheaper split breaks the journey, comma separated
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
	OpZone       Op = "zone"
	OpTime       Op = "time"
	OpSplit      Op = "split" // two or more rides of the table cost less than one
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
	p.operator = p.Operator
	if p.operator == "" {
		p.operator = p.tariff.operator[first.Route]
	}
	if p.tariff.timed {
		p.at = calendar.moment(first.At, p.tariff.holidays)
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
	if reason := p.alone(); reason != "" {
		return 0, reason
	}
	companion := *p // pays without anything that belongs to the holder
	companion.lines = slices.Clone(p.lines)
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
		p.step(Step{Op: OpParty, Factor: party, Minor: amount + p.taken()})
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

// onePerson gives the price of one rider before rounding.
func (p *pricing) onePerson() (exact, Reason) {
	if p.Journey.State == journey.Incomplete {
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

// inputsHash covers everything a decision depends on, in one unambiguous form:
// every text is preceded by its length.
func (p *pricing) inputsHash(f *folding) [32]byte {
	t, j := p.tariff, p.Journey
	var room [512]byte
	b := room[:0]
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text("citygate fare inputs 1")
	b = append(b, t.digest[:]...)
	text(string(p.Category))
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
	if !t.timed && p.Medium == "" && p.Operator == "" && !p.Void && p.Goodwill == 0 && f == nil {
		return sha256.Sum256(b) // what a plain tariff needs
	}
	text("more")
	text(p.Medium)
	text(p.Operator)
	if t.timed {
		text(p.at.date.String())
		b = binary.AppendVarint(b, int64(p.at.minute))
		b = append(b, flag(p.at.holiday))
	}
	b = append(b, flag(p.Void))
	b = binary.AppendVarint(b, p.Goodwill)
	if f != nil {
		b = f.appendInputs(b)
	}
	return sha256.Sum256(b)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
