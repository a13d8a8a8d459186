package denylist

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"

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
	ErrMalformed  = &citygate.Code{Name: "denylist.malformed", Kind: citygate.Invalid, Title: "The bytes are not a canonical deny list, delta or heartbeat. Fetch the object again."}
	ErrNotTrusted = &citygate.Code{Name: "denylist.not_trusted", Kind: citygate.Forbidden, Title: "The object is not signed by a key the issuer published for this use. Check the trust bundle."}
	ErrWrongList  = &citygate.Code{Name: "denylist.wrong_list", Kind: citygate.Conflict, Title: "The deny list belongs to another issuer or list. Keep the one you have."}
	ErrOlder      = &citygate.Code{Name: "denylist.older", Kind: citygate.Conflict, Title: "The deny list is not newer than the one held. Keep the one you have."}
	ErrExpired    = &citygate.Code{Name: "denylist.expired", Kind: citygate.Conflict, Title: "The object is past its valid_until. Fetch a newer one."}
	ErrForked     = &citygate.Code{Name: "denylist.forked", Kind: citygate.Conflict, Title: "The issuer signed two lists that contradict each other, or the list held is not its own. Fetch the snapshot, and tell the issuer if it says so too."}
	ErrGap        = &citygate.Code{Name: "denylist.gap", Kind: citygate.Conflict, Title: "The delta starts after the list held. Ask which objects are needed, or fetch the snapshot."}
	ErrInvalid    = &citygate.Code{Name: "denylist.invalid", Kind: citygate.Invalid, Title: "No deny list can say this. Indices must ascend strictly and be below the number issued."}
)

// A Header says which list this is and how fresh.
type Header struct {
	Issuer     citygate.Issuer
	List       uint16
	Seq        uint32 // grows with every publication of the list
	BuiltAt    int64  // unix seconds
	ValidUntil int64  // unix seconds, exclusive
	Issued     uint32 // n: credentials issued in the list, rounded up; indices are below
}

func (h Header) check() error {
	if h.BuiltAt < 0 || h.BuiltAt > math.MaxUint32 || h.ValidUntil <= h.BuiltAt || h.ValidUntil > math.MaxUint32 {
		return ErrInvalid.Because(nil, "built at %d, valid until %d", h.BuiltAt, h.ValidUntil)
	}
	return nil
}

// A List is a deny list, ready for look-ups. It is immutable and safe for
// concurrent use. The fields are not to be changed.
type List struct {
	Header
	KeyID uint8 // of a list that was signed, or whose delta was

	count uint32
	rice  uint8
	skip  []byte // (first index, bit offset) per block
	gaps  []byte
	hash  [hashSize]byte
	raw   []byte // the signed snapshot; nil until signed, and of a list that a delta made
	proof []byte // the signed delta that made the list
}

// Build makes the list of denied, which must ascend strictly. It is unsigned:
// see [List.Sign].
func Build(h Header, denied []uint32) (*List, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if uint64(len(denied)) > uint64(h.Issued) {
		return nil, ErrInvalid.Because(nil, "%d denied, %d issued", len(denied), h.Issued)
	}
	return build(h, uint32(len(denied)), usualRice(h.Issued, uint32(len(denied))), func() stream { return &slice{denied} })
}

// build makes a list of count indices. each gives them, from the first one, as
// often as it is called: nothing is kept of them but their code. guess is the k
// that is likely the best: then one walk is enough.
func build(h Header, count uint32, guess uint8, each func() stream) (*List, error) {
	l := &List{Header: h, count: count, rice: guess}
	costs, digest := costsAround(guess, 2), newDigest(h.Issued)
	w := l.writer()
	last, n := int64(-1), uint32(0)
	source := each()
	for chunk := source.chunk(); len(chunk) > 0; chunk = source.chunk() {
		for _, idx := range chunk {
			if int64(idx) <= last || idx >= h.Issued || n == count {
				return nil, ErrInvalid.Because(nil, "index %d after %d, %d issued", idx, last, h.Issued)
			}
			if n%blockSize != 0 {
				costs.add(uint32(int64(idx) - last - 1))
			}
			w.add(idx, n)
			digest.add(idx)
			last = int64(idx)
			n++
		}
	}
	if n != count {
		return nil, ErrInvalid.Because(nil, "%d indices where %d were said", n, count)
	}
	best, sure := costs.best()
	if !sure {
		costs = costsOf(each())
		best, _ = costs.best()
	}
	blocks := (uint64(count) + blockSize - 1) / blockSize
	size := headerSize + blocks*skipSize + (costs.bits(best)+7)/8 + tailSize
	if costs.bits(best) > math.MaxUint32 || size > MaxBytes {
		return nil, ErrInvalid.Because(nil, "a snapshot of %d bytes, at most %d", size, MaxBytes)
	}
	if best != guess || w.full {
		l.rice = best
		w = l.writer()
		w.room = math.MaxUint64 // it fits
		n, source = 0, each()
		for chunk := source.chunk(); len(chunk) > 0; chunk = source.chunk() {
			for _, idx := range chunk {
				w.add(idx, n)
				n++
			}
		}
	}
	l.skip, l.gaps, l.hash = w.skip, w.end(), digest.sum()
	return l, nil
}

