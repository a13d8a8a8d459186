package alipayplus

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	bojanz "github.com/bojanz/currency"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// endLine is the last line of a file that is complete.
const endLine = "<END>"

// The columns of the files that are read.
const (
	colID         = "transactionId"
	colRequestID  = "transactionRequestId"
	colReference  = "referenceTransactionId" // of a fee: the transaction it is for
	colOriginal   = "originalTransactionRequestId"
	colOriginalID = "originalTransactionId"
	colType       = "transactionType"
	colAmount     = "transactionAmountValue"
	colCurrency   = "transactionCurrency"
	colSettled    = "settlementAmountValue"
	colSettledIn  = "settlementCurrency"
	colPair       = "quoteCurrencyPair"
	colPrice      = "quotePrice"
	colCompleted  = "transactionCompletionTime"
)

var (
	errIncomplete = errors.New("alipayplus: the file is incomplete: its last line is not " + endLine)
	errSums       = errors.New("alipayplus: the file does not add up")
)

// ended reports whether a file's last line is the one that says so.
func ended(text []byte) bool {
	text = bytes.TrimRight(text, "\r\n")
	i := bytes.LastIndexByte(text, '\n')
	return string(bytes.TrimRight(text[i+1:], "\r")) == endLine
}

// A row is a line of a file.
type row struct {
	line    int
	section int // of the file, from 0: a header and what stands under it
	names   map[string]int
	cells   []string
}

// get gives the cell under a column's name, "" if there is no such column.
func (r row) get(name string) string {
	i, ok := r.names[name]
	if !ok {
		return ""
	}
	return strings.TrimSpace(r.cells[i])
}

// walk reads a file of one or more parts, each a header, its rows and the end
// line; between two sections of a part stands an empty line. Cells hold no line
// breaks here: a line of the file is a line. It gives the number of sections.
func walk(text []byte, each func(row) error) (sections int, err error) {
	if !ended(text) {
		return 0, errIncomplete
	}
	text = bytes.TrimRight(bytes.TrimPrefix(text, []byte("\ufeff")), "\r\n")
	var names map[string]int
	number := 0
	for raw := range bytes.SplitSeq(text, []byte("\n")) {
		number++
		line := string(bytes.TrimSuffix(raw, []byte("\r")))
		if line == endLine || line == "" {
			names = nil
			continue
		}
		cells, err := cellsOf(line)
		if err != nil {
			return 0, fmt.Errorf("alipayplus: line %d is not CSV", number)
		}
		if names == nil {
			if names, err = headerOf(cells); err != nil {
				return 0, fmt.Errorf("alipayplus: line %d: %w", number, err)
			}
			sections++
			continue
		}
		if len(cells) != len(names) {
			return 0, fmt.Errorf("alipayplus: line %d has %d columns; want %d", number, len(cells), len(names))
		}
		if err := each(row{number, sections - 1, names, cells}); err != nil {
			return 0, err
		}
	}
	if sections == 0 {
		return 0, errors.New("alipayplus: the file has no header")
	}
	return sections, nil
}

func cellsOf(line string) ([]string, error) {
	if !strings.Contains(line, `"`) {
		return strings.Split(line, ","), nil
	}
	return csv.NewReader(strings.NewReader(line)).Read()
}

func headerOf(cells []string) (map[string]int, error) {
	names := make(map[string]int, len(cells))
	for i, name := range cells {
		name = strings.TrimSpace(name)
		if _, twice := names[name]; twice || name == "" {
			return nil, fmt.Errorf("the header has %.40q twice or a column without a name", name)
		}
		names[name] = i
	}
	return names, nil
}

// money reads a signed amount in the smallest unit.
func (r row) money(value, currency string) (citygate.Money, error) {
	n, err := strconv.ParseInt(r.get(value), 10, 64)
	m := citygate.Money{Minor: n, Currency: citygate.Currency(r.get(currency))}
	if err != nil || n == -1<<63 || !m.Currency.Valid() {
		return citygate.Money{}, fmt.Errorf("alipayplus: line %d: %s is no amount", r.line, value)
	}
	return m, nil
}

// converted checks a settled amount against its amount and rate: it is never
// recomputed, and must be at most one minor unit away.
func (r row) converted(m, settled citygate.Money) (driver.Rate, error) {
	rate := driver.Rate{Pair: r.get(colPair), Price: r.get(colPrice)}
	if rate == (driver.Rate{}) {
		if m.Currency != settled.Currency {
			return rate, fmt.Errorf("%w: line %d is settled in %s and names no rate", errSums, r.line, settled.Currency)
		}
		return rate, nil
	}
	from, ok1 := bojanz.GetDigits(string(m.Currency))
	to, ok2 := bojanz.GetDigits(string(settled.Currency))
	var off int64
	var err error
	switch {
	case !ok1 || !ok2:
		return rate, fmt.Errorf("alipayplus: line %d: a currency without a smallest unit", r.line)
	case rate.Pair == string(m.Currency)+"/"+string(settled.Currency):
		off, err = driver.Convert(m.Minor, rate.Price, int(from), int(to))
		off -= settled.Minor
	case rate.Pair == string(settled.Currency)+"/"+string(m.Currency):
		// The other way round: a unit of what is settled is a step of so many of the other.
		var back, step int64
		if back, err = driver.Convert(settled.Minor, rate.Price, int(to), int(from)); err == nil {
			step, err = driver.Convert(1, rate.Price, int(to), int(from))
		}
		if off = back - m.Minor; off <= step+1 && off >= -step-1 {
			off = 0
		}
	default:
		return rate, fmt.Errorf("%w: line %d names a rate of %.10q", errSums, r.line, rate.Pair)
	}
	if err != nil || off > 1 || off < -1 {
		return rate, fmt.Errorf("%w: line %d settles %s for %s at %.40s", errSums, r.line, settled, m, rate.Price)
	}
	return rate, nil
}

