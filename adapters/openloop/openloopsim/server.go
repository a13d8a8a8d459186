package openloopsim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

const (
	bodyMax   = 1 << 20
	signature = "X-Signature"
)

// A Config says what the processor is like.
type Config struct {
	Clock    citygate.Clock
	Listen   string // default a free port of the loopback interface
	Merchant string
	Key      []byte
	Currency citygate.Currency
	Numeric  string // ISO 4217 number of Currency
	FeePPM   int64

	FirstRideMax  int64
	RecoverTries  int           // what a merchant asks on his own of one decline; 0 = any number of times
	RecoverWithin time.Duration // and how long after it; 0 = without end
	DenyPage      int           // tokens on a page of the deny list; default 100
}

// A Card is what is behind a token.
type Card struct {
	Token   string
	Device  bool   // the number of a phone or a wearable, not the card's
	Account string // payment account reference: one for a card and its devices
	State   string // NORMAL, LOST, STOLEN, EXPIRED
	Empty   bool
}

// A Server is a running processor. It is safe for concurrent use.
type Server struct {
	*simserve.Server
	*simserve.Arms[Arm]
	config Config

	mu       sync.Mutex
	cards    map[string]*Card
	accounts map[string]*account
	entries  map[string]*entry // by order and transaction
	acts     int
	version  int // of the deny list
	notices  *simserve.Notices[notice]
}

// Start opens the processor. Every token is a card with money until [Server.SetCard]
// says otherwise.
func Start(c Config) (*Server, error) {
	if c.Clock == nil || c.Merchant == "" || len(c.Key) == 0 || !c.Currency.Valid() || c.Numeric == "" {
		return nil, errors.New("openloopsim: want a clock, a merchant, a key and a currency with its number")
	}
	c.DenyPage = cmp.Or(c.DenyPage, 100)
	s := &Server{config: c, Arms: simserve.NewArms(arms...), notices: simserve.NewNotices[notice](pauses...), cards: map[string]*Card{}, accounts: map[string]*account{}, entries: map[string]*entry{}, version: 1}
	root := "/v1/merchants/{merchant}"
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+root+"/orders/{order}/transactions/{id}", s.handle(s.put))
	mux.HandleFunc("GET "+root+"/orders/{order}/transactions/{id}", s.handle(s.get))
	mux.HandleFunc("GET "+root+"/deny-list", s.handle(s.denied))
	mux.HandleFunc("GET "+root+"/tokens/{token}", s.handle(s.token))
	mux.HandleFunc("GET "+root+"/files/{file}", s.handle(s.file))
	mux.HandleFunc("GET /sim/book", s.serveBook)
	mux.HandleFunc("POST /sim/arm", s.ServeArm)
	mux.HandleFunc("POST /sim/card", s.serveCard)
	s.Server = simserve.New(s.Dropping(mux))
	if err := s.Listen(c.Listen); err != nil {
		return nil, fmt.Errorf("openloopsim: %w", err)
	}
	return s, nil
}

// URL is the address without a path.
func (s *Server) URL() string { return s.Base() }

// SetCard says what is behind a token.
func (s *Server) SetCard(c Card) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cards[c.Token] = &c
}

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
	ArmUnsure   Arm = "unsure"   // acts, answers UNAVAILABLE
	ArmStrange  Arm = "strange"  // acts, answers a word of no table
	ArmDecline  Arm = "decline"  // does not act and says no
	ArmBusy     Arm = "busy"     // does not act, answers 429 TOO_MANY_REQUESTS
)

var arms = []Arm{ArmLose, ArmDie, ArmDelay, ArmGarble, ArmUnsigned, ArmBadSign, ArmUnsure, ArmStrange, ArmDecline, ArmBusy}

// serveCard says what is behind a token: POST /sim/card?token=tok_1&state=LOST.
func (s *Server) serveCard(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("token") == "" {
		http.Error(w, "token: want the card's", http.StatusBadRequest)
		return
	}
	s.SetCard(Card{Token: q.Get("token"), State: q.Get("state")})
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) serveBook(w http.ResponseWriter, _ *http.Request) { simserve.Show(w, s.Book()) }

