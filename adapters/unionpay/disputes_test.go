package unionpay_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
)

// said is a line without its times and references of its own.
func said(l driver.BillLine) string {
	kind := "payment"
	switch {
	case l.Reversed:
		kind = "reversed"
	case l.Refund:
		kind = "refund"
	}
	return fmt.Sprintf("%s %s %d fee %d", kind, l.OurID, l.Amount.Minor, l.Fee)
}

func (w *world) paid(t testing.TB, id string, minor int64) string {
	t.Helper()
	d := debit(id, minor)
	d.Attempted = w.now()
	if r, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil || r[0].Outcome != driver.Accepted {
		t.Fatal(r, err)
	}
	book := w.sim.Book()
	return book[len(book)-1].QueryID
}

func (w *world) dispute(t testing.TB, d unionpaysim.Dispute) {
	t.Helper()
	d.MerID = merID
	if _, err := w.sim.Dispute(d); err != nil {
		t.Fatal(err)
	}
}

// lines gives what the file of the clock's day says of disputes, a day later, and the bill.
func (w *world) lines(t testing.TB) ([]driver.BillLine, driver.Bill) {
	t.Helper()
	day := w.provider.BillDay(w.now())
	w.add(24 * time.Hour)
	bill, err := w.provider.FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.provider.ParseBill(bill)
	if err != nil {
		t.Fatal(err)
	}
	return all, bill
}

// What banks take back weeks later names a payment by trace, time, amount and day alone:
// its own day's file says which it was, also through the disputes that followed. What no
// code of the contract says, and what is of a payment whose file is gone, is listed.
func TestDisputesNameTheirPayments(t *testing.T) {
	w := newWorld(t, nil)
	w.paid(t, "order00001", 470)
	w.paid(t, "order00002", 300)
	w.set(start.AddDate(0, 0, 20))
	w.paid(t, "order00003", 200)
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001", Fee: 9, Reserve: "持卡人否认交易"})
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00002", Amount: 100})
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00003", Code: "E74"})
	first, bill := w.lines(t)
	w.set(start.AddDate(0, 0, 27))
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001", Code: "E24", Gives: true})
	second, _ := w.lines(t)
	w.set(start.AddDate(0, 0, 34))
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001", Code: "E25"})
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00002", Code: "E74"})
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00003", Code: "E22", Gives: true})
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001", Code: "E24", Gives: true, Amount: 50})
	third, _ := w.lines(t)
	e22 := third[2].ProviderRef
	for i, c := range []struct {
		lines []driver.BillLine
		want  string
	}{
		{first, "payment order00003 200 fee 1; reversed order00001 -470 fee 9; reversed order00002 -100 fee 0; refund order00003 -200 fee 0"},
		{second, "reversed order00001 470 fee 0"},
		{third, "reversed order00001 -470 fee 0; refund order00002 -100 fee 0; payment " + e22 + " 200 fee 0; reversed order00001 50 fee 0"},
	} {
		var got []string
		seen := map[int]bool{}
		for _, l := range c.lines {
			got = append(got, said(l))
			if seen[l.Line] || l.Line < 1 || (l.Refund && l.RefundID != l.ProviderRef) {
				t.Errorf("file %d: %+v", i, l)
			}
			seen[l.Line] = true
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("file %d says %q; want %q", i, got, c.want)
		}
	}
	if l := first[1]; l.RefundID != "E23-20260322143000000004-01020000" || !l.At.Equal(start.AddDate(0, 0, 20)) {
		t.Errorf("the chargeback is %+v", l)
	}
	if again, err := w.provider.FetchBill(t.Context(), bill.Day); err != nil || !bytes.Equal(again.Body, bill.Body) {
		t.Errorf("the file of %s, fetched again, is another one: %v", bill.Day, err)
	}
	if _, text, _ := unzip(t, bill.Body); strings.Contains(text, "order00003") || strings.Count(text, "\n") != 2 {
		t.Errorf("of other days' files the bill has %q; want the two rows that are named", text)
	}
}

