package journey

import (
	"container/heap"
	"errors"
	"fmt"
	"math"
	"time"
)

// A Stop is a place with readers. Stops of one Station are one place: a change
// of platform or gate line is no ride. Latitude and longitude are millionths of
// a degree; both zero = unknown.
type Stop struct {
	ID      string `json:"id"`
	Station string `json:"station,omitempty"` // "" = the stop is a station of its own
	Lat     int64  `json:"lat_e6,omitempty"`
	Lon     int64  `json:"lon_e6,omitempty"`
}

// A Travel is the shortest time that anybody can take between two neighbouring
// stops, both ways. Between stops further apart it is the shortest path.
type Travel struct {
	From   string `json:"from"`
	To     string `json:"to"`
	MinSec int64  `json:"min_seconds"`
}

// Places knows stations and how fast anybody can be. It is immutable.
type Places struct {
	index map[string]int // stop -> its station's number
	names []string       // of stations: their first stop
	at    [][2]int64     // latitude, longitude of stations
	secs  []int32        // stations x stations: shortest travel time; unknown if negative
	speed int64          // km/h nobody exceeds; 0 = no bound by distance
	stay  int64          // seconds a plausible ride takes beyond the shortest time
	near  int64          // metres
}

const (
	stationsMost = 2_000
	unreachable  = int32(-1)
)

func newPlaces(d *Document) (*Places, error) {
	p := &Places{index: make(map[string]int), speed: d.MaxSpeedKMH, stay: d.MaxStaySec, near: d.NearMetres}
	stations := make(map[string]int)
	for i, s := range d.Stops {
		name := s.Station
		if name == "" {
			name = s.ID
		}
		switch _, known := p.index[s.ID]; {
		case s.ID == "" || known:
			return nil, fmt.Errorf("stops %d: the id %q is empty or taken", i+1, s.ID)
		case s.Lat < -90_000_000 || s.Lat > 90_000_000 || s.Lon < -180_000_000 || s.Lon > 180_000_000:
			return nil, fmt.Errorf("stop %s: lat_e6 and lon_e6 are millionths of a degree", s.ID)
		}
		n, known := stations[name]
		if !known {
			n = len(p.at)
			stations[name] = n
			p.at, p.names = append(p.at, [2]int64{s.Lat, s.Lon}), append(p.names, s.ID)
		} else if p.at[n] == ([2]int64{}) {
			p.at[n] = [2]int64{s.Lat, s.Lon}
		}
		p.index[s.ID] = n
	}
	if len(p.at) > stationsMost {
		return nil, fmt.Errorf("stops: %d stations are more than %d", len(p.at), stationsMost)
	}
	return p, p.shortest(d.Travel)
}

// shortest fills in the travel times of every pair of stations.
func (p *Places) shortest(links []Travel) error {
	n := len(p.at)
	type edge struct {
		to   int
		secs int32
	}
	out := make([][]edge, n)
	for i, l := range links {
		a, okA := p.index[l.From]
		b, okB := p.index[l.To]
		switch {
		case !okA || !okB:
			return fmt.Errorf("travel %d: %q or %q is not among the stops", i+1, l.From, l.To)
		case l.MinSec < 0 || l.MinSec > 86_400:
			return fmt.Errorf("travel %d: min_seconds is not from 0 to 86400", i+1)
		}
		out[a], out[b] = append(out[a], edge{b, int32(l.MinSec)}), append(out[b], edge{a, int32(l.MinSec)})
	}
	p.secs = make([]int32, n*n)
	for from := range n {
		row := p.secs[from*n : (from+1)*n]
		for i := range row {
			row[i] = unreachable
		}
		queue := &frontier{{from, 0}}
		for queue.Len() > 0 {
			next, ok := heap.Pop(queue).(reached)
			if !ok {
				return errors.New("travel: internal")
			}
			if row[next.station] != unreachable {
				continue
			}
			row[next.station] = next.secs
			for _, e := range out[next.station] {
				if row[e.to] == unreachable && next.secs < math.MaxInt32-e.secs {
					heap.Push(queue, reached{e.to, next.secs + e.secs})
				}
			}
		}
	}
	return nil
}

type reached struct {
	station int
	secs    int32
}

type frontier []reached

func (f frontier) Len() int           { return len(f) }
func (f frontier) Less(i, j int) bool { return f[i].secs < f[j].secs }
func (f frontier) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any) {
	if r, ok := x.(reached); ok {
		*f = append(*f, r)
	}
}

