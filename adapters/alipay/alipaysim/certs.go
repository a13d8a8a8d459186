package alipaysim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5" //nolint:gosec // the platform names certificates by it; nothing is proven with it
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"time"
)

// An Authority issues the certificates of a platform in certificate mode.
type Authority struct {
	key   *rsa.PrivateKey
	root  *x509.Certificate
	roots []byte
	clock func() time.Time
}

// NewAuthority makes an authority. Its file of roots has a second one that is
// not of RSA, as the real one's has.
func NewAuthority(clock func() time.Time) (*Authority, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{key: key, clock: clock}
	template := func(cn string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: serial(), Subject: name(cn), NotBefore: clock().Add(-time.Hour), NotAfter: clock().AddDate(20, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	for _, r := range []struct {
		cn     string
		signer crypto.Signer
	}{{"Ant Financial Certification Authority R1", key}, {"Ant Financial Certification Authority E1", other}} {
		t := template(r.cn)
		der, err := x509.CreateCertificate(rand.Reader, t, t, r.signer.Public(), r.signer)
		if err != nil {
			return nil, err
		}
		a.roots = append(a.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		if a.root == nil {
			if a.root, err = x509.ParseCertificate(der); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// LoadAuthority reads an authority's roots. It vouches for what it issued and
// issues nothing any more.
func LoadAuthority(roots []byte, clock func() time.Time) (*Authority, error) {
	block, _ := pem.Decode(roots)
	if block == nil {
		return nil, errors.New("alipaysim: no root certificate")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &Authority{root: root, roots: bytes.Clone(roots), clock: clock}, nil
}

func name(cn string) pkix.Name {
	return pkix.Name{Country: []string{"CN"}, Organization: []string{"Ant Financial"}, OrganizationalUnit: []string{"Certification Authority"}, CommonName: cn}
}

// serial is a number of 16 bytes.
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return n.Add(n, big.NewInt(1))
}

// Roots is the file of root certificates, in PEM.
func (a *Authority) Roots() []byte { return bytes.Clone(a.roots) }

// Issue makes a certificate in PEM.
func (a *Authority) Issue(cn string, key *rsa.PublicKey) ([]byte, error) {
	if a.key == nil {
		return nil, errors.New("alipaysim: the authority was loaded and cannot issue")
	}
	t := &x509.Certificate{SerialNumber: serial(), Subject: name(cn), NotBefore: a.clock().Add(-time.Hour), NotAfter: a.clock().AddDate(5, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, t, a.root, key, a.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// CertSN names a certificate, in PEM, as the platform does.
func CertSN(text []byte) (string, error) { return snOf(text) }

// snOf names a certificate as the platform does.
func snOf(text []byte) (string, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return "", errors.New("alipaysim: no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	short := map[string]string{"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.10": "O", "2.5.4.11": "OU"}
	var parts []string
	for i := len(cert.Issuer.Names) - 1; i >= 0; i-- {
		value, _ := cert.Issuer.Names[i].Value.(string)
		parts = append(parts, short[cert.Issuer.Names[i].Type.String()]+"="+value)
	}
	sum := md5.Sum([]byte(strings.Join(parts, ",") + cert.SerialNumber.String())) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:]), nil
}

// rootSN is the name of the roots: here one is of RSA.
func (a *Authority) rootSN() (string, error) {
	return snOf(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}))
}

// certify puts the platform's key under a new certificate.
func (s *Server) certify() error {
	text := s.config.Certificate
	if text == nil {
		var err error
		if text, err = s.config.Authority.Issue("支付宝(中国)网络技术有限公司", &s.config.Key.PublicKey); err != nil {
			return err
		}
	}
	sn, err := snOf(text)
	if err != nil {
		return err
	}
	s.certs[sn], s.certSN = text, sn
	s.config.Certificate = nil
	return nil
}

// Rotate gives the platform a new key, under a new certificate in certificate
// mode. Answers are signed with it from now on.
func (s *Server) Rotate(key *rsa.PrivateKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.Key = key
	if s.config.Authority == nil {
		return nil
	}
	return s.certify()
}

// Certificate is the platform's certificate of now, in PEM.
func (s *Server) Certificate() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.certs[s.certSN])
}

// certDownload is alipay.open.app.alipaycert.download.
func (s *Server) certDownload(_ *merchant, biz []byte) (any, fate) {
	var r struct {
		SN string `json:"alipay_cert_sn"`
	}
	if err := json.Unmarshal(biz, &r); err != nil || s.certs[r.SN] == nil {
		return refusal("isv.invalid-parameter", "alipay_cert_sn"), delivered
	}
	return struct {
		head
		Content string `json:"alipay_cert_content"`
	}{ok, base64.StdEncoding.EncodeToString(s.certs[r.SN])}, delivered
}
