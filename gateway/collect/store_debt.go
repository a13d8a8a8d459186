package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// collected ends aggregations whose charge succeeded and lets refunds of those
// charges go that waited.
func collected(ctx context.Context, tx *pg.Tx, succeeded []*charge) error {
	if len(succeeded) == 0 {
		return nil
	}
	ids, aggregations, states := make([]citygate.UUID, len(succeeded)), make([]citygate.UUID, len(succeeded)), make([]string, len(succeeded))
	for i, c := range succeeded {
		ids[i], aggregations[i], states[i] = c.ID, c.Aggregation, aggregationSettled
		if c.recovers() {
			states[i] = aggregationRecovered
		}
	}
	if _, err := tx.Exec(ctx, `
		UPDATE aggregations a SET state = u.state FROM unnest($2::uuid[], $3::text[]) AS u (id, state)
		WHERE a.tenant_id = $1 AND a.aggregation_id = u.id`, tx.Tenant, aggregations, states); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		UPDATE refunds SET state = 'created', next_do = $3, next_try_at = $2
		WHERE tenant_id = $1 AND charge_id = ANY($4::uuid[]) AND state = 'waiting'`, tx.Tenant, tx.Now, string(adapters.Submit), ids)
	return err
}

func setAggregation(ctx context.Context, tx *pg.Tx, id citygate.UUID, state string) error {
	_, err := tx.Exec(ctx, `UPDATE aggregations SET state = $3 WHERE tenant_id = $1 AND aggregation_id = $2`, tx.Tenant, id, state)
	return err
}

// owe opens the debt of a declined charge, or keeps it open when a recovery was
// declined. less is what was corrected while the charge was under way. What is
// insured is asked for once more at once. It gives what is owed, and whether that
// blocks the rider.
func owe(ctx context.Context, tx *pg.Tx, by *declineRules, ch *charge, less int64, insured bool) (left int64, blocks bool, err error) {
	retry, err := by.next(ctx, tx, ch)
	if err != nil {
		return 0, false, err
	}
	var state string
	if ch.Kind == kindCharge {
		left = ch.Amount - less
		retryAt, retryBy, closed := retry, risk.BySchedule, (*time.Time)(nil)
		state = debtOpen
		switch {
		case left == 0:
			state, retryAt, closed = debtCorrected, nil, &tx.Now
		case insured:
			retryAt, retryBy = &tx.Now, byFirstRide
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO debts (tenant_id, aggregation_id, account_id, opened_amount, amount, currency, business_date, state, tries, retry_at, retry_by, insured,
			                   unpassed, opened_at, closed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, false, true, $11, $12)`,
			tx.Tenant, ch.Aggregation, ch.Account, ch.Amount, left, string(ch.Currency), ch.BusinessDate, state, retryAt, string(retryBy), tx.Now, closed); err != nil {
			return 0, false, err
		}
		blocks = true
	} else if err := tx.QueryRow(ctx, `
		UPDATE debts SET amount = amount - $3, tries = tries + $6, unpassed = unpassed OR $3 > 0,
		       state = CASE WHEN amount = $3 AND state = 'open' THEN 'corrected' ELSE state END,
		       closed_at = CASE WHEN state = 'written_off' THEN closed_at WHEN amount = $3 THEN $4::timestamptz END,
		       retry_at = CASE WHEN amount > $3 AND state <> 'written_off' THEN $5::timestamptz END, retry_by = 'schedule'
		WHERE tenant_id = $1 AND aggregation_id = $2 RETURNING CASE state WHEN 'written_off' THEN 0 ELSE amount END, state, blocks`,
		tx.Tenant, ch.Aggregation, less, tx.Now, retry, ch.counts()).Scan(&left, &state, &blocks); err != nil {
		return 0, false, err
	}
	if state == debtWrittenOff { // nobody waits for it
		return 0, false, setAggregation(ctx, tx, ch.Aggregation, aggregationWrittenOff)
	}
	if left == 0 {
		return 0, false, setAggregation(ctx, tx, ch.Aggregation, aggregationCorrected)
	}
	return left, blocks, setAggregation(ctx, tx, ch.Aggregation, aggregationInDebt)
}

// closeDebt notes that the debt of a charge was paid, by the rider or as an insured
// first ride.
func closeDebt(ctx context.Context, tx *pg.Tx, ch *charge) error {
	_, err := tx.Exec(ctx, `
		UPDATE debts SET amount = 0, state = CASE state WHEN 'open' THEN 'recovered' ELSE state END, insured = $4, retry_at = NULL, retry_shown = NULL, unpassed = true,
		       closed_at = coalesce(closed_at, $3), repaid_at = CASE state WHEN 'written_off' THEN $3::timestamptz END
		WHERE tenant_id = $1 AND aggregation_id = $2 AND state IN ('open', 'written_off')`, tx.Tenant, ch.Aggregation, tx.Now, ch.Kind == kindFirstRide)
	return err
}

