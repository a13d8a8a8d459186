package fleet

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Stop is a place of an operator under the id that taps and tariffs use.
type Stop struct {
	ID   string
	Name string
	Area string // groups stops; may be empty
}

const (
	upsertStops = `
		INSERT INTO stops (tenant_id, stop, name, area)
		SELECT $1, s.stop, s.name, s.area FROM unnest($2::text[], $3::text[], $4::text[]) AS s (stop, name, area)
		ON CONFLICT (tenant_id, stop) DO UPDATE SET name = excluded.name, area = excluded.area`
	listStops = `SELECT stop, name, area FROM stops WHERE tenant_id = $1 AND stop > $2 ORDER BY stop LIMIT $3`

	placeTerminal = `UPDATE terminals SET name = $3, stop = $4, route = $5, vehicle = $6 WHERE tenant_id = $1 AND terminal_id = $2`
)

// PutStops adds stops, or gives those that are there their new name and area.
func (f *Fleet) PutStops(ctx context.Context, actor string, tenant citygate.TenantID, stops ...Stop) error {
	stops = slices.Clone(stops)
	slices.SortFunc(stops, func(a, b Stop) int { return strings.Compare(a.ID, b.ID) })
	const idMost, nameMost = 80, 200
	for i, s := range stops {
		if s.ID == "" || len(s.ID) > idMost || s.Name == "" || len(s.Name) > nameMost || len(s.Area) > idMost {
			return ErrInvalid.Explain("stop %q: want an id of 1 to %d bytes, a name of 1 to %d, an area of at most %d", s.ID, idMost, nameMost, idMost)
		}
		if i > 0 && stops[i-1].ID == s.ID {
			return ErrInvalid.Explain("stop %q is listed twice", s.ID)
		}
	}
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		for part := range slices.Chunk(stops, rowsMax) {
			var ids, names, areas []string
			for _, s := range part {
				ids, names, areas = append(ids, s.ID), append(names, s.Name), append(areas, s.Area)
			}
			if _, err := tx.Exec(ctx, upsertStops, tx.Tenant, ids, names, areas); err != nil {
				return err
			}
			if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "stops.put", Object: "stops", After: part}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Stops lists stops by id, after one of them, at most limit.
func Stops(ctx context.Context, tx *pg.Tx, after string, limit int) ([]Stop, error) {
	rows, err := tx.Query(ctx, listStops, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Stop, err error) {
		return s, row.Scan(&s.ID, &s.Name, &s.Area)
	})
}

// Place says what a terminal is called and where it stands or rides from now on.
// Taps carry their own place: those of before keep theirs.
func (f *Fleet) Place(ctx context.Context, actor string, tenant citygate.TenantID, id uint32, name, stop, route, vehicle string) error {
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		was, err := Get(ctx, tx, id)
		if err != nil {
			return err
		}
		is := was
		is.Name, is.Stop, is.Route, is.Vehicle = name, stop, route, vehicle
		if err := is.check(); err != nil {
			return err
		}
		if was.Name == name && was.Stop == stop && was.Route == route && was.Vehicle == vehicle {
			return nil
		}
		if _, err := tx.Exec(ctx, placeTerminal, tx.Tenant, int64(id), name, stop, route, vehicle); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{
			Actor: actor, Verb: "terminal.place", Object: terminalName(id),
			Before: []string{was.Name, was.Stop, was.Route, was.Vehicle}, After: []string{name, stop, route, vehicle},
		})
	})
}

// Assignments lists every assignment of the transaction's tenant, by subject and
// time.
func Assignments(ctx context.Context, tx *pg.Tx) ([]Assignment, error) {
	rows, err := tx.Query(ctx, `
		SELECT subject_kind, subject, coalesce(payee, ''), valid_from FROM assignments WHERE tenant_id = $1
		ORDER BY subject_kind, subject, valid_from`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Assignment, err error) {
		err = row.Scan(&a.Subject.Kind, &a.Subject.ID, &a.Payee, &a.From)
		a.From = a.From.UTC()
		return a, err
	})
}
