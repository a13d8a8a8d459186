package bundle

import (
	"bytes"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

const (
	bundleFormat = "TB1"
	rootsFormat  = "TR1"
)

var encoder = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	return mode
}()

// decoder refuses what deterministic CBOR does not have, and bounds what a
// hostile file can make us build before any signature was checked.
var decoder = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   6,
		MaxArrayElements:  KeysMax,
		MaxMapPairs:       16,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		BignumTag:         cbor.BignumTagForbidden,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return mode
}()

// A payload is a bundle on the wire: maps with small integer labels, and arrays
// for what there is a lot of. A key is about 54 bytes.
type payload struct {
	Format     string        `cbor:"1,keyasint"`
	Number     uint64        `cbor:"2,keyasint"`
	Issued     int64         `cbor:"3,keyasint"`
	Expires    int64         `cbor:"4,keyasint"`
	Prev       [32]byte      `cbor:"5,keyasint"`
	RootSets   [][]byte      `cbor:"6,keyasint"` // each a COSE_Sign
	Tenants    []wireTenant  `cbor:"7,keyasint"`
	Keys       []wireKey     `cbor:"8,keyasint"`
	Schemes    []wireScheme  `cbor:"9,keyasint,omitempty"`
	MinBundle  uint64        `cbor:"10,keyasint,omitempty"`
	DenyFloors []wireFloor   `cbor:"11,keyasint,omitempty"`
	Profiles   []wireProfile `cbor:"12,keyasint,omitempty"`
}

type wireTenant struct {
	ID            citygate.TenantID `cbor:"1,keyasint"`
	Issuer        citygate.Issuer   `cbor:"2,keyasint,omitempty"`
	Name          string            `cbor:"3,keyasint"`
	Currency      citygate.Currency `cbor:"4,keyasint"`
	CapUnit       int64             `cbor:"5,keyasint,omitempty"`
	MaxTTLHours   uint32            `cbor:"6,keyasint,omitempty"`
	PolicyVersion uint64            `cbor:"7,keyasint,omitempty"`
	Policy        []byte            `cbor:"8,keyasint,omitempty"`
	Home          bool              `cbor:"9,keyasint,omitempty"`
	Fares         []byte            `cbor:"10,keyasint,omitempty"`
}

// A wireKey leaves out the issuer number, which is that of its tenant.
type wireKey struct {
	_              struct{} `cbor:",toarray"`
	Tenant         citygate.TenantID
	KeyID          uint8
	Algorithm      cose.Algorithm
	Public         []byte
	Usage          Usage
	NotBefore      int64
	Expires        int64
	State          uint8
	NotIssuedAfter int64
}

type wireScheme struct {
	_      struct{} `cbor:",toarray"`
	Tenant citygate.TenantID
	ID     code.SchemeID
	Params []byte
	Roots  []wireForeignRoot
}

type wireForeignRoot struct {
	_     struct{} `cbor:",toarray"`
	Owner string
	List  string
	Kind  string
	ID    uint32
	Key   []byte
}

type wireFloor struct {
	_      struct{} `cbor:",toarray"`
	Issuer citygate.Issuer
	List   uint16
	Seq    uint32
}

// wireRoots is a root set on the wire.
type wireRoots struct {
	Format    string   `cbor:"1,keyasint"`
	Version   uint64   `cbor:"2,keyasint"`
	Issued    int64    `cbor:"3,keyasint"`
	Prev      [32]byte `cbor:"4,keyasint"`
	Threshold uint8    `cbor:"5,keyasint"`
	Roots     [][]byte `cbor:"6,keyasint"`
}

// The numbers of states on the wire, from 1.
var wireStates = []State{"", Published, Active, Retiring, Revoked}

// RSA is missing: it cannot be in a bundle.
var wireAlgorithms = map[Algorithm]cose.Algorithm{Ed25519: cose.AlgorithmEdDSA, P256: cose.AlgorithmES256}

