package recon

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const insertFileSQL = `
	INSERT INTO external_files (tenant_id, contract, day, name, sha256, lines, state, matched_to, imported_at)
	VALUES ($1, $2, $3, $4, $5, 0, 'stored', 0, $6)
	ON CONFLICT (tenant_id, contract, day) DO NOTHING`

// insertFile stores a bill and reports whether it is new. The same bill again
// is not an error; another one for the same day is [ErrReissued].
func insertFile(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, name string, sum []byte) (fresh bool, err error) {
	tag, err := tx.Exec(ctx, insertFileSQL, int64(tx.Tenant), contract, day, name, sum, tx.Now)
	if err != nil || tag.RowsAffected() == 1 {
		return err == nil, err
	}
	var old []byte
	err = tx.QueryRow(ctx, `SELECT sha256 FROM external_files WHERE tenant_id = $1 AND contract = $2 AND day = $3`,
		int64(tx.Tenant), contract, day).Scan(&old)
	if err == nil && !bytes.Equal(old, sum) {
		err = ErrReissued.Because(nil, "contract %s, day %s, file %s", contract, day, name)
	}
	return false, err
}

// countLines notes how many rows a bill has.
func countLines(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, rows int) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET lines = $4 WHERE tenant_id = $1 AND contract = $2 AND day = $3`, int64(tx.Tenant), contract, day, rows)
	return err
}

const insertLinesSQL = `
	INSERT INTO external_lines (tenant_id, contract, day, line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at)
	SELECT $1, $2, $3, line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at
	FROM unnest($4::int[], $5::boolean[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::timestamptz[])
	     AS u (line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at)
	ON CONFLICT (tenant_id, contract, day, line_no) DO NOTHING`

func insertLines(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, lines []driver.BillLine) error {
	n := len(lines)
	numbers, refunds := make([]int32, n), make([]bool, n)
	ourIDs, refundIDs, refs, currencies := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	amounts, fees, times := make([]int64, n), make([]int64, n), make([]time.Time, n)
	for i, l := range lines {
		numbers[i], refunds[i] = int32(l.Line), l.Refund
		ourIDs[i], refundIDs[i], refs[i], currencies[i] = l.OurID, l.RefundID, l.ProviderRef, string(l.Amount.Currency)
		amounts[i], fees[i], times[i] = l.Amount.Minor, l.Fee, l.At
	}
	tag, err := tx.Exec(ctx, insertLinesSQL, int64(tx.Tenant), contract, day, numbers, refunds, ourIDs, refundIDs, refs, amounts, currencies, fees, times)
	if err == nil && tag.RowsAffected() != int64(n) {
		err = ErrBill.Because(nil, "contract %s, day %s: two rows have one line number", contract, day)
	}
	if err != nil {
		return err
	}
	return insertExchanges(ctx, tx, contract, day, lines)
}

// files gives the days whose bill is stored and not processed, and the last day
// that is processed, nil if none is.
func files(ctx context.Context, tx *pg.Tx, contract string) (pending []citygate.Date, last *citygate.Date, err error) {
	rows, err := tx.Query(ctx, `SELECT day FROM external_files WHERE tenant_id = $1 AND contract = $2 AND state = 'stored' ORDER BY day`,
		int64(tx.Tenant), contract)
	if err != nil {
		return nil, nil, err
	}
	if pending, err = pgx.CollectRows(rows, pgx.RowTo[citygate.Date]); err != nil {
		return nil, nil, err
	}
	rows, err = tx.Query(ctx, `SELECT day FROM external_files WHERE tenant_id = $1 AND contract = $2 AND state = 'processed' ORDER BY day DESC LIMIT 1`,
		int64(tx.Tenant), contract)
	if err != nil {
		return nil, nil, err
	}
	done, err := pgx.CollectRows(rows, pgx.RowTo[citygate.Date])
	if err != nil || len(done) == 0 {
		return pending, nil, err
	}
	return pending, &done[0], nil
}

// forUpdate takes the bill's row for this transaction, so that two runs take turns.
const forUpdate = ` FOR UPDATE`

// file gives how far matching of a bill came.
func file(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, lock string) (matchedTo int, processed bool, err error) {
	var state string
	err = tx.QueryRow(ctx, `SELECT matched_to, state FROM external_files WHERE tenant_id = $1 AND contract = $2 AND day = $3`+lock,
		int64(tx.Tenant), contract, day).Scan(&matchedTo, &state)
	return matchedTo, state == "processed", err
}

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
	INSERT INTO recon_items (tenant_id, contract, item, kind, state, owner, charge_id, refund_id, our_id, day, line_no, currency,
	                         expected, expected_fee, actual, actual_fee, diff, note, opened_at, resolved_at)
	SELECT $1, $2, item, kind, state, owner, charge_id, refund_id, our_id, day, nullif(line_no, 0), currency,
	       expected, expected_fee, actual, actual_fee, actual - expected, '', $3, CASE WHEN state = 'open' THEN NULL ELSE $3::timestamptz END
	FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[], $11::date[], $12::int[], $13::text[],
	            $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[])
	     AS u (item, kind, state, owner, charge_id, refund_id, our_id, day, line_no, currency, expected, expected_fee, actual, actual_fee)
	ON CONFLICT (tenant_id, contract, item) DO NOTHING
	RETURNING item`

// insertItems stores items that are not stored yet and tells which those are.
// All are of one contract.
func insertItems(ctx context.Context, tx *pg.Tx, items []Item) (map[string]bool, error) {
	fresh := make(map[string]bool, len(items))
	for part := range slices.Chunk(items, chunk) {
		c := columnsOf(part)
		rows, err := tx.Query(ctx, insertItemsSQL, int64(tx.Tenant), part[0].Contract, tx.Now, c.keys, c.kinds, c.states, c.owners, c.charges, c.refunds,
			c.ourIDs, c.days, c.lines, c.currencies, c.expected, c.expectedFees, c.actual, c.actualFees)
		if err != nil {
			return nil, err
		}
		var item string
		if _, err := pgx.ForEachRow(rows, []any{&item}, func() error { fresh[item] = true; return nil }); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

const giveRowsSQL = `
	UPDATE recon_items i
	SET kind = u.kind, state = u.state, owner = u.owner, day = u.day, line_no = u.line_no,
	    actual = u.actual, actual_fee = u.actual_fee, diff = u.actual - i.expected,
	    resolved_at = CASE WHEN u.state = 'open' THEN NULL ELSE $3::timestamptz END
	FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::date[], $9::int[], $10::bigint[], $11::bigint[])
	     AS u (item, kind, state, owner, day, line_no, actual, actual_fee)
	WHERE i.tenant_id = $1 AND i.contract = $2 AND i.item = u.item AND i.line_no IS NULL AND i.state = 'open'`

// giveRows gives rows to payments that were missing at the provider: a later
// bill has them.
func giveRows(ctx context.Context, tx *pg.Tx, items []Item) error {
	if len(items) == 0 {
		return nil
	}
	c := columnsOf(items)
	_, err := tx.Exec(ctx, giveRowsSQL, int64(tx.Tenant), items[0].Contract, tx.Now, c.keys, c.kinds, c.states, c.owners, c.days, c.lines, c.actual, c.actualFees)
	return err
}

// itemColumns are items as arrays, for unnest.
type itemColumns struct {
	keys, kinds, states, owners, ourIDs, currencies []string
	charges, refunds                                []pgtype.UUID
	days                                            []citygate.Date
	lines                                           []int32
	expected, expectedFees, actual, actualFees      []int64
}

func columnsOf(items []Item) (c itemColumns) {
	for _, i := range items {
		c.keys, c.kinds, c.states = append(c.keys, i.Item), append(c.kinds, string(i.Kind)), append(c.states, i.State)
		c.owners, c.ourIDs, c.currencies = append(c.owners, i.Owner), append(c.ourIDs, i.OurID), append(c.currencies, string(i.Currency))
		c.charges, c.refunds = append(c.charges, nullable(i.ChargeID)), append(c.refunds, nullable(i.RefundID))
		c.days, c.lines = append(c.days, i.Day), append(c.lines, int32(i.Line))
		c.expected, c.expectedFees = append(c.expected, i.Expected), append(c.expectedFees, i.ExpectedFee)
		c.actual, c.actualFees = append(c.actual, i.Actual), append(c.actualFees, i.ActualFee)
	}
	return c
}

func nullable(u citygate.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: !u.IsZero()} }

// advance remembers that rows up to lineNo have their outcome.
func advance(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, lineNo int) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET matched_to = $4 WHERE tenant_id = $1 AND contract = $2 AND day = $3`,
		int64(tx.Tenant), contract, day, lineNo)
	return err
}

func markProcessed(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET state = 'processed', processed_at = $4 WHERE tenant_id = $1 AND contract = $2 AND day = $3`,
		int64(tx.Tenant), contract, day, tx.Now)
	return err
}
