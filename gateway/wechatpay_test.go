package gateway

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpayproduct"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
)

const (
	wechatAPIv3 = "apiv3-key-of-32-bytes-for-a-bus!"
	wechatMchID = "1900000109"
)

// wechat signs a contract with a simulated WeChat Pay for the bus, by the API.
func (o *office) wechat(change func(*wechatpaysim.Config)) (*wechatpaysim.Server, wechatpayproduct.Contract) {
	o.t.Helper()
	held, err := o.Ring.Ensure(o.t.Context(), actor, bus, keys.ProviderPurpose("wechatpay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	config := wechatpaysim.Config{Clock: o.now, Merchants: []wechatpaysim.Merchant{{
		AppID: "wx01", MchID: wechatMchID, Serial: "0A0B0C", Key: public.(*rsa.PublicKey), APIv3Key: []byte(wechatAPIv3), FeePPM: feePPM,
	}}}
	if change != nil {
		change(&config)
	}
	sim, err := wechatpaysim.Start(config)
	o.must(err)
	o.t.Cleanup(sim.Close)
	contract := wechatpayproduct.Contract{
		Base: sim.URL(), Product: "ride", AppID: "wx01", MchID: wechatMchID, Serial: "0A0B0C", PlatformKeys: map[string][]byte{},
		NotifyURL: "https://city.example/notify", Scene: "BUS",
	}
	if o.PublicURL != "" {
		contract.NotifyURL = ""
	}
	contract.PlatformKeys[wechatpaysim.PublicKeyID], err = x509.MarshalPKIXPublicKey(sim.Keys()[wechatpaysim.PublicKeyID])
	o.must(err)
	raw, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/wechat"), map[string]any{"adapter": "wechatpay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	o.secrets.AddText("the APIv3 key", wechatAPIv3)
	o.send(http.MethodPut, busPath("contracts/wechat/secrets/"+wechatpayproduct.APIv3Key), map[string]any{"value": []byte(wechatAPIv3)}, nil)
	return sim, contract
}

// wechatRider enrols a device of a rider who pays by WeChat Pay.
func (o *office) wechatRider(sim *wechatpaysim.Server, device string) []byte {
	o.t.Helper()
	sim.AddContract("contract-"+device, "o-"+device, "")
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "contract-" + device, Contract: "wechat", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0].Credential
}

// wechatRide has a rider board, and the validator upload it.
func (o *office) wechatRide(v *terminal.Verifier, sim *wechatpaysim.Server, device string) {
	o.t.Helper()
	batch := o.board(v, o.wechatRider(sim, device), device)
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		o.t.Fatalf("the ride of %s: %v", device, got)
	}
	parsed, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(parsed.Hash))
}

// succeeded gives the charges that were made.
func (o *office) succeeded() []edge.Charge {
	return slices.DeleteFunc(list[edge.Charge](o, "charges"), func(c edge.Charge) bool { return c.State != "succeeded" })
}

