package wechatpay_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

const (
	appID   = "wx8888888888888888"
	mchID   = "1900000109"
	serial  = "3775B6A45ACD588826D15E583A95F5DD12345678"
	apiV3   = "v3key-of-32-bytes-for-the-tests!"
	apiV2   = "v2key-of-32-bytes-for-the-tests!"
	riderID = "contract_1"
)

var start = time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC) // 14:30 in Beijing

var (
	keysOnce                            sync.Once
	merchantKey, platformKey, publicKey *rsa.PrivateKey
)

func keys(t testing.TB) {
	t.Helper()
	keysOnce.Do(func() {
		for _, k := range []**rsa.PrivateKey{&merchantKey, &platformKey, &publicKey} {
			made, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			*k = made
		}
	})
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func (c *clock) set(t time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.now = t }

// A world is a contract with a simulated platform.
type world struct {
	clock    *clock
	sim      *wechatpaysim.Server
	config   wechatpay.Config
	provider driver.Provider
	http     *counting
}

// counting counts requests by path.
type counting struct {
	mu    sync.Mutex
	paths map[string]int
	inner *http.Client
}

func (c *counting) Do(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.paths[r.URL.Path]++
	c.mu.Unlock()
	return c.inner.Do(r)
}

func (c *counting) of(path string) int { c.mu.Lock(); defer c.mu.Unlock(); return c.paths[path] }

func newWorld(t testing.TB, product wechatpay.Product, change func(*wechatpaysim.Config, *wechatpay.Config)) *world {
	t.Helper()
	keys(t)
	w := &world{clock: &clock{now: start}, http: &counting{paths: map[string]int{}, inner: &http.Client{Transport: &http.Transport{}}}}
	w.config = wechatpay.Config{
		Product: product, AppID: appID, MchID: mchID, Serial: serial, Signer: merchantKey,
		APIv3Key: citygate.NewSecret([]byte(apiV3)), APIv2Key: citygate.NewSecret([]byte(apiV2)),
		NotifyURL: "https://city.example/notify", Scene: "BUS", Line: "M66", ClientIP: "127.0.0.1",
		HTTP: w.http.inner, Clock: w.clock.read, Random: rand.Reader,
	}
	if product == wechatpay.Global {
		w.config.Currency, w.config.MCC = "HKD", "4111"
		w.config.Store = wechatpay.Store{Name: "Star Ferry", Address: "Central"}
	}
	sim := wechatpaysim.Config{
		Clock: w.clock.read, Key: platformKey, PublicKey: publicKey, Rates: map[string]int64{"HKD/CNY": 92_010_000},
		Merchants: []wechatpaysim.Merchant{{AppID: appID, MchID: mchID, Serial: serial, Key: &merchantKey.PublicKey, APIv3Key: []byte(apiV3), APIv2Key: []byte(apiV2), FeePPM: 6000}},
	}
	if change != nil {
		change(&sim, &w.config)
	}
	var err error
	if w.sim, err = wechatpaysim.Start(sim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	w.sim.AddContract(riderID, "oRider1", "rider-1")
	w.config.Base = w.sim.URL()
	if w.config.PlatformKeys == nil {
		w.config.PlatformKeys = map[string]*rsa.PublicKey{wechatpaysim.PublicKeyID: &publicKey.PublicKey}
	}
	w.config.HTTP = w.http
	if w.provider, err = wechatpay.New(w.config); err != nil {
		t.Fatal(err)
	}
	return w
}

// debit is one that the platform accepts.
func (w *world) debit(id string, minor int64) driver.Debit {
	currency := w.provider.Describe().Currencies[0]
	return driver.Debit{
		OurID: id, RiderRef: riderID, Amount: citygate.Money{Minor: minor, Currency: currency}, TripTime: start, Subject: "M66, 公园 -> 火车站",
		Attempted: w.clock.read(), AuthCode: citygate.NewSecret([]byte("130061098828009406")),
	}
}

func ref(d driver.Debit) driver.Ref {
	return driver.Ref{OurID: d.OurID, SubmittedAt: d.Attempted, Amount: d.Amount}
}

func (w *world) submit(t testing.TB, d driver.Debit) (driver.Result, error) {
	t.Helper()
	results, err := w.provider.Submit(t.Context(), []driver.Debit{d})
	if err != nil {
		return driver.Result{OurID: d.OurID}, err
	}
	if len(results) != 1 {
		t.Fatalf("%d results for one debit", len(results))
	}
	return results[0], nil
}

func (w *world) pay(t testing.TB, d driver.Debit) driver.Result {
	t.Helper()
	r, err := w.submit(t, d)
	if err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("Submit(%s) = %q, %v; want succeeded", d.OurID, r.Outcome, err)
	}
	return r
}

func shownCode(n int) citygate.Secret { return citygate.NewSecret(fmt.Appendf(nil, "13%016d", n)) }
