package till

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	// absentAfter is when a payment that its provider does not know cannot arrive there
	// any more: codes are good for a minute, and no request is under way for so long.
	absentAfter = 5 * time.Minute

	absent      = "absent_at_provider" // the reason of one that was closed so
	leaseMargin = time.Minute
	dueMost     = 200 // payments of one run, of each contract

	// reversalsMost is how often a reversal is asked for of a payment that was made, while
	// nobody says what became of it.
	reversalsMost = 5
)

// leaseOf is how long whoever took a payment has it for itself: three calls.
func leaseOf(about driver.Description) time.Duration { return 3*about.Deadline + leaseMargin }

// RunDue asks after the payments whose time has come, and reverses those that nobody
// confirmed in time. It may run any number of times, also at once.
func (d *Desk) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	var due map[string][]citygate.UUID
	err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		due, err = dueNow(ctx, tx, dueMost)
		return err
	})
	var failed error
	for contract, ids := range due {
		failed = errors.Join(failed, d.Bulkhead.Do(ctx, collect.TaskTill, tenant, contract, func(ctx context.Context) error {
			var failed error
			for _, id := range ids {
				failed = errors.Join(failed, d.pursue(ctx, tenant, id))
			}
			return failed
		}))
	}
	return errors.Join(err, failed)
}

// Cancel gives a payment up that is not made yet: it is taken back. Again changes
// nothing.
func (d *Desk) Cancel(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, reason string) (Payment, error) {
	if n := len([]rune(reason)); n > reasonMax {
		return Payment{}, ErrInvalid.Explain("reason: want at most %d characters", reasonMax)
	}
	var p Payment
	err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if p, err = lock(ctx, tx, id); err != nil {
			return err
		}
		switch p.State {
		case Paid, Refunded:
			return ErrFinal.Explain("payment %s is %s", id.Text(Prefix), p.State)
		case Asked, Paying:
			if err := reverse(ctx, tx, &p, forCancel); err != nil {
				return err
			}
			return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "till.cancel", Object: id.Text(Prefix), After: map[string]any{"reason": reason}})
		}
		return nil
	})
	if err != nil || !p.open() {
		return p, err
	}
	leave, err := d.line.join(tenant, p.Contract)
	if err != nil {
		return p, nil //nolint:nilerr // it is due, and the next look finds it
	}
	defer leave()
	ctx = context.WithoutCancel(ctx)
	if err := d.pursue(ctx, tenant, id); err != nil && !errors.Is(err, adapters.ErrOpen) {
		return p, err
	}
	return d.Find(ctx, tenant, id)
}

// Ask goes on with a payment that is due, if nobody else does, and gives it.
func (d *Desk) Ask(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (Payment, error) {
	if err := d.pursue(context.WithoutCancel(ctx), tenant, id); err != nil {
		return Payment{}, err
	}
	return d.Find(ctx, tenant, id)
}

// pursue goes one step on with a payment that is due, if nobody else does.
func (d *Desk) pursue(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) error {
	p, contract, taken, err := d.take(ctx, tenant, id)
	if err != nil || !taken {
		return err
	}
	provider, err := d.Provider(ctx, tenant, contract)
	if err != nil {
		return fmt.Errorf("till, contract %s: %w", contract.Name, err)
	}
	s := step{d: d, tenant: tenant, contract: contract, provider: provider, about: provider.Describe(), p: p}
	err = s.run(ctx)
	_, again := d.schedule(context.WithoutCancel(ctx), tenant, id, s.about)
	return errors.Join(err, again)
}

// take takes a payment that is due for itself, for a while.
func (d *Desk) take(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (p Payment, contract collect.Contract, taken bool, err error) {
	err = d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if p, taken, err = takeDue(ctx, tx, id, tx.Now.Add(collectLease)); err != nil || !taken {
			return err
		}
		contract, err = collect.FindContract(ctx, tx, p.Contract)
		return err
	})
	return p, contract, taken, err
}

// collectLease is how long a payment is taken for before its provider is opened.
const collectLease = 3*time.Minute + leaseMargin

// A step is one step with one payment.
type step struct {
	d        *Desk
	tenant   citygate.TenantID
	contract collect.Contract
	provider *adapters.Provider
	about    driver.Description
	p        Payment
	state    adapters.State // of its charge
}

