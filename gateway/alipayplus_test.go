package gateway

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplusproduct"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
)

// hongkong signs a contract with a simulated Antom for the bus, whose riders pay
// from wallets in Hong Kong dollars. Nothing is guaranteed: what they pay is settled
// at the rate of then, rounded down.
func (o *office) hongkong() (*alipayplussim.Server, alipayplusproduct.Contract) {
	o.t.Helper()
	held, err := o.Ring.Ensure(o.t.Context(), actor, bus, keys.ProviderPurpose("alipayplus"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	sim, err := alipayplussim.Start(alipayplussim.Config{
		Clock: o.now, Merchants: []alipayplussim.Merchant{{ClientID: "VALLEY_0001", Key: public.(*rsa.PublicKey), FeePPM: feePPM}},
		Rates: map[string]string{"CNY/HKD": "1.08683838", "HKD/CNY": "0.9185"},
	})
	o.must(err)
	o.t.Cleanup(sim.Close)
	contract := alipayplusproduct.Contract{
		Base: sim.URL(), Files: sim.URL(), Collect: "agreement", ClientID: "VALLEY_0001", PlatformKeys: map[string][]byte{}, Merchant: "valley",
		Method: "ALIPAY_HK", NotifyURL: "https://city.example/notify", Currency: "CNY", PayCurrency: "HKD",
	}
	contract.PlatformKeys[alipayplussim.KeyVersion], err = x509.MarshalPKIXPublicKey(sim.Key())
	o.must(err)
	raw, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/hongkong"), map[string]any{"adapter": "alipayplus", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	return sim, contract
}

// A rider with a Hong Kong wallet rides a bus whose fares are in yuan. He pays what
// the quote said, in Hong Kong dollars; the operator is paid out in yuan, its fare
// whole; and what the exchange made less of it is named to the cent, in the books
// and for whoever asks.
func TestHongKongWalletRidesInAnotherCurrency(t *testing.T) {
	o := open(t)
	o.onboard()
	sim, _ := o.hongkong()
	o.ridesAbroad(sim)
}

// ridesAbroad is a ride under the contract "hongkong" until it is paid out.
func (o *office) ridesAbroad(sim *alipayplussim.Server) {
	t := o.t
	t.Helper()
	v := o.validator()
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "2810060000000001", Contract: "hongkong", DeviceKey: key("ann")[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	batch := o.board(v, answer.Issued[0].Credential, "ann")
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("the ride: %v", got)
	}
	parsed, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(parsed.Hash))

	o.until("collected", func() bool { return len(o.succeeded()) == 1 })
	const pays = 489 // HKD 4.89 for CNY 4.50 at 1.08683838, rounded down
	book := sim.Book()
	if len(book) != 1 || book[0].Asked != (citygate.Money{Minor: price, Currency: "CNY"}) || book[0].Paid != (citygate.Money{Minor: pays, Currency: "HKD"}) {
		t.Fatalf("the platform's book: %+v", book)
	}
	charge := o.succeeded()[0]
	if e := charge.Exchange; e == nil || e.Pays.Minor != pays || e.Pair != "CNY/HKD" || e.Price != "1.08683838" || e.Quotes != 1 || e.Guaranteed || e.Settled != nil || charge.Amount.Minor != price {
		t.Errorf("before the bill the charge says %+v", e)
	}
	o.booksHold()

	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	const settled = 449 // CNY 4.49 for HKD 4.89 at 0.9185, rounded down: a cent less than the fare
	e := o.succeeded()[0].Exchange
	if e.Settled == nil || *e.Settled != (citygate.Money{Minor: settled, Currency: "CNY"}) || e.Difference == nil || *e.Difference != (citygate.Money{Minor: settled - price, Currency: "CNY"}) {
		t.Errorf("after the bill the charge says %+v", e)
	}
	if items := list[edge.ReconItem](o, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	var paid int64
	for _, p := range list[edge.Payout](o, "payouts") {
		paid += p.Amount.Minor
	}
	if paid != price-3 {
		t.Errorf("paid out %d; want the fare less the fee, whole", paid)
	}
	balances := o.balances()
	if got := balances[ledger.ExchangeDifference("hongkong")]; got != price-settled {
		t.Errorf("the difference in the books is %d; want %d: %v", got, price-settled, balances)
	}
	if got := balances[ledger.ProviderReceivable("hongkong")]; got != 0 {
		t.Errorf("the provider owes %d still", got)
	}
	o.booksHold()
	o.noSecretIsOut()
}

func TestAlipayplusContractsAreChecked(t *testing.T) {
	o := open(t)
	o.onboard()
	_, contract := o.hongkong()
	for names, change := range map[string]func(*alipayplusproduct.Contract){
		"platform_keys": func(c *alipayplusproduct.Contract) { c.PlatformKeys = map[string][]byte{"1": {1}} },
		"zone":          func(c *alipayplusproduct.Contract) { c.Zone = "Elsewhere" },
		"pay_currency":  func(c *alipayplusproduct.Contract) { c.PayCurrency = c.Currency },
	} {
		c := contract
		change(&c)
		raw, err := json.Marshal(c)
		o.must(err)
		if _, err := o.provider(t.Context(), bus, collect.Contract{Name: "hongkong", Adapter: "alipayplus", Config: raw}); err == nil ||
			!strings.Contains(err.Error(), names) || !strings.Contains(err.Error(), alipayplus.ErrConfig.Name) {
			t.Errorf("%s: %v; want %s that names it", names, err, alipayplus.ErrConfig.Name)
		}
		o.providers.forget(bus, "hongkong")
	}
}
