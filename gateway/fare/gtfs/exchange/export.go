package exchange

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	bojanz "github.com/bojanz/currency"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
)

// ErrExport says that a tariff has parts that GTFS Fares v2 cannot say.
var ErrExport = &citygate.Code{Name: "gtfs.not_expressible", Kind: citygate.Invalid, Title: "GTFS Fares v2 cannot say what this tariff says. Publish the named parts another way."}

// An Omission is a part of a tariff that a feed leaves out although the price of
// a complete ride between two stops does not depend on it.
type Omission struct {
	Part string `json:"part"`
	Why  string `json:"why"`
}

// Export says a tariff as GTFS Fares v2: one network per rule with routes, one
// area per stop of a table and per section, a rider category per category, and
// rule_priority in the order of the rules. Reading the feed back gives an equal
// feed, and every complete ride of one rider between two stops costs by it what
// it costs by the tariff.
//
// What has a say in such a price and cannot be said is refused with [ErrExport],
// every part by its name; the rest that is left out is given as omissions.
func Export(t *fare.Tariff) (*gtfs.Feed, []Omission, error) {
	if refused := refusedParts(t); len(refused) > 0 {
		return nil, nil, ErrExport.Explain("%s", strings.Join(refused, "; "))
	}
	if own := t.Rules[0].Feed; own != nil { // alone, or it was refused
		return gtfs.FromTables(own.Fares().Tables), append(omissions(t), tied(own)...), nil
	}
	digits, ok := bojanz.GetDigits(string(t.Currency))
	if !ok {
		return nil, nil, ErrExport.Explain("currency: %q is no currency of ISO 4217", t.Currency)
	}
	e := &exporter{tariff: t, digits: int(digits), products: map[string]string{}, areas: map[string]bool{}, routes: map[string]bool{}, categories: map[fare.Category]bool{}}
	for _, name := range []string{"areas", "stop_areas", "networks", "route_networks", "rider_categories", "fare_products", "fare_leg_rules"} {
		columns := slices.DeleteFunc(gtfs.Columns(name), func(c string) bool { return unusedColumns[c] })
		e.tables = append(e.tables, &gtfs.Table{Name: name, Columns: columns})
	}
	for i := range t.Rules {
		e.rule(&t.Rules[i], len(t.Rules)-i)
	}
	if t.Categories.Default != "" {
		e.categories[t.Categories.Default] = true
	}
	for _, c := range slices.Sorted(maps.Keys(e.categories)) {
		isDefault := "0"
		if c == t.Categories.Default {
			isDefault = "1"
		}
		e.add("rider_categories", string(c), string(c), isDefault)
	}
	tables := slices.DeleteFunc(e.tables, func(table *gtfs.Table) bool { return len(table.Rows) == 0 })
	return gtfs.FromTables(tables), omissions(t), nil
}

// unusedColumns are never filled by an export.
var unusedColumns = map[string]bool{
	"leg_group_id": true, "from_timeframe_group_id": true, "to_timeframe_group_id": true, "fare_media_id": true, "fare_product_name": true,
	"eligibility_url": true, "network_name": true,
}

