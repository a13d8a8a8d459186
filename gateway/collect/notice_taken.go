package collect

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ruleTaken records what a notice says of a payment that was taken back, or of the
// dispute about it. The provider's bill says it too, under the same references: whichever
// comes first is recorded, the other one is known, and adds the fee if that was not said.
// An outcome that comes before what it is of waits for it. What cannot be recorded changes
// nothing and waits for somebody.
func (c *Collector) ruleTaken(ctx context.Context, tx *pg.Tx, contract Contract, n driver.Notice) (ruling, error) {
	t := n.Taken
	why := "the provider's notice"
	if t.ReasonCode != "" {
		why += ": " + t.ReasonCode
	}
	why = string([]rune(why)[:min(len([]rune(why)), 500)])
	fresh := false
	var err error
	switch t.State {
	case driver.TakenBack:
		if !referable(t.Reference) || t.Amount.Minor <= 0 || t.Fee < 0 || t.FeeUnsaid && t.Fee != 0 || !t.Amount.Currency.Valid() {
			return ruling{NoticeMismatch, "it has no reference, amount or currency that a payment taken back can have"}, nil
		}
		_, fresh, err = c.reverse(ctx, tx, noticeActor, &Reversal{Contract: contract.Name, Reference: t.Reference, Charge: n.ChargeID, Amount: t.Amount, Fee: t.Fee, FeeUnsaid: t.FeeUnsaid,
			Reason: why, Source: FromNotice})
	case driver.TakenWon, driver.TakenLost:
		o := ReversalOutcome{Reference: t.Reference, Outcome: string(t.State), Amount: t.Amount.Minor, Fee: t.Fee, FeeUnsaid: t.FeeUnsaid, Reason: why, Source: FromNotice}
		if err = o.check(); err == nil {
			fresh, err = c.decided(ctx, tx, contract, n, &o)
		}
		if errors.Is(err, ErrNoReversal) {
			return keepEarly(ctx, tx, contract.Name, n, &o)
		}
	case driver.TakenOther:
		return ruling{verdict: NoticeNoted}, nil
	}
	switch {
	case errors.Is(err, ErrNoCharge):
		return ruling{NoticeUnknownOrder, ""}, nil
	case errors.Is(err, ErrReversalOver):
		return ruling{NoticeContradiction, err.Error()}, nil
	case errors.Is(err, ErrReversal), errors.Is(err, ErrReversalOther):
		return ruling{NoticeMismatch, err.Error()}, nil
	case err != nil:
		return ruling{}, err
	case !fresh:
		return ruling{verdict: NoticeKnown}, nil
	}
	return ruling{verdict: NoticeApplied}, nil
}

// decided records the outcome of a dispute.
func (c *Collector) decided(ctx context.Context, tx *pg.Tx, contract Contract, n driver.Notice, o *ReversalOutcome) (fresh bool, err error) {
	v, err := lockReversal(ctx, tx, contract.Name, n.Taken.Of)
	if err != nil {
		return false, err
	}
	switch {
	case n.ChargeID != "" && n.ChargeID != v.Charge:
		return false, ErrReversal.Explain("payment: what was taken back is %s", v.Charge)
	case o.Amount > 0 && n.Taken.Amount.Currency != v.Amount.Currency:
		return false, ErrReversal.Explain("amount: what was taken back is in %s", v.Amount.Currency)
	}
	o.Reversal = v.ID
	return c.conclude(ctx, tx, noticeActor, &v, o)
}
