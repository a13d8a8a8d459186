// Package wechatpayproduct makes WeChat Pay a product of the program: the form of a
// contract, the adapter that is opened for it, and the tools for those outside.
package wechatpayproduct

import (
	"cmp"
	"encoding/json"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/schema"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
)

// The secrets of a contract of the product "wechatpay", by the names they have in
// the tenant's secret store.
const (
	APIv3Key = "apiv3_key" // 32 bytes; always
	APIv2Key = "apiv2_key" // 32 bytes; for ride_v2 and for ride codes

	RideCodeKey = "ride_code_key" // 32 bytes; for ride codes
)

// A Contract is the configuration of a contract of the product "wechatpay". Its
// keys are elsewhere: requests are signed with the tenant's own key, and the API
// keys are secrets of the contract.
type Contract struct {
	Base     string `json:"base" format:"uri" doc:"scheme and host of the platform"`
	Product  string `json:"product" enum:"ride|ride_v2|codepay|global"`
	AppID    string `json:"app_id" minLength:"1"`
	MchID    string `json:"mch_id" minLength:"1"`
	SubMchID string `json:"sub_mch_id,omitempty"`
	Serial   string `json:"serial" minLength:"1" doc:"of the merchant's API certificate, which holds the tenant's key"`

	PlatformKeys map[string][]byte `json:"platform_keys" doc:"RSA public keys, PKIX DER in base64, by serial number or PUB_KEY_ID_"`
	AnswerKey    string            `json:"answer_key,omitempty" doc:"which of them the platform answers with"`

	NotifyURL   string `json:"notify_url,omitempty" format:"uri" doc:"default: the gateway's own address for this contract"`
	Scene       string `json:"scene,omitempty" enum:"|BUS|METRO"`
	Line        string `json:"line,omitempty"`
	ClientIP    string `json:"client_ip,omitempty"`
	V2Version   string `json:"v2_version,omitempty"`
	ArrearsPath string `json:"arrears_path,omitempty" doc:"where the platform lists riders in arrears"`

	Currency citygate.Currency `json:"currency,omitempty" doc:"for global"`
	MCC      string            `json:"mcc,omitempty"`
	Store    wechatpay.Store   `json:"store,omitzero"`

	RideCode *RideCode `json:"ride_code,omitempty" doc:"has the operator answer for ride codes of the ministry's layout that the platform asks for"`

	adapters.Feeds
}

// RideCode says what the operator says in ride codes. Its tenant's SM2 key
// signs them (citygate key sm2).
type RideCode struct {
	Scheme      json.RawMessage `json:"scheme,omitempty" doc:"the city's parameters, as for the code scheme motsm2"`
	Version     byte            `json:"version" doc:"128, or as the city says"`
	Certificate []byte          `json:"certificate,omitempty" doc:"of the operator's key; left out for codes of two levels"`
	CardIssuer  string          `json:"card_issuer" pattern:"^[0-9A-Fa-f]{8}$" doc:"four bytes, hexadecimal"`
	Platform    string          `json:"platform" pattern:"^[0-9A-Fa-f]{8}$" doc:"four bytes, hexadecimal"`
	AccountType uint8           `json:"account_type"`
	CapMinor    int64           `json:"cap_minor" doc:"highest fare"`

	LifetimeSeconds int64 `json:"lifetime_seconds" doc:"of an authorisation"`
	ValiditySeconds int64 `json:"validity_seconds" doc:"of a code that a phone shows"`
}

func init() {
	adapters.Register(adapters.Product{
		Name: "wechatpay", Title: "WeChat Pay: rides, payment codes and cross-border payments", Signed: true, Open: open, Tools: &tools,
		Config: schema.Of[Contract]("A contract with WeChat Pay", nil),
		Secrets: []adapters.SecretField{
			{Name: APIv3Key, Doc: "32 bytes; always"}, {Name: APIv2Key, Doc: "32 bytes; for ride_v2 and for ride codes"}, {Name: RideCodeKey, Doc: "32 bytes; for ride codes"},
		},
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	var c Contract
	if err := d.Decode(&c); err != nil {
		return nil, wechatpay.ErrConfig.Explain("%v", err)
	}
	platform, err := adapters.RSAKeys(c.PlatformKeys)
	if err != nil {
		return nil, wechatpay.ErrConfig.Explain("%v", err)
	}
	codes, err := c.RideCode.rideCode(d.Secrets[RideCodeKey])
	if err != nil {
		return nil, err
	}
	return wechatpay.New(wechatpay.Config{
		RideCode: codes,
		Base:     c.Base, Product: wechatpay.Product(c.Product), AppID: c.AppID, MchID: c.MchID, SubMchID: c.SubMchID, Serial: c.Serial, Signer: d.Signer,
		APIv3Key: d.Secrets[APIv3Key], APIv2Key: d.Secrets[APIv2Key], PlatformKeys: platform, AnswerKey: c.AnswerKey,
		NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL), Scene: c.Scene, Line: c.Line, ClientIP: c.ClientIP, V2Version: c.V2Version, ArrearsPath: c.ArrearsPath,
		Currency: c.Currency, MCC: c.MCC, Store: c.Store, HTTP: d.HTTP, Clock: d.Clock, Random: d.Random,
	})
}

// rideCode makes the adapter's part of r.
func (r *RideCode) rideCode(key citygate.Secret) (*wechatpay.RideCode, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // no ride codes are no error
	}
	params := motsm2.Defaults()
	if len(r.Scheme) > 0 {
		if err := code.Decode(r.Scheme, &params); err != nil {
			return nil, wechatpay.ErrConfig.Explain("ride_code.scheme: %v", err)
		}
	}
	scheme, err := motsm2.New(params)
	if err != nil {
		return nil, wechatpay.ErrConfig.Explain("ride_code.scheme: %v", err)
	}
	card, err1 := strconv.ParseUint(r.CardIssuer, 16, 32)
	platform, err2 := strconv.ParseUint(r.Platform, 16, 32)
	if err1 != nil || err2 != nil || len(r.CardIssuer) != 8 || len(r.Platform) != 8 {
		return nil, wechatpay.ErrConfig.Explain("ride_code: card_issuer and platform: want four bytes each, hexadecimal")
	}
	return &wechatpay.RideCode{
		Key: key, Scheme: scheme, Version: r.Version, Certificate: r.Certificate, CardIssuer: uint32(card), Platform: uint32(platform), AccountType: r.AccountType,
		CapMinor: r.CapMinor, Lifetime: time.Duration(r.LifetimeSeconds) * time.Second, Validity: time.Duration(r.ValiditySeconds) * time.Second,
	}, nil
}
