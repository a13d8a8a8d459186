package bundle

import (
	"bytes"
	"crypto/ed25519"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"github.com/cashlesscity/citygate"
)

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

// Open reads raw if at least threshold of roots signed it, it has not expired
// at now (unix seconds) and its number is not below floor. A bundle that
// carries other roots is also signed by its own threshold of those.
//
// A holder of a bundle uses [Bundle.Follow] instead, which knows more to
// refuse.
func Open(raw []byte, roots []RootKey, threshold int, now int64, floor uint64) (*Bundle, error) {
	m, err := readMessage(raw)
	if err != nil {
		return nil, err
	}
	if threshold < 1 || m.signedBy(roots) < threshold {
		return nil, ErrNotTrusted.Because(nil, "%d valid root signatures of %d known roots, %d needed", m.signedBy(roots), len(roots), threshold)
	}
	b, err := m.bundle()
	if err != nil {
		return nil, err
	}
	if m.signedBy(b.Roots) < int(b.Threshold) {
		return nil, ErrNotTrusted.Because(nil, "the roots the bundle brings did not sign it")
	}
	switch {
	case b.Number < max(floor, b.MinBundle):
		return nil, ErrOlder.Explain("bundle %d, at least %d is needed", b.Number, max(floor, b.MinBundle))
	case now >= b.Expires:
		return nil, ErrExpired.Explain("bundle %d expired at %d", b.Number, b.Expires)
	}
	return b, nil
}

// Follow opens the bundle that replaces b, under b's own roots, threshold and
// floor. The same bytes again give b. It refuses a fork and a bundle that
// drops more than half of the keys b can use: a key leaves by being revoked.
func (b *Bundle) Follow(raw []byte, now int64) (*Bundle, error) {
	if bytes.Equal(raw, b.raw) && now < b.Expires {
		return b, nil
	}
	next, err := Open(raw, b.Roots, int(b.Threshold), now, b.Floor())
	switch {
	case err != nil:
		return nil, err
	case next.Number == b.Number:
		return nil, ErrForked.Explain("two bundles have the number %d", b.Number)
	case next.Number == b.Number+1 && next.Prev != b.Digest():
		return nil, ErrForked.Explain("bundle %d does not name bundle %d as the one before", next.Number, b.Number)
	}
	usable, kept := 0, 0
	for _, k := range b.Keys {
		if k.State == Revoked {
			continue
		}
		usable++
		if _, ok := slices.BinarySearchFunc(next.Keys, k, compareKeys); ok {
			kept++
		}
	}
	if 2*kept < usable {
		return nil, ErrDropsKeys.Explain("of %d keys in use bundle %d keeps %d", usable, next.Number, kept)
	}
	return next, nil
}

// Inspect reads a bundle without trusting it, for people and tools. What it
// gives answers no look-up.
func Inspect(raw []byte) (*Bundle, [][8]byte, error) {
	m, err := readMessage(raw)
	if err != nil {
		return nil, nil, err
	}
	b, err := m.bundle()
	if err != nil {
		return nil, nil, err
	}
	b.keys, b.tenants, b.issuers = nil, nil, nil
	return b, m.signers, nil
}

// message is a COSE_Sign in canonical form whose signatures are not checked.
type message struct {
	raw     []byte
	cose    *cose.SignMessage
	signers [][8]byte
}

func readMessage(raw []byte) (*message, error) {
	const tag = 2 // bytes of the COSE_Sign tag, the only tag allowed
	if len(raw) > BytesMax {
		return nil, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	if len(raw) < tag || raw[0] != 0xd8 || raw[1] != cose.CBORTagSignMessage {
		return nil, ErrMalformed.Because(nil, "no COSE_Sign tag")
	}
	if err := decoder.Wellformed(raw[tag:]); err != nil {
		return nil, ErrMalformed.Because(err, "envelope")
	}
	m := &message{raw: bytes.Clone(raw), cose: cose.NewSignMessage()}
	if err := m.cose.UnmarshalCBOR(m.raw); err != nil {
		return nil, ErrMalformed.Because(err, "envelope")
	}
	if len(m.cose.Payload) == 0 || len(m.cose.Signatures) > RootsMax {
		return nil, ErrMalformed.Because(nil, "payload or signatures out of bounds")
	}
	canonical := newMessage(m.cose.Payload)
	for _, s := range m.cose.Signatures {
		kid, ok := s.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
		if !ok || len(kid) != 8 || len(s.Signature) != ed25519.SignatureSize {
			return nil, ErrMalformed.Because(nil, "signature without a root id")
		}
		m.signers = append(m.signers, [8]byte(kid))
		canonical.Signatures = append(canonical.Signatures, newSignature([8]byte(kid), s.Signature))
	}
	if !ascending(m.signers, func(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) }) {
		return nil, ErrMalformed.Because(nil, "signatures out of order or twice")
	}
	// Everything go-cose was lenient about shows as a difference here.
	if again, err := canonical.MarshalCBOR(); err != nil || !bytes.Equal(again, raw) {
		return nil, ErrMalformed.Because(err, "envelope is not canonical")
	}
	return m, nil
}

// signedBy counts the roots that signed m. Each root counts once, however
// often it is listed.
func (m *message) signedBy(roots []RootKey) int {
	protected, err := m.cose.Headers.MarshalProtected()
	if err != nil {
		return 0
	}
	n := 0
	for i, s := range m.cose.Signatures {
		at := slices.IndexFunc(roots, func(r RootKey) bool { return r.ID() == m.signers[i] })
		if at < 0 || len(roots[at].Public) != ed25519.PublicKeySize {
			continue
		}
		v, err := cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(roots[at].Public))
		if err == nil && s.Verify(v, protected, m.cose.Payload, nil) == nil {
			n++
		}
	}
	return n
}

