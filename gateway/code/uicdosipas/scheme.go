package uicdosipas

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// ID names the scheme.
const ID code.SchemeID = "uic-dosipas"

// KindLevel1 is the kind of a security provider's signing key in [code.KeyName]:
// the owner is the provider as [Barcode.Provider] writes it, the ID the key id
// of the code, 0 when it has none; the bytes are a SubjectPublicKeyInfo.
const KindLevel1 = "level1"

// Params are a tenant's parameters. Everything that loosens is off by default.
type Params struct {
	code.Common
	// AllowStatic takes codes that no device signs. A copy of such a code is as
	// good as the code; inspectors ask for a passport, a gate cannot.
	AllowStatic bool `json:"allow_static,omitempty"`
	// AllowSpecimen takes test tickets. For test tracks.
	AllowSpecimen bool `json:"allow_specimen,omitempty"`
	// IssuerKeys are the kinds of level 1 key taken beside ECDSA on P-256: "p224",
	// "p384" and "dsa2048" (a check takes 0.5 to 1.5 milliseconds, unless the
	// credential is remembered; FIPS 186-5 has no DSA for new signatures any more)
	// and "dsa1024", still in the field, which signs with SHA-1 and is weaker than
	// any other key here.
	IssuerKeys []string `json:"issuer_keys,omitempty"`
	// WindowSeconds is how long a display lives when its issuer does not say, and
	// how long a static code counts as one display; default 120.
	WindowSeconds int64 `json:"window_s,omitempty"`
	// MaxWindowSeconds bounds what issuers say; default and most 3600.
	MaxWindowSeconds int64 `json:"max_window_s,omitempty"`
	// Zone is where local times on tickets are, as a name of the IANA time zone
	// database; default UTC.
	Zone string `json:"zone,omitempty"`
}

const defaultWindow = 120 // seconds; what the largest issuer of dynamic codes gives

// Scheme is the DOSIPAS scheme of one tenant. [New] makes it; the zero Scheme
// has the default parameters.
type Scheme struct {
	params Params
	take   kinds
	zone   *time.Location
}

var _ code.Scheme = Scheme{}

// Plugin makes the scheme. Its trust object is
//
//	{"keys":[{"provider":"1187","key_id":90000,"public_hex":".."}]}
//
// where provider is a RICS code or the text that stands in its place, and
// public_hex a SubjectPublicKeyInfo, whose key must pass [CheckIssuerKey].
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples}

func newScheme(params []byte) (code.Scheme, error) {
	var p Params
	if err := code.Decode(params, &p); err != nil {
		return nil, err
	}
	return New(p)
}

// New makes a scheme. Its error names the parameter that is out of bounds.
func New(p Params) (Scheme, error) {
	if err := p.Check(); err != nil {
		return Scheme{}, err
	}
	switch {
	case p.WindowSeconds < 0 || p.WindowSeconds > maxDuration:
		return Scheme{}, fmt.Errorf("window_s: want 1 to %d", maxDuration)
	case p.MaxWindowSeconds < 0 || p.MaxWindowSeconds > maxDuration:
		return Scheme{}, fmt.Errorf("max_window_s: want 1 to %d", maxDuration)
	}
	take, err := kindsOf(p.IssuerKeys)
	if err != nil {
		return Scheme{}, fmt.Errorf("issuer_keys: %w", err)
	}
	zone, err := time.LoadLocation(p.Zone) // "" is UTC
	if err != nil {
		return Scheme{}, fmt.Errorf("zone: %w", err)
	}
	return Scheme{p, take, zone}, nil
}

