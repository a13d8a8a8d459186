package wechatpay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Columns of the bill of trades, as the platform writes them.
const (
	colTime      = "交易时间"
	colTradeNo   = "微信订单号"
	colOrderNo   = "商户订单号"
	colMchID     = "商户号"
	colState     = "交易状态"
	colCurrency  = "货币种类"
	colSettled   = "应结订单金额"
	colRefundNo  = "商户退款单号"
	colRefunded  = "退款金额"
	colFee       = "手续费"
	colOrdered   = "订单金额"
	colRequested = "申请退款金额"

	sumRows      = "总交易单数"
	sumSettled   = "应结订单总金额"
	sumRefunded  = "退款总金额"
	sumFee       = "手续费总金额"
	sumOrdered   = "订单总金额"
	sumRequested = "申请退款总金额"
)

var utf8BOM = []byte{0xef, 0xbb, 0xbf}

// ParseBill implements [driver.Biller]: all that ReadBill visits.
func (c *client) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	return driver.BillLines(c.ReadBill, bill)
}

// ReadBill implements [driver.BillReader]: the bill of trades. Columns are found by
// their names, because merchants of different ages get different ones. The rows
// must add up to the summary at the end of the file, and each must be of this
// merchant. The amount of a row is what is settled to the merchant before the
// fee (订单金额 less what the merchant gave itself); of a refund, what is taken
// from him. A REVOKED row is a payment that was reversed: it stands under the
// payment's own number, as a refund without one.
func (c *client) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	if bill.Currency != c.config.Currency {
		return fmt.Errorf("%w: this contract's bills are in %s, not %s", driver.ErrCurrencyUnsupported, c.config.Currency, bill.Currency)
	}
	var sums tradeSums
	summary, err := readTable(bill.Body, []string{colTime, colTradeNo, colOrderNo, colState, colSettled, colRefundNo, colRefunded, colFee},
		[]string{sumRows, sumSettled, sumRefunded, sumFee}, func(r tableRow) error {
			line, err := c.row(r, &sums)
			if err != nil {
				return fmt.Errorf("wechatpay: the bill's line %d: %w", r.line, err)
			}
			if day := c.BillDay(line.At); day != bill.Day {
				return fmt.Errorf("wechatpay: the bill's line %d is of %s, the bill of %s", r.line, day, bill.Day)
			}
			return visit(line)
		})
	if err != nil {
		return err
	}
	return sums.agree(summary)
}

// tradeSums are what the rows of a bill add up to.
type tradeSums struct{ rows, settled, refunded, fee, ordered, requested int64 }

func (c *client) row(r tableRow, sums *tradeSums) (driver.BillLine, error) {
	var line driver.BillLine
	if mch, there := r.look(colMchID); there && mch != c.config.MchID {
		return line, fmt.Errorf("of merchant %.32q", mch)
	}
	if currency, there := r.look(colCurrency); there && currency != string(c.config.Currency) {
		return line, fmt.Errorf("in %.8q", currency)
	}
	amounts := [5]int64{}
	for i, name := range []string{colSettled, colRefunded, colFee, colOrdered, colRequested} {
		text, there := r.look(name)
		if !there && i > 2 {
			continue // the older columns
		}
		n, err := minor(text)
		if err != nil {
			return line, err
		}
		amounts[i] = n
	}
	if err := sums.count(amounts); err != nil {
		return line, err
	}
	at, err := time.ParseInLocation(time.DateTime, r.cell(colTime), beijing)
	if err != nil {
		return line, errors.New("without a time")
	}
	line = driver.BillLine{
		Line: r.line, OurID: r.cell(colOrderNo), ProviderRef: r.cell(colTradeNo), Fee: amounts[2], At: at.UTC(),
	}
	if line.OurID == "" {
		return line, errors.New("without an order number")
	}
	settled, refunded := amounts[0], amounts[1]
	switch state := r.cell(colState); state {
	case stateSuccess:
		if refunded != 0 || settled < 0 {
			return line, errors.New("a payment that is a refund or less than nothing")
		}
		line.Amount = citygate.Money{Minor: settled, Currency: c.config.Currency}
	case stateRefund, stateRevoked:
		line.Refund, line.RefundID = true, r.cell(colRefundNo)
		if line.RefundID == "" || line.RefundID == "0" {
			if line.RefundID = ""; state == stateRefund {
				return line, errors.New("a refund without a number")
			}
		}
		if settled != 0 || refunded < 0 {
			return line, errors.New("a refund that is a payment or less than nothing")
		}
		line.Amount = citygate.Money{Minor: -refunded, Currency: c.config.Currency}
	default:
		return line, fmt.Errorf("of state %.20q", state)
	}
	return line, nil
}

func (s *tradeSums) count(amounts [5]int64) (err error) {
	s.rows++
	for i, into := range []*int64{&s.settled, &s.refunded, &s.fee, &s.ordered, &s.requested} {
		if *into, err = add(*into, amounts[i]); err != nil {
			return err
		}
	}
	return nil
}

