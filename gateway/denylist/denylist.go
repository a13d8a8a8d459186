package denylist

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sort"

	"github.com/cashlesscity/citygate"
)

const (
	magic      = "DL1S"
	headerSize = 30
	logBlock   = 7
	blockSize  = 1 << logBlock
	skipSize   = 8
	hashSize   = sha256.Size
	sigSize    = ed25519.SignatureSize
	tailSize   = hashSize + 1 + sigSize
	maxRice    = 24
)

// MaxBytes is the largest snapshot a decoder reads.
const MaxBytes = 16 << 20

// The refusals.
var (
	ErrMalformed  = &citygate.Code{Name: "denylist.malformed", Kind: citygate.Invalid, Title: "The bytes are not a canonical deny list. Fetch the list again."}
	ErrNotTrusted = &citygate.Code{Name: "denylist.not_trusted", Kind: citygate.Forbidden, Title: "The deny list is not signed by a key the issuer published for deny lists. Check the trust bundle."}
	ErrWrongList  = &citygate.Code{Name: "denylist.wrong_list", Kind: citygate.Conflict, Title: "The deny list belongs to another issuer or list. Keep the one you have."}
	ErrOlder      = &citygate.Code{Name: "denylist.older", Kind: citygate.Conflict, Title: "The deny list is not newer than the one held. Keep the one you have."}
	ErrExpired    = &citygate.Code{Name: "denylist.expired", Kind: citygate.Conflict, Title: "The deny list is past its valid_until. Fetch a newer one."}
	ErrInvalid    = &citygate.Code{Name: "denylist.invalid", Kind: citygate.Invalid, Title: "No deny list can say this. Indices must ascend strictly and be below the number issued."}
)

// A Header says which list this is and how fresh.
type Header struct {
	Issuer     citygate.Issuer
	List       uint16
	Seq        uint32 // grows with every snapshot of the list
	BuiltAt    int64  // unix seconds
	ValidUntil int64  // unix seconds, exclusive
	Issued     uint32 // credentials issued in the list: indices are below
}

// A List is a deny list, ready for look-ups. It is immutable and safe for
// concurrent use. The fields are not to be changed.
type List struct {
	Header
	KeyID uint8 // of a list that was signed

	count uint32
	rice  uint8
	skip  []byte // (first index, bit offset) per block
	gaps  []byte
	hash  [hashSize]byte
	raw   []byte // nil until signed
}

// Build makes the list of denied, which must ascend strictly. It is unsigned:
// see [List.Sign].
func Build(h Header, denied []uint32) (*List, error) {
	if h.BuiltAt < 0 || h.BuiltAt > math.MaxUint32 || h.ValidUntil <= h.BuiltAt || h.ValidUntil > math.MaxUint32 {
		return nil, ErrInvalid.Because(nil, "built at %d, valid until %d", h.BuiltAt, h.ValidUntil)
	}
	last := int64(-1)
	for _, idx := range denied {
		if int64(idx) <= last || idx >= h.Issued {
			return nil, ErrInvalid.Because(nil, "index %d after %d, %d issued", idx, last, h.Issued)
		}
		last = int64(idx)
	}
	l := &List{Header: h, count: uint32(len(denied)), rice: bestRice(denied), hash: setHash(h.Issued, denied)}
	w := bitWriter{}
	for i, idx := range denied {
		if i%blockSize == 0 {
			if w.bits > math.MaxUint32 {
				return nil, ErrInvalid.Because(nil, "%d indices do not fit a snapshot", len(denied))
			}
			l.skip = binary.BigEndian.AppendUint32(l.skip, idx)
			l.skip = binary.BigEndian.AppendUint32(l.skip, uint32(w.bits))
			continue
		}
		w.rice(idx-denied[i-1]-1, l.rice)
	}
	l.gaps = w.bytes
	if size := l.size(); size > MaxBytes {
		return nil, ErrInvalid.Because(nil, "a snapshot of %d bytes, at most %d", size, MaxBytes)
	}
	return l, nil
}

// Count gives the number of denied indices.
func (l *List) Count() int { return int(l.count) }

// Hash gives the set hash: SHA-256 over the number issued and the sorted
// indices. Two lists with one hash deny the same credentials.
func (l *List) Hash() [32]byte { return l.hash }

// Bytes gives the signed snapshot; nil for a list that was not signed. The
// caller must not change it.
func (l *List) Bytes() []byte { return l.raw }

