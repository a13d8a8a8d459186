// Package sm2 is the signature and the curve of the Chinese standards
// GB/T 32918 (SM2) and GB/T 32905 (SM3), in the forms that stand on ride codes:
// compressed points of 33 bytes and signatures r||s of 64. It is the one door to
// the library that implements them.
//
// SM2 has no second form of a signature as ECDSA has: (r, n-s) does not verify.
// A signature also covers a user id, which signer and verifier must know; the
// empty one means [DefaultUserID], which is also what is used where a standard
// names none.
package sm2

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/emmansun/gmsm/sm2"
)

// Sizes in bytes.
const (
	KeySize       = 33 // compressed point
	SignatureSize = 64 // r||s
	PrivateSize   = 32
)

// DefaultUserID is the user id of GM/T 0009 where a scheme names none.
const DefaultUserID = "1234567812345678"

var fieldPrime = sm2.P256().Params().P.FillBytes(make([]byte, 32))

// ErrKey says that bytes are not a key of the curve.
var ErrKey = errors.New("sm2: not a point of the curve in its one form")

// Compressed reports whether key has the one form of a compressed point: 33
// bytes, 2 or 3 first, x below the field prime. That there is such a point costs
// a square root and is [ParseKey]'s to say.
func Compressed(key []byte) bool {
	return len(key) == KeySize && (key[0] == 2 || key[0] == 3) && slices.Compare(key[1:], fieldPrime) < 0
}

// ParseKey gives the key of a compressed (33 bytes) or uncompressed (65 bytes)
// point. It refuses points off the curve and the point at infinity.
func ParseKey(raw []byte) (*ecdsa.PublicKey, error) {
	if Compressed(raw) {
		x, y := elliptic.UnmarshalCompressed(sm2.P256(), raw)
		if x == nil {
			return nil, ErrKey
		}
		uncompressed := make([]byte, 65)
		uncompressed[0] = 4
		x.FillBytes(uncompressed[1:33])
		y.FillBytes(uncompressed[33:])
		raw = uncompressed
	}
	if len(raw) != 65 {
		return nil, ErrKey
	}
	key, err := sm2.NewPublicKey(raw)
	if err != nil {
		return nil, ErrKey
	}
	return key, nil
}

// Compress gives the 33-byte form of a key, nil if it is not of the curve.
func Compress(key *ecdsa.PublicKey) []byte {
	if !IsKey(key) {
		return nil
	}
	out := make([]byte, KeySize)
	out[0] = 2 + byte(key.Y.Bit(0)) //nolint:staticcheck // PublicKey.Bytes knows the NIST curves alone
	key.X.FillBytes(out[1:])        //nolint:staticcheck // see above
	return out
}

// IsKey reports whether a public key is of the curve.
func IsKey(key any) bool { return sm2.IsSM2PublicKey(key) }

// Verify checks a signature r||s of 64 bytes over msg by the user uid.
func Verify(key *ecdsa.PublicKey, uid, msg, sig []byte) bool {
	if len(sig) != SignatureSize || !IsKey(key) {
		return false
	}
	var buf [8 + 2*33]byte
	der := appendInteger(buf[:2], sig[:32])
	der = appendInteger(der, sig[32:])
	der[0], der[1] = 0x30, byte(len(der)-2)
	return sm2.VerifyASN1WithSM2(key, uid, msg, der)
}

// appendInteger appends a DER INTEGER. Zero stays one byte; the verifier refuses it.
func appendInteger(der, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if n[0] >= 0x80 {
		der = append(der, 2, byte(len(n)+1), 0)
	} else {
		der = append(der, 2, byte(len(n)))
	}
	return append(der, n...)
}

// A PrivateKey signs in this process: a software key. Vault's transit engine has
// no SM2, so a tenant whose partners demand SM2 signs with one of these, and
// whoever can read the process or its file can sign as the tenant.
type PrivateKey struct{ key *sm2.PrivateKey }

// NewPrivateKey reads a private scalar of 32 bytes.
func NewPrivateKey(scalar []byte) (*PrivateKey, error) {
	key, err := sm2.NewPrivateKey(scalar)
	if err != nil {
		return nil, errors.New("sm2: not a private key: want 32 bytes, above 0 and below the order less one")
	}
	return &PrivateKey{key}, nil
}

// GenerateKey makes a private key from random bytes.
func GenerateKey(random io.Reader) (*PrivateKey, error) {
	key, err := sm2.GenerateKey(random)
	if err != nil {
		return nil, fmt.Errorf("sm2: %w", err)
	}
	return &PrivateKey{key}, nil
}

// Public gives the public key.
func (k *PrivateKey) Public() *ecdsa.PublicKey { return &k.key.PublicKey }

// Bytes gives the private scalar. The caller must not print or keep it.
func (k *PrivateKey) Bytes() []byte { return k.key.D.FillBytes(make([]byte, PrivateSize)) }

// String hides the key.
func (k *PrivateKey) String() string { return "[secret]" }

// Format hides the key whatever the verb.
func (k *PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// Sign gives r||s over msg by the user uid. It is not deterministic: random must
// be good, or two signatures give the key away.
func (k *PrivateKey) Sign(random io.Reader, uid, msg []byte) ([]byte, error) {
	digest, err := sm2.CalculateSM2Hash(&k.key.PublicKey, msg, uid)
	if err != nil {
		return nil, fmt.Errorf("sm2: %w", err)
	}
	der, err := sm2.SignASN1(random, k.key, digest, nil)
	if err != nil {
		return nil, fmt.Errorf("sm2: %w", err)
	}
	return rawSignature(der)
}

// SignWith gives r||s over msg by the user uid with a signer whose key lies
// elsewhere: it is handed the digest and answers DER, as crypto.Signer says.
func SignWith(signer crypto.Signer, random io.Reader, uid, msg []byte) ([]byte, error) {
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok || !IsKey(public) {
		return nil, ErrKey
	}
	digest, err := sm2.CalculateSM2Hash(public, msg, uid)
	if err != nil {
		return nil, fmt.Errorf("sm2: %w", err)
	}
	der, err := signer.Sign(random, digest, nil)
	if err != nil {
		return nil, fmt.Errorf("sm2: %w", err)
	}
	return rawSignature(der)
}

// Signer gives the key as a [crypto.Signer] of digests.
func (k *PrivateKey) Signer() crypto.Signer { return k.key }

// rawSignature takes the two integers out of our own library's DER.
func rawSignature(der []byte) ([]byte, error) {
	raw := make([]byte, SignatureSize)
	rest := der
	if len(rest) < 2 || rest[0] != 0x30 || int(rest[1]) != len(rest)-2 {
		return nil, errors.New("sm2: a signature that is not DER")
	}
	rest = rest[2:]
	for _, at := range []int{0, 32} {
		if len(rest) < 2 || rest[0] != 2 || len(rest) < 2+int(rest[1]) {
			return nil, errors.New("sm2: a signature that is not DER")
		}
		n := new(big.Int).SetBytes(rest[2 : 2+rest[1]])
		if n.BitLen() > 256 {
			return nil, errors.New("sm2: a signature that is not DER")
		}
		n.FillBytes(raw[at : at+32])
		rest = rest[2+rest[1]:]
	}
	return raw, nil
}