// run asks; takes it back, where its time is over, with no gap behind the question; and
// asks again.
func (s *step) run(ctx context.Context) error {
	res, err := s.ask(ctx)
	if err != nil || !s.p.open() {
		return err
	}
	if s.p.State != Reversing {
		if over, err := s.timeOver(ctx); err != nil || !over {
			return err
		}
	}
	if s.state == adapters.Unknown || s.unanswered(res) {
		reversed, err := s.reverse(ctx)
		if err != nil {
			return err
		}
		if reversed {
			if res, err = s.ask(ctx); err != nil || !s.p.open() {
				return err
			}
		}
	}
	return s.end(ctx, res)
}

// ask asks what became of the payment.
func (s *step) ask(ctx context.Context) (res driver.Result, err error) {
	if res, s.state, err = s.d.Collector.QueryTill(ctx, s.tenant, s.contract, s.provider, s.p.ID); err != nil {
		return res, err
	}
	s.p, err = s.d.Find(context.WithoutCancel(ctx), s.tenant, s.p.ID)
	return res, err
}

// timeOver has a payment taken back that nobody confirmed in time.
func (s *step) timeOver(ctx context.Context) (over bool, err error) {
	err = s.d.DB.InTenant(ctx, s.tenant, func(tx *pg.Tx) error {
		p, err := lock(ctx, tx, s.p.ID)
		if err != nil {
			return err
		}
		if over = p.State == Reversing; !over && p.open() && !tx.Now.Before(p.WaitUntil) {
			over = true
			err = reverse(ctx, tx, &p, forTimeout)
		}
		s.p = p
		return err
	})
	return over, err
}

// unanswered reports whether the payment was made, and a reversal of it was asked for of
// which nobody knows what became: it is asked for again, under its name, before the money
// is given back in another way.
func (s *step) unanswered(res driver.Result) bool {
	return s.state == adapters.Succeeded && s.p.Refunded == 0 && s.p.Reversals > 0 && s.p.Reversals < reversalsMost && s.p.ReversalSaid == driver.ReversalUnknown &&
		!s.p.gone(res)
}

// reverse asks for the reversal, where it may be asked for now. That it is asked for is on
// disk first: a process that dies in the call leaves a reversal of which nobody can say
// anything, and no refund is made beside it.
func (s *step) reverse(ctx context.Context) (asked bool, err error) {
	was := s.p
	if err := s.d.DB.InTenant(ctx, s.tenant, func(tx *pg.Tx) error { return setReversals(ctx, tx, s.p.ID, was.Reversals+1, tx.Now) }); err != nil {
		return false, err
	}
	said, reason, err := s.d.Collector.ReverseTill(ctx, s.tenant, s.provider, s.p.ID, was.Reversals > 0 && was.ReversalSaid == driver.ReversalUnknown)
	never := errors.Is(err, adapters.ErrReverse) // too early, too late, or the product has none: the questions go on
	return !never, s.d.DB.InTenant(context.WithoutCancel(ctx), s.tenant, func(tx *pg.Tx) error {
		if never {
			return setReversals(ctx, tx, s.p.ID, was.Reversals, was.ReversedAt)
		}
		return saidReversed(ctx, tx, s.p.ID, said, reason)
	})
}

// gone reports whether the provider says of a payment that all of it went back.
func (p *Payment) gone(res driver.Result) bool {
	return res.Outcome == driver.Succeeded && res.Returned.Minor >= p.Amount.Minor
}

// end closes what is certain of a payment that is taken back, by the last answer.
func (s *step) end(ctx context.Context, res driver.Result) error {
	able := false
	if _, ok := s.provider.Reverser(); ok {
		able = true
	}
	var now time.Time
	if err := s.d.DB.InTenant(ctx, s.tenant, func(tx *pg.Tx) error { now = tx.Now; return nil }); err != nil {
		return err
	}
	switch {
	case s.state == adapters.Succeeded:
		return s.giveBack(ctx, res)
	case s.state == adapters.Unknown && res.Outcome == driver.Absent && now.Sub(s.p.AskedAt) >= max(absentAfter, s.about.QuietTime) &&
		(!able || s.p.Reversals > 0):
		return s.d.Collector.EndTill(ctx, s.tenant, s.contract, s.provider, s.p.ID, absent)
	}
	return nil
}

