package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A change is what an outcome does to a payment's row.
type change struct {
	id          citygate.UUID
	state       string
	unknown     bool
	providerRef string
	reason      string
	fee         int64
	do          string
	at          time.Time
	final       bool
}

// on gives the change that an outcome makes to the payment id in state was, and
// what to do next about it. An outcome that contradicts the state is an error
// that names the payment as what.
func (o outcome) on(what string, id citygate.UUID, was adapters.State, sent time.Time, about driver.Description, now time.Time) (change, adapters.Action, error) {
	state, err := adapters.Next(was, o.event, o.result)
	if err != nil {
		return change{}, adapters.Action{}, ErrLost.Because(err, "%s %s is %s, the provider says %q", what, o.id, was, o.result.Outcome)
	}
	a := adapters.After(state, o.event, o.result, about, sent, now)
	return change{
		id: id, state: string(state), unknown: state == adapters.Unknown, providerRef: o.result.ProviderRef,
		reason: o.result.ReasonCode, do: string(a.Do), at: now, final: state.Final(),
	}, a, nil
}

// apply moves charges on what was heard of them and books what that means.
// What contradicts a final outcome changes nothing and comes back as an error of
// its own, so that the others are stored.
func (c *Collector) apply(ctx context.Context, tx *pg.Tx, contract Contract, about driver.Description, rules Rules, outcomes []outcome,
	when func(id string, a adapters.Action) time.Time) (contradictions []error, err error) {
	ids := make([]string, len(outcomes))
	for i, o := range outcomes {
		ids[i] = o.id
	}
	charges, err := lockCharges(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	var changes []change
	var succeeded, declined []*charge
	var told []outcome
	for _, o := range outcomes {
		ch := charges[o.id]
		if ch == nil {
			contradictions = append(contradictions, ErrLost.Because(nil, "the provider speaks of %q, which we did not ask for", o.id))
			continue
		}
		if ch.Kind == kindTill {
			o = o.ofTill(ch.State)
		}
		m, next, err := o.on("charge", ch.ID, ch.State, ch.SentAt, about, tx.Now)
		if err != nil {
			contradictions = append(contradictions, err)
			continue
		}
		if ch.State.Final() {
			continue
		}
		ch.State = adapters.State(m.state)
		switch ch.State {
		case adapters.Succeeded:
			ch.Fee, ch.FinalAt = citygate.PartPerMillion(ch.Amount, contract.FeePPM), tx.Now
			m.fee = ch.Fee
			succeeded = append(succeeded, ch)
		case adapters.Declined:
			ch.FinalAt = tx.Now
			declined = append(declined, ch)
		default:
			if m.at = when(o.id, next); ch.Kind == kindTill {
				m.do, m.at = string(adapters.Query), never
			}
		}
		changes, told = append(changes, m), append(told, o)
	}
	if err := errors.Join(storeChanges(ctx, tx, changes), storeExchanges(ctx, tx, charges, told)); err != nil {
		return nil, err
	}
	atTills, err := c.tellTills(ctx, tx, charges, told)
	if err != nil {
		return nil, err
	}
	succeeded, declined = withoutTills(succeeded), withoutTills(declined)
	transfers, err := c.finish(ctx, tx, rules, about, succeeded, declined)
	if err != nil {
		return nil, err
	}
	return contradictions, ledger.Post(ctx, tx, append(transfers, atTills...))
}

// finish does what follows from final outcomes and gives the transfers.
func (c *Collector) finish(ctx context.Context, tx *pg.Tx, rules Rules, about driver.Description, succeeded, declined []*charge) ([]ledger.Transfer, error) {
	transfers, succeeded, declined, err := c.sold(ctx, tx, succeeded, declined)
	if err != nil {
		return nil, err
	}
	var paid []citygate.UUID // accounts that may be free of debt now
	for _, ch := range succeeded {
		transfers = append(transfers, ch.transfers(tx.Tenant)...)
		if ch.recovers() {
			if err := closeDebt(ctx, tx, ch); err != nil {
				return nil, err
			}
		}
		paid = append(paid, ch.Account) // an approval may be what was missing
	}
	if err := collected(ctx, tx, succeeded); err != nil {
		return nil, err
	}
	by, err := c.declines(ctx, tx, rules, declined)
	if err != nil {
		return nil, err
	}
	insured, err := by.insured(ctx, tx, about, declined)
	if err != nil {
		return nil, err
	}
	var deny []citygate.UUID
	for _, ch := range declined {
		transfers = append(transfers, ch.transfers(tx.Tenant)...)
		voided, err := voidRefunds(ctx, tx, ch.ID)
		if err != nil {
			return nil, err
		}
		less := int64(0)
		for i := range voided {
			less += voided[i].Amount
			transfers = append(transfers, voided[i].transfers(tx.Tenant)...)
		}
		left, blocks, err := owe(ctx, tx, by, ch, less, insured[ch.ID])
		if err != nil {
			return nil, err
		}
		if left > 0 && blocks {
			deny = append(deny, ch.Account)
		} else {
			paid = append(paid, ch.Account)
		}
	}
	if len(deny) > 0 {
		if err := c.Accounts.DenyAccounts(ctx, tx, sortedUnique(deny), DenyDeclined); err != nil {
			return nil, err
		}
	}
	return transfers, c.lift(ctx, tx, paid)
}

// lift takes the accounts off the deny list that nothing blocks any more.
func (c *Collector) lift(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) error {
	if len(accounts) == 0 {
		return nil
	}
	free, err := c.unblocked(ctx, tx, sortedUnique(accounts))
	if err != nil || len(free) == 0 {
		return err
	}
	return c.Accounts.LiftAccounts(ctx, tx, free, DenyDeclined)
}

// lowerDebt takes amount off an open debt that is not being collected just now.
func (c *Collector) lowerDebt(ctx context.Context, tx *pg.Tx, aggregation citygate.UUID, amount int64) error {
	account, left, err := lowerDebt(ctx, tx, aggregation, amount)
	if err != nil {
		return err
	}
	if left < 0 {
		return fmt.Errorf("collect: aggregation %s: a correction of %d is more than the debt", aggregation, amount)
	}
	if left == 0 {
		return c.lift(ctx, tx, []citygate.UUID{account})
	}
	return nil
}

// A BillProof is a payment or refund that a provider's bill names.
type BillProof struct {
	OurID       string
	Refund      bool
	ProviderRef string
	Charge      string // of a refund: the payment that the row names
	Amount      int64  // of it, in minor units, positive
}

// ResolveByBill takes a bill's word for payments whose outcome is open. What is
// succeeded already stays as it is; what was finally declined is a contradiction
// and comes back among the errors, with nothing changed for it.
func (c *Collector) ResolveByBill(ctx context.Context, tx *pg.Tx, contract string, proofs []BillProof) (contradictions []error, err error) {
	terms, err := contractOf(ctx, tx, contract)
	if err != nil {
		return nil, err
	}
	if err := nameReturns(ctx, tx, contract, proofs); err != nil {
		return nil, err
	}
	var charges, refunds []outcome
	for _, p := range proofs {
		o := outcome{p.OurID, adapters.Billed, driver.Result{OurID: p.OurID, Outcome: driver.Succeeded, ProviderRef: p.ProviderRef}}
		if p.Refund {
			refunds = append(refunds, o)
		} else {
			charges = append(charges, o)
		}
	}
	now := func(string, adapters.Action) time.Time { return tx.Now }
	contradictions, err = c.apply(ctx, tx, terms, driver.Description{}, Rules{}, charges, now)
	if err != nil {
		return nil, err
	}
	more, err := c.applyRefunds(ctx, tx, driver.Description{}, refunds, now)
	return append(contradictions, more...), err
}
