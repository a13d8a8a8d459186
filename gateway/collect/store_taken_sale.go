package collect

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// saleOf gives the sale that a payment is of: of its price, or of a debt that was left of
// it; the zero id of a payment of fares. It reports whether the payment has succeeded.
func saleOf(ctx context.Context, tx *pg.Tx, contract, our string) (sale citygate.UUID, paid bool, err error) {
	var found *citygate.UUID
	err = tx.QueryRow(ctx, `
		SELECT CASE c.kind WHEN $4 THEN c.aggregation_id ELSE d.sale_id END, c.state = 'succeeded'
		FROM charges c LEFT JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = c.aggregation_id
		WHERE c.tenant_id = $1 AND c.our_id = $2 AND c.contract = $3`, tx.Tenant, our, contract, kindPurchase).Scan(&found, &paid)
	if pg.IsNoRows(err) {
		return sale, false, nil
	}
	if found != nil {
		sale = *found
	}
	return sale, paid, err
}

// lockSold locks a succeeded payment; nil if it is not known to have succeeded.
func lockSold(ctx context.Context, tx *pg.Tx, contract, our string) (*charge, error) {
	rows, err := tx.Query(ctx, `SELECT `+chargeColumns+` FROM charges WHERE tenant_id = $1 AND our_id = $2 AND contract = $3 AND state = 'succeeded' FOR UPDATE`,
		tx.Tenant, our, contract)
	if err != nil {
		return nil, err
	}
	ch, err := pgx.CollectExactlyOneRow(rows, scanCharge)
	if pg.IsNoRows(err) {
		return nil, nil
	}
	return &ch, err
}

// takeSale notes that a payment of a sale was taken back.
func takeSale(ctx context.Context, tx *pg.Tx, sale citygate.UUID) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO taken_sales (tenant_id, sale_id, charge_id, unsettled, first_at)
		SELECT $1, $2, charge_id, true, $3 FROM charges WHERE tenant_id = $1 AND aggregation_id = $2 AND kind = $4
		ON CONFLICT (tenant_id, sale_id) DO NOTHING`, tx.Tenant, sale, tx.Now, kindPurchase)
	return err
}

func isTaken(ctx context.Context, tx *pg.Tx, sale citygate.UUID) (is bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM taken_sales WHERE tenant_id = $1 AND sale_id = $2)`, tx.Tenant, sale).Scan(&is)
	return is, err
}

func markSettled(ctx context.Context, tx *pg.Tx, sale citygate.UUID, busy bool) error {
	_, err := tx.Exec(ctx, `UPDATE taken_sales SET unsettled = $3 WHERE tenant_id = $1 AND sale_id = $2 AND unsettled <> $3`, tx.Tenant, sale, busy)
	return err
}

const unsettledWhere = `
	SELECT s.sale_id FROM taken_sales s WHERE s.tenant_id = $1 AND s.unsettled AND NOT EXISTS (
		SELECT FROM debts d JOIN charges c ON c.tenant_id = $1 AND c.aggregation_id = d.aggregation_id AND c.state IN ('created', 'sent', 'unknown')
		WHERE d.tenant_id = $1 AND d.sale_id = s.sale_id)`

// unsettledSales gives the sales that waited for a payment which is over.
func unsettledSales(ctx context.Context, tx *pg.Tx) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, unsettledWhere+` ORDER BY s.sale_id LIMIT $2`, tx.Tenant, passBatch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

// lostBeyond is what of reversals r was taken beyond what the payment held, and did not
// come back.
const lostBeyond = `greatest(0, r.amount - r.owed - r.covered - greatest(0, r.returned - r.owed - r.covered))`

