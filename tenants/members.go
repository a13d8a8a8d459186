package tenants

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Serve says which authorities an operator serves besides the one that owns it:
// exactly these from now on. The two then ride as one tree does: by acceptance
// rules, without terms of roaming.
//
// It gives the authority's people no right to read or change anything of the
// operator: that one is owned by another authority, which alone has rights below
// it, and carries riders of both. What a served authority needs it has in its own
// books: the claims for its riders with their evidence, and what it owes. Whoever
// is to see more is made a member of the operator's tenant, by the operator.
func (d *Directory) Serve(ctx context.Context, actor string, operator citygate.TenantID, authorities ...citygate.TenantID) error {
	authorities = slices.Clone(authorities)
	slices.Sort(authorities)
	authorities = slices.Compact(authorities)
	err := d.db.InSystem(ctx, func(tx *pg.Tx) error {
		t, err := lockTenant(ctx, tx, operator)
		if err != nil {
			return err
		}
		if t.Kind == Authority && len(authorities) > 0 {
			return ErrInvalid.Explain("%s is an authority: only operators serve one", t.Slug)
		}
		for _, id := range authorities {
			a, err := one(ctx, tx, id)
			switch {
			case err != nil:
				return err
			case a.Kind != Authority || id == t.Parent:
				return ErrInvalid.Explain("%s does not serve %s besides its own authority: want another authority", t.Slug, a.Slug)
			}
		}
		before, err := serves(ctx, tx, operator)
		if err != nil || slices.Equal(before, authorities) {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM platform.memberships WHERE tenant_id = $1 AND authority_id <> ALL($2::bigint[])`, operator, authorities); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO platform.memberships (tenant_id, authority_id, since) SELECT $1, a, $3 FROM unnest($2::bigint[]) AS a
			ON CONFLICT (tenant_id, authority_id) DO NOTHING`, operator, authorities, tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tenant.serve", Object: t.Slug, Before: before, After: authorities})
	})
	if err == nil {
		d.forget()
	}
	return err
}

func serves(ctx context.Context, tx *pg.Tx, operator citygate.TenantID) ([]citygate.TenantID, error) {
	rows, err := tx.Query(ctx, `SELECT authority_id FROM platform.memberships WHERE tenant_id = $1 ORDER BY authority_id`, operator)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.TenantID])
}

// Serves gives the authorities an operator serves besides its parent.
func (d *Directory) Serves(ctx context.Context, operator citygate.TenantID) (list []citygate.TenantID, err error) {
	err = d.db.InSystem(ctx, func(tx *pg.Tx) (err error) {
		list, err = serves(ctx, tx, operator)
		return err
	})
	return list, err
}

// Operators gives the operators of an authority: those it owns, and those that
// serve it besides.
func (d *Directory) Operators(ctx context.Context, authority citygate.TenantID) (list []citygate.TenantID, err error) {
	err = d.db.InSystem(ctx, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT tenant_id FROM platform.tenants WHERE parent_id = $1
			UNION SELECT tenant_id FROM platform.memberships WHERE authority_id = $1 ORDER BY 1`, authority)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowTo[citygate.TenantID])
		return err
	})
	return list, err
}

// Rename gives a tenant another name for people.
func (d *Directory) Rename(ctx context.Context, actor string, id citygate.TenantID, name string) error {
	if name == "" {
		return ErrInvalid.Explain("name is empty")
	}
	err := d.db.InSystem(ctx, func(tx *pg.Tx) error {
		t, err := lockTenant(ctx, tx, id)
		if err != nil || t.Name == name {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET name = $2 WHERE tenant_id = $1`, id, name); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tenant.rename", Object: t.Slug, Before: t.Name, After: name})
	})
	if err == nil {
		d.forget()
	}
	return err
}

// StateSince gives a tenant as it is now, and when it came into its state.
func (d *Directory) StateSince(ctx context.Context, id citygate.TenantID) (t Tenant, since time.Time, err error) {
	err = d.db.InSystem(ctx, func(tx *pg.Tx) error {
		if t, err = one(ctx, tx, id); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT coalesce(state_since, created_at) FROM platform.tenants WHERE tenant_id = $1`, id).Scan(&since)
	})
	return t, since.UTC(), err
}

func lockTenant(ctx context.Context, tx *pg.Tx, id citygate.TenantID) (Tenant, error) {
	t, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM platform.tenants WHERE tenant_id = $1 FOR UPDATE`, id))
	if pg.IsNoRows(err) {
		return Tenant{}, ErrNotFound.Because(nil, "tenant %d", id)
	}
	return t, err
}

func one(ctx context.Context, tx *pg.Tx, id citygate.TenantID) (Tenant, error) {
	t, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM platform.tenants WHERE tenant_id = $1`, id))
	if pg.IsNoRows(err) {
		return Tenant{}, ErrNotFound.Because(nil, "tenant %d", id)
	}
	return t, err
}

// MayOwn is [ErrInvalid] where parent, the zero tenant for none, cannot own t.
func (d *Directory) MayOwn(ctx context.Context, t, parent Tenant) error {
	if parent.ID == 0 {
		return nil
	}
	if parent.Kind != Authority || parent.Mode != t.Mode {
		return ErrInvalid.Explain("parent: want an authority in %s mode, %s is a %s in %s mode", t.Mode, parent.Slug, parent.Kind, parent.Mode)
	}
	below, err := d.Under(ctx, t.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(below, func(b Tenant) bool { return b.ID == parent.ID }) {
		return ErrInvalid.Explain("parent: %s is below %s", parent.Slug, t.Slug)
	}
	served, err := d.Serves(ctx, t.ID)
	if err == nil && slices.Contains(served, parent.ID) {
		err = ErrInvalid.Explain("parent: %s serves %s besides: take that out first", t.Slug, parent.Slug)
	}
	return err
}

// Move gives a tenant another authority, none for 0. The caller has seen to it that
// no money is under way with the former's tenants.
func (d *Directory) Move(ctx context.Context, actor string, id, parent citygate.TenantID) error {
	err := d.db.InSystem(ctx, func(tx *pg.Tx) error {
		t, err := lockTenant(ctx, tx, id)
		if err != nil || t.Parent == parent {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET parent_id = nullif($2::bigint, 0) WHERE tenant_id = $1`, id, parent); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tenant.move", Object: t.Slug, Before: t.Parent, After: parent})
	})
	if err == nil {
		d.forget()
	}
	return err
}
