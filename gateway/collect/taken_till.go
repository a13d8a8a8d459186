package collect

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A TillTaken is what its provider has taken back of a payment at a till by now, in minor
// units of its currency.
type TillTaken struct {
	Payment citygate.UUID
	Taken   int64 // less what it returned
	Unowed  int64 // of it, beyond what the payment held: the customer had that already, and it is claimed from the provider
	GivenUp int64 // of that, what was lost for good
	Fees    int64 // what the provider keeps for it
	Bearer  risk.TillBearer
	Date    citygate.Date // of the books

	contract string
	held     int64 // what is left of the payment; negative: more was taken than it held
	lost     int64 // what lost disputes took beyond what it held
}

// reverseTill applies a reversal of a payment at a till: what the payment still held is
// borne by its payee, or by the tenant, as the terms say; what was taken beyond that is
// claimed from the provider.
func (c *Collector) reverseTill(ctx context.Context, tx *pg.Tx, v *ReversalView, payment citygate.UUID) error {
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	t, err := takenTillOf(ctx, tx, payment)
	if err != nil {
		return err
	}
	v.Till, v.charge, v.State, v.Borne = payment, payment, reversalOpen, min(v.Amount.Minor, max(0, t.held))
	v.AppliedAt, v.date = tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)
	if err := storeApplied(ctx, tx, v); err != nil {
		return err
	}
	if err := ledger.Post(ctx, tx, v.transfers(tx.Tenant)); err != nil {
		return err
	}
	if err := c.settleTill(ctx, tx, payment); err != nil {
		return err
	}
	return c.applyOutcomes(ctx, tx, v)
}

// concludeTill books the outcomes of the reversal of a payment at a till. Money that came
// back is whose it was.
func (c *Collector) concludeTill(ctx context.Context, tx *pg.Tx, v *ReversalView, waiting []outcomeRow) error {
	if err := lockTill(ctx, tx, v.Till); err != nil {
		return err
	}
	if err := c.bookOutcomes(ctx, tx, v, waiting, func(o *outcomeRow) *int64 { return &o.toTill }); err != nil {
		return err
	}
	return c.settleTill(ctx, tx, v.Till)
}

// settleTill brings what is borne of a payment at a till, and what is claimed from its
// provider, to what they should be.
func (c *Collector) settleTill(ctx context.Context, tx *pg.Tx, payment citygate.UUID) error {
	t, err := takenTillOf(ctx, tx, payment)
	if err != nil {
		return err
	}
	terms, err := c.terms.At(ctx, tx, tx.Now)
	if err != nil {
		return err
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	t.Bearer, t.Date = terms.Contract(t.contract).TillBearer(), settings.Calendar.BusinessDate(tx.Now)
	transfers, err := c.Tills.Taken(ctx, tx, t)
	if err != nil {
		return err
	}
	return ledger.Post(ctx, tx, transfers)
}

// tillOf gives the payment at a till that a payment of a contract is; the zero id of
// another one. It reports whether it has succeeded.
func tillOf(ctx context.Context, tx *pg.Tx, contract, our string) (payment citygate.UUID, paid bool, err error) {
	err = tx.QueryRow(ctx, `SELECT charge_id, state = 'succeeded' FROM charges WHERE tenant_id = $1 AND our_id = $2 AND contract = $3 AND kind = $4`,
		tx.Tenant, our, contract, kindTill).Scan((*[16]byte)(&payment), &paid)
	if pg.IsNoRows(err) {
		return payment, false, nil
	}
	return payment, paid, err
}

// lockTill locks a payment's charge: whoever changes what is left of the payment holds it.
func lockTill(ctx context.Context, tx *pg.Tx, payment citygate.UUID) error {
	_, err := tx.Exec(ctx, `SELECT FROM charges WHERE tenant_id = $1 AND charge_id = $2 AND kind = $3 FOR UPDATE`, tx.Tenant, payment, kindTill)
	return err
}

// lockTills is lockTill of the payments that refunds are of: what takes one of them back
// counts each refund as it is before or after, and the other side sees that it was taken.
func lockTills(ctx context.Context, tx *pg.Tx, refunds map[string]*refund) error {
	var payments []citygate.UUID
	for _, r := range refunds {
		if r.atTill() {
			payments = append(payments, r.Journey)
		}
	}
	if len(payments) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `SELECT FROM charges WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[]) AND kind = $3 ORDER BY charge_id FOR UPDATE`, tx.Tenant, payments, kindTill)
	return err
}

// takenTillOf locks a payment that succeeded, and gives what was taken back of it. Refunds
// on their way count as gone; those that the provider declined do not.
func takenTillOf(ctx context.Context, tx *pg.Tx, payment citygate.UUID) (t TillTaken, err error) {
	if err := lockTill(ctx, tx, payment); err != nil {
		return t, err
	}
	t.Payment = payment
	var amount, refunded int64
	err = tx.QueryRow(ctx, `
		SELECT c.contract, c.amount, f.refunded, v.taken, v.fees + o.fees, v.lost FROM charges c
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(amount), 0)::bigint AS refunded FROM refunds
			WHERE tenant_id = $1 AND charge_id = c.charge_id AND state IN ('created', 'sent', 'unknown', 'succeeded')) AS f
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(amount - returned), 0)::bigint AS taken, coalesce(sum(fee), 0)::bigint AS fees,
			       coalesce(sum(greatest(0, amount - borne - greatest(0, returned - borne))) FILTER (WHERE state = 'lost'), 0)::bigint AS lost
			FROM reversals WHERE tenant_id = $1 AND charge_id = c.charge_id) AS v
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(x.fee), 0)::bigint AS fees FROM reversals r JOIN reversal_outcomes x ON x.tenant_id = $1 AND x.reversal_id = r.reversal_id
			WHERE r.tenant_id = $1 AND r.charge_id = c.charge_id AND x.applied_at IS NOT NULL) AS o
		WHERE c.tenant_id = $1 AND c.charge_id = $2 AND c.kind = $3 AND c.state = $4`, tx.Tenant, payment, kindTill, string(adapters.Succeeded)).
		Scan(&t.contract, &amount, &refunded, &t.Taken, &t.Fees, &t.lost)
	if pg.IsNoRows(err) {
		return t, ErrLost.Because(nil, "payment %s has not succeeded", payment)
	}
	t.held = amount - refunded - t.Taken
	t.Unowed = max(0, -t.held)
	t.GivenUp = min(t.Unowed, t.lost)
	return t, err
}

// tillWasTaken reports whether a payment at a till was taken back, or a part of it.
func tillWasTaken(ctx context.Context, tx *pg.Tx, payment citygate.UUID) (is bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM reversals WHERE tenant_id = $1 AND charge_id = $2)`, tx.Tenant, payment).Scan(&is)
	return is, err
}

// tillHolds refuses to have a refund of a payment at a till tried again for which nothing
// is left there any more: the customer has his money by what was taken back.
func tillHolds(ctx context.Context, tx *pg.Tx, payment citygate.UUID, amount int64) error {
	if err := lockTill(ctx, tx, payment); err != nil { // it may just be taken back
		return err
	}
	if taken, err := tillWasTaken(ctx, tx, payment); err != nil || !taken {
		return err
	}
	t, err := takenTillOf(ctx, tx, payment)
	if err == nil && amount > t.held {
		err = ErrTakenBack.Explain("%d of the payment are left", max(0, t.held))
	}
	return err
}
