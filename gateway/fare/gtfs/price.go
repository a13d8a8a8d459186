package gtfs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Price is what a journey costs by a feed. Total is nil where the feed does
// not say: an unknown fare is never 0.
type Price struct {
	EffectiveLegs int
	Total         *citygate.Money
	// Products are those of every rule that matches the first effective leg,
	// in the order of the file, before rider and media choose.
	Products    []string
	Explanation []Step
}

// A Step is one step of an explanation. Leg counts effective legs from 1. Row
// is the row of the file, Minor the amount of the step or, for a total, of all.
type Step struct {
	Op       string `json:"op"` // join, match, product, transfer, separate, unknown, total
	Leg      int    `json:"leg,omitempty"`
	File     string `json:"file,omitempty"`
	Row      int    `json:"row,omitempty"`
	Product  string `json:"product,omitempty"`
	Minor    *int64 `json:"minor,omitempty"`
	Currency string `json:"currency,omitempty"`
	Text     string `json:"text"`
}

// Price prices a journey. It fails with [ErrRefused] if the feed has a finding
// that forbids it; what the feed merely does not say is a price without a total.
func (f *Feed) Price(j *Journey) (*Price, error) {
	if err := f.Priceable(); err != nil {
		return nil, err
	}
	p := &pricing{fares: &f.fares, journey: j, price: &Price{Products: []string{}, Explanation: []Step{}}}
	p.run()
	return p.price, nil
}

// Priceable fails with [ErrRefused], naming the findings, if the feed has any that
// forbids to price it.
func (f *Feed) Priceable() error {
	if refusals := f.Refusals(); len(refusals) > 0 {
		lines := make([]string, 0, 10)
		for i, r := range refusals {
			if i == 9 {
				lines = append(lines, fmt.Sprintf("and %d more", len(refusals)-i))
				break
			}
			lines = append(lines, r.String())
		}
		return ErrRefused.Explain("%s", strings.Join(lines, "; "))
	}
	return nil
}

type pricing struct {
	*fares

	journey *Journey
	legs    []*effective
	price   *Price
}

func (p *pricing) say(s Step) { p.price.Explanation = append(p.price.Explanation, s) }

func (p *pricing) run() {
	rides := make([]ride, len(p.journey.Legs))
	why := ""
	for i, leg := range p.journey.Legs {
		rides[i] = ride{Ride: leg, network: leg.Network, from: p.place(leg.From), to: p.place(leg.To)}
		switch r, ok := p.routes[leg.Route]; {
		case leg.Route != "" && !ok:
			why = fmt.Sprintf("routes.txt has no route %q", leg.Route)
		case leg.Route != "":
			rides[i].network = r.network
		case leg.Network != "" && !p.networkKnown(leg.Network):
			why = fmt.Sprintf("%q is no network of the feed", leg.Network)
		}
	}
	legs, joined := p.join(rides)
	p.legs, p.price.EffectiveLegs = legs, len(legs)
	for _, rule := range joined {
		p.say(Step{Op: "join", File: "fare_leg_join_rules.txt", Row: rule.row, Text: "two rides are one effective leg"})
	}
	for i, e := range p.legs {
		if e.first().From == "" || e.last().To == "" {
			p.openLeg(i+1, e)
		} else {
			p.leg(i+1, e)
		}
		if why == "" {
			why = e.unknown
		}
	}
	p.price.Products = append(p.price.Products, p.legs[0].products...)
	if why == "" {
		why = p.unknownRider()
	}
	var total citygate.Money
	if why == "" {
		total, why = p.total()
	}
	if why != "" {
		p.say(Step{Op: "unknown", Text: why})
		return
	}
	p.price.Total = &total
	p.say(Step{Op: "total", Minor: &total.Minor, Currency: string(total.Currency), Text: "the fare of the journey"})
}

// networkKnown reports whether the feed defines the network, as far as it
// defines any.
func (f *fares) networkKnown(id string) bool {
	if f.networks[id] || len(f.networks) == 0 && len(f.routes) == 0 {
		return true
	}
	defined := len(f.networks) > 0
	for _, r := range f.routes {
		if r.network == id {
			return true
		}
		defined = defined || r.network != ""
	}
	return !defined || slices.ContainsFunc(f.legRules, func(r legRule) bool { return r.network == id })
}

// unknownRider refuses ids that the feed would have to define.
func (p *pricing) unknownRider() string {
	if _, ok := p.riders[p.journey.Rider]; !ok && p.journey.Rider != "" && len(p.riders) > 0 {
		return fmt.Sprintf("%q is no rider category of the feed", p.journey.Rider)
	}
	if _, ok := p.media[p.journey.Media]; !ok && p.journey.Media != "" && len(p.media) > 0 {
		return fmt.Sprintf("%q is no fare medium of the feed", p.journey.Media)
	}
	return ""
}

// leg matches and prices one effective leg.
func (p *pricing) leg(n int, e *effective) {
	if e.unknown = p.match(e); e.unknown != "" {
		p.say(Step{Op: "unknown", Leg: n, Text: e.unknown})
		return
	}
	for i := range e.matched {
		rule := &e.matched[i]
		p.say(Step{Op: "match", Leg: n, File: "fare_leg_rules.txt", Row: rule.row, Product: rule.product, Text: "the rule matches the leg"})
		if row, ok := p.sold(rule.product); ok && e.chosen == nil {
			e.chosen, e.price = rule, row
		}
	}
	if e.chosen == nil {
		e.unknown = fmt.Sprintf("no matched product is sold to rider %q on medium %q", p.journey.Rider, p.journey.Media)
		p.say(Step{Op: "unknown", Leg: n, Text: e.unknown})
		return
	}
	p.say(Step{Op: "product", Leg: n, File: "fare_products.txt", Row: e.price.row, Product: e.chosen.product, Minor: &e.price.amount.Minor,
		Currency: string(e.price.amount.Currency), Text: "the first matched rule with a product for this rider and medium; its cheapest row"})
}

