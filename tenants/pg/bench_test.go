package pg_test

import (
	"testing"

	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// BenchmarkInTenant is what the door itself costs: two round trips, one to begin,
// reset and bind, one to commit. A sandbox's clock comes with the first.
func BenchmarkInTenant(b *testing.B) {
	db := pgtest.New(b)
	directory := tenants.NewDirectory(db, db.Now)
	for _, mode := range []tenants.Mode{tenants.Live, tenants.Sandbox} {
		t := tenants.Tenant{ID: 1, Slug: string(mode), Name: "Town", Kind: tenants.Bus, Mode: mode, Currency: "CNY", TimeZone: "Asia/Shanghai"}
		if mode == tenants.Sandbox {
			t.ID = 2
		}
		if err := directory.Create(b.Context(), "user:test", t); err != nil {
			b.Fatal(err)
		}
		b.Run(string(mode), func(b *testing.B) {
			for b.Loop() {
				if err := db.InTenant(b.Context(), t.ID, func(*pg.Tx) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
