package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

func hkd(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "HKD"} }

func debit(id, rider string, minor int64) driver.Debit {
	return driver.Debit{OurID: id, RiderRef: rider, Amount: hkd(minor), TripTime: noon}
}

func outcomes(t *testing.T, p *Provider, debits ...driver.Debit) []driver.Outcome {
	t.Helper()
	results, err := p.Submit(t.Context(), debits)
	if err != nil {
		t.Fatal(err)
	}
	var got []driver.Outcome
	for _, r := range results {
		got = append(got, r.Outcome)
	}
	return got
}

func TestRestartLosesNothingAndCutsATornLine(t *testing.T) {
	dir := t.TempDir()
	clock := &handClock{at: noon}
	script := Config{Script: Script{Unsure: []string{"shy"}}}
	p := open(t, openDir(t, dir), clock.now, script)
	outcomes(t, p, debit("c1", "rider", 500), debit("c2", "shy", 300))
	if _, err := p.Refund(t.Context(), driver.Refund{OurID: "r1", Charge: driver.Ref{OurID: "c1"}, Amount: hkd(200)}); err != nil {
		t.Fatal(err)
	}
	before := p.Book()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, bookFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	torn := `{"kind":"charge","our_id":"torn","reason":"` + strings.Repeat("longer than what is written next ", 100)
	if _, err := f.WriteString(torn); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()

	p = open(t, openDir(t, dir), clock.now, script)
	if !slices.Equal(p.Book(), before) {
		t.Errorf("after the restart the book is %v; want %v", p.Book(), before)
	}
	if r, err := p.Query(t.Context(), driver.Ref{OurID: "torn"}); err != nil || r.Outcome != driver.Absent {
		t.Errorf("the torn payment is %q, %v; want absent", r.Outcome, err)
	}
	// The first attempt was before the restart, so this one is the second.
	if got := outcomes(t, p, debit("c2", "shy", 300)); got[0] != driver.Succeeded {
		t.Errorf("the payment that was unsure before the restart is %q now; want succeeded", got[0])
	}
	if r, _ := p.Refund(t.Context(), driver.Refund{OurID: "r2", Charge: driver.Ref{OurID: "c1"}, Amount: hkd(301)}); r.Outcome != driver.Declined {
		t.Errorf("a refund of 301 of the 300 left after the restart is %q; want declined", r.Outcome)
	}
	// What was written after the torn line was cut can be read again.
	_ = p.Close()
	if p = open(t, openDir(t, dir), clock.now, script); len(p.Book()) != len(before)+2 {
		t.Errorf("the book has %d entries; want %d", len(p.Book()), len(before)+2)
	}
}

func TestBookThatMakesNoSenseIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, bookFile), []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(openDir(t, dir), (&handClock{at: noon}).now, nil); err == nil {
		t.Error("Open took a book with a line that is no entry")
	}
}

func TestScriptGoesByRiderAndClock(t *testing.T) {
	clock := &handClock{at: noon}
	p := open(t, openDir(t, t.TempDir()), clock.now, Config{Script: Script{
		Decline:   []Refusal{{Rider: "poor", Span: Span{Until: noon.Add(time.Hour)}}},
		LoseReply: []string{"lost"},
		Unsure:    []string{"shy"},
		Outages:   []Span{{From: noon.Add(2 * time.Hour), Until: noon.Add(3 * time.Hour)}},
	}})
	batch := []driver.Debit{debit("a", "poor", 100), debit("b", "lost", 200), debit("c", "shy", 300), debit("d", "rich", 400)}
	want := []driver.Outcome{driver.Declined, driver.Unknown, driver.Unknown, driver.Succeeded}
	if got := outcomes(t, p, batch...); !slices.Equal(got, want) {
		t.Errorf("first answers %q; want %q", got, want)
	}
	for id, want := range map[string]driver.Outcome{"a": driver.Declined, "b": driver.Succeeded, "c": driver.Absent, "d": driver.Succeeded} {
		if r, err := p.Query(t.Context(), driver.Ref{OurID: id}); err != nil || r.Outcome != want {
			t.Errorf("Query(%s) = %q, %v; want %q", id, r.Outcome, err, want)
		}
	}
	want = []driver.Outcome{driver.Declined, driver.Succeeded, driver.Succeeded, driver.Succeeded}
	if got := outcomes(t, p, batch...); got[0] != want[0] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("second answers %q; want %q", got, want)
	}

	clock.set(noon.Add(time.Hour))
	if got := outcomes(t, p, debit("a2", "poor", 100)); got[0] != driver.Succeeded {
		t.Errorf("after the refusal ended: %q; want succeeded", got[0])
	}
	clock.set(noon.Add(2 * time.Hour))
	if _, err := p.Submit(t.Context(), batch); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("in the outage: %v; want ErrNotPerformed", err)
	}
	if _, err := p.Query(t.Context(), driver.Ref{OurID: "d"}); err == nil {
		t.Error("Query answered in the outage")
	}
	clock.set(noon.Add(3 * time.Hour))
	if got := outcomes(t, p, debit("e", "rich", 100)); got[0] != driver.Succeeded {
		t.Errorf("after the outage: %q; want succeeded", got[0])
	}
}

