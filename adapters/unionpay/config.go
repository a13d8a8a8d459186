package unionpay

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrConfig says that a configuration cannot work.
var ErrConfig = &citygate.Code{Name: "unionpay.config", Kind: citygate.Invalid, Title: "The UnionPay contract is incomplete or wrong; correct the named field."}

// SignerName is what certificates of UnionPay's production say of their owner.
const SignerName = "中国银联股份有限公司"

const (
	version         = "5.1.0"
	signRSA         = "01"
	keyBitsMin      = 2048
	idMin, idMax    = 8, 32
	amountMax       = 1_000_000_00
	pollDefault     = 32 * time.Second // the last pause of the platform's own cadence of 1 to 32 s
	quietDefault    = 5 * time.Minute
	deadlineDefault = 15 * time.Second
	refundWithin    = 30 * 24 * time.Hour // payment codes; other products take 90 days
	noticeWithin    = 10 * time.Second

	cny citygate.Currency = "CNY"
)

// beijing is the platform's zone; it has had no daylight saving since 1991.
var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

// A Config is one merchant's contract.
type Config struct {
	Gateway string // such as https://gateway.95516.com/gateway/api, without the name of a call
	Files   string // base of the file call, such as https://filedownload.95516.com
	MerID   string // 15 digits
	TermID  string // 8 letters and digits

	Signer      crypto.Signer     // the merchant's RSA key
	Certificate *x509.Certificate // of that key, whose serial number goes into certId

	Roots         []*x509.Certificate // UnionPay's, pinned
	Intermediates []*x509.Certificate
	SignerName    string // default [SignerName]; the test platform's certificates name others

	BackURL string // where notifications go, without a query

	// Collect is how a payer is debited: [PaymentCode], the default, or [Token].
	Collect        Collect
	TokenRequestor string // trId, for Token

	// DisputeCodes are the transaction codes of a ZME file by which a payment is taken
	// back from the merchant or comes to him again. Rows of others are listed. Default
	// E23, E24 and E25.
	DisputeCodes []string

	HTTP  driver.Doer
	Clock citygate.Clock

	// The rest has defaults.

	PollEvery, QuietTime, Deadline time.Duration
}

// A Collect is how payers are debited.
type Collect string

// The ways: by a code that the payer shows, in its minute, or by a token that stands for
// the payer's card since he agreed to it (Debit.RiderRef), whenever the ride is collected.
const (
	PaymentCode Collect = "payment_code"
	Token       Collect = "token"
)

var tokenForm = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// A Provider is one contract. It is safe for concurrent use.
type Provider struct {
	config         Config
	certID         string
	roots, middles *x509.CertPool
}

var (
	_ driver.Provider   = (*Provider)(nil)
	_ driver.Refunder   = (*Provider)(nil)
	_ driver.Reverser   = (*Provider)(nil)
	_ driver.Notifier   = (*Provider)(nil)
	_ driver.Marker     = (*Provider)(nil)
	_ driver.Biller     = (*Provider)(nil)
	_ driver.BillReader = (*Provider)(nil)
)

// New checks the contract and gives its provider.
func New(c Config) (*Provider, error) {
	for name, text := range map[string]string{"gateway": c.Gateway, "files": c.Files, "back_url": c.BackURL} {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" {
			return nil, ErrConfig.Explain("%s: want a web address without a query", name)
		}
	}
	switch {
	case len(c.MerID) != 15 || !alnum(c.MerID):
		return nil, ErrConfig.Explain("mer_id: want 15 letters and digits")
	case len(c.TermID) != 8 || !alnum(c.TermID):
		return nil, ErrConfig.Explain("term_id: want 8 letters and digits")
	case c.HTTP == nil || c.Clock == nil:
		return nil, ErrConfig.Explain("http and clock: both are needed")
	case c.PollEvery < 0 || c.QuietTime < 0 || c.Deadline < 0:
		return nil, ErrConfig.Explain("times: want none negative")
	case c.Collect != "" && c.Collect != PaymentCode && c.Collect != Token:
		return nil, ErrConfig.Explain("collect: want payment_code or token")
	case c.Collect == Token && !tokenForm.MatchString(c.TokenRequestor):
		return nil, ErrConfig.Explain("token_requestor: want letters and digits")
	case c.Signer == nil || c.Certificate == nil:
		return nil, ErrConfig.Explain("signer and certificate: both are needed")
	case len(c.Roots) == 0:
		return nil, ErrConfig.Explain("roots: missing, no answer could be believed")
	}
	own, ok := c.Signer.Public().(*rsa.PublicKey)
	if !ok || own.N.BitLen() < keyBitsMin || !own.Equal(c.Certificate.PublicKey) {
		return nil, ErrConfig.Explain("signer: want an RSA key of at least %d bits, the certificate's", keyBitsMin)
	}
	if c.SignerName == "" {
		c.SignerName = SignerName
	}
	if c.DisputeCodes == nil {
		c.DisputeCodes = disputeCodes
	}
	for _, code := range c.DisputeCodes {
		if len(code) != 3 || !alnum(code) {
			return nil, ErrConfig.Explain("dispute_codes: %.16q: want 3 letters and digits", code)
		}
	}
	c.Gateway, c.Files = strings.TrimSuffix(c.Gateway, "/"), strings.TrimSuffix(c.Files, "/")
	c.PollEvery, c.QuietTime, c.Deadline = orDefault(c.PollEvery, pollDefault), orDefault(c.QuietTime, quietDefault), orDefault(c.Deadline, deadlineDefault)
	p := &Provider{config: c, certID: c.Certificate.SerialNumber.String(), roots: x509.NewCertPool(), middles: x509.NewCertPool()}
	for _, r := range c.Roots {
		p.roots.AddCert(r)
	}
	for _, m := range c.Intermediates {
		p.middles.AddCert(m)
	}
	return p, nil
}

// Describe implements [driver.Provider].
func (p *Provider) Describe() driver.Description {
	d := driver.Description{
		Name: "unionpay", Version: "acp-" + version, Currencies: []citygate.Currency{cny}, BatchMax: 1, IDMax: idMax,
		ResubmitSafe: false, // the same number at another time is another order
		QuietTime:    p.config.QuietTime, PollEvery: p.config.PollEvery, Deadline: p.config.Deadline,
		Limits: driver.Limits{
			IDMin: idMin, Charset: driver.Alnum, AmountMin: 1, AmountMax: amountMax, RefundWithin: refundWithin,
			ReverseWithin: 24 * time.Hour, QueryDelay: time.Second, Notices: driver.SuccessOnly, NoticeWithin: noticeWithin,
		},
	}
	if p.config.Collect != Token {
		// The network's own begin with 62 (an assumption); banks' codes are at most 20 digits.
		d.PaymentCodes, d.Limits.PayerEvery = []driver.CodeForm{{From: "62", To: "62", Min: 19, Max: 20}, {Min: 1, Max: 20}}, payerEvery
	}
	return d
}

// payerEvery is how often a payment may be asked about whose payer confirms it.
const payerEvery = 5 * time.Second

func orDefault(v, otherwise time.Duration) time.Duration {
	if v == 0 {
		return otherwise
	}
	return v
}

func alnum(s string) bool { return driver.Alnum.Holds(s) && s != "" }
