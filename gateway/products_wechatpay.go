package gateway

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
)

// The secrets of a contract of the product "wechatpay", by the names they have in
// the tenant's secret store.
const (
	WechatpayAPIv3Key = "apiv3_key" // 32 bytes; always
	WechatpayAPIv2Key = "apiv2_key" // 32 bytes; for ride_v2 and for ride codes

	WechatpayRideCodeKey = "ride_code_key" // 32 bytes; for ride codes
)

// WechatpayContract is the configuration of a contract of the product
// "wechatpay". Its keys are elsewhere: requests are signed with the tenant's own
// key, and the API keys are secrets of the contract.
type WechatpayContract struct {
	Base     string `json:"base"`    // scheme and host of the platform
	Product  string `json:"product"` // ride, ride_v2, codepay or global
	AppID    string `json:"app_id"`
	MchID    string `json:"mch_id"`
	SubMchID string `json:"sub_mch_id,omitempty"`
	Serial   string `json:"serial"` // of the merchant's API certificate, which holds the tenant's key

	PlatformKeys map[string][]byte `json:"platform_keys"` // PKIX DER, base64, by serial number or PUB_KEY_ID_
	AnswerKey    string            `json:"answer_key,omitempty"`

	NotifyURL   string `json:"notify_url,omitempty"`
	Scene       string `json:"scene,omitempty"` // BUS or METRO
	Line        string `json:"line,omitempty"`
	ClientIP    string `json:"client_ip,omitempty"`
	V2Version   string `json:"v2_version,omitempty"`
	ArrearsPath string `json:"arrears_path,omitempty"`

	Currency citygate.Currency `json:"currency,omitempty"` // for global
	MCC      string            `json:"mcc,omitempty"`
	Store    wechatpay.Store   `json:"store,omitzero"`

	// RideCode has the operator answer for ride codes of the ministry's layout that
	// the platform asks for; nil: it does not.
	RideCode *WechatpayRideCode `json:"ride_code,omitempty"`
}

// WechatpayRideCode says what the operator says in ride codes. Its tenant's SM2 key
// signs them (citygate key sm2).
type WechatpayRideCode struct {
	Scheme      json.RawMessage `json:"scheme,omitempty"`      // the city's parameters, as for the code scheme motsm2
	Version     byte            `json:"version"`               // 128, or as the city says
	Certificate []byte          `json:"certificate,omitempty"` // of the operator's key, base64; left out for codes of two levels
	CardIssuer  string          `json:"card_issuer"`           // four bytes, hexadecimal
	Platform    string          `json:"platform"`              // likewise
	AccountType uint8           `json:"account_type"`
	CapMinor    int64           `json:"cap_minor"` // highest fare

	LifetimeSeconds int64 `json:"lifetime_seconds"` // of an authorisation
	ValiditySeconds int64 `json:"validity_seconds"` // of a code that a phone shows
}

// rideCode makes the adapter's part of r.
func (r *WechatpayRideCode) rideCode(key citygate.Secret) (*wechatpay.RideCode, error) {
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
