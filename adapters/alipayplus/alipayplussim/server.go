package alipayplussim

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

const (
	keyBits = 2048
	bodyMax = 1 << 20

	// KeyVersion is that of the platform's key unless the configuration says
	// another.
	KeyVersion = "1"
)

var zone = time.FixedZone("Asia/Shanghai", 8*60*60)

// A Merchant is a contract the platform has with somebody.
type Merchant struct {
	ClientID string
	Key      *rsa.PublicKey
	FeePPM   int64 // of what is settled
	PaidPPM  int64 // the same fee, of what the payer pays; 0 = FeePPM
}

// A Config says what the platform is like.
type Config struct {
	Clock      citygate.Clock
	Merchants  []Merchant
	Listen     string          // default a free port of the loopback interface
	Key        *rsa.PrivateKey // signs answers; nil makes one
	KeyVersion string

	Rates       map[string]string // decimal, by pair: units of the second for one of the first
	RefundRates map[string]string // of settling refunds; default that of the payment
	QuoteFor    time.Duration     // default 30 minutes
	Guaranteed  bool              // quotes are
}

// A Server is a running platform. It is safe for concurrent use.
type Server struct {
	*simserve.Server
	*simserve.Arms[Arm]
	config Config

	mu        sync.Mutex
	merchants map[string]Merchant
	payments  map[string]*payment // by client and number
	refunds   map[string]*refund  // by client and number
	quotes    map[string]*offer
	poor      map[string]bool // tokens and codes without money
	acts      int
	notices   *simserve.Notices[notice]
}

// Start opens the platform.
func Start(c Config) (*Server, error) {
	if c.Clock == nil {
		return nil, errors.New("alipayplussim: no clock")
	}
	if c.Key == nil {
		var err error
		if c.Key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return nil, fmt.Errorf("alipayplussim: %w", err)
		}
	}
	c.KeyVersion = cmp.Or(c.KeyVersion, KeyVersion)
	c.QuoteFor = cmp.Or(c.QuoteFor, 30*time.Minute)
	s := &Server{
		config: c, Arms: simserve.NewArms(arms...), notices: simserve.NewNotices[notice](pauses...), merchants: map[string]Merchant{}, payments: map[string]*payment{}, refunds: map[string]*refund{},
		quotes: map[string]*offer{}, poor: map[string]bool{},
	}
	for _, m := range c.Merchants {
		if m.Key == nil || m.ClientID == "" {
			return nil, fmt.Errorf("alipayplussim: merchant %q: want a client id and a key", m.ClientID)
		}
		m.PaidPPM = cmp.Or(m.PaidPPM, m.FeePPM)
		s.merchants[m.ClientID] = m
	}
	mux := http.NewServeMux()
	for _, root := range []string{"/ams", "/ams/sandbox", "/aps", "/aps/sandbox"} {
		mux.HandleFunc("POST "+root+"/api/v1/payments/{op}", s.serve)
	}
	mux.HandleFunc("GET /v1/transactions/transaction/{client}/{day}/{file}", s.serveTransactions)
	mux.HandleFunc("GET /v1/settlements/settlement/{client}/{day}/{file}", s.serveSettlement)
	mux.HandleFunc("GET /sim/book", s.serveBook)
	mux.HandleFunc("POST /sim/arm", s.ServeArm)
	s.Server = simserve.New(s.Dropping(mux))
	if err := s.Listen(c.Listen); err != nil {
		return nil, fmt.Errorf("alipayplussim: %w", err)
	}
	return s, nil
}

// URL is the address without a path.
func (s *Server) URL() string { return s.Base() }

// Key is the public half of the key that answers are signed with.
func (s *Server) Key() *rsa.PublicKey { return &s.config.Key.PublicKey }

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
	ArmForge    Arm = "forge"    // acts, answers signed by a key of somebody else
	ArmUnsure   Arm = "unsure"   // acts, answers U
	ArmBusy     Arm = "busy"     // does not act, answers U: REQUEST_TRAFFIC_EXCEED_LIMIT
	ArmDecline  Arm = "decline"  // does not act and says no
	ArmStrange  Arm = "strange"  // acts, answers F in words of no table
)

