package alipaysim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
)

// Content encryption as the platform does it: AES-128 in CBC mode from an IV of zeros,
// PKCS #7 padding, base64. An answer to an encrypted request is encrypted, and signed as
// it is then.

// A sealed answer goes out encrypted.
type sealed struct {
	answer any
	key    cipher.Block
}

func contentKey(text string) (cipher.Block, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != aes.BlockSize {
		return nil, fmt.Errorf("alipaysim: an AES key: want base64 of 16 bytes")
	}
	return aes.NewCipher(raw)
}

// unseal gives the content of an encrypted request, and the key of its answer.
func (m *merchant) unseal(text string) ([]byte, cipher.Block, head) {
	if m.content == nil {
		return nil, nil, illegal("isv.missing-encrypt-key", "no AES key was set for the application")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw)%aes.BlockSize != 0 {
		return nil, nil, illegal("isv.decryption-error-unknown", "the content is no ciphertext")
	}
	cipher.NewCBCDecrypter(m.content, make([]byte, aes.BlockSize)).CryptBlocks(raw, raw)
	n := len(raw) - int(raw[len(raw)-1])
	if n < 0 || n < len(raw)-aes.BlockSize || n == len(raw) {
		return nil, nil, illegal("isv.decryption-error-unknown", "the content is encrypted by another key")
	}
	return raw[:n], m.content, head{}
}

func seal(key cipher.Block, content []byte) []byte {
	pad := aes.BlockSize - len(content)%aes.BlockSize
	padded := append(bytes.Clone(content), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(key, make([]byte, aes.BlockSize)).CryptBlocks(padded, padded) //nolint:gosec // the protocol has no IV but zeros
	return []byte(base64.StdEncoding.EncodeToString(padded))
}

// answerKey is what an answer is encrypted with.
func answerKey(key cipher.Block, fate fate) cipher.Block {
	if fate != otherKeyed {
		return key
	}
	other, err := aes.NewCipher([]byte("somebody else's!"))
	if err != nil {
		return key
	}
	return other
}
