package till

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const columns = `payment_id, order_key, amount, currency, subject, contract, named, till, payee, state, reason, our_id, business_date, asked_by, asked_at,
	wait_until, next_at, reversing_for, reversals, reversed_at, reversal_said, paid_at, ended_at, refunded, returned, cleared_at, cleared_on, coalesce(cleared, 0),
	taken, taken_bearer, route_version, route_rule, route_finding`

func scan(row pgx.CollectableRow) (p Payment, err error) {
	var next, reversed, paid, ended, cleared *time.Time
	var on *citygate.Date
	if err := row.Scan((*[16]byte)(&p.ID), &p.Order, &p.Amount.Minor, &p.Amount.Currency, &p.Subject, &p.Contract, &p.Named, &p.Till, &p.Payee, &p.State, &p.Reason,
		&p.OurID, &p.BusinessDate, &p.AskedBy, &p.AskedAt, &p.WaitUntil, &next, &p.ReversingFor, &p.Reversals, &reversed, &p.ReversalSaid, &paid, &ended,
		&p.Refunded, &p.Returned, &cleared, &on, &p.Cleared, &p.Taken, &p.TakenBearer, &p.Route.Version, &p.Route.Rule, &p.Route.Finding); err != nil {
		return p, err
	}
	p.AskedAt, p.WaitUntil = p.AskedAt.UTC(), p.WaitUntil.UTC()
	for into, from := range map[*time.Time]*time.Time{&p.NextAt: next, &p.ReversedAt: reversed, &p.PaidAt: paid, &p.EndedAt: ended, &p.ClearedAt: cleared} {
		if from != nil {
			*into = from.UTC()
		}
	}
	if on != nil {
		p.ClearedOn = *on
	}
	return p, nil
}

func one(ctx context.Context, tx *pg.Tx, sql string, args ...any) (Payment, bool, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return Payment{}, false, err
	}
	p, err := pgx.CollectOneRow(rows, scan)
	if pg.IsNoRows(err) {
		return Payment{}, false, nil
	}
	return p, err == nil, err
}

func mustBe(p Payment, found bool, err error) (Payment, error) {
	if err == nil && !found {
		err = ErrNotFound
	}
	return p, err
}

func byOrder(ctx context.Context, tx *pg.Tx, order string) (Payment, bool, error) {
	return one(ctx, tx, `SELECT `+columns+` FROM till_payments WHERE tenant_id = $1 AND order_key = $2`, int64(tx.Tenant), order)
}

func find(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Payment, error) {
	return mustBe(one(ctx, tx, `SELECT `+columns+` FROM till_payments WHERE tenant_id = $1 AND payment_id = $2`, int64(tx.Tenant), id))
}

func lock(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Payment, error) {
	return mustBe(one(ctx, tx, `SELECT `+columns+` FROM till_payments WHERE tenant_id = $1 AND payment_id = $2 FOR UPDATE`, int64(tx.Tenant), id))
}

