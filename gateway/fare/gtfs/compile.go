package gtfs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	bojanz "github.com/bojanz/currency"

	"github.com/cashlesscity/citygate"
)

// fares is a feed as the pricing reads it.
type fares struct {
	stops      map[string]stop
	stopsKnown bool // stops.txt was given: what it does not name is no stop
	areas      map[string]bool
	stopAreas  map[string][]string
	networks   map[string]bool
	routes     map[string]route
	riders     map[string]bool // true: a default category
	media      map[string]int
	products   map[string][]product
	legRules   []legRule
	priority   bool // the column rule_priority exists
	joins      []joinRule
	transfers  []transferRule
	frames     map[string][]frame
	services   map[string]service
	listed     listed
	byFrom     map[string][]int // leg rules by from_area_id, in the order of the file
	zone       *time.Location   // of the agency; nil if the feed names none
}

type stop struct {
	parent string
	zone   *time.Location
}

type route struct {
	network string
	twice   bool // two networks claim it
}

type product struct {
	rider, media string
	amount       citygate.Money
	row          int
}

type legRule struct {
	group, network, from, to string
	fromFrame, toFrame       string
	product                  string
	priority, row            int
}

type joinRule struct {
	fromNetwork, toNetwork, fromStop, toStop string
	row                                      int
}

// unlimited stands for no limit where a smaller number is stricter.
const unlimited = int(^uint(0) >> 1)

type transferRule struct {
	from, to    string
	count       int // unlimited for -1, 0 where it does not apply
	limit       int // seconds, or unlimited
	limitType   int
	kind        int
	product     string
	row         int
	inOneLeague bool // from equals to
}

// compiler reads the tables into fares and says what is wrong with them.
type compiler struct {
	feed  *Feed
	table *Table
	spec  spec
	index map[string]int
	row   int // the row being read, or -1
}

func compile(tables []*Table, findings []Finding) *Feed {
	f := &Feed{Tables: tables, Findings: findings, fares: fares{
		stops: map[string]stop{}, areas: map[string]bool{}, stopAreas: map[string][]string{}, networks: map[string]bool{},
		routes: map[string]route{}, riders: map[string]bool{}, media: map[string]int{}, products: map[string][]product{},
		frames: map[string][]frame{}, services: map[string]service{},
	}}
	c := &compiler{feed: f, row: -1}
	for _, t := range tables {
		c.compile(t)
	}
	c.table = nil
	for _, needed := range []string{"fare_leg_rules", "fare_products"} {
		if !slices.ContainsFunc(tables, func(t *Table) bool { return t.Name == needed }) {
			f.Findings = append(f.Findings, Finding{"missing_file", Refuse, needed + ".txt", 0, "", "a feed without it has no fares v2"})
		}
	}
	c.references()
	f.list()
	return f
}

func (c *compiler) compile(t *Table) {
	s, ok := specs[t.Name]
	if !ok {
		return
	}
	c.table, c.spec, c.row, c.index = t, s, -1, make(map[string]int, len(t.Columns))
	for i, column := range t.Columns {
		c.index[column] = i
		if s.fare && !slices.Contains(s.columns, column) {
			c.find("unknown_column", Refuse, column, "the reference has no such column; it may change prices in a way we do not know")
		}
	}
	whole := true
	for _, column := range s.required {
		if _, ok := c.index[column]; !ok {
			c.find("missing_column", Refuse, column, "the column is required")
			whole = false
		}
	}
	for _, column := range s.present {
		if _, ok := c.index[column]; !ok {
			c.find("missing_column", Breach, column, "the reference requires the column")
		}
	}
	if !whole {
		return
	}
	if t.Name == "stops" {
		c.feed.stopsKnown = true
	}
	if _, ok := c.index["rule_priority"]; ok && t.Name == "fare_leg_rules" {
		c.feed.priority = true
	}
	keys := make(map[string]int, len(t.Rows))
	for i := range t.Rows {
		c.row = i
		if c.complete() && c.unique(keys) {
			c.read()
		}
	}
}

// find records a finding at the current row, or at the header.
func (c *compiler) find(code string, severity Severity, column, format string, args ...any) {
	line := 1
	if c.row >= 0 {
		line = c.table.line(c.row)
	}
	c.feed.Findings = append(c.feed.Findings, Finding{code, severity, c.table.File(), line, column, fmt.Sprintf(format, args...)})
}

