package ridership_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ridership"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	metro  citygate.TenantID = 2
	others citygate.TenantID = 3
)

func tenant(id citygate.TenantID) tenants.Tenant {
	return tenants.Tenant{ID: id, Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240, CalendarVersion: 1}
}

// A place is a database with taps of two tenants.
type place struct {
	*testing.T
	db  *pg.DB
	now time.Time
}

func newPlace(t *testing.T) *place {
	p := &place{T: t, now: pgtest.Epoch}
	p.db = pgtest.New(t, pgtest.WithClock(func() time.Time { return p.now }))
	return p
}

func (p *place) exec(in citygate.TenantID, sql string, args ...any) {
	p.Helper()
	if err := p.db.InTenant(p.Context(), in, func(tx *pg.Tx) error {
		_, err := tx.Exec(p.Context(), sql, args...)
		return err
	}); err != nil {
		p.Fatal(err)
	}
}

// taps puts accepted taps of so many riders into the tables, as intake does.
func (p *place) taps(in citygate.TenantID, first, riders, kind int, at time.Time, stop string) {
	p.Helper()
	calendar, err := tenant(in).Calendar()
	if err != nil {
		p.Fatal(err)
	}
	p.exec(in, `
		INSERT INTO taps (tenant_id, terminal, seq, received_at, kind, accepted, reason, opened, event_time, business_date, calendar_version,
			policy_version, clock_suspect, issuer, list, idx, ctr, product, party, stop, route, vehicle, driver, evidence_digest, record, rule)
		SELECT $1, 7, $2 + i, $5, $4, true, '', true, $5, $6, 1, 1, false, 1, 0, i, 1, 1, 1, $7, 'M', '', '', '\x00', '\x00', ''
		FROM generate_series(0, $3 - 1) AS i ON CONFLICT DO NOTHING`,
		int64(in), first, riders, kind, at, calendar.BusinessDate(at), stop)
}

// rides puts decided journeys of the riders of two runs of taps into the tables.
func (p *place) rides(in citygate.TenantID, on, off, riders int, at time.Time, fare int64) {
	p.Helper()
	calendar, err := tenant(in).Calendar()
	if err != nil {
		p.Fatal(err)
	}
	p.exec(in, `
		WITH made AS (INSERT INTO journeys (tenant_id, journey_id, issuer, list, idx, paired, starts_at, ends_at, taps, state, reason, last_n, amount, payee, claimed)
			SELECT $1, gen_random_uuid(), 1, 0, i, true, $5, $5, '7:' || $2 + i || ' 7:' || $3 + i, 'priced', '', 1, $6, 'operator', false
			FROM generate_series(0, $4 - 1) AS i ON CONFLICT DO NOTHING RETURNING journey_id, taps)
		INSERT INTO fare_decisions (tenant_id, journey_id, n, taps, issuer_tenant, payee, known, reason, amount, currency, tariff_version, inputs_hash, explanation,
			event_time, business_date, calendar_version, window_date, decided_at, claim_state)
		SELECT $1, journey_id, 1, taps, $1, 'operator', true, '', $6, 'CNY', 1, '\x00', '{}', $5, $7, 1, $7, $5, 'none' FROM made ON CONFLICT DO NOTHING`,
		int64(in), on, off, riders, at, fare, calendar.BusinessDate(at))
}

func (p *place) body(in citygate.TenantID, r ridership.Report, name string) string {
	p.Helper()
	var raw []byte
	if err := p.db.InTenant(p.Context(), in, func(tx *pg.Tx) (err error) {
		raw, err = ridership.Body(p.Context(), tx, r.ID, name)
		return err
	}); err != nil {
		p.Fatal(err)
	}
	return string(raw)
}

