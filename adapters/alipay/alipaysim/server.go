package alipaysim

import (
	"cmp"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// beijing is the platform's zone.
var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

const (
	stamp       = time.DateTime
	keyBits     = 2048
	bodyMax     = 8 << 20
	gatewayPath = "/gateway.do"
	billPath    = "/bill/download"
)

// A Merchant is a contract the platform has with somebody.
type Merchant struct {
	AppID   string
	Account string // partner id, digits
	Key     *rsa.PublicKey
	FeePPM  int64 // the fee on each payment, in millionths

	AESKey       string // base64, for content encryption; "" has none
	CertSN       string // of the merchant's certificate, in certificate mode
	AgreementURL string // where it is told of agreements that were not opened by a request with a notify_url
}

// A Config says what the platform is like.
type Config struct {
	Clock     citygate.Clock
	Merchants []Merchant

	// Keys verifies records. Nil takes debits with any records or none, for
	// measurements that are not about codes.
	Keys code.KeySource

	// Listen is the address, by default a free port of the loopback interface.
	Listen string

	// Skew is how far a request's timestamp may be from the clock, by default
	// ten minutes. Client libraries write their machine's local time.
	Skew time.Duration

	// Key signs answers; nil makes one.
	Key *rsa.PrivateKey

	// Authority puts the platform into certificate mode. Certificate is that of
	// Key, in PEM; nil issues one.
	Authority   *Authority
	Certificate []byte

	// Client sends notifications; nil is a new one.
	Client *http.Client

	// FindOffline says whether alipay.trade.query finds offlinepay orders. The
	// real platform does not document it; a client must work either way.
	FindOffline bool

	// KeyList is what key.query answers, by key id.
	KeyList map[uint32][]byte

	// Seed and Faults choose the orders that meet trouble.
	Seed   uint64
	Faults Faults
}

// A Server is a running platform. It is safe for concurrent use.
type Server struct {
	*simserve.Server
	*simserve.Arms[Arm]
	config  Config
	schemes *code.Dispatcher
	secret  []byte // of download addresses and of the platform's own records

	mu        sync.Mutex
	merchants map[string]*merchant // by app id
	poor      map[string]time.Time // rider -> until when the balance is insufficient; zero = until topped up
	owing     map[string]bool      // riders declined for balance and not topped up since
	banned    map[string]bool
	outages   []interval
	notices   *simserve.Notices[*notice]
	told      int // notifications so far
	client    *http.Client
	certs     map[string][]byte // by name
	certSN    string            // of the one in use
	rootSN    string
	acts      int             // money movements so far
	hasActed  map[string]bool // orders and refunds whose first act is over: their reply faults are spent
}

type merchant struct {
	Merchant
	content cipher.Block      // by AESKey, nil without one
	trades  map[string]*trade // by out_trade_no
	faults  map[citygate.Date][]BillFault

	notifyURL  string // of the request that is being answered
	codes      map[string]bool
	agreements map[string]*agreement // by the merchant's number
	cards      map[string]Card
	tickets    map[string]*ticket          // by the platform's number of the purchase
	listed     map[string]bool             // changes of the name list that were made
	refused    map[string]bool             // riders
	issues     map[citygate.Date]int       // how often a bill was issued again
	notBefore  map[citygate.Date]time.Time // of bills that come late
}

type interval struct{ from, to time.Time }

// Start opens the platform.
func Start(c Config) (*Server, error) {
	if c.Clock == nil {
		return nil, errors.New("alipaysim: no clock")
	}
	if c.Key == nil {
		key, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return nil, fmt.Errorf("alipaysim: %w", err)
		}
		c.Key = key
	}
	s := &Server{
		config:    c,
		schemes:   code.NewDispatcher(ct1.Scheme{}),
		Arms:      simserve.NewArms(arms...),
		notices:   simserve.NewNotices[*notice](repeats...),
		secret:    c.Key.D.Bytes(),
		merchants: make(map[string]*merchant),
		poor:      make(map[string]time.Time),
		owing:     make(map[string]bool),
		banned:    make(map[string]bool),
		hasActed:  make(map[string]bool),
		certs:     make(map[string][]byte),
		client:    cmp.Or(c.Client, &http.Client{}),
	}
	if c.Authority != nil {
		root, err := c.Authority.rootSN()
		if err != nil {
			return nil, fmt.Errorf("alipaysim: %w", err)
		}
		s.rootSN = root
		if err := s.certify(); err != nil {
			return nil, fmt.Errorf("alipaysim: %w", err)
		}
	}
	for _, m := range c.Merchants {
		if err := s.AddMerchant(m); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.gateway) // whatever path a client was told; parameters count, not paths
	mux.HandleFunc(v3Prefix, s.v3)
	mux.HandleFunc("GET "+billPath, s.download)
	mux.HandleFunc("GET /sim/book", s.serveBook)
	mux.HandleFunc("POST /sim/arm", s.ServeArm)
	mux.HandleFunc("POST /sim/rider", s.serveRider)
	mux.HandleFunc("POST /sim/sign", s.serveSign)
	mux.HandleFunc("GET /sim/record", s.serveRecord)
	s.Server = simserve.New(s.Dropping(mux))
	if err := s.Listen(c.Listen); err != nil {
		return nil, fmt.Errorf("alipaysim: %w", err)
	}
	return s, nil
}

// URL is the address of the v2 gateway.
func (s *Server) URL() string { return s.Base() + gatewayPath }

// Public is the key whose signature answers carry.
func (s *Server) Public() *rsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &s.config.Key.PublicKey
}

// AddMerchant signs a contract with one more merchant.
func (s *Server) AddMerchant(m Merchant) error {
	if m.AppID == "" || m.Account == "" || m.Key == nil || m.FeePPM < 0 {
		return fmt.Errorf("alipaysim: merchant %q: want an app id, an account, a key and a fee", m.AppID)
	}
	var content cipher.Block
	if m.AESKey != "" {
		var err error
		if content, err = contentKey(m.AESKey); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.merchants[m.AppID] != nil {
		return fmt.Errorf("alipaysim: merchant %s is there already", m.AppID)
	}
	s.merchants[m.AppID] = &merchant{
		Merchant: m, content: content, trades: make(map[string]*trade), faults: make(map[citygate.Date][]BillFault), codes: make(map[string]bool),
		agreements: make(map[string]*agreement), cards: make(map[string]Card), tickets: make(map[string]*ticket),
		listed: make(map[string]bool), refused: make(map[string]bool), issues: make(map[citygate.Date]int), notBefore: make(map[citygate.Date]time.Time),
	}
	return nil
}
