package settle

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// PayoutRules say which payouts wait for somebody to release them. They hold for
// what is paid from then on; a payout that waits goes on waiting when they change.
type PayoutRules struct {
	Version    int      // 0 = the tenant has set none: no payout waits
	Manual     bool     // every payout waits
	HoldAbove  *int64   // those above it wait, in minor units of the tenant's currency, and all in another currency; nil = no limit
	HoldPayees []string // those to them wait
	CreatedBy  string
	CreatedAt  time.Time
}

// The reasons why a payout waits.
const (
	heldManual   = "manual"
	heldAbove    = "above_limit"
	heldCurrency = "other_currency"
	heldPayee    = "payee"
)

// The limits of rules and releases.
const (
	holdPayeesMost = 500
	releaseMost    = 500 // payouts at once
)

// The refusals of releases.
var (
	ErrPayoutRules   = &citygate.Code{Name: "settle.payout_rules", Kind: citygate.Invalid, Title: "These payout rules cannot be. Correct the named field."}
	ErrRulesLoosened = &citygate.Code{Name: "settle.rules_changed", Kind: citygate.Conflict, Title: "The payout rules changed at the same moment, and this would let payouts go that wait now. Send the request again."}
	ErrNoPayout      = &citygate.Code{Name: "settle.no_payout", Kind: citygate.NotFound, Title: "There is no such payout. List the payouts for their ids."}
	ErrNotHeld       = &citygate.Code{Name: "settle.not_held", Kind: citygate.Conflict, Title: "The payout does not wait for a release. Read its state."}
	ErrPayoutDiffers = &citygate.Code{Name: "settle.payout_differs", Kind: citygate.Conflict, Title: "The payout is of another amount or to another payee than the request says. Read it again."}
)

// check puts rules in the form they are stored in.
func (r *PayoutRules) check() error {
	switch {
	case r.HoldAbove != nil && *r.HoldAbove < 0:
		return ErrPayoutRules.Explain("hold_above_minor: want 0 or more")
	case len(r.HoldPayees) > holdPayeesMost:
		return ErrPayoutRules.Explain("hold_payees: at most %d; hold all payouts instead", holdPayeesMost)
	case slices.Contains(r.HoldPayees, ""):
		return ErrPayoutRules.Explain("hold_payees: a payee has a name")
	}
	r.HoldPayees = slices.Compact(slices.Sorted(slices.Values(r.HoldPayees)))
	return nil
}

// holds says why a payout waits, "" if it does not.
func (r PayoutRules) holds(currency citygate.Currency, p Payout) string {
	switch {
	case r.Manual:
		return heldManual
	case slices.Contains(r.HoldPayees, p.Payee):
		return heldPayee
	case r.HoldAbove != nil && p.Currency != currency:
		return heldCurrency
	case r.HoldAbove != nil && p.Amount > *r.HoldAbove:
		return heldAbove
	}
	return ""
}

// names reports whether payouts to a payee wait whatever their amount.
func (r PayoutRules) names(payee string) bool { return slices.Contains(r.HoldPayees, payee) }

// Loosens reports whether under next a payout could go that waits under r.
func (r PayoutRules) Loosens(next PayoutRules) bool {
	switch {
	case next.Manual:
		return false
	case r.Manual:
		return true
	case r.HoldAbove != nil && (next.HoldAbove == nil || *next.HoldAbove > *r.HoldAbove):
		return true
	}
	return slices.ContainsFunc(r.HoldPayees, func(payee string) bool { return !slices.Contains(next.HoldPayees, payee) })
}

// same reports whether two versions say the same.
func (r PayoutRules) same(o PayoutRules) bool { return !r.Loosens(o) && !o.Loosens(r) }

