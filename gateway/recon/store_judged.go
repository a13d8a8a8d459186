package recon

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Judged gives how many of the charges have an outcome of their own: matched or
// an exception. The others' bills have not been imported yet.
func Judged(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) (n int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(DISTINCT charge_id) FROM recon_items
		WHERE tenant_id = $1 AND refund_id IS NULL AND charge_id = ANY($2::uuid[])`, int64(tx.Tenant), charges).Scan(&n)
	return n, err
}

// JudgedRefunds is [Judged] for refunds.
func JudgedRefunds(ctx context.Context, tx *pg.Tx, refunds []citygate.UUID) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(DISTINCT refund_id) FROM recon_items WHERE tenant_id = $1 AND refund_id = ANY($2::uuid[])`,
		int64(tx.Tenant), refunds).Scan(&n)
	return n, err
}
