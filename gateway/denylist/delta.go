package denylist

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/cashlesscity/citygate"
)

const (
	deltaMagic  = "DL1D"
	deltaHeader = 32
	// ChangesMax is how many adds, and how many removes, a delta can hold.
	ChangesMax = math.MaxUint16

	appliedMagic = "DL1A"
)

// A Delta takes a list from any sequence number in [From, To) to To: it says of
// every index that changed after From whether it is denied at To. It is
// immutable and its fields are not to be changed.
type Delta struct {
	Header         // of the list it leads to: Seq is To
	From    uint32 // the lowest sequence number it starts at
	KeyID   uint8
	Adds    []uint32 // ascending
	Removes []uint32 // ascending

	hash [hashSize]byte // of the list it leads to
	raw  []byte
}

// To makes the unsigned delta that leads from the sequence number from to l.
// changed has every index whose standing may have changed after from, ascending.
func (l *List) To(from uint32, changed []uint32) (*Delta, error) {
	d := &Delta{Header: l.Header, From: from, hash: l.hash}
	last := int64(-1)
	for _, idx := range changed {
		if int64(idx) <= last || idx >= l.Issued {
			return nil, ErrInvalid.Because(nil, "index %d after %d, %d issued", idx, last, l.Issued)
		}
		last = int64(idx)
		if l.Denied(idx) {
			d.Adds = append(d.Adds, idx)
		} else {
			d.Removes = append(d.Removes, idx)
		}
	}
	if len(d.Adds) > ChangesMax || len(d.Removes) > ChangesMax {
		return nil, ErrInvalid.Because(nil, "%d adds and %d removes, at most %d each", len(d.Adds), len(d.Removes), ChangesMax)
	}
	if from >= l.Seq {
		return nil, ErrInvalid.Because(nil, "from sequence %d to %d", from, l.Seq)
	}
	return d, nil
}

// Sign gives the delta signed under kid, as [List.Sign] does.
func (d *Delta) Sign(kid uint8, sign func(msg []byte) ([]byte, error)) (*Delta, error) {
	raw, err := signed(d.unsigned(), kid, sign)
	if err != nil {
		return nil, err
	}
	s := *d
	s.KeyID, s.raw = kid, raw
	return &s, nil
}

// unsigned gives the bytes before the key id.
func (d *Delta) unsigned() []byte {
	raw := make([]byte, 0, 256+4*(len(d.Adds)+len(d.Removes)))
	raw = append(raw, deltaMagic...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(d.Issuer))
	raw = binary.BigEndian.AppendUint16(raw, d.List)
	raw = binary.BigEndian.AppendUint32(raw, d.From)
	raw = binary.BigEndian.AppendUint32(raw, d.Seq)
	raw = binary.BigEndian.AppendUint32(raw, uint32(d.BuiltAt))
	raw = binary.BigEndian.AppendUint32(raw, uint32(d.ValidUntil))
	raw = binary.BigEndian.AppendUint32(raw, d.Issued)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(d.Adds)))
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(d.Removes)))
	w := bitWriter{bytes: raw}
	for _, set := range [][]uint32{d.Adds, d.Removes} {
		k := usualRice(d.Issued, uint32(len(set)))
		next := uint32(0)
		for _, idx := range set {
			w.rice(idx-next, k)
			next = idx + 1
		}
	}
	return append(w.end(), d.hash[:]...)
}

// Bytes gives the signed delta; nil before. The caller must not change it.
func (d *Delta) Bytes() []byte { return d.raw }

// Hash gives the set hash of the list the delta leads to.
func (d *Delta) Hash() [32]byte { return d.hash }

// OpenDelta reads a delta whose signature holds under keys.
func OpenDelta(raw []byte, keys Keys) (*Delta, error) {
	h, _, err := deltaHead(raw)
	if err != nil {
		return nil, err
	}
	if !trusted(raw, h.Issuer, keys) {
		return nil, ErrNotTrusted
	}
	return ParseDelta(raw)
}

// deltaMaxBytes bounds what a delta can be: full, and as far apart as indices get.
const deltaMaxBytes = 1 << 20

