package terminal

import (
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// replayMemory holds the displays a terminal accepted, by what they are
// (credential and counter) and never by their bytes. An entry is kept until the
// display's window is over by twice the largest skew any rule set may allow.
type replayMemory struct {
	until map[code.Use]int64 // unix milliseconds
	sweep int                // size at which entries that are over go
}

func newReplayMemory() *replayMemory {
	return &replayMemory{until: make(map[code.Use]int64), sweep: 256}
}

// keepUntil is when a display can be forgotten: later it is refused as expired
// under every rule set.
func keepUntil(c *code.Code) int64 { return (c.GeneratedAt + c.Window + 2*accept.SkewMax) * 1000 }

func (m *replayMemory) seen(u code.Use) bool {
	_, ok := m.until[u]
	return ok
}

// add remembers c. Entries go by floor, the proven time, and not by a clock
// that may be put back.
func (m *replayMemory) add(c *code.Code, floor int64) {
	m.until[c.Use()] = keepUntil(c)
	if len(m.until) < m.sweep {
		return
	}
	for u, until := range m.until {
		if until < floor {
			delete(m.until, u)
		}
	}
	m.sweep = max(256, 2*len(m.until))
}