func TestOneIDTwiceInOneCallIsOnePayment(t *testing.T) {
	p := newHarness(t).p
	outcomes(t, p, debit("same", "rider", 100), debit("same", "rider", 100))
	if n := len(p.Book()); n != 1 {
		t.Errorf("%d payments; want 1", n)
	}
}

func TestEndedContextSendsNothing(t *testing.T) {
	p := newHarness(t).p
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Submit(ctx, []driver.Debit{debit("x", "rider", 100)}); !errors.Is(err, driver.ErrNotPerformed) || len(p.Book()) != 0 {
		t.Errorf("err = %v, book %v", err, p.Book())
	}
}

// bill gives the bill of noon's day as amounts by id.
func bill(t *testing.T, p *Provider) map[string]int64 {
	t.Helper()
	file, err := p.FetchBill(t.Context(), citygate.DateOf(noon))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := p.ParseBill(file)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, l := range lines {
		id := l.OurID
		if l.Refund {
			id += "/" + l.RefundID
		}
		got[id] = l.Amount.Minor
	}
	return got
}

func TestBillFaultsChangeTheBillAndNeverTheBook(t *testing.T) {
	h := newHarness(t)
	outcomes(t, h.p, debit("a", "r", 100), debit("b", "r", 200), debit("c", "r", 300), debit("d", "r", 400))
	before := h.p.Book()
	day := h.EndDay()
	h.p.SetBillFaults([]BillFault{
		{Kind: MissingRow, OurID: "a"},
		{Kind: WrongAmount, OurID: "b", Amount: hkd(1)},
		{Kind: UnaskedRefund, OurID: "c", Amount: hkd(50)},
		{Kind: ExtraRow, OurID: "nobody", Day: day, Amount: hkd(77)},
		{Kind: ExtraRow, OurID: "otherday", Day: day.AddDays(1), Amount: hkd(78)},
	})
	want := map[string]int64{"b": 201, "c": 300, "c/unasked_c": -50, "d": 400, "nobody": 77}
	got := bill(t, h.p)
	if len(got) != len(want) {
		t.Errorf("the bill has %v; want %v", got, want)
	}
	for id, minor := range want {
		if got[id] != minor {
			t.Errorf("row %s = %d; want %d", id, got[id], minor)
		}
	}
	if !slices.Equal(h.p.Book(), before) {
		t.Error("a bill fault changed the book")
	}
	h.p.SetBillFaults(nil)
	if again := bill(t, h.p); again["b"] != 201 {
		t.Error("a bill changed after it was first given out")
	}
}

func TestBillIsNotReadyBeforeItsDayIsOver(t *testing.T) {
	clock := &handClock{at: noon}
	p := open(t, openDir(t, t.TempDir()), clock.now, Config{UTCOffsetMinutes: 480, BillDelayMinutes: 60})
	day := citygate.Date{Year: 2026, Month: 11, Day: 21}
	ready := time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC) // 01:00 at UTC+8
	clock.set(ready.Add(-time.Second))
	if _, err := p.FetchBill(t.Context(), day); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("err = %v; want ErrBillNotReady", err)
	}
	clock.set(ready)
	if _, err := p.FetchBill(t.Context(), day); err != nil {
		t.Error(err)
	}
	if got := p.BillDay(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)); got != day.AddDays(1) {
		t.Errorf("BillDay at local midnight = %s; want %s", got, day.AddDays(1))
	}
}

func FuzzParseBill(f *testing.F) {
	day := citygate.DateOf(noon)
	lines := []driver.BillLine{{Line: 3, OurID: "a", ProviderRef: "R", Amount: hkd(100), Fee: 1, At: noon}}
	f.Add(render(day, lines))
	f.Add(render(day, nil))
	p := &Provider{}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := p.ParseBill(driver.Bill{Day: day, Body: body})
		if err != nil {
			return
		}
		// What was read, written again, is read the same.
		again, err := p.ParseBill(driver.Bill{Day: day, Body: render(day, got)})
		if err != nil || !slices.EqualFunc(got, again, func(a, b driver.BillLine) bool {
			same := a.At.Equal(b.At)
			a.At, b.At = time.Time{}, time.Time{}
			return same && a == b
		}) {
			t.Errorf("read %v, then %v, %v", got, again, err)
		}
	})
}
