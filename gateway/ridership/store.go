package ridership

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Prefix is what the ids of reports begin with.
const Prefix = "rid_"

// maxDays bounds a period.
const maxDays = 31

// A Report is the ridership of a period as it is published: once, and never
// otherwise.
type Report struct {
	ID          citygate.UUID
	First, Last citygate.Date
	MadeAt      time.Time
	MadeBy      string
	Tables      []Published
}

// Published is a table of a report.
type Published struct {
	Name       string
	Rows       int
	Suppressed int // counts that are withheld
	SHA256     [sha256.Size]byte
}

// Publish gives the report of the business dates from the first to the last, both
// included and over: that which was made of them, or a new one. Dates that are in
// another report are refused.
func Publish(ctx context.Context, db *pg.DB, actor string, tenant tenants.Tenant, first, last citygate.Date) (Report, error) {
	calendar, err := checkPeriod(tenant, first, last)
	if err != nil {
		return Report{}, err
	}
	var r Report
	var found bool
	if err := db.InTenant(ctx, tenant.ID, func(tx *pg.Tx) (err error) {
		if err := isOver(calendar, tx.Now, last); err != nil {
			return err
		}
		r, found, err = ofDates(ctx, tx, first, last)
		return err
	}); err != nil || found {
		return r, err
	}
	tables, err := count(ctx, db, tenant.ID, calendar, first, last)
	if err != nil {
		return Report{}, err
	}
	err = db.InTenant(ctx, tenant.ID, func(tx *pg.Tx) (err error) {
		r, err = keep(ctx, tx, actor, first, last, tables)
		return err
	})
	if errors.Is(err, errRaced) {
		err = db.InTenant(ctx, tenant.ID, func(tx *pg.Tx) (err error) {
			if r, found, err = ofDates(ctx, tx, first, last); err == nil && !found {
				err = errRaced
			}
			return err
		})
	}
	return r, err
}

// errRaced says that somebody else published one of the dates meanwhile.
var errRaced = errors.New("a date of the report was published meanwhile")

func checkPeriod(tenant tenants.Tenant, first, last citygate.Date) (citygate.Calendar, error) {
	if last.Compare(first) < 0 || first.AddDays(maxDays).Compare(last) <= 0 {
		return citygate.Calendar{}, ErrPeriod.Explain("from %s to %s", first, last)
	}
	return tenant.Calendar()
}

func isOver(calendar citygate.Calendar, now time.Time, last citygate.Date) error {
	if today := calendar.BusinessDate(now); last.Compare(today) >= 0 {
		return ErrPeriod.Explain("%s is not over: today is %s", last, today)
	}
	return nil
}

// ofDates finds the report of dates, and refuses dates of others.
func ofDates(ctx context.Context, tx *pg.Tx, first, last citygate.Date) (r Report, found bool, err error) {
	rows, err := tx.Query(ctx, `SELECT report_id, first_date, last_date FROM ridership_reports WHERE tenant_id = $1 AND first_date <= $3 AND last_date >= $2 ORDER BY first_date`,
		int64(tx.Tenant), first, last)
	if err != nil {
		return r, false, err
	}
	others, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o Report, err error) {
		return o, row.Scan(&o.ID, &o.First, &o.Last)
	})
	switch {
	case err != nil || len(others) == 0:
		return r, false, err
	case others[0].First == first && others[0].Last == last:
		r, err = Get(ctx, tx, others[0].ID)
		return r, true, err
	}
	said := make([]string, len(others))
	for i, o := range others {
		said[i] = fmt.Sprintf("%s is from %s to %s", o.ID.Text(Prefix), o.First, o.Last)
	}
	return r, false, ErrOverlap.Explain("%s", strings.Join(said, "; "))
}

