// Package journey turns taps into journeys. It is pure: the same taps give the
// same journeys whatever order they arrived in, so that an upload which comes
// late, twice or in pieces never changes what a rider pays in the end.
//
// A tap of kind single (bus, minibus, taxi) is a whole journey. Taps of kind on
// and off (metro) are paired per rider in the order of event time, terminal and
// sequence number, by the [Rules] in force at the first of the two:
//
//   - on followed by off within [Rules.MaxJourney] is a complete journey. When
//     both are at one station, [Rules.SameStation] says by minutes what that is:
//     no ride, the cheapest one, or two rides of which half is missing; what it
//     does not cover the tariff's same-station rule judges;
//   - an on that no off follows is open until its time plus MaxJourney plus
//     [Rules.UploadGrace], and then incomplete with the off missing;
//   - an off that no on precedes is open until its time plus UploadGrace (its on
//     happened before it), and then incomplete with the on missing;
//   - an off later than MaxJourney after its on leaves two incomplete journeys;
//   - an on that repeats the waiting on at the same station within
//     [Rules.PassbackWindow], or an off that repeats the last off likewise, is
//     one more touch of the same gate: it is listed in Repeats and never priced.
//
// # Taps that say the wrong thing
//
// Readers declare kinds and places wrongly: a gate sticks in one direction, a
// vehicle thinks it is elsewhere. What a tap declares is believed as long as it
// fits. Exactly two lone taps in a row that would be one plausible ride become
// one where [Rules.Retype] lets their kinds be doubted; in a longer run nobody
// knows which belong together. A pair that nobody could have travelled so fast
// ([Places.MinTravel]), or with a reader whose place is under suspicion, keeps
// both taps and has a [Doubt]: one end's place is not believed, and Missing says
// which. It counts as a missing tap whose time is known.
//
// # Missing taps
//
// What is still missing when the journey closes comes, in this order, from the
// rider's claim ([Claim]) or from [Inference]: the next on of the rider, the
// rider's own regular trips, gates that were opened for an event. The evidence
// is combined into one confidence, and below [Inference.MinConfidence] nothing is
// inferred. [Journey.Inferred] keeps method, confidence and evidence. Inference
// looks at journeys before its own alone, and only at those whose two taps were
// believed as they came: it never feeds on itself. A tap that arrives late takes
// the place of either, because it is then no longer missing.
//
// Every tap given is in exactly one journey, as one of its Taps or Repeats.
//
// The pairing of a tap depends on its neighbours in time only, so a caller may
// build from a window of taps and trust every journey that lies at least
// [Rules.Reach] inside it, and what is inferred [Rules.Horizon] further in.
package journey

import (
	"cmp"

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
	Shown   uint8          // how many of them the code states, the operator counted the others; 0 = all
	Medium  string         // what the code was shown on, "" = unknown
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

	Retyped     []citygate.TapID // of Taps: their kind is not the declared one
	SameStation Treatment        // of a ride that ended where it began; "" = the tariff's to judge
	Doubt       Doubt            // why the place of the end in Missing is not believed
	Inferred    *Inferred        // how the missing end was found, if it was
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

// Counted gives how many of the party the operator entered beyond what the code of
// the first tap states.
func (j *Journey) Counted() int64 {
	if len(j.Taps) == 0 || j.Taps[0].Shown == 0 {
		return 0
	}
	return max(j.Party()-int64(j.Taps[0].Shown), 0)
}

// At gives the event time of the first tap in unix milliseconds.
func (j *Journey) At() int64 {
	if len(j.Taps) == 0 {
		return 0
	}
	return j.Taps[0].At
}

// AsPriced gives the journey as its price sees it: with the end that was
// inferred or claimed, or, while a place is in doubt, with the other tap alone.
// The inferred end has no tap id, and the time it is thought to have happened.
func (j *Journey) AsPriced() Journey {
	p := *j
	if j.Inferred == nil {
		if j.Doubt != "" {
			p.Taps = j.known()
		}
		return p
	}
	end := j.known()[0]
	end.ID, end.Stop, end.At = citygate.TapID{}, j.Inferred.Stop, j.Inferred.At
	if j.Doubt != "" { // the tap is there, its place is not
		end.ID = j.doubted().ID
	}
	p.Missing = Nothing
	if j.Missing == MissingOff {
		end.Kind, end.Entered = tap.Off, citygate.Money{}
		p.Taps = []Tap{j.known()[0], end}
	} else {
		end.Kind = tap.On
		p.Taps = []Tap{end, j.known()[0]}
	}
	return p
}

// known gives the tap whose place is believed, of a journey that lacks an end.
func (j *Journey) known() []Tap {
	if j.Missing == MissingOn {
		return j.Taps[len(j.Taps)-1:]
	}
	return j.Taps[:1]
}

// doubted gives the tap whose place is not believed.
func (j *Journey) doubted() *Tap {
	if j.Missing == MissingOn {
		return &j.Taps[0]
	}
	return &j.Taps[len(j.Taps)-1]
}

func (j *Journey) complete() bool { return j.Missing == Nothing && len(j.Taps) == 2 }
