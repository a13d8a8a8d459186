package wechatpayproduct

import (
	"cmp"
	"context"
	"crypto/rsa"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/party"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// Both sides sign with the serial numbers of account.json: app_serial is
// that of the merchant's certificate, provider_serial the id under which the
// provider's key is known. The API keys lie there too: they are for play.
var tools = party.Tools{
	Account: map[string]string{
		"app_id": "wx0000000000000001", "mchid": "1900000001", "app_serial": "3775B6A45ACD588826D15E583A95F5DD00000001",
		"provider_serial": wechatpaysim.PublicKeyID, "apiv3_key": "simulated-apiv3-key-of-32-bytes!", "apiv2_key": "simulated-apiv2-key-of-32-bytes!",
	},
	Sim: simulate, Call: call,
}

// announceEvery is how often the simulator looks which notifications are due.
const announceEvery = time.Second

func simulate(ctx context.Context, m party.Meeting, listen string) (party.Running, error) {
	own, merchant, err := m.Dir.Keys(party.Provider, party.App)
	if err != nil {
		return party.Running{}, err
	}
	sim, err := wechatpaysim.Start(wechatpaysim.Config{ //nolint:contextcheck // it serves until stop
		Clock: m.Clock, Listen: listen, Key: own, PublicKey: own, KeyID: m.Dir.Text("provider_serial"), AnyContract: true,
		Rates: map[string]int64{"HKD/CNY": 92_010_000, "CNY/HKD": 108_683_838},
		Merchants: []wechatpaysim.Merchant{{
			AppID: m.Dir.Text("app_id"), MchID: m.Dir.Text("mchid"), Serial: m.Dir.Text("app_serial"), Key: merchant,
			APIv3Key: []byte(m.Dir.Text("apiv3_key")), APIv2Key: []byte(m.Dir.Text("apiv2_key")), FeePPM: 6_000,
		}},
	})
	if err != nil {
		return party.Running{}, err
	}
	stop := party.Announce(ctx, announceEvery, sim, func(ctx context.Context) { sim.Deliver(ctx, m.HTTP) })
	return party.Running{Address: sim.URL(), Stop: func() { stop(); sim.Close() }}, nil
}

func call(ctx context.Context, m party.Meeting, c party.Call) (party.Answer, error) {
	own, platform, err := m.Dir.Keys(party.App, party.Provider)
	if err != nil {
		return party.Answer{}, err
	}
	serial := m.Dir.Text("provider_serial")
	a, err := wechatpay.Exec(ctx, wechatpay.Config{
		Base: c.Endpoint, Product: wechatpay.CodePay, AppID: m.Dir.Text("app_id"), MchID: m.Dir.Text("mchid"), Serial: m.Dir.Text("app_serial"), Signer: own,
		APIv3Key: citygate.NewSecret([]byte(m.Dir.Text("apiv3_key"))), APIv2Key: citygate.NewSecret([]byte(m.Dir.Text("apiv2_key"))),
		PlatformKeys: map[string]*rsa.PublicKey{serial: platform}, AnswerKey: serial,
		NotifyURL: cmp.Or(m.Dir.Text("notify_url"), "http://127.0.0.1/notify"), Scene: "BUS", ClientIP: "127.0.0.1", MCC: "4111",
		HTTP: m.HTTP, Clock: m.Clock, Random: m.Random,
	}, c.Op, c.Biz)
	if err != nil {
		return party.Failed(err)
	}
	return party.Heard(a.Body, a.Standing == wechatpay.Refused, a.Standing == wechatpay.Open, a.Why), nil
}
