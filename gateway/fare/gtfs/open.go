package gtfs

import (
	"maps"
	"slices"
	"strings"
)

// listed are the values that each column of fare_leg_rules names.
type listed struct{ network, from, to map[string]bool }

// list prepares the leg rules for looking up.
func (f *fares) list() {
	f.listed = listed{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	f.byFrom = map[string][]int{}
	for i, r := range f.legRules {
		f.byFrom[r.from] = append(f.byFrom[r.from], i)
		for _, cell := range []struct {
			column map[string]bool
			value  string
		}{{f.listed.network, r.network}, {f.listed.from, r.from}, {f.listed.to, r.to}} {
			if cell.value != "" {
				cell.column[cell.value] = true
			}
		}
	}
}

// rulesFor gives the leg rules that can match where the leg begins, in the order
// of the file.
func (f *fares) rulesFor(e *effective) []int {
	areas := e.first().from.areas
	if len(areas) == 0 {
		return f.byFrom[""]
	}
	out := slices.Clone(f.byFrom[""])
	for _, area := range areas {
		out = append(out, f.byFrom[area]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// maxOpen bounds the pairs of places that a leg is tried with that says neither end.
const maxOpen = 1 << 10

// openLeg prices a leg whose journey does not say where it begins or where it
// ends: it has a fare if the feed asks the same, in the same leg group, wherever
// that was, as far as the feed has a fare from or to there at all. One that says
// neither end has none in a feed that tells very many pairs apart.
func (p *pricing) openLeg(n int, e *effective) {
	said := p.price.Explanation
	froms, tos := [][]string{e.first().from.areas}, [][]string{e.last().to.areas}
	if e.first().From == "" {
		froms = p.areaSets(p.listed.from)
	}
	if e.last().To == "" {
		tos = p.areaSets(p.listed.to)
	}
	var found *effective
	var explained []Step
	why := "the fare depends on where the ride begins and ends, and the journey says neither"
	differ := len(froms)*len(tos) > max(len(froms), len(tos), maxOpen)
	for i := 0; i < len(froms)*len(tos) && !differ; i++ {
		q := *e
		q.rides = slices.Clone(e.rides)
		q.rides[0].from.areas = froms[i/len(tos)]
		q.rides[len(q.rides)-1].to.areas = tos[i%len(tos)]
		p.price.Explanation = nil
		p.leg(n, &q)
		switch {
		case q.unknown != "":
			if found == nil {
				why = q.unknown
			}
		case found == nil:
			found, explained = &q, p.price.Explanation
		case q.price.amount != found.price.amount || q.chosen.group != found.chosen.group:
			differ, why = true, "the fare depends on where the ride begins or ends, and the journey does not say"
		}
	}
	if found == nil || differ {
		e.unknown = why
		p.price.Explanation = append(said, Step{Op: "unknown", Leg: n, Text: why})
		return
	}
	rides := e.rides
	*e = *found
	e.rides = rides
	p.price.Explanation = append(said, explained...)
}

// areaSets gives the areas that a stop can have, each combination once, as far as
// a column of rules tells them apart.
func (f *fares) areaSets(listed map[string]bool) [][]string {
	if len(listed) == 0 {
		return [][]string{nil}
	}
	sets := map[string][]string{}
	add := func(areas []string) { sets[strings.Join(areas, "\x00")] = areas }
	for stop := range f.stopAreas {
		add(f.areasOf(stop))
	}
	for stop := range f.stops {
		add(f.areasOf(stop))
	}
	if len(sets) == 0 {
		for area := range listed {
			add([]string{area})
		}
	}
	if !f.stopsKnown {
		add(nil)
	}
	out := make([][]string, 0, len(sets))
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		out = append(out, sets[key])
	}
	return out
}

// Places gives one stop for each combination of areas and time zone that stops of the
// feed have, in order; of a feed without stops its areas.
func (f *Feed) Places() []string {
	first := map[string]string{}
	consider := func(stop string) {
		key := strings.Join(f.areasOf(stop), "\x00")
		if zone := f.zoneOf(stop); zone != nil {
			key += "\x00\x00" + zone.String()
		}
		if known, ok := first[key]; !ok || stop < known {
			first[key] = stop
		}
	}
	for stop := range f.stops {
		consider(stop)
	}
	for stop := range f.stopAreas {
		consider(stop)
	}
	if len(first) > 0 {
		return slices.Sorted(maps.Values(first))
	}
	areas := maps.Clone(f.areas)
	if len(areas) == 0 {
		maps.Copy(areas, f.listed.from)
		maps.Copy(areas, f.listed.to)
	}
	return slices.Sorted(maps.Keys(areas))
}

// PlaceIDs gives every stop and every area that a journey can name, in order.
func (f *Feed) PlaceIDs() []string {
	ids := map[string]bool{}
	for stop := range f.stops {
		ids[stop] = true
	}
	for stop := range f.stopAreas {
		ids[stop] = true
	}
	for _, list := range []map[string]bool{f.areas, f.listed.from, f.listed.to} {
		for area := range list {
			if p := f.place(area); p.known && len(p.areas) > 0 {
				ids[area] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// HasStops reports whether the feed names its stops: no other is one of it then.
func (f *Feed) HasStops() bool { return f.stopsKnown }

// Networks gives the networks that the feed defines, in order.
func (f *Feed) Networks() []string {
	ids := maps.Clone(f.networks)
	maps.Copy(ids, f.listed.network)
	return slices.Sorted(maps.Keys(ids))
}

// Areas gives the areas of a stop, or an area itself.
func (f *Feed) Areas(place string) []string { return f.place(place).areas }

// HasPlace reports whether the feed has a stop or an area of that id.
func (f *Feed) HasPlace(id string) bool {
	p := f.place(id)
	_, stop := f.stops[id]
	return id != "" && (stop || len(p.areas) > 0)
}

// HasRoute reports whether the feed says in which network the route is.
func (f *Feed) HasRoute(id string) bool { _, ok := f.routes[id]; return ok }

// HasNetwork reports whether the feed defines the network.
func (f *Feed) HasNetwork(id string) bool { return f.networks[id] || f.listed.network[id] }

// HasRoutes reports whether the feed tells routes or networks apart at all.
func (f *Feed) HasRoutes() bool {
	return len(f.routes) > 0 || len(f.networks) > 0 || len(f.listed.network) > 0
}

// Routes gives the routes whose network the feed says, in order.
func (f *Feed) Routes() []string { return slices.Sorted(maps.Keys(f.routes)) }

// DefaultRider gives the category of riders who name none: "" where there is none.
func (f *Feed) DefaultRider() string {
	for _, id := range slices.Sorted(maps.Keys(f.riders)) {
		if f.riders[id] {
			return id
		}
	}
	return ""
}

// HasMedia reports whether the feed has the fare medium.
func (f *Feed) HasMedia(id string) bool { _, ok := f.media[id]; return ok }

// Combines reports whether the price of several rides is not the sum of theirs.
func (f *Feed) Combines() bool { return len(f.joins)+len(f.transfers) > 0 }

// Timed reports whether a price depends on the day or the time of day.
func (f *Feed) Timed() bool {
	return slices.ContainsFunc(f.legRules, func(r legRule) bool { return r.fromFrame != "" || r.toFrame != "" })
}

// Zoned reports whether the feed names the time zone of its places.
func (f *Feed) Zoned() bool { return f.zone != nil }

// Currencies gives the currencies of the products, in order.
func (f *Feed) Currencies() []string {
	out := map[string]bool{}
	for _, rows := range f.products {
		for _, p := range rows {
			out[string(p.amount.Currency)] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// Riders gives the rider categories of the feed, in order.
func (f *Feed) Riders() []string { return slices.Sorted(maps.Keys(f.riders)) }

// Reads reports whether a file is one of those that prices are read from.
func Reads(file string) bool {
	name, isText := strings.CutSuffix(file, ".txt")
	_, ok := specs[name]
	return isText && ok
}

// Amounts gives, in minor units, what a single leg can cost a rider on a medium,
// wherever and whenever it is, in the order of the leg rules.
func (f *Feed) Amounts(rider, media string) (out []int64) {
	p := pricing{fares: &f.fares, journey: &Journey{Rider: rider, Media: media}}
	for _, r := range f.legRules {
		if row, ok := p.sold(r.product); ok {
			out = append(out, row.amount.Minor)
		}
	}
	return out
}

// Columns gives the columns that the reference has for a file of fares, by its name
// without .txt.
func Columns(table string) []string { return slices.Clone(specs[table].columns) }

// asked are the columns of other files that prices are read from.
var asked = map[string][]string{
	"agency": {"agency_timezone"}, "stops": {"stop_id", "parent_station", "stop_timezone"}, "routes": {"route_id", "network_id"},
	"calendar": append([]string{"service_id", "start_date", "end_date"}, weekdays[:]...), "calendar_dates": {"service_id", "date", "exception_type"},
}

// Text gives the feed as texts of files that [ReadFiles] reads: the files of fares
// whole, of the others the columns that prices are read from. Files without a row
// that prices can be read from are left out.
func (f *Feed) Text() (map[string]string, error) {
	out := make(map[string]string, len(f.Tables))
	for _, t := range f.Tables {
		short := t
		if !specs[t.Name].fare {
			short = t.only(asked[t.Name])
		}
		if len(short.Columns) == 0 || len(t.Rows) == 0 && t.Name != "stops" {
			continue
		}
		raw, err := short.encode()
		if err != nil {
			return nil, err
		}
		out[t.Name+".txt"] = string(raw)
	}
	return out, nil
}

// only gives the table with some of its columns.
func (t *Table) only(columns []string) *Table {
	out := &Table{Name: t.Name, Rows: make([][]string, len(t.Rows))}
	for at, column := range t.Columns {
		if !slices.Contains(columns, column) {
			continue
		}
		out.Columns = append(out.Columns, column)
		for i, row := range t.Rows {
			out.Rows[i] = append(out.Rows[i], row[at])
		}
	}
	return out
}
