package ridership

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
)

// An attacker has everything that was published of a period and writes down all
// that he knows of it as linear equations: sums of the tables, sums across tables,
// and that no suppressed count is below 1. He is also told what nobody publishes,
// which stops have no ride without its other end. His variables are counts.
type attacker struct {
	at     map[string]int // variable by name
	names  []string
	fixed  []float64 // NaN: not known
	secret []bool    // a count that was suppressed
	sums   [][]int   // variables, the last of which is the sum of the others
}

func (a *attacker) variable(name string) int {
	i, ok := a.at[name]
	if !ok {
		i = len(a.names)
		a.at[name], a.names, a.fixed, a.secret = i, append(a.names, name), append(a.fixed, math.NaN()), append(a.secret, false)
	}
	return i
}

// learn takes a published count.
func (a *attacker) learn(name, count string) {
	i := a.variable(name)
	if count == missing {
		a.secret[i] = true
		return
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		panic(err)
	}
	a.fixed[i] = float64(n)
}

// add says that parts make a total. What was never published is 0.
func (a *attacker) add(total string, parts ...string) {
	var sum []int
	for _, p := range parts {
		if i, ok := a.at[p]; ok {
			sum = append(sum, i)
		}
	}
	if i, ok := a.at[total]; ok || len(sum) > 0 {
		if !ok {
			i = a.variable(total)
		}
		a.sums = append(a.sums, append(sum, i))
	}
}

// read makes the equations of published tables. rest gives what of the entries
// (side 0) and exits (side 1) of a stop is in no ride: he is told where that is 0.
func read(tables []Rows, rest func(side int, stop string) int) *attacker {
	a := &attacker{at: map[string]int{}}
	var dates, stops, hours []string
	know := func(to *[]string, v string) {
		if v != "" && !slices.Contains(*to, v) {
			*to = append(*to, v)
		}
	}
	lines := [2][]string{}
	withheld := false
	for _, table := range tables {
		for _, r := range table.Rows {
			switch table.Name {
			case TableBoardings:
				know(&dates, r[0])
				know(&stops, r[1])
				know(&hours, r[2])
				a.learn(fmt.Sprint(r[3], r[:3]), r[4])
			case TableOD:
				a.learn(fmt.Sprint("od", r[:2]), r[2])
			case TableTransfers:
				if r[0] == "" && r[1] == "" {
					withheld = true
					continue
				}
				know(&lines[0], r[0])
				know(&lines[1], r[1])
				a.learn(fmt.Sprint("change", r[:2]), r[2])
			}
		}
	}
	sum := func(kind, total string, over []string, row func(v string) []string) {
		var parts []string
		for _, v := range over {
			parts = append(parts, fmt.Sprint(kind, row(v)))
		}
		a.add(total, parts...)
	}
	for side, kind := range []string{entries, exits} {
		for _, s := range append(slices.Clone(stops), "") {
			for _, d := range dates {
				sum(kind, fmt.Sprint(kind, []string{d, s, ""}), hours, func(h string) []string { return []string{d, s, h} })
			}
			sum(kind, fmt.Sprint(kind, []string{"", s, ""}), dates, func(d string) []string { return []string{d, s, ""} })
		}
		for _, d := range append(slices.Clone(dates), "") {
			for _, h := range append(slices.Clone(hours), "") {
				if d != "" || h == "" {
					sum(kind, fmt.Sprint(kind, []string{d, "", h}), stops, func(s string) []string { return []string{d, s, h} })
				}
			}
		}
		for _, s := range stops { // across tables: boardings less the rides from there
			cell := []string{s, ""}
			if side == 1 {
				cell = []string{"", s}
			}
			sum("od", fmt.Sprint("od", cell), stops, func(other string) []string {
				if side == 1 {
					return []string{other, s}
				}
				return []string{s, other}
			})
			left := fmt.Sprint("rest", side, s)
			if rest(side, s) > 0 {
				a.secret[a.variable(left)] = false // unknown, at least 1
			}
			if _, ok := a.at[fmt.Sprint(kind, []string{"", s, ""})]; ok {
				a.add(fmt.Sprint(kind, []string{"", s, ""}), fmt.Sprint("od", cell), left)
			}
		}
	}
	if !withheld {
		a.changes(lines, stops)
	}
	return a
}

