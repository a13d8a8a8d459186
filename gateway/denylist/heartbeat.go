package denylist

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cashlesscity/citygate"
)

const (
	beatMagic  = "DL1H"
	beatHeader = 4 + 2 + 4
	beatEntry  = 2 + 4 + 16
	beatTail   = 4 + 1 + sigSize
	// BeatsMax is how many lists a heartbeat names: every list number.
	BeatsMax = 1 << 16
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

	raw []byte
}

// Sign gives the heartbeat signed under kid, as [List.Sign] does.
func (h *Heartbeat) Sign(kid uint8, sign func(msg []byte) ([]byte, error)) (*Heartbeat, error) {
	if h.At < 0 || h.At >= h.ValidUntil || h.ValidUntil > math.MaxUint32 || len(h.Beats) > BeatsMax || !h.ascending() {
		return nil, ErrInvalid.Because(nil, "a heartbeat of %d lists at %d, valid until %d", len(h.Beats), h.At, h.ValidUntil)
	}
	raw := make([]byte, 0, beatHeader+beatEntry*len(h.Beats)+beatTail)
	raw = append(raw, beatMagic...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(h.Issuer))
	raw = binary.BigEndian.AppendUint32(raw, uint32(h.At))
	for _, b := range h.Beats {
		raw = binary.BigEndian.AppendUint16(raw, b.List)
		raw = binary.BigEndian.AppendUint32(raw, b.Seq)
		raw = append(raw, b.Mark[:]...)
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
	entries := len(raw) - beatHeader - beatTail
	if entries < 0 || entries%beatEntry != 0 || entries/beatEntry > BeatsMax || !bytes.HasPrefix(raw, []byte(beatMagic)) {
		return nil, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	be := binary.BigEndian
	h := &Heartbeat{
		Issuer: citygate.Issuer(be.Uint16(raw[4:])), At: int64(be.Uint32(raw[6:])), ValidUntil: int64(be.Uint32(raw[len(raw)-beatTail:])),
		KeyID: raw[len(raw)-sigSize-1], Beats: make([]Beat, 0, entries/beatEntry), raw: raw,
	}
	for e := raw[beatHeader : beatHeader+entries]; len(e) > 0; e = e[beatEntry:] {
		h.Beats = append(h.Beats, Beat{be.Uint16(e), be.Uint32(e[2:]), [16]byte(e[6:beatEntry])})
	}
	if h.At >= h.ValidUntil || !h.ascending() {
		return nil, ErrMalformed.Because(nil, "at %d, valid until %d, or lists out of order", h.At, h.ValidUntil)
	}
	return h, nil
}
