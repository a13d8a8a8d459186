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

// ParseBill implements [driver.Biller]. A bill is a zip of two GBK files, the
// rows and their summary. The rows must add up to the totals at the end of
// their own file, where it has them, and to the summary, which must be there;
// the summary's sums are over payments and refunds together. The account and
// the day must be the bill's. The amount of a row is what the merchant
// receives of it, before the fee.
func (p *Provider) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	if bill.Currency != cny {
		return nil, fmt.Errorf("%w: an alipay bill is in %s, not %s", driver.ErrCurrencyUnsupported, cny, bill.Currency)
	}
	detail, summary, err := unpack(bill.Body)
	if err != nil {
		return nil, err
	}
	for _, text := range []string{detail, summary} {
		if err := belongs(text, p.account(), bill.Day); err != nil {
			return nil, err
		}
	}
	lines, sum, err := rows(detail)
	if err != nil {
		return nil, err
	}
	if err := agree(detail, summary, sum); err != nil {
		return nil, err
	}
	return lines, nil
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
		lines := bufio.NewScanner(io.LimitReader(simplifiedchinese.GBK.NewDecoder().Reader(r), wire.BillLimit))
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
func unpack(body []byte) (detail, summary string, err error) {
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return "", "", fmt.Errorf("alipay: the bill is not a zip file: %w", err)
	}
	left := wire.BillLimit
	for _, f := range archive.File {
		text, err := decode(f, &left)
		if err != nil {
			return "", "", err
		}
		switch {
		case strings.HasPrefix(text, detailTitle) && detail == "":
			detail = text
		case strings.HasPrefix(text, summaryTitle) && summary == "":
			summary = text
		default:
			return "", "", errors.New("alipay: the bill has a file that is neither its rows nor its summary, or one of them twice")
		}
	}
	if detail == "" || summary == "" {
		return "", "", errors.New("alipay: the bill lacks its rows or its summary")
	}
	return detail, summary, nil
}

// decode reads one file of the zip as GBK, at most left bytes in all, so that a
// small zip cannot unfold into a large memory.
func decode(f *zip.File, left *int64) (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", fmt.Errorf("alipay: the bill's zip is damaged: %w", err)
	}
	defer func() { _ = r.Close() }() // read to the end; the checksum was checked there
	raw, err := io.ReadAll(io.LimitReader(r, *left+1))
	if err != nil {
		return "", fmt.Errorf("alipay: the bill's zip is damaged: %w", err)
	}
	if *left -= int64(len(raw)); *left < 0 {
		return "", wire.ErrTooLarge
	}
	text, err := simplifiedchinese.GBK.NewDecoder().Bytes(raw)
	if err != nil {
		return "", fmt.Errorf("alipay: the bill is not GBK: %w", err)
	}
	return string(text), nil
}

// belongs checks the account and the day that the head of a file names.
func belongs(text, account string, day citygate.Date) error {
	var named, dated bool
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		if m := accountLine.FindStringSubmatch(line); m != nil {
			if m[1] != account {
				return fmt.Errorf("alipay: the bill is of account %s, not %s", clip(m[1]), account)
			}
			named = true
		}
		if m := periodLine.FindStringSubmatch(line); m != nil {
			if got := m[1] + "-" + m[2] + "-" + m[3]; got != day.String() {
				return fmt.Errorf("alipay: the bill is of %s, not %s", got, day)
			}
			dated = true
		}
	}
	if !named || !dated {
		return errors.New("alipay: the bill names no account or no day")
	}
	return nil
}

// table visits the rows between a file's comment lines, with the columns by
// name and the number of the line. The record is the visitor's for one call.
// The end line must be there, or the file may have been cut short.
func table(text, end string, names []string, visit func(columns map[string]int, record []string, line int) error) error {
	if !ended(text, end) {
		return errors.New("alipay: the bill stops before its end line")
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comment = '#'
	r.LazyQuotes = true // the platform does not quote, so a quotation mark is a character
	r.ReuseRecord = true
	var columns map[string]int
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return need(columns, names)
		}
		if err != nil {
			return fmt.Errorf("alipay: the bill's table: %w", err)
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
				return err
			}
			continue
		}
		line, _ := r.FieldPos(0)
		if err := visit(columns, record, line); err != nil {
			return fmt.Errorf("alipay: the bill's line %d: %w", line, err)
		}
	}
}

func ended(text, end string) bool {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") && strings.Contains(line, end) {
			return true
		}
	}
	return false
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

func rows(detail string) (lines []driver.BillLine, sum totals, err error) {
	names := []string{colTradeNo, colOrderNo, colKind, colFinished, colReceived, colRefundNo, colFee}
	err = table(detail, detailEnd, names, func(columns map[string]int, record []string, line int) error {
		l, err := row(columns, record)
		if err != nil {
			return err
		}
		l.Line = line
		lines = append(lines, l)
		return sum.count(l)
	})
	if err != nil {
		return nil, totals{}, err
	}
	return lines, sum, nil
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

// agree compares the rows with what the bill itself says they add up to.
func agree(detail, summary string, sum totals) error {
	for line := range strings.Lines(detail) {
		if err := declared(paymentsTotal, line, sum.payments, sum.paid); err != nil {
			return err
		}
		if err := declared(refundsTotal, line, sum.refunds, sum.refunded); err != nil {
			return err
		}
	}
	found := false
	names := []string{colStore, colPayments, colRefunds, colReceived, colFee, colShare, colNet}
	err := table(summary, summaryEnd, names, func(columns map[string]int, record []string, _ int) error {
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
