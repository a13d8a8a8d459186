package fare

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Folder prices the trips of one payer that depend on each other. It is a fold
// over them in the order of event time, whatever the order in which they became
// known: from the same state the same trips give the same decisions and state.
type Folder struct {
	Tariff   func(at int64) *Tariff // the version valid at an instant, or nil
	Calendar Calendar
	Holdings []entitlement.Holding // ascending by id
}

// A State is what earlier trips leave behind for the next one. The zero State is
// that of a payer who never rode. It is plain data: kept with a decision it lets
// the fold begin again right after it.
type State struct {
	Chain    *Chain           `json:"chain,omitempty"`
	Counters []Counter        `json:"counters,omitempty"` // ascending by id
	Uses     entitlement.Uses `json:"uses,omitempty"`
	Feed     *FeedJourney     `json:"feed,omitempty"` // that the last ride was of
}

// A Chain is the ride before, and the rides it was a transfer from. Times are
// unix milliseconds.
type Chain struct {
	Start     int64    `json:"start"` // first tap of the first ride
	LastStart int64    `json:"last_start"`
	LastEnd   int64    `json:"last_end"`
	Count     int      `json:"count,omitempty"` // rides that had a transfer
	Operator  string   `json:"operator,omitempty"`
	Route     string   `json:"route,omitempty"`
	Rule      string   `json:"rule,omitempty"`
	Category  Category `json:"category,omitempty"`
	Medium    string   `json:"medium,omitempty"`
	From      string   `json:"from,omitempty"`
	To        string   `json:"to,omitempty"`
}

// A Counter is what was paid and ridden in the current period of a cap, a
// cumulative discount or an n-th ride.
type Counter struct {
	ID    string       `json:"id"`
	From  int64        `json:"from,omitempty"`
	Until int64        `json:"until,omitempty"`
	Spent int64        `json:"spent,omitempty"`
	Rides int          `json:"rides,omitempty"`
	Days  []DayCounter `json:"days,omitempty"` // of a trailing period, ascending
}

// A DayCounter is one business date of a trailing period.
type DayCounter struct {
	Day   int64 `json:"day"` // since 1970-01-01
	Spent int64 `json:"spent,omitempty"`
	Rides int   `json:"rides,omitempty"`
}

// A CapState says what a cap had to do with a decision.
type CapState struct {
	ID      string `json:"id"`
	From    int64  `json:"from,omitempty"` // its period, unix milliseconds; none of a trailing one
	Until   int64  `json:"until,omitempty"`
	Limit   int64  `json:"limit"`
	Before  int64  `json:"before"` // paid in the period before and after this ride
	After   int64  `json:"after"`
	Minor   int64  `json:"minor"` // what it takes off, or would
	Applied bool   `json:"applied,omitempty"`
}

// Clone gives a state of its own.
func (s *State) Clone() State {
	// Chains and journeys of feeds are never changed.
	out := State{Chain: s.Chain, Feed: s.Feed, Counters: slices.Clone(s.Counters), Uses: slices.Clone(s.Uses)}
	for i := range out.Counters {
		out.Counters[i].Days = slices.Clone(out.Counters[i].Days)
	}
	return out
}

// Compare orders trips by the event time of the first tap, its terminal and
// sequence number, the rider and the operator.
func (t *Trip) Compare(o *Trip) int {
	return cmp.Or(cmp.Compare(t.Journey.At(), o.Journey.At()), cmp.Compare(t.Journey.First.Terminal, o.Journey.First.Terminal),
		cmp.Compare(t.Journey.First.Seq, o.Journey.First.Seq), t.Journey.Rider.Compare(o.Journey.Rider), cmp.Compare(t.Operator, o.Operator))
}

// Fold decides trips, which may be in any order, from state on, and leaves the
// state after them. The decisions are in the order of trips.
func (f *Folder) Fold(state *State, trips []Trip) []Decision {
	order := make([]int, len(trips))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return trips[a].Compare(&trips[b]) })
	out := make([]Decision, len(trips))
	for _, i := range order {
		out[i] = f.Step(state, &trips[i])
	}
	return out
}

// Step decides the next trip in event order and moves state past it. A trip whose
// fare is unknown or void moves nothing.
func (f *Folder) Step(state *State, trip *Trip) Decision {
	t := f.Tariff(trip.Journey.At())
	if t == nil {
		return Decision{Reason: NoTariff, Explanation: Explanation{Category: trip.Category, Steps: []Step{}, Unknown: NoTariff}}
	}
	return t.resolved(trip, f.Calendar, &folding{Folder: f, state: state})
}

// folding is the part of one step that depends on the trips before.
type folding struct {
	*Folder
	state   *State
	matched *Transfer // applied to this ride
	counted []counted // what this ride counts toward once its price is known
}

