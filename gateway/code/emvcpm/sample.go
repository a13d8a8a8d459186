package emvcpm

import (
	"bytes"
	"io"

	"github.com/cashlesscity/citygate/gateway/code"
)

// samples is a code of the most that a wallet says: two applications with an
// account and a proof each.
func samples(random io.Reader) ([]code.Sample, error) {
	proof := make([]byte, 8)
	if _, err := io.ReadFull(random, proof); err != nil {
		return nil, err
	}
	element := func(tag []byte, parts ...[]byte) []byte {
		value := bytes.Join(parts, nil)
		return append(append(tag, byte(len(value))), value...) // none reaches 128
	}
	raw := bytes.Clone(formatIndicator)
	for i := range byte(2) {
		raw = append(raw, element([]byte{tagApplication},
			element([]byte{tagAID}, []byte{0xa0, 0, 0, 3, 0x33, 1, 1, 1 + i}),
			element([]byte{tagLabel}, []byte("Sample wallet")),
			element([]byte{tagTrack2}, []byte("\x62\x12\x34\x56\x78\x90\x12\x32\xd3\x01\x22\x20\x12\x34\x5f")),
			element([]byte{tagSpecific},
				element([]byte{0x9f, 0x10}, make([]byte, 16)),
				element([]byte{0x9f, 0x26}, proof),
				element([]byte{0x9f, 0x36}, []byte{0, 1 + i}),
				element([]byte{0x9f, 0x37}, proof[:4])))...)
	}
	return []code.Sample{{Scheme: Scheme{}, Keys: new(code.Trust), Raw: raw, At: 1_800_000_000}}, nil
}
