package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
)

// Settings is what the edge calls for settings of a tenant.
type Settings struct {
	Quota        func(ctx context.Context, tenant citygate.TenantID) (tenants.Quota, error)
	SetQuota     func(ctx context.Context, actor string, tenant citygate.TenantID, q tenants.Quota) error
	Calendars    func(ctx context.Context, tenant citygate.TenantID, page VersionsPage) ([]tenants.CalendarVersion, error)
	AddCalendar  func(ctx context.Context, actor string, tenant citygate.TenantID, v tenants.CalendarVersion) error
	Retention    func(ctx context.Context, tenant citygate.TenantID) (Retention, error)
	SetRetention func(ctx context.Context, actor string, tenant citygate.TenantID, keepDays int, automatic bool) (Retention, error)
}

// A QuotaRate is a rate of a quota.
type QuotaRate struct {
	PerSecond int `json:"per_second,omitempty" minimum:"0" maximum:"1000000" doc:"in the long run; 0 = the usual"`
	Burst     int `json:"burst,omitempty" minimum:"0" maximum:"10000000" doc:"at once after a rest; 0 = as usual for the rate"`
}

// A QuotaDocument is what a tenant may ask of one process.
type QuotaDocument struct {
	Taps   QuotaRate `json:"taps,omitzero" doc:"taps in uploads"`
	Reads  QuotaRate `json:"reads,omitzero" doc:"GET requests"`
	Writes QuotaRate `json:"writes,omitzero" doc:"the other requests"`
}

// A Calendar is one version of a tenant's settlement calendar.
type Calendar struct {
	Version      int      `json:"version" minimum:"1"`
	From         string   `json:"from,omitempty" format:"date" doc:"first business date it holds for; version 1 holds from the beginning"`
	TimeZone     string   `json:"time_zone" minLength:"1" maxLength:"64" example:"Asia/Shanghai"`
	CutMinutes   int      `json:"cut_minutes" minimum:"0" maximum:"1439" doc:"local minutes after midnight at which a business date starts"`
	RestWeekdays []int    `json:"rest_weekdays,omitempty" maxItems:"6" doc:"0 Sunday to 6 Saturday: nothing is paid out, and to tariffs it is weekend"`
	Holidays     []string `json:"holidays,omitempty" maxItems:"1000" doc:"dates on which nothing is paid out, and which are holidays to tariffs"`
	Workdays     []string `json:"workdays,omitempty" maxItems:"1000" doc:"dates that are worked although their weekday rests, as days moved for a holiday are"`
}

// Retention is how long a tenant keeps taps and rider detail.
type Retention struct {
	KeepDays     int        `json:"keep_days"`
	Automatic    bool       `json:"automatic" doc:"erased by a running gateway, else by command only"`
	ErasedBefore *time.Time `json:"erased_before,omitempty"`
	TapsErased   int64      `json:"taps_erased"`
}

var (
	errQuotaHigh = &citygate.Code{Name: "quota.too_high", Kind: citygate.Forbidden, Title: "An authority gives nobody a higher quota than it has itself. Ask the platform."}
)

func (q QuotaDocument) quota() tenants.Quota {
	return tenants.Quota{Taps: tenants.Rate(q.Taps), Reads: tenants.Rate(q.Reads), Writes: tenants.Rate(q.Writes)}
}

func quotaDocument(q tenants.Quota) QuotaDocument {
	return QuotaDocument{Taps: QuotaRate(q.Taps), Reads: QuotaRate(q.Reads), Writes: QuotaRate(q.Writes)}
}

// QuotaFrom gives what a tenant may ask of a process, the usual where its
// settings say nothing.
func QuotaFrom(id citygate.TenantID, q tenants.Quota) Quota {
	usual := DefaultQuota(id)
	of := func(set tenants.Rate, otherwise Rate) Rate {
		if set.PerSecond == 0 {
			return otherwise
		}
		r := Rate(set)
		if r.Burst == 0 {
			r.Burst = max(r.PerSecond, otherwise.Burst*r.PerSecond/otherwise.PerSecond)
		}
		return r
	}
	return Quota{Taps: of(q.Taps, usual.Taps), Reads: of(q.Reads, usual.Reads), Writes: of(q.Writes, usual.Writes)}
}

func (q Quota) within(most Quota) bool {
	fits := func(a, b Rate) bool { return a.PerSecond <= b.PerSecond && a.Burst <= b.Burst }
	return fits(q.Taps, most.Taps) && fits(q.Reads, most.Reads) && fits(q.Writes, most.Writes)
}

