package alipayproduct

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/party"
)

var tools = party.Tools{
	Account: map[string]string{"app_id": "2021000000000001", "account": "2088000000000001"},
	Sim:     simulate, Call: call,
}

func simulate(ctx context.Context, m party.Meeting, listen string) (party.Running, error) {
	own, merchant, err := m.Dir.Keys(party.Provider, party.App)
	if err != nil {
		return party.Running{}, err
	}
	config := alipaysim.Config{
		Clock: m.Clock, Listen: listen, Key: own, FindOffline: true, KeyList: alipaysim.SampleKeys(32),
		Skew:      25 * time.Hour, // client libraries write local time, whatever the zone of their machine
		Merchants: []alipaysim.Merchant{{AppID: m.Dir.Text("app_id"), Account: m.Dir.Text("account"), Key: merchant, FeePPM: 6_000, AESKey: m.Dir.Text("aes_key")}},
	}
	if m.Dir.Text("mode") == "certificate" {
		if err := certify(m, &config); err != nil {
			return party.Running{}, err
		}
	}
	sim, err := alipaysim.Start(config) //nolint:contextcheck // it serves until stop
	if err != nil {
		return party.Running{}, err
	}
	stop := party.Announce(ctx, 200*time.Millisecond, sim, func(ctx context.Context) { sim.Deliver(ctx) })
	return party.Running{Address: sim.Base(), Stop: func() { stop(); sim.Close() }}, nil
}

// certify puts the simulator into certificate mode. The three files are
// made together, by an authority that is forgotten afterwards.
func certify(m party.Meeting, c *alipaysim.Config) error {
	merchant := &c.Merchants[0]
	if !m.Dir.Has(party.RootCert) {
		authority, err := alipaysim.NewAuthority(m.Clock)
		if err != nil {
			return err
		}
		app, err := authority.Issue("citygate "+merchant.AppID, merchant.Key)
		if err != nil {
			return err
		}
		platform, err := authority.Issue("支付宝(中国)网络技术有限公司", &c.Key.PublicKey)
		if err != nil {
			return err
		}
		err = errors.Join(m.Dir.Ensure(party.AppCert, app, 0o644), m.Dir.Ensure(party.ProviderCert, platform, 0o644), m.Dir.Ensure(party.RootCert, authority.Roots(), 0o644))
		if err != nil {
			return err
		}
	}
	app, platform, roots, err := m.Dir.Certificates()
	if err != nil {
		return err
	}
	if merchant.CertSN, err = alipaysim.CertSN(app); err != nil {
		return err
	}
	c.Certificate = platform
	c.Authority, err = alipaysim.LoadAuthority(roots, m.Clock)
	return err
}

func call(ctx context.Context, m party.Meeting, c party.Call) (party.Answer, error) {
	own, platform, err := m.Dir.Keys(party.App, party.Provider)
	if err != nil {
		return party.Answer{}, err
	}
	method, err := alipay.MethodOf(c.Op)
	if err != nil {
		return party.Answer{}, err
	}
	gateway := c.Endpoint
	if u, err := url.Parse(gateway); err == nil && (u.Path == "" || u.Path == "/") {
		gateway = u.JoinPath("gateway.do").String()
	}
	config := alipay.Config{
		Gateway: gateway, AppID: m.Dir.Text("app_id"), Account: m.Dir.Text("account"), Signer: own,
		PlatformKeys: []*rsa.PublicKey{platform}, NotifyURL: m.Dir.Text("notify_url"), HTTP: m.HTTP, Clock: m.Clock,
		AESKey: citygate.NewSecret([]byte(m.Dir.Text("aes_key"))),
	}
	if m.Dir.Text("mode") == "certificate" {
		app, certs, roots, err := m.Dir.Certificates()
		if err != nil {
			return party.Answer{}, err
		}
		config.PlatformKeys, config.Certificates = nil, &alipay.Certificates{App: app, Platform: certs, Roots: roots}
	}
	p, err := alipay.New(config)
	if err != nil {
		return party.Answer{}, err
	}
	a, err := p.Exec(ctx, method, c.Biz)
	if err != nil {
		return party.Failed(err)
	}
	return party.Heard(a.Node, a.Standing == alipay.Refused, a.Standing == alipay.Open, a.Why), nil
}