// refusedParts names what has a say in the price of a ride and cannot be said.
func refusedParts(t *fare.Tariff) []string {
	var parts []string
	refuse := func(part, why string) { parts = append(parts, part+": "+why) }
	for part, given := range map[string]bool{
		"discounts": len(t.Discounts) > 0, "minimum": len(t.Minimum) > 0, "transfers": len(t.Transfers) > 0, "cumulative": len(t.Cumulative) > 0,
		"nth_ride": len(t.NthRide) > 0, "caps": len(t.Caps) > 0, "sharing": t.Sharing != nil, "products": len(t.Products) > 0, "categories.proof": len(t.Categories.Proof) > 0,
	} {
		if given {
			refuse(part, "the reference has no such rule")
		}
	}
	pairs := "" // a rule of pairs for some routes
	for i := range t.Rules {
		r := &t.Rules[i]
		at := "rules[" + r.ID + "]"
		switch {
		case r.Distance != nil:
			refuse(at+".distance", "the reference has no distances")
		case r.Time != nil:
			refuse(at+".time", "the reference has no time in the system")
		case r.Entered != nil:
			refuse(at+".entered", "the reference has no amounts that a driver enters")
		case r.Zones != nil:
			refuse(at+".zones", "areas of the reference lie at the ends of a ride, not on its way")
		case r.Table != nil && r.Table.Split != nil:
			refuse(at+".table.never_more_than_split", "the reference compares no other ways to ride")
		}
		if r.Feed != nil && len(t.Rules) > 1 {
			refuse(at+".feed", "a feed beside other rules")
		}
		if len(r.When) > 0 {
			refuse(at+".when", "the tenant's calendar is not part of the tariff")
		}
		if len(r.Media) > 0 {
			refuse(at+".media", "our media are what codes are shown on, not fare media of a feed")
		}
		everywhere := len(r.Routes) == 0 && len(r.Operators) == 0
		if everywhere && pairs != "" {
			refuse(at, "it would price the pairs that "+pairs+" leaves without a price")
		}
		if !everywhere && (r.Table != nil || r.Sections != nil) {
			pairs = at
		}
		if !multiples(r, t.Rounding.Step) {
			refuse("rounding", "an amount of "+at+" is no multiple of the step")
		}
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// multiples reports whether no amount of the rule is changed by rounding.
func multiples(r *fare.Rule, step int64) bool {
	if step <= 1 {
		return true
	}
	whole := func(a fare.Amounts) bool {
		for _, minor := range a {
			if minor%step != 0 {
				return false
			}
		}
		return true
	}
	if r.Sections != nil {
		for _, amounts := range r.Sections.Amounts {
			if !whole(amounts) {
				return false
			}
		}
	}
	if r.Table != nil {
		for _, cells := range r.Table.Amounts {
			if slices.ContainsFunc(cells, func(minor int64) bool { return minor != fare.NoPrice && minor%step != 0 }) {
				return false
			}
		}
	}
	return whole(r.Flat)
}

func omissions(t *fare.Tariff) []Omission {
	out := []Omission{
		{"incomplete", "a feed prices complete rides; the rule for missing taps is not in it"},
		{"same_stop", "a feed has no rule for a ride that ends where it began"},
	}
	if len(t.Categories.Products) > 0 {
		out = append(out, Omission{"categories.products", "product numbers of credentials mean nothing to a feed"})
	}
	if len(t.Categories.Funded) > 0 {
		out = append(out, Omission{"categories.funded", "a feed says what riders pay, not who pays the rest"})
	}
	return out
}

// tied says that names of ours are others in the feed.
func tied(f *fare.Feed) (out []Omission) {
	for part, given := range map[string]bool{"stops": len(f.Stops) > 0, "routes": len(f.Routes) > 0, "riders": len(f.Riders) > 0, "media": len(f.Media) > 0} {
		if given {
			out = append(out, Omission{"feed." + part, "the feed keeps its own ids"})
		}
	}
	if f.Pause > 0 {
		out = append(out, Omission{"feed.pause_min", "a feed prices itineraries, whose rides it need not tell apart from others"})
	}
	slices.SortFunc(out, func(a, b Omission) int { return strings.Compare(a.Part, b.Part) })
	return out
}

type exporter struct {
	tariff     *fare.Tariff
	digits     int
	tables     []*gtfs.Table
	products   map[string]string // id by amounts
	areas      map[string]bool
	routes     map[string]bool // served by a rule already
	everywhere bool            // a rule for every route came: nothing behind it is reached
	categories map[fare.Category]bool
}

func (e *exporter) add(table string, cells ...string) {
	at := slices.IndexFunc(e.tables, func(t *gtfs.Table) bool { return t.Name == table })
	e.tables[at].Rows = append(e.tables[at].Rows, cells)
}

// legRule adds a row of fare_leg_rules: network, from, to, product, priority.
func (e *exporter) legRule(network, from, to string, amounts fare.Amounts, priority int) {
	if product := e.product(amounts); product != "" {
		e.add("fare_leg_rules", network, from, to, product, strconv.Itoa(priority))
	}
}

// product gives the product of the amounts, one for each set of amounts.
func (e *exporter) product(amounts fare.Amounts) string {
	var key strings.Builder
	for _, c := range slices.Sorted(maps.Keys(amounts)) {
		fmt.Fprintf(&key, "%d:%s=%d;", len(c), c, amounts[c])
	}
	if id, known := e.products[key.String()]; known || len(amounts) == 0 {
		return id
	}
	id := "fare-" + strconv.Itoa(len(e.products)+1)
	e.products[key.String()] = id
	for _, c := range slices.Sorted(maps.Keys(amounts)) {
		e.categories[c] = true
		e.add("fare_products", id, string(c), decimals(amounts[c], e.digits), string(e.tariff.Currency))
	}
	return id
}

// decimals writes minor units with the decimals of the currency.
func decimals(minor int64, digits int) string {
	text := strconv.FormatInt(minor, 10)
	if digits == 0 {
		return text
	}
	for len(text) <= digits {
		text = "0" + text
	}
	return text[:len(text)-digits] + "." + text[len(text)-digits:]
}

func (e *exporter) area(id, name string) {
	if !e.areas[id] {
		e.areas[id] = true
		e.add("areas", id, name)
	}
}

// network gives the network of a rule's routes that no rule before it serves.
func (e *exporter) network(r *fare.Rule) (id string, reached bool) {
	if e.everywhere {
		return "", false
	}
	if len(r.Routes) == 0 && len(r.Operators) == 0 {
		e.everywhere = true
		return "", true
	}
	routes := slices.Clone(r.Routes)
	if len(r.Operators) > 0 {
		var theirs []string
		for _, operator := range r.Operators {
			theirs = append(theirs, e.tariff.Operators[operator]...)
		}
		if len(r.Routes) == 0 {
			routes = theirs
		} else {
			routes = slices.DeleteFunc(routes, func(route string) bool { return !slices.Contains(theirs, route) })
		}
	}
	for _, route := range routes {
		if !e.routes[route] {
			if !reached {
				e.add("networks", r.ID)
			}
			e.routes[route], reached = true, true
			e.add("route_networks", r.ID, route)
		}
	}
	return r.ID, reached
}

func (e *exporter) rule(r *fare.Rule, priority int) {
	network, reached := e.network(r)
	if !reached {
		return
	}
	switch {
	case r.Sections != nil:
		for _, section := range slices.Sorted(maps.Keys(r.Sections.Amounts)) {
			id := "section:" + r.ID + ":" + section
			e.area(id, section)
			e.legRule(network, id, "", r.Sections.Amounts[section], priority)
		}
		for _, stop := range slices.Sorted(maps.Keys(r.Sections.Stops)) {
			e.add("stop_areas", "section:"+r.ID+":"+r.Sections.Stops[stop], stop)
		}
	case r.Table != nil:
		e.table(network, r.Table, priority)
	default:
		e.legRule(network, "", "", r.Flat, priority)
	}
}

func (e *exporter) table(network string, t *fare.Table, priority int) {
	for i, stop := range t.Stops {
		if !e.areas[stop] {
			e.add("stop_areas", stop, stop)
		}
		name := stop
		if len(t.Names) > 0 {
			name = t.Names[i]
		}
		e.area(stop, name)
	}
	n := len(t.Stops)
	categories := slices.Sorted(maps.Keys(t.Amounts))
	for cell := range n * n {
		from, to := t.Stops[cell/n], t.Stops[cell%n]
		if slices.Contains(t.Linked, [2]string{from, to}) || slices.Contains(t.Linked, [2]string{to, from}) {
			continue // one station to riders: the rule for the same stop
		}
		amounts := fare.Amounts{}
		for _, c := range categories {
			if minor := t.Amounts[c][cell]; minor != fare.NoPrice {
				amounts[c] = minor
			}
		}
		e.legRule(network, from, to, amounts, priority)
	}
}
