package unionpaysim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

const (
	keyBits = 2048
	bodyMax = 1 << 20

	// Owner is what the signing certificate says of its owner, in the third part
	// of its common name.
	Owner = "中国银联股份有限公司"

	// GatewayPath and FilePath are where the calls are.
	GatewayPath = "/gateway/api"
	FilePath    = "/"
)

// A Merchant is a contract the platform has with somebody.
type Merchant struct {
	MerID  string
	Cert   *x509.Certificate
	FeePPM int64
}

// A Config says what the platform is like.
type Config struct {
	Clock     citygate.Clock
	Merchants []Merchant
	Listen    string          // default a free port of the loopback interface
	Key       *rsa.PrivateKey // signs answers; nil makes one
	Authority *Authority      // certifies Key; nil makes one
}

// An Authority is a root and a certificate of the signing key under it.
type Authority struct {
	Root, Leaf *x509.Certificate
}

// Certify makes an authority for a signing key whose certificate names owner.
func Certify(key crypto.PublicKey, owner string, now time.Time) (*Authority, error) {
	rootKey, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("unionpaysim: %w", err)
	}
	from, until := now.Add(-24*time.Hour), now.AddDate(10, 0, 0)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Simulated Root CA"}, NotBefore: from, NotAfter: until, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	serial, _ := new(big.Int).SetString("69026276696", 10)
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "041@Z12@" + owner + "@00000001"}, NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	a := &Authority{}
	for _, c := range []struct {
		what   *x509.Certificate
		public crypto.PublicKey
		into   **x509.Certificate
	}{{root, &rootKey.PublicKey, &a.Root}, {leaf, key, &a.Leaf}} {
		der, err := x509.CreateCertificate(rand.Reader, c.what, root, c.public, rootKey)
		if err != nil {
			return nil, fmt.Errorf("unionpaysim: %w", err)
		}
		if *c.into, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("unionpaysim: %w", err)
		}
	}
	return a, nil
}

// PEM gives a certificate as text.
func PEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// A Server is a running platform. It is safe for concurrent use.
type Server struct {
	*simserve.Server
	*simserve.Arms[Arm]
	config Config

	mu        sync.Mutex
	merchants map[string]Merchant
	orders    map[string]*order // by merchant, number and time
	poor      map[string]bool   // payment codes without money
	acts      int
	traces    int // transactions so far, made or not
	notices   *simserve.Notices[notice]
}

// Start opens the platform.
func Start(c Config) (*Server, error) {
	if c.Clock == nil {
		return nil, errors.New("unionpaysim: no clock")
	}
	var err error
	if c.Key == nil {
		if c.Key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return nil, fmt.Errorf("unionpaysim: %w", err)
		}
	}
	if c.Authority == nil {
		if c.Authority, err = Certify(&c.Key.PublicKey, Owner, c.Clock()); err != nil {
			return nil, err
		}
	}
	s := &Server{config: c, Arms: simserve.NewArms(arms...), notices: simserve.NewNotices[notice](pauses...), merchants: map[string]Merchant{}, orders: map[string]*order{}, poor: map[string]bool{}}
	for _, m := range c.Merchants {
		if m.Cert == nil || len(m.MerID) != 15 {
			return nil, fmt.Errorf("unionpaysim: merchant %q: want 15 characters and a certificate", m.MerID)
		}
		s.merchants[m.MerID] = m
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+GatewayPath+"/backTransReq.do", s.handle((*Server).transact))
	mux.HandleFunc("POST "+GatewayPath+"/queryTrans.do", s.handle((*Server).query))
	mux.HandleFunc("POST "+FilePath, s.handle((*Server).file))
	mux.HandleFunc("GET /sim/book", s.serveBook)
	mux.HandleFunc("POST /sim/arm", s.ServeArm)
	mux.HandleFunc("POST /sim/dispute", s.serveDispute)
	s.Server = simserve.New(s.Dropping(mux))
	if err := s.Listen(c.Listen); err != nil {
		return nil, fmt.Errorf("unionpaysim: %w", err)
	}
	return s, nil
}

// URL is the address without a path.
func (s *Server) URL() string { return s.Base() }

// Authority certifies the key that answers are signed with.
func (s *Server) Authority() *Authority { return s.config.Authority }

// An Arm is something that happens to the next request that moves money.
type Arm string