// setQuota sets the quota of a tenant below the caller's; who is not the platform
// gives at most what its own tenant has.
func (e *Edge) setQuota(ctx context.Context, who Caller, tenant citygate.TenantID, q tenants.Quota) error {
	if who.Tenant != 0 {
		own, err := e.Settings.Quota(ctx, who.Tenant)
		if err != nil {
			return err
		}
		if !QuotaFrom(tenant, q).within(QuotaFrom(who.Tenant, own)) {
			return errQuotaHigh
		}
	}
	return e.Settings.SetQuota(ctx, who.Subject, tenant, q)
}

// CalendarOf gives a version as the API shows it.
func CalendarOf(v tenants.CalendarVersion) Calendar {
	c := Calendar{Version: v.Version, TimeZone: v.TimeZone, CutMinutes: v.CutMinutes}
	if v.From != (citygate.Date{}) {
		c.From = v.From.String()
	}
	for _, d := range v.Weekdays {
		c.RestWeekdays = append(c.RestWeekdays, int(d))
	}
	for _, d := range v.Holidays {
		c.Holidays = append(c.Holidays, d.String())
	}
	for _, d := range v.Workdays {
		c.Workdays = append(c.Workdays, d.String())
	}
	return c
}

func (c Calendar) version() (v tenants.CalendarVersion, err error) {
	v = tenants.CalendarVersion{Version: c.Version, TimeZone: c.TimeZone, CutMinutes: c.CutMinutes}
	if v.From, err = citygate.ParseDate(c.From); err != nil {
		return v, tenants.ErrCalendar.Explain("from %q: want a date such as 2026-11-23", c.From)
	}
	for _, d := range c.RestWeekdays {
		v.Weekdays = append(v.Weekdays, time.Weekday(d))
	}
	for _, text := range c.Holidays {
		d, err := citygate.ParseDate(text)
		if err != nil {
			return v, tenants.ErrCalendar.Explain("holidays: %q is no date such as 2026-11-23", text)
		}
		v.Holidays = append(v.Holidays, d)
	}
	for _, text := range c.Workdays {
		d, err := citygate.ParseDate(text)
		if err != nil {
			return v, tenants.ErrCalendar.Explain("workdays: %q is no date such as 2026-11-23", text)
		}
		v.Workdays = append(v.Workdays, d)
	}
	return v, nil
}

func (e *Edge) settingsRoutes() {
	register(e, get("get-quota", "/v1/tenants/{tenant}/quota", "What the tenant may ask of one process, where it is not the usual", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[QuotaDocument], error) {
			q, err := e.Settings.Quota(ctx, r.id())
			return respond(quotaDocument(q), err)
		})
	register(e, put("put-quota", "/v1/tenants/{tenant}/quota", "Say what the tenant may ask of one process: its authority or the platform, never the tenant itself", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body QuotaDocument
		}) (*body[QuotaDocument], error) {
			return respond(r.Body, e.setQuota(ctx, who, r.id(), r.Body.quota()))
		})
	register(e, get("list-calendars", "/v1/tenants/{tenant}/calendars", "Versions of the tenant's settlement calendar", "settlement"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Until string `query:"until" format:"date" doc:"those that hold from a business date before it on"`
		}) (*body[list[Calendar]], error) {
			page, err := r.versions()
			if err != nil {
				return nil, err
			}
			page.Until = r.Until
			all, err := e.Settings.Calendars(ctx, r.id(), page)
			views := make([]Calendar, len(all))
			for i, v := range all {
				views[i] = CalendarOf(v)
			}
			return inPages(ctx, r.Paging, func(c Calendar) string { return ordered(uint64(c.Version)) })(views, err)
		})
	register(e, post("add-calendar", "/v1/tenants/{tenant}/calendars", "Add the next version of the tenant's settlement calendar, from a business date on", "settlement"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body Calendar
		}) (*body[Calendar], error) {
			v, err := r.Body.version()
			if err == nil {
				err = e.Settings.AddCalendar(ctx, who.Subject, r.id(), v)
			}
			return respond(CalendarOf(v), err)
		})
	register(e, get("get-retention", "/v1/tenants/{tenant}/retention", "How long the tenant keeps taps and rider detail", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[Retention], error) {
			return respond(e.Settings.Retention(ctx, r.id()))
		})
	register(e, put("put-retention", "/v1/tenants/{tenant}/retention", "Say how long the tenant keeps taps and rider detail", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				KeepDays  int  `json:"keep_days" minimum:"120" maximum:"3660"`
				Automatic bool `json:"automatic,omitempty" doc:"erased by a running gateway, else by command only"`
			}
		}) (*body[Retention], error) {
			return respond(e.Settings.SetRetention(ctx, who.Subject, r.id(), r.Body.KeepDays, r.Body.Automatic))
		})
}
