package till

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Source derives the transfers of payments at tills.
type Source struct{}

// Name implements [ledger.Source].
func (Source) Name() string { return "till" }

// Derive implements [ledger.Source].
func (Source) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	all := func(ts []ledger.Transfer) error {
		for _, t := range ts {
			if err := yield(t); err != nil {
				return err
			}
		}
		return nil
	}
	rows, err := tx.Query(ctx, `
		SELECT p.our_id, p.contract, p.payee, p.amount, p.currency, p.business_date, c.final_at, c.fee, p.cleared_at, p.cleared_on, coalesce(p.cleared, 0)
		FROM till_payments p JOIN charges c ON c.tenant_id = $1 AND c.charge_id = p.payment_id
		WHERE p.tenant_id = $1 AND c.state = 'succeeded'`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var p Payment
	var fee int64
	var clearedAt *time.Time
	var clearedOn *citygate.Date
	if _, err := pgx.ForEachRow(rows, []any{&p.OurID, &p.Contract, &p.Payee, &p.Amount.Minor, &p.Amount.Currency, &p.BusinessDate, &p.PaidAt, &fee,
		&clearedAt, &clearedOn, &p.Cleared}, func() error {
		if err := all(p.made(tx.Tenant, fee)); err != nil || clearedAt == nil {
			return err
		}
		p.ClearedAt, p.ClearedOn = *clearedAt, *clearedOn
		return all(p.cleared(tx.Tenant))
	}); err != nil {
		return err
	}
	rows, err = tx.Query(ctx, `
		SELECT p.our_id, p.contract, p.payee, p.currency, t.ordinal, t.amount, coalesce(t.uncleared, false), r.final_at, r.business_date
		FROM till_refunds t JOIN till_payments p ON p.tenant_id = $1 AND p.payment_id = t.payment_id
		JOIN refunds r ON r.tenant_id = $1 AND r.charge_id = t.payment_id AND r.ordinal = t.ordinal AND r.state = 'succeeded'
		WHERE t.tenant_id = $1`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var r refund
	var at time.Time
	var date citygate.Date
	_, err = pgx.ForEachRow(rows, []any{&p.OurID, &p.Contract, &p.Payee, &p.Amount.Currency, &r.ordinal, &r.amount, &r.uncleared, &at, &date},
		func() error { return all(p.returned(tx.Tenant, &r, at, date)) })
	if err != nil {
		return err
	}
	return deriveTakings(ctx, tx, all)
}

// Explained gives what may stand on the accounts of payments that no bill has shown:
// those of held, from the rows of payments and refunds and not from the books.
func Explained(ctx context.Context, tx *pg.Tx, held []citygate.UUID) ([]ledger.Explained, error) {
	rows, err := tx.Query(ctx, `
		SELECT p.payee, p.currency, -sum(c.amount - c.fee - coalesce(b.back, 0) - coalesce(l.borne, 0))::bigint
		FROM till_payments p JOIN charges c ON c.tenant_id = $1 AND c.charge_id = p.payment_id AND c.state = 'succeeded'
		LEFT JOIN LATERAL (SELECT sum(r.amount) AS back FROM refunds r WHERE r.tenant_id = $1 AND r.charge_id = p.payment_id AND r.state = 'succeeded') AS b ON true
		LEFT JOIN LATERAL (SELECT sum(amount) AS borne FROM till_taking_lines WHERE tenant_id = $1 AND payment_id = p.payment_id AND on_payee <> '') AS l ON true
		WHERE p.tenant_id = $1 AND p.cleared_at IS NULL AND p.payment_id = ANY($2::uuid[]) GROUP BY p.payee, p.currency`, int64(tx.Tenant), held)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e ledger.Explained, err error) {
		var payee string
		err = row.Scan(&payee, &e.Currency, &e.Net)
		e.Account, e.Why = ledger.TillUncleared(payee), "payments at tills waiting for their bill"
		return e, err
	})
}
