package tenants

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/jackc/pgx/v5"
)

// A Directory reads and changes the platform's list of tenants. Reads are
// cached; every change through this Directory is seen by it at once, and a
// change made elsewhere within the refresh interval.
type Directory struct {
	db    *pg.DB
	clock citygate.Clock

	mu     sync.Mutex
	loaded time.Time
	byID   map[citygate.TenantID]Tenant
}

// refreshEvery bounds how long a change by another process stays unseen.
const refreshEvery = 2 * time.Second

// NewDirectory gives a Directory over db.
func NewDirectory(db *pg.DB, clock citygate.Clock) *Directory {
	return &Directory{db: db, clock: clock}
}

const columns = `tenant_id, slug, name, kind, coalesce(parent_id, 0), mode, coalesce(issuer, 0), currency,
	time_zone, cut_minutes, calendar_version, cap_unit, state`

func scan(row pgx.Row) (Tenant, error) {
	var t Tenant
	var issuer int32
	err := row.Scan(&t.ID, &t.Slug, &t.Name, &t.Kind, &t.Parent, &t.Mode, &issuer, &t.Currency,
		&t.TimeZone, &t.CutMinutes, &t.CalendarVersion, &t.CapUnit, &t.State)
	t.Issuer = citygate.Issuer(issuer)
	return t, err
}

const insertTenant = `
	INSERT INTO platform.tenants (tenant_id, slug, name, kind, parent_id, mode, issuer, currency,
		time_zone, cut_minutes, calendar_version, cap_unit, state, created_at)
	VALUES ($1, $2, $3, $4, nullif($5::bigint, 0), $6, nullif($7::int, 0), $8, $9, $10, $11, $12, $13, $14)
	ON CONFLICT DO NOTHING`

// Create adds a tenant. Creating the same tenant again changes nothing; another
// tenant under the same number, slug or issuer number is [ErrExists].
func (d *Directory) Create(ctx context.Context, actor string, t Tenant) error {
	if t.State == "" {
		t.State = Active
	}
	if t.CalendarVersion == 0 {
		t.CalendarVersion = 1
	}
	if err := t.Check(); err != nil {
		return err
	}
	err := d.db.InSystem(ctx, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, insertTenant, t.ID, t.Slug, t.Name, t.Kind, t.Parent, t.Mode, int32(t.Issuer), t.Currency,
			t.TimeZone, t.CutMinutes, t.CalendarVersion, t.CapUnit, t.State, tx.Now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			old, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM platform.tenants WHERE tenant_id = $1`, t.ID))
			if errors.Is(err, pgx.ErrNoRows) {
				return ErrExists.Explain("slug %q or issuer %d is taken by another tenant", t.Slug, t.Issuer)
			}
			if err != nil {
				return err
			}
			if old.State = t.State; old != t {
				return ErrExists.Explain("tenant %d exists with other settings", t.ID)
			}
			return nil
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tenant.create", Object: t.Slug, After: t})
	})
	if err == nil {
		d.forget()
	}
	return err
}

// SetState moves a tenant along its life; an illegal step is [ErrState].
func (d *Directory) SetState(ctx context.Context, actor string, id citygate.TenantID, to State) error {
	err := d.db.InSystem(ctx, func(tx *pg.Tx) error {
		old, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM platform.tenants WHERE tenant_id = $1 FOR UPDATE`, id))
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound.Because(nil, "tenant %d", id)
		}
		if err != nil || old.State == to {
			return err
		}
		if !slices.Contains(transitions[old.State], to) {
			return ErrState.Explain("%s cannot become %s", old.State, to)
		}
		if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET state = $2, state_since = $3 WHERE tenant_id = $1`, id, to, tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tenant.state", Object: old.Slug, Before: old.State, After: to})
	})
	if err == nil {
		d.forget()
	}
	return err
}

func (d *Directory) forget() {
	d.mu.Lock()
	d.byID = nil
	d.mu.Unlock()
}

// snapshot gives the directory's map; callers must not change it.
func (d *Directory) snapshot(ctx context.Context) (map[citygate.TenantID]Tenant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock()
	if age := now.Sub(d.loaded); d.byID != nil && age >= 0 && age < refreshEvery {
		return d.byID, nil
	}
	byID := map[citygate.TenantID]Tenant{}
	err := d.db.InSystem(ctx, func(tx *pg.Tx) error {
		clear(byID)
		rows, err := tx.Query(ctx, `SELECT `+columns+` FROM platform.tenants`)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Tenant, error) { return scan(r) })
		for _, t := range list {
			byID[t.ID] = t
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d.byID, d.loaded = byID, now
	return byID, nil
}

// ByID gives the tenant with the number id, or [ErrNotFound].
func (d *Directory) ByID(ctx context.Context, id citygate.TenantID) (Tenant, error) {
	all, err := d.snapshot(ctx)
	if err != nil {
		return Tenant{}, err
	}
	t, ok := all[id]
	if !ok {
		return Tenant{}, ErrNotFound.Because(nil, "tenant %d", id)
	}
	return t, nil
}

// BySlug gives the tenant named slug, or [ErrNotFound].
func (d *Directory) BySlug(ctx context.Context, slug string) (Tenant, error) {
	return d.first(ctx, func(t Tenant) bool { return t.Slug == slug }, slug)
}

// ByIssuer gives the tenant that signs codes as issuer, or [ErrNotFound].
func (d *Directory) ByIssuer(ctx context.Context, issuer citygate.Issuer) (Tenant, error) {
	return d.first(ctx, func(t Tenant) bool { return issuer != 0 && t.Issuer == issuer }, "issuer")
}

func (d *Directory) first(ctx context.Context, is func(Tenant) bool, what string) (Tenant, error) {
	all, err := d.snapshot(ctx)
	if err != nil {
		return Tenant{}, err
	}
	for _, t := range all {
		if is(t) {
			return t, nil
		}
	}
	return Tenant{}, ErrNotFound.Because(nil, "%s", what)
}

// All gives every tenant in the order of their numbers.
func (d *Directory) All(ctx context.Context) ([]Tenant, error) {
	all, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Tenant, 0, len(all))
	for _, t := range all {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Tenant) int { return int(a.ID - b.ID) })
	return list, nil
}