// changes adds transfers: lines are stops here, and no more change to a stop than
// enter it, or from one than leave it.
func (a *attacker) changes(lines [2][]string, stops []string) {
	for side, kind := range []string{exits, entries} {
		bound := func(s string) []string {
			if side == 0 { // or it was a ride without an exit
				return []string{fmt.Sprint(kind, []string{"", s, ""}), fmt.Sprint("rest", 0, s)}
			}
			return []string{fmt.Sprint(kind, []string{"", s, ""})}
		}
		var small []string
		for _, s := range stops {
			if !slices.Contains(lines[side], s) {
				small = append(small, bound(s)...)
			}
		}
		for _, line := range lines[side] {
			cell := func(o string) []string {
				if side == 0 {
					return []string{line, o}
				}
				return []string{o, line}
			}
			var parts []string
			for _, o := range lines[1-side] {
				parts = append(parts, fmt.Sprint("change", cell(o)))
			}
			total := fmt.Sprint("change", cell(""))
			a.add(total, parts...)
			within := bound(line)
			if line == other {
				within = small
			}
			all := fmt.Sprint("all", side, line)
			a.variable(all)
			a.add(all, within...)
			more := fmt.Sprint("more", side, line)
			a.secret[a.variable(more)] = false
			a.add(all, total, more)
		}
	}
}

// free reports whether a variable may be 0: what no table lists.
func (a *attacker) free(i int) bool { return !a.secret[i] && math.IsNaN(a.fixed[i]) }

// widths gives, for each suppressed count, how far apart the smallest and the
// largest value are that fit everything: linear programs, by the simplex method
// with Bland's rule.
func (a *attacker) widths() map[string][2]float64 {
	var columns []int // unknown variables
	column := map[int]int{}
	for i := range a.names {
		if math.IsNaN(a.fixed[i]) {
			column[i] = len(columns)
			columns = append(columns, i)
		}
	}
	low := func(i int) float64 {
		if a.free(i) {
			return 0
		}
		return 1
	}
	var s simplex
	for _, sum := range a.sums {
		line := make([]float64, len(columns)+1)
		any := false
		for k, i := range sum {
			sign := 1.0
			if k == len(sum)-1 {
				sign = -1
			}
			if c, ok := column[i]; ok {
				line[c] += sign
				line[len(columns)] -= sign * low(i)
				any = true
			} else {
				line[len(columns)] -= sign * a.fixed[i]
			}
		}
		if any {
			s.lines = append(s.lines, line)
		} else if math.Abs(line[len(columns)]) > 1e-6 {
			panic(fmt.Sprintf("the equations do not hold: %v", sum))
		}
	}
	s.start(len(columns))
	found := map[string][2]float64{}
	for c, i := range columns {
		if a.secret[i] {
			found[a.names[i]] = [2]float64{low(i) - s.best(c, -1), low(i) + s.best(c, 1)}
		}
	}
	return found
}

// A simplex holds lines of equations over variables that are not negative, each
// with its right side last, in the form of a basis.
type simplex struct {
	lines [][]float64
	basis []int
	n     int
}

const almost = 1e-7

// start finds a first solution, by artificial variables that are then forbidden.
func (s *simplex) start(n int) {
	m := len(s.lines)
	s.basis = make([]int, m)
	for r, line := range s.lines {
		if line[n] < 0 {
			for c := range line {
				line[c] = -line[c]
			}
		}
		wide := make([]float64, n+m+1)
		copy(wide, line[:n])
		wide[n+r], wide[n+m] = 1, line[n]
		s.lines[r], s.basis[r] = wide, n+r
	}
	s.n = n + m
	costs := make([]float64, s.n)
	for c := n; c < n+m; c++ {
		costs[c] = -1
	}
	if v := s.maximise(costs); v < -almost {
		panic(fmt.Sprintf("the truth does not fit the equations: %g", v))
	}
	for r := range s.lines { // artificial ones leave, or their lines say nothing
		if s.basis[r] < n {
			continue
		}
		if c := slices.IndexFunc(s.lines[r][:n], func(v float64) bool { return math.Abs(v) > almost }); c >= 0 {
			s.pivot(r, c)
		}
	}
	keep := s.lines[:0]
	var basis []int
	for r, line := range s.lines {
		if s.basis[r] < n {
			keep, basis = append(keep, append(line[:n:n], line[n+m])), append(basis, s.basis[r])
		}
	}
	s.lines, s.basis, s.n = keep, basis, n
}

