package emvcpm

import "bytes"

// Tags of EMV Consumer-Presented Mode 1.1, and of EMV Book 3 where it uses them.
const (
	tagFormat      = 0x85
	tagApplication = 0x61
	tagCommon      = 0x62
	tagSpecific    = 0x63 // transparent template in an application
	tagTransparent = 0x64 // transparent template in the common data

	tagAID        = 0x4f
	tagLabel      = 0x50
	tagTrack2     = 0x57
	tagPAN        = 0x5a
	tagName       = 0x5f20
	tagLanguage   = 0x5f2d
	tagURL        = 0x5f50
	tagCryptogram = 0x9f26
	tagATC        = 0x9f36
)

// sizes bounds the values of known elements, in bytes.
var sizes = [...]struct{ tag, min, max int }{
	{tagAID, 5, 16}, {tagLabel, 1, 16}, {tagTrack2, 5, 19}, {tagPAN, 4, 10},
	{tagName, 2, 26}, {tagLanguage, 2, 8}, {tagURL, 1, 255}, {tagCryptogram, 8, 8}, {tagATC, 2, 2},
	{0x5f34, 1, 1}, {0x9f08, 2, 2}, {0x9f10, 1, 32}, {0x9f19, 6, 6}, {0x9f24, 29, 29}, {0x9f25, 2, 2}, {0x9f37, 4, 4},
}

// shown reports whether an element is there for people to look at, and names
// nothing: a code with another one is the same promise to pay.
func shown(tag int) bool {
	return tag == tagLabel || tag == tagName || tag == tagLanguage || tag == tagURL
}

// maxDepth is how deep templates may stand in each other; the specification uses two.
const maxDepth = 3

// A tlv is one element. Its slices alias what it was read from.
type tlv struct {
	tag         int
	constructed bool
	head, value []byte
}

// next reads the first element of b and gives what follows it. Only one form of
// each is taken: no padding, lengths in the fewest bytes, values that are there.
func next(b []byte) (e tlv, rest []byte, ok bool) {
	at, ok := e.readTag(b)
	if !ok || at == len(b) {
		return tlv{}, nil, false
	}
	n := int(b[at])
	at++
	switch {
	case n < 0x80:
	case n == 0x81 && at < len(b) && b[at] >= 0x80:
		n = int(b[at])
		at++
	case n == 0x82 && at+1 < len(b) && b[at] != 0:
		n = int(b[at])<<8 | int(b[at+1])
		at += 2
	default:
		return tlv{}, nil, false
	}
	if n == 0 || n > len(b)-at {
		return tlv{}, nil, false
	}
	e.head, e.value = b[:at], b[at:at+n]
	return e, b[at+n:], true
}

// readTag reads a tag of one to three bytes and gives where the length begins.
func (e *tlv) readTag(b []byte) (at int, ok bool) {
	if len(b) == 0 || b[0] == 0 || b[0] == 0xff {
		return 0, false
	}
	e.tag, e.constructed = int(b[0]), b[0]&0x20 != 0
	if b[0]&0x1f != 0x1f {
		return 1, true
	}
	for at = 1; at < len(b) && at < 3; at++ {
		if at == 1 && b[at]&0x7f == 0 {
			return 0, false // a number that begins with nothing
		}
		e.tag = e.tag<<8 | int(b[at])
		if b[at] < 0x80 {
			return at + 1, true
		}
	}
	return 0, false
}

// wellFormed reports whether b is a whole number of elements, each within its
// size, none twice, save application templates at the root.
func wellFormed(b []byte, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for rest := b; len(rest) > 0; {
		before := b[:len(b)-len(rest)]
		e, after, ok := next(rest)
		if !ok || !e.sized() || e.constructed && !wellFormed(e.value, depth+1) {
			return false
		}
		if holds(before, e.tag) && (depth > 0 || e.tag != tagApplication) {
			return false
		}
		rest = after
	}
	return true
}

func (e *tlv) sized() bool {
	for _, s := range sizes {
		if s.tag == e.tag {
			return len(e.value) >= s.min && len(e.value) <= s.max
		}
	}
	return true
}

func holds(template []byte, tag int) bool {
	_, ok := find(template, tag)
	return ok
}

// find gives the first element of a well-formed template with this tag.
func find(template []byte, tag int) (value []byte, ok bool) {
	for len(template) > 0 {
		e, rest, ok := next(template)
		if !ok {
			return nil, false
		}
		if e.tag == tag {
			return e.value, true
		}
		template = rest
	}
	return nil, false
}

// findIn looks in a template and then in the transparent one inside it.
func findIn(template []byte, inner, tag int) (value []byte, ok bool) {
	if value, ok = find(template, tag); ok {
		return value, true
	}
	if t, has := find(template, inner); has {
		return find(t, tag)
	}
	return nil, false
}

// appendPromise appends all of a well-formed template except the values that are
// only shown: in their place stands length 0, which no element has. A template
// stands as its tag, its elements and a zero, which no element begins with.
func appendPromise(dst, template []byte) []byte {
	for len(template) > 0 {
		e, rest, ok := next(template)
		if !ok {
			return dst
		}
		switch {
		case shown(e.tag):
			dst = append(appendTag(dst, e.tag), 0)
		case e.constructed:
			dst = append(appendPromise(appendTag(dst, e.tag), e.value), 0)
		default:
			dst = append(dst, e.head...)
			dst = append(dst, e.value...)
		}
		template = rest
	}
	return dst
}

// appendTag appends a tag as it stands on a code.
func appendTag(dst []byte, tag int) []byte {
	for shift := 16; shift > 0; shift -= 8 {
		if tag>>shift != 0 {
			dst = append(dst, byte(tag>>shift))
		}
	}
	return append(dst, byte(tag))
}

// digits reads a number of decimal digits, two a byte, padded with at most one F
// at the end. It gives them one a byte.
func digits(dst, bcd []byte) ([]byte, bool) {
	for i, b := range bcd {
		hi, lo := b>>4, b&15
		last := i == len(bcd)-1
		if hi > 9 || lo > 9 && (!last || lo != 15) {
			return nil, false
		}
		dst = append(dst, hi)
		if lo <= 9 {
			dst = append(dst, lo)
		}
	}
	return dst, true
}

// account reads a primary account number or a token in its form: 8 to 19 digits.
// Its check digit is the issuer's business: the specification's own example has
// a wrong one.
func account(dst, bcd []byte) ([]byte, bool) {
	number, ok := digits(dst, bcd)
	if !ok || len(number) < 8 || len(number) > 19 {
		return nil, false
	}
	return number, true
}

// track2 reads the account number of track 2 equivalent data: number, D, expiry
// YYMM, service code, discretionary digits, at most one F.
func track2(dst, data []byte) ([]byte, bool) {
	var buf [2 * 19]byte
	nibbles := buf[:0]
	for _, b := range data {
		nibbles = append(nibbles, b>>4, b&15)
	}
	nibbles = bytes.TrimSuffix(nibbles, []byte{15})
	end := bytes.IndexByte(nibbles, 13)
	if end < 8 || end > 19 || len(nibbles) < end+8 {
		return nil, false
	}
	for i, d := range nibbles {
		if d > 9 && i != end {
			return nil, false
		}
	}
	return append(dst, nibbles[:end]...), true
}
