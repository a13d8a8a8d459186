package credential

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// An order is the secret order in which the indices of a block are given out: a
// permutation of 0 to size-1 under a key.
//
// It is a balanced Feistel network of ten rounds over the smallest even number of
// bits that holds size, and walks its cycle until it is back below size: J. Black
// and P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002. Ten
// rounds as in FF1 of NIST SP 800-38G; the round function is AES-256 over (round,
// half), cut to a half.
type order struct {
	block cipher.Block
	half  uint   // bits
	size  uint64 // at most 2^32
}

const orderRounds = 10

// newOrder makes the order of a block of size indices under a key of 32 bytes.
func newOrder(key []byte, size uint32) (order, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return order{}, err
	}
	width := uint(bits.Len32(max(size, 2) - 1))
	return order{block, (width + 1) / 2, uint64(size)}, nil
}

// at gives the place of the n-th index, n below the size. It walks four steps at
// most in the mean, because the network's domain is less than four times size.
func (o order) at(n uint32) uint32 {
	x := uint64(n)
	for {
		if x = o.encrypt(x); x < o.size {
			return uint32(x)
		}
	}
}

func (o order) encrypt(x uint64) uint64 {
	mask := uint64(1)<<o.half - 1
	left, right := x>>o.half, x&mask
	var in, out [aes.BlockSize]byte
	for round := range byte(orderRounds) {
		in[0] = round
		binary.BigEndian.PutUint64(in[8:], right)
		o.block.Encrypt(out[:], in[:])
		left, right = right, left^binary.BigEndian.Uint64(out[8:])&mask
	}
	return left<<o.half | right
}
