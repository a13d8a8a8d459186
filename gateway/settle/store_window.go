package settle

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const insertWindows = `
	INSERT INTO windows (tenant_id, business_date, calendar_version, terms_version, state, opens_at, ends_at, closes_at, pays_at)
	SELECT $1, date, calendar, terms, 'open', opens, ends, closes, pays
	FROM unnest($2::int[], $3::date[], $4::int[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[]) AS u (calendar, date, terms, opens, ends, closes, pays)
	ON CONFLICT (tenant_id, business_date) DO NOTHING`

// versionAt gives the version of the calendar that an instant's business date is of.
func versionAt(cal citygate.Calendar, at time.Time) int { return cal.On(cal.BusinessDate(at)).Version }

// gapMax bounds the windows made at once for days without any.
const gapMax = 400

// ensure makes sure that the window of d exists, and those between the last
// window and d: which windows there are must not depend on when anybody looked.
func ensure(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, d citygate.Date) error {
	last, err := lastWindow(ctx, tx)
	if err != nil {
		return err
	}
	from := d
	if next := last.AddDays(1); last != (citygate.Date{}) && next.Compare(d) < 0 && next.AddDays(gapMax).Compare(d) > 0 {
		from = next
	}
	all, err := AllTerms(ctx, tx)
	if err != nil {
		return err
	}
	var dates []citygate.Date
	var calendars, versions []int
	var opens, ends, closes, pays []time.Time
	for ; from.Compare(d) <= 0; from = from.AddDays(1) {
		start, end := cal.Window(from)
		terms := termsOf(all, from)
		dates, versions, opens, ends = append(dates, from), append(versions, terms.Version), append(opens, start), append(ends, end)
		closes, pays = append(closes, end.Add(terms.CloseAfter)), append(pays, cal.WorkingTime(end.Add(terms.PayAfter)))
		calendars = append(calendars, cal.On(from).Version)
	}
	_, err = tx.Exec(ctx, insertWindows, tx.Tenant, calendars, dates, versions, opens, ends, closes, pays)
	return err
}

// The share locks hold off CloseDue and PayDue, and nobody else. A row that
// changed state while the lock was waited for is not returned, and neither is
// the one behind it: the caller asks again.
const (
	lockOwn    = `SELECT business_date FROM windows WHERE tenant_id = $1 AND business_date = $2 AND state = 'open' FOR SHARE`
	lockOpen   = `SELECT business_date FROM windows WHERE tenant_id = $1 AND business_date >= $2 AND state = 'open' ORDER BY business_date LIMIT 1 FOR SHARE`
	lockUnpaid = `SELECT business_date FROM windows WHERE tenant_id = $1 AND business_date >= $2 AND state <> 'paid' ORDER BY business_date LIMIT 1 FOR SHARE`
	openExists = `SELECT EXISTS (SELECT FROM windows WHERE tenant_id = $1 AND business_date >= $2 AND state = 'open')`
	unpaidLeft = `SELECT EXISTS (SELECT FROM windows WHERE tenant_id = $1 AND business_date >= $2 AND state <> 'paid')`
	dueToClose = `SELECT business_date FROM windows WHERE tenant_id = $1 AND state = 'open' AND closes_at <= $2 ORDER BY business_date LIMIT 1 FOR UPDATE`
	dueToPay   = `SELECT business_date FROM windows WHERE tenant_id = $1 AND state = 'closed' AND pays_at <= $2 ORDER BY business_date LIMIT 1 FOR UPDATE`
)

// date reads one date, if there is one.
func date(row pgx.Row) (d citygate.Date, ok bool, err error) {
	err = row.Scan(&d)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, err
}

func lockOwnOpen(ctx context.Context, tx *pg.Tx, d citygate.Date) (citygate.Date, bool, error) {
	return date(tx.QueryRow(ctx, lockOwn, tx.Tenant, d))
}

func lockFirstOpen(ctx context.Context, tx *pg.Tx, from citygate.Date) (citygate.Date, bool, error) {
	return again(ctx, tx, lockOpen, openExists, tx.Tenant, from)
}

func lockFirstUnpaid(ctx context.Context, tx *pg.Tx, from citygate.Date) (citygate.Date, bool, error) {
	if from == (citygate.Date{}) {
		from = citygate.Date{Year: 1, Month: 1, Day: 1}
	}
	return again(ctx, tx, lockUnpaid, unpaidLeft, tx.Tenant, from)
}

// again runs lock until it finds a row or exists says that there is none.
func again(ctx context.Context, tx *pg.Tx, lock, exists string, args ...any) (citygate.Date, bool, error) {
	for {
		d, ok, err := date(tx.QueryRow(ctx, lock, args...))
		if ok || err != nil {
			return d, ok, err
		}
		var more bool
		if err := tx.QueryRow(ctx, exists, args...).Scan(&more); err != nil || !more {
			return d, false, err
		}
	}
}

