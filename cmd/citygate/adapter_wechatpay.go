package main

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// wechatpayProduct signs with the serial numbers of account.json: app_serial is
// that of the merchant's certificate, provider_serial the id under which the
// provider's key is known. The API keys lie there too: they are for play.
var wechatpayProduct = adapterProduct{
	name: "wechatpay",
	account: map[string]string{
		"app_id": "wx0000000000000001", "mchid": "1900000001", "app_serial": "3775B6A45ACD588826D15E583A95F5DD00000001",
		"provider_serial": wechatpaysim.PublicKeyID, "apiv3_key": "simulated-apiv3-key-of-32-bytes!", "apiv2_key": "simulated-apiv2-key-of-32-bytes!",
	},
	sim:  simWechatpay,
	call: callWechatpay,
}

// announceEvery is how often the simulator looks which notifications are due.
const announceEvery = time.Second

// announcing has a simulator deliver, and repeat, the notifications that are due, until
// stop; stop waits for a delivery under way.
func announcing(ctx context.Context, every time.Duration, deliver func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				deliver(ctx)
			}
		}
	}()
	return func() { cancel(); <-done }
}

func simWechatpay(ctx context.Context, sys *system, dir partyDir, listen string) (runningSim, error) {
	own, err := dir.private(partyProvider)
	if err != nil {
		return runningSim{}, err
	}
	merchant, err := dir.public(partyApp)
	if err != nil {
		return runningSim{}, err
	}
	sim, err := wechatpaysim.Start(wechatpaysim.Config{ //nolint:contextcheck // it serves until stop
		Clock: sys.Now, Listen: listen, Key: own, PublicKey: own, KeyID: dir.text("provider_serial"), AnyContract: true,
		Rates: map[string]int64{"HKD/CNY": 92_010_000, "CNY/HKD": 108_683_838},
		Merchants: []wechatpaysim.Merchant{{
			AppID: dir.text("app_id"), MchID: dir.text("mchid"), Serial: dir.text("app_serial"), Key: merchant,
			APIv3Key: []byte(dir.text("apiv3_key")), APIv2Key: []byte(dir.text("apiv2_key")), FeePPM: 6_000,
		}},
	})
	if err != nil {
		return runningSim{}, err
	}
	stop := announcing(ctx, announceEvery, func(ctx context.Context) { sim.Deliver(ctx, callClient()) })
	return runningSim{sim.URL(), func() { stop(); sim.Close() }}, nil
}

func callWechatpay(ctx context.Context, sys *system, dir partyDir, c adapterCall) (adapterAnswer, error) {
	own, err := dir.private(partyApp)
	if err != nil {
		return adapterAnswer{}, err
	}
	platform, err := dir.public(partyProvider)
	if err != nil {
		return adapterAnswer{}, err
	}
	serial := dir.text("provider_serial")
	a, err := wechatpay.Exec(ctx, wechatpay.Config{
		Base: c.endpoint, Product: wechatpay.CodePay, AppID: dir.text("app_id"), MchID: dir.text("mchid"), Serial: dir.text("app_serial"), Signer: own,
		APIv3Key: citygate.NewSecret([]byte(dir.text("apiv3_key"))), APIv2Key: citygate.NewSecret([]byte(dir.text("apiv2_key"))),
		PlatformKeys: map[string]*rsa.PublicKey{serial: platform}, AnswerKey: serial,
		NotifyURL: cmp.Or(dir.text("notify_url"), "http://127.0.0.1/notify"), Scene: "BUS", ClientIP: "127.0.0.1", MCC: "4111",
		HTTP: callClient(), Clock: sys.Now, Random: sys.Random,
	}, c.op, c.biz)
	var code *citygate.Code
	switch {
	case errors.Is(err, driver.ErrNotPerformed), errors.As(err, &code):
		return adapterAnswer{}, err
	case err != nil:
		return adapterAnswer{unknown: err.Error()}, nil
	case a.Standing == wechatpay.Refused:
		return adapterAnswer{body: a.Body, refused: a.Why}, nil
	case a.Standing == wechatpay.Open:
		return adapterAnswer{body: a.Body, unknown: a.Why}, nil
	}
	return adapterAnswer{body: a.Body}, nil
}
