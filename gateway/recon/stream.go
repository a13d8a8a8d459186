package recon

import (
	"context"
	"sort"
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

// span gives the instants [from, to) that a provider counts to a day. A day lies
// within these three calendar days whatever the provider's zone and cut, and days
// follow each other, so its ends are found by halving.
func span(biller driver.Biller, day citygate.Date) (from, to time.Time) {
	first, last := day.AddDays(-1).Time().UnixMicro(), day.AddDays(2).Time().UnixMicro()
	begins := func(of citygate.Date) time.Time {
		n := sort.Search(int(last-first), func(n int) bool {
			return biller.BillDay(time.UnixMicro(first+int64(n)).UTC()).Compare(of) >= 0
		})
		return time.UnixMicro(first + int64(n)).UTC()
	}
	return begins(day), begins(day.AddDays(1))
}
