package fare

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Calendar says what day and time of day an instant is: the tenant's business
// dates and its holidays. The zero Calendar is UTC, cut at midnight.
type Calendar struct {
	citygate.Calendar
	Holidays []citygate.Date // ascending
}

// A moment is what a price may depend on of an instant.
type moment struct {
	date    citygate.Date // business date: the fare day, from cut to cut
	minute  int           // of the wall clock
	holiday bool
}

func (c Calendar) location() *time.Location {
	if c.Location == nil {
		return time.UTC
	}
	return c.Location
}

// business is the calendar of business dates, with another cut if one is given.
func (c Calendar) business(cut *int) citygate.Calendar {
	out := citygate.Calendar{Version: c.Version, Location: c.location(), Cut: c.Cut}
	if cut != nil {
		out.Cut = time.Duration(*cut) * time.Minute
	}
	return out
}

func (c Calendar) moment(ms int64, also []citygate.Date) moment {
	at := time.UnixMilli(ms)
	m := moment{date: c.business(nil).BusinessDate(at)}
	local := at.In(c.location())
	m.minute = local.Hour()*60 + local.Minute()
	m.holiday = holds(c.Holidays, m.date) || holds(also, m.date)
	return m
}

func holds(sorted []citygate.Date, d citygate.Date) bool {
	_, found := slices.BinarySearchFunc(sorted, d, citygate.Date.Compare)
	return found
}

// A When is a part of the week or the year. Days are mon to sun, weekday (Monday
// to Friday, no holiday), weekend (Saturday, Sunday or holiday) and holiday; none means every
// day. A day is the business date of the first tap, so a ride after midnight and
// before the tenant's cut still belongs to the evening before. From and Until are
// wall clock, "07:30", the first included, the second not; Until not after From
// reaches past midnight. First and Last are business dates, both included.
type When struct {
	Days  []string `json:"days,omitempty"`
	From  string   `json:"from,omitempty"`
	Until string   `json:"until,omitempty"`
	First string   `json:"first,omitempty"`
	Last  string   `json:"last,omitempty"`

	from, until int
	first, last citygate.Date
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // by time.Weekday

func (w *When) check() error {
	for _, d := range w.Days {
		if !slices.Contains(weekdays, d) && d != "weekday" && d != "weekend" && d != "holiday" {
			return fmt.Errorf("when: no day %q; mon to sun, weekday, weekend and holiday are days", d)
		}
	}
	var err error
	if (w.From == "") != (w.Until == "") {
		return errors.New("when: from and until go together")
	}
	if w.From != "" {
		if w.from, err = clock(w.From); err != nil {
			return err
		}
		if w.until, err = clock(w.Until); err != nil {
			return err
		}
		if w.from == w.until {
			return errors.New("when: from and until are the same time; leave both out for the whole day")
		}
	}
	if w.first, err = day(w.First); err != nil {
		return err
	}
	if w.last, err = day(w.Last); err != nil {
		return err
	}
	if w.First != "" && w.Last != "" && w.last.Compare(w.first) < 0 {
		return errors.New("when: last lies before first")
	}
	return nil
}

// day reads a date; "" is the zero Date.
func day(s string) (citygate.Date, error) {
	if s == "" {
		return citygate.Date{}, nil
	}
	d, err := citygate.ParseDate(s)
	if err == nil && d.String() != s {
		err = fmt.Errorf("date %q: want YYYY-MM-DD", s)
	}
	return d, err
}

// clock reads "07:30" as minutes since midnight; "24:00" is the end of the day.
func clock(s string) (int, error) {
	if s == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != 5 {
		return 0, fmt.Errorf("the time of day %q: want HH:MM", s)
	}
	return t.Hour()*60 + t.Minute(), nil
}

func (w *When) holds(m moment) bool {
	if w.First != "" && m.date.Compare(w.first) < 0 || w.Last != "" && m.date.Compare(w.last) > 0 {
		return false
	}
	if w.From != "" {
		inside := m.minute >= w.from && m.minute < w.until
		if w.until <= w.from {
			inside = m.minute >= w.from || m.minute < w.until
		}
		if !inside {
			return false
		}
	}
	return len(w.Days) == 0 || slices.ContainsFunc(w.Days, m.is)
}

func (m moment) is(day string) bool {
	wd := m.date.Time().Weekday()
	weekend := wd == time.Saturday || wd == time.Sunday
	switch day {
	case "weekday":
		return !weekend && !m.holiday
	case "weekend":
		return weekend || m.holiday
	case "holiday":
		return m.holiday
	}
	return weekdays[wd] == day
}

// during reports whether one of whens holds; none means always.
func during(whens []When, m moment) bool {
	return len(whens) == 0 || slices.ContainsFunc(whens, func(w When) bool { return w.holds(m) })
}

func checkWhens(whens []When) error {
	for i := range whens {
		if err := whens[i].check(); err != nil {
			return err
		}
	}
	return nil
}
