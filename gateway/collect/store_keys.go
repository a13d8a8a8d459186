package collect

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// FeedKeys is the list of the keys of a provider's own codes.
const FeedKeys = "keys"

// KeysConfirm is how much later a second list without a key takes it out of force.
const KeysConfirm = feedAgain

const (
	insertListed = `
		INSERT INTO provider_keys (tenant_id, contract, key_id, since, material)
		SELECT $1, $2, u.id, $3, u.material FROM unnest($4::bigint[], $5::bytea[]) AS u (id, material)
		ON CONFLICT (tenant_id, contract, key_id, since) DO NOTHING`
	updateMissed = `
		UPDATE provider_keys SET missed_at = $4 WHERE tenant_id = $1 AND contract = $2 AND key_id = ANY ($3::bigint[]) AND until IS NULL`
	updateUntil = `
		UPDATE provider_keys SET until = $4 WHERE tenant_id = $1 AND contract = $2 AND key_id = ANY ($3::bigint[]) AND until IS NULL`
	selectListed = `
		SELECT key_id, material, since, missed_at, until FROM provider_keys WHERE tenant_id = $1 AND contract = $2 AND (until IS NULL OR until > $3)
		ORDER BY key_id, since`
)

// ListedKeys gives the keys of a contract's provider that are in force or went out of
// it after since, by number and time; the zero time gives all there ever were.
func ListedKeys(ctx context.Context, tx *pg.Tx, contract string, since time.Time) ([]ListedKey, error) {
	rows, err := tx.Query(ctx, selectListed, tx.Tenant, contract, since)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (k ListedKey, err error) {
		var missed, until *time.Time
		var id int64
		err = r.Scan(&id, &k.Material, &k.Since, &missed, &until)
		k.ID = uint32(id)
		if missed != nil {
			k.Missed = *missed
		}
		if until != nil {
			k.Until = *until
		}
		return k, err
	})
}

// TakeKeys makes a whole list the keys of a contract, by the rule of [NextKeys], and
// notes when it is to be read again. A list that is refused leaves them as they are and
// is noted; then refused says why. Whoever reads the same list beside it waits.
func TakeKeys(ctx context.Context, tx *pg.Tx, actor, contract string, list []driver.FeedKey, check func([]byte) error, every time.Duration) (c KeyChange, refused, err error) {
	var letThrough bool
	err = tx.QueryRow(ctx, `SELECT let_through FROM provider_feeds WHERE tenant_id = $1 AND contract = $2 AND feed = $3 FOR UPDATE`,
		tx.Tenant, contract, FeedKeys).Scan(&letThrough)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return KeyChange{}, nil, err
	}
	held, err := ListedKeys(ctx, tx, contract, time.Time{})
	if err != nil {
		return KeyChange{}, nil, err
	}
	c, refused = NextKeys(held, list, check, tx.Now, KeysConfirm, letThrough)
	if refused != nil {
		return KeyChange{}, refused, FeedFailed(ctx, tx, contract, FeedKeys, refused)
	}
	if err := putKeys(ctx, tx, contract, c); err != nil {
		return KeyChange{}, nil, err
	}
	again := every
	if len(c.Missed) > 0 {
		again = min(every, KeysConfirm) // a key that was withdrawn must not stay for long
	}
	if err := FeedPulled(ctx, tx, contract, FeedKeys, len(list), again); err != nil {
		return KeyChange{}, nil, err
	}
	_, err = tx.Exec(ctx, `UPDATE provider_feeds SET let_through = false, carried = carried AND $4 WHERE tenant_id = $1 AND contract = $2 AND feed = $3`,
		tx.Tenant, contract, FeedKeys, !c.Changes())
	if err != nil || !c.Changes() {
		return c, nil, err
	}
	return c, nil, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "provider_keys.change", Object: "contract:" + contract,
		After: map[string]any{"added": numbers(c.Added), "removed": listedNumbers(c.Removed)}})
}

func putKeys(ctx context.Context, tx *pg.Tx, contract string, c KeyChange) error {
	for _, step := range []struct {
		sql  string
		keys []ListedKey
		at   *time.Time
	}{{updateMissed, c.Missed, &tx.Now}, {updateMissed, c.Back, nil}, {updateUntil, c.Removed, &tx.Now}} {
		if len(step.keys) == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, step.sql, tx.Tenant, contract, listedNumbers(step.keys), step.at); err != nil {
			return err
		}
	}
	if len(c.Added) == 0 {
		return nil
	}
	material := make([][]byte, len(c.Added))
	for i, k := range c.Added {
		material[i] = k.Material
	}
	_, err := tx.Exec(ctx, insertListed, tx.Tenant, contract, tx.Now, numbers(c.Added), material)
	return err
}

func numbers(keys []driver.FeedKey) []int64 {
	ids := make([]int64, len(keys))
	for i, k := range keys {
		ids[i] = int64(k.ID)
	}
	return ids
}

func listedNumbers(keys []ListedKey) []int64 {
	ids := make([]int64, len(keys))
	for i, k := range keys {
		ids[i] = int64(k.ID)
	}
	return ids
}

// LetKeysThrough has the next list of keys of a contract taken as it is, at once.
func LetKeysThrough(ctx context.Context, tx *pg.Tx, actor, contract, reason string) error {
	tag, err := tx.Exec(ctx, `UPDATE provider_feeds SET let_through = true, due_at = $4 WHERE tenant_id = $1 AND contract = $2 AND feed = $3`,
		tx.Tenant, contract, FeedKeys, tx.Now)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrNoKeyList.Explain("contract %q", contract)
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "provider_keys.let_through", Object: "contract:" + contract, After: map[string]any{"reason": reason}})
}

// KeysCarried notes that readers' bundles have what the list changed.
func KeysCarried(ctx context.Context, tx *pg.Tx, contract string) error {
	_, err := tx.Exec(ctx, `UPDATE provider_feeds SET carried = true WHERE tenant_id = $1 AND contract = $2 AND feed = $3`, tx.Tenant, contract, FeedKeys)
	return err
}

// FeedUncarried reports whether a list changed something that readers' bundles may not
// have yet.
func FeedUncarried(ctx context.Context, tx *pg.Tx, contract string) (waits bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM provider_feeds WHERE tenant_id = $1 AND contract = $2 AND feed = $3 AND NOT carried)`,
		tx.Tenant, contract, FeedKeys).Scan(&waits)
	return waits, err
}