func (p *place) transactions(in citygate.TenantID, first, last citygate.Date, key byte) [][]string {
	p.Helper()
	write, err := ridership.Transactions(p.Context(), p.db, "user:ada", tenant(in), first, last, &ridership.Teller{Key: [32]byte{key}})
	if err != nil {
		p.Fatal(err)
	}
	var out bytes.Buffer
	n, err := write(p.Context(), &out)
	if err != nil {
		p.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != n+1 {
		p.Fatalf("%d rows written, %d read: %v", n, len(rows), err)
	}
	if err := (ridership.Rows{Name: "fare_transactions", Columns: rows[0], Rows: rows[1:]}).Validate(); err != nil {
		p.Error(err)
	}
	return rows[1:]
}

// A report counts the tenant's own taps and rides, and withholds small numbers.
func TestPublish(t *testing.T) {
	p := newPlace(t)
	at := p.now.Add(-24 * time.Hour)
	day := citygate.DateOf(at)
	p.taps(metro, 100, 24, 1, at, "Central")
	p.taps(metro, 200, 24, 2, at.Add(20*time.Minute), "Harbour")
	p.rides(metro, 100, 200, 24, at, 480)
	p.taps(metro, 300, 3, 1, at.Add(30*time.Minute), "Quarry")
	p.taps(metro, 400, 3, 2, at.Add(50*time.Minute), "Harbour")
	p.rides(metro, 300, 400, 3, at.Add(30*time.Minute), 5)
	p.taps(others, 1, 30, 1, at, "Elsewhere")

	r, err := ridership.Publish(t.Context(), p.db, "user:ada", tenant(metro), day, day)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, table := range r.Tables {
		all += p.body(metro, r, table.Name)
		if table.Suppressed == 0 && table.Name != ridership.TableTransfers {
			t.Errorf("nothing is suppressed in %s", table.Name)
		}
	}
	if strings.Contains(all, "Elsewhere") {
		t.Errorf("a tap of another tenant is in it:\n%s", all)
	}
	for _, want := range []string{
		",Quarry,2026-11-20T16:00:00+08:00,entries,\n", // three riders
		"2026-11-20,,2026-11-20T16:00:00+08:00,exits,27\n",
		"Quarry,Harbour,\n",
		"Central,Harbour,\n", // or the three would follow from the exits at Harbour
		"2026-11-20,Quarry,2026-11-20T16:00:00+08:00,2026-11-20T17:00:00+08:00,,0\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	theirs, err := ridership.Publish(t.Context(), p.db, "user:eve", tenant(others), day, day)
	if err != nil || theirs.ID == r.ID || !strings.Contains(p.body(others, theirs, ridership.TableBoardings), ",Elsewhere,,entries,30\n") {
		t.Errorf("the other tenant's report: %v", err)
	}
	if err := p.db.InTenant(t.Context(), others, func(tx *pg.Tx) error {
		_, err := ridership.Get(t.Context(), tx, r.ID)
		return err
	}); !errors.Is(err, ridership.ErrNoReport) {
		t.Errorf("another tenant reads the report: %v", err)
	}

	fares := map[string]int{}
	for _, row := range p.transactions(metro, day, day, 1) {
		fares[strings.Join(row[3:6], " ")]++
	}
	if fares["4.80 CNY Exit"] != 24 || fares["0.05 CNY Exit"] != 3 || fares["0.00  Enter"] != 27 {
		t.Errorf("fares of transactions: %v", fares)
	}
}

// A date is in one report and a report never changes, whoever asks, whenever and how
// many at once: there are no two that could be subtracted.
func TestADateIsPublishedOnce(t *testing.T) {
	p := newPlace(t)
	at := p.now.Add(-3 * 24 * time.Hour)
	day := citygate.DateOf(at)
	for i := range 3 {
		p.taps(metro, 100+100*i, 20, 1, at.AddDate(0, 0, i), "Central")
	}
	var all sync.WaitGroup
	made := make([]ridership.Report, 4)
	for i := range made {
		all.Go(func() {
			var err error
			if made[i], err = ridership.Publish(t.Context(), p.db, "user:ada", tenant(metro), day, day.AddDays(1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, r := range made {
		if r.ID != made[0].ID || len(r.Tables) != 4 {
			t.Errorf("report %v with %d tables, and %v", r.ID, len(r.Tables), made[0].ID)
		}
	}
	before := p.body(metro, made[0], ridership.TableBoardings)
	p.taps(metro, 900, 21, 1, at, "Central") // late, one rider more
	again, err := ridership.Publish(t.Context(), p.db, "user:bob", tenant(metro), day, day.AddDays(1))
	if err != nil || again.ID != made[0].ID || p.body(metro, again, ridership.TableBoardings) != before || !strings.Contains(before, "20") {
		t.Errorf("after a late upload the report is %v, %v", again.ID, err)
	}
	for _, period := range [][2]int{{0, 0}, {1, 1}, {1, 2}, {-1, 0}, {-1, 2}} {
		if _, err := ridership.Publish(t.Context(), p.db, "user:ada", tenant(metro), day.AddDays(period[0]), day.AddDays(period[1])); !errors.Is(err, ridership.ErrOverlap) {
			t.Errorf("days %v: %v", period, err)
		}
	}
	p.now = p.now.Add(time.Minute)
	next, err := ridership.Publish(t.Context(), p.db, "user:ada", tenant(metro), day.AddDays(2), day.AddDays(2))
	if err != nil {
		t.Error(err)
	}
	today := citygate.DateOf(p.now)
	for _, period := range [][2]citygate.Date{{day, today}, {day, day.AddDays(-1)}, {day.AddDays(-31), day}} {
		if _, err := ridership.Publish(t.Context(), p.db, "user:ada", tenant(metro), period[0], period[1]); !errors.Is(err, ridership.ErrPeriod) {
			t.Errorf("from %s to %s: %v", period[0], period[1], err)
		}
		if _, err := ridership.Transactions(t.Context(), p.db, "user:ada", tenant(metro), period[0], period[1], &ridership.Teller{}); !errors.Is(err, ridership.ErrPeriod) {
			t.Errorf("transactions from %s to %s: %v", period[0], period[1], err)
		}
	}
	var verbs int
	if err := p.db.InTenant(t.Context(), metro, func(tx *pg.Tx) error {
		list, err := ridership.List(t.Context(), tx, citygate.UUID{}, 10)
		if err != nil || len(list) != 2 || list[0].ID != next.ID || list[1].ID != again.ID || len(list[1].Tables) != 4 {
			t.Errorf("the list is %v, %v", list, err)
		}
		if list, err = ridership.List(t.Context(), tx, next.ID, 1); err != nil || len(list) != 1 || list[0].ID != again.ID {
			t.Errorf("the second page is %v, %v", list, err)
		}
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = 'ridership.publish'`, int64(metro)).Scan(&verbs)
	}); err != nil || verbs != 2 {
		t.Errorf("%d entries in the audit log, %v", verbs, err)
	}
}

// Two weeks, two exports and two tenants cannot be joined: nobody has a name in both,
// also where they have a day in common.
func TestPseudonymsDoNotJoin(t *testing.T) {
	p := newPlace(t)
	sunday := citygate.Date{Year: 2026, Month: 11, Day: 15}
	at := time.Date(2026, 11, 15, 4, 0, 0, 0, time.UTC)
	for day := range 3 { // Saturday, Sunday, Monday
		p.taps(metro, 100*day+1, 20, 1, at.AddDate(0, 0, day-1), "Central")
		p.taps(others, 100*day+1, 20, 1, at.AddDate(0, 0, day-1), "Central")
	}
	names := func(rows [][]string, days ...citygate.Date) map[string]bool {
		out := map[string]bool{}
		for _, row := range rows {
			if slices.ContainsFunc(days, func(d citygate.Date) bool { return d.String() == row[1] }) {
				out[row[len(row)-1]] = true
			}
		}
		if len(out) != 20 {
			t.Fatalf("%d pseudonyms for 20 riders on %v", len(out), days)
		}
		return out
	}
	saturday, monday := sunday.AddDays(-1), sunday.AddDays(1)
	one, two := p.transactions(metro, saturday, monday, 1), p.transactions(metro, sunday, monday, 2)
	theirs := p.transactions(others, saturday, monday, 3)
	names(one, saturday, sunday) // one week: the same names
	for what, pair := range map[string][2]map[string]bool{
		"two weeks of an export":      {names(one, sunday), names(one, monday)},
		"two exports":                 {names(one, sunday), names(two, sunday)},
		"two tenants":                 {names(one, sunday), names(theirs, sunday)},
		"an export and the next week": {names(one, saturday), names(two, monday)},
	} {
		for name := range pair[0] {
			if pair[1][name] {
				t.Errorf("%s: %s is in both", what, name)
			}
		}
	}
	if got := ridership.Period(sunday); got != sunday.AddDays(-6) || ridership.Period(monday) != monday {
		t.Errorf("the period of a Sunday begins on %s", got)
	}
}

// More taps than a page come whole and once each.
func TestTransactionsInPages(t *testing.T) {
	p := newPlace(t)
	at := p.now.Add(-24 * time.Hour)
	p.taps(metro, 1, 5003, 3, at, "Central")
	p.taps(metro, 9000, 7, 3, at.AddDate(0, 0, -1), "Central") // of another date
	seen := map[string]bool{}
	rows := p.transactions(metro, citygate.DateOf(at), citygate.DateOf(at), 1)
	for _, row := range rows {
		seen[row[0]] = true
	}
	if len(rows) != 5003 || len(seen) != 5003 {
		t.Errorf("%d rows of %d taps, want 5003", len(rows), len(seen))
	}
}

func TestValidateRefuses(t *testing.T) {
	good := func() ridership.Rows {
		teller := ridership.Teller{Zone: time.UTC, Digits: 2}
		rows := ridership.Rows{Name: "fare_transactions", Columns: slices.Clone(ridership.TransactionColumns)}
		for i := range uint64(6) {
			rows.Rows = append(rows.Rows, teller.Transaction(&ridership.Tap{ID: citygate.TapID{Terminal: 1, Seq: i + 1}, Kind: ridership.On, At: pgtest.Epoch, Date: citygate.DateOf(pgtest.Epoch), Party: 1, Stop: "a"}, nil))
		}
		return rows
	}
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	for name, damage := range map[string]func(*ridership.Rows){
		"a column that is none":      func(r *ridership.Rows) { r.Columns[6] = "vehicle" },
		"a required column missing":  func(r *ridership.Rows) { r.Columns[3] = "balance" },
		"a required value missing":   func(r *ridership.Rows) { r.Rows[3][1] = "NA" },
		"a date that is none":        func(r *ridership.Rows) { r.Rows[3][1] = "2026-13-01" },
		"a time that is none":        func(r *ridership.Rows) { r.Rows[3][2] = "08:00" },
		"a number in another form":   func(r *ridership.Rows) { r.Rows[3][3] = "1e3" },
		"an action that is none":     func(r *ridership.Rows) { r.Rows[3][5] = "Leave" },
		"riders below zero":          func(r *ridership.Rows) { r.Rows[3][9] = "-1" },
		"a boolean that is none":     func(r *ridership.Rows) { r.Rows[3][11] = "1" },
		"a transaction twice":        func(r *ridership.Rows) { r.Rows[3][0] = r.Rows[4][0] },
		"a schema that is not here":  func(r *ridership.Rows) { r.Name = "vehicles" },
		"a key that has no column":   func(r *ridership.Rows) { r.Columns[0] = "fare_id" },
		"an amount that is not one":  func(r *ridership.Rows) { r.Rows[0][3] = "4.8 CNY" },
		"a required value left out":  func(r *ridership.Rows) { r.Rows[5][11] = "" },
		"an empty transaction id":    func(r *ridership.Rows) { r.Rows[5][0] = "" },
		"a date with a time of day":  func(r *ridership.Rows) { r.Rows[0][1] += "T00:00:00Z" },
		"a count that is a fraction": func(r *ridership.Rows) { r.Rows[0][9] = "1.5" },
	} {
		rows := good()
		damage(&rows)
		if err := rows.Validate(); !errors.Is(err, ridership.ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
