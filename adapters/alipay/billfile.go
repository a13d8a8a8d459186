package alipay

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// Words of the bill, as the platform writes them.
const (
	accountSuffix = "0156" // an account in a bill is the partner id and this

	detailTitle  = "#支付宝业务明细查询"
	summaryTitle = "#支付宝业务汇总查询"
	detailEnd    = "业务明细列表结束"
	summaryEnd   = "业务汇总列表结束"

	kindPayment = "交易"
	kindRefund  = "退款"

	colTradeNo  = "支付宝交易号"
	colOrderNo  = "商户订单号"
	colKind     = "业务类型"
	colFinished = "完成时间"
	colReceived = "商家实收（元）"
	colRefundNo = "退款批次号/请求号"
	colFee      = "服务费（元）"

	colStore    = "门店编号"
	colPayments = "交易订单总笔数"
	colRefunds  = "退款订单总笔数"
	colNet      = "实收净额（元）"
	colShare    = "分润（元）"
	totalRow    = "合计"
)

var (
	accountLine   = regexp.MustCompile(`^#账号：\[(\d+)\]`)
	periodLine    = regexp.MustCompile(`^#起始日期：\[(\d{4})年(\d{2})月(\d{2})日 00:00:00\]`)
	exportLine    = regexp.MustCompile(`^#导出时间：\[([^\]]+)\]`)
	paymentsTotal = regexp.MustCompile(`^#交易合计：(\d+)笔，商家实收共(-?[\d.]+)元`)
	refundsTotal  = regexp.MustCompile(`^#退款合计：(\d+)笔，商家实收退款共(-?[\d.]+)元`)
)

// totals are what the rows of one kind, or of a file, add up to.
type totals struct {
	payments, refunds    int64
	paid, refunded, fees int64
}

// ParseBill implements [driver.Biller]: all that ReadBill visits.
func (p *Provider) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	return driver.BillLines(p.ReadBill, bill)
}

// ReadBill implements [driver.BillReader]. A bill is a zip of two GBK files, the
// rows and their summary. The rows must add up to the totals at the end of
// their own file, where it has them, and to the summary, which must be there;
// the summary's sums are over payments and refunds together. The account and
// the day must be the bill's. The amount of a row is what the merchant
// receives of it, before the fee. Neither file is held in memory.
func (p *Provider) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	if bill.Currency != cny {
		return fmt.Errorf("%w: an alipay bill is in %s, not %s", driver.ErrCurrencyUnsupported, cny, bill.Currency)
	}
	detail, summary, err := unpack(bill.Body)
	if err != nil {
		return err
	}
	left := wire.UnfoldLimit
	var sum totals
	head, err := p.table(detail, &left, detailEnd, bill.Day, []string{colTradeNo, colOrderNo, colKind, colFinished, colReceived, colRefundNo, colFee},
		func(columns map[string]int, record []string, line int) error {
			l, err := row(columns, record)
			if err != nil {
				return err
			}
			l.Line = line
			if err := sum.count(l); err != nil {
				return err
			}
			return visit(l)
		})
	if err != nil {
		return err
	}
	for _, comment := range head.totals {
		if err := errors.Join(declared(paymentsTotal, comment, sum.payments, sum.paid), declared(refundsTotal, comment, sum.refunds, sum.refunded)); err != nil {
			return err
		}
	}
	return p.agree(summary, &left, bill.Day, sum)
}

// issued finds when the platform made a bill: the instant at the end of its
// rows. A file that cannot be read has none; ParseBill says why.
func issued(body []byte) (at time.Time) {
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return at
	}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			return time.Time{}
		}
		lines := bufio.NewScanner(io.LimitReader(simplifiedchinese.GBK.NewDecoder().Reader(r), wire.UnfoldLimit))
		for lines.Scan() {
			m := exportLine.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			if t, err := time.ParseInLocation("2006年01月02日 15:04:05", m[1], beijing); err == nil && t.After(at) {
				at = t.UTC()
			}
		}
		_ = r.Close() // what was read of it is all that is wanted
	}
	return at
}

// unpack finds the two files by their first line: their names are GBK without
// a mark that says so, and are not needed.
func unpack(body []byte) (detail, summary *zip.File, err error) {
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, nil, fmt.Errorf("alipay: the bill is not a zip file: %w", err)
	}
	for _, f := range archive.File {
		title, err := firstLine(f)
		switch {
		case err != nil:
			return nil, nil, err
		case strings.HasPrefix(title, detailTitle) && detail == nil:
			detail = f
		case strings.HasPrefix(title, summaryTitle) && summary == nil:
			summary = f
		default:
			return nil, nil, errors.New("alipay: the bill has a file that is neither its rows nor its summary, or one of them twice")
		}
	}
	if detail == nil || summary == nil {
		return nil, nil, errors.New("alipay: the bill lacks its rows or its summary")
	}
	return detail, summary, nil
}

