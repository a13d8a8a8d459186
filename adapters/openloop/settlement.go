package openloop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	bojanz "github.com/bojanz/currency"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// BillDay implements [driver.Biller].
func (p *Provider) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.In(p.config.Zone)) }

// FetchBill implements [driver.Biller]: the settlements of a day.
func (p *Provider) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	name := "settlements_" + day.Time().Format("20060102") + ".psv"
	status, body, err := p.call(ctx, http.MethodGet, "/files/"+name, nil, wire.BillLimit)
	switch {
	case err != nil:
		return driver.Bill{}, err
	case status == http.StatusNotFound:
		return driver.Bill{}, fmt.Errorf("%w: %s", driver.ErrBillNotReady, day)
	case status != http.StatusOK:
		return driver.Bill{}, fmt.Errorf("openloop: settlements: HTTP status %d", status)
	}
	return driver.Bill{Day: day, Name: name, Body: body, Currency: p.config.Currency}, nil
}

// The columns of the settlement file that are read.
const (
	colSettlement = "settlement_id"
	colOrder      = "order_id"
	colRefund     = "refund_id"
	colAmount     = "amount"
	colFee        = "fee"
	colCurrency   = "currency_code" // numeric
	colType       = "settlement_type"
	colStatus     = "settlement_status"
	colAt         = "request_created_timestamp_utc"
	colReference  = "retrieval_reference_number"
	colUpdated    = "record_updated_timestamp_utc"

	trailer = "TRAILER"
)

var errSums = errors.New("openloop: the file does not add up")

// A psv is a file's rows by column names, and its trailer.
type psv struct {
	names map[string]int
	count int
	sums  [3]int64 // debits, credits, fees, as the trailer says
	done  bool
}

func (f *psv) get(cells []string, name string) string {
	if i, ok := f.names[name]; ok {
		return cells[i]
	}
	return ""
}

// ParseBill implements [driver.Biller]: all that ReadBill visits.
func (p *Provider) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	return driver.BillLines(p.ReadBill, bill)
}

// A latest is the row of a settlement that holds.
type latest struct {
	line    int
	updated int64
}

// ReadBill implements [driver.BillReader]. Amounts are in the smallest unit. Of rows
// with one number the one with the latest update holds (the file is read twice, first
// to know which); those that are not settled are passed over. The trailer counts what
// is left.
func (p *Provider) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	if bill.Currency != p.config.Currency {
		return fmt.Errorf("%w: this contract is in %s, not %s", driver.ErrCurrencyUnsupported, p.config.Currency, bill.Currency)
	}
	holds := make(map[driver.Mark]latest)
	_, err := p.walk(bill.Body, func(f *psv, cells []string, line driver.BillLine, _ bool) error {
		updated, err := time.Parse(time.RFC3339, f.get(cells, colUpdated))
		if err != nil {
			return errors.New("an update at no time")
		}
		of := driver.MarkOf(f.get(cells, colSettlement))
		if was, again := holds[of]; !again || was.updated <= updated.UnixNano() {
			holds[of] = latest{line.Line, updated.UnixNano()}
		}
		return nil
	})
	if err != nil {
		return err
	}
	count := 0
	var sums [3]int64
	f, err := p.walk(bill.Body, func(f *psv, cells []string, line driver.BillLine, counts bool) error {
		if !counts || holds[driver.MarkOf(f.get(cells, colSettlement))].line != line.Line {
			return nil
		}
		count++
		sums[2] += line.Fee
		if line.Refund {
			sums[1] -= line.Amount.Minor
		} else {
			sums[0] += line.Amount.Minor
		}
		return visit(line)
	})
	if err != nil {
		return err
	}
	if !f.done || f.count != count || f.sums != sums {
		return fmt.Errorf("%w: %d rows of %d; the trailer says %d of %d", errSums, count, sums, f.count, f.sums)
	}
	return nil
}