// best gives the largest value of sign times a variable.
func (s *simplex) best(c int, sign float64) float64 {
	costs := make([]float64, s.n)
	costs[c] = sign
	return s.maximise(costs)
}

func (s *simplex) maximise(costs []float64) float64 {
	for {
		enter := -1
		for c := range s.n {
			gain := costs[c]
			for r, b := range s.basis {
				gain -= costs[b] * s.lines[r][c]
			}
			if gain > almost {
				enter = c
				break
			}
		}
		if enter < 0 {
			v := 0.0
			for r, b := range s.basis {
				v += costs[b] * s.lines[r][s.n]
			}
			return v
		}
		leave, least := -1, math.Inf(1)
		for r, line := range s.lines {
			if line[enter] > almost {
				if ratio := line[s.n] / line[enter]; ratio < least-almost || ratio < least+almost && s.basis[r] < s.basis[leave] {
					leave, least = r, ratio
				}
			}
		}
		if leave < 0 {
			return math.Inf(1)
		}
		s.pivot(leave, enter)
	}
}

func (s *simplex) pivot(r, c int) {
	by := s.lines[r][c]
	for k := range s.lines[r] {
		s.lines[r][k] /= by
	}
	for i := range s.lines {
		if f := s.lines[i][c]; i != r && f != 0 {
			for k := range s.lines[i] {
				s.lines[i][k] -= f * s.lines[r][k]
			}
		}
	}
	s.basis[r] = c
}

// city plays random riders between stops over some days and gives the tally.
func city(seed uint64) *Tally {
	r := rand.New(rand.NewPCG(seed, 5))
	start := time.Date(2026, 11, 16, 8, 0, 0, 0, time.UTC)
	stops := []string{"a", "b", "c", "d"}[:2+r.IntN(3)]
	type trip struct {
		rides []Ride
		taps  []*Tap
	}
	var trips []trip
	next := uint32(0)
	tap := func(kind Kind, at time.Time, who uint32, party int, stop string) *Tap {
		next++
		return &Tap{ID: citygate.TapID{Terminal: 1, Seq: uint64(next)}, Kind: kind, At: at, Date: citygate.DateOf(at), Rider: citygate.Rider{Issuer: 1, Index: who}, Party: party, Stop: stop}
	}
	rider := uint32(0)
	amounts := []int{0, 0, 0, 1, 2, 3, 9, 10, 11, 25, 40}
	for day := range 1 + r.IntN(2) {
		for range 1 + r.IntN(6) {
			at := start.AddDate(0, 0, day).Add(time.Duration(r.IntN(2)) * time.Hour)
			from, to, on := stops[r.IntN(len(stops))], stops[r.IntN(len(stops))], stops[r.IntN(len(stops))]
			kind, party, regular := r.IntN(7), 1+2*(r.IntN(8)/7), r.IntN(8) == 0
			for range amounts[r.IntN(len(amounts))] {
				if !regular {
					rider++
				}
				var t trip
				in := tap(On, at, rider, party, from)
				out := tap(Off, at.Add(20*time.Minute), rider, 1, to)
				switch kind {
				case 0: // never tapped out
					t.taps, t.rides = []*Tap{in}, []Ride{{in, in}}
				case 1: // a lone exit
					t.taps, t.rides = []*Tap{out}, []Ride{{out, out}}
				case 2: // and goes on within the hour
					in2, out2 := tap(On, at.Add(30*time.Minute), rider, 1, to), tap(Off, at.Add(50*time.Minute), rider, 1, on)
					t.taps, t.rides = []*Tap{in, out, in2, out2}, []Ride{{in, out}, {in2, out2}}
				case 3: // likewise, without an exit between
					in2, out2 := tap(On, at.Add(30*time.Minute), rider, 1, to), tap(Off, at.Add(50*time.Minute), rider, 1, on)
					t.taps, t.rides = []*Tap{in, in2, out2}, []Ride{{in, in}, {in2, out2}}
				default:
					t.taps, t.rides = []*Tap{in, out}, []Ride{{in, out}}
				}
				trips = append(trips, t)
			}
			rider++
		}
	}
	tally := NewTally(time.UTC)
	for _, t := range trips {
		for _, p := range t.taps {
			tally.Tap(p)
		}
		for _, ride := range t.rides {
			tally.Ride(ride)
		}
	}
	return tally
}