// firstLine gives the beginning of a file of the zip.
func firstLine(f *zip.File) (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", fmt.Errorf("alipay: the bill's zip is damaged: %w", err)
	}
	defer func() { _ = r.Close() }() // it is opened again
	head, err := io.ReadAll(simplifiedchinese.GBK.NewDecoder().Reader(io.LimitReader(r, 2*int64(len(detailTitle)))))
	if err != nil && !errors.Is(err, zip.ErrChecksum) {
		return "", fmt.Errorf("alipay: the bill's zip is damaged: %w", err)
	}
	return string(head), nil
}

// A bounded reader reads at most left bytes, so that a small zip cannot unfold
// into endless work.
type bounded struct {
	r    io.Reader
	left *int64
}

func (b bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, wire.ErrTooLarge
	}
	return n, err
}

// commentMost bounds how much of a comment line is looked at.
const commentMost = 4 << 10

// totalsMost bounds the lines of totals; a file has two.
const totalsMost = 16

// comments look at the lines of a file that begin with #, as it is read.
type comments struct {
	end          string // a word of the last one
	line         []byte // the one that is under way, as far as it is looked at
	other        bool   // it is no comment
	rows         bool   // a line was seen that is none
	account, day string // as the head names them
	totals       []string
	crowded      bool // with more of them than are looked at
	ended        bool
}

// Write implements [io.Writer].
func (c *comments) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part, rest, whole := bytes.Cut(p, []byte{'\n'})
		if len(c.line) == 0 && len(part) > 0 && part[0] != '#' {
			c.other = true
		}
		if !c.other {
			c.line = append(c.line, part[:min(len(part), commentMost-min(len(c.line), commentMost))]...)
		}
		if whole {
			c.over()
		}
		p = rest
	}
	return n, nil
}

// over takes the line that is over.
func (c *comments) over() {
	text := string(c.line)
	if c.other {
		c.rows = true
	}
	c.line, c.other = c.line[:0], false
	if !strings.HasPrefix(text, "#") {
		return
	}
	if m := accountLine.FindStringSubmatch(text); m != nil && !c.rows {
		c.account += " " + m[1]
	}
	if m := periodLine.FindStringSubmatch(text); m != nil && !c.rows {
		c.day += " " + m[1] + "-" + m[2] + "-" + m[3]
	}
	if paymentsTotal.MatchString(text) || refundsTotal.MatchString(text) {
		if c.crowded = len(c.totals) == totalsMost; !c.crowded {
			c.totals = append(c.totals, text)
		}
	}
	c.ended = c.ended || strings.Contains(text, c.end)
}

// belongs checks the account and the day that the head of a file named, and that it
// was whole.
func (c *comments) belongs(account string, day citygate.Date) error {
	switch {
	case c.crowded:
		return errors.New("alipay: the bill says again and again what its rows add up to")
	case !c.ended:
		return errors.New("alipay: the bill stops before its end line")
	case c.account == "" || c.day == "":
		return errors.New("alipay: the bill names no account or no day")
	case c.account != " "+account:
		return fmt.Errorf("alipay: the bill is of account%s, not %s", clip(c.account), account)
	case c.day != " "+day.String():
		return fmt.Errorf("alipay: the bill is of%s, not %s", clip(c.day), day)
	}
	return nil
}

// table visits the rows between a file's comment lines, with the columns by
// name and the number of the line. The record is the visitor's for one call.
// The head must be of this account and day, and the end line must be there, or the
// file may have been cut short: that is known when all of it was visited.
func (p *Provider) table(f *zip.File, left *int64, end string, day citygate.Date, names []string,
	visit func(columns map[string]int, record []string, line int) error) (*comments, error) {
	file, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("alipay: the bill's zip is damaged: %w", err)
	}
	defer func() { _ = file.Close() }() // read to the end; the checksum was checked there
	head := &comments{end: end}
	r := csv.NewReader(io.TeeReader(simplifiedchinese.GBK.NewDecoder().Reader(bounded{file, left}), head))
	r.Comment = '#'
	r.LazyQuotes = true // the platform does not quote, so a quotation mark is a character
	r.ReuseRecord = true
	var columns map[string]int
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			head.over()
			return head, errors.Join(need(columns, names), head.belongs(p.account(), day))
		}
		if err != nil {
			return nil, fmt.Errorf("alipay: the bill's table: %w", err)
		}
		for i := range record {
			record[i] = strings.TrimSpace(record[i]) // cells are padded with a TAB
		}
		if columns == nil {
			columns = make(map[string]int, len(record))
			for i, name := range record {
				columns[strings.Clone(name)] = i
			}
			if err := need(columns, names); err != nil {
				return nil, err
			}
			continue
		}
		line, _ := r.FieldPos(0)
		if err := visit(columns, record, line); err != nil {
			return nil, fmt.Errorf("alipay: the bill's line %d: %w", line, err)
		}
	}
}

