package sales

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const columns = `sale_id, issuer, list, idx, order_key, account_id, catalogue, offer::text, price, currency, contract, sold_by, state,
	asked_at, paid_at, held_at, ended_at, closes_at, refund, left_over`

func scan(row pgx.CollectableRow) (s Sale, err error) {
	var offer string
	var paid, held, ended, closes *time.Time
	if err := row.Scan((*[16]byte)(&s.ID), &s.Rider.Issuer, &s.Rider.List, &s.Rider.Index, &s.Order, (*[16]byte)(&s.Account), &s.Catalogue, &offer,
		&s.Price.Minor, &s.Price.Currency, &s.Contract, &s.SoldBy, &s.State, &s.AskedAt, &paid, &held, &ended, &closes, &s.Refund, &s.LeftOver); err != nil {
		return s, err
	}
	s.AskedAt = s.AskedAt.UTC()
	for from, into := range map[*time.Time]*time.Time{paid: &s.PaidAt, held: &s.HeldAt, ended: &s.EndedAt, closes: &s.ClosesAt} {
		if from != nil {
			*into = from.UTC()
		}
	}
	return s, json.Unmarshal([]byte(offer), &s.Offer)
}

// one gives the sale of a statement, if there is one.
func one(ctx context.Context, tx *pg.Tx, sql string, args ...any) (Sale, bool, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return Sale{}, false, err
	}
	s, err := pgx.CollectOneRow(rows, scan)
	if pg.IsNoRows(err) {
		return Sale{}, false, nil
	}
	return s, err == nil, err
}

func insert(ctx context.Context, tx *pg.Tx, s *Sale) error {
	offer, err := encodeOffer(&s.Offer)
	if err != nil {
		return err
	}
	var paid *time.Time
	if !s.PaidAt.IsZero() {
		paid = &s.PaidAt
	}
	// Two requests of one order at once: the second waits for the first, fails here,
	// and is made again by whoever asked.
	_, err = tx.Exec(ctx, `
		INSERT INTO product_sales (tenant_id, sale_id, issuer, list, idx, order_key, account_id, product, catalogue, offer, price, currency, contract,
		                           sold_by, state, asked_at, paid_at, refund, left_over)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::json, $11, $12, $13, $14, $15, $16, $17, 0, 0)`,
		int64(tx.Tenant), s.ID, int32(s.Rider.Issuer), int32(s.Rider.List), int64(s.Rider.Index), s.Order, s.Account, s.Offer.ID, int64(s.Catalogue), offer,
		s.Price.Minor, string(s.Price.Currency), s.Contract, string(s.SoldBy), s.State, s.AskedAt, paid)
	if pg.SQLState(err) == pg.StateUniqueViolation {
		return pg.ErrUnavailable.Because(err, "order %q is being taken", s.Order)
	}
	return err
}

func byOrder(ctx context.Context, tx *pg.Tx, rider citygate.Rider, order string) (Sale, bool, error) {
	return one(ctx, tx, `SELECT `+columns+` FROM product_sales WHERE tenant_id = $1 AND issuer = $2 AND list = $3 AND idx = $4 AND order_key = $5`,
		int64(tx.Tenant), int32(rider.Issuer), int32(rider.List), int64(rider.Index), order)
}

func lock(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Sale, error) {
	s, found, err := one(ctx, tx, `SELECT `+columns+` FROM product_sales WHERE tenant_id = $1 AND sale_id = $2 FOR UPDATE`, int64(tx.Tenant), id)
	if err == nil && !found {
		err = ErrNotFound.Because(nil, "sale %s", id)
	}
	return s, err
}

// Find gives a sale.
func Find(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Sale, error) {
	s, found, err := one(ctx, tx, `SELECT `+columns+` FROM product_sales WHERE tenant_id = $1 AND sale_id = $2`, int64(tx.Tenant), id)
	if err == nil && !found {
		err = ErrNotFound.Because(nil, "sale %s", id)
	}
	return s, err
}

