package exchange

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	bojanz "github.com/bojanz/currency"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
)

// ErrExport says that nothing of a tariff can be said in GTFS Fares v2.
var ErrExport = &citygate.Code{Name: "gtfs.not_expressible", Kind: citygate.Invalid, Title: "GTFS Fares v2 cannot say what this tariff says. Publish the named parts another way."}

// An Omission is a part of a tariff that a feed does not say, and what follows.
type Omission struct {
	Part string `json:"part"`
	Why  string `json:"why"`
}

// Export says a tariff as GTFS Fares v2. It asks the tariff for the price of every kind
// of ride, so that whatever makes a price of a single ride is in the feed: sections,
// tables with the cheapest split, zones, distances, media, discounts, the minimum,
// rounding. Routes that cost the same are a network, stops that do an area, times of the
// day that do a group of timeframes. One rule for transfers is said where the reference has
// the same.
//
// The feed is never wrong: a complete ride of one rider between two stops that has a
// price in it costs that by the tariff. What has none, and what else the feed leaves
// out (caps and all that depends on a rider's other rides, prices by day), is named
// in the omissions. A tariff of which nothing is left is refused with [ErrExport].
// A tariff that is a feed is given as that feed.
func Export(t *fare.Tariff) (*gtfs.Feed, []Omission, error) {
	if own := t.Rules[0].Feed; own != nil && len(t.Rules) == 1 {
		left := append(omissions(t), tied(own)...)
		if len(t.Discounts)+len(t.Minimum) > 0 || t.Rounding.Step > 1 || len(t.Rules[0].When)+len(t.Rules[0].Media)+len(t.Rules[0].Routes)+len(t.Rules[0].Operators) > 0 {
			return nil, nil, ErrExport.Explain("rules[%s]: conditions, discounts, minimum or rounding change the prices of its feed", t.Rules[0].ID)
		}
		return gtfs.FromTables(own.Fares().Tables), left, nil
	}
	digits, ok := bojanz.GetDigits(string(t.Currency))
	if !ok {
		return nil, nil, ErrExport.Explain("currency: %q is no currency of ISO 4217", t.Currency)
	}
	e := &exporter{tariff: t, digits: int(digits), products: map[string]string{}, places: t.Places(), categories: t.AllCategories(), media: append(t.AllMedia(), ""), left: omissions(t),
		spans: spans(t), frames: map[string]bool{}}
	for name, columns := range map[string][]string{
		"areas": {"area_id", "area_name"}, "stop_areas": {"area_id", "stop_id"}, "networks": {"network_id"}, "route_networks": {"network_id", "route_id"},
		"rider_categories": {"rider_category_id", "rider_category_name", "is_default_fare_category"}, "fare_media": {"fare_media_id", "fare_media_type"},
		"fare_products":       {"fare_product_id", "rider_category_id", "fare_media_id", "amount", "currency"},
		"fare_leg_rules":      {"leg_group_id", "network_id", "from_area_id", "to_area_id", "from_timeframe_group_id", "fare_product_id", "rule_priority"},
		"timeframes":          {"timeframe_group_id", "start_time", "end_time", "service_id"},
		"calendar":            {"service_id", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "start_date", "end_date"},
		"fare_transfer_rules": {"from_leg_group_id", "to_leg_group_id", "transfer_count", "duration_limit", "duration_limit_type", "fare_transfer_type", "fare_product_id"},
	} {
		e.tables = append(e.tables, &gtfs.Table{Name: name, Columns: columns})
	}
	slices.SortFunc(e.tables, func(a, b *gtfs.Table) int { return strings.Compare(a.Name, b.Name) })
	e.networks()
	if len(e.table("fare_leg_rules").Rows) == 0 {
		var parts []string
		for _, o := range e.left {
			if strings.HasPrefix(o.Part, "rules") {
				parts = append(parts, o.Part+": "+o.Why)
			}
		}
		return nil, nil, ErrExport.Explain("%s", strings.Join(parts, "; "))
	}
	e.transfers()
	e.untimed()
	for _, c := range e.categories {
		isDefault := "0"
		if c == t.Categories.Default {
			isDefault = "1"
		}
		e.add("rider_categories", string(c), string(c), isDefault)
	}
	for _, m := range e.media {
		if len(e.media) > 1 {
			e.add("fare_media", mediumID(m), mediumType(m))
		}
	}
	tables := slices.DeleteFunc(e.tables, func(table *gtfs.Table) bool { return len(table.Rows) == 0 })
	return gtfs.FromTables(tables), e.left, nil
}

