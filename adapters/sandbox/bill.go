package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The kinds of a [BillFault].
const (
	MissingRow    = "missing_row"    // the row of OurID is left out
	ExtraRow      = "extra_row"      // a row of a payment nobody made
	WrongAmount   = "wrong_amount"   // the row of OurID is off by Amount.Minor
	UnaskedRefund = "unasked_refund" // a refund row of Amount that names the charge OurID
	TakenBack     = "taken_back"     // a row that takes Amount of the charge OurID back, as a bank does, under "cb_" and its id; Fee is kept for it
)

// A BillFault falsifies the bill that carries the charge OurID, or the bill of
// Day for an extra row. The book stays as it is and the bill adds up.
type BillFault struct {
	Kind   string
	OurID  string
	Day    citygate.Date  // extra_row only
	Amount citygate.Money // the difference, or the amount of the row
	Fee    int64          // taken_back only
}

// SetBillFaults replaces the faults of all bills that are not written yet.
func (p *Provider) SetBillFaults(faults []BillFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append([]BillFault(nil), faults...)
}

// reversal is the type of rows that take a payment back.
const reversal = "reversal"

var billHeader = []string{"row", "type", "our_id", "refund_id", "provider_ref", "amount_minor", "currency", "fee_minor", "at"}

// BillDay implements [driver.Biller].
func (p *Provider) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.In(p.zone())) }

func (p *Provider) zone() *time.Location {
	return time.FixedZone("bill", p.config.UTCOffsetMinutes*60)
}

// FetchBill implements [driver.Biller]. A bill is a snapshot: it is written when
// it is first asked for and is the same ever after.
func (p *Provider) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.reach(ctx); err != nil {
		return driver.Bill{}, err
	}
	end := time.Date(day.Year, day.Month, day.Day+1, 0, p.config.BillDelayMinutes, 0, 0, p.zone())
	if p.clock().Before(end) {
		return driver.Bill{}, driver.ErrBillNotReady
	}
	bill := driver.Bill{Day: day, Name: "bill-" + day.String() + ".csv"}
	lines := p.rows(day)
	body, err := p.root.ReadFile(bill.Name)
	if errors.Is(err, fs.ErrNotExist) {
		body = render(day, lines)
		err = p.keep(bill.Name, body)
	}
	if err != nil {
		return driver.Bill{}, fmt.Errorf("sandbox: bill of %s: %w", day, err)
	}
	bill.Body = body
	if len(lines) > 0 && !slices.ContainsFunc(lines, func(l driver.BillLine) bool { return l.Amount.Currency != lines[0].Amount.Currency }) {
		bill.Currency = lines[0].Amount.Currency
	}
	return bill, nil
}