func lowerDebt(ctx context.Context, tx *pg.Tx, aggregation citygate.UUID, amount int64) (account citygate.UUID, left int64, err error) {
	err = tx.QueryRow(ctx, `
		UPDATE debts SET amount = amount - $3, unpassed = true,
		       state = CASE WHEN amount = $3 AND state = 'open' THEN 'corrected' ELSE state END,
		       closed_at = CASE WHEN state = 'written_off' THEN closed_at WHEN amount = $3 THEN $4::timestamptz END,
		       retry_at = CASE WHEN amount > $3 THEN retry_at END, retry_shown = CASE WHEN amount > $3 THEN retry_shown END
		WHERE tenant_id = $1 AND aggregation_id = $2 RETURNING account_id, amount`,
		tx.Tenant, aggregation, amount, tx.Now).Scan(&account, &left)
	if err == nil && left == 0 {
		err = setAggregation(ctx, tx, aggregation, aggregationCorrected)
	}
	return account, left, err
}

// The states of a debt.
const (
	debtOpen       = "open"
	debtRecovered  = "recovered"
	debtCorrected  = "corrected"
	debtWrittenOff = "written_off"
)

const refundColumns = `r.refund_id, r.our_id, r.contract, r.account_id, r.journey_id, r.n, r.amount, r.currency, r.business_date, r.state, r.next_do, r.mark, coalesce(r.sent_at, r.created_at)`

func scanRefund(row pgx.CollectableRow) (r refund, err error) {
	err = row.Scan(&r.ID, &r.OurID, &r.Contract, &r.Account, &r.Journey, &r.N, &r.Amount, &r.Currency, &r.BusinessDate, &r.State, &r.Do, &r.Mark, &r.SentAt)
	r.SentAt = r.SentAt.UTC()
	return r, err
}

// voidRefunds ends the waiting refunds of a charge that was declined.
func voidRefunds(ctx context.Context, tx *pg.Tx, charge citygate.UUID) ([]refund, error) {
	rows, err := tx.Query(ctx, `
		UPDATE refunds r SET state = 'void', final_at = $3 WHERE r.tenant_id = $1 AND r.charge_id = $2 AND r.state = 'waiting'
		RETURNING `+refundColumns, tx.Tenant, charge, tx.Now)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, scanRefund)
	for i := range all {
		all[i].FinalAt = tx.Now
	}
	return all, err
}

// takeRefunds marks refunds as being sent, or asked after, and gives them.
func takeRefunds(ctx context.Context, tx *pg.Tx, contract string, limit int, lease time.Time) ([]refund, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+refundColumns+`, c.our_id, c.provider_ref, c.mark, coalesce(c.sent_at, c.created_at), c.amount
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		WHERE r.tenant_id = $1 AND r.contract = $2 AND r.state IN ('created', 'sent', 'unknown') AND r.next_try_at <= $3
		ORDER BY r.business_date, c.account_key, r.our_id LIMIT $4 FOR UPDATE OF r SKIP LOCKED`, tx.Tenant, contract, tx.Now, limit)
	if err != nil {
		return nil, err
	}
	batch, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r refund, err error) {
		err = row.Scan(&r.ID, &r.OurID, &r.Contract, &r.Account, &r.Journey, &r.N, &r.Amount, &r.Currency, &r.BusinessDate, &r.State, &r.Do, &r.Mark, &r.SentAt,
			&r.Charge.OurID, &r.Charge.ProviderRef, &r.Charge.Mark, &r.Charge.SentAt, &r.Charge.Amount)
		r.Charge.Currency, r.SentAt, r.Charge.SentAt = r.Currency, r.SentAt.UTC(), r.Charge.SentAt.UTC()
		return r, err
	})
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	ids := make([]citygate.UUID, len(batch))
	for i := range batch {
		ids[i] = batch[i].ID
	}
	_, err = tx.Exec(ctx, `
		UPDATE refunds SET ever_unknown = ever_unknown OR next_do = 'query', attempts = attempts + 1,
		       state = CASE WHEN next_do = 'query' THEN 'unknown' WHEN state = 'created' THEN 'sent' ELSE state END,
		       sent_at = CASE WHEN next_do = 'query' THEN sent_at ELSE $2 END, next_do = 'query', next_try_at = $3
		WHERE tenant_id = $1 AND refund_id = ANY($4::uuid[])`, tx.Tenant, tx.Now, lease, ids)
	return batch, err
}

func lockRefunds(ctx context.Context, tx *pg.Tx, ours []string) (map[string]*refund, error) {
	rows, err := tx.Query(ctx, `SELECT `+refundColumns+` FROM refunds r WHERE r.tenant_id = $1 AND r.our_id = ANY($2::text[]) ORDER BY r.refund_id FOR UPDATE`, tx.Tenant, ours)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, scanRefund)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*refund, len(all))
	for i := range all {
		out[all[i].OurID] = &all[i]
	}
	return out, nil
}

// unrelease notes that a charge has a refund that was not released with it.
func unrelease(ctx context.Context, tx *pg.Tx, charge citygate.UUID) error {
	_, err := tx.Exec(ctx, `UPDATE charges SET released = false WHERE tenant_id = $1 AND charge_id = $2 AND released`, tx.Tenant, charge)
	return err
}
