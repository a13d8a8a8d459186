package denylist

import "sort"

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