func (r row) isFee() bool { return strings.HasSuffix(r.get(colType), "_FEE") }

// takesBack are types that take money from the merchant, under a number of their
// own, for a payment that was made.
var takesBack = map[string]bool{"REFUND": true, "CANCEL": true, "VOID": true, "PAYMENT_REVERSAL": true, "DISPUTE": true}

// ParseBill implements [driver.Biller]: all that ReadBill visits.
func (p *Provider) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	return driver.BillLines(p.ReadBill, bill)
}

// ReadBill implements [driver.BillReader]. A line is in the fares' currency: what was
// charged if that is in it, and what is settled if the payer paid in another. Rows
// that are of no payment of ours (a refund that was reversed, a reserve) stand
// under their own number, so that nothing is passed over. A fee may stand anywhere
// in the file, so it is read twice: for the fees, and for what they are of.
func (p *Provider) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	if bill.Currency != p.config.Currency {
		return fmt.Errorf("%w: this contract is in %s, not %s", driver.ErrCurrencyUnsupported, p.config.Currency, bill.Currency)
	}
	charged, err := p.fees(bill.Body)
	if err != nil {
		return err
	}
	seen := make(map[driver.Mark]bool)
	if _, err := walk(bill.Body, func(r row) error {
		if r.isFee() && r.get(colReference) != "" {
			return nil
		}
		line, err := p.line(r)
		if err != nil {
			return err
		}
		id := r.get(colID)
		of := driver.MarkOf(id)
		if seen[of] || id == "" {
			return fmt.Errorf("alipayplus: line %d: a transaction without a number, or twice", r.line)
		}
		seen[of] = true
		line.Fee += charged[of]
		delete(charged, of)
		return visit(line)
	}); err != nil {
		return err
	}
	if len(charged) > 0 {
		return fmt.Errorf("%w: %d fees are of transactions that are not in the file", errSums, len(charged))
	}
	return nil
}

// fees gives what the fee rows of a file take from the merchant, by transaction.
func (p *Provider) fees(text []byte) (map[driver.Mark]int64, error) {
	charged := make(map[driver.Mark]int64)
	_, err := walk(text, func(r row) error {
		if !r.isFee() || r.get(colReference) == "" {
			return nil
		}
		fee, _, err := p.own(r)
		if err != nil {
			return err
		}
		of := driver.MarkOf(r.get(colReference))
		sum, err := citygate.Money{Minor: charged[of], Currency: fee.Currency}.Sub(fee) // a fee row takes from the merchant
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", errSums, r.line, err)
		}
		charged[of] = sum.Minor
		return nil
	})
	return charged, err
}

// own gives a row's amount in the fares' currency, and its exchange.
func (p *Provider) own(r row) (citygate.Money, driver.Exchange, error) {
	m, err1 := r.money(colAmount, colCurrency)
	settled, err2 := r.money(colSettled, colSettledIn)
	if err := errors.Join(err1, err2); err != nil {
		return citygate.Money{}, driver.Exchange{}, err
	}
	rate, err := r.converted(m, settled)
	if err != nil {
		return citygate.Money{}, driver.Exchange{}, err
	}
	e := driver.Exchange{Paid: m, Settled: settled, SettleRate: rate}
	switch p.config.Currency {
	case m.Currency:
		return m, domestic(e, m), nil
	case settled.Currency:
		return settled, e, nil
	}
	return citygate.Money{}, driver.Exchange{}, fmt.Errorf("%w: line %d is in %s and %s", driver.ErrCurrencyUnsupported, r.line, m.Currency, settled.Currency)
}