// counted is a counter and the period it is in.
type counted struct {
	id     string
	period *Period
}

// counter gives the counter of a period at an instant, moved to the period that
// holds it.
func (f *folding) counter(id string, period *Period, at int64) *Counter {
	i, found := slices.BinarySearchFunc(f.state.Counters, id, func(c Counter, id string) int { return cmp.Compare(c.ID, id) })
	if !found {
		f.state.Counters = slices.Insert(f.state.Counters, i, Counter{ID: id})
	}
	c := &f.state.Counters[i]
	period.roll(c, f.Calendar, at)
	return c
}

// peek gives what a counter says at an instant without moving it.
func (f *folding) peek(id string, period *Period, at int64) Counter {
	c := Counter{ID: id}
	if i, found := slices.BinarySearchFunc(f.state.Counters, id, func(c Counter, id string) int { return cmp.Compare(c.ID, id) }); found {
		c = f.state.Counters[i]
	}
	c.Days = slices.Clone(c.Days)
	period.roll(&c, f.Calendar, at)
	return c
}

// roll begins a new period in c if the one it is in is over at an instant.
func (p *Period) roll(c *Counter, calendar Calendar, at int64) {
	cal := calendar.business(p.cut)
	from, until := c.From, c.Until
	if p.Kind != "trailing" && until != 0 && at < from {
		return // an inferred beginning can lie before a ride that came earlier
	}
	switch p.Kind {
	case "rolling":
		if c.Until != 0 && at >= c.From && at < c.Until {
			return
		}
		from, until = at, at+int64(p.Days)*24*time.Hour.Milliseconds()
		*c = Counter{ID: c.ID, From: from, Until: until}
		return
	case "trailing":
		today := dayNumber(cal.BusinessDate(time.UnixMilli(at)))
		c.Days = slices.DeleteFunc(c.Days, func(d DayCounter) bool { return d.Day <= today-int64(p.Days) })
		c.From, c.Until, c.Spent, c.Rides = 0, 0, 0, 0
		for _, d := range c.Days {
			c.Spent += d.Spent
			c.Rides += d.Rides
		}
		return
	}
	if at >= from && at < until && len(c.Days) == 0 && until != 0 && p.sameKind(from, until) {
		return
	}
	first := cal.BusinessDate(time.UnixMilli(at))
	last := first
	switch p.Kind {
	case "week":
		starts := time.Monday
		if p.Starts != "" {
			starts = time.Weekday(slices.Index(weekdays, p.Starts))
		}
		first = first.AddDays(-int((first.Time().Weekday() - starts + 7) % 7))
		last = first.AddDays(6)
	case "month":
		first = citygate.Date{Year: first.Year, Month: first.Month, Day: 1}
		last = citygate.DateOf(first.Time().AddDate(0, 1, -1))
	}
	start, _ := cal.Window(first)
	_, end := cal.Window(last)
	from, until = start.UnixMilli(), end.UnixMilli()
	if from != c.From {
		*c = Counter{ID: c.ID}
	}
	c.From, c.Until, c.Days = from, until, nil
}

// sameKind tells a day's counter from a month's by its length: an id whose period
// a new tariff version changed begins anew unless both begin at one instant.
func (p *Period) sameKind(from, until int64) bool {
	days := (until - from + 2*time.Hour.Milliseconds()) / (24 * time.Hour.Milliseconds())
	switch p.Kind {
	case "day":
		return days <= 1
	case "week":
		return days == 7
	}
	return days >= 28
}

func dayNumber(d citygate.Date) int64 { return d.Time().Unix() / (24 * 60 * 60) }

// add counts a ride that cost paid.
func (p *Period) add(c *Counter, calendar Calendar, at, paid int64, rides int) {
	c.Spent += paid
	c.Rides += rides
	if p.Kind != "trailing" {
		return
	}
	today := dayNumber(calendar.business(p.cut).BusinessDate(time.UnixMilli(at)))
	if n := len(c.Days); n == 0 || c.Days[n-1].Day != today {
		c.Days = append(c.Days, DayCounter{Day: today})
	}
	last := &c.Days[len(c.Days)-1]
	last.Spent += paid
	last.Rides += rides
}