func deltaHead(raw []byte) (h Header, from uint32, err error) {
	if len(raw) < deltaHeader+tailSize || len(raw) > deltaMaxBytes || !bytes.HasPrefix(raw, []byte(deltaMagic)) {
		return Header{}, 0, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	be := binary.BigEndian
	h = Header{
		Issuer: citygate.Issuer(be.Uint16(raw[4:])), List: be.Uint16(raw[6:]), Seq: be.Uint32(raw[12:]),
		BuiltAt: int64(be.Uint32(raw[16:])), ValidUntil: int64(be.Uint32(raw[20:])), Issued: be.Uint32(raw[24:]),
	}
	from = be.Uint32(raw[8:])
	if from >= h.Seq || h.ValidUntil <= h.BuiltAt {
		return Header{}, 0, ErrMalformed.Because(nil, "from sequence %d to %d, built at %d, valid until %d", from, h.Seq, h.BuiltAt, h.ValidUntil)
	}
	return h, from, nil
}

// ParseDelta reads a delta without looking at its signature. Validators use
// [OpenDelta].
func ParseDelta(raw []byte) (*Delta, error) {
	h, from, err := deltaHead(raw)
	if err != nil {
		return nil, err
	}
	d := &Delta{Header: h, From: from, KeyID: raw[len(raw)-sigSize-1], raw: raw}
	copy(d.hash[:], raw[len(raw)-tailSize:])
	adds, removes := binary.BigEndian.Uint16(raw[28:]), binary.BigEndian.Uint16(raw[30:])
	r := bitReader{bytes: raw[deltaHeader : len(raw)-tailSize]}
	if d.Adds, err = readSet(&r, h.Issued, adds); err != nil {
		return nil, err
	}
	if d.Removes, err = readSet(&r, h.Issued, removes); err != nil {
		return nil, err
	}
	if !r.done() {
		return nil, ErrMalformed.Because(nil, "bits after the last gap")
	}
	for a, b := d.Adds, d.Removes; len(a) > 0 && len(b) > 0; {
		switch {
		case a[0] == b[0]:
			return nil, ErrMalformed.Because(nil, "index %d is added and removed", a[0])
		case a[0] < b[0]:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return d, nil
}

func readSet(r *bitReader, issued uint32, count uint16) ([]uint32, error) {
	if uint64(count) > uint64(len(r.bytes))*8 { // a gap takes a bit at least
		return nil, ErrMalformed.Because(nil, "%d changes in %d bytes", count, len(r.bytes))
	}
	k := usualRice(issued, uint32(count))
	set := make([]uint32, 0, count)
	next := uint64(0)
	for range count {
		gap, ok := r.rice(k, issued>>k)
		if next += uint64(gap); !ok || next >= uint64(issued) {
			return nil, ErrMalformed.Because(nil, "a change leaves its bounds")
		}
		set = append(set, uint32(next))
		next++
	}
	return set, nil
}

// Apply gives the list that the delta makes of held. It refuses when the result
// is not what the issuer signed; held is unchanged in any case. Whether the result
// may take the place of held is for [List.Replaces].
func (d *Delta) Apply(held *List) (*List, error) {
	switch {
	case held.Issuer != d.Issuer || held.List != d.List:
		return nil, ErrWrongList.Explain("a delta of list %d of issuer %d", d.List, d.Issuer)
	case held.Seq == d.Seq && held.hash != d.hash:
		return nil, ErrForked.Explain("two lists of sequence %d", d.Seq)
	case held.Seq >= d.Seq:
		return nil, ErrOlder.Explain("a delta to sequence %d, the list held is %d", d.Seq, held.Seq)
	case held.Seq < d.From:
		return nil, ErrGap.Explain("a delta from sequence %d, the list held is %d", d.From, held.Seq)
	case held.Issued > d.Issued:
		return nil, ErrForked.Explain("%d issued, after %d", d.Issued, held.Issued)
	}
	count := held.count
	for _, idx := range d.Adds {
		if !held.Denied(idx) {
			count++
		}
	}
	for _, idx := range d.Removes {
		if held.Denied(idx) {
			count--
		}
	}
	l, err := build(d.Header, count, held.rice, func() stream { return merge(held, d.Adds, d.Removes) })
	if err != nil {
		return nil, ErrForked.Because(err, "the result is no list")
	}
	if l.hash != d.hash {
		return nil, ErrForked.Explain("the delta to sequence %d does not fit the list held, sequence %d", d.Seq, held.Seq)
	}
	l.KeyID, l.proof = d.KeyID, d.raw
	return l, nil
}

// Stored gives the bytes a terminal keeps of a list: the signed snapshot, or,
// where a delta made the list,
//
//	"DL1A" | size of the delta 4 | the signed delta | r 4 | k 1 | 7 | skip index | gaps
//
// in which the delta's set hash vouches for the rest. It is nil for a list that
// nobody signed.
func (l *List) Stored() []byte {
	if l.proof == nil {
		return l.raw
	}
	raw := make([]byte, 0, 4+4+len(l.proof)+6+l.Size())
	raw = append(raw, appliedMagic...)
	raw = binary.BigEndian.AppendUint32(raw, uint32(len(l.proof)))
	raw = append(raw, l.proof...)
	raw = binary.BigEndian.AppendUint32(raw, l.count)
	raw = append(raw, l.rice, logBlock)
	raw = append(raw, l.skip...)
	return append(raw, l.gaps...)
}

// Restore reads what [List.Stored] gave, with its signature.
func Restore(raw []byte, keys Keys) (*List, error) {
	return restore(raw, func(raw []byte) (*List, error) { return Open(raw, keys) }, func(raw []byte) (*Delta, error) { return OpenDelta(raw, keys) })
}

// RestoreUnproven reads what [List.Stored] gave without looking at signatures:
// to know what was held under a key that is trusted no more.
func RestoreUnproven(raw []byte) (*List, error) { return restore(raw, Parse, ParseDelta) }

func restore(raw []byte, open func([]byte) (*List, error), openDelta func([]byte) (*Delta, error)) (*List, error) {
	if !bytes.HasPrefix(raw, []byte(appliedMagic)) {
		return open(raw)
	}
	if len(raw) < 8 || len(raw) > MaxBytes+deltaMaxBytes || uint64(len(raw)) < 8+uint64(binary.BigEndian.Uint32(raw[4:]))+6 {
		return nil, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	end := 8 + int(binary.BigEndian.Uint32(raw[4:]))
	d, err := openDelta(raw[8:end:end])
	if err != nil {
		return nil, err
	}
	l := &List{Header: d.Header, KeyID: d.KeyID, hash: d.hash, proof: d.raw}
	if err := l.body(binary.BigEndian.Uint32(raw[end:]), raw[end+4:]); err != nil {
		return nil, err
	}
	return l, nil
}