// cell gives the text of a column in the current row, "" if there is none.
func (c *compiler) cell(column string) string {
	if i, ok := c.index[column]; ok {
		return c.table.Rows[c.row][i]
	}
	return ""
}

func (c *compiler) complete() bool {
	for _, column := range c.spec.required {
		if c.cell(column) == "" {
			c.find("missing_value", Refuse, column, "a value is required")
			return false
		}
	}
	return true
}

func (c *compiler) unique(keys map[string]int) bool {
	if len(c.spec.key) == 0 {
		return true
	}
	var key strings.Builder
	for _, column := range c.spec.key {
		fmt.Fprintf(&key, "%d:%s", len(c.cell(column)), c.cell(column))
	}
	if first, taken := keys[key.String()]; taken {
		if slices.Equal(c.table.Rows[first], c.table.Rows[c.row]) {
			c.find("row_twice", Breach, "", "the row repeats row %d; it was ignored", c.table.line(first))
		} else {
			c.find("duplicate_key", Refuse, c.spec.key[0], "the row has the key of row %d but differs from it: %s", c.table.line(first), strings.Join(c.spec.key, ", "))
		}
		return false
	}
	keys[key.String()] = c.row
	return true
}

// number reads a whole number of at least low; an empty cell gives otherwise.
func (c *compiler) number(column string, low, otherwise int) (int, bool) {
	text := c.cell(column)
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > 1<<31-1 || text[0] == '+' {
		c.find("bad_number", Refuse, column, "%q is no whole number of at least %d", text, low)
		return 0, false
	}
	return n, true
}

// choice reads a number from 0 to high.
func (c *compiler) choice(column string, high, otherwise int) (int, bool) {
	n, ok := c.number(column, 0, otherwise)
	if ok && n > high {
		c.find("bad_choice", Refuse, column, "%q is none of 0 to %d", c.cell(column), high)
		return 0, false
	}
	return n, ok
}

// read takes one row into the fares.
func (c *compiler) read() {
	f := &c.feed.fares
	switch c.table.Name {
	case "agency":
		c.agency()
	case "stops":
		s := stop{parent: c.cell("parent_station")}
		if zone := c.cell("stop_timezone"); zone != "" {
			s.zone = c.location("stop_timezone", zone)
		}
		f.stops[c.cell("stop_id")] = s
	case "routes":
		f.routes[c.cell("route_id")] = route{network: c.cell("network_id")}
	case "areas":
		f.areas[c.cell("area_id")] = true
	case "stop_areas":
		f.stopAreas[c.cell("stop_id")] = append(f.stopAreas[c.cell("stop_id")], c.cell("area_id"))
	case "networks":
		f.networks[c.cell("network_id")] = true
	case "route_networks":
		c.routeNetwork()
	case "calendar":
		c.calendar()
	case "calendar_dates":
		c.calendarDate()
	case "timeframes":
		c.timeframe()
	case "rider_categories":
		if n, ok := c.choice("is_default_fare_category", 1, 0); ok {
			f.riders[c.cell("rider_category_id")] = n == 1
		}
	case "fare_media":
		if n, ok := c.choice("fare_media_type", 4, 0); ok {
			f.media[c.cell("fare_media_id")] = n
		}
	case "fare_products":
		c.product()
	case "fare_leg_rules":
		if priority, ok := c.number("rule_priority", 0, 0); ok {
			f.legRules = append(f.legRules, legRule{
				group: c.cell("leg_group_id"), network: c.cell("network_id"), from: c.cell("from_area_id"), to: c.cell("to_area_id"),
				fromFrame: c.cell("from_timeframe_group_id"), toFrame: c.cell("to_timeframe_group_id"),
				product: c.cell("fare_product_id"), priority: priority, row: c.table.line(c.row),
			})
		}
	case "fare_leg_join_rules":
		c.join()
	case "fare_transfer_rules":
		c.transfer()
	}
}

func (c *compiler) agency() {
	name := c.cell("agency_timezone")
	zone := c.location("agency_timezone", name)
	if c.feed.zone == nil {
		c.feed.zone = zone
	} else if zone != nil && zone.String() != c.feed.zone.String() {
		c.find("two_timezones", Breach, "agency_timezone", "%s, but an agency above has %s, which is used", name, c.feed.zone)
	}
}

func (c *compiler) location(column, name string) *time.Location {
	if zone, err := time.LoadLocation(name); err == nil && name != "Local" {
		return zone
	}
	c.find("bad_timezone", Refuse, column, "%q is no time zone of the IANA database", name)
	return nil
}

