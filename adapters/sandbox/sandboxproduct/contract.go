// Package sandboxproduct makes the in-process sandbox a product of the program.
package sandboxproduct

import (
	"errors"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/adapters/schema"
)

func init() {
	adapters.Register(adapters.Product{
		Name: "sandbox", Title: "Moves no money: for trying Citygate without an account anywhere", InProcess: true, Open: open,
		Config: schema.Of[sandbox.Config]("A contract with the sandbox", nil),
	})
}

func open(d adapters.Deps) (driver.Provider, error) {
	if d.Files == nil {
		return nil, errors.New("the sandbox needs a directory for its book")
	}
	return sandbox.Open(d.Files, d.Clock, d.Config)
}
