package ridership

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
)

// The tables of counts.
const (
	TableActivities = "station_activities"
	TableBoardings  = "boardings"
	TableOD         = "od"
	TableTransfers  = "transfers"
)

// The kinds of boardings.
const (
	entries = "entries"
	exits   = "exits"
)

// other is the line under which small lines are counted together.
const other = "(other)"

// Tables gives the protected tables of what was counted: station_activities in the
// form of TIDES, boardings, od and transfers. A suppressed count is empty, a name
// that is empty is a total, and what never happened is left out.
func (t *Tally) Tables() []Rows { return t.tables((*network).protect) }

func (t *Tally) tables(protect func(*network) bool) []Rows {
	f := t.flows()
	protect(f.net) // a way round is always there: see flows
	boardings := Rows{Name: TableBoardings, Columns: []string{"date", "stop", "hour", "kind", "count"}}
	for _, side := range []struct {
		kind   string
		counts map[place]*number
		at     map[place]int32
	}{{entries, t.entries, f.entries}, {exits, t.exits, f.exits}} {
		for p, c := range side.counts {
			boardings.Rows = append(boardings.Rows, []string{p.date, p.stop, p.hour, side.kind, f.net.shown(c.n, side.at[p])})
		}
	}
	od := Rows{Name: TableOD, Columns: []string{"from_stop", "to_stop", "count"}}
	for p, c := range t.od {
		od.Rows = append(od.Rows, []string{p.from, p.to, f.net.shown(c.n, f.od[p])})
	}
	for stop, c := range t.odFrom {
		od.Rows = append(od.Rows, []string{stop, "", f.net.shown(c.n, f.odFrom[stop])})
	}
	for stop, c := range t.odTo {
		od.Rows = append(od.Rows, []string{"", stop, f.net.shown(c.n, f.odTo[stop])})
	}
	tables := []Rows{t.activities(f), boardings, od, t.changes(protect)}
	for i := range tables {
		slices.SortFunc(tables[i].Rows, slices.Compare[[]string])
	}
	return tables
}

// shown gives a count as it is published.
func (w *network) shown(n int, at int32) string {
	if w.edges[at].hidden {
		return missing
	}
	return strconv.Itoa(n)
}

// flows are the counts of boardings and of origins and destinations in one network,
// and where in it each is.
type flows struct {
	net            *network
	entries, exits map[place]int32
	od             map[pair]int32
	odFrom, odTo   map[string]int32
}

// A spot is a node: before a date, an hour, a stop's day, a stop, behind it, and in
// the table of rides. Side is 0 for entering and 1 for leaving.
type spot struct {
	side                   int
	what, stop, date, hour string
}

// flows makes the network of boardings and rides.
//
// From the outside all entries go into their dates, hours, days of stops and stops.
// Behind a stop they part: into the rides that start there and end somewhere, and,
// if there are any, into those that do not, which go outside again. Rides go on to
// where they end, where those join them whose beginning is not known; and from
// stops, their days, hours and dates they go outside. Every count has a way round
// along the directions of counts above 0, so that protect never fails.
func (t *Tally) flows() *flows {
	f := &flows{net: &network{}, entries: map[place]int32{}, exits: map[place]int32{}, od: map[pair]int32{}, odFrom: map[string]int32{}, odTo: map[string]int32{}}
	nodes := map[spot]int32{}
	node := func(s spot) int32 {
		n, ok := nodes[s]
		if !ok {
			n = f.net.node()
			nodes[s] = n
		}
		return n
	}
	outside := node(spot{what: "outside"})
	for side, counts := range []map[place]*number{t.entries, t.exits} {
		at := []map[place]int32{f.entries, f.exits}[side]
		for _, p := range slices.SortedFunc(maps.Keys(counts), comparePlaces) {
			c := counts[p]
			from, to := p.ends(side)
			e := edge{from: node(from), to: node(to), n: c.n, few: !c.many}
			if p.date == "" && p.stop != "" {
				e.held = t.held[side][p.stop]
			}
			if side == 1 {
				e.from, e.to = e.to, e.from
			}
			at[p] = f.net.add(e)
			if p.date != "" || p.stop == "" {
				continue
			}
			// what of a stop is in no ride from stop to stop
			totals := []map[string]*number{t.odFrom, t.odTo}[side]
			rest := edge{from: node(to), to: outside, n: c.n - countOf(totals[p.stop]), free: true}
			if rest.held = t.heldOpen[p.stop]; side == 1 {
				rest.from, rest.to, rest.held = rest.to, rest.from, 0
			}
			if rest.n > 0 {
				f.net.add(rest)
			}
		}
	}
	for _, stop := range slices.Sorted(maps.Keys(t.odFrom)) {
		f.odFrom[stop] = f.net.add(edge{from: node(spot{what: "rides", stop: stop}), to: node(spot{what: "from", stop: stop}), n: t.odFrom[stop].n, few: !t.odFrom[stop].many})
	}
	for _, p := range slices.SortedFunc(maps.Keys(t.od), comparePairs) {
		f.od[p] = f.net.add(edge{from: node(spot{what: "from", stop: p.from}), to: node(spot{what: "to", stop: p.to}), n: t.od[p].n, few: !t.od[p].many})
	}
	for _, stop := range slices.Sorted(maps.Keys(t.odTo)) {
		f.odTo[stop] = f.net.add(edge{from: node(spot{what: "to", stop: stop}), to: node(spot{side: 1, what: "rides", stop: stop}), n: t.odTo[stop].n, few: !t.odTo[stop].many})
	}
	return f
}

