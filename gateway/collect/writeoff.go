package collect

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of writing off.
var (
	ErrNoDebt   = &citygate.Code{Name: "debt.not_found", Kind: citygate.NotFound, Title: "There is no such debt. List the debts of the tenant."}
	ErrDebt     = &citygate.Code{Name: "debt.closed", Kind: citygate.Conflict, Title: "The debt is not open. Look at its state."}
	ErrDebtBusy = &citygate.Code{Name: "debt.busy", Kind: citygate.Conflict, Title: "The debt is being collected or divided at this moment. Try again when the payment under way has its outcome."}
	ErrDebtSum  = &citygate.Code{Name: "debt.other_amount", Kind: citygate.Conflict, Title: "Another amount is owed by now. Look at the debt and name what is to be written off."}
	ErrNoReason = &citygate.Code{Name: "debt.no_reason", Kind: citygate.Invalid, Title: "A write-off says why, in 3 to 500 characters."}
)

// A WriteOff gives up what a rider owes.
type WriteOff struct {
	Debt   citygate.UUID
	Amount citygate.Money // what is still owed, as whoever decides sees it
	Reason string
}

// WriteOff gives up a debt: it is taken off the rider's account, against those who
// bear it. What others than the operator bear is still paid to it when that is due. The
// state is final, and what the rider pays afterwards is the bearers' ([PayWrittenOff]).
// His credentials come off the deny list if he owes nothing else. What is written off
// already with that amount changes nothing.
func (c *Collector) WriteOff(ctx context.Context, actor string, tenant citygate.TenantID, w WriteOff) (DebtView, error) {
	if n := len([]rune(strings.TrimSpace(w.Reason))); n < 3 || n > 500 {
		return DebtView{}, ErrNoReason
	}
	if err := c.PassBack(ctx, tenant); err != nil { // who bears it is decided first
		return DebtView{}, err
	}
	var v DebtView
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		d, busy, err := lockDebt(ctx, tx, w.Debt)
		switch {
		case err != nil:
			return err
		case d.State == debtWrittenOff && d.RepaidAt.IsZero() && d.Left == w.Amount:
			v = d
			return nil
		case d.State != debtOpen:
			return ErrDebt.Explain("it is %s", d.State)
		case d.Left != w.Amount:
			return ErrDebtSum.Explain("%d %s are owed", d.Left.Minor, d.Left.Currency)
		case busy:
			return ErrDebtBusy
		}
		if disputes, err := disputesOf(ctx, tx, []citygate.UUID{w.Debt}); err != nil {
			return err
		} else if slices.ContainsFunc(disputes[w.Debt], func(x Dispute) bool { return x.State == disputeOpen }) {
			return ErrDisputed
		}
		if err := giveUp(ctx, tx, w.Debt); err != nil {
			return err
		}
		advices, err := c.spread(ctx, tx, []citygate.UUID{w.Debt})
		if err != nil {
			return err
		}
		if err := c.tell(ctx, tx, advices); err != nil {
			return err
		}
		if err := c.lift(ctx, tx, []citygate.UUID{d.Account}); err != nil {
			return err
		}
		if v, _, err = lockDebt(ctx, tx, w.Debt); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "debt.write_off", Object: "debt:" + w.Debt.Text("dbt_"),
			Before: map[string]any{"state": d.State, "amount": d.Left}, After: map[string]any{"state": v.State, "amount": d.Left, "reason": w.Reason}})
	})
	return v, err
}

// PayWrittenOff has a debt that was written off collected once more, as when the rider
// offers to pay it. If the provider declines it stays as it is.
func PayWrittenOff(ctx context.Context, tx *pg.Tx, actor string, debt citygate.UUID) (DebtView, error) {
	d, busy, err := lockDebt(ctx, tx, debt)
	switch {
	case err != nil:
		return d, err
	case d.State != debtWrittenOff || d.Left.Minor == 0:
		return d, ErrDebt.Explain("it is %s and %d of it is not paid: what is open is collected by retry-debts of its account", d.State, d.Left.Minor)
	case busy:
		return d, ErrDebtBusy
	}
	if _, err := tx.Exec(ctx, `UPDATE debts SET retry_at = $3, retry_by = 'person' WHERE tenant_id = $1 AND aggregation_id = $2`, tx.Tenant, debt, tx.Now); err != nil {
		return d, err
	}
	d.RetryAt = tx.Now
	return d, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "debt.pay_written_off", Object: "debt:" + debt.Text("dbt_"), After: map[string]any{"retry_at": tx.Now.UTC().Format(time.RFC3339)}})
}