func (c *compiler) routeNetwork() {
	id, network := c.cell("route_id"), c.cell("network_id")
	r := c.feed.routes[id]
	if r.network != "" && r.network != network {
		c.find("two_networks", Refuse, "network_id", "the route %q is in the network %q by routes.network_id and in %q here", id, r.network, network)
		r.twice = true
	}
	r.network = network
	c.feed.routes[id] = r
}

func (c *compiler) join() {
	r := joinRule{c.cell("from_network_id"), c.cell("to_network_id"), c.cell("from_stop_id"), c.cell("to_stop_id"), c.table.line(c.row)}
	if (r.fromStop == "") != (r.toStop == "") {
		c.find("half_a_pair", Breach, "from_stop_id", "from_stop_id and to_stop_id go together; the empty one is no constraint")
	}
	if r.fromNetwork == "" || r.toNetwork == "" {
		c.find("half_a_pair", Breach, "from_network_id", "both networks are required; an empty one is no constraint")
	}
	c.feed.joins = append(c.feed.joins, r)
}

// maxTransfers bounds transfer_count and the legs of a journey.
const maxTransfers = 1000

func (c *compiler) transfer() {
	r := transferRule{from: c.cell("from_leg_group_id"), to: c.cell("to_leg_group_id"), product: c.cell("fare_product_id"), row: c.table.line(c.row)}
	r.inOneLeague = r.from == r.to
	ok := make([]bool, 4)
	r.count, ok[0] = c.number("transfer_count", -1, 0)
	r.limit, ok[1] = c.number("duration_limit", 1, unlimited)
	r.limitType, ok[2] = c.choice("duration_limit_type", 3, -1)
	r.kind, ok[3] = c.choice("fare_transfer_type", 2, 0)
	if slices.Contains(ok, false) {
		return
	}
	switch given := c.cell("transfer_count") != ""; {
	case given && r.count == 0:
		c.find("bad_number", Refuse, "transfer_count", "0 is not -1 and not at least 1")
		return
	case r.inOneLeague && !given:
		c.find("missing_value", Refuse, "transfer_count", "it is required because from_leg_group_id equals to_leg_group_id")
		return
	case !r.inOneLeague && given:
		c.find("forbidden_value", Breach, "transfer_count", "it is forbidden because from_leg_group_id differs from to_leg_group_id; it was ignored")
		r.count = 0
	}
	if r.count < 0 {
		r.count = unlimited
	}
	if (r.limit == unlimited) != (r.limitType < 0) {
		if r.limit != unlimited {
			c.find("missing_value", Refuse, "duration_limit_type", "it is required because duration_limit is given")
			return
		}
		c.find("forbidden_value", Breach, "duration_limit_type", "it is forbidden without a duration_limit; it was ignored")
	}
	c.feed.transfers = append(c.feed.transfers, r)
}

func (c *compiler) product() {
	amount, currency := c.cell("amount"), c.cell("currency")
	digits, ok := bojanz.GetDigits(currency)
	if !ok {
		c.find("bad_currency", Refuse, "currency", "%q is no currency of ISO 4217", currency)
		return
	}
	minor, err := minorUnits(amount, int(digits))
	if err != nil {
		c.find("bad_amount", Refuse, "amount", "%v", err)
		return
	}
	id := c.cell("fare_product_id")
	c.feed.products[id] = append(c.feed.products[id], product{
		rider: c.cell("rider_category_id"), media: c.cell("fare_media_id"),
		amount: citygate.Money{Minor: minor, Currency: citygate.Currency(currency)}, row: c.table.line(c.row),
	})
}

// maxDigits bounds an amount so that no sum of a journey leaves an int64.
const maxDigits = 12

// minorUnits reads "-12.30" exactly. The currency says how many decimals there
// must be.
func minorUnits(text string, digits int) (int64, error) {
	unsigned, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(unsigned, ".")
	decimal := func(s string) bool {
		return s != "" && strings.Trim(s, "0123456789") == ""
	}
	if !decimal(whole) || point != (digits > 0) || point && !decimal(fraction) || len(fraction) != digits {
		return 0, fmt.Errorf("%q is no amount with %d decimals, which its currency has", text, digits)
	}
	if len(whole)+len(fraction) > maxDigits {
		return 0, fmt.Errorf("%q has more than %d digits", text, maxDigits)
	}
	minor, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount", text)
	}
	if negative {
		minor = -minor
	}
	return minor, nil
}