// mediumID names a medium in the feed: media that the tariff does not tell apart are
// the one that riders have who name none.
func mediumID(medium string) string {
	if medium == "" {
		return "any-other"
	}
	return medium
}

func mediumType(medium string) string {
	switch medium {
	case "":
		return "0"
	case "phone":
		return "4"
	}
	return "2"
}

func omissions(t *fare.Tariff) []Omission {
	out := []Omission{
		{"incomplete", "a feed prices complete rides; the rule for missing taps is not in it"},
		{"same_stop", "a feed has no rule for a ride that ends where it began"},
	}
	for _, part := range []struct {
		name, why string
		given     bool
	}{
		{"caps", "the reference has no caps: a rider's rides cost by the feed what they cost before caps", len(t.Caps) > 0},
		{"cumulative", "the reference has no discount by what was paid before", len(t.Cumulative) > 0},
		{"nth_ride", "the reference does not count rides", len(t.NthRide) > 0},
		{"products", "passes, tickets and stored value that riders hold are not prices of rides", len(t.Products) > 0},
		{"sharing", "a feed says what riders pay, not who gets it", t.Sharing != nil},
		{"categories.proof", "a feed does not ask for proofs: its riders have the category that they name", len(t.Categories.Proof) > 0},
		{"categories.products", "product numbers of credentials mean nothing to a feed", len(t.Categories.Products) > 0},
		{"categories.funded", "a feed says what riders pay, not who pays the rest", len(t.Categories.Funded) > 0},
	} {
		if part.given {
			out = append(out, Omission{part.name, part.why})
		}
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
	places     [][]string
	categories []fare.Category
	media      []string          // "" last: those that no price tells apart
	products   map[string]string // id by amounts
	grouped    bool              // the areas are written
	left       []Omission
	legs       []leg // what fare_leg_rules say
	spans      []span
	frames     map[string]bool // groups of timeframes that are written
}

// A leg is a row of fare_leg_rules with the rule of ours that priced it.
type leg struct {
	rule    string
	network string
	amounts map[paid]int64
}

// paid is who pays by what.
type paid struct {
	category fare.Category
	medium   string
}

func (e *exporter) omit(part, why string) {
	if !slices.ContainsFunc(e.left, func(o Omission) bool { return o.Part == part }) {
		e.left = append(e.left, Omission{part, why})
	}
}

func (e *exporter) table(name string) *gtfs.Table {
	return e.tables[slices.IndexFunc(e.tables, func(t *gtfs.Table) bool { return t.Name == name })]
}

func (e *exporter) add(table string, cells ...string) {
	t := e.table(table)
	t.Rows = append(t.Rows, cells)
}

// product gives the product of the amounts, one for each set of amounts.
func (e *exporter) product(amounts map[paid]int64) string {
	var key strings.Builder
	for _, c := range e.categories {
		for _, m := range e.media {
			if minor, ok := amounts[paid{c, m}]; ok {
				fmt.Fprintf(&key, "%d:%s %s=%d;", len(c), c, m, minor)
			}
		}
	}
	if id, known := e.products[key.String()]; known || len(amounts) == 0 {
		return id
	}
	id := "fare-" + strconv.Itoa(len(e.products)+1)
	e.products[key.String()] = id
	for _, c := range e.categories {
		for _, m := range e.media {
			minor, ok := amounts[paid{c, m}]
			if !ok {
				continue
			}
			medium := ""
			if len(e.media) > 1 {
				medium = mediumID(m)
			}
			e.add("fare_products", id, string(c), medium, decimals(minor, e.digits), string(e.tariff.Currency))
		}
	}
	return id
}

// decimals writes minor units with the decimals of the currency.
func decimals(minor int64, digits int) string {
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	text := strconv.FormatInt(minor, 10)
	if digits == 0 {
		return sign + text
	}
	for len(text) <= digits {
		text = "0" + text
	}
	return sign + text[:len(text)-digits] + "." + text[len(text)-digits:]
}

// areas writes the groups of places as areas, once, and gives their ids.
func (e *exporter) areas() []string {
	names := map[string]string{}
	for i := range e.tariff.Rules {
		if table := e.tariff.Rules[i].Table; table != nil {
			for k, name := range table.Names {
				names[table.Stops[k]] = name
			}
		}
	}
	ids := make([]string, len(e.places))
	for i, stops := range e.places {
		ids[i] = stops[0]
		if e.grouped {
			continue
		}
		name := names[stops[0]]
		if name == "" {
			name = stops[0]
		}
		e.add("areas", ids[i], name)
		for _, stop := range stops {
			e.add("stop_areas", ids[i], stop)
		}
	}
	e.grouped = true
	return ids
}
