package gateway

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
)

// abroad signs the contract "hongkong" with a provider's program, which speaks with a
// simulated Antom by a key of its own: the gateway knows the provider protocol alone.
func (o *office) abroad(collect alipayplus.Collect) *alipayplussim.Server {
	o.t.Helper()
	merchant, err := rsa.GenerateKey(rand.Reader, 2048)
	o.must(err)
	sim, err := alipayplussim.Start(alipayplussim.Config{
		Clock: o.now, Merchants: []alipayplussim.Merchant{{ClientID: "VALLEY_0001", Key: &merchant.PublicKey, FeePPM: feePPM}},
		Rates: map[string]string{"CNY/HKD": "1.08683838", "HKD/CNY": "0.9185"},
	})
	o.must(err)
	o.t.Cleanup(sim.Close)
	served, err := alipayplus.New(alipayplus.Config{
		Base: sim.URL(), Files: sim.URL(), ClientID: "VALLEY_0001", Collect: collect, Signer: merchant, Merchant: "valley", Method: "ALIPAY_HK",
		PlatformKeys: map[string]*rsa.PublicKey{alipayplussim.KeyVersion: sim.Key()}, NotifyURL: "https://city.example/notify",
		Currency: "CNY", PayCurrency: "HKD", HTTP: http.DefaultClient, Clock: o.now,
	})
	o.must(err)
	own, err := o.Ring.Ensure(o.t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	_, contract := o.serves(ed25519.PublicKey(own.Public), served, "Asia/Shanghai")
	raw, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/hongkong"), edge.PutContract{Adapter: "http", FeePPM: feePPM, Config: raw}, nil)
	return sim
}

// A charge between currencies through a program is quoted, paid at the quote, settled and
// explained to the cent as it is through an adapter in the gateway.
func TestAProgramQuotesACrossBorderCharge(t *testing.T) {
	o := open(t)
	o.onboard()
	o.ridesAbroad(o.abroad(alipayplus.Agreement))
}

// A customer pays at a till on the code of a wallet that a program collects from.
func TestAProgramTakesACodeAtTheTill(t *testing.T) {
	k := &kiosk{office: open(t)}
	k.onboard()
	k.sellsAbroad(k.abroad(alipayplus.PaymentCode))
}
