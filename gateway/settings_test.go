package gateway

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/policies/authz"
)

// policyOf asks for the tenant's clock as somebody, and gives the quota that the
// answer states.
func (o *office) policyOf(token string, tenant citygate.TenantID) string {
	r := httptest.NewRequestWithContext(o.t.Context(), http.MethodGet, pathOf(tenant, "clock"), nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	o.Handler().ServeHTTP(w, r)
	return w.Header().Get("RateLimit-Policy")
}

// A quota is given from above: by the platform as it likes, by an authority up to
// its own, by nobody to itself. It holds within seconds.
func TestQuotasComeFromAbove(t *testing.T) {
	o := open(t)
	o.onboard()
	o.send(http.MethodPut, pathOf(hill, "")[:len(pathOf(hill, ""))-1], edge.TenantDocument{
		Slug: "hill-city", Name: "Hill City", Kind: "authority", Mode: "sandbox", Currency: "CNY", TimeZone: "Asia/Shanghai"}, nil)
	o.send(http.MethodPut, "/v1/tenants/1007", edge.TenantDocument{Slug: "hill-bus", Name: "Hill Bus", Kind: "bus", Parent: int64(hill), Mode: "sandbox",
		Currency: "CNY", TimeZone: "Asia/Shanghai"}, nil)
	o.send(http.MethodPost, pathOf(hill, "members"), map[string]any{"external": "ada", "name": "Ada", "roles": []authz.Role{authz.Authority}}, nil)
	mint := func(c edge.Caller) string {
		token, err := o.Tokens.Mint(t.Context(), c, time.Hour)
		o.must(err)
		return token
	}
	ada := mint(edge.Caller{Subject: "user:ada", Tenant: hill, Scopes: []string{edge.ScopeMember}})
	own := mint(edge.Caller{Subject: "user:own", Tenant: bus, Scopes: []string{edge.ScopeAdmin}})
	root := o.token
	as := func(token string, tenant citygate.TenantID, reads edge.QuotaRate) string {
		o.token = token
		defer func() { o.token = root }()
		return o.refused(http.MethodPut, pathOf(tenant, "quota"), edge.QuotaDocument{Reads: reads})
	}
	if got := as(own, bus, edge.QuotaRate{PerSecond: 9}); got != "auth.forbidden" {
		t.Errorf("its own quota: %s", got)
	}
	if got := as(ada, hill, edge.QuotaRate{PerSecond: 9}); got != "auth.forbidden" {
		t.Errorf("an authority's own quota: %s", got)
	}
	if got := as(ada, 1007, edge.QuotaRate{PerSecond: 5000}); got != "quota.too_high" {
		t.Errorf("more than the authority has: %s", got)
	}
	if got := as(root, bus, edge.QuotaRate{PerSecond: 9, Burst: 3}); got != "tenant.quota" {
		t.Errorf("a burst below a second's worth: %s", got)
	}
	before := o.policyOf(own, bus)
	o.send(http.MethodPut, busPath("quota"), edge.QuotaDocument{Reads: edge.QuotaRate{PerSecond: 3, Burst: 9}}, nil)
	o.move(10 * time.Second)
	o.settleDown() // a gateway that runs looks at the directory
	if after := o.policyOf(own, bus); before != `"reads";q=2000;w=4` || after != `"reads";q=9;w=3` {
		t.Errorf("the quota was %s and is %s", before, after)
	}
	o.token = ada
	o.send(http.MethodPut, pathOf(1007, "quota"), edge.QuotaDocument{Reads: edge.QuotaRate{PerSecond: 100}}, nil)
	o.token = root
}

// A later version of a calendar holds for the business dates from its own on:
// those before keep theirs, and payment waits for a working day.
func TestCalendarsHoldByBusinessDate(t *testing.T) {
	o := open(t)
	o.rideAndPay() // a Saturday, 21 November
	was := o.owner.Rows(bus, `SELECT business_date, calendar_version, opens_at, ends_at, pays_at FROM windows WHERE tenant_id = $1 ORDER BY 1`, int64(bus))
	next := edge.Calendar{Version: 2, From: "2026-11-25", TimeZone: "Asia/Tokyo", CutMinutes: 180}
	if got := o.refused(http.MethodPost, busPath("calendars"), next); got != "tenant.calendar" {
		t.Errorf("from tomorrow: %s", got)
	}
	next.From = "2026-11-27"
	next.RestWeekdays, next.Holidays = []int{0, 6}, []string{"2026-11-30"}
	o.send(http.MethodPost, busPath("calendars"), next, nil)
	o.send(http.MethodPost, busPath("calendars"), next, nil) // again is the same
	next.TimeZone = "Asia/Seoul"
	if got := o.refused(http.MethodPost, busPath("calendars"), next); got != "tenant.calendar" {
		t.Errorf("version 2 with other words: %s", got)
	}
	credential, v := o.credential("later"), o.start(t.TempDir(), 2)
	o.move(time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC).Sub(o.now()))
	o.sync(v)
	o.upload(o.board(v, o.credential("later"), "later"))
	_ = credential
	o.settleDown()
	now := o.owner.Rows(bus, `SELECT business_date, calendar_version, opens_at, ends_at, pays_at FROM windows WHERE tenant_id = $1 ORDER BY 1`, int64(bus))
	for i, row := range was {
		if got, want := asJSON(t, now[i]), asJSON(t, row); got != want {
			t.Errorf("a window from before: %s, was %s", got, want)
		}
	}
	last := now[len(now)-1]
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	o.must(err)
	pays := last[4].(time.Time).In(tokyo)
	if citygate.DateOf(last[0].(time.Time)).String() != "2026-11-27" || last[1].(int32) != 2 || !last[2].(time.Time).Equal(time.Date(2026, 11, 27, 3, 0, 0, 0, tokyo)) ||
		citygate.DateOf(pays).String() != "2026-12-01" {
		t.Errorf("the window of the new calendar: %v, paid %s: want 1 December, behind a weekend and a holiday", last, pays)
	}
	if before := now[len(now)-2]; before[1].(int32) != 1 || !before[3].(time.Time).Equal(last[2].(time.Time)) {
		t.Errorf("the last window of the old calendar does not end where the new one begins: %v", before)
	}
	o.booksHold()
}

