package tenants_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func harbour() tenants.Tenant {
	return tenants.Tenant{
		ID: 1, Slug: "harbour-city", Name: "Harbour City", Kind: tenants.Authority, Mode: tenants.Sandbox, Issuer: 101,
		Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240, CalendarVersion: 1, CapUnit: 10, State: tenants.Draft,
	}
}

func directory(t *testing.T) *tenants.Directory {
	t.Helper()
	return tenants.NewDirectory(pgtest.New(t), func() time.Time { return time.Unix(1772400000, 0) })
}

func TestCreateTwiceIsOnce(t *testing.T) {
	d, ctx := directory(t), t.Context()
	for range 2 {
		if err := d.Create(ctx, "user:ada", harbour()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := d.All(ctx)
	if err != nil || len(all) != 1 || all[0] != harbour() {
		t.Fatalf("All = %+v, %v", all, err)
	}
	if got, err := d.ByIssuer(ctx, 101); err != nil || got.ID != 1 {
		t.Errorf("ByIssuer = %v, %v", got, err)
	}
	if _, err := d.ByIssuer(ctx, 0); !errors.Is(err, tenants.ErrNotFound) {
		t.Errorf("a tenant without an issuer number was found by 0: %v", err)
	}
}

func TestCreateRefusesAnotherTenantUnderTheSameNumbers(t *testing.T) {
	d, ctx := directory(t), t.Context()
	if err := d.Create(ctx, "user:ada", harbour()); err != nil {
		t.Fatal(err)
	}
	sameID, sameSlug, sameIssuer := harbour(), harbour(), harbour()
	sameID.Name = "Another"
	sameSlug.ID, sameSlug.Issuer = 2, 0
	sameIssuer.ID, sameIssuer.Slug = 3, "hillside"
	for what, other := range map[string]tenants.Tenant{"number": sameID, "slug": sameSlug, "issuer": sameIssuer} {
		if err := d.Create(ctx, "user:ada", other); !errors.Is(err, tenants.ErrExists) {
			t.Errorf("another tenant under the same %s: %v", what, err)
		}
	}
}

func TestLifecycleRefusesIllegalSteps(t *testing.T) {
	d, ctx := directory(t), t.Context()
	if err := d.Create(ctx, "user:ada", harbour()); err != nil {
		t.Fatal(err)
	}
	if err := d.SetState(ctx, "user:ada", 1, tenants.Suspended); !errors.Is(err, tenants.ErrState) {
		t.Errorf("draft became suspended: %v", err)
	}
	for _, to := range []tenants.State{tenants.Active, tenants.Active, tenants.Suspended, tenants.Active, tenants.Closing, tenants.Closed} {
		if err := d.SetState(ctx, "user:ada", 1, to); err != nil {
			t.Fatalf("to %s: %v", to, err)
		}
		if got, err := d.ByID(ctx, 1); err != nil || got.State != to {
			t.Fatalf("state is %s (%v), want %s at once", got.State, err, to)
		}
	}
	if err := d.SetState(ctx, "user:ada", 1, tenants.Active); !errors.Is(err, tenants.ErrState) {
		t.Errorf("a closed tenant came back: %v", err)
	}
	if err := d.SetState(ctx, "user:ada", 9, tenants.Active); !errors.Is(err, tenants.ErrNotFound) {
		t.Errorf("state of nobody: %v", err)
	}
}

func TestCheckNamesTheField(t *testing.T) {
	for field, change := range map[string]func(*tenants.Tenant){
		"slug":        func(t *tenants.Tenant) { t.Slug = "Harbour City" },
		"kind":        func(t *tenants.Tenant) { t.Kind = "zoo" },
		"currency":    func(t *tenants.Tenant) { t.Currency = "yuan" },
		"time_zone":   func(t *tenants.Tenant) { t.TimeZone = "Mars/Olympus" },
		"cut_minutes": func(t *tenants.Tenant) { t.CutMinutes = 1440 },
		"cap_unit":    func(t *tenants.Tenant) { t.CapUnit = 0 },
		"mode":        func(t *tenants.Tenant) { t.Mode = "" },
	} {
		bad := harbour()
		change(&bad)
		var explained *citygate.Explained
		if err := bad.Check(); !errors.As(err, &explained) || !errors.Is(err, tenants.ErrInvalid) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
