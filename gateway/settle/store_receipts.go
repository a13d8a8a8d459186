package settle

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const rowsMax = 2_000 // rows of one statement

const insertReceiptRows = `
	INSERT INTO receipts (tenant_id, journey_id, kind, ref, issuer_id, contra, payee, amount, currency,
	                      business_date, calendar_version, window_date, at, received_at)
	SELECT $1, journey, kind, ref, issuer, contra, payee, amount, currency, date, calendar, window_date, at, $2
	FROM unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], $10::text[],
	            $11::date[], $12::int[], $13::date[], $14::timestamptz[])
	     AS u (journey, kind, ref, issuer, contra, payee, amount, currency, date, calendar, window_date, at)
	ON CONFLICT (tenant_id, journey_id, kind, ref) DO NOTHING
	RETURNING journey_id, kind, ref`

const sameReceipts = `
	SELECT count(*) FROM receipts r
	JOIN unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::text[])
	     AS u (journey, kind, ref, issuer, contra, amount, currency)
	  ON r.journey_id = u.journey AND r.kind = u.kind AND r.ref = u.ref
	WHERE r.tenant_id = $1 AND r.issuer_id = u.issuer AND r.contra = u.contra AND r.amount = u.amount AND r.currency = u.currency`

// A receiptKey is a receipt's natural key inside the tenant.
type receiptKey struct {
	journey   citygate.UUID
	kind, ref string
}

// columns holds receipts as arrays.
type columns struct {
	journeys                     []citygate.UUID
	kinds, refs, contras, payees []string
	currencies                   []string
	issuers, amounts             []int64
	calendars                    []int32
	dates, windows               []citygate.Date
	ats                          []time.Time
}

func columnsOf(rs []receipt) columns {
	var c columns
	for i := range rs {
		r := &rs[i]
		c.journeys, c.kinds, c.refs = append(c.journeys, r.journey), append(c.kinds, r.kind), append(c.refs, r.ref)
		c.contras, c.payees, c.currencies = append(c.contras, r.contra), append(c.payees, r.payee), append(c.currencies, string(r.currency))
		c.issuers, c.amounts = append(c.issuers, int64(r.issuer)), append(c.amounts, r.amount)
		c.calendars, c.ats = append(c.calendars, int32(r.calendar)), append(c.ats, r.at)
		c.dates, c.windows = append(c.dates, r.date), append(c.windows, r.window)
	}
	return c
}

