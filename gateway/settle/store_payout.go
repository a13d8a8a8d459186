package settle

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const insertPayoutRows = `
	INSERT INTO payouts (tenant_id, payout_id, window_date, payee, currency, amount, receipts, end_to_end_id, state,
	                     csv_file, xml_file, business_date, calendar_version, created_at, held_for)
	SELECT $1, id, $2, payee, currency, amount, receipts, e2e, CASE held WHEN '' THEN 'created' ELSE 'held' END, '', '', $3, $4, $5, held
	FROM unnest($6::uuid[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::text[]) AS u (id, payee, currency, amount, receipts, e2e, held)
	ON CONFLICT (tenant_id, payout_id) DO NOTHING`

// insertPayouts stores the payouts of one window.
func insertPayouts(ctx context.Context, tx *pg.Tx, payouts []Payout) error {
	for chunk := range slices.Chunk(payouts, rowsMax) {
		var ids []citygate.UUID
		var payees, currencies, e2e, held []string
		var amounts, receipts []int64
		for i := range chunk {
			p := &chunk[i]
			ids, payees, currencies = append(ids, p.ID), append(payees, p.Payee), append(currencies, string(p.Currency))
			held = append(held, p.HeldFor)
			amounts, receipts, e2e = append(amounts, p.Amount), append(receipts, p.Receipts), append(e2e, p.EndToEndID)
		}
		p := chunk[0]
		if _, err := tx.Exec(ctx, insertPayoutRows, tx.Tenant, p.WindowDate, p.BusinessDate, p.CalendarVersion, p.CreatedAt,
			ids, payees, currencies, amounts, receipts, e2e, held); err != nil {
			return err
		}
	}
	return nil
}

const payoutColumns = `payout_id, window_date, payee, currency, amount, receipts, end_to_end_id, state,
	csv_file, xml_file, business_date, calendar_version, created_at, sent_at, batch, held_for, released_at, released_by, pay_to, cancelled_at, cancelled_by`

// Payouts lists the payouts of a window by payee and currency.
func Payouts(ctx context.Context, tx *pg.Tx, window citygate.Date) ([]Payout, error) {
	rows, err := tx.Query(ctx, `SELECT `+payoutColumns+` FROM payouts WHERE tenant_id = $1 AND window_date = $2 ORDER BY payee, currency`, tx.Tenant, window)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Payout])
}

// payoutsOf lists the payouts of an order.
func payoutsOf(ctx context.Context, tx *pg.Tx, o order) ([]Payout, error) {
	rows, err := tx.Query(ctx, `SELECT `+payoutColumns+` FROM payouts
		WHERE tenant_id = $1 AND window_date = $2 AND batch = $3 AND state IN ('created', 'sent') ORDER BY payee, currency`, tx.Tenant, o.Window, o.Batch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Payout])
}

// PayoutsAfter lists payouts in a state, "" for any, newest window first and then by payee and currency,
// behind the one with the id after; the zero id means from the first. An id that
// is not there has nothing behind it.
func PayoutsAfter(ctx context.Context, tx *pg.Tx, state string, after citygate.UUID, limit int) ([]Payout, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+payoutColumns+` FROM payouts p
		WHERE p.tenant_id = $1 AND ($4 = '' OR p.state = $4) AND ($2 = '00000000-0000-0000-0000-000000000000'::uuid OR EXISTS (
			SELECT FROM payouts a WHERE a.tenant_id = $1 AND a.payout_id = $2
			AND (p.window_date < a.window_date OR (p.window_date = a.window_date AND (p.payee, p.currency) > (a.payee, a.currency)))))
		ORDER BY window_date DESC, payee, currency LIMIT $3`, tx.Tenant, after, limit, state)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Payout])
}

// PayoutByFile gives a payout that the file of that name orders. A name that is
// no payout's is an error for which [pg.IsNoRows] holds.
func PayoutByFile(ctx context.Context, tx *pg.Tx, name string) (Payout, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+payoutColumns+` FROM payouts
		WHERE tenant_id = $1 AND state = 'sent' AND (csv_file = $2 OR xml_file = $2) ORDER BY payout_id LIMIT 1`, tx.Tenant, name)
	if err != nil {
		return Payout{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Payout])
}

