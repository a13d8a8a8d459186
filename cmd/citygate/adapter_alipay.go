package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

var alipayProduct = adapterProduct{
	name:    "alipay",
	account: map[string]string{"app_id": "2021000000000001", "account": "2088000000000001"},
	sim:     simAlipay,
	call:    callAlipay,
}

func simAlipay(_ context.Context, sys *system, dir partyDir, listen string) (runningSim, error) {
	own, err := dir.private(partyProvider)
	if err != nil {
		return runningSim{}, err
	}
	merchant, err := dir.public(partyApp)
	if err != nil {
		return runningSim{}, err
	}
	sim, err := alipaysim.Start(alipaysim.Config{ //nolint:contextcheck // it serves until stop
		Clock: sys.Now, Listen: listen, Key: own, FindOffline: true, KeyList: alipaysim.SampleKeys(32),
		Skew:      25 * time.Hour, // client libraries write local time, whatever the zone of their machine
		Merchants: []alipaysim.Merchant{{AppID: dir.text("app_id"), Account: dir.text("account"), Key: merchant, FeePPM: 6_000}},
	})
	if err != nil {
		return runningSim{}, err
	}
	return runningSim{sim.Base(), sim.Close}, nil
}

func callAlipay(ctx context.Context, sys *system, dir partyDir, c adapterCall) (adapterAnswer, error) {
	own, err := dir.private(partyApp)
	if err != nil {
		return adapterAnswer{}, err
	}
	platform, err := dir.public(partyProvider)
	if err != nil {
		return adapterAnswer{}, err
	}
	method, err := alipay.MethodOf(c.op)
	if err != nil {
		return adapterAnswer{}, err
	}
	gateway := c.endpoint
	if u, err := url.Parse(gateway); err == nil && (u.Path == "" || u.Path == "/") {
		gateway = u.JoinPath("gateway.do").String()
	}
	p, err := alipay.New(alipay.Config{
		Gateway: gateway, AppID: dir.text("app_id"), Account: dir.text("account"), Signer: own,
		PlatformKeys: []*rsa.PublicKey{platform}, HTTP: callClient(), Clock: sys.Now,
	})
	if err != nil {
		return adapterAnswer{}, err
	}
	a, err := p.Exec(ctx, method, c.biz)
	switch {
	case errors.Is(err, driver.ErrNotPerformed):
		return adapterAnswer{}, err
	case err != nil:
		return adapterAnswer{unknown: err.Error()}, nil
	case a.Standing == alipay.Refused:
		return adapterAnswer{body: a.Node, refused: a.Why}, nil
	case a.Standing == alipay.Open:
		return adapterAnswer{body: a.Node, unknown: a.Why}, nil
	}
	return adapterAnswer{body: a.Node}, nil
}

// callClient sends one request of a command.
func callClient() *http.Client { return &http.Client{Timeout: 15 * time.Second} }
