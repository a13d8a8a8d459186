package fleet

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// rowsMax bounds the rows of one statement.
const rowsMax = 2000

const (
	upsertVehicles = `
		INSERT INTO vehicles (tenant_id, vehicle, kind, plate)
		SELECT $1, v.vehicle, v.kind, v.plate FROM unnest($2::text[], $3::text[], $4::text[]) AS v (vehicle, kind, plate)
		ON CONFLICT (tenant_id, vehicle) DO UPDATE SET kind = excluded.kind, plate = excluded.plate`
	listVehicles = `SELECT vehicle, kind, plate FROM vehicles WHERE tenant_id = $1 AND vehicle > $2 ORDER BY vehicle LIMIT $3`

	upsertPayee = `
		INSERT INTO payees (tenant_id, payee, kind, name, account, bank_id, is_default)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (tenant_id, payee) DO UPDATE SET name = excluded.name, account = excluded.account, bank_id = excluded.bank_id`
	lockPayees    = `SELECT payee, kind, name, account, bank_id, is_default FROM payees WHERE tenant_id = $1 AND payee = ANY($2::text[]) ORDER BY payee FOR UPDATE`
	listPayees    = `SELECT payee, kind, name, account, bank_id, is_default FROM payees WHERE tenant_id = $1 AND payee > $2 ORDER BY payee LIMIT $3`
	selectDefault = `SELECT payee FROM payees WHERE tenant_id = $1 AND is_default`

	insertAssignments = `
		INSERT INTO assignments (tenant_id, subject_kind, subject, valid_from, payee, recorded_at)
		SELECT $1, a.kind, a.subject, a.valid_from, nullif(a.payee, ''), $6
		FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::text[]) AS a (kind, subject, valid_from, payee)
		ON CONFLICT (tenant_id, subject_kind, subject, valid_from) DO NOTHING`
	selectAssignments = `
		SELECT subject_kind, subject, valid_from, coalesce(payee, '') FROM assignments
		WHERE tenant_id = $1 AND (subject_kind, subject) IN (SELECT s.kind, s.subject FROM unnest($2::text[], $3::text[]) AS s (kind, subject))
		ORDER BY subject_kind, subject, valid_from`
)

// PutVehicles adds vehicles, or gives those that are there their new kind and
// plate.
func (f *Fleet) PutVehicles(ctx context.Context, actor string, tenant citygate.TenantID, vehicles ...Vehicle) error {
	vehicles = slices.Clone(vehicles)
	slices.SortFunc(vehicles, func(a, b Vehicle) int { return strings.Compare(a.ID, b.ID) })
	for i, v := range vehicles {
		if v.ID == "" || !slices.Contains([]VehicleKind{Train, Bus, Minibus, Taxi, Ferry}, v.Kind) {
			return ErrInvalid.Explain("vehicle %q of kind %q", v.ID, v.Kind)
		}
		if i > 0 && vehicles[i-1].ID == v.ID {
			return ErrInvalid.Explain("vehicle %q is listed twice", v.ID)
		}
	}
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		for part := range slices.Chunk(vehicles, rowsMax) {
			var ids, kinds, plates []string
			for _, v := range part {
				ids, kinds, plates = append(ids, v.ID), append(kinds, string(v.Kind)), append(plates, v.Plate)
			}
			if _, err := tx.Exec(ctx, upsertVehicles, tx.Tenant, ids, kinds, plates); err != nil {
				return err
			}
			if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "vehicles.put", Object: "vehicles", After: part}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Vehicles lists vehicles by name, after one of them, at most limit.
func Vehicles(ctx context.Context, tx *pg.Tx, after string, limit int) ([]Vehicle, error) {
	rows, err := tx.Query(ctx, listVehicles, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (v Vehicle, err error) {
		return v, row.Scan(&v.ID, &v.Kind, &v.Plate)
	})
}

// PutPayees adds payees, or gives those that are there their new name and bank
// account; what the account was stays in the audit log. A payee's kind and who
// is the default payee never change: that is [ErrConflict].
func (f *Fleet) PutPayees(ctx context.Context, actor string, tenant citygate.TenantID, payees ...Payee) error {
	var ids []string
	for _, p := range payees {
		if err := p.check(); err != nil {
			return err
		}
		ids = append(ids, p.ID)
	}
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		held, err := readPayees(ctx, tx, lockPayees, tx.Tenant, ids)
		if err != nil {
			return err
		}
		for _, p := range payees {
			entry := pg.AuditEntry{Actor: actor, Verb: "payee.put", Object: "payee:" + p.ID, After: p}
			if i := slices.IndexFunc(held, func(h Payee) bool { return h.ID == p.ID }); i >= 0 {
				switch {
				case held[i] == p:
					continue
				case held[i].Kind != p.Kind || held[i].Default != p.Default:
					return ErrConflict.Explain("payee %s is %s, default %t; that does not change", p.ID, held[i].Kind, held[i].Default)
				}
				entry.Before = held[i]
			}
			_, err := tx.Exec(ctx, upsertPayee, tx.Tenant, p.ID, p.Kind, p.Name, p.Account, p.BankID, p.Default)
			if pg.Violates(err, "payees_default") {
				return ErrConflict.Explain("payee %s cannot be the default payee: there is one", p.ID)
			}
			if err != nil {
				return err
			}
			if err := tx.Audit(ctx, entry); err != nil {
				return err
			}
		}
		return nil
	})
}

