package main

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"net/url"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// alipayplusProduct meets by client id and key versions, which account.json names.
var alipayplusProduct = adapterProduct{
	name: "alipayplus",
	account: map[string]string{
		"client_id": "CITYGATE_0001", "key_version": "1", "provider_key_version": alipayplussim.KeyVersion, "family": string(alipayplus.Antom), "currency": "HKD",
	},
	sim:  simAlipayplus,
	call: callAlipayplus,
}

func simAlipayplus(ctx context.Context, sys *system, dir partyDir, listen string) (runningSim, error) {
	own, err := dir.private(partyProvider)
	if err != nil {
		return runningSim{}, err
	}
	merchant, err := dir.public(partyApp)
	if err != nil {
		return runningSim{}, err
	}
	sim, err := alipayplussim.Start(alipayplussim.Config{ //nolint:contextcheck // it serves until stop
		Clock: sys.Now, Listen: listen, Key: own, KeyVersion: dir.text("provider_key_version"),
		Merchants: []alipayplussim.Merchant{{ClientID: dir.text("client_id"), Key: merchant, FeePPM: 6_000}},
		Rates: map[string]string{
			"MOP/HKD": "0.97087379", "HKD/MOP": "1.0285", "HKD/CNY": "0.9201", "CNY/HKD": "1.08683838", "USD/KRW": "1241.3793103448", "KRW/USD": "0.0008055556",
		},
	})
	if err != nil {
		return runningSim{}, err
	}
	stop := announcing(ctx, announceEvery, func(ctx context.Context) { sim.Deliver(ctx, callClient(), "") })
	return runningSim{sim.URL(), func() { stop(); sim.Close() }}, nil
}

func callAlipayplus(ctx context.Context, sys *system, dir partyDir, c adapterCall) (adapterAnswer, error) {
	own, err := dir.private(partyApp)
	if err != nil {
		return adapterAnswer{}, err
	}
	platform, err := dir.public(partyProvider)
	if err != nil {
		return adapterAnswer{}, err
	}
	base := c.endpoint
	if u, err := url.Parse(base); err == nil { // an address with the protocol's path is as good
		u.Path = ""
		base = u.String()
	}
	p, err := alipayplus.New(alipayplus.Config{
		Base: base, Files: base, Family: alipayplus.Family(dir.text("family")), Collect: alipayplus.PaymentCode, ClientID: dir.text("client_id"),
		Signer: own, KeyVersion: dir.text("key_version"), PlatformKeys: map[string]*rsa.PublicKey{dir.text("provider_key_version"): platform},
		Merchant: "citygate", Method: "CONNECT_WALLET", NotifyURL: cmp.Or(dir.text("notify_url"), "http://127.0.0.1/notify"),
		Currency: citygate.Currency(dir.text("currency")), HTTP: callClient(), Clock: sys.Now,
	})
	if err != nil {
		return adapterAnswer{}, err
	}
	a, err := p.Exec(ctx, c.op, c.biz)
	var code *citygate.Code
	switch {
	case errors.Is(err, driver.ErrNotPerformed), errors.As(err, &code):
		return adapterAnswer{}, err
	case err != nil:
		return adapterAnswer{unknown: err.Error()}, nil
	}
	answer := adapterAnswer{body: a.Body}
	switch a.Standing {
	case alipayplus.Refused:
		answer.refused = a.Why
	case alipayplus.Open:
		answer.unknown = a.Why
	case alipayplus.Done:
	}
	return answer, nil
}