// bundle decodes the payload. Canonical means: encoded again it is the same.
func (m *message) bundle() (*Bundle, error) {
	b := new(Bundle)
	if err := decoder.Unmarshal(m.cose.Payload, b); err != nil {
		return nil, ErrMalformed.Because(err, "payload")
	}
	if again, err := encoder.Marshal(b); err != nil || !bytes.Equal(again, m.cose.Payload) {
		return nil, ErrMalformed.Because(err, "payload is not canonical")
	}
	if err := b.index(); err != nil {
		return nil, err
	}
	b.raw = m.raw
	return b, nil
}

// index checks everything that does not depend on the time or the holder, and
// builds the look-up tables.
func (b *Bundle) index() error {
	switch {
	case b.Format != format || b.Number == 0 || b.Issued <= 0 || b.Expires <= b.Issued || b.Expires-b.Issued > LifeMax:
		return ErrMalformed.Explain("format, number or life of the bundle is out of bounds")
	case len(b.Roots) == 0 || len(b.Roots) > RootsMax || b.Threshold == 0 || int(b.Threshold) > len(b.Roots):
		return ErrMalformed.Explain("a bundle carries 1 to %d roots and a threshold they can reach", RootsMax)
	case len(b.Tenants) > TenantsMax || len(b.Keys) > KeysMax:
		return ErrMalformed.Explain("more than %d tenants or %d keys", TenantsMax, KeysMax)
	case !ascending(b.Roots, compareRoots) || !ascending(b.Tenants, compareTenants) ||
		!ascending(b.Keys, compareKeys) || !ascending(b.DenyFloors, compareFloors):
		return ErrMalformed.Explain("an entry is listed twice or out of order")
	}
	if err := b.indexTenants(); err != nil {
		return err
	}
	return b.indexKeys()
}

func (b *Bundle) indexTenants() error {
	b.tenants = make(map[citygate.TenantID]int, len(b.Tenants))
	b.issuers = make(map[citygate.Issuer]int, len(b.Tenants))
	homes := 0
	for i, t := range b.Tenants {
		if t.ID <= 0 || !t.Currency.Valid() || t.CapUnit < 0 || len(t.Name) > 200 || len(t.Policy) > PolicyMax {
			return ErrMalformed.Explain("tenant %d is out of bounds", t.ID)
		}
		b.tenants[t.ID] = i
		if t.Home {
			homes++
		}
		if t.Issuer == 0 {
			continue
		}
		if _, twice := b.issuers[t.Issuer]; twice {
			return ErrMalformed.Explain("issuer %d stands for two tenants", t.Issuer)
		}
		b.issuers[t.Issuer] = i
	}
	if homes > 1 {
		return ErrMalformed.Explain("two home tenants")
	}
	return nil
}

func (b *Bundle) indexKeys() error {
	b.keys = make(map[slot]trusted, len(b.Keys))
	seen := make(map[string]bool, len(b.Keys)+len(b.Roots))
	for _, r := range b.Roots {
		if len(r.Public) != ed25519.PublicKeySize {
			return ErrMalformed.Explain("a root key is not Ed25519")
		}
		seen[string(r.Public)] = true
	}
	usable := 0
	for _, k := range b.Keys {
		i, ok := b.tenants[k.Tenant]
		switch {
		case !ok || b.Tenants[i].Issuer != k.Issuer:
			return ErrMalformed.Explain("key %d/%d belongs to no tenant of the bundle", k.Tenant, k.KeyID)
		case !k.State.valid() || k.NotBefore < 0 || k.Expires <= k.NotBefore || k.NotIssuedAfter < 0:
			return ErrMalformed.Explain("key %d/%d is out of bounds", k.Tenant, k.KeyID)
		case !k.Usage.valid() || k.Issuer == 0 && k.Usage != ForPolicy:
			return ErrWrongUsage.Explain("key %d/%d has usage bits %#x", k.Tenant, k.KeyID, uint8(k.Usage))
		case seen[string(k.Public)]:
			return ErrWrongUsage.Explain("key %d/%d is used in two places", k.Tenant, k.KeyID)
		}
		public, err := ParsePublic(k.Algorithm, k.Public)
		if err != nil {
			return ErrMalformed.Because(err, "key %d/%d", k.Tenant, k.KeyID)
		}
		seen[string(k.Public)] = true
		entry := trusted{public: public, revoked: k.State == Revoked, notBefore: k.NotBefore, expires: k.Expires}
		if k.NotIssuedAfter != 0 && k.NotIssuedAfter < k.Expires {
			entry.expires = k.NotIssuedAfter + 1
		}
		for bit := ForCredential; bit <= ForHeartbeat; bit <<= 1 {
			if k.Usage&bit == 0 || k.Issuer == 0 {
				continue
			}
			at := slot{k.Issuer, bit, k.KeyID}
			if _, twice := b.keys[at]; twice {
				return ErrWrongUsage.Explain("key %d/%d stands twice for one usage", k.Tenant, k.KeyID)
			}
			b.keys[at] = entry
		}
		if k.Usage == ForCredential && k.State != Revoked {
			usable++
		}
	}
	if usable == 0 {
		return ErrEmpty
	}
	return nil
}
