// Package ledgertest looks at books for tests.
package ledgertest

import (
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Net gives the debits less the credits of all accounts of a tenant whose names
// begin with prefix, whatever their currencies.
func Net(t testing.TB, db *pg.DB, tenant citygate.TenantID, prefix string) (net int64) {
	t.Helper()
	err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
		all, err := ledger.Balances(t.Context(), tx, prefix)
		net = 0 // the transaction may run again
		for _, b := range all {
			net += b.Net()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return net
}