// What can be armed, for conformance tests.
const (
	ArmLose     Arm = "lose"     // acts, closes the connection
	ArmDie      Arm = "die"      // acts, closes the connection and the server
	ArmDelay    Arm = "delay"    // acts, and answers when the client has gone
	ArmGarble   Arm = "garble"   // acts, answers nonsense
	ArmUnsigned Arm = "unsigned" // acts, answers without a signature
	ArmBadSign  Arm = "bad_sign" // acts, answers with a signature over something else
	ArmForge    Arm = "forge"    // acts, answers signed by somebody's own certificate
	ArmUnsure   Arm = "unsure"   // acts, answers 05
	ArmDecline  Arm = "decline"  // does not act and says no
)

var arms = []Arm{ArmLose, ArmDie, ArmDelay, ArmGarble, ArmUnsigned, ArmBadSign, ArmForge, ArmUnsure, ArmDecline}

// SetInsufficient empties what is behind a payment code or a token.
func (s *Server) SetInsufficient(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poor[code] = true
}

func (s *Server) serveBook(w http.ResponseWriter, _ *http.Request) { simserve.Show(w, s.Book()) }

// signed is the text whose hash is signed: the fields that are not empty, sorted.
func signed(fields map[string]string) []byte {
	var names []string
	for name, value := range fields {
		if name != "signature" && value != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = name + "=" + fields[name]
	}
	first := sha256.Sum256([]byte(strings.Join(names, "&")))
	second := sha256.Sum256([]byte(hex.EncodeToString(first[:])))
	return second[:]
}

type act func(s *Server, m Merchant, in map[string]string) (out map[string]string, arm Arm)

// handle answers one request.
func (s *Server) handle(do act) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
		form, formErr := url.ParseQuery(string(body))
		if err != nil || formErr != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
		in := map[string]string{}
		for name, values := range form {
			in[name] = values[0]
		}
		out := map[string]string{"respCode": "11", "respMsg": "验证签名失败"}
		var arm Arm
		s.mu.Lock()
		if m, ok := s.merchants[in["merId"]]; ok && genuine(m, in) {
			out, arm = do(s, m, in)
		}
		s.mu.Unlock()
		for _, name := range []string{"merId", "orderId", "txnTime", "txnType", "txnSubType", "bizType", "accessType", "reqReserved", "tokenPayData"} {
			out[name] = in[name]
		}
		s.send(w, r, out, arm)
	}
}

func genuine(m Merchant, in map[string]string) bool {
	key, ok := m.Cert.PublicKey.(*rsa.PublicKey)
	sig, err := base64.StdEncoding.DecodeString(in["signature"])
	return ok && err == nil && in["certId"] == m.Cert.SerialNumber.String() && in["version"] == "5.1.0" && in["signMethod"] == "01" &&
		rsa.VerifyPKCS1v15(key, crypto.SHA256, signed(in), sig) == nil
}

// seal signs fields, with the certificate in them.
func (s *Server) seal(out map[string]string, arm Arm) error {
	key, cert := s.config.Key, s.config.Authority.Leaf
	if arm == ArmForge {
		made, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return err
		}
		own, err := Certify(&made.PublicKey, Owner, s.config.Clock())
		if err != nil {
			return err
		}
		key, cert = made, own.Leaf
	}
	out["version"], out["encoding"], out["signMethod"], out["signPubKeyCert"] = "5.1.0", "UTF-8", "01", strings.TrimSpace(PEM(cert))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, signed(out))
	if err != nil {
		return err
	}
	if arm == ArmBadSign {
		out["respMsg"] += "!"
	}
	if arm != ArmUnsigned {
		out["signature"] = base64.StdEncoding.EncodeToString(sig)
	}
	return nil
}

// send writes an answer, values as they are, or what is left of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, out map[string]string, arm Arm) {
	if s.Cut(w, r, string(arm)) {
		return
	}
	if err := s.seal(out, arm); err != nil {
		http.Error(w, "cannot sign", http.StatusInternalServerError)
		return
	}
	var pairs []string
	for name, value := range out {
		if value != "" {
			pairs = append(pairs, name+"="+value)
		}
	}
	text := strings.Join(pairs, "&")
	if arm == ArmGarble {
		text = text[:len(text)/2]
	}
	w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	_, _ = io.WriteString(w, text) // a client that is gone loses its answer, as everywhere
}