// A payment whose own file UnionPay has no more stands under the beginning of its
// queryId: nothing is lost, and a person finds it.
func TestDisputesOfFilesThatAreGone(t *testing.T) {
	w := newWorld(t, nil)
	query := w.paid(t, "order00001", 470)
	w.set(start.AddDate(0, 0, 90))
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	lines, _ := w.lines(t)
	if len(lines) != 1 || said(lines[0]) != "reversed "+query[:20]+" -470 fee 0" {
		t.Errorf("%+v; want it under %s", lines, query[:20])
	}
	w = newWorld(t, nil)
	query = w.paid(t, "order00001", 470)
	w.paid(t, "order00002", 300)
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00002", Code: "E 3"}) // no code: the file of this day cannot be read
	w.set(start.AddDate(0, 0, 20))
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	if lines, _ := w.lines(t); len(lines) != 1 || said(lines[0]) != "reversed "+query[:20]+" -470 fee 0" {
		t.Errorf("of a file that cannot be read: %+v; want it under %s", lines, query[:20])
	}
	w = newWorld(t, func(_ *unionpaysim.Config, c *unionpay.Config) { c.DisputeCodes = []string{"E99"} })
	w.paid(t, "order00001", 470)
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001", Code: "E99"})
	lines, _ = w.lines(t)
	if len(lines) != 3 || said(lines[1]) != "refund order00001 -470 fee 0" || said(lines[2]) != "reversed order00001 -470 fee 0" {
		t.Errorf("by the codes of the contract: %+v", lines)
	}
	w.config.DisputeCodes = []string{"E2"}
	if _, err := unionpay.New(w.config); !errors.Is(err, unionpay.ErrConfig) {
		t.Errorf("a code of two characters: %v", err)
	}
}

// When UnionPay cannot be asked for the other day's file there is no bill, and the next
// try has all of it.
func TestDisputesWaitForOtherFiles(t *testing.T) {
	w := newWorld(t, nil)
	w.paid(t, "order00001", 470)
	w.set(start.AddDate(0, 0, 20))
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	day := w.provider.BillDay(w.now())
	w.add(24 * time.Hour)
	w.config.HTTP = cutAfter(1)
	cut, err := unionpay.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if bill, err := cut.FetchBill(t.Context(), day); err == nil || errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("without the other day's file: %d bytes, %v", len(bill.Body), err)
	}
	if _, err := w.provider.FetchBill(t.Context(), day); err != nil {
		t.Error(err)
	}
}

// A file of another day that UnionPay does not give, in whatever words, holds up its bill
// and the later ones for some days and not for ever: then the dispute stands under the
// beginning of the queryId. Whoever stops in the middle has heard nothing.
func TestDisputesDoNotWaitForEver(t *testing.T) {
	w := newWorld(t, nil)
	query := w.paid(t, "order00001", 470)
	w.set(start.AddDate(0, 0, 20))
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	day := w.provider.BillDay(w.now())
	w.add(3 * 24 * time.Hour)
	fetch := func(ctx context.Context, via doer) (driver.Bill, error) {
		w.config.HTTP = via
		p, err := unionpay.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		return p.FetchBill(ctx, day)
	}
	if bill, err := fetch(t.Context(), cutAfter(1)); err == nil {
		t.Errorf("three days later: %d bytes", len(bill.Body))
	}
	w.add(24 * time.Hour)
	stopped, stop := context.WithCancel(t.Context())
	calls := 0
	if bill, err := fetch(stopped, func(r *http.Request) (*http.Response, error) {
		if calls++; calls == 2 {
			stop()
			return nil, errors.New("cut")
		}
		return http.DefaultClient.Do(r)
	}); err == nil || calls != 2 {
		t.Errorf("stopped in the middle: %d bytes after %d calls", len(bill.Body), calls)
	}
	for name, c := range map[string]struct {
		via  doer
		want string
	}{
		"cut":   {cutAfter(1), query[:20]},
		"given": {cutAfter(2), "order00001"},
	} {
		bill, err := fetch(t.Context(), c.via)
		if err != nil {
			t.Fatal(name, err)
		}
		if lines, err := w.provider.ParseBill(bill); err != nil || len(lines) != 1 || said(lines[0]) != "reversed "+c.want+" -470 fee 0" {
			t.Errorf("%s: %+v, %v; want it under %s", name, lines, err, c.want)
		}
	}
}

