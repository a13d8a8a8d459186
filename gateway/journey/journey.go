// Package journey turns taps into journeys. It is pure: the same taps give the
// same journeys whatever order they arrived in, so that an upload which comes
// late, twice or in pieces never changes what a rider pays in the end.
//
// A tap of kind single (bus, minibus, taxi) is a whole journey. Taps of kind on
// and off (metro) are paired per rider in the order of event time, terminal and
// sequence number:
//
//   - on followed by off within [Rules.MaxJourney] is a complete journey, also
//     when both are at one station: the pairing does not judge it, the tariff's
//     same-station rule does;
//   - an on that no off follows is open until its time plus MaxJourney plus
//     [Rules.UploadGrace], and then incomplete with the off missing;
//   - an off that no on precedes is open until its time plus UploadGrace (its on
//     happened before it), and then incomplete with the on missing;
//   - an off later than MaxJourney after its on leaves two incomplete journeys;
//   - an on that repeats the waiting on at the same stop within
//     [Rules.PassbackWindow], or an off that repeats the last off likewise, is
//     one more touch of the same gate: it is listed in Repeats and never priced.
//
// Every tap given is in exactly one journey, as one of its Taps or Repeats.
//
// The pairing of a tap depends on its neighbours in time only, so a caller may
// build from a window of taps and trust every journey that lies at least
// MaxJourney plus PassbackWindow inside it.
package journey

import (
	"cmp"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Tap is what pairing and pricing need to know of a recorded tap.
type Tap struct {
	ID      citygate.TapID
	Rider   citygate.Rider
	Kind    tap.Kind
	At      int64 // event time, unix milliseconds
	Stop    string
	Route   string
	Vehicle string
	Driver  string
	Party   uint8          // riders on the code; 0 counts as 1
	Product uint16         // of the credential: decides the rider's category
	Entered citygate.Money // amount entered by the driver; zero currency = none
}

// Compare orders taps by event time, terminal and sequence number.
func (t Tap) Compare(o Tap) int {
	return cmp.Or(cmp.Compare(t.At, o.At), compareID(t.ID, o.ID))
}

func compareID(a, b citygate.TapID) int {
	return cmp.Or(cmp.Compare(a.Terminal, b.Terminal), cmp.Compare(a.Seq, b.Seq))
}

// Rules say how a network pairs its taps.
type Rules struct {
	MaxJourney     time.Duration // longest time from on to off
	UploadGrace    time.Duration // how long a terminal may keep a tap before a journey is closed without it
	PassbackWindow time.Duration // touches of one gate this close are one; zero = every touch counts
}

// A State says whether a journey can be priced.
type State string

// The states.
const (
	Open       State = "open"       // a tap is missing and may still come
	Complete   State = "complete"   // everything is known
	Incomplete State = "incomplete" // a tap is missing and time is over
)

// A Missing names the tap an open or incomplete journey lacks.
type Missing string

// What can be missing.
const (
	Nothing    Missing = ""
	MissingOn  Missing = "missing_on"
	MissingOff Missing = "missing_off"
)

// A Journey is one ride of one rider, with everything its price depends on.
type Journey struct {
	Rider    citygate.Rider
	First    citygate.TapID // natural key: the earliest of Taps
	Taps     []Tap          // on and off, or the one tap there is
	Repeats  []Tap          // touches that count as one with those above
	State    State
	Missing  Missing
	ClosesAt int64 // unix milliseconds; when an open journey becomes incomplete; 0 when complete
}

// On gives the tap the journey starts with: the on, or the single.
func (j *Journey) On() (Tap, bool) {
	if len(j.Taps) == 0 || j.Taps[0].Kind == tap.Off {
		return Tap{}, false
	}
	return j.Taps[0], true
}

// Off gives the tap the journey ends with.
func (j *Journey) Off() (Tap, bool) {
	if len(j.Taps) == 0 || j.Taps[len(j.Taps)-1].Kind != tap.Off {
		return Tap{}, false
	}
	return j.Taps[len(j.Taps)-1], true
}

// Party gives the number of riders who travelled: what the tap that let them in
// said, or the only tap there is; at least 1.
func (j *Journey) Party() int64 {
	if len(j.Taps) == 0 || j.Taps[0].Party == 0 {
		return 1
	}
	return int64(j.Taps[0].Party)
}

// At gives the event time of the first tap in unix milliseconds.
func (j *Journey) At() int64 {
	if len(j.Taps) == 0 {
		return 0
	}
	return j.Taps[0].At
}

// Build gives the journeys of taps as they stand at now (unix milliseconds), in
// the order of rider, event time, terminal and sequence number of their first
// taps. A tap given twice counts once.
func Build(taps []Tap, rules Rules, now int64) []Journey {
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
		journeys = pair(journeys, sorted[:n], rules, now)
		sorted = sorted[n:]
	}
	return journeys
}

// pair appends the journeys of one rider, whose taps are in order.
func pair(out []Journey, taps []Tap, rules Rules, now int64) []Journey {
	from := len(out)
	waiting, lastOff := -1, -1 // indices into out: the on that waits, the journey that ended last
	for i, t := range taps {
		switch t.Kind {
		case tap.On:
			if waiting >= 0 && repeats(out[waiting].Taps[0], t, rules) {
				out[waiting].Repeats = append(out[waiting].Repeats, t)
				continue
			}
			out = append(out, lone(taps[i:i+1:i+1], MissingOff))
			waiting, lastOff = len(out)-1, -1
		case tap.Off:
			if lastOff >= 0 && repeats(lastTap(out[lastOff]), t, rules) {
				out[lastOff].Repeats = append(out[lastOff].Repeats, t)
				continue
			}
			if waiting >= 0 && t.At-out[waiting].Taps[0].At <= rules.MaxJourney.Milliseconds() {
				j := &out[waiting]
				j.Taps, j.Missing = append(j.Taps, t), Nothing
				waiting, lastOff = -1, waiting
				continue
			}
			out = append(out, lone(taps[i:i+1:i+1], MissingOn))
			waiting, lastOff = -1, len(out)-1
		default:
			out = append(out, lone(taps[i:i+1:i+1], Nothing))
		}
	}
	for i := range out[from:] {
		settle(&out[from+i], rules, now)
	}
	return out
}

func lone(t []Tap, missing Missing) Journey {
	return Journey{Rider: t[0].Rider, First: t[0].ID, Taps: t, Missing: missing}
}

func lastTap(j Journey) Tap { return j.Taps[len(j.Taps)-1] }

func repeats(first, again Tap, rules Rules) bool {
	return rules.PassbackWindow > 0 && first.Stop == again.Stop &&
		again.At-first.At <= rules.PassbackWindow.Milliseconds()
}

// settle fixes the state of j once no further tap of the set can join it.
func settle(j *Journey, rules Rules, now int64) {
	grace := rules.UploadGrace.Milliseconds()
	switch j.Missing {
	case MissingOff:
		j.ClosesAt = j.At() + rules.MaxJourney.Milliseconds() + grace
	case MissingOn:
		j.ClosesAt = j.At() + grace
	default:
		j.State = Complete
		return
	}
	j.State = Open
	if now >= j.ClosesAt {
		j.State = Incomplete
	}
}
