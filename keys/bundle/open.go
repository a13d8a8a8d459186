package bundle

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"regexp"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// Open reads raw if the terminal that was enrolled with roots and threshold may
// trust it: the last root set it carries signed it, and that is either the set
// of the enrolment, or follows from it by rotations, or threshold of roots are
// among the signers themselves. It has not expired at now (unix seconds) and
// its number is not below floor.
//
// A holder of a bundle uses [Bundle.Follow] instead, which knows more to
// refuse.
func Open(raw []byte, roots []RootKey, threshold int, now int64, floor uint64) (*Bundle, error) {
	b, err := read(raw)
	if err != nil {
		return nil, err
	}
	if threshold < ThresholdMin {
		return nil, ErrNotTrusted.Because(nil, "threshold %d: one root alone is never enough", threshold)
	}
	known := slices.ContainsFunc(b.sets, func(s RootSet) bool { return s.same(roots, threshold) })
	switch n := b.m.count(roots); {
	case known || n >= threshold:
	case n > 0:
		return nil, ErrUnderThreshold.Explain("%d of the trusted roots signed bundle %d, %d are needed", n, b.Number, threshold)
	default:
		return nil, ErrNotTrusted.Explain("bundle %d is signed by root set %d", b.Number, b.RootSet().Version)
	}
	return b.admit(now, floor)
}

