package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Mark is a place in the order in which batches were received.
type Mark struct {
	Received time.Time
	Terminal uint32
	First    uint64
}

const (
	selectBatchesAfter = `
		SELECT terminal, first_seq, taps, received_at FROM tap_batches
		WHERE tenant_id = $1 AND (received_at, terminal, first_seq) > ($2, $3, $4)
		ORDER BY received_at, terminal, first_seq LIMIT $5`

	// What a terminal let pass was verified here, whatever became of it; what it
	// refused was not.
	selectShown = `SELECT ` + tapColumns + ` FROM unnest($2::bigint[], $3::bigint[], $4::int[], $5::timestamptz[]) AS b (terminal, first, taps, received_at)
		CROSS JOIN LATERAL (
			SELECT * FROM taps WHERE tenant_id = $1 AND terminal = b.terminal AND seq >= b.first AND seq < b.first + b.taps AND received_at = b.received_at OFFSET 0) AS t
		LEFT JOIN LATERAL (SELECT NULL::text AS reason) AS v ON true
		WHERE t.issuer IS NOT NULL AND (t.accepted OR t.opened AND t.reason IN ('clone', 'double_use'))
		ORDER BY t.terminal, t.seq`

	selectUsesOf = `SELECT ` + tapColumns + ` FROM unnest($2::int[], $3::int[], $4::bigint[]) AS r (issuer, list, idx)
		CROSS JOIN LATERAL (
			SELECT terminal, seq, received_at FROM tap_uses WHERE tenant_id = $1 AND issuer = r.issuer AND list = r.list AND idx = r.idx OFFSET 0) AS u
		CROSS JOIN LATERAL (
			SELECT * FROM taps WHERE tenant_id = $1 AND terminal = u.terminal AND seq = u.seq AND received_at = u.received_at OFFSET 0) AS t
		LEFT JOIN LATERAL (SELECT NULL::text AS reason) AS v ON true
		ORDER BY t.terminal, t.seq`
)

// ShownAfter gives the taps with proven codes of the batches received after a mark,
// at most so many batches, where they end, and how many batches those are. Copies
// that were refused are among them.
func ShownAfter(ctx context.Context, tx *pg.Tx, after Mark, batches int) (taps []Tap, end Mark, n int, err error) {
	rows, err := tx.Query(ctx, selectBatchesAfter, tx.Tenant, after.Received, int64(after.Terminal), int64(after.First), batches)
	if err != nil {
		return nil, after, 0, fmt.Errorf("batches received: %w", err)
	}
	var terminals, firsts []int64
	var counts []int32
	var received []time.Time
	var terminal, first int64
	var count int32
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&terminal, &first, &count, &at}, func() error {
		terminals, firsts, counts, received = append(terminals, terminal), append(firsts, first), append(counts, count), append(received, at)
		return nil
	}); err != nil || len(terminals) == 0 {
		return nil, after, 0, err
	}
	rows, err = tx.Query(ctx, selectShown, tx.Tenant, terminals, firsts, counts, received)
	taps, err = collect(rows, err, "taps shown")
	return taps, Mark{at, uint32(terminal), uint64(first)}, len(terminals), err
}

// UsesOf gives the taps that used a display of riders first.
func UsesOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]Tap, error) {
	issuers, lists, idxs := make([]int32, len(riders)), make([]int32, len(riders)), make([]int64, len(riders))
	for i, r := range riders {
		issuers[i], lists[i], idxs[i] = int32(r.Issuer), int32(r.List), int64(r.Index)
	}
	rows, err := tx.Query(ctx, selectUsesOf, tx.Tenant, issuers, lists, idxs)
	return collect(rows, err, "uses of riders")
}
