package tenants

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A CalendarVersion is a version of a tenant's settlement calendar and the first
// business date it holds for. Version 1 is the tenant's own time zone and cut,
// without rest days, and holds from the beginning.
type CalendarVersion struct {
	Version    int
	From       citygate.Date
	TimeZone   string // IANA name
	CutMinutes int    // local minutes after midnight at which a business date starts
	Weekdays   []time.Weekday
	Holidays   []citygate.Date
	Workdays   []citygate.Date // worked although their weekday rests
}

// ErrCalendar refuses a version of a calendar.
var ErrCalendar = &citygate.Code{Name: "tenant.calendar", Kind: citygate.Invalid, Title: "This version of the calendar cannot be added. Correct the named field; versions that exist never change."}

// holidaysMost bounds the holidays of one version.
const holidaysMost = 1000

// Check reports the first field that cannot be.
func (v CalendarVersion) Check() error {
	switch {
	case v.Version < 2:
		return ErrCalendar.Explain("version %d: the first is the tenant's own, want the next number from 2", v.Version)
	case v.From == (citygate.Date{}):
		return ErrCalendar.Explain("from: want the first business date it holds for")
	case v.CutMinutes < 0 || v.CutMinutes >= 24*60:
		return ErrCalendar.Explain("cut_minutes %d: want 0 to 1439", v.CutMinutes)
	case v.TimeZone == "" || v.TimeZone == "Local":
		return ErrCalendar.Explain("time_zone %q: want the name of an IANA time zone, such as Asia/Shanghai", v.TimeZone)
	case len(v.Holidays) > holidaysMost:
		return ErrCalendar.Explain("holidays: at most %d in a version", holidaysMost)
	case len(v.Workdays) > holidaysMost:
		return ErrCalendar.Explain("workdays: at most %d in a version", holidaysMost)
	case len(v.Weekdays) > 6:
		return ErrCalendar.Explain("rest_weekdays: a week has a working day")
	}
	for _, d := range v.Weekdays {
		if d < time.Sunday || d > time.Saturday {
			return ErrCalendar.Explain("rest_weekdays: %d is no day of the week", d)
		}
	}
	for _, d := range v.Workdays {
		if slices.Contains(v.Holidays, d) {
			return ErrCalendar.Explain("workdays: %s is a holiday too", d)
		}
	}
	if _, err := time.LoadLocation(v.TimeZone); err != nil {
		return ErrCalendar.Explain("time_zone %q is not an IANA time zone", v.TimeZone)
	}
	return nil
}

// Equal reports whether two versions say the same.
func (v CalendarVersion) Equal(o CalendarVersion) bool {
	return v.Version == o.Version && v.From == o.From && v.TimeZone == o.TimeZone && v.CutMinutes == o.CutMinutes &&
		slices.Equal(v.Weekdays, o.Weekdays) && slices.Equal(v.Holidays, o.Holidays) && slices.Equal(v.Workdays, o.Workdays)
}

func (v CalendarVersion) ordered() CalendarVersion {
	v.Weekdays, v.Holidays, v.Workdays = slices.Clone(v.Weekdays), slices.Clone(v.Holidays), slices.Clone(v.Workdays)
	slices.Sort(v.Weekdays)
	slices.SortFunc(v.Holidays, citygate.Date.Compare)
	slices.SortFunc(v.Workdays, citygate.Date.Compare)
	v.Weekdays, v.Holidays, v.Workdays = slices.Compact(v.Weekdays), slices.Compact(v.Holidays), slices.Compact(v.Workdays)
	return v
}

// after puts a version behind a calendar.
func (v CalendarVersion) after(former citygate.Calendar) (citygate.Calendar, error) {
	loc, err := time.LoadLocation(v.TimeZone)
	if err != nil {
		return citygate.Calendar{}, ErrCalendar.Explain("time_zone %q is not an IANA time zone", v.TimeZone)
	}
	return citygate.Calendar{
		Version: v.Version, Location: loc, Cut: time.Duration(v.CutMinutes) * time.Minute, From: v.From, Former: &former,
		Rest: &citygate.RestDays{Weekdays: v.Weekdays, Holidays: v.Holidays, Workdays: v.Workdays},
	}, nil
}

const selectCalendars = `SELECT tenant_id, version, from_date, time_zone, cut_minutes, rest_weekdays, holidays, workdays FROM platform.calendars`

func scanCalendars(rows pgx.Rows, err error) (map[citygate.TenantID][]CalendarVersion, error) {
	if err != nil {
		return nil, err
	}
	all := map[citygate.TenantID][]CalendarVersion{}
	var id citygate.TenantID
	var v CalendarVersion
	var from time.Time
	var weekdays []int16
	var holidays, workdays []time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &v.Version, &from, &v.TimeZone, &v.CutMinutes, &weekdays, &holidays, &workdays}, func() error {
		v.From, v.Weekdays = citygate.DateOf(from), nil
		for _, d := range weekdays {
			v.Weekdays = append(v.Weekdays, time.Weekday(d))
		}
		v.Holidays, v.Workdays = datesOf(holidays), datesOf(workdays)
		all[id] = append(all[id], v)
		return nil
	})
	return all, err
}