// A codeWriter writes skip index and gaps.
type codeWriter struct {
	bitWriter
	skip []byte
	k    uint8
	last uint32
	room uint64 // for ones: a guess that is far off must not fill the memory
	full bool
}

func (l *List) writer() *codeWriter {
	blocks := (int(l.count) + blockSize - 1) / blockSize
	size := blocks*skipSize + int(uint64(l.count)*(uint64(l.rice)+3)/8) + 4
	body := make([]byte, 0, min(size, MaxBytes))
	return &codeWriter{
		bitWriter: bitWriter{bytes: body[min(blocks*skipSize, cap(body)):min(blocks*skipSize, cap(body))]}, skip: body[:0:min(blocks*skipSize, cap(body))],
		k: l.rice, room: 8*uint64(l.count) + 1<<16,
	}
}

// add writes the n-th index.
func (w *codeWriter) add(idx, n uint32) {
	if n%blockSize == 0 {
		w.skip = binary.BigEndian.AppendUint32(w.skip, idx)
		w.skip = binary.BigEndian.AppendUint32(w.skip, uint32(w.bits()))
	} else if gap := idx - w.last - 1; !w.full {
		if ones := uint64(gap >> w.k); ones > w.room {
			w.full = true
		} else {
			w.room -= ones
			w.rice(gap, w.k)
		}
	}
	w.last = idx
}

// costsOf adds up all k: for sets that are nothing like random.
func costsOf(s stream) riceCost {
	costs := costsAround(0, maxRice)
	last, n := uint32(0), 0
	for chunk := s.chunk(); len(chunk) > 0; chunk = s.chunk() {
		for _, idx := range chunk {
			if n%blockSize != 0 {
				costs.add(idx - last - 1)
			}
			last = idx
			n++
		}
	}
	return costs
}

// Count gives the number of denied indices.
func (l *List) Count() int { return int(l.count) }

// Hash gives the set hash: SHA-256 over the number issued and the sorted
// indices. Two lists with one hash deny the same credentials.
func (l *List) Hash() [32]byte { return l.hash }

// Mark is what a heartbeat says of the list: the first half of its hash, and
// zeros for a list that denies nobody, so that a terminal which does not hold
// that list knows all there is to know about it.
func (l *List) Mark() (mark [16]byte) {
	if l.count > 0 {
		copy(mark[:], l.hash[:])
	}
	return mark
}

// Bytes gives the signed snapshot; nil for a list that was not signed and for one
// that a delta made. The caller must not change it.
func (l *List) Bytes() []byte { return l.raw }

// Denied reports whether the credential at idx is denied. It decodes at most one
// block of 128.
func (l *List) Denied(idx uint32) bool {
	b := l.blockOf(idx)
	if b < 0 {
		return false
	}
	at := l.first(b)
	gaps := min(int(l.count)-b*blockSize, blockSize) - 1
	r := bitReader{bytes: l.gaps, at: l.offset(b)}
	for gaps > 0 && at < idx {
		// Several gaps come out of one load: this loop is all the time a tap's
		// look-up takes.
		w, left := r.window(), uint(57)
		for gaps > 0 && at < idx {
			quotient := uint(bits.TrailingZeros64(^w))
			size := quotient + 1 + uint(l.rice)
			if size > left {
				break
			}
			at += uint32(quotient)<<l.rice + uint32(w>>(quotient+1))&(1<<l.rice-1) + 1
			w, left, gaps = w>>size, left-size, gaps-1
		}
		r.at += uint64(57 - left)
		if left == 57 && gaps > 0 && at < idx { // a gap larger than a load
			at += r.gap(l.rice) + 1
			gaps--
		}
	}
	return at == idx
}

