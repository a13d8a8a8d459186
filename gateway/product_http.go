package gateway

import (
	"bytes"
	"encoding/json"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
)

// openHTTP opens a contract of the product "http": an adapter that is a program
// of its own. The contract's configuration is a [remote.Contract], as `citygate
// adapter contract` prints it.
func openHTTP(d adapters.Deps) (driver.Provider, error) {
	var c remote.Contract
	dec := json.NewDecoder(bytes.NewReader(d.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, remote.ErrConfig.Explain("the contract's configuration: %v", err)
	}
	return remote.Open(remote.Config{Contract: c, Secrets: d.Secrets, Signer: d.Signer, HTTP: d.HTTP, Clock: d.Clock, Random: d.Random})
}