// references reports ids that no table defines, and what no single row shows.
func (c *compiler) references() {
	for _, t := range c.feed.Tables {
		c.table, c.row = t, -1
		c.index = make(map[string]int, len(t.Columns))
		for i, column := range t.Columns {
			c.index[column] = i
		}
		switch t.Name {
		case "networks":
			if c.feed.has("routes", "network_id") {
				c.find("networks_twice", Breach, "", "networks.txt is forbidden because routes.txt has the column network_id; both were read")
			}
		case "rider_categories":
			c.defaults()
		case "fare_leg_rules":
			c.groups()
		}
		for _, ref := range foreign[t.Name] {
			c.refer(ref)
		}
	}
	c.overlaps()
}

// A reference is a column whose values another table should define. Where that
// table is absent nothing can be said, except for what prices need.
type reference struct{ column, table, other string }

var foreign = map[string][]reference{
	"stop_areas":          {{"area_id", "areas", "area_id"}, {"stop_id", "stops", "stop_id"}},
	"stops":               {{"parent_station", "stops", "stop_id"}},
	"route_networks":      {{"network_id", "networks", "network_id"}, {"route_id", "routes", "route_id"}},
	"fare_products":       {{"rider_category_id", "rider_categories", "rider_category_id"}, {"fare_media_id", "fare_media", "fare_media_id"}},
	"fare_leg_rules":      {{"from_area_id", "areas", "area_id"}, {"to_area_id", "areas", "area_id"}, {"from_timeframe_group_id", "timeframes", "timeframe_group_id"}, {"to_timeframe_group_id", "timeframes", "timeframe_group_id"}, {"fare_product_id", "fare_products", "fare_product_id"}},
	"fare_transfer_rules": {{"from_leg_group_id", "fare_leg_rules", "leg_group_id"}, {"to_leg_group_id", "fare_leg_rules", "leg_group_id"}, {"fare_product_id", "fare_products", "fare_product_id"}},
	"fare_leg_join_rules": {{"from_stop_id", "stops", "stop_id"}, {"to_stop_id", "stops", "stop_id"}},
}

func (c *compiler) refer(ref reference) {
	at, ok := c.index[ref.column]
	if !ok {
		return
	}
	defined := c.feed.column(ref.table, ref.other)
	if defined == nil {
		return
	}
	for i, row := range c.table.Rows {
		if c.row = i; row[at] != "" && !defined[row[at]] {
			c.find("unknown_reference", Breach, ref.column, "no row of %s.txt has the %s %q", ref.table, ref.other, row[at])
		}
	}
	c.row = -1
}

// column gives the values of a column, nil if the table is absent or empty.
func (f *Feed) column(table, column string) map[string]bool {
	for _, t := range f.Tables {
		if at := slices.Index(t.Columns, column); t.Name == table && at >= 0 && len(t.Rows) > 0 {
			values := make(map[string]bool, len(t.Rows))
			for _, row := range t.Rows {
				values[row[at]] = true
			}
			return values
		}
	}
	return nil
}

func (f *Feed) has(table, column string) bool {
	return slices.ContainsFunc(f.Tables, func(t *Table) bool { return t.Name == table && slices.Contains(t.Columns, column) })
}

// defaults checks that of the categories a product is sold to exactly one is
// the default, where it is sold to several.
func (c *compiler) defaults() {
	for _, id := range slices.Sorted(maps.Keys(c.feed.products)) {
		riders := map[string]bool{}
		chosen := 0
		for _, p := range c.feed.products[id] {
			if p.rider != "" && !riders[p.rider] {
				riders[p.rider] = true
				if c.feed.riders[p.rider] {
					chosen++
				}
			}
		}
		if len(riders) > 1 && chosen != 1 {
			c.find("default_category", Breach, "is_default_fare_category", "the product %q is sold to %d categories, %d of which are the default; want 1", id, len(riders), chosen)
		}
	}
}

// groups notes the rules without a leg group where transfers are priced.
func (c *compiler) groups() {
	if len(c.feed.transfers) == 0 && !c.feed.has("fare_transfer_rules", "fare_transfer_type") {
		return
	}
	at, ok := c.index["leg_group_id"]
	for i, row := range c.table.Rows {
		if c.row = i; !ok || row[at] == "" {
			c.find("no_leg_group", Note, "leg_group_id", "the rule has no leg group: only transfer rules with an empty group fit it")
		}
	}
	c.row = -1
}
