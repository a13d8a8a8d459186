package collect

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// NetOf adds up what charges brought in: collected less refunds and fee. The
// charges must be of one currency.
func NetOf(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) (net int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce((SELECT sum(amount - fee) FROM charges WHERE tenant_id = $1 AND state = 'succeeded' AND charge_id = ANY($2::uuid[])), 0)::bigint
		     - coalesce((SELECT sum(amount) FROM refunds WHERE tenant_id = $1 AND state = 'succeeded' AND charge_id = ANY($2::uuid[])), 0)::bigint`,
		tx.Tenant, charges).Scan(&net)
	return net, err
}
