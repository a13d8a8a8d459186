package policies_test

import (
	"errors"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func rules(tenant citygate.TenantID, version uint64) *accept.Rules {
	return &accept.Rules{
		Version: version, Tenant: tenant,
		Issuers: []accept.IssuerRule{{Issuer: 101, Currency: "CNY", CapUnitMinor: 10}}, Schemes: []code.SchemeID{"ct1"},
		Modes:       []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
		SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 200, LateUploadDays: 7, ClockSuspectSeconds: 600,
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 60},
	}
}

func TestVersionsAreImmutableAndInOrder(t *testing.T) {
	db, ctx := pgtest.New(t), t.Context()
	for range 2 { // the second is a repeat after a lost reply
		if err := policies.Publish(ctx, db, "user:ada", rules(7, 1)); err != nil {
			t.Fatal(err)
		}
	}
	other := rules(7, 1)
	other.SkewSeconds = 31
	if err := policies.Publish(ctx, db, "user:ada", other); !errors.Is(err, policies.ErrVersion) {
		t.Errorf("version 1 was replaced: %v", err)
	}
	if err := policies.Publish(ctx, db, "user:ada", rules(7, 3)); !errors.Is(err, policies.ErrVersion) {
		t.Errorf("version 2 was skipped: %v", err)
	}
	if err := policies.Publish(ctx, db, "user:ada", rules(7, 2)); err != nil {
		t.Fatal(err)
	}
	latest, err := policies.Latest(ctx, db, 7)
	if err != nil || latest.Version != 2 {
		t.Errorf("Latest = %v, %v", latest, err)
	}
	first, err := policies.Version(ctx, db, 7, 1)
	if err != nil || first.SkewSeconds != 30 {
		t.Errorf("Version 1 = %v, %v", first, err)
	}
	if _, err := policies.Latest(ctx, db, 8); !errors.Is(err, policies.ErrNone) {
		t.Errorf("another tenant sees the policy: %v", err)
	}
}
