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
// bytes, which can be re-encoded.
type Use struct {
	Rider   citygate.Rider
	Counter uint16
}

// Use gives the replay key of c.
func (c *Code) Use() Use { return Use{c.Rider, c.Counter} }

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
	// credentials may be nil.
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
type Verdict struct {
	Outcome  Outcome  `json:"outcome"`
	Reason   Reason   `json:"reason"` // "" when accepted
	Strength Strength `json:"strength"`
}

// Refuse gives the verdict for reason.
func Refuse(reason Reason) Verdict { return Verdict{Reject, reason, Unverified} }

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
)

// Reasons only the gateway gives, after upload.
const (
	SequenceConflict Reason = "sequence_conflict"
	DoubleUse        Reason = "double_use"
	Clone            Reason = "clone"
	NotIssued        Reason = "not_issued"
	TooLate          Reason = "too_late"
	ClockSuspect     Reason = "clock_suspect"
)
