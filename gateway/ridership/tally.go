package ridership

import (
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// TransferWithin is how long after a ride's last tap the next boarding counts as
// a transfer.
const TransferWithin = time.Hour

// A Kind is what a tap does.
type Kind int

// The kinds: entering, leaving, and boarding without leaving.
const (
	On Kind = iota + 1
	Off
	Single
)

// A Tap is an accepted tap of the tenant.
type Tap struct {
	ID      citygate.TapID
	Kind    Kind
	At      time.Time
	Date    citygate.Date // business date
	Rider   citygate.Rider
	Party   int // people on the code
	Stop    string
	Route   string
	Vehicle string
}

// people gives how many a tap counts.
func (t *Tap) people() int { return max(t.Party, 1) }

// line names what a tap was on: the route, or the stop of a gate without one.
func (t *Tap) line() string {
	if t.Route != "" {
		return t.Route
	}
	return t.Stop
}

// A Ride is a journey as it was decided: its first and its last tap, which are one
// where it has one, nil where they are not of the period.
type Ride struct {
	First, Last *Tap
}

// A number is a count of people and whether enough riders are behind it. Of the
// riders it remembers no more than it needs.
type number struct {
	n      int
	riders []citygate.Rider
	many   bool // at least MinCell riders
}

func (c *number) add(who citygate.Rider, n int) {
	c.n += n
	if c.many || slices.Contains(c.riders, who) {
		return
	}
	if c.riders = append(c.riders, who); len(c.riders) >= MinCell {
		c.many, c.riders = true, nil
	}
}

// A place is a cell of the boardings or a total of them: what is empty is summed
// over. Time is the start of an hour, as RFC 3339.
type place struct{ stop, date, hour string }

// A pair is a cell of origins and destinations or of transfers.
type pair struct{ from, to string }

// A Tally counts the taps and rides of a period.
type Tally struct {
	zone *time.Location

	entries, exits       map[place]*number
	od                   map[pair]*number
	odFrom, odTo         map[string]*number // totals of od
	transfers            map[pair]*number
	changeFrom, changeTo map[string]*number // totals of transfers: out of a line, into a line

	begun, ended map[string]int    // people whose rides begin, and end, on a line
	held         [2]map[string]int // people at a stop who are part of a transfer: entering, leaving
	heldOpen     map[string]int    // those of them who entered and of whom no end of the ride is known

	prior      Ride // the ride before, of the same rider if any
	priorRider citygate.Rider
}

// NewTally counts in the local time of zone.
func NewTally(zone *time.Location) *Tally {
	t := &Tally{
		zone: zone, entries: map[place]*number{}, exits: map[place]*number{}, od: map[pair]*number{}, odFrom: map[string]*number{}, odTo: map[string]*number{},
		transfers: map[pair]*number{}, changeFrom: map[string]*number{}, changeTo: map[string]*number{}, begun: map[string]int{}, ended: map[string]int{},
	}
	t.held, t.heldOpen = [2]map[string]int{{}, {}}, map[string]int{}
	return t
}

func add[K comparable](to map[K]*number, key K, who citygate.Rider, n int) {
	c := to[key]
	if c == nil {
		c = &number{}
		to[key] = c
	}
	c.add(who, n)
}

// Tap counts a tap of the period. Taps without a stop are in no table of stops.
func (t *Tally) Tap(p *Tap) {
	if p.Stop == "" {
		return
	}
	to := t.entries
	if p.Kind == Off {
		to = t.exits
	}
	local := p.At.In(t.zone)
	since := time.Duration(local.Minute())*time.Minute + time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	date, hour := p.Date.String(), local.Add(-since).Format(time.RFC3339) // the hour of the local clock, whatever its offset
	for _, at := range [...]place{{p.Stop, date, hour}, {p.Stop, date, ""}, {p.Stop, "", ""}, {"", date, hour}, {"", date, ""}, {}} {
		add(to, at, p.Rider, p.people())
	}
}

// Ride counts a ride. The rides of one rider follow one another, in the order of
// their beginnings; a ride of which the period lacks an end is counted by neither.
func (t *Tally) Ride(r Ride) {
	if r.First == nil || r.Last == nil {
		return
	}
	who := r.First.Rider
	if r.First.Kind == On && r.Last.Kind == Off && r.First.Stop != "" && r.Last.Stop != "" {
		n := min(r.First.people(), r.Last.people())
		add(t.od, pair{r.First.Stop, r.Last.Stop}, who, n)
		add(t.odFrom, r.First.Stop, who, n)
		add(t.odTo, r.Last.Stop, who, n)
	}
	t.ended[r.Last.line()] += r.Last.people()
	if r.First.Kind != Off {
		t.begun[r.First.line()] += r.First.people()
		if p := t.prior.Last; p != nil && t.priorRider == who && !r.First.At.Before(p.At) && r.First.At.Sub(p.At) <= TransferWithin {
			t.transfer(p, r.First)
		}
	}
	t.prior, t.priorRider = r, who
}

func (t *Tally) transfer(from, to *Tap) {
	a, b := from.line(), to.line()
	if a == "" || b == "" {
		return
	}
	n := min(from.people(), to.people())
	add(t.transfers, pair{a, b}, to.Rider, n)
	add(t.changeFrom, a, to.Rider, n)
	add(t.changeTo, b, to.Rider, n)
	t.held[0][to.Stop] += n
	if from.Kind == Off {
		t.held[1][from.Stop] += n
	} else {
		t.held[0][from.Stop] += n
		t.heldOpen[from.Stop] += n
	}
}