// ends gives the nodes between which a count of entries is; of exits the other way
// round.
func (p place) ends(side int) (from, to spot) {
	at := func(what string, p place) spot { return spot{side, what, p.stop, p.date, p.hour} }
	outside, all := spot{what: "outside"}, at("all", place{})
	switch {
	case p.stop == "" && p.date == "":
		return outside, all
	case p.stop == "" && p.hour == "":
		return all, at("date", p)
	case p.stop == "":
		return at("date", place{date: p.date}), at("hour", p)
	case p.date == "":
		return at("stop", p), at("rides", p)
	case p.hour == "":
		return at("day", p), at("stop", place{stop: p.stop})
	default:
		return at("hour", place{date: p.date, hour: p.hour}), at("day", place{stop: p.stop, date: p.date})
	}
}

func countOf(c *number) int {
	if c == nil {
		return 0
	}
	return c.n
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.hour, b.hour), cmp.Compare(a.stop, b.stop))
}

func comparePairs(a, b pair) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) }

// changes gives the protected table of transfers.
//
// It has a network of its own. What ties it to the others is that no more people
// change to a line than board it, and from a line than end a ride on it; so totals
// are only raised where MinCell more could have changed, and entries and exits are
// never lowered below those that are known to have (flows). Lines where that many
// could not have are counted together.
func (t *Tally) changes(protect func(*network) bool) Rows {
	out := Rows{Name: TableTransfers, Columns: []string{"from_line", "to_line", "count"}}
	small := func(totals map[string]*number, all map[string]int) map[string]string {
		named := map[string]string{}
		for line, c := range totals {
			named[line] = line
			if all[line]-c.n < MinCell {
				named[line] = other
			}
		}
		return named
	}
	fromName, toName := small(t.changeFrom, t.ended), small(t.changeTo, t.begun)
	cells, sides := map[pair]*number{}, [2]map[string]*number{{}, {}}
	for p, c := range t.transfers {
		merge(cells, pair{fromName[p.from], toName[p.to]}, c)
	}
	for line, c := range t.changeFrom {
		merge(sides[0], fromName[line], c)
	}
	for line, c := range t.changeTo {
		merge(sides[1], toName[line], c)
	}
	net, nodes := &network{}, [2]map[string]int32{{}, {}}
	outside := net.node()
	at, totals := map[pair]int32{}, [2]map[string]int32{{}, {}}
	for side, names := range sides {
		free := map[string]int{} // how many more could have changed
		for line, name := range []map[string]string{fromName, toName}[side] {
			free[name] += []map[string]int{t.ended, t.begun}[side][line] - []map[string]*number{t.changeFrom, t.changeTo}[side][line].n
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			nodes[side][name] = net.node()
			e := edge{from: outside, to: nodes[side][name], n: names[name].n, few: !names[name].many, rigid: free[name] < MinCell}
			if side == 1 {
				e.from, e.to = e.to, e.from
			}
			totals[side][name] = net.add(e)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(cells), comparePairs) {
		at[p] = net.add(edge{from: nodes[0][p.from], to: nodes[1][p.to], n: cells[p].n, few: !cells[p].many})
	}
	if !protect(net) {
		out.Rows = [][]string{{"", "", missing}} // not even how many there are
		return out
	}
	for p, c := range cells {
		out.Rows = append(out.Rows, []string{p.from, p.to, net.shown(c.n, at[p])})
	}
	for name, c := range sides[0] {
		out.Rows = append(out.Rows, []string{name, "", net.shown(c.n, totals[0][name])})
	}
	for name, c := range sides[1] {
		out.Rows = append(out.Rows, []string{"", name, net.shown(c.n, totals[1][name])})
	}
	return out
}

// merge adds a count to another. Riders who are in several lines may be taken for
// several while both are few, never once either is known to have enough.
func merge[K comparable](to map[K]*number, key K, c *number) {
	into := to[key]
	if into == nil {
		into = &number{}
		to[key] = into
	}
	into.n += c.n
	into.many = into.many || c.many
	for _, who := range c.riders {
		into.add(who, 0)
	}
}

// activities says the entries and exits of stops in the form of TIDES. What is
// suppressed is missing there.
func (t *Tally) activities(f *flows) Rows {
	out := Rows{Name: TableActivities, Columns: []string{"service_date", "stop_id", "time_period_start", "time_period_end", "total_entries", "total_exits"}}
	at := map[place]bool{}
	for _, counts := range []map[place]*number{t.entries, t.exits} {
		for p := range counts {
			if p.stop != "" && p.hour != "" {
				at[p] = true
			}
		}
	}
	for p := range at {
		in, outs := "0", "0"
		if c := t.entries[p]; c != nil {
			in = f.net.shown(c.n, f.entries[p])
		}
		if c := t.exits[p]; c != nil {
			outs = f.net.shown(c.n, f.exits[p])
		}
		out.Rows = append(out.Rows, []string{p.date, p.stop, p.hour, hourAfter(p.hour), in, outs})
	}
	return out
}
