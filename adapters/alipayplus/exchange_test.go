package alipayplus_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
)

func hkd(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "HKD"} }

// crossing has the riders pay from wallets in Hong Kong dollars.
func crossing(_ *alipayplussim.Config, c *alipayplus.Config) { c.PayCurrency = "HKD" }

func quoted(t *testing.T, w *world, id string, minor int64) driver.Debit {
	t.Helper()
	d := debit(id, minor)
	var err error
	if d.Quote, err = w.provider.Quote(t.Context(), d.Amount); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestQuoteIsWhatThePayerPays(t *testing.T) {
	for _, guaranteed := range []bool{true, false} {
		w := newWorld(t, func(s *alipayplussim.Config, c *alipayplus.Config) {
			crossing(s, c)
			s.Guaranteed = guaranteed
		})
		d := quoted(t, w, "ride1", 600)
		q := d.Quote
		if q.Pays != hkd(582) || q.Rate.Pair != "MOP/HKD" || q.Rate.Price != "0.97087379" || q.Rate.Guaranteed != guaranteed || !q.Rate.Until.Equal(start.Add(30*time.Minute)) {
			t.Fatalf("the quote is %+v", q)
		}
		results, err := w.provider.Submit(t.Context(), []driver.Debit{d})
		if err != nil || results[0].Outcome != driver.Succeeded || results[0].Amount != d.Amount {
			t.Fatalf("Submit = %+v, %v", results, err)
		}
		e := results[0].Exchange
		settled := mop(598) // HKD 5.82 at 1.0285, rounded down: two cents less than the fare
		if guaranteed {
			settled = d.Amount
		}
		if e.Paid != q.Pays || e.PaidRate.ID != q.Rate.ID || e.Settled != settled || e.SettleRate.Pair != "HKD/MOP" {
			t.Errorf("guaranteed %t: the exchange is %+v; want %s settled", guaranteed, e, settled)
		}
		asked, err := w.provider.Query(t.Context(), ref(d))
		if err != nil || asked.Outcome != driver.Succeeded || asked.Exchange != e {
			t.Errorf("Query = %+v, %v; want the same exchange", asked, err)
		}
	}
}

// A quote that is over is refused before anything happens, and the same number may
// be used with another. A payment that was made keeps its answer.
func TestExpiredQuoteIsNotPerformed(t *testing.T) {
	w := newWorld(t, crossing)
	d, paid := quoted(t, w, "ride1", 600), quoted(t, w, "ride2", 600)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{paid}); err != nil {
		t.Fatal(err)
	}
	w.add(30 * time.Minute)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{d}); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("a quote that is over: %v; want ErrNotPerformed", err)
	}
	if r, err := w.provider.Submit(t.Context(), []driver.Debit{paid}); err != nil || r[0].Outcome != driver.Succeeded {
		t.Errorf("the same again, its quote over: %+v, %v; want succeeded", r, err)
	}
	w.sim.SetRate("MOP/HKD", "0.99")
	renewed := quoted(t, w, "ride1", 600)
	if r, err := w.provider.Submit(t.Context(), []driver.Debit{renewed}); err != nil || r[0].Outcome != driver.Succeeded || r[0].Exchange.Paid != hkd(594) {
		t.Errorf("with a new quote: %+v, %v", r, err)
	}
	if n := len(w.sim.Book()); n != 2 {
		t.Errorf("the book has %d payments; want 2", n)
	}
	// Once it is known there, another quote is other content.
	again := quoted(t, w, "ride1", 600)
	if r, err := w.provider.Submit(t.Context(), []driver.Debit{again}); err != nil || r[0].Outcome != driver.Unknown {
		t.Errorf("another quote under a number that was paid: %+v, %v; want unknown", r, err)
	}
}

