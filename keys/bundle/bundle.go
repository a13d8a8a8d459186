package bundle

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/sha256"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// Limits of a bundle. A validator has half a megabyte for everything it keeps.
const (
	BytesMax   = 512 << 10
	RootsMax   = 8
	TenantsMax = 1024
	KeysMax    = 4096
	PolicyMax  = 32 << 10
	LifeMax    = 92 * 24 * 3600 // seconds from Issued to Expires
)

// The refusals of [Open] and [Bundle.Follow].
var (
	ErrMalformed  = &citygate.Code{Name: "bundle.malformed", Kind: citygate.Invalid, Title: "This is not a trust bundle in its one canonical form. Fetch it again."}
	ErrNotTrusted = &citygate.Code{Name: "bundle.not_trusted", Kind: citygate.Forbidden, Title: "Too few of the trusted root keys signed this bundle. Check the root keys installed."}
	ErrExpired    = &citygate.Code{Name: "bundle.expired", Kind: citygate.Forbidden, Title: "The trust bundle has expired. Fetch the latest one."}
	ErrOlder      = &citygate.Code{Name: "bundle.older", Kind: citygate.Conflict, Title: "The trust bundle is older than one already seen. Fetch the latest one."}
	ErrWrongUsage = &citygate.Code{Name: "bundle.wrong_usage", Kind: citygate.Invalid, Title: "A key in the bundle mixes usages that must be kept apart. Publish the bundle again with one key per usage."}
	ErrEmpty      = &citygate.Code{Name: "bundle.empty", Kind: citygate.Invalid, Title: "The bundle trusts no issuer. Publish an issuer's credential key first."}
	ErrDropsKeys  = &citygate.Code{Name: "bundle.drops_keys", Kind: citygate.Conflict, Title: "The bundle drops most of the keys held. Revoke keys one by one, or enrol the terminal again."}
	ErrForked     = &citygate.Code{Name: "bundle.forked", Kind: citygate.Conflict, Title: "The bundle does not follow the one held. Two publishers are at work: stop one."}
)

// A Tenant is what a terminal must know about a tenant: how to read its codes
// and, if it is the terminal's own, which policy to apply.
type Tenant struct {
	ID            citygate.TenantID `cbor:"1,keyasint"`
	Issuer        citygate.Issuer   `cbor:"2,keyasint,omitempty"` // 0 = issues no codes
	Name          string            `cbor:"3,keyasint"`
	Currency      citygate.Currency `cbor:"4,keyasint"`
	CapUnit       int64             `cbor:"5,keyasint,omitempty"` // minor units of one cap step on its codes
	MaxTTLHours   uint32            `cbor:"6,keyasint,omitempty"` // longest life of its credentials
	PolicyVersion uint64            `cbor:"7,keyasint,omitempty"`
	Policy        []byte            `cbor:"8,keyasint,omitempty"` // opaque here
	Home          bool              `cbor:"9,keyasint,omitempty"` // the operator the terminal belongs to
}

// A DenyFloor is the lowest sequence number of a deny list that may be used:
// an older list would let riders through again.
type DenyFloor struct {
	Issuer citygate.Issuer `cbor:"1,keyasint"`
	List   uint16          `cbor:"2,keyasint"`
	Seq    uint32          `cbor:"3,keyasint"`
}

// A Bundle is what terminals trust from Issued to Expires. Fill one and [Sign]
// it; only one that came from [Open] or [Bundle.Follow] answers look-ups.
type Bundle struct {
	Format     string      `cbor:"1,keyasint"` // "TB1"; set by Sign
	Number     uint64      `cbor:"2,keyasint"` // version of the bundle, from 1, strictly increasing
	Issued     int64       `cbor:"3,keyasint"` // unix seconds
	Expires    int64       `cbor:"4,keyasint"` // unix seconds, exclusive
	Prev       [32]byte    `cbor:"5,keyasint"` // Digest of the bundle before; zero on the first
	Threshold  uint8       `cbor:"6,keyasint"` // signatures of Roots that the next bundle needs
	Roots      []RootKey   `cbor:"7,keyasint"`
	Tenants    []Tenant    `cbor:"8,keyasint"`
	Keys       []Key       `cbor:"9,keyasint"`
	MinBundle  uint64      `cbor:"10,keyasint,omitempty"` // bundles below are refused from now on
	DenyFloors []DenyFloor `cbor:"11,keyasint,omitempty"`

	raw     []byte
	keys    map[slot]trusted
	tenants map[citygate.TenantID]int
	issuers map[citygate.Issuer]int
}

var _ code.KeySource = (*Bundle)(nil)

// slot is where a key is looked up: one usage bit at a time, so that a key of
// another usage is simply not there.
type slot struct {
	issuer citygate.Issuer
	usage  Usage
	kid    uint8
}

type trusted struct {
	public    crypto.PublicKey
	revoked   bool
	notBefore int64
	expires   int64 // exclusive; the earlier of Expires and NotIssuedAfter + 1
}

// Raw gives the signed bytes the bundle was opened from. The caller must not
// change them.
func (b *Bundle) Raw() []byte { return b.raw }

// Digest is the SHA-256 of the signed bytes: Prev of the next bundle.
func (b *Bundle) Digest() [32]byte { return sha256.Sum256(b.raw) }

// Version gives the bundle's number, as [code.KeySource] wants it.
func (b *Bundle) Version() uint64 { return b.Number }

// IssuerKey gives the issuer's credential key keyID if it may have signed a
// credential issued at issuedAt (unix seconds). A key that is published but not
// yet active verifies from its NotBefore on: the terminal may hold this bundle
// for weeks after the key went into use.
func (b *Bundle) IssuerKey(issuer citygate.Issuer, keyID uint8, issuedAt int64) (crypto.PublicKey, code.Reason) {
	k, ok := b.keys[slot{issuer, ForCredential, keyID}]
	switch {
	case !ok:
		return nil, b.missing(issuer)
	case k.revoked || issuedAt >= k.expires:
		return nil, code.KeyRevoked
	case issuedAt < k.notBefore:
		return nil, code.UnknownKey
	}
	return k.public, ""
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
	k, ok := b.keys[at]
	switch {
	case !ok:
		return nil, b.missing(at.issuer)
	case k.revoked:
		return nil, code.KeyRevoked
	}
	return k.public, ""
}

func (b *Bundle) missing(issuer citygate.Issuer) code.Reason {
	if _, ok := b.issuers[issuer]; ok {
		return code.UnknownKey
	}
	return code.UnknownIssuer
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
