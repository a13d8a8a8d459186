package recon

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A holder is an item that exists already.
type holder struct {
	day     citygate.Date
	settled bool // it has its row, or is resolved without one
}

// taken gives the items that exist under keys.
func taken(ctx context.Context, tx *pg.Tx, contract string, keys []string) (map[string]holder, error) {
	// A look-up by the primary key for each, whatever the planner thinks of the table's size.
	rows, err := tx.Query(ctx, `
		SELECT i.item, i.day, i.line_no IS NOT NULL OR i.state = 'resolved'
		FROM unnest($3::text[]) AS u (item)
		CROSS JOIN LATERAL (SELECT item, day, line_no, state FROM recon_items WHERE tenant_id = $1 AND contract = $2 AND item = u.item LIMIT 1) AS i`,
		int64(tx.Tenant), contract, keys)
	if err != nil {
		return nil, err
	}
	list := make(map[string]holder)
	var item string
	var h holder
	_, err = pgx.ForEachRow(rows, []any{&item, &h.day, &h.settled}, func() error {
		list[item] = h
		return nil
	})
	return list, err
}

const insertItemsSQL = `
	INSERT INTO recon_items (tenant_id, contract, item, n, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency,
	                         expected, expected_fee, actual, actual_fee, diff, note, opened_at, resolved_at)
	SELECT $1, $2, item, 1 + coalesce((SELECT max(h.n) FROM recon_history AS h WHERE h.tenant_id = $1 AND h.contract = $2 AND h.item = u.item), 0),
	       kind, state, owner, charge_id, refund_id, our_id, day, issue, nullif(line_no, 0), currency,
	       expected, expected_fee, actual, actual_fee, actual - expected, '', $3, CASE WHEN state = 'open' THEN NULL ELSE $3::timestamptz END
	FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[], $11::date[], $12::int[], $13::int[], $14::text[],
	            $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[])
	     AS u (item, kind, state, owner, charge_id, refund_id, our_id, day, issue, line_no, currency, expected, expected_fee, actual, actual_fee)
	ON CONFLICT (tenant_id, contract, item) DO NOTHING
	RETURNING item, n`

// insertItems stores items that are not stored yet, tells which those are, and gives
// these their number. All are of one contract.
func insertItems(ctx context.Context, tx *pg.Tx, items []Item) (map[string]bool, error) {
	fresh := make(map[string]bool, len(items))
	for part := range slices.Chunk(items, chunk) {
		c := columnsOf(part)
		rows, err := tx.Query(ctx, insertItemsSQL, int64(tx.Tenant), part[0].Contract, tx.Now, c.keys, c.kinds, c.states, c.owners, c.charges, c.refunds,
			c.ourIDs, c.days, c.issues, c.lines, c.currencies, c.expected, c.expectedFees, c.actual, c.actualFees)
		if err != nil {
			return nil, err
		}
		numbers, err := numbersOf(rows)
		if err != nil {
			return nil, err
		}
		for i := range part {
			if n, ok := numbers[part[i].Item]; ok {
				part[i].N, fresh[part[i].Item] = n, true
			}
		}
	}
	return fresh, nil
}

// numbersOf reads items and their numbers.
func numbersOf(rows pgx.Rows) (map[string]int, error) {
	numbers := map[string]int{}
	var item string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&item, &n}, func() error {
		numbers[item] = n
		return nil
	})
	return numbers, err
}

const giveRowsSQL = `
	UPDATE recon_items i
	SET n = i.n + 1, kind = u.kind, state = u.state, owner = u.owner, day = u.day, issue = u.issue, line_no = u.line_no,
	    actual = u.actual, actual_fee = u.actual_fee, diff = u.actual - i.expected,
	    resolved_at = CASE WHEN u.state = 'open' THEN NULL ELSE $3::timestamptz END
	FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::date[], $9::int[], $10::int[], $11::bigint[], $12::bigint[])
	     AS u (item, kind, state, owner, day, issue, line_no, actual, actual_fee)
	WHERE i.tenant_id = $1 AND i.contract = $2 AND i.item = u.item AND i.line_no IS NULL AND i.state = 'open'
	RETURNING i.item, i.n`

// giveRows gives rows to payments that were missing at the provider: a bill has them
// after all. That they were missing is history.
func giveRows(ctx context.Context, tx *pg.Tx, by bill, items []Item) error {
	if len(items) == 0 {
		return nil
	}
	c := columnsOf(items)
	if err := remember(ctx, tx, by, c.keys); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, giveRowsSQL, int64(tx.Tenant), items[0].Contract, tx.Now, c.keys, c.kinds, c.states, c.owners, c.days, c.issues, c.lines, c.actual, c.actualFees)
	if err != nil {
		return err
	}
	numbers, err := numbersOf(rows)
	for i := range items {
		items[i].N = numbers[items[i].Item]
	}
	return err
}

// itemColumns are items as arrays, for unnest.
type itemColumns struct {
	keys, kinds, states, owners, ourIDs, currencies []string
	charges, refunds                                []pgtype.UUID
	days                                            []citygate.Date
	issues, lines                                   []int32
	expected, expectedFees, actual, actualFees      []int64
}

func columnsOf(items []Item) (c itemColumns) {
	for _, i := range items {
		c.keys, c.kinds, c.states = append(c.keys, i.Item), append(c.kinds, string(i.Kind)), append(c.states, i.State)
		c.owners, c.ourIDs, c.currencies = append(c.owners, i.Owner), append(c.ourIDs, i.OurID), append(c.currencies, string(i.Currency))
		c.charges, c.refunds = append(c.charges, nullable(i.ChargeID)), append(c.refunds, nullable(i.RefundID))
		c.days, c.issues, c.lines = append(c.days, i.Day), append(c.issues, int32(max(i.Issue, 1))), append(c.lines, int32(i.Line))
		c.expected, c.expectedFees = append(c.expected, i.Expected), append(c.expectedFees, i.ExpectedFee)
		c.actual, c.actualFees = append(c.actual, i.Actual), append(c.actualFees, i.ActualFee)
	}
	return c
}

func nullable(u citygate.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: !u.IsZero()} }