// giveBack sees to it that the money of a payment goes back that was made although it
// was being taken back: the reversal has done it, or a refund does.
func (s *step) giveBack(ctx context.Context, res driver.Result) error {
	return s.d.DB.InTenant(context.WithoutCancel(ctx), s.tenant, func(tx *pg.Tx) error {
		p, err := lock(ctx, tx, s.p.ID)
		rest := p.left()
		if err != nil || p.State != Reversing || rest == 0 {
			return err
		}
		settings, err := s.d.Settings(ctx, s.tenant)
		if err != nil {
			return err
		}
		today := settings.Calendar.BusinessDate(tx.Now)
		switch {
		case p.gone(res) || p.ReversalSaid == driver.ReversalGiven:
			return s.returned(ctx, tx, &p, rest, today)
		case p.Reversals == 0 || p.ReversalSaid == driver.ReversalRefused || tx.Now.Sub(p.ReversedAt) >= s.about.QuietTime:
			ordinal, err := collect.RefundTill(ctx, tx, p.ID, rest, today)
			if err != nil {
				return err
			}
			if err := insertRefund(ctx, tx, &refund{payment: p.ID, ordinal: ordinal, kind: kindLate, amount: rest, reason: "paid although it was taken back", by: system}); err != nil {
				return err
			}
			if err := setRefunded(ctx, tx, p.ID, p.Refunded+rest); err != nil {
				return err
			}
			if err := tx.Audit(ctx, pg.AuditEntry{Actor: system, Verb: "till.refund", Object: p.ID.Text(Prefix), After: map[string]any{"amount": rest, "late": true}}); err != nil {
				return err
			}
			return tx.Enqueue(ctx, s.d.Wake(s.tenant))
		}
		return nil // a reversal may be under way still
	})
}

// returned books that the reversal gave the rest of the money back.
func (s *step) returned(ctx context.Context, tx *pg.Tx, p *Payment, rest int64, today citygate.Date) error {
	ordinal, err := s.d.Collector.TillReturned(ctx, tx, p.ID, rest, today)
	if err != nil {
		return err
	}
	if err := insertRefund(ctx, tx, &refund{payment: p.ID, ordinal: ordinal, kind: kindReversal, amount: rest, reason: "reversed", by: system}); err != nil {
		return err
	}
	if err := setRefunded(ctx, tx, p.ID, p.Refunded+rest); err != nil {
		return err
	}
	transfers, err := s.d.Returned(ctx, tx, collect.TillReturn{Payment: p.ID, Ordinal: ordinal, Amount: rest, Date: today, Succeeded: true})
	if err != nil {
		return err
	}
	return ledger.Post(ctx, tx, transfers)
}

// schedule says when a payment is looked at next.
func (d *Desk) schedule(ctx context.Context, tenant citygate.TenantID, id citygate.UUID, about driver.Description) (p Payment, err error) {
	err = d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if p, err = lock(ctx, tx, id); err != nil || !p.open() {
			return err
		}
		p.NextAt = p.next(about, tx.Now)
		return setNext(ctx, tx, id, p.NextAt)
	})
	return p, err
}

// next is when an open payment is looked at again: at the payer's pace while he may
// confirm, and at the instant at which his time is over or a reversal may be asked for.
func (p *Payment) next(about driver.Description, now time.Time) time.Time {
	every := about.Limits.PayerEvery
	if every <= 0 {
		every = max(about.PollEvery, time.Second)
	}
	if p.State != Reversing {
		if at := now.Add(every); at.Before(p.WaitUntil) {
			return at
		}
		return maxTime(p.WaitUntil, now)
	}
	if p.Refunded > 0 { // the refund tells when it is over
		return now.Add(max(about.PollEvery, time.Minute))
	}
	if may := p.AskedAt.Add(about.Limits.ReverseAfter); p.Reversals == 0 && may.After(now) {
		return may
	}
	if now.Sub(p.AskedAt) > absentAfter {
		every = max(every, about.PollEvery)
	}
	return now.Add(every)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
