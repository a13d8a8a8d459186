package ridership

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/bojanz/currency"
	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// receivedSince is a time before which no tap of a date was received: partitions of
// months before it are not read.
func receivedSince(first citygate.Date) time.Time { return first.Time().Add(-48 * time.Hour) }

// count reads the taps and rides of the dates in one snapshot and gives their
// tables.
func count(ctx context.Context, db *pg.DB, tenant citygate.TenantID, calendar citygate.Calendar, first, last citygate.Date) ([]Rows, error) {
	tally := NewTally(calendar.Location)
	if err := db.InSnapshot(ctx, tenant, func(tx *pg.Tx) error {
		tally = NewTally(calendar.Location) // of this try
		if err := eachTap(ctx, tx, first, last, tally.Tap); err != nil {
			return err
		}
		return eachRide(ctx, tx, first, last, tally.Ride)
	}); err != nil {
		return nil, err
	}
	tables := tally.Tables()
	for _, table := range tables {
		if table.Name == TableActivities {
			if err := table.Validate(); err != nil {
				return nil, err
			}
		}
	}
	return tables, nil
}

// A tapRow is a tap as its columns are.
type tapRow struct {
	tap                 Tap
	terminal, seq, idx  *int64
	kind, party         *int16
	issuer, list        *int32
	at                  *time.Time
	date                *citygate.Date
	stop, route, onWhat *string
}

// columns of a tap, of the table that is called by an alias.
func tapColumns(alias string) string {
	out := ""
	for _, c := range []string{"terminal", "seq", "kind", "event_time", "business_date", "issuer", "list", "idx", "party", "stop", "route", "vehicle"} {
		if out != "" {
			out += ", "
		}
		out += alias + "." + c
	}
	return out
}

func (r *tapRow) targets() []any {
	return []any{&r.terminal, &r.seq, &r.kind, &r.at, &r.date, &r.issuer, &r.list, &r.idx, &r.party, &r.stop, &r.route, &r.onWhat}
}

// read gives the tap; nil if there is none.
func (r *tapRow) read() *Tap {
	if r.terminal == nil {
		return nil
	}
	r.tap = Tap{
		ID: citygate.TapID{Terminal: uint32(*r.terminal), Seq: uint64(*r.seq)}, Kind: Kind(*r.kind), At: *r.at, Date: *r.date,
		Rider: citygate.Rider{Issuer: citygate.Issuer(*r.issuer), List: uint16(*r.list), Index: uint32(*r.idx)}, Party: int(*r.party), Stop: *r.stop, Route: *r.route, Vehicle: *r.onWhat,
	}
	return &r.tap
}

func eachTap(ctx context.Context, tx *pg.Tx, first, last citygate.Date, visit func(*Tap)) error {
	rows, err := tx.Query(ctx, `SELECT `+tapColumns("t")+` FROM taps t WHERE t.tenant_id = $1 AND t.accepted AND t.business_date BETWEEN $2 AND $3 AND t.received_at >= $4`,
		int64(tx.Tenant), first, last, receivedSince(first))
	if err != nil {
		return err
	}
	var r tapRow
	_, err = pgx.ForEachRow(rows, r.targets(), func() error {
		visit(r.read())
		return nil
	})
	return err
}

// eachRide reads the rides that were decided for the dates, with their first and
// last tap where those are of the dates, rider by rider.
func eachRide(ctx context.Context, tx *pg.Tx, first, last citygate.Date, visit func(Ride)) error {
	end := func(alias, which string) string {
		part := `split_part(j.taps, ' ', ` + which + `)`
		return ` LEFT JOIN taps ` + alias + ` ON ` + alias + `.tenant_id = $1 AND ` + alias + `.terminal = split_part(` + part + `, ':', 1)::bigint
			AND ` + alias + `.seq = split_part(` + part + `, ':', 2)::bigint AND ` + alias + `.accepted AND ` + alias + `.business_date BETWEEN $2 AND $3 AND ` + alias + `.received_at >= $4`
	}
	// Safety: the texts put together are constants of this file.
	rows, err := tx.Query(ctx, `
		SELECT `+tapColumns("a")+`, `+tapColumns("z")+`
		FROM journeys j JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.n = j.last_n`+end("a", "1")+end("z", "-1")+`
		WHERE j.tenant_id = $1 AND d.business_date BETWEEN $2 AND $3 AND j.issuer <> 0 AND j.taps <> ''
		ORDER BY j.issuer, j.list, j.idx, j.starts_at, j.journey_id`, int64(tx.Tenant), first, last, receivedSince(first))
	if err != nil {
		return err
	}
	var a, z tapRow
	_, err = pgx.ForEachRow(rows, append(a.targets(), z.targets()...), func() error {
		ride := Ride{First: a.read(), Last: z.read()}
		if ride.First != nil && ride.Last != nil {
			from, to := *ride.First, *ride.Last // the tally keeps the ride before
			visit(Ride{First: &from, Last: &to})
		}
		return nil
	})
	return err
}

