package recon

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// This file is the part of correcting that the database does by joining sets: another
// issue may have every row of a large bill otherwise, such as when a fee was wrong.

// oddMax is up to how many odd names of a bill its rows are joined.
const oddMax = 20_000

// rejoin corrects what is plain in another issue of a bill: a payment of ours in the
// bill's only currency that has one row, and had one before or was missing.
func (r *Reconciler) rejoin(ctx context.Context, tenant citygate.TenantID, b bill) error {
	if r.apart {
		return nil
	}
	var odd []string
	var plain bool
	err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		odd, plain, err = oddNames(ctx, tx, b)
		return err
	})
	for more := plain; more && err == nil; {
		err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			more, err = r.rejoinPart(ctx, tx, b, odd)
			return err
		})
	}
	return err
}

const oddSQL = `
	SELECT names FROM (
		SELECT ` + namesSQL + ` AS names FROM external_lines AS l
		WHERE l.tenant_id = $1 AND l.contract = $2 AND l.day = $3 AND l.issue = $4 GROUP BY 1 HAVING count(*) > 1
		UNION
		SELECT ` + namesSQL + ` FROM recon_items AS i
		CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = i.day AND issue = i.issue AND line_no = i.line_no LIMIT 1) AS l
		WHERE i.tenant_id = $1 AND i.contract = $2 AND i.item >= 'row/' AND i.item < 'row0' AND (i.day = $3 OR i.state = 'open')) AS n
	LIMIT $5`

