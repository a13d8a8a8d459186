package denylist

import "math/bits"

// bestRice gives the k that codes denied in the fewest bits, the smaller of two
// equal ones; 0 when there is no gap to code.
func bestRice(denied []uint32) uint8 {
	var quotients [maxRice + 1]uint64
	gaps := uint64(0)
	for i, idx := range denied {
		if i%blockSize == 0 {
			continue
		}
		gap := uint64(idx - denied[i-1] - 1)
		gaps++
		for k := 0; gap > 0 && k <= maxRice; k++ {
			quotients[k] += gap
			gap >>= 1
		}
	}
	best := 0
	for k := range quotients {
		if quotients[k]+gaps*uint64(k) < quotients[best]+gaps*uint64(best) {
			best = k
		}
	}
	return uint8(best)
}

// A bitWriter appends bits, the least significant of each byte first.
type bitWriter struct {
	bytes []byte
	bits  uint64
}

func (w *bitWriter) put(bit uint32) {
	if w.bits%8 == 0 {
		w.bytes = append(w.bytes, 0)
	}
	w.bytes[w.bits/8] |= byte(bit) << (w.bits % 8)
	w.bits++
}

func (w *bitWriter) rice(gap uint32, k uint8) {
	for range gap >> k {
		w.put(1)
	}
	w.put(0)
	for i := range k {
		w.put(gap >> i & 1)
	}
}

type bitReader struct {
	bytes []byte
	at    uint64 // in bits
}

// window gives at least 57 bits from r.at on, zeros behind the end.
func (r *bitReader) window() uint64 {
	i, w := r.at/8, uint64(0)
	if i+8 <= uint64(len(r.bytes)) {
		b := r.bytes[i : i+8 : i+8]
		w = uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
	} else {
		for j := uint64(0); i+j < uint64(len(r.bytes)); j++ {
			w |= uint64(r.bytes[i+j]) << (8 * j)
		}
	}
	return w >> (r.at % 8)
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
