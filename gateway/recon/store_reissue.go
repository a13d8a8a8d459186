package recon

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// An about is what rows of bills are about: a charge, or a refund.
type about struct {
	refund bool
	names  string
}

// names and says are, in SQL, what [Line.names] and [Line.says] are of a row l.
const (
	namesSQL = `CASE WHEN NOT l.is_refund THEN l.our_id WHEN l.refund_id = '' THEN 'of ' || l.our_id ELSE l.refund_id END`
	saysSQL  = `l.our_id || ' ' || l.amount || ' ' || l.currency || ' ' || l.fee || ' ' || coalesce(x.paid, 0) || coalesce(x.paid_currency, '')`
)

// Rows of items are looked up one by one by their number, here and below: a bill that was
// just stored has no statistics, and the planner would take its rows for few.

// changedSQL gives what another issue of a day's bill says otherwise than the rows do
// that the day's items have, behind one of them. A row that has an item of its own says
// what that item's row says, and neither is compared: of a bill that was corrected by
// joining sets hardly any are.
const changedSQL = `
	WITH before AS (
		SELECT l.is_refund, ` + namesSQL + ` AS names, string_agg(` + saysSQL + `, ';' ORDER BY ` + saysSQL + `) AS says
		FROM recon_items AS i
		CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = i.issue AND line_no = i.line_no LIMIT 1) AS l` + joinExchanges + `
		WHERE i.tenant_id = $1 AND i.contract = $2 AND i.day = $3 AND i.line_no IS NOT NULL AND i.issue <> $4
		GROUP BY 1, 2
	), after AS (
		SELECT l.is_refund, ` + namesSQL + ` AS names, string_agg(` + saysSQL + `, ';' ORDER BY ` + saysSQL + `) AS says
		FROM (
			SELECT line_no FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4
			EXCEPT SELECT line_no FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4) AS r
		CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no = r.line_no LIMIT 1) AS l` + joinExchanges + `
		GROUP BY 1, 2
	), other AS (
		SELECT is_refund, names FROM before AS b FULL JOIN after AS a USING (is_refund, names)
		WHERE b.says IS DISTINCT FROM a.says AND ((is_refund, names) > ($5::boolean, $6::text) OR $7::boolean)
		ORDER BY is_refund, names LIMIT $8
	)
	SELECT o.is_refund, o.names, coalesce(a.lines, '{}') FROM other AS o
	LEFT JOIN (
		SELECT l.is_refund, ` + namesSQL + ` AS names, array_agg(l.line_no) AS lines
		FROM external_lines AS l
		WHERE l.tenant_id = $1 AND l.contract = $2 AND l.day = $3 AND l.issue = $4 AND (l.is_refund, ` + namesSQL + `) IN (SELECT is_refund, names FROM other)
		GROUP BY 1, 2) AS a USING (is_refund, names)
	ORDER BY o.is_refund, o.names`

// A change is a thing that an issue says otherwise, and its rows in it.
type change struct {
	about
	lines []int32
}

// changed gives the next things that an issue says otherwise; behind nil from the first.
func changed(ctx context.Context, tx *pg.Tx, b bill, behind *about, limit int) ([]change, error) {
	from := about{}
	if behind != nil {
		from = *behind
	}
	rows, err := tx.Query(ctx, changedSQL, int64(tx.Tenant), b.contract, b.day, b.issue, from.refund, from.names, behind == nil, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c change, err error) {
		err = row.Scan(&c.refund, &c.names, &c.lines)
		return c, err
	})
}

// A held is an item and the row that it has.
type held struct {
	Item
	line Line
}

func scanHeld(row pgx.CollectableRow) (h held, err error) {
	var raw rawItem
	if err := row.Scan(append(raw.targets(&h.Item), lineTargets(&h.line)...)...); err != nil {
		return h, err
	}
	raw.complete(&h.Item)
	return h, nil
}

