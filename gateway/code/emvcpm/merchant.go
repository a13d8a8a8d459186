package emvcpm

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/cashlesscity/citygate/gateway/code"
)

// ErrMerchantCode says that a merchant-presented code was shown to a reader: a
// sticker or till screen for a payer's phone to scan. It names who is paid and
// not who pays.
var ErrMerchantCode = fmt.Errorf("emv-cpm: this is a merchant's payment code, made to be scanned by the payer; show the payment code of your own phone: %w", code.ErrUnsupported)

// merchantPrefix is the payload format indicator that such codes begin with.
const merchantPrefix = "000201"

// merchantMax bounds a merchant code, in characters.
const merchantMax = 512

// parseMerchant gives ErrMerchantCode for a well-formed merchant code,
// code.ErrMalformed for one that was damaged.
func parseMerchant(text []byte) error {
	if !utf8.Valid(text) || utf8.RuneCount(text) > merchantMax {
		return code.ErrMalformed
	}
	var seen [100]bool
	last := 0
	for rest := text; len(rest) > 0; {
		id, value, after, ok := object(rest)
		if !ok || seen[id] || last == crcID {
			return code.ErrMalformed // the checksum is the last one
		}
		if id == crcID && !bytes.Equal(value, appendHex(make([]byte, 0, 4), crc(text[:len(text)-4]))) {
			return code.ErrMalformed
		}
		seen[id], last, rest = true, id, after
	}
	if last != crcID {
		return code.ErrMalformed
	}
	return ErrMerchantCode
}

const crcID = 63

// object reads a two-digit id, a two-digit length in characters and the value.
func object(b []byte) (id int, value, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, nil, false
	}
	for _, c := range b[:4] {
		if c < '0' || c > '9' {
			return 0, nil, nil, false
		}
	}
	id = int(b[0]-'0')*10 + int(b[1]-'0')
	n := int(b[2]-'0')*10 + int(b[3]-'0')
	if n == 0 {
		return 0, nil, nil, false
	}
	value = b[4:]
	size := 0
	for range n {
		_, k := utf8.DecodeRune(value[size:])
		if k == 0 {
			return 0, nil, nil, false
		}
		size += k
	}
	return id, value[:size], value[size:], true
}

// crc is CRC-16/CCITT-FALSE: polynomial 1021, beginning with FFFF.
func crc(b []byte) uint16 {
	sum := uint16(0xffff)
	for _, c := range b {
		sum ^= uint16(c) << 8
		for range 8 {
			if sum&0x8000 != 0 {
				sum = sum<<1 ^ 0x1021
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}

func appendHex(dst []byte, v uint16) []byte {
	const hex = "0123456789ABCDEF"
	return append(dst, hex[v>>12], hex[v>>8&15], hex[v>>4&15], hex[v&15])
}
