package settle

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrRedirect says why a payout cannot go to another payee.
var ErrRedirect = &citygate.Code{Name: "settle.redirect", Kind: citygate.Conflict, Title: "The payout cannot be paid to that payee. Choose another payee of the tenant that has a bank account and whose payouts do not wait."}

// Cancel takes a payout back that waits: it is owed again, and paid with the next
// window that is. What was cancelled before is given as it is. r says what whoever
// cancels it knows of it, as for a release.
func (s *Settler) Cancel(ctx context.Context, actor string, tenant citygate.TenantID, r Release) (p Payout, err error) {
	_, cal, err := s.tenant(ctx, tenant)
	if err != nil {
		return p, err
	}
	err = s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if p, err = heldPayout(ctx, tx, r); err != nil || p.State == stateCancelled {
			return err
		}
		p.State, p.CancelledAt, p.CancelledBy = stateCancelled, &tx.Now, actor
		back := receipt{
			kind: carried, ref: "cancelled " + p.ID.String(), issuer: tenant, payee: p.Payee, currency: p.Currency, amount: -p.Amount, window: p.WindowDate,
			date: cal.BusinessDate(tx.Now), calendar: versionAt(cal, tx.Now), at: tx.Now,
		}
		if _, err := insertReceipts(ctx, tx, []receipt{back}); err != nil {
			return err
		}
		if err := markCancelled(ctx, tx, p); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.cancel", Object: "payout:" + p.ID.String(), Before: map[string]any{"state": stateHeld, "held_for": p.HeldFor},
			After: map[string]any{"state": p.State, "payee": p.Payee, "window": p.WindowDate.String(), "amount": citygate.Money{Minor: p.Amount, Currency: p.Currency}}})
	})
	return p, err
}

// Redirect has a payout that waits paid to another payee of the tenant: what is
// settled is the claim of the one it is owed to. It goes on waiting for its
// release, which names the new one. to must have a bank account and must not be
// held by the payout rules by name; whom the money is owed to takes it back.
func (s *Settler) Redirect(ctx context.Context, actor string, tenant citygate.TenantID, r Release, to string) (p Payout, err error) {
	err = s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if p, err = heldPayout(ctx, tx, Release{Payout: r.Payout, Amount: r.Amount}); err != nil {
			return err
		}
		switch {
		case p.State == stateCancelled:
			return ErrNotHeld.Because(nil, "%s is %s", p.ID, p.State)
		case p.Recipient() == to:
			return nil // again
		case p.Recipient() != r.Payee:
			return ErrPayoutDiffers.Because(nil, "%s is to %s", p.ID, p.Recipient())
		}
		if to != p.Payee {
			if err := mayReceive(ctx, tx, to); err != nil {
				return err
			}
		}
		before := p.Recipient()
		if p.PayTo = to; to == p.Payee {
			p.PayTo = ""
		}
		if err := markRedirected(ctx, tx, p); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.redirect", Object: "payout:" + p.ID.String(), Before: map[string]any{"paid_to": before},
			After: map[string]any{"paid_to": to, "payee": p.Payee, "window": p.WindowDate.String(), "amount": citygate.Money{Minor: p.Amount, Currency: p.Currency}}})
	})
	return p, err
}

// mayReceive refuses a payee that a payout cannot be redirected to.
func mayReceive(ctx context.Context, tx *pg.Tx, to string) error {
	var account string
	err := tx.QueryRow(ctx, `SELECT account FROM payees WHERE tenant_id = $1 AND payee = $2`, tx.Tenant, to).Scan(&account)
	switch {
	case pg.IsNoRows(err):
		return ErrRedirect.Explain("the tenant has no payee %q", to)
	case err != nil:
		return err
	case account == "":
		return ErrRedirect.Explain("payee %s has no bank account", to)
	}
	rules, err := RulesOfPayouts(ctx, tx)
	if err == nil && rules.names(to) {
		err = ErrRedirect.Explain("payouts to %s wait by the payout rules", to)
	}
	return err
}

// heldPayout gives a payout that waits or was cancelled, locked, if it is what r
// says; without a payee r says nothing of whom it is to.
func heldPayout(ctx context.Context, tx *pg.Tx, r Release) (Payout, error) {
	p, err := lockPayout(ctx, tx, r.Payout)
	switch {
	case pg.IsNoRows(err):
		return p, ErrNoPayout.Because(nil, "%s", r.Payout)
	case err != nil:
		return p, err
	case p.Amount != r.Amount.Minor || p.Currency != r.Amount.Currency || r.Payee != "" && p.Recipient() != r.Payee:
		return p, ErrPayoutDiffers.Because(nil, "%s is %d %s to %s", p.ID, p.Amount, p.Currency, p.Recipient())
	case p.State != stateHeld && p.State != stateCancelled:
		return p, ErrNotHeld.Because(nil, "%s is %s", p.ID, p.State)
	}
	return p, nil
}
