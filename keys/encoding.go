package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"

	"github.com/cashlesscity/citygate/keys/bundle"
)

// EncodePublic gives the one stored form of a public key: that of
// [bundle.EncodePublic], and PKIX DER for RSA.
func EncodePublic(public crypto.PublicKey) (Algorithm, []byte, error) {
	k, ok := public.(*rsa.PublicKey)
	if !ok {
		return bundle.EncodePublic(public)
	}
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return "", nil, ErrInvalid.Because(err, "RSA public key")
	}
	return RSA2048, der, nil
}

// ParsePublic reads the form of [EncodePublic].
func ParsePublic(algorithm Algorithm, raw []byte) (crypto.PublicKey, error) {
	if algorithm != RSA2048 {
		return bundle.ParsePublic(algorithm, raw)
	}
	public, err := x509.ParsePKIXPublicKey(raw)
	if err != nil {
		return nil, ErrInvalid.Because(err, "RSA public key")
	}
	k, ok := public.(*rsa.PublicKey)
	if !ok || k.N.BitLen() != 2048 {
		return nil, ErrInvalid.Because(nil, "not an RSA public key of 2048 bits")
	}
	return k, nil
}

var (
	p256Order = elliptic.P256().Params().N
	p256Half  = new(big.Int).Rsh(p256Order, 1)
)

// RawP256 turns an ASN.1 ECDSA signature over P-256 into the one form used
// here: r||s of 32 bytes each, with s in the lower half of the group, so that
// one signing gives one signature.
func RawP256(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	switch {
	case err != nil:
		return nil, ErrInvalid.Because(err, "ECDSA signature")
	case len(rest) != 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.Cmp(p256Order) >= 0 || sig.S.Cmp(p256Order) >= 0:
		return nil, ErrInvalid.Because(nil, "ECDSA signature out of range")
	}
	if sig.S.Cmp(p256Half) > 0 {
		sig.S.Sub(p256Order, sig.S)
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return raw, nil
}

var errBadSignature = errors.New("keys: the signature does not verify")

// Verify checks a signature in the form of [Signer.Sign].
func Verify(public crypto.PublicKey, message, signature []byte) error {
	ok := false
	switch k := public.(type) {
	case ed25519.PublicKey:
		ok = len(k) == ed25519.PublicKeySize && ed25519.Verify(k, message, signature)
	case *ecdsa.PublicKey:
		if len(signature) != 64 || k.Curve != elliptic.P256() {
			break
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		digest := sha256.Sum256(message)
		ok = s.Cmp(p256Half) <= 0 && ecdsa.Verify(k, digest[:], r, s)
	case *rsa.PublicKey:
		digest := sha256.Sum256(message)
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	}
	if !ok {
		return errBadSignature
	}
	return nil
}
