package terminal

import (
	"math"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// replayMemory holds the displays a terminal accepted, by what they are
// (credential and counter) and never by their bytes. An entry is kept until the
// display's window is over by twice the largest skew any rule set may allow.
//
// Most displays are of credentials with a counter, and a terminal may have half a
// megabyte for everything: those take 16 bytes and their share of the map.
type replayMemory struct {
	counted map[countedUse]uint32 // unix seconds
	once    map[[32]byte]uint32   // displays that are their own name
	other   map[code.Use]uint32   // with both
	sweep   int                   // size at which entries that are over go
}

// A countedUse is a display by its credential and counter.
type countedUse struct {
	rider   citygate.Rider
	counter uint16
}

func newReplayMemory() *replayMemory {
	return &replayMemory{counted: map[countedUse]uint32{}, once: map[[32]byte]uint32{}, other: map[code.Use]uint32{}, sweep: 256}
}

// keepUntil is when a display can be forgotten: later it is refused as expired
// under every rule set. Unix seconds; the last one there is for what would be
// later.
func keepUntil(c *code.Code) uint32 {
	return uint32(min(max(c.GeneratedAt+c.Window+2*accept.SkewMax, 0), math.MaxUint32))
}

func (m *replayMemory) seen(u code.Use) (ok bool) {
	switch {
	case u.Once == [32]byte{}:
		_, ok = m.counted[countedUse{u.Rider, u.Counter}]
	case u.Rider == citygate.Rider{} && u.Counter == 0:
		_, ok = m.once[u.Once]
	default:
		_, ok = m.other[u]
	}
	return ok
}

func (m *replayMemory) size() int { return len(m.counted) + len(m.once) + len(m.other) }

// add remembers c. Entries go by floor, the proven time in milliseconds, and not
// by a clock that may be put back.
func (m *replayMemory) add(c *code.Code, floor int64) {
	switch u := c.Use(); {
	case u.Once == [32]byte{}:
		m.counted[countedUse{u.Rider, u.Counter}] = keepUntil(c)
	case u.Rider == citygate.Rider{} && u.Counter == 0:
		m.once[u.Once] = keepUntil(c)
	default:
		m.other[u] = keepUntil(c)
	}
	if m.size() < m.sweep {
		return
	}
	over(m.counted, floor)
	over(m.once, floor)
	over(m.other, floor)
	m.sweep = max(256, 2*m.size())
}

// over drops what is over at floor.
func over[K comparable](until map[K]uint32, floor int64) {
	for k, at := range until {
		if int64(at)*1000 < floor {
			delete(until, k)
		}
	}
}
