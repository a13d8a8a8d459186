package recon

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// This file is the part of correcting that the database does by joining sets: another
// issue may have every row of a large bill otherwise, such as when a fee was wrong.

// oddMax is up to how many odd names of a bill its rows are joined, rejoinRows how many
// of these at once, and rejoiners how many such parts at the same time.
const (
	oddMax     = 20_000
	rejoinRows = 20_000
	rejoiners  = 2
)

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
	if err != nil || !plain {
		return err
	}
	var all sync.WaitGroup
	failed := make([]error, rejoiners)
	for n := range failed {
		all.Go(func() { failed[n] = r.rejoinParts(ctx, tenant, b, odd) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// rejoinParts takes and corrects parts of a bill's rows until there is none. A part that
// was taken and not corrected, since the process died, is left to be corrected thing by
// thing.
func (r *Reconciler) rejoinParts(ctx context.Context, tenant citygate.TenantID, b bill, odd []string) error {
	for {
		var from, last int
		err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			from, last, err = r.takePart(ctx, tx, b)
			return err
		})
		if err != nil || last == 0 {
			return err
		}
		err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return rejoinPart(ctx, tx, b, from, last, odd) })
		if err != nil {
			return err
		}
	}
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

// takePart gives the next part of a bill's rows to one who will correct it: those behind
// from up to last, which is 0 if there is none. The file's row is locked, so that two
// take different ones.
func (r *Reconciler) takePart(ctx context.Context, tx *pg.Tx, b bill) (from, last int, err error) {
	from, processed, err := lockPart(ctx, tx, b)
	if err != nil || processed {
		return 0, 0, err
	}
	if last, err = partEnd(ctx, tx, b, from, cmp.Or(r.rows, rejoinRows)); err != nil || last == 0 {
		return 0, 0, err
	}
	return from, last, advance(ctx, tx, b, last)
}

// rejoinPart corrects a part of a bill's rows. Other parts may be corrected at the same
// time, by this process or another: their items are others. Who corrects thing by thing
// waits until this is done, and this until that is.
func rejoinPart(ctx context.Context, tx *pg.Tx, b bill, from, last int, odd []string) error {
	if processed, err := share(ctx, tx, b); err != nil || processed {
		return err
	}
	return ledger.PostFromWith(ctx, tx, tx.Now, rejoinSQL, rejoinedSQL, int64(tx.Tenant), b.contract, b.day, b.issue, from, last, tx.Now, odd, owners[AmountDiff],
		ledger.Bank(), ledger.ProviderReceivable(b.contract))
}

// rejoinSQL makes history of the items of a part's rows that say something else than the
// rows the items have, or that have none, and gives them the new rows. Only succeeded
// payments whose item knows them are touched, and nothing that a person decided.
const rejoinSQL = `
	hit AS (
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
		WHERE p.contract = $2 AND p.state = 'succeeded' AND p.currency = l.currency
		  AND i.charge_id = p.charge_id AND i.refund_id IS NOT DISTINCT FROM p.refund_id AND i.our_id = l.our_id
		  AND i.currency = p.currency AND i.expected = p.amount AND i.expected_fee = p.fee
		  AND (i.state = 'open' AND i.line_no IS NULL
		    OR i.day = $3 AND i.issue < $4 AND i.kind IN ('matched', 'amount_diff', 'currency_diff')
		       AND (i.state = 'open' OR i.state = 'matched' AND i.actual = i.expected AND i.actual_fee = i.expected_fee)
		       AND (i.kind = 'currency_diff' OR i.actual <> l.amount OR i.actual_fee <> l.fee)) -- such an item says what its row says
		  AND CASE WHEN l.is_refund THEN l.refund_id ELSE l.our_id END NOT IN (SELECT unnest($8::text[])) -- hashed, however many
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
		WHERE recon_items.n = excluded.n - 1 AND recon_items.state <> 'resolved' -- unless somebody decides about it just now
		RETURNING item
	), done AS (
		SELECT * FROM hit WHERE (item IN (SELECT item FROM now)) IS TRUE -- hashed too
	), past AS (
		INSERT INTO recon_history (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
		                           expected, expected_fee, actual, actual_fee, resolution, note, opened_at, resolved_at, ended_at, ended_day, ended_issue)
		SELECT tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
		       expected, expected_fee, actual, actual_fee, resolution, note, opened_at, resolved_at, $7::timestamptz, $3, $4
		FROM done
		ON CONFLICT (tenant_id, contract, item, n) DO NOTHING)`

// rejoinedSQL is what rejoinSQL moves: back what the items had moved, and what
// [transfersOf] gives for them now.
const rejoinedSQL = `
	SELECT $11::text AS debit, $10::text AS credit, actual - actual_fee AS amount, currency, 'provider_settled_reversed' AS code,
	       'bill:' || contract || '/' || item || CASE WHEN n > 1 THEN '#' || n ELSE '' END AS event, day AS business_date
	FROM done WHERE state = 'matched' AND actual <> actual_fee
	UNION ALL
	SELECT $10::text, $11::text, to_amount - to_fee, currency, 'provider_settled', 'bill:' || contract || '/' || item || '#' || n + 1, $3::date
	FROM done WHERE matched AND to_amount <> to_fee`
