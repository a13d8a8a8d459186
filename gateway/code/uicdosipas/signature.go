package uicdosipas

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // issuers of the field still sign with it, and no other library verifies it
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha1" //nolint:gosec // see Params.IssuerKeys
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// An issuerKey is a level 1 key that may be used.
type issuerKey struct {
	ecdsa *ecdsa.PublicKey
	dsa   *dsa.PublicKey
}

var errKey = errors.New("not a key of a kind taken here: ECDSA on P-256; with issuer_keys also P-224 and P-384, and DSA of 2048 and 1024 bits")

// CheckIssuerKey reports why der, a SubjectPublicKeyInfo, must not be taken into
// trust as a level 1 key. It takes time with DSA keys, whose parameters it holds
// to each other: with a generator of another order anybody could sign. Verifying
// relies on it having been asked.
func CheckIssuerKey(der []byte) error {
	key, err := parseIssuerKey(der, allKinds)
	if err != nil {
		return err
	}
	if key.dsa != nil {
		return checkDSA(key.dsa)
	}
	return nil
}

// kinds is a set of the kinds of issuer's key that a tenant takes only on purpose.
type kinds uint8

const (
	p224 kinds = 1 << iota
	p384
	dsa2048
	dsa1024
	allKinds = p224 | p384 | dsa2048 | dsa1024
)

func kindsOf(names []string) (kinds, error) {
	var set kinds
	for _, name := range names {
		switch name {
		case "p224":
			set |= p224
		case "p384":
			set |= p384
		case "dsa2048":
			set |= dsa2048
		case "dsa1024":
			set |= dsa1024
		default:
			return 0, fmt.Errorf("%q is none of p224, p384, dsa2048, dsa1024", name)
		}
	}
	return set, nil
}

// parseIssuerKey reads a SubjectPublicKeyInfo and refuses kinds and sizes that
// are not taken.
func parseIssuerKey(der []byte, take kinds) (issuerKey, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return issuerKey{}, fmt.Errorf("%w (%w)", errKey, err)
	}
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch size := key.Curve.Params().BitSize; { // x509 has these curves of these sizes
		case size == 256, take&p224 != 0 && size == 224, take&p384 != 0 && size == 384:
			return issuerKey{ecdsa: key}, nil
		}
	case *dsa.PublicKey:
		switch l, n := key.P.BitLen(), key.Q.BitLen(); { // of FIPS 186-4, without 3072: it takes 3 ms
		case take&dsa2048 != 0 && l == 2048 && (n == 224 || n == 256), take&dsa1024 != 0 && l == 1024 && n == 160:
			return issuerKey{dsa: key}, nil
		}
	}
	return issuerKey{}, errKey
}

func checkDSA(key *dsa.PublicKey) error {
	one := big.NewInt(1)
	ofOrderQ := func(v *big.Int) bool {
		return v.Cmp(one) > 0 && v.Cmp(key.P) < 0 && new(big.Int).Exp(v, key.Q, key.P).Cmp(one) == 0
	}
	if !key.P.ProbablyPrime(8) || !key.Q.ProbablyPrime(8) || !ofOrderQ(key.G) || !ofOrderQ(key.Y) {
		return errors.New("a DSA key whose parameters do not belong together")
	}
	return nil
}

// hash picks the hash of a level 1 signature: as the code says, when that is the
// key's family and not weaker than the key; else as the key's size says.
func (k issuerKey) hash(b *Barcode) (crypto.Hash, bool) {
	var least crypto.Hash
	if k.dsa != nil {
		switch k.dsa.Q.BitLen() {
		case 160:
			least = crypto.SHA1
		case 224:
			least = crypto.SHA224
		default:
			least = crypto.SHA256
		}
	} else {
		least = naturalHash(k.ecdsa.Curve)
	}
	if b.level1SigningAlg.n == 0 {
		return least, true
	}
	a, known := b.level1SigningAlg.find(b.raw)
	if !known || a.dsa != (k.dsa != nil) {
		return 0, false
	}
	if k.dsa != nil && k.dsa.P.BitLen() == 2048 && a.hash == crypto.SHA224 {
		return a.hash, true // 112 bits, as much as the modulus gives
	}
	return a.hash, a.hash.Size() >= least.Size()
}

