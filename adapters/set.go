package adapters

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
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

// A Set is the products a gateway knows, by name.
type Set map[string]Product

// ErrUnknownProduct says that no product of that name was built in.
var ErrUnknownProduct = &citygate.Code{Name: "adapters.unknown_product", Kind: citygate.Invalid,
	Title: "This build has no payment adapter of that name."}

// Open makes the provider of the product called name.
func (s Set) Open(name string, deps Deps) (*Provider, error) {
	p, err := s.product(name)
	if err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		return nil, ErrInvalid.Because(nil, "the adapter %s needs a clock", name)
	}
	d, err := contained(name, func() (driver.Provider, error) { return p.Open(deps) })
	if err != nil {
		return nil, err
	}
	opened := New(d, deps.Clock)
	if following, err := FollowingOf(name, deps.Config); err == nil { // payments do not wait for a list's times to be corrected
		opened.lists, opened.bills = following.Lists, following.Bills
	}
	return opened, nil
}

func (s Set) product(name string) (Product, error) {
	p, ok := s[name]
	if !ok || p.Open == nil {
		return Product{}, ErrUnknownProduct.Explain("%.40q; there are %s", name, strings.Join(s.Names(), ", "))
	}
	return p, nil
}

// Replace has the product called name opened by construct, and gives what opened
// it before; the rest of what is known of it stays.
func (s Set) Replace(name string, construct Constructor) (before Constructor) {
	p := s[name]
	before, p.Name, p.Open = p.Open, name, construct
	s[name] = p
	return before
}

// Names lists the products that a tenant's contract can be of, in order.
func (s Set) Names() []string {
	names := make([]string, 0, len(s))
	for name, p := range s {
		if p.Open != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Decode reads the contract's configuration into c, without fields of other names.
func (d Deps) Decode(c any) error {
	dec := json.NewDecoder(bytes.NewReader(d.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		return fmt.Errorf("the contract's configuration: %w", err)
	}
	return nil
}

// RSAKey reads an RSA public key in PKIX DER, as configurations have them.
func RSAKey(der []byte) (*rsa.PublicKey, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is not a PKIX public key")
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("is not an RSA key")
	}
	return key, nil
}

// RSAKeys reads several, by the ids that the platform gives them.
func RSAKeys(named map[string][]byte) (map[string]*rsa.PublicKey, error) {
	keys := make(map[string]*rsa.PublicKey, len(named))
	for id, der := range named {
		key, err := RSAKey(der)
		if err != nil {
			return nil, fmt.Errorf("platform_keys[%.64q] %w", id, err)
		}
		keys[id] = key
	}
	return keys, nil
}