// SetPayoutRules gives the tenant other payout rules. Rules that would let go
// what waits under the present ones need loosen, or are [ErrRulesLoosened].
func SetPayoutRules(ctx context.Context, tx *pg.Tx, actor string, r PayoutRules, loosen bool) (PayoutRules, error) {
	if err := r.check(); err != nil {
		return r, err
	}
	held, err := RulesOfPayouts(ctx, tx)
	switch {
	case err != nil:
		return r, err
	case held.same(r):
		return held, nil
	case held.Loosens(r) && !loosen:
		return r, ErrRulesLoosened.Because(nil, "from version %d", held.Version)
	}
	r.Version, r.CreatedBy, r.CreatedAt = held.Version+1, actor, tx.Now
	if stored, err := insertPayoutRules(ctx, tx, r); err != nil || !stored {
		return r, ErrRulesLoosened.Because(err, "version %d was made at the same moment", r.Version)
	}
	return r, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.rules", Object: "payout-rules", Before: held, After: r})
}

// A Release names a payout that waits and what whoever releases it knows of it.
type Release struct {
	Payout citygate.UUID
	Amount citygate.Money
	Payee  string // who gets the money
}

// Release lets payouts go that wait: they are booked in one transaction, as one
// batch of each window, and the next run of what is due writes their files. Those
// that were released before are given as they are; if one cannot be released, none
// is.
func (s *Settler) Release(ctx context.Context, actor string, tenant citygate.TenantID, releases ...Release) (released []Payout, err error) {
	if len(releases) == 0 || len(releases) > releaseMost {
		return nil, ErrPayoutRules.Explain("release between 1 and %d payouts at once", releaseMost)
	}
	_, cal, err := s.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	ordered := slices.SortedFunc(slices.Values(releases), func(a, b Release) int { return slices.Compare(a.Payout[:], b.Payout[:]) })
	err = s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		released = nil
		batches := map[citygate.Date]int{}
		var transfers []ledger.Transfer
		for _, r := range ordered {
			p, fresh, err := release(ctx, tx, cal, actor, r, batches)
			if err != nil {
				return err
			}
			if fresh {
				transfers = append(transfers, p.transfer(tenant))
			}
			released = append(released, p)
		}
		return ledger.Post(ctx, tx, transfers)
	})
	return released, err
}

// release lets one payout go. Its window is locked first: whoever releases
// others of that window waits, and takes the next batch.
func release(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, actor string, r Release, batches map[citygate.Date]int) (p Payout, fresh bool, err error) {
	p, err = lockPayout(ctx, tx, r.Payout)
	switch {
	case pg.IsNoRows(err):
		return p, false, ErrNoPayout.Because(nil, "%s", r.Payout)
	case err != nil:
		return p, false, err
	case p.Amount != r.Amount.Minor || p.Currency != r.Amount.Currency || p.Recipient() != r.Payee:
		return p, false, ErrPayoutDiffers.Because(nil, "%s is %d %s to %s", p.ID, p.Amount, p.Currency, p.Recipient())
	case p.State != stateHeld && p.HeldFor == "" || p.State == stateCancelled:
		return p, false, ErrNotHeld.Because(nil, "%s is %s", p.ID, p.State)
	case p.State != stateHeld:
		return p, false, nil // released before
	}
	if batches[p.WindowDate] == 0 {
		if batches[p.WindowDate], err = nextBatch(ctx, tx, p.WindowDate); err != nil {
			return p, false, err
		}
	}
	before := p.State
	p.State, p.Batch, p.ReleasedAt, p.ReleasedBy = stateCreated, batches[p.WindowDate], &tx.Now, actor
	p.BusinessDate, p.CalendarVersion = cal.BusinessDate(tx.Now), versionAt(cal, tx.Now)
	if err := markReleased(ctx, tx, p); err != nil {
		return p, false, err
	}
	return p, true, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.release", Object: "payout:" + p.ID.String(), Before: map[string]any{"state": before, "held_for": p.HeldFor},
		After: map[string]any{"state": p.State, "payee": p.Payee, "paid_to": p.Recipient(), "window": p.WindowDate.String(), "amount": citygate.Money{Minor: p.Amount, Currency: p.Currency}}})
}
