package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func TestKeysAreHeldOnlyOnceTheyWereRead(t *testing.T) {
	o := open(t)
	if _, err := o.trust.held(bus); !errors.Is(err, fleet.ErrNoBundle) {
		t.Errorf("nothing was read: %v, want %s", err, fleet.ErrNoBundle.Name)
	}
	o.must(o.prime(t.Context(), bus)) // a tenant without bundle or policy is no error
	if _, err := o.trust.held(bus); !errors.Is(err, fleet.ErrNoBundle) {
		t.Errorf("there was nothing to read: %v, want %s", err, fleet.ErrNoBundle.Name)
	}
	o.onboard()
	o.must(o.prime(t.Context(), bus))
	keys, err := o.trust.held(bus)
	if err != nil || keys.Version() != 1 {
		t.Fatalf("held = %v, %v", keys, err)
	}
	if _, err := o.trust.held(bus + 1); !errors.Is(err, fleet.ErrNoBundle) {
		t.Errorf("another tenant: %v, want %s", err, fleet.ErrNoBundle.Name)
	}
	// A transaction that runs while a policy is published keeps its keys.
	_, err = o.PublishPolicy(t.Context(), actor, rules(2))
	o.must(err)
	if _, err := o.trust.held(bus); err != nil {
		t.Errorf("publishing took the keys away: %v", err)
	}
}

func TestOwnPublicationIsSeenAtOnce(t *testing.T) {
	o := open(t)
	o.onboard()
	for v := uint64(1); v <= 3; v++ {
		if v > 1 {
			_, err := o.PublishPolicy(t.Context(), actor, rules(v))
			o.must(err)
		}
		b, err := o.Bundle(t.Context(), bus)
		o.must(err)
		latest, err := o.Rules(t.Context(), bus, 0)
		o.must(err)
		if b.Version() != v || latest.Version != v {
			t.Errorf("bundle %d and rules %d, want %d", b.Version(), latest.Version, v)
		}
	}
}

// Another process publishes past this one's cache: for trustFor the old version
// is used, then the new one.
func TestForeignPublicationIsSeenWithinTrustFor(t *testing.T) {
	o := open(t)
	o.onboard()
	o.must(o.prime(t.Context(), bus))
	next := rules(2)
	next.SkewSeconds = 60
	o.must(policies.Publish(t.Context(), o.DB, "user:elsewhere", next))
	body, err := next.Encode()
	o.must(err)
	_, err = o.Bundles.Publish(t.Context(), "user:elsewhere", fleet.Profile{
		Operator: bus, Policy: fleet.Policy{Version: 2, Body: body}, MaxTTLHours: uint32(next.MaxTTLHours),
	})
	o.must(err)
	for _, c := range []struct {
		after time.Duration
		want  uint64
	}{{trustFor - time.Millisecond, 1}, {time.Millisecond, 2}} {
		o.move(c.after)
		o.must(o.prime(t.Context(), bus))
		b, err := o.Bundle(t.Context(), bus)
		o.must(err)
		latest, err := o.Rules(t.Context(), bus, 0)
		o.must(err)
		if b.Version() != c.want || latest.Version != c.want {
			t.Errorf("bundle %d and rules %d, want %d", b.Version(), latest.Version, c.want)
		}
	}
	o.move(-time.Hour) // a clock that was set back does not freeze the cache
	before := o.lastRead()
	_, err = o.Bundle(t.Context(), bus)
	o.must(err)
	if o.lastRead().Equal(before) {
		t.Error("with the clock set back the bundle was not read again")
	}
}

// lastRead tells when the bus's bundle was read.
func (o *office) lastRead() time.Time {
	o.trust.mu.Lock()
	defer o.trust.mu.Unlock()
	return o.trust.bundles[bus].read
}

// A terminal that still holds an old policy is judged by that one; a version
// nobody published is judged by the current one.
func TestRulesOfAVersion(t *testing.T) {
	o := open(t)
	o.onboard()
	next := rules(2)
	next.SkewSeconds = 60
	_, err := o.PublishPolicy(t.Context(), actor, next)
	o.must(err)
	for asked, want := range map[uint64]uint64{0: 2, 1: 1, 2: 2, 9: 2} {
		for range 2 { // the second time from the cache
			got, err := o.Rules(t.Context(), bus, asked)
			if err != nil || got.Version != want {
				t.Errorf("version %d asked: %v, %v; want %d", asked, got, err, want)
			}
		}
	}
	if _, err := o.Rules(t.Context(), bus+1, 0); !errors.Is(err, policies.ErrNone) {
		t.Errorf("a tenant without policies: %v", err)
	}
	var pairing time.Duration
	o.in(bus, func(tx *pg.Tx) error {
		r, err := o.journeyRules(t.Context(), tx)
		pairing = r.MaxJourney
		return err
	})
	if want := 180 * time.Minute; pairing != want {
		t.Errorf("journeys last %s, want the policy's %s", pairing, want)
	}
}