func keep(ctx context.Context, tx *pg.Tx, actor string, first, last citygate.Date, tables []Rows) (Report, error) {
	r := Report{ID: tx.NewID(), First: first, Last: last, MadeAt: tx.Now, MadeBy: actor}
	if _, err := tx.Exec(ctx, `INSERT INTO ridership_reports (tenant_id, report_id, first_date, last_date, made_at, made_by) VALUES ($1, $2, $3, $4, $5, $6)`,
		int64(tx.Tenant), r.ID, first, last, tx.Now, actor); err != nil {
		return Report{}, err
	}
	var days []time.Time
	for d := first; d.Compare(last) <= 0; d = d.AddDays(1) {
		days = append(days, d.Time())
	}
	tag, err := tx.Exec(ctx, `INSERT INTO ridership_days (tenant_id, business_date, report_id) SELECT $1, day, $2 FROM unnest($3::date[]) AS u (day) ON CONFLICT DO NOTHING`,
		int64(tx.Tenant), r.ID, days)
	if err != nil {
		return Report{}, err
	}
	if tag.RowsAffected() != int64(len(days)) {
		return Report{}, errRaced
	}
	for _, table := range tables {
		var body bytes.Buffer
		if err := table.Write(&body); err != nil {
			return Report{}, err
		}
		p := Published{Name: table.Name, Rows: len(table.Rows), SHA256: sha256.Sum256(body.Bytes())}
		for _, row := range table.Rows {
			if slices.Contains(row[len(table.Columns)-table.counts():], missing) {
				p.Suppressed++
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO ridership_tables (tenant_id, report_id, name, n_rows, suppressed, sha256, body) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			int64(tx.Tenant), r.ID, p.Name, p.Rows, p.Suppressed, p.SHA256[:], body.Bytes()); err != nil {
			return Report{}, err
		}
		r.Tables = append(r.Tables, p)
	}
	slices.SortFunc(r.Tables, func(a, b Published) int { return strings.Compare(a.Name, b.Name) })
	return r, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "ridership.publish", Object: "ridership_report:" + r.ID.Text(Prefix),
		After: map[string]string{"from": first.String(), "to": last.String()}})
}

// counts is how many of the last columns are counts.
func (r Rows) counts() int {
	if r.Name == TableActivities {
		return 2
	}
	return 1
}

const reportColumns = `report_id, first_date, last_date, made_at, made_by`

func scanReport(row pgx.CollectableRow) (r Report, err error) {
	err = row.Scan(&r.ID, &r.First, &r.Last, &r.MadeAt, &r.MadeBy)
	r.MadeAt = r.MadeAt.UTC()
	return r, err
}

// Get gives a report.
func Get(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Report, error) {
	rows, err := tx.Query(ctx, `SELECT `+reportColumns+` FROM ridership_reports WHERE tenant_id = $1 AND report_id = $2`, int64(tx.Tenant), id)
	if err != nil {
		return Report{}, err
	}
	found, err := pgx.CollectRows(rows, scanReport)
	if err == nil && len(found) == 0 {
		err = ErrNoReport.Because(nil, "%s", id.Text(Prefix))
	}
	if err == nil {
		err = withTables(ctx, tx, found)
	}
	if err != nil {
		return Report{}, err
	}
	return found[0], nil
}

// List gives reports, the latest made first, after one (zero: from the beginning).
func List(ctx context.Context, tx *pg.Tx, after citygate.UUID, limit int) ([]Report, error) {
	rows, err := tx.Query(ctx, `SELECT `+reportColumns+` FROM ridership_reports WHERE tenant_id = $1 AND ($2 OR report_id < $3) ORDER BY report_id DESC LIMIT $4`,
		int64(tx.Tenant), after == citygate.UUID{}, after, limit)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scanReport)
	if err != nil {
		return nil, err
	}
	return found, withTables(ctx, tx, found)
}

func withTables(ctx context.Context, tx *pg.Tx, reports []Report) error {
	ids, at := make([]citygate.UUID, len(reports)), map[citygate.UUID]*Report{}
	for i := range reports {
		ids[i], at[reports[i].ID] = reports[i].ID, &reports[i]
	}
	rows, err := tx.Query(ctx, `SELECT report_id, name, n_rows, suppressed, sha256 FROM ridership_tables WHERE tenant_id = $1 AND report_id = ANY($2) ORDER BY name`, int64(tx.Tenant), ids)
	if err != nil {
		return err
	}
	var id citygate.UUID
	var p Published
	var sum []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &p.Name, &p.Rows, &p.Suppressed, &sum}, func() error {
		copy(p.SHA256[:], sum)
		at[id].Tables = append(at[id].Tables, p)
		return nil
	})
	return err
}

// Body gives a table of a report as CSV.
func Body(ctx context.Context, tx *pg.Tx, id citygate.UUID, name string) ([]byte, error) {
	rows, err := tx.Query(ctx, `SELECT body FROM ridership_tables WHERE tenant_id = $1 AND report_id = $2 AND name = $3`, int64(tx.Tenant), id, name)
	if err != nil {
		return nil, err
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, err
	}
	if len(bodies) == 0 {
		return nil, ErrNoReport.Because(nil, "table %s of %s", name, id.Text(Prefix))
	}
	return bodies[0], nil
}
