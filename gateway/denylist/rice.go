package denylist

import (
	"encoding/binary"
	"math/bits"
)

// A bitWriter appends bits, the least significant of each byte first.
type bitWriter struct {
	bytes []byte
	held  uint64 // the bits after bytes
	n     uint   // how many: below 32 between calls
}

// put appends the n low bits of v, which has no others; n is at most 32.
func (w *bitWriter) put(v uint64, n uint) {
	w.held |= v << w.n
	if w.n += n; w.n >= 32 {
		w.bytes = binary.LittleEndian.AppendUint32(w.bytes, uint32(w.held))
		w.held >>= 32
		w.n -= 32
	}
}

func (w *bitWriter) rice(gap uint32, k uint8) {
	quotient := gap >> k
	for ; quotient >= 32; quotient -= 32 {
		w.put(1<<32-1, 32)
	}
	w.put(1<<quotient-1, uint(quotient)+1) // the ones and the zero; 32 bits at most
	w.put(uint64(gap)&(1<<k-1), uint(k))
}

// bits gives the number of bits written.
func (w *bitWriter) bits() uint64 { return uint64(len(w.bytes))*8 + uint64(w.n) }

// end gives all bytes, the last one padded with zeros. Nothing is written after.
func (w *bitWriter) end() []byte {
	for held, n := w.held, int(w.n); n > 0; n -= 8 {
		w.bytes = append(w.bytes, byte(held))
		held >>= 8
	}
	return w.bytes
}

type bitReader struct {
	bytes []byte
	at    uint64 // in bits
}

// window gives at least 57 bits from r.at on, zeros behind the end.
func (r *bitReader) window() uint64 {
	i, w := r.at/8, uint64(0)
	if i+8 <= uint64(len(r.bytes)) {
		w = binary.LittleEndian.Uint64(r.bytes[i:])
	} else {
		for j := uint64(0); i+j < uint64(len(r.bytes)); j++ {
			w |= uint64(r.bytes[i+j]) << (8 * j)
		}
	}
	return w >> (r.at % 8)
}

// gap reads one gap of a stream that was checked when it was read or made.
func (r *bitReader) gap(k uint8) uint32 {
	w := r.window()
	quotient := uint(bits.TrailingZeros64(^w))
	if quotient+1+uint(k) > 57 {
		gap, _ := r.rice(k, 1<<32-1)
		return gap
	}
	r.at += uint64(quotient) + 1 + uint64(k)
	return uint32(quotient)<<k | uint32(w>>(quotient+1))&(1<<k-1)
}

// rice reads one gap whose quotient is at most limit. ok is false when the
// stream ends or the quotient is larger.
func (r *bitReader) rice(k uint8, limit uint32) (gap uint32, ok bool) {
	quotient := uint64(0)
	for {
		ones := uint64(bits.TrailingZeros64(^r.window() | 1<<56)) // at most 56 at a time
		quotient += ones
		r.at += ones
		if ones < 56 {
			break
		}
		if quotient > uint64(limit) {
			return 0, false
		}
	}
	r.at++ // the zero
	low := r.window() & (1<<k - 1)
	r.at += uint64(k)
	if quotient > uint64(limit) || r.at > uint64(len(r.bytes))*8 {
		return 0, false
	}
	gap64 := quotient<<k | low
	return uint32(gap64), gap64 <= 1<<32-1
}

// done reports whether all that is left is the zero padding of the last byte.
func (r *bitReader) done() bool {
	return (r.at+7)/8 == uint64(len(r.bytes)) && r.window() == 0
}

// A riceCost adds up what coding gaps takes for a few neighbouring k.
//
// The number of bits is a convex function of k: from one k to the next it grows
// by one for each gap and shrinks by the sum of (gap>>k + 1) / 2, which only
// falls. So a minimum among neighbours is the minimum.
type riceCost struct {
	lo, hi uint8 // inclusive
	gaps   uint64
	sums   [maxRice + 1]uint64 // of the quotients, by k
}

func costsAround(k, reach uint8) riceCost {
	c := riceCost{hi: min(k+reach, maxRice)}
	if k > reach {
		c.lo = k - reach
	}
	return c
}

func (c *riceCost) add(gap uint32) {
	c.gaps++
	for k := c.lo; k <= c.hi; k++ {
		c.sums[k] += uint64(gap >> k)
	}
}

func (c *riceCost) bits(k uint8) uint64 { return c.sums[k] + c.gaps*(uint64(k)+1) }

// best gives the k that takes the fewest bits, the smaller of two equal ones;
// sure is false when it may lie outside of what was added up.
func (c *riceCost) best() (best uint8, sure bool) {
	best = c.lo
	for k := c.lo; k <= c.hi; k++ {
		if c.bits(k) < c.bits(best) {
			best = k
		}
	}
	return best, (best > c.lo || c.lo == 0) && (best < c.hi || c.hi == maxRice)
}

// usualRice gives the k that suits count of issued at random: the floor of
// log2(issued / count), at most maxRice; 0 for no indices.
func usualRice(issued, count uint32) uint8 {
	if count == 0 || issued/count == 0 {
		return 0
	}
	return uint8(min(bits.Len32(issued/count)-1, maxRice))
}