// pageTaps is how many taps are read at once for fare_transactions.
const pageTaps = 5000

// Transactions makes ready to write TIDES fare_transactions of the dates, which
// must be over: one row per tap, in the order of readers and their counters. That it
// was asked for is in the audit log before anything is given out, and every row is
// held against the schema before it is. What is read is a page at a time, so that
// nobody who takes the rows slowly holds up the database.
func Transactions(ctx context.Context, db *pg.DB, actor string, tenant tenants.Tenant, first, last citygate.Date, teller *Teller) (write func(context.Context, io.Writer) (int, error), err error) {
	calendar, err := checkPeriod(tenant, first, last)
	if err != nil {
		return nil, err
	}
	digits, ok := currency.GetDigits(string(tenant.Currency))
	if !ok {
		return nil, fmt.Errorf("the tenant's currency %s has no known decimals", tenant.Currency)
	}
	teller.Zone, teller.Digits = calendar.Location, int(digits)
	tides, err := schemaOf("fare_transactions", TransactionColumns)
	if err != nil {
		return nil, err
	}
	if err := db.InTenant(ctx, tenant.ID, func(tx *pg.Tx) error {
		if err := isOver(calendar, tx.Now, last); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "ridership.transactions", Object: "tenant:" + tenant.ID.String(),
			After: map[string]string{"from": first.String(), "to": last.String()}})
	}); err != nil {
		return nil, err
	}
	check := tides.checker(TransactionColumns)
	return func(ctx context.Context, w io.Writer) (n int, err error) {
		out := csv.NewWriter(w)
		if err := out.Write(TransactionColumns); err != nil {
			return 0, err
		}
		after := citygate.TapID{}
		for {
			var page [][]string
			if err := db.InSnapshot(ctx, tenant.ID, func(tx *pg.Tx) (err error) {
				page, after, err = transactionPage(ctx, tx, first, last, after, teller)
				return err
			}); err != nil {
				return n, err
			}
			for _, row := range page {
				if err := check(row); err != nil {
					return n, err
				}
			}
			if err := out.WriteAll(page); err != nil { // and flushes
				return n, err
			}
			if n += len(page); len(page) < pageTaps {
				return n, nil
			}
		}
	}, nil
}

// transactionPage reads the taps behind one, and what they ended.
func transactionPage(ctx context.Context, tx *pg.Tx, first, last citygate.Date, after citygate.TapID, teller *Teller) (page [][]string, to citygate.TapID, err error) {
	// Safety: tapColumns gives constants of this file.
	rows, err := tx.Query(ctx, `
		SELECT `+tapColumns("t")+`, r.known, r.amount, r.currency, r.capped FROM taps t LEFT JOIN LATERAL (
			SELECT d.known, d.amount, d.currency, EXISTS (SELECT FROM fare_adjustments f
				WHERE f.tenant_id = $1 AND f.journey_id = j.journey_id AND f.n = d.n AND f.kind = 'cap' AND f.applied) AS capped
			FROM journeys j JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.n = j.last_n
			WHERE j.tenant_id = $1 AND j.issuer = t.issuer AND j.list = t.list AND j.idx = t.idx
				AND j.starts_at <= t.event_time AND j.starts_at > t.event_time - interval '2 days' AND split_part(j.taps, ' ', -1) = t.terminal || ':' || t.seq
			LIMIT 1) r ON true
		WHERE t.tenant_id = $1 AND t.accepted AND t.business_date BETWEEN $2 AND $3 AND t.received_at >= $4 AND (t.terminal, t.seq) > ($5, $6)
		ORDER BY t.terminal, t.seq LIMIT $7`,
		int64(tx.Tenant), first, last, receivedSince(first), int64(after.Terminal), int64(min(after.Seq, math.MaxInt64)), pageTaps)
	if err != nil {
		return nil, after, err
	}
	var r tapRow
	var known, capped *bool
	var amount *int64
	var code *string
	_, err = pgx.ForEachRow(rows, append(r.targets(), &known, &amount, &code, &capped), func() error {
		tap := r.read()
		var fare *Fare
		if known != nil {
			fare = &Fare{Capped: *capped}
			if *known {
				fare.Amount = citygate.Money{Minor: *amount, Currency: citygate.Currency(*code)}
			}
		}
		page, after = append(page, teller.Transaction(tap, fare)), tap.ID
		return nil
	})
	return page, after, err
}
