package tenants

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Resource names something of a tenant that a file may manage. A kind that is
// managed as a whole, such as the tariffs, has no name.
type Resource struct {
	Kind string
	Name string
}

// String gives "kind name".
func (r Resource) String() string {
	if r.Name == "" {
		return r.Kind
	}
	return r.Kind + " " + r.Name
}

// ErrManaged refuses to change by hand what a file manages.
var ErrManaged = &citygate.Code{Name: "tenant.managed", Kind: citygate.Conflict, Title: "A file manages this. Change it in that file and run citygate apply, or take it out of the file and apply that."}

const (
	insertManaged = `
		INSERT INTO managed (tenant_id, kind, name, file, since)
		SELECT $1, m.kind, m.name, $2, $3 FROM unnest($4::text[], $5::text[]) AS m (kind, name)
		ON CONFLICT (tenant_id, kind, name) DO NOTHING`
	takeManaged = `
		UPDATE managed SET file = $2, since = $3
		WHERE tenant_id = $1 AND file <> $2 AND (kind, name) IN (SELECT m.kind, m.name FROM unnest($4::text[], $5::text[]) AS m (kind, name))`
	selectManaged = `
		SELECT kind, name, file FROM managed WHERE tenant_id = $1 AND (kind, name) IN (SELECT m.kind, m.name FROM unnest($2::text[], $3::text[]) AS m (kind, name))
		ORDER BY kind, name`
	listManaged   = `SELECT kind, name, file FROM managed WHERE tenant_id = $1 ORDER BY kind, name`
	deleteManaged = `
		DELETE FROM managed WHERE tenant_id = $1 AND file = $2 AND (kind, name) IN (SELECT m.kind, m.name FROM unnest($3::text[], $4::text[]) AS m (kind, name))`
)

// Manage marks resources of the transaction's tenant as managed by file, and
// lets go of what file managed before and no longer names. What another file
// manages is [ErrManaged] and nothing is marked, unless takeOver says that file
// manages it from now on.
func Manage(ctx context.Context, tx *pg.Tx, actor, file string, resources []Resource, takeOver bool) error {
	kinds, names := columnsOf(resources)
	if takeOver {
		if _, err := tx.Exec(ctx, takeManaged, tx.Tenant, file, tx.Now, kinds, names); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, insertManaged, tx.Tenant, file, tx.Now, kinds, names); err != nil {
		return err
	}
	held, err := Managed(ctx, tx)
	if err != nil {
		return err
	}
	wanted := map[Resource]bool{}
	for _, r := range resources {
		wanted[r] = true
		if other := held[r]; other != file {
			return ErrManaged.Explain("%s is managed by %s", r, other)
		}
	}
	var gone []Resource
	for r, f := range held {
		if f == file && !wanted[r] {
			gone = append(gone, r)
		}
	}
	if len(gone) > 0 {
		kinds, names := columnsOf(gone)
		if _, err := tx.Exec(ctx, deleteManaged, tx.Tenant, file, kinds, names); err != nil {
			return err
		}
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "file.manage", Object: file, After: map[string]int{"managed": len(resources), "released": len(gone)}})
}

func columnsOf(resources []Resource) (kinds, names []string) {
	kinds, names = []string{}, []string{}
	for _, r := range resources {
		kinds, names = append(kinds, r.Kind), append(names, r.Name)
	}
	return kinds, names
}

// Managed gives the file that manages each managed resource of the
// transaction's tenant.
func Managed(ctx context.Context, tx *pg.Tx) (map[Resource]string, error) {
	return managed(ctx, tx, listManaged, tx.Tenant)
}

func managed(ctx context.Context, tx *pg.Tx, sql string, args ...any) (map[Resource]string, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	all := map[Resource]string{}
	var r Resource
	var file string
	_, err = pgx.ForEachRow(rows, []any{&r.Kind, &r.Name, &file}, func() error {
		all[r] = file
		return nil
	})
	return all, err
}

// RefuseManaged is [ErrManaged] if a file manages one of the resources; the
// detail names resource and file.
func RefuseManaged(ctx context.Context, tx *pg.Tx, resources ...Resource) error {
	kinds, names := columnsOf(resources)
	held, err := managed(ctx, tx, selectManaged, tx.Tenant, kinds, names)
	if err != nil {
		return err
	}
	for _, r := range resources {
		if file, ok := held[r]; ok {
			return ErrManaged.Explain("%s", fmt.Sprintf("%s is managed by %s", r, file))
		}
	}
	return nil
}
