package alipay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/cashlesscity/citygate"
)

// Content encryption: AES in CBC mode from an IV of zeros, PKCS #7 padding, in base64.
// It hides content from what reads along between the two sides, and proves nothing: what
// is believed is the signature, which is over the ciphertext. Equal contents look equal.

// errContent is why an answer whose signature held cannot be read.
var errContent = errors.New("alipay: the answer's content cannot be decrypted: another key, or no content")

// contentCipher reads the key as the platform shows it: base64 of 16 bytes. No key is no
// encryption.
func contentCipher(key citygate.Secret) (cipher.Block, error) {
	if key.IsZero() {
		return nil, nil //nolint:nilnil // contents are plain
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(key.Reveal())))
	if err != nil || len(raw) != aes.BlockSize {
		return nil, ErrConfig.Explain("aes_key: want base64 of 16 bytes, as the platform shows it")
	}
	return aes.NewCipher(raw)
}

func encrypt(block cipher.Block, content []byte) string {
	pad := aes.BlockSize - len(content)%aes.BlockSize
	padded := append(bytes.Clone(content), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(padded, padded) //nolint:gosec // the protocol has no IV but zeros
	return base64.StdEncoding.EncodeToString(padded)
}

// decrypt gives the JSON object that was encrypted, and nothing else: a wrong key makes
// noise, whose padding is right once in 256 times.
func decrypt(block cipher.Block, text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw)%aes.BlockSize != 0 {
		return nil, errContent
	}
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(raw, raw)
	pad := int(raw[len(raw)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.Equal(raw[len(raw)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errContent
	}
	content := raw[:len(raw)-pad]
	if len(content) == 0 || content[0] != '{' || !json.Valid(content) {
		return nil, errContent
	}
	return content, nil
}

// content gives an answer's object: what is encrypted is a text. A signed object is
// taken as it is, also by a contract with a key: the platform says so that it could not
// decrypt.
func (p *Provider) content(raw []byte) ([]byte, error) {
	if len(raw) == 0 || raw[0] != '"' {
		return raw, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || p.cipher == nil {
		return nil, errContent
	}
	return decrypt(p.cipher, text)
}
