package gateway

import (
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// pgtest holds the plan of each statement that runs here to one tenant.
func TestWhatExplainsABookReadsOneTenant(t *testing.T) {
	db := pgtest.New(t)
	err := db.InTenant(t.Context(), bus, func(tx *pg.Tx) error {
		own, owed, err := mayStand(t.Context(), tx)
		if err != nil {
			return err
		}
		more, err := owedToOperators(t.Context(), tx, []citygate.UUID{{1}})
		if len(own)+len(owed)+len(more) != 0 {
			t.Errorf("an empty book is explained by %v, %v and %v", own, owed, more)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
