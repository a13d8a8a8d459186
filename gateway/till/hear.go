package till

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

var _ collect.Tills = (*Desk)(nil)

// system is who does what is due.
const system = "system:till"

// Heard implements [collect.Tills].
func (d *Desk) Heard(ctx context.Context, tx *pg.Tx, heard []collect.TillHeard) (transfers []ledger.Transfer, err error) {
	for _, h := range heard {
		p, err := lock(ctx, tx, h.Payment)
		if err != nil {
			return nil, err
		}
		at := tx.Now.UTC().Truncate(time.Microsecond)
		if !p.hear(&h, at) {
			continue
		}
		if err := store(ctx, tx, &p); err != nil {
			return nil, err
		}
		if h.State == adapters.Succeeded {
			transfers = append(transfers, p.made(tx.Tenant, h.Fee)...)
		}
		if h.State.Final() {
			if err := tx.Audit(ctx, pg.AuditEntry{Actor: system, Verb: "till." + string(h.State), Object: p.ID.Text(Prefix),
				After: map[string]any{"state": p.State, "by": string(h.Event), "reason": p.Reason}}); err != nil {
				return nil, err
			}
		}
	}
	return transfers, nil
}

// hear moves p on by what was heard of it, and reports whether that changed it.
func (p *Payment) hear(h *collect.TillHeard, now time.Time) bool {
	before := *p
	if reason := clip(h.Result.ReasonCode); reason != "" {
		p.Reason = reason
	}
	switch h.State {
	case adapters.Succeeded:
		p.PaidAt = now
		if p.State == Reversing {
			p.NextAt = now // what moved goes back
		} else {
			p.State, p.NextAt = Paid, time.Time{}
		}
	case adapters.Declined:
		p.EndedAt, p.NextAt = now, time.Time{}
		if p.State == Reversing {
			p.State = Closed
		} else {
			p.State = Declined
		}
	default:
		if h.Result.Outcome == driver.Accepted && p.State == Asked {
			p.State = Paying
		}
		if h.Event == adapters.Noticed { // a notice that says no is a reason to ask
			p.NextAt = now
		}
	}
	return *p != before
}

func clip(s string) string {
	return cut(s, 100)
}

// Returned implements [collect.Tills]. Money that its provider will not give back stays
// owed until the refund that is made in its place succeeds (collect.RetryRefund).
func (d *Desk) Returned(ctx context.Context, tx *pg.Tx, back collect.TillReturn) ([]ledger.Transfer, error) {
	if !back.Succeeded {
		return nil, nil
	}
	p, err := lock(ctx, tx, back.Payment)
	if err != nil {
		return nil, err
	}
	r, err := refundOf(ctx, tx, back.Payment, back.Ordinal)
	if err != nil {
		return nil, err
	}
	r.uncleared = p.ClearedAt.IsZero()
	if err := setUncleared(ctx, tx, &r); err != nil {
		return nil, err
	}
	p.Returned += back.Amount
	switch {
	case p.State == Reversing:
		p.closeIfGone(tx.Now)
	case p.State == Paid && p.Returned == p.Amount.Minor:
		p.State = Refunded
	}
	if err := store(ctx, tx, &p); err != nil {
		return nil, err
	}
	return p.returned(tx.Tenant, &r, tx.Now, back.Date), nil
}

// Cleared implements [collect.Tills].
func (d *Desk) Cleared(ctx context.Context, tx *pg.Tx, payments []citygate.UUID) (transfers []ledger.Transfer, err error) {
	settings, err := d.Settings(ctx, tx.Tenant)
	if err != nil {
		return nil, err
	}
	for _, id := range payments {
		p, err := lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if !p.ClearedAt.IsZero() {
			continue
		}
		left, err := uncleared(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		p.ClearedAt, p.Cleared, p.ClearedOn = tx.Now.UTC().Truncate(time.Microsecond), left, settings.Calendar.BusinessDate(tx.Now)
		if err := store(ctx, tx, &p); err != nil {
			return nil, err
		}
		transfers = append(transfers, p.cleared(tx.Tenant)...)
	}
	return transfers, nil
}
