package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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

func simAlipay(ctx context.Context, sys *system, dir partyDir, listen string) (runningSim, error) {
	own, err := dir.private(partyProvider)
	if err != nil {
		return runningSim{}, err
	}
	merchant, err := dir.public(partyApp)
	if err != nil {
		return runningSim{}, err
	}
	config := alipaysim.Config{
		Clock: sys.Now, Listen: listen, Key: own, FindOffline: true, KeyList: alipaysim.SampleKeys(32),
		Skew:      25 * time.Hour, // client libraries write local time, whatever the zone of their machine
		Merchants: []alipaysim.Merchant{{AppID: dir.text("app_id"), Account: dir.text("account"), Key: merchant, FeePPM: 6_000}},
	}
	if dir.text("mode") == "certificate" {
		if err := certifyAlipay(sys, dir, &config); err != nil {
			return runningSim{}, err
		}
	}
	sim, err := alipaysim.Start(config) //nolint:contextcheck // it serves until stop
	if err != nil {
		return runningSim{}, err
	}
	stop := announcing(ctx, 200*time.Millisecond, func(ctx context.Context) { sim.Deliver(ctx) })
	return runningSim{sim.Base(), func() { stop(); sim.Close() }}, nil
}

// The files of certificate mode, beside the keys.
const (
	alipayAppCert      = "app_cert.pem"
	alipayProviderCert = "provider_cert.pem"
	alipayRootCert     = "provider_root_cert.pem"
)

// certifyAlipay puts the simulator into certificate mode. The three files are
// made together, by an authority that is forgotten afterwards.
func certifyAlipay(sys *system, dir partyDir, c *alipaysim.Config) error {
	m := &c.Merchants[0]
	if !dir.has(alipayRootCert) {
		authority, err := alipaysim.NewAuthority(sys.Now)
		if err != nil {
			return err
		}
		app, err := authority.Issue("citygate "+m.AppID, m.Key)
		if err != nil {
			return err
		}
		platform, err := authority.Issue("支付宝(中国)网络技术有限公司", &c.Key.PublicKey)
		if err != nil {
			return err
		}
		err = errors.Join(dir.ensure(alipayAppCert, app, 0o644), dir.ensure(alipayProviderCert, platform, 0o644), dir.ensure(alipayRootCert, authority.Roots(), 0o644))
		if err != nil {
			return err
		}
	}
	app, platform, roots, err := dir.certificates()
	if err != nil {
		return err
	}
	if m.CertSN, err = alipaysim.CertSN(app); err != nil {
		return err
	}
	c.Certificate = platform
	c.Authority, err = alipaysim.LoadAuthority(roots, sys.Now)
	return err
}

// certificates reads the three files.
func (d partyDir) certificates() (app, platform, roots []byte, err error) {
	for name, text := range map[string]*[]byte{alipayAppCert: &app, alipayProviderCert: &platform, alipayRootCert: &roots} {
		if *text, err = os.ReadFile(filepath.Join(d.path, name)); err != nil {
			return nil, nil, nil, err
		}
	}
	return app, platform, roots, nil
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
	config := alipay.Config{
		Gateway: gateway, AppID: dir.text("app_id"), Account: dir.text("account"), Signer: own,
		PlatformKeys: []*rsa.PublicKey{platform}, HTTP: callClient(), Clock: sys.Now,
	}
	if dir.text("mode") == "certificate" {
		app, certs, roots, err := dir.certificates()
		if err != nil {
			return adapterAnswer{}, err
		}
		config.PlatformKeys, config.Certificates = nil, &alipay.Certificates{App: app, Platform: certs, Roots: roots}
	}
	p, err := alipay.New(config)
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
