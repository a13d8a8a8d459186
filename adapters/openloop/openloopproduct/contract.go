// Package openloopproduct makes the reference for contactless bank cards a product
// of the program: the form of a contract, the adapter that is opened for it, and
// the tools for those outside.
package openloopproduct

import (
	"cmp"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/openloop"
	"github.com/cashlesscity/citygate/adapters/schema"
)

// Key is the secret that a contract shares with its processor, by its name in the
// tenant's secret store.
const Key = "processor_key"

// A Contract is the configuration of a contract of the product "openloop".
type Contract struct {
	Base      string            `json:"base" format:"uri"`
	Merchant  string            `json:"merchant" minLength:"1"`
	Currency  citygate.Currency `json:"currency"`
	Rules     openloop.Rules    `json:"rules,omitzero" doc:"of the schemes, as the contract with the processor says"`
	NotifyURL string            `json:"notify_url,omitempty" format:"uri" doc:"default: the gateway's own address for this contract"`
	Zone      string            `json:"zone,omitempty" doc:"of the settlement files' days; default UTC"`

	adapters.Feeds
}

func init() {
	adapters.Register(adapters.Product{
		Name: "openloop", Title: "Contactless bank cards, by a reference protocol", Open: open, Tools: &tools,
		Config:  schema.Of[Contract]("A contract with a processor of contactless bank cards", nil),
		Secrets: []adapters.SecretField{{Name: Key, Doc: "shared with the processor; at least 32 bytes"}},
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	var c Contract
	if err := d.Decode(&c); err != nil {
		return nil, openloop.ErrConfig.Explain("%v", err)
	}
	zone := time.UTC
	if c.Zone != "" {
		var err error
		if zone, err = time.LoadLocation(c.Zone); err != nil {
			return nil, openloop.ErrConfig.Explain("zone: %.40q is none", c.Zone)
		}
	}
	return openloop.New(openloop.Config{
		Base: c.Base, Merchant: c.Merchant, Key: d.Secrets[Key], Currency: c.Currency, Rules: c.Rules, NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL), Zone: zone,
		HTTP: d.HTTP, Clock: d.Clock,
	})
}
