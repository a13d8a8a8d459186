package policies_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const source = `citygate: rules/1
time_zone: Asia/Shanghai
acceptance:
  schemes: [ct1]
  issuers: [{issuer: 101, currency: CNY, cap_unit_minor: 10}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 200
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 60}
  rules:
    - {id: big, then: refuse, when: amount > LIMIT}
`

func set(t *testing.T, limit string) *ruleset.Set {
	t.Helper()
	s, err := ruleset.Parse([]byte(strings.ReplaceAll(source, "LIMIT", limit)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Versions are chosen by event time: a scheduled one waits, one published after it
// from now on takes its place, and a rollback is the next version.
func TestVersionsHoldByEventTime(t *testing.T) {
	db, ctx := pgtest.New(t), t.Context()
	in := func(tenant citygate.TenantID, do func(tx *pg.Tx) error) {
		t.Helper()
		if err := db.InTenant(ctx, tenant, do); err != nil {
			t.Fatal(err)
		}
	}
	if err := policies.Publish(ctx, db, "user:ada", rules(7, 1)); err != nil {
		t.Fatal(err)
	}
	publish := func(p policies.Proposal) (out policies.Published) {
		t.Helper()
		in(7, func(tx *pg.Tx) (err error) {
			out, _, err = policies.PublishSet(ctx, tx, "user:ada", p)
			return err
		})
		return out
	}
	now := db.Now()
	holds := func(at time.Time) (version uint64) {
		t.Helper()
		in(7, func(tx *pg.Tx) (err error) {
			version, err = policies.InForce(ctx, tx, at)
			return err
		})
		return version
	}
	tomorrow := now.Add(24 * time.Hour)
	if p := publish(policies.Proposal{Set: set(t, "100")}); p.Version != 2 {
		t.Fatalf("%+v", p)
	}
	if p := publish(policies.Proposal{Set: set(t, "100")}); p.Version != 2 {
		t.Errorf("the same again made version %d", p.Version)
	}
	if p := publish(policies.Proposal{Set: set(t, "200"), At: tomorrow}); p.Version != 3 || !p.EffectiveAt.Equal(tomorrow.Truncate(time.Millisecond)) {
		t.Errorf("%+v", p)
	}
	if a, b, c := holds(now.Add(-time.Hour)), holds(now.Add(time.Minute)), holds(tomorrow); a != 1 || b != 2 || c != 3 {
		t.Errorf("before, now and tomorrow hold %d, %d, %d", a, b, c)
	}
	in(7, func(tx *pg.Tx) error {
		chain, err := policies.Chain(ctx, tx)
		if err != nil {
			return err
		}
		if chain.Version != 3 || chain.Prior == nil || chain.Prior.Version != 2 || chain.Prior.Prior != nil {
			t.Errorf("readers carry %d with %+v", chain.Version, chain.Prior)
		}
		raw, err := chain.Encode()
		if err != nil {
			return err
		}
		back, err := accept.Parse(raw)
		if err == nil && back.InForce(now.Add(time.Minute).UnixMilli()).Version != 2 {
			t.Error("a reader goes by the version of tomorrow")
		}
		return err
	})
	if p := publish(policies.Proposal{Set: set(t, "100"), Restores: 2}); p.Version != 4 || p.Restores != 2 {
		t.Errorf("rolled back: %+v", p)
	}
	if a, b := holds(now.Add(time.Minute)), holds(tomorrow.Add(time.Hour)); a != 4 || b != 4 {
		t.Errorf("after a rollback %d and %d hold: what was scheduled before must not", a, b)
	}
	if a := holds(now.Add(-time.Hour)); a != 1 {
		t.Errorf("a rollback changed the past: %d", a)
	}
	err := db.InTenant(ctx, 7, func(tx *pg.Tx) error {
		_, _, err := policies.PublishSet(ctx, tx, "user:ada", policies.Proposal{Set: set(t, "5"), At: now.Add(-time.Hour)})
		return err
	})
	if !errors.Is(err, policies.ErrWhen) {
		t.Errorf("into the past: %v", err)
	}
	in(8, func(tx *pg.Tx) error {
		if _, _, err := policies.Source(ctx, tx, 2); !errors.Is(err, policies.ErrNone) {
			t.Errorf("another tenant reads the rule set: %v", err)
		}
		if _, err := policies.InForce(ctx, tx, now); !errors.Is(err, policies.ErrNone) {
			t.Errorf("another tenant has a version in force: %v", err)
		}
		all, err := policies.List(ctx, tx, 0, 10)
		if len(all) != 0 {
			t.Errorf("another tenant lists %d", len(all))
		}
		return err
	})
}

// Fields alone would drop the rules of a rule set, its routing and its liability.
func TestFieldsDoNotFollowARuleSet(t *testing.T) {
	db, ctx := pgtest.New(t), t.Context()
	if err := policies.MayPublishFields(ctx, db, 7); err != nil {
		t.Errorf("a tenant without a policy: %v", err)
	}
	if err := policies.Publish(ctx, db, "user:ada", rules(7, 1)); err != nil {
		t.Fatal(err)
	}
	if err := policies.MayPublishFields(ctx, db, 7); err != nil {
		t.Errorf("after fields: %v", err)
	}
	if err := db.InTenant(ctx, 7, func(tx *pg.Tx) error {
		_, _, err := policies.PublishSet(ctx, tx, "user:ada", policies.Proposal{Set: set(t, "100")})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := policies.Publish(ctx, db, "user:ada", rules(7, 3)); !errors.Is(err, policies.ErrRuleSet) {
		t.Errorf("fields after a rule set: %v", err)
	}
	if err := policies.MayPublishFields(ctx, db, 7); !errors.Is(err, policies.ErrRuleSet) {
		t.Errorf("may fields follow a rule set: %v", err)
	}
	last, err := policies.Latest(ctx, db, 7)
	if err != nil || last.Version != 2 || last.Table == nil {
		t.Fatalf("the last version is %+v, %v", last, err)
	}
	if err := policies.Publish(ctx, db, "user:ada", last); err != nil {
		t.Errorf("the same again: %v", err)
	}
}