// Follow opens the bundle that replaces b, under b's root set or one that
// follows from it by rotations, and b's floor. The same bundle again gives b.
// It refuses a fork and a bundle that drops more than half of the keys b can
// use: a key leaves by being revoked.
func (b *Bundle) Follow(raw []byte, now int64) (*Bundle, error) {
	next, err := read(raw)
	if err != nil {
		return nil, err
	}
	if err := b.rotated(next); err != nil {
		return nil, err
	}
	if next, err = next.admit(now, b.Floor()); err != nil {
		return nil, err
	}
	switch {
	case next.Digest() == b.Digest():
		return b, nil
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

// rotated checks that next's root set is b's or was reached from it.
func (b *Bundle) rotated(next *Bundle) error {
	held, oldest, newest := b.RootSet(), next.sets[0], next.RootSet()
	switch {
	case newest.Version < held.Version:
		return ErrOlder.Explain("bundle %d is signed by root set %d, %d is held", next.Number, newest.Version, held.Version)
	case oldest.Version > held.Version:
		// The chain was cut. It may begin right behind the set held.
		if oldest.Version == held.Version+1 && oldest.Prev == held.Digest() {
			return oldest.follows(&held)
		}
		return ErrNotTrusted.Explain("root set %d is held and the rotations of bundle %d begin with %d: enrol the terminal again", held.Version, next.Number, oldest.Version)
	case next.sets[held.Version-oldest.Version].Digest() != held.Digest():
		return ErrNotTrusted.Explain("root set %d of bundle %d is not the one held", held.Version, next.Number)
	}
	return nil
}

// admit refuses what came too late.
func (b *Bundle) admit(now int64, floor uint64) (*Bundle, error) {
	switch {
	case b.Number < max(floor, b.MinBundle):
		return nil, ErrOlder.Explain("bundle %d, at least %d is needed", b.Number, max(floor, b.MinBundle))
	case now >= b.Expires:
		return nil, ErrExpired.Explain("bundle %d expired at %d", b.Number, b.Expires)
	}
	return b, nil
}

// Inspect reads a bundle, signed or only prepared, without trusting it, for
// people and tools. What it gives answers no look-up.
func Inspect(raw []byte) (*Bundle, [][8]byte, error) {
	content, m := raw, (*message)(nil)
	var signers [][8]byte
	if signed(raw) {
		var err error
		if m, err = readMessage(raw, bundleKind); err != nil {
			return nil, nil, err
		}
		content, signers = m.cose.Payload, m.signers
	} else if len(raw) > BytesMax {
		return nil, nil, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	b, err := decode(content)
	if err != nil {
		return nil, nil, err
	}
	if err := b.index(); err != nil {
		return nil, nil, err
	}
	b.m, b.slots, b.publics, b.tenants, b.issuers, b.foreign = m, nil, nil, nil, nil, nil
	return b, signers, nil
}

// read decodes raw and checks all that does not depend on the time or the
// holder: the signatures of the root set it carries first.
func read(raw []byte) (*Bundle, error) {
	m, err := readMessage(raw, bundleKind)
	if err != nil {
		return nil, err
	}
	b, err := decode(m.cose.Payload)
	if err != nil {
		return nil, err
	}
	if err := b.rootSets(); err != nil {
		return nil, err
	}
	if err := m.check(b.Roots); err != nil {
		return nil, err
	}
	if n := m.count(b.Roots); n < int(b.Threshold) {
		return nil, ErrUnderThreshold.Explain("%d roots signed bundle %d, %d are needed", n, b.Number, b.Threshold)
	}
	if err := b.index(); err != nil {
		return nil, err
	}
	b.m = m.checked()
	b.share()
	return b, nil
}

// share has public keys and policies point into the signed bytes, which are kept
// anyway: the copies that decoding made would be a sixth of a bundle in memory.
func (b *Bundle) share() {
	rest := b.m.raw
	within := func(part []byte) []byte {
		at := bytes.Index(rest, part)
		if len(part) == 0 || at < 0 {
			return part
		}
		found := rest[at : at+len(part) : at+len(part)]
		rest = rest[at+len(part):] // they come in this order
		return found
	}
	for i := range b.Tenants {
		b.Tenants[i].Policy = within(b.Tenants[i].Policy)
		b.Tenants[i].Fares = within(b.Tenants[i].Fares)
	}
	for i := range b.Keys {
		k := &b.Keys[i]
		k.Public = within(k.Public)
		if k.Algorithm == Ed25519 {
			b.publics[i] = ed25519.PublicKey(k.Public)
		}
	}
}

func (b *Bundle) rootSets() (err error) {
	if b.sets, err = openChain(b.RootSets); err != nil {
		return err
	}
	last := b.sets[len(b.sets)-1]
	b.Roots, b.Threshold = last.Roots, last.Threshold
	return nil
}

// index checks everything that does not depend on the time or the holder, and
// builds the look-up tables.
func (b *Bundle) index() error {
	switch {
	case b.Number == 0 || b.Issued <= 0 || b.Expires <= b.Issued || b.Expires-b.Issued > LifeMax:
		return ErrMalformed.Explain("number or life of the bundle is out of bounds")
	case len(b.Tenants) > TenantsMax || len(b.Keys) > KeysMax || len(b.Schemes) > SchemesMax:
		return ErrMalformed.Explain("more than %d tenants, %d keys or %d schemes", TenantsMax, KeysMax, SchemesMax)
	case !ascending(b.Tenants, compareTenants) || !ascending(b.Keys, compareKeys) ||
		!ascending(b.Schemes, compareSchemes) || !ascending(b.DenyFloors, compareFloors):
		return ErrMalformed.Explain("an entry is listed twice or out of order")
	}
	if b.sets == nil {
		if err := b.rootSets(); err != nil {
			return err
		}
	}
	if err := b.indexTenants(); err != nil {
		return err
	}
	if err := b.checkSchemes(); err != nil {
		return err
	}
	if err := b.checkProfiles(); err != nil {
		return err
	}
	return b.indexKeys()
}

func (b *Bundle) indexTenants() error {
	b.tenants = make(map[citygate.TenantID]int, len(b.Tenants))
	b.issuers = make(map[citygate.Issuer]int, len(b.Tenants))
	homes := 0
	for i, t := range b.Tenants {
		if t.ID <= 0 || !t.Currency.Valid() || t.CapUnit < 0 || len(t.Name) > 200 || len(t.Policy) > PolicyMax || len(t.Fares) > FaresMax {
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

var schemeForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (b *Bundle) checkSchemes() error {
	const nameMax, keyMax = 64, 2 << 10
	b.foreign = make(map[code.KeyName][]byte)
	for _, s := range b.Schemes {
		_, ok := b.tenants[s.Tenant]
		switch {
		case !ok:
			return ErrMalformed.Explain("scheme %s belongs to no tenant of the bundle", s.ID)
		case !schemeForm.MatchString(string(s.ID)) || len(s.Params) > ParamsMax || len(s.Roots) > ForeignMax:
			return ErrMalformed.Explain("scheme %q of tenant %d is out of bounds", s.ID, s.Tenant)
		case !ascending(s.Roots, compareForeign):
			return ErrMalformed.Explain("scheme %s of tenant %d: a foreign root is listed twice or out of order", s.ID, s.Tenant)
		}
		for _, r := range s.Roots {
			name := code.KeyName{Scheme: s.ID, Owner: r.Owner, List: r.List, Kind: r.Kind, ID: r.ID}
			if max(len(r.Owner), len(r.List), len(r.Kind)) > nameMax || len(r.Key) == 0 || len(r.Key) > keyMax {
				return ErrMalformed.Explain("scheme %s of tenant %d: foreign root %d is out of bounds", s.ID, s.Tenant, r.ID)
			}
			if held, ok := b.foreign[name]; ok && !bytes.Equal(held, r.Key) {
				return ErrMalformed.Explain("scheme %s: tenant %d brings another key as foreign root %d than another tenant", s.ID, s.Tenant, r.ID)
			}
			b.foreign[name] = r.Key
		}
	}
	return nil
}

func (b *Bundle) indexKeys() error {
	b.publics = make([]crypto.PublicKey, len(b.Keys))
	seen := make(map[string]bool, len(b.Keys)+RootsMax)
	for _, s := range b.sets {
		for _, r := range s.Roots {
			seen[string(r.Public)] = true
		}
	}
	usable := 0
	slots := make([]keySlot, 0, 2*len(b.Keys))
	for n, k := range b.Keys {
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
		b.publics[n] = public
		for bit := ForCredential; bit <= ForHeartbeat; bit <<= 1 {
			if k.Usage&bit != 0 && k.Issuer != 0 {
				slots = append(slots, keySlot{slot{k.Issuer, bit, k.KeyID}, uint16(n)})
			}
		}
		if k.Usage == ForCredential && k.State != Revoked {
			usable++
		}
	}
	if usable == 0 {
		return ErrEmpty
	}
	slices.SortFunc(slots, func(a, b keySlot) int { return compareSlots(a.slot, b.slot) })
	for i := 1; i < len(slots); i++ {
		if slots[i].slot == slots[i-1].slot {
			return ErrWrongUsage.Explain("key %d/%d stands twice for one usage", b.Keys[slots[i].key].Tenant, slots[i].kid)
		}
	}
	b.slots = slices.Clone(slots) // and no room beside
	return nil
}