// sold gives the cheapest row of a product that the rider and medium can have.
func (p *pricing) sold(id string) (best product, ok bool) {
	for _, row := range p.products[id] {
		if p.riderFits(row.rider) && p.mediaFits(row.media) && (!ok || row.amount.Minor < best.amount.Minor) {
			best, ok = row, true
		}
	}
	return best, ok
}

func (p *pricing) riderFits(rider string) bool {
	return rider == "" || rider == p.journey.Rider || p.journey.Rider == "" && p.riders[rider]
}

func (p *pricing) mediaFits(media string) bool {
	if media == "" || media == p.journey.Media {
		return true
	}
	kind, defined := p.media[media]
	return p.journey.Media == "" && defined && kind == 0
}

// run of transfers by rules whose from equals to: where it began and how many.
type chain struct {
	from  string
	first int
	count int
}

// total adds up the effective legs and their transfers, from left to right.
func (p *pricing) total() (sum citygate.Money, why string) {
	sum.Currency = p.legs[0].price.amount.Currency
	add := func(m citygate.Money) bool {
		if m.Currency != sum.Currency {
			why = fmt.Sprintf("%s and %s cannot be added", sum.Currency, m.Currency)
			return false
		}
		sum.Minor += m.Minor // no more legs than maxTransfers, no amount beyond maxDigits
		return true
	}
	add(p.legs[0].price.amount)
	var run chain
	transferred := false // into the leg before: its sub-journey has a cost already
	for i := 1; i < len(p.legs); i++ {
		rule, next, found := p.transfer(i, run)
		if !found {
			p.say(Step{Op: "separate", Leg: i + 1, Text: "no transfer rule matches: the leg opens a sub-journey of its own"})
			run, transferred = chain{}, false
			if !add(p.legs[i].price.amount) {
				return sum, why
			}
			continue
		}
		fee := citygate.Money{Currency: sum.Currency}
		step := Step{Op: "transfer", Leg: i + 1, File: "fare_transfer_rules.txt", Row: rule.row, Product: rule.product}
		if rule.product != "" {
			row, ok := p.sold(rule.product)
			if !ok {
				return sum, fmt.Sprintf("the transfer product %q is not sold to rider %q on medium %q", rule.product, p.journey.Rider, p.journey.Media)
			}
			fee = row.amount
		}
		step.Minor, step.Currency = &fee.Minor, string(fee.Currency)
		step.Text = [...]string{"transfer type 0: the cost so far and the transfer", "transfer type 1: the cost so far, the transfer and the leg", "transfer type 2: the transfer alone"}[rule.kind]
		if rule.kind == 2 && transferred {
			step.Text = "transfer type 2: the cost so far and the transfer"
		}
		p.say(step)
		if rule.kind == 2 && !transferred {
			sum.Minor -= p.legs[i-1].price.amount.Minor
		}
		if !add(fee) || rule.kind == 1 && !add(p.legs[i].price.amount) {
			return sum, why
		}
		run, transferred = next, true
	}
	if sum.Minor < 0 {
		return sum, "the total is negative"
	}
	return sum, ""
}

// transfer finds the rule for the step from effective leg i-1 to i, and the run
// of equal transfers after it.
func (p *pricing) transfer(i int, run chain) (best transferRule, next chain, found bool) {
	from, to := p.legs[i-1].chosen.group, p.legs[i].chosen.group
	better := func(rule transferRule) bool {
		if !found {
			return true
		}
		if has, had := p.buys(rule), p.buys(best); has != had {
			return has
		}
		if rule.count != best.count {
			return rule.count < best.count
		}
		return rule.limit < best.limit
	}
	for _, rule := range p.transfers {
		if !p.groupFits(rule.from, from, func(r transferRule) string { return r.from }) || !p.groupFits(rule.to, to, func(r transferRule) string { return r.to }) {
			continue
		}
		here := chain{from: rule.from, first: i - 1, count: 1}
		if rule.inOneLeague {
			if run.count > 0 && run.from == rule.from {
				here = chain{rule.from, run.first, run.count + 1}
			}
			if rule.count < here.count {
				continue
			}
		}
		if rule.limit != unlimited && elapsed(rule.limitType, p.legs[here.first], p.legs[i]) > time.Duration(rule.limit)*time.Second {
			continue
		}
		if better(rule) {
			best, next, found = rule, here, true
		}
	}
	if !best.inOneLeague {
		next = chain{}
	}
	return best, next, found
}

func (p *pricing) buys(rule transferRule) bool {
	if rule.product == "" {
		return true
	}
	_, ok := p.sold(rule.product)
	return ok
}

// groupFits reports whether the group of a transfer rule covers that of a leg:
// it is the same, or empty and no rule lists the leg's in that column.
func (f *fares) groupFits(wanted, group string, column func(transferRule) string) bool {
	if wanted != "" {
		return wanted == group
	}
	return group == "" || !slices.ContainsFunc(f.transfers, func(r transferRule) bool { return column(r) == group })
}

// elapsed measures the time that a duration limit of a type bounds.
func elapsed(kind int, first, last *effective) time.Duration {
	start, end := first.first().Dep, last.first().Dep
	if kind == 2 || kind == 3 {
		start = first.last().Arr
	}
	if kind == 0 || kind == 3 {
		end = last.last().Arr
	}
	return end.Sub(start)
}
