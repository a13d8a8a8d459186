package alipay_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// collect plays the gateway's part for one round of open debits: ask about the
// ones that were sent before, send those that never went out or are Absent.
func collect(t *testing.T, w *world, open map[string]driver.Debit, sent map[string]bool, done map[string]driver.Outcome) {
	t.Helper()
	var batch []driver.Debit
	settle := func(r driver.Result) {
		if r.Outcome == driver.Succeeded || r.Outcome == driver.Declined {
			done[r.OurID] = r.Outcome
			delete(open, r.OurID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(open)) {
		if sent[id] {
			r, err := w.provider.Query(t.Context(), ref(open[id]))
			if err != nil || r.Outcome != driver.Absent {
				settle(r)
				continue
			}
		}
		batch = append(batch, open[id])
	}
	for part := range slices.Chunk(batch, 7) {
		results, err := w.provider.Submit(t.Context(), part)
		if err != nil && errors.Is(err, driver.ErrNotPerformed) {
			continue
		}
		for _, d := range part {
			sent[d.OurID] = true
		}
		for _, r := range results {
			settle(r)
		}
	}
}

// Every trouble the platform can make ends, with and without a trade.query that
// finds offlinepay orders, and what we believe is what its book says.
func TestNoDebitStaysUnknown(t *testing.T) {
	for name, finds := range map[string]bool{"found by query": true, "absent to query": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *alipaysim.Config) {
				c.FindOffline = finds
				c.Faults = alipaysim.Faults{
					LoseReply: alipaysim.Pick(1, "lose", 60), Garble: alipaysim.Pick(1, "garble", 60),
					Unsigned: alipaysim.Pick(1, "unsigned", 60), BadSign: alipaysim.Pick(1, "badsign", 60),
					Omit: alipaysim.Pick(1, "omit", 80), Duplicate: alipaysim.Pick(1, "duplicate", 80),
					Unknown: alipaysim.Pick(1, "unknown", 80), RetryLater: alipaysim.Pick(1, "later", 80),
				}
			})
			w.sim.SetOutage(start, start.Add(2*time.Minute))
			w.sim.SetInsufficient("2088000000000013", time.Time{})
			open := make(map[string]driver.Debit)
			for i := range 120 {
				d := w.debit(t, fmt.Sprintf("order_%03d", i), int64(100+i))
				if i%10 == 3 {
					d.RiderRef = "2088000000000013"
				}
				open[d.OurID] = d
			}
			sent, done := make(map[string]bool), make(map[string]driver.Outcome)
			rounds := 0
			for ; len(open) > 0 && rounds < 30; rounds++ {
				collect(t, w, open, sent, done)
				w.clock.set(w.clock.now().Add(time.Minute))
			}
			if len(open) > 0 {
				t.Fatalf("%d debits are still unknown after %d rounds: %v", len(open), rounds, slices.Sorted(maps.Keys(open)))
			}
			if rounds < 4 {
				t.Errorf("everything was settled in %d rounds: the platform made no trouble", rounds)
			}
			book := w.sim.Book()
			if len(book) != 120 {
				t.Errorf("the platform has %d orders; want 120", len(book))
			}
			declined := 0
			for _, entry := range book {
				if (done[entry.OutTradeNo] == driver.Succeeded) != entry.Paid {
					t.Errorf("%s is %q here and paid=%t there", entry.OutTradeNo, done[entry.OutTradeNo], entry.Paid)
				}
				if !entry.Paid {
					declined++
				}
			}
			if declined != 12 {
				t.Errorf("%d orders were declined; want 12", declined)
			}
		})
	}
}

// monday is the Beijing day of start.
var monday = citygate.Date{Year: 2026, Month: time.March, Day: 2}

// fares collects n fares of 1.00 yuan and more at start and gives back part of
// the first.
func fares(t *testing.T, w *world, n int) {
	t.Helper()
	var batch []driver.Debit
	for i := range n {
		batch = append(batch, w.debit(t, fmt.Sprintf("fare_%02d", i), int64(100+i)))
	}
	results, err := w.provider.Submit(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome != driver.Succeeded {
			t.Fatalf("%s = %q %s", r.OurID, r.Outcome, r.ReasonCode)
		}
	}
	refund := driver.Refund{OurID: "back_00", Charge: ref(batch[0]), Amount: citygate.Money{Minor: 30, Currency: "CNY"}}
	if r, err := w.provider.Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("Refund = %q, %v", r.Outcome, err)
	}
}

