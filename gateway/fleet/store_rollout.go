package fleet

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

var _ keys.Rollout = (*Fleet)(nil)

// laggardsMax bounds the list of one operator.
const laggardsMax = 1000

const (
	upsertHolders = `
		INSERT INTO platform.key_holders AS h (tenant_id, purpose, kid, operator_id, first_held, last_held)
		SELECT t, p, k, $4, $5, $5 FROM unnest($1::bigint[], $2::text[], $3::smallint[]) AS u (t, p, k)
		ON CONFLICT (tenant_id, purpose, kid, operator_id) DO UPDATE SET last_held = greatest(h.last_held, excluded.last_held)`
	selectHolders = `
		SELECT operator_id, max(last_held), coalesce(max(first_held) FILTER (WHERE kid = $3), 0), coalesce(max(last_held) FILTER (WHERE kid = $3), 0)
		FROM platform.key_holders WHERE tenant_id = $1 AND purpose = $2 GROUP BY operator_id ORDER BY operator_id`
	// A terminal that went back acknowledged more than it holds.
	selectBehind = `
		SELECT t.terminal_id, t.name, t.bundle_floor, t.seen_at FROM terminals t
		WHERE t.tenant_id = $1 AND t.state = 'active' AND t.seen_at >= $2 AND (t.bundle_floor < $3 OR EXISTS (
			SELECT FROM terminal_flags f
			WHERE f.tenant_id = $1 AND f.terminal_id = t.terminal_id AND f.flag = '` + string(BundleRollback) + `' AND f.cleared_at IS NULL))
		ORDER BY t.terminal_id LIMIT $4`
	selectNewest = `SELECT coalesce(max(version), 0) FROM bundles WHERE tenant_id = $1`
)

// noteHolders notes which keys a bundle that is in force for the transaction's
// tenant holds, as the bundle itself says.
func noteHolders(ctx context.Context, tx *pg.Tx, b Published) error {
	content, _, err := bundle.Inspect(b.Body)
	if err != nil {
		return err
	}
	tenants, purposes, kids := make([]int64, 0, len(content.Keys)), make([]string, 0, len(content.Keys)), make([]int16, 0, len(content.Keys))
	for _, k := range content.Keys {
		for _, p := range []keys.Purpose{keys.Credential, keys.DenyList, keys.Policy} {
			if p.Usage() == k.Usage {
				tenants, purposes, kids = append(tenants, int64(k.Tenant)), append(purposes, string(p)), append(kids, int16(k.KeyID))
			}
		}
	}
	_, err = tx.Exec(ctx, upsertHolders, tenants, purposes, kids, int64(tx.Tenant), int64(b.Version))
	return err
}

// A holder is an operator whose bundles hold, or held, keys of some tenant and
// purpose.
type holder struct {
	Operator  citygate.TenantID
	LastAny   int64 // the last bundle with any of them
	First     int64 // the first with the one asked for; 0 = none
	LastOfKey int64
}

// Holders lists the operators whose newest bundle holds a key of the tenant and
// purpose: those to publish for when there is a new one.
func (f *Fleet) Holders(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) ([]citygate.TenantID, error) {
	all, err := f.holders(ctx, keys.Key{Tenant: tenant, Purpose: purpose})
	if err != nil {
		return nil, err
	}
	var list []citygate.TenantID
	for _, h := range all {
		newest, err := f.newest(ctx, h.Operator)
		if err != nil {
			return nil, err
		}
		if newest == h.LastAny {
			list = append(list, h.Operator)
		}
	}
	return list, nil
}

func (f *Fleet) holders(ctx context.Context, k keys.Key) (all []holder, err error) {
	err = f.db.InSystem(ctx, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, selectHolders, k.Tenant, k.Purpose, int16(k.KeyID))
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[holder])
		return err
	})
	return all, err
}

func (f *Fleet) newest(ctx context.Context, operator citygate.TenantID) (newest int64, err error) {
	err = f.db.InTenant(ctx, operator, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, selectNewest, tx.Tenant).Scan(&newest)
	})
	return newest, err
}

// Laggards implements [keys.Rollout]. An operator whose newest bundle holds none
// of the tenant's keys of that purpose has stopped to accept it and is not
// waited for; one whose newest bundle holds others and not this one makes all of
// its terminals laggards. Of one operator 1,000 are listed at most.
func (f *Fleet) Laggards(ctx context.Context, k keys.Key, since time.Time) ([]keys.Laggard, error) {
	all, err := f.holders(ctx, k)
	if err != nil {
		return nil, err
	}
	var late []keys.Laggard
	for _, h := range all {
		var of []keys.Laggard
		err := f.db.InTenant(ctx, h.Operator, func(tx *pg.Tx) error {
			of = nil // the transaction may run again
			var newest int64
			err := tx.QueryRow(ctx, selectNewest, tx.Tenant).Scan(&newest)
			if err != nil {
				return err
			}
			needs := h.First
			switch {
			case h.LastAny < newest:
				return nil
			case h.LastOfKey < newest:
				needs = newest + 1 // not in a bundle yet, or not any more
			}
			of, err = behind(ctx, tx, since, needs)
			return err
		})
		if err != nil {
			return nil, err
		}
		late = append(late, of...)
	}
	return late, nil
}

func behind(ctx context.Context, tx *pg.Tx, since time.Time, needs int64) ([]keys.Laggard, error) {
	rows, err := tx.Query(ctx, selectBehind, tx.Tenant, since, needs, laggardsMax)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (keys.Laggard, error) {
		l := keys.Laggard{Operator: tx.Tenant, Needs: uint64(needs)}
		err := row.Scan(&l.Terminal, &l.Name, &l.Holds, &l.Seen)
		l.Seen = l.Seen.UTC()
		return l, err
	})
}