// List gives payments behind the one with the id after: in a state, or in any for "";
// of an order, or of all for "".
func List(ctx context.Context, tx *pg.Tx, state, order string, after citygate.UUID, limit int) ([]Payment, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+columns+` FROM till_payments WHERE tenant_id = $1 AND payment_id > $2 AND ($3 = '' OR state = $3) AND ($4 = '' OR order_key = $4)
		ORDER BY payment_id LIMIT $5`, int64(tx.Tenant), after, state, order, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// insert stores a payment; fresh is false where there is one of its order.
func insert(ctx context.Context, tx *pg.Tx, p *Payment) (fresh bool, err error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO till_payments (tenant_id, payment_id, order_key, amount, currency, subject, contract, named, till, payee, state, reason, our_id, business_date,
		                           asked_by, asked_at, wait_until, next_at, reversing_for, reversals, reversal_said, refunded, returned, route_version, route_rule, route_finding)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', $12, $13, $14, $15, $16, $17, '', 0, '', 0, 0, $18, $19, $20)
		ON CONFLICT (tenant_id, order_key) DO NOTHING`,
		int64(tx.Tenant), p.ID, p.Order, p.Amount.Minor, string(p.Amount.Currency), p.Subject, p.Contract, p.Named, p.Till, p.Payee, p.State, p.OurID, p.BusinessDate,
		p.AskedBy, p.AskedAt, p.WaitUntil, p.NextAt, int64(p.Route.Version), p.Route.Rule, p.Route.Finding)
	return tag.RowsAffected() == 1, err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// store stores what changes of a payment.
func store(ctx context.Context, tx *pg.Tx, p *Payment) error {
	var on *citygate.Date
	var cleared *int64
	if !p.ClearedAt.IsZero() {
		on, cleared = &p.ClearedOn, &p.Cleared
	}
	_, err := tx.Exec(ctx, `
		UPDATE till_payments SET state = $3, reason = $4, next_at = $5, paid_at = $6, ended_at = $7, returned = $8, cleared_at = $9, cleared_on = $10, cleared = $11,
		       reversing_for = $12, taken = $13, taken_bearer = $14
		WHERE tenant_id = $1 AND payment_id = $2`,
		int64(tx.Tenant), p.ID, p.State, p.Reason, orNull(p.NextAt), orNull(p.PaidAt), orNull(p.EndedAt), p.Returned, orNull(p.ClearedAt), on, cleared, p.ReversingFor, p.Taken, string(p.TakenBearer))
	return err
}

// storeMoved stores that a payment goes to another contract.
func storeMoved(ctx context.Context, tx *pg.Tx, p *Payment) error {
	_, err := tx.Exec(ctx, `
		UPDATE till_payments SET contract = $3, next_at = $4, route_version = $5, route_rule = $6, route_finding = $7 WHERE tenant_id = $1 AND payment_id = $2`,
		int64(tx.Tenant), p.ID, p.Contract, p.NextAt, int64(p.Route.Version), p.Route.Rule, p.Route.Finding)
	return err
}

// reverse has a payment taken back from now on.
func reverse(ctx context.Context, tx *pg.Tx, p *Payment, why string) error {
	p.State, p.ReversingFor, p.NextAt = Reversing, why, tx.Now
	return store(ctx, tx, p)
}

// setReversals notes how often a reversal was asked for, and when last.
func setReversals(ctx context.Context, tx *pg.Tx, id citygate.UUID, n int, at time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE till_payments SET reversals = $3, reversed_at = $4 WHERE tenant_id = $1 AND payment_id = $2`, int64(tx.Tenant), id, n, orNull(at))
	return err
}

// saidReversed notes what was said of a reversal; nothing where the reply was lost.
func saidReversed(ctx context.Context, tx *pg.Tx, id citygate.UUID, said driver.Reversal, reason string) error {
	_, err := tx.Exec(ctx, `
		UPDATE till_payments SET reversal_said = CASE $3 WHEN '' THEN reversal_said ELSE $3 END, reason = CASE $4 WHEN '' THEN reason ELSE $4 END
		WHERE tenant_id = $1 AND payment_id = $2`, int64(tx.Tenant), id, string(said), clip(reason))
	return err
}

func setNext(ctx context.Context, tx *pg.Tx, id citygate.UUID, at time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE till_payments SET next_at = $3 WHERE tenant_id = $1 AND payment_id = $2`, int64(tx.Tenant), id, at)
	return err
}

func setRefunded(ctx context.Context, tx *pg.Tx, id citygate.UUID, refunded int64) error {
	_, err := tx.Exec(ctx, `UPDATE till_payments SET refunded = $3 WHERE tenant_id = $1 AND payment_id = $2`, int64(tx.Tenant), id, refunded)
	return err
}

// dueNow gives the payments that are due, by contract, so many of each: those of one whose
// provider hangs take no place of another's.
func dueNow(ctx context.Context, tx *pg.Tx, most int) (map[string][]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT contract, payment_id FROM (
			SELECT contract, payment_id, row_number() OVER (PARTITION BY contract ORDER BY next_at, payment_id) AS place
			FROM till_payments WHERE tenant_id = $1 AND next_at <= $2) AS d
		WHERE place <= $3 ORDER BY contract, place`, int64(tx.Tenant), tx.Now, most)
	if err != nil {
		return nil, err
	}
	due := map[string][]citygate.UUID{}
	var contract string
	var id citygate.UUID
	_, err = pgx.ForEachRow(rows, []any{&contract, (*[16]byte)(&id)}, func() error { due[contract] = append(due[contract], id); return nil })
	return due, err
}

// takeDue takes a payment that is still due, until lease.
func takeDue(ctx context.Context, tx *pg.Tx, id citygate.UUID, lease time.Time) (p Payment, taken bool, err error) {
	p, taken, err = one(ctx, tx, `SELECT `+columns+` FROM till_payments WHERE tenant_id = $1 AND payment_id = $2 AND next_at <= $3 FOR UPDATE SKIP LOCKED`,
		int64(tx.Tenant), id, tx.Now)
	if err != nil || !taken {
		return p, false, err
	}
	return p, true, setNext(ctx, tx, id, lease)
}

