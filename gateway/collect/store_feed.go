package collect

import (
	"context"
	"errors"
	"strings"
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
		ON CONFLICT (tenant_id, contract, feed) DO UPDATE SET due_at = excluded.due_at, pulled_at = excluded.pulled_at, items = excluded.items, failures = 0, error = ''`,
		tx.Tenant, contract, feed, tx.Now.Add(every), tx.Now, items)
	return err
}

// FeedFailed notes that a list could not be read, or was refused, and why.
func FeedFailed(ctx context.Context, tx *pg.Tx, contract, feed string, why error) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO provider_feeds AS f (tenant_id, contract, feed, due_at, failures, failed_at, error) VALUES ($1, $2, $3, $4, 1, $5, $6)
		ON CONFLICT (tenant_id, contract, feed) DO UPDATE SET due_at = excluded.due_at, failures = f.failures + 1, failed_at = excluded.failed_at, error = excluded.error`,
		tx.Tenant, contract, feed, tx.Now.Add(feedAgain), tx.Now, clipped(why.Error(), feedErrorMost))
	return err
}

const feedErrorMost = 500 // characters

// clipped is the valid beginning of what somebody else wrote.
func clipped(text string, most int) string {
	runes := []rune(strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?"))
	return string(runes[:min(len(runes), most)])
}

// A Feed is a list of a provider that a tenant follows.
type Feed struct {
	Contract   string
	Feed       string
	DueAt      time.Time
	PulledAt   time.Time // zero = never
	Items      int
	Failures   int
	FailedAt   time.Time // zero = never
	Error      string
	Carried    bool
	LetThrough bool
}

// Feeds gives the lists that the tenant follows or followed, by contract.
func Feeds(ctx context.Context, tx *pg.Tx) ([]Feed, error) {
	rows, err := tx.Query(ctx, `
		SELECT contract, feed, due_at, pulled_at, coalesce(items, 0), failures, failed_at, error, carried, let_through
		FROM provider_feeds WHERE tenant_id = $1 ORDER BY contract, feed`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (f Feed, err error) {
		var pulled, failed *time.Time
		err = r.Scan(&f.Contract, &f.Feed, &f.DueAt, &pulled, &f.Items, &f.Failures, &failed, &f.Error, &f.Carried, &f.LetThrough)
		if pulled != nil {
			f.PulledAt = *pulled
		}
		if failed != nil {
			f.FailedAt = *failed
		}
		return f, err
	})
}