func (f *frontier) Pop() any {
	old := *f
	last := old[len(old)-1]
	*f = old[:len(old)-1]
	return last
}

// Station gives the name under which the stops of one station are one place.
func (p *Places) Station(stop string) string {
	if p == nil {
		return stop
	}
	if n, ok := p.index[stop]; ok {
		return p.names[n]
	}
	return stop
}

// Same reports whether two stops are one station. Two unknown places are not
// one place.
func (p *Places) Same(a, b string) bool { return a != "" && p.Station(a) == p.Station(b) }

// Near reports whether one walks from a to b as a matter of course.
func (p *Places) Near(a, b string) bool {
	if p.Same(a, b) {
		return true
	}
	metres, ok := p.Metres(a, b)
	return ok && p.near > 0 && metres <= p.near
}

// Metres gives the straight distance between two stops, a little low rather
// than high.
func (p *Places) Metres(a, b string) (int64, bool) {
	if p == nil {
		return 0, false
	}
	i, okA := p.index[a]
	j, okB := p.index[b]
	if !okA || !okB || p.at[i] == ([2]int64{}) || p.at[j] == ([2]int64{}) {
		return 0, false
	}
	return metres(p.at[i], p.at[j]), true
}

// metres is an equirectangular distance in integers, so that every machine has
// the same: the cosine is Bhaskara's, good to 0.2 %, and 1 % is taken off for it
// and for the shape of the earth.
func metres(a, b [2]int64) int64 {
	const perDegree = 111_195 // metres of a degree of a great circle
	mid := (a[0] + b[0]) / 2 / 1_000
	sq := mid * mid / 1_000_000 // square degrees
	cos := (32_400 - 4*sq) * 1_000_000 / (32_400 + sq)
	dLon := b[1] - a[1]
	if dLon > 180_000_000 {
		dLon -= 360_000_000
	} else if dLon < -180_000_000 {
		dLon += 360_000_000
	}
	y := (b[0] - a[0]) * perDegree / 1_000_000
	x := dLon * perDegree / 1_000_000 * cos / 1_000_000
	return root(x*x+y*y) * 99 / 100
}

// root is the integer square root.
func root(v int64) int64 {
	if v <= 0 {
		return 0
	}
	x := int64(1) << 32
	for {
		y := (x + v/x) / 2
		if y >= x {
			return x
		}
		x = y
	}
}

// MinTravel gives the shortest time between two stops that anybody can take,
// and false if nothing is known of it.
func (p *Places) MinTravel(a, b string) (time.Duration, bool) {
	if p == nil {
		return 0, false
	}
	i, okA := p.index[a]
	j, okB := p.index[b]
	if !okA || !okB {
		return 0, false
	}
	if secs := p.secs[i*len(p.at)+j]; secs != unreachable {
		return time.Duration(secs) * time.Second, true
	}
	if far, ok := p.Metres(a, b); ok && p.speed > 0 {
		return time.Duration(far*36/(p.speed*10)) * time.Second, true
	}
	return 0, false
}

// Judged reports whether the time from a stop to any other station is known, so
// that somebody can be too fast for it.
func (p *Places) Judged(stop string) bool {
	if p == nil {
		return false
	}
	i, ok := p.index[stop]
	if !ok {
		return false
	}
	for j := range p.at {
		reached := p.secs[i*len(p.at)+j] != unreachable
		placed := p.speed > 0 && p.at[i] != [2]int64{} && p.at[j] != [2]int64{}
		if j != i && (reached || placed) {
			return true
		}
	}
	return false
}

// possible reports whether somebody could be at b so long after having been at
// a. What is unknown is possible.
func (p *Places) possible(a, b string, elapsed int64) bool {
	shortest, ok := p.MinTravel(a, b)
	return !ok || elapsed >= shortest.Milliseconds()
}

// ride reports whether the time is known to fit a ride from a to b.
func (p *Places) ride(a, b string, elapsed int64) bool {
	shortest, ok := p.MinTravel(a, b)
	return ok && p.stay > 0 && elapsed >= shortest.Milliseconds() && elapsed <= 2*shortest.Milliseconds()+p.stay*1000
}

// Known reports whether the network has the stop.
func (p *Places) Known(stop string) bool {
	if p == nil {
		return false
	}
	_, ok := p.index[stop]
	return ok
}
