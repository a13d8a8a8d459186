package collect

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// pairMax is how long the pair of a rate is at most; one that is longer is none.
const pairMax = 16

// told gives what an answer says of a payment in another currency than the charge's. A
// rate that cannot be one is left out: what was paid stands without it.
func (c *charge) told(e driver.Exchange) (driver.Exchange, bool) {
	if c.State != adapters.Succeeded || e.Paid.Minor <= 0 || !e.Paid.Currency.Valid() || e.Paid.Currency == c.Currency {
		return driver.Exchange{}, false
	}
	if _, err := driver.Convert(0, e.PaidRate.Price, 0, 0); err != nil || len(e.PaidRate.Pair) > pairMax {
		e.PaidRate = driver.Rate{}
	}
	return e, true
}

// storeExchanges keeps what was told of payments in other currencies with the answers
// that made them final.
func storeExchanges(ctx context.Context, tx *pg.Tx, charges map[string]*charge, outcomes []outcome) error {
	for _, o := range outcomes {
		ch := charges[o.id]
		if ch == nil {
			continue
		}
		e, ok := ch.told(o.result.Exchange)
		if !ok {
			continue
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO payment_exchanges (tenant_id, our_id, paid, paid_currency, pair, price, told_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (tenant_id, our_id) DO NOTHING`,
			tx.Tenant, ch.OurID, e.Paid.Minor, e.Paid.Currency, e.PaidRate.Pair, e.PaidRate.Price, tx.Now); err != nil {
			return err
		}
	}
	return nil
}

// Exchanges gives what providers told of charges that were paid in another currency.
func Exchanges(ctx context.Context, tx *pg.Tx, ids []string) (map[string]driver.Exchange, error) {
	rows, err := tx.Query(ctx, `SELECT our_id, paid, paid_currency, pair, price FROM payment_exchanges WHERE tenant_id = $1 AND our_id = ANY($2::text[])`, tx.Tenant, ids)
	if err != nil {
		return nil, err
	}
	out := map[string]driver.Exchange{}
	var id string
	var e driver.Exchange
	_, err = pgx.ForEachRow(rows, []any{&id, &e.Paid.Minor, &e.Paid.Currency, &e.PaidRate.Pair, &e.PaidRate.Price}, func() error {
		out[id] = e
		return nil
	})
	return out, err
}
