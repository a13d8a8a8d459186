// Package denylist is the signed list of denied credentials that a validator
// holds while it is offline, and how it is kept fresh.
//
// Every credential has a dense index inside a list of its issuer, so a deny
// list is a set of small integers and needs no filter: [List.Denied] is exact,
// without false positives, and 1,000,000 of 100,000,000 fit into 1.07 MB
// (Golomb-Rice, within 6 % of what counting allows).
//
// An issuer makes a list with [Build] and [List.Sign], and the delta that leads
// to it with [List.To]. A validator reads one with [Open] or [OpenDelta], which
// check the signature before they look inside, makes the next list of a delta with
// [Delta.Apply], asks [List.Replaces] whether it may take the place of the one it
// holds, and keeps [List.Stored] on its disk. A [Heartbeat] tells it that there is
// nothing newer. What to do without a fresh list is policy and not decided here.
//
// All integers are big endian. The snapshot:
//
//	"DL1S" | issuer 2 | list 2 | seq 4 | built_at 4 | valid_until 4 | n 4 | r 4 | k 1 | 7 |
//	skip index: (first index 4, bit offset 4) per block of 128 |
//	gaps: per index after a block's first, gap-1 in Rice code | set hash 32 | kid 1 | signature 64
//
// n is the number of credentials issued in the list, rounded up; r the number
// denied. The gaps are one stream of bits, least significant bit of each byte
// first: a quotient in ones ended by a zero, then k low bits. k is the one that
// makes the list smallest, the smaller of two equal. The set hash is SHA-256 over
// n and the sorted indices, each 4 bytes. The signature is pure Ed25519 over the
// magic and the SHA-256 of every byte before the signature.
//
// The delta:
//
//	"DL1D" | issuer 2 | list 2 | from_seq 4 | to_seq 4 | built_at 4 | valid_until 4 | n 4 |
//	adds 2 | removes 2 | gaps of the adds, then of the removes | set hash 32 | kid 1 | signature 64
//
// The first gap of each set counts from 0, the others are gap-1; both sets are one
// stream. k is not written: it is the floor of log2(n / count), at most 24. n and
// the set hash are those of the list at to_seq.
//
// A delta says of every index that changed after from_seq whether it is denied at
// to_seq. So it fits every list from from_seq to just before to_seq and not only
// the one at from_seq: where an index came and went in between, it says that it is
// gone. A handful of deltas a publication then serves everybody who was away for
// up to a week with one object; without it every sequence number of that week
// would need a delta of its own. The set hash decides: a result that is not what
// the issuer signed is refused as [ErrForked].
//
// The heartbeat:
//
//	"DL2H" | issuer 2 | time 4 | lists 2 | per list: list 2, seq 4, mark 16 |
//	per list: blocks 1, if any: day 2, then per block: size, days since the block before (from the second on) |
//	valid_until 4 | kid 1 | signature 64
//
// with every live list of the issuer, ascending. The mark is the first half of the
// set hash, and zeros for a list that denies nobody. Sizes are unsigned varints and
// days signed ones, as encoding/binary writes them; 0 blocks: it does not say.
//
// The blocks tell a validator on which day an index can have been issued, so that
// it refuses what was never issued while it is offline ([Heartbeat.NeverIssued]).
// They are here and not in the trust bundle because a list opens blocks every day,
// a bundle comes every week and may need people to sign it: with blocks of the
// week before a forger would only have to date a credential today. Room is no
// reason, a list's week takes about 40 bytes in either. Whoever holds the issuer's
// credential key alone cannot move them: another key signs heartbeats.
//
// Promises: one set, one change and one heartbeat have one byte form each (what is
// parsed marshals back, fuzzed); a delta makes, byte for byte, the code of the
// snapshot it leads to; a decoder reads at most [MaxBytes] and allocates in
// proportion to its input; a list that is not what its hash says is refused.
// Applying a delta keeps no second copy of the set in memory.
package denylist
