package recon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// reissueDays is for how many of its days a provider is asked once more each day
// whether there is another issue of a bill.
const reissueDays = 7

// changedMax is the number of things that are looked for at once, correctedMax of those
// corrected in one transaction.
const (
	changedMax   = 100_000
	correctedMax = 5_000
)

// recheck asks once in each day of the provider for the bills of its last days again.
// What comes is taken if it says something else. A provider that fails is asked again
// on the next day.
func (r *Reconciler) recheck(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller) (failed error) {
	var days []citygate.Date
	err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		days = nil
		today := biller.BillDay(tx.Now)
		list, err := unchecked(ctx, tx, contract, today.AddDays(-reissueDays))
		if err != nil {
			return err
		}
		for day, at := range list {
			if biller.BillDay(at).Compare(today) >= 0 {
				continue
			}
			if err := checked(ctx, tx, contract, day); err != nil {
				return err
			}
			days = append(days, day)
		}
		slices.SortFunc(days, citygate.Date.Compare)
		return nil
	})
	if err != nil {
		return err
	}
	for _, day := range days {
		file, err := biller.FetchBill(ctx, day)
		if err == nil {
			err = r.take(ctx, tenant, contract, biller, file, true)
		}
		if err != nil && !errors.Is(err, driver.ErrBillNotReady) {
			failed = errors.Join(failed, fmt.Errorf("another issue of the bill of %s: %w", day, err))
		}
	}
	return failed
}

// issueOf decides which issue of its day's bill a file is: 0 if there is nothing new in
// it. One that says in other bytes what the last issue says is nothing new. An earlier
// issue that the provider serves again is: it has withdrawn what it issued since.
func issueOf(before []stored, file driver.Bill, sum []byte, fetched bool, content func() ([]byte, error)) (issue int, err error) {
	if len(before) == 0 {
		return 1, nil
	}
	last := before[0]
	for _, f := range before {
		if bytes.Equal(f.sum, sum) && (!fetched || f.issue == last.issue) {
			return 0, nil
		}
	}
	if !file.Issued.IsZero() && file.Issued.Before(last.issued) {
		return 0, ErrReissued.Because(nil, "contract %s, day %s: made at %s, issue %d at %s", last.contract, last.day,
			file.Issued.Format(time.RFC3339), last.issue, last.issued.Format(time.RFC3339))
	}
	says, err := content()
	if err != nil || bytes.Equal(says, last.content) {
		return 0, err
	}
	return last.issue + 1, nil
}

// correct gives what another issue of a bill says otherwise its outcome: what was made
// of rows that are gone or changed is taken back and becomes history, and the rows that
// stand in their place are judged. What is plain is corrected by joining sets, the rest
// thing by thing. Dying half-way leaves differences that are smaller.
func (r *Reconciler) correct(ctx context.Context, tenant citygate.TenantID, b bill) error {
	if err := r.rejoin(ctx, tenant, b); err != nil {
		return err
	}
	var behind *about
	for {
		var list []change
		err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			list, err = changed(ctx, tx, b, behind, changedMax)
			return err
		})
		if err != nil {
			return err
		}
		for part := range slices.Chunk(list, correctedMax) {
			if err := r.correctChanges(ctx, tenant, b, part); err != nil {
				return err
			}
		}
		if len(list) < changedMax {
			return nil
		}
		behind = &list[len(list)-1].about
	}
}

// correctChanges corrects some things. Rows of payments whose outcome is open here
// decide it before, in a transaction of its own.
func (r *Reconciler) correctChanges(ctx context.Context, tenant citygate.TenantID, b bill, list []change) error {
	var open []Line
	wait := true
	step := func(tx *pg.Tx) (err error) {
		open, err = r.correctPart(ctx, tx, b, list, wait)
		return err
	}
	if err := r.DB.InTenant(ctx, tenant, step); err != nil || len(open) == 0 {
		return err
	}
	err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return r.Book.Resolve(ctx, tx, b.contract, open) })
	if err != nil {
		return err
	}
	wait = false
	return r.DB.InTenant(ctx, tenant, step)
}

