package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// GapGrace is how long a batch may wait for the one before: an upload that was
// interrupted goes on within it.
const GapGrace = 24 * time.Hour

// listsKept is how long it is known which deny list a terminal used last.
const listsKept = 60 * 24 * time.Hour

const giveUpGaps = `
	WITH given_up AS (
		UPDATE tap_batches SET chain = 'lost' WHERE tenant_id = $1 AND chain = 'gap' AND received_at < $2
		RETURNING terminal, first_seq)
	SELECT terminal, min(first_seq) FROM given_up GROUP BY terminal ORDER BY terminal`

// Due flags terminals with a gap in their chain of batches that has lasted
// longer than [GapGrace], once for each gap, and forgets which deny lists terminals
// used long ago. It may run at any time and any
// number of times. A batch that comes later still closes its gap. Records whose
// rider nobody named in time are refused as unresolved.
func (r *Recorder) Due(ctx context.Context, tenant citygate.TenantID) error {
	for more := true; more; {
		err := r.config.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			more, err = giveUp(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return r.config.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if err := fleet.ForgetLists(ctx, tx, tx.Now.Add(-listsKept)); err != nil {
			return fmt.Errorf("old deny lists of terminals: %w", err)
		}
		rows, err := tx.Query(ctx, giveUpGaps, tx.Tenant, tx.Now.Add(-GapGrace))
		if err != nil {
			return fmt.Errorf("lasting gaps: %w", err)
		}
		type gap struct {
			Terminal uint32
			First    uint64
		}
		gaps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[gap])
		if err != nil {
			return fmt.Errorf("lasting gaps: %w", err)
		}
		for _, g := range gaps {
			if err := fleet.Raise(ctx, tx, g.Terminal, fleet.BatchGap, fmt.Sprintf("the batch before number %d did not come", g.First)); err != nil {
				return fmt.Errorf("lasting gaps: %w", err)
			}
		}
		return nil
	})
}
