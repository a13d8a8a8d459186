package bundle

import (
	"bytes"
	"cmp"
	"crypto"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// Limits of a bundle. A validator has half a megabyte for everything it keeps.
const (
	BytesMax   = 512 << 10
	TenantsMax = 1024
	KeysMax    = 4096
	SchemesMax = 256 // entries of schemes
	PolicyMax  = 32 << 10
	FaresMax   = 32 << 10
	ParamsMax  = 16 << 10       // of one scheme of one tenant
	ForeignMax = 1024           // foreign roots of one scheme of one tenant
	LifeMax    = 92 * 24 * 3600 // seconds from Issued to Expires
)

// A Tenant is what a terminal must know about a tenant: how to read its codes
// and, if it is the terminal's own, which policy to apply.
type Tenant struct {
	ID            citygate.TenantID
	Issuer        citygate.Issuer // 0 = issues no codes
	Name          string
	Currency      citygate.Currency
	CapUnit       int64  // minor units of one cap step on its codes
	MaxTTLHours   uint32 // longest life of its credentials
	PolicyVersion uint64
	Policy        []byte // opaque here
	Home          bool   // the operator the terminal belongs to
	Fares         []byte // what its readers may know of its prices; opaque here
}

// A DenyFloor is the lowest sequence number of a deny list that may be used:
// an older list would let riders through again.
type DenyFloor struct {
	Issuer citygate.Issuer
	List   uint16
	Seq    uint32
}

// A Scheme is how a tenant's codes of one scheme are read: parameters and keys
// that are not ours. Everything in it is opaque here; the scheme's own package
// says what the bytes are and checks them.
type Scheme struct {
	Tenant citygate.TenantID
	ID     code.SchemeID
	Params []byte // as [code.Plugin] takes them
	Roots  []ForeignRoot
}

// A ForeignRoot is a key of somebody else's trust: a certificate authority of a
// ministry, a key of a payment provider's list. The fields but Key name it as
// [code.KeyName] does. In one bundle a name stands for one key, whoever of the
// tenants brings it.
type ForeignRoot struct {
	Owner string // at most 64 bytes, as List and Kind
	List  string
	Kind  string
	ID    uint32
	Key   []byte // in the encoding that the scheme states, 1 byte to 2 KiB
}

// A Bundle is what terminals of one operator trust from Issued to Expires: that
// operator and those it accepts, not the whole world. Fill one and [Sign] it;
// only one that came from [Open] or [Bundle.Follow] answers look-ups.
type Bundle struct {
	Number     uint64   // version of the bundle, from 1, strictly increasing
	Issued     int64    // unix seconds
	Expires    int64    // unix seconds, exclusive
	Prev       [32]byte // Digest of the bundle before; zero on the first
	RootSets   [][]byte // signed [RootSet]s, oldest first; the last one signs this bundle
	Tenants    []Tenant
	Keys       []Key
	Schemes    []Scheme
	MinBundle  uint64 // bundles below are refused from now on
	DenyFloors []DenyFloor
	Profiles   []TerminalProfile // ascending by their terminals

	// Roots and Threshold are those of the last root set, filled in by Open.
	Roots     []RootKey
	Threshold uint8

	m       *message
	sets    []RootSet
	slots   []keySlot          // ascending
	publics []crypto.PublicKey // of each of Keys
	tenants map[citygate.TenantID]int
	issuers map[citygate.Issuer]int
	foreign map[code.KeyName][]byte
}

var _ code.ForeignKeySource = (*Bundle)(nil)

// slot is where a key is looked up: one usage bit at a time, so that a key of
// another usage is simply not there.
type slot struct {
	issuer citygate.Issuer
	usage  Usage
	kid    uint8
}

// A keySlot says which of Keys is in a slot. KeysMax fits.
type keySlot struct {
	slot
	key uint16
}

func compareSlots(a, b slot) int {
	return cmp.Or(cmp.Compare(a.issuer, b.issuer), cmp.Compare(a.usage, b.usage), cmp.Compare(a.kid, b.kid))
}

// at gives the key in a slot, and its public key.
func (b *Bundle) at(s slot) (*Key, crypto.PublicKey, bool) {
	i, ok := slices.BinarySearchFunc(b.slots, s, func(held keySlot, s slot) int { return compareSlots(held.slot, s) })
	if !ok {
		return nil, nil, false
	}
	n := b.slots[i].key
	return &b.Keys[n], b.publics[n], true
}

// Raw gives the signed bytes the bundle was opened from. The caller must not
// change them.
func (b *Bundle) Raw() []byte {
	if b.m == nil {
		return nil
	}
	return b.m.raw
}

// Digest is the SHA-256 of what the bundle says, without the signatures: Prev
// of the next bundle. Which of the roots signed makes no other bundle.
func (b *Bundle) Digest() [32]byte {
	if b.m == nil {
		return [32]byte{}
	}
	return b.m.digest()
}

// RootSet gives the root set that signed the bundle.
func (b *Bundle) RootSet() RootSet {
	if len(b.sets) == 0 {
		return RootSet{}
	}
	return b.sets[len(b.sets)-1]
}

// Version gives the bundle's number, as [code.KeySource] wants it.
func (b *Bundle) Version() uint64 { return b.Number }

// IssuerKey gives the issuer's credential key keyID if it may have signed a
// credential issued at issuedAt (unix seconds). A key that is published but not
// yet active verifies from its NotBefore on: the terminal may hold this bundle
// for weeks after the key went into use.
func (b *Bundle) IssuerKey(issuer citygate.Issuer, keyID uint8, issuedAt int64) (crypto.PublicKey, code.Reason) {
	k, public, ok := b.at(slot{issuer, ForCredential, keyID})
	switch {
	case !ok:
		return nil, b.missing(issuer)
	case k.State == Revoked || issuedAt >= k.Expires || k.NotIssuedAfter != 0 && issuedAt > k.NotIssuedAfter:
		return nil, code.KeyRevoked
	case issuedAt < k.NotBefore:
		return nil, code.UnknownKey
	}
	return public, ""
}

// DenyKey gives the issuer's deny list key kid. A Reason other than "" refuses.
func (b *Bundle) DenyKey(issuer citygate.Issuer, kid uint8) (crypto.PublicKey, code.Reason) {
	return b.key(slot{issuer, ForDenyList, kid})
}

// HeartbeatKey gives the issuer's key kid if it may sign heartbeats.
func (b *Bundle) HeartbeatKey(issuer citygate.Issuer, kid uint8) (crypto.PublicKey, code.Reason) {
	return b.key(slot{issuer, ForHeartbeat, kid})
}

func (b *Bundle) key(at slot) (crypto.PublicKey, code.Reason) {
	k, public, ok := b.at(at)
	switch {
	case !ok:
		return nil, b.missing(at.issuer)
	case k.State == Revoked:
		return nil, code.KeyRevoked
	}
	return public, ""
}

func (b *Bundle) missing(issuer citygate.Issuer) code.Reason {
	if _, ok := b.issuers[issuer]; ok {
		return code.UnknownKey
	}
	return code.UnknownIssuer
}

// FaresFor gives what readers may know of a tenant's prices.
func (b *Bundle) FaresFor(tenant citygate.TenantID) (fares []byte, ok bool) {
	i, ok := b.tenants[tenant]
	if !ok || len(b.Tenants[i].Fares) == 0 {
		return nil, false
	}
	return b.Tenants[i].Fares, true
}

// PolicyFor gives the encoded policy of a tenant and its version.
func (b *Bundle) PolicyFor(tenant citygate.TenantID) (policy []byte, version uint64, ok bool) {
	i, ok := b.tenants[tenant]
	if !ok || len(b.Tenants[i].Policy) == 0 {
		return nil, 0, false
	}
	return b.Tenants[i].Policy, b.Tenants[i].PolicyVersion, true
}

// IssuerTenant gives the tenant that an issuer number stands for.
func (b *Bundle) IssuerTenant(issuer citygate.Issuer) (Tenant, bool) {
	i, ok := b.issuers[issuer]
	if !ok {
		return Tenant{}, false
	}
	return b.Tenants[i], true
}

// Home gives the operator the bundle was made for, if it names one.
func (b *Bundle) Home() (Tenant, bool) {
	i := slices.IndexFunc(b.Tenants, func(t Tenant) bool { return t.Home })
	if i < 0 {
		return Tenant{}, false
	}
	return b.Tenants[i], true
}

// For refuses a bundle that was not made for the terminals of operator.
func (b *Bundle) For(operator citygate.TenantID) error {
	home, ok := b.Home()
	switch {
	case !ok:
		return ErrWrongTenant.Explain("bundle %d names no operator", b.Number)
	case home.ID != operator:
		return ErrWrongTenant.Explain("bundle %d is for tenant %d, not %d", b.Number, home.ID, operator)
	}
	return nil
}

// Scheme gives a tenant's entry of a code scheme.
func (b *Bundle) Scheme(tenant citygate.TenantID, id code.SchemeID) (Scheme, bool) {
	i, ok := slices.BinarySearchFunc(b.Schemes, Scheme{Tenant: tenant, ID: id}, compareSchemes)
	if !ok {
		return Scheme{}, false
	}
	return b.Schemes[i], true
}

// ForeignKey gives a key of a scheme whose issuers are not the platform's.
func (b *Bundle) ForeignKey(name code.KeyName) ([]byte, code.Reason) {
	if key, ok := b.foreign[name]; ok {
		return key, ""
	}
	for held := range b.foreign {
		if held.Scheme == name.Scheme && held.Owner == name.Owner {
			return nil, code.UnknownKey
		}
	}
	return nil, code.UnknownIssuer
}

// DenyFloor gives the lowest sequence number of an issuer's deny list that may
// be used; 0 = any.
func (b *Bundle) DenyFloor(issuer citygate.Issuer, list uint16) uint32 {
	i, ok := slices.BinarySearchFunc(b.DenyFloors, DenyFloor{Issuer: issuer, List: list}, compareFloors)
	if !ok {
		return 0
	}
	return b.DenyFloors[i].Seq
}

// Floor is the lowest bundle number that a holder of b may accept from now on.
func (b *Bundle) Floor() uint64 { return max(b.Number, b.MinBundle) }

func compareRoots(a, b RootKey) int { return bytes.Compare(a.Public, b.Public) }

func compareTenants(a, b Tenant) int { return cmp.Compare(a.ID, b.ID) }

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Usage, b.Usage), cmp.Compare(a.KeyID, b.KeyID))
}

func compareSchemes(a, b Scheme) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
}

func compareForeign(a, b ForeignRoot) int {
	return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.List, b.List), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}

func compareFloors(a, b DenyFloor) int {
	return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.List, b.List))
}

// ascending reports whether s is sorted and holds no two equal elements: the
// one order a set can have in a bundle.
func ascending[T any](s []T, compare func(a, b T) int) bool {
	for i := 1; i < len(s); i++ {
		if compare(s[i-1], s[i]) >= 0 {
			return false
		}
	}
	return true
}