var arms = []Arm{ArmLose, ArmDie, ArmDelay, ArmGarble, ArmUnsigned, ArmBadSign, ArmForge, ArmUnsure, ArmBusy, ArmDecline, ArmStrange}

// SetInsufficient empties the wallet behind an access token or a code.
func (s *Server) SetInsufficient(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poor[id] = true
}

// SetRate changes a rate from now on. Quotes that were given keep theirs.
func (s *Server) SetRate(pair, price string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.Rates == nil {
		s.config.Rates = map[string]string{}
	}
	s.config.Rates[pair] = price
}

func (s *Server) serveBook(w http.ResponseWriter, _ *http.Request) { simserve.Show(w, s.Book()) }

// signedText is what a signature covers.
func signedText(method, path, client, at string, body []byte) []byte {
	var b strings.Builder
	b.WriteString(method)
	b.WriteByte(' ')
	b.WriteString(path)
	b.WriteByte('\n')
	b.WriteString(strings.Join([]string{client, at, string(body)}, "."))
	sum := sha256.Sum256([]byte(b.String()))
	return sum[:]
}

var signatureForm = regexp.MustCompile(`^algorithm=RSA256, ?keyVersion=([0-9]+), ?signature=(\S+)$`)

// genuine checks a request's signature.
func genuine(m Merchant, r *http.Request, body []byte) bool {
	parts := signatureForm.FindStringSubmatch(r.Header.Get("Signature"))
	if parts == nil || parts[1] != "1" {
		return false
	}
	text, err := url.QueryUnescape(parts[2])
	if err != nil {
		return false
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	return err == nil && rsa.VerifyPKCS1v15(m.Key, crypto.SHA256, signedText(r.Method, r.URL.RequestURI(), m.ClientID, r.Header.Get("Request-Time"), body), sig) == nil
}

// sign gives the Signature header for a text.
func (s *Server) sign(arm Arm, digest []byte) (string, error) {
	key := s.config.Key
	if arm == ArmForge {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return "", err
		}
	}
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
	if err != nil {
		return "", err
	}
	return "algorithm=RSA256, keyVersion=" + s.config.KeyVersion + ", signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig)), nil
}

type fields map[string]any

func said(status, code string) fields {
	return fields{"result": map[string]string{"resultCode": code, "resultStatus": status, "resultMessage": strings.ToLower(code)}}
}

// serve answers one call.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	aps := strings.HasPrefix(r.URL.Path, "/aps/")
	client := r.Header.Get("Client-Id")
	out, arm := said("F", "INVALID_SIGNATURE"), Arm("")
	s.mu.Lock()
	m, known := s.merchants[client]
	if known && strings.HasPrefix(client, "SANDBOX_") == strings.Contains(r.URL.Path, "/sandbox/") && genuine(m, r, body) {
		out, arm = s.act(m, aps, r.PathValue("op"), body)
	}
	s.mu.Unlock()
	s.send(w, r, client, out, arm)
}

// send writes a signed answer, or what is left of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, client string, out fields, arm Arm) {
	if s.Cut(w, r, string(arm)) {
		return
	}
	switch arm {
	case ArmUnsure:
		out = said("U", "UNKNOWN_EXCEPTION")
	case ArmStrange:
		out = said("F", "SOMETHING_NEW")
	default:
	}
	body, err := json.Marshal(out)
	if err != nil {
		http.Error(w, "cannot write", http.StatusInternalServerError)
		return
	}
	at := s.config.Clock().In(zone).Format("2006-01-02T15:04:05-07:00")
	header, err := s.sign(arm, signedText(r.Method, r.URL.RequestURI(), client, at, body))
	if err != nil {
		http.Error(w, "cannot sign", http.StatusInternalServerError)
		return
	}
	switch arm {
	case ArmBadSign:
		body = []byte(strings.Replace(string(body), "{", `{"extra":"1",`, 1))
	case ArmGarble:
		body = body[:len(body)/2]
	default:
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Header().Set("Client-Id", client)
	w.Header().Set("Response-Time", at)
	if arm != ArmUnsigned {
		w.Header().Set("Signature", header)
	}
	_, _ = w.Write(body) // a client that is gone loses its answer, as everywhere
}