// verifyLevel1 checks the issuer's signature. supported is false when the code
// asks for an algorithm that is not taken with this key.
func verifyLevel1(b *Barcode, key issuerKey) (held, supported bool) {
	h, ok := key.hash(b)
	if !ok {
		return false, false
	}
	var signed [MaxBytes]byte
	var sum [64]byte
	var sigBuf [maxSignature]byte
	if !b.hasLevel1Sig || b.level1Sig.n > maxSignature {
		return false, true
	}
	digest := digestOf(sum[:0], h, b.AppendLevel1(signed[:0]))
	sig := b.level1Sig.appendTo(sigBuf[:0], b.raw)
	if key.dsa != nil {
		return verifyDSA(key.dsa, digest, sig), true
	}
	return ecdsa.VerifyASN1(key.ecdsa, digest, sig), true
}

// maxSignature bounds a signature: DER of two numbers of 384 bits takes 104.
const maxSignature = 112

func verifyDSA(key *dsa.PublicKey, digest, der []byte) bool {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 {
		return false
	}
	digest = digest[:min(len(digest), key.Q.BitLen()/8)]
	return dsa.Verify(key, digest, sig.R, sig.S)
}

// deviceKey reads the key that the issuer put into level 1: a point of the curve
// that the code names, or a SubjectPublicKeyInfo, which names its own.
func (b *Barcode) deviceKey() (*ecdsa.PublicKey, error) {
	var buf [maxDeviceKey]byte
	if b.level2Key.n == 0 || b.level2Key.n > maxDeviceKey {
		return nil, errDeviceKey
	}
	key := b.level2Key.appendTo(buf[:0], b.raw)
	named := b.level2KeyAlg.is(b.raw, P256)
	switch {
	case key[0] == asn1SequenceTag && (named || b.level2KeyAlg.n == 0 || b.level2KeyAlg.is(b.raw, ECKey)):
		return deviceKeyInfo(key)
	case !named:
		return nil, errDeviceKey
	case key[0] == 2 || key[0] == 3:
		return decompress(key)
	case key[0] == 4:
		return ecdsa.ParseUncompressedPublicKey(deviceCurve, key)
	}
	return nil, errDeviceKey
}

const (
	maxDeviceKey    = 96 // a SubjectPublicKeyInfo on P-256 has 91 bytes
	asn1SequenceTag = 0x30
)

var errDeviceKey = errors.New("not a P-256 key in a form supported here")

func deviceKeyInfo(der []byte) (*ecdsa.PublicKey, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != deviceCurve {
		return nil, errDeviceKey
	}
	return key, nil
}

func decompress(key []byte) (*ecdsa.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(deviceCurve, key)
	if x == nil {
		return nil, errDeviceKey
	}
	var point [65]byte
	point[0] = 4
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	return ecdsa.ParseUncompressedPublicKey(deviceCurve, point[:])
}

// verifyLevel2 checks the device's signature.
func verifyLevel2(b *Barcode, key *ecdsa.PublicKey) (held, supported bool) {
	a, known := b.level2SigningAlg.find(b.raw)
	if !known || a.dsa || a.hash.Size() < crypto.SHA256.Size() {
		return false, false
	}
	if !b.hasLevel2Sig || b.level2Sig.n > maxSignature {
		return false, true
	}
	var signed [MaxBytes]byte
	var sum [64]byte
	var sigBuf [maxSignature]byte
	digest := digestOf(sum[:0], a.hash, b.AppendLevel2(signed[:0]))
	return ecdsa.VerifyASN1(key, digest, b.level2Sig.appendTo(sigBuf[:0], b.raw)), true
}

// digestOf appends the hash of msg to dst. The sums of crypto/sha* stay on the
// stack; hash.Hash would not.
func digestOf(dst []byte, h crypto.Hash, msg []byte) []byte {
	switch h {
	case crypto.SHA224:
		s := sha256.Sum224(msg)
		return append(dst, s[:]...)
	case crypto.SHA256:
		s := sha256.Sum256(msg)
		return append(dst, s[:]...)
	case crypto.SHA384:
		s := sha512.Sum384(msg)
		return append(dst, s[:]...)
	case crypto.SHA512:
		s := sha512.Sum512(msg)
		return append(dst, s[:]...)
	default:
		s := sha1.Sum(msg) //nolint:gosec // see Params.IssuerKeys
		return append(dst, s[:]...)
	}
}