// What was agreed on in the payer's currency is what confirms a payment.
func TestAnotherAmountConfirmsNothing(t *testing.T) {
	w := newWorld(t, crossing)
	d := quoted(t, w, "ride1", 600)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*driver.Ref){
		"no quote":         func(r *driver.Ref) { r.Quote = driver.Quote{} },
		"a cent more":      func(r *driver.Ref) { r.Quote.Pays.Minor++ },
		"another fare":     func(r *driver.Ref) { r.Amount.Minor++; r.Quote.Asked.Minor++ },
		"another currency": func(r *driver.Ref) { r.Quote.Pays.Currency = "USD" },
	} {
		asked := ref(d)
		change(&asked)
		if r, err := w.provider.Query(t.Context(), asked); err == nil && r.Outcome == driver.Succeeded && name != "another fare" {
			t.Errorf("%s: Query = %+v; want no confirmation", name, r)
		}
	}
}

// Refunds go back at the rate of the payment, whatever the rate is now, and all of
// them together are all that was paid.
func TestRefundsFollowTheRateOfThePayment(t *testing.T) {
	w := newWorld(t, crossing)
	d := quoted(t, w, "ride1", 600)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil {
		t.Fatal(err)
	}
	w.sim.SetRate("MOP/HKD", "0.5")
	var before, back int64
	for i, part := range []int64{100, 250, 250} {
		pays, err := driver.PartOf(d.Quote.Pays.Minor, 600, before, before+part)
		if err != nil {
			t.Fatal(err)
		}
		f := driver.Refund{OurID: "back" + string(rune('a'+i)), Charge: ref(d), Amount: mop(part), Pays: hkd(pays), Reason: "fare corrected"}
		r, err := w.provider.Refund(t.Context(), f)
		if err != nil || r.Outcome != driver.Succeeded || r.Amount != f.Amount || r.Exchange.Paid != f.Pays {
			t.Fatalf("Refund = %+v, %v", r, err)
		}
		if asked, err := w.provider.QueryRefund(t.Context(), f); err != nil || asked.Exchange != r.Exchange {
			t.Errorf("QueryRefund = %+v, %v; want as Refund", asked, err)
		}
		before, back = before+part, back+pays
	}
	if back != d.Quote.Pays.Minor {
		t.Errorf("%d of %d was given back", back, d.Quote.Pays.Minor)
	}
	bare := driver.Refund{OurID: "bare", Charge: ref(d), Amount: mop(1)}
	if _, err := w.provider.Refund(t.Context(), bare); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("a refund that does not say what the payer gets: %v; want ErrNotPerformed", err)
	}
}