// walk visits the rows of a file and says whether money moves by them.
func (p *Provider) walk(body []byte, each func(f *psv, cells []string, line driver.BillLine, counts bool) error) (*psv, error) {
	f := &psv{}
	number := 0
	for raw := range bytes.SplitSeq(bytes.TrimRight(body, "\r\n"), []byte("\n")) {
		number++
		cells := strings.Split(strings.TrimSuffix(string(raw), "\r"), "|")
		if f.done {
			return nil, fmt.Errorf("%w: line %d is behind the trailer", errSums, number)
		}
		if f.names == nil || cells[0] == trailer {
			if err := f.frame(cells); err != nil {
				return nil, fmt.Errorf("openloop: line %d: %w", number, err)
			}
			continue
		}
		line, counts, err := p.row(f, cells)
		if err == nil {
			line.Line = number
			err = each(f, cells, line, counts)
		}
		if err != nil {
			return nil, fmt.Errorf("openloop: line %d: %w", number, err)
		}
	}
	return f, nil
}

// frame reads the header or the trailer.
func (f *psv) frame(cells []string) (err error) {
	if f.names == nil {
		f.names = map[string]int{}
		for i, name := range cells {
			if _, twice := f.names[name]; twice || name == "" {
				return fmt.Errorf("the header has %.40q twice or a column without a name", name)
			}
			f.names[name] = i
		}
		if _, ok := f.names[colSettlement]; !ok {
			return errors.New("this is no settlement file")
		}
		return nil
	}
	if len(cells) != 5 {
		return errors.New("the trailer is cut")
	}
	f.done = true
	if f.count, err = strconv.Atoi(cells[1]); err != nil {
		return errors.New("the trailer counts nothing")
	}
	for i, text := range cells[2:] {
		if f.sums[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return errors.New("the trailer adds up to nothing")
		}
	}
	return nil
}

// row reads one settlement; counts says whether money moves by it.
func (p *Provider) row(f *psv, cells []string) (line driver.BillLine, counts bool, err error) {
	if len(cells) != len(f.names) {
		return line, false, fmt.Errorf("%d columns; want %d", len(cells), len(f.names))
	}
	amount, err1 := strconv.ParseInt(f.get(cells, colAmount), 10, 64)
	fee, err2 := strconv.ParseInt(f.get(cells, colFee), 10, 64)
	at, err3 := time.Parse(time.RFC3339, f.get(cells, colAt))
	_, err4 := time.Parse(time.RFC3339, f.get(cells, colUpdated))
	numeric, _ := bojanz.GetNumericCode(string(p.config.Currency))
	switch {
	case errors.Join(err1, err2, err3, err4) != nil || amount <= 0 || amount > 1<<50 || fee > 1<<50 || fee < -1<<50:
		return line, false, errors.New("an amount or a time that is none")
	case f.get(cells, colCurrency) != numeric:
		return line, false, fmt.Errorf("%w: in currency %.3q", driver.ErrCurrencyUnsupported, f.get(cells, colCurrency))
	case f.get(cells, colSettlement) == "" || f.get(cells, colOrder) == "":
		return line, false, errors.New("a settlement without a number or an order")
	}
	line = driver.BillLine{OurID: f.get(cells, colOrder), ProviderRef: clip(f.get(cells, colReference)), Fee: fee, At: at.UTC()}
	line.Amount = citygate.Money{Minor: amount, Currency: p.config.Currency}
	switch kind := f.get(cells, colType); kind {
	case "DEBIT":
	case "CREDIT":
		line.Refund, line.RefundID, line.Amount = true, f.get(cells, colRefund), line.Amount.Neg()
		if line.RefundID == "" {
			return line, false, errors.New("a credit without a refund")
		}
	default:
		return line, false, fmt.Errorf("of type %.10q", kind)
	}
	switch status := f.get(cells, colStatus); status {
	case "SETTLED":
		return line, true, nil
	case "PENDING", "REJECTED", "FAILED":
		return line, false, nil
	default:
		return line, false, fmt.Errorf("of status %.10q", status)
	}
}
