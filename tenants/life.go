package tenants

import (
	"fmt"
	"slices"
	"strings"
)

// An Activity is what a tenant's state allows or refuses.
type Activity string

// The activities.
const (
	Issuing     Activity = "issuing"     // credentials, devices
	TakingTaps  Activity = "taps"        // recording what terminals upload
	Pricing     Activity = "pricing"     // journeys into fares
	Collecting  Activity = "collecting"  // new charges
	PayingOut   Activity = "payouts"     // payout files
	Configuring Activity = "configuring" // keys, contracts, fares, rules, fleet
)

// Activities lists the activities in their order.
func Activities() []Activity {
	return []Activity{Issuing, TakingTaps, Pricing, Collecting, PayingOut, Configuring}
}

// States lists the states in the order of a life.
func States() []State { return []State{Draft, Active, Suspended, Closing, Closed} }

// allowed is the table of what each state allows.
//
// A suspended tenant's readers are offline and go on to open gates until they
// hear of it, so what they upload is recorded and priced; money rests. A closing
// tenant begins nothing new and finishes what it has: when every window is paid
// and no charge is open it is closed. A draft is set up.
var allowed = map[State][]Activity{
	Draft:     {Configuring},
	Active:    Activities(),
	Suspended: {TakingTaps, Pricing, Configuring},
	Closing:   {TakingTaps, Pricing, Collecting, PayingOut},
	Closed:    nil,
}

// Allows reports whether a tenant in state s may do a.
func (s State) Allows(a Activity) bool { return slices.Contains(allowed[s], a) }

// May is [ErrState] if the tenant's state refuses a.
func (t Tenant) May(a Activity) error {
	if t.State.Allows(a) {
		return nil
	}
	return ErrState.Explain("%s is %s, which refuses %s", t.Slug, t.State, a)
}

// StateTable is the table for people.
func StateTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s", "state")
	for _, a := range Activities() {
		fmt.Fprintf(&b, " %-11s", a)
	}
	for _, s := range States() {
		fmt.Fprintf(&b, "\n%-10s", s)
		for _, a := range Activities() {
			is := "refused"
			if s.Allows(a) {
				is = "yes"
			}
			fmt.Fprintf(&b, " %-11s", is)
		}
	}
	return b.String()
}
