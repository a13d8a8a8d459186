package ct1

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/cashlesscity/citygate/gateway/code"
)

// A hash chain is x[n] = seed, x[k-1] = H(k, x[k]), and x[0] is the anchor that
// the issuer signs in the place of a device key. H(k, x) is the first 16 bytes of
// SHA-256("CT1-chain" 00 || k as 4 bytes || x): with the position in it, one
// guess does not aim at all values of a chain. Slot i, the i-th window after
// issue, shows x[i+1]; a verifier hashes it i+1 times.
const (
	chainSize    = 16
	chainContext = "CT1-chain\x00"
	chainFlags   = 1<<4 | code.ClockUnknown<<2 | code.MediumBand

	// ChainMax is the number of slots of the longest chain: four days of 60
	// seconds. It bounds what a display can cost a validator, about 0.7 ms.
	ChainMax = 5760
)

// A chainValue is one value of a chain.
type chainValue [chainSize]byte

// A chainLink is a value with its position: the anchor at 0, the value that slot
// i shows at i+1.
type chainLink struct {
	at    uint32
	value chainValue
}

func chainHash(k uint32, x chainValue) (out chainValue) {
	var msg [len(chainContext) + 4 + chainSize]byte // one block of SHA-256
	copy(msg[:], chainContext)
	binary.BigEndian.PutUint32(msg[len(chainContext):], k)
	copy(msg[len(chainContext)+4:], x[:])
	sum := sha256.Sum256(msg[:])
	copy(out[:], sum[:])
	return out
}

// chainDown hashes x[from] down to x[to].
func chainDown(x chainValue, from, to uint32) chainValue {
	for k := from; k > to; k-- {
		x = chainHash(k, x)
	}
	return x
}

// chainHolds reports whether the value shown on c hangs on known, a link that
// does, or on the anchor when known is of a later slot. It gives the link of c.
func chainHolds(c *code.Code, known chainLink) (chainLink, bool) {
	own := chainLink{uint32(c.Counter) + 1, chainValue(Proof(c))}
	if own.at < known.at {
		known = chainLink{0, chainValue(c.DeviceKey)}
	}
	return own, chainDown(own.value, own.at, known.at) == known.value
}

// chainSlot gives the slot that begins age seconds after issue.
func chainSlot(c *code.Code, age int64) (slot int64, ok bool) {
	if c.Window == 0 || age%c.Window != 0 {
		return 0, false
	}
	slot = age / c.Window
	return slot, slot < ChainMax
}

// ChainAnchor gives the device key of a band that keeps seed: 16 random bytes
// that nobody else may know. Its displays last for ChainMax slots at most; the
// credential's life ends them earlier.
func ChainAnchor(seed []byte) ([]byte, error) {
	if len(seed) != chainSize {
		return nil, errors.New("hash chain: want a seed of 16 bytes")
	}
	anchor := chainDown(chainValue(seed), ChainMax, 0)
	return anchor[:], nil
}

// ChainSigner gives the sign function of a band for [Display].
func ChainSigner(seed []byte) (func(msg []byte) ([]byte, error), error) {
	if len(seed) != chainSize {
		return nil, errors.New("hash chain: want a seed of 16 bytes")
	}
	start := chainValue(seed)
	return func(msg []byte) ([]byte, error) {
		slot := binary.BigEndian.Uint16(msg[len(msg)-4:]) // the counter
		if slot >= ChainMax {
			return nil, errors.New("hash chain: past its end")
		}
		value := chainDown(start, ChainMax, uint32(slot)+1)
		return value[:], nil
	}, nil
}