// Payees lists the payees of the transaction's tenant by id, after one of them,
// at most limit.
func Payees(ctx context.Context, tx *pg.Tx, after string, limit int) ([]Payee, error) {
	return readPayees(ctx, tx, listPayees, tx.Tenant, after, limit)
}

func readPayees(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Payee, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Payee, err error) {
		return p, row.Scan(&p.ID, &p.Kind, &p.Name, &p.Account, &p.BankID, &p.Default)
	})
}

// Assign records who is paid for a vehicle or driver from when on. The same
// again changes nothing; another payee from the same instant is [ErrConflict].
func (f *Fleet) Assign(ctx context.Context, actor string, tenant citygate.TenantID, assignments ...Assignment) error {
	assignments = slices.Clone(assignments)
	for i := range assignments {
		if err := assignments[i].check(); err != nil {
			return err
		}
		assignments[i].From = assignments[i].From.UTC().Truncate(time.Microsecond)
	}
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		for part := range slices.Chunk(assignments, rowsMax) {
			if err := assign(ctx, tx, actor, part); err != nil {
				return err
			}
		}
		return nil
	})
}

func assign(ctx context.Context, tx *pg.Tx, actor string, part []Assignment) error {
	var kinds, subjects, payees []string
	var from []time.Time
	var asked []Subject
	for _, a := range part {
		kinds, subjects = append(kinds, string(a.Subject.Kind)), append(subjects, a.Subject.ID)
		payees, from = append(payees, a.Payee), append(from, a.From)
		asked = append(asked, a.Subject)
	}
	tag, err := tx.Exec(ctx, insertAssignments, tx.Tenant, kinds, subjects, from, payees, tx.Now)
	switch {
	case pg.SQLState(err) == pg.StateForeignKeyViolation:
		return ErrNotFound.Explain("a payee of these assignments")
	case err != nil:
		return err
	case tag.RowsAffected() == int64(len(part)):
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "assignments.add", Object: "assignments", After: part})
	}
	held, err := load(ctx, tx, asked)
	if err != nil {
		return err
	}
	for _, a := range part {
		if !slices.Contains(held[a.Subject], span{a.From.UnixMicro(), a.Payee}) {
			return ErrConflict.Explain("%s %s is assigned to somebody else from %s on", a.Subject.Kind, a.Subject.ID, a.From.Format(time.RFC3339))
		}
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "assignments.add", Object: "assignments", After: part})
}

