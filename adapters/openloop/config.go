package openloop

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrConfig says that a configuration cannot work.
var ErrConfig = &citygate.Code{Name: "openloop.config", Kind: citygate.Invalid, Title: "The card contract is incomplete or wrong; correct the named field."}

const (
	idMax           = 40
	keyMin          = 32
	amountMax       = 1_000_000_00
	pollDefault     = 10 * time.Second
	quietDefault    = 5 * time.Minute
	deadlineDefault = 20 * time.Second
	refundDefault   = 180 * 24 * time.Hour
)

// Rules are what the schemes' contracts say. None of it is public, so none has a
// default.
type Rules struct {
	// FirstRideMax is the highest decline that may be captured all the same, in
	// minor units; 0 = none may.
	FirstRideMax int64 `json:"first_ride_max_minor,omitempty"`
	// AggregateWithin is how old the first ride of an aggregate may be.
	AggregateWithin Duration `json:"aggregate_within,omitzero"`
	// OverCapture says that more may be captured than was authorised.
	OverCapture bool `json:"over_capture,omitempty"`
	// RecoverTries and RecoverWithin are how often, and how long after the decline, the
	// merchant may ask for a debt on his own; 0 = the contract says nothing of it.
	RecoverTries  int      `json:"recover_tries,omitempty"`
	RecoverWithin Duration `json:"recover_within,omitzero"`
}

// A Duration is a time such as "336h".
type Duration time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// A Config is one merchant's contract.
type Config struct {
	Base     string // scheme, host and path in front of /v1
	Merchant string
	Key      citygate.Secret // shared with the processor
	Currency citygate.Currency
	Rules    Rules

	NotifyURL string // where the processor tells of transactions, without a query; "" = it does not

	HTTP  driver.Doer
	Clock citygate.Clock

	// The rest has defaults.

	Zone                                        *time.Location // of the settlement files' days; default UTC
	PollEvery, QuietTime, Deadline, RefundUntil time.Duration
}

// A Provider is one contract. It is safe for concurrent use.
type Provider struct {
	config Config
	root   string // path in front of calls
	notify string
}

var (
	_ driver.Provider   = (*Provider)(nil)
	_ driver.Refunder   = (*Provider)(nil)
	_ driver.Reverser   = (*Provider)(nil)
	_ driver.Notifier   = (*Provider)(nil)
	_ driver.Biller     = (*Provider)(nil)
	_ driver.BillReader = (*Provider)(nil)
	_ driver.DenyFeed   = (*Provider)(nil)
	_ driver.RiderCheck = (*Provider)(nil)
	_ driver.Authorizer = (*Provider)(nil)
	_ driver.Selective  = (*Provider)(nil)
)

var merchantForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

// New checks the contract and gives its provider.
func New(c Config) (*Provider, error) {
	c.Base = strings.TrimSuffix(c.Base, "/")
	for _, a := range []struct{ name, text string }{{"base", c.Base}, {"notify_url", c.NotifyURL}} {
		if a.name == "notify_url" && a.text == "" {
			continue
		}
		u, err := url.Parse(a.text)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, ErrConfig.Explain("%s: want a web address without a query", a.name)
		}
	}
	switch {
	case !merchantForm.MatchString(c.Merchant):
		return nil, ErrConfig.Explain("merchant: want at most 40 letters, digits, underscores and hyphens")
	case len(c.Key.Reveal()) < keyMin:
		return nil, ErrConfig.Explain("key: want a secret of at least %d bytes", keyMin)
	case !c.Currency.Valid():
		return nil, ErrConfig.Explain("currency: want a code such as EUR")
	case min(c.Rules.FirstRideMax, int64(c.Rules.AggregateWithin), int64(c.Rules.RecoverTries), int64(c.Rules.RecoverWithin)) < 0:
		return nil, ErrConfig.Explain("rules: want none negative")
	case c.HTTP == nil || c.Clock == nil:
		return nil, ErrConfig.Explain("http and clock: both are needed")
	case min(c.PollEvery, c.QuietTime, c.Deadline, c.RefundUntil) < 0:
		return nil, ErrConfig.Explain("times: want none negative")
	}
	for _, d := range []struct {
		into *time.Duration
		or   time.Duration
	}{{&c.PollEvery, pollDefault}, {&c.QuietTime, quietDefault}, {&c.Deadline, deadlineDefault}, {&c.RefundUntil, refundDefault}} {
		if *d.into == 0 {
			*d.into = d.or
		}
	}
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	p := &Provider{config: c}
	if u, err := url.Parse(c.Base); err == nil { // checked above
		p.root = u.EscapedPath() + "/v1/merchants/" + c.Merchant
	}
	if u, err := url.Parse(c.NotifyURL); err == nil {
		p.notify = u.EscapedPath()
	}
	return p, nil
}

// Describe implements [driver.Provider].
func (p *Provider) Describe() driver.Description {
	d := driver.Description{
		Name: "openloop", Version: "reference-1", Currencies: []citygate.Currency{p.config.Currency}, BatchMax: 1, IDMax: idMax, ResubmitSafe: true,
		QuietTime: p.config.QuietTime, PollEvery: p.config.PollEvery, Deadline: p.config.Deadline,
		Limits: driver.Limits{
			AmountMin: 1, AmountMax: amountMax, RefundWithin: p.config.RefundUntil, FirstRide: p.config.Rules.FirstRideMax > 0,
			OverCapture: p.config.Rules.OverCapture,
			Recoveries: driver.Recoveries{
				ByMerchant: true, ByRider: true, ByTap: true, Tries: p.config.Rules.RecoverTries, Within: time.Duration(p.config.Rules.RecoverWithin),
			},
		},
	}
	if p.config.NotifyURL != "" {
		d.Limits.Notices = driver.EveryFinalState
	}
	return d
}

// Able implements [driver.Selective].
func (p *Provider) Able(c driver.Capability) bool {
	return c != driver.CapNotify || p.config.NotifyURL != "" // what it has no method for nobody finds
}
