package drivertest

import (
	"errors"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases about far sides that are asked too often, and about currencies that have no
// hundredths.

var limitCases = []testCase{
	{"busy", "who is asked too often has done nothing and refused nobody: the outcome is open, or certainly not performed", busies, busy},
	{"busy_again", "a debit that was turned away because of too many others is made when it is sent again, once", busiesAgain, busyAgain},
	{"busy_until", "an instant that the far side names for another try is the one it is tried again", busiesUntil, busyUntil},
	{"exponents", "a yen has no hundredths and a dinar has thousandths: in every currency the far side moves what was asked for, to the minor unit", anyExponent, exponents},
	{"exponents_refund", "a refund in yen or dinars gives back what was asked for, to the minor unit", refundsAnyExponent, exponentsRefund},
	{"exponents_bill", "a bill in yen or dinars says what was moved, to the minor unit", billsAnyExponent, exponentsBill},
}

// A BusyHarness is a Harness whose far side can be asked too often.
type BusyHarness interface {
	Harness
	// BusyNext arms the far side to turn the next debit away because there are too
	// many: by HTTP's 429, or in the product's own words. It does not act.
	BusyNext()
}

// A RetryHarness is a BusyHarness whose far side says when to try again.
type RetryHarness interface {
	BusyHarness
	BusyUntil() time.Time // the instant that the answer names, if asked now
	Wait()                // lets it come
}

// A CurrencyHarness is a Harness whose product has a contract for each currency.
type CurrencyHarness interface {
	Harness
	// In gives a fresh harness whose contract is in c, which the kit asks its debits in;
	// false if the product cannot take it.
	In(c citygate.Currency) (Harness, bool)
}

func busies(h Harness) bool      { _, ok := h.(BusyHarness); return ok }
func busiesAgain(h Harness) bool { return busies(h) && resubmits(h) }
func busiesUntil(h Harness) bool { _, ok := h.(RetryHarness); return ok }

// turnedAway submits d to a far side that has too much to do.
func turnedAway(t TB, h Harness, d driver.Debit) (driver.Result, error) {
	t.Helper()
	h.(BusyHarness).BusyNext()
	r, err := submit(t.Context(), h, d)
	if err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("Submit to a far side that is asked too often = %q for %q; want an open outcome", r.Outcome, r.ReasonCode)
	}
	moved(t, h)
	return r, err
}

func busy(t TB, h Harness) {
	d := debit(h, "toomany", 470)
	if _, err := turnedAway(t, h, d); errors.Is(err, driver.ErrNotPerformed) {
		return
	}
	if r, err := h.Provider().Query(t.Context(), ref(d)); err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("Query = %q, of a debit that was neither made nor refused", r.Outcome)
	}
}

func busyAgain(t TB, h Harness) {
	d := debit(h, "toomany", 470)
	_, _ = turnedAway(t, h, d) // what it says is another case's
	if waits, ok := h.(RetryHarness); ok {
		waits.Wait()
	}
	pay(t, h, d)
	moved(t, h, took(d))
}

func busyUntil(t TB, h Harness) {
	r, err := turnedAway(t, h, debit(h, "toomany", 470))
	if want := h.(RetryHarness).BusyUntil(); err != nil || !r.RetryAt.Equal(want) {
		t.Errorf("Submit wants to be asked again at %s, %v; the far side named %s", r.RetryAt, err, want)
	}
}

// unusual are currencies whose minor unit is no hundredth: none, and a thousandth.
var unusual = []citygate.Currency{"JPY", "KWD"}

// in gives a harness whose debits can be in c: h itself where one contract takes any.
func in(h Harness, c citygate.Currency) (Harness, bool) {
	if each, ok := h.(CurrencyHarness); ok {
		return each.In(c)
	}
	taken := h.Provider().Describe().Currencies
	return h, len(taken) == 0 || slices.Contains(taken, c)
}

func anyExponent(h Harness) bool {
	return slices.ContainsFunc(unusual, func(c citygate.Currency) bool { _, ok := in(h, c); return ok })
}
func refundsAnyExponent(h Harness) bool { return refunds(h) && anyExponent(h) }
func billsAnyExponent(h Harness) bool   { return bills(h) && anyExponent(h) }

// eachUnusual runs check for every unusual currency the product takes, and says what
// the far side has to have moved.
func eachUnusual(t TB, h Harness, check func(h Harness, debit func(id string, minor int64) driver.Debit) []Move) {
	t.Helper()
	for _, c := range unusual {
		each, ok := in(h, c)
		if !ok {
			continue
		}
		before := len(each.Moved())
		want := check(each, func(id string, minor int64) driver.Debit {
			d := debit(each, id+string(c), minor)
			d.Amount.Currency = c
			return d
		})
		if got := each.Moved()[before:]; !slices.Equal(got, want) {
			t.Errorf("in %s the far side moved %v; want %v", c, got, want)
		}
	}
}

func exponents(t TB, h Harness) {
	eachUnusual(t, h, func(h Harness, debit func(string, int64) driver.Debit) (want []Move) {
		for i, minor := range []int64{1, 470, 1005} {
			d := debit("unit"+string(rune('a'+i)), minor)
			for _, said := range []driver.Result{pay(t, h, d), found(t, h, d)} {
				if said.Amount != (citygate.Money{}) && said.Amount != d.Amount {
					t.Errorf("the adapter says %s was moved; want %s", said.Amount, d.Amount)
				}
			}
			want = append(want, took(d))
		}
		return want
	})
}

// found asks about a debit that was paid; what cannot be asked about says nothing.
func found(t TB, h Harness, d driver.Debit) driver.Result {
	t.Helper()
	r, err := h.Provider().Query(t.Context(), ref(d))
	if err != nil {
		return driver.Result{}
	}
	return r
}

func exponentsRefund(t TB, h Harness) {
	eachUnusual(t, h, func(h Harness, debit func(string, int64) driver.Debit) []Move {
		d := debit("backunit", 1005)
		refund := back(t, h, d, pay(t, h, d), "partof"+string(d.Amount.Currency), 337)
		return []Move{took(d), gave(refund)}
	})
}

func exponentsBill(t TB, h Harness) {
	for _, c := range unusual { // a day has one end
		each, ok := in(h, c)
		if !ok {
			continue
		}
		d := debit(each, "billunit", 1005)
		d.Amount.Currency = c
		pay(t, each, d)
		biller := each.Provider().(driver.Biller)
		file, err := biller.FetchBill(t.Context(), each.EndDay())
		if err != nil {
			t.Fatalf("FetchBill: %v", err)
		}
		lines, err := biller.ParseBill(file)
		if err != nil {
			t.Fatalf("ParseBill: %v", err)
		}
		if len(lines) != 1 || lines[0].OurID != d.OurID || lines[0].Amount != d.Amount {
			t.Errorf("the bill says %+v; want %s of %s", lines, d.Amount, d.OurID)
		}
		if _, own := h.(CurrencyHarness); !own {
			return
		}
	}
}
