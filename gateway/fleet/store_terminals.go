package fleet

import (
	"bytes"
	"context"
	"crypto"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Fleet is the terminals, vehicles and payees of all operators of a database.
type Fleet struct{ db *pg.DB }

// New gives the fleet of db.
func New(db *pg.DB) *Fleet { return &Fleet{db} }

const (
	terminalColumns = `terminal_id, name, public_key, algorithm, kind, mode, stop, route, vehicle, state, bundle_floor, seen_at, software, clock_offset_ms, enrolled_at`

	insertTerminal = `
		INSERT INTO terminals (tenant_id, ` + terminalColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'active', 0, NULL, '', NULL, $11)
		ON CONFLICT DO NOTHING`
	selectTerminals     = `SELECT ` + terminalColumns + ` FROM terminals WHERE tenant_id = $1 AND terminal_id = ANY($2::bigint[]) ORDER BY terminal_id`
	selectTerminalByKey = `SELECT ` + terminalColumns + ` FROM terminals WHERE tenant_id = $1 AND public_key = $2`
	listTerminals       = `SELECT ` + terminalColumns + ` FROM terminals WHERE tenant_id = $1 AND terminal_id > $2 ORDER BY terminal_id LIMIT $3`
	lastTerminal        = `SELECT coalesce(max(terminal_id), 0) FROM terminals WHERE tenant_id = $1`
	updateTerminalState = `UPDATE terminals SET state = $3 WHERE tenant_id = $1 AND terminal_id = $2`
	updateOffset        = `UPDATE terminals SET clock_offset_ms = $3 WHERE tenant_id = $1 AND terminal_id = $2`
)

// Enrol adds a terminal under a public key. The same terminal again gives the
// one that is there; a number or key that is taken otherwise is [ErrConflict].
// With number 0 the key decides: an enrolled key keeps its number, a new one
// gets the next.
func (f *Fleet) Enrol(ctx context.Context, actor string, tenant citygate.TenantID, t Terminal, public crypto.PublicKey) (Terminal, error) {
	if err := t.check(); err != nil {
		return Terminal{}, err
	}
	var err error
	if t.Algorithm, t.Public, err = bundle.EncodePublic(public); err != nil {
		return Terminal{}, ErrInvalid.Because(err, "public key")
	}
	var got Terminal
	err = f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		got, err = enrol(ctx, tx, actor, t)
		return err
	})
	return got, err
}

func enrol(ctx context.Context, tx *pg.Tx, actor string, t Terminal) (Terminal, error) {
	for {
		id := int64(t.ID)
		if t.ID == 0 {
			if err := tx.QueryRow(ctx, lastTerminal, tx.Tenant).Scan(&id); err != nil {
				return Terminal{}, err
			}
			if id++; id > math.MaxUint32 {
				return Terminal{}, ErrInvalid.Explain("the tenant has used all terminal numbers")
			}
		}
		tag, err := tx.Exec(ctx, insertTerminal, tx.Tenant, id, t.Name, t.Public, t.Algorithm, t.Kind, t.Mode, t.Stop, t.Route, t.Vehicle, tx.Now)
		if err != nil {
			return Terminal{}, err
		}
		if tag.RowsAffected() == 1 {
			got := t
			got.ID, got.State, got.BundleFloor, got.SeenAt, got.Software, got.ClockOffset, got.EnrolledAt = uint32(id), Active, 0, time.Time{}, "", nil, tx.Now
			return got, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "terminal.enrol", Object: terminalName(got.ID), After: got})
		}
		held, err := terminals(ctx, tx, selectTerminalByKey, tx.Tenant, t.Public)
		switch {
		case err != nil:
			return Terminal{}, err
		case len(held) == 1 && (t.ID == 0 || held[0].ID == t.ID) && held[0].sameDevice(t):
			return held[0], nil
		case len(held) == 1:
			return Terminal{}, ErrConflict.Explain("this key is enrolled as terminal %d", held[0].ID)
		case t.ID != 0:
			return Terminal{}, ErrConflict.Explain("terminal %d is enrolled with another key", t.ID)
		}
		// The next free number was taken in between: look again.
	}
}

// sameDevice reports whether enrolling t again would change nothing that a key
// stands for. Where a device rides may have been changed since.
func (t Terminal) sameDevice(o Terminal) bool {
	return t.Algorithm == o.Algorithm && bytes.Equal(t.Public, o.Public) && t.Kind == o.Kind && t.Mode == o.Mode
}

// Get gives one terminal of the transaction's tenant.
func Get(ctx context.Context, tx *pg.Tx, id uint32) (Terminal, error) {
	found, err := GetAll(ctx, tx, id)
	if err != nil {
		return Terminal{}, err
	}
	if len(found) == 0 {
		return Terminal{}, ErrNotFound.Explain("terminal %d", id)
	}
	return found[0], nil
}

// GetAll gives those of the named terminals that there are, by number.
func GetAll(ctx context.Context, tx *pg.Tx, ids ...uint32) ([]Terminal, error) {
	return terminals(ctx, tx, selectTerminals, tx.Tenant, wide(ids))
}

// List gives up to limit terminals with numbers above after.
func List(ctx context.Context, tx *pg.Tx, after uint32, limit int) ([]Terminal, error) {
	return terminals(ctx, tx, listTerminals, tx.Tenant, int64(after), min(max(limit, 1), 1000))
}

func wide(ids []uint32) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}

func terminals(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Terminal, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Terminal, error) {
		var t Terminal
		var offset *int64
		var seen *time.Time
		err := row.Scan(&t.ID, &t.Name, &t.Public, &t.Algorithm, &t.Kind, &t.Mode, &t.Stop, &t.Route, &t.Vehicle, &t.State, &t.BundleFloor, &seen, &t.Software, &offset, &t.EnrolledAt)
		if offset != nil {
			d := time.Duration(*offset) * time.Millisecond
			t.ClockOffset = &d
		}
		if seen != nil {
			t.SeenAt = seen.UTC()
		}
		t.EnrolledAt = t.EnrolledAt.UTC()
		return t, err
	})
}

// SetState suspends a terminal or takes it back. Batches of a suspended
// terminal are for the caller to refuse.
func (f *Fleet) SetState(ctx context.Context, actor string, tenant citygate.TenantID, id uint32, state State) error {
	if state != Active && state != Suspended {
		return ErrInvalid.Explain("state %q: want active or suspended", state)
	}
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		before, err := Get(ctx, tx, id)
		if err != nil || before.State == state {
			return err
		}
		if _, err := tx.Exec(ctx, updateTerminalState, tx.Tenant, int64(id), state); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "terminal." + string(state), Object: terminalName(id), Before: before.State, After: state})
	})
}

// Offset notes how far a terminal's clock is ahead of ours.
func Offset(ctx context.Context, tx *pg.Tx, id uint32, offset time.Duration) error {
	_, err := tx.Exec(ctx, updateOffset, tx.Tenant, int64(id), offset.Milliseconds())
	return err
}

const (
	upsertFlag = `
		INSERT INTO terminal_flags AS f (tenant_id, terminal_id, flag, since, last_seen, times, detail, cleared_at)
		VALUES ($1, $2, $3, $4, $4, 1, $5, NULL)
		ON CONFLICT (tenant_id, terminal_id, flag) DO UPDATE SET
			since = CASE WHEN f.cleared_at IS NULL THEN f.since ELSE excluded.since END,
			detail = CASE WHEN f.cleared_at IS NULL THEN f.detail ELSE excluded.detail END,
			last_seen = excluded.last_seen, times = f.times + 1, cleared_at = NULL`
	clearFlag = `
		UPDATE terminal_flags SET cleared_at = $4
		WHERE tenant_id = $1 AND terminal_id = $2 AND flag = $3 AND cleared_at IS NULL`
	selectFlags = `
		SELECT terminal_id, flag, since, last_seen, times, detail, cleared_at
		FROM terminal_flags WHERE tenant_id = $1 AND terminal_id = ANY($2::bigint[]) ORDER BY terminal_id, flag`
	listFlags = `
		SELECT terminal_id, flag, since, last_seen, times, detail, cleared_at
		FROM terminal_flags WHERE tenant_id = $1 AND cleared_at IS NULL ORDER BY terminal_id, flag LIMIT 1000`
)

// Raise flags a terminal. Raised again it is counted; the detail stays that of
// the first case until somebody clears the flag.
func Raise(ctx context.Context, tx *pg.Tx, id uint32, flag Flag, detail string) error {
	_, err := tx.Exec(ctx, upsertFlag, tx.Tenant, int64(id), flag, tx.Now, detail)
	if pg.SQLState(err) == pg.StateForeignKeyViolation {
		return ErrNotFound.Explain("terminal %d", id)
	}
	return err
}

// Clear says that somebody looked at a flag and it is settled.
func (f *Fleet) Clear(ctx context.Context, actor string, tenant citygate.TenantID, id uint32, flag Flag) error {
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, clearFlag, tx.Tenant, int64(id), flag, tx.Now)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "terminal.clear_flag", Object: terminalName(id), After: flag})
	})
}

// Flags gives every flag ever raised on the named terminals; with no names, the
// first thousand that stand.
func Flags(ctx context.Context, tx *pg.Tx, ids ...uint32) ([]Raised, error) {
	sql, args := listFlags, []any{tx.Tenant}
	if len(ids) > 0 {
		sql, args = selectFlags, append(args, wide(ids))
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Raised, error) {
		var r Raised
		var cleared *time.Time
		err := row.Scan(&r.Terminal, &r.Flag, &r.Since, &r.LastSeen, &r.Times, &r.Detail, &cleared)
		if cleared != nil {
			r.Cleared = cleared.UTC()
		}
		r.Since, r.LastSeen = r.Since.UTC(), r.LastSeen.UTC()
		return r, err
	})
}
