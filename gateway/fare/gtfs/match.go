package gtfs

import (
	"fmt"
	"slices"
	"time"
)

// maxParents is how deep a stop can lie: boarding area, platform, station. The
// bound also ends a circle of parents.
const maxParents = 4

// A place is where a ride begins or ends.
type place struct {
	id      string
	areas   []string
	station string // "" for an area
	known   bool
}

// place finds out what the journey means by an id; "" is a place nobody knows.
func (f *fares) place(id string) place {
	if id == "" {
		return place{known: true}
	}
	_, inStops := f.stops[id]
	_, inAreas := f.stopAreas[id]
	switch {
	case inStops || inAreas:
		return place{id, f.areasOf(id), f.station(id), true}
	case f.areas[id] || len(f.areas) == 0 && (f.listed.from[id] || f.listed.to[id]): // a feed can do without areas.txt
		return place{id, []string{id}, "", true}
	}
	return place{id, nil, id, !f.stopsKnown} // without stops.txt it may be a stop of no area
}

// areasOf gives the areas of a stop: its own, else its station's.
func (f *fares) areasOf(id string) []string {
	for range maxParents {
		if areas, ok := f.stopAreas[id]; ok || id == "" {
			return areas
		}
		id = f.stops[id].parent
	}
	return nil
}

// station gives the outermost parent of a stop.
func (f *fares) station(id string) string {
	for range maxParents {
		parent := f.stops[id].parent
		if parent == "" {
			break
		}
		id = parent
	}
	return id
}

// under reports whether a stop is other or lies in the station other.
func (f *fares) under(id, other string) bool {
	for range maxParents {
		if id == other {
			return true
		}
		if id = f.stops[id].parent; id == "" {
			break
		}
	}
	return false
}

// An effective leg is a run of rides that the join rules make one.
type effective struct {
	rides    []ride
	network  string // the common one, "" if there is none
	mixed    bool
	matched  []legRule
	products []string
	chosen   *legRule
	price    product
	unknown  string // why the fare is not known, or ""
}

// ride is a leg of the journey with what the feed says of it.
type ride struct {
	Ride
	network  string
	from, to place
}

func (e *effective) first() ride { return e.rides[0] }
func (e *effective) last() ride  { return e.rides[len(e.rides)-1] }

// join merges the rides that a join rule holds together.
func (f *fares) join(rides []ride) (legs []*effective, joined []joinRule) {
	for i, r := range rides {
		if i > 0 {
			at := slices.IndexFunc(f.joins, func(rule joinRule) bool { return f.joinsBy(rule, rides[i-1], r) })
			if at >= 0 {
				joined = append(joined, f.joins[at])
				e := legs[len(legs)-1]
				e.rides = append(e.rides, r)
				if e.network != r.network {
					e.network, e.mixed = "", true
				}
				continue
			}
		}
		legs = append(legs, &effective{rides: []ride{r}, network: r.network})
	}
	return legs, joined
}

func (f *fares) joinsBy(rule joinRule, a, b ride) bool {
	if rule.fromNetwork != "" && rule.fromNetwork != a.network || rule.toNetwork != "" && rule.toNetwork != b.network {
		return false
	}
	if rule.fromStop == "" && rule.toStop == "" {
		return a.to.station != "" && a.to.station == b.from.station
	}
	return (rule.fromStop == "" || f.under(a.to.id, rule.fromStop)) && (rule.toStop == "" || f.under(b.from.id, rule.toStop))
}

// match finds the rules of an effective leg, in the order of the file. It
// reports why nobody can say, if that is so.
func (f *fares) match(e *effective) (why string) {
	for _, r := range e.rides {
		for _, p := range []place{r.from, r.to} {
			if !p.known {
				return fmt.Sprintf("%q is neither a stop nor an area of the feed", p.id)
			}
		}
	}
	highest := -1
	unsure := map[int]string{} // by priority
	for _, i := range f.rulesFor(e) {
		rule := f.legRules[i]
		if !f.networkFits(rule, e) || !f.areaFits(rule.from, e.first().from.areas, f.listed.from) || !f.areaFits(rule.to, e.last().to.areas, f.listed.to) {
			continue
		}
		switch f.framesFit(rule, e) {
		case no:
			continue
		case unknown:
			unsure[rule.priority] = fmt.Sprintf("rule of row %d depends on a timeframe or service that is not defined", rule.row)
			continue
		case yes:
		}
		if rule.priority > highest {
			highest, e.matched = rule.priority, nil
		}
		if rule.priority == highest {
			e.matched = append(e.matched, rule)
		}
	}
	for priority, reason := range unsure {
		if priority >= highest && (why == "" || reason < why) {
			why = reason
		}
	}
	if why != "" {
		e.matched = nil
		return why
	}
	for _, rule := range e.matched {
		if !slices.Contains(e.products, rule.product) {
			e.products = append(e.products, rule.product)
		}
	}
	if len(e.matched) == 0 {
		return "no rule of fare_leg_rules matches"
	}
	return ""
}

func (f *fares) networkFits(rule legRule, e *effective) bool {
	switch {
	case rule.network != "":
		return !e.mixed && rule.network == e.network
	case f.priority || e.network == "":
		return true
	}
	return !f.listed.network[e.network]
}

func (f *fares) areaFits(wanted string, areas []string, listed map[string]bool) bool {
	switch {
	case wanted != "":
		return slices.Contains(areas, wanted)
	case f.priority:
		return true
	}
	return !slices.ContainsFunc(areas, func(area string) bool { return listed[area] })
}

func (f *fares) framesFit(rule legRule, e *effective) truth {
	answer := yes
	for _, event := range []struct {
		group, place string
		at           time.Time
	}{{rule.fromFrame, e.first().From, e.first().Dep}, {rule.toFrame, e.last().To, e.last().Arr}} {
		if event.group == "" {
			continue
		}
		switch f.within(event.group, f.local(event.place, event.at)) {
		case no:
			return no
		case unknown:
			answer = unknown
		case yes:
		}
	}
	return answer
}
