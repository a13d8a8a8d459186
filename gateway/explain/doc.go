// Package explain makes the explanations of fare decisions things that anybody
// can check: each decision has a document in one canonical form, the documents of a
// batch are the leaves of a Merkle tree, and the tenant's explain key signs the root.
//
// # The document
//
// [Document] says what was decided, of which taps, by which version of the tariff
// (its number and the SHA-256 of its one JSON form), with the steps to the amount
// and what every cap stood at before and after. Its canonical form is JSON of UTF-8
// without white space, the names of objects ascending by bytes, no name twice,
// numbers whole and in decimal, and no character escaped but the quotation mark, the
// backslash and those below U+0020 ([Canonical]).
//
// # The tree
//
// As RFC 9162 has it, with domains of its own:
//
//	leaf = SHA-256(0x00 "citygate explanation leaf 1\n" salt document)
//	node = SHA-256(0x01 "citygate explanation node 1\n" left right)
//
// the left subtree of n leaves having the largest power of two below n. The salt is
// 16 random bytes: few rides are possible, and without it a leaf would tell which one
// it is to whoever tries them all. What is signed:
//
//	"citygate explanation batch 1\n"
//	tenant, number, size (8 bytes each, big endian), root (32), sealed_at (8, unix
//	microseconds), kid (1)
//
// # The file
//
// A [File] holds one document, its salt, its place with the path to the root, and the
// signed batch. [File.Verify] checks it with a key set alone, without a gateway: a
// changed byte and a proof of another leaf lead to another root ([ErrProof]), a key
// set without the key is [ErrKey], a signature by another key [ErrSignature]. A key
// that was rotated stays in the tenant's key set; what a revoked one signed cannot be
// checked any more.
//
// # Erasing
//
// Documents are not stored: they are made again from the decision and its taps, and
// held against the leaf ([ErrChanged] if somebody changed a row since). When a ride is
// erased, document and salt go and the leaf stays: it joins nothing to anybody, and
// the proofs of the other leaves hold on. A file that a rider keeps can be checked for
// ever.
package explain
