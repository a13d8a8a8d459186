package exchange

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A network is the routes that cost the same.
type network struct {
	id    string       // "" of all routes that the tariff does not name
	route string       // one of them
	rules []*fare.Rule // by medium, nil where it has no price that a feed can say
	ends  int          // on how many ends of a ride the price depends
	holes bool         // some ride has no price
	mixed bool         // its media go by different rules
}

// networks writes the leg rules of every network.
func (e *exporter) networks() {
	t := e.tariff
	routes := map[string]bool{}
	for i := range t.Rules {
		for _, route := range t.Rules[i].Routes {
			routes[route] = true
		}
	}
	for _, list := range t.Operators {
		for _, route := range list {
			routes[route] = true
		}
	}
	for i := range t.Discounts {
		for _, route := range t.Discounts[i].Match.Routes {
			routes[route] = true
		}
	}
	byKind := map[string]*network{}
	var all []*network
	for _, route := range slices.Sorted(maps.Keys(routes)) {
		kind := e.kind(route)
		n := byKind[kind]
		if n == nil {
			n = e.network(route)
			n.id = fmt.Sprintf("network-%d", len(all)+1)
			byKind[kind], all = n, append(all, n)
			e.add("networks", n.id)
		}
		e.add("route_networks", n.id, route)
	}
	holes := false
	for _, n := range all {
		e.write(n, "1")
		holes = holes || n.holes
	}
	rest := e.network("")
	if holes && slices.ContainsFunc(rest.rules, func(r *fare.Rule) bool { return r != nil }) {
		e.omit("rules for all routes", "rides on routes that the tariff does not name have no price in the feed: their rules would price what named routes leave without a price")
		return
	}
	e.write(rest, "0")
}

// kind says what prices see of a route.
func (e *exporter) kind(route string) string {
	var b strings.Builder
	operator := e.tariff.OperatorOf(route)
	sees := func(routes, operators []string) {
		fmt.Fprint(&b, (len(routes) == 0 || slices.Contains(routes, route)) && (len(operators) == 0 || slices.Contains(operators, operator)), ";")
	}
	for i := range e.tariff.Rules {
		sees(e.tariff.Rules[i].Routes, e.tariff.Rules[i].Operators)
	}
	for i := range e.tariff.Discounts {
		sees(e.tariff.Discounts[i].Match.Routes, e.tariff.Discounts[i].Match.Operators)
	}
	return b.String()
}

// network finds out which rules price a route.
func (e *exporter) network(route string) *network {
	n := &network{route: route, rules: make([]*fare.Rule, len(e.media))}
	for i, medium := range e.media {
		n.rules[i] = e.ruleFor(route, medium)
		if r := n.rules[i]; r != nil {
			switch {
			case r.Table != nil || r.Distance != nil || r.Zones != nil || e.zoned(r):
				n.ends = 2
			case r.Sections != nil:
				n.ends = max(n.ends, 1)
			}
		}
		n.mixed = n.mixed || n.rules[i] != n.rules[0]
	}
	return n
}

// zoned reports whether a discount of the rule asks where the ride is.
func (e *exporter) zoned(r *fare.Rule) bool {
	return slices.ContainsFunc(e.tariff.Discounts, func(d fare.Discount) bool {
		return len(d.Match.Zones) > 0 && (len(d.Match.Rules) == 0 || slices.Contains(d.Match.Rules, r.ID))
	})
}

// ruleFor gives the first rule that serves a route and a medium, nil where there is
// none or a feed cannot say what it says.
func (e *exporter) ruleFor(route, medium string) *fare.Rule {
	t := e.tariff
	for i := range t.Rules {
		r := &t.Rules[i]
		if len(r.Routes) > 0 && !slices.Contains(r.Routes, route) || len(r.Operators) > 0 && !slices.Contains(r.Operators, t.OperatorOf(route)) ||
			len(r.Media) > 0 && !slices.Contains(r.Media, medium) {
			continue
		}
		at := "rules[" + r.ID + "]"
		peak := slices.ContainsFunc(t.Discounts, func(d fare.Discount) bool {
			return len(d.When) > 0 && (len(d.Match.Rules) == 0 || slices.Contains(d.Match.Rules, r.ID))
		})
		switch {
		case len(r.When) > 0 || peak:
			e.omit(at+".when", "rides that it can price have no price in the feed: times go by the tenant's calendar, which is not part of the tariff")
		case r.Time != nil:
			e.omit(at+".time", "its rides have no price in the feed: the reference has no time in the system")
		case r.Entered != nil:
			e.omit(at+".entered", "its rides have no price in the feed: the reference has no amounts that a driver enters")
		case r.Feed != nil:
			e.omit(at+".feed", "its rides have no price in the feed: a feed beside other rules is not merged with them")
		default:
			return r
		}
		return nil
	}
	return nil
}

// write writes the leg rules of a network.
func (e *exporter) write(n *network, priority string) {
	if !slices.ContainsFunc(n.rules, func(r *fare.Rule) bool { return r != nil }) {
		n.holes = true
		return
	}
	if n.ends == 0 {
		e.leg(n, "", "", "", "", priority)
		return
	}
	n.holes = true // a stop that the tariff does not name
	if slices.ContainsFunc(n.rules, func(r *fare.Rule) bool { return r != nil && (r.Flat != nil || r.Sections != nil && n.ends == 2) }) {
		e.omit("stops that the tariff does not name", "rides from or to them whose rule does not ask for the stop have no price in the feed where others of the network depend on stops")
	}
	ids := e.areas()
	for i, from := range e.places {
		if n.ends == 1 {
			e.leg(n, ids[i], "", from[0], "", priority)
			continue
		}
		for k, to := range e.places {
			off := to[0]
			if i == k {
				if len(to) < 2 {
					continue
				}
				off = to[1]
			}
			e.leg(n, ids[i], ids[k], from[0], off, priority)
		}
	}
}

// leg writes one leg rule, with what the tariff asks for such a ride.
func (e *exporter) leg(n *network, fromArea, toArea, from, to, priority string) {
	l := leg{amounts: map[paid]int64{}}
	for i, medium := range e.media {
		if n.rules[i] == nil {
			continue
		}
		l.rule = n.rules[i].ID
		for _, category := range e.categories {
			if minor, ok := e.price(n.route, from, to, medium, category); ok {
				l.amounts[paid{category, medium}] = minor
			}
		}
	}
	if n.mixed {
		l.rule = ""
	}
	product := e.product(l.amounts)
	if product == "" {
		n.holes = true
		return
	}
	e.legs = append(e.legs, l)
	e.add("fare_leg_rules", l.rule, n.id, fromArea, toArea, product, priority)
}

// price asks the tariff what a ride by itself costs; false where it does not say, or
// says it by the rule for rides that end where they began.
func (e *exporter) price(route, from, to, medium string, category fare.Category) (int64, bool) {
	taps := []journey.Tap{{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.Single, Stop: from, Route: route, Party: 1}}
	if to != "" {
		taps[0].Kind = tap.On
		taps = append(taps, journey.Tap{ID: citygate.TapID{Terminal: 2, Seq: 1}, Kind: tap.Off, At: 60_000, Stop: to, Route: route, Party: 1})
	}
	d := e.tariff.PriceTrip(&fare.Trip{Journey: &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}, Category: category, Medium: medium}, fare.Calendar{})
	same := slices.ContainsFunc(d.Explanation.Steps, func(s fare.Step) bool { return s.Op == fare.OpSameStop })
	return d.Amount.Minor, d.Known && !same
}
