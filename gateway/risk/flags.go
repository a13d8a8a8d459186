package risk

import (
	"cmp"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Sighting is one accepted tap, as far as flags look at it.
type Sighting struct {
	Tap     citygate.TapID
	Rider   citygate.Rider
	At      int64 // event time, unix milliseconds
	Stop    string
	Counted bool     // the scheme counts displays
	Counter uint16   // of the display that was shown
	Code    [32]byte // digest of the raw code
}

// Limits say what one person can do.
type Limits struct {
	Places *journey.Places // nil: nothing is known of travel times
	Skew   time.Duration   // how far the clocks of two readers may be apart
	Taps   int             // more taps than this within Within are flagged; 0 = never
	Within time.Duration
}

// DefaultLimits allow a minute between clocks, and eight taps in ten minutes.
func DefaultLimits(places *journey.Places) Limits {
	return Limits{Places: places, Skew: time.Minute, Taps: 8, Within: 10 * time.Minute}
}

// A Kind is why a rider's taps are flagged.
type Kind string

// The kinds.
const (
	Copied           Kind = "clone"             // one credential on two devices
	ImpossibleTravel Kind = "impossible_travel" // nobody is so fast
	Velocity         Kind = "velocity"          // more taps than one person makes
)

// A Flag names the taps that cannot be one person's.
type Flag struct {
	Kind  Kind
	Rider citygate.Rider
	At    int64 // of the last of its taps
	Taps  []citygate.TapID
}

// Scan gives the flags of sightings of any number of riders, in any order, in the
// order of rider, time and kind.
func Scan(sightings []Sighting, l Limits) []Flag {
	sorted := slices.Clone(sightings)
	slices.SortFunc(sorted, func(a, b Sighting) int {
		return cmp.Or(a.Rider.Compare(b.Rider), cmp.Compare(a.At, b.At), cmp.Compare(a.Tap.Terminal, b.Tap.Terminal), cmp.Compare(a.Tap.Seq, b.Tap.Seq))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Sighting) bool { return a.Tap == b.Tap && a.Rider == b.Rider })
	var flags []Flag
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Rider == sorted[0].Rider {
			n++
		}
		flags = scanOne(flags, sorted[:n], &l)
		sorted = sorted[n:]
	}
	return flags
}

// scanOne appends the flags of one rider, whose sightings are in order.
func scanOne(flags []Flag, all []Sighting, l *Limits) []Flag {
	shown := make(map[uint16]*Sighting, len(all))
	velocity := -1 // the last sighting of the flag that goes on
	for i := range all {
		s := &all[i]
		if first, ok := shown[s.Counter]; !s.Counted {
			// nothing to compare
		} else if !ok {
			shown[s.Counter] = s
		} else if first.Code != s.Code && s.At-first.At < halfWrap.Milliseconds() {
			flags = append(flags, Flag{Copied, s.Rider, s.At, []citygate.TapID{first.Tap, s.Tap}})
		} else {
			shown[s.Counter] = s
		}
		if i > 0 {
			flags = l.follows(flags, &all[i-1], s)
		}
		if l.Taps > 0 && i >= l.Taps && s.At-all[i-l.Taps].At <= l.Within.Milliseconds() {
			from := i - l.Taps
			if velocity >= from { // one flag for one rush
				last := &flags[lastOf(flags, Velocity, s.Rider)]
				last.Taps, last.At = append(last.Taps, s.Tap), s.At
			} else {
				f := Flag{Velocity, s.Rider, s.At, nil}
				for k := from; k <= i; k++ {
					f.Taps = append(f.Taps, all[k].Tap)
				}
				flags = append(flags, f)
			}
			velocity = i
		}
	}
	return flags
}

// halfWrap is how long a device takes at least to count once around, so that two
// codes of one counter further apart are two displays: 65,536 displays of a
// second each are 18 hours.
const halfWrap = 18 * time.Hour

// follows flags two sightings in a row.
func (l *Limits) follows(flags []Flag, a, b *Sighting) []Flag {
	skew := l.Skew.Milliseconds()
	elapsed := b.At - a.At
	pair := []citygate.TapID{a.Tap, b.Tap}
	// A device counts up. The difference is read modulo 65,536; half of the range
	// is behind.
	if back := a.Counter - b.Counter; a.Counted && b.Counted && back != 0 && back < 1<<15 && elapsed > skew && elapsed < halfWrap.Milliseconds() {
		flags = append(flags, Flag{Copied, b.Rider, b.At, pair})
	}
	if least, ok := l.Places.MinTravel(a.Stop, b.Stop); ok && elapsed+skew < least.Milliseconds() {
		flags = append(flags, Flag{ImpossibleTravel, b.Rider, b.At, pair})
	}
	return flags
}

func lastOf(flags []Flag, kind Kind, rider citygate.Rider) int {
	for i := len(flags) - 1; i >= 0; i-- {
		if flags[i].Kind == kind && flags[i].Rider == rider {
			return i
		}
	}
	return -1
}
