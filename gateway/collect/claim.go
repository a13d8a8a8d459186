package collect

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants"
)

// inParallel runs do over parts of 0..n on all cores.
func inParallel(n int, do func(from, to int)) {
	const least = 16 // below this a goroutine costs more than it brings
	workers := min(runtime.GOMAXPROCS(0), (n+least-1)/least)
	if workers < 2 {
		do(0, n)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { do(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}

// A claim is one item on its way through Accept.
type claim struct {
	interbook.Claim
	index   int // in the batch as it came
	account Account
	had     int64 // accepted of the journey before
	hadDate citygate.Date
	stay    *Stay // the terms of its first tap; nil = of one tree
	beyond  int64 // how much of it goes beyond the highest sum of the day, at the operator's risk
	delta   int64
	refused []interbook.TapVerdict
	reason  interbook.ClaimReason // it is refused whatever its taps are, and leaves no trace
	stored  bool                  // a claim for the journey was stored before
	first   bool                  // nothing was accepted of the journey before
	stale   bool                  // a claim as new or newer is stored; accepted says what became of it
	was     bool                  // the stale claim was accepted

	withdrawn bool // it is refused, and what was accepted before rests on a tap another journey has now
}

// newest gives the last claim of each journey, ordered by rider, time and
// journey: claims are absolute, so those before it say nothing more.
func newest(items []interbook.Claim) []*claim {
	last := make(map[citygate.UUID]int, len(items))
	for i, it := range items {
		if j, ok := last[it.Journey]; !ok || items[j].N < it.N {
			last[it.Journey] = i
		}
	}
	out := make([]*claim, 0, len(last))
	for i, it := range items {
		if last[it.Journey] == i {
			out = append(out, &claim{Claim: it, index: i})
		}
	}
	slices.SortFunc(out, func(a, b *claim) int {
		return cmp.Or(a.Rider.Compare(b.Rider), a.at().Compare(b.at()), bytes.Compare(a.Journey[:], b.Journey[:]))
	})
	return out
}

// at is when the claim's transfers take effect.
func (c *claim) at() time.Time {
	at := c.At
	if at.IsZero() && len(c.Taps) > 0 {
		at = c.Taps[0].EventTime
	}
	if at.IsZero() {
		at = c.BusinessDate.Time()
	}
	return at.UTC().Truncate(time.Microsecond)
}

// settled reports whether nothing is left to be judged or stored of the claim.
func (c *claim) settled() bool { return c.stale || c.reason != "" }

func (c *claim) refuse(t *interbook.ClaimTap, reason code.Reason) {
	c.refused = append(c.refused, interbook.TapVerdict{Terminal: t.Terminal, Seq: t.Seq, Reason: reason})
}

func (c *claim) refuseAll(reason code.Reason) {
	for i := range c.Taps {
		c.refuse(&c.Taps[i], reason)
	}
}

// A use is one tap's claim to one display of a credential.
type use struct {
	claim    *claim
	tap      *interbook.ClaimTap
	digest   [sha256.Size]byte
	operator citygate.TenantID
}

func (u *use) key() useKey { return useKey{u.claim.Rider.List, u.claim.Rider.Index, u.tap.Counter} }

type useKey struct {
	list uint16
	idx  uint32
	ctr  uint16
}

func (k useKey) compare(o useKey) int {
	return cmp.Or(cmp.Compare(k.list, o.list), cmp.Compare(k.idx, o.idx), cmp.Compare(k.ctr, o.ctr))
}

// uses lists the taps of claims that are not refused, by key and then by time,
// terminal and sequence: where two of one batch collide, the earlier tap has it.
func uses(operator citygate.TenantID, claims []*claim) []*use {
	var out []*use
	for _, c := range claims {
		if c.settled() || len(c.refused) > 0 {
			continue
		}
		for i := range c.Taps {
			t := &c.Taps[i]
			out = append(out, &use{claim: c, tap: t, digest: sha256.Sum256(t.Evidence), operator: operator})
		}
	}
	slices.SortFunc(out, func(a, b *use) int {
		return cmp.Or(a.key().compare(b.key()), a.tap.EventTime.Compare(b.tap.EventTime),
			cmp.Compare(a.tap.Terminal, b.tap.Terminal), cmp.Compare(a.tap.Seq, b.tap.Seq),
			a.claim.at().Compare(b.claim.at()), bytes.Compare(a.claim.Journey[:], b.claim.Journey[:]))
	})
	return out
}

// A holder is the tap that has a display, and the claim that named it last.
type holder struct {
	operator      citygate.TenantID
	terminal, seq int64
	digest        []byte
	journey       citygate.UUID
	n             int
}

// tap reports whether u is the holder's own tap.
func (h *holder) tap(u *use) bool {
	return h.operator == u.operator && h.terminal == int64(u.tap.Terminal) && h.seq == int64(u.tap.Seq)
}

// judge refuses the taps of uses that another tap holds and gives those, with
// the riders whose credential was copied.
func judge(all []*use, holders map[useKey]holder) (conflicts []*use, cloned []citygate.Rider) {
	for _, u := range all {
		h, ok := holders[u.key()]
		if !ok || h.tap(u) {
			continue
		}
		reason := code.DoubleUse
		// A code of another scheme may be encoded again by anyone.
		if !bytes.Equal(h.digest, u.digest[:]) && !u.claim.Rider.Foreign() {
			reason = code.Clone
			cloned = append(cloned, u.claim.Rider)
		}
		u.claim.refuse(u.tap, reason)
		conflicts = append(conflicts, u)
	}
	slices.SortFunc(cloned, citygate.Rider.Compare)
	return conflicts, slices.Compact(cloned)
}

// clockSlack is how far a terminal's clock and a device's may be apart for a tap
// to be believed: readers without a network run wrong by hours, not by days.
const clockSlack = 24 * time.Hour

// hold refuses the taps that proofs, which are in their order, do not bear out.
// A credential's cap is what its rider agreed to pay for one tap, so no journey
// costs more than the caps of its displays.
// Terms with an operator of another tree, nil for one of ours, may admit less.
func (c *claim) hold(now time.Time, proofs []Proof, capUnit int64, abroad Abroad) {
	promised := int64(0)
	counted := make(map[uint16]bool, len(c.Taps))
	for i := range c.Taps {
		t, p := &c.Taps[i], proofs[i]
		made, expires := time.Unix(p.GeneratedAt, 0), time.Unix(p.ExpiresAt, 0)
		switch {
		case t.EventTime.Before(now.Add(-tenants.ClaimsWithin)):
			c.refuse(t, code.TooLate) // who had the display may be erased
		case p.Reason != "":
			c.refuse(t, p.Reason)
		case p.Use != code.Use{Rider: c.Rider, Counter: t.Counter}:
			c.refuse(t, code.Malformed) // the code is another rider's, or another display
		case !made.Before(expires):
			c.refuse(t, code.ExpiredCredential)
		case t.EventTime.After(made.Add(time.Duration(p.Window)*time.Second + clockSlack)):
			c.refuse(t, code.ExpiredCode)
		case t.EventTime.Before(made.Add(-clockSlack)):
			c.refuse(t, code.NotYetValid)
		case !counted[t.Counter]:
			counted[t.Counter] = true
			most := p.promise(capUnit)
			if abroad != nil {
				s := abroad(t.EventTime, p.Scheme, p.Product)
				if s.Reason != "" {
					c.refuse(t, s.Reason)
				}
				if s.CapMinor > 0 {
					most = min(most, s.CapMinor)
				}
				if c.stay == nil {
					c.stay = &s
				}
			}
			promised = min(promised, 1<<60) + most // more than any fare, less than an overflow
		}
	}
	if len(c.refused) == 0 && c.Amount > promised {
		c.refuseAll(code.AmountOverCap)
	}
}

// promise is the highest fare that a code states, in minor units, 1<<60 if it
// states none.
func (p *Proof) promise(capUnit int64) int64 {
	switch {
	case p.CapMinor > 0:
		return min(p.CapMinor, 1<<60)
	case p.CapMinor < 0:
		return 1 << 60
	}
	return int64(p.Cap) * min(capUnit, 1<<40)
}

func sum256(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
