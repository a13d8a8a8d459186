package journey

import (
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// Inference says how missing ends are found, and how sure one has to be.
// Permille are of one.
type Inference struct {
	Methods       []Method
	MinConfidence int64         // permille; below it nothing is inferred
	NextWithin    time.Duration // an on this long after the on before it says where that ride ended
	History       time.Duration // of the rider's own trips
	Band          time.Duration // trips begin at the same time of day if no further apart
	MinTrips      int           // trips a regular trip takes at least
	Prior         int64         // permille that a rider without history is trusted to repeat
	PriorWeight   int64         // trips the prior counts for
	Gates         int64         // permille that a ride which could end at opened gates did
}

// A Method is how a missing end was found.
type Method string

// The methods.
const (
	NextOn      Method = "next_on"      // the rider entered next, or left last, there
	RegularTrip Method = "regular_trip" // the rider's own trips from there, at that time of day
	GatesOpened Method = "gates_opened" // the one station within reach that let people through
	RiderClaim  Method = "rider_claim"
)

// Inferred is an end of a journey that no believed tap shows.
type Inferred struct {
	Stop       string
	At         int64 // unix milliseconds: when it is thought to have happened
	Method     Method
	Confidence int64 // permille; 0 of a claim
	Claim      citygate.UUID
	Evidence   []citygate.TapID // taps it rests on, beside the journey's own, at most evidenceMost
}

const evidenceMost = 8

// A trip is a complete journey whose two taps were believed as they came.
type trip struct {
	on, off *Tap
	last    bool // the journey after it is a trip too
}

// past is what is known of one rider: trips in order.
type past struct{ trips []trip }

func remember(all []Journey) *past {
	p := &past{}
	adjacent := false
	for i := range all {
		j := &all[i]
		if !isGated(j) {
			continue
		}
		if !j.complete() || j.Doubt != "" || len(j.Retyped) > 0 || j.SameStation != "" {
			adjacent = false
			continue
		}
		if adjacent {
			p.trips[len(p.trips)-1].last = true
		}
		p.trips = append(p.trips, trip{on: &j.Taps[0], off: &j.Taps[1]})
		adjacent = true
	}
	return p
}

// within gives the trips that began before an instant, and not before the
// history starts. The last one's successor may be later: it does not count.
func (p *past) within(from, to int64) []trip {
	first, _ := slices.BinarySearchFunc(p.trips, from, func(t trip, at int64) int { return int(min(max(t.on.At-at, -1), 1)) })
	end, _ := slices.BinarySearchFunc(p.trips, to, func(t trip, at int64) int { return int(min(max(t.on.At-at, -1), 1)) })
	return p.trips[first:max(first, end)]
}

// A guess is what one method says.
type guess struct {
	stop     string
	method   Method
	permille int64
	took     int64 // milliseconds the ride is thought to have taken; 0 = unknown
	evidence []citygate.TapID
}

// infer finds the missing end of all[i], nil if nobody can be sure enough.
func (r *Rules) infer(all []Journey, i int, p *past, facts *Facts) *Inferred {
	j := &all[i]
	in := r.Inference
	at := j.known()[0].At
	trips := p.within(at-in.History.Milliseconds(), j.At())
	var guesses []guess
	for _, m := range in.Methods {
		var g *guess
		switch m {
		case NextOn:
			g = r.nextOn(all, i, trips)
		case RegularTrip:
			g = r.regular(j, trips)
		case GatesOpened:
			g = r.gates(j, facts)
		default:
		}
		if g != nil && r.fits(j, g.stop) {
			g.method = m
			guesses = append(guesses, *g)
		}
	}
	best, confidence := r.weigh(guesses)
	if best == nil || confidence < in.MinConfidence {
		return nil
	}
	return &Inferred{Stop: best.stop, At: r.timeOf(j, best.stop, best.took), Method: best.method, Confidence: confidence,
		Evidence: best.evidence[:min(len(best.evidence), evidenceMost)]}
}

// weigh combines guesses as independent witnesses: a place is as likely as those
// who name it being right and the others wrong, against everybody being wrong.
// Places one walks between are one. It gives the most trusted witness of the most
// likely place.
func (r *Rules) weigh(guesses []guess) (best *guess, permille int64) {
	sum, top := int64(1), int64(0)
	for i := range guesses {
		sum *= 1000 - guesses[i].permille
	}
	for i := range guesses {
		g := &guesses[i]
		score, voice, heard := int64(1), g, false
		for k := range guesses {
			o := &guesses[k]
			if !r.Places.Near(g.stop, o.stop) {
				score *= 1000 - o.permille
				continue
			}
			score *= o.permille
			if k < i {
				heard = true // counted with the first who named it
			}
			if o.permille > voice.permille {
				voice = o
			}
		}
		if heard {
			continue
		}
		sum += score
		if score > top {
			top, best = score, voice
		}
	}
	if best == nil {
		return nil, 0
	}
	return best, top * 1000 / sum
}

// fits reports whether j can have its missing end at stop: another station, in
// a time that is possible.
func (r *Rules) fits(j *Journey, stop string) bool {
	known := j.known()[0]
	if stop == "" || r.Places.Same(stop, known.Stop) {
		return false
	}
	if j.Doubt == "" {
		return true
	}
	elapsed := j.Taps[1].At - j.Taps[0].At
	if j.Missing == MissingOn {
		return r.Places.possible(stop, known.Stop, elapsed)
	}
	return r.Places.possible(known.Stop, stop, elapsed)
}

// timeOf gives the time of the missing end at stop, took after or before the
// known one if that is not 0, else as fast as anybody can be.
func (r *Rules) timeOf(j *Journey, stop string, took int64) int64 {
	if j.Doubt != "" {
		return j.doubted().At
	}
	known := j.known()[0]
	if took == 0 {
		if shortest, ok := r.Places.MinTravel(known.Stop, stop); ok {
			took = shortest.Milliseconds()
		}
	}
	took = min(took, r.MaxJourney.Milliseconds())
	if j.Missing == MissingOn {
		return known.At - took
	}
	return known.At + took
}

// trust is how likely it is that what happened hits of n times happens again.
func (in *Inference) trust(hits, n int) int64 {
	return min(999, (1000*int64(hits)+in.Prior*in.PriorWeight)/(int64(n)+in.PriorWeight))
}

// nextOn says that a ride ended where the rider entered next, or began where the
// rider left last, as sure as the rider did so before.
func (r *Rules) nextOn(all []Journey, i int, trips []trip) *guess {
	j, within := &all[i], r.Inference.NextWithin.Milliseconds()
	known := j.known()[0]
	var other *Tap
	if j.Missing == MissingOff {
		if other = next(all, i); other == nil || other.Kind != tap.On || other.At-known.At > within || !r.Places.possible(known.Stop, other.Stop, other.At-known.At) {
			return nil
		}
	} else if other = previous(all, i); other == nil || other.Kind != tap.Off || known.At-other.At > within || !r.Places.possible(other.Stop, known.Stop, known.At-other.At) {
		return nil
	}
	hits, n := 0, 0
	for k := 0; k+1 < len(trips); k++ {
		a, b := &trips[k], &trips[k+1]
		if !a.last || b.on.At-a.on.At > within {
			continue
		}
		n++
		if r.Places.Near(a.off.Stop, b.on.Stop) {
			hits++
		}
	}
	return &guess{stop: other.Stop, permille: r.Inference.trust(hits, n), evidence: []citygate.TapID{other.ID}}
}

// regular says that a ride went where the rider's rides go from there at that
// time of the day, or came from where they come.
func (r *Rules) regular(j *Journey, trips []trip) *guess {
	known := j.known()[0]
	type goal struct {
		stop  string
		trips []*trip
	}
	var goals []goal
	n := 0
	for i := len(trips) - 1; i >= 0; i-- {
		same, other := trips[i].on, trips[i].off
		if j.Missing == MissingOn {
			same, other = other, same
		}
		if !r.Places.Same(same.Stop, known.Stop) || apart(same.At, known.At) > r.Inference.Band.Milliseconds() {
			continue
		}
		n++
		k := slices.IndexFunc(goals, func(g goal) bool { return r.Places.Same(g.stop, other.Stop) })
		if k < 0 {
			goals, k = append(goals, goal{stop: other.Stop}), len(goals)
		}
		goals[k].trips = append(goals[k].trips, &trips[i])
	}
	best := -1
	for k := range goals { // of two with as many trips the one of the later trip, which comes first
		if len(goals[k].trips) >= r.Inference.MinTrips && (best < 0 || len(goals[k].trips) > len(goals[best].trips)) {
			best = k
		}
	}
	if best < 0 {
		return nil
	}
	g := &guess{stop: goals[best].stop, permille: r.Inference.trust(len(goals[best].trips), n)}
	took := make([]int64, 0, len(goals[best].trips))
	for _, t := range goals[best].trips {
		took = append(took, t.off.At-t.on.At)
		g.evidence = append(g.evidence, t.on.ID, t.off.ID)
	}
	slices.Sort(took)
	g.took = took[(len(took)-1)/2]
	return g
}

// apart gives how far apart two instants are on the clock face.
func apart(a, b int64) int64 {
	const day = 24 * 60 * 60 * 1000
	d := ((a-b)%day + day) % day
	return min(d, day-d)
}

// gates says that a ride which could end, or begin, at the one station that let
// people through did so there.
func (r *Rules) gates(j *Journey, facts *Facts) *guess {
	known := j.known()[0]
	found := ""
	for i := range facts.Gates {
		g := &facts.Gates[i]
		least := int64(0)
		if shortest, ok := r.Places.MinTravel(known.Stop, g.Stop); ok {
			least = shortest.Milliseconds()
		}
		from, to := known.At+least, known.At+r.MaxJourney.Milliseconds()
		if j.Missing == MissingOn {
			from, to = known.At-r.MaxJourney.Milliseconds(), known.At-least
		}
		if j.Doubt != "" {
			from = j.doubted().At
			to = from
		}
		if g.To < from || g.From > to || r.Places.Same(g.Stop, known.Stop) {
			continue
		}
		switch {
		case found == "", r.Places.Same(found, g.Stop):
			if found == "" || g.Stop < found {
				found = g.Stop
			}
		default:
			return nil // which of them, nobody knows
		}
	}
	if found == "" {
		return nil
	}
	return &guess{stop: found, permille: r.Inference.Gates}
}
