package uicdosipas

import (
	"github.com/cashlesscity/citygate/gateway/code"
)

// MaxBytes bounds a code: the largest Aztec symbol holds 1,914 bytes, and the
// largest of the public samples is 507.
const MaxBytes = 1914

const (
	maxContents   = 8 // of a data sequence; issuers use one or two
	maxProvider   = 32000
	maxKeyID      = 99999
	firstYear     = 2016
	lastYear      = 2269
	maxDuration   = 3600
	minutesOfDay  = 1440
	secondsOfDay  = 86400
	longestYear   = 366
	maxFormatName = 16
)

// formatDynamic names the dynamic content that this package reads.
const formatDynamic = "FDC1"

// A content is one DataType: a format name and its bytes.
type content struct {
	format ia5
	data   octets
}

// A Barcode is the header of a DOSIPAS code. It keeps where things stand in the
// bytes given to [Barcode.Parse], which must not change while it is in use; a
// parsed barcode is not a valid one.
type Barcode struct {
	raw []byte

	Version     uint8  // of the header: 1 or 2
	ProviderNum uint16 // RICS code of the security provider, 0 if it is given as text or not at all
	KeyID       uint32 // of the provider's level 1 key, 0..99999
	HasKeyID    bool

	// The end of the barcode's validity, in UTC. Year is 0 when there is none.
	EndYear   uint16
	EndDay    uint16 // of the year, 1..366
	EndMinute uint16 // of the day, 0..1439

	// Duration is how many seconds a display lives, counted from the time stamp
	// of its dynamic content; 0 when the issuer says nothing.
	Duration uint16

	Dynamic Dynamic // what the device added, if it is FDC1
	Rail    Rail    // of the first content that is a rail ticket

	provider    ia5
	hasProvider bool
	contents    [maxContents]content
	count       int

	level1KeyAlg, level2KeyAlg         oid
	level1SigningAlg, level2SigningAlg oid
	level2Key                          octets
	hasLevel2Key                       bool

	level1, level2       region // what each level signs
	sequence             region // the contents with their count
	level1Sig, level2Sig octets
	hasLevel1Sig         bool
	hasLevel2Sig         bool
	level2Data           content
	hasLevel2Data        bool
}

// A region is a run of bits of a code.
type region struct{ at, end int }

func (g region) appendTo(dst, raw []byte) []byte {
	return appendBits(dst, raw, g.at, g.end-g.at)
}

// Parse reads a code. It does not allocate. Errors are [code.ErrMalformed], and
// [code.ErrUnsupported] for a header version that is not known here. On error b
// is zero.
//
// Beyond the encoding it refuses what no honest issuer makes and an attacker
// might: a device signature without a device key, dynamic content that no
// device signed, an end of validity with a part missing.
func (b *Barcode) Parse(raw []byte) error {
	*b = Barcode{}
	err := b.parse(raw)
	if err != nil {
		*b = Barcode{}
	}
	return err
}

func (b *Barcode) parse(raw []byte) error {
	version, ok := headerVersion(raw)
	switch {
	case !ok || len(raw) > MaxBytes:
		return code.ErrMalformed
	case version != 1 && version != 2:
		return code.ErrUnsupported
	}
	b.raw, b.Version = raw, version
	r := newReader(raw)
	b.hasLevel2Sig = r.flag()
	r.take(8 + 2*7) // the format, which headerVersion read
	b.level2.at = r.pos
	b.readLevel2(&r)
	b.level2.end = r.pos
	if b.hasLevel2Sig {
		b.level2Sig = r.octets()
	}
	if !r.done() || !b.consistent() {
		return code.ErrMalformed
	}
	return nil
}

// headerVersion reads the format name, "U1" or "U2", behind the first bit, which
// says whether there is a level 2 signature.
func headerVersion(raw []byte) (version uint8, ok bool) {
	if len(raw) < 4 || raw[0]&0x7f != 0x01 || raw[1] != 0x55 {
		return 0, false
	}
	digit := raw[2] >> 1
	if digit < '0' || digit > '9' {
		return 0, false
	}
	return digit - '0', true
}

func (b *Barcode) readLevel2(r *reader) {
	b.hasLevel1Sig = r.flag()
	b.hasLevel2Data = r.flag()
	b.level1.at = r.pos
	b.readLevel1(r)
	b.level1.end = r.pos
	if b.hasLevel1Sig {
		b.level1Sig = r.octets()
	}
	if b.hasLevel2Data {
		b.level2Data = readContent(r)
		if b.level2Data.format.is(r.raw, formatDynamic) {
			inner := r.inside(b.level2Data.data)
			if !b.Dynamic.read(&inner) {
				r.bad = true
			}
		}
	}
}

