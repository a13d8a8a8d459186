package pg_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// A sandbox's transactions have its time, also where another process moved its
// clock; a live tenant's, a number's that nobody has and the platform's do not.
func TestTransactionsHaveTheirTenantsTime(t *testing.T) {
	now := pgtest.Epoch
	clock := pgtest.WithClock(func() time.Time { return now })
	db := pgtest.New(t, clock)
	other := pgtest.Reopen(t, db, clock)
	directory := tenants.NewDirectory(other, func() time.Time { return now })
	for id, mode := range map[citygate.TenantID]tenants.Mode{1: tenants.Sandbox, 2: tenants.Live} {
		if err := directory.Create(t.Context(), "user:test", tenants.Tenant{ID: id, Slug: "town-" + id.String(), Name: "Town", Kind: tenants.Bus, Mode: mode, Currency: "CNY", TimeZone: "Asia/Shanghai"}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want map[citygate.TenantID]time.Duration) {
		t.Helper()
		for id, ahead := range want {
			var in, made time.Time
			run := func(tx *pg.Tx) error {
				in = tx.Now
				id := tx.NewID()
				made = time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
				return nil
			}
			err := db.InTenant(t.Context(), max(id, 1), run)
			if id == 0 {
				err = db.InSystem(t.Context(), run)
			}
			if err != nil {
				t.Fatal(err)
			}
			of, err := db.NowOf(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			at := now.Add(ahead)
			if !in.Equal(at) || !of.Equal(at) || !db.ClockOf(id)().Equal(at) || !made.Equal(at.Truncate(time.Millisecond)) {
				t.Errorf("tenant %d: %s, %s, %s and %s, want %s", id, in, of, db.ClockOf(id)(), made, at)
			}
		}
	}
	check(map[citygate.TenantID]time.Duration{0: 0, 1: 0, 2: 0, 77: 0})
	if _, err := directory.AdvanceClock(t.Context(), "user:test", 1, 36*time.Hour); err != nil {
		t.Fatal(err)
	}
	check(map[citygate.TenantID]time.Duration{0: 0, 1: 36 * time.Hour, 2: 0, 77: 0})
	now = now.Add(time.Minute)
	check(map[citygate.TenantID]time.Duration{0: 0, 1: 36 * time.Hour, 2: 0, 77: 0})
}

// What a connection was told when it was made may be gone from it: the next
// transaction finds another connection, and its tenant's time.
func TestAConnectionThatForgotTheClockIsLeft(t *testing.T) {
	db := pgtest.New(t)
	directory := tenants.NewDirectory(db, db.Now)
	err := directory.Create(t.Context(), "user:test", tenants.Tenant{ID: 1, Slug: "town", Name: "Town", Kind: tenants.Bus, Mode: tenants.Sandbox, Currency: "CNY", TimeZone: "Asia/Shanghai"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := directory.AdvanceClock(t.Context(), "user:test", 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
			_, err := tx.Exec(t.Context(), `DEALLOCATE ALL`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var now, want time.Time
		if err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
			now, want = tx.Now, db.Now().Add(time.Hour)
			return nil
		}); err != nil || !now.Equal(want) {
			t.Fatalf("%s, want %s: %v", now, want, err)
		}
	}
}

// The audit log of a sandbox tells when something was done by its own clock.
func TestAuditRowsHaveTheirTenantsTime(t *testing.T) {
	db := pgtest.New(t)
	directory := tenants.NewDirectory(db, db.Now)
	err := directory.Create(t.Context(), "user:test", tenants.Tenant{ID: 1, Slug: "town", Name: "Town", Kind: tenants.Bus, Mode: tenants.Sandbox, Currency: "CNY", TimeZone: "Asia/Shanghai"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := directory.AdvanceClock(t.Context(), "user:test", 1, 90*time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:ada", Verb: "thing.do", Object: "thing"})
	}); err != nil {
		t.Fatal(err)
	}
	want := db.Now().Add(90 * time.Minute)
	rows := pgtest.Owner(t, db).Rows(1, `SELECT at FROM audit_log WHERE tenant_id = 1 AND verb = 'thing.do'`)
	if at, ok := rows[0][0].(time.Time); !ok || !at.Equal(want) {
		t.Errorf("%v, want %s", rows[0][0], want)
	}
}