func fetch(t *testing.T, w *world, day citygate.Date) []driver.BillLine {
	t.Helper()
	bill, err := w.provider.FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := w.provider.ParseBill(bill)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestBillListsPaymentsRefundsAndFees(t *testing.T) {
	w := newWorld(t, nil)
	fares(t, w, 3)
	if _, err := w.provider.FetchBill(t.Context(), monday); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("FetchBill on the day itself: %v; want ErrBillNotReady", err)
	}
	w.clock.set(time.Date(2026, 3, 3, 0, 59, 59, 0, time.UTC)) // 08:59:59 in Beijing
	if _, err := w.provider.FetchBill(t.Context(), monday); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("FetchBill before nine: %v; want ErrBillNotReady", err)
	}
	w.clock.set(time.Date(2026, 3, 3, 1, 0, 0, 0, time.UTC))
	lines := fetch(t, w, monday)
	if len(lines) != 4 {
		t.Fatalf("the bill has %d rows; want 3 payments and a refund", len(lines))
	}
	var net, fees int64
	for i, l := range lines {
		net, fees = net+l.Amount.Minor, fees+l.Fee
		if l.Line != i+6 || !l.At.Equal(start) || l.ProviderRef == "" || l.Amount.Currency != "CNY" {
			t.Errorf("row %d = %+v", i, l)
		}
		if l.Refund && (l.OurID != "fare_00" || l.RefundID != "back_00" || l.Amount.Minor != -30 || l.Fee != 0) {
			t.Errorf("the refund row is %+v", l)
		}
	}
	if net != 100+101+102-30 || fees != 1+1+1 { // 0.6 % of about a yuan is 0.6 fen
		t.Errorf("the bill adds up to %d with %d of fees", net, fees)
	}
	w.clock.set(time.Date(2026, 3, 4, 2, 0, 0, 0, time.UTC))
	if lines := fetch(t, w, monday.AddDays(1)); len(lines) != 0 {
		t.Errorf("the bill of a day without payments has %d rows", len(lines))
	}
}

// The faults are in the file, and only there.
func TestBillFaultsChangeTheFileAndNotTheBook(t *testing.T) {
	w := newWorld(t, nil)
	fares(t, w, 20)
	before := w.paid()
	w.clock.set(start.Add(24 * time.Hour))
	clean := fetch(t, w, monday)
	counts := alipaysim.BillFaultCounts{Missing: 1, Extra: 1, Cent: 1, Refund: 1}
	never := func(id string) bool { return id != "fare_07" }
	faults, err := w.sim.SeedBillFaults(appID, monday, counts, never)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.sim.SeedBillFaults(appID, monday, counts, never)
	if err != nil || !slices.Equal(faults, again) {
		t.Errorf("the same faults again: %v, %v; want %v", again, err, faults)
	}
	payments := make(map[string]int64)
	var refunds []string
	for _, l := range fetch(t, w, monday) {
		if l.Refund {
			refunds = append(refunds, l.OurID+"/"+l.RefundID)
		} else {
			payments[l.OurID] = l.Amount.Minor
		}
	}
	for _, l := range clean {
		if !l.Refund && !slices.ContainsFunc(faults, func(f alipaysim.BillFault) bool { return f.OrderID == l.OurID }) && payments[l.OurID] != l.Amount.Minor {
			t.Errorf("%s was %d and is %d without a fault", l.OurID, l.Amount.Minor, payments[l.OurID])
		}
	}
	seen := make(map[string]bool)
	for _, f := range faults {
		if seen[f.OrderID] || f.OrderID == "fare_07" || f.OrderID == "fare_00" {
			t.Errorf("fault %+v falls on an order it must not fall on", f)
		}
		seen[f.OrderID] = true
		_, listed := payments[f.OrderID]
		switch f.Kind {
		case alipaysim.MissingRow:
			if listed {
				t.Errorf("%s is in the bill; want it missing", f.OrderID)
			}
		case alipaysim.ExtraRow:
			if _, known := before[f.OrderID]; !listed || known {
				t.Errorf("%s is not an extra row", f.OrderID)
			}
		case alipaysim.CentOff:
			if payments[f.OrderID] != before[f.OrderID]+1 {
				t.Errorf("%s is %d in the bill; want a cent more than %d", f.OrderID, payments[f.OrderID], before[f.OrderID])
			}
		case alipaysim.UnexpectedRefund:
			if !listed || !slices.Contains(refunds, f.OrderID+"/"+f.RefundID) {
				t.Errorf("refunds %v do not name %+v", refunds, f)
			}
		}
	}
	if len(faults) != 4 {
		t.Errorf("%d faults; want 4", len(faults))
	}
	if !maps.Equal(before, w.paid()) {
		t.Errorf("the faults changed the platform's book")
	}
}