// rests gives what of the entries and exits of a stop is in no ride.
func (t *Tally) rests(side int, stop string) int {
	if side == 0 {
		return countOf(t.entries[place{stop: stop}]) - countOf(t.odFrom[stop])
	}
	return countOf(t.exits[place{stop: stop}]) - countOf(t.odTo[stop])
}

const cities = 600

// TestNobodyNarrowsACount: with all tables of a period, their sums and what ties one
// table to another, no suppressed count can be had, nor bounds of it that are less
// than MinCell apart.
func TestNobodyNarrowsACount(t *testing.T) {
	suppressed, shown, changes := 0, 0, 0
	for seed := range uint64(cities) {
		tally := city(seed)
		tables := tally.Tables()
		a := read(tables, tally.rests)
		for name, bounds := range a.widths() {
			suppressed++
			if !(bounds[1]-bounds[0] >= MinCell-almost) {
				t.Errorf("city %d: %s is known to be between %g and %g", seed, name, bounds[0], bounds[1])
			}
		}
		for i := range a.names {
			if !math.IsNaN(a.fixed[i]) {
				shown++
			}
		}
		for _, table := range tables {
			if table.Name == TableTransfers {
				changes += len(table.Rows)
			}
		}
	}
	t.Logf("%d suppressed, %d shown, %d rows of transfers", suppressed, shown, changes)
	if suppressed < 500 || shown < 500 || changes < 100 {
		t.Errorf("%d suppressed, %d shown, %d rows of transfers: too few to mean anything", suppressed, shown, changes)
	}
}

// TestTheAttackerIsGood: with the small counts alone suppressed he finds many, also
// where each table by itself keeps them: the check above can fail.
func TestTheAttackerIsGood(t *testing.T) {
	alone := func(w *network) bool {
		for i := range w.edges {
			w.edges[i].hidden = w.edges[i].few && !w.edges[i].free
		}
		return true
	}
	found, all := 0, 0
	for seed := range uint64(30) {
		tally := city(seed)
		for _, bounds := range read(tally.tables(alone), tally.rests).widths() {
			all++
			if bounds[1]-bounds[0] < MinCell-almost {
				found++
			}
		}
	}
	if found < all/3 || found == 0 {
		t.Errorf("he narrows %d of %d counts that nothing else protects", found, all)
	}
	t.Logf("%d of %d", found, all)
}

// TestNoSmallCountIsShown: every count of fewer than MinCell riders is suppressed,
// whatever it counts, and what is shown is true.
func TestNoSmallCountIsShown(t *testing.T) {
	for seed := range uint64(cities) {
		tally := city(seed)
		for _, table := range tally.Tables() {
			for _, r := range table.Rows {
				var c *number
				switch table.Name {
				case TableBoardings:
					c = map[string]map[place]*number{entries: tally.entries, exits: tally.exits}[r[3]][place{r[1], r[0], r[2]}]
				case TableOD:
					c = map[bool]*number{true: tally.od[pair{r[0], r[1]}]}[r[0] != "" && r[1] != ""]
				}
				if c == nil || r[len(r)-1] == missing {
					continue
				}
				if !c.many || strconv.Itoa(c.n) != r[len(r)-1] {
					t.Errorf("city %d: %v of %s, which counts %d of %d riders", seed, r, table.Name, c.n, len(c.riders))
				}
			}
		}
	}
}

// Nine riders are few and ten are not, whatever they count.
func TestTenRidersAreEnough(t *testing.T) {
	for riders, want := range map[int]bool{MinCell - 1: false, MinCell: true} {
		var c number
		for range 3 {
			for who := range riders {
				c.add(citygate.Rider{Index: uint32(who)}, 5)
			}
		}
		if c.many != want || c.n != 15*riders {
			t.Errorf("%d of %d riders: %t", c.n, riders, c.many)
		}
	}
}

