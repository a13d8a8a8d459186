package journey

import "github.com/cashlesscity/citygate"

// Facts are what a tenant knows of its network and riders beside taps and rules.
// Their order does not matter.
type Facts struct {
	Suspects []Suspect
	Gates    []OpenGates
	Claims   []Claim
}

// A Suspect is a reader that is reported to declare something wrongly for a time.
type Suspect struct {
	Terminal uint32
	From, To int64 // unix milliseconds, both included
	What     Suspicion
}

// A Suspicion is what a reader declares wrongly.
type Suspicion string

// The suspicions.
const (
	SuspectKind  Suspicion = "kind"  // it sticks in one direction
	SuspectPlace Suspicion = "place" // it is, or thinks it is, somewhere else
)

// OpenGates says that a station let people through without a tap, as after an
// event or in an emergency.
type OpenGates struct {
	Stop     string
	From, To int64 // unix milliseconds, both included
}

// A Claim is what a rider says about a journey that lacks an end: where it was.
// It names the journey by the tap that is there.
type Claim struct {
	ID   citygate.UUID
	Tap  citygate.TapID
	End  Missing
	Stop string
	At   int64 // unix milliseconds; 0 = the rider does not say
}

func (f *Facts) suspect(t *Tap, what Suspicion) bool {
	for i := range f.Suspects {
		if s := &f.Suspects[i]; s.Terminal == t.ID.Terminal && s.What == what && s.From <= t.At && t.At <= s.To {
			return true
		}
	}
	return false
}

// claim gives the claim about an end of a journey that has tap t: of several
// the one that was made last, which is the one with the greatest id.
func (f *Facts) claim(t citygate.TapID, end Missing) *Claim {
	var found *Claim
	for i := range f.Claims {
		c := &f.Claims[i]
		if c.Tap == t && c.End == end && (found == nil || string(c.ID[:]) > string(found.ID[:])) {
			found = c
		}
	}
	return found
}
