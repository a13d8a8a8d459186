package collect

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// pairMax is how long the pair of a rate is at most; one that is longer is none.
const pairMax = 16

// told gives what an answer says of a payment in another currency than the charge's. A
// rate that cannot be one is left out: what was paid stands without it.
func (c *charge) told(e driver.Exchange) (driver.Exchange, bool) {
	if c.State != adapters.Succeeded {
		return driver.Exchange{}, false
	}
	return inAnother(e, c.Currency)
}

func inAnother(e driver.Exchange, own citygate.Currency) (driver.Exchange, bool) {
	if e.Paid.Minor <= 0 || !e.Paid.Currency.Valid() || e.Paid.Currency == own {
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
		if err := insertExchange(ctx, tx, ch.OurID, e); err != nil {
			return err
		}
	}
	return nil
}

func insertExchange(ctx context.Context, tx *pg.Tx, ourID string, e driver.Exchange) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO payment_exchanges (tenant_id, our_id, paid, paid_currency, pair, price, told_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (tenant_id, our_id) DO NOTHING`,
		tx.Tenant, ourID, e.Paid.Minor, e.Paid.Currency, e.PaidRate.Pair, e.PaidRate.Price, tx.Now)
	return err
}

// A PayerPart is what a refund is to a payer in his own currency.
type PayerPart struct {
	Back  citygate.Money // what he got; zero while nobody has said it
	Rate  driver.Rate    // by which; empty if the provider named none
	Share citygate.Money // his part of what he paid, at the payment's own rate, to the minor unit
}

// PayerParts gives what refunds are to their payers, of payments that were made in another
// currency than the operator's. Parts of one payment add up to what was paid.
func PayerParts(ctx context.Context, tx *pg.Tx, refunds []string) (map[string]PayerPart, error) {
	rows, err := tx.Query(ctx, `
		SELECT r.our_id, c.amount, e.before, r.amount, p.paid, p.currency, coalesce(b.paid, 0), coalesce(b.pair, ''), coalesce(b.price, '')
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(amount), 0)::bigint AS before FROM refunds
			WHERE tenant_id = $1 AND charge_id = r.charge_id AND ordinal < r.ordinal AND state IN ('created', 'sent', 'unknown', 'succeeded')) AS e
		CROSS JOIN LATERAL (`+payerSide("c.our_id")+`) AS p
		LEFT JOIN LATERAL (`+payerSide("r.our_id")+`) AS b ON b.currency = p.currency
		WHERE r.tenant_id = $1 AND r.our_id = ANY($2::text[])`, tx.Tenant, refunds)
	if err != nil {
		return nil, err
	}
	out := map[string]PayerPart{}
	var id string
	var whole, before, amount, paid, back int64
	var p PayerPart
	_, err = pgx.ForEachRow(rows, []any{&id, &whole, &before, &amount, &paid, &p.Share.Currency, &back, &p.Rate.Pair, &p.Rate.Price}, func() (err error) {
		if p.Share.Minor, err = driver.PartOf(paid, whole, before, before+amount); err != nil {
			return nil //nolint:nilerr // more was given back than was paid: nobody's part
		}
		if p.Back = (citygate.Money{}); back > 0 {
			p.Back = citygate.Money{Minor: back, Currency: p.Share.Currency}
		}
		out[id] = p
		return nil
	})
	return out, err
}

// payerSide is what was told, or else agreed on, of a payment or refund in its payer's
// currency.
func payerSide(id string) string {
	return `
		SELECT paid, paid_currency AS currency, pair, price FROM (
			SELECT paid, paid_currency, pair, price, 1 AS place, 0 AS n FROM payment_exchanges WHERE tenant_id = $1 AND our_id = ` + id + `
			UNION ALL
			SELECT pays, pays_currency, pair, price, 2, n FROM payment_quotes WHERE tenant_id = $1 AND our_id = ` + id + `) AS s
		ORDER BY place, n DESC LIMIT 1`
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