// span is an assignment of one subject: from an instant (unix microseconds, as
// rows keep it) until the next.
type span struct {
	from  int64
	payee string // "" = the default payee
}

// load reads the assignments of subjects, each in order of time.
func load(ctx context.Context, tx *pg.Tx, subjects []Subject) (map[Subject][]span, error) {
	out := make(map[Subject][]span, len(subjects))
	for part := range slices.Chunk(subjects, rowsMax) {
		var kinds, ids []string
		for _, s := range part {
			kinds, ids = append(kinds, string(s.Kind)), append(ids, s.ID)
		}
		rows, err := tx.Query(ctx, selectAssignments, tx.Tenant, kinds, ids)
		if err != nil {
			return nil, err
		}
		var s Subject
		var from time.Time
		var payee string
		_, err = pgx.ForEachRow(rows, []any{&s.Kind, &s.ID, &from, &payee}, func() error {
			out[s] = append(out[s], span{from.UnixMicro(), payee})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// PayeeNamed gives a payee of the transaction's tenant by its id, or its default one for
// ""; "" if there is none.
func PayeeNamed(ctx context.Context, tx *pg.Tx, id string) (payee string, err error) {
	if id == "" {
		err = tx.QueryRow(ctx, selectDefault, tx.Tenant).Scan(&payee)
	} else {
		err = tx.QueryRow(ctx, `SELECT payee FROM payees WHERE tenant_id = $1 AND payee = $2`, tx.Tenant, id).Scan(&payee)
	}
	if pg.IsNoRows(err) {
		err = nil
	}
	return payee, err
}

// PayeeAt gives who is paid for one ride of the transaction's tenant.
func PayeeAt(ctx context.Context, tx *pg.Tx, ride Ride) (string, error) {
	payees, err := PayeesAt(ctx, tx, []Ride{ride})
	if err != nil {
		return "", err
	}
	return payees[0], nil
}

// PayeesAt gives who is paid for each ride, in their order, with one look-up
// per distinct vehicle and driver. A tenant without a default payee is
// [ErrNoPayee] where a ride needs it.
func PayeesAt(ctx context.Context, tx *pg.Tx, rides []Ride) ([]string, error) {
	var subjects []Subject
	seen := map[Subject]bool{}
	for _, r := range rides {
		for _, s := range r.subjects() {
			if s.ID != "" && !seen[s] {
				seen[s] = true
				subjects = append(subjects, s)
			}
		}
	}
	held, err := load(ctx, tx, subjects)
	if err != nil {
		return nil, err
	}
	var fallback string
	if err := tx.QueryRow(ctx, selectDefault, tx.Tenant).Scan(&fallback); err != nil && !pg.IsNoRows(err) {
		return nil, err
	}
	payees := make([]string, len(rides))
	for i, r := range rides {
		if payees[i] = resolve(held, r, fallback); payees[i] == "" {
			return nil, ErrNoPayee.Explain("ride of vehicle %q and driver %q", r.Vehicle, r.Driver)
		}
	}
	return payees, nil
}

// subjects gives what may decide who is paid, the first that does wins.
func (r Ride) subjects() [2]Subject { return [2]Subject{{OfDriver, r.Driver}, {OfVehicle, r.Vehicle}} }

func resolve(held map[Subject][]span, r Ride, fallback string) string {
	at := r.At.UnixMicro()
	for _, s := range r.subjects() {
		spans := held[s]
		i, exact := slices.BinarySearchFunc(spans, at, func(s span, at int64) int {
			switch {
			case s.from < at:
				return -1
			case s.from > at:
				return 1
			}
			return 0
		})
		if !exact {
			i-- // the one that began before
		}
		if i >= 0 && spans[i].payee != "" {
			return spans[i].payee
		}
	}
	return fallback
}
