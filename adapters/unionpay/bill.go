package unionpay

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const (
	dayEnds    = 23 * time.Hour // in Beijing
	codeNoFile = "98"
	tradesMark = "ZM_"
)

// widths are the bytes of the columns of a ZM file, one space between two.
var widths = []int{
	3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15, 1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 32, 98,
}

// Columns that are read, from 0.
const (
	colTrace    = 3  // n6
	colTime     = 4  // MMDDhhmmss
	colAmount   = 6  // n12
	colQueryID  = 9  // of this row
	colOrder    = 11 // of this row
	colFee      = 15 // X+n12
	colSettled  = 16 // X+n12
	colKind     = 19 // txnType
	colMerchant = 27
	colOrigin   = 40 // orderId of the payment that a refund is of
)

// BillDay implements [driver.Biller]: UnionPay's day ends at 23:00 in Beijing.
func (p *Provider) BillDay(at time.Time) citygate.Date {
	return citygate.DateOf(at.In(beijing).Add(24*time.Hour - dayEnds))
}

// FetchBill implements [driver.Biller]: the settlement file, a zip. Disputes name the
// payments they are of by rows of other days' files; those are fetched as well and put
// beside it ([Provider.withOrigins]).
func (p *Provider) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	if day.Compare(p.BillDay(p.config.Clock())) >= 0 {
		return driver.Bill{}, fmt.Errorf("%w: %s is not over", driver.ErrBillNotReady, day)
	}
	name, body, err := p.file(ctx, day)
	if err == nil {
		body, err = p.withOrigins(ctx, day, body)
	}
	if err != nil {
		return driver.Bill{}, err
	}
	return driver.Bill{Day: day, Name: name, Body: body, Currency: cny}, nil
}

// file asks for the settlement file of a day, by 76/01.
func (p *Provider) file(ctx context.Context, day citygate.Date) (name string, zipped []byte, err error) {
	m := p.common(typeFile, subFile)
	m["orderId"], m["txnTime"] = fileID(day.Time()), stamp(p.config.Clock())
	m["settleDate"], m["fileType"] = day.Time().Format("0102"), "00"
	out, err := p.call(ctx, p.config.Files, m, wire.BillLimit)
	switch {
	case err != nil:
		return "", nil, err
	case out["respCode"] == codeNoFile:
		return "", nil, fmt.Errorf("%w: %s", driver.ErrBillNotReady, day)
	case out["respCode"] != codeOK:
		return "", nil, fmt.Errorf("unionpay: file of %s: %s", day, clip(out["respCode"]))
	}
	if zipped, err = inflate(out["fileContent"]); err != nil {
		return "", nil, fmt.Errorf("unionpay: file of %s: %w", day, err)
	}
	return path.Base(clip(out["fileName"])), zipped, nil
}

// fileID names the question for a day's file.
func fileID(day time.Time) string { return "file" + day.Format("20060102") }

func inflate(text string) ([]byte, error) {
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("its content is not base64")
	}
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, errors.New("its content is not deflated")
	}
	return limited(r, wire.BillLimit)
}

// limited reads at most so many bytes: a small file must not unfold into a large
// memory.
func limited(r io.Reader, most int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, errors.New("its content is damaged")
	}
	if int64(len(raw)) > most {
		return nil, wire.ErrTooLarge
	}
	return raw, nil
}

// ParseBill implements [driver.Biller]: all that ReadBill visits.
func (p *Provider) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	return driver.BillLines(p.ReadBill, bill)
}

// ReadBill implements [driver.BillReader]: the rows of payments (ZM), and behind them
// those of disputes (ZME), whose lines are counted on. Rows are cut by bytes, so that
// names in GBK do not move what stands behind them. The files declare no totals; each
// row must agree with itself and be of this merchant, and payments of this day.
func (p *Provider) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	if bill.Currency != cny {
		return fmt.Errorf("%w: a unionpay file is in %s, not %s", driver.ErrCurrencyUnsupported, cny, bill.Currency)
	}
	a, err := unpack(bill.Body)
	if err != nil {
		return err
	}
	if a.trades == nil {
		return errors.New("unionpay: no settlement file in the zip")
	}
	disputes, err := p.disputes(a.disputes, bill.Day)
	if err != nil {
		return err
	}
	named, err := originsOf(a, disputes)
	if err != nil {
		return err
	}
	last := 0
	err = each(a.trades, func(no int, raw []byte) error {
		last = no
		line, err := p.row(raw, bill.Day)
		if err != nil {
			return err
		}
		line.Line = no
		named.trade(raw)
		return visit(line)
	})
	if err != nil {
		return err
	}
	for i := range disputes {
		line := p.disputed(&disputes[i], named)
		line.Line += last
		if err := visit(line); err != nil {
			return err
		}
	}
	return nil
}

// An archive is what a bill's zip holds. Other entries are not read: none is known to
// have rows of a merchant's money.
type archive struct {
	trades, disputes *zip.File   // nil: there is none
	origins          []*zip.File // of other days, put there by FetchBill
}

