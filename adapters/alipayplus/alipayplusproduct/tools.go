package alipayplusproduct

import (
	"cmp"
	"context"
	"crypto/rsa"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/party"
)

// The tools meet by client id and key versions, which account.json names.
var tools = party.Tools{
	Account: map[string]string{
		"client_id": "CITYGATE_0001", "key_version": "1", "provider_key_version": alipayplussim.KeyVersion, "family": string(alipayplus.Antom), "currency": "HKD",
	},
	Sim: simulate, Call: call,
}

func simulate(ctx context.Context, m party.Meeting, listen string) (party.Running, error) {
	own, merchant, err := m.Dir.Keys(party.Provider, party.App)
	if err != nil {
		return party.Running{}, err
	}
	sim, err := alipayplussim.Start(alipayplussim.Config{ //nolint:contextcheck // it serves until stop
		Clock: m.Clock, Listen: listen, Key: own, KeyVersion: m.Dir.Text("provider_key_version"),
		Merchants: []alipayplussim.Merchant{{ClientID: m.Dir.Text("client_id"), Key: merchant, FeePPM: 6_000}},
		Rates: map[string]string{
			"MOP/HKD": "0.97087379", "HKD/MOP": "1.0285", "HKD/CNY": "0.9201", "CNY/HKD": "1.08683838", "USD/KRW": "1241.3793103448", "KRW/USD": "0.0008055556",
		},
	})
	if err != nil {
		return party.Running{}, err
	}
	stop := party.Announce(ctx, time.Second, sim, func(ctx context.Context) { sim.Deliver(ctx, m.HTTP, "") })
	return party.Running{Address: sim.URL(), Stop: func() { stop(); sim.Close() }}, nil
}

func call(ctx context.Context, m party.Meeting, c party.Call) (party.Answer, error) {
	own, platform, err := m.Dir.Keys(party.App, party.Provider)
	if err != nil {
		return party.Answer{}, err
	}
	base := c.Endpoint
	if u, err := url.Parse(base); err == nil { // an address with the protocol's path is as good
		u.Path = ""
		base = u.String()
	}
	p, err := alipayplus.New(alipayplus.Config{
		Base: base, Files: base, Family: alipayplus.Family(m.Dir.Text("family")), Collect: alipayplus.PaymentCode, ClientID: m.Dir.Text("client_id"),
		Signer: own, KeyVersion: m.Dir.Text("key_version"), PlatformKeys: map[string]*rsa.PublicKey{m.Dir.Text("provider_key_version"): platform},
		Merchant: "citygate", Method: "CONNECT_WALLET", NotifyURL: cmp.Or(m.Dir.Text("notify_url"), "http://127.0.0.1/notify"),
		Currency: citygate.Currency(m.Dir.Text("currency")), HTTP: m.HTTP, Clock: m.Clock,
	})
	if err != nil {
		return party.Answer{}, err
	}
	a, err := p.Exec(ctx, c.Op, c.Biz)
	if err != nil {
		return party.Failed(err)
	}
	return party.Heard(a.Body, a.Standing == alipayplus.Refused, a.Standing == alipayplus.Open, a.Why), nil
}
