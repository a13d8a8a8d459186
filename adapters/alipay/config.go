package alipay

import (
	"crypto"
	"crypto/rsa"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrConfig says that a configuration cannot work.
var ErrConfig = &citygate.Code{Name: "alipay.config", Kind: citygate.Invalid, Title: "The Alipay contract is incomplete or wrong; correct the named field."}

// ErrMethod says that a tool named a method that this package does not speak.
var ErrMethod = &citygate.Code{Name: "alipay.method", Kind: citygate.Invalid, Title: "There is no such method of the platform here; name one of the list."}

const (
	batchMaxDefault = 50
	idMax           = 64
	pollDefault     = time.Minute
	quietDefault    = 2 * time.Minute
	deadlineDefault = 15 * time.Second
	denyPagesMax    = 1000 // a million riders: beyond that the feed is not a feed

	keyBitsMin = 2048
)

// beijing is the platform's zone; it has had no daylight saving since 1991.
var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

// stamp is how the platform writes instants.
const stamp = time.DateTime

// A Config is one merchant's contract with the platform.
type Config struct {
	Gateway string // URL of the v2 gateway, such as https://openapi.alipay.com/gateway.do
	AppID   string
	Account string // partner id of the signed merchant, as the bill names it

	Signer       crypto.Signer    // the merchant's RSA key; the platform holds its public half
	PlatformKeys []*rsa.PublicKey // keys the platform signs answers with; more than one while it rotates

	HTTP  driver.Doer
	Clock citygate.Clock

	// The rest has defaults.

	BatchMax  int           // debits in one settle, default 50
	PollEvery time.Duration // default 1 minute
	QuietTime time.Duration // how long an unknown order may still appear, default 2 minutes, at least 10 s
	Deadline  time.Duration // of one call, default 15 s
}

// A Provider is one contract. It is safe for concurrent use.
type Provider struct {
	config  Config
	gateway *url.URL
}

var (
	_ driver.Provider = (*Provider)(nil)
	_ driver.Refunder = (*Provider)(nil)
	_ driver.Biller   = (*Provider)(nil)
	_ driver.DenyFeed = (*Provider)(nil)
	_ driver.KeyFeed  = (*Provider)(nil)
)

// New checks the contract and gives its provider.
func New(c Config) (*Provider, error) {
	gateway, err := url.Parse(c.Gateway)
	switch {
	case err != nil || gateway.Host == "" || (gateway.Scheme != "https" && gateway.Scheme != "http"):
		return nil, ErrConfig.Explain("gateway: want an http or https URL")
	case gateway.RawQuery != "" || gateway.Fragment != "":
		return nil, ErrConfig.Explain("gateway: want no query and no fragment, they would not be signed")
	case !digits(c.AppID, 32):
		return nil, ErrConfig.Explain("app id: want 1 to 32 digits")
	case !digits(c.Account, 32):
		return nil, ErrConfig.Explain("account: want 1 to 32 digits")
	case c.Signer == nil:
		return nil, ErrConfig.Explain("signer: missing")
	case len(c.PlatformKeys) == 0:
		return nil, ErrConfig.Explain("platform keys: missing, no answer could be believed")
	case c.HTTP == nil || c.Clock == nil:
		return nil, ErrConfig.Explain("http and clock: both are needed")
	case c.BatchMax < 0 || c.BatchMax > 500:
		return nil, ErrConfig.Explain("batch: want 1 to 500")
	case c.PollEvery < 0 || c.QuietTime < 0 || c.Deadline < 0:
		return nil, ErrConfig.Explain("times: want none negative")
	case c.QuietTime > 0 && c.QuietTime < 10*time.Second:
		return nil, ErrConfig.Explain("quiet time: want at least 10 s, the platform's queries lag that much")
	}
	if err := checkKeys(c); err != nil {
		return nil, err
	}
	c.BatchMax = orDefault(c.BatchMax, batchMaxDefault)
	c.PollEvery = orDefault(c.PollEvery, pollDefault)
	c.QuietTime = orDefault(c.QuietTime, quietDefault)
	c.Deadline = orDefault(c.Deadline, deadlineDefault)
	return &Provider{c, gateway}, nil
}

func checkKeys(c Config) error {
	own, ok := c.Signer.Public().(*rsa.PublicKey)
	if !ok || own.N.BitLen() < keyBitsMin {
		return ErrConfig.Explain("signer: want an RSA key of at least %d bits", keyBitsMin)
	}
	for _, k := range c.PlatformKeys {
		if k == nil || k.N == nil || k.N.BitLen() < keyBitsMin {
			return ErrConfig.Explain("platform keys: want RSA keys of at least %d bits", keyBitsMin)
		}
		if own.Equal(k) {
			return ErrConfig.Explain("platform keys: one of them is the merchant's own key")
		}
	}
	return nil
}

// Describe implements [driver.Provider].
func (p *Provider) Describe() driver.Description {
	return driver.Description{
		Name:         "alipay",
		Version:      "v2-offlinepay",
		Currencies:   []citygate.Currency{cny},
		BatchMax:     p.config.BatchMax,
		IDMax:        idMax,
		ResubmitSafe: true, // settle answers a known out_trade_no of equal content as it did before
		QuietTime:    p.config.QuietTime,
		PollEvery:    p.config.PollEvery,
		Deadline:     p.config.Deadline,
	}
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// digits reports whether s is 1 to atMost decimal digits.
func digits(s string, atMost int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= atMost
}
