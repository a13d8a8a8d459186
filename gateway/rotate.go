package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// RotateKey announces a tenant's next key, if none is announced, to every
// operator whose bundles hold keys of that purpose. It signs after
// [Gateway.ActivateKey].
func (g *Gateway) RotateKey(ctx context.Context, actor string, tenant citygate.TenantID, purpose keys.Purpose) (keys.Key, error) {
	next, err := g.Ring.EnsureNext(ctx, actor, tenant, purpose)
	if err != nil {
		return keys.Key{}, err
	}
	return next, g.republish(ctx, tenant, purpose)
}

// ActivateKey has a published key sign, the one that signed retire, and
// announces the key after it. Terminals that lack the key stop this
// ([keys.ErrLaggards]), unless anyway says why they are not waited for.
func (g *Gateway) ActivateKey(ctx context.Context, actor string, tenant citygate.TenantID, purpose keys.Purpose, kid uint8, anyway string) (keys.Key, error) {
	var k keys.Key
	var err error
	if anyway == "" {
		k, err = g.Ring.Activate(ctx, actor, tenant, purpose, kid)
	} else {
		k, err = g.Ring.ActivateAnyway(ctx, actor, tenant, purpose, kid, anyway)
	}
	if err != nil {
		return keys.Key{}, err
	}
	return k, g.announce(ctx, actor, tenant, purpose)
}

// EmergencyKey takes a key out of use at once ([keys.Ring.Emergency]) and sees
// that another one signs and that bundles say so. The first step needs neither
// the key store nor terminals: when a later one fails the key is out of use all
// the same, the error says what is left, and repeating does it.
func (g *Gateway) EmergencyKey(ctx context.Context, actor string, tenant citygate.TenantID, purpose keys.Purpose, kid uint8, notIssuedAfter time.Time, reason string) (stolen, next keys.Key, err error) {
	stolen, next, err = g.Ring.Emergency(ctx, actor, tenant, purpose, kid, notIssuedAfter, reason)
	if err != nil && !errors.Is(err, keys.ErrState) { // a revoked key: this is the repetition
		return stolen, next, err
	}
	_, _, activeErr := g.Ring.Active(ctx, tenant, purpose)
	if errors.Is(activeErr, keys.ErrNotFound) {
		made, err := g.Ring.EnsureNext(ctx, actor, tenant, purpose)
		if err == nil {
			next, err = g.Ring.ActivateAnyway(ctx, actor, tenant, purpose, made.KeyID, "emergency: "+reason)
		}
		if err != nil {
			return stolen, next, fmt.Errorf("the key is out of use and none signs in its place yet, repeat this: %w", err)
		}
	}
	if err := g.announce(ctx, actor, tenant, purpose); err != nil {
		return stolen, next, fmt.Errorf("the key is out of use and not every bundle says so yet, repeat this: %w", err)
	}
	return stolen, next, nil
}

// announce sees that a next key is published and that bundles hold all there is.
// Without a next key, because this process may not make one, bundles are
// published nevertheless.
func (g *Gateway) announce(ctx context.Context, actor string, tenant citygate.TenantID, purpose keys.Purpose) error {
	_, err := g.Ring.EnsureNext(ctx, actor, tenant, purpose)
	if errors.Is(err, keys.ErrForbidden) {
		g.Log.WarnContext(ctx, "no next key is published: this process may not make one", "tenant", tenant, "purpose", purpose)
		err = nil
	}
	return errors.Join(err, g.republish(ctx, tenant, purpose))
}

// announceEvery is how often a tenant is looked at for next keys that are missing.
const announceEvery = 10 * time.Minute

// announceNext makes the next keys that a tenant lacks: one from before they were
// made with the first keys, or whose next key ran out. A key store that is away or
// that this process may not change is met later; "citygate key rotate" does it
// too.
func (g *Gateway) announceNext(ctx context.Context, tenant citygate.TenantID) error {
	if !g.announced.turn(tenant, g.DB.ClockOf(tenant)()) {
		return nil
	}
	made, err := g.Ring.EnsureNextOf(ctx, renewer, tenant)
	for _, k := range made {
		err = errors.Join(err, g.republish(ctx, tenant, k.Purpose))
	}
	if errors.Is(err, keys.ErrForbidden) || errors.Is(err, keys.ErrUnavailable) {
		g.Log.WarnContext(ctx, "a tenant's next key is not announced yet", "tenant", tenant, "error", err)
		return nil
	}
	return err
}

// turns says whose turn it is for work that is done once in a while.
type turns struct {
	mu   sync.Mutex
	last map[citygate.TenantID]time.Time
}

// turn reports whether a tenant was not looked at for announceEvery, and notes
// that it is now.
func (t *turns) turn(tenant citygate.TenantID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.last[tenant]; ok && !now.Before(last) && now.Sub(last) < announceEvery {
		return false
	}
	if t.last == nil {
		t.last = map[citygate.TenantID]time.Time{}
	}
	t.last[tenant] = now
	return true
}

// republish publishes the bundles that hold keys of the tenant and purpose anew.
func (g *Gateway) republish(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) error {
	if purpose.Usage() == 0 {
		return nil
	}
	operators, err := g.Fleet.Holders(ctx, tenant, purpose)
	if err != nil {
		return err
	}
	for _, operator := range operators {
		next, failed := g.Bundles.Renew(ctx, renewer, operator)
		g.trust.forget(operator)
		if next.Draft {
			g.Log.WarnContext(ctx, "a trust bundle waits for the signatures of offline roots; see citygate bundle prepare", "tenant", operator, "bundle", next.Version)
		}
		if failed != nil { // the others get theirs
			err = errors.Join(err, fmt.Errorf("bundle of operator %d: %w", operator, failed))
		}
	}
	return err
}

// jwks gives the key set of a tenant, 0 for the platform's token keys.
func (g *Gateway) jwks(ctx context.Context, tenant citygate.TenantID) ([]byte, error) {
	if tenant != keys.Platform {
		if _, err := g.Tenants.ByID(ctx, tenant); err != nil {
			return nil, err
		}
	}
	all, err := g.Ring.Keys(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return keys.JWKS(all)
}
