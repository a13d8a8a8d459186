package terminal

// behindMax is how far the given clock may lag the terminal's own time before
// it counts as unsure: the steps of a clock that is being disciplined.
const behindMax = 2000 // milliseconds

// A clock turns the clock the caller passes into a time that never goes back.
type clock struct {
	signed int64 // last signed time seen, unix milliseconds
	event  int64 // last accepted tap
	mono   uint64
	run    bool // event and mono were seen in this boot
}

// at gives the terminal's time and whether the given clock agrees with it.
func (c *clock) at(now int64, mono uint64) (at int64, sure bool) {
	floor := c.event
	if c.run && mono > c.mono {
		floor += int64(mono - c.mono)
	}
	floor = max(floor, c.signed)
	return max(now, floor), now >= floor-behindMax
}

// floor is a lower bound of the true time that no clock jump can raise: taps
// refused under a wrong clock do not count.
func (c *clock) floor() int64 { return max(c.signed, c.event) }

func (c *clock) accepted(at int64, mono uint64) {
	if at >= c.event {
		c.event, c.mono, c.run = at, mono, true
	}
}

// restored takes an accepted tap of an earlier boot from the journal.
func (c *clock) restored(at int64) { c.event = max(c.event, at) }

func (c *clock) saw(signed int64) { c.signed = max(c.signed, signed) }
