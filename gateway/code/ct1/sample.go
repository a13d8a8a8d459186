package ct1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// A sampleKey is a key pair of one algorithm with what checks a signature bare.
type sampleKey struct {
	public crypto.PublicKey
	sign   func(msg []byte) ([]byte, error)
	verify func(msg, sig []byte) bool
}

// samples are one code of each suite; the hash chain is at its end.
func samples(random io.Reader) ([]code.Sample, error) {
	const at = 1_800_000_000
	var out []code.Sample
	for suite := range SuiteChain + 1 {
		issuerSuite := SuiteEd25519
		if suite == SuiteAllP256 || suite == SuiteSM2 {
			issuerSuite = suite
		}
		issuer, err := newSampleKey(random, issuerSuite)
		if err != nil {
			return nil, err
		}
		f := Credential{Suite: suite, Rider: citygate.Rider{Issuer: 1, List: 1}, KeyID: 1, IssuedAt: at - ChainMax*60 + 60, TTLHours: ChainMax / 60, Cap: 1000, Window: 60}
		d := Dynamic{GeneratedAt: at, Party: 1, ClockQuality: code.ClockUnknown, Medium: code.MediumBand}
		device, err := sampleDevice(random, suite, &f)
		if err != nil {
			return nil, err
		}
		toSign, err := BuildCredential(f)
		if err != nil {
			return nil, err
		}
		sig, err := issuer.sign(toSign)
		if err != nil {
			return nil, err
		}
		credential, err := Assemble(toSign, sig)
		if err != nil {
			return nil, err
		}
		raw, err := Display(credential, d, device.sign)
		if err != nil {
			return nil, err
		}
		trust := new(code.Trust)
		trust.AddIssuer(1, 1, issuer.public)
		end := len(raw) - proofSize(suite)
		shown := append([]byte(displayContext), raw[:end]...)
		out = append(out, code.Sample{Name: fmt.Sprintf("suite %d", suite), Scheme: Scheme{}, Keys: trust, Raw: raw, At: at, Bare: func() bool {
			return issuer.verify(toSign, credential[len(credential)-sigSize:]) && device.verify(shown, raw[end:])
		}})
	}
	return out, nil
}

// sampleDevice makes a device of a suite and puts its key into the credential.
func sampleDevice(random io.Reader, suite uint8, f *Credential) (*sampleKey, error) {
	if suite == SuiteChain {
		seed := make([]byte, chainSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, err
		}
		sign, err := ChainSigner(seed)
		if err != nil {
			return nil, err
		}
		f.DeviceKey, err = ChainAnchor(seed)
		anchor := chainValue(f.DeviceKey)
		return &sampleKey{sign: sign, verify: func(_, value []byte) bool { return chainDown(chainValue(value), ChainMax, 0) == anchor }}, err
	}
	k, err := newSampleKey(random, suite)
	if err != nil {
		return nil, err
	}
	_, f.DeviceKey, err = DeviceKey(k.public)
	return k, err
}

// newSampleKey makes a key pair of the algorithm that a suite's device has.
func newSampleKey(random io.Reader, suite uint8) (*sampleKey, error) {
	switch suite {
	case SuiteSM2:
		key, err := sm2.GenerateKey(random)
		if err != nil {
			return nil, err
		}
		return &sampleKey{
			key.Public(), func(msg []byte) ([]byte, error) { return key.Sign(random, nil, msg) },
			func(msg, sig []byte) bool { return sm2.Verify(key.Public(), nil, msg, sig) },
		}, nil
	case SuiteAllP256, SuiteP256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), random)
		if err != nil {
			return nil, err
		}
		sign, err := Signer(key)
		return &sampleKey{&key.PublicKey, sign, func(msg, sig []byte) bool {
			digest := sha256.Sum256(msg)
			return verifyP256(&key.PublicKey, digest[:], sig)
		}}, err
	}
	public, private, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, err
	}
	sign, err := Signer(private)
	return &sampleKey{public, sign, func(msg, sig []byte) bool { return ed25519.Verify(public, msg, sig) }}, err
}
