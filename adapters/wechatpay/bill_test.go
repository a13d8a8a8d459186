package wechatpay_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

var day = citygate.Date{Year: 2026, Month: time.March, Day: 2}

// dayOf plays a day: three payments, a refund, and gives its bill.
func dayOf(t testing.TB, w *world) driver.Bill {
	t.Helper()
	for id, minor := range map[string]int64{"a": 500, "b": 730, "c": 1} {
		if _, err := w.provider.Submit(t.Context(), []driver.Debit{w.debit(id, minor)}); err != nil {
			t.Fatal(err)
		}
	}
	refund := driver.Refund{OurID: "back", Charge: ref(w.debit("b", 730)), Amount: citygate.Money{Minor: 30, Currency: w.provider.Describe().Currencies[0]}}
	if _, err := w.provider.(driver.Refunder).Refund(t.Context(), refund); err != nil {
		t.Fatal(err)
	}
	w.clock.set(start.Add(24 * time.Hour))
	bill, err := w.provider.(driver.Biller).FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	return bill
}

func TestBillIsOfTheBeijingDay(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, nil)
	biller := w.provider.(driver.Biller)
	w.clock.set(time.Date(2026, 3, 2, 15, 59, 59, 0, time.UTC))
	w.pay(t, w.debit("late", 100)) // a second before midnight there
	w.clock.add(time.Second)
	w.pay(t, w.debit("next", 100))
	if _, err := biller.FetchBill(t.Context(), day.AddDays(1)); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("the bill of a day that is not over: %v", err)
	}
	w.clock.set(time.Date(2026, 3, 3, 1, 59, 0, 0, time.UTC))
	if _, err := biller.FetchBill(t.Context(), day); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("the bill before ten: %v", err)
	}
	w.clock.set(time.Date(2026, 3, 3, 2, 0, 0, 0, time.UTC))
	bill, err := biller.FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := biller.ParseBill(bill)
	if err != nil || len(lines) != 1 || lines[0].OurID != "late" {
		t.Errorf("the bill has %v, %v; want the one payment", lines, err)
	}
	bill.Day = day.AddDays(1)
	if _, err := biller.ParseBill(bill); err == nil {
		t.Error("the bill of another day was read")
	}
	if !strings.HasSuffix(bill.Name, ".csv.gz") {
		t.Errorf("the bill is called %s; it is kept as it came", bill.Name)
	}
	bill = unfolded(t, bill)
	if !bytes.HasPrefix(bill.Body, []byte("\xef\xbb\xbf交易时间")) || !bytes.Contains(bill.Body, []byte(",`")) {
		t.Error("the bill has no byte order mark or no backticks")
	}
	bill.Day, bill.Body = day, bytes.TrimPrefix(bill.Body, []byte("\xef\xbb\xbf"))
	if lines, err := biller.ParseBill(bill); err != nil || len(lines) != 1 {
		t.Errorf("a bill whose mark was lost: %v, %v", lines, err)
	}
}

// A name with a comma, fees of five decimals, a reversed payment, faults.
func TestBillRows(t *testing.T) {
	w := newWorld(t, wechatpay.CodePay, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.Seed = 7 })
	biller := w.provider.(driver.Biller)
	reversed := w.debit("reversed", 300)
	w.pay(t, reversed)
	w.clock.add(20 * time.Second)
	if _, _, err := w.provider.(driver.Reverser).Reverse(t.Context(), ref(reversed)); err != nil {
		t.Fatal(err)
	}
	bill := dayOf(t, w)
	lines, err := biller.ParseBill(bill)
	if err != nil || len(lines) != 6 {
		t.Fatalf("%d rows, %v; want 6", len(lines), err)
	}
	got := map[string]int64{}
	for _, l := range lines {
		got[l.OurID+"/"+l.RefundID] += l.Amount.Minor
		if l.Refund != (l.Amount.Minor < 0) {
			t.Errorf("row %+v", l)
		}
		if l.OurID == "b" && !l.Refund && l.Fee != 4 {
			t.Errorf("fee %d; want 4 of 730 at 0.6 %%", l.Fee)
		}
	}
	for id, want := range map[string]int64{"a/": 500, "b/": 730, "c/": 1, "b/back": -30, "reversed/": 0} {
		if got[id] != want {
			t.Errorf("%s: %d; want %d", id, got[id], want)
		}
	}
	for _, amount := range []string{"`7.30", "`0.30", "`0.04000"} { // of a payment, a refund and a fee, each in its row before any total
		torn := unfolded(t, bill)
		torn.Body = bytes.Replace(torn.Body, []byte(amount), []byte("`9.99"), 1)
		if lines, err := biller.ParseBill(torn); err == nil {
			t.Errorf("%s was changed and %d rows were read", amount, len(lines))
		}
	}
	faults, err := w.sim.SeedBillFaults(mchID, day, wechatpaysim.BillFaultCounts{Missing: 1, Extra: 1, Cent: 1})
	if err != nil || len(faults) != 3 {
		t.Fatalf("faults %v, %v", faults, err)
	}
	if bill, err = biller.FetchBill(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	if lines, err = biller.ParseBill(bill); err != nil || len(lines) != 6 {
		t.Errorf("a bill with faults that adds up: %d rows, %v; want 6", len(lines), err)
	}
}

