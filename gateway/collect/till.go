package collect

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// kindTill is the kind of charges that are made on a payment code. One is of no
// aggregation: in its place stands the payment (package till), which says when it is
// asked about. It is sent once, by whoever has the code, and never again: the code is
// kept nowhere. A declined one leaves no debt.
const kindTill = "till"

// The numbers, in place of a decision's, of refunds that are of a payment at a till.
const (
	tillRefund   = -1 // asked of the provider
	tillReturned = -2 // went back as the payment was reversed, without a request of its own
)

// never is when a till's charge is sent or asked after by [Collector.RunDue].
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Tills is what this package tells of payments on payment codes, in the transaction
// that stores it. It gives the transfers that follow, which are posted there.
type Tills interface {
	// Heard tells what was heard of payments whose outcome was open.
	Heard(ctx context.Context, tx *pg.Tx, heard []TillHeard) ([]ledger.Transfer, error)
	// Returned tells that money went back, or finally will not.
	Returned(ctx context.Context, tx *pg.Tx, back TillReturn) ([]ledger.Transfer, error)
	// Taken tells how much of a payment was taken back by now. Telling again changes nothing.
	Taken(ctx context.Context, tx *pg.Tx, taken TillTaken) ([]ledger.Transfer, error)
	// Cleared tells of payments that reconciliation lets go. Telling again changes nothing.
	Cleared(ctx context.Context, tx *pg.Tx, payments []citygate.UUID) ([]ledger.Transfer, error)
}

// A TillHeard is how a payment stands after something was heard of it.
type TillHeard struct {
	Payment citygate.UUID
	State   adapters.State
	Event   adapters.Event
	Result  driver.Result
	Fee     int64 // of a succeeded one
}

// A TillReturn is money of a payment that went back.
type TillReturn struct {
	Payment   citygate.UUID
	Ordinal   int
	Amount    int64
	Date      citygate.Date // of the books
	Succeeded bool
}

// A TillCharge asks for a payment on a code.
type TillCharge struct {
	Payment      citygate.UUID
	Contract     string
	Amount       citygate.Money
	Subject      string
	BusinessDate citygate.Date
	Mark         string       // of the provider, for this instant
	Quote        driver.Quote // the zero value = none
}

// TillID is what the provider knows a payment by.
func TillID(tenant citygate.TenantID, payment citygate.UUID) string {
	return ourID(tenant, kindTill, payment.String())
}

// AskTill writes the intent to charge a payment that is about to be sent: once the
// transaction is committed, a process that dies leaves one of which nobody can say
// anything.
func AskTill(ctx context.Context, tx *pg.Tx, t TillCharge) error {
	our := TillID(tx.Tenant, t.Payment)
	at := tx.Now.UTC().Truncate(time.Microsecond)
	if _, err := tx.Exec(ctx, `
		INSERT INTO charges (tenant_id, charge_id, aggregation_id, kind, attempt, our_id, contract, account_id, account_key, payer_ref, amount, currency, fee,
		                     subject, trip_at, business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, created_at,
		                     sent_at, route_version, route_rule, route_finding, started_by, mark)
		VALUES ($1, $2, $2, $3, 1, $4, $5, $2, $6, '', $7, $8, 0, $9, $10, $11, 'sent', false, 1, '', '', $12, $13, true, false, $10, $10, 0, '', '', 'person', $14)`,
		tx.Tenant, t.Payment, kindTill, our, t.Contract, t.Payment.String(), t.Amount.Minor, string(t.Amount.Currency), t.Subject, at, t.BusinessDate,
		string(adapters.Query), never, t.Mark); err != nil {
		return err
	}
	if t.Quote == (driver.Quote{}) {
		return nil
	}
	return storeQuotes(ctx, tx, []quoted{{Quote: t.Quote, ourID: our, charge: our, n: 1}})
}

// TillsUp reports whether a contract's provider is taken to answer, or may be tried. Unlike
// [TillsAdmit] it takes nothing.
func TillsUp(ctx context.Context, tx *pg.Tx, contract string) (bool, error) {
	down, err := breakersOpen(ctx, tx)
	probe, open := down[contract]
	return !open || !probe.After(tx.Now), err
}