// unpack looks into a bill's zip.
func unpack(body []byte) (*archive, error) {
	r, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, errors.New("unionpay: the file is not a zip")
	}
	a := &archive{}
	for _, f := range r.File {
		into := &a.trades
		switch {
		case strings.HasPrefix(f.Name, originsFolder):
			a.origins = append(a.origins, f)
			continue
		case strings.Contains(f.Name, disputesMark):
			into = &a.disputes
		case !strings.Contains(f.Name, tradesMark):
			continue
		}
		if *into != nil {
			return nil, errors.New("unionpay: two settlement files in one")
		}
		*into = f
	}
	return a, nil
}

// each visits the rows of a file that is zipped, with their numbers from 1.
func each(f *zip.File, visit func(no int, raw []byte) error) error {
	r, err := f.Open()
	if err != nil {
		return errors.New("unionpay: the zip is damaged")
	}
	defer func() { _ = r.Close() }() // read to the end
	left := &io.LimitedReader{R: r, N: wire.UnfoldLimit + 1}
	lines := bufio.NewScanner(left)
	for no := 1; lines.Scan(); no++ {
		raw := bytes.TrimSuffix(lines.Bytes(), []byte("\r"))
		if len(raw) == 0 {
			continue
		}
		if err := visit(no, raw); err != nil {
			return fmt.Errorf("unionpay: %s, line %d: %w", clip(path.Base(f.Name)), no, err)
		}
	}
	switch {
	case left.N <= 0:
		return wire.ErrTooLarge
	case lines.Err() != nil:
		return errors.New("unionpay: the zip: its content is damaged, or a row has no end")
	}
	return nil
}

// cells cuts a row; between two columns stands one space.
func cells(raw []byte, widths []int) ([]string, error) {
	want := len(widths) - 1
	for _, w := range widths {
		want += w
	}
	if len(raw) != want {
		return nil, fmt.Errorf("%d bytes, want %d", len(raw), want)
	}
	out := make([]string, len(widths))
	at := 0
	for i, w := range widths {
		out[i] = string(bytes.TrimSpace(raw[at : at+w]))
		at += w
		if at < len(raw) {
			if raw[at] != ' ' {
				return nil, fmt.Errorf("no space behind column %d", i+1)
			}
			at++
		}
	}
	return out, nil
}

func (p *Provider) row(raw []byte, day citygate.Date) (driver.BillLine, error) {
	var line driver.BillLine
	c, err := cells(raw, widths)
	if err != nil {
		return line, err
	}
	amount, err1 := number(c[colAmount], "")
	fee, err2 := number(signed(c[colFee]))
	settled, err3 := number(signed(c[colSettled]))
	if err := errors.Join(err1, err2, err3); err != nil {
		return line, err
	}
	at, err := p.instant(c[colTime], day)
	if err != nil {
		return line, err
	}
	line = driver.BillLine{OurID: c[colOrder], ProviderRef: c[colQueryID], Fee: -fee, At: at}
	switch kind := c[colKind]; kind {
	case typeConsume:
	case typeRefund, typeRevoke:
		line.Refund, line.RefundID, line.OurID = true, c[colOrder], c[colOrigin]
		amount = -amount
	default:
		return line, fmt.Errorf("of kind %.4q", kind)
	}
	line.Amount = citygate.Money{Minor: amount, Currency: cny}
	switch {
	case line.OurID == "" || (line.Refund && line.RefundID == ""):
		return line, errors.New("without an order number")
	case c[colMerchant] != p.config.MerID:
		return line, fmt.Errorf("of merchant %.16q", c[colMerchant])
	case settled != amount+fee:
		return line, errors.New("what is settled is not the amount less the fee")
	}
	return line, nil
}

// signed splits X+n12: C is a credit to the merchant, D a debit.
func signed(text string) (digits, sign string) {
	if text == "" {
		return "", "?"
	}
	return text[1:], text[:1]
}

func number(text, sign string) (int64, error) {
	if len(text) != 12 || strings.Trim(text, "0123456789") != "" || (sign != "" && sign != "C" && sign != "D") {
		return 0, fmt.Errorf("an amount of %.16q", sign+text)
	}
	n, err := strconv.ParseInt(text, 10, 64) // 12 digits: fits
	if sign == "D" {
		n = -n
	}
	return n, err
}

// instant reads MMDDhhmmss. Its year is that of the file's day, or the one before
// or behind it at the turn of the year; the time must fall on the file's day.
func (p *Provider) instant(text string, day citygate.Date) (time.Time, error) {
	for _, year := range []int{day.Year, day.Year - 1, day.Year + 1} {
		at, err := time.ParseInLocation("20060102150405", strconv.Itoa(year)+text, beijing)
		if err == nil && p.BillDay(at) == day {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("at %.10q, which is not on %s", text, day)
}
