package alipay

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// errUnproven says that an answer carries no signature that holds. Whatever
// the answer says is not believed.
var errUnproven = errors.New("alipay: the answer is not signed by the platform")

// canonical is the text a request's signature covers: every parameter except
// sign, sorted by key, as key=value joined by &, values as they are and not
// URL-encoded. The platform leaves room for doubt about empty values, so none
// may be sent.
func canonical(params map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(params)) {
		if k == "sign" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(params[k])
	}
	return b.String()
}

// sign gives the RSA2 signature of params in base64: PKCS #1 v1.5, SHA-256.
func sign(signer crypto.Signer, params map[string]string) (string, error) {
	digest := sha256.Sum256([]byte(canonical(params)))
	sig, err := signer.Sign(nil, digest[:], crypto.SHA256) // PKCS #1 v1.5 takes no randomness
	if err != nil {
		return "", fmt.Errorf("alipay: sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// proven checks an answer's signature over the bytes as they were received.
func proven(keys []*rsa.PublicKey, raw []byte, signature string) error {
	sig, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil || len(sig) == 0 {
		return errUnproven
	}
	digest := sha256.Sum256(raw)
	for _, k := range keys {
		if rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], sig) == nil {
			return nil
		}
	}
	return errUnproven
}
