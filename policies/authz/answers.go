package authz

import (
	"hash/maphash"
	"math"
	mathbits "math/bits"
	"sync/atomic"
)

// nameRoom is how much of a member's name stands beside the answers.
const nameRoom = 30

// A desk keeps what was said of one member: a bit for each permission, for the
// own tenant and for those below. What was said is written before that it was.
//
// It is one line of the processor's cache, so that a decision about a member of
// a tenant that nobody asked about for a while waits for memory once, and not
// for each part of the question: this is what keeps 10,000 tenants near one.
type desk struct {
	known, allowed [2]atomic.Uint64
	who            named
}

// named is a name of 1 to 800 bytes, or as much of one as there is room for. The
// zero value is nobody's.
type named struct {
	size  uint16 // of the whole name
	start [nameRoom]byte
}

// desks finds members by name: open addressing, at most two in three places taken.
type desks struct {
	at    []desk
	tails []string // what did not fit into name; nil when all names did
}

// hashed is anew in each process; nothing that leaves it depends on the order.
var hashed = maphash.MakeSeed()

func newDesks(members map[string][]Role) desks {
	if len(members) == 0 {
		return desks{}
	}
	d := desks{at: make([]desk, 1<<mathbits.Len(uint(len(members)+len(members)/2)))}
	for name := range members {
		who, tail := split(name)
		i := d.start(name)
		for d.at[i].who.size != 0 {
			i = d.next(i)
		}
		d.at[i].who = who
		if tail != "" {
			if d.tails == nil {
				d.tails = make([]string, len(d.at))
			}
			d.tails[i] = tail
		}
	}
	return d
}

// split takes a name of at most 65,535 bytes apart.
func split(name string) (who named, tail string) {
	who.size = uint16(len(name))
	return who, name[copy(who.start[:], name):]
}

func (d desks) start(name string) int { return int(maphash.String(hashed, name) & uint64(len(d.at)-1)) }
func (d desks) next(i int) int        { return (i + 1) & (len(d.at) - 1) }

// of gives the desk of a member, compared by the whole name, or nil.
func (d desks) of(name string) *desk {
	if len(d.at) == 0 || name == "" || len(name) > math.MaxUint16 {
		return nil
	}
	who, tail := split(name)
	for i := d.start(name); d.at[i].who.size != 0; i = d.next(i) {
		if d.at[i].who == who && (d.tails == nil && tail == "" || d.tails != nil && d.tails[i] == tail) {
			return &d.at[i]
		}
	}
	return nil
}

// recall gives what was said of one permission, if anything was.
func (d *desk) recall(domain int, bit uint) (allowed, known bool) {
	if d.known[domain].Load()>>bit&1 == 0 {
		return false, false
	}
	return d.allowed[domain].Load()>>bit&1 == 1, true
}

func (d *desk) keep(domain int, bit uint, allowed bool) {
	if allowed {
		d.allowed[domain].Or(1 << bit)
	}
	d.known[domain].Or(1 << bit)
}
