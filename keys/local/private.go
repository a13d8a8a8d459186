package local

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"time"

	"github.com/cashlesscity/citygate/keys"
)

// keyFile is what lies under the seal of a key.
type keyFile struct {
	Algorithm keys.Algorithm
	Created   time.Time
	Private   []byte // seed, scalar or PKCS #1, by algorithm
}

// private is an opened key.
type private struct {
	algorithm keys.Algorithm
	created   time.Time
	signer    crypto.Signer
}

// Format keeps the key out of logs whatever the verb.
func (k *private) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

func generate(algorithm keys.Algorithm, random io.Reader) (keyFile, error) {
	f := keyFile{Algorithm: algorithm}
	switch algorithm {
	case keys.Ed25519:
		f.Private = make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, f.Private); err != nil {
			return keyFile{}, keys.ErrUnavailable.Because(err, "no randomness")
		}
	case keys.P256:
		f.Private = make([]byte, 32)
		for {
			if _, err := io.ReadFull(random, f.Private); err != nil {
				return keyFile{}, keys.ErrUnavailable.Because(err, "no randomness")
			}
			// A scalar outside the group is drawn again, not reduced: reduction
			// would make some keys likelier than others.
			if _, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), f.Private); err == nil {
				break
			}
		}
	case keys.RSA2048:
		k, err := rsa.GenerateKey(random, 2048)
		if err != nil {
			return keyFile{}, keys.ErrUnavailable.Because(err, "RSA key")
		}
		f.Private = x509.MarshalPKCS1PrivateKey(k)
	default:
		return keyFile{}, keys.ErrInvalid.Explain("algorithm %q is not known", string(algorithm))
	}
	return f, nil
}

func (f keyFile) open() (*private, error) {
	k := &private{algorithm: f.Algorithm, created: f.Created}
	switch f.Algorithm {
	case keys.Ed25519:
		if len(f.Private) != ed25519.SeedSize {
			return nil, fmt.Errorf("seed of %d bytes", len(f.Private))
		}
		k.signer = ed25519.NewKeyFromSeed(f.Private)
	case keys.P256:
		p, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), f.Private)
		if err != nil {
			return nil, err
		}
		k.signer = p
	case keys.RSA2048:
		p, err := x509.ParsePKCS1PrivateKey(f.Private)
		if err != nil {
			return nil, err
		}
		k.signer = p
	default:
		return nil, fmt.Errorf("algorithm %q", f.Algorithm)
	}
	return k, nil
}

func (k *private) signMessage(message []byte) ([]byte, error) {
	if k.algorithm == keys.Ed25519 {
		return k.signer.Sign(nil, message, crypto.Hash(0))
	}
	digest := sha256.Sum256(message)
	return k.signDigest(digest[:])
}

// signDigest signs a SHA-256 digest. Without randomness ECDSA is deterministic
// (RFC 6979): a bad generator cannot give the key away.
func (k *private) signDigest(digest []byte) ([]byte, error) {
	signature, err := k.signer.Sign(nil, digest, crypto.SHA256)
	if err != nil {
		return nil, keys.ErrUnavailable.Because(err, "signing")
	}
	if k.algorithm == keys.P256 {
		return keys.RawP256(signature)
	}
	return signature, nil
}
