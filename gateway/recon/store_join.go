package recon

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// This file is the part of matching that the database does by joining sets: it reads
// the collector's charges and refunds and never changes them. Rows are joined to
// payments by a look-up of each, so that a bill costs what its rows cost, however
// many payments there are behind it and whatever the planner knows of them.

// partEnd gives the number of the last row of the next part of a bill behind a row, 0
// if there is none.
func partEnd(ctx context.Context, tx *pg.Tx, b bill, after, rows int) (last int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(max(line_no), 0) FROM (
			SELECT line_no FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no > $5 ORDER BY line_no LIMIT $6) AS l`,
		int64(tx.Tenant), b.contract, b.day, b.issue, after, rows).Scan(&last)
	return last, err
}

// matchSQL gives the rows of a part that say exactly what a succeeded payment says
// their items; of several such rows the first. Amounts of refunds are negative.
const matchSQL = `
	INSERT INTO recon_items (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
	                         expected, expected_fee, actual, actual_fee, diff, note, opened_at, resolved_at)
	SELECT DISTINCT ON (item) $1::bigint, $2, item, CASE WHEN $8::boolean THEN 1 + coalesce((SELECT max(h.n) FROM recon_history AS h WHERE h.tenant_id = $1 AND h.contract = $2 AND h.item = m.item), 0) ELSE 1 END,
	       'matched', 'matched', '', charge_id, refund_id, our_id, $3::date, $4::int, line_no, currency,
	       amount, fee, amount, fee, 0, '', $7::timestamptz, $7::timestamptz
	FROM (
		SELECT 'charge/' || l.our_id AS item, c.charge_id, NULL::uuid AS refund_id, l.our_id, l.line_no, l.currency, l.amount, l.fee
		FROM external_lines AS l CROSS JOIN LATERAL (
			SELECT charge_id, contract, state, currency, amount, fee FROM charges WHERE tenant_id = $1 AND our_id = l.our_id LIMIT 1) AS c
		WHERE l.tenant_id = $1 AND l.contract = $2 AND l.day = $3 AND l.issue = $4 AND l.line_no > $5 AND l.line_no <= $6 AND NOT l.is_refund
		  AND c.contract = $2 AND c.state = 'succeeded' AND c.currency = l.currency AND c.amount = l.amount AND c.fee = l.fee
		UNION ALL
		SELECT 'refund/' || l.refund_id, r.charge_id, r.refund_id, l.our_id, l.line_no, l.currency, l.amount, l.fee
		FROM external_lines AS l CROSS JOIN LATERAL (
			SELECT charge_id, refund_id, contract, state, currency, amount FROM refunds WHERE tenant_id = $1 AND our_id = l.refund_id LIMIT 1) AS r
		WHERE l.tenant_id = $1 AND l.contract = $2 AND l.day = $3 AND l.issue = $4 AND l.line_no > $5 AND l.line_no <= $6 AND l.is_refund
		  AND r.contract = $2 AND r.state = 'succeeded' AND r.currency = l.currency AND r.amount = -l.amount AND l.fee = 0) AS m
	ORDER BY item, line_no
	ON CONFLICT (tenant_id, contract, item) DO NOTHING`

// matchedSQL is what matchSQL moves: what [transfersOf] gives for its items.
const matchedSQL = `
	SELECT $7::text AS debit, $8::text AS credit, actual - actual_fee AS amount, currency, 'provider_settled' AS code,
	       'bill:' || contract || '/' || item || CASE WHEN n > 1 THEN '#' || n ELSE '' END AS event, day AS business_date
	FROM recon_items
	WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no > $5 AND line_no <= $6 AND state = 'matched' AND actual <> actual_fee`

// matchPart matches the rows of a part that are plainly right, and books them. No row
// of the part has an item before.
func matchPart(ctx context.Context, tx *pg.Tx, b bill, after, last int) error {
	var corrected bool // some items of the contract were something else before
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM recon_history WHERE tenant_id = $1 AND contract = $2)`, int64(tx.Tenant), b.contract).Scan(&corrected); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, matchSQL, int64(tx.Tenant), b.contract, b.day, b.issue, after, last, tx.Now, corrected)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	return ledger.PostFrom(ctx, tx, tx.Now, matchedSQL, int64(tx.Tenant), b.contract, b.day, b.issue, after, last, ledger.Bank(), ledger.ProviderReceivable(b.contract))
}

