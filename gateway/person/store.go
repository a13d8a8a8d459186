package person

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// A deviceRow is one row of person_devices.
type deviceRow struct {
	device  []byte
	subject Subject
	sealed  []byte
	since   time.Time
	until   *time.Time
}

func scanDevice(row pgx.CollectableRow) (r deviceRow, err error) {
	var subject []byte
	err = row.Scan(&r.device, &subject, &r.sealed, &r.since, &r.until)
	copy(r.subject[:], subject)
	return r, err
}

// hasJoins reports whether anybody of the tenant is joined.
func hasJoins(ctx context.Context, tx *pg.Tx) (some bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM person_devices WHERE tenant_id = $1)`, tx.Tenant).Scan(&some)
	return some, err
}

// lockDevices gives the rows of devices, the oldest first, and locks them.
func lockDevices(ctx context.Context, tx *pg.Tx, devices [][]byte) ([]deviceRow, error) {
	rows, err := tx.Query(ctx, `SELECT device, subject, sealed, since, until FROM person_devices WHERE tenant_id = $1 AND device = ANY($2::bytea[]) ORDER BY since, device FOR UPDATE`,
		tx.Tenant, devices)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanDevice)
}

// devicesWith gives the rows of all devices of the persons that some devices are or
// were part of.
func devicesWith(ctx context.Context, tx *pg.Tx, devices [][]byte) ([]deviceRow, error) {
	rows, err := tx.Query(ctx, `SELECT device, subject, sealed, since, until FROM person_devices WHERE tenant_id = $1 AND subject IN (
		SELECT subject FROM person_devices WHERE tenant_id = $1 AND device = ANY($2::bytea[])) ORDER BY device, since`, tx.Tenant, devices)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanDevice)
}

// insertDevice makes a device part of a person. Of two joins at once one has it.
func insertDevice(ctx context.Context, tx *pg.Tx, device []byte, s Subject, sealed []byte, since time.Time) error {
	tag, err := tx.Exec(ctx, `INSERT INTO person_devices (tenant_id, device, subject, sealed, since) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		tx.Tenant, device, s[:], sealed, since)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrOthers
	}
	return err
}

func countMembers(ctx context.Context, tx *pg.Tx, s Subject) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM person_devices WHERE tenant_id = $1 AND subject = $2 AND until IS NULL`, tx.Tenant, s[:]).Scan(&n)
	return n, err
}

// endDevice ends a membership. One that has not begun yet leaves nothing.
func endDevice(ctx context.Context, tx *pg.Tx, r *deviceRow, until time.Time) error {
	if !r.since.Before(until) {
		_, err := tx.Exec(ctx, `DELETE FROM person_devices WHERE tenant_id = $1 AND device = $2 AND since = $3`, tx.Tenant, r.device, r.since)
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE person_devices SET until = $4 WHERE tenant_id = $1 AND device = $2 AND since = $3`, tx.Tenant, r.device, r.since, until)
	return err
}

// endSubject ends what is left of a person.
func endSubject(ctx context.Context, tx *pg.Tx, s Subject, until time.Time) error {
	if _, err := tx.Exec(ctx, `DELETE FROM person_devices WHERE tenant_id = $1 AND subject = $2 AND since >= $3`, tx.Tenant, s[:], until); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE person_devices SET until = $3 WHERE tenant_id = $1 AND subject = $2 AND until IS NULL`, tx.Tenant, s[:], until)
	return err
}
