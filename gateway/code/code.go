package code

import (
	"crypto"
	"errors"

	"github.com/cashlesscity/citygate"
)

// A SchemeID names a code scheme, such as "ct1".
type SchemeID string

// Match is how sure a scheme is, from the first bytes alone, that a code is its own.
type Match uint8

// The answers of [Scheme.Sniff].
const (
	No Match = iota
	Maybe
	Sure
)

// ErrMalformed says that bytes are not a canonical code of the scheme.
var ErrMalformed = errors.New("code: malformed")

// ErrUnsupported says that a code is well formed but of a version, suite or
// scheme that is not known here.
var ErrUnsupported = errors.New("code: unsupported")

// A Code is a parsed ride code. Its slices alias the bytes given to Parse; it
// holds no verdict: a parsed code is not a valid code.
type Code struct {
	Scheme SchemeID
	Raw    []byte // verbatim: the evidence

	Rider citygate.Rider
	KeyID uint8 // issuer key inside the issuer ("kid")
	Suite uint8

	IssuedAt    int64 // unix seconds
	ExpiresAt   int64 // unix seconds, exclusive
	GeneratedAt int64 // unix seconds: when the device made this display
	Window      int64 // seconds a display lives, from GeneratedAt

	Product uint16
	Cap     uint16 // highest fare for one tap, in the issuer's cap units
	Taps    uint8  // highest counter accepted, 0 = unlimited
	Counter uint16 // strictly increasing per credential

	Party        uint8 // riders on this code, at least 1
	ClockQuality uint8 // of the device: ClockNetwork, ClockSynced or ClockUnknown
	Medium       uint8 // MediumPhone, MediumBand, MediumServerBatch or MediumOther
	Context      uint16

	Credential []byte // all of part A, with the issuer's signature
	DeviceKey  []byte

	// What schemes state that have no dense index or no issuer's cap units. The
	// sums are made by [Digest]; zero means that Rider, Counter and Cap say it.
	Account  [32]byte // who rides, in the scheme's own terms
	Once     [32]byte // what makes this display different from every other
	CapMinor int64    // highest fare for one tap in minor units; 0 = see Cap, CapNone = not stated

	// CertExpiresAt is when the issuer's certificate on the code ends, exclusive,
	// unix seconds; 0 = there is none.
	CertExpiresAt int64

	// Timeless says that the code does not say when it was made, or says it
	// without proof: see [Code.Place].
	Timeless bool
}

// CapNone is the CapMinor of a code that states no highest fare.
const CapNone int64 = -1

// Place puts a code that says no time of its own at the instant of the tap, in
// unix seconds; any other code stays as it is. Verify of such a scheme judges
// the code at that instant and may then move GeneratedAt to what the code
// proves, which can change [Code.Use] too.
func (c *Code) Place(at int64) {
	if c.Timeless {
		c.IssuedAt, c.GeneratedAt, c.ExpiresAt = at, at, at+max(c.Window, 1)
	}
}

// What a device says of its clock.
const (
	ClockNetwork uint8 = iota // kept by the network
	ClockSynced               // synced recently
	ClockUnknown
)

// What shows the code.
const (
	MediumPhone uint8 = iota
	MediumBand
	MediumServerBatch // made ahead by a server that holds the device key
	MediumOther
)

// A Use is the replay key: one display of one credential. It is never the raw
// bytes, which can be re-encoded. Once is zero for schemes with an index and a
// counter, and names the display on its own for the others.
type Use struct {
	Rider   citygate.Rider
	Counter uint16
	Once    [32]byte
}

// Use gives the replay key of c. A scheme that learns which display it was only
// by verifying (see [Code.Place]) completes it in Verify.
func (c *Code) Use() Use { return Use{c.Rider, c.Counter, c.Once} }

// A Subject is who rides: what deny lists and velocity rules ask about.
type Subject struct {
	Rider   citygate.Rider
	Account [32]byte
}

// Subject gives who rides on c.
func (c *Code) Subject() Subject { return Subject{c.Rider, c.Account} }

// A Scheme parses and verifies one family of codes. It is pure: no clock, no
// I/O, no globals; safe for concurrent use.
type Scheme interface {
	ID() SchemeID
	// Sniff looks at raw reader bytes; it does not allocate and never panics.
	Sniff(raw []byte) Match
	// Parse is structural and does not allocate: bounds and canonical form, no
	// crypto and no trust decision. Whatever parses marshals back to raw.
	// Errors are ErrMalformed or ErrUnsupported.
	Parse(raw []byte, c *Code) error
	// Verify checks signatures only; windows, lists and policy are elsewhere.
	// credentials may be nil. A scheme that needs more than issuer keys finds
	// out whether keys also is a [ForeignKeySource] or a [SecretSource]; without
	// it the scheme refuses or defers, and never accepts.
	Verify(c *Code, keys KeySource, credentials CredentialCache) Verdict
}

