package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
)

// unionpayProduct meets over certificates as well: app_cert.pem, provider_cert.pem
// and the root that the merchant pins, provider_root_cert.pem, made together by an
// authority that is forgotten afterwards.
var unionpayProduct = adapterProduct{
	name:    "unionpay",
	account: map[string]string{"mchid": "777290058110097", "term_id": "00000001", "signer_name": unionpaysim.Owner},
	sim:     simUnionpay,
	call:    callUnionpay,
}

// certifyUnionpay gives the certificates of both sides and the pinned root.
func certifyUnionpay(sys *system, dir partyDir) (app *x509.Certificate, a *unionpaysim.Authority, err error) {
	if !dir.has(alipayRootCert) {
		merchant, err1 := dir.public(partyApp)
		provider, err2 := dir.public(partyProvider)
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		own, err1 := unionpaysim.Certify(merchant, "citygate", sys.Now())
		theirs, err2 := unionpaysim.Certify(provider, cmp.Or(dir.text("signer_name"), unionpaysim.Owner), sys.Now())
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		err = errors.Join(
			dir.ensure(alipayAppCert, []byte(unionpaysim.PEM(own.Leaf)), 0o644), dir.ensure(alipayProviderCert, []byte(unionpaysim.PEM(theirs.Leaf)), 0o644),
			dir.ensure(alipayRootCert, []byte(unionpaysim.PEM(theirs.Root)), 0o644))
		if err != nil {
			return nil, nil, err
		}
	}
	appText, leafText, rootText, err := dir.certificates()
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
			return nil, nil, fmt.Errorf("%s: a certificate is not PEM", dir.path)
		}
		if *c.into, err = x509.ParseCertificate(block.Bytes); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", dir.path, err)
		}
	}
	return app, a, nil
}

func simUnionpay(_ context.Context, sys *system, dir partyDir, listen string) (runningSim, error) {
	own, err := dir.private(partyProvider)
	if err != nil {
		return runningSim{}, err
	}
	app, authority, err := certifyUnionpay(sys, dir)
	if err != nil {
		return runningSim{}, err
	}
	sim, err := unionpaysim.Start(unionpaysim.Config{ //nolint:contextcheck // it serves until stop
		Clock: sys.Now, Listen: listen, Key: own, Authority: authority,
		Merchants: []unionpaysim.Merchant{{MerID: dir.text("mchid"), Cert: app, FeePPM: 6_000}},
	})
	if err != nil {
		return runningSim{}, err
	}
	return runningSim{sim.URL(), sim.Close}, nil
}

func callUnionpay(ctx context.Context, sys *system, dir partyDir, c adapterCall) (adapterAnswer, error) {
	own, err := dir.private(partyApp)
	if err != nil {
		return adapterAnswer{}, err
	}
	app, authority, err := certifyUnionpay(sys, dir)
	if err != nil {
		return adapterAnswer{}, err
	}
	gateway := c.endpoint
	if u, err := url.Parse(gateway); err == nil && (u.Path == "" || u.Path == "/") {
		gateway = u.JoinPath(unionpaysim.GatewayPath).String()
	}
	p, err := unionpay.New(unionpay.Config{
		Gateway: gateway, Files: c.endpoint, MerID: dir.text("mchid"), TermID: dir.text("term_id"), Signer: own, Certificate: app,
		Roots: []*x509.Certificate{authority.Root}, SignerName: dir.text("signer_name"), BackURL: cmp.Or(dir.text("notify_url"), "http://127.0.0.1:1/"),
		HTTP: callClient(), Clock: sys.Now,
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
	delete(a.Fields, "signPubKeyCert")
	delete(a.Fields, "signature")
	body, err := json.Marshal(a.Fields)
	if err != nil {
		return adapterAnswer{}, err
	}
	answer := adapterAnswer{body: body}
	switch a.Standing {
	case unionpay.Refused:
		answer.refused = a.Why
	case unionpay.Open:
		answer.unknown = a.Why
	case unionpay.Done:
	}
	return answer, nil
}
