package gateway

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// AlipayplusContract is the configuration of a contract of the product
// "alipayplus" (Antom and Alipay+). Requests are signed with the tenant's own key.
type AlipayplusContract struct {
	Base         string            `json:"base"`             // scheme and host of the platform
	Files        string            `json:"files"`            // where its SFTP server's files are served over HTTPS
	Family       string            `json:"family,omitempty"` // antom or alipayplus
	Collect      string            `json:"collect"`          // agreement, payment_code, entry_code or dual_offline
	ClientID     string            `json:"client_id"`
	KeyVersion   string            `json:"key_version,omitempty"` // of the tenant's key at the platform
	PlatformKeys map[string][]byte `json:"platform_keys"`         // PKIX DER, base64, by key version

	Merchant  string `json:"merchant"`
	Method    string `json:"method"`               // payment method type, such as ALIPAY_HK
	NotifyURL string `json:"notify_url,omitempty"` // default the gateway's own address for this contract

	Currency    citygate.Currency `json:"currency"`               // of the fares
	PayCurrency citygate.Currency `json:"pay_currency,omitempty"` // of the wallets: charges get quotes
	Store       alipayplus.Store  `json:"store,omitzero"`
	Zone        string            `json:"zone,omitempty"` // of the files' days, such as Asia/Macau; default Asia/Shanghai
}

func openAlipayplus(d adapters.Deps) (driver.Provider, error) {
	var c AlipayplusContract
	dec := json.NewDecoder(bytes.NewReader(d.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, alipayplus.ErrConfig.Explain("the contract's configuration: %v", err)
	}
	platform := make(map[string]*rsa.PublicKey, len(c.PlatformKeys))
	for version, der := range c.PlatformKeys {
		public, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, alipayplus.ErrConfig.Explain("platform_keys[%.16q] is not a PKIX public key", version)
		}
		key, ok := public.(*rsa.PublicKey)
		if !ok {
			return nil, alipayplus.ErrConfig.Explain("platform_keys[%.16q] is not an RSA key", version)
		}
		platform[version] = key
	}
	var zone *time.Location
	if c.Zone != "" {
		var err error
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
