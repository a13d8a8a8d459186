package ridership

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// maxDays bounds a period.
const maxDays = 31

// Make reads the taps and rides of the tenant from the first to the last
// business date, both included and over, and makes the report. That it was made
// is in the audit log before anything is given out. digits are the decimals of
// the tenant's currency; key is drawn for this report and forgotten.
func Make(ctx context.Context, db *pg.DB, actor string, tenant tenants.Tenant, first, last citygate.Date, digits int, key [32]byte) (*Report, error) {
	calendar, err := tenant.Calendar()
	if err != nil {
		return nil, err
	}
	if last.Compare(first) < 0 || first.AddDays(maxDays).Compare(last) <= 0 {
		return nil, ErrPeriod.Explain("from %s to %s", first, last)
	}
	if err := db.InTenant(ctx, tenant.ID, func(tx *pg.Tx) error {
		if today := calendar.BusinessDate(tx.Now); last.Compare(today) >= 0 {
			return ErrPeriod.Explain("%s is not over: today is %s", last, today)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "ridership.export", Object: "tenant:" + tenant.ID.String(),
			After: map[string]string{"from": first.String(), "to": last.String()}})
	}); err != nil {
		return nil, err
	}
	var taps []Tap
	var rides []Ride
	if err := db.InSnapshot(ctx, tenant.ID, func(tx *pg.Tx) (err error) {
		if taps, err = readTaps(ctx, tx, first, last); err == nil {
			rides, err = readRides(ctx, tx, first, last)
		}
		return err
	}); err != nil {
		return nil, err
	}
	report := Build(taps, rides, calendar.Location, digits, key)
	for _, rows := range []Rows{report.Transactions, report.Activities} {
		if err := rows.Validate(); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func readTaps(ctx context.Context, tx *pg.Tx, first, last citygate.Date) ([]Tap, error) {
	rows, err := tx.Query(ctx, `
		SELECT terminal, seq, kind, event_time, business_date, issuer, list, idx, party, stop, route, vehicle FROM taps
		WHERE tenant_id = $1 AND accepted AND business_date BETWEEN $2 AND $3 AND received_at >= $4`,
		int64(tx.Tenant), first, last, first.Time().Add(-48*time.Hour)) // no tap is received long before it happens: partitions before are not read
	if err != nil {
		return nil, err
	}
	var (
		out                 []Tap
		t                   Tap
		terminal, seq, idx  int64
		kind, party         int16
		issuer, list        int32
		stop, route, onWhat string
	)
	_, err = pgx.ForEachRow(rows, []any{&terminal, &seq, &kind, &t.At, &t.Date, &issuer, &list, &idx, &party, &stop, &route, &onWhat}, func() error {
		t.ID = citygate.TapID{Terminal: uint32(terminal), Seq: uint64(seq)}
		t.Rider = citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(idx)}
		t.Kind, t.Party, t.Stop, t.Route, t.Vehicle = Kind(kind), int(party), stop, route, onWhat
		out = append(out, t)
		return nil
	})
	return out, err
}

// readRides reads the final decisions of the journeys of the dates.
func readRides(ctx context.Context, tx *pg.Tx, first, last citygate.Date) ([]Ride, error) {
	rows, err := tx.Query(ctx, `
		SELECT j.taps, d.known, d.amount, d.currency, EXISTS (SELECT FROM fare_adjustments a
			WHERE a.tenant_id = $1 AND a.journey_id = j.journey_id AND a.n = d.n AND a.kind = 'cap' AND a.applied)
		FROM journeys j JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.n = j.last_n
		WHERE j.tenant_id = $1 AND d.business_date BETWEEN $2 AND $3`, int64(tx.Tenant), first, last)
	if err != nil {
		return nil, err
	}
	var (
		out      []Ride
		taps     string
		known    bool
		amount   int64
		currency string
		capped   bool
	)
	_, err = pgx.ForEachRow(rows, []any{&taps, &known, &amount, &currency, &capped}, func() error {
		r := Ride{Capped: capped}
		if known {
			r.Fare = citygate.Money{Minor: amount, Currency: citygate.Currency(currency)}
		}
		for part := range strings.FieldsSeq(taps) {
			id, err := citygate.ParseTapID("tap_" + strings.Replace(part, ":", "_", 1))
			if err != nil {
				return fmt.Errorf("stored taps %q: %w", taps, err)
			}
			r.Taps = append(r.Taps, id)
		}
		out = append(out, r)
		return nil
	})
	return out, err
}