// keep writes a file whole or not at all.
func (p *Provider) keep(name string, body []byte) error {
	f, err := p.root.OpenFile(name+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := p.root.Rename(name+".part", name); err != nil {
		return err
	}
	return syncDir(p.root)
}

// rows gives the rows of a day's bill, faults included, ordered by id.
func (p *Provider) rows(day citygate.Date) []driver.BillLine {
	var lines []driver.BillLine
	for _, e := range p.book.entries {
		if e.Outcome != driver.Succeeded || p.BillDay(e.At) != day {
			continue
		}
		l := driver.BillLine{OurID: e.OurID, ProviderRef: e.ProviderRef, Amount: e.Amount, At: e.At}
		if e.Kind == Refund {
			l.Refund, l.OurID, l.RefundID, l.Amount = true, e.ChargeID, e.OurID, e.Amount.Neg()
		} else {
			l.Fee = citygate.PartPerMillion(e.Amount.Minor, p.config.FeePPM)
		}
		lines = append(lines, l)
	}
	lines = falsify(lines, p.faults, time.Date(day.Year, day.Month, day.Day, 12, 0, 0, 0, p.zone()))
	slices.SortFunc(lines, func(a, b driver.BillLine) int {
		return cmp.Or(cmp.Compare(a.OurID, b.OurID), cmp.Compare(a.RefundID, b.RefundID))
	})
	for i := range lines {
		lines[i].Line = i + 3 // after the title and the header
	}
	return lines
}

// falsify applies the faults that fall into this bill.
func falsify(lines []driver.BillLine, faults []BillFault, noon time.Time) []driver.BillLine {
	for _, f := range faults {
		at := slices.IndexFunc(lines, func(l driver.BillLine) bool { return l.OurID == f.OurID && !l.Refund })
		switch {
		case f.Kind == ExtraRow && f.Day == citygate.DateOf(noon):
			lines = append(lines, driver.BillLine{OurID: f.OurID, ProviderRef: reference(f.OurID), Amount: f.Amount, At: noon})
		case f.Kind == MissingRow && at >= 0:
			lines = slices.Delete(lines, at, at+1)
		case f.Kind == WrongAmount && at >= 0:
			lines[at].Amount.Minor += f.Amount.Minor
		case f.Kind == UnaskedRefund && at >= 0:
			l := lines[at]
			l.Refund, l.RefundID, l.ProviderRef = true, "unasked_"+l.OurID, reference("unasked_"+l.OurID)
			l.Amount, l.Fee = f.Amount.Neg(), 0
			lines = append(lines, l)
		case f.Kind == TakenBack && at >= 0:
			l := lines[at]
			l.Refund, l.Reversed, l.RefundID, l.ProviderRef = true, true, "cb_"+l.OurID, reference("cb_"+l.OurID)
			l.Amount, l.Fee = f.Amount.Neg(), f.Fee
			lines = append(lines, l)
		}
	}
	return lines
}

// render writes a bill: a title, a header, the rows, and one total line for each
// currency.
func render(day citygate.Date, lines []driver.BillLine) []byte {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	put := func(fields ...string) { _ = w.Write(fields) } // a bytes.Buffer does not fail
	put("sandbox bill", "1", day.String())
	put(billHeader...)
	type total struct{ rows, amount, fee int64 }
	totals := map[citygate.Currency]total{}
	for _, l := range lines {
		kind := Charge
		if l.Refund {
			kind = Refund
		}
		if l.Reversed {
			kind = reversal
		}
		put(strconv.Itoa(l.Line), kind, l.OurID, l.RefundID, l.ProviderRef, strconv.FormatInt(l.Amount.Minor, 10),
			string(l.Amount.Currency), strconv.FormatInt(l.Fee, 10), l.At.UTC().Format(time.RFC3339Nano))
		t := totals[l.Amount.Currency]
		totals[l.Amount.Currency] = total{t.rows + 1, t.amount + l.Amount.Minor, t.fee + l.Fee}
	}
	currencies := make([]citygate.Currency, 0, len(totals))
	for c := range totals {
		currencies = append(currencies, c)
	}
	slices.Sort(currencies)
	for _, c := range currencies {
		t := totals[c]
		put("total", string(c), strconv.FormatInt(t.rows, 10), strconv.FormatInt(t.amount, 10), strconv.FormatInt(t.fee, 10))
	}
	put("end")
	w.Flush()
	return out.Bytes()
}

// ParseBill implements [driver.Biller].
func (p *Provider) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	r := csv.NewReader(bytes.NewReader(bill.Body))
	r.FieldsPerRecord = -1
	title, err := r.Read()
	if err != nil || len(title) != 3 || title[0] != "sandbox bill" || title[1] != "1" || title[2] != bill.Day.String() {
		return nil, fmt.Errorf("sandbox: not the bill of %s", bill.Day)
	}
	if header, err := r.Read(); err != nil || !slices.Equal(header, billHeader) {
		return nil, errors.New("sandbox: the bill's header is not the one of version 1")
	}
	var lines []driver.BillLine
	summed := map[string]bool{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("sandbox: the bill breaks off before its end line")
		}
		if err != nil {
			return nil, fmt.Errorf("sandbox: the bill: %w", err)
		}
		switch {
		case len(record) == len(billHeader):
			l, err := parseRow(record)
			if err != nil {
				return nil, fmt.Errorf("sandbox: the bill, row %s: %w", record[0], err)
			}
			lines = append(lines, l)
		case len(record) == 5 && record[0] == "total":
			if err := checkTotal(record, lines); err != nil {
				return nil, err
			}
			summed[record[1]] = true
		case len(record) == 1 && record[0] == "end":
			for _, l := range lines {
				if !summed[string(l.Amount.Currency)] {
					return nil, fmt.Errorf("sandbox: the bill has no total for %s", l.Amount.Currency)
				}
			}
			return lines, nil
		default:
			return nil, fmt.Errorf("sandbox: the bill has a line of %d fields", len(record))
		}
	}
}

func parseRow(f []string) (driver.BillLine, error) {
	var l driver.BillLine
	line, err1 := strconv.Atoi(f[0])
	amount, err2 := strconv.ParseInt(f[5], 10, 64)
	fee, err3 := strconv.ParseInt(f[7], 10, 64)
	at, err4 := time.Parse(time.RFC3339Nano, f[8])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return l, err
	}
	currency := citygate.Currency(f[6])
	if !currency.Valid() || (f[1] != Charge && f[1] != Refund && f[1] != reversal) || f[2] == "" {
		return l, errors.New("no such currency or type, or no id")
	}
	return driver.BillLine{
		Line: line, Refund: f[1] != Charge, Reversed: f[1] == reversal, OurID: f[2], RefundID: f[3], ProviderRef: f[4],
		Amount: citygate.Money{Minor: amount, Currency: currency}, Fee: fee, At: at,
	}, nil
}

func checkTotal(record []string, lines []driver.BillLine) error {
	var rows, amount, fee int64
	for _, l := range lines {
		if string(l.Amount.Currency) == record[1] {
			rows, amount, fee = rows+1, amount+l.Amount.Minor, fee+l.Fee
		}
	}
	for i, sum := range []int64{rows, amount, fee} {
		if record[2+i] != strconv.FormatInt(sum, 10) {
			return fmt.Errorf("sandbox: the bill says %s in %s, its rows say %d", record[2+i], record[1], sum)
		}
	}
	return nil
}
