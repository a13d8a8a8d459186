package terminal

import (
	"math"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// Bounds of what a terminal remembers of riders. Beyond them it forgets: a limit
// then lets more through, and never refuses what it should not.
const (
	ridersMax    = 1 << 14
	riderTapsMax = 64 // accepted taps of one rider in one hour
)

// A riderMemory holds what limits ask about riders' earlier taps at this terminal.
// It is kept only while the policy has such limits, and comes back from the journal.
type riderMemory struct {
	of map[code.Subject]*riderDay
}

// A riderDay is what one rider did here: on the local day of the last tap, and in
// the hour before it.
type riderDay struct {
	day      int64
	taps     int64
	minor    int64
	currency citygate.Currency
	times    []int64 // unix milliseconds, of the last hour
}

func newRiderMemory() *riderMemory { return &riderMemory{of: make(map[code.Subject]*riderDay)} }

const hour = 3600_000 // milliseconds

// remembering gives the table in force at an instant if it asks about earlier taps.
func remembering(rules *accept.Rules, at int64) *accept.Table {
	if rules == nil {
		return nil
	}
	if t := rules.InForce(at).Table; t.Remembers() {
		return t
	}
	return nil
}

// keepUntil is until when the record of an accepted tap is needed to know the
// rider's day and hour again after a restart.
func (m *riderMemory) keepUntil(rules *accept.Rules, at int64) int64 {
	t := remembering(rules, at)
	if t == nil {
		return 0
	}
	_, second := t.Local(at)
	const longest = 25 * 3600 // a day on which summer time ends
	return at + max(longest-second, 3600)*1000
}

// about gives what is known of the rider of c, this tap counted in.
func (m *riderMemory) about(rules *accept.Rules, c *code.Code, f accept.Facts) accept.Memory {
	t := remembering(rules, f.At)
	if t == nil {
		return accept.Memory{}
	}
	known := accept.Memory{Known: true, DayTaps: 1, HourTaps: 1, SinceLast: accept.NeverBefore}
	if f.Fare.Currency != "" {
		known.DayMinor = f.Fare.Minor
	}
	r := m.of[c.Subject()]
	if r == nil {
		return known
	}
	if day, _ := t.Local(f.At); day == r.day {
		known.DayTaps += r.taps
		if f.Fare.Currency == r.currency {
			known.DayMinor = sum(known.DayMinor, r.minor)
		}
	}
	for _, at := range r.times {
		if at > f.At-hour {
			known.HourTaps++
		}
	}
	if n := len(r.times); n > 0 {
		known.SinceLast = max(0, (f.At-r.times[n-1])/1000)
	}
	return known
}

// add remembers an accepted tap.
func (m *riderMemory) add(rules *accept.Rules, c *code.Code, at int64, fare citygate.Money) {
	t := remembering(rules, at)
	if t == nil {
		return
	}
	r := m.of[c.Subject()]
	if r == nil {
		m.room(at)
		r = new(riderDay)
		m.of[c.Subject()] = r
	}
	if day, _ := t.Local(at); day != r.day {
		r.day, r.taps, r.minor, r.currency = day, 0, 0, ""
	}
	r.taps++
	if fare.Currency != "" {
		if fare.Currency != r.currency {
			r.currency, r.minor = fare.Currency, 0
		}
		r.minor = sum(r.minor, fare.Minor)
	}
	from := 0
	for from < len(r.times) && (r.times[from] <= at-hour || len(r.times)-from >= riderTapsMax) {
		from++
	}
	r.times = append(r.times[:copy(r.times, r.times[from:])], at)
}

// room forgets riders when there are too many: those of other days first, then any.
func (m *riderMemory) room(at int64) {
	if len(m.of) < ridersMax {
		return
	}
	for s, r := range m.of {
		if r.times[len(r.times)-1] < at-24*hour {
			delete(m.of, s)
		}
	}
	for s := range m.of {
		if len(m.of) < ridersMax*3/4 {
			return
		}
		delete(m.of, s)
	}
}

// sum adds amounts that are not negative; one that does not fit stays the largest.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