// agree compares the rows with the file's own totals.
func (s *tradeSums) agree(summary tableRow) error {
	if count := summary.cell(sumRows); count != strconv.FormatInt(s.rows, 10) {
		return fmt.Errorf("wechatpay: the bill has %d rows and says %.20q", s.rows, count)
	}
	for _, c := range []struct {
		name string
		got  int64
	}{{sumSettled, s.settled}, {sumRefunded, s.refunded}, {sumFee, s.fee}, {sumOrdered, s.ordered}, {sumRequested, s.requested}} {
		text, there := summary.look(c.name)
		if !there && (c.name == sumOrdered || c.name == sumRequested) {
			continue
		}
		want, err := minor(text)
		if err != nil {
			return fmt.Errorf("wechatpay: the bill's %s: %w", c.name, err)
		}
		if want != c.got {
			return fmt.Errorf("wechatpay: the bill's rows add up to %s %d and it says %d", c.name, c.got, want)
		}
	}
	return nil
}

// A tableRow is a row of a bill.
type tableRow struct {
	columns map[string]int
	cells   []string
	line    int
}

func (r tableRow) look(name string) (string, bool) {
	i, there := r.columns[name]
	if !there || i >= len(r.cells) {
		return "", false
	}
	return r.cells[i], true
}

func (r tableRow) cell(name string) string { text, _ := r.look(name); return text }

// readTable takes a bill apart, row by row, and gives its summary. A byte order mark
// stands in front, or not: who saves a bill loses it. Cells have a backtick in front;
// names of goods may hold commas, so a row is cut at a comma and a backtick. The last
// two lines are the summary's header and the summary, so each row waits until two
// lines behind it were seen.
func readTable(body []byte, columns, sums []string, visit func(tableRow) error) (summary tableRow, err error) {
	text, err := unfold(body)
	if err != nil {
		return summary, err
	}
	t := table{columns: columns, visit: visit}
	lines := bufio.NewScanner(text)
	lines.Buffer(make([]byte, 0, 4<<10), lineMax)
	blank := 0 // lines that may be the empty ones at the end
	for first := true; lines.Scan(); first = false {
		raw := lines.Bytes()
		if first {
			raw = bytes.TrimPrefix(raw, utf8BOM)
		}
		if raw = bytes.TrimSuffix(raw, []byte{'\r'}); len(raw) == 0 {
			blank++
			continue
		}
		for ; blank > 0; blank-- {
			if err := t.take(""); err != nil {
				return summary, err
			}
		}
		if err := t.take(string(raw)); err != nil {
			return summary, err
		}
	}
	if err := lines.Err(); err != nil {
		return summary, fmt.Errorf("wechatpay: the bill's line %d: %w", t.no+1, err)
	}
	if t.no < 3 {
		return summary, errors.New("wechatpay: the bill is cut short")
	}
	foot, err := header(t.waiting[0], sums)
	if err != nil {
		return summary, err
	}
	return cut(foot, t.waiting[1], t.no)
}

// lineMax bounds a line of a bill.
const lineMax = 64 << 10

// A table is a bill under way.
type table struct {
	columns []string
	visit   func(tableRow) error
	head    map[string]int
	waiting [2]string
	no      int
}

// take takes the next line, and visits the row that waited for it.
func (t *table) take(text string) (err error) {
	if t.no++; t.no == 1 {
		t.head, err = header(text, t.columns)
		return err
	}
	if t.no > 3 {
		r, err := cut(t.head, t.waiting[0], t.no-2)
		if err != nil {
			return err
		}
		if err := t.visit(r); err != nil {
			return err
		}
	}
	t.waiting[0], t.waiting[1] = t.waiting[1], text
	return nil
}

// cut takes a row apart.
func cut(in map[string]int, text string, no int) (tableRow, error) {
	cells, marked := strings.CutPrefix(text, "`")
	r := tableRow{in, strings.Split(cells, ",`"), no}
	if !marked || len(r.cells) != len(in) {
		return r, fmt.Errorf("wechatpay: the bill's line %d has other cells than its header", r.line)
	}
	return r, nil
}

// header reads the names of columns, each of which must be there once.
func header(line string, names []string) (map[string]int, error) {
	if strings.HasPrefix(line, "`") {
		return nil, errors.New("wechatpay: the bill lacks a header")
	}
	columns := make(map[string]int)
	for i, name := range strings.Split(line, ",") {
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(name), "(元)"), "（元）")
		if _, twice := columns[name]; twice {
			return nil, fmt.Errorf("wechatpay: the bill has the column %.40s twice", name)
		}
		columns[name] = i
	}
	for _, name := range names {
		if _, there := columns[name]; !there {
			return nil, fmt.Errorf("wechatpay: the bill has no column %s", name)
		}
	}
	return columns, nil
}

// minor reads an amount of a bill in yuan (or dollars), exactly: an optional
// minus, digits, and decimals of which only two may count. Fees come with five.
func minor(text string) (int64, error) {
	body, negative := strings.CutPrefix(text, "-")
	whole, part, dotted := strings.Cut(body, ".")
	if !digits(whole, 15) || (dotted && !digits(part, 8)) {
		return 0, fmt.Errorf("an amount of %.40q", text)
	}
	for len(part) < 2 {
		part += "0"
	}
	if strings.Trim(part[2:], "0") != "" {
		return 0, fmt.Errorf("an amount of %.40q: less than the smallest coin", text)
	}
	n, err := strconv.ParseInt(whole+part[:2], 10, 64) // at most 17 digits: fits
	if err != nil {
		return 0, fmt.Errorf("an amount of %.40q", text)
	}
	if negative {
		n = -n
	}
	return n, nil
}

// digits reports whether s is 1 to atMost decimal digits.
func digits(s string, atMost int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= atMost
}
