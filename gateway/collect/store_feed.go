package collect

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// FeedDeny is the list of riders whom a provider refuses.
const FeedDeny = "deny"

// feedAgain is how soon a list is asked for again that could not be read.
const feedAgain = 10 * time.Minute

// FeedDue reports whether a list of a contract is to be read now: never read, or
// its time has come.
func FeedDue(ctx context.Context, tx *pg.Tx, contract, feed string) (bool, error) {
	var at time.Time
	err := tx.QueryRow(ctx, `SELECT due_at FROM provider_feeds WHERE tenant_id = $1 AND contract = $2 AND feed = $3`,
		tx.Tenant, contract, feed).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return true, nil
	}
	return err == nil && !tx.Now.Before(at), err
}

// FeedPulled notes that a list was read whole, and when it is due again.
func FeedPulled(ctx context.Context, tx *pg.Tx, contract, feed string, items int, every time.Duration) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO provider_feeds (tenant_id, contract, feed, due_at, pulled_at, items, failures) VALUES ($1, $2, $3, $4, $5, $6, 0)
		ON CONFLICT (tenant_id, contract, feed) DO UPDATE SET due_at = excluded.due_at, pulled_at = excluded.pulled_at, items = excluded.items, failures = 0`,
		tx.Tenant, contract, feed, tx.Now.Add(every), tx.Now, items)
	return err
}

// FeedFailed notes that a list could not be read.
func FeedFailed(ctx context.Context, tx *pg.Tx, contract, feed string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO provider_feeds AS f (tenant_id, contract, feed, due_at, failures) VALUES ($1, $2, $3, $4, 1)
		ON CONFLICT (tenant_id, contract, feed) DO UPDATE SET due_at = excluded.due_at, failures = f.failures + 1`,
		tx.Tenant, contract, feed, tx.Now.Add(feedAgain))
	return err
}
