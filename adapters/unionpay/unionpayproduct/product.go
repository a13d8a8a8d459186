// Package unionpayproduct makes UnionPay a product of the program: the form of a
// contract, the adapter that is opened for it, and the tools for those outside.
package unionpayproduct

import (
	"cmp"
	"crypto/x509"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/schema"
	"github.com/cashlesscity/citygate/adapters/unionpay"
)

// A Contract is the configuration of a contract of the product "unionpay". Requests are
// signed with the tenant's own key, which the certificate is of.
type Contract struct {
	Gateway string `json:"gateway" format:"uri" doc:"such as https://gateway.95516.com/gateway/api"`
	Files   string `json:"files" format:"uri" doc:"base of the settlement files, such as https://filedownload.95516.com"`
	MerID   string `json:"mer_id" minLength:"15" maxLength:"15"`
	TermID  string `json:"term_id" minLength:"8" maxLength:"8"`

	Collect        string `json:"collect" enum:"token|payment_code" doc:"by a token that the rider agreed to, or by codes that riders show"`
	TokenRequestor string `json:"token_requestor,omitempty" doc:"trId, for tokens"`

	Certificate   []byte   `json:"certificate" doc:"of the tenant's key, DER in base64; its serial number is the certId"`
	Roots         [][]byte `json:"roots" doc:"UnionPay's root certificates, DER in base64: nothing is believed without them"`
	Intermediates [][]byte `json:"intermediates,omitempty" doc:"DER in base64"`
	SignerName    string   `json:"signer_name,omitempty" doc:"what UnionPay's certificate names; default its own name, the test platform has another"`
	DisputeCodes  []string `json:"dispute_codes,omitempty" doc:"transaction codes of the settlement file by which banks take payments back, or payments come again; default E23, E24, E25; rows of others are exceptions for somebody to look at"`
	BackURL       string   `json:"back_url,omitempty" format:"uri" doc:"where notifications go; default: the gateway's own address for this contract"`
}

func init() {
	adapters.Register(adapters.Product{
		Name: "unionpay", Title: "UnionPay tokens and payment codes, over the ACP gateway 5.1.0", Signed: true, Open: open, Tools: &tools,
		Config: schema.Of[Contract]("A contract with UnionPay", nil),
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	var c Contract
	if err := d.Decode(&c); err != nil {
		return nil, unionpay.ErrConfig.Explain("%v", err)
	}
	own, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		return nil, unionpay.ErrConfig.Explain("certificate: is none")
	}
	roots, err := certificates("roots", c.Roots)
	if err != nil {
		return nil, err
	}
	between, err := certificates("intermediates", c.Intermediates)
	if err != nil {
		return nil, err
	}
	return unionpay.New(unionpay.Config{
		Gateway: c.Gateway, Files: c.Files, MerID: c.MerID, TermID: c.TermID, Collect: unionpay.Collect(c.Collect), TokenRequestor: c.TokenRequestor,
		Signer: d.Signer, Certificate: own, Roots: roots, Intermediates: between, SignerName: c.SignerName, DisputeCodes: c.DisputeCodes, BackURL: cmp.Or(c.BackURL, d.NotifyURL),
		HTTP: d.HTTP, Clock: d.Clock,
	})
}

func certificates(field string, list [][]byte) (found []*x509.Certificate, err error) {
	for i, der := range list {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, unionpay.ErrConfig.Explain("%s[%d]: is no certificate", field, i)
		}
		found = append(found, c)
	}
	return found, nil
}