func (p *Provider) line(r row) (driver.BillLine, error) {
	m, e, err := p.own(r)
	if err != nil {
		return driver.BillLine{}, err
	}
	at, err := time.Parse(time.RFC3339, r.get(colCompleted))
	if err != nil {
		return driver.BillLine{}, fmt.Errorf("alipayplus: line %d: %s is no time", r.line, colCompleted)
	}
	line := driver.BillLine{Line: r.line, OurID: r.get(colRequestID), ProviderRef: clip(r.get(colID)), Amount: m, At: at.UTC(), Exchange: e}
	kind := r.get(colType)
	switch {
	case kind == "":
		return line, fmt.Errorf("alipayplus: line %d has no type", r.line)
	case kind == "PAYMENT" || kind == "CAPTURE":
		if m.Minor <= 0 || line.OurID == "" {
			return line, fmt.Errorf("alipayplus: line %d: a payment of %s without a number or an amount", r.line, m)
		}
	case takesBack[kind]:
		line.Refund, line.RefundID, line.OurID = true, line.OurID, r.get(colOriginal)
		line.Reversed = kind == "DISPUTE" || kind == "PAYMENT_REVERSAL" // nobody here asked for it
		if m.Minor > 0 {                                                // some files write what goes back without a sign
			line.Amount, line.Exchange = m.Neg(), negated(e)
		}
		if line.RefundID == "" || line.OurID == "" || m.Minor == 0 {
			return line, fmt.Errorf("alipayplus: line %d: %s without a number or an amount", r.line, kind)
		}
	case kind == "DISPUTE_REVERSAL" && m.Minor > 0 && line.OurID != "" && r.get(colOriginal) != "":
		line.Refund, line.Reversed, line.RefundID, line.OurID = true, true, line.OurID, r.get(colOriginal) // what a dispute took came back
	default:
		if line.OurID == "" {
			line.OurID = kind + "_" + line.ProviderRef
		}
	}
	return line, nil
}

func negated(e driver.Exchange) driver.Exchange {
	e.Paid, e.Settled = e.Paid.Neg(), e.Settled.Neg()
	return e
}

// A Settlement is what the platform pays out in one go.
type Settlement struct {
	Batch     string
	ValueDate citygate.Date
	Items     []SettlementItem
	Amount    citygate.Money // of all items but fees
	Fees      citygate.Money // positive = charged
	Net       citygate.Money // what is paid out
}

// A SettlementItem is one of its rows.
type SettlementItem struct {
	Line        int
	Type        string
	RequestID   string
	ID          string
	Reference   string
	Transaction citygate.Money
	Settled     citygate.Money
	Rate        driver.Rate
}

// The columns of a settlement's summary.
const (
	colBatch     = "settlementBatchId"
	colValueDate = "valueDate"
	colCount     = "transactionCount"
	colGross     = "grossSettlementAmountValue"
	colFees      = "feeAmountValue"
	colNet       = "netSettlementAmountValue"
)

// ParseSettlement reads a settlement file. Each item must be within one minor unit
// of its amount at its rate, and the items must add up to the summary exactly.
func ParseSettlement(text []byte) (Settlement, error) {
	var s Settlement
	var gross, fees, net, sum, charged citygate.Money
	count := -1
	sections, err := walk(text, func(r row) (err error) {
		if r.section == 0 {
			if count >= 0 {
				return errors.New("alipayplus: a settlement has one summary")
			}
			count, err = summary(r, &s)
			gross, fees, net = s.Amount, s.Fees, s.Net
			sum.Currency, charged.Currency = net.Currency, net.Currency
			return err
		}
		item, err := itemOf(r)
		if err != nil {
			return err
		}
		if r.isFee() {
			charged, err = charged.Sub(item.Settled)
		} else {
			sum, err = sum.Add(item.Settled)
		}
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", errSums, r.line, err)
		}
		s.Items = append(s.Items, item)
		return nil
	})
	if err != nil {
		return Settlement{}, err
	}
	if sections < 2 || count < 0 {
		return Settlement{}, errors.New("alipayplus: a settlement has a summary and items")
	}
	paidOut, err := sum.Sub(charged)
	if err != nil || sum != gross || charged != fees || paidOut != net || len(s.Items) != count {
		return Settlement{}, fmt.Errorf("%w: %d items are %s less fees of %s; the summary says %d, %s, %s and %s", errSums, len(s.Items), sum, charged, count, gross, fees, net)
	}
	return s, nil
}

func summary(r row, s *Settlement) (count int, err error) {
	var err1, err2, err3, err5 error
	s.Batch = r.get(colBatch)
	s.Amount, err1 = r.money(colGross, colSettledIn)
	s.Fees, err2 = r.money(colFees, colSettledIn)
	s.Net, err3 = r.money(colNet, colSettledIn)
	day, err4 := time.Parse("20060102", r.get(colValueDate))
	s.ValueDate = citygate.DateOf(day)
	count, err5 = strconv.Atoi(r.get(colCount))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return 0, fmt.Errorf("alipayplus: the summary: %w", err)
	}
	return count, nil
}

func itemOf(r row) (SettlementItem, error) {
	m, err1 := r.money(colAmount, colCurrency)
	settled, err2 := r.money(colSettled, colSettledIn)
	if err := errors.Join(err1, err2); err != nil {
		return SettlementItem{}, err
	}
	rate, err := r.converted(m, settled)
	return SettlementItem{
		Line: r.line, Type: r.get(colType), RequestID: r.get(colRequestID), ID: r.get(colID), Reference: r.get(colReference),
		Transaction: m, Settled: settled, Rate: rate,
	}, err
}
