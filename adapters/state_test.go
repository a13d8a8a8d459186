package adapters

import (
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

var (
	states   = []State{Created, Sent, Unknown, Succeeded, Declined}
	events   = []Event{Sending, Submitted, NotSent, Lost, Queried, Noticed, Billed}
	outcomes = []driver.Outcome{driver.Unknown, driver.Accepted, driver.Succeeded, driver.Declined, driver.Absent, "nonsense"}
)

// every calls f with every state, event and outcome.
func every(f func(State, Event, driver.Result)) {
	for _, s := range states {
		for _, e := range events {
			for _, o := range outcomes {
				f(s, e, driver.Result{Outcome: o})
			}
		}
	}
}

func TestFinalStatesNeverChange(t *testing.T) {
	every(func(s State, e Event, r driver.Result) {
		if next, _ := Next(s, e, r); s.Final() && next != s {
			t.Errorf("Next(%s, %s, %s) = %s", s, e, r.Outcome, next)
		}
	})
}

func TestContradictionOfAFinalStateIsAnError(t *testing.T) {
	for _, c := range []struct {
		s State
		e Event
		o driver.Outcome
	}{
		{Succeeded, Queried, driver.Declined}, {Declined, Queried, driver.Succeeded},
		{Declined, Billed, driver.Succeeded}, {Succeeded, Sending, driver.Unknown},
	} {
		if _, err := Next(c.s, c.e, driver.Result{Outcome: c.o}); !errors.Is(err, ErrTransition) {
			t.Errorf("Next(%s, %s, %s): err = %v; want ErrTransition", c.s, c.e, c.o, err)
		}
	}
	if s, err := Next(Succeeded, Queried, driver.Result{Outcome: driver.Unknown}); s != Succeeded || err != nil {
		t.Errorf("a late answer that says nothing: %s, %v", s, err)
	}
}

// The two mistakes that cost money: a decline nobody spoke, and a success nobody
// spoke.
func TestOnlyTheProvidersWordIsFinal(t *testing.T) {
	every(func(s State, e Event, r driver.Result) {
		next, err := Next(s, e, r)
		if s.Final() || err != nil || !next.Final() {
			return
		}
		spoken := e == Submitted || e == Queried || ((e == Billed || e == Noticed) && next == Succeeded)
		if !spoken || (next == Succeeded) != (r.Outcome == driver.Succeeded) || (next == Declined) != (r.Outcome == driver.Declined) {
			t.Errorf("Next(%s, %s, %q) = %s", s, e, r.Outcome, next)
		}
	})
}

func TestWhatMayHaveBeenActedOnNeverBecomesUnsent(t *testing.T) {
	every(func(s State, e Event, r driver.Result) {
		next, err := Next(s, e, r)
		if s == Unknown && err == nil && (next == Created || next == Sent) {
			t.Errorf("Next(unknown, %s, %s) = %s", e, r.Outcome, next)
		}
		if s == Sent && next == Created && e != NotSent {
			t.Errorf("Next(sent, %s, %s) = created", e, r.Outcome)
		}
	})
}

func TestAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	safe := driver.Description{ResubmitSafe: true, QuietTime: time.Minute, PollEvery: 5 * time.Second}
	unsafe := safe
	unsafe.ResubmitSafe = false
	long, recent, later := now.Add(-time.Hour), now.Add(-time.Second), now.Add(30*time.Second)
	poll := now.Add(5 * time.Second)
	for _, c := range []struct {
		name      string
		s         State
		e         Event
		r         driver.Result
		d         driver.Description
		submitted time.Time
		want      Action
	}{
		{"a new charge is submitted now", Created, "", driver.Result{}, safe, time.Time{}, Action{Submit, now}},
		{"a charge that was not sent waits", Created, NotSent, driver.Result{}, safe, recent, Action{Submit, poll}},
		{"nothing to do about success", Succeeded, Submitted, driver.Result{}, safe, recent, Action{Do: Nothing}},
		{"a lost reply is asked about at once", Unknown, Lost, driver.Result{}, safe, recent, Action{Query, now}},
		{"an unknown item is asked about at once", Unknown, Submitted, driver.Result{}, safe, recent, Action{Query, now}},
		{"the provider names the instant of the same again", Unknown, Submitted, driver.Result{RetryAt: later}, safe, recent, Action{Resubmit, later}},
		{"or of the question, where the same again is not safe", Unknown, Submitted, driver.Result{RetryAt: later}, unsafe, recent, Action{Query, later}},
		{"an instant that has passed is now", Unknown, Submitted, driver.Result{RetryAt: long}, safe, recent, Action{Resubmit, now}},
		{"a query that says nothing is repeated at the cadence", Unknown, Queried, driver.Result{}, safe, long, Action{Query, poll}},
		{"absent is believed after the quiet time", Unknown, Queried, driver.Result{Outcome: driver.Absent}, safe, long, Action{Resubmit, now}},
		{"and not before", Unknown, Queried, driver.Result{Outcome: driver.Absent}, safe, recent, Action{Query, poll}},
		{"and never where the same again is not safe", Unknown, Queried, driver.Result{Outcome: driver.Absent}, unsafe, long, Action{Query, poll}},
		{"no retry at all by time alone", Unknown, Queried, driver.Result{Outcome: driver.Accepted}, safe, long, Action{Query, poll}},
	} {
		if got := After(c.s, c.e, c.r, c.d, c.submitted, now); got != c.want {
			t.Errorf("%s: After = %+v; want %+v", c.name, got, c.want)
		}
	}
}
