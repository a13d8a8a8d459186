package explain

import (
	"crypto/sha256"
	"math/bits"
)

// A Hash is a SHA-256 hash.
type Hash [sha256.Size]byte

const (
	leafDomain = "\x00citygate explanation leaf 1\n"
	nodeDomain = "\x01citygate explanation node 1\n"
)

// Leaf hashes a document in its canonical form.
func Leaf(salt [SaltSize]byte, document []byte) Hash {
	b := make([]byte, 0, len(leafDomain)+len(salt)+len(document))
	b = append(b, leafDomain...)
	b = append(b, salt[:]...)
	return sha256.Sum256(append(b, document...))
}

// SaltSize is the length of a salt.
const SaltSize = 16

func node(left, right Hash) Hash {
	b := make([]byte, 0, len(nodeDomain)+2*sha256.Size)
	b = append(b, nodeDomain...)
	b = append(b, left[:]...)
	return sha256.Sum256(append(b, right[:]...))
}

// below gives the largest power of two less than n, which is at least 2.
func below(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// Root gives the root over leaves, of which there is at least one.
func Root(leaves []Hash) Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := below(len(leaves))
	return node(Root(leaves[:k]), Root(leaves[k:]))
}

// Path gives what leads from leaf i to the root, from the leaf up.
func Path(leaves []Hash, i int) []Hash {
	if len(leaves) == 1 {
		return []Hash{}
	}
	k := below(len(leaves))
	if i < k {
		return append(Path(leaves[:k], i), Root(leaves[k:]))
	}
	return append(Path(leaves[k:], i-k), Root(leaves[:k]))
}

// Climb gives the root that a leaf's path leads to, in a tree of size leaves. A path
// of another length than the tree's is refused.
func Climb(leaf Hash, i, size int, path []Hash) (Hash, bool) {
	if i < 0 || i >= size {
		return Hash{}, false
	}
	if size == 1 {
		return leaf, len(path) == 0
	}
	if len(path) == 0 {
		return Hash{}, false
	}
	k, last := below(size), path[len(path)-1]
	if i < k {
		left, ok := Climb(leaf, i, k, path[:len(path)-1])
		return node(left, last), ok
	}
	right, ok := Climb(leaf, i-k, size-k, path[:len(path)-1])
	return node(last, right), ok
}
