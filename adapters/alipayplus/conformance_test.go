package alipayplus_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

const (
	clientID = "VALLEY_0001"
	token    = "281006000000000000000000001" // an access token of a rider
	shown    = "288888888888888888"          // a payment code
)

var start = time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC) // 14:30 in +08:00

var (
	once          sync.Once
	own, platform *rsa.PrivateKey
)

func keys(t testing.TB) {
	t.Helper()
	once.Do(func() {
		for _, k := range []**rsa.PrivateKey{&own, &platform} {
			made, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			*k = made
		}
	})
}

type world struct {
	mu       sync.Mutex
	at       time.Time
	sim      *alipayplussim.Server
	config   alipayplus.Config
	provider *alipayplus.Provider
	in       func(citygate.Currency) *world // another one, with fares in a currency
}

func (w *world) now() time.Time      { w.mu.Lock(); defer w.mu.Unlock(); return w.at }
func (w *world) set(t time.Time)     { w.mu.Lock(); defer w.mu.Unlock(); w.at = t }
func (w *world) add(d time.Duration) { w.set(w.now().Add(d)) }

// newWorld is a city whose fares are in Macau's patacas.
func newWorld(t testing.TB, change func(*alipayplussim.Config, *alipayplus.Config)) *world {
	t.Helper()
	keys(t)
	w := &world{at: start}
	w.in = func(c citygate.Currency) *world {
		return newWorld(t, func(s *alipayplussim.Config, a *alipayplus.Config) {
			if change != nil {
				change(s, a)
			}
			a.Currency = c
		})
	}
	sim := alipayplussim.Config{
		Clock: w.now, Key: platform, Merchants: []alipayplussim.Merchant{{ClientID: clientID, Key: &own.PublicKey, FeePPM: 6000}},
		Rates: map[string]string{"MOP/HKD": "0.97087379", "HKD/MOP": "1.0285"},
	}
	w.config = alipayplus.Config{
		ClientID: clientID, Collect: alipayplus.Agreement, Signer: own, PlatformKeys: map[string]*rsa.PublicKey{"1": &platform.PublicKey},
		Merchant: "valley", Method: "ALIPAY_HK", NotifyURL: "https://city.example/n/alipayplus", Currency: "MOP",
		HTTP: &http.Client{Transport: &http.Transport{}}, Clock: w.now,
	}
	if change != nil {
		change(&sim, &w.config)
	}
	for i := range sim.Merchants {
		sim.Merchants[i].ClientID = w.config.ClientID
	}
	var err error
	if w.sim, err = alipayplussim.Start(sim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	w.config.Base, w.config.Files = w.sim.URL(), w.sim.URL()
	if w.provider, err = alipayplus.New(w.config); err != nil {
		t.Fatal(err)
	}
	return w
}

func mop(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "MOP"} }

func debit(id string, minor int64) driver.Debit {
	return driver.Debit{
		OurID: id, RiderRef: token, Amount: mop(minor), TripTime: start, Attempted: start, Subject: "Rides",
		AuthCode: citygate.NewSecret([]byte(shown)), Evidence: [][]byte{[]byte("the code of a ride")},
	}
}

func ref(d driver.Debit) driver.Ref {
	return driver.Ref{OurID: d.OurID, SubmittedAt: d.Attempted, Amount: d.Amount, Quote: d.Quote}
}

type harness struct{ *world }

func (h harness) Provider() driver.Provider                 { return h.provider }
func (h harness) Debit(id string, minor int64) driver.Debit { return debit(id, minor) }
func (h harness) LoseNextReply()                            { h.sim.ArmNext(alipayplussim.ArmLose) }
func (h harness) DropNext()                                 { h.sim.ArmNext(simserve.Drop) }

func (h harness) ShedNext() time.Duration {
	h.sim.ArmNext(simserve.Shed)
	return simserve.ShedFor
}

func (h harness) DieNext()     { h.sim.ArmNext(alipayplussim.ArmDie) }
func (h harness) DelayNext()   { h.sim.ArmNext(alipayplussim.ArmDelay) }
func (h harness) GarbleNext()  { h.sim.ArmNext(alipayplussim.ArmGarble) }
func (h harness) DeclineNext() { h.sim.ArmNext(alipayplussim.ArmDecline) }
func (h harness) PartialNext() {} // one debit a call
func (h harness) BusyNext()    { h.sim.ArmNext(alipayplussim.ArmBusy) }

// In is another world, but where riders pay in another currency: there is no rate.
func (h harness) In(c citygate.Currency) (drivertest.Harness, bool) {
	if h.config.PayCurrency != "" {
		return nil, false
	}
	return harness{h.in(c)}, true
}

func (h harness) Secrets() []string {
	return []string{own.D.String(), "signature=", token, shown, "/v1/transactions", "keyVersion"}
}

func (h harness) Moved() []drivertest.Move {
	type move struct {
		seq int
		drivertest.Move
	}
	var moves []move
	for _, p := range h.sim.Book() {
		if p.Seq > 0 {
			moves = append(moves, move{p.Seq, drivertest.Move{OurID: p.RequestID, Amount: p.Asked}})
		}
		if p.Cancelled > 0 {
			moves = append(moves, move{p.Cancelled, drivertest.Move{OurID: p.RequestID + "C", Refund: true, Amount: p.Asked}})
		}
		for _, r := range p.Refunds {
			moves = append(moves, move{r.Seq, drivertest.Move{OurID: r.RequestID, Refund: true, Amount: r.Amount}})
		}
	}
	slices.SortFunc(moves, func(a, b move) int { return a.seq - b.seq })
	var list []drivertest.Move
	for _, m := range moves {
		list = append(list, m.Move)
	}
	return list
}

func (h harness) EndDay() citygate.Date {
	h.set(start.Add(24 * time.Hour))
	return citygate.Date{Year: 2026, Month: time.March, Day: 2}
}

func (h harness) Notification(d driver.Debit) driver.Notification {
	sent, err := h.sim.Notification(h.config.ClientID, d.OurID, h.config.NotifyURL)
	if err != nil {
		panic(err)
	}
	return driver.Notification{Method: http.MethodPost, Target: "/elsewhere/behind/a/proxy", Header: sent.Header, Body: sent.Body, At: h.now()}
}

func TestConformance(t *testing.T) {
	for name, change := range map[string]func(*alipayplussim.Config, *alipayplus.Config){
		"agreement":    nil,
		"payment_code": func(_ *alipayplussim.Config, c *alipayplus.Config) { c.Collect = alipayplus.PaymentCode },
		"entry_code_in_the_sandbox": func(_ *alipayplussim.Config, c *alipayplus.Config) {
			c.Collect, c.ClientID = alipayplus.EntryCode, "SANDBOX_VALLEY"
		},
		"between_currencies": crossing,
		"dual_offline":       func(_ *alipayplussim.Config, c *alipayplus.Config) { c.Collect = alipayplus.DualOffline },
		"alipayplus":         func(_ *alipayplussim.Config, c *alipayplus.Config) { c.Family = alipayplus.AlipayPlus },
	} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) drivertest.Harness { return harness{newWorld(t, change)} })
		})
	}
}
