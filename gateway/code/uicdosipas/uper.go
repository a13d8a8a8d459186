package uicdosipas

// This file is the part of ITU-T X.691, canonical unaligned PER, that the
// barcode header needs: constrained numbers, length determinants below 16,384,
// IA5 strings of seven bits a character, octet strings that begin at any bit.

// maxLength is the largest length of one unfragmented PER field. Longer fields
// come in fragments, which no code that fits an optical symbol needs.
const maxLength = 16383

// A reader reads bits. The first impossible read makes it bad for good, so that
// callers check once, at the end; every read after that gives zeros.
type reader struct {
	raw []byte
	pos int // of the next bit
	end int // one past the last bit that may be read
	bad bool
}

func newReader(raw []byte) reader { return reader{raw: raw, end: 8 * len(raw)} }

// take moves past n bits and gives where they began.
func (r *reader) take(n int) int {
	at := r.pos
	if r.bad || n < 0 || n > r.end-at {
		r.bad = true
		return at
	}
	r.pos = at + n
	return at
}

// number reads a whole number of n bits, at most 32.
func (r *reader) number(n int) uint32 {
	at := r.take(n)
	if r.bad {
		return 0
	}
	return uint32(bitsAt(r.raw, at, n))
}

// within reads a number of n bits that stands for low..low+span.
func (r *reader) within(n int, low, span uint32) uint32 {
	v := r.number(n)
	if v > span {
		r.bad = true
		return 0
	}
	return low + v
}

func (r *reader) flag() bool { return r.number(1) == 1 }

// length reads a length determinant in its shortest form, the only canonical one.
func (r *reader) length() int {
	if !r.flag() {
		return int(r.number(7))
	}
	if r.flag() {
		r.bad = true // fragments
		return 0
	}
	n := int(r.number(14))
	if n < 128 {
		r.bad = true
		return 0
	}
	return n
}

// octets reads an OCTET STRING.
func (r *reader) octets() octets {
	n := r.length()
	at := r.take(8 * n)
	if r.bad {
		return octets{}
	}
	return octets{at, n}
}

// ia5 reads an IA5String.
func (r *reader) ia5() ia5 {
	n := r.length()
	at := r.take(7 * n)
	if r.bad {
		return ia5{}
	}
	return ia5{at, n}
}

// integer passes over an unconstrained INTEGER: a length and two's complement in
// the fewest octets, at most eight. Nothing here needs such a number's value.
func (r *reader) integer() {
	n := r.length()
	if n < 1 || n > 8 {
		r.bad = true
		return
	}
	first := r.number(8)
	if n == 1 {
		return
	}
	second := r.number(8)
	if first == 0 && second < 0x80 || first == 0xff && second >= 0x80 {
		r.bad = true // a shorter form exists
	}
	r.take(8 * (n - 2))
}

// done reports whether what is left is the padding of the last octet: fewer than
// eight bits, all zero.
func (r *reader) done() bool {
	left := r.end - r.pos
	return !r.bad && left >= 0 && left < 8 && r.number(left) == 0
}

// inside gives a reader of the octets of o.
func (r *reader) inside(o octets) reader {
	return reader{raw: r.raw, pos: o.at, end: o.at + 8*o.n, bad: r.bad}
}

// bitsAt gives n bits of raw from the bit at, n at most 32. The caller has
// checked that they are there.
func bitsAt(raw []byte, at, n int) uint64 {
	var v uint64
	last := at + n
	for i := at >> 3; i < (last+7)>>3; i++ {
		v = v<<8 | uint64(raw[i])
	}
	if over := last & 7; over != 0 {
		v >>= 8 - over
	}
	return v & (1<<n - 1)
}

// octets says where an octet string stands: its first bit and its octets.
type octets struct{ at, n int }

// appendTo appends the octets to dst.
func (o octets) appendTo(dst, raw []byte) []byte {
	return appendBits(dst, raw, o.at, 8*o.n)
}

// ia5 says where a string stands: its first bit and its characters.
type ia5 struct{ at, n int }

func (s ia5) appendTo(dst, raw []byte) []byte {
	for i := range s.n {
		dst = append(dst, byte(bitsAt(raw, s.at+7*i, 7)))
	}
	return dst
}

// is compares without allocating.
func (s ia5) is(raw []byte, text string) bool {
	if s.n != len(text) {
		return false
	}
	for i := range s.n {
		if byte(bitsAt(raw, s.at+7*i, 7)) != text[i] {
			return false
		}
	}
	return true
}

// appendBits appends n bits of raw from the bit at, moved to the start of an
// octet and padded with zeros: the form in which PER encodings are signed.
func appendBits(dst, raw []byte, at, n int) []byte {
	shift := at & 7
	for ; n >= 8; at, n = at+8, n-8 {
		b := raw[at>>3] << shift
		if shift != 0 {
			b |= raw[at>>3+1] >> (8 - shift)
		}
		dst = append(dst, b)
	}
	if n > 0 {
		dst = append(dst, byte(bitsAt(raw, at, n)<<(8-n)))
	}
	return dst
}

// A writer writes bits. A value that PER has no place for makes it bad.
type writer struct {
	out  []byte
	free int // bits free in the last octet of out
	bad  bool
}

func (w *writer) number(v uint64, n int) {
	if n < 64 && v>>n != 0 {
		w.bad = true
		return
	}
	for n > 0 {
		if w.free == 0 {
			w.out, w.free = append(w.out, 0), 8
		}
		k := min(n, w.free)
		part := byte(v >> (n - k) & (1<<k - 1))
		w.out[len(w.out)-1] |= part << (w.free - k)
		w.free, n = w.free-k, n-k
	}
}

// within writes v, one of low..low+span, in n bits.
func (w *writer) within(v uint32, n int, low, span uint32) {
	if v < low || v-low > span {
		w.bad = true
		return
	}
	w.number(uint64(v-low), n)
}

func (w *writer) flag(set bool) {
	if set {
		w.number(1, 1)
	} else {
		w.number(0, 1)
	}
}

func (w *writer) length(n int) {
	switch {
	case n < 128:
		w.number(uint64(n), 8)
	case n <= maxLength:
		w.number(2<<14|uint64(n), 16)
	default:
		w.bad = true
	}
}

func (w *writer) octets(b []byte) {
	w.length(len(b))
	for _, c := range b {
		w.number(uint64(c), 8)
	}
}

func (w *writer) ia5(s string) {
	w.length(len(s))
	for i := range len(s) {
		w.number(uint64(s[i]), 7)
	}
}

func (w *writer) integer(v int64) {
	n := 1
	for n < 8 && v>>(8*n-1) != 0 && v>>(8*n-1) != -1 {
		n++
	}
	w.length(n)
	w.number(uint64(v)<<(64-8*n)>>(64-8*n), 8*n)
}
