package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// chargeable makes sure that a payment of that id was ever asked of the contract, in that
// currency and for at least that much.
func chargeable(ctx context.Context, tx *pg.Tx, r *Reversal) error {
	var amount int64
	var currency citygate.Currency
	err := tx.QueryRow(ctx, `SELECT amount, currency FROM charges WHERE tenant_id = $1 AND our_id = $2 AND contract = $3`,
		tx.Tenant, r.Charge, r.Contract).Scan(&amount, &currency)
	switch {
	case pg.IsNoRows(err):
		return ErrNoCharge.Explain("contract %q, payment %q", r.Contract, r.Charge)
	case err != nil:
		return err
	case currency != r.Amount.Currency || r.Amount.Minor > amount:
		return ErrReversal.Explain("amount: the payment is of %d %s", amount, currency)
	}
	return nil
}

func insertReversal(ctx context.Context, tx *pg.Tx, actor string, r *Reversal) (fresh bool, err error) {
	id := ledger.DeriveID(tx.Now, "reversal", tx.Tenant.String(), r.Contract, r.Reference)
	tag, err := tx.Exec(ctx, `
		INSERT INTO reversals (tenant_id, reversal_id, contract, reference, charge_our_id, amount, fee, currency, state, reason, source, recorded_by, recorded_at, fee_unsaid)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, $10, $11, $12, $13)
		ON CONFLICT DO NOTHING`, // told at the same instant, the id is the same too
		tx.Tenant, id, r.Contract, r.Reference, r.Charge, r.Amount.Minor, r.Fee, string(r.Amount.Currency), r.Reason, r.Source, actor, tx.Now, r.FeeUnsaid)
	return tag.RowsAffected() == 1, err
}

const reversalColumns = `r.reversal_id, r.contract, r.reference, r.charge_our_id, r.amount, r.fee, r.currency, r.state, r.reason, r.source, r.recorded_by,
	r.recorded_at, r.applied_at, r.closed_at, r.charge_id, r.account_id, r.debt_id, r.sale_id, r.owed, r.covered, r.returned, r.business_date, r.fee_unsaid, r.fee_at, r.fee_on,
	r.till_payment_id, r.borne, EXISTS (SELECT FROM reversal_outcomes w WHERE w.tenant_id = $1 AND w.reversal_id = r.reversal_id AND w.applied_at IS NULL)`

func scanReversal(row pgx.CollectableRow) (v ReversalView, err error) {
	var applied, closed, feeAt *time.Time
	var charge, account, debt, sale, till *citygate.UUID
	var date, feeOn *citygate.Date
	err = row.Scan(&v.ID, &v.Contract, &v.Reference, &v.Charge, &v.Amount.Minor, &v.Fee, &v.Amount.Currency, &v.State, &v.Reason, &v.Source, &v.RecordedBy,
		&v.RecordedAt, &applied, &closed, &charge, &account, &debt, &sale, &v.Owed, &v.Covered, &v.Returned, &date, &v.FeeUnsaid, &feeAt, &feeOn, &till, &v.Borne, &v.Pending)
	v.RecordedAt = v.RecordedAt.UTC()
	for to, from := range map[*time.Time]*time.Time{&v.AppliedAt: applied, &v.ClosedAt: closed} {
		if from != nil {
			*to = from.UTC()
		}
	}
	for to, from := range map[*citygate.UUID]*citygate.UUID{&v.charge: charge, &v.Account: account, &v.Debt: debt, &v.Sale: sale, &v.Till: till} {
		if from != nil {
			*to = *from
		}
	}
	if date != nil {
		v.date = *date
	}
	if feeAt != nil && feeOn != nil {
		v.late = lateFee{feeAt.UTC(), *feeOn}
	}
	return v, err
}

