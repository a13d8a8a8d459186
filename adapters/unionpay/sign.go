package unionpay

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// errUnproven says that a message carries no signature that holds under a
// certificate of UnionPay's. Whatever it says is not believed.
var errUnproven = errors.New("unionpay: not signed by UnionPay")

const (
	signatureField = "signature"
	certField      = "signPubKeyCert"
)

// A message is the fields of a request, an answer or a notification.
type message map[string]string

// digest is what a signature covers: the hash of the fields, in hexadecimal, as
// text.
func (m message) digest() []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if name == signatureField || m[name] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(name + "=" + m[name])
	}
	sum := sha256.Sum256(b.Bytes())
	return []byte(hex.EncodeToString(sum[:]))
}

// sign puts the merchant's signature into a message.
func (m message) sign(signer crypto.Signer) error {
	sum := sha256.Sum256(m.digest())
	sig, err := signer.Sign(nil, sum[:], crypto.SHA256) // PKCS #1 v1.5 takes no randomness
	if err != nil {
		return fmt.Errorf("unionpay: sign: %w", err)
	}
	m[signatureField] = base64.StdEncoding.EncodeToString(sig)
	return nil
}

// proven checks a message's certificate and then its signature.
func (p *Provider) proven(m message, now time.Time) error {
	key, err := p.keyOf(m[certField], now)
	if err != nil {
		return err
	}
	if m["version"] != version || m["signMethod"] != signRSA {
		return fmt.Errorf("%w: by another method", errUnproven)
	}
	sig, err := base64.StdEncoding.DecodeString(m[signatureField])
	if err != nil || len(sig) == 0 {
		return errUnproven
	}
	sum := sha256.Sum256(m.digest())
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) != nil {
		return errUnproven
	}
	return nil
}

// keyOf gives the key of an embedded certificate if that is UnionPay's.
func (p *Provider) keyOf(text string, now time.Time) (*rsa.PublicKey, error) {
	block, rest := pem.Decode([]byte(strings.ReplaceAll(text, "\r\n", "\n") + "\n"))
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%w: no certificate", errUnproven)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: an unreadable certificate", errUnproven)
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: p.roots, Intermediates: p.middles, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return nil, fmt.Errorf("%w: its certificate does not lead to a root of the contract", errUnproven)
	}
	if parts := strings.Split(cert.Subject.CommonName, "@"); len(parts) < 3 || parts[2] != p.config.SignerName {
		return nil, fmt.Errorf("%w: its certificate is of somebody else", errUnproven)
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < keyBitsMin {
		return nil, fmt.Errorf("%w: its certificate has no RSA key of %d bits", errUnproven, keyBitsMin)
	}
	return key, nil
}

// readAnswer takes an answer apart: k=v&k=v, values as they are; an & between braces
// or brackets, as in tokenPayData={token=...&trId=...}, is of its value. A field
// twice, which two readers could read in two ways, is refused.
func readAnswer(body []byte) (message, error) {
	m := message{}
	for _, pair := range pairsOf(string(body)) {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := m[name]; twice || !ok || name == "" {
			return nil, errors.New("unionpay: the answer is not k=v&k=v")
		}
		m[name] = value
	}
	return m, nil
}

// pairsOf splits at each & that is not between braces or brackets.
func pairsOf(text string) (pairs []string) {
	var closes rune // what ends the braces that are open
	from := 0
	for i, c := range text {
		switch {
		case closes != 0:
			if c == closes {
				closes = 0
			}
		case c == '{':
			closes = '}'
		case c == '[':
			closes = ']'
		case c == '&':
			pairs, from = append(pairs, text[from:i]), i+1
		}
	}
	return append(pairs, text[from:])
}

// readForm takes a notification apart.
func readForm(body []byte) (message, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("unionpay: the notification is not a form")
	}
	m := message{}
	for name, values := range form {
		if len(values) != 1 {
			return nil, errors.New("unionpay: the notification has a field twice")
		}
		m[name] = values[0]
	}
	return m, nil
}

// form encodes a request.
func (m message) form() string {
	values := url.Values{}
	for name, value := range m {
		if value != "" {
			values.Set(name, value)
		}
	}
	return values.Encode()
}