// Denied reports whether the credential at idx is denied. It decodes at most one
// block of 128.
func (l *List) Denied(idx uint32) bool {
	blocks := len(l.skip) / skipSize
	b := sort.Search(blocks, func(i int) bool { return l.first(i) > idx }) - 1
	if b < 0 {
		return false
	}
	at := l.first(b)
	r := bitReader{bytes: l.gaps, at: l.offset(b)}
	for range min(int(l.count)-b*blockSize, blockSize) - 1 {
		if at >= idx {
			break
		}
		gap, _ := r.rice(l.rice, math.MaxUint32) // checked by Parse, made by Build
		at += gap + 1
	}
	return at == idx
}

// All calls yield with every denied index, ascending, until yield returns false.
func (l *List) All(yield func(idx uint32) bool) {
	r := bitReader{bytes: l.gaps}
	at := uint32(0)
	for i := range int(l.count) {
		if i%blockSize == 0 {
			at = l.first(i / blockSize)
		} else {
			gap, _ := r.rice(l.rice, math.MaxUint32)
			at += gap + 1
		}
		if !yield(at) {
			return
		}
	}
}

func (l *List) first(block int) uint32 { return binary.BigEndian.Uint32(l.skip[block*skipSize:]) }

func (l *List) offset(block int) uint64 {
	return uint64(binary.BigEndian.Uint32(l.skip[block*skipSize+4:]))
}

func (l *List) size() int { return headerSize + len(l.skip) + len(l.gaps) + tailSize }

// Sign gives the snapshot signed under kid. sign gives a pure Ed25519 signature
// of its argument. The signed list is a new one; l is unchanged.
func (l *List) Sign(kid uint8, sign func(msg []byte) ([]byte, error)) (*List, error) {
	raw := make([]byte, 0, l.size())
	raw = append(raw, magic...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(l.Issuer))
	raw = binary.BigEndian.AppendUint16(raw, l.List)
	raw = binary.BigEndian.AppendUint32(raw, l.Seq)
	raw = binary.BigEndian.AppendUint32(raw, uint32(l.BuiltAt))
	raw = binary.BigEndian.AppendUint32(raw, uint32(l.ValidUntil))
	raw = binary.BigEndian.AppendUint32(raw, l.Issued)
	raw = binary.BigEndian.AppendUint32(raw, l.count)
	raw = append(raw, l.rice, logBlock)
	raw = append(raw, l.skip...)
	raw = append(raw, l.gaps...)
	raw = append(raw, l.hash[:]...)
	raw = append(raw, kid)
	sig, err := sign(raw)
	if err != nil {
		return nil, err
	}
	if len(sig) != sigSize {
		return nil, ErrInvalid.Because(nil, "a signature of %d bytes", len(sig))
	}
	signed := *l
	signed.KeyID, signed.raw = kid, append(raw, sig...)
	return &signed, nil
}

// Keys gives the key an issuer published for deny lists under kid.
type Keys func(issuer citygate.Issuer, kid uint8) (key ed25519.PublicKey, ok bool)

// Open reads a snapshot whose signature holds under keys. The list keeps raw.
func Open(raw []byte, keys Keys) (*List, error) {
	// The signature comes first: a set of a million is decoded for friends only.
	h, err := header(raw)
	if err != nil {
		return nil, err
	}
	signed := len(raw) - sigSize
	key, ok := keys(h.Issuer, raw[signed-1])
	if !ok || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, raw[:signed], raw[signed:]) {
		return nil, ErrNotTrusted
	}
	return Parse(raw)
}

// Parse reads a snapshot without looking at its signature. Validators use [Open].
func Parse(raw []byte) (*List, error) {
	h, err := header(raw)
	if err != nil {
		return nil, err
	}
	l := &List{Header: h, KeyID: raw[len(raw)-sigSize-1], raw: raw, count: binary.BigEndian.Uint32(raw[24:]), rice: raw[28]}
	body := raw[headerSize : len(raw)-tailSize]
	blocks := (int64(l.count) + blockSize - 1) / blockSize
	if l.count > l.Issued || l.rice > maxRice || raw[29] != logBlock || int64(len(body)) < blocks*skipSize {
		return nil, ErrMalformed.Because(nil, "%d of %d, k %d, %d bytes", l.count, l.Issued, l.rice, len(body))
	}
	l.skip, l.gaps = body[:blocks*skipSize], body[blocks*skipSize:]
	copy(l.hash[:], raw[len(raw)-tailSize:])
	denied, err := l.decode()
	if err != nil {
		return nil, err
	}
	if l.rice != bestRice(denied) {
		return nil, ErrMalformed.Because(nil, "k %d is not the smallest", l.rice)
	}
	if setHash(l.Issued, denied) != l.hash {
		return nil, ErrMalformed.Because(nil, "the set hash does not match")
	}
	return l, nil
}