func readTrust(raw []byte) (code.KeySource, error) {
	var file struct {
		Keys []struct {
			Provider  string `json:"provider"`
			KeyID     uint32 `json:"key_id"`
			PublicHex string `json:"public_hex"`
		} `json:"keys"`
	}
	if err := code.Decode(raw, &file); err != nil {
		return nil, err
	}
	t := new(code.Trust)
	for i, k := range file.Keys {
		der, err := hex.DecodeString(k.PublicHex)
		if err != nil {
			return nil, fmt.Errorf("keys[%d].public_hex: %w", i, err)
		}
		if err := CheckIssuerKey(der); err != nil {
			return nil, fmt.Errorf("keys[%d].public_hex: %w", i, err)
		}
		if k.Provider == "" || k.KeyID > maxKeyID {
			return nil, fmt.Errorf("keys[%d]: want a provider and a key_id up to %d", i, maxKeyID)
		}
		t.AddForeign(KeyName(k.Provider, k.KeyID), der)
	}
	return t, nil
}

// KeyName names a provider's level 1 key.
func KeyName(provider string, keyID uint32) code.KeyName {
	return code.KeyName{Scheme: ID, Owner: provider, Kind: KindLevel1, ID: keyID}
}

// ID gives "uic-dosipas".
func (Scheme) ID() code.SchemeID { return ID }

// Sniff is Sure of bytes that begin like a header of any version: 01 or 81, 55,
// then a digit in the upper seven bits. A Ministry of Transport code may begin
// with 81 too, but then tells a length below 512 in the next two bytes.
func (Scheme) Sniff(raw []byte) code.Match {
	if _, ok := headerVersion(raw); ok {
		return code.Sure
	}
	return code.No
}

// Parse reads a code. On error c is zero.
//
// The time stamp of a display has no year, so c is Timeless: it is placed at the
// tap, and [Scheme.Verify] finds the year and compares.
func (s Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	var b Barcode
	if err := b.Parse(raw); err != nil {
		return err
	}
	if b.IsDynamic() && b.hasLevel2Sig && !b.Dynamic.HasTime {
		return code.ErrUnsupported // a copy of it would be good for ever
	}
	c.Scheme, c.Raw = ID, raw
	c.Rider = citygate.Rider{Issuer: s.params.Issuer}
	c.Timeless = true
	c.Window = s.window(&b)
	c.CapMinor = s.params.Cap()
	c.Party = uint8(min(max(b.Rail.Riders, 1), 255))
	c.Account = b.account()
	c.Once = b.once()
	return nil
}

// window gives the seconds that a display lives.
func (s Scheme) window(b *Barcode) int64 {
	w := int64(b.Duration)
	if w == 0 {
		w = s.params.WindowSeconds
	}
	if w == 0 {
		w = defaultWindow
	}
	if most := s.params.MaxWindowSeconds; most > 0 {
		w = min(w, most)
	}
	return w
}

// account names the ticket: by its reference, which outlives the renewals of a
// barcode, or by all its content when no reference can be read.
func (b *Barcode) account() [32]byte {
	var providerBuf, buf [MaxBytes]byte
	provider := b.appendProvider(providerBuf[:0])
	t := &b.Rail
	if t.reference.n == 0 && t.referenceNum.n == 0 {
		return code.Digest(ID, "content", provider, b.sequence.appendTo(buf[:0], b.raw))
	}
	ref := t.reference.appendTo(buf[:0], b.raw)
	num := t.referenceNum.appendTo(ref[len(ref):], b.raw)
	pnr := t.pnr.appendTo(num[len(num):], b.raw)
	return code.Digest(ID, "account", provider, ref, num, pnr)
}

// once names the display: all of the ticket, since the tickets of one booking
// may share its reference, and the device's time stamp. A static code has one
// display.
func (b *Barcode) once() [32]byte {
	var providerBuf, buf [MaxBytes]byte
	var stamp [6]byte
	binary.BigEndian.PutUint16(stamp[:], b.Dynamic.Day)
	binary.BigEndian.PutUint32(stamp[2:], b.Dynamic.Second)
	return code.Digest(ID, "use", b.appendProvider(providerBuf[:0]), b.sequence.appendTo(buf[:0], b.raw), stamp[:])
}

func (b *Barcode) appendProvider(dst []byte) []byte {
	if b.hasProvider {
		return b.provider.appendTo(dst, b.raw)
	}
	return strconv.AppendUint(dst, uint64(b.ProviderNum), 10)
}
