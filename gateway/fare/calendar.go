package fare

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Calendar says what day and time of day an instant is: the tenant's business
// dates, rest days and holidays, each by the version of its calendar that holds on
// the date. The zero Calendar is UTC, cut at midnight, without holidays.
type Calendar struct {
	citygate.Calendar
}

// A moment is what a price may depend on of an instant.
type moment struct {
	date    citygate.Date // business date: the fare day, from cut to cut
	minute  int           // of the wall clock
	holiday bool
	rest    bool // no working day
	moved   bool // a working day although its weekday rests
	version int  // of the calendar
}

// business is the calendar of business dates, with another cut if one is given.
func (c Calendar) business(cut *int) citygate.Calendar {
	out := c.Calendar
	if out.Location == nil {
		out.Location = time.UTC
	}
	if cut != nil {
		out = recut(out, time.Duration(*cut)*time.Minute)
	}
	return out
}

// recut gives every version of a calendar another cut.
func recut(c citygate.Calendar, cut time.Duration) citygate.Calendar {
	c.Cut = cut
	if c.Former != nil {
		former := recut(*c.Former, cut)
		c.Former = &former
	}
	return c
}

// moment judges an instant by the calendar and by the tariff's own dates, which
// come before it.
func (c Calendar) moment(ms int64, t *Tariff) moment {
	at, business := time.UnixMilli(ms), c.business(nil)
	m := moment{date: business.BusinessDate(at)}
	on := business.On(m.date)
	local := at.In(on.Location)
	m.minute, m.version = local.Hour()*60+local.Minute(), on.Version
	weekday := m.date.Time().Weekday()
	off := weekday == time.Saturday || weekday == time.Sunday
	if on.Rest != nil {
		if len(on.Rest.Weekdays) > 0 {
			off = slices.Contains(on.Rest.Weekdays, weekday)
		}
		m.holiday, m.moved = holds(on.Rest.Holidays, m.date), holds(on.Rest.Workdays, m.date)
	}
	if holds(t.holidays, m.date) {
		m.holiday, m.moved = true, false
	}
	if holds(t.workdays, m.date) {
		m.holiday, m.moved = false, true
	}
	m.rest, m.moved = (off || m.holiday) && !m.moved, m.moved && off
	return m
}

// usual gives whether a date of that weekday rests where nobody says otherwise.
func (m moment) usual() bool {
	weekday := m.date.Time().Weekday()
	return weekday == time.Saturday || weekday == time.Sunday || m.holiday
}

func holds(sorted []citygate.Date, d citygate.Date) bool {
	_, found := slices.BinarySearchFunc(sorted, d, citygate.Date.Compare)
	return found
}

// A When is a part of the week or the year. Days are mon to sun, weekday, weekend
// and holiday; none means every day. weekend is a rest day of the week (of the
// tenant's calendar; Saturday and Sunday where that names none) or a holiday,
// weekday is any other, and a day moved to be worked (workdays of the calendar or
// of the tariff) is a weekday whatever day of the week it is. mon to sun are days
// of the week alone. A day is the business date of the first tap, so a ride after midnight and
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
	switch day {
	case "weekday":
		return !m.rest
	case "weekend":
		return m.rest
	case "holiday":
		return m.holiday
	}
	return weekdays[m.date.Time().Weekday()] == day
}

// A Day is what a tariff with prices by time took the first tap for. Type is
// weekday, weekend or holiday, Moved a working day whose weekday rests, Calendar the
// version of the tenant's calendar.
type Day struct {
	Date     string `json:"date"` // business date
	Time     string `json:"time"` // wall clock, "08:30"
	Type     string `json:"type"`
	Moved    bool   `json:"moved,omitempty"`
	Calendar int    `json:"calendar,omitempty"`
}

func (m moment) day() *Day {
	d := &Day{Date: m.date.String(), Time: fmt.Sprintf("%02d:%02d", m.minute/60, m.minute%60), Type: "weekday", Moved: m.moved, Calendar: m.version}
	if m.rest {
		d.Type = "weekend"
	}
	if m.holiday {
		d.Type = "holiday"
	}
	return d
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
