package fare

import (
	"maps"
	"slices"
	"strings"
)

// Places gives every stop, section and zone that prices of t can depend on, grouped:
// rides between the same groups cost the same, whichever stops of them they are
// between, as long as these are two. A stop of a table or of a network of distances is
// a group of its own. Groups and what is in them are in order.
func (t *Tariff) Places() [][]string {
	stops := map[string]bool{}
	add := func(names ...string) {
		for _, n := range names {
			stops[n] = true
		}
	}
	add(slices.Collect(maps.Keys(t.Zones))...)
	for i := range t.Rules {
		r := &t.Rules[i]
		switch {
		case r.Table != nil:
			add(r.Table.Stops...)
		case r.Distance != nil:
			add(slices.Collect(maps.Keys(r.Distance.index))...)
		case r.Sections != nil:
			add(slices.Collect(maps.Keys(r.Sections.Stops))...)
			add(slices.Collect(maps.Keys(r.Sections.Amounts))...)
		case r.Zones != nil:
			add(slices.Collect(maps.Keys(r.Zones.known))...)
		}
	}
	groups := map[string][]string{}
	for _, stop := range slices.Sorted(maps.Keys(stops)) {
		kind := t.placeKind(stop)
		groups[kind] = append(groups[kind], stop)
	}
	out := slices.Collect(maps.Values(groups))
	slices.SortFunc(out, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return out
}

// placeKind says what prices see of a stop.
func (t *Tariff) placeKind(stop string) string {
	var kind strings.Builder
	say := func(parts ...string) {
		for _, p := range parts {
			kind.WriteString(p)
			kind.WriteByte(0)
		}
		kind.WriteByte(1)
	}
	say(t.Zones[stop]...)
	for i := range t.Rules {
		r := &t.Rules[i]
		switch {
		case r.Table != nil:
			if _, known := r.Table.index[stop]; known {
				say(stop)
			}
		case r.Distance != nil:
			if _, known := r.Distance.index[stop]; known {
				say(stop)
			}
		case r.Sections != nil:
			section, named := r.Sections.Stops[stop]
			if !named {
				section = stop
			}
			if _, priced := r.Sections.Amounts[section]; priced {
				say("section", section)
			}
		case r.Zones != nil:
			say(r.Zones.of(t.Zones, stop)...)
		}
		kind.WriteByte(2)
	}
	return kind.String()
}

// AllCategories gives every category that t names, in order.
func (t *Tariff) AllCategories() []Category {
	out := map[Category]bool{}
	amounts := func(list ...Amounts) {
		for _, a := range list {
			for c := range a {
				out[c] = true
			}
		}
	}
	for _, c := range t.Categories.Products {
		out[c] = true
	}
	if t.Categories.Default != "" {
		out[t.Categories.Default] = true
	}
	for i := range t.Rules {
		r := &t.Rules[i]
		amounts(r.Flat)
		switch {
		case r.Sections != nil:
			amounts(slices.Collect(maps.Values(r.Sections.Amounts))...)
		case r.Table != nil:
			for c := range r.Table.Amounts {
				out[c] = true
			}
		case r.Distance != nil:
			for c := range r.Distance.Permille {
				out[c] = true
			}
		case r.Zones != nil:
			for _, s := range r.Zones.Sets {
				amounts(s.Amounts)
			}
			for _, s := range r.Zones.Rings {
				amounts(s.Amounts)
			}
			for _, s := range r.Zones.Counts {
				amounts(s.Amounts)
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// AllMedia gives every medium that prices of single rides tell apart, in order.
func (t *Tariff) AllMedia() []string {
	var out []string
	for i := range t.Rules {
		out = append(out, t.Rules[i].Media...)
	}
	for i := range t.Discounts {
		out = append(out, t.Discounts[i].Match.Media...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// OperatorOf gives the operator whose route it is, "" where t does not say.
func (t *Tariff) OperatorOf(route string) string { return t.operator[route] }
