package recon

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sort"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// storeLines reads a bill as a stream and stores its rows, a chunk at a time: a bill
// of a million rows is never in memory, and the next rows are read while the last are
// stored. One that does not add up is known at its end, and the transaction goes with
// it. content is the digest of what the rows say.
func storeLines(ctx context.Context, tx *pg.Tx, b bill, biller driver.Biller, file driver.Bill, name string) (rows int, content []byte, err error) {
	stop := make(chan struct{})
	parts := make(chan []driver.BillLine, 1)
	sum := sha256.New()
	var bad error // of the bill; read when parts is closed
	go func() {
		defer close(parts)
		defer func() {
			if p := recover(); p != nil { // an adapter's mistake is its bill's affair, and nobody else's
				bad = fmt.Errorf("reading it panicked: %v", p)
			}
		}()
		bad = readParts(biller, file, sum, parts, stop)
	}()
	var failed error // to store, which is not the bill's fault
	for part := range parts {
		if failed != nil {
			continue // until the reader is through
		}
		if failed = insertLines(ctx, tx, b, part); failed != nil {
			close(stop)
		}
		rows += len(part)
	}
	switch {
	case failed != nil:
		return 0, nil, failed
	case bad != nil:
		return 0, nil, ErrBill.Because(bad, "%s", name)
	}
	return rows, sum.Sum(nil), nil
}

// errStopped ends the reading of a bill whose rows nobody wants any more.
var errStopped = errors.New("recon: stopped")

// readParts reads a bill and hands its rows on, a chunk at a time.
func readParts(biller driver.Biller, file driver.Bill, sum hash.Hash, parts chan<- []driver.BillLine, stop <-chan struct{}) error {
	part := make([]driver.BillLine, 0, chunk)
	hand := func() error {
		select {
		case parts <- part:
			part = make([]driver.BillLine, 0, chunk)
			return nil
		case <-stop:
			return errStopped
		}
	}
	err := readBill(biller, file, func(l driver.BillLine) error {
		addLine(sum, &l)
		if part = append(part, l); len(part) < chunk {
			return nil
		}
		return hand()
	})
	if err != nil || len(part) == 0 {
		return err
	}
	return hand()
}

// digest reads a bill and gives the digest of what its rows say.
func digest(biller driver.Biller, file driver.Bill, name string) ([]byte, error) {
	sum := sha256.New()
	err := readBill(biller, file, func(l driver.BillLine) error {
		addLine(sum, &l)
		return nil
	})
	if err != nil {
		return nil, ErrBill.Because(err, "%s", name)
	}
	return sum.Sum(nil), nil
}

// addLine adds what a row says of money to a digest: not its number and time.
func addLine(sum hash.Hash, l *driver.BillLine) {
	room := make([]byte, 0, 256)
	for _, text := range [...]string{l.OurID, l.RefundID, string(l.Amount.Currency), string(l.Exchange.Paid.Currency)} {
		room = binary.AppendUvarint(room, uint64(len(text)))
		room = append(room, text...)
	}
	for _, n := range [...]int64{l.Amount.Minor, l.Fee, l.Exchange.Paid.Minor} {
		room = binary.BigEndian.AppendUint64(room, uint64(n))
	}
	if l.Refund {
		room = append(room, 1)
	}
	_, _ = sum.Write(append(room, '\n')) // a hash takes everything
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
