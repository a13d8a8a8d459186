// Package remoteproduct makes the product "http" of the program: an adapter that is
// a program of its own, in any language. A contract's configuration is a
// [remote.Contract], as `citygate adapter contract` prints it; its part config is
// held to the JSON Schema of the program's manifest.
package remoteproduct

import (
	"encoding/json"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
	"github.com/cashlesscity/citygate/adapters/schema"
)

// A Contract is the configuration of a contract of the product "http".
type Contract struct {
	remote.Contract
	adapters.Feeds
}

func init() {
	adapters.Register(adapters.Product{
		Name: "http", Title: "An adapter in any language, by the HTTP provider protocol", Signed: true, Open: open, Check: check,
		Config: schema.Of[Contract]("A contract with an adapter program", nil),
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	var c Contract
	if err := d.Decode(&c); err != nil {
		return nil, remote.ErrConfig.Explain("%v", err)
	}
	return remote.Open(remote.Config{
		Contract: c.Contract, Secrets: d.Secrets, Signer: d.Signer, HTTP: d.HTTP, Clock: d.Clock, Random: d.Random, NotifyURL: d.NotifyURL,
	})
}

// check holds what the program's manifest says before a contract is kept.
func check(config json.RawMessage) error {
	var c Contract
	if err := (adapters.Deps{Config: config}).Decode(&c); err != nil {
		return remote.ErrConfig.Explain("%v", err)
	}
	if err := c.Manifest.Check(); err != nil {
		return err
	}
	if len(c.Config) == 0 {
		c.Config = json.RawMessage("{}")
	}
	return c.Manifest.Accepts(c.Config)
}
