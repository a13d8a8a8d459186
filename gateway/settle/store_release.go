package settle

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// RulesOfPayouts gives the tenant's payout rules as they are now.
func RulesOfPayouts(ctx context.Context, tx *pg.Tx) (PayoutRules, error) {
	rows, err := tx.Query(ctx, `
		SELECT version, manual, hold_above, hold_payees, created_by, created_at FROM payout_rules WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1`, tx.Tenant)
	if err != nil {
		return PayoutRules{}, err
	}
	r, err := pgx.CollectOneRow(rows, pgx.RowToStructByPos[PayoutRules])
	if pg.IsNoRows(err) {
		return PayoutRules{}, nil
	}
	r.CreatedAt = r.CreatedAt.UTC()
	return r, err
}

func insertPayoutRules(ctx context.Context, tx *pg.Tx, r PayoutRules) (bool, error) {
	if r.HoldPayees == nil {
		r.HoldPayees = []string{}
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO payout_rules (tenant_id, version, manual, hold_above, hold_payees, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, version) DO NOTHING`,
		tx.Tenant, r.Version, r.Manual, r.HoldAbove, r.HoldPayees, r.CreatedBy, r.CreatedAt)
	return tag.RowsAffected() == 1, err
}

// lockPayout gives a payout, its window locked and then itself. A payout that is
// not there is an error for which [pg.IsNoRows] holds.
func lockPayout(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Payout, error) {
	if _, err := tx.Exec(ctx, `
		SELECT FROM windows w JOIN payouts p ON p.tenant_id = w.tenant_id AND p.window_date = w.business_date
		WHERE w.tenant_id = $1 AND p.tenant_id = $1 AND p.payout_id = $2 FOR UPDATE OF w`, tx.Tenant, id); err != nil {
		return Payout{}, err
	}
	rows, err := tx.Query(ctx, `SELECT `+payoutColumns+` FROM payouts WHERE tenant_id = $1 AND payout_id = $2 FOR UPDATE`, tx.Tenant, id)
	if err != nil {
		return Payout{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Payout])
}

// nextBatch gives the number of the next batch of a window, which is locked.
func nextBatch(ctx context.Context, tx *pg.Tx, window citygate.Date) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT max(batch) + 1 FROM payouts WHERE tenant_id = $1 AND window_date = $2`, tx.Tenant, window).Scan(&n)
	return n, err
}

func markReleased(ctx context.Context, tx *pg.Tx, p Payout) error {
	_, err := tx.Exec(ctx, `
		UPDATE payouts SET state = $3, batch = $4, released_at = $5, released_by = $6, business_date = $7, calendar_version = $8
		WHERE tenant_id = $1 AND payout_id = $2 AND state = 'held'`,
		tx.Tenant, p.ID, p.State, p.Batch, p.ReleasedAt, p.ReleasedBy, p.BusinessDate, p.CalendarVersion)
	return err
}

func markCancelled(ctx context.Context, tx *pg.Tx, p Payout) error {
	_, err := tx.Exec(ctx, `
		UPDATE payouts SET state = $3, cancelled_at = $4, cancelled_by = $5 WHERE tenant_id = $1 AND payout_id = $2 AND state = 'held'`,
		tx.Tenant, p.ID, p.State, p.CancelledAt, p.CancelledBy)
	return err
}

func markRedirected(ctx context.Context, tx *pg.Tx, p Payout) error {
	_, err := tx.Exec(ctx, `UPDATE payouts SET pay_to = $3 WHERE tenant_id = $1 AND payout_id = $2 AND state = 'held'`, tx.Tenant, p.ID, p.PayTo)
	return err
}