// A KeySource gives an issuer's public keys.
type KeySource interface {
	// IssuerKey gives the key and whether it may be trusted for codes issued at
	// issuedAt (unix seconds). A Reason other than "" refuses: unknown_issuer,
	// unknown_key, key_revoked.
	IssuerKey(issuer citygate.Issuer, keyID uint8, issuedAt int64) (crypto.PublicKey, Reason)
	// Version changes whenever any answer may; it is part of every cache key.
	Version() uint64
}

// A CredentialCache remembers credentials whose issuer signature held, keyed by
// SHA-256 of all of part A and the version of the keys. A hit may carry the
// parsed device key. Safe for concurrent use.
type CredentialCache interface {
	Get(key [32]byte) (deviceKey any, ok bool)
	Put(key [32]byte, deviceKey any)
}

// A DisplayMemory is a [CredentialCache] that also remembers displays whose
// device signature held. Whether one holds follows from the bytes alone, device
// key included, so no key that changes or is revoked changes it; what does follow
// from keys, the issuer's part, a scheme checks each time. It helps who is shown
// the same bytes twice, as a gateway is by an upload that is repeated and by the
// claim that follows. Keys are SHA-256 sums that the scheme makes.
type DisplayMemory interface {
	CredentialCache
	Held(display [32]byte) bool
	Hold(display [32]byte)
}

// An Outcome is what a verifier decided.
type Outcome string

// The outcomes.
const (
	Accept Outcome = "accept"
	Reject Outcome = "reject"
	Defer  Outcome = "defer" // well formed but only the issuer can prove it
)

// A Strength says what a verdict rests on.
type Strength string

// The strengths.
const (
	DeviceBound  Strength = "device_bound"
	SecretBound  Strength = "secret_bound"
	StaticSigned Strength = "static_signed"
	Unverified   Strength = "unverified"
)

// A Verdict is the outcome of checking a code, with the reason of a refusal.
// Checked names what held: everything on Accept, what came before the fault on
// Reject.
type Verdict struct {
	Outcome  Outcome  `json:"outcome"`
	Reason   Reason   `json:"reason"` // "" when accepted and only then
	Strength Strength `json:"strength"`
	Checked  Checks   `json:"checked"`
	// Rule is the operator's rule or limit that decided, "" if none did.
	Rule string `json:"rule,omitempty"`
}

// Refuse gives the verdict for reason, nothing having held.
func Refuse(reason Reason) Verdict {
	return Verdict{Outcome: Reject, Reason: reason, Strength: Unverified}
}

// Deferred gives the verdict on a well-formed code that only its issuer can
// prove. Its reason is unknown_key, no key held here proves it, so that a caller
// who looks at the reason alone does not let it pass.
func Deferred(checked Checks) Verdict {
	return Verdict{Outcome: Defer, Reason: UnknownKey, Strength: Unverified, Checked: checked}
}

// After gives v with what held before it.
func (v Verdict) After(checked Checks) Verdict {
	v.Checked |= checked
	return v
}

// A Reason is why a code or tap was refused: a closed set, the same words at
// the validator, in uploads, in rows and at the API.
type Reason string

// Reasons a validator gives.
const (
	Malformed           Reason = "malformed"
	Unsupported         Reason = "unsupported"
	UnknownIssuer       Reason = "unknown_issuer"
	UnknownKey          Reason = "unknown_key"
	KeyRevoked          Reason = "key_revoked"
	IssuerCertExpired   Reason = "issuer_cert_expired"
	BadIssuerCert       Reason = "bad_issuer_cert"
	BadIssuerSignature  Reason = "bad_issuer_signature"
	BadDeviceSignature  Reason = "bad_device_signature"
	BadSecret           Reason = "bad_secret"
	ExpiredCredential   Reason = "expired_credential"
	ExpiredCode         Reason = "expired_code"
	NotYetValid         Reason = "not_yet_valid"
	AmountOverCap       Reason = "amount_over_cap"
	TapsExhausted       Reason = "taps_exhausted"
	ProductNotValidHere Reason = "product_not_valid_here"
	Denied              Reason = "denied"
	StaleList           Reason = "stale_list"
	Replayed            Reason = "replayed"
	Passback            Reason = "passback"
	WrongVehicle        Reason = "wrong_vehicle"
	InternalError       Reason = "internal"
	PolicyRefused       Reason = "policy_refused" // by a rule of the operator, which the decision names
	OverLimit           Reason = "over_limit"     // by a limit of the operator, which the decision names
)

// Reasons only the gateway gives, after upload.
const (
	SequenceConflict Reason = "sequence_conflict"
	DoubleUse        Reason = "double_use"
	Clone            Reason = "clone"
	NotIssued        Reason = "not_issued"
	TooLate          Reason = "too_late"
	ClockSuspect     Reason = "clock_suspect"
	Unresolved       Reason = "unresolved" // deferred, and nobody vouched for it in time
)
