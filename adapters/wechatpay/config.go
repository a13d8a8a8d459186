package wechatpay

import (
	"crypto"
	"crypto/rsa"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrConfig says that a configuration cannot work.
var ErrConfig = &citygate.Code{Name: "wechatpay.config", Kind: citygate.Invalid, Title: "The WeChat Pay contract is incomplete or wrong; correct the named field."}

// A Product is the service of the platform that a contract is for.
type Product string

// The products. A contract is for one of them: they differ in what a debit is
// and in what can be done about it afterwards.
const (
	Ride    Product = "ride"    // APIv3 scan-and-ride: a debit on a rider's contract, accepted and carried out later
	RideV2  Product = "ride_v2" // the same in APIv2: XML, HMAC-SHA256
	CodePay Product = "codepay" // a payment code that the rider shows
	Global  Product = "global"  // a payment code in Hong Kong and cross-border
)

const (
	idMax           = 32
	pollDefault     = 15 * time.Second
	quietDefault    = 2 * time.Minute
	deadlineDefault = 15 * time.Second
	keyBitsMin      = 2048
	apiKeySize      = 32
	amountMax       = 1_000_000_00

	refundWithin = 365 * 24 * time.Hour
	refundsMax   = 50
	noticeWithin = 5 * time.Second // the platform repeats after that

	cny citygate.Currency = "CNY"
)

// beijing is the platform's zone; it has had no daylight saving since 1991.
var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

var (
	appIDForm  = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)
	mchIDForm  = regexp.MustCompile(`^[0-9]{1,32}$`)
	serialForm = regexp.MustCompile(`^[0-9A-Fa-f]{1,64}$`)
	mccForm    = regexp.MustCompile(`^[0-9]{4}$`)
	pathForm   = regexp.MustCompile(`^/[A-Za-z0-9/_.-]{1,128}$`)
)

// A Config is one merchant's contract with the platform.
type Config struct {
	Base     string // such as https://api.mch.weixin.qq.com, for Global https://apihk.mch.weixin.qq.com
	Product  Product
	AppID    string
	MchID    string
	SubMchID string // of a partner's merchant, for Ride; may be empty
	Serial   string // serial number of the merchant's API certificate, hexadecimal

	Signer   crypto.Signer   // the merchant's RSA key; the platform holds its certificate
	APIv3Key citygate.Secret // 32 bytes: opens notifications and platform certificates
	APIv2Key citygate.Secret // 32 bytes: signs APIv2, for RideV2 alone

	// PlatformKeys are the keys that are known from the start, by serial number or
	// PUB_KEY_ID_. Certificates that come later are fetched.
	PlatformKeys map[string]*rsa.PublicKey
	AnswerKey    string // id of the key that answers shall be signed with; may be empty

	NotifyURL string // https; may be empty for CodePay and Global
	Scene     string // BUS or METRO, for Ride and RideV2
	Line      string // line name, for Ride and RideV2 on BUS; may be empty
	ClientIP  string // of the server that debits, for RideV2
	V2Version string // "2.0" for merchants whose riders the platform pays for in advance; may be empty

	// ArrearsPath is where the list of riders in arrears is. It is not published;
	// the platform tells it to those who have it. Empty: there is no list.
	ArrearsPath string

	// RideCode says what ride codes the operator answers for, for Ride. Nil: none.
	RideCode *RideCode

	Currency citygate.Currency // for Global; the others are in CNY
	MCC      string            // merchant category code, for Global
	Store    Store             // for Global and CodePay

	HTTP   driver.Doer
	Clock  citygate.Clock
	Random io.Reader // for nonces

	// The rest has defaults.

	PollEvery time.Duration // default 15 s; the platform wants at least 10 s between queries
	QuietTime time.Duration // how long an unknown number may still appear, default 2 minutes
	Deadline  time.Duration // of one call, default 15 s
}

// A Store is where a payment code was shown.
type Store struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}

// A client is what the providers of all products share.
type client struct {
	config Config
	base   string // without a slash at its end
	keys   *keyset
}

// New checks the contract and gives its provider. What can be done with it is
// found by type assertion and depends on the product.
func New(c Config) (driver.Provider, error) {
	base, err := c.check()
	if err != nil {
		return nil, err
	}
	if c.Currency == "" {
		c.Currency = cny
	}
	c.PollEvery = orDefault(c.PollEvery, pollDefault)
	c.QuietTime = orDefault(c.QuietTime, quietDefault)
	c.Deadline = orDefault(c.Deadline, deadlineDefault)
	shared := &client{config: c, base: base, keys: &keyset{fixed: c.PlatformKeys}}
	switch c.Product {
	case Ride:
		return &ride{client: shared}, nil
	case RideV2:
		return &rideV2{client: shared}, nil
	case CodePay:
		return &codePay{client: shared}, nil
	case Global:
		return &global{client: shared}, nil
	}
	return nil, ErrConfig.Explain("product: want ride, ride_v2, codepay or global")
}

