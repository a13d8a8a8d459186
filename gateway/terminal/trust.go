package terminal

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// ErrOlderPolicy says that a newer bundle brings an older policy.
var ErrOlderPolicy = &citygate.Code{Name: "terminal.older_policy", Kind: citygate.Conflict, Title: "The bundle brings an older policy than the terminal holds; publish the latest policy."}

// ErrNoPolicy says that a bundle has no usable policy for the terminal's tenant.
var ErrNoPolicy = &citygate.Code{Name: "terminal.no_policy", Kind: citygate.Invalid, Title: "The bundle holds no valid policy for this terminal's operator; publish one."}

// ErrNoTrust says that a list came before any bundle.
var ErrNoTrust = &citygate.Code{Name: "terminal.no_trust", Kind: citygate.Conflict, Title: "The terminal holds no trust bundle; install one first."}

const (
	bundlePrefix = "bundle"
	listPrefix   = "deny-"
)

// A listID names a deny list: an issuer's list number.
type listID struct {
	issuer citygate.Issuer
	list   uint16
}

// trust is what a terminal was given by signature. Each object has two slots on
// disk, a and b: a new one is verified, then written to the slot that does not
// hold the current one. Whatever a crash leaves there, the current one stands.
type trust struct {
	files Files

	bundle *bundle.Bundle
	rules  *accept.Rules
	lists  map[listID]*denylist.List
	slots  map[string]string // object -> slot that holds the current one, ".a" or ".b"
}

func openTrust(files Files, tenant citygate.TenantID) (*trust, error) {
	t := &trust{files: files, lists: make(map[listID]*denylist.List), slots: make(map[string]string)}
	for _, slot := range []string{".a", ".b"} {
		raw, err := readFile(files, bundlePrefix+slot)
		if err != nil {
			return nil, err
		}
		b, rules, err := restoreBundle(raw, tenant)
		if err != nil || t.bundle != nil && b.Number < t.bundle.Number {
			continue // torn by a crash before it was current, or the one before
		}
		t.bundle, t.rules, t.slots[bundlePrefix] = b, rules, slot
	}
	if t.bundle == nil {
		return t, nil
	}
	return t, t.restoreLists()
}

// restoreBundle opens a bundle from the terminal's own disk. It was verified
// under the roots of its day before it was written, and those may have been
// rotated out since, so here it is held to the roots it brings itself. That it
// may have expired is the business of each tap.
func restoreBundle(raw []byte, tenant citygate.TenantID) (*bundle.Bundle, *accept.Rules, error) {
	seen, _, err := bundle.Inspect(raw)
	if err != nil {
		return nil, nil, err
	}
	b, err := bundle.Open(raw, seen.Roots, int(seen.Threshold), 0, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := b.For(tenant); err != nil {
		return nil, nil, err
	}
	rules, err := policyOf(b, tenant)
	return b, rules, err
}

func policyOf(b *bundle.Bundle, tenant citygate.TenantID) (*accept.Rules, error) {
	raw, _, ok := b.PolicyFor(tenant)
	if !ok {
		return nil, ErrNoPolicy.Explain("bundle %d, tenant %s", b.Number, tenant)
	}
	rules, err := accept.Parse(raw)
	if err != nil {
		return nil, ErrNoPolicy.Because(err, "bundle %d, tenant %s", b.Number, tenant)
	}
	if rules.Tenant != tenant {
		return nil, ErrNoPolicy.Explain("bundle %d brings the policy of tenant %s for tenant %s", b.Number, rules.Tenant, tenant)
	}
	return rules, nil
}

func (t *trust) restoreLists() error {
	names, err := t.files.List()
	if err != nil {
		return fmt.Errorf("open deny lists: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		object, slot, ok := strings.Cut(name, ".")
		if !ok || !strings.HasPrefix(object, listPrefix) || slot != "a" && slot != "b" {
			continue
		}
		raw, err := t.files.ReadFile(name)
		if err != nil {
			return fmt.Errorf("open deny lists: %w", err)
		}
		l, err := denylist.Open(raw, t.denyKey)
		if err != nil {
			continue // torn, or its key was revoked since: then there is no list, and the stale rule decides
		}
		id := listID{l.Issuer, l.List}
		if old := t.lists[id]; old == nil || old.Seq < l.Seq {
			t.lists[id], t.slots[object] = l, "."+slot
		}
	}
	return nil
}

func (t *trust) denyKey(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
	key, refused := t.bundle.DenyKey(issuer, kid)
	ed, ok := key.(ed25519.PublicKey)
	return ed, ok && refused == ""
}

// write puts raw into the free slot of object and makes it the current one.
func (t *trust) write(object string, raw []byte) error {
	slot := ".a"
	if t.slots[object] == ".a" {
		slot = ".b"
	}
	err := writeSynced(t.files, object+slot, raw)
	if err = errors.Join(err, t.files.SyncDir()); err != nil {
		return fmt.Errorf("install %s: %w", object, err)
	}
	t.slots[object] = slot
	return nil
}

// InstallBundle verifies raw and then trusts it in place of the bundle held. One
// that is refused, for a reason of [bundle.Refusals] or for its policy, changes
// nothing: the old one stays in force. The same bundle again does nothing.
// Rotations of the root keys that happened meanwhile are followed from what raw
// carries.
func (v *Verifier) InstallBundle(now int64, raw []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, _ := v.clock.at(now, v.clock.mono)
	var next *bundle.Bundle
	var err error
	if v.trust.bundle == nil {
		next, err = bundle.Open(raw, v.config.Roots, v.config.Threshold, at/1000, 0)
	} else {
		next, err = v.trust.bundle.Follow(raw, at/1000)
	}
	if err == nil {
		err = next.For(v.config.Tenant)
	}
	if err != nil {
		return fmt.Errorf("install bundle: %w", err)
	}
	if next == v.trust.bundle {
		return nil
	}
	rules, err := policyOf(next, v.config.Tenant)
	if err != nil {
		return err
	}
	if v.trust.rules != nil && rules.Version < v.trust.rules.Version {
		return ErrOlderPolicy.Explain("policy %d, version %d is held", rules.Version, v.trust.rules.Version)
	}
	if err := v.trust.write(bundlePrefix, raw); err != nil {
		return err
	}
	v.trust.bundle, v.trust.rules = next, rules
	v.clock.saw(next.Issued * 1000)
	return nil
}

// InstallList verifies a deny list snapshot and then uses it. One that is past
// its time, or has a lower sequence number than the one held or than the bundle
// asks for, is refused. The same list again does nothing.
func (v *Verifier) InstallList(now int64, raw []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.trust
	if t.bundle == nil {
		return ErrNoTrust
	}
	l, err := denylist.Open(raw, t.denyKey)
	if err != nil {
		return fmt.Errorf("install deny list: %w", err)
	}
	id := listID{l.Issuer, l.List}
	held := t.lists[id]
	if held != nil && held.Seq == l.Seq && held.Hash() == l.Hash() && held.BuiltAt == l.BuiltAt {
		return nil
	}
	at, _ := v.clock.at(now, v.clock.mono)
	if err := l.Replaces(held, l.Issuer, l.List, t.bundle.DenyFloor(l.Issuer, l.List), at/1000); err != nil {
		return fmt.Errorf("install deny list: %w", err)
	}
	if err := t.write(fmt.Sprintf("%s%d-%d", listPrefix, l.Issuer, l.List), raw); err != nil {
		return err
	}
	t.lists[id] = l
	v.clock.saw(l.BuiltAt * 1000)
	return nil
}