// need checks that the columns exist; the platform has added columns before,
// so they are found by name.
func need(columns map[string]int, names []string) error {
	for _, name := range names {
		if _, ok := columns[name]; !ok {
			return fmt.Errorf("alipay: the bill has no column %s", name)
		}
	}
	return nil
}

func row(columns map[string]int, record []string) (driver.BillLine, error) {
	cell := func(name string) string { return record[columns[name]] }
	line := driver.BillLine{OurID: strings.Clone(cell(colOrderNo)), ProviderRef: strings.Clone(cell(colTradeNo))}
	amount, err := fen(cell(colReceived))
	if err != nil {
		return line, err
	}
	fee, err := fen(cell(colFee))
	if err != nil {
		return line, err
	}
	at, err := time.ParseInLocation(stamp, cell(colFinished), beijing)
	if err != nil {
		return line, fmt.Errorf("finished at %q: want a time", clip(cell(colFinished)))
	}
	line.Amount, line.Fee, line.At = citygate.Money{Minor: amount, Currency: cny}, -fee, at.UTC()
	switch kind := cell(colKind); kind {
	case kindPayment:
		if amount < 0 {
			return line, errors.New("a payment of less than nothing")
		}
	case kindRefund:
		line.Refund, line.RefundID = true, strings.Clone(cell(colRefundNo))
		if amount > 0 || line.RefundID == "" {
			return line, errors.New("a refund that is positive or has no number")
		}
	default:
		return line, fmt.Errorf("a row of kind %q", clip(kind))
	}
	if line.OurID == "" {
		return line, errors.New("a row without an order number")
	}
	return line, nil
}

func (t *totals) count(line driver.BillLine) (err error) {
	if line.Refund {
		t.refunds++
		t.refunded, err = add(t.refunded, line.Amount.Minor)
	} else {
		t.payments++
		t.paid, err = add(t.paid, line.Amount.Minor)
	}
	if err != nil {
		return err
	}
	t.fees, err = add(t.fees, -line.Fee)
	return err
}

// agree compares the rows with what the bill's summary says they add up to.
func (p *Provider) agree(summary *zip.File, left *int64, day citygate.Date, sum totals) error {
	found := false
	names := []string{colStore, colPayments, colRefunds, colReceived, colFee, colShare, colNet}
	_, err := p.table(summary, left, summaryEnd, day, names, func(columns map[string]int, record []string, _ int) error {
		if record[columns[colStore]] != totalRow {
			return nil
		}
		found = true
		return sum.equal(columns, record)
	})
	if err == nil && !found {
		err = errors.New("alipay: the bill's summary has no row of totals")
	}
	return err
}

func declared(form *regexp.Regexp, line string, count, amount int64) error {
	m := form.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	said, err := fen(m[2])
	if err != nil {
		return err
	}
	if m[1] != fmt.Sprint(count) || said != amount {
		return fmt.Errorf("alipay: the bill has %d rows of %s yuan and says %s of %s", count, yuan(amount), clip(m[1]), yuan(said))
	}
	return nil
}

func (t totals) equal(columns map[string]int, record []string) error {
	cell := func(name string) string { return record[columns[name]] }
	received, err := add(t.paid, t.refunded)
	if err != nil {
		return err
	}
	if cell(colPayments) != fmt.Sprint(t.payments) || cell(colRefunds) != fmt.Sprint(t.refunds) {
		return fmt.Errorf("alipay: the bill has %d payments and %d refunds and its summary other numbers", t.payments, t.refunds)
	}
	share, err := fen(cell(colShare))
	if err != nil {
		return err
	}
	net, err := add(received, t.fees)
	if err == nil {
		net, err = add(net, share)
	}
	if err != nil {
		return err
	}
	for name, want := range map[string]int64{colReceived: received, colFee: t.fees, colNet: net} {
		got, err := fen(cell(name))
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("alipay: the bill's rows give %s yuan of %s and its summary %s", yuan(want), name, yuan(got))
		}
	}
	return nil
}
