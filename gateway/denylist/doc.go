// Package denylist is the signed list of denied credentials that a validator
// holds while it is offline.
//
// Every credential has a dense index inside a list of its issuer, so a deny
// list is a set of small integers and needs no filter: [List.Denied] is exact,
// without false positives, and 100,000 of 10,000,000 fit into about 105 KB
// (Golomb-Rice, within 6 % of what counting allows).
//
// An issuer makes a list with [Build] and [List.Sign]; a validator reads one
// with [Open], which checks the signature before it looks inside, and asks
// [List.Replaces] whether it may take the place of the one it holds. What to do
// without a fresh list is policy and not decided here.
//
// The snapshot, big endian:
//
//	"DL1S" | issuer 2 | list 2 | seq 4 | built_at 4 | valid_until 4 | n 4 | r 4 | k 1 | 7 |
//	skip index: (first index 4, bit offset 4) per block of 128 |
//	gaps: per index after a block's first, gap-1 in Rice code | set hash 32 | kid 1 | signature 64
//
// n is the number of credentials issued in the list, r the number denied. The
// gaps are one stream of bits, least significant bit of each byte first: a
// quotient in ones ended by a zero, then k low bits. k is the one that makes the
// list smallest, the smaller of two equal. The set hash is SHA-256 over n and
// the sorted indices, each 4 bytes. The signature is pure Ed25519 over every
// byte before it; the magic keeps it apart from everything else the key signs.
//
// Promises: one set has one byte form (what [Parse] takes, [List.Sign] makes
// again, fuzzed); a decoder reads at most [MaxBytes] and allocates in proportion
// to its input; a list that is not what its hash says is refused.
//
// Limits: snapshots only. A delta would be an object of its own ("DL1D") that
// ends in the same set hash, which is why the hash is in the format already.
package denylist
