package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// keepProof notes a code that proved its rider, and reports whether it is the
// first time. What no code outlives is forgotten.
func keepProof(ctx context.Context, tx *pg.Tx, digest [32]byte) (first bool, err error) {
	if _, err := tx.Exec(ctx, `DELETE FROM rider_proofs WHERE tenant_id = $1 AND shown_at < $2`, tx.Tenant, tx.Now.Add(-24*time.Hour)); err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO rider_proofs (tenant_id, code, shown_at) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, code) DO NOTHING`,
		tx.Tenant, digest[:], tx.Now)
	return tag.RowsAffected() == 1, err
}