// takenSaleOf gives a sale as its rows have it at one instant: a debt that is paid
// meanwhile is neither owed and paid nor none of both. Its declined refunds are locked, so
// that nobody has one tried again of which something else is decided.
func takenSaleOf(ctx context.Context, tx *pg.Tx, sale citygate.UUID) (*takenSale, error) {
	s := &takenSale{id: sale}
	if _, err := tx.Exec(ctx, `SELECT FROM refunds WHERE tenant_id = $1 AND journey_id = $2 AND n = $3 AND state = 'declined' ORDER BY refund_id FOR UPDATE`,
		tx.Tenant, sale, noDecision); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
		SELECT c.charge_id, c.our_id, c.contract, c.kind = $3, c.amount, c.account_id, c.currency, f.refunded, f.declined, v.taken, v.returned, v.lost, l.unowed, l.given_up, o.owed, k.kept, k.parts
		FROM (
			SELECT * FROM charges WHERE tenant_id = $1 AND aggregation_id = $2 AND kind = $3 AND state = 'succeeded'
			UNION ALL
			SELECT c.* FROM debts d JOIN charges c ON c.tenant_id = $1 AND c.aggregation_id = d.aggregation_id AND c.state = 'succeeded'
			WHERE d.tenant_id = $1 AND d.sale_id = $2) AS c
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(amount) FILTER (WHERE state IN ('created', 'sent', 'unknown', 'succeeded')), 0)::bigint AS refunded,
			       coalesce(sum(amount) FILTER (WHERE state = 'declined'), 0)::bigint AS declined
			FROM refunds WHERE tenant_id = $1 AND charge_id = c.charge_id) AS f
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(r.amount - r.returned), 0)::bigint AS taken, coalesce(sum(r.returned), 0)::bigint AS returned,
			       coalesce(sum(`+lostBeyond+`) FILTER (WHERE r.state = 'lost'), 0)::bigint AS lost
			FROM reversals r WHERE r.tenant_id = $1 AND r.charge_id = c.charge_id) AS v
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(amount) FILTER (WHERE kind = 'unowed'), 0)::bigint AS unowed, coalesce(sum(amount) FILTER (WHERE kind = 'given_up'), 0)::bigint AS given_up
			FROM taken_sale_lines WHERE tenant_id = $1 AND sale_id = $2 AND charge_id = c.charge_id) AS l
		CROSS JOIN (
			SELECT coalesce(sum(amount), 0)::bigint AS owed FROM debts
			WHERE tenant_id = $1 AND sale_id = $2 AND (state = 'open' OR state = 'written_off' AND repaid_at IS NULL)) AS o
		CROSS JOIN (
			SELECT coalesce(sum(amount) FILTER (WHERE kind = 'kept'), 0)::bigint AS kept, count(*)::int AS parts
			FROM taken_sale_lines WHERE tenant_id = $1 AND sale_id = $2) AS k
		ORDER BY c.kind <> $3, c.charge_id`, tx.Tenant, sale, kindPurchase)
	if err != nil {
		return nil, err
	}
	if s.payments, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p salePayment, err error) {
		err = row.Scan(&p.charge, &p.ourID, &p.contract, &p.price, &p.amount, &s.account, &s.currency, &p.refunded, &p.declined, &p.taken, &p.returned, &p.lost,
			&p.unowed, &p.givenUp, &s.owed, &s.kept, &s.parts)
		return p, err
	}); err != nil {
		return nil, err
	}
	if len(s.payments) == 0 || !s.payments[0].price {
		return nil, ErrLost.Because(nil, "sale %s has no payment", sale)
	}
	return s, nil
}

// saleDebts gives the debts of a sale, the latest first.
func saleDebts(ctx context.Context, tx *pg.Tx, sale citygate.UUID) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT aggregation_id FROM debts WHERE tenant_id = $1 AND sale_id = $2 AND state IN ('open', 'written_off')
		ORDER BY state, opened_at DESC, aggregation_id`, tx.Tenant, sale)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

func storeSaleLines(ctx context.Context, tx *pg.Tx, lines []saleLine) error {
	if len(lines) == 0 {
		return nil
	}
	orNull := func(id citygate.UUID) *citygate.UUID {
		if id.IsZero() {
			return nil
		}
		return &id
	}
	transfers := make([]ledger.Transfer, len(lines))
	for i := range lines {
		l := &lines[i]
		transfers[i] = l.transfer(tx.Tenant)
		if _, err := tx.Exec(ctx, `
			INSERT INTO taken_sale_lines (tenant_id, sale_id, part, kind, debt_id, charge_id, account_id, contract, amount, currency, business_date, at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			tx.Tenant, l.sale, l.part, l.kind, orNull(l.debt), orNull(l.charge), l.account, l.contract, l.amount, string(l.currency), l.date, l.at); err != nil {
			return err
		}
	}
	return ledger.Post(ctx, tx, transfers)
}

func deriveSaleLines(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT sale_id, part, kind, account_id, contract, amount, currency, business_date, at FROM taken_sale_lines WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l saleLine, err error) {
		err = row.Scan(&l.sale, &l.part, &l.kind, &l.account, &l.contract, &l.amount, &l.currency, &l.date, &l.at)
		l.at = l.at.UTC()
		return l, err
	})
	if err != nil {
		return err
	}
	for i := range lines {
		if err := all([]ledger.Transfer{lines[i].transfer(tx.Tenant)}); err != nil {
			return err
		}
	}
	return nil
}

// dropDeclined ends the refunds of a sale that the provider declined, as they are not owed
// any more as they are.
func dropDeclined(ctx context.Context, tx *pg.Tx, sale citygate.UUID) error {
	_, err := tx.Exec(ctx, `UPDATE refunds SET state = 'void' WHERE tenant_id = $1 AND journey_id = $2 AND n = $3 AND state = 'declined'`, tx.Tenant, sale, noDecision)
	return err
}

// createSaleRefund asks for a part of a payment of a sale back.
func createSaleRefund(ctx context.Context, tx *pg.Tx, sale, charge citygate.UUID, amount int64, date citygate.Date) (citygate.UUID, error) {
	var our string
	var ordinal int
	if err := tx.QueryRow(ctx, `
		SELECT c.our_id, 1 + (SELECT count(*) FROM refunds r WHERE r.tenant_id = $1 AND r.charge_id = c.charge_id) FROM charges c
		WHERE c.tenant_id = $1 AND c.charge_id = $2 AND c.state = 'succeeded' FOR UPDATE`, tx.Tenant, charge).Scan(&our, &ordinal); err != nil {
		return citygate.UUID{}, err
	}
	refund := ourID(tx.Tenant, "refund", our, strconv.Itoa(ordinal))
	id := ledger.DeriveID(tx.Now, "refund", tx.Tenant.String(), refund)
	_, err := tx.Exec(ctx, `
		INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, attempt, our_id, contract, account_id, operator_id, journey_id, n, amount, currency,
		                     business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at)
		SELECT $1, $3, charge_id, $4, 1, $5, contract, account_id, $1, $11, $6, $7, currency, $8, 'created', false, 0, '', '', $9, $10, $10
		FROM charges WHERE tenant_id = $1 AND charge_id = $2
		ON CONFLICT (tenant_id, refund_id) DO NOTHING`,
		tx.Tenant, charge, id, ordinal, refund, noDecision, amount, date, string(adapters.Submit), tx.Now, sale)
	return id, err
}
