package denylist

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cashlesscity/citygate"
)

const (
	beatMagic  = "DL2H"
	beatHeader = 4 + 2 + 4 + 2
	beatEntry  = 2 + 4 + 16
	beatTail   = 4 + 1 + sigSize
	// BeatsMax is how many lists a heartbeat names.
	BeatsMax = 1<<16 - 1
)

// A Beat says which version of a list is the newest.
type Beat struct {
	List uint16
	Seq  uint32
	Mark [16]byte // see [List.Mark]
}

// Empty reports whether the list denies nobody.
func (b Beat) Empty() bool { return b.Mark == [16]byte{} }

// A Heartbeat says which lists an issuer has, and that there is nothing newer of
// them at At.
type Heartbeat struct {
	Issuer     citygate.Issuer
	At         int64  // unix seconds
	ValidUntil int64  // unix seconds, exclusive
	Beats      []Beat // every live list of the issuer, ascending
	KeyID      uint8

	// Blocks are those of each of Beats; none for a list of which the heartbeat does
	// not say. nil says of none.
	Blocks []Blocks

	raw []byte
}

// Sign gives the heartbeat signed under kid, as [List.Sign] does.
func (h *Heartbeat) Sign(kid uint8, sign func(msg []byte) ([]byte, error)) (*Heartbeat, error) {
	if h.At < 0 || h.At >= h.ValidUntil || h.ValidUntil > math.MaxUint32 || len(h.Beats) > BeatsMax || !h.ascending() ||
		h.Blocks != nil && len(h.Blocks) != len(h.Beats) || slices.ContainsFunc(h.Blocks, func(b Blocks) bool { return !b.valid() }) {
		return nil, ErrInvalid.Because(nil, "a heartbeat of %d lists at %d, valid until %d", len(h.Beats), h.At, h.ValidUntil)
	}
	raw := make([]byte, 0, beatHeader+beatEntry*len(h.Beats)+beatTail)
	raw = append(raw, beatMagic...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(h.Issuer))
	raw = binary.BigEndian.AppendUint32(raw, uint32(h.At))
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(h.Beats)))
	for _, b := range h.Beats {
		raw = binary.BigEndian.AppendUint16(raw, b.List)
		raw = binary.BigEndian.AppendUint32(raw, b.Seq)
		raw = append(raw, b.Mark[:]...)
	}
	for i := range h.Beats {
		raw = h.blocks(i).append(raw)
	}
	raw = binary.BigEndian.AppendUint32(raw, uint32(h.ValidUntil))
	raw, err := signed(raw, kid, sign)
	if err != nil {
		return nil, err
	}
	s := *h
	s.KeyID, s.raw = kid, raw
	return &s, nil
}

func (h *Heartbeat) blocks(i int) Blocks {
	if h.Blocks == nil {
		return nil
	}
	return h.Blocks[i]
}

// NeverIssued reports whether no credential of a list at idx can have been issued
// at issuedAt (unix seconds), as far as the heartbeat tells: idx lies in the block
// of another day, or beyond the last block some while after. It does not find an
// index of the right day's block that was not given out yet: their order is secret,
// and the issuer's record tells.
func (h *Heartbeat) NeverIssued(list uint16, idx uint32, issuedAt int64) bool {
	i, ok := slices.BinarySearchFunc(h.Beats, list, func(b Beat, list uint16) int { return int(b.List) - int(list) })
	if !ok {
		return false
	}
	blocks := h.blocks(i)
	switch {
	case len(blocks) == 0:
		return false
	case idx >= blocks.end():
		return issuedAt+issueSettles < h.At // else it may be in a block that was opened since
	}
	return !blocks.Hold(idx, issuedAt)
}

func (h *Heartbeat) ascending() bool {
	for i := 1; i < len(h.Beats); i++ {
		if h.Beats[i-1].List >= h.Beats[i].List {
			return false
		}
	}
	return true
}

// Bytes gives the signed heartbeat; nil before. The caller must not change it.
func (h *Heartbeat) Bytes() []byte { return h.raw }

// Of gives what the heartbeat says of a list; ok is false when the issuer has no
// such list any more.
func (h *Heartbeat) Of(list uint16) (b Beat, ok bool) {
	i, ok := slices.BinarySearchFunc(h.Beats, list, func(b Beat, list uint16) int { return int(b.List) - int(list) })
	if !ok {
		return Beat{}, false
	}
	return h.Beats[i], true
}

// OpenHeartbeat reads a heartbeat whose signature holds under keys, which give
// keys for heartbeats.
func OpenHeartbeat(raw []byte, keys Keys) (*Heartbeat, error) {
	h, err := ParseHeartbeat(raw)
	if err != nil {
		return nil, err
	}
	if !trusted(raw, h.Issuer, keys) {
		return nil, ErrNotTrusted
	}
	return h, nil
}

// ParseHeartbeat reads a heartbeat without looking at its signature. Validators
// use [OpenHeartbeat].
func ParseHeartbeat(raw []byte) (*Heartbeat, error) {
	be := binary.BigEndian
	if len(raw) < beatHeader+beatTail || !bytes.HasPrefix(raw, []byte(beatMagic)) {
		return nil, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	entries, rest := int(be.Uint16(raw[10:])), raw[beatHeader:len(raw)-beatTail]
	if len(rest) < entries*(beatEntry+1) {
		return nil, ErrMalformed.Because(nil, "%d bytes for %d lists", len(raw), entries)
	}
	h := &Heartbeat{
		Issuer: citygate.Issuer(be.Uint16(raw[4:])), At: int64(be.Uint32(raw[6:])), ValidUntil: int64(be.Uint32(raw[len(raw)-beatTail:])),
		KeyID: raw[len(raw)-sigSize-1], Beats: make([]Beat, 0, entries), Blocks: make([]Blocks, entries), raw: raw,
	}
	for range entries {
		h.Beats = append(h.Beats, Beat{be.Uint16(rest), be.Uint32(rest[2:]), [16]byte(rest[6:beatEntry])})
		rest = rest[beatEntry:]
	}
	for i := range h.Blocks {
		var ok bool
		if h.Blocks[i], rest, ok = parseBlocks(rest); !ok {
			return nil, ErrMalformed.Because(nil, "the blocks of list %d", h.Beats[i].List)
		}
	}
	if len(rest) > 0 {
		return nil, ErrMalformed.Because(nil, "%d bytes too many", len(rest))
	}
	if h.At >= h.ValidUntil || !h.ascending() {
		return nil, ErrMalformed.Because(nil, "at %d, valid until %d, or lists out of order", h.At, h.ValidUntil)
	}
	return h, nil
}
