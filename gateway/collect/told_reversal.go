package collect

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// sayFee books the fee of a locked reversal that nobody had said before. One that is not
// applied yet has it booked with the rest.
func (c *Collector) sayFee(ctx context.Context, tx *pg.Tx, actor string, v *ReversalView, fee int64) error {
	late, err := c.lateFee(ctx, tx, v.State != reversalWaiting)
	if err != nil {
		return err
	}
	v.Fee, v.FeeUnsaid, v.late = fee, false, late
	if _, err := tx.Exec(ctx, `UPDATE reversals SET fee = $3, fee_unsaid = false, fee_at = $4, fee_on = $5 WHERE tenant_id = $1 AND reversal_id = $2`,
		tx.Tenant, v.ID, fee, late.orNull(), late.dateOrNull()); err != nil {
		return err
	}
	if err := auditFee(ctx, tx, actor, v.ID, v.Reference, fee); err != nil || late.at.IsZero() {
		return err
	}
	return c.feeSaid(ctx, tx, v, v.feeTransfers(tx.Tenant))
}

// feeSaid books a fee that was said late. Whose payment at a till it is of bears it.
func (c *Collector) feeSaid(ctx context.Context, tx *pg.Tx, v *ReversalView, transfers []ledger.Transfer) error {
	if err := ledger.Post(ctx, tx, transfers); err != nil || v.Till.IsZero() {
		return err
	}
	return c.settleTill(ctx, tx, v.Till)
}

// sayOutcomeFee is sayFee of an outcome.
func (c *Collector) sayOutcomeFee(ctx context.Context, tx *pg.Tx, actor string, o *outcomeRow, fee int64) error {
	late, err := c.lateFee(ctx, tx, !o.at.IsZero())
	if err != nil {
		return err
	}
	o.Fee, o.FeeUnsaid, o.late = fee, false, late
	if _, err := tx.Exec(ctx, `UPDATE reversal_outcomes SET fee = $4, fee_unsaid = false, fee_at = $5, fee_on = $6 WHERE tenant_id = $1 AND reversal_id = $2 AND reference = $3`,
		tx.Tenant, o.Reversal, o.Reference, fee, late.orNull(), late.dateOrNull()); err != nil {
		return err
	}
	if err := auditFee(ctx, tx, actor, o.Reversal, o.Reference, fee); err != nil || late.at.IsZero() {
		return err
	}
	return c.feeSaid(ctx, tx, &o.of, o.feeTransfers(tx.Tenant))
}

func auditFee(ctx context.Context, tx *pg.Tx, actor string, reversal citygate.UUID, reference string, fee int64) error {
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "reversal.fee", Object: "reversal:" + reversal.Text("rvs_"), After: map[string]any{"reference": reference, "fee": fee}})
}

// lateFee gives when a fee is said now that is for something booked already.
func (c *Collector) lateFee(ctx context.Context, tx *pg.Tx, booked bool) (l lateFee, err error) {
	if !booked {
		return l, nil
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	return lateFee{tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)}, err
}

func (l *lateFee) orNull() *time.Time {
	if l.at.IsZero() {
		return nil
	}
	return &l.at
}

func (l *lateFee) dateOrNull() *citygate.Date {
	if l.at.IsZero() {
		return nil
	}
	return &l.on
}

// FeeByBill takes a bill's word for the fee of a reversal, or of an outcome, that nobody had
// said; it reports whether it is of one that has its fee now. Another amount changes nothing.
func (c *Collector) FeeByBill(ctx context.Context, tx *pg.Tx, contract, reference string, amount citygate.Money, fee int64) (said bool, err error) {
	taken, err := Reversed(ctx, tx, contract, []string{reference})
	if err != nil || len(taken) != 1 || taken[0].Amount != amount {
		return false, err
	}
	if amount.Minor < 0 {
		v, err := lockReversal(ctx, tx, contract, reference)
		if err != nil || !v.FeeUnsaid || fee < 0 {
			return false, err
		}
		return true, c.sayFee(ctx, tx, byBill, &v, fee)
	}
	var of citygate.UUID
	if err := tx.QueryRow(ctx, `SELECT reversal_id FROM reversal_outcomes WHERE tenant_id = $1 AND outcome_id = $2`, tx.Tenant, taken[0].ID).Scan(&of); err != nil {
		return false, err
	}
	v, err := lockReversalID(ctx, tx, of)
	if err != nil {
		return false, err
	}
	o, found, err := outcomeOf(ctx, tx, of, reference)
	if err != nil || !found || !o.FeeUnsaid {
		return false, err
	}
	o.of = v
	return true, c.sayOutcomeFee(ctx, tx, byBill, &o, fee)
}

