package denylist

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
)

// A stream gives indices, ascending, one after another.
type stream interface {
	next() (idx uint32, ok bool)
}

// A slice is a stream of what it holds.
type slice struct{ rest []uint32 }

func (s *slice) next() (uint32, bool) {
	if len(s.rest) == 0 {
		return 0, false
	}
	idx := s.rest[0]
	s.rest = s.rest[1:]
	return idx, true
}

// A cursor walks through a list.
type cursor struct {
	l  *List
	r  bitReader
	i  uint32
	at uint32
}

func (l *List) cursor() *cursor { return &cursor{l: l, r: bitReader{bytes: l.gaps}} }

func (c *cursor) next() (uint32, bool) {
	if c.i == c.l.count {
		return 0, false
	}
	if c.i%blockSize == 0 {
		c.at = c.l.first(int(c.i / blockSize))
	} else {
		c.at += c.r.gap(c.l.rice) + 1
	}
	c.i++
	return c.at, true
}

// A merger is a list with a delta applied: what the list holds but for removes,
// and adds. Both say how things end, so an index that is there or gone already is
// no error.
type merger struct {
	old           cursor
	head          uint32 // of old
	more          bool
	adds, removes []uint32
}

func merge(l *List, adds, removes []uint32) *merger {
	m := &merger{old: *l.cursor(), adds: adds, removes: removes}
	m.head, m.more = m.old.next()
	return m
}

func (m *merger) next() (uint32, bool) {
	for m.more && len(m.removes) > 0 && m.head >= m.removes[0] {
		if m.head == m.removes[0] {
			m.head, m.more = m.old.next()
		}
		m.removes = m.removes[1:]
	}
	switch {
	case len(m.adds) > 0 && (!m.more || m.adds[0] <= m.head):
		idx := m.adds[0]
		m.adds = m.adds[1:]
		if m.more && m.head == idx {
			m.head, m.more = m.old.next()
		}
		return idx, true
	case m.more:
		idx := m.head
		m.head, m.more = m.old.next()
		return idx, true
	}
	return 0, false
}

// Changes gives what was added to and removed from before to make after, both
// ascending. A nil before was empty.
func Changes(before, after *List) (adds, removes []uint32) {
	if before == nil {
		return slices.Collect(after.All), nil
	}
	a, b := before.cursor(), after.cursor()
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
	buf []byte
}

func newDigest(issued uint32) *digest {
	d := &digest{sha256.New(), make([]byte, 0, 4096)}
	d.add(issued)
	return d
}

func (d *digest) add(n uint32) {
	d.buf = binary.BigEndian.AppendUint32(d.buf, n)
	if len(d.buf) == cap(d.buf) {
		_, _ = d.sha.Write(d.buf) // a hash does not fail
		d.buf = d.buf[:0]
	}
}

func (d *digest) sum() [hashSize]byte {
	_, _ = d.sha.Write(d.buf)
	d.buf = d.buf[:0]
	return [hashSize]byte(d.sha.Sum(nil))
}