// cutAfter lets so many requests through.
func cutAfter(n int) doer {
	return func(r *http.Request) (*http.Response, error) {
		if n--; n < 0 {
			return nil, errors.New("cut")
		}
		return http.DefaultClient.Do(r)
	}
}

// unzip gives the payments and the disputes of a bill, and what it has of other days.
func unzip(t testing.TB, body []byte) (trades, origins, disputes string) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(f.Name, "origins/"):
			origins += string(text)
		case strings.Contains(f.Name, "ZME_"):
			disputes = string(text)
		default:
			trades = string(text)
		}
	}
	return trades, origins, disputes
}

// zipped makes a bill's body.
func zipped(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

const tradesName, disputesName = "INN26030288ZM_" + merID, "INN26030288ZME_" + merID

// A file of disputes that is damaged is refused whole: none of its rows, and none of the
// payments beside it.
func TestDamagedDisputesAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.paid(t, "order00001", 470)
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001", Fee: 9, Reserve: "持卡人否认交易"})
	_, bill := w.lines(t)
	trades, _, row := unzip(t, bill.Body)
	parse := func(disputes string) ([]driver.BillLine, error) {
		bill.Body = zipped(t, map[string]string{tradesName: trades, disputesName: disputes})
		return w.provider.ParseBill(bill)
	}
	if lines, err := parse(row); err != nil || len(lines) != 2 || !lines[1].Reversed {
		t.Fatal(lines, err)
	}
	if lines, err := parse(""); err != nil || len(lines) != 1 {
		t.Errorf("no dispute: %v, %v", lines, err)
	}
	at := func(i int, text string) string { return row[:i] + text + row[i+len(text):] }
	for name, text := range map[string]string{
		"a byte too few":             row[:100] + row[101:],
		"half a row":                 row + row[:100],
		"a row twice":                row + row,
		"a column moved":             at(3, "0"),
		"a code that is none":        at(0, "E 3"),
		"a trace that is none":       at(28, "00000x"),
		"no such time":               at(35, "1302143000"),
		"an amount that is none":     at(66, "00000000047x"),
		"another amount":             at(66, "000000000471"),
		"another fee":                at(126, "D000000000008"),
		"a sign that is none":        at(140, "X"),
		"the other sign":             at(140, "C"),
		"another merchant":           at(170, "777290058110098"),
		"a reserve that is not GBK":  at(204, "\xff\xfe"),
		"a file of the other layout": trades,
	} {
		if lines, err := parse(text); err == nil || len(lines) != 0 {
			t.Errorf("%s: %+v, %v", name, lines, err)
		}
	}
	bill.Body = zipped(t, map[string]string{tradesName: trades, disputesName: row, "2" + disputesName: ""})
	if lines, err := w.provider.ParseBill(bill); err == nil {
		t.Errorf("two files of disputes: %v", lines)
	}
	bill.Body = zipped(t, map[string]string{tradesName: trades, disputesName: row, "origins/20260301/" + tradesName: trades[:100]})
	if lines, err := w.provider.ParseBill(bill); err == nil {
		t.Errorf("another day's row is cut: %v", lines)
	}
}

// Two payments of one trace, time and amount: a dispute of one is of neither.
func TestDisputesOfTwoPaymentsAreOfNone(t *testing.T) {
	w := newWorld(t, nil)
	query := w.paid(t, "order00001", 470)
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	_, bill := w.lines(t)
	trades, _, disputes := unzip(t, bill.Body)
	bill.Body = zipped(t, map[string]string{tradesName: trades + strings.ReplaceAll(trades, "order00001", "order00009"), disputesName: disputes})
	lines, err := w.provider.ParseBill(bill)
	if err != nil || len(lines) != 3 || lines[2].OurID != query[:20] || !lines[2].Reversed {
		t.Errorf("%+v, %v; want the dispute under %s", lines, err, query[:20])
	}
}