// before makes the lines that come before the rounding: transfer, cumulative
// discount, n-th ride.
func (f *folding) before(p *pricing) {
	f.transfer(p)
	at := p.Journey.At()
	for i := range p.tariff.Cumulative {
		c := &p.tariff.Cumulative[i]
		if !p.matches(&c.Match) {
			continue
		}
		f.counted = append(f.counted, counted{c.ID, &c.Period})
		spent, permille := f.peek(c.ID, &c.Period, at).Spent, int64(0)
		for _, s := range c.Steps {
			if spent >= s.Over {
				permille = s.Permille
			}
		}
		if permille > 0 {
			p.line(KindCumulative, c.ID, c.Funder, p.running.less(p.running.share(permille)))
		}
	}
	for i := range p.tariff.NthRide {
		n := &p.tariff.NthRide[i]
		if p.Journey.State != journey.Complete || !p.matches(&n.Match) {
			continue
		}
		f.counted = append(f.counted, counted{n.ID, &n.Period})
		if k := f.peek(n.ID, &n.Period, at).Rides + 1; k == n.N || n.Every && k%n.N == 0 || n.From && k > n.N {
			permille := n.Permille
			if permille == 0 {
				permille = 1000
			}
			p.line(KindNthRide, n.ID, n.Funder, p.running.less(p.running.share(permille)))
		}
	}
}

// transfer applies the best transfer from the ride before.
func (f *folding) transfer(p *pricing) {
	if f.state.Chain == nil || p.Journey.State != journey.Complete {
		return
	}
	var best exact
	var others []Adjustment
	for i := range p.tariff.Transfers {
		x := &p.tariff.Transfers[i]
		if !f.follows(p, x) {
			continue
		}
		by := p.running.share(x.Permille)
		if len(x.Amounts) > 0 {
			amount, ok := x.Amounts[p.Category]
			if !ok {
				continue
			}
			by = minor(amount)
		}
		left := p.running.less(by)
		if f.matched != nil && best.cmp(left) <= 0 {
			others = append(others, Adjustment{Kind: KindTransfer, ID: x.ID, Minor: p.running.floor() - left.floor(), Funder: x.Funder, NotApplied: true})
			continue
		}
		if f.matched != nil {
			others = append(others, Adjustment{Kind: KindTransfer, ID: f.matched.ID, Minor: p.running.floor() - best.floor(), Funder: f.matched.Funder, NotApplied: true})
		}
		f.matched, best = x, left
	}
	if f.matched != nil {
		p.line(KindTransfer, f.matched.ID, f.matched.Funder, best)
		p.lines = append(p.lines, others...)
	}
}

// follows reports whether x takes the rider from the ride before to this one.
func (f *folding) follows(p *pricing, x *Transfer) bool {
	last := f.state.Chain
	since := last.Start
	switch x.Since {
	case "start":
		since = last.LastStart
	case "end":
		since = last.LastEnd
	}
	return p.Journey.At()-since <= x.Window*60_000 && (x.Count == 0 || last.Count < x.Count) &&
		(x.SameRoute || last.Route != p.Journey.Taps[0].Route) && p.tariff.matchesChain(&x.From, last) && p.matches(&x.To)
}

// matchesChain reports whether the ride before is one of those m names.
func (t *Tariff) matchesChain(m *Match, c *Chain) bool {
	if len(m.Zones) > 0 {
		var rule *Rule
		if i := slices.IndexFunc(t.Rules, func(r Rule) bool { return r.ID == c.Rule }); i >= 0 {
			rule = &t.Rules[i]
		}
		ends := [][]string{t.zonesOf(rule, c.From)}
		if c.To != "" {
			ends = append(ends, t.zonesOf(rule, c.To))
		}
		if !entitlement.InZones(m.Zones, ends) {
			return false
		}
	}
	return in(m.Operators, c.Operator) && in(m.Routes, c.Route) && in(m.Rules, c.Rule) && in(m.Categories, c.Category) && in(m.Media, c.Medium)
}

// after takes the rounded price of the holder past caps and products, counts it,
// and gives what is left to be charged.
func (f *folding) after(p *pricing, price int64) int64 {
	ride := entitlement.Ride{At: p.Journey.At(), Operator: p.operator, Route: p.Journey.Taps[0].Route, Category: string(p.Category)}
	if len(f.Holdings) > 0 {
		ride.Ends = p.ends()
		if h := f.state.Uses.Free(f.Holdings, &ride); h != nil {
			p.lines = append(p.lines, Adjustment{Kind: KindProduct, ID: h.ID.String(), Minor: price, Funder: Funder(h.Funder), Prepaid: f.state.Uses.Earn(h, price)})
			f.remember(p)
			return 0
		}
	}
	price = f.cap(p, price)
	paid := price
	if price > 0 && len(f.Holdings) > 0 {
		if h := f.state.Uses.Ticket(f.Holdings, &ride); h != nil {
			p.lines = append(p.lines, Adjustment{Kind: KindProduct, ID: h.ID.String(), Minor: price, Prepaid: f.state.Uses.Earn(h, price)})
			price, paid = 0, 0
		}
		for _, d := range f.state.Uses.Draw(f.Holdings, &ride, price) {
			p.lines = append(p.lines, Adjustment{Kind: KindStoredValue, ID: d.Holding.ID.String(), Minor: d.Minor, Prepaid: d.Earned})
			price -= d.Minor
		}
	}
	for _, c := range f.counted {
		c.period.add(f.counter(c.id, c.period, ride.At), f.Calendar, ride.At, paid, 1)
	}
	for i := range p.caps {
		p.caps[i].After = p.caps[i].Before + paid
	}
	f.remember(p)
	return price
}