func header(raw []byte) (Header, error) {
	if len(raw) < headerSize+tailSize || len(raw) > MaxBytes || !bytes.HasPrefix(raw, []byte(magic)) {
		return Header{}, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	h := Header{
		Issuer:     citygate.Issuer(binary.BigEndian.Uint16(raw[4:])),
		List:       binary.BigEndian.Uint16(raw[6:]),
		Seq:        binary.BigEndian.Uint32(raw[8:]),
		BuiltAt:    int64(binary.BigEndian.Uint32(raw[12:])),
		ValidUntil: int64(binary.BigEndian.Uint32(raw[16:])),
		Issued:     binary.BigEndian.Uint32(raw[20:]),
	}
	if h.ValidUntil <= h.BuiltAt {
		return Header{}, ErrMalformed.Because(nil, "valid until %d, built at %d", h.ValidUntil, h.BuiltAt)
	}
	return h, nil
}

// decode gives the indices and checks all that a canonical body promises: order,
// bounds, a skip index that says what the gaps say, and no bit to spare. A body
// of b bytes holds at most 8b gaps, so a small file cannot claim a large set.
func (l *List) decode() ([]uint32, error) {
	if uint64(l.count) > uint64(len(l.gaps))*8+uint64(len(l.skip)/skipSize) {
		return nil, ErrMalformed.Because(nil, "%d indices in %d bytes", l.count, len(l.gaps))
	}
	denied := make([]uint32, 0, l.count)
	r := bitReader{bytes: l.gaps}
	last := int64(-1)
	for i := range int(l.count) {
		next := int64(0)
		if i%blockSize == 0 {
			next = int64(l.first(i / blockSize))
			if l.offset(i/blockSize) != r.at {
				return nil, ErrMalformed.Because(nil, "block %d is not where the skip index says", i/blockSize)
			}
		} else {
			gap, ok := r.rice(l.rice, l.Issued>>l.rice)
			if !ok {
				return nil, ErrMalformed.Because(nil, "gap %d leaves its bounds", i)
			}
			next = last + 1 + int64(gap)
		}
		if next <= last || next >= int64(l.Issued) {
			return nil, ErrMalformed.Because(nil, "index %d after %d, %d issued", next, last, l.Issued)
		}
		denied = append(denied, uint32(next))
		last = next
	}
	if !r.done() {
		return nil, ErrMalformed.Because(nil, "bits after the last gap")
	}
	return denied, nil
}

// Replaces reports why l may not take the place of held at the time now (unix
// seconds), nil if it may. held is nil when there was none; then floor (from the
// trust bundle) is the lowest sequence number that may be used.
func (l *List) Replaces(held *List, issuer citygate.Issuer, list uint16, floor uint32, now int64) error {
	switch {
	case l.Issuer != issuer || l.List != list:
		return ErrWrongList.Explain("list %d of issuer %d, want list %d of issuer %d", l.List, l.Issuer, list, issuer)
	case l.Seq < floor:
		return ErrOlder.Explain("sequence %d, at least %d is needed", l.Seq, floor)
	case held != nil && (held.Issuer != issuer || held.List != list):
		return ErrWrongList.Explain("the list held is list %d of issuer %d", held.List, held.Issuer)
	case held != nil && l.Seq <= held.Seq:
		return ErrOlder.Explain("sequence %d, the one held is %d", l.Seq, held.Seq)
	case now >= l.ValidUntil:
		return ErrExpired.Explain("valid until %d", l.ValidUntil)
	}
	return nil
}

func setHash(issued uint32, denied []uint32) [hashSize]byte {
	h := sha256.New()
	buf := make([]byte, 0, 4096)
	buf = binary.BigEndian.AppendUint32(buf, issued)
	for _, idx := range denied {
		if len(buf) > 4000 {
			_, _ = h.Write(buf)
			buf = buf[:0]
		}
		buf = binary.BigEndian.AppendUint32(buf, idx)
	}
	_, _ = h.Write(buf)
	return [hashSize]byte(h.Sum(nil))
}
