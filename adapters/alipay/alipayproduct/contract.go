// Package alipayproduct makes Alipay a product of the program: the form of a
// contract, the adapter that is opened for it, and the tools for those outside.
package alipayproduct

import (
	"cmp"
	"crypto/rsa"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/schema"
)

// A Contract is the configuration of a contract of the product "alipay".
type Contract struct {
	Gateway      string   `json:"gateway" format:"uri" doc:"URL of the v2 gateway"`
	AppID        string   `json:"app_id" minLength:"1"`
	Account      string   `json:"account" pattern:"^[0-9]{1,32}$" doc:"partner id of the signed merchant"`
	PlatformKeys [][]byte `json:"platform_keys,omitempty" doc:"RSA public keys of the platform, PKIX DER in base64; more than one while it rotates"`

	AppCert       string `json:"app_cert,omitempty" doc:"PEM; certificate mode, instead of platform_keys"`
	PlatformCerts string `json:"platform_certs,omitempty" doc:"PEM; certificate mode"`
	RootCerts     string `json:"root_certs,omitempty" doc:"PEM; certificate mode"`

	Collect    string `json:"collect,omitempty" enum:"|withholding|barcode" doc:"empty: records of the platform's own codes"`
	NotifyURL  string `json:"notify_url,omitempty" format:"uri" doc:"default: the gateway's own address for this contract"`
	SignScene  string `json:"sign_scene,omitempty" doc:"of agreements"`
	CardType   string `json:"card_type,omitempty" doc:"of the operator's cards in the wallet"`
	CardAction string `json:"card_action,omitempty"`

	adapters.Feeds
}

// AESKey is the name in the tenant's secret store of the key that contents are encrypted
// with. A contract that has it encrypts them.
const AESKey = "aes_key"

func init() {
	adapters.Register(adapters.Product{
		Name: "alipay", Title: "Alipay: offline ride codes, agreements and payment codes", Signed: true, Open: open, Tools: &tools,
		Config: schema.Of[Contract]("A contract with Alipay", map[string]any{"anyOf": []any{
			map[string]any{"required": []string{"platform_keys"}}, map[string]any{"required": []string{"app_cert", "platform_certs", "root_certs"}},
		}}),
		Secrets: []adapters.SecretField{{Name: AESKey, Doc: "base64 of 16 bytes, as the platform shows it; for content encryption"}},
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	var c Contract
	if err := d.Decode(&c); err != nil {
		return nil, alipay.ErrConfig.Explain("%v", err)
	}
	platform := make([]*rsa.PublicKey, len(c.PlatformKeys))
	for i, der := range c.PlatformKeys {
		key, err := adapters.RSAKey(der)
		if err != nil {
			return nil, alipay.ErrConfig.Explain("platform_keys[%d] %v", i, err)
		}
		platform[i] = key
	}
	config := alipay.Config{
		Gateway: c.Gateway, AppID: c.AppID, Account: c.Account, Signer: d.Signer, PlatformKeys: platform, AESKey: d.Secrets[AESKey], HTTP: d.HTTP, Clock: d.Clock,
		Collect: alipay.Collect(c.Collect), NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL), SignScene: c.SignScene, CardType: c.CardType, CardAction: c.CardAction,
	}
	if c.AppCert != "" || c.PlatformCerts != "" || c.RootCerts != "" {
		config.Certificates = &alipay.Certificates{App: []byte(c.AppCert), Platform: []byte(c.PlatformCerts), Roots: []byte(c.RootCerts)}
	}
	return alipay.New(config)
}
