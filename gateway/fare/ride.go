package fare

import (
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare/share"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Kind names what changed a price.
type Kind string

// The kinds of adjustment, in the order they are made.
const (
	KindConcession  Kind = "concession"
	KindSurcharge   Kind = "surcharge"
	KindDiscount    Kind = "discount"
	KindMinimum     Kind = "minimum"
	KindTransfer    Kind = "transfer"
	KindCumulative  Kind = "cumulative"
	KindNthRide     Kind = "nth_ride"
	KindRounding    Kind = "rounding"
	KindProduct     Kind = "product" // covered by a pass, a ticket or a zero fare
	KindCap         Kind = "cap"
	KindStoredValue Kind = "stored_value" // paid beforehand
	KindVoid        Kind = "void"
	KindGoodwill    Kind = "goodwill"
)

// An Adjustment is one line between the nominal price and what is paid. Minor is
// what it takes off; a surcharge, a minimum or a rounding may add, and is
// negative then. NotApplied lines were possible and another was better.
type Adjustment struct {
	Kind       Kind   `json:"kind"`
	ID         string `json:"id,omitempty"` // of the tariff's part, or of the holding
	Minor      int64  `json:"minor"`
	Funder     Funder `json:"funder,omitempty"`
	NotApplied bool   `json:"not_applied,omitempty"`
	Prepaid    int64  `json:"prepaid,omitempty"` // of a product that was bought: what of its price this ride used up
}

// line moves the running price and says by how much in whole minor units. The
// differences of rounded-down amounts add up to the difference of the last two.
func (p *pricing) line(kind Kind, id string, funder Funder, now exact) {
	if funder == Operator {
		funder = ""
	}
	p.lines = append(p.lines, Adjustment{Kind: kind, ID: id, Minor: p.running.floor() - now.floor(), Funder: funder})
	p.running = now
}

// alone gives the price of one rider as far as it depends on this ride alone.
func (p *pricing) alone() Reason {
	own, reason := p.onePerson()
	if reason != "" {
		return reason
	}
	p.running = own
	if funded, ok := p.tariff.Categories.Funded[p.Category]; ok {
		p.concession(own, funded)
	}
	category := p.running // discounts are of the price of the category
	for _, surcharge := range []bool{true, false} {
		for i := range p.tariff.Discounts {
			d := &p.tariff.Discounts[i]
			if d.Surcharge != surcharge || !during(d.When, p.at) || !p.matches(&d.Match) {
				continue
			}
			by := category.share(d.Permille)
			if len(d.Amounts) > 0 {
				amount, ok := d.Amounts[p.Category]
				if !ok {
					continue
				}
				by = minor(amount)
			}
			if surcharge {
				p.line(KindSurcharge, d.ID, d.Funder, p.running.plus(by))
			} else {
				p.line(KindDiscount, d.ID, d.Funder, p.running.less(by))
			}
		}
	}
	if least, ok := p.tariff.Minimum[p.Category]; ok {
		floor := minor(least)
		if floor.cmp(category) > 0 {
			floor = category // a fare that is lower by itself stays
		}
		if p.running.cmp(floor) < 0 {
			p.line(KindMinimum, "", "", floor)
		}
	}
	return ""
}

// concession prices the ride as for the reference category and takes the
// difference off. If that one has no price, or a lower one, there is none.
func (p *pricing) concession(own exact, funded Concession) {
	mine, category := p.steps, p.Category
	full := *p.Trip
	full.Category = funded.Reference
	trip, continued := p.Trip, p.continued
	p.Trip, p.steps, p.continued = &full, nil, false
	reference, reason := p.onePerson()
	steps, alike := p.steps, p.continued == continued
	p.Trip, p.steps, p.continued = trip, mine, continued
	if reason != "" || !alike || reference.cmp(own) <= 0 {
		return
	}
	p.steps, p.running = steps, reference
	p.line(KindConcession, string(category), funded.Funder, own)
}

// matches reports whether the ride is one of those m names.
func (p *pricing) matches(m *Match) bool {
	return in(m.Operators, p.operator) && in(m.Routes, p.Journey.Taps[0].Route) && in(m.Rules, p.rule.ID) &&
		in(m.Categories, p.Category) && in(m.Media, p.Medium) && (len(m.Zones) == 0 || entitlement.InZones(m.Zones, p.ends()))
}

func in[T comparable](list []T, x T) bool { return len(list) == 0 || slices.Contains(list, x) }

// ends gives the zones of both ends, as far as they are known.
func (p *pricing) ends() [][]string {
	ends := make([][]string, 0, 2)
	for i := range p.Journey.Taps {
		ends = append(ends, p.tariff.zonesOf(p.rule, p.Journey.Taps[i].Stop))
	}
	return ends
}

// zonesOf gives the zones of a stop, for the reach of caps and products.
func (t *Tariff) zonesOf(r *Rule, stop string) []string {
	if zones, ok := t.Zones[stop]; ok {
		return zones
	}
	if r != nil && r.Zones != nil {
		return r.Zones.of(t.Zones, stop)
	}
	if r != nil && r.Feed != nil {
		return r.Feed.feed.Areas(r.Feed.place(stop))
	}
	return nil
}

// PoolKey names the pool of a ride that was just decided, as [share.Terms] say: the ride
// itself, the rides it was transferred from, or its business date.
func (s *State) PoolKey(terms *share.Terms, j *journey.Journey, id citygate.UUID, date citygate.Date) string {
	switch chain := s.Chain; {
	case terms.Pool == share.PerDay:
		return "day " + date.String()
	case terms.Pool == share.PerTransfers && chain != nil && chain.LastStart == j.AsPriced().Taps[0].At:
		return "chain " + time.UnixMilli(chain.Start).UTC().Format(time.RFC3339Nano)
	}
	return id.String()
}
