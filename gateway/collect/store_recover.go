package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A debtRow is a debt as the rules of package risk see it.
type debtRow struct {
	risk.Debt
	aggregation citygate.UUID
	account     citygate.UUID
	contract    string // that declined last, or took the payment back
}

// debtRows is what a debt's charges say of it; d and u are the debt and what is asked for.
const debtRows = `
	SELECT d.aggregation_id, d.account_id, c.contract, d.amount, d.state, d.opened_at, d.reversal_id IS NOT NULL, ARRAY(
		SELECT coalesce(sent_at, created_at) FROM charges
		WHERE tenant_id = $1 AND aggregation_id = d.aggregation_id AND kind = 'recovery' AND state NOT IN ('created', 'moved') ORDER BY 1)`

const lastOfDebt = `
	CROSS JOIN LATERAL (
		SELECT coalesce(
			(SELECT contract FROM charges WHERE tenant_id = $1 AND aggregation_id = d.aggregation_id ORDER BY attempt DESC LIMIT 1),
			(SELECT contract FROM aggregations WHERE tenant_id = $1 AND aggregation_id = d.aggregation_id)) AS contract) AS c `

func scanDebtRow(row pgx.CollectableRow) (d debtRow, err error) {
	err = row.Scan(&d.aggregation, &d.account, &d.contract, &d.Amount, &d.State, &d.Since, &d.Reversal, &d.Tries)
	return d, err
}

// openDebts gives the open debts of accounts that are not being collected and that
// nobody else has in hand, and locks them.
func openDebts(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) ([]debtRow, error) {
	rows, err := tx.Query(ctx, debtRows+`
		FROM debts d `+lastOfDebt+`
		WHERE d.tenant_id = $1 AND d.account_id = ANY($2::uuid[]) AND d.state = 'open' AND NOT EXISTS (
			SELECT FROM charges i WHERE i.tenant_id = $1 AND i.aggregation_id = d.aggregation_id AND i.state IN ('created', 'sent', 'unknown'))
		ORDER BY d.aggregation_id FOR UPDATE OF d SKIP LOCKED`, tx.Tenant, accounts)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanDebtRow)
}

// makeDue makes debts due now. With those that a tap started goes what was shown.
func makeDue(ctx context.Context, tx *pg.Tx, by risk.Source, debts []citygate.UUID, shown [][]byte) (int, error) {
	if len(debts) == 0 {
		return 0, nil
	}
	if shown == nil {
		shown = make([][]byte, len(debts))
	}
	tag, err := tx.Exec(ctx, `
		UPDATE debts d SET retry_at = $2, retry_by = $3, retry_shown = u.shown FROM unnest($4::uuid[], $5::bytea[]) AS u (id, shown)
		WHERE d.tenant_id = $1 AND d.aggregation_id = u.id AND d.state = 'open'`, tx.Tenant, tx.Now, string(by), debts, shown)
	return int(tag.RowsAffected()), err
}

// pastDebts gives all debts that accounts ever had, but those that were none.
func pastDebts(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) ([]debtRow, error) {
	rows, err := tx.Query(ctx, debtRows+`
		FROM unnest($2::uuid[]) AS u (id)
		CROSS JOIN LATERAL (SELECT * FROM debts WHERE tenant_id = $1 AND account_id = u.id AND state <> 'corrected' OFFSET 0) AS d `+lastOfDebt,
		tx.Tenant, accounts)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanDebtRow)
}

// lastApprovals gives when a provider last approved a charge of accounts. An insured
// first ride is approved by the scheme and says nothing of its payer.
func lastApprovals(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) (map[citygate.UUID]time.Time, error) {
	rows, err := tx.Query(ctx, `
		SELECT account_id, max(final_at) FROM charges
		WHERE tenant_id = $1 AND account_id = ANY($2::uuid[]) AND state = 'succeeded' AND kind <> 'first_ride' GROUP BY account_id`, tx.Tenant, accounts)
	if err != nil {
		return nil, err
	}
	out := map[citygate.UUID]time.Time{}
	var id citygate.UUID
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error { out[id] = at; return nil })
	return out, err
}

// pastOf gives what is known of a payer at a contract, without the charges named.
func pastOf(ctx context.Context, tx *pg.Tx, of tokenKey, without []citygate.UUID) (p risk.Past, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state = 'declined' AND sent_at IS NOT NULL AND final_at > coalesce((
		           SELECT max(final_at) FROM charges WHERE tenant_id = $1 AND account_id = $2 AND contract = $3 AND state = 'succeeded' AND kind <> 'first_ride'), '-infinity')),
		       coalesce(bool_or(kind = 'first_ride'), false)
		FROM charges WHERE tenant_id = $1 AND account_id = $2 AND contract = $3 AND state IN ('succeeded', 'declined') AND charge_id <> ALL($4::uuid[])`,
		tx.Tenant, of.account, of.contract, without).Scan(&p.DeclinesSinceApproval, &p.FirstRideUsed)
	if err == nil && !p.FirstRideUsed {
		p.FirstRideUsed, err = firstRideUsed(ctx, tx, of)
	}
	return p, err
}

// firstRideUsed reports whether a payer's insured first ride was ever asked for.
func firstRideUsed(ctx context.Context, tx *pg.Tx, of tokenKey) (used bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND account_id = $2 AND contract = $3 AND kind = 'first_ride' AND state <> 'moved')`,
		tx.Tenant, of.account, of.contract).Scan(&used)
	return used, err
}

// dropFirstRides gives up insured first rides that certainly were never sent and
// whose contract is closed: no other scheme insures them. The debt goes the way of
// all others.
func dropFirstRides(ctx context.Context, tx *pg.Tx) error {
	rows, err := tx.Query(ctx, `
		UPDATE charges SET state = 'moved', next_do = 'nothing'
		WHERE tenant_id = $1 AND kind = 'first_ride' AND state = 'created' AND NOT ever_unknown
		  AND contract IN (SELECT contract FROM provider_contracts WHERE tenant_id = $1 AND state <> 'active')
		RETURNING aggregation_id`, tx.Tenant)
	if err != nil {
		return err
	}
	dropped, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	if err != nil || len(dropped) == 0 {
		return err
	}
	_, err = makeDue(ctx, tx, risk.BySchedule, dropped, nil)
	return err
}

// withoutDebt gives those of the accounts that have no open debt that blocks.
func withoutDebt(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT u.id FROM unnest($2::uuid[]) AS u (id)
		WHERE NOT EXISTS (SELECT FROM debts d WHERE d.tenant_id = $1 AND d.account_id = u.id AND d.state = 'open' AND d.blocks) ORDER BY u.id`, tx.Tenant, accounts)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}