// correctPart corrects things. Like judge it gives rows of payments that are open, if
// wait, and does nothing else then.
func (r *Reconciler) correctPart(ctx context.Context, tx *pg.Tx, b bill, list []change, wait bool) (open []Line, err error) {
	if _, processed, err := lock(ctx, tx, b); err != nil || processed {
		return nil, err
	}
	olds, err := heldOn(ctx, tx, b, list)
	if err != nil {
		return nil, err
	}
	lines, err := linesAbout(ctx, tx, b, list)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(lines)
	for i := range olds {
		all = append(all, olds[i].line)
	}
	known, err := r.known(ctx, tx, b.contract, all)
	if err != nil {
		return nil, err
	}
	if open = undecided(lines, known); wait && len(open) > 0 {
		return open, nil
	}
	gone, come := difference(list, olds, lines, known)
	more, lost, err := r.freed(ctx, tx, b, gone, known)
	if err != nil {
		return nil, err
	}
	gone, come = append(gone, more...), append(come, linesOf(more)...)
	transfers, err := replace(ctx, tx, b, gone, come, lost, known)
	if err != nil {
		return nil, err
	}
	return nil, ledger.Post(ctx, tx, transfers)
}

// replace takes back what was made of items and judges rows in their place. Payments
// that have no row now are missing at the provider.
func replace(ctx context.Context, tx *pg.Tx, b bill, gone []held, come []Line, lost []*Payment, known map[string]*Payment) ([]ledger.Transfer, error) {
	var transfers []ledger.Transfer
	keys := make([]string, len(gone))
	for i := range gone {
		keys[i] = gone[i].Item.Item
		transfers = append(transfers, reversed(tx.Tenant, transfersOf(tx.Tenant, &gone[i].Item), tx.Now)...)
	}
	if err := withdraw(ctx, tx, b, keys); err != nil {
		return nil, err
	}
	items, err := place(ctx, tx, b, come, known)
	if err != nil {
		return nil, err
	}
	for i := range items {
		transfers = append(transfers, transfersOf(tx.Tenant, &items[i])...)
	}
	var absent []Item
	for _, p := range lost {
		absent = append(absent, missing(b.contract, p, b.day, tx.Now))
	}
	_, err = insertItems(ctx, tx, absent)
	return transfers, err
}

// difference gives, of what an issue says otherwise, the items that no longer hold and
// the rows that have none. A row that is repeated keeps its item and what a person
// decided about it, unless the payment's own row changed or comes right.
func difference(list []change, olds []held, lines []Line, known map[string]*Payment) (gone []held, come []Line) {
	was, is := map[about][]held{}, map[about][]Line{}
	for i := range olds {
		a := about{olds[i].line.Refund, olds[i].line.names()}
		was[a] = append(was[a], olds[i])
	}
	for i := range lines {
		a := about{lines[i].Refund, lines[i].names()}
		is[a] = append(is[a], lines[i])
	}
	for _, c := range list {
		a := c.about
		rest := slices.Clone(is[a])
		var without []held
		redo := false
		for _, old := range was[a] { // the payment's own item first
			own := old.Item.Item == key(a.refund, a.names)
			if i := slices.IndexFunc(rest, func(l Line) bool { return l.says() == old.line.says() }); i >= 0 {
				rest = slices.Delete(rest, i, i+1)
				redo = redo || own && old.State == stateOpen && slices.ContainsFunc(is[a], func(l Line) bool {
					return verdict(&l, known[key(l.Refund, l.names())], known[key(false, l.OurID)]) == Matched
				})
				continue
			}
			redo = redo || own
			without = append(without, old)
		}
		if redo {
			gone, come = append(gone, was[a]...), append(come, is[a]...)
		} else {
			gone, come = append(gone, without...), append(come, rest...)
		}
	}
	return gone, come
}

// freed looks what follows for payments whose own item goes: rows of other days that
// were one too many may now take its place. It gives these, and the payments that
// succeeded and may be left without any row.
func (r *Reconciler) freed(ctx context.Context, tx *pg.Tx, b bill, gone []held, known map[string]*Payment) (more []held, lost []*Payment, err error) {
	ended := map[about]bool{}
	var charges []citygate.UUID
	for i := range gone {
		l := &gone[i].line
		k := key(l.Refund, l.names())
		p := known[k]
		if gone[i].Item.Item != k || p == nil || p.State != Succeeded {
			continue
		}
		ended[about{l.Refund, l.names()}] = true
		lost, charges = append(lost, p), append(charges, p.ChargeID)
	}
	if len(charges) == 0 {
		return nil, nil, nil
	}
	found, err := surplusElsewhere(ctx, tx, b, charges)
	if err != nil {
		return nil, nil, err
	}
	for i := range found {
		if ended[about{found[i].line.Refund, found[i].line.names()}] {
			more = append(more, found[i])
		}
	}
	return more, lost, nil
}

func linesOf(list []held) (lines []Line) {
	for i := range list {
		lines = append(lines, list[i].line)
	}
	return lines
}
