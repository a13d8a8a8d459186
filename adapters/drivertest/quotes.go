package drivertest

import (
	"errors"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases about payers of another currency.

var quoteCases = []testCase{
	{"quote_whole", "a quote is for the amount that was asked about, in another currency, and has a name and a rate", quotes, quoteWhole},
	{"quote_moves_nothing", "asking for quotes moves nothing", quotes, quoteMovesNothing},
	{"quote_paid", "a debit with a quote takes what the quote says, counts as the fare, and is one payment when it is sent again", quotes, quotePaid},
	{"quote_other", "a payment at one quote is no confirmation of another", quotes, quoteOther},
}

func quotes(h Harness) bool { _, ok := driver.As[driver.Quoter](h.Provider()); return ok }

// quotedDebit gives a debit with a quote for it.
func quotedDebit(t TB, h Harness, id string, minor int64) driver.Debit {
	t.Helper()
	d := debit(h, id, minor)
	q, _ := driver.As[driver.Quoter](h.Provider())
	var err error
	if d.Quote, err = q.Quote(t.Context(), d.Amount); err != nil {
		t.Fatalf("Quote of %s: %v", d.Amount, err)
	}
	return d
}

func quoteWhole(t TB, h Harness) {
	for _, minor := range []int64{470, 1, 99_999} {
		d := quotedDebit(t, h, "asked", minor)
		q := d.Quote
		_, err := driver.Convert(1, q.Rate.Price, 0, 0)
		if q.Asked != d.Amount || q.Pays.Minor <= 0 || !q.Pays.Currency.Valid() || q.Pays.Currency == d.Amount.Currency || q.Rate.ID == "" || err != nil {
			t.Errorf("Quote of %s = %+v", d.Amount, q)
		}
	}
}

func quoteMovesNothing(t TB, h Harness) {
	for range 3 {
		quotedDebit(t, h, "asked", 470)
	}
	moved(t, h)
}

func quotePaid(t TB, h Harness) {
	d := quotedDebit(t, h, "abroad", 470)
	for range 2 {
		r := pay(t, h, d)
		if said := r.Amount; said.Currency != "" && said != d.Amount {
			t.Errorf("Submit says %s was moved for a fare of %s", said, d.Amount)
		}
		if said := r.Exchange.Paid; said.Currency != "" && said != d.Quote.Pays {
			t.Errorf("Submit says the payer paid %s; his quote was %s", said, d.Quote.Pays)
		}
		if !h.Provider().Describe().ResubmitSafe {
			break
		}
	}
	if r, err := h.Provider().Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Query = %q, %v; want succeeded", r.Outcome, err)
	}
	moved(t, h, took(d))
}

func quoteOther(t TB, h Harness) {
	d := quotedDebit(t, h, "abroad", 470)
	pay(t, h, d)
	other := ref(d)
	other.Quote.Pays.Minor++
	r, err := h.Provider().Query(t.Context(), other)
	if err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("Query for %s = %q; the payer paid %s", other.Quote.Pays, r.Outcome, d.Quote.Pays)
	}
	if errors.Is(err, driver.ErrCurrencyUnsupported) {
		t.Errorf("Query: %v, of a currency that it quoted", err)
	}
}
