package ct1

import "github.com/cashlesscity/citygate/gateway/code"

// TextPrefix begins the text form of a code.
const TextPrefix = "CT1:"

const base45Alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

// base45Value maps a character to its value plus one; 0 is no character.
var base45Value = func() (v [256]uint8) {
	for i := range len(base45Alphabet) {
		v[base45Alphabet[i]] = uint8(i + 1)
	}
	return v
}()

// Text gives the text form of raw code bytes. It uses only characters of QR
// alphanumeric mode, which makes it one QR version larger than bytes at most.
func Text(raw []byte) string {
	return string(appendBase45([]byte(TextPrefix), raw))
}

// ParseText gives the bytes of a text form. It does not look inside them.
func ParseText(s string) ([]byte, error) {
	raw, ok, err := Scheme{}.AppendText(nil, []byte(s))
	if err == nil && !ok {
		return nil, code.ErrMalformed
	}
	return raw, err
}

// AppendText decodes the text form, if scanned is one: see [code.TextScheme].
func (Scheme) AppendText(dst, scanned []byte) (raw []byte, ok bool, err error) {
	if len(scanned) < len(TextPrefix) || string(scanned[:len(TextPrefix)]) != TextPrefix {
		return dst, false, nil
	}
	if len(scanned) > maxText {
		return dst, true, code.ErrMalformed
	}
	raw, ok = appendUnbase45(dst, scanned[len(TextPrefix):])
	if !ok {
		return dst, true, code.ErrMalformed
	}
	return raw, true, nil
}

// maxText bounds the work on text that cannot be a code.
const maxText = len(TextPrefix) + (maxSize+1)/2*3

func appendBase45(dst, raw []byte) []byte {
	for ; len(raw) >= 2; raw = raw[2:] {
		n := int(raw[0])<<8 | int(raw[1])
		dst = append(dst, base45Alphabet[n%45], base45Alphabet[n/45%45], base45Alphabet[n/2025])
	}
	if len(raw) == 1 {
		n := int(raw[0])
		dst = append(dst, base45Alphabet[n%45], base45Alphabet[n/45])
	}
	return dst
}

func appendUnbase45(dst, text []byte) ([]byte, bool) {
	out := dst
	for len(text) > 0 {
		group := text[:min(3, len(text))]
		text = text[len(group):]
		n, weight := 0, 1
		for _, ch := range group {
			v := int(base45Value[ch])
			if v == 0 {
				return dst, false
			}
			n += (v - 1) * weight
			weight *= 45
		}
		switch {
		case len(group) == 3 && n <= 0xffff:
			out = append(out, byte(n>>8), byte(n))
		case len(group) == 2 && n <= 0xff:
			out = append(out, byte(n))
		default: // a lone character, or a value no bytes have
			return dst, false
		}
	}
	return out, true
}