// cap applies the cap that takes most, and lists all of them.
func (f *folding) cap(p *pricing, price int64) int64 {
	best := -1
	for i := range p.tariff.Caps {
		c := &p.tariff.Caps[i]
		limit, ok := c.Amounts[p.Category]
		if !ok || c.ExcludeIncomplete && p.Journey.State != journey.Complete || !p.matches(&c.Match) {
			continue
		}
		f.counted = append(f.counted, counted{c.ID, &c.Period})
		now := f.peek(c.ID, &c.Period, p.Journey.At())
		s := CapState{ID: c.ID, From: now.From, Until: now.Until, Limit: limit, Before: now.Spent, Minor: max(price-max(limit-now.Spent, 0), 0)}
		p.caps = append(p.caps, s)
		if s.Minor > 0 && (best < 0 || s.Minor > p.caps[best].Minor) {
			best = len(p.caps) - 1
		}
	}
	for i := range p.caps {
		if p.caps[i].Minor == 0 {
			continue
		}
		k := slices.IndexFunc(p.tariff.Caps, func(c Cap) bool { return c.ID == p.caps[i].ID })
		p.caps[i].Applied = i == best
		funder := p.tariff.Caps[k].Funder
		if funder == Operator {
			funder = ""
		}
		p.lines = append(p.lines, Adjustment{Kind: KindCap, ID: p.caps[i].ID, Minor: p.caps[i].Minor, Funder: funder, NotApplied: i != best})
	}
	if best >= 0 {
		price -= p.caps[best].Minor
	}
	return price
}

// remember makes this ride the one before the next. An incomplete ride is no
// ride to transfer from.
func (f *folding) remember(p *pricing) {
	if p.Journey.State != journey.Complete {
		f.state.Chain, f.state.Feed = nil, nil
		return
	}
	f.state.Feed = f.state.Feed.remember(p)
	first, last := &p.Journey.Taps[0], &p.Journey.Taps[len(p.Journey.Taps)-1]
	c := &Chain{Start: first.At, LastStart: first.At, LastEnd: last.At, Operator: p.operator, Route: first.Route, Rule: p.rule.ID,
		Category: p.Category, Medium: p.Medium, From: first.Stop}
	if last != first {
		c.To = last.Stop
	}
	if f.matched != nil {
		c.Start, c.Count = f.state.Chain.Start, f.state.Chain.Count+1
	}
	f.state.Chain = c
}

// appendInputs adds the state before and the holdings to what a decision
// depends on.
func (f *folding) appendInputs(b []byte) []byte {
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text("state")
	if c := f.state.Chain; c != nil {
		for _, n := range [...]int64{1, c.Start, c.LastStart, c.LastEnd, int64(c.Count)} {
			number(n)
		}
		for _, s := range [...]string{c.Operator, c.Route, c.Rule, string(c.Category), c.Medium, c.From, c.To} {
			text(s)
		}
	} else {
		number(0)
	}
	if f.state.Feed != nil {
		b = f.state.Feed.appendInputs(b)
	}
	number(int64(len(f.state.Counters)))
	for i := range f.state.Counters {
		c := &f.state.Counters[i]
		text(c.ID)
		for _, n := range [...]int64{c.From, c.Until, c.Spent, int64(c.Rides), int64(len(c.Days))} {
			number(n)
		}
		for _, d := range c.Days {
			number(d.Day)
			number(d.Spent)
			number(int64(d.Rides))
		}
	}
	number(int64(len(f.state.Uses)))
	for _, u := range f.state.Uses {
		b = append(b, u.Holding[:]...)
		number(u.First)
		number(int64(u.Rides))
		number(u.Value)
	}
	number(int64(len(f.Holdings)))
	for i := range f.Holdings {
		h := &f.Holdings[i]
		b = append(b, h.ID[:]...)
		for _, s := range [...]string{h.Product, string(h.Kind), h.Funder} {
			text(s)
		}
		for _, list := range [...][]string{h.Scope.Operators, h.Scope.Routes, h.Scope.Zones, h.Scope.Categories} {
			number(int64(len(list)))
			for _, s := range list {
				text(s)
			}
		}
		for _, n := range [...]int64{h.From, h.Until, h.Lasts, h.Ended, int64(h.Rides), h.Value} {
			number(n)
		}
		if h.Paid > 0 {
			number(h.Paid)
			number(int64(h.Of))
		}
	}
	return b
}