// The bill is in the fares' currency, and says what was exchanged.
func TestBillOfPaymentsBetweenCurrencies(t *testing.T) {
	w := newWorld(t, crossing)
	d := quoted(t, w, "ride1", 600)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil {
		t.Fatal(err)
	}
	f := driver.Refund{OurID: "back1", Charge: ref(d), Amount: mop(300), Pays: hkd(291), Reason: "r"}
	if _, err := w.provider.Refund(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	w.add(24 * time.Hour)
	day := citygate.Date{Year: 2026, Month: time.March, Day: 2}
	bill, err := w.provider.FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := w.provider.ParseBill(bill)
	if err != nil || len(lines) != 2 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	paid, back := lines[0], lines[1]
	if paid.OurID != "ride1" || paid.Amount != mop(598) || paid.Fee != 4 || paid.Exchange.Paid != hkd(582) || paid.Exchange.Settled != mop(598) {
		t.Errorf("the payment is %+v", paid)
	}
	if back.OurID != "ride1" || back.RefundID != "back1" || back.Amount != mop(-299) || back.Fee != -2 || back.Exchange.Paid != hkd(-291) {
		t.Errorf("the refund is %+v", back)
	}
	if _, err := w.provider.ParseBill(driver.Bill{Day: day, Currency: "MOP", Body: []byte(strings.Replace(string(bill.Body), "<END>\r\n", "", 1))}); err == nil {
		t.Error("a file without its last line was read")
	}
	for what, change := range map[string][2]string{
		"a settled cent":   {",598,", ",600,"},
		"a rate":           {"1.0274914089", "1.0374914089"},
		"no rate":          {"HKD/MOP,1.0274914089", ","},
		"a pair":           {"HKD/MOP", "HKD/USD"},
		"a fee of nothing": {bill0(bill.Body), "elsewhere"},
	} {
		text := strings.Replace(string(bill.Body), change[0], change[1], 1)
		if text == string(bill.Body) {
			t.Fatalf("%s: %q is not in the file\n%s", what, change[0], text)
		}
		if lines, err := w.provider.ParseBill(driver.Bill{Day: day, Currency: "MOP", Body: []byte(text)}); err == nil {
			t.Errorf("%s was changed and the file read: %+v", what, lines)
		}
	}
}

// bill0 gives the number of the first transaction as a fee row names it.
func bill0(body []byte) string {
	id := strings.Split(strings.Split(string(body), "\r\n")[1], ",")[2]
	return "," + id + ",SETTLEMENT_FEE"
}

// Worked case F of fares-and-money.md 9.4, from the files: KRW 18000 is settled as
// USD 14.50 and its fee of KRW 600 as 0.50; of the refund of KRW 9000 USD 7.25 goes
// back and 0.25 of the fee comes back: 7.00 is paid out. Each item is within a cent
// of its own rate, and the batch exact.
func TestWorkedCaseFSettlement(t *testing.T) {
	const items = `settlementBatchId,customerId,transactionId,transactionRequestId,originalTransactionRequestId,referenceTransactionId,transactionType,transactionAmountValue,transactionCurrency,settlementAmountValue,settlementCurrency,quoteCurrencyPair,quotePrice,transactionCompletionTime
b1,valley,t1,ride1,,,PAYMENT,18000,KRW,1450,USD,KRW/USD,0.00080556,2026-03-02T14:30:00+09:00
b1,valley,f1,,,t1,SETTLEMENT_FEE,-600,KRW,-50,USD,KRW/USD,0.00083333,2026-03-02T14:30:00+09:00
b1,valley,t2,back1,ride1,,REFUND,-9000,KRW,-725,USD,USD/KRW,1241.37931,2026-03-02T15:30:00+09:00
b1,valley,f2,,,t2,SETTLEMENT_FEE,300,KRW,25,USD,KRW/USD,0.00083333,2026-03-02T15:30:00+09:00
<END>
`
	const summary = `settlementBatchId,participantId,valueDate,settlementCurrency,transactionCount,grossSettlementAmountValue,feeAmountValue,netSettlementAmountValue
b1,valley,20260304,USD,4,725,25,700

`
	usd := func(n int64) citygate.Money { return citygate.Money{Minor: n, Currency: "USD"} }
	s, err := alipayplus.ParseSettlement([]byte(summary + items))
	if err != nil || s.Net != usd(700) || s.Amount != usd(725) || s.Fees != usd(25) || len(s.Items) != 4 {
		t.Fatalf("the settlement is %+v, %v; want 7.00 net", s, err)
	}
	for name, change := range map[string][2]string{
		"the gross alone":            {"725,25,700", "726,25,700"},
		"the fees alone":             {"725,25,700", "725,26,700"},
		"the net":                    {"725,25,700", "725,25,701"},
		"an item by a cent":          {",1450,USD", ",1451,USD"},
		"a count":                    {"USD,4,", "USD,5,"},
		"an item, and the sums":      {"PAYMENT,18000", "PAYMENT,18100"},
		"a rate by more than a cent": {"0.00080556", "0.00081"},
		"the last line":              {"<END>", ""},
		"half of the last line":      {"<END>", "<EN"},
		"a currency":                 {"-725,USD", "-725,EUR"},
	} {
		if s, err := alipayplus.ParseSettlement([]byte(strings.Replace(summary+items, change[0], change[1], 1))); err == nil {
			t.Errorf("%s was changed, and it is %+v", name, s)
		}
	}
	// The same rows as a bill, for a city whose fares are in dollars.
	w := newWorld(t, func(_ *alipayplussim.Config, c *alipayplus.Config) { c.Currency, c.PayCurrency = "USD", "KRW" })
	lines, err := w.provider.ParseBill(driver.Bill{Day: citygate.Date{Year: 2026, Month: time.March, Day: 2}, Currency: "USD", Body: []byte(items)})
	if err != nil || len(lines) != 2 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	var net int64
	for _, l := range lines {
		net += l.Amount.Minor - l.Fee
	}
	if net != 700 || lines[0].Amount != usd(1450) || lines[0].Fee != 50 || lines[1].Amount != usd(-725) || lines[1].Fee != -25 {
		t.Errorf("the lines are %+v; want 7.00 net", lines)
	}
}

func TestSettlementFile(t *testing.T) {
	w := newWorld(t, crossing)
	for i, minor := range []int64{600, 1300, 1} {
		if _, err := w.provider.Submit(t.Context(), []driver.Debit{quoted(t, w, "ride"+string(rune('1'+i)), minor)}); err != nil {
			t.Fatal(err)
		}
	}
	w.add(24 * time.Hour)
	name := alipayplus.SettlementName{Day: citygate.Date{Year: 2026, Month: time.March, Day: 3}, Batch: "20260302", Agreement: "A1"}
	s, err := w.provider.FetchSettlement(t.Context(), name)
	if err != nil || s.Amount != mop(598+1297+1) || s.Net.Minor != s.Amount.Minor-s.Fees.Minor || s.Batch != "20260302" {
		t.Errorf("the settlement is %+v, %v", s, err)
	}
	name.Batch = "../../x"
	if _, err := w.provider.FetchSettlement(t.Context(), name); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("a batch that is a path: %v", err)
	}
}

