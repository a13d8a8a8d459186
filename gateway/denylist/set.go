package denylist

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"
	"slices"
)

// A stream gives indices, ascending, some at a time. A chunk is never empty but at
// the end, and good until the next.
type stream interface {
	chunk() []uint32
}

// A slice is a stream of what it holds.
type slice struct{ rest []uint32 }

func (s *slice) chunk() []uint32 {
	all := s.rest
	s.rest = nil
	return all
}

// A cursor walks through a list, block by block.
type cursor struct {
	l     *List
	r     bitReader
	block int
	buf   [blockSize]uint32
}

func (l *List) cursor() *cursor { return &cursor{l: l, r: bitReader{bytes: l.gaps}} }

func (c *cursor) chunk() []uint32 {
	size := min(int(c.l.count)-c.block*blockSize, blockSize)
	if size <= 0 {
		return nil
	}
	at := c.l.first(c.block)
	c.block++
	c.buf[0] = at
	k, n := uint(c.l.rice), 1
	for n < size {
		w, left := c.r.window(), uint(57)
		for n < size {
			quotient := uint(bits.TrailingZeros64(^w))
			taken := quotient + 1 + k
			if taken > left {
				break
			}
			at += uint32(quotient)<<k + uint32(w>>(quotient+1))&(1<<k-1) + 1
			c.buf[n&(blockSize-1)] = at
			w, left, n = w>>taken, left-taken, n+1
		}
		c.r.at += uint64(57 - left)
		if left == 57 && n < size { // a gap larger than a load
			at += c.r.gap(c.l.rice) + 1
			c.buf[n] = at
			n++
		}
	}
	return c.buf[:size]
}

// A walker gives the indices of a list one at a time.
type walker struct {
	c    *cursor
	rest []uint32
}

func (w *walker) next() (uint32, bool) {
	if len(w.rest) == 0 {
		if w.rest = w.c.chunk(); len(w.rest) == 0 {
			return 0, false
		}
	}
	idx := w.rest[0]
	w.rest = w.rest[1:]
	return idx, true
}

// A merger is a list with a delta applied: what the list holds but for removes,
// and adds. Both say how things end, so an index that is there or gone already is
// no error.
type merger struct {
	old           *cursor
	adds, removes []uint32
	out           []uint32
}

func merge(l *List, adds, removes []uint32) *merger {
	return &merger{old: l.cursor(), adds: adds, removes: removes}
}

func (m *merger) chunk() []uint32 {
	for {
		old := m.old.chunk()
		if len(old) == 0 {
			rest := m.adds
			m.adds = nil
			return rest
		}
		last := old[len(old)-1]
		adds, removes := upTo(&m.adds, last), upTo(&m.removes, last)
		if len(adds) == 0 && len(removes) == 0 {
			return old // as most are
		}
		m.out = m.out[:0]
		for _, idx := range old {
			for len(adds) > 0 && adds[0] < idx {
				m.out = append(m.out, adds[0])
				adds = adds[1:]
			}
			if len(adds) > 0 && adds[0] == idx {
				adds = adds[1:]
			}
			for len(removes) > 0 && removes[0] < idx {
				removes = removes[1:]
			}
			if len(removes) == 0 || removes[0] != idx {
				m.out = append(m.out, idx)
			}
		}
		if len(m.out) > 0 {
			return m.out
		}
	}
}

// upTo takes what is not above last off the front of a set.
func upTo(set *[]uint32, last uint32) []uint32 {
	n := 0
	for n < len(*set) && (*set)[n] <= last {
		n++
	}
	taken := (*set)[:n]
	*set = (*set)[n:]
	return taken
}

// Changes gives what was added to and removed from before to make after, both
// ascending. A nil before was empty.
func Changes(before, after *List) (adds, removes []uint32) {
	if before == nil {
		return slices.Collect(after.All), nil
	}
	a, b := walker{c: before.cursor()}, walker{c: after.cursor()}
	x, moreA := a.next()
	y, moreB := b.next()
	for moreA || moreB {
		switch {
		case !moreB || moreA && x < y:
			removes = append(removes, x)
			x, moreA = a.next()
		case !moreA || y < x:
			adds = append(adds, y)
			y, moreB = b.next()
		default:
			x, moreA = a.next()
			y, moreB = b.next()
		}
	}
	return adds, removes
}

// A digest makes the set hash.
type digest struct {
	sha hash.Hash
	buf [4096]byte
	n   int
}

func newDigest(issued uint32) *digest {
	d := &digest{sha: sha256.New()}
	d.add(issued)
	return d
}

func (d *digest) add(index uint32) {
	binary.BigEndian.PutUint32(d.buf[d.n:], index)
	if d.n += 4; d.n == len(d.buf) {
		_, _ = d.sha.Write(d.buf[:]) // a hash does not fail
		d.n = 0
	}
}

func (d *digest) sum() [hashSize]byte {
	_, _ = d.sha.Write(d.buf[:d.n])
	d.n = 0
	return [hashSize]byte(d.sha.Sum(nil))
}
