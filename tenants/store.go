package tenants

import (
	"cmp"
	"context"
	"encoding/json"
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

	mu      sync.Mutex
	held    *Snapshot     // nil = it must be looked at
	last    *Snapshot     // what was read last
	loaded  time.Time     // when held was last known to be so
	reading chan struct{} // closed when the caller that is looking has done so; nil = none is
	made    int64         // changes through this Directory
}

// refreshEvery is how long the directory is not looked at again. A change by
// another process is unseen for up to twice that, while one caller is looking.
const refreshEvery = 2 * time.Second

// missEvery is how long nobody looks again for a tenant that is not there: one that
// another process has made just now is found, and asking for one that does not exist
// costs the database little.
const missEvery = 100 * time.Millisecond

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
	t.later = nil
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
		now, err := d.db.NowOf(ctx, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET state = $2, state_since = $3 WHERE tenant_id = $1`, id, to, now); err != nil {
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
	d.made++
	d.held = nil
	d.mu.Unlock()
}

// A Snapshot is the directory at one time. It never changes, and asking it does
// no I/O.
type Snapshot struct {
	list     []Tenant // by number
	byID     map[citygate.TenantID]*Tenant
	bySlug   map[string]*Tenant
	byIssuer map[citygate.Issuer]*Tenant
	below    map[citygate.TenantID][]*Tenant // by owner
	serves   map[citygate.TenantID][]citygate.TenantID
	quotas   map[citygate.TenantID]Quota // that are not the usual
	mark     mark

	indexed sync.Once
	issuers map[citygate.TenantID][]*Tenant // by the uppermost owners of their trees
}

// A mark changes with every change of the directory: a row that is new adds to
// both, and one that is changed gets the number of a later transaction. Tenants
// are never removed; where as many services are added as removed, they have the
// numbers of later transactions. It costs the server a look at every row, and us
// one row.
type mark struct{ rows, transactions, services, servedBy, calendars int64 }

const markOf = `
	SELECT t.n, t.x, m.n, m.x, (SELECT count(*) FROM platform.calendars)
	FROM (SELECT count(*) AS n, coalesce(sum(xmin::text::bigint), 0)::bigint AS x FROM platform.tenants) AS t,
		(SELECT count(*) AS n, coalesce(sum(xmin::text::bigint), 0)::bigint AS x FROM platform.memberships) AS m`

// read gives the directory as it is, old if it has not changed.
func (d *Directory) read(ctx context.Context, old *Snapshot) (next *Snapshot, err error) {
	err = d.db.InSystem(ctx, func(tx *pg.Tx) error {
		next = &Snapshot{byID: map[citygate.TenantID]*Tenant{}, bySlug: map[string]*Tenant{}, byIssuer: map[citygate.Issuer]*Tenant{}, below: map[citygate.TenantID][]*Tenant{},
			serves: map[citygate.TenantID][]citygate.TenantID{}, quotas: map[citygate.TenantID]Quota{}}
		m := &next.mark
		if err := tx.QueryRow(ctx, markOf).Scan(&m.rows, &m.transactions, &m.services, &m.servedBy, &m.calendars); err != nil {
			return err
		}
		if old != nil && old.mark == next.mark {
			next = old
			return nil
		}
		// What is changed between the two statements is seen here and not in the mark,
		// so that it is read once more.
		rows, err := tx.Query(ctx, `SELECT `+columns+` FROM platform.tenants ORDER BY tenant_id`)
		if err != nil {
			return err
		}
		if next.list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (Tenant, error) { return scan(r) }); err != nil {
			return err
		}
		later, err := scanCalendars(tx.Query(ctx, selectCalendars+` ORDER BY tenant_id, version`))
		for i := range next.list {
			t := &next.list[i]
			if versions := later[t.ID]; versions != nil {
				t.later = &versions
			}
			next.byID[t.ID], next.bySlug[t.Slug] = t, t
			next.below[t.Parent] = append(next.below[t.Parent], t)
			if t.Issuer != 0 {
				next.byIssuer[t.Issuer] = t
			}
		}
		if err != nil {
			return err
		}
		if rows, err = tx.Query(ctx, `SELECT tenant_id, authority_id FROM platform.memberships ORDER BY tenant_id, authority_id`); err != nil {
			return err
		}
		var operator, authority citygate.TenantID
		_, err = pgx.ForEachRow(rows, []any{&operator, &authority}, func() error {
			next.serves[operator] = append(next.serves[operator], authority)
			return nil
		})
		if err != nil {
			return err
		}
		if rows, err = tx.Query(ctx, `SELECT tenant_id, quota FROM platform.tenants WHERE quota IS NOT NULL`); err != nil {
			return err
		}
		var id citygate.TenantID
		var quota []byte
		_, err = pgx.ForEachRow(rows, []any{&id, &quota}, func() error {
			var q Quota
			err := json.Unmarshal(quota, &q)
			next.quotas[id] = q
			return err
		})
		return err
	})
	return next, err
}

// Snapshot gives the directory. While one caller looks whether it has changed
// the others go on with what there is, as long as that is not old.
func (d *Directory) Snapshot(ctx context.Context) (*Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var now time.Time
	for {
		now = d.clock()
		age := now.Sub(d.loaded)
		fresh := d.held != nil && age >= 0
		if fresh && (age < refreshEvery || d.reading != nil && age < 2*refreshEvery) {
			return d.held, nil
		}
		if d.reading == nil {
			break
		}
		reading := d.reading
		d.mu.Unlock()
		select {
		case <-reading:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	reading, made, old := make(chan struct{}), d.made, d.last
	d.reading = reading
	d.mu.Unlock()
	var next *Snapshot
	err := error(nil)
	defer func() {
		// Still locked; deferred, so that a panic of the driver leaves nobody waiting.
		close(reading)
		d.reading = nil
		if err == nil && next != nil && d.made == made {
			d.held, d.last, d.loaded = next, next, now
		}
	}()
	func() {
		defer d.mu.Lock()
		next, err = d.read(ctx, old)
	}()
	return next, err
}

func of[K comparable](index map[K]*Tenant, key K) (t Tenant, ok bool) {
	if found := index[key]; found != nil {
		return *found, true
	}
	return Tenant{}, false
}

// ByID gives the tenant with the number id, if there is one.
func (s *Snapshot) ByID(id citygate.TenantID) (t Tenant, ok bool) {
	return of(s.byID, id)
}

// ByIssuer gives the tenant that signs codes as issuer, if there is one.
func (s *Snapshot) ByIssuer(issuer citygate.Issuer) (t Tenant, ok bool) {
	return of(s.byIssuer, issuer)
}

// OneTree reports whether two tenants belong to one authority, as its operators,
// as itself, or by serving it.
func (s *Snapshot) OneTree(a, b citygate.TenantID) bool {
	if a == b {
		return true
	}
	tops := s.tops(a)
	return slices.ContainsFunc(s.tops(b), func(top citygate.TenantID) bool { return slices.Contains(tops, top) })
}

// IssuersWith gives the tenants that issue codes in the trees of a tenant, by number.
func (s *Snapshot) IssuersWith(id citygate.TenantID) (list []citygate.TenantID) {
	s.indexed.Do(func() {
		s.issuers = map[citygate.TenantID][]*Tenant{}
		for i := range s.list {
			if t := &s.list[i]; t.Issuer != 0 {
				for _, top := range s.tops(t.ID) {
					s.issuers[top] = append(s.issuers[top], t)
				}
			}
		}
	})
	for _, top := range s.tops(id) {
		for _, t := range s.issuers[top] {
			list = append(list, t.ID)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// tops gives the uppermost owners of a tenant and of the authorities it serves.
func (s *Snapshot) tops(id citygate.TenantID) (tops []citygate.TenantID) {
	for _, from := range append([]citygate.TenantID{id}, s.serves[id]...) {
		for range len(s.list) { // a ring of owners ends
			t := s.byID[from]
			if t == nil || t.Parent == 0 {
				break
			}
			from = t.Parent
		}
		tops = append(tops, from)
	}
	return tops
}

// find gives the tenant that pick finds, and looks again before it says there is none.
func (d *Directory) find(ctx context.Context, pick func(*Snapshot) (Tenant, bool)) (Tenant, bool, error) {
	all, err := d.Snapshot(ctx)
	if err != nil {
		return Tenant{}, false, err
	}
	if t, ok := pick(all); ok {
		return t, true, nil
	}
	d.mu.Lock()
	if d.held == all && d.clock().Sub(d.loaded) >= missEvery {
		d.held = nil
	}
	d.mu.Unlock()
	if all, err = d.Snapshot(ctx); err != nil {
		return Tenant{}, false, err
	}
	t, ok := pick(all)
	return t, ok, nil
}

// ByID gives the tenant with the number id, or [ErrNotFound].
func (d *Directory) ByID(ctx context.Context, id citygate.TenantID) (Tenant, error) {
	t, ok, err := d.find(ctx, func(s *Snapshot) (Tenant, bool) { return s.ByID(id) })
	if err == nil && !ok {
		err = ErrNotFound.Because(nil, "tenant %d", id)
	}
	return t, err
}

// BySlug gives the tenant named slug, or [ErrNotFound].
func (d *Directory) BySlug(ctx context.Context, slug string) (Tenant, error) {
	t, ok, err := d.find(ctx, func(s *Snapshot) (Tenant, bool) { return of(s.bySlug, slug) })
	if err == nil && !ok {
		err = ErrNotFound.Because(nil, "%s", slug)
	}
	return t, err
}

// ByIssuer gives the tenant that signs codes as issuer, or [ErrNotFound].
func (d *Directory) ByIssuer(ctx context.Context, issuer citygate.Issuer) (Tenant, error) {
	t, ok, err := d.find(ctx, func(s *Snapshot) (Tenant, bool) { return s.ByIssuer(issuer) })
	if err == nil && !ok {
		err = ErrNotFound.Because(nil, "issuer %d", issuer)
	}
	return t, err
}

// All gives every tenant in the order of their numbers.
func (d *Directory) All(ctx context.Context) ([]Tenant, error) {
	all, err := d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(all.list), nil
}

// Under gives a tenant and all that it owns, directly and through others, in the
// order of their numbers; none where there is no such tenant.
func (d *Directory) Under(ctx context.Context, id citygate.TenantID) ([]Tenant, error) {
	all, err := d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	t, ok := all.ByID(id)
	if !ok {
		return nil, nil
	}
	list, seen := []Tenant{t}, map[citygate.TenantID]bool{id: true}
	for i := 0; i < len(list); i++ {
		for _, owned := range all.below[list[i].ID] {
			if !seen[owned.ID] { // a ring of owners ends here
				seen[owned.ID] = true
				list = append(list, *owned)
			}
		}
	}
	slices.SortFunc(list, func(a, b Tenant) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}
