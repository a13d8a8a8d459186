package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A key signs when every terminal that was heard of in the last week has said
// that it holds a bundle with it, at every operator that takes the tenant's codes.
func TestAKeyWaitsForTerminals(t *testing.T) {
	p, ring, db, c := city(t)
	f, ctx := fleet.New(db), t.Context()
	ring.Wait(f)
	operators := map[citygate.TenantID]fleet.Profile{
		metro:   {Operator: metro, Accepts: []citygate.TenantID{harbour}, Policy: fleet.Policy{Version: 1, Body: []byte("m")}},
		harbour: {Operator: harbour, Accepts: []citygate.TenantID{hillsid}, Policy: fleet.Policy{Version: 1, Body: []byte("h")}},
		hillsid: {Operator: hillsid, Policy: fleet.Policy{Version: 1, Body: []byte("x")}}, // takes harbour's codes no more
	}
	publish := func(of citygate.TenantID) uint64 {
		t.Helper()
		b, err := p.Publish(ctx, actor, operators[of])
		if err != nil {
			t.Fatal(err)
		}
		return b.Version
	}
	var taps uint64
	report := func(of citygate.TenantID, terminal uint32, holds uint64) {
		t.Helper()
		in(t, db, of, func(tx *pg.Tx) error {
			taps++
			_, err := fleet.Reported(ctx, tx, terminal, fleet.Report{Software: "1", Taps: []fleet.Sighting{{Seq: taps, At: tx.Now, Bundle: holds}}})
			return err
		})
	}
	before := operators[hillsid]
	before.Accepts = []citygate.TenantID{harbour}
	if _, err := p.Publish(ctx, actor, before); err != nil {
		t.Fatal(err)
	}
	for of := range operators {
		held := publish(of)
		for id := uint32(1); id <= 4; id++ {
			if _, err := f.Enrol(ctx, actor, of, gate(id), public(string(rune(of))+string(rune(id)))); err != nil {
				t.Fatal(err)
			}
			if id < 4 { // number 4 was never heard of
				report(of, id, held)
			}
		}
	}
	if err := f.SetState(ctx, actor, metro, 3, fleet.Suspended); err != nil {
		t.Fatal(err)
	}
	k, err := ring.Rotate(ctx, actor, harbour, keys.Credential, c.now(), c.now().Add(keys.DefaultLife))
	if err != nil || k.KeyID != 3 {
		t.Fatalf("Rotate = %d, %v", k.KeyID, err)
	}
	c.move(time.Hour)
	waits := func(when string, want ...string) {
		t.Helper()
		late, err := ring.Laggards(ctx, harbour, keys.Credential, 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range late {
			got = append(got, map[citygate.TenantID]string{metro: "metro ", harbour: "harbour ", hillsid: "hillside "}[l.Operator]+l.Name)
			if l.Holds >= l.Needs || l.Seen.IsZero() {
				t.Errorf("%s: %+v lags behind nothing", when, l)
			}
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s: the key waits for %q, want %q", when, got, want)
		}
		_, err = ring.Activate(ctx, actor, harbour, keys.Credential, 3)
		if (len(want) > 0) != errors.Is(err, keys.ErrLaggards) {
			t.Errorf("%s: Activate: %v", when, err)
		}
		if err != nil && strings.Contains(err.Error(), "gate") {
			t.Errorf("%s: one operator's terminals are named to another: %v", when, err)
		}
	}
	waits("published nowhere", "harbour gate 1", "harbour gate 2", "harbour gate 3", "metro gate 1", "metro gate 2")
	m := publish(metro)
	waits("in one operator's bundle", "harbour gate 1", "harbour gate 2", "harbour gate 3", "metro gate 1", "metro gate 2")
	report(metro, 1, m)
	h := publish(harbour)
	report(harbour, 1, h)
	report(harbour, 2, h)
	waits("some have it", "harbour gate 3", "metro gate 2")
	holders, err := f.Holders(ctx, harbour, keys.Credential)
	if err != nil || len(holders) != 2 || holders[0] != harbour || holders[1] != metro {
		t.Errorf("Holders = %v, %v", holders, err)
	}
	c.move(6 * 24 * time.Hour)
	report(metro, 2, m-1) // heard of, with the old bundle
	report(harbour, 3, h)
	report(harbour, 3, h-1) // a report that came late
	c.move(2 * 24 * time.Hour)
	waits("one lags behind after a week", "metro gate 2")
	if active, _, err := ring.Active(ctx, harbour, keys.Credential); err != nil || active != 1 {
		t.Fatalf("key %d signs, %v", active, err)
	}

	// Somebody decides not to wait, and the audit log says who was left behind.
	if _, err := ring.ActivateAnyway(ctx, actor, harbour, keys.Credential, 3, ""); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("without a reason: %v", err)
	}
	if _, err := ring.ActivateAnyway(ctx, actor, harbour, keys.Credential, 3, "gate 2 is being replaced"); err != nil {
		t.Fatal(err)
	}
	var why string
	in(t, db, harbour, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `SELECT after::text FROM audit_log WHERE tenant_id = $1 AND verb = 'key.activate_anyway'`, harbour).Scan(&why)
	})
	if !strings.Contains(why, "being replaced") || !strings.Contains(why, "gate 2") {
		t.Errorf("the audit log says %s", why)
	}
	// A purpose that terminals verify nothing with waits for nobody.
	if _, err := ring.Rotate(ctx, actor, harbour, keys.Audit, c.now(), c.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Activate(ctx, actor, harbour, keys.Audit, 2); err != nil {
		t.Errorf("a key that terminals do not know: %v", err)
	}
}

// Terminals that were not heard of for a week are not waited for.
func TestTerminalsThatAreAwayAreNotWaitedFor(t *testing.T) {
	p, ring, db, c := city(t)
	f, ctx := fleet.New(db), t.Context()
	ring.Wait(f)
	profile := fleet.Profile{Operator: metro, Accepts: []citygate.TenantID{harbour}}
	if _, err := p.Publish(ctx, actor, profile); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Enrol(ctx, actor, metro, gate(1), public("a")); err != nil {
		t.Fatal(err)
	}
	in(t, db, metro, func(tx *pg.Tx) error {
		_, err := fleet.Reported(ctx, tx, 1, fleet.Report{Software: "1", Taps: []fleet.Sighting{{Seq: 1, At: tx.Now, Bundle: 1}}})
		return err
	})
	if _, err := ring.Rotate(ctx, actor, harbour, keys.Credential, c.now(), c.now().Add(keys.DefaultLife)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(ctx, actor, profile); err != nil {
		t.Fatal(err)
	}
	c.move(keys.SeenWithin)
	if _, err := ring.Activate(ctx, actor, harbour, keys.Credential, 3); !errors.Is(err, keys.ErrLaggards) {
		t.Errorf("a terminal that was heard of a week ago: %v, want keys.laggards", err)
	}
	c.move(time.Second)
	if k, err := ring.Activate(ctx, actor, harbour, keys.Credential, 3); err != nil || k.State != bundle.Active {
		t.Errorf("a terminal that was not heard of for longer: %v", err)
	}
}
