package alipayplus

import (
	"crypto"
	"crypto/rsa"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrConfig says that a configuration cannot work.
var ErrConfig = &citygate.Code{Name: "alipayplus.config", Kind: citygate.Invalid, Title: "The Alipay+ contract is incomplete or wrong; correct the named field."}

// A Family is one of the two sets of paths of the platform.
type Family string

// The families.
const (
	Antom      Family = "antom"      // /ams/api: payments for merchants
	AlipayPlus Family = "alipayplus" // /aps/api: for acquirers and wallets
)

// A Collect is how a rider is recognised.
type Collect string

// The ways to collect.
const (
	Agreement   Collect = "agreement"    // Debit.RiderRef is the access token of an agreement
	PaymentCode Collect = "payment_code" // Debit.AuthCode is a code on the rider's phone
	EntryCode   Collect = "entry_code"   // the same, shown at a gate
	DualOffline Collect = "dual_offline" // Debit.Evidence is the code of one ride
)

const (
	keyBitsMin      = 2048
	idMax           = 64
	amountMax       = 1_000_000_000_00
	pollDefault     = 5 * time.Second
	quietDefault    = 15 * time.Minute // a payment expires after 14 minutes
	deadlineDefault = 15 * time.Second
	cancelDefault   = 24 * time.Hour
	refundWithin    = 365 * 24 * time.Hour

	sandboxPrefix = "SANDBOX_"
)

// A Store is where the rider pays, where the platform wants it.
type Store struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	MCC  string `json:"mcc,omitempty"`
}

// A Config is one merchant's contract.
type Config struct {
	Base     string // scheme and host, such as https://open-sea-global.alipay.com
	Files    string // where the files of the SFTP server are served over HTTPS
	ClientID string // SANDBOX_... goes to the sandbox's paths
	Family   Family
	Collect  Collect

	Signer       crypto.Signer // the merchant's RSA key
	KeyVersion   string        // of that key at the platform; default 1
	PlatformKeys map[string]*rsa.PublicKey

	Merchant  string // reference of the merchant
	Method    string // payment method type, such as ALIPAY_HK or CONNECT_WALLET
	NotifyURL string // where notifications go, without a query

	Currency           citygate.Currency // of fares
	PayCurrency        citygate.Currency // of the payers' wallets, if quotes are asked for
	SettlementCurrency citygate.Currency // default Currency
	Store              Store

	HTTP  driver.Doer
	Clock citygate.Clock

	// The rest has defaults.

	Zone                                         *time.Location // of the files' days; default Beijing's
	PollEvery, QuietTime, Deadline, CancelWithin time.Duration
}

// A Provider is one contract. It is safe for concurrent use.
type Provider struct {
	config Config
	root   string // of the paths
	notify string // path that notifications are signed for
}

var (
	_ driver.Provider       = (*Provider)(nil)
	_ driver.Refunder       = (*Provider)(nil)
	_ driver.Reverser       = (*Provider)(nil)
	_ driver.Notifier       = (*Provider)(nil)
	_ driver.Biller         = (*Provider)(nil)
	_ driver.BillReader     = (*Provider)(nil)
	_ driver.Quoter         = (*Provider)(nil)
	_ driver.DeviceEnroller = (*Provider)(nil)
	_ driver.ArrearSync     = (*Provider)(nil)
	_ driver.Selective      = (*Provider)(nil)
)