// TillFailed notes that a contract's provider did not answer a question before a payment
// was sent.
func TillFailed(ctx context.Context, tx *pg.Tx, contract string) error {
	return hear(ctx, tx, contract, fails)
}

// TillsAdmit reports whether a payment may be sent to a contract's provider now: it is
// not taken to be down, or this payment is the one that may try.
func TillsAdmit(ctx context.Context, tx *pg.Tx, contract string) (bool, error) {
	down, err := breakersOpen(ctx, tx)
	if err != nil {
		return false, err
	}
	probe, open := down[contract]
	switch {
	case !open:
		return true, nil
	case probe.After(tx.Now):
		return false, nil
	}
	return takeProbe(ctx, tx, contract)
}

// SendTill sends a payment that was asked for, with the code, and stores what was
// answered. It is called once, by whoever wrote the intent. With elsewhere, a payment that
// the provider certainly never saw stays as it is, and never is true: it may be sent to
// another ([MoveTill]), or is declined by [Collector.DropTill].
func (c *Collector) SendTill(ctx context.Context, tenant citygate.TenantID, contract Contract, provider *adapters.Provider, payment citygate.UUID, code citygate.Secret,
	elsewhere bool) (never bool, err error) {
	ch, err := c.tillCharge(ctx, tenant, provider, payment)
	if err != nil {
		return false, err
	}
	debit := ch.debit()
	debit.AuthCode = code
	results, callErr := provider.Submit(ctx, []driver.Debit{debit})
	heard := classify(results, callErr)
	if elsewhere && neverSent(heard) {
		return true, c.DB.InTenant(context.WithoutCancel(ctx), tenant, func(tx *pg.Tx) error { return hear(ctx, tx, contract.Name, healthOf(heard, callErr)) })
	}
	return false, c.hearTill(ctx, tenant, contract, provider, healthOf(heard, callErr), heard)
}

// DropTill stores that a payment certainly reached nobody.
func (c *Collector) DropTill(ctx context.Context, tenant citygate.TenantID, contract Contract, provider *adapters.Provider, payment citygate.UUID) error {
	our := TillID(tenant, payment)
	return c.hearTill(ctx, tenant, contract, provider, silent, []outcome{{our, adapters.NotSent, driver.Result{OurID: our, ReasonCode: adapters.ErrNotSent.Name}}})
}

// QueryTill asks what became of a payment, stores the answer, and gives it with the
// state that the payment has now.
func (c *Collector) QueryTill(ctx context.Context, tenant citygate.TenantID, contract Contract, provider *adapters.Provider, payment citygate.UUID) (driver.Result, adapters.State, error) {
	ch, err := c.tillCharge(ctx, tenant, provider, payment)
	if err != nil {
		return driver.Result{}, "", err
	}
	res, callErr := provider.Query(ctx, ch.ref())
	if callErr != nil {
		res = driver.Result{OurID: ch.OurID, ReasonCode: reasonOf(callErr), RetryAt: res.RetryAt}
	}
	heard := []outcome{{ch.OurID, adapters.Queried, res}}
	if err := c.hearTill(ctx, tenant, contract, provider, healthOfQueries(heard, []error{callErr}), heard); err != nil {
		return res, "", err
	}
	ch, err = c.tillCharge(context.WithoutCancel(ctx), tenant, provider, payment)
	return res, ch.State, err
}

// ReverseTill asks the provider to undo a payment of which nobody can say what became.
// Whatever it answers, the payment is asked about afterwards. again asks once more for a
// reversal of which nobody knows what became, under its name, also of a payment that turned
// out to be made.
func (c *Collector) ReverseTill(ctx context.Context, tenant citygate.TenantID, provider *adapters.Provider, payment citygate.UUID, again bool) (driver.Reversal, string, error) {
	reverser, able := provider.Reverser()
	if !able {
		return driver.ReversalUnknown, "", adapters.ErrReverse.Explain("%s has no reversals", provider.Describe().Name)
	}
	ch, err := c.tillCharge(ctx, tenant, provider, payment)
	if err != nil {
		return driver.ReversalUnknown, "", err
	}
	state := ch.State
	if again && state == adapters.Succeeded {
		state = adapters.Unknown
	}
	return reverser.Reverse(ctx, state, ch.ref())
}

