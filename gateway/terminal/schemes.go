package terminal

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// An Unread is a code scheme that the policy allows and that is not read, with
// the reason. Its codes are answered unsupported.
type Unread struct {
	Scheme code.SchemeID
	Why    string
}

// Schemes puts together what the terminals of a bundle read: the schemes of the
// policy, in its order. One that always reads without parameters comes from
// base; any other is made by its plug-in from the parameters in the bundle.
//
// The entry of the operator itself counts before others'. Without it there must
// be one alone: two tenants that both collect for a scheme's codes cannot be told
// apart by a code. An entry whose codes would be another tenant's riders is not
// read. What a terminal cannot read it leaves out; the rest of the bundle stands.
func Schemes(b *bundle.Bundle, rules *accept.Rules, base *code.Dispatcher, plugins []code.Plugin) (*code.Dispatcher, []Unread) {
	var list []code.Scheme
	var unread []Unread
	for _, id := range rules.Schemes {
		if s, ok := base.Scheme(id); ok {
			list = append(list, s)
			continue
		}
		s, err := fromBundle(b, id, plugins)
		if err != nil {
			unread = append(unread, Unread{id, err.Error()})
			continue
		}
		list = append(list, s)
	}
	return code.NewDispatcher(list...), unread
}

func fromBundle(b *bundle.Bundle, id code.SchemeID, plugins []code.Plugin) (code.Scheme, error) {
	p := slices.IndexFunc(plugins, func(p code.Plugin) bool { return p.ID == id })
	if p < 0 {
		return nil, fmt.Errorf("this build does not know %q", id)
	}
	entry, err := entryOf(b, id)
	if err != nil {
		return nil, err
	}
	if err := CheckEntry(entry, issuerOf(b, entry.Tenant)); err != nil {
		return nil, err
	}
	return plugins[p].New(entry.Params)
}

func entryOf(b *bundle.Bundle, id code.SchemeID) (bundle.Scheme, error) {
	var found []bundle.Scheme
	home, _ := b.Home()
	for _, s := range b.Schemes {
		if s.ID != id {
			continue
		}
		if s.Tenant == home.ID {
			return s, nil
		}
		found = append(found, s)
	}
	switch len(found) {
	case 0:
		return bundle.Scheme{}, fmt.Errorf("the bundle has no entry of %q", id)
	case 1:
		return found[0], nil
	}
	return bundle.Scheme{}, fmt.Errorf("tenants %d and %d both have an entry of %q", found[0].Tenant, found[1].Tenant, id)
}

func issuerOf(b *bundle.Bundle, tenant citygate.TenantID) citygate.Issuer {
	i := slices.IndexFunc(b.Tenants, func(t bundle.Tenant) bool { return t.ID == tenant })
	if i < 0 {
		return 0
	}
	return b.Tenants[i].Issuer
}

// CheckEntry refuses a scheme's entry that does not name issuer, the number of
// the tenant whose entry it is, as the one that answers for its codes.
func CheckEntry(entry bundle.Scheme, issuer citygate.Issuer) error {
	var common struct {
		Issuer citygate.Issuer `json:"issuer"`
	}
	if err := json.Unmarshal(entry.Params, &common); err != nil {
		return fmt.Errorf("parameters of %q: %w", entry.ID, err)
	}
	if common.Issuer == 0 || common.Issuer != issuer {
		return fmt.Errorf("parameters of %q: issuer %d is not tenant %d's, which is %d", entry.ID, common.Issuer, entry.Tenant, issuer)
	}
	return nil
}

// Secrets gives the secrets that codes of some schemes are made with: a secure
// module in the validator, which never lets its master out. A bundle carries none.
type Secrets interface {
	Secret(scheme code.SchemeID, pass []byte) (citygate.Secret, code.Reason)
}

// A keyring is a bundle with the secrets of the terminal's secure module.
type keyring struct {
	*bundle.Bundle
	Secrets
}

var _ code.SecretSource = keyring{}

// Keyring gives b as a source of keys, which with secrets is a
// [code.SecretSource] too.
func Keyring(b *bundle.Bundle, secrets Secrets) code.KeySource {
	if secrets == nil {
		return b
	}
	return keyring{b, secrets}
}
