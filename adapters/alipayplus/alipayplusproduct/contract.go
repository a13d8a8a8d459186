// Package alipayplusproduct makes Alipay+ and Antom a product of the program: the
// form of a contract, the adapter that is opened for it, and the tools for those
// outside.
package alipayplusproduct

import (
	"cmp"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/schema"
)

// A Contract is the configuration of a contract of the product "alipayplus".
type Contract struct {
	Base         string            `json:"base" format:"uri" doc:"scheme and host of the platform"`
	Files        string            `json:"files" format:"uri" doc:"where its SFTP server's files are served over HTTPS"`
	Family       string            `json:"family,omitempty" enum:"|antom|alipayplus"`
	Collect      string            `json:"collect" enum:"agreement|payment_code|entry_code|dual_offline"`
	ClientID     string            `json:"client_id" minLength:"1"`
	KeyVersion   string            `json:"key_version,omitempty" doc:"of the tenant's key at the platform"`
	PlatformKeys map[string][]byte `json:"platform_keys" doc:"RSA public keys, PKIX DER in base64, by key version"`

	Merchant  string `json:"merchant" minLength:"1"`
	Method    string `json:"method" minLength:"1" doc:"payment method type, such as ALIPAY_HK"`
	NotifyURL string `json:"notify_url,omitempty" format:"uri" doc:"default: the gateway's own address for this contract"`

	Currency    citygate.Currency `json:"currency" doc:"of the fares"`
	PayCurrency citygate.Currency `json:"pay_currency,omitempty" doc:"of the wallets: charges get quotes"`
	Store       alipayplus.Store  `json:"store,omitzero"`
	Zone        string            `json:"zone,omitempty" doc:"of the files' days, such as Asia/Macau; default Asia/Shanghai"`

	adapters.Feeds
}

func init() {
	adapters.Register(adapters.Product{
		Name: "alipayplus", Title: "Alipay+ and Antom: wallets of other countries", Signed: true, Open: open, Tools: &tools,
		Config: schema.Of[Contract]("A contract with Alipay+ or Antom", nil),
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	var c Contract
	if err := d.Decode(&c); err != nil {
		return nil, alipayplus.ErrConfig.Explain("%v", err)
	}
	platform, err := adapters.RSAKeys(c.PlatformKeys)
	if err != nil {
		return nil, alipayplus.ErrConfig.Explain("%v", err)
	}
	var zone *time.Location
	if c.Zone != "" {
		if zone, err = time.LoadLocation(c.Zone); err != nil {
			return nil, alipayplus.ErrConfig.Explain("zone: %.40q is none", c.Zone)
		}
	}
	return alipayplus.New(alipayplus.Config{
		Base: c.Base, Files: c.Files, Family: alipayplus.Family(c.Family), Collect: alipayplus.Collect(c.Collect), ClientID: c.ClientID,
		Signer: d.Signer, KeyVersion: c.KeyVersion, PlatformKeys: platform, Merchant: c.Merchant, Method: c.Method, NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL),
		Currency: c.Currency, PayCurrency: c.PayCurrency, Store: c.Store, Zone: zone, HTTP: d.HTTP, Clock: d.Clock,
	})
}