// encode gives b's canonical payload. What has no form on the wire gives one
// that index refuses.
func (b *Bundle) encode() ([]byte, error) {
	p := payload{
		Format: bundleFormat, Number: b.Number, Issued: b.Issued, Expires: b.Expires, Prev: b.Prev, RootSets: b.RootSets, MinBundle: b.MinBundle,
		Tenants: make([]wireTenant, len(b.Tenants)), Keys: make([]wireKey, len(b.Keys)),
	}
	for i, t := range b.Tenants {
		p.Tenants[i] = wireTenant(t)
	}
	for i, k := range b.Keys {
		p.Keys[i] = wireKey{
			Tenant: k.Tenant, KeyID: k.KeyID, Algorithm: wireAlgorithms[k.Algorithm], Public: k.Public, Usage: k.Usage,
			NotBefore: k.NotBefore, Expires: k.Expires, State: uint8(max(0, slices.Index(wireStates, k.State))), NotIssuedAfter: k.NotIssuedAfter,
		}
	}
	for _, s := range b.Schemes {
		w := wireScheme{Tenant: s.Tenant, ID: s.ID, Params: s.Params, Roots: make([]wireForeignRoot, len(s.Roots))}
		if w.Params == nil {
			w.Params = []byte{} // null would be a second form of nothing
		}
		for i, r := range s.Roots {
			w.Roots[i] = wireForeignRoot{Owner: r.Owner, List: r.List, Kind: r.Kind, ID: r.ID, Key: r.Key}
		}
		p.Schemes = append(p.Schemes, w)
	}
	for _, f := range b.DenyFloors {
		p.DenyFloors = append(p.DenyFloors, wireFloor{Issuer: f.Issuer, List: f.List, Seq: f.Seq})
	}
	for i := range b.Profiles {
		p.Profiles = append(p.Profiles, b.Profiles[i].wire())
	}
	return encoder.Marshal(p)
}

// decode reads a payload. Canonical means: encoded again it is the same.
func decode(raw []byte) (*Bundle, error) {
	var p payload
	if err := decoder.Unmarshal(raw, &p); err != nil {
		return nil, ErrMalformed.Because(err, "payload")
	}
	if p.Format != bundleFormat {
		return nil, ErrMalformed.Because(nil, "format %q", p.Format)
	}
	b := &Bundle{
		Number: p.Number, Issued: p.Issued, Expires: p.Expires, Prev: p.Prev, RootSets: p.RootSets, MinBundle: p.MinBundle,
		Tenants: make([]Tenant, len(p.Tenants)), Keys: make([]Key, len(p.Keys)),
	}
	issuers := make(map[citygate.TenantID]citygate.Issuer, len(p.Tenants))
	for i, t := range p.Tenants {
		b.Tenants[i] = Tenant(t)
		issuers[t.ID] = t.Issuer
	}
	for i, k := range p.Keys {
		b.Keys[i] = Key{
			Tenant: k.Tenant, Issuer: issuers[k.Tenant], KeyID: k.KeyID, Public: k.Public, Usage: k.Usage,
			NotBefore: k.NotBefore, Expires: k.Expires, NotIssuedAfter: k.NotIssuedAfter,
		}
		for ours, wire := range wireAlgorithms {
			if wire == k.Algorithm {
				b.Keys[i].Algorithm = ours
			}
		}
		if int(k.State) < len(wireStates) {
			b.Keys[i].State = wireStates[k.State]
		}
	}
	for _, w := range p.Schemes {
		s := Scheme{Tenant: w.Tenant, ID: w.ID, Params: w.Params}
		for _, r := range w.Roots {
			s.Roots = append(s.Roots, ForeignRoot{Owner: r.Owner, List: r.List, Kind: r.Kind, ID: r.ID, Key: r.Key})
		}
		b.Schemes = append(b.Schemes, s)
	}
	for _, f := range p.DenyFloors {
		b.DenyFloors = append(b.DenyFloors, DenyFloor{Issuer: f.Issuer, List: f.List, Seq: f.Seq})
	}
	for i := range p.Profiles {
		b.Profiles = append(b.Profiles, p.Profiles[i].profile())
	}
	if again, err := b.encode(); err != nil || !bytes.Equal(again, raw) {
		return nil, ErrMalformed.Because(err, "payload is not canonical")
	}
	return b, nil
}