// List gives sales behind the one with the id after: of a rider, or of all for the
// zero rider; in a state, or in any for "".
func List(ctx context.Context, tx *pg.Tx, rider citygate.Rider, state string, after citygate.UUID, limit int) ([]Sale, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+columns+` FROM product_sales
		WHERE tenant_id = $1 AND sale_id > $2 AND ($3 = '' OR state = $3) AND ($4 OR issuer = $5 AND list = $6 AND idx = $7) ORDER BY sale_id LIMIT $8`,
		int64(tx.Tenant), after, state, rider == (citygate.Rider{}), int32(rider.Issuer), int32(rider.List), int64(rider.Index), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

func takePaid(ctx context.Context, tx *pg.Tx) (Sale, bool, error) {
	return one(ctx, tx, `SELECT `+columns+` FROM product_sales WHERE tenant_id = $1 AND state = 'paid' ORDER BY sale_id LIMIT 1 FOR UPDATE SKIP LOCKED`, int64(tx.Tenant))
}

func takeOver(ctx context.Context, tx *pg.Tx) (Sale, bool, error) {
	return one(ctx, tx, `
		SELECT `+columns+` FROM product_sales WHERE tenant_id = $1 AND state = 'held' AND closes_at <= $2 ORDER BY closes_at LIMIT 1 FOR UPDATE SKIP LOCKED`,
		int64(tx.Tenant), tx.Now)
}

func eachClosed(ctx context.Context, tx *pg.Tx, yield func(*Sale, citygate.Date) error) error {
	rows, err := tx.Query(ctx, `SELECT sale_id, currency, left_over, ended_at, closed_on FROM product_sales WHERE tenant_id = $1 AND closed_on IS NOT NULL`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	s := Sale{State: Closed}
	var date time.Time
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&s.ID), &s.Price.Currency, &s.LeftOver, &s.EndedAt, &date}, func() error {
		return yield(&s, citygate.DateOf(date))
	})
	return err
}

const changedWhere = `
	SELECT s.sale_id FROM product_sales s WHERE s.tenant_id = $1 AND s.state = 'reversed' AND s.used <> (
		SELECT coalesce(sum(a.prepaid), 0) FROM fare_adjustments a
		JOIN journeys j ON j.tenant_id = $1 AND j.journey_id = a.journey_id AND j.last_n = a.n
		WHERE a.tenant_id = $1 AND a.rule = s.sale_id::text AND a.kind IN ('product', 'stored_value'))`

// Changed implements [collect.Sales].
func (d *Desk) Changed(ctx context.Context, tx *pg.Tx, limit int) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, changedWhere+` ORDER BY s.sale_id LIMIT $2`, int64(tx.Tenant), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

// Explained gives what is owed in rides for each sale, from the rows of sales and
// of decisions and not from the books.
func Explained(ctx context.Context, tx *pg.Tx) ([]ledger.Explained, error) {
	rows, err := tx.Query(ctx, `
		SELECT s.sale_id, s.currency, s.left_over + coalesce(e.earned, 0) + coalesce(r.back, 0) - s.price + coalesce(v.taken, 0) - coalesce(l.booked, 0)
		FROM product_sales s
		LEFT JOIN (SELECT a.rule, sum(a.prepaid)::bigint AS earned FROM fare_adjustments a
			JOIN journeys j ON j.tenant_id = $1 AND j.journey_id = a.journey_id AND j.last_n = a.n
			WHERE a.tenant_id = $1 AND a.kind IN ('product', 'stored_value') GROUP BY a.rule) AS e ON e.rule = s.sale_id::text
		LEFT JOIN (SELECT journey_id, sum(amount)::bigint AS back FROM refunds WHERE tenant_id = $1 AND n = 0 AND state = 'succeeded' GROUP BY journey_id) AS r
			ON r.journey_id = s.sale_id
		LEFT JOIN (SELECT sale_id, sum(amount - returned)::bigint AS taken FROM reversals WHERE tenant_id = $1 AND sale_id IS NOT NULL GROUP BY sale_id) AS v
			ON v.sale_id = s.sale_id
		LEFT JOIN (SELECT sale_id, sum(CASE kind WHEN 'kept' THEN -amount WHEN 'given_up' THEN 0 ELSE amount END)::bigint AS booked FROM taken_sale_lines
			WHERE tenant_id = $1 GROUP BY sale_id) AS l ON l.sale_id = s.sale_id
		WHERE s.tenant_id = $1 AND s.state NOT IN ('asked', 'declined') AND s.price > 0`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e ledger.Explained, err error) {
		var id citygate.UUID
		err = row.Scan((*[16]byte)(&id), &e.Currency, &e.Net)
		e.Account, e.Why = ledger.Prepaid(id), "products held"
		return e, err
	})
}