// lastWindow gives the newest window, or the zero date.
func lastWindow(ctx context.Context, tx *pg.Tx) (citygate.Date, error) {
	d, _, err := date(tx.QueryRow(ctx, `SELECT business_date FROM windows WHERE tenant_id = $1 ORDER BY business_date DESC LIMIT 1`, tx.Tenant))
	return d, err
}

func lockDueToClose(ctx context.Context, tx *pg.Tx) (citygate.Date, bool, error) {
	return date(tx.QueryRow(ctx, dueToClose, tx.Tenant, tx.Now))
}

func lockDueToPay(ctx context.Context, tx *pg.Tx) (citygate.Date, bool, error) {
	return date(tx.QueryRow(ctx, dueToPay, tx.Tenant, tx.Now))
}

func markClosed(ctx context.Context, tx *pg.Tx, d citygate.Date, hash []byte) error {
	_, err := tx.Exec(ctx, `UPDATE windows SET state = 'closed', closed_at = $3, totals_hash = $4 WHERE tenant_id = $1 AND business_date = $2 AND state = 'open'`,
		tx.Tenant, d, tx.Now, hash)
	return err
}

func markPaid(ctx context.Context, tx *pg.Tx, d citygate.Date) error {
	_, err := tx.Exec(ctx, `UPDATE windows SET state = 'paid', paid_at = $3 WHERE tenant_id = $1 AND business_date = $2 AND state = 'closed'`,
		tx.Tenant, d, tx.Now)
	return err
}

// A decision adds its amount to its payee and takes that of the decision it
// supersedes from the payee of that one.
const earnedInWindow = `
	SELECT payee, currency, sum(amount)::bigint, count(*) FROM (
		SELECT payee, currency, amount FROM fare_decisions WHERE tenant_id = $1 AND window_date = $2
		UNION ALL
		SELECT p.payee, p.currency, -p.amount FROM fare_decisions d
		JOIN fare_decisions p ON p.tenant_id = d.tenant_id AND p.journey_id = d.journey_id AND p.n = d.supersedes
		WHERE d.tenant_id = $1 AND p.tenant_id = $1 AND d.window_date = $2 AND d.supersedes IS NOT NULL
	) AS e GROUP BY payee, currency ORDER BY payee COLLATE "C", currency`

func earned(ctx context.Context, tx *pg.Tx, d citygate.Date) ([]total, error) {
	return totals(ctx, tx, earnedInWindow, tx.Tenant, d)
}

func totals(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]total, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	var all []total
	var t total
	_, err = pgx.ForEachRow(rows, []any{&t.payee, &t.currency, &t.amount, &t.rows}, func() error {
		all = append(all, t)
		return nil
	})
	return all, err
}

// A Window is a settlement window as it stands.
type Window struct {
	BusinessDate citygate.Date
	Terms        int    // version of the [Terms] its instants follow from
	State        string // open, closed, paid
	OpensAt      time.Time
	EndsAt       time.Time
	ClosesAt     time.Time
	PaysAt       time.Time
	ClosedAt     *time.Time
	PaidAt       *time.Time
	TotalsHash   []byte
}

// Windows lists windows before a date, newest first; the zero date means all.
func Windows(ctx context.Context, tx *pg.Tx, before citygate.Date, limit int) ([]Window, error) {
	if before == (citygate.Date{}) {
		before = citygate.Date{Year: 9999, Month: 12, Day: 31}
	}
	rows, err := tx.Query(ctx, `
		SELECT business_date, terms_version, state, opens_at, ends_at, closes_at, pays_at, closed_at, paid_at, totals_hash
		FROM windows WHERE tenant_id = $1 AND business_date < $2 ORDER BY business_date DESC LIMIT $3`, tx.Tenant, before, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Window])
}

// Due says what settlement still waits for.
type Due struct {
	Windows int       // not paid, and holding decisions or money of rides
	Next    time.Time // when the next of these closes or is paid; zero if none
	Files   int       // payouts whose files are not written
}

// Pending gives what is due in the tenant, now or later.
func Pending(ctx context.Context, tx *pg.Tx) (Due, error) {
	var due Due
	var next *time.Time
	err := tx.QueryRow(ctx, `
		SELECT count(*), min(CASE state WHEN 'open' THEN closes_at ELSE pays_at END)
		FROM windows w WHERE w.tenant_id = $1 AND w.state <> 'paid' AND (
			EXISTS (SELECT FROM receipts r WHERE r.tenant_id = $1 AND r.window_date = w.business_date AND r.kind = 'cleared')
			OR EXISTS (SELECT FROM fare_decisions d WHERE d.tenant_id = $1 AND d.window_date = w.business_date))`,
		tx.Tenant).Scan(&due.Windows, &next)
	if err != nil {
		return due, err
	}
	if next != nil {
		due.Next = next.UTC()
	}
	err = tx.QueryRow(ctx, `SELECT count(*) FROM payouts WHERE tenant_id = $1 AND state = 'created'`, tx.Tenant).Scan(&due.Files)
	return due, err
}
