package wechatpay

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const (
	pathCertificates       = "/v3/certificates"
	pathGlobalCertificates = "/v3/global/certificates"

	publicKeyPrefix = "PUB_KEY_ID_" // ids of keys that are not in a certificate
	refreshEvery    = time.Minute   // at most: an answer with a made-up serial must not cause a storm
)

// A keyset is the platform's keys by their ids. An id is the serial number of a
// platform certificate or begins with PUB_KEY_ID_. While the platform moves from
// one to the other it signs with both, so all of them are held. Certificates
// change by themselves and are fetched when an answer names one that is not
// held; public keys change by configuration alone.
type keyset struct {
	mu      sync.Mutex
	fixed   map[string]*rsa.PublicKey // of the contract's configuration
	fetched map[string]certificate
	asked   time.Time // when the list was fetched last, or tried
}

// A certificate is a platform key that the platform handed out itself.
type certificate struct {
	key         *rsa.PublicKey
	from, until time.Time
}

func (k *keyset) find(id string, now time.Time) *rsa.PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.fixed[id]; key != nil {
		return key
	}
	if c, ok := k.fetched[id]; ok && !now.Before(c.from) && now.Before(c.until) {
		return c.key
	}
	return nil
}

// mayAsk reports whether the list may be fetched now, and notes that it is.
func (k *keyset) mayAsk(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if since := now.Sub(k.asked); !k.asked.IsZero() && since >= 0 && since < refreshEvery {
		return false
	}
	k.asked = now
	return true
}

// proven checks the signature of an answer or a notification over the bytes as
// they were received. A certificate that is not held is looked for once.
func (c *client) proven(ctx context.Context, h http.Header, body []byte) error {
	s, err := stampOf(h)
	if err != nil {
		return err
	}
	now := c.config.Clock()
	if err := s.fresh(now); err != nil {
		return err
	}
	key := c.keys.find(s.serial, now)
	if key == nil && serialNumber(s.serial) && c.keys.mayAsk(now) {
		if err := c.refresh(ctx); err != nil {
			return fmt.Errorf("%w: the key list cannot be had: %w", errUnproven, err)
		}
		key = c.keys.find(s.serial, now)
	}
	if key == nil {
		return fmt.Errorf("%w: no key %.64q is held", errUnproven, s.serial)
	}
	return s.by(key, body)
}

// serialNumber reports whether id looks like a certificate's serial number.
func serialNumber(id string) bool {
	if id == "" || len(id) > 64 || strings.HasPrefix(id, publicKeyPrefix) {
		return false
	}
	return strings.Trim(id, "0123456789ABCDEFabcdef") == ""
}

type certificatesAnswer struct {
	Data []struct {
		SerialNo string    `json:"serial_no"`
		From     time.Time `json:"effective_time"`
		Until    time.Time `json:"expire_time"`
		Sealed   sealed    `json:"encrypt_certificate"`
	} `json:"data"`
}

// refresh fetches the platform's certificates. They come sealed with the APIv3
// key, which only the platform and the merchant have; the answer must besides be
// signed with one of them or with a key that is held already.
func (c *client) refresh(ctx context.Context) error {
	path := pathCertificates
	if c.config.Product == Global {
		path = pathGlobalCertificates
	}
	reply, err := c.send(ctx, http.MethodGet, path, nil, wire.CallLimit)
	if err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return fmt.Errorf("wechatpay: certificates: HTTP status %d", reply.Status)
	}
	var answer certificatesAnswer
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		return errors.New("wechatpay: certificates: the answer is unreadable")
	}
	fresh := make(map[string]certificate, len(answer.Data))
	for _, d := range answer.Data {
		got, err := c.certificate(d.Sealed, d.SerialNo)
		if err != nil {
			return err
		}
		fresh[d.SerialNo] = got
	}
	s, err := stampOf(reply.Header)
	if err != nil {
		return err
	}
	now := c.config.Clock()
	if err := s.fresh(now); err != nil {
		return err
	}
	key := c.keys.find(s.serial, now)
	if got, ok := fresh[s.serial]; ok && key == nil {
		key = got.key
	}
	if key == nil {
		return errUnproven
	}
	if err := s.by(key, reply.Body); err != nil {
		return err
	}
	c.keys.mu.Lock()
	defer c.keys.mu.Unlock()
	c.keys.fetched = maps.Clone(fresh)
	return nil
}

// certificate opens one entry of the list.
func (c *client) certificate(box sealed, serial string) (certificate, error) {
	text, err := box.open(c.config.APIv3Key)
	if err != nil {
		return certificate{}, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return certificate{}, errors.New("wechatpay: certificates: an entry is not one certificate")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return certificate{}, fmt.Errorf("wechatpay: certificates: %w", err)
	}
	key, ok := parsed.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < keyBitsMin {
		return certificate{}, fmt.Errorf("wechatpay: certificates: want RSA keys of at least %d bits", keyBitsMin)
	}
	if want := fmt.Sprintf("%X", parsed.SerialNumber); !strings.EqualFold(strings.TrimLeft(serial, "0"), want) {
		return certificate{}, errors.New("wechatpay: certificates: an entry is listed under another serial number")
	}
	return certificate{key, parsed.NotBefore, parsed.NotAfter}, nil
}

// A sealed is something the platform encrypted with the APIv3 key.
type sealed struct {
	Algorithm      string `json:"algorithm"`
	Ciphertext     string `json:"ciphertext"`
	AssociatedData string `json:"associated_data"`
	Nonce          string `json:"nonce"`
	OriginalType   string `json:"original_type"`
}

// open decrypts: AES-256-GCM, the tag of 16 bytes at the end, the nonce 12 bytes.
func (s sealed) open(key citygate.Secret) ([]byte, error) {
	if s.Algorithm != "AEAD_AES_256_GCM" {
		return nil, fmt.Errorf("wechatpay: sealed with %.40q, want AEAD_AES_256_GCM", s.Algorithm)
	}
	box, err := base64.StdEncoding.DecodeString(s.Ciphertext)
	if err != nil {
		return nil, errors.New("wechatpay: a sealed text that is not base64")
	}
	block, err := aes.NewCipher(key.Reveal())
	if err != nil || len(key.Reveal()) != apiKeySize {
		return nil, errors.New("wechatpay: the APIv3 key is not of 32 bytes")
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("wechatpay: %w", err)
	}
	if len(s.Nonce) != gcm.NonceSize() {
		return nil, errors.New("wechatpay: a sealed text whose nonce is not of 12 bytes")
	}
	text, err := gcm.Open(nil, []byte(s.Nonce), box, []byte(s.AssociatedData))
	if err != nil {
		return nil, errors.New("wechatpay: a sealed text that the APIv3 key does not open")
	}
	return text, nil
}