func insertRefund(ctx context.Context, tx *pg.Tx, r *refund) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO till_refunds (tenant_id, payment_id, ordinal, kind, name, amount, reason, asked_by, asked_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		int64(tx.Tenant), r.payment, r.ordinal, r.kind, r.name, r.amount, r.reason, r.by, tx.Now)
	return err
}

func oneRefund(ctx context.Context, tx *pg.Tx, where string, args ...any) (r refund, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT payment_id, ordinal, kind, name, amount, reason, asked_by, coalesce(uncleared, false) FROM till_refunds WHERE tenant_id = $1 AND `+where,
		append([]any{int64(tx.Tenant)}, args...)...).Scan((*[16]byte)(&r.payment), &r.ordinal, &r.kind, &r.name, &r.amount, &r.reason, &r.by, &r.uncleared)
	if pg.IsNoRows(err) {
		return r, false, nil
	}
	return r, err == nil, err
}

func refundNamed(ctx context.Context, tx *pg.Tx, payment citygate.UUID, name string) (refund, bool, error) {
	return oneRefund(ctx, tx, `payment_id = $2 AND name = $3`, payment, name)
}

func refundOf(ctx context.Context, tx *pg.Tx, payment citygate.UUID, ordinal int) (refund, error) {
	r, found, err := oneRefund(ctx, tx, `payment_id = $2 AND ordinal = $3`, payment, ordinal)
	if err == nil && !found {
		err = ErrNotFound.Because(nil, "refund %d of payment %s", ordinal, payment)
	}
	return r, err
}

func setUncleared(ctx context.Context, tx *pg.Tx, r *refund) error {
	_, err := tx.Exec(ctx, `UPDATE till_refunds SET uncleared = $4 WHERE tenant_id = $1 AND payment_id = $2 AND ordinal = $3`, int64(tx.Tenant), r.payment, r.ordinal, r.uncleared)
	return err
}

func countRefunds(ctx context.Context, tx *pg.Tx, payment citygate.UUID) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM till_refunds WHERE tenant_id = $1 AND payment_id = $2`, int64(tx.Tenant), payment).Scan(&n)
	return n, err
}

// uncleared gives what of a payment that succeeded is not the payee's yet: its amount
// less the fee, what went back and what was taken back at his cost.
func uncleared(ctx context.Context, tx *pg.Tx, payment citygate.UUID) (left int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT c.amount - c.fee - coalesce((SELECT sum(amount) FROM till_refunds WHERE tenant_id = $1 AND payment_id = $2 AND uncleared), 0)::bigint
		       - coalesce((SELECT sum(amount) FROM till_taking_lines WHERE tenant_id = $1 AND payment_id = $2 AND on_payee = 'uncleared'), 0)::bigint
		FROM charges c WHERE c.tenant_id = $1 AND c.charge_id = $2`, int64(tx.Tenant), payment).Scan(&left)
	return left, err
}

// RefundsOf gives what goes back of a payment, in its order.
func RefundsOf(ctx context.Context, tx *pg.Tx, payment citygate.UUID) ([]Refund, error) {
	rows, err := tx.Query(ctx, `
		SELECT t.name, t.kind, t.amount, t.reason, t.asked_by, t.asked_at, r.state, r.our_id FROM till_refunds t
		JOIN LATERAL (SELECT state, our_id FROM refunds WHERE tenant_id = $1 AND charge_id = t.payment_id AND ordinal = t.ordinal ORDER BY attempt DESC LIMIT 1) AS r ON true
		WHERE t.tenant_id = $1 AND t.payment_id = $2 ORDER BY t.ordinal`, int64(tx.Tenant), payment)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Refund, err error) {
		err = row.Scan(&r.Name, &r.Kind, &r.Amount, &r.Reason, &r.AskedBy, &r.AskedAt, &r.State, &r.OurID)
		r.AskedAt = r.AskedAt.UTC()
		return r, err
	})
}

// Waiting reports whether a payment of the tenant's is due, and whether one is open.
func Waiting(ctx context.Context, tx *pg.Tx) (due, open bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM till_payments WHERE tenant_id = $1 AND next_at <= $2), EXISTS (SELECT FROM till_payments WHERE tenant_id = $1 AND next_at IS NOT NULL)`,
		int64(tx.Tenant), tx.Now).Scan(&due, &open)
	return due, open, err
}
