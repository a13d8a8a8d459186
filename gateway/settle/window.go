package settle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// DecisionWindow gives the window that a decision of a business date belongs to:
// the oldest one that is not closed and not before that date. It stays open
// until tx ends. Call it before anything that locks balances.
func (s *Settler) DecisionWindow(ctx context.Context, tx *pg.Tx, businessDate citygate.Date) (citygate.Date, error) {
	cal, err := s.calendar(ctx, tx.Tenant)
	if err != nil {
		return citygate.Date{}, err
	}
	return DecisionWindow(ctx, tx, cal, businessDate)
}

// ReceiptWindow gives the window that money which comes in now for a decision in
// the window decided belongs to: that one or, if it is paid, the oldest later one
// that is not. The zero date means money of no decision: the oldest window that
// is not paid. It stays unpaid until tx ends.
func (s *Settler) ReceiptWindow(ctx context.Context, tx *pg.Tx, decided citygate.Date) (citygate.Date, error) {
	cal, err := s.calendar(ctx, tx.Tenant)
	if err != nil {
		return citygate.Date{}, err
	}
	return ReceiptWindow(ctx, tx, cal, decided)
}

// DecisionWindow is [Settler.DecisionWindow] for a caller that has the calendar.
func DecisionWindow(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, businessDate citygate.Date) (citygate.Date, error) {
	if d, ok, err := lockOwnOpen(ctx, tx, businessDate); ok || err != nil {
		return d, err
	}
	for {
		if err := ensure(ctx, tx, cal, businessDate); err != nil {
			return citygate.Date{}, err
		}
		d, ok, err := lockFirstOpen(ctx, tx, businessDate)
		if ok || err != nil {
			return d, err
		}
		// Everything up to the last window is closed: the day after it is next.
		last, err := lastWindow(ctx, tx)
		if err != nil {
			return citygate.Date{}, err
		}
		businessDate = last.AddDays(1)
	}
}

// ReceiptWindow is [Settler.ReceiptWindow] for a caller that has the calendar.
func ReceiptWindow(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, decided citygate.Date) (citygate.Date, error) {
	next := cal.BusinessDate(tx.Now)
	if next.Compare(decided) < 0 {
		next = decided
	}
	for {
		d, ok, err := lockFirstUnpaid(ctx, tx, decided)
		if ok || err != nil {
			return d, err
		}
		if err := ensure(ctx, tx, cal, next); err != nil {
			return citygate.Date{}, err
		}
		last, err := lastWindow(ctx, tx)
		if err != nil {
			return citygate.Date{}, err
		}
		next = last.AddDays(1)
	}
}

// placeReceipts gives each receipt its window: the one in which the ride was first
// decided, or the next that is not paid. An earlier window was closed before there
// was a ride. What a correction gives back belongs there too, although its own
// decision is in a later window: as long as the ride's money is not paid out, it
// is set off against that and not carried. Windows are locked in ascending order.
func placeReceipts(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, receipts []receipt) error {
	decided, err := decidedIn(ctx, tx, receipts)
	if err != nil {
		return err
	}
	earliest := func(r *receipt) citygate.Date {
		if r.kind == interbook.AdviceCleared && r.amount < 0 {
			return citygate.Date{}
		}
		return decided[r.journey]
	}
	windows := map[citygate.Date]citygate.Date{}
	for i := range receipts {
		windows[earliest(&receipts[i])] = citygate.Date{}
	}
	for _, d := range slices.SortedFunc(maps.Keys(windows), citygate.Date.Compare) {
		if windows[d], err = ReceiptWindow(ctx, tx, cal, d); err != nil {
			return err
		}
	}
	for i := range receipts {
		receipts[i].window = windows[earliest(&receipts[i])]
	}
	return nil
}

// CloseDue makes sure that today has a window, and closes every window whose
// time has come, oldest first.
func (s *Settler) CloseDue(ctx context.Context, tenant citygate.TenantID) error {
	_, cal, err := s.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	for {
		closed := false
		err := s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			closed = false
			if err := ensure(ctx, tx, cal, cal.BusinessDate(tx.Now)); err != nil {
				return err
			}
			d, ok, err := lockDueToClose(ctx, tx)
			if err != nil || !ok {
				return err
			}
			closed = true
			return closeWindow(ctx, tx, d)
		})
		if err != nil || !closed {
			return err
		}
	}
}

func closeWindow(ctx context.Context, tx *pg.Tx, d citygate.Date) error {
	totals, err := earned(ctx, tx, d)
	if err != nil {
		return err
	}
	hash := hashTotals(tx.Tenant, d, totals)
	if err := markClosed(ctx, tx, d, hash); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "window.close", Object: d.String(),
		After: map[string]any{"totals_hash": hex.EncodeToString(hash), "payees": len(totals)}})
}

// A total is what a payee earned or got in a window.
type total struct {
	payee    string
	currency citygate.Currency
	amount   int64
	rows     int64
}

// hashTotals fingerprints a window's contents; totals are in the order of payee
// and currency.
func hashTotals(tenant citygate.TenantID, d citygate.Date, totals []total) []byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "citygate window 1\n%d %s\n", tenant, d)
	for _, t := range totals {
		_, _ = fmt.Fprintf(h, "%q %s %d %d\n", t.payee, t.currency, t.amount, t.rows)
	}
	return h.Sum(nil)
}

// ClosedWindowsHold is the name of the invariant that [CheckWindows] proves.
const ClosedWindowsHold = "closed_windows_hold"

// CheckWindows proves that every closed window still holds what it held when it
// was closed: its decisions add up to the totals whose hash was taken then.
func CheckWindows(ctx context.Context, db *pg.DB, tenants []citygate.TenantID) (ledger.Report, error) {
	report := ledger.Report{Findings: []ledger.Finding{}}
	for _, tenant := range tenants {
		var changed []ledger.Finding
		err := db.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			changed, err = changedWindows(ctx, tx)
			return err
		})
		if err != nil {
			return report, fmt.Errorf("window check of tenant %d: %w", tenant, err)
		}
		report.Tenants++
		report.Wrong += len(changed)
		report.Findings = append(report.Findings, changed...)
	}
	return report, nil
}

// changedWindows names the closed windows of the transaction's tenant that hold
// something else now, the newest first.
func changedWindows(ctx context.Context, tx *pg.Tx) (changed []ledger.Finding, err error) {
	const page = 500
	for before := (citygate.Date{}); ; {
		windows, err := Windows(ctx, tx, before, page)
		if err != nil {
			return nil, err
		}
		for _, w := range windows {
			before = w.BusinessDate
			if w.ClosedAt == nil {
				continue
			}
			totals, err := earned(ctx, tx, w.BusinessDate)
			if err != nil {
				return nil, err
			}
			if now := hashTotals(tx.Tenant, w.BusinessDate, totals); !bytes.Equal(now, w.TotalsHash) {
				changed = append(changed, ledger.Finding{
					Tenant: tx.Tenant, Invariant: ClosedWindowsHold, Kind: "window_changed", Field: "window " + w.BusinessDate.String(),
					Want: hex.EncodeToString(w.TotalsHash), Got: hex.EncodeToString(now),
				})
			}
		}
		if len(windows) < page {
			return changed, nil
		}
	}
}