func oneReversal(rows pgx.Rows, err error) (ReversalView, error) {
	if err != nil {
		return ReversalView{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanReversal)
	if pg.IsNoRows(err) {
		err = ErrNoReversal
	}
	return v, err
}

func lockReversal(ctx context.Context, tx *pg.Tx, contract, reference string) (ReversalView, error) {
	return oneReversal(tx.Query(ctx, `SELECT `+reversalColumns+` FROM reversals r WHERE r.tenant_id = $1 AND r.contract = $2 AND r.reference = $3 FOR UPDATE`,
		tx.Tenant, contract, reference))
}

func lockReversalID(ctx context.Context, tx *pg.Tx, id citygate.UUID) (ReversalView, error) {
	return oneReversal(tx.Query(ctx, `SELECT `+reversalColumns+` FROM reversals r WHERE r.tenant_id = $1 AND r.reversal_id = $2 FOR UPDATE`, tx.Tenant, id))
}

// Reversals lists reversals in one state, or in any for "", after one of them, at most
// limit.
func Reversals(ctx context.Context, tx *pg.Tx, state string, after citygate.UUID, limit int) ([]ReversalView, error) {
	where, err := inState("r.state", state, reversalWaiting, reversalOpen, ReversalWon, ReversalLost)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT `+reversalColumns+` FROM reversals r WHERE r.tenant_id = $1 AND r.reversal_id > $2`+where+` ORDER BY r.reversal_id LIMIT $3`,
		tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanReversal)
}

// reversalsDue gives the reversals whose payment has succeeded by now, and those with an
// outcome whose debt is not being collected any more.
func reversalsDue(ctx context.Context, tx *pg.Tx) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT r.reversal_id FROM reversals r JOIN charges c ON c.tenant_id = $1 AND c.our_id = r.charge_our_id
		WHERE r.tenant_id = $1 AND r.state = 'waiting' AND c.state = 'succeeded'
		UNION
		SELECT o.reversal_id FROM reversal_outcomes o JOIN reversals r ON r.tenant_id = $1 AND r.reversal_id = o.reversal_id
		WHERE o.tenant_id = $1 AND o.applied_at IS NULL AND r.state = 'open' AND NOT EXISTS (
			SELECT FROM charges c WHERE c.tenant_id = $1 AND c.aggregation_id = r.debt_id AND c.state IN ('created', 'sent', 'unknown'))
		ORDER BY 1 LIMIT $2`, tx.Tenant, passBatch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

// lockPaid locks a succeeded payment with its aggregation, and before them the claims of
// its fares, as whoever corrects one does; nil if it is not known to have succeeded.
func lockPaid(ctx context.Context, tx *pg.Tx, contract, our string) (ch *charge, released bool, err error) {
	var id citygate.UUID
	err = tx.QueryRow(ctx, `SELECT aggregation_id FROM charges WHERE tenant_id = $1 AND our_id = $2 AND contract = $3 AND state = 'succeeded'`,
		tx.Tenant, our, contract).Scan(&id)
	if pg.IsNoRows(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, lock := range []string{
		`SELECT FROM claims c WHERE c.tenant_id = $1 AND (c.operator_id, c.journey_id) IN (
			SELECT operator_id, journey_id FROM claim_lines WHERE tenant_id = $1 AND aggregation_id = $2) ORDER BY c.operator_id, c.journey_id FOR UPDATE`,
		`SELECT FROM aggregations WHERE tenant_id = $1 AND aggregation_id = $2 FOR UPDATE`,
	} {
		if _, err := tx.Exec(ctx, lock, tx.Tenant, id); err != nil {
			return nil, false, err
		}
	}
	rows, err := tx.Query(ctx, `SELECT `+chargeColumns+` FROM charges WHERE tenant_id = $1 AND our_id = $2 FOR UPDATE`, tx.Tenant, our)
	if err != nil {
		return nil, false, err
	}
	found, err := pgx.CollectExactlyOneRow(rows, scanCharge)
	if err != nil {
		return nil, false, err
	}
	err = tx.QueryRow(ctx, `SELECT released FROM charges WHERE tenant_id = $1 AND our_id = $2`, tx.Tenant, our).Scan(&released)
	return &found, released, err
}

// heldBy gives what of each fare an aggregation holds.
func heldBy(ctx context.Context, tx *pg.Tx, aggregation citygate.UUID) ([]held, error) {
	rows, err := tx.Query(ctx, `
		SELECT l.operator_id, l.journey_id, greatest(1, c.accepted_n), l.amount, l.at, c.business_date
		FROM (SELECT operator_id, journey_id, sum(delta)::bigint AS amount, min(at) AS at FROM claim_lines
			WHERE tenant_id = $1 AND aggregation_id = $2 GROUP BY operator_id, journey_id HAVING sum(delta) > 0) AS l
		JOIN claims c ON c.tenant_id = $1 AND c.operator_id = l.operator_id AND c.journey_id = l.journey_id
		ORDER BY l.operator_id, l.journey_id`, tx.Tenant, aggregation)
	return scanHeld(rows, err)
}

// sharesLeft gives what of each fare a reversal took and has not come back.
func sharesLeft(ctx context.Context, tx *pg.Tx, reversal citygate.UUID) ([]held, error) {
	rows, err := tx.Query(ctx, `
		SELECT s.operator_id, s.journey_id, greatest(1, c.accepted_n), s.amount, s.at, c.business_date
		FROM (SELECT operator_id, journey_id, sum(amount)::bigint AS amount, min(at) AS at FROM reversal_shares
			WHERE tenant_id = $1 AND reversal_id = $2 GROUP BY operator_id, journey_id HAVING sum(amount) > 0) AS s
		JOIN claims c ON c.tenant_id = $1 AND c.operator_id = s.operator_id AND c.journey_id = s.journey_id
		ORDER BY s.operator_id, s.journey_id`, tx.Tenant, reversal)
	return scanHeld(rows, err)
}

func scanHeld(rows pgx.Rows, err error) ([]held, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (h held, err error) {
		err = row.Scan(&h.operator, &h.journey, &h.n, &h.amount, &h.at, &h.date)
		h.at = h.at.UTC()
		return h, err
	})
}

// openReversed makes the aggregation of a debt that a reversal opens: the next of the
// payment's account and date, with nothing to gather.
func openReversed(ctx context.Context, tx *pg.Tx, ch *charge, owed int64) (citygate.UUID, error) {
	var a addition
	a.account.ID, a.date = ch.Account, ch.BusinessDate
	const most = 10_000
	for ordinal := 2; ordinal < most; ordinal++ {
		a.aim(tx.Tenant, ch.Currency, ordinal)
		tag, err := tx.Exec(ctx, `
			INSERT INTO aggregations (tenant_id, aggregation_id, account_id, account_key, contract, payer_ref, currency, business_date, ordinal,
			                          state, total, taps, opened_at, closes_at, closed_at)
			SELECT $1, $2, account_id, account_key, contract, payer_ref, currency, business_date, $3, 'in_debt', $4, 0, $5, $5, $5
			FROM charges WHERE tenant_id = $1 AND charge_id = $6
			ON CONFLICT (tenant_id, aggregation_id) DO NOTHING`, tx.Tenant, a.id, ordinal, owed, tx.Now, ch.ID)
		if err != nil || tag.RowsAffected() == 1 {
			return a.id, err
		}
	}
	return citygate.UUID{}, pg.ErrUnavailable.Because(nil, "account %s has thousands of aggregations on %s", ch.Account, ch.BusinessDate)
}

// oweAgain opens the debt of a reversal. It is tried only when somebody asks.
func oweAgain(ctx context.Context, tx *pg.Tx, v *ReversalView, ch *charge, blocks bool) error {
	var sale *citygate.UUID
	if !v.Sale.IsZero() {
		sale = &v.Sale
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO debts (tenant_id, aggregation_id, account_id, opened_amount, amount, currency, business_date, state, tries, unpassed, opened_at, reversal_id, blocks, sale_id)
		VALUES ($1, $2, $3, $4, $4, $5, $6, 'open', 0, false, $7, $8, $9, $10)`,
		tx.Tenant, v.Debt, ch.Account, v.Owed, string(ch.Currency), ch.BusinessDate, tx.Now, v.ID, blocks, sale)
	return err
}

// ofReversal reports whether a debt was opened by a reversal.
func ofReversal(ctx context.Context, tx *pg.Tx, debt citygate.UUID) (is bool, err error) {
	err = tx.QueryRow(ctx, `SELECT reversal_id IS NOT NULL FROM debts WHERE tenant_id = $1 AND aggregation_id = $2`, tx.Tenant, debt).Scan(&is)
	return is, err
}

// reversalParts is where the parts of reversal lines begin, behind those of claims.
const reversalParts = 1_000

const insertReversalLine = `
	INSERT INTO claim_lines (tenant_id, operator_id, journey_id, n, part, account_id, aggregation_id, kind, refund_id, delta, currency, business_date, at)
	SELECT $1, $2, $3, $4, $5::int + (SELECT count(*)::int FROM claim_lines WHERE tenant_id = $1 AND operator_id = $2 AND journey_id = $3 AND n = $4 AND part >= $5::int),
	       $6, $7, $8, $9, $10, $11, $12, $13
	ON CONFLICT (tenant_id, operator_id, journey_id, n, part) DO NOTHING`

func addLine(ctx context.Context, tx *pg.Tx, v *ReversalView, h *held, aggregation citygate.UUID, kind string, refund *citygate.UUID, delta int64) error {
	tag, err := tx.Exec(ctx, insertReversalLine, tx.Tenant, h.operator, h.journey, h.n, reversalParts, v.Account, aggregation, kind, refund, delta,
		string(v.Amount.Currency), h.date, h.at)
	if err == nil && tag.RowsAffected() != 1 {
		err = ErrLost.Because(nil, "journey %s has a line of that number", h.journey)
	}
	return err
}

// moveHeld moves fares from one aggregation to another, and notes with the reversal that
// they were taken (sign 1) or came back (-1).
func moveHeld(ctx context.Context, tx *pg.Tx, v *ReversalView, from, to citygate.UUID, parts []held, sign int64) error {
	for i := range parts {
		h := &parts[i]
		if err := addLine(ctx, tx, v, h, from, lineReversal, nil, -h.amount); err != nil {
			return err
		}
		if err := addLine(ctx, tx, v, h, to, lineReversal, nil, h.amount); err != nil {
			return err
		}
		if err := addShare(ctx, tx, v, h, sign*h.amount); err != nil {
			return err
		}
	}
	return nil
}

func addShare(ctx context.Context, tx *pg.Tx, v *ReversalView, h *held, amount int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO reversal_shares (tenant_id, reversal_id, operator_id, journey_id, part, charge_id, amount, at)
		SELECT $1, $2, $3, $4, (SELECT count(*)::int FROM reversal_shares WHERE tenant_id = $1 AND reversal_id = $2 AND operator_id = $3 AND journey_id = $4), $5, $6, $7`,
		tx.Tenant, v.ID, h.operator, h.journey, v.charge, amount, h.at)
	return err
}

// refundReturned has money refunded that came back for fares which are not owed any more.
func refundReturned(ctx context.Context, tx *pg.Tx, v *ReversalView, ch *charge, parts []held) error {
	for i := range parts {
		h := &parts[i]
		p := place{aggregation: ch.Aggregation, state: aggregationSettled, amount: h.amount, charge: ch.ID, settled: true, contract: ch.Contract, ourID: ch.OurID}
		cl := &claim{account: Account{ID: ch.Account}}
		cl.Journey, cl.N, cl.BusinessDate = h.journey, h.n, h.date
		refund, err := createRefund(ctx, tx, &booking{operator: h.operator, currency: ch.Currency}, cl, p, h.amount)
		if err != nil {
			return err
		}
		if err := addLine(ctx, tx, v, h, ch.Aggregation, lineReversal, nil, h.amount); err != nil {
			return err
		}
		if err := addLine(ctx, tx, v, h, ch.Aggregation, lineRefund, &refund, -h.amount); err != nil {
			return err
		}
		if err := addShare(ctx, tx, v, h, -h.amount); err != nil {
			return err
		}
	}
	return nil
}

func storeApplied(ctx context.Context, tx *pg.Tx, v *ReversalView) error {
	orNull := func(id *citygate.UUID) *citygate.UUID {
		if id.IsZero() {
			return nil
		}
		return id
	}
	_, err := tx.Exec(ctx, `
		UPDATE reversals SET state = $3, charge_id = $4, account_id = $5, debt_id = $6, owed = $7, applied_at = $8, business_date = $9, sale_id = $10, covered = $11,
		       till_payment_id = $12, borne = $13
		WHERE tenant_id = $1 AND reversal_id = $2`, tx.Tenant, v.ID, v.State, v.charge, v.Account, orNull(&v.Debt), v.Owed, v.AppliedAt, v.date, orNull(&v.Sale), v.Covered,
		orNull(&v.Till), v.Borne)
	return err
}

const outcomeColumns = `o.reversal_id, o.reference, o.outcome_id, o.outcome, o.amount, o.fee, o.to_debt, o.to_rider, o.to_suspense, o.to_sale, o.to_till, o.reason, o.source, o.applied_at, o.business_date, o.fee_unsaid, o.fee_at, o.fee_on`

func scanOutcome(row pgx.CollectableRow) (o outcomeRow, err error) {
	var at, feeAt *time.Time
	var date, feeOn *citygate.Date
	err = row.Scan(&o.Reversal, &o.Reference, &o.id, &o.Outcome, &o.Amount, &o.Fee, &o.toDebt, &o.toRider, &o.toSuspense, &o.toSale, &o.toTill, &o.Reason, &o.Source, &at, &date, &o.FeeUnsaid, &feeAt, &feeOn)
	if at != nil {
		o.at = at.UTC()
	}
	if date != nil {
		o.date = *date
	}
	if feeAt != nil && feeOn != nil {
		o.late = lateFee{feeAt.UTC(), *feeOn}
	}
	return o, err
}

func outcomeOf(ctx context.Context, tx *pg.Tx, reversal citygate.UUID, reference string) (o outcomeRow, found bool, err error) {
	rows, err := tx.Query(ctx, `SELECT `+outcomeColumns+` FROM reversal_outcomes o WHERE o.tenant_id = $1 AND o.reversal_id = $2 AND o.reference = $3`,
		tx.Tenant, reversal, reference)
	if err != nil {
		return o, false, err
	}
	o, err = pgx.CollectExactlyOneRow(rows, scanOutcome)
	if pg.IsNoRows(err) {
		return o, false, nil
	}
	return o, err == nil, err
}

// promised gives what outcomes that wait will return.
func promised(ctx context.Context, tx *pg.Tx, reversal citygate.UUID) (amount int64, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(amount), 0)::bigint FROM reversal_outcomes WHERE tenant_id = $1 AND reversal_id = $2 AND applied_at IS NULL`,
		tx.Tenant, reversal).Scan(&amount)
	return amount, err
}

func insertOutcome(ctx context.Context, tx *pg.Tx, actor string, o *ReversalOutcome) error {
	id := ledger.DeriveID(tx.Now, "reversal outcome", tx.Tenant.String(), o.Reversal.String(), o.Reference)
	_, err := tx.Exec(ctx, `
		INSERT INTO reversal_outcomes (tenant_id, reversal_id, reference, outcome_id, outcome, amount, fee, reason, source, recorded_by, recorded_at, fee_unsaid)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		tx.Tenant, o.Reversal, o.Reference, id, o.Outcome, o.Amount, o.Fee, o.Reason, o.Source, actor, tx.Now, o.FeeUnsaid)
	return err
}

