package ct1

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/gateway/code"
)

// SlotsMax is the most slots a credential of [SuiteChain] may have: a week of
// one minute each. It bounds what one check costs, one SHA-256 a slot.
const SlotsMax = 10_080

// chainFlags are the only flags of a chain display: a party of one, a clock
// nobody vouches for, a band. Nothing signs them, so there is nothing to choose.
const chainFlags = 1<<4 | code.ClockUnknown<<2 | code.MediumBand

// A link is a value of a hash chain: the anchor at 0, the preimage of slot k at
// k+1. Hashing a link gives the link before it.
type link struct {
	at    uint16
	value [linkSize]byte
}

// back hashes value steps times: the first 16 bytes of SHA-256, each time.
func back(value [linkSize]byte, steps int) [linkSize]byte {
	for range steps {
		sum := sha256.Sum256(value[:])
		value = [linkSize]byte(sum[:])
	}
	return value
}

// slots gives how many displays of window seconds a life has, the last one
// perhaps cut short.
func slots(life, window int64) int64 { return (life + window - 1) / window }

// slotted reports whether part B of a chain display is the one that its slot
// has: nothing in it is free, because nothing in it is signed. c holds the
// fields of both parts.
func slotted(c *code.Code, flags byte) bool {
	return flags == chainFlags && c.Context == 0 && c.Counter >= 1 && c.Counter <= SlotsMax &&
		c.GeneratedAt-c.IssuedAt == int64(c.Counter-1)*c.Window
}

// follows reports whether the preimage of c leads back to known, or, when known
// is of a later slot, to the anchor. It gives the link of c.
func follows(c *code.Code, known link) (link, bool) {
	own := link{c.Counter, [linkSize]byte(Proof(c))}
	if own.at < known.at {
		known = link{0, [linkSize]byte(c.DeviceKey)}
	}
	return own, back(own.value, int(own.at-known.at)) == known.value
}

// A Chain is the secret of a band of [SuiteChain]: one value for each slot, made
// from a seed by hashing, the last slot's first. The zero Chain is not usable;
// [NewChain] makes one.
type Chain struct {
	seed   [linkSize]byte
	length int
}

// NewChain makes the chain of length slots, 1 to [SlotsMax], that ends in seed.
// The seed must be random and of no other use.
func NewChain(seed [linkSize]byte, length int) (*Chain, error) {
	if length < 1 || length > SlotsMax {
		return nil, fmt.Errorf("chain: %d slots, want 1 to %d", length, SlotsMax)
	}
	return &Chain{seed, length}, nil
}

// Anchor gives the device key of the band's credential.
func (ch *Chain) Anchor() []byte {
	anchor := back(ch.seed, ch.length)
	return anchor[:]
}

// Display makes the one code of the slot that at, unix seconds, falls in. Its
// counter is the number of the slot, from 1.
func (ch *Chain) Display(credential []byte, at int64) ([]byte, error) {
	var c code.Code
	if err := ParseCredential(credential, &c); err != nil {
		return nil, fmt.Errorf("chain display: %w", err)
	}
	if c.Suite != SuiteChain {
		return nil, fmt.Errorf("chain display: the credential is of suite %d, want %d", c.Suite, SuiteChain)
	}
	if anchor := ch.Anchor(); [linkSize]byte(anchor) != [linkSize]byte(c.DeviceKey) {
		return nil, errors.New("chain display: the credential is of another chain")
	}
	slot := (at - c.IssuedAt) / c.Window
	if at < c.IssuedAt || slot >= int64(ch.length) {
		return nil, fmt.Errorf("chain display: %d is in none of the chain's %d slots", at, ch.length)
	}
	c.Party, c.ClockQuality, c.Medium = 1, code.ClockUnknown, code.MediumBand
	c.Counter, c.Context = uint16(slot+1), 0
	preimage := back(ch.seed, ch.length-1-int(slot))
	raw := append(make([]byte, 0, maxSize), credential...)
	raw = appendDynamic(raw, slot*c.Window, &c)
	return append(raw, preimage[:]...), nil
}
