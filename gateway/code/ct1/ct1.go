package ct1

import (
	"encoding/binary"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// ID names the scheme.
const ID code.SchemeID = "ct1"

// The suites, as (issuer, device) algorithms.
const (
	SuiteEd25519 uint8 = 0 // Ed25519, Ed25519
	SuiteAllP256 uint8 = 1 // P-256, P-256: an issuer whose signer has no Ed25519
	SuiteSM2     uint8 = 2 // SM2, SM2
	SuiteP256    uint8 = 3 // Ed25519, P-256: what secure hardware can do; the default
	SuiteChain   uint8 = 4 // Ed25519, hash chain: a band that can do no more; see [ChainAnchor]
)

const (
	magic   = 0x7d
	version = 1

	offIssuer  = 2
	offKeyID   = 4
	offList    = 5
	offIndex   = 7
	offIssued  = 11
	offTTL     = 15
	offProduct = 17
	offCap     = 19
	offTaps    = 21
	offWindow  = 22
	offDevice  = 23

	hasExt   = 1 << 1
	reserved = 1 << 0

	maxExt   = 21 // bytes of TLVs
	sigSize  = 64
	dynSize  = 8 // of part B before the signature
	maxSize  = offDevice + p256KeySize + 1 + maxExt + sigSize + dynSize + sigSize
	hour     = 3600
	maxAge   = 1<<24 - 1
	maxParty = 15

	ed25519KeySize = 32
	p256KeySize    = 33
)

// Sizes of codes without extensions, for readers that want to know.
const (
	SizeP256    = offDevice + p256KeySize + sigSize + dynSize + sigSize    // 192
	SizeEd25519 = offDevice + ed25519KeySize + sigSize + dynSize + sigSize // 191
	SizeChain   = offDevice + chainSize + sigSize + dynSize + chainSize    // 127
)

// Scheme is the CT1 code scheme.
type Scheme struct{}

var _ code.TextScheme = Scheme{}

// ID gives "ct1".
func (Scheme) ID() code.SchemeID { return ID }

// Sniff is Sure of any bytes that begin with the magic: no other scheme does.
func (Scheme) Sniff(raw []byte) code.Match {
	if len(raw) > 0 && raw[0] == magic {
		return code.Sure
	}
	return code.No
}

// keySize gives the size of a suite's device key, 0 if there is no such suite.
func keySize(suite uint8) int {
	switch suite {
	case SuiteEd25519:
		return ed25519KeySize
	case SuiteAllP256, SuiteSM2, SuiteP256:
		return p256KeySize
	case SuiteChain:
		return chainSize
	}
	return 0
}

// proofSize gives the size of what ends a suite's part B.
func proofSize(suite uint8) int {
	if suite == SuiteChain {
		return chainSize
	}
	return sigSize
}

// Proof gives what ends a parsed code: the device's signature, or the value of a
// hash chain. It aliases the code's bytes.
func Proof(c *code.Code) []byte { return c.Raw[len(c.Raw)-proofSize(c.Suite):] }

// deviceForm reports whether key has the one form of the suite's device keys.
func deviceForm(suite uint8, key []byte) bool {
	switch suite {
	case SuiteAllP256, SuiteP256:
		return compressed(key)
	case SuiteSM2:
		return sm2.Compressed(key)
	}
	return true
}

// Parse reads a code. c's slices alias raw. On error c is zero.
func (Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	credential, err := parseCredential(raw, c)
	if err != nil {
		*c = code.Code{}
		return err
	}
	err = parseDynamic(raw[credential:], c)
	if err == nil && c.Party == 0 {
		err = code.ErrMalformed // [ParseProof] reads it
	}
	if err != nil {
		*c = code.Code{}
		return err
	}
	c.Raw = raw
	return nil
}

// ParseCredential reads part A alone, as an issuer gives it to a device. The
// fields of part B stay zero.
func ParseCredential(credential []byte, c *code.Code) error {
	*c = code.Code{}
	n, err := parseCredential(credential, c)
	if err == nil && n != len(credential) {
		err = code.ErrMalformed
	}
	if err != nil {
		*c = code.Code{}
	}
	return err
}

// parseCredential fills in part A and gives its length.
func parseCredential(raw []byte, c *code.Code) (int, error) {
	if len(raw) < 2 || raw[0] != magic {
		return 0, code.ErrMalformed
	}
	hdr := raw[1]
	suite := hdr >> 2 & 7
	size := keySize(suite)
	switch {
	case hdr>>5 != version, size == 0:
		return 0, code.ErrUnsupported
	case hdr&reserved != 0, len(raw) > maxSize:
		return 0, code.ErrMalformed
	}
	end := offDevice + size
	if hdr&hasExt != 0 {
		n, ok := extensions(raw, end)
		if !ok {
			return 0, code.ErrMalformed
		}
		end += n
	}
	end += sigSize
	if len(raw) < end {
		return 0, code.ErrMalformed
	}
	device := raw[offDevice : offDevice+size]
	if !deviceForm(suite, device) || suite == SuiteAllP256 && !lowS(raw[end-sigSize/2:end]) {
		return 0, code.ErrMalformed
	}
	c.Scheme = ID
	c.Rider = citygate.Rider{
		Issuer: citygate.Issuer(binary.BigEndian.Uint16(raw[offIssuer:])),
		List:   binary.BigEndian.Uint16(raw[offList:]),
		Index:  binary.BigEndian.Uint32(raw[offIndex:]),
	}
	c.KeyID = raw[offKeyID]
	c.Suite = suite
	c.IssuedAt = int64(binary.BigEndian.Uint32(raw[offIssued:]))
	c.ExpiresAt = c.IssuedAt + int64(binary.BigEndian.Uint16(raw[offTTL:]))*hour
	c.Product = binary.BigEndian.Uint16(raw[offProduct:])
	c.Cap = binary.BigEndian.Uint16(raw[offCap:])
	c.Taps = raw[offTaps]
	c.Window = int64(raw[offWindow])
	c.Credential = raw[:end:end]
	c.DeviceKey = device
	return end, nil
}

// parseDynamic fills in part B, which must be all of b.
func parseDynamic(b []byte, c *code.Code) error {
	if len(b) != dynSize+proofSize(c.Suite) {
		return code.ErrMalformed
	}
	flags := b[3]
	age := int64(b[0])<<16 + int64(b[1])<<8 + int64(b[2])
	c.GeneratedAt = c.IssuedAt + age
	c.Party = flags >> 4
	c.ClockQuality = flags >> 2 & 3
	c.Medium = flags & 3
	c.Counter = binary.BigEndian.Uint16(b[4:])
	c.Context = binary.BigEndian.Uint16(b[6:])
	if c.ClockQuality > code.ClockUnknown {
		return code.ErrMalformed
	}
	switch c.Suite {
	case SuiteAllP256, SuiteP256:
		if !lowS(b[dynSize+sigSize/2:]) {
			return code.ErrMalformed
		}
	case SuiteChain:
		// A preimage proves its slot and nothing else, so nothing else may vary.
		if slot, ok := chainSlot(c, age); !ok || flags != chainFlags || c.Context != 0 || int64(c.Counter) != slot {
			return code.ErrMalformed
		}
	}
	return nil
}

// extensions checks the TLVs at raw[at:] and gives their size with the length byte.
func extensions(raw []byte, at int) (size int, ok bool) {
	if len(raw) <= at {
		return 0, false
	}
	n := int(raw[at])
	if n < 1 || n > maxExt || len(raw) < at+1+n {
		return 0, false
	}
	return 1 + n, ascending(raw[at+1 : at+1+n])
}

// ascending reports whether tlvs is a whole number of TLVs in strictly
// ascending type.
func ascending(tlvs []byte) bool {
	for last := -1; len(tlvs) > 0; {
		if len(tlvs) < 2 || int(tlvs[0]) <= last || len(tlvs) < 2+int(tlvs[1]) {
			return false
		}
		last = int(tlvs[0])
		tlvs = tlvs[2+int(tlvs[1]):]
	}
	return true
}

// Extensions gives the TLVs of a parsed code, nil if it has none.
func Extensions(c *code.Code) []byte {
	end := offDevice + keySize(c.Suite)
	if len(c.Credential) <= end+sigSize {
		return nil
	}
	return c.Credential[end+1 : len(c.Credential)-sigSize]
}

// Marshal builds the bytes of a parsed code from its fields; the extensions and
// the two signatures, which have no fields, are taken from its slices.
func Marshal(c *code.Code) []byte {
	ext := Extensions(c)
	out := make([]byte, offDevice, maxSize)
	putHeader(out, c, len(ext) > 0)
	binary.BigEndian.PutUint16(out[offTTL:], uint16((c.ExpiresAt-c.IssuedAt)/hour))
	out = append(out, c.DeviceKey...)
	if len(ext) > 0 {
		out = append(out, byte(len(ext)))
		out = append(out, ext...)
	}
	out = append(out, c.Credential[len(c.Credential)-sigSize:]...)
	out = appendDynamic(out, c.GeneratedAt-c.IssuedAt, c)
	return append(out, Proof(c)...)
}

// putHeader writes the fixed fields of part A, except ttl and device key.
func putHeader(out []byte, c *code.Code, ext bool) {
	out[0] = magic
	out[1] = version<<5 | c.Suite<<2
	if ext {
		out[1] |= hasExt
	}
	binary.BigEndian.PutUint16(out[offIssuer:], uint16(c.Rider.Issuer))
	out[offKeyID] = c.KeyID
	binary.BigEndian.PutUint16(out[offList:], c.Rider.List)
	binary.BigEndian.PutUint32(out[offIndex:], c.Rider.Index)
	binary.BigEndian.PutUint32(out[offIssued:], uint32(c.IssuedAt))
	binary.BigEndian.PutUint16(out[offProduct:], c.Product)
	binary.BigEndian.PutUint16(out[offCap:], c.Cap)
	out[offTaps] = c.Taps
	out[offWindow] = uint8(c.Window)
}

// appendDynamic appends the 8 bytes of part B that the device signs.
func appendDynamic(out []byte, age int64, c *code.Code) []byte {
	out = append(out, byte(age>>16), byte(age>>8), byte(age), c.Party<<4|c.ClockQuality<<2|c.Medium)
	out = binary.BigEndian.AppendUint16(out, c.Counter)
	return binary.BigEndian.AppendUint16(out, c.Context)
}