func (c Config) check() (base string, err error) {
	u, err := url.Parse(c.Base)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "", ErrConfig.Explain("base: want an http or https URL")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", ErrConfig.Explain("base: want scheme and host alone, the path is the platform's")
	case !appIDForm.MatchString(c.AppID):
		return "", ErrConfig.Explain("app_id: want 1 to 32 letters and digits")
	case !mchIDForm.MatchString(c.MchID):
		return "", ErrConfig.Explain("mch_id: want 1 to 32 digits")
	case c.SubMchID != "" && !mchIDForm.MatchString(c.SubMchID):
		return "", ErrConfig.Explain("sub_mch_id: want 1 to 32 digits")
	case !serialForm.MatchString(c.Serial):
		return "", ErrConfig.Explain("serial: want the serial number of the merchant's certificate, hexadecimal")
	case c.HTTP == nil || c.Clock == nil || c.Random == nil:
		return "", ErrConfig.Explain("http, clock and random: all are needed")
	case c.PollEvery < 0 || c.QuietTime < 0 || c.Deadline < 0:
		return "", ErrConfig.Explain("times: want none negative")
	case c.PollEvery > 0 && c.PollEvery < 10*time.Second:
		return "", ErrConfig.Explain("poll: want at least 10 s, the platform asks for it")
	case c.QuietTime > 0 && c.QuietTime < 10*time.Second:
		return "", ErrConfig.Explain("quiet time: want at least 10 s")
	case len(c.APIv3Key.Reveal()) != apiKeySize:
		return "", ErrConfig.Explain("apiv3_key: want 32 bytes")
	}
	if err := c.checkKeys(); err != nil {
		return "", err
	}
	return u.Scheme + "://" + u.Host, c.checkProduct()
}

func (c Config) checkKeys() error {
	if c.Signer == nil {
		return ErrConfig.Explain("signer: missing")
	}
	own, ok := c.Signer.Public().(*rsa.PublicKey)
	if !ok || own.N.BitLen() < keyBitsMin {
		return ErrConfig.Explain("signer: want an RSA key of at least %d bits", keyBitsMin)
	}
	if len(c.PlatformKeys) == 0 {
		return ErrConfig.Explain("platform_keys: missing, no answer could be believed")
	}
	for id, k := range c.PlatformKeys {
		switch {
		case !serialNumber(id) && !strings.HasPrefix(id, publicKeyPrefix):
			return ErrConfig.Explain("platform_keys: %.64q is neither a serial number nor a PUB_KEY_ID_", id)
		case k == nil || k.N == nil || k.N.BitLen() < keyBitsMin:
			return ErrConfig.Explain("platform_keys: want RSA keys of at least %d bits", keyBitsMin)
		case own.Equal(k) || strings.EqualFold(id, c.Serial):
			return ErrConfig.Explain("platform_keys: one of them is the merchant's own key")
		}
	}
	if c.AnswerKey != "" && c.PlatformKeys[c.AnswerKey] == nil {
		return ErrConfig.Explain("answer_key: it is not one of platform_keys")
	}
	return nil
}

func (c Config) checkProduct() error {
	notify, err := url.Parse(c.NotifyURL)
	if c.NotifyURL != "" && (err != nil || notify.Host == "" || (notify.Scheme != "https" && notify.Scheme != "http") || notify.RawQuery != "") {
		return ErrConfig.Explain("notify_url: want a web address without a query")
	}
	onContract := c.Product == Ride || c.Product == RideV2
	switch {
	case onContract && c.NotifyURL == "":
		return ErrConfig.Explain("notify_url: this product needs one")
	case onContract && c.Scene != "BUS" && c.Scene != "METRO":
		return ErrConfig.Explain("scene: want BUS or METRO")
	case c.Product == RideV2 && len(c.APIv2Key.Reveal()) != apiKeySize:
		return ErrConfig.Explain("apiv2_key: want 32 bytes")
	case c.Product == RideV2 && c.ClientIP == "":
		return ErrConfig.Explain("client_ip: the platform wants the address of the server that debits")
	case c.Product == Global && !c.Currency.Valid():
		return ErrConfig.Explain("currency: want the currency that fares are asked in, such as HKD")
	case c.Product == Global && !mccForm.MatchString(c.MCC):
		return ErrConfig.Explain("mcc: want a merchant category code of four digits")
	case c.Product != Global && c.Currency != "" && c.Currency != cny:
		return ErrConfig.Explain("currency: only the product global has another one than CNY")
	case c.ArrearsPath != "" && (c.Product != Ride || !pathForm.MatchString(c.ArrearsPath)):
		return ErrConfig.Explain("arrears_path: want a path such as /a/b, for the product ride")
	case c.RideCode != nil && (c.Product != Ride || len(c.APIv2Key.Reveal()) != apiKeySize):
		return ErrConfig.Explain("ride_code: want the product ride and an apiv2_key of 32 bytes, which proves the call")
	case c.RideCode != nil && c.RideCode.check() != nil:
		return c.RideCode.check()
	case c.SubMchID != "" && c.Product != Ride:
		return ErrConfig.Explain("sub_mch_id: only the product ride has one")
	}
	return nil
}

// describe gives what the products have in common.
func (c *client) describe(version string, resubmit bool) driver.Description {
	return driver.Description{
		Name:         "wechatpay",
		Version:      version,
		Currencies:   []citygate.Currency{c.config.Currency},
		BatchMax:     1, // the platform takes one payment a call
		IDMax:        idMax,
		ResubmitSafe: resubmit,
		QuietTime:    c.config.QuietTime,
		PollEvery:    c.config.PollEvery,
		Deadline:     c.config.Deadline,
		Limits: driver.Limits{
			AmountMin: 1, AmountMax: amountMax, RefundWithin: refundWithin, RefundsMax: refundsMax,
			Notices: driver.SuccessOnly, NoticeWithin: noticeWithin,
		},
	}
}

func orDefault(v, otherwise time.Duration) time.Duration {
	if v == 0 {
		return otherwise
	}
	return v
}
