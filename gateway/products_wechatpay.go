package gateway

import (
	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
)

// The secrets of a contract of the product "wechatpay", by the names they have in
// the tenant's secret store.
const (
	WechatpayAPIv3Key = "apiv3_key" // 32 bytes; always
	WechatpayAPIv2Key = "apiv2_key" // 32 bytes; for ride_v2
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
}