// What the settings of a tenant are is in a dump, and a file says it again without
// a change; what would move business dates or money under way is refused by line.
func TestSettingsAreInTheFile(t *testing.T) {
	o := open(t)
	o.rideAndPay()
	o.send(http.MethodPut, busPath("quota"), edge.QuotaDocument{Taps: edge.QuotaRate{PerSecond: 70_000}}, nil)
	o.send(http.MethodPut, busPath("retention"), map[string]any{"keep_days": 200, "automatic": true}, nil)
	o.send(http.MethodPost, busPath("calendars"), edge.Calendar{Version: 2, From: "2026-12-01", TimeZone: "Asia/Shanghai", CutMinutes: 180, Holidays: []string{"2027-01-01"}, Workdays: []string{"2027-01-02"}}, nil)
	o.send(http.MethodPut, busPath("terminals/1/profile"), map[string]any{"route": "13", "kinds": []string{"single"}}, nil)
	city, err := o.Describe(t.Context())
	o.must(err)
	raw, err := city.Write()
	o.must(err)
	again, err := manifest.Parse(raw, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	for _, part := range []string{"keep_days: 200", "per_second: 70000", "holidays:", "2027-01-01", "route: \"13\"", "single"} {
		if !bytes.Contains(raw, []byte(part)) {
			t.Errorf("the dump has no %s:\n%s", part, raw)
		}
	}
	m := Manifest{Name: "city.yaml", City: again}
	if changes, err := o.Apply(t.Context(), actor, m); err != nil || len(changes) != 0 {
		t.Errorf("a dump applied: %v, %v", changes, err)
	}
	if a, b, c := o.refused(http.MethodPut, busPath("quota"), edge.QuotaDocument{}), o.refused(http.MethodPut, busPath("retention"), map[string]any{"keep_days": 130}),
		o.refused(http.MethodPut, busPath("terminals/1/profile"), map[string]any{}); a != "tenant.managed" || b != "tenant.managed" || c != "tenant.managed" {
		t.Errorf("by hand: %s, %s, %s", a, b, c)
	}
	tn := &again.Tenants[0]
	tn.Retention.KeepDays, tn.Quota = 150, &manifest.Quota{}
	tn.Terminals[0].Profile = &manifest.Profile{}
	if changes, err := o.Apply(t.Context(), actor, m); err != nil || len(changes) != 3 {
		t.Errorf("three settings changed: %v, %v", changes, err)
	}
	if changes, err := o.Apply(t.Context(), actor, m); err != nil || len(changes) != 0 {
		t.Errorf("again: %v, %v", changes, err)
	}
	tn.TimeZone = "Asia/Tokyo"
	if changes, err := o.Diff(t.Context(), m); err != nil || len(changes) != 1 || changes[0].Refused == "" {
		t.Errorf("another time zone behind fares: %+v, %v", changes, err)
	}
	tn.TimeZone = "Asia/Shanghai"

	// A tenant without a date yet may have another time zone, and another authority.
	again.Tenants = append(again.Tenants,
		manifest.Tenant{ID: 1008, Slug: "far-city", Name: "Far City", Kind: "authority", Mode: "sandbox", Currency: "CNY", TimeZone: "Asia/Shanghai"},
		manifest.Tenant{ID: 1009, Slug: "far-bus", Name: "Far Bus", Kind: "bus", Mode: "sandbox", State: "draft", Currency: "CNY", TimeZone: "Asia/Shanghai"})
	_, err = o.Apply(t.Context(), actor, m)
	o.must(err)
	last := &again.Tenants[len(again.Tenants)-1]
	last.TimeZone, last.Cut, last.Parent = "Asia/Tokyo", "03:00", "far-city"
	if changes, err := o.Apply(t.Context(), actor, m); err != nil || len(changes) != 1 {
		t.Errorf("moved: %v, %v", changes, err)
	}
	if got, err := o.Tenants.ByID(t.Context(), 1009); err != nil || got.Parent != 1008 || got.TimeZone != "Asia/Tokyo" || got.CutMinutes != 180 {
		t.Errorf("moved: %+v, %v", got, err)
	}
	last.Parent = tn.Slug
	if changes, err := o.Diff(t.Context(), m); err != nil || len(changes) != 1 || changes[0].Refused == "" {
		t.Errorf("owned by a bus: %+v, %v", changes, err)
	}
}