func (s *Server) mac(parts ...string) string {
	m := hmac.New(sha256.New, s.config.Key)
	for i, p := range parts {
		if i > 0 {
			_, _ = m.Write([]byte{'\n'})
		}
		_, _ = m.Write([]byte(p))
	}
	return hex.EncodeToString(m.Sum(nil))
}

type reply struct {
	status int
	body   any // []byte as it is, anything else as JSON
	arm    Arm
}

func refuse(status int, code string) reply {
	return reply{status: status, body: map[string]string{"error": code}}
}

// handle answers one request.
func (s *Server) handle(do func(*http.Request, []byte) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
		if err != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
		at, own, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(signature), "t="), ",v1=")
		out := refuse(http.StatusUnauthorized, "BAD_SIGNATURE")
		s.mu.Lock()
		switch {
		case r.PathValue("merchant") != s.config.Merchant:
			out = refuse(http.StatusUnauthorized, "MERCHANT_UNKNOWN")
		case hmac.Equal([]byte(own), []byte(s.mac(r.Method, r.URL.RequestURI(), at, string(body)))):
			out = do(r, body)
		}
		s.mu.Unlock()
		s.send(w, r, own, out)
	}
}

// send writes a signed answer, or what is left of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, asked string, out reply) {
	if s.Cut(w, r, string(out.arm)) {
		return
	}
	body, whole := out.body.([]byte)
	if !whole {
		var err error
		if body, err = json.Marshal(out.body); err != nil {
			http.Error(w, "cannot write", http.StatusInternalServerError)
			return
		}
	}
	at := strconv.FormatInt(s.config.Clock().UnixMilli(), 10)
	sealed := "t=" + at + ",v1=" + s.mac(strconv.Itoa(out.status), asked, at, string(body))
	switch out.arm {
	case ArmGarble:
		body = body[:len(body)/2]
	case ArmBadSign:
		body = append(body, ' ')
	default:
	}
	if out.arm != ArmUnsigned {
		w.Header().Set(signature, sealed)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(out.status)
	_, _ = w.Write(body) // a client that is gone loses its answer, as everywhere
}

// A notice is a notification of a transaction.
type notice struct {
	address string
	body    any
}

// pauses are between the sends of one notification: an assumption, as processors' own
// documents are not public.
var pauses = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 15 * time.Hour}

// Deliver sends every notification that is due once and gives how many were taken, with
// a status of 2xx. The others are sent again after the processor's pauses.
func (s *Server) Deliver(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}) (taken int) {
	return s.notices.Deliver(s.config.Clock(), func(n notice) bool {
		sent, err := s.seal(n)
		if err != nil {
			return false
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.address, bytes.NewReader(sent.Body))
		if err != nil {
			return false
		}
		req.Header = sent.Header
		resp, err := doer.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close() // nothing is said in it
		return resp.StatusCode < 300
	})
}

// A Sent is a notification as it goes out.
type Sent struct {
	Header http.Header
	Body   []byte
}

func (s *Server) seal(n notice) (Sent, error) {
	body, err := json.Marshal(n.body)
	if err != nil {
		return Sent{}, err
	}
	u, err := url.Parse(n.address)
	if err != nil {
		return Sent{}, err
	}
	at := strconv.FormatInt(s.config.Clock().UnixMilli(), 10)
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set(signature, "t="+at+",v1="+s.mac(http.MethodPost, u.RequestURI(), at, string(body)))
	return Sent{h, body}, nil
}

// Notification gives what is told of an order's first transaction.
func (s *Server) Notification(order, address string) (Sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[order+"/1"]
	if e == nil {
		return Sent{}, fmt.Errorf("openloopsim: no order %s", order)
	}
	return s.seal(notice{address, s.shown(e)})
}