// blockOf gives the block that idx is in if it is anywhere: the last one that
// starts at or before it; -1 for none.
func (l *List) blockOf(idx uint32) int {
	lo, hi := 0, len(l.skip)/skipSize
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); l.first(mid) > idx {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo - 1
}

// issueSettles is how long a credential may take from its time of issue until
// its block of indices shows in a list.
const issueSettles = 15 * 60 // seconds

// NeverIssued reports whether no credential at idx can have been issued at
// issuedAt (unix seconds), as far as the list tells: idx is beyond what was
// issued when the list was made, some while after. Whoever signs one with a stolen
// key and an earlier date is found out by this.
func (l *List) NeverIssued(idx uint32, issuedAt int64) bool {
	return idx >= l.Issued && issuedAt+issueSettles < l.BuiltAt
}

// All calls yield with every denied index, ascending, until yield returns false.
func (l *List) All(yield func(idx uint32) bool) {
	c := l.cursor()
	for chunk := c.chunk(); len(chunk) > 0; chunk = c.chunk() {
		for _, idx := range chunk {
			if !yield(idx) {
				return
			}
		}
	}
}

func (l *List) first(block int) uint32 { return binary.BigEndian.Uint32(l.skip[block*skipSize:]) }

func (l *List) offset(block int) uint64 {
	return uint64(binary.BigEndian.Uint32(l.skip[block*skipSize+4:]))
}

// Size gives the bytes of the list's code: skip index and gaps.
func (l *List) Size() int { return len(l.skip) + len(l.gaps) }

// Sign gives the snapshot signed under kid. sign gives a pure Ed25519 signature
// of its argument, which has 36 bytes. The signed list is a new one; l is unchanged.
func (l *List) Sign(kid uint8, sign func(msg []byte) ([]byte, error)) (*List, error) {
	raw := make([]byte, 0, headerSize+l.Size()+tailSize)
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
	raw, err := signed(raw, kid, sign)
	if err != nil {
		return nil, err
	}
	s := *l
	s.KeyID, s.raw, s.proof = kid, raw, nil
	// The signed list is what its bytes say: a second copy of them is not kept.
	body := raw[headerSize : len(raw)-tailSize]
	s.skip, s.gaps = body[:len(l.skip)], body[len(l.skip):]
	return &s, nil
}

// signed appends kid and the signature of everything before it.
func signed(raw []byte, kid uint8, sign func(msg []byte) ([]byte, error)) ([]byte, error) {
	raw = append(raw, kid)
	sig, err := sign(message(raw))
	if err != nil {
		return nil, err
	}
	if len(sig) != sigSize {
		return nil, ErrInvalid.Because(nil, "a signature of %d bytes", len(sig))
	}
	return append(raw, sig...), nil
}

// message is what is signed of an object: its magic and the SHA-256 of all before
// the signature. The magic keeps objects of one kind apart from all else the key
// signs, and a key store behind a network is sent 36 bytes, not a list of a million
// (Vault takes no more than 1 MiB in base64).
func message(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return append(append(make([]byte, 0, len(magic)+len(sum)), raw[:len(magic)]...), sum[:]...)
}

// Keys gives the key an issuer published under kid: for deny lists where lists
// and deltas are opened, for heartbeats where those are. A key of another use must
// not be given.
type Keys func(issuer citygate.Issuer, kid uint8) (key ed25519.PublicKey, ok bool)

// trusted reports whether the last bytes of raw, behind its key id, are the
// signature of what is before them.
func trusted(raw []byte, issuer citygate.Issuer, keys Keys) bool {
	signed := len(raw) - sigSize
	key, ok := keys(issuer, raw[signed-1])
	return ok && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message(raw[:signed]), raw[signed:])
}