// Two riders of a bus pay by WeChat Pay: one debit's answer is lost, one is paid
// for in advance by the platform. Each is charged once, the bill agrees, and the
// operator is paid out.
func TestRidesAreCollectedByWechatPay(t *testing.T) {
	o := open(t)
	o.onboard()
	sim, _ := o.wechat(func(c *wechatpaysim.Config) {
		c.DeductAfter, c.ByCertificate, c.Merchants[0].Advance = 20*time.Minute, true, true
		lost := true
		c.Faults.LoseReply = func(string) bool { was := lost; lost = false; return was }
	})
	v := o.validator()
	for _, device := range []string{"ann", "ben"} {
		o.wechatRide(v, sim, device)
	}
	sim.SetInsufficient("contract-ben")
	o.until("collected", func() bool { return len(o.succeeded()) == 2 })
	o.booksHold()
	book := sim.Book()
	if len(book) != 2 || !book[0].Paid || !book[1].Paid || book[0].Amount.Minor != price || book[1].Amount.Minor != price {
		t.Fatalf("the platform's book: %+v; want each ride once", book)
	}
	if n := len(slices.DeleteFunc(book, func(b wechatpaysim.Order) bool { return b.Repay != "NOT_REPAY" })); n != 1 {
		t.Errorf("%d orders were advanced; want one", n)
	}
	if debts := list[edge.Debt](o, "debts"); len(debts) != 0 {
		t.Errorf("debts of riders whom the platform paid for: %+v", debts)
	}
	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	var paid int64
	for _, p := range list[edge.Payout](o, "payouts") {
		paid += p.Amount.Minor
	}
	if want := int64(2 * (price - 3)); paid != want {
		t.Errorf("paid out %d; want %d", paid, want)
	}
	if items := list[edge.ReconItem](o, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	o.booksHold()
	o.noSecretIsOut()
}

// A bill that has a row more than was paid and one of a fen too much ends in named
// exceptions, and the rest is matched.
func TestWechatBillWithFaultsEndsInExceptions(t *testing.T) {
	o := open(t)
	o.onboard()
	sim, _ := o.wechat(nil)
	v := o.validator()
	for _, device := range []string{"ann", "ben", "cay"} {
		o.wechatRide(v, sim, device)
	}
	o.until("collected", func() bool { return len(o.succeeded()) == 3 })
	day := citygate.DateOf(sim.Book()[0].At.In(time.FixedZone("", 8*60*60)))
	if _, err := sim.SeedBillFaults(wechatMchID, day, wechatpaysim.BillFaultCounts{Extra: 1, Cent: 1}); err != nil {
		t.Fatal(err)
	}
	o.until("reconciled", func() bool { return len(list[edge.ReconItem](o, "reconciliation")) > 0 })
	var kinds []string
	for _, item := range list[edge.ReconItem](o, "reconciliation") {
		kinds = append(kinds, item.Kind)
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, []string{"amount_diff", "missing_ledger"}) {
		t.Errorf("exceptions %v; want one of an amount and one of a row nobody knows", kinds)
	}
	o.booksHold()
}

func TestBadWechatContractIsRefusedByTheFieldsName(t *testing.T) {
	o := open(t)
	o.onboard()
	_, good := o.wechat(nil)
	raw, err := json.Marshal(good)
	o.must(err)
	p, err := o.provider(t.Context(), bus, collect.Contract{Name: "wechat", Adapter: "wechatpay", Config: raw})
	if err != nil || p.Describe().Name != "wechatpay" {
		t.Fatalf("a good contract: %v", err)
	}
	for names, change := range map[string]func(*wechatpayproduct.Contract){
		"base":           func(c *wechatpayproduct.Contract) { c.Base = "pay.example" },
		"product":        func(c *wechatpayproduct.Contract) { c.Product = "cash" },
		"mch_id":         func(c *wechatpayproduct.Contract) { c.MchID = "" },
		"serial":         func(c *wechatpayproduct.Contract) { c.Serial = "valley" },
		"platform_keys":  func(c *wechatpayproduct.Contract) { c.PlatformKeys = nil },
		`platform_keys[`: func(c *wechatpayproduct.Contract) { c.PlatformKeys = map[string][]byte{"PUB_KEY_ID_1": []byte("x")} },
		"scene":          func(c *wechatpayproduct.Contract) { c.Scene = "" },
		"apiv2_key":      func(c *wechatpayproduct.Contract) { c.Product = "ride_v2" },
	} {
		c := good
		change(&c)
		raw, err := json.Marshal(c)
		o.must(err)
		contract := collect.Contract{Name: "wechat", Adapter: "wechatpay", Config: raw}
		o.providers.forget(bus, "wechat")
		if _, err := o.provider(t.Context(), bus, contract); !errors.Is(err, wechatpay.ErrConfig) || !strings.Contains(err.Error(), names) {
			t.Errorf("%v; want %s named", err, names)
		}
	}
	for _, config := range []string{`{"base":"https://pay.example","apiv3_key":"x"}`, ``} {
		if _, err := Products().Open("wechatpay", adapters.Deps{Config: json.RawMessage(config), Clock: o.now}); !errors.Is(err, wechatpay.ErrConfig) {
			t.Errorf("%s: %v; a secret does not stand in a configuration", config, err)
		}
	}
}
