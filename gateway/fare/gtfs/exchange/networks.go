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
	id    string         // "" of all routes that the tariff does not name
	route string         // one of them
	rules [][]*fare.Rule // by span of the day and medium, nil where it has no price that a feed can say
	ends  int            // on how many ends of a ride the price depends
	holes bool           // some ride has no price
}

// any reports whether a rule of the network, at any time and by any medium, is so.
func (n *network) any(is func(*fare.Rule) bool) bool {
	return slices.ContainsFunc(n.rules, func(rules []*fare.Rule) bool {
		return slices.ContainsFunc(rules, func(r *fare.Rule) bool { return r != nil && is(r) })
	})
}

// priced reports whether any rule prices the network.
func (n *network) priced() bool { return n.any(func(*fare.Rule) bool { return true }) }

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
	if holes && rest.priced() {
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
	n := &network{route: route}
	for _, s := range e.spans {
		rules := make([]*fare.Rule, len(e.media))
		for i, medium := range e.media {
			rules[i] = e.ruleFor(route, medium, s)
			if r := rules[i]; r != nil {
				switch {
				case r.Table != nil || r.Distance != nil || r.Zones != nil || e.zoned(r):
					n.ends = 2
				case r.Sections != nil:
					n.ends = max(n.ends, 1)
				}
			}
		}
		n.rules = append(n.rules, rules)
	}
	return n
}

// zoned reports whether a discount of the rule asks where the ride is.
func (e *exporter) zoned(r *fare.Rule) bool {
	return slices.ContainsFunc(e.tariff.Discounts, func(d fare.Discount) bool {
		return len(d.Match.Zones) > 0 && (len(d.Match.Rules) == 0 || slices.Contains(d.Match.Rules, r.ID))
	})
}

// ruleFor gives the first rule that serves a route and a medium in a span of the day, nil
// where there is none or a feed cannot say what it says.
func (e *exporter) ruleFor(route, medium string, s span) *fare.Rule {
	t := e.tariff
	for i := range t.Rules {
		r := &t.Rules[i]
		if len(r.Routes) > 0 && !slices.Contains(r.Routes, route) || len(r.Operators) > 0 && !slices.Contains(r.Operators, t.OperatorOf(route)) ||
			len(r.Media) > 0 && !slices.Contains(r.Media, medium) || allPlain(r.When) && !during(r.When, s) {
			continue
		}
		at := "rules[" + r.ID + "]"
		peak := slices.ContainsFunc(t.Discounts, func(d fare.Discount) bool {
			return !allPlain(d.When) && (len(d.Match.Rules) == 0 || slices.Contains(d.Match.Rules, r.ID))
		})
		switch {
		case !allPlain(r.When) || peak:
			e.omit(at+".when", "rides that it can price have no price in the feed: days go by the tenant's calendar, which is not part of the tariff")
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
	if !n.priced() {
		n.holes = true
		return
	}
	if n.ends == 0 {
		e.leg(n, "", "", "", "", priority)
		return
	}
	n.holes = true // a stop that the tariff does not name
	if n.any(func(r *fare.Rule) bool { return r.Flat != nil || r.Sections != nil && n.ends == 2 }) {
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

// leg writes the leg rules of one kind of ride, with what the tariff asks for it: one for
// the times of the day at which it is the same.
func (e *exporter) leg(n *network, fromArea, toArea, from, to, priority string) {
	type said struct{ rule, product string }
	var order []said
	legs, times := map[said]leg{}, map[said][]int{}
	for i := range e.spans {
		l := e.legAt(n, i, from, to)
		s := said{l.rule, e.product(l.amounts)}
		if s.product == "" {
			n.holes = true
			continue
		}
		if _, known := legs[s]; !known {
			order, legs[s] = append(order, s), l
		}
		times[s] = append(times[s], i)
	}
	for _, s := range order {
		e.legs = append(e.legs, legs[s])
		e.add("fare_leg_rules", s.rule, n.id, fromArea, toArea, e.frame(times[s]), s.product, priority)
	}
}

// legAt asks the tariff about a kind of ride that begins in a span of the day.
func (e *exporter) legAt(n *network, span int, from, to string) leg {
	l, rules := leg{network: n.id, amounts: map[paid]int64{}}, n.rules[span]
	for i, medium := range e.media {
		if rules[i] == nil {
			continue
		}
		l.rule = rules[i].ID
		for _, category := range e.categories {
			if minor, ok := e.price(n.route, from, to, medium, category, e.spans[span].from); ok {
				l.amounts[paid{category, medium}] = minor
			}
		}
	}
	if slices.ContainsFunc(rules, func(r *fare.Rule) bool { return r != rules[0] }) { // media by different rules
		l.rule = ""
	}
	return l
}

// price asks the tariff what a ride by itself costs that begins at a minute of the day;
// false where it does not say, or says it by the rule for rides that end where they began.
func (e *exporter) price(route, from, to, medium string, category fare.Category, minute int) (int64, bool) {
	at := int64(minute) * 60_000 // the zero calendar's day is in UTC
	taps := []journey.Tap{{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.Single, At: at, Stop: from, Route: route, Party: 1}}
	if to != "" {
		taps[0].Kind = tap.On
		taps = append(taps, journey.Tap{ID: citygate.TapID{Terminal: 2, Seq: 1}, Kind: tap.Off, At: at + 60_000, Stop: to, Route: route, Party: 1})
	}
	d := e.tariff.PriceTrip(&fare.Trip{Journey: &journey.Journey{First: taps[0].ID, Taps: taps, State: journey.Complete}, Category: category, Medium: medium}, fare.Calendar{})
	same := slices.ContainsFunc(d.Explanation.Steps, func(s fare.Step) bool { return s.Op == fare.OpSameStop })
	return d.Amount.Minor, d.Known && !same
}
