package unionpay

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	disputesMark  = "ZME_"
	originsFolder = "origins/" // in a bill's zip: rows of other days' files, by day

	originDays  = 60 // other days of which one bill's disputes are looked up
	originDepth = 8  // disputes of disputes before the payment
	originWait  = 3  // days for which a bill waits for other days' files
)

// disputeWidths are the bytes of the columns of a ZME file, one space between two.
var disputeWidths = []int{3, 11, 11, 6, 10, 19, 12, 4, 2, 2, 6, 10, 4, 12, 13, 13, 15, 15, 1, 12, 2, 135}

// Columns of it that are read, from 0. Trace, time and amount stand where they do in a
// ZM row.
const (
	colCode         = 0  // such as E23
	colSender       = 2  // who sent the dispute
	colLastTrace    = 10 // n6: of the transaction that it is of
	colLastTime     = 11 // MMDDhhmmss
	colLastDay      = 12 // MMDD: in whose file that is
	colLastAmount   = 13 // n12
	colDisputeFee   = 14 // X+n12
	colDisputePaid  = 15 // X+n12
	colDisputeOwner = 17 // merId
)

// disputeCodes are the transaction codes by which banks take a payment back and
// merchants get it again, as they are known from public programs of acquirers; the file
// specification itself is not public. E23 is a chargeback (退单), E24 its second
// presentment (再请款), E25 a second chargeback (二次退单).
var disputeCodes = []string{"E23", "E24", "E25"}

// A transaction is what a dispute says of the one it is of; the ZM row of a payment has
// the same in columns of its own.
type transaction struct{ trace, time, amount string }

// A dispute is one row of a ZME file.
type dispute struct {
	line driver.BillLine // without the number of the payment
	self transaction
	of   transaction
	day  citygate.Date // the file that has of; zero: it does not say
	stem string        // the beginning of the queryId of what it is of
}

// disputes reads the rows of a ZME file; nil has none.
func (p *Provider) disputes(f *zip.File, day citygate.Date) ([]dispute, error) {
	if f == nil {
		return nil, nil
	}
	var all []dispute
	seen := make(map[string]bool)
	err := each(f, func(no int, raw []byte) error {
		d, err := p.dispute(raw, day)
		if err != nil {
			return err
		}
		if seen[d.line.ProviderRef] {
			return fmt.Errorf("the dispute %s a second time", d.line.ProviderRef)
		}
		seen[d.line.ProviderRef], d.line.Line = true, no
		all = append(all, d)
		return nil
	})
	return all, err
}

// dispute reads one row. What is settled says whether money was taken from the merchant
// or came to him.
func (p *Provider) dispute(raw []byte, day citygate.Date) (d dispute, err error) {
	text, err := simplifiedchinese.GBK.NewDecoder().Bytes(raw)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return d, errors.New("it is not in GBK")
	}
	c, err := cells(raw, disputeWidths)
	if err != nil {
		return d, err
	}
	amount, err1 := number(c[colAmount], "")
	fee, err2 := number(signed(c[colDisputeFee]))
	settled, err3 := number(signed(c[colDisputePaid]))
	if err := errors.Join(err1, err2, err3); err != nil {
		return d, err
	}
	at, err := p.past(c[colTime], day)
	if err != nil {
		return d, err
	}
	if settled < fee {
		amount = -amount
	}
	switch {
	case len(c[colCode]) != 3 || !alnum(c[colCode]):
		return d, fmt.Errorf("of code %.3q", c[colCode])
	case len(c[colTrace]) != 6 || strings.Trim(c[colTrace], "0123456789") != "":
		return d, fmt.Errorf("with the trace number %.6q", c[colTrace])
	case c[colDisputeOwner] != p.config.MerID:
		return d, fmt.Errorf("of merchant %.16q", c[colDisputeOwner])
	case settled != amount+fee:
		return d, errors.New("what is settled is not the amount less the fee")
	}
	ref := c[colCode] + "-" + stamp(at) + c[colTrace] + "-" + c[colSender]
	d = dispute{
		line: driver.BillLine{ProviderRef: ref, Amount: citygate.Money{Minor: amount, Currency: cny}, Fee: -fee, At: at},
		self: transaction{c[colTrace], c[colTime], c[colAmount]}, of: transaction{c[colLastTrace], c[colLastTime], c[colLastAmount]},
	}
	switch was, err := p.past(c[colLastTime], day); {
	case err == nil && len(c[colLastTrace]) == 6 && alnum(c[colLastTrace]):
		d.stem = stamp(was) + c[colLastTrace]
		d.day = clearing(c[colLastDay], day)
	default:
		d.stem = ref // it is of nothing that could be found
	}
	switch {
	case slices.Contains(p.config.DisputeCodes, c[colCode]) && amount != 0:
		d.line.Refund, d.line.Reversed, d.line.RefundID = true, true, ref
	case amount < 0:
		d.line.Refund, d.line.RefundID = true, ref
	default:
		d.line.OurID = ref
	}
	return d, nil
}