const heldSQL = `
	SELECT ` + itemColumnsSQL + `, ` + lineColumns + `
	FROM (
		SELECT k.item FROM unnest($4::text[]) AS k (item)
		UNION
		SELECT s.item FROM (
			SELECT item, issue, line_no FROM recon_items
			WHERE tenant_id = $1 AND contract = $2 AND item >= 'row/' || $3::date || '.' AND item < 'row/' || $3::date || '0') AS s
		CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = s.issue AND line_no = s.line_no LIMIT 1) AS l
		JOIN unnest($5::boolean[], $6::text[]) AS u (is_refund, names) ON u.is_refund = l.is_refund AND u.names = ` + namesSQL + `) AS k
	CROSS JOIN LATERAL (SELECT * FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND item = k.item AND day = $3 AND line_no IS NOT NULL LIMIT 1 FOR UPDATE) AS i
	CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = i.issue AND line_no = i.line_no LIMIT 1) AS l` +
	joinExchanges + `
	ORDER BY i.item LIKE 'row/%', i.line_no`

// heldOn gives the items of a day whose rows are about these things: their own, which
// bear their names, and those of rows that were one too many, which bear the day's. They
// are locked: nobody decides about them meanwhile.
func heldOn(ctx context.Context, tx *pg.Tx, b bill, list []change) ([]held, error) {
	own, refunds, names := make([]string, len(list)), make([]bool, len(list)), make([]string, len(list))
	for i, c := range list {
		own[i], refunds[i], names[i] = key(c.refund, c.names), c.refund, c.names
	}
	rows, err := tx.Query(ctx, heldSQL, int64(tx.Tenant), b.contract, b.day, own, refunds, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanHeld)
}

// surplusElsewhere gives the open items of other days' rows that were one too many for
// these charges or their refunds.
func surplusElsewhere(ctx context.Context, tx *pg.Tx, b bill, charges []citygate.UUID) ([]held, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+itemColumnsSQL+`, `+lineColumns+`
		FROM recon_items AS i
		CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = i.day AND issue = i.issue AND line_no = i.line_no LIMIT 1) AS l`+joinExchanges+`
		WHERE i.tenant_id = $1 AND i.contract = $2 AND i.day <> $3 AND i.charge_id = ANY($4::uuid[]) AND i.state = 'open'
		  AND i.kind IN ('duplicate', 'date_diff') AND i.line_no IS NOT NULL
		ORDER BY i.day, i.line_no FOR UPDATE OF i`, int64(tx.Tenant), b.contract, b.day, charges)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanHeld)
}

// linesAbout gives the rows of an issue that are about these things.
func linesAbout(ctx context.Context, tx *pg.Tx, b bill, list []change) ([]Line, error) {
	var numbers []int32
	for _, c := range list {
		numbers = append(numbers, c.lines...)
	}
	rows, err := tx.Query(ctx, `
		SELECT `+lineColumns+`
		FROM unnest($5::int[]) AS u (line_no)
		CROSS JOIN LATERAL (SELECT * FROM external_lines WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 AND line_no = u.line_no LIMIT 1) AS l`+joinExchanges+`
		ORDER BY l.line_no`, int64(tx.Tenant), b.contract, b.day, b.issue, numbers)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanLine)
}

const rememberSQL = `
	INSERT INTO recon_history (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
	                           expected, expected_fee, actual, actual_fee, resolution, note, opened_at, resolved_at, ended_at, ended_day, ended_issue)
	SELECT tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
	       expected, expected_fee, actual, actual_fee, resolution, note, opened_at, resolved_at, $4, $5, $6
	FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND item = ANY($3::text[])
	ON CONFLICT (tenant_id, contract, item, n) DO NOTHING`

// remember writes down what items are before a bill has something else to say.
func remember(ctx context.Context, tx *pg.Tx, by bill, items []string) error {
	_, err := tx.Exec(ctx, rememberSQL, int64(tx.Tenant), by.contract, items, tx.Now, by.day, by.issue)
	return err
}

// withdraw ends items: what they were is history.
func withdraw(ctx context.Context, tx *pg.Tx, by bill, items []string) error {
	if err := remember(ctx, tx, by, items); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND item = ANY($3::text[])`, int64(tx.Tenant), by.contract, items)
	return err
}
