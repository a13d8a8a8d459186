package recon

import (
	"bytes"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A bill is one issue of a provider's file of one of its days.
type bill struct {
	contract string
	day      citygate.Date
	issue    int // from 1
}

// A stored is a bill's row.
type stored struct {
	bill
	sum, content []byte
	issued       time.Time // zero if the provider does not say
	processed    bool
	matchedTo    int
}

const storedColumns = `contract, day, issue, sha256, content, issued_at, state = 'processed', matched_to`

func scanStored(row pgx.CollectableRow) (f stored, err error) {
	var issued *time.Time
	err = row.Scan(&f.contract, &f.day, &f.issue, &f.sum, &f.content, &issued, &f.processed, &f.matchedTo)
	if issued != nil {
		f.issued = issued.UTC()
	}
	return f, err
}

// issues gives the issues of a day's bill, the latest first.
func issues(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date) ([]stored, error) {
	rows, err := tx.Query(ctx, `SELECT `+storedColumns+` FROM external_files WHERE tenant_id = $1 AND contract = $2 AND day = $3 ORDER BY issue DESC`,
		int64(tx.Tenant), contract, day)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanStored)
}

const insertFileSQL = `
	INSERT INTO external_files (tenant_id, contract, day, issue, name, sha256, issued_at, lines, state, matched_to, imported_at, checked_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 'stored', 0, $8, $8)
	ON CONFLICT (tenant_id, contract, day, issue) DO NOTHING`

// insertFile stores a bill and reports whether it is new. The same bill again is not
// an error; another one that was stored meanwhile is [ErrReissued].
func insertFile(ctx context.Context, tx *pg.Tx, b bill, name string, sum []byte, issued time.Time) (fresh bool, err error) {
	var at *time.Time
	if !issued.IsZero() {
		at = &issued
	}
	tag, err := tx.Exec(ctx, insertFileSQL, int64(tx.Tenant), b.contract, b.day, b.issue, name, sum, at, tx.Now)
	if err != nil || tag.RowsAffected() == 1 {
		return err == nil, err
	}
	var old []byte
	err = tx.QueryRow(ctx, `SELECT sha256 FROM external_files WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4`,
		int64(tx.Tenant), b.contract, b.day, b.issue).Scan(&old)
	if err == nil && !bytes.Equal(old, sum) {
		err = ErrReissued.Because(nil, "contract %s, day %s, file %s: another one was stored at the same time", b.contract, b.day, name)
	}
	return false, err
}