// outcomesDue gives the outcomes of a reversal that are not booked, as they came.
func outcomesDue(ctx context.Context, tx *pg.Tx, reversal citygate.UUID) ([]outcomeRow, error) {
	rows, err := tx.Query(ctx, `SELECT `+outcomeColumns+` FROM reversal_outcomes o WHERE o.tenant_id = $1 AND o.reversal_id = $2 AND o.applied_at IS NULL
		ORDER BY o.recorded_at, o.outcome_id`, tx.Tenant, reversal)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanOutcome)
}

func storeConcluded(ctx context.Context, tx *pg.Tx, v *ReversalView, o *outcomeRow) error {
	if _, err := tx.Exec(ctx, `
		UPDATE reversal_outcomes SET to_debt = $4, to_rider = $5, to_suspense = $6, applied_at = $7, business_date = $8, to_sale = $9, to_till = $10
		WHERE tenant_id = $1 AND reversal_id = $2 AND reference = $3`, tx.Tenant, v.ID, o.Reference, o.toDebt, o.toRider, o.toSuspense, o.at, o.date, o.toSale, o.toTill); err != nil {
		return err
	}
	var closed *time.Time
	if !v.ClosedAt.IsZero() {
		closed = &v.ClosedAt
	}
	_, err := tx.Exec(ctx, `UPDATE reversals SET state = $3, returned = $4, closed_at = $5 WHERE tenant_id = $1 AND reversal_id = $2`,
		tx.Tenant, v.ID, v.State, v.Returned, closed)
	return err
}

