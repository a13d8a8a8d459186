package alipay

import (
	"context"
	"crypto/md5" //nolint:gosec // the platform names certificates by it; nothing is proven with it
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate/adapters/wire"
)

const methodCertDownload = "alipay.open.app.alipaycert.download"

// Certificates puts a contract into certificate mode: both sides name the
// certificate they sign with, and the platform's may change at any time for one
// that its root vouches for. All fields are PEM.
type Certificates struct {
	App      []byte // of the merchant's key, as the platform issued it
	Platform []byte // of the platform's signing keys, one or more
	Roots    []byte // the platform's root certificates, SM2 ones included
}

// CertSN is the platform's name for the first certificate of a PEM text:
// MD5, in hex, of the issuer's attributes from the last to the first and the
// serial number in decimal.
func CertSN(text []byte) (string, error) {
	blocks, err := certBlocks(text)
	if err != nil {
		return "", err
	}
	sn, _, err := snOf(blocks[0])
	return sn, err
}

// RootCertSN is the platform's name for its root certificates: the names of
// those that are signed with RSA, joined by underscores. The others, of SM2, are
// in the file and not in the name.
func RootCertSN(text []byte) (string, error) {
	blocks, err := certBlocks(text)
	if err != nil {
		return "", err
	}
	var names []string
	for _, der := range blocks {
		sn, isRSA, err := snOf(der)
		if err != nil {
			return "", err
		}
		if isRSA {
			names = append(names, sn)
		}
	}
	if len(names) == 0 {
		return "", errors.New("alipay: no root certificate is signed with RSA")
	}
	return strings.Join(names, "_"), nil
}

func certBlocks(text []byte) (ders [][]byte, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 {
		return nil, errors.New("alipay: no certificate in PEM")
	}
	return ders, nil
}

// A rawCertificate is what a name needs of a certificate. It is read without
// crypto/x509, which refuses certificates of curves that it does not know.
type rawCertificate struct {
	TBS struct {
		Version  int `asn1:"optional,explicit,default:0,tag:0"`
		Serial   *big.Int
		Inner    pkix.AlgorithmIdentifier
		Issuer   asn1.RawValue
		Validity asn1.RawValue
		Subject  asn1.RawValue
		Key      asn1.RawValue
		Rest     asn1.RawValue `asn1:"optional,explicit,tag:3"`
	}
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

var rsaSignatures = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1}

// attributes are the short names of an issuer's attributes.
var attributes = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
	"2.5.4.5": "serialNumber", "1.2.840.113549.1.9.1": "E", "0.9.2342.19200300.100.1.25": "DC",
}

func snOf(der []byte) (sn string, isRSA bool, err error) {
	var c rawCertificate
	if _, err := asn1.Unmarshal(der, &c); err != nil || c.TBS.Serial == nil {
		return "", false, errors.New("alipay: a certificate cannot be read")
	}
	var issuer pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.TBS.Issuer.FullBytes, &issuer); err != nil || len(rest) > 0 {
		return "", false, errors.New("alipay: a certificate's issuer cannot be read")
	}
	var parts []string
	for _, set := range issuer {
		for _, a := range set {
			name, known := attributes[a.Type.String()]
			if !known {
				name = a.Type.String()
			}
			parts = append([]string{fmt.Sprintf("%s=%v", name, a.Value)}, parts...)
		}
	}
	sum := md5.Sum([]byte(strings.Join(parts, ",") + c.TBS.Serial.String())) //nolint:gosec // see the import
	oid := c.Algorithm.Algorithm
	return hex.EncodeToString(sum[:]), len(oid) > len(rsaSignatures) && oid[:len(rsaSignatures)].Equal(rsaSignatures), nil
}

// A keychain is the platform's keys as a contract knows them.
type keychain struct {
	plain         []*rsa.PublicKey // without certificates: any of them may have signed
	appSN, rootSN string
	roots         *x509.CertPool

	mu    sync.Mutex
	bySN  map[string]*rsa.PublicKey
	asked time.Time // when a certificate was last asked for
}

// certified tells whether the contract is in certificate mode.
func (k *keychain) certified() bool { return k.appSN != "" }

