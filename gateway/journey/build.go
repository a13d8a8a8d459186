package journey

import (
	"cmp"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// An Input is everything that journeys follow from beside the taps.
type Input struct {
	Rules func(at int64) *Rules // those in force at an instant, unix milliseconds; never nil
	Facts Facts
	Now   int64 // unix milliseconds
}

// Build gives the journeys of taps under one set of rules as they stand at now
// (unix milliseconds), in the order of rider, event time, terminal and sequence
// number of their first taps. A tap given twice counts once.
func Build(taps []Tap, rules Rules, now int64) []Journey {
	return BuildAll(taps, &Input{Rules: func(int64) *Rules { return &rules }, Now: now})
}

// BuildAll is [Build] with everything a tenant knows.
func BuildAll(taps []Tap, in *Input) []Journey {
	sorted := slices.Clone(taps)
	slices.SortFunc(sorted, func(a, b Tap) int {
		return cmp.Or(a.Rider.Compare(b.Rider), a.Compare(b))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Tap) bool { return a.ID == b.ID && a.Rider == b.Rider })
	journeys := make([]Journey, 0, len(sorted))
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Rider == sorted[0].Rider {
			n++
		}
		b := builder{in: in, out: journeys, from: len(journeys)}
		b.pair(sorted[:n])
		b.retype()
		b.doubt()
		b.settle()
		journeys = b.out
		sorted = sorted[n:]
	}
	return journeys
}

// A builder makes the journeys of one rider: out[from:].
type builder struct {
	in   *Input
	out  []Journey
	from int
}

// pair appends the journeys of taps, which are in order.
func (b *builder) pair(taps []Tap) {
	waiting, lastOff := -1, -1 // indices into out: the on that waits, the journey that ended last
	for i, t := range taps {
		switch t.Kind {
		case tap.On:
			if waiting >= 0 && b.repeats(b.out[waiting].Taps[0], t) {
				b.out[waiting].Repeats = append(b.out[waiting].Repeats, t)
				continue
			}
			b.out = append(b.out, lone(taps[i:i+1:i+1], MissingOff))
			waiting, lastOff = len(b.out)-1, -1
		case tap.Off:
			if lastOff >= 0 && b.repeats(lastTap(b.out[lastOff]), t) {
				b.out[lastOff].Repeats = append(b.out[lastOff].Repeats, t)
				continue
			}
			if waiting >= 0 && b.join(&b.out[waiting], t) {
				waiting, lastOff = -1, waiting
				continue
			}
			b.out = append(b.out, lone(taps[i:i+1:i+1], MissingOn))
			waiting, lastOff = -1, len(b.out)-1
		default:
			b.out = append(b.out, lone(taps[i:i+1:i+1], Nothing))
		}
	}
}

// join ends j with t if the two are one ride.
func (b *builder) join(j *Journey, t Tap) bool {
	on := &j.Taps[0]
	rules := b.in.Rules(on.At)
	elapsed := t.At - on.At
	if elapsed > rules.MaxJourney.Milliseconds() {
		return false
	}
	if rules.Places.Same(on.Stop, t.Stop) {
		do := rules.treatment(elapsed)
		if do == TwoIncompletes {
			return false
		}
		j.SameStation = do
	}
	j.Taps, j.Missing = append(j.Taps, t), Nothing
	return true
}

func lone(t []Tap, missing Missing) Journey {
	return Journey{Rider: t[0].Rider, First: t[0].ID, Taps: t, Missing: missing}
}

func lastTap(j Journey) Tap { return j.Taps[len(j.Taps)-1] }

func (b *builder) repeats(first, again Tap) bool {
	rules := b.in.Rules(first.At)
	return rules.PassbackWindow > 0 && (first.Stop == again.Stop || rules.Places.Same(first.Stop, again.Stop)) &&
		again.At-first.At <= rules.PassbackWindow.Milliseconds()
}

// retype joins lone taps whose declared kind cannot be believed: exactly two in
// a row, closer than a ride lasts at most, that would be one ride.
func (b *builder) retype() {
	var run []int // indices of lone taps in a row
	gone := false
	end := func() {
		if len(run) == 2 && b.joinLone(&b.out[run[0]], &b.out[run[1]]) {
			gone = true
		}
		run = run[:0]
	}
	for i := b.from; i < len(b.out); i++ {
		j := &b.out[i]
		if j.Missing == Nothing && len(j.Taps) == 1 {
			continue // a single says nothing about gates
		}
		if j.Missing == Nothing {
			end()
			continue
		}
		if n := len(run); n > 0 {
			last := lastTouch(&b.out[run[n-1]])
			if j.At()-last > b.in.Rules(b.out[run[n-1]].At()).MaxJourney.Milliseconds() {
				end()
			}
		}
		run = append(run, i)
	}
	end()
	if gone {
		b.out = append(b.out[:b.from], slices.DeleteFunc(b.out[b.from:], func(j Journey) bool { return len(j.Taps) == 0 })...)
	}
}

func lastTouch(j *Journey) int64 {
	at := lastTap(*j).At
	for _, r := range j.Repeats {
		at = max(at, r.At)
	}
	return at
}

