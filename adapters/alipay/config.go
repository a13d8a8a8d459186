package alipay

import (
	"crypto"
	"crypto/cipher"
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

	reverseWithin = 24 * time.Hour      // trade.cancel; later a refund gives the money back
	refundWithin  = 90 * 24 * time.Hour // an assumption: the contract says it, three months as a rule
)

// payerEvery is how often an order may be asked about whose payer confirms it: the
// platform's guide says 3 to 5 seconds.
const payerEvery = 5 * time.Second

// paymentCodes are what wallets show: digits, or a code of a face.
var paymentCodes = []driver.CodeForm{{From: "25", To: "30", Min: 16, Max: 24}, {From: "fp", To: "fp", Min: 35, Max: 35, Letters: true}}

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

	// Certificates puts the contract into certificate mode; PlatformKeys is then
	// empty.
	Certificates *Certificates

	// AESKey encrypts the contents of requests, and of the answers to them: base64 of 16
	// bytes, as the platform shows it. Without it contents are plain.
	AESKey citygate.Secret

	// The rest has defaults.

	Collect   Collect // how debits are collected, default Offline
	NotifyURL string  // where the platform tells of payments; none by default
	SignScene string  // of agreements, as the contract names it; default INDUSTRY|COMMON

	CardType   string // of the operator's cards in the wallet, such as T0370301; without it none are sent
	CardAction string // what virtualcard.send is told to do; the platform documents no words, default UPDATE

	BatchMax  int           // debits in one settle, default 50
	PollEvery time.Duration // default 1 minute
	QuietTime time.Duration // how long an unknown order may still appear, default 2 minutes, at least 10 s
	Deadline  time.Duration // of one call, default 15 s
}

// Collect says how a contract's debits are collected.
type Collect string

// The ways. A contract has one: the platform signs them separately.
const (
	Offline     Collect = ""            // records of the platform's own offline codes, in batches
	Withholding Collect = "withholding" // one by one, on the rider's agreement (Debit.RiderRef is its number)
	Barcode     Collect = "barcode"     // one by one, on a payment code read from the rider's phone
)

// A Provider is one contract. It is safe for concurrent use.
type Provider struct {
	config  Config
	gateway *url.URL
	chain   *keychain
	cipher  cipher.Block // of contents; nil: they are plain
}

var (
	_ driver.Provider = (*Provider)(nil)
	_ driver.Refunder = (*Provider)(nil)
	_ driver.Biller   = (*Provider)(nil)
	_ driver.DenyFeed = (*Provider)(nil)
	_ driver.KeyFeed  = (*Provider)(nil)

	_ driver.Selective     = (*Provider)(nil)
	_ driver.Reverser      = (*Provider)(nil)
	_ driver.Notifier      = (*Provider)(nil)
	_ driver.Contract      = (*Provider)(nil)
	_ driver.EvidenceCheck = (*Provider)(nil)
	_ driver.CardIssuer    = (*Provider)(nil)
	_ driver.DenyPush      = (*Provider)(nil)
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
	case c.HTTP == nil || c.Clock == nil:
		return nil, ErrConfig.Explain("http and clock: both are needed")
	case (len(c.PlatformKeys) == 0) == (c.Certificates == nil):
		return nil, ErrConfig.Explain("platform keys: want them or certificates, or no answer could be believed")
	case c.Collect != Offline && c.Collect != Withholding && c.Collect != Barcode:
		return nil, ErrConfig.Explain("collect: want nothing, withholding or barcode")
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
	chain, err := newKeychain(c)
	if err != nil {
		return nil, err
	}
	contents, err := contentCipher(c.AESKey)
	if err != nil {
		return nil, err
	}
	c.BatchMax = orDefault(c.BatchMax, batchMaxDefault)
	if c.Collect != Offline {
		c.BatchMax = 1
	}
	c.SignScene, c.CardAction = cmpOr(c.SignScene, "INDUSTRY|COMMON"), cmpOr(c.CardAction, cardActionSend)
	c.PollEvery = orDefault(c.PollEvery, pollDefault)
	c.QuietTime = orDefault(c.QuietTime, quietDefault)
	c.Deadline = orDefault(c.Deadline, deadlineDefault)
	return &Provider{c, gateway, chain, contents}, nil
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
	d := driver.Description{
		Name:         "alipay",
		Version:      "v2-offlinepay",
		Currencies:   []citygate.Currency{cny},
		BatchMax:     p.config.BatchMax,
		IDMax:        idMax,
		ResubmitSafe: true, // settle answers a known out_trade_no of equal content as it did before
		QuietTime:    p.config.QuietTime,
		PollEvery:    p.config.PollEvery,
		Deadline:     p.config.Deadline,
		Limits:       driver.Limits{AmountMin: 1, AmountMax: amountMax, RefundWithin: refundWithin},
	}
	if p.config.Collect == Offline {
		return d
	}
	d.Version = "v2-" + string(p.config.Collect)
	d.Limits.ReverseWithin = reverseWithin
	d.Limits.ByAgreement = p.config.Collect == Withholding
	if p.config.Collect == Barcode {
		d.PaymentCodes, d.Limits.PayerEvery = paymentCodes, payerEvery
	}
	if p.config.NotifyURL != "" {
		d.Limits.Notices = driver.EveryFinalState
	}
	// A payment code that is shown twice may be refused the second time although
	// it was paid on the first.
	d.ResubmitSafe = p.config.Collect == Withholding
	return d
}

// Able implements [driver.Selective]: what a contract can do follows from how it
// collects.
func (p *Provider) Able(c driver.Capability) bool {
	offline := p.config.Collect == Offline
	switch c {
	case driver.CapKeyFeed, driver.CapDenyFeed, driver.CapEvidence, driver.CapDenyPush:
		return offline
	case driver.CapCardIssue:
		return offline && p.config.CardType != ""
	case driver.CapReverse:
		return !offline
	case driver.CapNotify:
		return !offline && p.config.NotifyURL != ""
	case driver.CapContract:
		return p.config.Collect == Withholding
	case driver.CapRefund, driver.CapBill, driver.CapRider, driver.CapAuthorize, driver.CapCodeIssue, driver.CapCodeResolve,
		driver.CapDeviceEnroll, driver.CapArrears, driver.CapQuote, driver.CapMark:
	}
	return true // what it has no method for nobody finds
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
