package alipay_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

const (
	appID   = "2021000000000001"
	account = "2088000000000001"
	feePPM  = 6_000
)

// newKey makes RSA keys once: making one costs more than a whole test.
func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var (
	keysOnce              sync.Once
	merchantKey, otherKey *rsa.PrivateKey
	platformKey           *rsa.PrivateKey
)

func keys(t testing.TB) {
	t.Helper()
	keysOnce.Do(func() { merchantKey, otherKey, platformKey = newKey(t), newKey(t), newKey(t) })
}

// start is 14:30 in Beijing.
var start = time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC)

// A clock is the one clock of a test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// issuer publishes one CT1 key and holds one rider's device.
type issuer struct {
	private ed25519.PrivateKey
	device  ed25519.PrivateKey
}

func newIssuer() issuer {
	a, b := sha256.Sum256([]byte("issuer")), sha256.Sum256([]byte("device"))
	return issuer{ed25519.NewKeyFromSeed(a[:]), ed25519.NewKeyFromSeed(b[:])}
}

func (i issuer) Version() uint64 { return 1 }

func (i issuer) IssuerKey(who citygate.Issuer, kid uint8, _ int64) (crypto.PublicKey, code.Reason) {
	if who != 7 || kid != 1 {
		return nil, code.UnknownKey
	}
	return i.private.Public(), ""
}

// code shows the rider's code number n.
func (i issuer) code(t testing.TB, n uint16) []byte {
	t.Helper()
	suite, device, err := ct1.DeviceKey(i.device.Public())
	if err != nil {
		t.Fatal(err)
	}
	toSign, err := ct1.BuildCredential(ct1.Credential{
		Suite: suite, Rider: citygate.Rider{Issuer: 7, List: 1, Index: 99}, KeyID: 1,
		IssuedAt: start.Unix() - 3600, TTLHours: 48, Window: 30, DeviceKey: device,
	})
	if err != nil {
		t.Fatal(err)
	}
	credential, err := ct1.Assemble(toSign, ed25519.Sign(i.private, toSign))
	if err != nil {
		t.Fatal(err)
	}
	sign, err := ct1.Signer(i.device)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: start.Unix(), Counter: n, Party: 1}, sign)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A world is a platform, a merchant's contract with it, and a clock.
type world struct {
	clock    *clock
	issuer   issuer
	sim      *alipaysim.Server
	provider *alipay.Provider
}

func newWorld(t testing.TB, change func(*alipaysim.Config)) *world {
	t.Helper()
	keys(t)
	w := &world{clock: &clock{at: start}, issuer: newIssuer()}
	config := alipaysim.Config{
		Clock: w.clock.now, Keys: w.issuer, Key: platformKey, FindOffline: true, Seed: 1,
		Merchants: []alipaysim.Merchant{{AppID: appID, Account: account, Key: &merchantKey.PublicKey, FeePPM: feePPM}},
	}
	if change != nil {
		change(&config)
	}
	sim, err := alipaysim.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	w.sim = sim
	w.provider = w.contract(t, func(*alipay.Config) {})
	return w
}

func (w *world) contract(t testing.TB, change func(*alipay.Config)) *alipay.Provider {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	config := alipay.Config{
		Gateway: w.sim.URL(), AppID: appID, Account: account, Signer: merchantKey,
		PlatformKeys: []*rsa.PublicKey{w.sim.Public()}, HTTP: &http.Client{Transport: transport}, Clock: w.clock.now,
	}
	change(&config)
	p, err := alipay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) debit(t testing.TB, ourID string, fen int64) driver.Debit {
	t.Helper()
	return driver.Debit{
		OurID: ourID, RiderRef: "2088000000000099", Amount: citygate.Money{Minor: fen, Currency: "CNY"},
		TripTime: start, Subject: "地铁 & 巴士", Evidence: [][]byte{w.issuer.code(t, 1)}, Attempted: start,
	}
}

func ref(d driver.Debit) driver.Ref {
	return driver.Ref{OurID: d.OurID, SubmittedAt: d.Attempted, Amount: d.Amount}
}

// paid is what the platform's own book says was collected.
func (w *world) paid() map[string]int64 {
	paid := make(map[string]int64)
	for _, t := range w.sim.Book() {
		if t.Paid {
			paid[t.OutTradeNo] = t.Amount.Minor
		}
	}
	return paid
}
