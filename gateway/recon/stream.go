package recon

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// storeLines reads a bill as a stream and stores its rows, a chunk at a time: a bill
// of a million rows is never in memory. One that does not add up is known at its
// end, and the transaction goes with it.
func storeLines(ctx context.Context, tx *pg.Tx, contract string, biller driver.Biller, bill driver.Bill, name string) (rows int, err error) {
	part := make([]driver.BillLine, 0, chunk)
	var failed error // to store, which is not the bill's fault
	flush := func() error {
		failed = insertLines(ctx, tx, contract, bill.Day, part)
		rows, part = rows+len(part), part[:0]
		return failed
	}
	err = readBill(biller, bill, func(l driver.BillLine) error {
		if part = append(part, l); len(part) < chunk {
			return nil
		}
		return flush()
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, ErrBill.Because(err, "%s", name)
	case len(part) == 0:
		return rows, nil
	}
	err = flush()
	return rows, err
}

// readBill visits the lines of a bill, as a stream where the adapter can.
func readBill(biller driver.Biller, bill driver.Bill, visit func(driver.BillLine) error) error {
	if r, ok := biller.(driver.BillReader); ok {
		return r.ReadBill(bill, visit)
	}
	lines, err := biller.ParseBill(bill)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := visit(l); err != nil {
			return err
		}
	}
	return nil
}

// absent stores the exceptions of payments that no bill has, page by page.
func (r *Reconciler) absent(ctx context.Context, tx *pg.Tx, contract string, biller driver.Biller, day citygate.Date, refunds bool, from, to time.Time) error {
	for after := ""; ; {
		payments, err := r.Book.SucceededIn(ctx, tx, contract, refunds, from, to, after, chunk)
		if err != nil {
			return err
		}
		var items []Item
		for i := range payments {
			p := &payments[i]
			after = p.OurID
			if p.State == Succeeded && biller.BillDay(p.FinalAt) == day {
				items = append(items, missing(contract, p, day, tx.Now))
			}
		}
		if items, err = withoutItem(ctx, tx, contract, items); err != nil {
			return err
		}
		if _, err := insertItems(ctx, tx, items); err != nil {
			return err
		}
		if len(payments) < chunk {
			return nil
		}
	}
}
