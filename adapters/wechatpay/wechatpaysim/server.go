package wechatpaysim

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

// beijing is the platform's zone.
var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

const (
	keyBits = 2048
	bodyMax = 1 << 20
	cny     = citygate.Currency("CNY")

	// PublicKeyID is the id of the platform's key that is in no certificate, unless
	// the configuration says otherwise.
	PublicKeyID = "PUB_KEY_ID_0114000000000000000000000000000001"
)

// A Merchant is a contract the platform has with somebody.
type Merchant struct {
	AppID    string
	MchID    string
	Serial   string // of the merchant's API certificate
	Key      *rsa.PublicKey
	APIv3Key []byte // 32 bytes
	APIv2Key []byte // 32 bytes; empty = none
	FeePPM   int64  // the fee on each payment, in millionths
	Advance  bool   // the platform pays for riders who cannot, and they owe it
}

// A Config says what the platform is like.
type Config struct {
	Clock     citygate.Clock
	Merchants []Merchant
	Listen    string // default a free port of the loopback interface

	// Key is the platform's key that is in a certificate, PublicKey the one that
	// is not; nil makes one.
	Key, PublicKey *rsa.PrivateKey

	// KeyID is the id of PublicKey, by default [PublicKeyID].
	KeyID string

	// AnyContract takes every contract id for that of a rider who agreed.
	AnyContract bool

	// ByCertificate signs with the certificate's key where the merchant did not
	// say which it wants; otherwise with the public key.
	ByCertificate bool

	// DeductAfter is how long an accepted debit on a contract takes; with zero
	// it is over when it is answered. RefundAfter is the same for refunds,
	// PasswordAfter for a rider who has to type a password (default 20 s).
	DeductAfter, RefundAfter, PasswordAfter time.Duration

	// Rates are what one unit of the first currency costs in the second, times
	// 100,000,000, by "HKD/CNY".
	Rates map[string]int64

	// Seed and Faults choose the orders that meet trouble.
	Seed   uint64
	Faults Faults
}

// A Server is a running platform. It is safe for concurrent use.
type Server struct {
	*simserve.Server
	*simserve.Arms[Arm]
	config Config

	mu        sync.Mutex
	certs     []certificate        // the platform's certificates, the newest last
	merchants map[string]*merchant // by mch id
	contracts map[string]*contract // by contract id
	wallets   map[string]citygate.Currency
	poor      map[string]bool // contracts and payment codes without money
	acts      int             // money movements so far
	hasActed  map[string]bool // orders and refunds whose first act is over: their reply faults are spent
	notices   *simserve.Notices[*notice]
	nonces    map[string]time.Time
}

// A certificate is a platform key with its certificate.
type certificate struct {
	key         *rsa.PrivateKey
	serial, pem string
	from, until time.Time
}

type merchant struct {
	Merchant
	orders map[string]*order // by out_trade_no
	faults map[citygate.Date][]BillFault
}

// A contract lets the merchant debit a rider.
type contract struct {
	id, openID, outUserID string
	ended                 bool
	blocked               string // block reason
	owes                  int64
	since                 time.Time
}

// Start opens the platform.
func Start(c Config) (*Server, error) {
	if c.Clock == nil {
		return nil, errors.New("wechatpaysim: no clock")
	}
	for _, k := range []**rsa.PrivateKey{&c.Key, &c.PublicKey} {
		if *k != nil {
			continue
		}
		made, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return nil, fmt.Errorf("wechatpaysim: %w", err)
		}
		*k = made
	}
	c.PasswordAfter = cmp.Or(c.PasswordAfter, 20*time.Second)
	c.KeyID = cmp.Or(c.KeyID, PublicKeyID)
	s := &Server{
		config: c, Arms: simserve.NewArms(armed...), notices: simserve.NewNotices[*notice](pauses...),
		merchants: make(map[string]*merchant), contracts: make(map[string]*contract), wallets: make(map[string]citygate.Currency),
		poor: make(map[string]bool), hasActed: make(map[string]bool), nonces: make(map[string]time.Time),
	}
	first, err := certify(c.Key, 1, c.Clock())
	if err != nil {
		return nil, err
	}
	s.certs = []certificate{first}
	for _, m := range c.Merchants {
		if err := s.AddMerchant(m); err != nil {
			return nil, err
		}
	}
	s.Server = simserve.New(s.Dropping(s.routes()))
	if err := s.Listen(c.Listen); err != nil {
		return nil, fmt.Errorf("wechatpaysim: %w", err)
	}
	return s, nil
}

// certify makes the platform's certificate of a key.
func certify(key *rsa.PrivateKey, number int64, now time.Time) (certificate, error) {
	serial := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(0x5157F09E), 128), big.NewInt(number))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Tenpay.com sign (simulated)", Organization: []string{"simulated"}},
		NotBefore: now.Add(-time.Hour).Truncate(time.Second), NotAfter: now.AddDate(5, 0, 0).Truncate(time.Second),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificate{}, fmt.Errorf("wechatpaysim: %w", err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return certificate{key, fmt.Sprintf("%X", serial), text, template.NotBefore, template.NotAfter}, nil
}

// URL is the address of the platform: scheme and host.
func (s *Server) URL() string { return s.Base() }

// Keys gives the public keys that answers may be signed with now, by their ids.
func (s *Server) Keys() map[string]*rsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := map[string]*rsa.PublicKey{s.config.KeyID: &s.config.PublicKey.PublicKey}
	for _, c := range s.certs {
		keys[c.serial] = &c.key.PublicKey
	}
	return keys
}

// Certificate gives the newest platform certificate: its serial number and PEM.
func (s *Server) Certificate() (serial, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.certs[len(s.certs)-1]
	return newest.serial, newest.pem
}

// Rotate puts a new platform certificate beside the old ones; answers are signed
// with it from now on.
func (s *Server) Rotate() error {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return fmt.Errorf("wechatpaysim: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := certify(key, int64(len(s.certs))+1, s.config.Clock())
	if err != nil {
		return err
	}
	s.certs = append(s.certs, next)
	return nil
}

// AddMerchant signs a contract with one more merchant.
func (s *Server) AddMerchant(m Merchant) error {
	if m.AppID == "" || m.MchID == "" || m.Serial == "" || m.Key == nil || len(m.APIv3Key) != 32 || m.FeePPM < 0 {
		return fmt.Errorf("wechatpaysim: merchant %q: want an app id, a certificate serial, a key, an APIv3 key of 32 bytes and a fee", m.MchID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.merchants[m.MchID] != nil {
		return fmt.Errorf("wechatpaysim: merchant %s is there already", m.MchID)
	}
	s.merchants[m.MchID] = &merchant{m, make(map[string]*order), make(map[citygate.Date][]BillFault)}
	return nil
}

// AddContract has a rider agree to be debited.
func (s *Server) AddContract(id, openID, outUserID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contracts[id] = &contract{id: id, openID: openID, outUserID: outUserID}
}

// EndContract has the rider end it.
func (s *Server) EndContract(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.contracts[id]; c != nil {
		c.ended = true
	}
}

// Block blocks a contract's rider for a reason (DELETED, ACCOUNT_FROZEN, OVERDUE)
// or, with none, no longer.
func (s *Server) Block(id, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.contracts[id]; c != nil {
		c.blocked = reason
	}
}

// SetWallet says which currency the wallet behind a payment code is in; CNY if
// nothing is said.
func (s *Server) SetWallet(code string, currency citygate.Currency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wallets[code] = currency
}