// Open reads a snapshot whose signature holds under keys. The list keeps raw.
func Open(raw []byte, keys Keys) (*List, error) {
	// The signature comes first: a set of a million is decoded for friends only.
	h, err := header(raw)
	if err != nil {
		return nil, err
	}
	if !trusted(raw, h.Issuer, keys) {
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
	l := &List{Header: h, KeyID: raw[len(raw)-sigSize-1], raw: raw}
	copy(l.hash[:], raw[len(raw)-tailSize:])
	if err := l.body(binary.BigEndian.Uint32(raw[24:]), raw[28:len(raw)-tailSize]); err != nil {
		return nil, err
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

// body reads k, the block size, skip index and gaps of count indices, and holds
// them to the set hash the list is to have.
func (l *List) body(count uint32, raw []byte) error {
	l.count, l.rice = count, raw[0]
	blocks := (int64(count) + blockSize - 1) / blockSize
	if count > l.Issued || l.rice > maxRice || raw[1] != logBlock || int64(len(raw)-2) < blocks*skipSize {
		return ErrMalformed.Because(nil, "%d of %d, k %d, %d bytes", count, l.Issued, l.rice, len(raw))
	}
	l.skip, l.gaps = raw[2:2+blocks*skipSize:2+blocks*skipSize], raw[2+blocks*skipSize:]
	return l.check()
}

// check holds a body to all that a canonical one promises: order, bounds, a skip
// index that says what the gaps say, the best k, the set hash, and no bit to
// spare. A body of b bytes holds at most 8b gaps, so a small file cannot claim a
// large set.
func (l *List) check() error {
	if uint64(l.count) > uint64(len(l.gaps))*8+uint64(len(l.skip)/skipSize) {
		return ErrMalformed.Because(nil, "%d indices in %d bytes", l.count, len(l.gaps))
	}
	costs := costsAround(l.rice, 1)
	digest := newDigest(l.Issued)
	r := bitReader{bytes: l.gaps}
	last := int64(-1)
	for i := range int(l.count) {
		next := int64(0)
		if i%blockSize == 0 {
			next = int64(l.first(i / blockSize))
			if l.offset(i/blockSize) != r.at {
				return ErrMalformed.Because(nil, "block %d is not where the skip index says", i/blockSize)
			}
		} else {
			gap, ok := r.rice(l.rice, l.Issued>>l.rice)
			if !ok {
				return ErrMalformed.Because(nil, "gap %d leaves its bounds", i)
			}
			costs.add(gap)
			next = last + 1 + int64(gap)
		}
		if next <= last || next >= int64(l.Issued) {
			return ErrMalformed.Because(nil, "index %d after %d, %d issued", next, last, l.Issued)
		}
		digest.add(uint32(next))
		last = next
	}
	if !r.done() {
		return ErrMalformed.Because(nil, "bits after the last gap")
	}
	if best, _ := costs.best(); best != l.rice {
		return ErrMalformed.Because(nil, "k %d is not the smallest", l.rice)
	}
	if digest.sum() != l.hash {
		return ErrMalformed.Because(nil, "the set hash does not match")
	}
	return nil
}

// Replaces reports why l may not take the place of held at the time now (unix
// seconds), nil if it may. held is nil when there was none; then floor (from the
// trust bundle, or from a list held before) is the lowest sequence number that may
// be used.
func (l *List) Replaces(held *List, issuer citygate.Issuer, list uint16, floor uint32, now int64) error {
	switch {
	case l.Issuer != issuer || l.List != list:
		return ErrWrongList.Explain("list %d of issuer %d, want list %d of issuer %d", l.List, l.Issuer, list, issuer)
	case l.Seq < floor:
		return ErrOlder.Explain("sequence %d, at least %d is needed", l.Seq, floor)
	case held != nil && (held.Issuer != issuer || held.List != list):
		return ErrWrongList.Explain("the list held is list %d of issuer %d", held.List, held.Issuer)
	case held != nil && l.Seq == held.Seq && l.hash != held.hash:
		return ErrForked.Explain("two lists of sequence %d", l.Seq)
	case held != nil && l.Seq <= held.Seq:
		return ErrOlder.Explain("sequence %d, the one held is %d", l.Seq, held.Seq)
	case held != nil && l.Issued < held.Issued:
		return ErrForked.Explain("%d issued, after %d", l.Issued, held.Issued)
	case now >= l.ValidUntil:
		return ErrExpired.Explain("valid until %d", l.ValidUntil)
	}
	return nil
}
