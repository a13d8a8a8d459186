package remote

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// ErrBill says that a bill cannot be read, or does not add up.
var ErrBill = errors.New("remote: bill")

// The lines of a bill. Exactly the first is a head and exactly the last an end.
type (
	billHead struct {
		Bill     string            `json:"bill"` // the version of the format, "1"
		Day      string            `json:"day"`
		Currency citygate.Currency `json:"currency"`
		Name     string            `json:"name"`
	}
	billRow struct {
		ID          string    `json:"id"`                  // of the debit
		RefundID    string    `json:"refund_id,omitempty"` // exactly on refunds
		ProviderRef string    `json:"provider_ref,omitempty"`
		AmountMinor int64     `json:"amount_minor"` // negative exactly on refunds
		FeeMinor    int64     `json:"fee_minor"`    // positive = charged to the merchant
		At          time.Time `json:"at"`
		Reversed    bool      `json:"reversed,omitempty"` // the payment was taken back, or after a dispute given back
		Exchange    *exchange `json:"exchange,omitempty"` // signed as the amount is
	}
	billEnd struct {
		End         bool  `json:"end"`
		Rows        int   `json:"rows"`
		AmountMinor int64 `json:"amount_minor"`
		FeeMinor    int64 `json:"fee_minor"`
	}
	// A billMore ends an answer that is not the whole of the bill.
	billMore struct {
		More bool `json:"more"`
		Rows int  `json:"rows"` // of the bill so far, those of earlier answers counted
	}
)

// billPage is the number of rows that are asked for at once.
const billPage = 50_000

var (
	morePrefix = []byte(`{"more":`)
	gzipMark   = []byte{0x1f, 0x8b}
)

// FetchBill is driver.Biller's. A bill comes in one answer or in several, each signed
// for itself; of several the body is kept compressed, so that a large one takes little
// room.
func (d *Driver) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	call := billCall{d.part, day.String(), "", cmp.Or(d.page, billPage)}
	body, err := d.send(ctx, pathBill, call, wire.BillLimit)
	if err != nil {
		return driver.Bill{}, err
	}
	first, _, _ := bytes.Cut(body, []byte("\n"))
	if rows, more, err := cutMore(body); err != nil {
		return driver.Bill{}, err
	} else if more > 0 {
		if body, err = d.fetchRest(ctx, call, first, rows, more); err != nil {
			return driver.Bill{}, err
		}
	}
	var head billHead
	if err := strict(first, &head); err != nil || head.Bill != "1" {
		return driver.Bill{}, fmt.Errorf("%w: no head", ErrBill)
	}
	of, err := citygate.ParseDate(head.Day)
	if err != nil || !head.Currency.Valid() {
		return driver.Bill{}, fmt.Errorf("%w: a head without a day or a currency", ErrBill)
	}
	return driver.Bill{Day: of, Name: head.Name, Body: body, Currency: head.Currency}, nil
}

// cutMore gives what stands before the line that says that there is more, and how many
// rows the bill has until there; 0 if the answer does not say so.
func cutMore(body []byte) (rest []byte, rows int, err error) {
	text := bytes.TrimSuffix(body, []byte("\n"))
	at := bytes.LastIndexByte(text, '\n') + 1
	if !bytes.HasPrefix(text[at:], morePrefix) {
		return body, 0, nil
	}
	var more billMore
	if err := strict(text[at:], &more); err != nil || !more.More || more.Rows <= 0 {
		return nil, 0, fmt.Errorf("%w: an answer ends in a line that does not say how much more there is", ErrBill)
	}
	return body[:at], more.Rows, nil
}

// fetchRest asks for what is behind the rows that came, until the bill ends, and gives
// all of it compressed. Every answer must begin with the same head and bring rows.
func (d *Driver) fetchRest(ctx context.Context, call billCall, head, rows []byte, have int) ([]byte, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(rows)
	for size := int64(len(rows)); err == nil && have > 0; {
		call.After = strconv.Itoa(have)
		body, sendErr := d.send(ctx, pathBill, call, wire.BillLimit)
		if sendErr != nil {
			return nil, sendErr
		}
		first, behind, _ := bytes.Cut(body, []byte("\n"))
		if !bytes.Equal(first, head) {
			return nil, fmt.Errorf("%w: its answers are of two bills", ErrBill)
		}
		rows, more, cutErr := cutMore(behind)
		if cutErr != nil {
			return nil, cutErr
		}
		if more != 0 && more <= have {
			return nil, fmt.Errorf("%w: an answer brings nothing and says that there is more", ErrBill)
		}
		if size += int64(len(rows)); size > wire.UnfoldLimit || int64(packed.Len()) > wire.BillLimit {
			return nil, wire.ErrTooLarge
		}
		_, err = z.Write(rows)
		have = more
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// ParseBill is driver.Biller's: all that ReadBill visits.
func (d *Driver) ParseBill(bill driver.Bill) ([]driver.BillLine, error) { return parseBill(bill) }

func parseBill(bill driver.Bill) ([]driver.BillLine, error) {
	return driver.BillLines(readBill, bill)
}

// ReadBill is driver.BillReader's. A bill is JSON lines, each ended by a line feed. The
// first is {"bill":"1","day":"2026-11-21","currency":"HKD","name":"..."}, the last
// {"end":true,"rows":n,"amount_minor":n,"fee_minor":n}, and those between are
// {"id":..,"refund_id":..,"provider_ref":..,"amount_minor":..,"fee_minor":..,"at":..,"exchange":..}.
// Rows that do not add up to the end, a missing end or anything behind it, and
// unknown fields are errors.
func (d *Driver) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	return readBill(bill, visit)
}

// A billReader is a bill under way.
type billReader struct {
	bill  driver.Bill
	visit func(driver.BillLine) error
	sum   billEnd // of the rows so far
	at    int     // the line
	ended bool
}

func readBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	text := &lastByte{r: bytes.NewReader(bill.Body)}
	if bytes.HasPrefix(bill.Body, gzipMark) {
		z, err := gzip.NewReader(text.r)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBill, err)
		}
		text.r = io.LimitReader(z, wire.UnfoldLimit)
	}
	scanner := bufio.NewScanner(text)
	scanner.Buffer(make([]byte, 0, 4096), 64<<10)
	r := billReader{bill: bill, visit: visit, sum: billEnd{End: true}}
	for scanner.Scan() {
		r.at++
		if err := r.line(scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%w: line %d: %w", ErrBill, r.at+1, err)
	}
	if !r.ended || text.last != '\n' {
		return fmt.Errorf("%w: it has no end", ErrBill)
	}
	return nil
}