// keepEarly keeps an outcome whose reversal nobody has told yet. It is recorded with that,
// and until then the notice waits.
func keepEarly(ctx context.Context, tx *pg.Tx, contract string, n driver.Notice, o *ReversalOutcome) (ruling, error) {
	if !referable(n.Taken.Of) {
		return ruling{NoticeMismatch, "it does not say which payment taken back it is of"}, nil
	}
	if n.ChargeID != "" {
		var ours bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND our_id = $2 AND contract = $3)`, tx.Tenant, n.ChargeID, contract).Scan(&ours); err != nil {
			return ruling{}, err
		}
		if !ours {
			return ruling{NoticeUnknownOrder, ""}, nil
		}
	}
	digest := digestOf(n)
	tag, err := tx.Exec(ctx, `
		INSERT INTO early_outcomes (tenant_id, contract, of_reference, reference, charge_our_id, outcome, amount, currency, fee, fee_unsaid, reason, provider_id, digest, state, recorded_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'waiting', $14)
		ON CONFLICT (tenant_id, contract, of_reference, reference) DO NOTHING`,
		tx.Tenant, contract, n.Taken.Of, o.Reference, n.ChargeID, o.Outcome, o.Amount, string(n.Taken.Amount.Currency), o.Fee, o.FeeUnsaid, o.Reason, n.ID, digest[:], tx.Now)
	if err != nil || tag.RowsAffected() == 1 {
		return ruling{NoticeWaiting, "for a reversal " + n.Taken.Of + ", of which nobody has told yet"}, err
	}
	var same bool
	err = tx.QueryRow(ctx, `
		SELECT (outcome, amount, fee, fee_unsaid, charge_our_id, currency) = ($5, $6, $7, $8, $9, $10) FROM early_outcomes
		WHERE tenant_id = $1 AND contract = $2 AND of_reference = $3 AND reference = $4`,
		tx.Tenant, contract, n.Taken.Of, o.Reference, o.Outcome, o.Amount, o.Fee, o.FeeUnsaid, n.ChargeID, string(n.Taken.Amount.Currency)).Scan(&same)
	if err != nil || same {
		return ruling{verdict: NoticeKnown}, err
	}
	return ruling{NoticeMismatch, "an outcome of this reference waits already, and says something else"}, nil
}

// An earlyOutcome is one that waits.
type earlyOutcome struct {
	ReversalOutcome
	charge     string
	currency   citygate.Currency
	providerID string
	digest     []byte
}

// takeEarly records the outcomes that waited for a locked reversal, as they came. One that
// cannot be of it is left to somebody, as if it had come now.
func (c *Collector) takeEarly(ctx context.Context, tx *pg.Tx, v *ReversalView) error {
	rows, err := tx.Query(ctx, `
		SELECT reference, outcome, amount, fee, fee_unsaid, reason, charge_our_id, currency, provider_id, digest FROM early_outcomes
		WHERE tenant_id = $1 AND contract = $2 AND of_reference = $3 AND state = 'waiting' ORDER BY recorded_at, reference FOR UPDATE`, tx.Tenant, v.Contract, v.Reference)
	if err != nil {
		return err
	}
	waiting, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e earlyOutcome, err error) {
		err = row.Scan(&e.Reference, &e.Outcome, &e.Amount, &e.Fee, &e.FeeUnsaid, &e.Reason, &e.charge, &e.currency, &e.providerID, &e.digest)
		e.Reversal, e.Source = v.ID, FromNotice
		return e, err
	})
	if err != nil {
		return err
	}
	for i := range waiting {
		e := &waiting[i]
		err := e.fits(v)
		if err == nil {
			_, err = c.conclude(ctx, tx, noticeActor, v, &e.ReversalOutcome)
		}
		became, verdict, state, detail := "applied", NoticeApplied, "done", ""
		switch {
		case errors.Is(err, ErrReversalOver):
			became, verdict, state, detail = "refused", NoticeContradiction, "open", err.Error()
		case errors.Is(err, ErrReversal), errors.Is(err, ErrReversalOther):
			became, verdict, state, detail = "refused", NoticeMismatch, "open", err.Error()
		case err != nil:
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE early_outcomes SET state = $5 WHERE tenant_id = $1 AND contract = $2 AND of_reference = $3 AND reference = $4`,
			tx.Tenant, v.Contract, v.Reference, e.Reference, became); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE provider_notices SET verdict = $5, state = $6, detail = $7 WHERE tenant_id = $1 AND contract = $2 AND provider_id = $3 AND digest = $4`,
			tx.Tenant, v.Contract, e.providerID, e.digest, string(verdict), state, detail); err != nil {
			return err
		}
	}
	return nil
}

// fits refuses an outcome that is of another payment, or in another currency.
func (e *earlyOutcome) fits(v *ReversalView) error {
	switch {
	case e.charge != "" && e.charge != v.Charge:
		return ErrReversal.Explain("payment: what was taken back is %s", v.Charge)
	case e.Amount > 0 && e.currency != v.Amount.Currency:
		return ErrReversal.Explain("amount: what was taken back is in %s", v.Amount.Currency)
	}
	return nil
}

const earlyWhere = `
	FROM early_outcomes e JOIN reversals r ON r.tenant_id = $1 AND r.contract = e.contract AND r.reference = e.of_reference
	WHERE e.tenant_id = $1 AND e.state = 'waiting'`

// earlyDue records the outcomes that were told in the same moment as what they are of.
func (c *Collector) earlyDue(ctx context.Context, tenant citygate.TenantID) error {
	var due []citygate.UUID
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, `SELECT DISTINCT r.reversal_id`+earlyWhere+` LIMIT $2`, tx.Tenant, passBatch)
		if err != nil {
			return err
		}
		due, err = pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
		return err
	})
	if err != nil || len(due) == 0 {
		return err
	}
	if err := c.PassBack(ctx, tenant); err != nil {
		return err
	}
	for _, id := range due {
		if err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			v, err := lockReversalID(ctx, tx, id)
			if err != nil {
				return err
			}
			return c.takeEarly(ctx, tx, &v)
		}); err != nil {
			return err
		}
	}
	return nil
}

// OutcomesOf gives the references of what is recorded of a reversal's dispute.
func OutcomesOf(ctx context.Context, tx *pg.Tx, contract, reference string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		SELECT o.reference FROM reversals r JOIN reversal_outcomes o ON o.tenant_id = $1 AND o.reversal_id = r.reversal_id
		WHERE r.tenant_id = $1 AND r.contract = $2 AND r.reference = $3 ORDER BY o.reference`, tx.Tenant, contract, reference)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