func TestFundFlow(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, nil)
	dayOf(t, w)
	bill, err := w.provider.(wechatpay.FundFlower).FetchFundFlow(t.Context(), day, wechatpay.AccountBasic)
	if err != nil {
		t.Fatal(err)
	}
	flows, err := wechatpay.ParseFundFlow(bill)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, f := range flows {
		sum += f.Amount.Minor
	}
	if len(flows) != 6 || sum != 500+730+1-30-3-4 { // three payments, two fees of at least a fen, a refund
		t.Errorf("%d movements of %d; want 6 of 1194", len(flows), sum)
	}
	torn := unfolded(t, bill)
	lines := bytes.SplitAfter(torn.Body, []byte("\r\n"))
	torn.Body = bytes.Join(append(lines[:2:2], lines[3:]...), nil)
	if _, err := wechatpay.ParseFundFlow(torn); err == nil {
		t.Error("a movement is missing and nobody noticed")
	}
	if _, err := w.provider.(wechatpay.FundFlower).FetchFundFlow(t.Context(), day, wechatpay.AccountFees); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("an account without movements: %v", err)
	}
}

// The file is not signed: its digest is.
func TestDownloadsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*http.Response, []byte) []byte{
		"a byte":  func(_ *http.Response, b []byte) []byte { return bytes.Replace(b, []byte("5.00"), []byte("9.00"), 1) },
		"the end": func(_ *http.Response, b []byte) []byte { return b[:len(b)-1] },
		"nothing": func(*http.Response, []byte) []byte { return nil },
	} {
		for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.Global} {
			w := newWorld(t, product, nil)
			dayOf(t, w)
			c := w.config
			c.HTTP = doer(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "tradebill") {
					return http.DefaultClient.Do(r)
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					return nil, err
				}
				var b bytes.Buffer
				_, _ = b.ReadFrom(resp.Body)
				_ = resp.Body.Close()
				text := b.Bytes()
				if product == wechatpay.Global || name != "a byte" {
					text = change(resp, text)
				} else {
					text = append([]byte("x"), text...) // it is compressed
				}
				resp.Body = readCloser{bytes.NewReader(text)}
				return resp, nil
			})
			p, err := wechatpay.New(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.(driver.Biller).FetchBill(t.Context(), day); err == nil || strings.Contains(err.Error(), "token=") {
				t.Errorf("%s, %s: %v; want an error without the address", product, name, err)
			}
		}
	}
}

// unfolded gives a bill as text.
func unfolded(t testing.TB, bill driver.Bill) driver.Bill {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(bill.Body))
	if err != nil {
		t.Fatal(err)
	}
	if bill.Body, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return bill
}