// FuzzParseSettlement holds that what is read adds up to what it declares.
func FuzzParseSettlement(f *testing.F) {
	drivertest.FuzzFiles(f)
	f.Add([]byte("settlementBatchId,valueDate,settlementCurrency,transactionCount,grossSettlementAmountValue,feeAmountValue,netSettlementAmountValue\nb,20260304,USD,1,5,0,5\n\n" +
		"transactionType,transactionAmountValue,transactionCurrency,settlementAmountValue,settlementCurrency\nPAYMENT,5,USD,5,USD\n<END>"))
	f.Add([]byte("a,b\n1,2\n<END>\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := alipayplus.ParseSettlement(text)
		if err != nil {
			return
		}
		var net int64
		for _, i := range s.Items {
			if i.Settled.Currency != s.Net.Currency {
				t.Errorf("an item in %s of a settlement in %s", i.Settled.Currency, s.Net.Currency)
			}
			net += i.Settled.Minor
		}
		if net != s.Net.Minor || !strings.HasSuffix(strings.TrimRight(string(text), "\r\n"), "<END>") {
			t.Errorf("items of %d, and %s are paid out", net, s.Net)
		}
	})
}

// FuzzParseBill holds that lines and their fees add up to the amounts of the rows.
func FuzzParseBill(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorld(f, crossing)
	for i, minor := range []int64{600, 1300} {
		if _, err := w.provider.Submit(f.Context(), []driver.Debit{debit("ride"+string(rune('1'+i)), minor)}); err != nil {
			f.Fatal(err)
		}
	}
	w.add(24 * time.Hour)
	day := citygate.Date{Year: 2026, Month: time.March, Day: 2}
	bill, err := w.provider.FetchBill(f.Context(), day)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bill.Body)
	f.Add([]byte(strings.Replace(string(bill.Body), "PAYMENT", "REFUND", 1)))
	f.Add([]byte(strings.Replace(string(bill.Body), "-4", "4", 1)))
	if _, ok := rowsAddUpTo(string(bill.Body)); !ok {
		f.Fatal("the sum of a good file's rows cannot be told")
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := w.provider.ParseBill(driver.Bill{Day: day, Currency: "MOP", Body: text})
		if err != nil {
			return
		}
		if sum, ok := rowsAddUpTo(string(text)); ok {
			for _, l := range lines {
				sum += l.Fee - l.Amount.Minor
			}
			if sum != 0 {
				t.Errorf("lines less their fees are %d off from the rows", sum)
			}
		}
		rows := 0
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, ",") {
				rows++
			}
		}
		if len(lines) > rows {
			t.Errorf("%d lines of %d rows", len(lines), rows)
		}
		for _, l := range lines {
			if l.Amount.Currency != "MOP" || l.OurID == "" || l.Line < 1 || (l.Refund && ((l.Amount.Minor >= 0 && !l.Reversed) || l.RefundID == "")) {
				t.Errorf("a line %+v", l)
			}
		}
	})
}

