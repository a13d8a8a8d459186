package ct1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// halfOrder is (n-1)/2 of P-256: the largest S of a code.
var halfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1).FillBytes(make([]byte, 32))

// fieldPrime is p of P-256: a compressed point's x is below it.
var fieldPrime = elliptic.P256().Params().P.FillBytes(make([]byte, 32))

// smallOrder holds the y of every Ed25519 point of small order, sign bit clear:
// under such a key anybody can sign. Two are encodings that are not canonical.
var smallOrder = [][32]byte{
	{},
	{0x01},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
}

// compressed reports whether key has the one form of a compressed point. That
// it is on the curve costs a square root and is checked behind the issuer's
// signature.
func compressed(key []byte) bool {
	return (key[0] == 2 || key[0] == 3) && slices.Compare(key[1:], fieldPrime) < 0
}

// lowS reports whether s, 32 bytes, is the smaller of a signature's two forms.
func lowS(s []byte) bool { return slices.Compare(s, halfOrder) <= 0 }

// parseDeviceKey gives the device key as its own value: nothing aliases raw.
func parseDeviceKey(suite uint8, raw []byte) (any, error) {
	switch suite {
	case SuiteSM2:
		return sm2.ParseKey(raw)
	case SuiteChain:
		return chainLink{0, chainValue(raw)}, nil
	case SuiteP256, SuiteAllP256:
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), raw)
		if x == nil {
			return nil, code.ErrMalformed
		}
		var point [65]byte
		point[0] = 4
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
	case SuiteEd25519:
		return ed25519.PublicKey(slices.Clone(raw)), nil
	}
	return nil, code.ErrUnsupported
}

// CheckDeviceKey reports why key, as it stands on a code, must not be put into a
// credential: it is not a point of the suite's curve, or anyone can sign for it.
func CheckDeviceKey(suite uint8, key []byte) error {
	if n := keySize(suite); n == 0 || len(key) != n {
		return fmt.Errorf("device key: %d bytes do not fit suite %d", len(key), suite)
	}
	switch suite {
	case SuiteSM2:
		if _, err := sm2.ParseKey(key); err != nil {
			return errors.New("device key: not a compressed point of SM2")
		}
	case SuiteChain:
		if chainValue(key) == (chainValue{}) {
			return errors.New("device key: an anchor of zeros, as an unset field would be")
		}
	case SuiteP256, SuiteAllP256:
		if !compressed(key) {
			return errors.New("device key: not a compressed P-256 point")
		}
		if _, err := parseDeviceKey(suite, key); err != nil {
			return errors.New("device key: not a point of P-256")
		}
	case SuiteEd25519:
		y := [32]byte(key)
		y[31] &= 0x7f
		if slices.Contains(smallOrder, y) {
			return errors.New("device key: an Ed25519 point of small order")
		}
	}
	return nil
}

// DeviceKey gives the form a public key has on a code, and its suite; a P-256
// key is as good in [SuiteAllP256].
func DeviceKey(public crypto.PublicKey) (suite uint8, key []byte, err error) {
	switch p := public.(type) {
	case ed25519.PublicKey:
		return SuiteEd25519, slices.Clone(p), CheckDeviceKey(SuiteEd25519, p)
	case *ecdsa.PublicKey:
		if sm2.IsKey(p) {
			return SuiteSM2, sm2.Compress(p), nil
		}
		if p.Curve != elliptic.P256() {
			return 0, nil, errors.New("device key: on neither P-256 nor SM2")
		}
		point, err := p.Bytes() // refuses a point off the curve
		if err != nil {
			return 0, nil, fmt.Errorf("device key: %w", err)
		}
		return SuiteP256, append([]byte{2 + point[64]&1}, point[1:33]...), nil
	}
	return 0, nil, fmt.Errorf("device key: %T is of no suite", public)
}

// verifyP256 checks a raw r||s signature. The two numbers go to VerifyASN1 in a
// buffer on the stack: ecdsa.Verify would build the same from two big.Int.
func verifyP256(key *ecdsa.PublicKey, digest, sig []byte) bool {
	var buf [8 + 2*33]byte
	der := appendInteger(buf[:2], sig[:32])
	der = appendInteger(der, sig[32:])
	der[0], der[1] = 0x30, byte(len(der)-2)
	return ecdsa.VerifyASN1(key, digest, der)
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

// LowS makes raw (r||s) the one form a code takes: secure hardware gives either.
// It changes raw in place and gives it back.
func LowS(raw []byte) []byte {
	if len(raw) == sigSize && !lowS(raw[32:]) {
		s := new(big.Int).SetBytes(raw[32:])
		if s.Sub(elliptic.P256().Params().N, s).Sign() > 0 {
			s.FillBytes(raw[32:])
		}
	}
	return raw
}

// SM2Signer gives the sign function of an SM2 key, for a device or an issuer: the
// default user id, and random for every signature.
func SM2Signer(private *sm2.PrivateKey, random io.Reader) func(msg []byte) ([]byte, error) {
	return func(msg []byte) ([]byte, error) { return private.Sign(random, nil, msg) }
}

// Signer gives the sign function of a device whose key is in memory: bands made
// by a server, simulators and tests. P-256 signatures are deterministic.
func Signer(private crypto.Signer) (func(msg []byte) ([]byte, error), error) {
	switch key := private.(type) {
	case ed25519.PrivateKey:
		return func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil }, nil
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() {
			return nil, errors.New("device key: not on P-256")
		}
		return func(msg []byte) ([]byte, error) {
			digest := sha256.Sum256(msg)
			der, err := key.Sign(nil, digest[:], crypto.SHA256)
			if err != nil {
				return nil, err
			}
			return rawSignature(der)
		}, nil
	}
	return nil, fmt.Errorf("device key: %T is of no suite", private)
}

func rawSignature(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, errors.New("device signature: not DER")
	}
	raw := make([]byte, sigSize)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return LowS(raw), nil
}