// joinLone makes one journey of two lone ones if their kinds may be doubted, and
// leaves the second without taps.
func (b *builder) joinLone(first, second *Journey) bool {
	on, off := first.Taps[0], second.Taps[0]
	rules := b.in.Rules(on.At)
	elapsed := off.At - on.At
	if rules.Retype != RetypeSuspect && rules.Retype != RetypeAny {
		return false
	}
	if elapsed > rules.MaxJourney.Milliseconds() || rules.Places.Same(on.Stop, off.Stop) || on.Stop == off.Stop || !rules.Places.possible(on.Stop, off.Stop, elapsed) {
		return false
	}
	var wrong []citygate.TapID
	for _, t := range []*Tap{&on, &off} {
		want := tap.On
		if t == &off {
			want = tap.Off
		}
		if t.Kind == want {
			continue
		}
		if !b.in.Facts.suspect(t, SuspectKind) && (rules.Retype != RetypeAny || !rules.Places.ride(on.Stop, off.Stop, elapsed)) {
			return false
		}
		wrong = append(wrong, t.ID)
		t.Kind = want
	}
	if len(wrong) == 0 {
		return false // on and off as declared: another rule keeps them apart
	}
	first.Taps, first.Missing, first.Retyped = []Tap{on, off}, Nothing, wrong
	first.Repeats = slices.Concat(first.Repeats, second.Repeats)
	second.Taps = nil
	return true
}

// A Doubt says why the place of an end is not believed.
type Doubt string

// The doubts.
const (
	ImpossibleSpeed Doubt = "impossible_speed" // nobody is so fast
	PlaceSuspected  Doubt = "place_suspected"  // the reader is reported to be elsewhere
)

// doubt looks for pairs with an end that cannot be where it says.
func (b *builder) doubt() {
	all := b.out[b.from:]
	for i := range all {
		j := &all[i]
		if !j.complete() {
			continue
		}
		on, off := &j.Taps[0], &j.Taps[1]
		places := b.in.Rules(on.At).Places
		wrongOn, wrongOff := b.in.Facts.suspect(on, SuspectPlace), b.in.Facts.suspect(off, SuspectPlace)
		possible := places.Same(on.Stop, off.Stop) || places.possible(on.Stop, off.Stop, off.At-on.At)
		switch {
		case wrongOn != wrongOff:
			j.Doubt, j.Missing = PlaceSuspected, MissingOff
			if wrongOn {
				j.Missing = MissingOn
			}
		case !possible:
			j.Doubt, j.Missing = ImpossibleSpeed, MissingOff
			// Whoever enters next where this ride ended did leave there.
			if n := next(all, i); n != nil && n.Kind == tap.On && places.Near(n.Stop, off.Stop) {
				j.Missing = MissingOn
			}
		case wrongOn: // both: nothing is known, and what they declare fits
		}
		if j.Doubt != "" {
			j.SameStation = ""
		}
	}
}

// next gives the first tap of the rider's next journey through gates.
func next(all []Journey, i int) *Tap {
	for k := i + 1; k < len(all); k++ {
		if isGated(&all[k]) {
			return &all[k].Taps[0]
		}
	}
	return nil
}

// previous gives the last tap of the rider's journey before.
func previous(all []Journey, i int) *Tap {
	for k := i - 1; k >= 0; k-- {
		if isGated(&all[k]) {
			return &all[k].Taps[len(all[k].Taps)-1]
		}
	}
	return nil
}

func isGated(j *Journey) bool { return j.Taps[0].Kind == tap.On || j.Taps[0].Kind == tap.Off }

// settle fixes the states once no further tap of the set can join a journey,
// and finds what is missing of those whose time is over.
func (b *builder) settle() {
	all := b.out[b.from:]
	var past *past
	for i := range all {
		j := &all[i]
		rules := b.in.Rules(j.At())
		grace := rules.UploadGrace.Milliseconds()
		switch {
		case j.Missing == Nothing:
			j.State = Complete
			continue
		case j.Missing == MissingOff || j.Doubt != "":
			j.ClosesAt = j.At() + rules.MaxJourney.Milliseconds() + grace
		default:
			j.ClosesAt = j.At() + grace
		}
		j.State = Open
		if b.in.Now < j.ClosesAt {
			continue
		}
		j.State = Incomplete
		if c := b.in.Facts.claim(j.known()[0].ID, j.Missing); c != nil {
			b.claimed(j, c)
		} else if rules.Inference != nil {
			if past == nil {
				past = remember(all)
			}
			j.Inferred = rules.infer(all, i, past, &b.in.Facts)
		}
		if j.Inferred != nil {
			j.State = Complete
		}
	}
}

// claimed completes j by what its rider says, at a time that is possible.
func (b *builder) claimed(j *Journey, c *Claim) {
	rules := b.in.Rules(j.At())
	j.Inferred = &Inferred{Stop: c.Stop, Method: RiderClaim, Claim: c.ID, At: rules.timeOf(j, c.Stop, 0)}
	known := j.known()[0].At
	if j.Doubt == "" && c.At != 0 {
		first, last := known, known+rules.MaxJourney.Milliseconds()
		if j.Missing == MissingOn {
			first, last = known-rules.MaxJourney.Milliseconds(), known
		}
		j.Inferred.At = min(max(c.At, first), last)
	}
}
