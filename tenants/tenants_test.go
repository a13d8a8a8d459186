package tenants_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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

// What another process changes is seen when the directory is looked at again, and
// not before; while one looks nobody waits for it, unless what there is is old.
func TestAnotherProcessesChangesAreSeen(t *testing.T) {
	db, ctx := pgtest.New(t), t.Context()
	now := time.Unix(1772400000, 0)
	here, there := tenants.NewDirectory(db, func() time.Time { return now }), tenants.NewDirectory(db, func() time.Time { return now })
	names := func() (list []string) {
		t.Helper()
		all, err := here.All(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			list = append(list, one.Slug+" "+string(one.State))
		}
		return list
	}
	wants := func(what string, want ...string) {
		t.Helper()
		if got := names(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	wants("at first")
	if err := there.Create(ctx, "user:ada", harbour()); err != nil {
		t.Fatal(err)
	}
	wants("at once")
	now = now.Add(2 * time.Second)
	wants("later", "harbour-city draft")
	if err := there.SetState(ctx, "user:ada", 1, tenants.Active); err != nil {
		t.Fatal(err)
	}
	wants("a change at once", "harbour-city draft")
	now = now.Add(2 * time.Second)
	wants("a change later", "harbour-city active") // the number of rows is as it was
	now = now.Add(time.Minute)
	wants("nothing changed", "harbour-city active")
	second := harbour()
	second.ID, second.Slug, second.Issuer, second.Parent = 2, "hillside", 0, 1
	if err := here.Create(ctx, "user:ada", second); err != nil {
		t.Fatal(err)
	}
	wants("a change of its own at once", "harbour-city active", "hillside draft")
	now = now.Add(-time.Hour) // a clock that is set back makes nothing young
	wants("after the clock went back", "harbour-city active", "hillside draft")
	for id, want := range map[citygate.TenantID]int{1: 2, 2: 1, 3: 0} {
		if got, err := here.Under(ctx, id); err != nil || len(got) != want {
			t.Errorf("under %d are %v, %v", id, got, err)
		}
	}
}

// A tenant that another process has made is found by number, name and issuer at once,
// by everybody who asks; within a tenth of a second of a look nobody looks again.
func TestANewTenantOfAnotherProcessIsFound(t *testing.T) {
	ctx := t.Context()
	for how, find := range map[string]func(*tenants.Directory) (tenants.Tenant, error){
		"number": func(d *tenants.Directory) (tenants.Tenant, error) { return d.ByID(ctx, 1) },
		"name":   func(d *tenants.Directory) (tenants.Tenant, error) { return d.BySlug(ctx, harbour().Slug) },
		"issuer": func(d *tenants.Directory) (tenants.Tenant, error) { return d.ByIssuer(ctx, harbour().Issuer) },
	} {
		t.Run(how, func(t *testing.T) {
			db := pgtest.New(t)
			now := time.Unix(1772400000, 0)
			here, there := tenants.NewDirectory(db, func() time.Time { return now }), tenants.NewDirectory(db, func() time.Time { return now })
			missing := func(when string) {
				t.Helper()
				if _, err := find(here); !errors.Is(err, tenants.ErrNotFound) {
					t.Errorf("%s: %v", when, err)
				}
			}
			missing("before it is made")
			if err := there.Create(ctx, "user:ada", harbour()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(99 * time.Millisecond)
			missing("just after a look")
			now = now.Add(time.Millisecond)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if got, err := find(here); err != nil || got.ID != 1 {
						t.Errorf("made elsewhere: %v, %v", got, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// Many callers, some of whom change something: each sees what it has changed.
func TestEverybodySeesTheirOwnChange(t *testing.T) {
	var ticks atomic.Int64
	d := tenants.NewDirectory(pgtest.New(t), func() time.Time {
		return time.Unix(1772400000, 0).Add(time.Duration(ticks.Add(1)) * 300 * time.Millisecond)
	})
	var all sync.WaitGroup
	for n := range citygate.TenantID(20) {
		all.Go(func() {
			one := harbour()
			one.ID, one.Slug, one.Issuer = n+1, fmt.Sprintf("city-%d", n+1), citygate.Issuer(n+1)
			if err := d.Create(t.Context(), "user:ada", one); err != nil {
				t.Error(err)
			}
			for range 10 {
				if got, err := d.ByID(t.Context(), one.ID); err != nil || got.Slug != one.Slug {
					t.Errorf("tenant %d: %v, %v", one.ID, got, err)
				}
				if got, err := d.ByIssuer(t.Context(), one.Issuer); err != nil || got.ID != one.ID {
					t.Errorf("issuer %d: %v, %v", one.Issuer, got, err)
				}
				if got, err := d.BySlug(t.Context(), one.Slug); err != nil || got.ID != one.ID {
					t.Errorf("slug %s: %v, %v", one.Slug, got, err)
				}
			}
		})
	}
	all.Wait()
}
