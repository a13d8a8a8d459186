package till

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The kinds of taking lines.
const (
	takenBorne   = "borne"    // what the payment held: its bearer's
	takenUnowed  = "unowed"   // what was taken beyond that: claimed from the provider
	takenGivenUp = "given_up" // of that, what was lost for good
	takenFee     = "fee"      // of the provider, borne by the payee
)

// Which account of the payee bears a line.
const (
	onUncleared = "uncleared"
	onPayable   = "payable"
)

// A taking is one row of till_taking_lines.
type taking struct {
	part    int
	kind    string
	onPayee string // "" = none of his
	amount  int64
	at      time.Time
	date    citygate.Date
}

// transfer gives what a line does to the books.
func (p *Payment) transfer(tenant citygate.TenantID, l *taking) ledger.Transfer {
	t := ledger.Transfer{Event: p.event() + "/taken/" + strconv.Itoa(l.part), Currency: p.Amount.Currency, EffectiveAt: l.at, BusinessDate: l.date,
		Code: "till_taken_" + l.kind, Amount: l.amount, Credit: ledger.ProviderReceivable(p.Contract)}
	switch l.onPayee {
	case onUncleared:
		t.Debit = ledger.TillUncleared(p.Payee)
	case onPayable:
		t.Debit = ledger.TillPayable(p.Payee)
	default:
		t.Debit = ledger.WriteOff(p.Contract)
	}
	switch l.kind {
	case takenUnowed:
		t.Debit = ledger.Suspense(p.Contract)
	case takenGivenUp:
		t.Credit = ledger.Suspense(p.Contract)
	case takenFee:
		t.Credit = ledger.ReversalFee(p.Contract)
	}
	return ledger.NewTransfer(tenant, 0, t)
}

// Taken implements [collect.Tills]: it books what is borne, claimed and given up more or
// less than before. Who bears it is decided when something is taken back for the first
// time, and stays so.
func (d *Desk) Taken(ctx context.Context, tx *pg.Tx, t collect.TillTaken) ([]ledger.Transfer, error) {
	p, err := lock(ctx, tx, t.Payment)
	if err != nil {
		return nil, err
	}
	if p.Taken = t.Taken; p.TakenBearer == "" {
		p.TakenBearer = t.Bearer
	}
	p.standAfterTaking(tx.Now)
	if err := store(ctx, tx, &p); err != nil {
		return nil, err
	}
	booked, parts, err := bookedTakings(ctx, tx, p.ID)
	if err != nil {
		return nil, err
	}
	onPayee := ""
	if p.TakenBearer == risk.PayeeBears {
		onPayee = onUncleared
		if !p.ClearedAt.IsZero() {
			onPayee = onPayable
		}
	} else {
		t.Fees = 0 // they are the tenant's as they are booked
	}
	var transfers []ledger.Transfer
	for _, l := range []taking{
		{kind: takenBorne, onPayee: onPayee, amount: t.Taken - t.Unowed},
		{kind: takenUnowed, amount: t.Unowed},
		{kind: takenGivenUp, amount: t.GivenUp},
		{kind: takenFee, onPayee: onPayee, amount: t.Fees},
	} {
		if l.amount -= booked[l.kind]; l.amount == 0 {
			continue
		}
		parts++
		l.part, l.at, l.date = parts, tx.Now.UTC().Truncate(time.Microsecond), t.Date
		if err := insertTaking(ctx, tx, p.ID, &l); err != nil {
			return nil, err
		}
		transfers = append(transfers, p.transfer(tx.Tenant, &l))
	}
	return transfers, nil
}

// standAfterTaking moves p on, now that more or less of it was taken back: one that is
// being taken back is closed when nothing is left of it, and is taken back again when the
// provider returned money that is not the payee's, also while a refund of that is open or
// was declined.
func (p *Payment) standAfterTaking(now time.Time) {
	switch {
	case p.State == Reversing:
		p.closeIfGone(now)
	case p.State == Closed && !p.PaidAt.IsZero() && p.Returned+p.Taken < p.Amount.Minor:
		p.State, p.EndedAt, p.NextAt = Reversing, time.Time{}, now
	}
}

// closeIfGone closes a payment that is taken back when all of it has certainly gone.
func (p *Payment) closeIfGone(now time.Time) {
	if !p.PaidAt.IsZero() && p.Returned+p.Taken >= p.Amount.Minor {
		p.State, p.EndedAt, p.NextAt = Closed, now.UTC().Truncate(time.Microsecond), time.Time{}
	}
}

func insertTaking(ctx context.Context, tx *pg.Tx, payment citygate.UUID, l *taking) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO till_taking_lines (tenant_id, payment_id, part, kind, on_payee, amount, business_date, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		int64(tx.Tenant), payment, l.part, l.kind, l.onPayee, l.amount, l.date, l.at)
	return err
}

// bookedTakings gives the sums of a payment's lines by their kinds, and how many there are.
func bookedTakings(ctx context.Context, tx *pg.Tx, payment citygate.UUID) (sums map[string]int64, parts int, err error) {
	rows, err := tx.Query(ctx, `SELECT kind, sum(amount)::bigint, count(*)::int FROM till_taking_lines WHERE tenant_id = $1 AND payment_id = $2 GROUP BY kind`,
		int64(tx.Tenant), payment)
	if err != nil {
		return nil, 0, err
	}
	sums = map[string]int64{}
	var kind string
	var sum int64
	var n int
	_, err = pgx.ForEachRow(rows, []any{&kind, &sum, &n}, func() error { sums[kind] = sum; parts += n; return nil })
	return sums, parts, err
}

// deriveTakings derives the transfers of payments that were taken back.
func deriveTakings(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT p.our_id, p.contract, p.payee, p.currency, l.part, l.kind, l.on_payee, l.amount, l.business_date, l.at
		FROM till_taking_lines l JOIN till_payments p ON p.tenant_id = $1 AND p.payment_id = l.payment_id WHERE l.tenant_id = $1`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var p Payment
	var l taking
	_, err = pgx.ForEachRow(rows, []any{&p.OurID, &p.Contract, &p.Payee, &p.Amount.Currency, &l.part, &l.kind, &l.onPayee, &l.amount, &l.date, &l.at},
		func() error { return all([]ledger.Transfer{p.transfer(tx.Tenant, &l)}) })
	return err
}
