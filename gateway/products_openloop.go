package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/openloop"
)

// OpenloopKey is the secret that a contract of the product "openloop" shares with
// its processor, by its name in the tenant's secret store; at least 32 bytes.
const OpenloopKey = "processor_key"

// OpenloopContract is the configuration of a contract of the product "openloop",
// the reference for contactless bank cards.
type OpenloopContract struct {
	Base      string            `json:"base"`
	Merchant  string            `json:"merchant"`
	Currency  citygate.Currency `json:"currency"`
	Rules     openloop.Rules    `json:"rules,omitzero"`       // of the schemes, as the contract with the processor says
	NotifyURL string            `json:"notify_url,omitempty"` // default the gateway's own address for this contract
	Zone      string            `json:"zone,omitempty"`       // of the settlement files' days; default UTC
}

func openOpenloop(d adapters.Deps) (driver.Provider, error) {
	var c OpenloopContract
	dec := json.NewDecoder(bytes.NewReader(d.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, openloop.ErrConfig.Explain("the contract's configuration: %v", err)
	}
	zone := time.UTC
	if c.Zone != "" {
		var err error
		if zone, err = time.LoadLocation(c.Zone); err != nil {
			return nil, openloop.ErrConfig.Explain("zone: %.40q is none", c.Zone)
		}
	}
	return openloop.New(openloop.Config{
		Base: c.Base, Merchant: c.Merchant, Key: d.Secrets[OpenloopKey], Currency: c.Currency, Rules: c.Rules, NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL), Zone: zone,
		HTTP: d.HTTP, Clock: d.Clock,
	})
}
