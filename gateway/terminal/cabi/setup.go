package main

import (
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A decider is what citygate_decider_open makes of its set-up.
type decider struct {
	terminal.Decider
	mode  accept.Mode
	lists []denyList
}

// deciderSetup is the JSON of citygate_decider_open.
type deciderSetup struct {
	Rules *accept.Rules `json:"rules"`
	Mode  accept.Mode   `json:"mode"`
	Keys  []issuerKey   `json:"keys"`
	Lists []denyList    `json:"lists"`
	Seen  []use         `json:"seen"`
}

type issuerKey struct {
	Issuer    citygate.Issuer `json:"issuer"`
	KeyID     uint8           `json:"kid"`
	Alg       string          `json:"alg"`
	Public    string          `json:"public_hex"`
	NotBefore int64           `json:"not_before"`
	Expires   int64           `json:"expires"`
	Revoked   bool            `json:"revoked"`
}

type denyList struct {
	Issuer     citygate.Issuer `json:"issuer"`
	List       uint16          `json:"list"`
	BuiltAt    int64           `json:"built_at"`
	KnownAt    int64           `json:"known_at"`
	ValidUntil int64           `json:"valid_until"`
	Issued     uint32          `json:"issued"`
	Denied     []uint32        `json:"denied"`
}

type use struct {
	Issuer  citygate.Issuer `json:"issuer"`
	List    uint16          `json:"list"`
	Index   uint32          `json:"index"`
	Counter uint16          `json:"counter"`
}

func newDecider(setup string) (*decider, error) {
	var s deciderSetup
	if err := code.Decode([]byte(setup), &s); err != nil {
		return nil, errSetup.Explain("%v", err)
	}
	if s.Rules == nil {
		return nil, errSetup.Explain("rules: missing")
	}
	if err := s.Rules.Check(); err != nil {
		return nil, err
	}
	keys, err := newKeyTable(s.Keys)
	if err != nil {
		return nil, err
	}
	for _, l := range s.Lists {
		slices.Sort(l.Denied)
	}
	d := &decider{mode: s.Mode, lists: s.Lists}
	d.Schemes, d.Rules, d.Keys = code.NewDispatcher(ct1.Scheme{}), s.Rules, keys
	d.Credentials = code.NewCredentials(credentials)
	seen := make(map[code.Use]bool, len(s.Seen))
	for _, u := range s.Seen {
		seen[code.Use{Rider: citygate.Rider{Issuer: u.Issuer, List: u.List, Index: u.Index}, Counter: u.Counter}] = true
	}
	d.Seen = func(u code.Use) bool { return seen[u] }
	return d, nil
}

// credentials is how many riders a decider or terminal remembers.
const credentials = 4096

// issueSettles is how long after its issue a credential must show in a list, in
// seconds: as in gateway/denylist.
const issueSettles = 15 * 60

// standing says why a rider may not ride by the lists of the set-up, "" if he may.
func (d *decider) standing(c *code.Code, f accept.Facts) code.Reason {
	for _, l := range d.lists {
		if l.Issuer != c.Rider.Issuer || l.List != c.Rider.List {
			continue
		}
		if _, denied := slices.BinarySearch(l.Denied, c.Rider.Index); denied {
			return code.Denied
		}
		if c.Rider.Index >= l.Issued && c.IssuedAt+issueSettles < l.BuiltAt {
			return code.NotIssued
		}
		return d.Rules.Freshness(c, f, accept.List{Held: true, Expired: f.At/1000 >= l.ValidUntil, At: l.KnownAt})
	}
	return d.Rules.Freshness(c, f, accept.List{})
}

// A keyTable is the issuers' keys of a set-up.
type keyTable map[code.IssuerKeyName]heldKey

type heldKey struct {
	issuerKey
	public crypto.PublicKey
}

func newKeyTable(keys []issuerKey) (keyTable, error) {
	t := make(keyTable, len(keys))
	for i, k := range keys {
		one, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"tenant": k.Issuer, "kid": k.KeyID, "alg": k.Alg, "public_hex": k.Public}}})
		if err != nil {
			return nil, err
		}
		trust, err := ct1.Plugin.Trust(one)
		if err != nil {
			return nil, errSetup.Explain("keys[%d]: %v", i, err)
		}
		public, _ := trust.IssuerKey(k.Issuer, k.KeyID, k.NotBefore)
		t[code.IssuerKeyName{Issuer: k.Issuer, KeyID: k.KeyID}] = heldKey{k, public}
	}
	return t, nil
}

// Version is constant: a set-up does not change.
func (t keyTable) Version() uint64 { return 1 }

// IssuerKey implements [code.KeySource].
func (t keyTable) IssuerKey(issuer citygate.Issuer, keyID uint8, issuedAt int64) (crypto.PublicKey, code.Reason) {
	k, ok := t[code.IssuerKeyName{Issuer: issuer, KeyID: keyID}]
	switch {
	case !ok:
		for name := range t {
			if name.Issuer == issuer {
				return nil, code.UnknownKey
			}
		}
		return nil, code.UnknownIssuer
	case k.Revoked || issuedAt >= k.Expires:
		return nil, code.KeyRevoked
	case issuedAt < k.NotBefore:
		return nil, code.UnknownKey
	}
	return k.public, ""
}

// A station is a terminal and the directory it has open.
type station struct {
	verifier *terminal.Verifier
	root     *os.Root
}

func (s *station) close() error { return errors.Join(s.verifier.Close(), s.root.Close()) }

// terminalSetup is the JSON of citygate_terminal_open.
type terminalSetup struct {
	Tenant    citygate.TenantID `json:"tenant"`
	Terminal  uint32            `json:"terminal"`
	Mode      accept.Mode       `json:"mode"`
	Software  string            `json:"software"`
	BootID    uint32            `json:"boot_id"`
	Roots     []string          `json:"roots_hex"`
	Threshold int               `json:"threshold"`
}

func newStation(directory, setup string, sign func([]byte) ([]byte, error)) (*station, error) {
	var s terminalSetup
	if err := code.Decode([]byte(setup), &s); err != nil {
		return nil, errSetup.Explain("%v", err)
	}
	switch {
	case s.Tenant <= 0:
		return nil, errSetup.Explain("tenant: must be positive")
	case s.Threshold < 1 || s.Threshold > len(s.Roots):
		return nil, errSetup.Explain("threshold: want 1 to the number of roots_hex")
	}
	roots := make([]bundle.RootKey, len(s.Roots))
	for i, text := range s.Roots {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, errSetup.Explain("roots_hex[%d]: want 32 bytes in hexadecimal", i)
		}
		roots[i].Public = key
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, errSetup.Because(err, "directory")
	}
	v, err := terminal.Open(terminal.Config{
		Files: terminal.Dir(root), Tenant: s.Tenant, KeyID: s.Terminal, Sign: sign, Mode: s.Mode, Software: s.Software, BootID: s.BootID,
		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(credentials), Roots: roots, Threshold: s.Threshold,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open terminal: %w", err), root.Close())
	}
	return &station{v, root}, nil
}