var (
	clientForm  = regexp.MustCompile(`^[A-Za-z0-9_]{4,64}$`)
	versionForm = regexp.MustCompile(`^[0-9]{1,9}$`)
	wordForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// New checks the contract and gives its provider.
func New(c Config) (*Provider, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	p := &Provider{config: c}
	p.root = map[Family]string{Antom: "/ams", AlipayPlus: "/aps"}[c.Family]
	if strings.HasPrefix(c.ClientID, sandboxPrefix) {
		p.root += "/sandbox"
	}
	p.root += "/api/v1/payments/"
	if u, err := url.Parse(c.NotifyURL); err == nil { // checked above
		p.notify = u.EscapedPath()
	}
	return p, nil
}

func (c Config) withDefaults() Config {
	c.Base, c.Files = strings.TrimSuffix(c.Base, "/"), strings.TrimSuffix(c.Files, "/")
	if c.Family == "" {
		c.Family = Antom
	}
	if c.KeyVersion == "" {
		c.KeyVersion = "1"
	}
	if c.SettlementCurrency == "" {
		c.SettlementCurrency = c.Currency
	}
	if c.Zone == nil {
		c.Zone = time.FixedZone("Asia/Shanghai", 8*60*60)
	}
	for _, d := range []struct {
		into *time.Duration
		or   time.Duration
	}{{&c.PollEvery, pollDefault}, {&c.QuietTime, quietDefault}, {&c.Deadline, deadlineDefault}, {&c.CancelWithin, cancelDefault}} {
		if *d.into == 0 {
			*d.into = d.or
		}
	}
	return c
}

func (c Config) check() error {
	for _, a := range []struct{ name, text string }{{"base", c.Base}, {"files", c.Files}, {"notify_url", c.NotifyURL}} {
		u, err := url.Parse(a.text)
		switch {
		case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
			return ErrConfig.Explain("%s: want a web address without a query", a.name)
		case a.name == "base" && u.Path != "":
			return ErrConfig.Explain("base: want scheme and host alone; the path belongs to the protocol")
		case a.name == "notify_url" && u.Path == "":
			return ErrConfig.Explain("notify_url: want a path, which notifications are signed for")
		}
	}
	switch {
	case !clientForm.MatchString(c.ClientID):
		return ErrConfig.Explain("client_id: want 4 to 64 letters, digits and underscores")
	case c.Family != Antom && c.Family != AlipayPlus:
		return ErrConfig.Explain("family: want antom or alipayplus")
	case c.Collect != Agreement && c.Collect != PaymentCode && c.Collect != EntryCode && c.Collect != DualOffline:
		return ErrConfig.Explain("collect: want agreement, payment_code, entry_code or dual_offline")
	case !versionForm.MatchString(c.KeyVersion):
		return ErrConfig.Explain("key_version: want a number")
	case !wordForm.MatchString(c.Merchant) || !wordForm.MatchString(c.Method):
		return ErrConfig.Explain("merchant and method: want letters, digits, underscores and hyphens")
	case !c.Currency.Valid() || !c.SettlementCurrency.Valid() || (c.PayCurrency != "" && !c.PayCurrency.Valid()):
		return ErrConfig.Explain("currency, pay_currency and settlement_currency: want codes such as HKD")
	case c.PayCurrency == c.Currency:
		return ErrConfig.Explain("pay_currency: leave it out where riders pay in the fares' own currency")
	case c.HTTP == nil || c.Clock == nil:
		return ErrConfig.Explain("http and clock: both are needed")
	case min(c.PollEvery, c.QuietTime, c.Deadline, c.CancelWithin) < 0:
		return ErrConfig.Explain("times: want none negative")
	case c.Signer == nil:
		return ErrConfig.Explain("signer: missing")
	case len(c.PlatformKeys) == 0:
		return ErrConfig.Explain("platform_keys: missing, no answer could be believed")
	}
	if own, ok := c.Signer.Public().(*rsa.PublicKey); !ok || own.N.BitLen() < keyBitsMin {
		return ErrConfig.Explain("signer: want an RSA key of at least %d bits", keyBitsMin)
	}
	for version, key := range c.PlatformKeys {
		if key == nil || key.N.BitLen() < keyBitsMin || !versionForm.MatchString(version) {
			return ErrConfig.Explain("platform_keys[%.16q]: want an RSA key of at least %d bits under a number", version, keyBitsMin)
		}
	}
	return nil
}

// Describe implements [driver.Provider].
func (p *Provider) Describe() driver.Description {
	d := driver.Description{
		Name: "alipayplus", Version: string(p.config.Family) + "-" + string(p.config.Collect), Currencies: []citygate.Currency{p.config.Currency},
		BatchMax: 1, IDMax: idMax, ResubmitSafe: true,
		QuietTime: p.config.QuietTime, PollEvery: p.config.PollEvery, Deadline: p.config.Deadline,
		Limits: driver.Limits{
			AmountMin: 1, AmountMax: amountMax, RefundWithin: refundWithin, ReverseWithin: p.config.CancelWithin,
			Notices: driver.EveryFinalState,
		},
	}
	if p.config.Collect == PaymentCode || p.config.Collect == EntryCode {
		// Each wallet has its own; the platform publishes no list of them.
		d.PaymentCodes, d.Limits.PayerEvery = []driver.CodeForm{{Min: 8, Max: 128, Letters: true}}, pollDefault
	}
	return d
}

// Able implements [driver.Selective].
func (p *Provider) Able(c driver.Capability) bool {
	switch c {
	case driver.CapQuote:
		return p.config.PayCurrency != "" && p.config.Family == Antom
	case driver.CapDeviceEnroll, driver.CapArrears:
		return p.config.Collect == DualOffline && p.config.Family == Antom
	case driver.CapRefund, driver.CapReverse, driver.CapNotify, driver.CapBill:
		return true
	case driver.CapKeyFeed, driver.CapDenyFeed, driver.CapDenyPush, driver.CapEvidence, driver.CapRider, driver.CapContract,
		driver.CapAuthorize, driver.CapCardIssue, driver.CapCodeIssue, driver.CapCodeResolve, driver.CapMark:
	}
	return false
}
