package pg_test

import (
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// BenchmarkInTenant is what the door itself costs: two round trips, one to begin,
// reset and bind, one to commit.
func BenchmarkInTenant(b *testing.B) {
	db := pgtest.New(b)
	for b.Loop() {
		if err := db.InTenant(b.Context(), 1, func(*pg.Tx) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