// A bill can come late, and it can come again with other content: both are the
// platform's ordinary days. What says which file is newer is in the file.
func TestLateAndReissuedBills(t *testing.T) {
	w := newWorld(t, nil)
	fares(t, w, 6)
	day := w.provider.BillDay(start)
	if err := w.sim.SetBillLate(appID, day, start.Add(30*time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.clock.set(start.Add(24 * time.Hour))
	if _, err := w.provider.FetchBill(t.Context(), day); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("a late bill: %v; want ErrBillNotReady", err)
	}
	if _, err := w.sim.SeedBillFaults(appID, day, alipaysim.BillFaultCounts{Missing: 1}, nil); err != nil {
		t.Fatal(err)
	}
	w.clock.set(start.Add(30 * time.Hour))
	first, err := w.provider.FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.Reissue(appID, day); err != nil {
		t.Fatal(err)
	}
	second, err := w.provider.FetchBill(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := w.provider.ParseBill(first)
	whole, err2 := w.provider.ParseBill(second)
	if err != nil || err2 != nil || len(missing)+1 != len(whole) || first.Name != second.Name {
		t.Errorf("%d rows, %v, in %s, then %d, %v, in %s", len(missing), err, first.Name, len(whole), err2, second.Name)
	}
	if !first.Issued.Before(second.Issued) || first.Issued.IsZero() {
		t.Errorf("issued at %s and again at %s", first.Issued, second.Issued)
	}
}

func TestBillOfAnotherDayAccountOrSumIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	fares(t, w, 3)
	w.clock.set(start.Add(24 * time.Hour))
	bill, err := w.provider.FetchBill(t.Context(), monday)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(name string, b driver.Bill) {
		t.Helper()
		if lines, err := w.provider.ParseBill(b); err == nil {
			t.Errorf("%s: read %d rows; want an error", name, len(lines))
		}
	}
	other := bill
	other.Day = monday.AddDays(1)
	refuse("another day", other)
	other = bill
	other.Currency = "HKD"
	refuse("another currency", other)
	stranger := w.contract(t, func(c *alipay.Config) { c.Account = "2088999" })
	if _, err := stranger.ParseBill(bill); err == nil {
		t.Error("another merchant read the bill")
	}
	for name, change := range map[string]func(string) string{
		"a cent more":     func(s string) string { return strings.Replace(s, ",1.01,1.01,", ",1.01,1.02,", 1) },
		"a row twice":     func(s string) string { return again(s, ",fare_01") },
		"no end line":     func(s string) string { i := strings.LastIndex(s, "#----"); return s[:i] },
		"exponents":       func(s string) string { return strings.ReplaceAll(s, ",1.01,1.01,", ",1.01,101e-2,") },
		"three decimals":  func(s string) string { return strings.ReplaceAll(s, ",1.01,1.01,", ",1.01,1.010,") },
		"a fee less":      func(s string) string { return strings.Replace(s, ",-0.01,", ",0.00,", 1) },
		"empty":           func(string) string { return "" },
		"no comment line": func(s string) string { return strings.ReplaceAll(s, "#", "") },
	} {
		changed := bill
		changed.Body = rezip(t, bill.Body, change)
		refuse(name, changed)
	}
	torn := bill
	torn.Body = bill.Body[:len(bill.Body)-10]
	refuse("half a zip", torn)
}

// again repeats the line that holds word.
func again(s, word string) string {
	for line := range strings.SplitAfterSeq(s, "\r\n") {
		if strings.Contains(line, word) {
			return strings.Replace(s, line, line+line, 1)
		}
	}
	return s
}
