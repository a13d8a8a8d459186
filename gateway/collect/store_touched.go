package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg"
)

const touchedSQL = `
	SELECT DISTINCT date_bin('15 minutes', at, timestamptz '2000-01-01 00:00:00Z') AS quarter FROM (
		SELECT created_at AS at FROM charges WHERE tenant_id = $1 AND contract = $2 AND created_at >= $3 AND sent_at IS NOT NULL
		UNION ALL SELECT sent_at FROM charges WHERE tenant_id = $1 AND contract = $2 AND sent_at >= $3
		UNION ALL SELECT final_at FROM charges WHERE tenant_id = $1 AND contract = $2 AND final_at >= $3 AND sent_at IS NOT NULL
		UNION ALL SELECT created_at FROM refunds WHERE tenant_id = $1 AND contract = $2 AND created_at >= $3 AND sent_at IS NOT NULL
		UNION ALL SELECT sent_at FROM refunds WHERE tenant_id = $1 AND contract = $2 AND sent_at >= $3
		UNION ALL SELECT final_at FROM refunds WHERE tenant_id = $1 AND contract = $2 AND final_at >= $3 AND sent_at IS NOT NULL) AS m
	ORDER BY quarter`

// Touched gives the quarters of an hour since an instant in which payments of a
// contract were made (sent_at tells the last attempt only), sent to the provider
// or became final: enough to know which of
// the provider's days, in whatever zone it has them, its bills must cover.
func Touched(ctx context.Context, tx *pg.Tx, contract string, since time.Time) ([]time.Time, error) {
	rows, err := tx.Query(ctx, touchedSQL, tx.Tenant, contract, since)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (at time.Time, err error) {
		err = row.Scan(&at)
		return at.UTC(), err
	})
}