// EndTill stores that a payment certainly was not and will not be made, although its
// provider has never said so of it: it does not know it.
func (c *Collector) EndTill(ctx context.Context, tenant citygate.TenantID, contract Contract, provider *adapters.Provider, payment citygate.UUID, reason string) error {
	our := TillID(tenant, payment)
	return c.hearTill(ctx, tenant, contract, provider, silent,
		[]outcome{{our, adapters.Queried, driver.Result{OurID: our, Outcome: driver.Declined, ReasonCode: reason}}})
}

// tillCharge gives the charge of a payment, with its quote.
func (c *Collector) tillCharge(ctx context.Context, tenant citygate.TenantID, provider *adapters.Provider, payment citygate.UUID) (ch charge, err error) {
	err = c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+chargeColumns+` FROM charges WHERE tenant_id = $1 AND charge_id = $2 AND kind = $3`, tx.Tenant, payment, kindTill)
		if err != nil {
			return err
		}
		one, err := pgx.CollectExactlyOneRow(rows, scanCharge)
		if err != nil {
			return err
		}
		batch := []charge{one}
		err = quotedCharges(ctx, tx, provider, batch)
		ch = batch[0]
		return err
	})
	return ch, err
}

func (c *Collector) hearTill(ctx context.Context, tenant citygate.TenantID, contract Contract, provider *adapters.Provider, how health, heard []outcome) error {
	ctx = context.WithoutCancel(ctx) // money may have moved: an ended context must not keep us from saying so
	var contradictions []error
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if err := hear(ctx, tx, contract.Name, how); err != nil {
			return err
		}
		contradictions, err = c.apply(ctx, tx, contract, provider.Describe(), Rules{}, heard, func(string, adapters.Action) time.Time { return never })
		return err
	})
	return errors.Join(append(contradictions, err)...)
}

// ofTill makes what was heard of a till's payment final where nothing was sent: the code
// is gone with the call, so it cannot be sent again.
func (o outcome) ofTill(was adapters.State) outcome {
	if o.event == adapters.NotSent && was == adapters.Sent {
		o.event, o.result.Outcome = adapters.Submitted, driver.Declined
	}
	return o
}

// tellTills tells what was heard of the payments at tills among charges.
func (c *Collector) tellTills(ctx context.Context, tx *pg.Tx, charges map[string]*charge, outcomes []outcome) ([]ledger.Transfer, error) {
	var heard []TillHeard
	for _, o := range outcomes {
		if ch := charges[o.id]; ch != nil && ch.Kind == kindTill {
			heard = append(heard, TillHeard{Payment: ch.Aggregation, State: ch.State, Event: o.event, Result: o.result, Fee: ch.Fee})
		}
	}
	if len(heard) == 0 {
		return nil, nil
	}
	return c.Tills.Heard(ctx, tx, heard)
}

// withoutTills gives the charges that are not of payments at tills.
func withoutTills(charges []*charge) (rest []*charge) {
	for _, ch := range charges {
		if ch.Kind != kindTill {
			rest = append(rest, ch)
		}
	}
	return rest
}

// RefundTill asks a part of a payment back from the provider that took it, and gives
// the refund's ordinal.
func RefundTill(ctx context.Context, tx *pg.Tx, payment citygate.UUID, amount int64, date citygate.Date) (ordinal int, err error) {
	return returnTill(ctx, tx, payment, amount, date, tillRefund, string(adapters.Created))
}

// TillReturned stores that money of a payment went back to the customer as it was
// reversed, and tells so.
func (c *Collector) TillReturned(ctx context.Context, tx *pg.Tx, payment citygate.UUID, amount int64, date citygate.Date) (ordinal int, err error) {
	return returnTill(ctx, tx, payment, amount, date, tillReturned, string(adapters.Succeeded))
}