// A lastByte remembers the last byte that was read.
type lastByte struct {
	r    io.Reader
	last byte
}

func (l *lastByte) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.last = p[n-1]
	}
	return n, err
}

func (r *billReader) line(raw []byte) (err error) {
	switch {
	case r.ended:
		return fmt.Errorf("%w: line %d is behind the end", ErrBill, r.at)
	case r.at == 1:
		var head billHead
		if err := strict(raw, &head); err != nil || head.Bill != "1" || head.Day != r.bill.Day.String() || head.Currency != r.bill.Currency {
			return fmt.Errorf("%w: line 1 is not the head of this bill", ErrBill)
		}
		return nil
	case bytes.HasPrefix(raw, []byte(`{"end":`)):
		var end billEnd
		if err := strict(raw, &end); err != nil || !end.End {
			return fmt.Errorf("%w: line %d is not an end", ErrBill, r.at)
		}
		if end != r.sum {
			return fmt.Errorf("%w: it does not add up: %d rows, %d and %d fees, where its end says %d, %d and %d",
				ErrBill, r.sum.Rows, r.sum.AmountMinor, r.sum.FeeMinor, end.Rows, end.AmountMinor, end.FeeMinor)
		}
		r.ended = true
		return nil
	}
	line, err := billLine(raw, r.at, r.bill.Currency)
	if err != nil {
		return err
	}
	if r.sum.AmountMinor, err = sum(r.sum.AmountMinor, line.Amount.Minor); err != nil {
		return err
	}
	if r.sum.FeeMinor, err = sum(r.sum.FeeMinor, line.Fee); err != nil {
		return err
	}
	r.sum.Rows++
	return r.visit(line)
}

func billLine(raw []byte, at int, currency citygate.Currency) (driver.BillLine, error) {
	var row billRow
	if err := strict(raw, &row); err != nil {
		return driver.BillLine{}, fmt.Errorf("%w: line %d is not a row", ErrBill, at)
	}
	if row.ID == "" || row.At.IsZero() || row.AmountMinor == 0 || (row.AmountMinor < 0) != (row.RefundID != "") && !row.Reversed || row.Reversed && row.RefundID == "" {
		return driver.BillLine{}, fmt.Errorf("%w: line %d: want an id, a time, and a negative amount exactly with a refund_id", ErrBill, at)
	}
	if !row.Exchange.signedAs(row.AmountMinor) {
		return driver.BillLine{}, fmt.Errorf("%w: line %d: want an exchange with currencies, and signed as its amount is", ErrBill, at)
	}
	return driver.BillLine{
		Line: at, Refund: row.RefundID != "", OurID: row.ID, RefundID: row.RefundID, ProviderRef: row.ProviderRef,
		Amount: citygate.Money{Minor: row.AmountMinor, Currency: currency}, Fee: row.FeeMinor, At: row.At, Reversed: row.Reversed,
		Exchange: row.Exchange.exchange(),
	}, nil
}

func sum(a, b int64) (int64, error) {
	if (b > 0 && a > math.MaxInt64-b) || (b < 0 && a < math.MinInt64-b) {
		return 0, fmt.Errorf("%w: the sum is too large", ErrBill)
	}
	return a + b, nil
}

// BillDay is driver.Biller's, by the zone and start of the manifest.
func (d *Driver) BillDay(at time.Time) citygate.Date {
	// The day's start is counted on the wall clock, so that 23:00 stays 23:00
	// when the clocks change.
	local := at.In(d.zone)
	wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, time.UTC)
	return citygate.DateOf(wall.Add(-seconds(d.config.Manifest.BillStartSeconds)))
}

// writeBill writes the rows of a driver's bill behind so many, at most limit (0 = all
// of them), in the protocol's format.
func writeBill(bill driver.Bill, after, limit int, read func(visit func(driver.BillLine) error) error) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(billHead{"1", bill.Day.String(), bill.Currency, bill.Name}); err != nil {
		return nil, err
	}
	end := billEnd{End: true}
	err := read(func(l driver.BillLine) error {
		end.Rows, end.AmountMinor, end.FeeMinor = end.Rows+1, end.AmountMinor+l.Amount.Minor, end.FeeMinor+l.Fee
		if end.Rows <= after || limit > 0 && end.Rows > after+limit {
			return nil
		}
		return enc.Encode(billRow{l.OurID, l.RefundID, l.ProviderRef, l.Amount.Minor, l.Fee, l.At.UTC(), l.Reversed, exchangeOut(l.Exchange)})
	})
	if err != nil {
		return nil, err
	}
	if limit > 0 && end.Rows > after+limit {
		err = enc.Encode(billMore{true, after + limit})
	} else {
		err = enc.Encode(end)
	}
	return b.Bytes(), err
}

// strict decodes one JSON value with known fields alone.
func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one value")
	}
	return nil
}
