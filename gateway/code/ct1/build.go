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

// BuildCredential gives the bytes the issuer signs, as they are: pure Ed25519,
// ECDSA over their SHA-256 as raw r||s in [SuiteAllP256], SM2 under the default
// user id in [SuiteSM2]. Pass them to [Assemble] with the signature.
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
	case f.Suite == SuiteChain && int64(f.TTLHours)*hour > int64(f.Window)*ChainMax:
		return nil, fmt.Errorf("credential: %d hours are more than %d displays of %d seconds, the longest chain", f.TTLHours, ChainMax, f.Window)
	case f.Suite == SuiteChain && f.Taps != 0:
		return nil, fmt.Errorf("credential: a tap budget on a hash chain, which counts time and not taps")
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
// returns part A. It does not check the signature: see [VerifyCredential].
func Assemble(toSign, signature []byte) (credential []byte, err error) {
	if len(signature) != sigSize {
		return nil, fmt.Errorf("credential: a signature of %d bytes, want %d", len(signature), sigSize)
	}
	if len(toSign) < len(credentialContext) || string(toSign[:len(credentialContext)]) != credentialContext {
		return nil, fmt.Errorf("credential: these bytes were not made by BuildCredential")
	}
	credential = append(append([]byte(nil), toSign[len(credentialContext):]...), signature...)
	if credential[1]>>2&7 == SuiteAllP256 {
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
// sign gives the device's signature over a message: 64 bytes of Ed25519 or SM2,
// or raw r||s of P-256 over its SHA-256, with either S. The counter must grow
// with every display; keeping it is the device's duty.
//
// A hash chain proves the time and nothing else: its display is of the slot that
// GeneratedAt falls into, with the slot for a counter, and d states a party of 1,
// [code.ClockUnknown], [code.MediumBand] and nothing more. sign is then
// [ChainSigner]'s.
func Display(credential []byte, d Dynamic, sign func(msg []byte) ([]byte, error)) ([]byte, error) {
	if d.Party < 1 || d.Party > maxParty {
		return nil, fmt.Errorf("display: a party of %d, want 1 to %d", d.Party, maxParty)
	}
	return display(credential, d, sign)
}

func display(credential []byte, d Dynamic, sign func(msg []byte) ([]byte, error)) ([]byte, error) {
	var c code.Code
	if err := ParseCredential(credential, &c); err != nil {
		return nil, fmt.Errorf("display: %w", err)
	}
	age := d.GeneratedAt - c.IssuedAt
	switch {
	case age < 0 || age > maxAge:
		return nil, fmt.Errorf("display: made %d seconds after issue, want 0 to %d", age, maxAge)
	case d.ClockQuality > code.ClockUnknown || d.Medium > code.MediumOther:
		return nil, fmt.Errorf("display: clock quality %d or medium %d is not defined", d.ClockQuality, d.Medium)
	}
	if c.Suite == SuiteChain {
		if d.Party != 1 || d.ClockQuality != code.ClockUnknown || d.Medium != code.MediumBand || d.Counter != 0 || d.Context != 0 {
			return nil, fmt.Errorf("display: a hash chain can state a party of 1, an unknown clock and a band, and nothing else")
		}
		slot, ok := chainSlot(&c, age-age%max(1, c.Window))
		if !ok {
			return nil, fmt.Errorf("display: %d seconds after issue are beyond the chain", age)
		}
		age, d.Counter = slot*c.Window, uint16(slot)
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
	if want := proofSize(c.Suite); len(sig) != want {
		return nil, fmt.Errorf("display: a signature of %d bytes, want %d", len(sig), want)
	}
	raw := append(msg[len(displayContext):len(msg):len(msg)], sig...)
	if c.Suite == SuiteP256 || c.Suite == SuiteAllP256 {
		LowS(raw[len(raw)-sigSize:])
	}
	return raw, nil
}