// What another table needs is not lowered, and what it bounds is not raised.
func TestTablesHoldEachOther(t *testing.T) {
	for _, c := range []struct {
		e    edge
		want bool
	}{
		{edge{n: 11}, true}, {edge{n: 10}, false}, {edge{n: 30, held: 20}, true}, {edge{n: 30, held: 21}, false}, {edge{n: 30, few: true}, false}, {edge{n: 11, free: true}, true},
	} {
		if got := c.e.lowers(); got != c.want {
			t.Errorf("%+v is lowered: %t", c.e, got)
		}
	}
	ring := func(back edge) *network {
		w := &network{}
		a, b := w.node(), w.node()
		w.add(edge{from: a, to: b, n: 3, few: true})
		back.from, back.to = b, a
		w.add(back)
		return w
	}
	if w := ring(edge{n: 50}); !w.protect() || !w.edges[1].hidden {
		t.Error("the one way round is not taken")
	}
	if w := ring(edge{n: 50, rigid: true}); w.protect() {
		t.Error("what may not be raised was a way round")
	}
	w := ring(edge{n: 50})
	w.edges[0].rigid = true
	if w.protect() {
		t.Error("a small count that may not be raised is protected")
	}
}

// Those who change at a stop, or ride on without an exit, are held there; and lines
// from or to which hardly anybody else rides are counted together.
// TestATransferIsWithinTheHour: the last instant of the hour belongs to it.
func TestATransferIsWithinTheHour(t *testing.T) {
	for after, want := range map[time.Duration]int{time.Hour: 1, time.Hour + 1: 0} {
		tally, at := NewTally(time.UTC), time.Date(2026, 11, 16, 8, 0, 0, 0, time.UTC)
		for i, when := range []time.Time{at, at.Add(after)} {
			p := &Tap{ID: citygate.TapID{Terminal: 1, Seq: uint64(i + 1)}, Kind: Single, At: when, Date: citygate.DateOf(at), Party: 1, Stop: "a", Route: fmt.Sprint(i)}
			tally.Tap(p)
			tally.Ride(Ride{p, p})
		}
		if len(tally.transfers) != want {
			t.Errorf("%s later: %d transfers, want %d", after, len(tally.transfers), want)
		}
	}
}

func TestTransfersAreHeld(t *testing.T) {
	tally, at, seq := NewTally(time.UTC), time.Date(2026, 11, 16, 8, 0, 0, 0, time.UTC), uint64(0)
	tap := func(kind Kind, after time.Duration, who int, stop string) *Tap {
		seq++
		p := &Tap{ID: citygate.TapID{Terminal: 1, Seq: seq}, Kind: kind, At: at.Add(after), Date: citygate.DateOf(at), Rider: citygate.Rider{Index: uint32(who)}, Party: 1, Stop: stop}
		tally.Tap(p)
		return p
	}
	for who := range 40 {
		open := tap(On, 0, who, "a") // never tapped out
		in, out := tap(On, 20*time.Minute, who, "b"), tap(Off, 40*time.Minute, who, "c")
		tally.Ride(Ride{open, open})
		tally.Ride(Ride{in, out})
		if who < 25 {
			last := tap(Single, 50*time.Minute, who, "d")
			tally.Ride(Ride{last, last})
		}
	}
	if tally.held[0]["a"] != 40 || tally.heldOpen["a"] != 40 || tally.held[0]["b"] != 40 || tally.heldOpen["b"] != 0 || tally.held[1]["c"] != 25 || tally.held[0]["d"] != 25 {
		t.Errorf("held %v, without an exit %v", tally.held, tally.heldOpen)
	}
	f := tally.flows()
	rests := 0
	for _, e := range f.net.edges {
		if e.free && e.held == 40 && e.n == 40 {
			rests++
		}
	}
	if rests != 1 {
		t.Errorf("%d counts of rides without an exit are held by the transfers from them", rests)
	}
	if e := f.net.edges[f.entries[place{stop: "b"}]]; e.lowers() {
		t.Errorf("entries at b, all of whom changed to it, can be lowered: %+v", e)
	}
	var names []string
	for _, r := range tally.changes((*network).protect).Rows {
		names = append(names, r[0]+">"+r[1])
	}
	slices.Sort(names)
	// all who entered at a and b, and all who boarded at b and d, changed; of those who
	// left at c 15 did not
	if want := []string{"(other)>", "(other)>(other)", ">(other)", "c>", "c>(other)"}; !slices.Equal(names, want) {
		t.Errorf("transfers %q, want %q", names, want)
	}
}