// A file that is compressed and cut short, or that unfolds without end, is no bill.
func TestDamagedCompressionIsRefused(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, nil)
	bill := dayOf(t, w)
	whole := bill.Body
	for _, at := range []int{2, 12, len(whole) / 2, len(whole) - 1} {
		bill.Body = whole[:at]
		if lines, err := w.provider.(driver.Biller).ParseBill(bill); err == nil {
			t.Errorf("cut at %d of %d: %d rows were read", at, len(whole), len(lines))
		}
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// FuzzParseBill holds that what is read adds up to what the file says it adds up
// to: the sum of the lines is the declared total, or there is an error.
func FuzzParseBill(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorld(f, wechatpay.Ride, nil)
	bill := dayOf(f, w)
	biller := w.provider.(driver.Biller)
	bill = unfolded(f, bill)
	f.Add(bill.Body)
	f.Add(bytes.Replace(bill.Body, []byte("`5.00"), []byte("`05.000"), 1))
	f.Add(bytes.TrimPrefix(bill.Body, []byte("\xef\xbb\xbf")))
	f.Add([]byte("交易时间\n`\n总交易单数\n`0\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		lines, err := biller.ParseBill(driver.Bill{Day: day, Body: body, Currency: "CNY"})
		if err != nil {
			if lines != nil {
				t.Errorf("an error and %d rows", len(lines))
			}
			return
		}
		var in, out int64
		for _, l := range lines {
			if l.Refund {
				out -= l.Amount.Minor
			} else {
				in += l.Amount.Minor
			}
			if l.OurID == "" || l.Refund && l.Amount.Minor > 0 || !l.Refund && l.Amount.Minor < 0 {
				t.Errorf("row %+v", l)
			}
		}
		rows := strings.Split(strings.TrimRight(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n"), "\n")
		names, cells := strings.Split(rows[len(rows)-2], ","), strings.Split(strings.TrimPrefix(rows[len(rows)-1], "`"), ",`")
		for i, name := range names {
			switch strings.TrimSpace(name) {
			case "应结订单总金额":
				same(t, name, cells[i], in)
			case "退款总金额":
				same(t, name, cells[i], out)
			}
		}
	})
}

// same compares an amount in yuan with fen, by another way than the parser's.
func same(t *testing.T, name, text string, fen int64) {
	t.Helper()
	sign := int64(1)
	if strings.HasPrefix(text, "-") {
		sign, text = -1, text[1:]
	}
	whole, part, _ := strings.Cut(text, ".")
	part = (part + "00")[:2]
	var n int64
	for _, c := range whole + part {
		n = n*10 + int64(c-'0')
	}
	if sign*n != fen {
		t.Errorf("%s says %s, the rows are %d", name, text, fen)
	}
}

// FuzzParseFundFlow holds the same for movements, and that balances follow.
func FuzzParseFundFlow(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorld(f, wechatpay.Ride, nil)
	dayOf(f, w)
	bill, err := w.provider.(wechatpay.FundFlower).FetchFundFlow(f.Context(), day, wechatpay.AccountBasic)
	if err != nil {
		f.Fatal(err)
	}
	bill = unfolded(f, bill)
	f.Add(bill.Body)
	f.Fuzz(func(t *testing.T, body []byte) {
		flows, err := wechatpay.ParseFundFlow(driver.Bill{Day: day, Body: body, Currency: "CNY"})
		if err != nil && flows != nil {
			t.Errorf("an error and %d movements", len(flows))
		}
		if err != nil || len(flows) == 0 {
			return
		}
		var moved int64
		for _, flow := range flows[1:] {
			moved += flow.Amount.Minor
		}
		if first, last := flows[0].Balance.Minor, flows[len(flows)-1].Balance.Minor; first+moved != last {
			t.Errorf("from %d by %d to %d", first, moved, last)
		}
	})
}

// FuzzParseNotify holds that nothing is believed whose signature was not made with
// a key of the platform's.
func FuzzParseNotify(f *testing.F) {
	keys(f)
	w := newWorld(f, wechatpay.RideV2, nil)
	f.Add([]byte("<xml><return_code>SUCCESS</return_code><sign>00</sign></xml>"), "")
	f.Add([]byte(`{"id":"1","resource_type":"encrypt-resource"}`), "AAAA")
	f.Add([]byte("<xml><a><![CDATA[x]]></a></xml>"), "WECHATPAY/SIGNTEST/AAAA")
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		h := http.Header{}
		if signature != "" {
			h = http.Header{"Wechatpay-Signature": {signature}, "Wechatpay-Serial": {wechatpaysim.PublicKeyID}, "Wechatpay-Nonce": {"n"}, "Wechatpay-Timestamp": {"1772433000"}}
		}
		notice, ack, err := w.provider.(driver.Notifier).ParseNotify(t.Context(), driver.Notification{Header: h, Body: body})
		if err == nil || ack.Status < 400 || notice.Kind != "" {
			t.Errorf("believed %q signed %q: %+v, %+v", body, signature, notice, ack)
		}
	})
}
