package adapters

import (
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A State is how far a charge or a refund has come. It is stored as text.
type State string

// The states. Created and Sent lead on; Unknown leads to a final state only by
// the provider's own word; Succeeded and Declined are final.
const (
	Created   State = "created"   // the intent is on disk, nothing was sent
	Sent      State = "sent"      // the call is under way, or the process died in it
	Unknown   State = "unknown"   // it may have moved money; nobody can say yet
	Succeeded State = "succeeded" // final: money moved
	Declined  State = "declined"  // final: money did not move and will not
)

// Final reports whether s never changes again.
func (s State) Final() bool { return s == Succeeded || s == Declined }

// An Event is what happened to a charge.
type Event string

// The events.
const (
	Sending   Event = "sending"   // about to call Submit; recorded before the call
	Submitted Event = "submitted" // Submit answered; the Result says what
	NotSent   Event = "not_sent"  // Submit failed with an error that is [Certain]
	Lost      Event = "lost"      // found in Sent after a restart, or the whole call failed
	Queried   Event = "queried"   // Query answered
	Noticed   Event = "noticed"   // the provider told of it unasked, in a notification that was proven
	Billed    Event = "billed"    // the provider's bill names it; Result.Outcome is Succeeded
)

// ErrTransition says that an event does not belong to a charge's state.
var ErrTransition = &citygate.Code{Name: "adapters.transition", Kind: citygate.Conflict,
	Title: "That cannot happen to a charge in this state. Read the charge again."}

// Next gives the state of a charge in state s after the event e; r is the
// answer and counts for Submitted, Queried, Noticed and Billed only. An event that
// contradicts a final state leaves it as it is and is an error: the money was
// already booked, so people must look.
//
//	created  sending             -> sent
//	sent     not_sent            -> created
//	sent     submitted, queried  -> succeeded | declined | unknown
//	sent     lost                -> unknown
//	unknown  sending             -> unknown (the same id and content again)
//	unknown  not_sent, lost      -> unknown (an earlier attempt may have acted)
//	unknown  submitted, queried  -> succeeded | declined | unknown
//	sent, unknown  billed        -> succeeded
//	sent, unknown  noticed       -> succeeded | unknown
//	final    anything            -> unchanged
//
// A notice can only confirm: it may be old, and a later one overtaken it. One
// that says no is a reason to ask, at once ([After]).
func Next(s State, e Event, r driver.Result) (State, error) {
	switch s {
	case Succeeded, Declined:
		return final(s, e, r)
	case Created:
		if e == Sending {
			return Sent, nil
		}
	case Sent:
		switch e {
		case NotSent:
			return Created, nil
		case Lost:
			return Unknown, nil
		case Submitted, Queried, Noticed, Billed:
			return said(e, r), nil
		case Sending: // an attempt is under way already
		}
	case Unknown:
		switch e {
		case Sending, NotSent, Lost:
			return Unknown, nil
		case Submitted, Queried, Noticed, Billed:
			return said(e, r), nil
		}
	}
	return s, ErrTransition.Because(nil, "%s on a charge in state %q", e, s)
}

// said gives the state that an answer leads to. A bill and a notice can only
// confirm.
func said(e Event, r driver.Result) State {
	switch {
	case r.Outcome == driver.Succeeded:
		return Succeeded
	case r.Outcome == driver.Declined && e != Billed && e != Noticed:
		return Declined
	}
	return Unknown
}

// final keeps s. Hearing the same again, or nothing definite, is no error.
func final(s State, e Event, r driver.Result) (State, error) {
	switch e {
	case Submitted, Queried, Noticed, Billed:
		if heard := said(e, r); heard == s || heard == Unknown {
			return s, nil
		}
	case NotSent, Lost:
		return s, nil // an answer came in by another way meanwhile
	case Sending: // nothing may be sent any more
	}
	return s, ErrTransition.Because(nil, "%s (%s) on a charge that is finally %s", e, r.Outcome, s)
}

// A Do is the next thing to do about a charge.
type Do string

// The things to do.
const (
	Nothing  Do = "nothing"  // final
	Submit   Do = "submit"   // the first attempt, or again as nothing was ever sent
	Query    Do = "query"    // ask what became of it
	Resubmit Do = "resubmit" // the same id and equal content again
)

// An Action is a thing to do and the earliest instant to do it.
type Action struct {
	Do Do
	At time.Time
}

// After says what to do about a charge in state s, now that e happened and the
// provider's answer was r. It is a pure function of its arguments: submitted is
// the instant of the last attempt to submit.
//
// An open charge is asked about at once after the attempt that left it open,
// and from then on at the provider's cadence or at the instant it named. It is
// submitted again only where the driver says that is safe, and only if the
// provider wants that (it answered the attempt itself and named an instant) or
// does not know the id although its quiet time is over. Until then, and for
// ever where it is not safe, the queries go on and the bill decides.
func After(s State, e Event, r driver.Result, d driver.Description, submitted, now time.Time) Action {
	cadence := d.PollEvery
	if cadence <= 0 {
		cadence = pollDefault
	}
	at := now
	if r.RetryAt.After(now) {
		at = r.RetryAt
	}
	switch {
	case s.Final():
		return Action{Do: Nothing}
	case s == Created && e == NotSent:
		if again := now.Add(cadence); again.After(at) {
			at = again
		}
		return Action{Submit, at}
	case s == Created:
		return Action{Submit, now}
	case e == Submitted && !r.RetryAt.IsZero() && d.ResubmitSafe:
		return Action{Resubmit, at}
	case e == Submitted || e == Lost || e == Noticed:
		if from := submitted.Add(d.Limits.QueryDelay); from.After(at) {
			at = from // sooner an answer says nothing
		}
		return Action{Query, at}
	case e == Queried && r.Outcome == driver.Absent && d.ResubmitSafe && now.Sub(submitted) >= d.QuietTime:
		return Action{Resubmit, at}
	case !r.RetryAt.IsZero():
		return Action{Query, at}
	}
	return Action{Query, now.Add(cadence)}
}

const pollDefault = 10 * time.Second // for a driver that names no cadence