// oddNames gives the names that have several rows in a bill, or rows that were one too
// many in it or in another. plain is false where these are too many, or payers pay in
// other currencies: then everything is looked at thing by thing.
func oddNames(ctx context.Context, tx *pg.Tx, b bill) (odd []string, plain bool, err error) {
	var exchanged bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bill_exchanges WHERE tenant_id = $1 AND contract = $2 AND day = $3)`, int64(tx.Tenant), b.contract, b.day).Scan(&exchanged)
	if err != nil || exchanged {
		return nil, false, err
	}
	rows, err := tx.Query(ctx, oddSQL, int64(tx.Tenant), b.contract, b.day, b.issue, oddMax+1)
	if err != nil {
		return nil, false, err
	}
	odd, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return odd, len(odd) <= oddMax, err
}

// rejoinPart corrects the next part of a bill's rows and reports whether there was one.
// The file's row is locked first, so that two runs take turns.
func (r *Reconciler) rejoinPart(ctx context.Context, tx *pg.Tx, b bill, odd []string) (more bool, err error) {
	from, processed, err := lock(ctx, tx, b)
	if err != nil || processed {
		return false, err
	}
	last, err := partEnd(ctx, tx, b, from, r.part())
	if err != nil || last == 0 {
		return false, err
	}
	if err := advance(ctx, tx, b, last); err != nil {
		return false, err
	}
	var corrected int
	err = tx.QueryRow(ctx, rejoinSQL, int64(tx.Tenant), b.contract, b.day, b.issue, from, last, tx.Now, odd, owners[AmountDiff]).Scan(&corrected)
	if err != nil || corrected == 0 {
		return err == nil, err
	}
	return true, ledger.PostFrom(ctx, tx, tx.Now, rejoinedSQL, int64(tx.Tenant), b.contract, b.day, b.issue, from, last, ledger.Bank(), ledger.ProviderReceivable(b.contract))
}

// rejoinSQL makes history of the items of a part's rows that say something else than the
// rows the items have, or that have none, and gives them the new rows. Only succeeded
// payments whose item knows them are touched, and nothing that a person decided.
const rejoinSQL = `
	WITH hit AS (
		SELECT i.*, l.line_no AS to_line, l.amount AS to_amount, l.fee AS to_fee, l.amount = p.amount AND l.fee = p.fee AS matched
		FROM (
			SELECT *, CASE WHEN is_refund THEN 'refund/' || refund_id ELSE 'charge/' || our_id END AS item FROM external_lines
			WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no > $5 AND line_no <= $6 AND NOT (is_refund AND (refund_id = '' OR reversed))) AS l
		CROSS JOIN LATERAL (SELECT * FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND item = l.item LIMIT 1) AS i
		CROSS JOIN LATERAL (
			SELECT charge_id, NULL::uuid AS refund_id, contract, state, currency, amount, fee FROM charges WHERE NOT l.is_refund AND tenant_id = $1 AND our_id = l.our_id
			UNION ALL
			SELECT charge_id, refund_id, contract, state, currency, -amount, 0 FROM refunds WHERE l.is_refund AND tenant_id = $1 AND our_id = l.refund_id
			LIMIT 1) AS p
		LEFT JOIN LATERAL (
			SELECT our_id, amount, currency, fee FROM external_lines
			WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = i.issue AND line_no = i.line_no LIMIT 1) AS o ON true
		WHERE p.contract = $2 AND p.state = 'succeeded' AND p.currency = l.currency
		  AND i.charge_id = p.charge_id AND i.refund_id IS NOT DISTINCT FROM p.refund_id AND i.our_id = l.our_id
		  AND i.currency = p.currency AND i.expected = p.amount AND i.expected_fee = p.fee
		  AND (i.state = 'open' AND i.line_no IS NULL
		    OR i.day = $3 AND i.issue < $4 AND (i.state = 'open' OR i.state = 'matched' AND i.actual = i.expected AND i.actual_fee = i.expected_fee)
		       AND o.our_id IS NOT NULL AND (o.our_id, o.amount, o.currency, o.fee) IS DISTINCT FROM (l.our_id, l.amount, l.currency, l.fee))
		  AND CASE WHEN l.is_refund THEN l.refund_id ELSE l.our_id END NOT IN (SELECT unnest($8::text[])) -- hashed, however many
	), past AS (
		INSERT INTO recon_history (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
		                           expected, expected_fee, actual, actual_fee, resolution, note, opened_at, resolved_at, ended_at, ended_day, ended_issue)
		SELECT tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
		       expected, expected_fee, actual, actual_fee, resolution, note, opened_at, resolved_at, $7::timestamptz, $3, $4
		FROM hit
		ON CONFLICT (tenant_id, contract, item, n) DO NOTHING
	), now AS (
		INSERT INTO recon_items (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
		                         expected, expected_fee, actual, actual_fee, diff, note, opened_at, resolved_at)
		SELECT tenant_id, contract, item, n + 1, CASE WHEN matched THEN 'matched' ELSE 'amount_diff' END, CASE WHEN matched THEN 'matched' ELSE 'open' END,
		       CASE WHEN matched THEN '' ELSE $9::text END, charge_id, refund_id, our_id, $3::date, $4::int, to_line, currency,
		       expected, expected_fee, to_amount, to_fee, to_amount - expected, '',
		       CASE WHEN line_no IS NULL THEN opened_at ELSE $7::timestamptz END, CASE WHEN matched THEN $7::timestamptz END
		FROM hit -- each is there: by its key, and by no join whose order the planner would choose
		ON CONFLICT (tenant_id, contract, item) DO UPDATE
		SET n = excluded.n, kind = excluded.kind, state = excluded.state, owner = excluded.owner, day = excluded.day, issue = excluded.issue, line_no = excluded.line_no,
		    actual = excluded.actual, actual_fee = excluded.actual_fee, diff = excluded.diff, opened_at = excluded.opened_at, resolved_at = excluded.resolved_at
		RETURNING 1
	)
	SELECT count(*) FROM now`

// rejoinedSQL is what rejoinSQL moves: back what the items had moved, and what
// [transfersOf] gives for them now.
const rejoinedSQL = `
	SELECT $8::text AS debit, $7::text AS credit, h.actual - h.actual_fee AS amount, h.currency, 'provider_settled_reversed' AS code,
	       'bill:' || h.contract || '/' || h.item || CASE WHEN h.n > 1 THEN '#' || h.n ELSE '' END AS event, h.day AS business_date
	FROM recon_items AS i
	CROSS JOIN LATERAL (
		SELECT * FROM recon_history WHERE tenant_id = $1 AND contract = $2 AND item = i.item AND n = i.n - 1 AND ended_day = $3 AND ended_issue = $4 LIMIT 1) AS h
	WHERE i.tenant_id = $1 AND i.contract = $2 AND i.day = $3 AND i.issue = $4 AND i.line_no > $5 AND i.line_no <= $6 AND h.state = 'matched' AND h.actual <> h.actual_fee
	UNION ALL
	SELECT $7::text, $8::text, actual - actual_fee, currency, 'provider_settled',
	       'bill:' || contract || '/' || item || CASE WHEN n > 1 THEN '#' || n ELSE '' END, day
	FROM recon_items
	WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no > $5 AND line_no <= $6 AND state = 'matched' AND actual <> actual_fee`