// lineColumns are a row of a bill, with what it says was paid in another currency.
const lineColumns = `l.day, l.issue, l.line_no, l.is_refund, l.our_id, l.refund_id, l.provider_ref, l.amount, l.currency, l.fee, l.at, l.reversed,
	coalesce(x.paid, 0), coalesce(x.paid_currency, '')`

// joinExchanges adds what rows l say was paid, as x.
const joinExchanges = ` LEFT JOIN LATERAL (
	SELECT paid, paid_currency FROM bill_exchanges
	WHERE tenant_id = $1 AND contract = $2 AND day = l.day AND issue = l.issue AND line_no = l.line_no LIMIT 1) AS x ON true `

func lineTargets(l *Line) []any {
	return []any{
		&l.Day, &l.Issue, &l.No, &l.Refund, &l.OurID, &l.RefundID, &l.ProviderRef, &l.Amount, &l.Currency, &l.Fee, &l.At, &l.Reversed,
		&l.Paid.Minor, &l.Paid.Currency,
	}
}

func scanLine(row pgx.CollectableRow) (l Line, err error) {
	err = row.Scan(lineTargets(&l)...)
	return l, err
}

// restSQL gives the rows of a bill that have no item.
const restSQL = `
	SELECT ` + lineColumns + `
	FROM (
		SELECT line_no FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no > $5
		EXCEPT SELECT line_no FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no > $5
		ORDER BY line_no LIMIT $6) AS r
	CROSS JOIN LATERAL (
		SELECT day, issue, line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at, reversed FROM external_lines
		WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no = r.line_no LIMIT 1) AS l` + joinExchanges + `
	ORDER BY l.line_no`

// rest gives the first rows of a bill behind a row that have no outcome yet.
func rest(ctx context.Context, tx *pg.Tx, b bill, after int) ([]Line, error) {
	rows, err := tx.Query(ctx, restSQL, int64(tx.Tenant), b.contract, b.day, b.issue, after, chunk)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanLine)
}

// missingSQL names the payments that became final in [$4, $5) and that no bill has:
// those without an item.
const missingSQL = `
	INSERT INTO recon_items (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
	                         expected, expected_fee, actual, actual_fee, diff, note, opened_at, resolved_at)
	SELECT $1::bigint, $2, p.item, 1 + coalesce((SELECT max(h.n) FROM recon_history AS h WHERE h.tenant_id = $1 AND h.contract = $2 AND h.item = p.item), 0),
	       'missing_provider', 'open', $6, p.charge_id, p.refund_id, p.our_id, $3::date, 1, NULL, p.currency,
	       p.amount, p.fee, 0, 0, -p.amount, '', $7::timestamptz, NULL
	FROM (
		SELECT 'charge/' || our_id AS item, charge_id, NULL::uuid AS refund_id, our_id, currency, amount, fee
		FROM charges WHERE tenant_id = $1 AND contract = $2 AND state = 'succeeded' AND sent_at IS NOT NULL AND final_at >= $4 AND final_at < $5
		UNION ALL
		SELECT 'refund/' || CASE r.bill_name WHEN '' THEN r.our_id ELSE r.bill_name END, r.charge_id, r.refund_id, c.our_id, r.currency, -r.amount, 0
		FROM refunds AS r JOIN charges AS c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		WHERE r.tenant_id = $1 AND r.contract = $2 AND r.state = 'succeeded' AND r.sent_at IS NOT NULL AND r.final_at >= $4 AND r.final_at < $5) AS p
	LEFT JOIN LATERAL (SELECT true AS there FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND item = p.item LIMIT 1) AS i ON true
	WHERE i.there IS NULL
	ORDER BY p.item
	ON CONFLICT (tenant_id, contract, item) DO NOTHING`

// missingPart is about how many charges one statement looks at.
const missingPart = 200_000

// nameMissing stores the exceptions of payments that no bill has, some instants at a
// time: no statement takes as long as a day is large.
func nameMissing(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, from, to time.Time) error {
	for from.Before(to) {
		var next time.Time
		err := tx.QueryRow(ctx, `
			SELECT coalesce((SELECT final_at FROM charges WHERE tenant_id = $1 AND contract = $2 AND final_at > $3 AND final_at < $4
				ORDER BY final_at OFFSET $5 LIMIT 1), $4::timestamptz)`, int64(tx.Tenant), contract, from, to, missingPart).Scan(&next)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, missingSQL, int64(tx.Tenant), contract, day, from, next, owners[MissingProvider], tx.Now); err != nil {
			return err
		}
		from = next
	}
	return nil
}
