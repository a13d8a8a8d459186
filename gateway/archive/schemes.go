package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// schemesFile says how codes of other schemes were read.
const schemesFile = "schemes.json"

// A SchemeKeys is how an operator's terminals read the codes of a scheme under some
// of its bundles, and by what public keys.
type SchemeKeys struct {
	Operator citygate.TenantID `json:"operator"` // whose terminals
	Tenant   citygate.TenantID `json:"tenant"`   // who answers for the codes
	Scheme   code.SchemeID     `json:"scheme"`
	Params   json.RawMessage   `json:"params"`
	Keys     []ForeignKey      `json:"keys"`
}

// A ForeignKey is a public key of a scheme whose issuers are not the platform's.
type ForeignKey struct {
	Owner string `json:"owner,omitempty"`
	List  string `json:"list,omitempty"`
	Kind  string `json:"kind,omitempty"`
	ID    uint32 `json:"id"`
	Key   []byte `json:"key"` // base64, in the encoding that the scheme states
}

// addSchemes adds what a bundle says of other schemes, once.
func addSchemes(all map[string]SchemeKeys, operator citygate.TenantID, b *bundle.Bundle) error {
	for _, s := range b.Schemes {
		k := SchemeKeys{Operator: operator, Tenant: s.Tenant, Scheme: s.ID, Params: s.Params, Keys: []ForeignKey{}}
		if len(k.Params) == 0 {
			k.Params = json.RawMessage("{}")
		}
		for _, r := range s.Roots {
			k.Keys = append(k.Keys, ForeignKey(r))
		}
		name, err := json.Marshal(k)
		if err != nil {
			return err
		}
		all[string(name)] = k
	}
	return nil
}

// An Unproven counts accepted taps that no public key proves.
type Unproven struct {
	Scheme code.SchemeID `json:"scheme"`
	Taps   int           `json:"taps"`
	Why    string        `json:"why"`
}

// Why accepted taps are not proven by public keys.
const (
	byProvider = "only its provider can prove such a code: its answer is in foreign_codes.jsonl"
	bySecret   = "such a code is proven by a secret that its maker shares, and an export holds none"
	notRead    = "the export does not say how codes of its scheme were read: it was made by an earlier release"
)

// A reader verifies the codes of an operator's taps by exported keys.
type reader struct {
	own     *code.Dispatcher
	trust   *code.Trust
	cache   *code.Credentials
	others  []otherScheme
	told    bool // the export says how other schemes are read
	secrets map[code.SchemeID]bool
}

type otherScheme struct {
	id     code.SchemeID
	scheme *code.Dispatcher
	trust  *code.Trust
	cache  *code.Credentials
}

// newReader reads how an operator's codes are read.
func newReader(files fs.FS, operator citygate.TenantID, trust *code.Trust) (*reader, error) {
	r := &reader{own: code.NewDispatcher(ct1.Scheme{}), trust: trust, cache: code.NewCredentials(1 << 12), secrets: map[code.SchemeID]bool{}}
	raw, err := fs.ReadFile(files, schemesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, ErrTampered.Explain("%s: %v", schemesFile, err)
	}
	r.told = true
	var all []SchemeKeys
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, ErrTampered.Explain("%s: %v", schemesFile, err)
	}
	plugins := schemes.All()
	for _, k := range all {
		if k.Operator != operator {
			continue
		}
		i := slices.IndexFunc(plugins, func(p code.Plugin) bool { return p.ID == k.Scheme })
		if i < 0 {
			return nil, ErrTampered.Explain("%s: this build does not know the scheme %q", schemesFile, k.Scheme)
		}
		s, err := plugins[i].New(k.Params)
		if err != nil {
			return nil, ErrTampered.Explain("%s: scheme %q: %v", schemesFile, k.Scheme, err)
		}
		foreign := &code.Trust{Number: 1, Issuers: trust.Issuers, Foreign: map[code.KeyName][]byte{}}
		for _, f := range k.Keys {
			foreign.Foreign[code.KeyName{Scheme: k.Scheme, Owner: f.Owner, List: f.List, Kind: f.Kind, ID: f.ID}] = f.Key
		}
		r.others = append(r.others, otherScheme{k.Scheme, code.NewDispatcher(s), foreign, code.NewCredentials(1 << 8)})
		r.secrets[k.Scheme] = plugins[i].NeedsSecret
	}
	return r, nil
}

// verify says which scheme's public keys prove an accepted tap's code at an
// instant, in unix seconds, or why none can. What they could prove and do not is
// an error, in words.
func (r *reader) verify(raw []byte, at int64) (scheme code.SchemeID, why string, err error) {
	var c code.Code
	var failed []string
	try := func(id code.SchemeID, d *code.Dispatcher, keys code.KeySource, cache *code.Credentials) (proven bool) {
		c = code.Code{}
		if d.Parse(raw, &c) != nil {
			return false
		}
		c.Place(at)
		v := d.Verify(&c, keys, cache)
		switch {
		case v.Outcome == code.Accept:
			scheme = id
			return true
		case v.Outcome == code.Defer:
			scheme, why = id, byProvider
		case r.secrets[id]:
			scheme, why = id, bySecret
		default:
			failed = append(failed, fmt.Sprintf("%s: %s", id, v.Reason))
		}
		return false
	}
	if try(ct1.ID, r.own, r.trust, r.cache) {
		return scheme, "", nil
	}
	for _, o := range r.others {
		if try(o.id, o.scheme, o.trust, o.cache) {
			return scheme, "", nil
		}
	}
	switch {
	case why != "":
		return scheme, why, nil
	case len(failed) > 0:
		return "", "", fmt.Errorf("its code does not verify with the exported keys: %s", strings.Join(failed, ", "))
	case r.told:
		return "", "", errors.New("its code is of no scheme that the exported bundles say how to read")
	}
	return "", notRead, nil
}
