package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"fmt"

	"github.com/cashlesscity/citygate"
)

// An Algorithm names a signature algorithm.
type Algorithm string

// The algorithms. RSA is for payment providers that speak nothing else and is
// refused in a bundle.
const (
	Ed25519 Algorithm = "ed25519"
	P256    Algorithm = "ecdsa-p256" // SHA-256, raw r||s, low S
	RSA2048 Algorithm = "rsa-2048"   // PKCS #1 v1.5, SHA-256
)

// A Usage says what a key may sign, as bits. Usages are kept apart: only a deny
// list key may also sign heartbeats.
type Usage uint8

// The usage bits.
const (
	ForCredential Usage = 1 << iota
	ForDenyList
	ForPolicy
	ForHeartbeat
)

func (u Usage) valid() bool {
	switch u {
	case ForCredential, ForDenyList, ForDenyList | ForHeartbeat, ForPolicy, ForHeartbeat:
		return true
	}
	return false
}

// Names lists the bits of u in words.
func (u Usage) Names() []string {
	var names []string
	for i, name := range []string{"credential", "denylist", "policy", "heartbeat"} {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// A State is where a key stands in its life. It only moves forward.
type State string

// The states, in order.
const (
	Published State = "published" // known to verifiers, not used for signing yet
	Active    State = "active"    // signs
	Retiring  State = "retiring"  // verifies what it signed, signs nothing new
	Revoked   State = "revoked"   // verifies nothing
)

// May reports whether a key may go from state s to next. Active to active is no
// step; every state may be revoked; nothing leaves revoked.
func (s State) May(next State) bool {
	switch s {
	case Published:
		return next == Active || next == Revoked
	case Active:
		return next == Retiring || next == Revoked
	case Retiring:
		return next == Revoked
	default:
		return false
	}
}

func (s State) valid() bool {
	switch s {
	case Published, Active, Retiring, Revoked:
		return true
	}
	return false
}

// A Key is one public key of a tenant.
type Key struct {
	Tenant    citygate.TenantID
	Public    []byte          // form of [EncodePublic]
	Algorithm Algorithm       // of Public
	State     State           // where it stands in its life
	Issuer    citygate.Issuer // of the tenant; 0 = it issues no codes
	KeyID     uint8           // "kid", unique per tenant and usage
	Usage     Usage           // what it may sign
	NotBefore int64           // unix seconds
	Expires   int64           // unix seconds, exclusive; nothing is issued from then on
	// NotIssuedAfter is the last instant (unix seconds) at which the key is
	// trusted to have signed, 0 = no limit. It lets a key that was stolen keep
	// its good past: credentials issued before stay valid.
	NotIssuedAfter int64
}

// EncodePublic gives the one encoding of a public key that bundles use: 32
// bytes for Ed25519, a compressed point of 33 bytes for P-256.
func EncodePublic(public crypto.PublicKey) (Algorithm, []byte, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return Ed25519, bytes.Clone(k), nil
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			break
		}
		raw, err := k.Bytes()
		if err != nil {
			return "", nil, fmt.Errorf("bundle: public key: %w", err)
		}
		return P256, append([]byte{2 + raw[64]&1}, raw[1:33]...), nil
	}
	return "", nil, fmt.Errorf("bundle: public key of type %T cannot be in a bundle", public)
}

// ParsePublic reads the form of [EncodePublic] and no other.
func ParsePublic(algorithm Algorithm, raw []byte) (crypto.PublicKey, error) {
	switch algorithm {
	case Ed25519:
		if len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("bundle: ed25519 public key of %d bytes", len(raw))
		}
		return ed25519.PublicKey(bytes.Clone(raw)), nil
	case P256:
		if len(raw) != 33 {
			return nil, fmt.Errorf("bundle: P-256 public key of %d bytes", len(raw))
		}
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), raw)
		if x == nil {
			return nil, fmt.Errorf("bundle: P-256 public key is not a point")
		}
		point := make([]byte, 65)
		point[0] = 4
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			return nil, fmt.Errorf("bundle: P-256 public key: %w", err)
		}
		return key, nil
	default:
		return nil, fmt.Errorf("bundle: algorithm %q cannot be in a bundle", algorithm)
	}
}
