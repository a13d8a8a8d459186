package person

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
)

// A Key is a tenant's secret of joins.
type Key [32]byte

// derive makes a key for one use.
func (k *Key) derive(use string) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte("citygate person " + use))
	return h.Sum(nil)
}

// hash names a device: equal for equal ones, and nothing without the key.
func (k *Key) hash(device string) []byte {
	h := hmac.New(sha256.New, k.derive("device"))
	h.Write([]byte(device))
	return h.Sum(nil)
}

// padTo hides how much a sealed text says.
const padTo = 256

var errSealed = errors.New("person: this was not sealed with the tenant's key")

// seal encrypts plain for a context. The same is sealed the same way, so that who
// compares sees no change where there is none; another context gives other bytes.
func (k *Key) seal(context, plain []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	padded := append(append([]byte{}, plain...), 1)
	for len(padded)%padTo != 0 {
		padded = append(padded, 0)
	}
	h := hmac.New(sha256.New, k.derive("nonce"))
	h.Write([]byte{byte(len(context) >> 8), byte(len(context))})
	h.Write(context)
	h.Write(plain)
	nonce := h.Sum(nil)[:aead.NonceSize()]
	return aead.Seal(nonce, nonce, padded, context), nil
}

// open is the inverse of seal.
func (k *Key) open(context, sealed []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errSealed
	}
	padded, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], context)
	if err != nil {
		return nil, errSealed
	}
	for i := len(padded) - 1; i >= 0; i-- {
		switch padded[i] {
		case 0:
		case 1:
			return padded[:i], nil
		default:
			return nil, errSealed
		}
	}
	return nil, errSealed
}

func (k *Key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.derive("seal"))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
