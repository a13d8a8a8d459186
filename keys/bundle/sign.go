package bundle

import (
	"fmt"
	"slices"
)

// Prepare puts b into its canonical order, checks it as [Open] will, and gives
// the bytes that the roots are to sign by [Cosign]. It refuses what Open would
// refuse whatever the time.
func (b *Bundle) Prepare() ([]byte, error) {
	c := *b
	c.Tenants, c.Keys = slices.Clone(b.Tenants), slices.Clone(b.Keys)
	c.Schemes, c.DenyFloors = slices.Clone(b.Schemes), slices.Clone(b.DenyFloors)
	c.sets, c.m = nil, nil
	for i := range c.Schemes {
		c.Schemes[i].Roots = slices.SortedFunc(slices.Values(c.Schemes[i].Roots), compareForeign)
	}
	slices.SortFunc(c.Tenants, compareTenants)
	slices.SortFunc(c.Keys, compareKeys)
	slices.SortFunc(c.Schemes, compareSchemes)
	slices.SortFunc(c.DenyFloors, compareFloors)
	if err := c.index(); err != nil {
		return nil, err
	}
	raw, err := c.encode()
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if len(raw) > BytesMax-1024 { // the signatures come on top
		return nil, ErrMalformed.Explain("the bundle has %d bytes, at most %d are allowed", len(raw), BytesMax-1024)
	}
	return raw, nil
}

// Sign prepares b and has all of signers sign it. A signer that is none of b's
// roots is refused. That enough sign is not asked here: [Open] does.
func Sign(b *Bundle, signers ...RootSigner) ([]byte, error) {
	raw, err := b.Prepare()
	if err != nil {
		return nil, err
	}
	if raw, err = Cosign(raw, signers...); err != nil {
		return nil, err
	}
	m, err := readMessage(raw, bundleKind)
	if err != nil {
		return nil, err
	}
	return raw, m.check(b.roots())
}

// roots gives the roots that may sign b.
func (b *Bundle) roots() []RootKey {
	set, err := InspectRoots(b.RootSets[len(b.RootSets)-1])
	if err != nil {
		return nil
	}
	return set.Roots
}
