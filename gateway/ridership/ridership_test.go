package ridership_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ridership"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	metro citygate.TenantID = 2
	other citygate.TenantID = 3
)

func tenant(id citygate.TenantID) tenants.Tenant {
	return tenants.Tenant{ID: id, Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240, CalendarVersion: 1}
}

// tapRow puts one accepted tap into the tables, as intake does.
func tapRow(t *testing.T, db *pg.DB, in citygate.TenantID, seq int, kind int, at time.Time, rider int, stop string) {
	t.Helper()
	calendar, err := tenant(in).Calendar()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.InTenant(context.Background(), in, func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `
			INSERT INTO taps (tenant_id, terminal, seq, received_at, kind, accepted, reason, opened, event_time, business_date, calendar_version,
				policy_version, clock_suspect, issuer, list, idx, ctr, product, party, stop, route, vehicle, driver, evidence_digest, record, rule)
			VALUES ($1, 7, $2, $3, $4, true, '', true, $3, $5, 1, 1, false, 1, 0, $6, 1, 1, 1, $7, 'M', '', '', '\x00', '\x00', '')`,
			int64(in), seq, at, kind, calendar.BusinessDate(at), rider, stop)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestMakeSeesItsOwnTenant: the report of one tenant holds no tap of another,
// and what it says of its own is protected and keeps the schemas.
func TestMakeSeesItsOwnTenant(t *testing.T) {
	now := pgtest.Epoch
	db := pgtest.New(t, pgtest.WithClock(func() time.Time { return now }))
	yesterday := now.Add(-24 * time.Hour)
	for i := range 12 {
		tapRow(t, db, metro, i*2+1, 1, yesterday, i, "Central")
		tapRow(t, db, metro, i*2+2, 2, yesterday.Add(time.Minute), i, "Harbour")
	}
	for i := range 3 {
		tapRow(t, db, metro, 100+i, 1, yesterday, i, "Quarry")
	}
	for i := range 30 {
		tapRow(t, db, other, i+1, 1, yesterday, i, "Elsewhere")
	}
	day := citygate.DateOf(yesterday)
	report, err := ridership.Make(t.Context(), db, "user:ada", tenant(metro), day, day, 2, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, rows := range []ridership.Rows{report.Transactions, report.Activities, report.OD.List("from", "to"), report.Boardings[0].List("stop", "hour")} {
		if err := rows.Write(&out); err != nil {
			t.Fatal(err)
		}
	}
	if len(report.Transactions.Rows) != 27 || strings.Contains(out.String(), "Elsewhere") {
		t.Errorf("%d transactions, want the 27 of the tenant:\n%s", len(report.Transactions.Rows), &out)
	}
	if !strings.Contains(out.String(), "Quarry,2026-11-20T16:00:00+08:00 entries,\n") {
		t.Errorf("three riders at Quarry are not suppressed:\n%s", &out)
	}
	theirs, err := ridership.Make(t.Context(), db, "user:eve", tenant(other), day, day, 2, [32]byte{1})
	if err != nil || len(theirs.Transactions.Rows) != 30 {
		t.Errorf("the other tenant has %d transactions, %v", len(theirs.Transactions.Rows), err)
	}
	var verbs int
	if err := db.InTenant(t.Context(), metro, func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = 'ridership.export' AND actor = 'user:ada'`, int64(metro)).Scan(&verbs)
	}); err != nil || verbs != 1 {
		t.Errorf("%d entries in the audit log, %v", verbs, err)
	}
	today := citygate.DateOf(now)
	for _, period := range [][2]citygate.Date{{day, today}, {day, day.AddDays(-1)}, {day.AddDays(-31), day}} {
		if _, err := ridership.Make(t.Context(), db, "user:ada", tenant(metro), period[0], period[1], 2, [32]byte{}); !errors.Is(err, ridership.ErrPeriod) {
			t.Errorf("from %s to %s: %v", period[0], period[1], err)
		}
	}
}

var zone = time.FixedZone("here", 8*3600)

func built(key byte) *ridership.Report {
	start := time.Date(2026, 11, 20, 8, 0, 0, 0, zone)
	date := citygate.DateOf(start)
	var taps []ridership.Tap
	var rides []ridership.Ride
	seq := uint64(0)
	ride := func(rider uint32, from, to string, at time.Time, fare int64, capped bool) {
		seq += 2
		who := citygate.Rider{Issuer: 1, Index: rider}
		on, off := citygate.TapID{Terminal: 1, Seq: seq}, citygate.TapID{Terminal: 2, Seq: seq}
		taps = append(taps, ridership.Tap{ID: on, Kind: ridership.On, At: at, Date: date, Rider: who, Party: 1, Stop: from, Route: "M"},
			ridership.Tap{ID: off, Kind: ridership.Off, At: at.Add(10 * time.Minute), Date: date, Rider: who, Party: 1, Stop: to, Route: "M"})
		rides = append(rides, ridership.Ride{Taps: []citygate.TapID{on, off}, Fare: citygate.Money{Minor: fare, Currency: "CNY"}, Capped: capped})
	}
	for i := range uint32(20) {
		ride(i, "a", "b", start, 480, false)
		ride(i, "b", "c", start.Add(20*time.Minute), 5, i == 0)
	}
	for i := range uint32(4) {
		ride(i, "c", "a", start.Add(5*time.Hour), 480, false)
	}
	return ridership.Build(taps, rides, zone, 2, [32]byte{key})
}

func TestBuild(t *testing.T) {
	r := built(1)
	for _, rows := range []ridership.Rows{r.Transactions, r.Activities} {
		if err := rows.Validate(); err != nil {
			t.Error(err)
		}
	}
	first := strings.Join(r.Transactions.Rows[0], ",")
	if !strings.HasPrefix(first, "1-2,2026-11-20,2026-11-20T08:00:00+08:00,0.00,,Enter,,1,a,1,Optical scan,false,") {
		t.Errorf("the first transaction is %s", first)
	}
	var all bytes.Buffer
	if err := r.Transactions.Write(&all); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(all.String(), ",0.05,CNY,Exit,,2,c,1,Optical scan,true,") {
		t.Errorf("the capped fare of 5 minor units is not there:\n%s", &all)
	}
	od := r.OD.List("from", "to").Rows
	if want := "[a b 20]"; len(od) == 0 || fmt.Sprint(od[0]) != want {
		t.Errorf("od %v, want %s first", od, want)
	}
	for _, row := range od {
		if row[0] == "c" && row[1] == "a" && row[2] != "" {
			t.Errorf("four riders were published: %v", row)
		}
	}
	if tr := r.Transfers.List("from", "to").Rows; len(tr) == 0 || fmt.Sprint(tr[0]) != "[M M 20]" {
		t.Errorf("transfers %v: 20 within the hour, none after five", tr)
	}
}

// TestPseudonymsDoNotJoin: the same riders under two keys share no name, and
// under one key keep theirs.
func TestPseudonymsDoNotJoin(t *testing.T) {
	names := func(r *ridership.Report) map[string]bool {
		out := map[string]bool{}
		for _, row := range r.Transactions.Rows {
			out[row[len(row)-1]] = true
		}
		return out
	}
	one, two := names(built(1)), names(built(2))
	if len(one) != 20 || len(two) != 20 {
		t.Fatalf("%d and %d pseudonyms for 20 riders", len(one), len(two))
	}
	for name := range one {
		if two[name] {
			t.Errorf("%s is in both", name)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	good := func() ridership.Rows { return built(1).Transactions }
	for name, damage := range map[string]func(*ridership.Rows){
		"a column that is none":     func(r *ridership.Rows) { r.Columns[0] = "id" },
		"a required value missing":  func(r *ridership.Rows) { r.Rows[3][1] = "NA" },
		"a date that is none":       func(r *ridership.Rows) { r.Rows[3][1] = "2026-13-01" },
		"a time that is none":       func(r *ridership.Rows) { r.Rows[3][2] = "08:00" },
		"a float in another form":   func(r *ridership.Rows) { r.Rows[3][3] = "1e3" },
		"an action that is none":    func(r *ridership.Rows) { r.Rows[3][5] = "Leave" },
		"riders below zero":         func(r *ridership.Rows) { r.Rows[3][9] = "-1" },
		"a boolean that is none":    func(r *ridership.Rows) { r.Rows[3][11] = "1" },
		"a transaction twice":       func(r *ridership.Rows) { r.Rows[3][0] = r.Rows[4][0] },
		"a schema that is not here": func(r *ridership.Rows) { r.Name = "vehicles" },
	} {
		rows := good()
		damage(&rows)
		if err := rows.Validate(); !errors.Is(err, ridership.ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
