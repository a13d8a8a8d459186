package gateway

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpayproduct"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
)

// WeChat Pay's codes at the same counter: its wallet is told by the code, is not asked
// after before the platform wants it, and is reversed no earlier than 15 seconds after
// the payment; the bill has what was paid, and what was given back.
func TestWechatPayAtTheTill(t *testing.T) {
	password := false
	o := open(t)
	o.onboard()
	held, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("wechatpay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	sim, err := wechatpaysim.Start(wechatpaysim.Config{Clock: o.now, PasswordAfter: 40 * time.Second,
		Faults:    wechatpaysim.Faults{Password: func(string) bool { return password }},
		Merchants: []wechatpaysim.Merchant{{AppID: "wx01", MchID: wechatMchID, Serial: "0A0B0C", Key: public.(*rsa.PublicKey), APIv3Key: []byte(wechatAPIv3), FeePPM: feePPM}}})
	o.must(err)
	t.Cleanup(sim.Close)
	contract := wechatpayproduct.Contract{Base: sim.URL(), Product: "codepay", AppID: "wx01", MchID: wechatMchID, Serial: "0A0B0C", PlatformKeys: map[string][]byte{}}
	contract.PlatformKeys[wechatpaysim.PublicKeyID], err = x509.MarshalPKIXPublicKey(sim.Keys()[wechatpaysim.PublicKeyID])
	o.must(err)
	raw, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/wechat"), map[string]any{"adapter": "wechatpay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	o.send(http.MethodPut, busPath("contracts/wechat/secrets/"+wechatpayproduct.APIv3Key), map[string]any{"value": []byte(wechatAPIv3)}, nil)

	orders := 0
	pay := func(minor int64) (p edge.TillPayment) {
		orders++
		code := fmt.Sprintf("1312345678901234%02d", orders)
		o.secrets.AddText("a payment code", code)
		o.send(http.MethodPost, busPath("till-payments"), map[string]any{"order": fmt.Sprint("R-", orders), "amount": map[string]any{"minor": minor, "currency": "CNY"},
			"subject": "Two teas", "payment_code": code}, &p)
		return p
	}
	find := func(p edge.TillPayment) (now edge.TillPayment) {
		o.send(http.MethodGet, busPath("till-payments/"+p.ID), nil, &now)
		return now
	}
	later := func(steps int) {
		for range steps {
			o.move(5 * time.Second)
			o.must(o.Till.RunDue(t.Context(), bus))
		}
	}
	if p := pay(2000); p.State != "paid" || p.Contract != "wechat" {
		t.Errorf("a plain one: %+v", p)
	}
	sim.ArmNext(wechatpaysim.ArmLose)
	lost := pay(800)
	later(3)
	if lost = find(lost); lost.State != "paid" {
		t.Errorf("its answer was lost: %+v", lost)
	}
	password = true
	typed, left := pay(900), pay(1100)
	if typed.State != "paying" || left.State != "paying" {
		t.Errorf("they type a password: %s, %s", typed.State, left.State)
	}
	o.send(http.MethodPost, busPath("till-payments/"+left.ID+"/cancel"), map[string]any{}, &left)
	if left.State != "reversing" {
		t.Errorf("given up before the platform reverses: %+v", left)
	}
	if n := o.owner.Count(bus, `SELECT count(*) FROM till_payments WHERE tenant_id = $1 AND (reversals > 0 OR reversed_at IS NOT NULL)`, int64(bus)); n != 0 {
		t.Errorf("%d were reversed before the platform does", n)
	}
	later(9)
	if typed, left = find(typed), find(left); typed.State != "paid" || left.State != "closed" {
		t.Errorf("in the end: %s (%s), %s (%s)", typed.State, typed.Reason, left.State, left.Reason)
	}
	o.send(http.MethodPost, busPath("till-payments/"+typed.ID+"/refunds"), map[string]any{"name": "all", "reason": "cold"}, nil)
	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	if typed = find(typed); typed.State != "refunded" {
		t.Errorf("all of it given back: %+v", typed)
	}
	var paid int64
	for _, p := range list[edge.Payout](o, "payouts") {
		paid += p.Amount.Minor
	}
	if want := int64(2000 - 12 + 800 - 5 - 5); paid != want {
		t.Errorf("paid out %d; want %d", paid, want)
	}
	if items := list[edge.ReconItem](o, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	o.booksHold()
	o.noSecretIsOut()
}
