package risk

import (
	"slices"
	"time"
)

// A Past is what is known of a token's charges before a decline.
type Past struct {
	DeclinesSinceApproval int  // this decline not among them
	FirstRideUsed         bool // ever
}

// Insures reports whether a decline of an amount may be captured as first-ride
// risk, which the scheme then pays for.
func (c *Contract) Insures(amount int64, p Past) bool {
	return c != nil && c.FirstRide > 0 && amount <= c.FirstRide && p.DeclinesSinceApproval == 0 && !p.FirstRideUsed
}

// A State is where a debt stands.
type State string

// The states.
const (
	Open       State = "open"
	Paid       State = "recovered"
	Corrected  State = "corrected" // nothing is owed any more because fares were corrected
	WrittenOff State = "written_off"
)

// A Debt is what is owed of one charge, and of nothing else.
type Debt struct {
	Amount    int64 // minor units still owed
	Liability Party
	State     State
	Reversal  bool // the bank took a payment back; else a charge was declined
	Since     time.Time
	Tries     []time.Time // of recovery, each on its day
}

// Opened gives the debt of a decline or reversal under a contract's terms.
func (c *Contract) Opened(amount int64, p Past, reversal bool, at time.Time) Debt {
	d := Debt{Amount: amount, Liability: Issuer, State: Open, Reversal: reversal, Since: at}
	if c != nil && c.Liability != "" {
		d.Liability = c.Liability
	}
	if !reversal && c.Insures(amount, p) {
		d.Liability = Provider
	}
	return d
}

// Next gives when a debt is tried again by schedule: on a day that had no try
// yet, where days are those of the zone, evenly over what the terms allow. False
// means never by schedule any more. A payment that the bank took back is never
// asked for again by itself: schemes forbid it.
func (c *Contract) Next(d *Debt, zone *time.Location) (time.Time, bool) {
	if c == nil || d.State != Open || d.Reversal || len(d.Tries) >= c.Retries {
		return time.Time{}, false
	}
	end := d.Since.AddDate(0, 0, c.WithinDay)
	next := d.Since.AddDate(0, 0, (len(d.Tries)+1)*max(1, c.WithinDay/(c.Retries+1)))
	for d.triedOn(next, zone) || sameDay(next, d.Since, zone) {
		next = next.AddDate(0, 0, 1)
	}
	return next, !next.After(end)
}

// May reports whether somebody may try to recover a debt now. A rider who wants
// to pay always may, unless the terms name others alone; one day has one try that
// is not the rider's own.
func (c *Contract) May(d *Debt, by Source, now time.Time, zone *time.Location) bool {
	if d.State != Open {
		return false
	}
	named := c != nil && len(c.Recovery) > 0
	switch by {
	case ByRider:
		return !named || slices.Contains(c.Recovery, ByRider)
	case ByTap:
		return named && !d.Reversal && slices.Contains(c.Recovery, ByTap) && !d.triedOn(now, zone)
	default:
		at, ok := c.Next(d, zone)
		return ok && !now.Before(at)
	}
}

func (d *Debt) triedOn(at time.Time, zone *time.Location) bool {
	return slices.ContainsFunc(d.Tries, func(t time.Time) bool { return sameDay(t, at, zone) })
}

func sameDay(a, b time.Time, zone *time.Location) bool {
	ay, am, ad := a.In(zone).Date()
	by, bm, bd := b.In(zone).Date()
	return ay == by && am == bm && ad == bd
}

// Blocked reports whether a rider is blocked for debts: as long as one is open
// that was not written off, and, where the scheme asks for it, until something was
// approved since the last decline. A reversed payment blocks for its own debt
// alone: once that is paid, or the dispute is over, nothing of it is left.
func (c *Contract) Blocked(debts []Debt, lastApproval time.Time) bool {
	var lastDecline time.Time
	for i := range debts {
		d := &debts[i]
		if d.State == Open && d.Amount > 0 && (!d.Reversal || c == nil || c.Reversed != ReversedOwed) {
			return true
		}
		if !d.Reversal && d.State != Corrected {
			last := d.Since
			for _, t := range d.Tries {
				if t.After(last) && d.State != Paid {
					last = t
				}
			}
			if last.After(lastDecline) {
				lastDecline = last
			}
		}
	}
	return c != nil && c.Unblock == OnApproval && !lastDecline.IsZero() && !lastApproval.After(lastDecline)
}