func (b *Barcode) readLevel1(r *reader) {
	hasProviderNum := r.flag()
	b.hasProvider = r.flag()
	b.HasKeyID = r.flag()
	hasLevel1KeyAlg, hasLevel2KeyAlg := r.flag(), r.flag()
	hasLevel1SigningAlg, hasLevel2SigningAlg := r.flag(), r.flag()
	b.hasLevel2Key = r.flag()
	var hasYear, hasDay, hasMinute, hasDuration bool
	if b.Version >= 2 {
		hasYear, hasDay, hasMinute, hasDuration = r.flag(), r.flag(), r.flag(), r.flag()
	}
	if hasYear != hasDay || hasDay != hasMinute {
		r.bad = true // "if end of validity is provided year day and time must be provided"
	}
	if hasProviderNum {
		b.ProviderNum = uint16(r.within(15, 1, maxProvider-1))
	}
	if b.hasProvider {
		b.provider = r.ia5()
	}
	if b.HasKeyID {
		b.KeyID = r.within(17, 0, maxKeyID)
	}
	b.readSequence(r)
	b.level1KeyAlg = readOID(r, hasLevel1KeyAlg)
	b.level2KeyAlg = readOID(r, hasLevel2KeyAlg)
	b.level1SigningAlg = readOID(r, hasLevel1SigningAlg)
	b.level2SigningAlg = readOID(r, hasLevel2SigningAlg)
	if b.hasLevel2Key {
		b.level2Key = r.octets()
	}
	if hasYear {
		b.EndYear = uint16(r.within(8, firstYear, lastYear-firstYear))
		b.EndDay = uint16(r.within(9, 1, longestYear-1))
		b.EndMinute = uint16(r.within(11, 0, minutesOfDay-1))
	}
	if hasDuration {
		b.Duration = uint16(r.within(12, 1, maxDuration-1))
	}
}

func (b *Barcode) readSequence(r *reader) {
	b.sequence.at = r.pos
	n := r.length()
	if n < 1 || n > maxContents {
		r.bad = true
		return
	}
	for i := range n {
		c := readContent(r)
		if !b.Rail.Present && !r.bad {
			b.readRail(r, c)
		}
		b.contents[i] = c
	}
	b.count = n
	b.sequence.end = r.pos
}

func (b *Barcode) readRail(r *reader, c content) {
	for _, f := range railFormats {
		if c.format.is(r.raw, f.name) {
			inner := r.inside(c.data)
			var ok bool
			if b.Rail, ok = readRail(&inner, f.optionalTime, f.dates); !ok {
				r.bad = true
			}
			return
		}
	}
}

func readContent(r *reader) content {
	c := content{format: r.ia5(), data: r.octets()}
	if c.format.n < 1 || c.format.n > maxFormatName {
		r.bad = true
	}
	return c
}

// consistent reports whether the parts go together. A barcode that names a
// device key but has lost its device signature parses: refusing that is a
// matter of signatures, see [Scheme.Verify].
func (b *Barcode) consistent() bool {
	switch {
	case b.ProviderNum == 0 && !b.hasProvider, // nobody to ask for the key
		b.ProviderNum != 0 && b.hasProvider, // "elements must be included only once"
		b.hasProvider && b.provider.n == 0,
		b.hasLevel2Sig && !b.hasLevel2Key,                     // nothing to check it with
		b.hasLevel2Data && !b.hasLevel2Sig && !b.hasLevel2Key, // an unsigned claim
		b.EndYear != 0 && int(b.EndDay) > daysIn(int(b.EndYear)):
		return false
	}
	return true
}

// IsDynamic reports whether the issuer bound the code to a device: only that
// device can make a display of it.
func (b *Barcode) IsDynamic() bool { return b.hasLevel2Key }

// Provider gives the security provider: its RICS code in decimal, or the text
// that stands in its place.
func (b *Barcode) Provider() string {
	return string(b.appendProvider(nil))
}

// Content gives the name and the bytes of the i-th content of the data
// sequence, such as "FCB3", and false when there is none.
func (b *Barcode) Content(i int) (format string, data []byte, ok bool) {
	if i < 0 || i >= b.count {
		return "", nil, false
	}
	c := b.contents[i]
	return string(c.format.appendTo(nil, b.raw)), c.data.appendTo(nil, b.raw), true
}

// AppendLevel1 appends the bytes that the issuer signs.
func (b *Barcode) AppendLevel1(dst []byte) []byte { return b.level1.appendTo(dst, b.raw) }

// AppendLevel2 appends the bytes that the device signs.
func (b *Barcode) AppendLevel2(dst []byte) []byte { return b.level2.appendTo(dst, b.raw) }