// A TakenBack is a reversal, or an outcome of one that was won, as a bill's rows speak of
// it.
type TakenBack struct {
	ID          citygate.UUID
	Charge      citygate.UUID
	Reference   string
	ChargeOurID string
	Amount      citygate.Money // negative: taken back
	Fee         int64
	FeeUnsaid   bool // nobody has said it yet
	At          time.Time
}

// Reversed gives what is booked of reversals and outcomes by their references.
func Reversed(ctx context.Context, tx *pg.Tx, contract string, references []string) ([]TakenBack, error) {
	rows, err := tx.Query(ctx, `
		SELECT reversal_id, charge_id, reference, charge_our_id, -amount, currency, fee, fee_unsaid, applied_at FROM reversals
		WHERE tenant_id = $1 AND contract = $2 AND reference = ANY($3::text[]) AND applied_at IS NOT NULL
		UNION ALL
		SELECT o.outcome_id, r.charge_id, o.reference, r.charge_our_id, o.amount, r.currency, o.fee, o.fee_unsaid, o.applied_at
		FROM reversals r JOIN reversal_outcomes o ON o.tenant_id = $1 AND o.reversal_id = r.reversal_id
		WHERE r.tenant_id = $1 AND r.contract = $2 AND o.reference = ANY($3::text[]) AND o.applied_at IS NOT NULL AND ((o.amount, o.fee) <> (0, 0) OR o.fee_unsaid)`,
		tx.Tenant, contract, references)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t TakenBack, err error) {
		err = row.Scan(&t.ID, &t.Charge, &t.Reference, &t.ChargeOurID, &t.Amount.Minor, &t.Amount.Currency, &t.Fee, &t.FeeUnsaid, &t.At)
		t.At = t.At.UTC()
		return t, err
	})
}

// deriveReversals derives the transfers of applied reversals and of their outcomes.
func deriveReversals(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `SELECT `+reversalColumns+` FROM reversals r WHERE r.tenant_id = $1 AND r.applied_at IS NOT NULL`, tx.Tenant)
	if err != nil {
		return err
	}
	reversals, err := pgx.CollectRows(rows, scanReversal)
	if err != nil {
		return err
	}
	byID := make(map[citygate.UUID]*ReversalView, len(reversals))
	for i := range reversals {
		byID[reversals[i].ID] = &reversals[i]
		if err := all(reversals[i].transfers(tx.Tenant)); err != nil {
			return err
		}
	}
	rows, err = tx.Query(ctx, `SELECT `+outcomeColumns+` FROM reversal_outcomes o WHERE o.tenant_id = $1 AND o.applied_at IS NOT NULL`, tx.Tenant)
	if err != nil {
		return err
	}
	outcomes, err := pgx.CollectRows(rows, scanOutcome)
	if err != nil {
		return err
	}
	for i := range outcomes {
		if of := byID[outcomes[i].Reversal]; of != nil {
			outcomes[i].of = *of
			if err := all(outcomes[i].transfers(tx.Tenant)); err != nil {
				return err
			}
		}
	}
	return nil
}
