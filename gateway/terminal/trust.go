package terminal

import (
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// ErrOlderPolicy says that a newer bundle brings an older policy.
var ErrOlderPolicy = &citygate.Code{Name: "terminal.older_policy", Kind: citygate.Conflict, Title: "The bundle brings an older policy than the terminal holds; publish the latest policy."}

// ErrNoPolicy says that a bundle has no usable policy for the terminal's tenant.
var ErrNoPolicy = &citygate.Code{Name: "terminal.no_policy", Kind: citygate.Invalid, Title: "The bundle holds no valid policy for this terminal's operator; publish one."}

const bundlePrefix = "bundle"

// trust is what a terminal was given by signature. Each object has two slots on
// disk, a and b: a new one is verified, then written to the slot that does not
// hold the current one. Whatever a crash leaves there, the current one stands.
type trust struct {
	files Files

	bundle *bundle.Bundle
	rules  *accept.Rules
	lists  map[listID]*denylist.List
	floors map[listID]uint32 // lowest sequence number that may be used, of lists held before
	beats  map[citygate.Issuer]*denylist.Heartbeat
	slots  map[string]string // object -> slot that holds the current one, ".a" or ".b"
}

func openTrust(files Files, tenant citygate.TenantID) (*trust, error) {
	t := &trust{
		files: files, lists: make(map[listID]*denylist.List), floors: make(map[listID]uint32),
		beats: make(map[citygate.Issuer]*denylist.Heartbeat), slots: make(map[string]string),
	}
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

// write puts raw into the free slot of object and makes it the current one.
func (t *trust) write(object string, raw []byte) error {
	slot := t.free(object)
	err := writeSynced(t.files, object+slot, raw)
	if err = errors.Join(err, t.files.SyncDir()); err != nil {
		return fmt.Errorf("install %s: %w", object, err)
	}
	t.slots[object] = slot
	return nil
}

// note is a write that a crash may lose: what is held is then the one before.
func (t *trust) note(object string, raw []byte) error {
	slot := t.free(object)
	f, err := t.files.Create(object + slot)
	if err != nil {
		return fmt.Errorf("install %s: %w", object, err)
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("install %s: %w", object, err)
	}
	t.slots[object] = slot
	return nil
}

func (t *trust) free(object string) string {
	if t.slots[object] == ".a" {
		return ".b"
	}
	return ".a"
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
	v.readBy(next, rules)
	v.clock.saw(next.Issued * 1000)
	return nil
}
