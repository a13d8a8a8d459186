package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/roaming"
	"github.com/cashlesscity/citygate/tenants"
)

// settings adds the parts that are settings of the tenant.
func (t Tenant) settings(at string, add func(kind, name, path string, body any)) {
	for i, c := range t.Calendars {
		path := fmt.Sprintf("%s.calendars[%d]", at, i)
		if v, err := c.Version(i + 2); err == nil {
			c = CalendarOf(v)
		}
		add(KindCalendar, strconv.Itoa(i+2), path, c)
	}
	if t.Retention != nil {
		add(KindRetention, "", at+".retention", t.Retention)
	}
	if t.Quota != nil {
		add(KindQuota, "", at+".quota", QuotaOf(t.Quota.Settings()))
	}
}

// A Roaming is the tenant's word to terms with a tenant of another tree: its own
// alone. Terms that the other one has proposed it agrees to where they are these;
// else it proposes these and the other one's word is waited for, which may be said in
// the other one's file, in its part of the same file, or by the API.
type Roaming struct {
	Role  string         `json:"role"` // issuer: its riders are taken; host: its readers take the other's
	With  string         `json:"with"` // slug of the other tenant
	End   bool           `json:"end,omitempty"`
	Terms *roaming.Terms `json:"terms,omitempty"` // unless End
}

// Name tells the terms of a tenant apart.
func (r Roaming) Name() string { return r.Role + " " + r.With }

// roaming adds the tenant's word to terms.
func (t Tenant) roaming(at string, add func(kind, name, path string, body any)) {
	for i, r := range t.Roaming {
		if r.Terms != nil {
			sorted := r.Terms.Sorted()
			r.Terms = &sorted
		}
		add(KindRoaming, r.Name(), fmt.Sprintf("%s.roaming[%d]", at, i), r)
	}
}

func (c *City) checkRoaming(at string, t Tenant) (found Problems) {
	for i, r := range t.Roaming {
		path := fmt.Sprintf("%s.roaming[%d]", at, i)
		switch {
		case r.Role != "issuer" && r.Role != "host":
			found = append(found, c.problem(path, "role: want issuer or host: what this tenant is of the two"))
		case r.With == "" || r.With == t.Slug:
			found = append(found, c.problem(path, "with: want the slug of another tenant"))
		case r.End != (r.Terms == nil):
			found = append(found, c.problem(path, "want either terms or end: true"))
		case r.Role == "issuer" && t.Issuer == 0:
			found = append(found, c.problem(path, "role: this tenant has no issuer number"))
		case r.Terms != nil:
			if err := r.Terms.Check(); err != nil {
				found = append(found, c.detail(path+".terms", err))
			}
		}
	}
	return found
}

// Version gives a calendar as the directory keeps it.
func (c Calendar) Version(number int) (v tenants.CalendarVersion, err error) {
	v = tenants.CalendarVersion{Version: number, TimeZone: c.TimeZone}
	if v.From, err = citygate.ParseDate(c.From); err != nil {
		return v, tenants.ErrCalendar.Explain("from %q: want a date such as 2026-11-23", c.From)
	}
	if c.Cut != "" {
		cut, err := time.Parse("15:04", c.Cut)
		if err != nil {
			return v, tenants.ErrCalendar.Explain("cut %q: want a time of day such as 04:00", c.Cut)
		}
		v.CutMinutes = cut.Hour()*60 + cut.Minute()
	}
	for _, name := range c.RestDays {
		day := slices.IndexFunc(weekdays(), func(d string) bool { return d == name })
		if day < 0 {
			return v, tenants.ErrCalendar.Explain("rest_days: %q: want sunday to saturday", name)
		}
		v.Weekdays = append(v.Weekdays, time.Weekday(day))
	}
	for _, text := range c.Holidays {
		d, err := citygate.ParseDate(text)
		if err != nil {
			return v, tenants.ErrCalendar.Explain("holidays: %q: want a date such as 2026-11-23", text)
		}
		v.Holidays = append(v.Holidays, d)
	}
	for _, text := range c.Workdays {
		d, err := citygate.ParseDate(text)
		if err != nil {
			return v, tenants.ErrCalendar.Explain("workdays: %q: want a date such as 2026-11-23", text)
		}
		v.Workdays = append(v.Workdays, d)
	}
	slices.Sort(v.Weekdays)
	slices.SortFunc(v.Holidays, citygate.Date.Compare)
	slices.SortFunc(v.Workdays, citygate.Date.Compare)
	return v, v.Check()
}

func weekdays() []string {
	var names []string
	for d := time.Sunday; d <= time.Saturday; d++ {
		names = append(names, strings.ToLower(d.String()))
	}
	return names
}

// CalendarOf gives a version as the file says it.
func CalendarOf(v tenants.CalendarVersion) Calendar {
	c := Calendar{From: v.From.String(), TimeZone: v.TimeZone, Cut: CutText(v.CutMinutes)}
	for _, d := range v.Weekdays {
		c.RestDays = append(c.RestDays, strings.ToLower(d.String()))
	}
	for _, d := range v.Holidays {
		c.Holidays = append(c.Holidays, d.String())
	}
	for _, d := range v.Workdays {
		c.Workdays = append(c.Workdays, d.String())
	}
	return c
}

// Settings gives a quota as the directory keeps it.
func (q Quota) Settings() (s tenants.Quota) {
	for _, r := range []struct {
		said *Rate
		kept *tenants.Rate
	}{{q.Taps, &s.Taps}, {q.Reads, &s.Reads}, {q.Writes, &s.Writes}} {
		if r.said != nil {
			*r.kept = tenants.Rate(*r.said)
		}
	}
	return s
}

// QuotaOf gives a quota as the file says it; rates that are the usual are left out.
func QuotaOf(s tenants.Quota) *Quota {
	said := func(r tenants.Rate) *Rate {
		if r == (tenants.Rate{}) {
			return nil
		}
		out := Rate(r)
		return &out
	}
	return &Quota{Taps: said(s.Taps), Reads: said(s.Reads), Writes: said(s.Writes)}
}

func (c *City) checkSettings(at string, t Tenant) (found Problems) {
	for i, k := range t.Calendars {
		if _, err := k.Version(i + 2); err != nil {
			found = append(found, c.detail(fmt.Sprintf("%s.calendars[%d]", at, i), err))
		}
	}
	if t.Retention != nil && (t.Retention.KeepDays < 120 || t.Retention.KeepDays > 3660) {
		found = append(found, c.problem(at+".retention", "keep_days: want 120 to 3660"))
	}
	if t.Quota != nil {
		if err := t.Quota.Settings().Check(); err != nil {
			found = append(found, c.detail(at+".quota", err))
		}
	}
	return found
}
