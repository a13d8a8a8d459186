package ct1

import (
	"fmt"
	"math"

	"encoding/binary"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// A Credential is what an issuer states in part A.
type Credential struct {
	Suite      uint8
	Rider      citygate.Rider
	KeyID      uint8
	IssuedAt   int64 // unix seconds
	TTLHours   uint16
	Product    uint16
	Cap        uint16 // highest fare for one tap, in the issuer's cap units
	Taps       uint8  // highest counter accepted, 0 = unlimited
	Window     uint8  // seconds a display lives
	DeviceKey  []byte
	Extensions []byte // TLVs in strictly ascending type, at most 21 bytes
}

// BuildCredential gives the bytes the issuer signs: as they are with Ed25519
// (suites 0, 3 and 4), their SHA-256 with P-256 (suite 1), their SM3 with SM2 and
// the default user id (suite 2). Pass them to [Assemble] with the signature.
func BuildCredential(f Credential) (toSign []byte, err error) {
	if err := CheckDeviceKey(f.Suite, f.DeviceKey); err != nil {
		return nil, err
	}
	switch {
	case f.IssuedAt < 0 || f.IssuedAt > math.MaxUint32:
		return nil, fmt.Errorf("credential: issue time %d does not fit 32 bits", f.IssuedAt)
	case f.TTLHours == 0:
		return nil, fmt.Errorf("credential: a lifetime of 0 hours")
	case f.Window == 0:
		return nil, fmt.Errorf("credential: a display window of 0 seconds")
	case f.Suite == SuiteChain && f.Taps != 0:
		return nil, fmt.Errorf("credential: a budget of %d taps, but the counter of a hash chain is its slot; shorten the life instead", f.Taps)
	case f.Suite == SuiteChain && slots(int64(f.TTLHours)*hour, int64(f.Window)) > SlotsMax:
		return nil, fmt.Errorf("credential: %d hours in windows of %d seconds are more than %d slots", f.TTLHours, f.Window, SlotsMax)
	case len(f.Extensions) > maxExt:
		return nil, fmt.Errorf("credential: %d bytes of extensions, at most %d", len(f.Extensions), maxExt)
	case !ascending(f.Extensions):
		return nil, fmt.Errorf("credential: extensions are not TLVs in ascending type")
	}
	out := make([]byte, len(credentialContext)+offDevice, len(credentialContext)+maxSize)
	a := out[copy(out, credentialContext):]
	putHeader(a, &code.Code{
		Suite: f.Suite, Rider: f.Rider, KeyID: f.KeyID, IssuedAt: f.IssuedAt, Product: f.Product,
		Cap: f.Cap, Taps: f.Taps, Window: int64(f.Window),
	}, len(f.Extensions) > 0)
	binary.BigEndian.PutUint16(a[offTTL:], f.TTLHours)
	out = append(out, f.DeviceKey...)
	if len(f.Extensions) > 0 {
		out = append(out, byte(len(f.Extensions)))
		out = append(out, f.Extensions...)
	}
	return out, nil
}

// Assemble puts the issuer's signature behind what [BuildCredential] gave and
// returns part A. A P-256 signature may have either S. It does not check the signature: see [VerifyCredential].
func Assemble(toSign, signature []byte) (credential []byte, err error) {
	if len(signature) != sigSize {
		return nil, fmt.Errorf("credential: a signature of %d bytes, want %d", len(signature), sigSize)
	}
	if len(toSign) < len(credentialContext) || string(toSign[:len(credentialContext)]) != credentialContext {
		return nil, fmt.Errorf("credential: these bytes were not made by BuildCredential")
	}
	credential = append(append([]byte(nil), toSign[len(credentialContext):]...), signature...)
	if len(credential) > offDevice && credential[1]>>2&7 == SuiteP256Only {
		LowS(credential[len(credential)-sigSize:])
	}
	var c code.Code
	if err := ParseCredential(credential, &c); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	return credential, nil
}

// A Dynamic is what a device states in part B.
type Dynamic struct {
	GeneratedAt  int64 // unix seconds
	Counter      uint16
	Context      uint16 // vehicle binding, 0 = none
	Party        uint8  // 1..15
	ClockQuality uint8
	Medium       uint8
}

// Display makes a code from a credential, as the device does for each showing.
// sign gives the device's signature over a message: 64 bytes of Ed25519, raw
// r||s of P-256 over its SHA-256, with either S, or of SM2. The counter must grow
// with every display; keeping it is the device's duty. A band with a hash chain
// signs nothing: see [Chain.Display].
func Display(credential []byte, d Dynamic, sign func(msg []byte) ([]byte, error)) ([]byte, error) {
	var c code.Code
	if err := ParseCredential(credential, &c); err != nil {
		return nil, fmt.Errorf("display: %w", err)
	}
	age := d.GeneratedAt - c.IssuedAt
	switch {
	case c.Suite == SuiteChain:
		return nil, fmt.Errorf("display: a credential of suite %d is shown by its chain", c.Suite)
	case age < 0 || age > maxAge:
		return nil, fmt.Errorf("display: made %d seconds after issue, want 0 to %d", age, maxAge)
	case d.Party < 1 || d.Party > maxParty:
		return nil, fmt.Errorf("display: a party of %d, want 1 to %d", d.Party, maxParty)
	case d.ClockQuality > code.ClockUnknown || d.Medium > code.MediumOther:
		return nil, fmt.Errorf("display: clock quality %d or medium %d is not defined", d.ClockQuality, d.Medium)
	}
	c.Counter, c.Context = d.Counter, d.Context
	c.Party, c.ClockQuality, c.Medium = d.Party, d.ClockQuality, d.Medium
	msg := make([]byte, 0, len(displayContext)+maxSize)
	msg = append(append(msg, displayContext...), credential...)
	msg = appendDynamic(msg, age, &c)
	sig, err := sign(msg)
	if err != nil {
		return nil, fmt.Errorf("display: %w", err)
	}
	if len(sig) != sigSize {
		return nil, fmt.Errorf("display: a signature of %d bytes, want %d", len(sig), sigSize)
	}
	raw := append(msg[len(displayContext):len(msg):len(msg)], sig...)
	if c.Suite == SuiteP256 || c.Suite == SuiteP256Only {
		LowS(raw[len(raw)-sigSize:])
	}
	return raw, nil
}
