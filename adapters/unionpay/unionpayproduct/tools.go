package unionpayproduct

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/party"
	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
)

// The tools meet over certificates as well: app_cert.pem, provider_cert.pem
// and the root that the merchant pins, provider_root_cert.pem, made together by an
// authority that is forgotten afterwards.
var tools = party.Tools{
	Account: map[string]string{"mchid": "777290058110097", "term_id": "00000001", "signer_name": unionpaysim.Owner},
	Sim:     simulate, Call: call,
}

// certify gives the certificates of both sides and the pinned root.
func certify(m party.Meeting) (app *x509.Certificate, a *unionpaysim.Authority, err error) {
	if !m.Dir.Has(party.RootCert) {
		merchant, err1 := m.Dir.Public(party.App)
		provider, err2 := m.Dir.Public(party.Provider)
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		own, err1 := unionpaysim.Certify(merchant, "citygate", m.Clock())
		theirs, err2 := unionpaysim.Certify(provider, cmp.Or(m.Dir.Text("signer_name"), unionpaysim.Owner), m.Clock())
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		err = errors.Join(
			m.Dir.Ensure(party.AppCert, []byte(unionpaysim.PEM(own.Leaf)), 0o644), m.Dir.Ensure(party.ProviderCert, []byte(unionpaysim.PEM(theirs.Leaf)), 0o644),
			m.Dir.Ensure(party.RootCert, []byte(unionpaysim.PEM(theirs.Root)), 0o644))
		if err != nil {
			return nil, nil, err
		}
	}
	appText, leafText, rootText, err := m.Dir.Certificates()
	if err != nil {
		return nil, nil, err
	}
	a = &unionpaysim.Authority{}
	for _, c := range []struct {
		text []byte
		into **x509.Certificate
	}{{appText, &app}, {leafText, &a.Leaf}, {rootText, &a.Root}} {
		block, _ := pem.Decode(c.text)
		if block == nil {
			return nil, nil, party.ErrKeys.Explain("a certificate is not PEM")
		}
		if *c.into, err = x509.ParseCertificate(block.Bytes); err != nil {
			return nil, nil, party.ErrKeys.Explain("a certificate: %v", err)
		}
	}
	return app, a, nil
}

func simulate(ctx context.Context, m party.Meeting, listen string) (party.Running, error) {
	own, err := m.Dir.Private(party.Provider)
	if err != nil {
		return party.Running{}, err
	}
	app, authority, err := certify(m)
	if err != nil {
		return party.Running{}, err
	}
	sim, err := unionpaysim.Start(unionpaysim.Config{ //nolint:contextcheck // it serves until stop
		Clock: m.Clock, Listen: listen, Key: own, Authority: authority,
		Merchants: []unionpaysim.Merchant{{MerID: m.Dir.Text("mchid"), Cert: app, FeePPM: 6_000}},
	})
	if err != nil {
		return party.Running{}, err
	}
	stop := party.Announce(ctx, time.Second, sim, func(ctx context.Context) { sim.Deliver(ctx, m.HTTP, "") })
	return party.Running{Address: sim.URL(), Stop: func() { stop(); sim.Close() }}, nil
}

func call(ctx context.Context, m party.Meeting, c party.Call) (party.Answer, error) {
	own, err := m.Dir.Private(party.App)
	if err != nil {
		return party.Answer{}, err
	}
	app, authority, err := certify(m)
	if err != nil {
		return party.Answer{}, err
	}
	gateway := c.Endpoint
	if u, err := url.Parse(gateway); err == nil && (u.Path == "" || u.Path == "/") {
		gateway = u.JoinPath(unionpaysim.GatewayPath).String()
	}
	p, err := unionpay.New(unionpay.Config{
		Gateway: gateway, Files: c.Endpoint, MerID: m.Dir.Text("mchid"), TermID: m.Dir.Text("term_id"), Signer: own, Certificate: app,
		Roots: []*x509.Certificate{authority.Root}, SignerName: m.Dir.Text("signer_name"), BackURL: cmp.Or(m.Dir.Text("notify_url"), "http://127.0.0.1:1/"),
		HTTP: m.HTTP, Clock: m.Clock,
	})
	if err != nil {
		return party.Answer{}, err
	}
	a, err := p.Exec(ctx, c.Op, c.Biz)
	if err != nil {
		return party.Failed(err)
	}
	delete(a.Fields, "signPubKeyCert")
	delete(a.Fields, "signature")
	shown := make(map[string]any, len(a.Fields)+1)
	for name, value := range a.Fields {
		shown[name] = value
	}
	if a.Fields["fileContent"] != "" {
		shown["lines"] = rows(a.Lines)
	}
	body, err := json.Marshal(shown)
	if err != nil {
		return party.Answer{}, err
	}
	return party.Heard(body, a.Standing == unionpay.Refused, a.Standing == unionpay.Open, a.Why), nil
}

// A row is one line of a settlement file as the gateway reads it, in fen.
type row struct {
	Line        int    `json:"line"`
	Payment     string `json:"payment"`
	Refund      string `json:"refund,omitempty"`
	Reversed    bool   `json:"reversed,omitempty"`
	ProviderRef string `json:"provider_ref"`
	Amount      int64  `json:"amount"`
	Fee         int64  `json:"fee"`
	At          string `json:"at"`
}

func rows(lines []driver.BillLine) []row {
	list := make([]row, len(lines))
	for i, l := range lines {
		list[i] = row{l.Line, l.OurID, l.RefundID, l.Reversed, l.ProviderRef, l.Amount.Minor, l.Fee, l.At.Format(time.RFC3339)}
	}
	return list
}
