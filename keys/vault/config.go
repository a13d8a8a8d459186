package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// The defaults of [Config].
const (
	DefaultTransit  = "citygate-transit"
	DefaultKV       = "citygate-kv"
	DefaultDeadline = 2 * time.Second
	DefaultRemember = 7 * 24 * time.Hour
	DefaultAtOnce   = 8
)

// A Config says where Vault is and who we are there.
type Config struct {
	Address   string // https://...; http only on the local machine
	Namespace string // "" = none
	Transit   string // mount of the transit engine; "" = [DefaultTransit]
	KV        string // mount of the key/value engine, version 2; "" = [DefaultKV]
	// RootCAs are who may vouch for the server; nil = those of the system.
	RootCAs *x509.CertPool

	Sign  Login // the identity of deploy/vault/sign.hcl; required
	Admin Login // that of admin.hcl; nil = this process makes and changes nothing

	Clock  citygate.Clock // required
	Random io.Reader      // required
	Log    *slog.Logger   // nil = silence

	Deadline time.Duration // of one request; 0 = [DefaultDeadline]
	// Remember is how long the public halves of keys are given out of memory
	// while Vault cannot be asked; 0 = [DefaultRemember]. At least 24 hours.
	Remember time.Duration
	AtOnce   int // requests at once of one tenant; 0 = [DefaultAtOnce]
}

// A Store is the keys and secrets of one Vault. It is safe for concurrent use,
// also by several processes.
type Store struct {
	address     string
	transit, kv string
	clock       citygate.Clock
	log         *slog.Logger
	random      *rand.Rand // for spreading waits; safe for concurrent use
	deadline    time.Duration
	remember    time.Duration

	sign, admin *session // admin may be nil
	breaker     *breaker
	lanes       *lanes
	transport   *http.Transport

	mu    sync.Mutex
	known map[string]*key // by name
}

var (
	_ keys.DigestSigner = (*Store)(nil)
	_ keys.Secrets      = (*Store)(nil)
)

var mountForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*$`)

// Open logs in and looks at what must hold: the key/value store asks for
// check-and-set, and no platform key can leave Vault. A Vault that cannot be
// reached or is sealed is no error here: logging in goes on in the background,
// and what needs Vault says so. A login that Vault refuses is one.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := prepare(&c)
	if err != nil {
		return nil, err
	}
	if s.sign, err = s.newSession("sign", c, c.Sign); err != nil {
		return nil, err
	}
	if c.Admin != nil {
		if s.admin, err = s.newSession("admin", c, c.Admin); err != nil {
			return nil, err
		}
	}
	for _, se := range s.sessions() {
		if err := se.start(ctx); err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
	}
	if err := s.assert(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *Store) sessions() []*session {
	if s.admin == nil {
		return []*session{s.sign}
	}
	return []*session{s.sign, s.admin}
}

// Close stops renewing, and gives the tokens back if Vault can be asked.
func (s *Store) Close(ctx context.Context) error {
	for _, se := range s.sessions() {
		if se != nil {
			se.close(ctx)
		}
	}
	s.transport.CloseIdleConnections()
	return nil
}

// Format keeps tokens out of logs whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "keys/vault(%s)", s.address) }

// prepare checks c, fills its defaults and gives a store without sessions.
func prepare(c *Config) (*Store, error) {
	if c.Sign == nil || c.Clock == nil || c.Random == nil {
		return nil, keys.ErrInvalid.Because(nil, "keys/vault: a login, a clock and randomness are needed")
	}
	if err := checkAddress(c.Address); err != nil {
		return nil, err
	}
	setDefault(&c.Transit, DefaultTransit)
	setDefault(&c.KV, DefaultKV)
	setDefault(&c.Deadline, DefaultDeadline)
	setDefault(&c.Remember, DefaultRemember)
	setDefault(&c.AtOnce, DefaultAtOnce)
	switch {
	case !mountForm.MatchString(c.Transit) || !mountForm.MatchString(c.KV) || c.Transit == c.KV:
		return nil, keys.ErrInvalid.Explain("mounts %q and %q: want two paths of lower-case letters, digits and hyphens", c.Transit, c.KV)
	case c.Remember < 24*time.Hour:
		return nil, keys.ErrInvalid.Explain("public keys are remembered for %s: want at least 24 hours, a day's repair of Vault", c.Remember)
	case c.Deadline < 0 || c.AtOnce < 0:
		return nil, keys.ErrInvalid.Explain("a deadline of %s and %d requests at once: want more than none", c.Deadline, c.AtOnce)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var seed [32]byte
	if _, err := io.ReadFull(c.Random, seed[:]); err != nil {
		return nil, keys.ErrUnavailable.Because(err, "no randomness")
	}
	spread := rand.New(&lockedSource{source: rand.NewChaCha8(seed)})
	return &Store{
		address: c.Address, transit: c.Transit, kv: c.KV, clock: c.Clock, log: c.Log, random: spread, deadline: c.Deadline, remember: c.Remember,
		breaker:   &breaker{clock: c.Clock, random: spread},
		lanes:     &lanes{clock: c.Clock, width: c.AtOnce, of: map[citygate.TenantID]*lane{}},
		transport: newTransport(c.RootCAs),
		known:     map[string]*key{},
	}, nil
}

func setDefault[T comparable](at *T, otherwise T) {
	var zero T
	if *at == zero {
		*at = otherwise
	}
}

// checkAddress refuses what would send tokens in the clear over a network.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return keys.ErrInvalid.Explain("vault address: want https://host:port and nothing else")
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return keys.ErrInvalid.Explain("vault address %s: want https, as tokens and secrets pass there", address)
	}
	return nil
}

// newTransport gives a way to Vault that nothing around us changes: no proxy of
// the environment, and TLS is always verified.
func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 2 * time.Second,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
	}
}

// newClient gives a client that ignores the environment. The library reads it
// when it makes a client, and refuses to make one where a value is malformed;
// what it took from there is set back here.
func (s *Store) newClient(c Config) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address:          c.Address,
		HttpClient:       &http.Client{Transport: &hinting{s.transport}},
		MaxRetries:       0, // this package says what may be sent twice
		Timeout:          c.Deadline,
		DisableRedirects: true, // a token goes to nobody but the address it is for
	})
	if err != nil {
		return nil, keys.ErrInvalid.Because(err, "keys/vault: unset the VAULT_ variables of the environment; they are not used, and one of them is malformed")
	}
	client.ClearToken()
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	if c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

// lockedSource makes a source of randomness safe for concurrent use.
type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (l *lockedSource) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Uint64()
}