// past reads MMDDhhmmss as the last such time that is not behind a day of UnionPay.
func (p *Provider) past(text string, day citygate.Date) (time.Time, error) {
	for year := day.Year; year >= day.Year-leapYears; year-- {
		at, err := time.ParseInLocation(stampForm, fmt.Sprintf("%04d", year)+text, beijing)
		if err == nil && p.BillDay(at).Compare(day) <= 0 {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("at %.10q, which is no time", text)
}

// leapYears are how far back a 29 February may be.
const leapYears = 8

// clearing reads MMDD as the last such day up to a day; zero if there is none.
func clearing(text string, day citygate.Date) citygate.Date {
	for year := day.Year; year >= day.Year-leapYears; year-- {
		if at, err := time.Parse("20060102", fmt.Sprintf("%04d", year)+text); err == nil && citygate.DateOf(at).Compare(day) <= 0 {
			return citygate.DateOf(at)
		}
	}
	return citygate.Date{}
}

// Origins say which payments the transactions are that disputes name.
type origins struct {
	wanted map[transaction]bool
	orders map[transaction]string      // orderId; "": two transactions have this trace, time and amount
	of     map[transaction]transaction // of disputes, what they are of
}

// originsOf reads what an archive has of other days, for disputes. The trades of its own
// day are told to it as they are read.
func originsOf(a *archive, disputes []dispute) (*origins, error) {
	o := &origins{map[transaction]bool{}, map[transaction]string{}, map[transaction]transaction{}}
	for i := range disputes {
		o.dispute(&disputes[i])
	}
	for _, f := range a.origins {
		err := each(f, func(_ int, raw []byte) error {
			if strings.Contains(path.Base(f.Name), disputesMark) {
				c, err := cells(raw, disputeWidths)
				if err == nil {
					o.link(transaction{c[colTrace], c[colTime], c[colAmount]}, transaction{c[colLastTrace], c[colLastTime], c[colLastAmount]})
				}
				return err
			}
			c, err := cells(raw, widths)
			if err == nil {
				o.order(c)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *origins) dispute(d *dispute) {
	o.wanted[d.of] = true
	o.link(d.self, d.of)
}

func (o *origins) link(self, of transaction) {
	o.wanted[of] = true
	o.of[self] = of
}

// trade notes a ZM row if a dispute wants it.
func (o *origins) trade(raw []byte) {
	if len(o.wanted) == 0 {
		return
	}
	if c, err := cells(raw, widths); err == nil && o.wanted[tradeOf(c)] {
		o.order(c)
	}
}

func tradeOf(c []string) transaction { return transaction{c[colTrace], c[colTime], c[colAmount]} }

func (o *origins) order(c []string) {
	if c[colKind] != typeConsume {
		return
	}
	t, order := tradeOf(c), c[colOrder]
	if was, again := o.orders[t]; again && was != order {
		order = ""
	}
	o.orders[t] = order
}

// payment gives the number of the payment that a dispute is of, at the end of a chain of
// disputes perhaps; "" if the files do not say.
func (o *origins) payment(t transaction) string {
	for range originDepth {
		if order, ok := o.orders[t]; ok {
			return order
		}
		of, ok := o.of[t]
		if !ok {
			return ""
		}
		t = of
	}
	return ""
}

// disputed gives a dispute's line. One whose payment the files do not say stands under
// the beginning of that payment's queryId, by which a person finds it.
func (p *Provider) disputed(d *dispute, named *origins) driver.BillLine {
	line := d.line
	if line.OurID == "" {
		line.OurID = cmp.Or(named.payment(d.of), d.stem)
	}
	return line
}

// withOrigins adds to a day's zip the rows of other days' files that its disputes are
// of: a dispute names a payment by trace number, time, amount and clearing day only,
// never by our number, and reading a bill asks nobody. The rows are as they came; the
// same files give the same zip. Nothing is added where there are no disputes, nor to
// what cannot be read, which ReadBill refuses. Days whose file UnionPay has no more are
// left out, and so are those whose file it still does not give days later, in whatever
// words: the bills of its later days wait for this one.
func (p *Provider) withOrigins(ctx context.Context, day citygate.Date, body []byte) ([]byte, error) {
	a, err := unpack(body)
	if err != nil || len(a.origins) > 0 {
		return body, nil //nolint:nilerr // it is kept as it came
	}
	disputes, err := p.disputes(a.disputes, day)
	if err != nil || len(disputes) == 0 {
		return body, nil //nolint:nilerr // it is kept as it came
	}
	found := make(map[string][]byte) // by name in the zip
	wanted := make(wants)
	wanted.add(disputes, day)
	for n := 0; len(wanted) > 0 && n < originDays; n++ {
		other := slices.MaxFunc(slices.Collect(maps.Keys(wanted)), citygate.Date.Compare)
		of := wanted[other]
		delete(wanted, other)
		more, err := p.rowsOf(ctx, other, of, found)
		if err != nil && (p.waits(day) || stopped(ctx)) {
			return nil, err
		}
		wanted.add(more, other)
	}
	if len(found) == 0 {
		return body, nil
	}
	return repack(body, found)
}

// waits reports whether a day's bill is so fresh that it waits for other days' files.
func (p *Provider) waits(day citygate.Date) bool {
	return p.BillDay(p.config.Clock()).Compare(day.AddDays(originWait)) <= 0
}

// stopped reports whether whoever asks has gone: what was not heard is no answer then.
func stopped(ctx context.Context) bool { return errors.Is(context.Cause(ctx), context.Canceled) }

// Wants are the transactions that are looked for, by the day whose file has them. What a
// dispute is of is never later than itself: the latest day first, each is asked for once.
type wants map[citygate.Date]map[transaction]bool

// add wants what disputes of a day's file are of, where that is of a day before.
func (w wants) add(disputes []dispute, day citygate.Date) {
	for i := range disputes {
		d := &disputes[i]
		if d.day == (citygate.Date{}) || d.day.Compare(day) >= 0 {
			continue
		}
		if w[d.day] == nil {
			w[d.day] = make(map[transaction]bool)
		}
		w[d.day][d.of] = true
	}
}

// rowsOf puts the wanted rows of a day's file into found, and gives those of them that
// are disputes themselves. A file that is gone, or whose rows cannot be read, says nothing.
func (p *Provider) rowsOf(ctx context.Context, day citygate.Date, wanted map[transaction]bool, found map[string][]byte) ([]dispute, error) {
	_, body, err := p.file(ctx, day)
	if errors.Is(err, driver.ErrBillNotReady) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, more, err := p.pick(body, day, wanted)
	if err != nil {
		return nil, nil //nolint:nilerr // what it would name stands unnamed
	}
	maps.Copy(found, rows)
	return more, nil
}

// pick gives the wanted rows of a day's zip by the names they get in a bill's, and those
// that are disputes.
func (p *Provider) pick(body []byte, day citygate.Date, wanted map[transaction]bool) (rows map[string][]byte, more []dispute, err error) {
	a, err := unpack(body)
	if err != nil {
		return nil, nil, err
	}
	all, err := p.disputes(a.disputes, day)
	if err != nil {
		return nil, nil, err
	}
	for range originDepth { // disputes of one day may be of one another
		for i := range all {
			if d := &all[i]; wanted[d.self] && d.day == day {
				wanted[d.of] = true
			}
		}
	}
	for i := range all {
		if wanted[all[i].self] {
			more = append(more, all[i])
		}
	}
	rows = make(map[string][]byte)
	for _, f := range []*zip.File{a.trades, a.disputes} {
		if f == nil {
			continue
		}
		layout := widths
		if f == a.disputes {
			layout = disputeWidths
		}
		name := originsFolder + day.Time().Format("20060102") + "/" + path.Base(f.Name)
		err := each(f, func(_ int, raw []byte) error {
			c, err := cells(raw, layout)
			if err == nil && wanted[tradeOf(c)] {
				rows[name] = append(append(rows[name], raw...), "\r\n"...)
			}
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return rows, more, nil
}

// repack gives a zip with more files behind its own.
func repack(body []byte, more map[string][]byte) ([]byte, error) {
	r, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, errors.New("unionpay: the file is not a zip")
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range r.File {
		if err := z.Copy(f); err != nil {
			return nil, errors.New("unionpay: the zip is damaged")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.Copy(w, bytes.NewReader(more[name]))
		}
		if err != nil {
			return nil, fmt.Errorf("unionpay: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("unionpay: %w", err)
	}
	return out.Bytes(), nil
}
