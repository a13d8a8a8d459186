package denylist

import (
	"encoding/binary"
	"math"
	"sort"
)

// A Block is a range of indices of a list from which credentials of one day are
// issued. Inside of it the order is a secret of the issuer's.
type Block struct {
	Day   int64  // of issue: days since 1970, UTC
	First uint32 // index
	Size  uint32
}

// Blocks are the blocks of a list, ascending. Together they have no gap: the
// first one starts at 0 and n of the list is where the last one ends.
type Blocks []Block

// Day gives the day of an instant (unix seconds).
func Day(at int64) int64 { return at / (24 * 3600) }

// Hold reports whether a credential at idx can have been issued at issuedAt
// (unix seconds): its index lies in a block of that day. One that does not was
// never issued, whoever signed it.
func (b Blocks) Hold(idx uint32, issuedAt int64) bool {
	i := sort.Search(len(b), func(i int) bool { return b[i].First > idx }) - 1
	return i >= 0 && idx-b[i].First < b[i].Size && b[i].Day == Day(issuedAt)
}

// BlocksMax is how many blocks of one list a heartbeat carries.
const BlocksMax = 255

// end is the first index after the blocks.
func (b Blocks) end() uint32 { return b[len(b)-1].First + b[len(b)-1].Size }

// valid reports whether b can be in a heartbeat: no gap, nothing empty, of days
// that two bytes can tell.
func (b Blocks) valid() bool {
	if len(b) > BlocksMax {
		return false
	}
	next := uint64(0)
	for _, x := range b {
		if uint64(x.First) != next || x.Size == 0 || x.Day < 0 || x.Day > math.MaxUint16 {
			return false
		}
		next += uint64(x.Size)
	}
	return next <= math.MaxUint32
}

// append writes the number of blocks, and if there are any the first one's day in
// two bytes and, of each, its size and the days since the one before, as varints.
func (b Blocks) append(raw []byte) []byte {
	raw = append(raw, byte(len(b)))
	if len(b) == 0 {
		return raw
	}
	raw = binary.BigEndian.AppendUint16(raw, uint16(b[0].Day))
	for i, x := range b {
		raw = binary.AppendUvarint(raw, uint64(x.Size))
		if i > 0 {
			raw = binary.AppendVarint(raw, x.Day-b[i-1].Day)
		}
	}
	return raw
}

// parseBlocks reads what append wrote and nothing else.
func parseBlocks(raw []byte) (b Blocks, rest []byte, ok bool) {
	if len(raw) == 0 || raw[0] == 0 {
		return nil, raw[min(1, len(raw)):], len(raw) > 0
	}
	if len(raw) < 3 {
		return nil, nil, false
	}
	count, day := int(raw[0]), int64(binary.BigEndian.Uint16(raw[1:]))
	rest = raw[3:]
	if len(rest) < 2*count-1 { // a byte for each number
		return nil, nil, false
	}
	b = make(Blocks, 0, count)
	next := uint64(0)
	for i := range count {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > math.MaxUint32 || n > 1 && rest[n-1] == 0 {
			return nil, nil, false
		}
		rest = rest[n:]
		if i > 0 {
			days, n := binary.Varint(rest)
			if n <= 0 || n > 1 && rest[n-1] == 0 {
				return nil, nil, false
			}
			day, rest = day+days, rest[n:]
		}
		b = append(b, Block{Day: day, First: uint32(next), Size: uint32(size)})
		if next += size; next > math.MaxUint32 {
			return nil, nil, false
		}
	}
	return b, rest, b.valid()
}