func returnTill(ctx context.Context, tx *pg.Tx, payment citygate.UUID, amount int64, date citygate.Date, n int, state string) (ordinal int, err error) {
	var our string
	if err := tx.QueryRow(ctx, `
		SELECT c.our_id, 1 + coalesce((SELECT max(r.ordinal) FROM refunds r WHERE r.tenant_id = $1 AND r.charge_id = c.charge_id), 0) FROM charges c
		WHERE c.tenant_id = $1 AND c.charge_id = $2 AND c.kind = $3 AND c.state = 'succeeded' FOR UPDATE`, tx.Tenant, payment, kindTill).Scan(&our, &ordinal); err != nil {
		return 0, err
	}
	refund := refundOf(tx.Tenant, our, ordinal)
	id := ledger.DeriveID(tx.Now, "refund", tx.Tenant.String(), refund)
	do, at := string(adapters.Submit), &tx.Now
	if n == tillReturned {
		do = string(adapters.Nothing)
	} else {
		at = nil
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, attempt, our_id, contract, account_id, operator_id, journey_id, n, amount, currency,
		                     business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at, sent_at, final_at)
		SELECT $1, $3, charge_id, $4, 1, $5, contract, account_id, $1, aggregation_id, $6, $7, currency, $8, $9, false, 0, '', '', $10, $11, $11, $12::timestamptz, $12::timestamptz
		FROM charges WHERE tenant_id = $1 AND charge_id = $2`,
		tx.Tenant, payment, id, ordinal, refund, n, amount, date, state, do, tx.Now, at)
	return ordinal, err
}

// nameReturns notes what a bill calls the money of reversed payments: such a row is of
// no request of ours, so it is known by the payment that it names.
func nameReturns(ctx context.Context, tx *pg.Tx, contract string, proofs []BillProof) error {
	for _, p := range proofs {
		if !p.Refund || p.Charge == "" {
			continue
		}
		if _, err := tx.Exec(ctx, `
			UPDATE refunds r SET bill_name = $3 FROM charges c
			WHERE r.tenant_id = $1 AND c.tenant_id = $1 AND c.our_id = $4 AND c.contract = $2 AND c.kind = $5 AND r.charge_id = c.charge_id
			  AND r.n = $6 AND r.state = 'succeeded' AND r.bill_name = '' AND r.amount = $7
			  AND NOT EXISTS (SELECT FROM refunds o WHERE o.tenant_id = $1 AND (o.our_id = $3 OR o.bill_name = $3))`,
			tx.Tenant, contract, p.OurID, p.Charge, kindTill, tillReturned, p.Amount); err != nil {
			return err
		}
	}
	return nil
}

// clearTills tells of the payments at tills among charges that are to be released.
func (c *Collector) clearTills(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) error {
	if c.Tills == nil {
		return nil
	}
	rows, err := tx.Query(ctx, `
		SELECT aggregation_id FROM charges WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[]) AND kind = $3 AND state = 'succeeded' ORDER BY charge_id FOR UPDATE`,
		tx.Tenant, charges, kindTill)
	if err != nil {
		return err
	}
	payments, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	if err != nil || len(payments) == 0 {
		return err
	}
	transfers, err := c.Tills.Cleared(ctx, tx, payments)
	if err != nil {
		return err
	}
	return ledger.Post(ctx, tx, transfers)
}

func refundOf(tenant citygate.TenantID, charge string, ordinal int) string {
	return ourID(tenant, "refund", charge, strconv.Itoa(ordinal))
}

// ordinalOf gives the place of a refund among those of its payment; its tries share it.
func ordinalOf(ctx context.Context, tx *pg.Tx, refund citygate.UUID) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT ordinal FROM refunds WHERE tenant_id = $1 AND refund_id = $2`, tx.Tenant, refund).Scan(&n)
	return n, err
}

// UnnamedReturns gives what went back of payments of a contract, by their ids, as they
// were reversed, where no bill has said yet what it calls that ([BillProof]).
func UnnamedReturns(ctx context.Context, tx *pg.Tx, contract string, ourIDs []string) (map[string]int64, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.our_id, r.amount FROM charges c JOIN refunds r ON r.tenant_id = $1 AND r.charge_id = c.charge_id AND r.n = $4 AND r.bill_name = ''
		WHERE c.tenant_id = $1 AND c.contract = $2 AND c.our_id = ANY($3::text[]) AND c.kind = $5`, tx.Tenant, contract, ourIDs, tillReturned, kindTill)
	if err != nil {
		return nil, err
	}
	found := map[string]int64{}
	var id string
	var amount int64
	_, err = pgx.ForEachRow(rows, []any{&id, &amount}, func() error { found[id] = amount; return nil })
	return found, err
}
