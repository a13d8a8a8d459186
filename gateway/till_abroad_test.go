package gateway

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplusproduct"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpayproduct"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpayproduct"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/keys"
)

// A kiosk sells by the codes of one provider's wallets.
type kiosk struct {
	*office
	sold int
}

// signs gives the public half of the key that requests to a provider are signed with.
func (k *kiosk) signs(adapter string) *rsa.PublicKey {
	k.t.Helper()
	held, err := k.Ring.Ensure(k.t.Context(), actor, bus, keys.ProviderPurpose(adapter), keys.RSA2048)
	k.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	k.must(err)
	return public.(*rsa.PublicKey)
}

func (k *kiosk) contract(name, adapter string, config any) {
	k.t.Helper()
	k.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": adapter, "fee_ppm": feePPM, "config": config}, nil)
}

// sell takes a payment on a code, which the provider makes at once or within seconds.
func (k *kiosk) sell(code string, minor int64) (p edge.TillPayment) {
	k.t.Helper()
	k.sold++
	k.secrets.AddText("a payment code", code)
	k.send(http.MethodPost, busPath("till-payments"), map[string]any{"order": fmt.Sprint("R-", k.sold), "subject": "Two teas",
		"amount": map[string]any{"minor": minor, "currency": "CNY"}, "payment_code": code}, &p)
	for range 6 {
		if p.State != "paying" {
			break
		}
		k.move(5 * time.Second)
		k.must(k.Till.RunDue(k.t.Context(), bus))
		k.send(http.MethodGet, busPath("till-payments/"+p.ID), nil, &p)
	}
	if p.State != "paid" {
		k.t.Errorf("%d for a code: %s (%s)", minor, p.State, p.Reason)
	}
	return p
}

// paidOut waits until the kiosk is paid out, with nothing left to explain.
func (k *kiosk) paidOut(want int64) {
	k.t.Helper()
	k.until("paid out", func() bool { return len(list[edge.Payout](k.office, "payouts")) > 0 })
	var paid int64
	for _, p := range list[edge.Payout](k.office, "payouts") {
		paid += p.Amount.Minor
	}
	if paid != want {
		k.t.Errorf("paid out %d; want %d", paid, want)
	}
	if items := list[edge.ReconItem](k.office, "reconciliation"); len(items) != 0 {
		k.t.Errorf("open reconciliation items: %+v", items)
	}
	k.booksHold()
	k.noSecretIsOut()
}

// chargeOf gives a payment's charge.
func (k *kiosk) chargeOf(p edge.TillPayment) edge.Charge {
	k.t.Helper()
	all := list[edge.Charge](k.office, "charges")
	i := slices.IndexFunc(all, func(c edge.Charge) bool { return c.OurID == p.OurID })
	if i < 0 {
		k.t.Fatalf("no charge of %s", p.OurID)
	}
	return all[i]
}

// Cross-border WeChat Pay: one wallet is in Hong Kong dollars, the other in the shop's own
// currency. What was paid and the platform's rate are kept on the charge.
func TestWechatPayGlobalAtTheTill(t *testing.T) {
	k := &kiosk{office: open(t)}
	k.onboard()
	sim, err := wechatpaysim.Start(wechatpaysim.Config{Clock: k.now, Rates: map[string]int64{"CNY/HKD": 108_683_838}, Merchants: []wechatpaysim.Merchant{{
		AppID: "wx01", MchID: wechatMchID, Serial: "0A0B0C", Key: k.signs("wechatpay"), APIv3Key: []byte(wechatAPIv3), FeePPM: feePPM,
	}}})
	k.must(err)
	t.Cleanup(sim.Close)
	der, err := x509.MarshalPKIXPublicKey(sim.Keys()[wechatpaysim.PublicKeyID])
	k.must(err)
	k.contract("wechat", "wechatpay", wechatpayproduct.Contract{Base: sim.URL(), Product: "global", AppID: "wx01", MchID: wechatMchID, Serial: "0A0B0C",
		PlatformKeys: map[string][]byte{wechatpaysim.PublicKeyID: der}, Currency: "CNY", MCC: "5814"})
	k.send(http.MethodPut, busPath("contracts/wechat/secrets/"+wechatpayproduct.APIv3Key), map[string]any{"value": []byte(wechatAPIv3)}, nil)

	const abroad, home = "131234567890123401", "131234567890123402"
	sim.SetWallet(abroad, "HKD")
	far, near := k.sell(abroad, 2000), k.sell(home, 800)
	if e := k.chargeOf(far).Exchange; e == nil || e.Quote != "" || e.Quotes != 0 || e.Pays != (citygate.Money{Minor: 2174, Currency: "HKD"}) || e.Pair != "CNY/HKD" || e.Price != "1.08683838" {
		t.Errorf("what the customer paid: %+v", e)
	}
	if e := k.chargeOf(near).Exchange; e != nil {
		t.Errorf("a wallet in the shop's currency: %+v", e)
	}
	k.send(http.MethodPost, busPath("till-payments/"+far.ID+"/refunds"), map[string]any{"name": "a part", "amount_minor": 500, "reason": "cold"}, nil)
	k.paidOut(2000 - 12 - 500 + 800 - 5)
	k.send(http.MethodPost, busPath("till-payments/"+far.ID+"/refunds"), map[string]any{"name": "the rest", "reason": "cold"}, nil)
	k.until("given back", func() bool { return len(list[edge.Refund](k.office, "refunds?state=succeeded")) == 2 })
	k.send(http.MethodGet, busPath("till-payments/"+far.ID), nil, &far)
	var shares int64
	for i, want := range []struct{ share, back int64 }{{544, 543}, {1630, 1630}} { // 500 and 1500 at 1.08683838; his parts of 21.74 add up to that
		e := far.Refunds[i].Exchange
		if e == nil || e.Share != (citygate.Money{Minor: want.share, Currency: "HKD"}) || e.Back == nil || *e.Back != (citygate.Money{Minor: want.back, Currency: "HKD"}) ||
			e.Difference == nil || e.Difference.Minor != want.back-want.share || e.Pair != "CNY/HKD" || e.Price != "1.08683838" {
			t.Fatalf("refund %d: %+v", i, e)
		}
		shares += e.Share.Minor
	}
	if shares != 2174 {
		t.Errorf("the parts add up to %d", shares)
	}
	all := list[edge.Refund](k.office, "refunds?state=succeeded")
	if i := slices.IndexFunc(all, func(r edge.Refund) bool { return r.OurID == far.Refunds[0].OurID }); i < 0 || all[i].Exchange == nil || all[i].Exchange.Back.Minor != 543 {
		t.Errorf("among the tenant's refunds: %+v", all)
	}
	k.booksHold()
}

