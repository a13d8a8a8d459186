package collect

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// setBearAt notes when debts are to be looked at again, because an operator is to be
// paid then; those without a time need not be.
func setBearAt(ctx context.Context, tx *pg.Tx, debts []citygate.UUID, pay map[citygate.UUID]time.Time) error {
	at := make([]*time.Time, len(debts))
	for i, id := range debts {
		if t, set := pay[id]; set {
			at[i] = &t
		}
	}
	_, err := tx.Exec(ctx, `
		UPDATE debts d SET bear_at = u.at FROM unnest($2::uuid[], $3::timestamptz[]) AS u (id, at)
		WHERE d.tenant_id = $1 AND d.aggregation_id = u.id AND d.bear_at IS DISTINCT FROM u.at`, tx.Tenant, debts, at)
	return err
}

// storeWriteOffs stores and posts write-offs.
func storeWriteOffs(ctx context.Context, tx *pg.Tx, all []writeOff) error {
	var transfers []ledger.Transfer
	for chunk := range slices.Chunk(all, rowsMax) {
		n := len(chunk)
		ids, journeys, accounts := make([]citygate.UUID, n), make([]citygate.UUID, n), make([]citygate.UUID, n)
		operators, parts, amounts := make([]int64, n), make([]int32, n), make([]int64, n)
		bearers, contracts, currencies := make([]string, n), make([]string, n), make([]string, n)
		dates, ats := make([]citygate.Date, n), make([]time.Time, n)
		for i := range chunk {
			w := &chunk[i]
			ids[i], journeys[i], accounts[i] = w.Aggregation, w.Journey, w.Account
			operators[i], parts[i], amounts[i] = int64(w.Operator), int32(w.Part), w.Amount
			bearers[i], contracts[i], currencies[i] = w.Bearer, w.Contract, string(w.Currency)
			dates[i], ats[i] = w.BusinessDate, w.At
			transfers = append(transfers, w.transfer(tx.Tenant))
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO debt_write_offs (tenant_id, aggregation_id, operator_id, journey_id, bearer, part, account_id, amount, contract, currency, business_date, at)
			SELECT $1, id, operator, journey, bearer, part, account, amount, contract, currency, date, at
			FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::int[], $7::uuid[], $8::bigint[], $9::text[], $10::text[], $11::date[], $12::timestamptz[])
			     AS u (id, operator, journey, bearer, part, account, amount, contract, currency, date, at)
			ON CONFLICT (tenant_id, aggregation_id, operator_id, journey_id, bearer, part) DO NOTHING`,
			tx.Tenant, ids, operators, journeys, bearers, parts, accounts, amounts, contracts, currencies, dates, ats)
		if err != nil {
			return err
		}
		if int(tag.RowsAffected()) != n {
			return ErrLost.Because(nil, "%d of %d write-offs were stored already", n-int(tag.RowsAffected()), n)
		}
	}
	if len(transfers) == 0 {
		return nil
	}
	return ledger.Post(ctx, tx, transfers)
}

// lockDebt gives a debt, locked with its aggregation as whoever starts a recovery or
// corrects a fare locks them, and reports whether it is being collected or who bears it
// is still to be told.
func lockDebt(ctx context.Context, tx *pg.Tx, id citygate.UUID) (d DebtView, busy bool, err error) {
	var retry, closed, repaid *time.Time
	var unpassed, collected bool
	var reversal, sale *citygate.UUID
	err = tx.QueryRow(ctx, `
		SELECT d.aggregation_id, d.account_id, d.opened_amount, d.amount, d.currency, d.business_date, d.state, d.tries, d.retry_at, d.retry_by, d.insured, d.opened_at, d.closed_at,
		       d.repaid_at, d.reversal_id, d.sale_id, d.blocks, d.unpassed, EXISTS (SELECT FROM charges c WHERE c.tenant_id = $1 AND c.aggregation_id = d.aggregation_id AND c.state IN ('created', 'sent', 'unknown'))
		FROM aggregations a JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = a.aggregation_id
		WHERE a.tenant_id = $1 AND a.aggregation_id = $2 FOR UPDATE OF a, d`, tx.Tenant, id).Scan(
		&d.ID, &d.Account, &d.Opened.Minor, &d.Left.Minor, &d.Left.Currency, &d.BusinessDate, &d.State, &d.Tries, &retry, &d.RetryBy, &d.Insured, &d.OpenedAt, &closed,
		&repaid, &reversal, &sale, &d.Blocks, &unpassed, &collected)
	if pg.IsNoRows(err) {
		return d, false, ErrNoDebt
	}
	if reversal != nil {
		d.Reversal = *reversal
	}
	if sale != nil {
		d.Sale = *sale
	}
	d.Opened.Currency, d.OpenedAt = d.Left.Currency, d.OpenedAt.UTC()
	for to, from := range map[*time.Time]*time.Time{&d.RetryAt: retry, &d.ClosedAt: closed, &d.RepaidAt: repaid} {
		if from != nil {
			*to = from.UTC()
		}
	}
	return d, unpassed || collected, err
}

// giveUp marks a debt as written off.
func giveUp(ctx context.Context, tx *pg.Tx, id citygate.UUID) error {
	if _, err := tx.Exec(ctx, `UPDATE debts SET state = 'written_off', retry_at = NULL, retry_shown = NULL, closed_at = $3 WHERE tenant_id = $1 AND aggregation_id = $2`,
		tx.Tenant, id, tx.Now); err != nil {
		return err
	}
	return setAggregation(ctx, tx, id, aggregationWrittenOff)
}
