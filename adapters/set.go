package adapters

import (
	"crypto"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Deps is all a driver gets from its host. Secrets are resolved already; a
// driver never sees the store they come from.
type Deps struct {
	Config  json.RawMessage            // the tenant's contract with the product
	Signer  crypto.Signer              // the merchant's key, if the product wants signatures
	Secrets map[string]citygate.Secret // by the names the driver documents
	HTTP    driver.Doer
	Clock   citygate.Clock
	Random  io.Reader // for nonces
	// NotifyURL is the contract's own address for notifications; empty where the
	// gateway has no public one. A configuration that names another goes before it.
	NotifyURL string
	Files     *os.Root // an open directory of the host's, for the sandbox alone; nil in production
}

// A Constructor makes a driver of one product for one contract. It validates
// everything it is given and does no I/O over the network.
type Constructor func(Deps) (driver.Provider, error)

// A Set is the products a build knows, by name. It is a value that cmd builds,
// not a registry that packages add themselves to.
type Set map[string]Constructor

// ErrUnknownProduct says that no product of that name was built in.
var ErrUnknownProduct = &citygate.Code{Name: "adapters.unknown_product", Kind: citygate.Invalid,
	Title: "This build has no payment adapter of that name."}

// Open makes the provider of the product called name.
func (s Set) Open(name string, deps Deps) (*Provider, error) {
	construct, ok := s[name]
	if !ok {
		return nil, ErrUnknownProduct.Explain("%q; there are %s", name, strings.Join(s.Names(), ", "))
	}
	if deps.Clock == nil {
		return nil, ErrInvalid.Because(nil, "the adapter %s needs a clock", name)
	}
	d, err := construct(deps)
	if err != nil {
		return nil, err
	}
	return New(d, deps.Clock), nil
}

// Names lists the products in order.
func (s Set) Names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