// describe notes how many rows a bill has and what they say.
func describe(ctx context.Context, tx *pg.Tx, b bill, rows int, content []byte) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET lines = $5, content = $6 WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4`,
		int64(tx.Tenant), b.contract, b.day, b.issue, rows, content)
	return err
}

const insertLinesSQL = `
	INSERT INTO external_lines (tenant_id, contract, day, issue, line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at, reversed)
	SELECT $1, $2, $3, $4, line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at, reversed
	FROM unnest($5::int[], $6::boolean[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bigint[], $13::timestamptz[], $14::boolean[])
	     AS u (line_no, is_refund, our_id, refund_id, provider_ref, amount, currency, fee, at, reversed)
	ON CONFLICT (tenant_id, contract, day, issue, line_no) DO NOTHING`

func insertLines(ctx context.Context, tx *pg.Tx, b bill, lines []driver.BillLine) error {
	n := len(lines)
	numbers, refunds, reversed := make([]int32, n), make([]bool, n), make([]bool, n)
	ourIDs, refundIDs, refs, currencies := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	amounts, fees, times := make([]int64, n), make([]int64, n), make([]time.Time, n)
	for i, l := range lines {
		numbers[i], refunds[i], reversed[i] = int32(l.Line), l.Refund, l.Reversed
		ourIDs[i], refundIDs[i], refs[i], currencies[i] = l.OurID, l.RefundID, l.ProviderRef, string(l.Amount.Currency)
		amounts[i], fees[i], times[i] = l.Amount.Minor, l.Fee, l.At
	}
	tag, err := tx.Exec(ctx, insertLinesSQL, int64(tx.Tenant), b.contract, b.day, b.issue, numbers, refunds, ourIDs, refundIDs, refs, amounts, currencies, fees, times, reversed)
	if err == nil && tag.RowsAffected() != int64(n) {
		err = ErrBill.Because(nil, "contract %s, day %s: two rows have one line number", b.contract, b.day)
	}
	if err != nil {
		return err
	}
	return insertExchanges(ctx, tx, b, lines)
}

// files gives the bills that are stored and not processed, by day, and the last day
// that is processed, nil if none is.
func files(ctx context.Context, tx *pg.Tx, contract string) (pending map[citygate.Date]bill, last *citygate.Date, err error) {
	rows, err := tx.Query(ctx, `SELECT `+storedColumns+` FROM external_files WHERE tenant_id = $1 AND contract = $2 AND state = 'stored'`,
		int64(tx.Tenant), contract)
	if err != nil {
		return nil, nil, err
	}
	list, err := pgx.CollectRows(rows, scanStored)
	if err != nil {
		return nil, nil, err
	}
	pending = make(map[citygate.Date]bill, len(list))
	for _, f := range list {
		pending[f.day] = f.bill
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

// unchecked gives the days not before since whose bill is processed, with when the
// provider was last asked for it.
func unchecked(ctx context.Context, tx *pg.Tx, contract string, since citygate.Date) (map[citygate.Date]time.Time, error) {
	rows, err := tx.Query(ctx, `
		SELECT day, max(coalesce(checked_at, imported_at)) FROM external_files
		WHERE tenant_id = $1 AND contract = $2 AND day >= $3 GROUP BY day HAVING bool_and(state = 'processed')`, int64(tx.Tenant), contract, since)
	if err != nil {
		return nil, err
	}
	list := make(map[citygate.Date]time.Time)
	var day citygate.Date
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&day, &at}, func() error {
		list[day] = at
		return nil
	})
	return list, err
}

// checked remembers that the provider is asked for a day's bill again.
func checked(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET checked_at = $4 WHERE tenant_id = $1 AND contract = $2 AND day = $3`, int64(tx.Tenant), contract, day, tx.Now)
	return err
}

// lock takes a bill's row for this transaction, so that two runs take turns, and says
// how far its matching came.
func lock(ctx context.Context, tx *pg.Tx, b bill) (matchedTo int, processed bool, err error) {
	return lockFor(ctx, tx, b, "UPDATE")
}

// lockPart is lock for those who take parts of a bill to do: they take turns with each
// other and not with those who do their parts, who share the row and keep out lock.
func lockPart(ctx context.Context, tx *pg.Tx, b bill) (matchedTo int, processed bool, err error) {
	return lockFor(ctx, tx, b, "NO KEY UPDATE")
}

func share(ctx context.Context, tx *pg.Tx, b bill) (processed bool, err error) {
	_, processed, err = lockFor(ctx, tx, b, "KEY SHARE")
	return processed, err
}

func lockFor(ctx context.Context, tx *pg.Tx, b bill, mode string) (matchedTo int, processed bool, err error) {
	var state string
	err = tx.QueryRow(ctx, `SELECT matched_to, state FROM external_files WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4 FOR `+mode,
		int64(tx.Tenant), b.contract, b.day, b.issue).Scan(&matchedTo, &state)
	return matchedTo, state == "processed", err
}

// advance remembers that rows up to lineNo were joined.
func advance(ctx context.Context, tx *pg.Tx, b bill, lineNo int) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET matched_to = $5 WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4`,
		int64(tx.Tenant), b.contract, b.day, b.issue, lineNo)
	return err
}

func markProcessed(ctx context.Context, tx *pg.Tx, b bill) error {
	_, err := tx.Exec(ctx, `UPDATE external_files SET state = 'processed', processed_at = $5 WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND issue = $4`,
		int64(tx.Tenant), b.contract, b.day, b.issue, tx.Now)
	return err
}