// insertReceipts stores receipts, which are in the order of their keys, and
// gives those that were not stored before. One that is stored with other content
// is [ErrConflict].
func insertReceipts(ctx context.Context, tx *pg.Tx, receipts []receipt) ([]receipt, error) {
	var fresh []receipt
	for chunk := range slices.Chunk(receipts, rowsMax) {
		c := columnsOf(chunk)
		rows, err := tx.Query(ctx, insertReceiptRows, tx.Tenant, tx.Now, c.journeys, c.kinds, c.refs, c.issuers, c.contras, c.payees,
			c.amounts, c.currencies, c.dates, c.calendars, c.windows, c.ats)
		if err != nil {
			return nil, err
		}
		var key receiptKey
		isNew := make(map[receiptKey]bool, len(chunk))
		if _, err = pgx.ForEachRow(rows, []any{&key.journey, &key.kind, &key.ref}, func() error {
			isNew[key] = true
			return nil
		}); err != nil {
			return nil, err
		}
		var old []receipt
		for _, r := range chunk {
			if isNew[receiptKey{r.journey, r.kind, r.ref}] {
				fresh = append(fresh, r)
			} else {
				old = append(old, r)
			}
		}
		if err := checkSame(ctx, tx, old); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// checkSame makes sure that receipts are stored with equal content.
func checkSame(ctx context.Context, tx *pg.Tx, old []receipt) error {
	if len(old) == 0 {
		return nil
	}
	var same int
	c := columnsOf(old)
	if err := tx.QueryRow(ctx, sameReceipts, tx.Tenant, c.journeys, c.kinds, c.refs, c.issuers, c.contras, c.amounts, c.currencies).Scan(&same); err != nil {
		return err
	}
	if same != len(old) {
		return ErrConflict.Because(nil, "%d of %d items, the first of journey %s", len(old)-same, len(old), old[0].journey)
	}
	return nil
}

// eachReceipt streams every receipt of the tenant; yield must not keep its argument.
func eachReceipt(ctx context.Context, tx *pg.Tx, yield func(*receipt) error) error {
	rows, err := tx.Query(ctx, `
		SELECT journey_id, kind, ref, issuer_id, contra, payee, amount, currency, business_date, at
		FROM receipts WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return err
	}
	var r receipt
	_, err = pgx.ForEachRow(rows, []any{&r.journey, &r.kind, &r.ref, &r.issuer, &r.contra, &r.payee, &r.amount, &r.currency, &r.date, &r.at},
		func() error { return yield(&r) })
	return err
}

// receivedInWindow adds up what came in for rides in a window.
const receivedInWindow = `
	SELECT payee, currency, sum(amount)::bigint, count(*) FROM receipts
	WHERE tenant_id = $1 AND window_date = $2 AND kind = 'cleared'
	GROUP BY payee, currency ORDER BY payee COLLATE "C", currency`

func received(ctx context.Context, tx *pg.Tx, window citygate.Date) ([]total, error) {
	return totals(ctx, tx, receivedInWindow, tx.Tenant, window)
}

// Rows of kind carried belong to no journey, which makes them one range of the
// primary key. What they took out of paid windows and did not put back is what
// the payee still has to make good.
const stillCarried = `
	SELECT payee, currency, -sum(amount)::bigint, count(*) FROM receipts
	WHERE tenant_id = $1 AND journey_id = '00000000-0000-0000-0000-000000000000' AND kind = 'carried'
	GROUP BY payee, currency HAVING sum(amount) <> 0 ORDER BY payee COLLATE "C", currency`

func outstanding(ctx context.Context, tx *pg.Tx) ([]total, error) {
	return totals(ctx, tx, stillCarried, tx.Tenant)
}

// A Carry is what a payee still has to make good in a currency: refunds exceeded
// its money by so much, and no window has set it off yet.
type Carry struct {
	Payee    string
	Currency citygate.Currency
	Amount   int64 // positive
}

// Carried lists what payees still have to make good, by payee and currency, after
// one of these, at most limit. Over the paid windows what came in is what was paid
// out less what is carried.
func Carried(ctx context.Context, tx *pg.Tx, after Carry, limit int) ([]Carry, error) {
	rows, err := tx.Query(ctx, `
		SELECT payee, currency, sum(amount)::bigint FROM receipts
		WHERE tenant_id = $1 AND journey_id = '00000000-0000-0000-0000-000000000000' AND kind = 'carried'
		AND (payee COLLATE "C", currency) > ($2, $3)
		GROUP BY payee, currency HAVING sum(amount) > 0 ORDER BY payee COLLATE "C", currency LIMIT $4`,
		tx.Tenant, after.Payee, string(after.Currency), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Carry])
}

// A look-up by the primary key for each journey, whatever the planner thinks of
// the table's size.
const decisionWindows = `
	SELECT u.journey, d.window_date FROM unnest($2::uuid[]) AS u (journey)
	CROSS JOIN LATERAL (SELECT window_date FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.journey ORDER BY n LIMIT 1) AS d`

// decidedIn gives the window of the first decision of each receipt's journey.
func decidedIn(ctx context.Context, tx *pg.Tx, receipts []receipt) (map[citygate.UUID]citygate.Date, error) {
	journeys := make([]citygate.UUID, len(receipts))
	for i := range receipts {
		journeys[i] = receipts[i].journey
	}
	rows, err := tx.Query(ctx, decisionWindows, tx.Tenant, slices.Compact(journeys)) // receipts are in the order of journeys
	if err != nil {
		return nil, err
	}
	windows := make(map[citygate.UUID]citygate.Date, len(journeys))
	var journey citygate.UUID
	var window citygate.Date
	_, err = pgx.ForEachRow(rows, []any{&journey, &window}, func() error {
		windows[journey] = window
		return nil
	})
	return windows, err
}
