package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// SeenWithin is how lately a terminal must have been heard of to be waited for.
// One that was away for longer gets the new key with its next bundle.
const SeenWithin = 7 * 24 * time.Hour

// A Laggard is a terminal that may meet a code signed by a key it does not know.
type Laggard struct {
	Operator citygate.TenantID
	Terminal uint32
	Name     string
	Holds    uint64    // the newest bundle it said it held
	Needs    uint64    // the first bundle with the key
	Seen     time.Time // when it was heard of last
}

// A Rollout tells which terminals hold a key.
type Rollout interface {
	// Laggards lists the terminals in use, heard of since the given instant, that
	// have not said they hold a bundle with the key, of every operator whose
	// bundles hold keys of that tenant and purpose.
	Laggards(ctx context.Context, k Key, since time.Time) ([]Laggard, error)
}

// ErrLaggards says that a key is not everywhere yet.
var ErrLaggards = &citygate.Code{Name: "keys.laggards", Kind: citygate.Conflict, Title: "Terminals in use do not hold the key yet, and would refuse honest riders. Wait for them, suspend them, or activate anyway and say why."}

// Wait has [Ring.Activate] wait for terminals from now on. Without a Rollout
// nothing is known of any, and activation waits for the key's start alone.
func (r *Ring) Wait(rollout Rollout) { r.rollout = rollout }

// Laggards lists whom the key kid waits for.
func (r *Ring) Laggards(ctx context.Context, tenant citygate.TenantID, purpose Purpose, kid uint8) ([]Laggard, error) {
	if r.rollout == nil || purpose.Usage() == 0 {
		return nil, nil // terminals verify nothing with it
	}
	var k Key
	var now time.Time
	err := r.in(ctx, tenant, func(tx *pg.Tx) error {
		now = tx.Now
		all, err := read(ctx, tx, of(tenant, selectKeys), tenant)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(k Key) bool { return k.Purpose == purpose && k.KeyID == kid })
		if i < 0 {
			return ErrNotFound.Explain("tenant %d has no key %s/%d", tenant, purpose, kid)
		}
		k = all[i]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.rollout.Laggards(ctx, k, now.Add(-SeenWithin))
}

// Activate has the published key kid sign from now on; the key that signed
// until now retires in the same transaction. Before its start the key is
// refused ([ErrNotYet]), and so it is while a terminal that was heard of in the
// last [SeenWithin] has not acknowledged a bundle that holds it ([ErrLaggards]).
func (r *Ring) Activate(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, kid uint8) (Key, error) {
	late, err := r.Laggards(ctx, tenant, purpose, kid)
	if err != nil {
		return Key{}, err
	}
	if len(late) > 0 {
		return Key{}, ErrLaggards.Explain("key %s/%d of tenant %d: %s", purpose, kid, tenant, countLaggards(late))
	}
	return r.activate(ctx, actor, tenant, purpose, kid, nil)
}

// countLaggards says how many there are of whom. The terminals of one operator
// are no business of another.
func countLaggards(late []Laggard) string {
	of := map[citygate.TenantID]int{}
	for _, l := range late {
		of[l.Operator]++
	}
	operators := make([]citygate.TenantID, 0, len(of))
	for id := range of {
		operators = append(operators, id)
	}
	slices.Sort(operators)
	text := fmt.Sprintf("%d terminals wait for it", len(late))
	for i, id := range operators {
		if i == 5 {
			return text + fmt.Sprintf(", and of %d operators more", len(operators)-i)
		}
		text += fmt.Sprintf(", %d of operator %d", of[id], id)
	}
	return text
}

// An override is why somebody did not wait, for the audit log.
type override struct {
	Reason   string    `json:"reason"`
	Laggards []Laggard `json:"laggards"`
}

// ActivateAnyway activates a key without waiting for terminals. Riders whose
// codes it signs are refused at those that lag behind: the reason and who they
// are go to the audit log.
func (r *Ring) ActivateAnyway(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, kid uint8, reason string) (Key, error) {
	if reason == "" {
		return Key{}, ErrInvalid.Explain("activating a key that terminals wait for wants a reason")
	}
	late, err := r.Laggards(ctx, tenant, purpose, kid)
	if err != nil {
		return Key{}, err
	}
	return r.activate(ctx, actor, tenant, purpose, kid, &override{reason, late})
}

func (r *Ring) activate(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, kid uint8, why *override) (Key, error) {
	return r.change(ctx, tenant, purpose, kid, func(tx *pg.Tx, ring []Key, k Key) (Key, error) {
		if tx.Now.Before(k.NotBefore) || !tx.Now.Before(k.Expires) {
			return Key{}, ErrNotYet.Explain("key %s/%d signs from %s until %s", purpose, kid, k.NotBefore.Format(time.RFC3339), k.Expires.Format(time.RFC3339))
		}
		for _, old := range ring {
			if old.State == bundle.Active && old.KeyID != kid && k.State.May(bundle.Active) {
				if _, err := step(ctx, tx, actor, old, bundle.Retiring, time.Time{}); err != nil {
					return Key{}, err
				}
			}
		}
		got, err := step(ctx, tx, actor, k, bundle.Active, time.Time{})
		if err != nil || why == nil {
			return got, err
		}
		return got, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "key.activate_anyway", Object: keyName(got), After: why})
	})
}

