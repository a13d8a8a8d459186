package code

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cashlesscity/citygate"
)

// A Plugin is how wiring gets at a scheme it does not know: each scheme package
// declares one, and the package gateway/code/schemes lists them.
type Plugin struct {
	ID SchemeID
	// New makes a scheme from a tenant's parameters: one JSON object, whose
	// fields the scheme's package lists; empty means the defaults. An unknown
	// field or a value out of bounds is an error that names it.
	New func(params []byte) (Scheme, error)
	// Trust reads keys and secrets from one JSON object, as a person writes them
	// to try codes by hand; terminals get theirs from the trust bundle. Empty
	// means no keys at all. The result may also be a [ForeignKeySource] and a
	// [SecretSource].
	Trust func(trust []byte) (KeySource, error)
	// Samples makes genuine codes with keys of their own, for measuring: one of
	// each way of verifying that differs in cost, the dearest code it has. nil means that the scheme is not measured.
	Samples func(random io.Reader) ([]Sample, error)
	// NeedsSecret says that codes are proven by secrets shared with whoever makes
	// them: no bundle carries those. The tenant's secret store holds the object that
	// Trust reads, whose result is then a [SecretSource].
	NeedsSecret bool
	// Key refuses bytes that are no foreign key of the scheme. nil: the scheme looks
	// into none.
	Key func(key []byte) error
}

// A Sample is a genuine code with what it takes to verify it.
type Sample struct {
	Name   string // which of the scheme's ways, "" if there is one
	Scheme Scheme
	Keys   KeySource
	Raw    []byte
	At     int64 // unix seconds: the tap
	// Bare does the signature checks or keyed sums of one verification, on parsed
	// keys, and nothing else; nil if the scheme has none.
	Bare func() bool
}

// Common are the parameters that every scheme takes. The scheme itself has no
// use for them: they are for who compares windows and amounts. Scheme packages
// embed it in their own.
type Common struct {
	// SkewSeconds is allowed between two clocks, both ways; default 0.
	SkewSeconds int64 `json:"skew_s,omitempty"`
	// Issuer is the issuer number that stands for the scheme's issuer in the
	// acceptance policy and in the books. CT1 codes name their own.
	Issuer citygate.Issuer `json:"issuer,omitempty"`
	// CapUnitMinor is what one unit of a code's cap is worth; default 1. Only CT1
	// counts in units, and a validator has it from the issuer's rule.
	CapUnitMinor int64 `json:"cap_unit_minor,omitempty"`
	// CapMinor is the highest fare for one tap when a code states none; 0 = no
	// limit by the scheme.
	CapMinor int64 `json:"cap_minor,omitempty"`
}

const skewMax = 3600 // seconds; policies/accept allows less

// Check names the first field that is out of bounds.
func (c Common) Check() error {
	switch {
	case c.SkewSeconds < 0 || c.SkewSeconds > skewMax:
		return fmt.Errorf("skew_s: want 0 to %d", skewMax)
	case c.CapUnitMinor < 0 || c.CapUnitMinor > 1<<40:
		return errors.New("cap_unit_minor: want 1 to 2^40")
	case c.CapMinor < 0:
		return errors.New("cap_minor: must not be negative")
	}
	return nil
}

// Cap gives the CapMinor of a code that states none itself.
func (c Common) Cap() int64 {
	if c.CapMinor == 0 {
		return CapNone
	}
	return c.CapMinor
}

// Decode reads one JSON object into into, whose fields are the defaults. A field
// that is not there, a second value or trailing bytes are errors: a parameter
// with a typing error must not become the default. Empty raw changes nothing.
func Decode(raw []byte, into any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// digestMax bounds the parts of a [Digest]: no scheme reads a longer code.
const digestMax = 2048

// Digest names something of a scheme (what: "account", "use") by parts of its
// code: SHA-256 over the scheme, what and the parts, each with its length before
// it, so that no two lists of parts are one. Parts of up to 2,000 bytes in all
// allocate nothing.
func Digest(scheme SchemeID, what string, parts ...[]byte) [32]byte {
	var buf [digestMax]byte
	b := appendPart(buf[:0], scheme)
	b = appendPart(b, what)
	for _, p := range parts {
		b = appendPart(b, p)
	}
	return sha256.Sum256(b)
}

func appendPart[T ~string | ~[]byte](b []byte, part T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}
