package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// A step of twenty hours meets every day, the shortest one of a zone with
// daylight saving time too.
const touchedSQL = `
	WITH sent AS (
		SELECT created_at, sent_at, final_at FROM charges WHERE tenant_id = $1 AND contract = $2 AND sent_at IS NOT NULL
			AND (created_at >= $3 OR sent_at >= $3 OR final_at >= $3)
		UNION ALL
		SELECT created_at, sent_at, final_at FROM refunds WHERE tenant_id = $1 AND contract = $2 AND sent_at IS NOT NULL
			AND (created_at >= $3 OR sent_at >= $3 OR final_at >= $3)
		UNION ALL
		SELECT applied_at, applied_at, applied_at FROM reversals WHERE tenant_id = $1 AND contract = $2 AND applied_at >= $3)
	SELECT DISTINCT date_bin('15 minutes', at, timestamptz '2000-01-01 00:00:00Z') AS quarter FROM (
		SELECT created_at AS at FROM sent
		UNION ALL SELECT sent_at FROM sent
		UNION ALL SELECT final_at FROM sent WHERE final_at IS NOT NULL
		UNION ALL SELECT between_at FROM sent, generate_series(created_at, greatest(sent_at, final_at), '20 hours') AS between_at
		WHERE greatest(sent_at, final_at) - created_at > interval '20 hours') AS m
	WHERE at >= $3 ORDER BY quarter`

// Touched gives quarters of an hour since an instant in which payments of a
// contract may have been made: when they were created, last sent and became
// final, and one in every day between, as an attempt in the middle that nobody
// heard of may be the one that moved the money. They are enough to know which of
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
