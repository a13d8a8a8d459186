package adapters

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/party"
	"github.com/cashlesscity/citygate/adapters/schema"
)

// A Product is all that the program knows of a payment product. It lives in the
// product's folder, beside adapter and simulator, and reaches the program by a line
// in package builtin: nothing else names a product.
type Product struct {
	Name  string
	Title string // a line for people

	// Config is the JSON Schema of a contract's configuration; what Open reads
	// beyond it, Check can hold before a contract is kept.
	Config json.RawMessage
	Check  func(config json.RawMessage) error

	Secrets   []SecretField // that a contract can have
	Signed    bool          // requests are signed with the tenant's key of purpose provider-<name>
	InProcess bool          // it plays a product here, moves no money, and its time is the tenant's

	Open  Constructor  // nil: no contract of a tenant can be of it
	Tools *party.Tools // for those outside; nil: none
}

// A SecretField is a secret of a contract, by its name in the tenant's secret store.
type SecretField struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

var registered = Set{}

var productName = regexp.MustCompile(`^[a-z][a-z0-9]{1,29}$`)

// Register makes a product known to [Registered]. A product's own package calls it
// once, when it is imported.
func Register(p Product) {
	if _, twice := registered[p.Name]; twice || !productName.MatchString(p.Name) || (p.Open == nil && p.Tools == nil) {
		panic(fmt.Sprintf("adapters: a product called %q: twice, or without a name, or of no use", p.Name))
	}
	if _, err := schema.Compile(p.Config); p.Open != nil && err != nil {
		panic(fmt.Sprintf("adapters: the schema of %s: %v", p.Name, err))
	}
	registered[p.Name] = p
}

// Registered gives the products whose packages are part of the program. It is read
// by package builtin, which lists them.
func Registered() Set {
	s := Set{}
	for name, p := range registered {
		s[name] = p
	}
	return s
}

// CheckConfig holds a contract's configuration to its product's schema.
func (s Set) CheckConfig(name string, config json.RawMessage) error {
	p, err := s.product(name)
	if err != nil || len(p.Config) == 0 {
		return err
	}
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	form, err := schema.Compile(p.Config)
	if err != nil {
		return err
	}
	if err := form.Check(config, "/config"); err != nil {
		return driver.ErrConfig.Explain("%s", err)
	}
	if _, err := FollowingOf(name, config); err != nil {
		return err
	}
	if p.Check != nil {
		return p.Check(config)
	}
	return nil
}