// Tools ask for a settlement file and see it as the gateway reads it.
func TestFilesByName(t *testing.T) {
	w := newWorld(t, nil)
	w.paid(t, "order00001", 470)
	w.dispute(t, unionpaysim.Dispute{OrderID: "order00001"})
	a, err := w.provider.Exec(t.Context(), "fileTransfer", nil)
	if err != nil || a.Standing != unionpay.Done || len(a.Lines) != 0 {
		t.Errorf("the file of the day before: %+v, %v", a.Lines, err)
	}
	today := json.RawMessage(`{"settleDate":"0302"}`)
	if a, err = w.provider.Exec(t.Context(), "fileTransfer", today); err != nil || a.Standing != unionpay.Open || a.Why != "respCode 98: there is no such file, or not yet" {
		t.Errorf("a file that is not there: %+v, %v", a, err)
	}
	w.add(24 * time.Hour)
	a, err = w.provider.Exec(t.Context(), "fileTransfer", nil)
	if err != nil || a.Standing != unionpay.Done || len(a.Lines) != 2 || said(a.Lines[1]) != "reversed order00001 -470 fee 0" || a.Fields["fileContent"] == "" {
		t.Errorf("%+v, %v", a, err)
	}
	w.add(5 * 24 * time.Hour)
	if a, err = w.provider.Exec(t.Context(), "fileTransfer", today); err != nil || a.Standing != unionpay.Done || len(a.Lines) != 2 {
		t.Errorf("by its date: %+v, %v", a, err)
	}
}

// FuzzParseDisputes holds that of a file that is read every row is a line, and that the
// lines settle what the rows say is settled.
func FuzzParseDisputes(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorld(f, nil)
	w.paid(f, "order00001", 470)
	for _, d := range []unionpaysim.Dispute{{Fee: 9, Reserve: "持卡人"}, {Code: "E24", Gives: true}, {Code: "E74", Amount: 70}} {
		d.OrderID = "order00001"
		w.dispute(f, d)
	}
	_, bill := w.lines(f)
	trades, _, disputes := unzip(f, bill.Body)
	f.Add([]byte(disputes))
	f.Add([]byte(disputes + "\r\n" + disputes[:341]))
	f.Add([]byte(strings.Replace(disputes, "D000000000479", "C000000000461", 1)))
	f.Add([]byte(strings.Replace(disputes, "000000000470", "000000000000", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		bill := driver.Bill{Day: bill.Day, Currency: "CNY", Body: zipped(t, map[string]string{tradesName: trades, disputesName: string(text)})}
		lines, err := w.provider.ParseBill(bill)
		if err != nil {
			return
		}
		rows, settled := 0, int64(0)
		for row := range bytes.SplitSeq(text, []byte("\n")) {
			if row = bytes.TrimSuffix(row, []byte("\r")); len(row) == 0 {
				continue
			}
			rows++
			var n int64
			for _, c := range row[141:153] {
				n = n*10 + int64(c-'0')
			}
			if row[140] == 'D' {
				n = -n
			}
			settled += n
		}
		var sum int64
		for _, l := range lines[1:] {
			sum += l.Amount.Minor - l.Fee
			if l.OurID == "" || l.Amount.Currency != "CNY" || (l.Refund && l.RefundID == "") || (l.Refund && !l.Reversed && l.Amount.Minor >= 0) || l.At.IsZero() {
				t.Errorf("%+v", l)
			}
		}
		if len(lines) != 1+rows || sum != settled {
			t.Errorf("%d rows that settle %d are %d lines of %d", rows, settled, len(lines)-1, sum)
		}
	})
}