// eachPayout streams every payout of the tenant that is booked; yield must not keep its argument.
func eachPayout(ctx context.Context, tx *pg.Tx, yield func(*Payout) error) error {
	rows, err := tx.Query(ctx, `SELECT payout_id, payee, currency, amount, business_date, created_at, released_at FROM payouts WHERE tenant_id = $1 AND state IN ('created', 'sent')`, tx.Tenant)
	if err != nil {
		return err
	}
	var p Payout
	_, err = pgx.ForEachRow(rows, []any{&p.ID, &p.Payee, &p.Currency, &p.Amount, &p.BusinessDate, &p.CreatedAt, &p.ReleasedAt}, func() error { return yield(&p) })
	return err
}

func ordersToWrite(ctx context.Context, tx *pg.Tx) ([]order, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT window_date, batch FROM payouts WHERE tenant_id = $1 AND state = 'created' ORDER BY window_date, batch`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[order])
}

func markSent(ctx context.Context, tx *pg.Tx, o order, csvName, xmlName string) (int64, error) {
	tag, err := tx.Exec(ctx, `
		UPDATE payouts SET state = 'sent', sent_at = $3, csv_file = $4, xml_file = $5
		WHERE tenant_id = $1 AND window_date = $2 AND batch = $6 AND state = 'created'`, tx.Tenant, o.Window, tx.Now, csvName, xmlName, o.Batch)
	return tag.RowsAffected(), err
}

// PaidOut adds up every payout of the tenant that is booked, by currency.
func PaidOut(ctx context.Context, tx *pg.Tx) (map[citygate.Currency]int64, error) {
	rows, err := tx.Query(ctx, `SELECT currency, sum(amount)::bigint FROM payouts WHERE tenant_id = $1 AND state IN ('created', 'sent') GROUP BY currency`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	sums := map[citygate.Currency]int64{}
	var c citygate.Currency
	var sum int64
	_, err = pgx.ForEachRow(rows, []any{&c, &sum}, func() error { sums[c] = sum; return nil })
	return sums, err
}

// A mismatch is a paid window in which a payee did not get what came in.
type mismatch struct {
	window   time.Time
	payee    string
	currency citygate.Currency
	received int64
	paid     int64
}

const mismatches = `
	WITH came AS (
		SELECT r.window_date, r.payee, r.currency, sum(r.amount)::bigint AS amount FROM receipts r
		JOIN windows w ON w.tenant_id = r.tenant_id AND w.business_date = r.window_date
		WHERE r.tenant_id = $1 AND w.tenant_id = $1 AND w.state = 'paid' AND r.kind IN ('cleared', 'carried')
		GROUP BY r.window_date, r.payee, r.currency),
	paid AS (
		SELECT window_date, payee, currency, sum(amount)::bigint AS amount FROM payouts
		WHERE tenant_id = $1 AND state <> 'cancelled' GROUP BY window_date, payee, currency)
	SELECT coalesce(c.window_date, p.window_date), coalesce(c.payee, p.payee), coalesce(c.currency, p.currency),
	       coalesce(c.amount, 0), coalesce(p.amount, 0)
	FROM came c FULL JOIN paid p ON p.window_date = c.window_date AND p.payee = c.payee AND p.currency = c.currency
	WHERE coalesce(c.amount, 0) <> coalesce(p.amount, 0) ORDER BY 1, 2, 3`

func findMismatches(ctx context.Context, tx *pg.Tx) ([]mismatch, error) {
	rows, err := tx.Query(ctx, mismatches, tx.Tenant)
	if err != nil {
		return nil, err
	}
	var all []mismatch
	var m mismatch
	_, err = pgx.ForEachRow(rows, []any{&m.window, &m.payee, &m.currency, &m.received, &m.paid}, func() error {
		all = append(all, m)
		return nil
	})
	return all, err
}