func datesOf(times []time.Time) (dates []citygate.Date) {
	for _, t := range times {
		dates = append(dates, citygate.DateOf(t))
	}
	return dates
}

func timesOf(dates []citygate.Date) []time.Time {
	times := make([]time.Time, len(dates))
	for i, d := range dates {
		times[i] = d.Time()
	}
	return times
}

// Calendars gives the later versions of the calendar of the transaction's tenant,
// in order.
func Calendars(ctx context.Context, tx *pg.Tx) ([]CalendarVersion, error) {
	rows, err := tx.Query(ctx, selectCalendars+` WHERE tenant_id = $1 ORDER BY tenant_id, version`, tx.Tenant)
	all, err := scanCalendars(rows, err)
	return all[tx.Tenant], err
}

// CalendarsAfter gives up to limit later versions behind one, those that hold from
// before a business date, nil for any.
func CalendarsAfter(ctx context.Context, tx *pg.Tx, version int, until *citygate.Date, limit int) ([]CalendarVersion, error) {
	rows, err := tx.Query(ctx, selectCalendars+` WHERE tenant_id = $1 AND version > $2 AND ($3::date IS NULL OR from_date < $3) ORDER BY version LIMIT $4`,
		tx.Tenant, version, until, limit)
	all, err := scanCalendars(rows, err)
	return all[tx.Tenant], err
}

// AddCalendar adds the next version of the calendar of the transaction's tenant.
// The same again changes nothing; another content under a version, or a version out
// of turn, is [ErrCalendar], and so is one that would move a business date that can
// have begun: from must be the day after tomorrow or later, as processes may go on
// with what they know for a while. untouched says that nothing of the tenant has a
// business date yet: then it may be from any date.
func AddCalendar(ctx context.Context, tx *pg.Tx, actor string, v CalendarVersion, untouched bool) error {
	if err := v.Check(); err != nil {
		return err
	}
	v = v.ordered()
	t, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM platform.tenants WHERE tenant_id = $1 FOR UPDATE`, tx.Tenant))
	if err != nil {
		return err
	}
	all, err := Calendars(ctx, tx)
	if err != nil {
		return err
	}
	for _, old := range all {
		switch {
		case old.Equal(v):
			return nil
		case old.Version == v.Version:
			return ErrCalendar.Explain("version %d says something else", v.Version)
		case old.From.Compare(v.From) >= 0:
			return ErrCalendar.Explain("from %s: version %d holds from %s", v.From, old.Version, old.From)
		}
	}
	if want := len(all) + 2; v.Version != want {
		return ErrCalendar.Explain("version %d: the next one is %d", v.Version, want)
	}
	t.later = &all
	now, err := t.Calendar()
	if err != nil {
		return err
	}
	if first := now.BusinessDate(tx.Now).AddDays(2); !untouched && v.From.Compare(first) < 0 {
		return ErrCalendar.Explain("from %s: want %s or later, as nearer dates may have begun", v.From, first)
	}
	next, err := v.after(now)
	if err != nil {
		return err
	}
	const shortest = time.Hour
	last := v.From.AddDays(-1)
	if start, end := next.Window(last); end.Sub(start) < shortest {
		return ErrCalendar.Explain("%s would have no business day of an hour: choose another cut or date", last)
	}
	weekdays := make([]int16, len(v.Weekdays))
	for i, d := range v.Weekdays {
		weekdays[i] = int16(d)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO platform.calendars (tenant_id, version, from_date, time_zone, cut_minutes, rest_weekdays, holidays, workdays, created_at)
		VALUES ($1, $2, $3, $4, $5, $6::smallint[], $7::date[], $8::date[], $9)`,
		tx.Tenant, v.Version, v.From, v.TimeZone, v.CutMinutes, weekdays, timesOf(v.Holidays), timesOf(v.Workdays), tx.Now); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "calendar.add", Object: "calendar", After: v})
}

// Forget has this process read the directory again, after a change that a
// transaction of a tenant made to it.
func (d *Directory) Forget() { d.forget() }

// Rezone gives a tenant another time zone and cut as its first calendar, for as
// long as nothing of it has a business date; the caller has seen to that in tx.
func Rezone(ctx context.Context, tx *pg.Tx, actor, zone string, cutMinutes int) error {
	t, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM platform.tenants WHERE tenant_id = $1 FOR UPDATE`, tx.Tenant))
	if err != nil || t.TimeZone == zone && t.CutMinutes == cutMinutes {
		return err
	}
	next := t
	next.TimeZone, next.CutMinutes = zone, cutMinutes
	if err := next.Check(); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET time_zone = $2, cut_minutes = $3 WHERE tenant_id = $1`, tx.Tenant, zone, cutMinutes); err != nil {
		return err
	}
	type first struct {
		TimeZone   string `json:"time_zone"`
		CutMinutes int    `json:"cut_minutes"`
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "calendar.rezone", Object: "calendar", Before: first{t.TimeZone, t.CutMinutes}, After: first{zone, cutMinutes}})
}
