package till

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Why money goes back.
const (
	kindAsked    = "asked"
	kindReversal = "reversal"
	kindLate     = "late"
)

// A refund is one row of till_refunds.
type refund struct {
	payment   citygate.UUID
	ordinal   int
	kind      string
	name      string
	amount    int64
	reason    string
	by        string
	uncleared bool
}

// A Refund is money of a payment that goes back.
type Refund struct {
	Name    string // the shop's own; "" = of a payment that was taken back
	Kind    string // asked, reversal, late
	Amount  int64
	Reason  string
	AskedBy string
	AskedAt time.Time
	State   string // of the money: created, sent, unknown, succeeded, declined
	OurID   string // what the provider knows it by
}

// A GiveBack asks for money of a payment to go back.
type GiveBack struct {
	Payment citygate.UUID
	Name    string // the shop's own, once per payment
	Amount  int64  // minor units; 0 = all that is left
	Reason  string

	// Alone says whether one person may decide that so much of a payment goes back in
	// all; nil = nobody needs to be asked, or a second person was. It is called inside
	// the transaction.
	Alone func(ctx context.Context, tx *pg.Tx, sum int64) (bool, error)
}

// Refund gives a paid payment back, or a part of it, through the provider that took it.
// The same name again is the same refund.
func (d *Desk) Refund(ctx context.Context, actor string, tenant citygate.TenantID, g GiveBack) (p Payment, err error) {
	switch {
	case g.Name == "" || utf8.RuneCountInString(g.Name) > nameMax:
		return p, ErrInvalid.Explain("name: want 1 to %d characters", nameMax)
	case g.Amount < 0:
		return p, ErrInvalid.Explain("amount: want a positive one, or none for all that is left")
	case utf8.RuneCountInString(g.Reason) > reasonMax:
		return p, ErrInvalid.Explain("reason: want at most %d characters", reasonMax)
	}
	limits, err := d.limitsOf(ctx, tenant, g.Payment)
	if err != nil {
		return p, err
	}
	err = d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if p, err = lock(ctx, tx, g.Payment); err != nil {
			return err
		}
		was, found, err := refundNamed(ctx, tx, g.Payment, g.Name)
		if err != nil || found {
			if err == nil && g.Amount != 0 && was.amount != g.Amount {
				err = ErrOrder.Explain("refund %s is of %d", g.Name, was.amount)
			}
			return err
		}
		amount := g.Amount
		if amount == 0 {
			amount = p.left()
		}
		if err := limits.allow(&p, amount, tx.Now); err != nil {
			return err
		}
		if g.Alone != nil {
			if alone, err := g.Alone(ctx, tx, p.Refunded+amount); err != nil || !alone {
				if err == nil {
					err = ErrRefund.Explain("%d go back by now: for more a second person is needed; ask again", p.Refunded)
				}
				return err
			}
		}
		if n, err := countRefunds(ctx, tx, p.ID); err != nil || n >= limits.refundsMax {
			if err == nil {
				err = ErrRefund.Explain("a payment goes back in at most %d parts", limits.refundsMax)
			}
			return err
		}
		settings, err := d.Settings(ctx, tenant)
		if err != nil {
			return err
		}
		ordinal, err := collect.RefundTill(ctx, tx, p.ID, amount, settings.Calendar.BusinessDate(tx.Now))
		if err != nil {
			return err
		}
		if err := insertRefund(ctx, tx, &refund{payment: p.ID, ordinal: ordinal, kind: kindAsked, name: g.Name, amount: amount, reason: g.Reason, by: actor}); err != nil {
			return err
		}
		p.Refunded += amount
		if err := setRefunded(ctx, tx, p.ID, p.Refunded); err != nil {
			return err
		}
		if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "till.refund", Object: p.ID.Text(Prefix),
			After: map[string]any{"name": g.Name, "amount": amount, "reason": g.Reason}}); err != nil {
			return err
		}
		return tx.Enqueue(ctx, d.Wake(tenant))
	})
	return p, err
}

// refundLimits are what a payment's provider allows.
type refundLimits struct {
	able       bool
	within     time.Duration
	refundsMax int
	whole      bool
}

func (d *Desk) limitsOf(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (l refundLimits, err error) {
	var contract collect.Contract
	if err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		p, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		contract, err = collect.FindContract(ctx, tx, p.Contract)
		return err
	}); err != nil {
		return l, err
	}
	provider, err := d.Provider(ctx, tenant, contract)
	if err != nil {
		return l, err
	}
	about := provider.Describe().Limits
	_, l.able = provider.Refunder()
	l.within, l.refundsMax, l.whole = about.RefundWithin, refundsMost, about.FullRefund
	if about.RefundsMax > 0 {
		l.refundsMax = min(about.RefundsMax, refundsMost)
	}
	return l, nil
}

// refundsMost bounds the refunds of one payment where its provider does not.
const refundsMost = 50

// allow refuses a refund that payment or provider does not allow.
func (l refundLimits) allow(p *Payment, amount int64, now time.Time) error {
	left := p.left()
	switch {
	case p.State != Paid:
		return ErrRefund.Explain("payment %s is %s", p.ID.Text(Prefix), p.State)
	case amount > left || left == 0:
		return ErrRefund.Explain("%d of it are left, after %d that go back and %d that the provider took back", left, p.Refunded, p.Taken)
	case !l.able:
		return ErrRefund.Explain("the provider of contract %s has no refunds", p.Contract)
	case l.within > 0 && now.Sub(p.PaidAt) > l.within:
		return ErrRefund.Explain("the provider gives back within %s of the payment", l.within)
	case l.whole && amount != p.Amount.Minor:
		return ErrRefund.Explain("the provider gives back a payment as a whole")
	}
	return nil
}