// Emergency takes a stolen or lost key out of use at once. With notIssuedAfter
// what it signed until then stays good: the key retires with that limit. With
// the zero time it is revoked, and everything it ever signed is worthless. If it
// signed, a published key whose time has come signs in its place from the same
// transaction on; none gives a next of kid 0, and the caller makes one by
// [Ring.Rotate] and [Ring.ActivateAnyway]. Nobody is waited for, and the signer
// is not asked.
func (r *Ring) Emergency(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose, kid uint8, notIssuedAfter time.Time, reason string) (stolen, next Key, err error) {
	if reason == "" {
		return Key{}, Key{}, ErrInvalid.Explain("taking a key out of use in an emergency wants a reason")
	}
	stolen, err = r.change(ctx, tenant, purpose, kid, func(tx *pg.Tx, ring []Key, k Key) (Key, error) {
		next = Key{} // the transaction may run again
		signed := k.State == bundle.Active
		got, err := takeOut(ctx, tx, actor, k, notIssuedAfter)
		if err != nil {
			return Key{}, err
		}
		for _, c := range slices.Backward(ring) {
			if signed && c.State == bundle.Published && !tx.Now.Before(c.NotBefore) && tx.Now.Before(c.Expires) {
				if next, err = step(ctx, tx, actor, c, bundle.Active, time.Time{}); err != nil {
					return Key{}, err
				}
				break
			}
		}
		after := map[string]any{"reason": reason, "state": got.State, "next": next.KeyID}
		if !notIssuedAfter.IsZero() {
			after["not_issued_after"] = got.NotIssuedAfter
		}
		return got, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "key.emergency", Object: keyName(got), After: after})
	})
	return stolen, next, err
}

// takeOut revokes k, or retires it with a limit. A limit only ever comes closer.
func takeOut(ctx context.Context, tx *pg.Tx, actor string, k Key, notIssuedAfter time.Time) (Key, error) {
	switch {
	case notIssuedAfter.IsZero() || k.State == bundle.Published: // what never signed has no good past
		return step(ctx, tx, actor, k, bundle.Revoked, time.Time{})
	case k.State == bundle.Retiring && (k.NotIssuedAfter.IsZero() || notIssuedAfter.Before(k.NotIssuedAfter)):
		before := k
		k.NotIssuedAfter = notIssuedAfter.UTC().Truncate(time.Microsecond)
		if _, err := tx.Exec(ctx, of(tx.Tenant, updateState), k.Tenant, k.Purpose, int16(k.KeyID), k.State, &k.NotIssuedAfter); err != nil {
			return Key{}, err
		}
		return k, audit(ctx, tx, actor, "key.retiring", before, k)
	case k.State == bundle.Retiring:
		return k, nil // it is out of use for longer than asked
	default:
		return step(ctx, tx, actor, k, bundle.Retiring, notIssuedAfter)
	}
}

func keyName(k Key) string { return fmt.Sprintf("key:%s/%d", k.Purpose, k.KeyID) }

// EnsureNext gives the key that will sign after the active one, and makes and
// publishes it if there is none that could: verifiers know it long before, and
// in an [Ring.Emergency] it signs at once.
func (r *Ring) EnsureNext(ctx context.Context, actor string, tenant citygate.TenantID, purpose Purpose) (Key, error) {
	if err := purpose.Check(tenant); err != nil {
		return Key{}, err
	}
	var all []Key
	var now time.Time
	err := r.in(ctx, tenant, func(tx *pg.Tx) (err error) {
		now = tx.Now
		all, err = read(ctx, tx, of(tenant, selectKeys), tenant)
		return err
	})
	if err != nil {
		return Key{}, err
	}
	if k, ok := next(all, purpose, now); ok {
		return k, nil
	}
	return r.Rotate(ctx, actor, tenant, purpose, now.Truncate(time.Second), now.Add(DefaultLife))
}

// next gives the key of a purpose that can sign after the active one.
func next(all []Key, purpose Purpose, now time.Time) (Key, bool) {
	for _, k := range slices.Backward(all) {
		if k.Purpose == purpose && k.State == bundle.Published && now.Before(k.Expires) {
			return k, true
		}
	}
	return Key{}, false
}

// EnsureNextOf makes and publishes the next key of every purpose of a tenant that
// key sets announce and that has a key that signs and none to follow it: of a
// tenant from before next keys were made with the first, or whose next key ran
// out unused. It gives the keys it made; where nothing is missing the signer is
// not asked.
func (r *Ring) EnsureNextOf(ctx context.Context, actor string, tenant citygate.TenantID) (made []Key, err error) {
	var all []Key
	var now time.Time
	err = r.in(ctx, tenant, func(tx *pg.Tx) (err error) {
		now = tx.Now
		all, err = read(ctx, tx, of(tenant, selectKeys), tenant)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if _, has := next(all, k.Purpose, now); has || k.State != bundle.Active || !k.Purpose.Announced() {
			continue
		}
		n, failed := r.EnsureNext(ctx, actor, tenant, k.Purpose)
		if failed != nil { // the other purposes get theirs
			err = errors.Join(err, failed)
			continue
		}
		made = append(made, n)
	}
	return made, err
}
