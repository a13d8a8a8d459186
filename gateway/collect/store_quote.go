package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A quoted is a quote of a charge, or a refund's part of one.
type quoted struct {
	driver.Quote
	ourID  string // of the charge or of the refund
	charge string
	n      int // 0 = there is none
}

// quotesOf gives the quotes that hold, by the ids of charges and refunds.
func quotesOf(ctx context.Context, tx *pg.Tx, ids []string) (map[string]quoted, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT ON (our_id) our_id, charge_our_id, n, asked, currency, pays, pays_currency, quote_id, pair, price, valid_from, valid_until, guaranteed
		FROM payment_quotes WHERE tenant_id = $1 AND our_id = ANY($2::text[]) ORDER BY our_id, n DESC`, tx.Tenant, ids)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (q quoted, err error) {
		var from, until *time.Time
		err = row.Scan(&q.ourID, &q.charge, &q.n, &q.Asked.Minor, &q.Asked.Currency, &q.Pays.Minor, &q.Pays.Currency, &q.Rate.ID, &q.Rate.Pair, &q.Rate.Price,
			&from, &until, &q.Rate.Guaranteed)
		if from != nil {
			q.Rate.From = from.UTC()
		}
		if until != nil {
			q.Rate.Until = until.UTC()
		}
		return q, err
	})
	if err != nil {
		return nil, err
	}
	out := make(map[string]quoted, len(all))
	for _, q := range all {
		out[q.ourID] = q
	}
	return out, nil
}

func storeQuotes(ctx context.Context, tx *pg.Tx, list []quoted) error {
	some := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for _, q := range list {
		if _, err := tx.Exec(ctx, `
			INSERT INTO payment_quotes (tenant_id, our_id, n, charge_our_id, asked, currency, pays, pays_currency, quote_id, pair, price, valid_from, valid_until, guaranteed, made_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
			ON CONFLICT (tenant_id, our_id, n) DO NOTHING`,
			tx.Tenant, q.ourID, q.n, q.charge, q.Asked.Minor, q.Asked.Currency, q.Pays.Minor, q.Pays.Currency, q.Rate.ID, q.Rate.Pair, q.Rate.Price,
			some(q.Rate.From), some(q.Rate.Until), q.Rate.Guaranteed, tx.Now); err != nil {
			return err
		}
	}
	return nil
}

// returnedBefore gives how much of a charge other refunds give back that were
// quoted and did not fail, and what that is to the payer. It locks the charge: two
// refunds take turns.
func returnedBefore(ctx context.Context, tx *pg.Tx, charge string) (asked, pays int64, err error) {
	if _, err := tx.Exec(ctx, `SELECT FROM charges WHERE tenant_id = $1 AND our_id = $2 FOR UPDATE`, tx.Tenant, charge); err != nil {
		return 0, 0, err
	}
	err = tx.QueryRow(ctx, `
		SELECT coalesce(sum(q.asked), 0)::bigint, coalesce(sum(q.pays), 0)::bigint FROM payment_quotes q JOIN refunds r ON r.tenant_id = $1 AND r.our_id = q.our_id
		WHERE q.tenant_id = $1 AND q.charge_our_id = $2 AND r.state NOT IN ('declined', 'void', 'replaced')`, tx.Tenant, charge).Scan(&asked, &pays)
	return asked, pays, err
}

// A QuoteView is a quote as people look at it.
type QuoteView struct {
	driver.Quote
	Made int // how many were asked for until the payment was sent
}

// Quotes gives the quotes of charges and refunds by their ids at the provider.
func Quotes(ctx context.Context, tx *pg.Tx, ids []string) (map[string]QuoteView, error) {
	held, err := quotesOf(ctx, tx, ids)
	out := make(map[string]QuoteView, len(held))
	for id, q := range held {
		out[id] = QuoteView{q.Quote, q.n}
	}
	return out, err
}