// Alipay+ shows what the customer's wallet will pay before it does: each payment has a
// quote, the shop is paid out in its own currency, whole, and what the exchange made less
// of it is named.
func TestAlipayPlusAtTheTill(t *testing.T) {
	for _, collect := range []string{"payment_code", "entry_code"} {
		t.Run(collect, func(t *testing.T) {
			k := &kiosk{office: open(t)}
			k.onboard()
			sim, err := alipayplussim.Start(alipayplussim.Config{Clock: k.now, Rates: map[string]string{"CNY/HKD": "1.08683838", "HKD/CNY": "0.9185"},
				Merchants: []alipayplussim.Merchant{{ClientID: "VALLEY_0001", Key: k.signs("alipayplus"), FeePPM: feePPM}}})
			k.must(err)
			t.Cleanup(sim.Close)
			der, err := x509.MarshalPKIXPublicKey(sim.Key())
			k.must(err)
			k.contract("hongkong", "alipayplus", alipayplusproduct.Contract{Base: sim.URL(), Files: sim.URL(), Collect: collect, ClientID: "VALLEY_0001",
				PlatformKeys: map[string][]byte{alipayplussim.KeyVersion: der}, Merchant: "valley", Method: "CONNECT_WALLET", NotifyURL: "https://city.example/notify",
				Currency: "CNY", PayCurrency: "HKD"})
			k.sellsAbroad(sim)
		})
	}
}

// sellsAbroad is a payment on a code under the contract "hongkong" until it is paid out.
func (k *kiosk) sellsAbroad(sim *alipayplussim.Server) {
	t := k.t
	t.Helper()
	p := k.sell("281006000000000001", price)
	const pays, settled = 489, 449 // as TestHongKongWalletRidesInAnotherCurrency has it
	if book := sim.Book(); len(book) != 1 || book[0].Paid != (citygate.Money{Minor: pays, Currency: "HKD"}) {
		t.Errorf("the platform's book: %+v", book)
	}
	if e := k.chargeOf(p).Exchange; e == nil || e.Pays.Minor != pays || e.Pair != "CNY/HKD" || e.Price != "1.08683838" || e.Quote == "" || e.Quotes != 1 {
		t.Errorf("before the bill the charge says %+v", e)
	}
	k.booksHold()
	k.paidOut(price - 3)
	if e := k.chargeOf(p).Exchange; e == nil || e.Settled == nil || e.Settled.Minor != settled || e.Difference == nil || e.Difference.Minor != settled-price {
		t.Errorf("after the bill the charge says %+v", e)
	}
	if got := k.balances()[ledger.ExchangeDifference("hongkong")]; got != price-settled {
		t.Errorf("the difference in the books is %d; want %d", got, price-settled)
	}
	k.send(http.MethodPost, busPath("till-payments/"+p.ID+"/refunds"), map[string]any{"name": "a part", "amount_minor": 150, "reason": "cold"}, nil)
	k.until("given back", func() bool { return len(list[edge.Refund](k.office, "refunds?state=succeeded")) == 1 })
	k.send(http.MethodGet, busPath("till-payments/"+p.ID), nil, &p)
	if e := p.Refunds[0].Exchange; e == nil || e.Share.Minor != 163 || e.Back == nil || *e.Back != e.Share || e.Difference.Minor != 0 {
		t.Errorf("what the customer got: %+v", e)
	}
}

// UnionPay's codes: the file of a clearing day has them, and what went back.
func TestUnionPayAtTheTill(t *testing.T) {
	k := &kiosk{office: open(t)}
	k.onboard()
	k.reachable()
	own, err := unionpaysim.Certify(k.signs("unionpay"), "valley", k.now())
	k.must(err)
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	k.must(err)
	theirs, err := unionpaysim.Certify(&signing.PublicKey, unionpaysim.Owner, k.now())
	k.must(err)
	sim, err := unionpaysim.Start(unionpaysim.Config{Clock: k.now, Key: signing, Authority: theirs,
		Merchants: []unionpaysim.Merchant{{MerID: unionMerID, Cert: own.Leaf, FeePPM: feePPM}}})
	k.must(err)
	t.Cleanup(sim.Close)
	raw, err := json.Marshal(unionpayproduct.Contract{Gateway: sim.URL() + unionpaysim.GatewayPath, Files: sim.URL(), MerID: unionMerID, TermID: "00000001", Collect: "payment_code",
		Certificate: own.Leaf.Raw, Roots: [][]byte{theirs.Root.Raw}})
	k.must(err)
	k.contract("union", "unionpay", json.RawMessage(raw))

	tea := k.sell("6212345678901234501", 2000)
	k.sell("6212345678901234502", 800)
	k.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "a part", "amount_minor": 500, "reason": "cold"}, nil)
	k.paidOut(2000 - 12 - 500 + 800 - 5)
}