func newKeychain(c Config) (*keychain, error) {
	k := &keychain{plain: c.PlatformKeys}
	if c.Certificates == nil {
		return k, nil
	}
	appBlocks, err := certBlocks(c.Certificates.App)
	if err != nil {
		return nil, ErrConfig.Explain("certificates.app: %v", err)
	}
	app, err := x509.ParseCertificate(appBlocks[0])
	if err != nil {
		return nil, ErrConfig.Explain("certificates.app: not a certificate")
	}
	if own, ok := app.PublicKey.(*rsa.PublicKey); !ok || c.Signer == nil || !own.Equal(c.Signer.Public()) {
		return nil, ErrConfig.Explain("certificates.app: it is not of the signer's key")
	}
	if k.appSN, err = CertSN(c.Certificates.App); err != nil {
		return nil, ErrConfig.Explain("certificates.app: %v", err)
	}
	if k.rootSN, err = RootCertSN(c.Certificates.Roots); err != nil {
		return nil, ErrConfig.Explain("certificates.roots: %v", err)
	}
	k.roots, k.bySN = x509.NewCertPool(), map[string]*rsa.PublicKey{}
	k.roots.AppendCertsFromPEM(c.Certificates.Roots) // those of other curves are left out
	blocks, err := certBlocks(c.Certificates.Platform)
	if err != nil {
		return nil, ErrConfig.Explain("certificates.platform: %v", err)
	}
	for _, der := range blocks {
		if err := k.add(der, "", c.Clock()); err != nil {
			return nil, ErrConfig.Explain("certificates.platform: %v", err)
		}
	}
	return k, nil
}

// add takes a certificate that the roots vouch for now; if a name is wanted it
// must be that one.
func (k *keychain) add(der []byte, want string, now time.Time) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return errors.New("a certificate cannot be read")
	}
	sn, _, err := snOf(der)
	if err != nil {
		return err
	}
	if want != "" && sn != want {
		return errors.New("another certificate than the one that was asked for")
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < keyBitsMin {
		return fmt.Errorf("a certificate is not of an RSA key of at least %d bits", keyBitsMin)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: k.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return errors.New("the platform's roots do not vouch for a certificate now")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bySN[sn] = key
	return nil
}

// refreshEvery is how often an unknown certificate is asked for at most: names
// come with every answer, and whoever can forge answers can invent names.
const refreshEvery = time.Minute

// keysFor gives the keys that may have signed an answer that names the
// certificate sn. In certificate mode that is one, fetched once if it is new.
func (p *Provider) keysFor(ctx context.Context, sn string) ([]*rsa.PublicKey, error) {
	k := p.chain
	if !k.certified() {
		return k.plain, nil
	}
	now := p.config.Clock()
	k.mu.Lock()
	key, known := k.bySN[sn]
	fresh := !known && sn != "" && len(sn) <= 64 && (k.asked.IsZero() || now.Sub(k.asked) >= refreshEvery)
	if fresh {
		k.asked = now
	}
	k.mu.Unlock()
	if known {
		return []*rsa.PublicKey{key}, nil
	}
	if !fresh {
		return nil, errUnproven
	}
	if err := p.fetchCert(ctx, sn); err != nil {
		return nil, fmt.Errorf("%w: certificate %s: %w", errUnproven, clip(sn), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return []*rsa.PublicKey{k.bySN[sn]}, nil
}

type certRequest struct {
	AlipayCertSN string `json:"alipay_cert_sn"`
}

// fetchCert downloads one certificate of the platform. The answer is signed with
// the very key that it brings, so what makes the certificate good is its chain
// to the configured roots, and its name.
func (p *Provider) fetchCert(ctx context.Context, sn string) error {
	req, err := p.request(ctx, methodCertDownload, certRequest{sn})
	if err != nil {
		return err
	}
	got, err := wire.Do(p.config.HTTP, req, wire.CallLimit)
	if err != nil {
		return err
	}
	env, err := open(got.Body, methodCertDownload)
	if err != nil {
		return err
	}
	raw, err := p.content(env.raw)
	if err != nil {
		return err
	}
	var answer struct {
		reply
		Content string `json:"alipay_cert_content"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Code != codeOK {
		return errors.New("the platform did not give it")
	}
	text, err := base64.StdEncoding.DecodeString(answer.Content)
	if err != nil {
		return errors.New("it is not base64")
	}
	blocks, err := certBlocks(text)
	if err != nil {
		return err
	}
	return p.chain.add(blocks[0], sn, p.config.Clock())
}

// sameText compares two texts in a time that does not tell where they differ.
func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