// rowsAddUpTo gives what the rows of a file add up to in MOP, payments less refunds and
// fees, read in another way than the adapter does; not ok for files it cannot tell.
func rowsAddUpTo(text string) (sum int64, ok bool) {
	var names []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.Contains(line, `"`) {
			return 0, false
		}
		if line == "" || line == "<END>" {
			names = nil
			continue
		}
		if names == nil {
			names = strings.Split(strings.TrimPrefix(line, "\ufeff"), ",")
			continue
		}
		row := map[string]string{}
		for i, cell := range strings.Split(line, ",") {
			if i < len(names) {
				row[strings.TrimSpace(names[i])] = strings.TrimSpace(cell)
			}
		}
		text := row["settlementAmountValue"]
		if row["transactionCurrency"] == "MOP" {
			text = row["transactionAmountValue"]
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > 1<<40 || n < -1<<40 {
			return 0, false
		}
		switch row["transactionType"] {
		case "REFUND", "CANCEL", "VOID", "PAYMENT_REVERSAL", "DISPUTE":
			n = -max(n, -n)
		}
		sum += n
	}
	return sum, true
}

// What takes a payment back that nobody here gave back, or brings it again after a
// dispute, says so: the gateway records it under its own number. Of a refund that was
// reversed nothing is known here: it stands under its own.
func TestBillsTellOfReversals(t *testing.T) {
	const header = `transactionId,transactionRequestId,originalTransactionRequestId,transactionType,transactionAmountValue,transactionCurrency,settlementAmountValue,settlementCurrency,transactionCompletionTime
`
	row := func(id, kind string, minor int) string {
		return fmt.Sprintf("t_%s,%s,ride1,%s,%d,MOP,%d,MOP,2026-03-02T14:30:00+08:00\n", id, id, kind, minor, minor)
	}
	w := newWorld(t, nil)
	lines, err := w.provider.ParseBill(driver.Bill{Day: citygate.Date{Year: 2026, Month: time.March, Day: 2}, Currency: "MOP", Body: []byte(
		header + row("pr1", "PAYMENT_REVERSAL", -470) + row("d1", "DISPUTE", 470) + row("dr1", "DISPUTE_REVERSAL", 470) + row("rr1", "REFUND_REVERSAL", 100) + row("r1", "REFUND", -100) + "<END>\n")})
	if err != nil || len(lines) != 5 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	type said struct {
		our, refund      string
		refunds, reverse bool
		minor            int64
	}
	want := []said{{"ride1", "pr1", true, true, -470}, {"ride1", "d1", true, true, -470}, {"ride1", "dr1", true, true, 470}, {"rr1", "", false, false, 100}, {"ride1", "r1", true, false, -100}}
	for i, l := range lines {
		if got := (said{l.OurID, l.RefundID, l.Refund, l.Reversed, l.Amount.Minor}); got != want[i] {
			t.Errorf("line %d says %+v; want %+v", i, got, want[i])
		}
	}
}
