package collect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
)

// abroad is a provider whose riders pay in another currency, at a rate that is
// higher with each quote. It keeps what it was asked for.
type abroad struct {
	*sandbox.Provider
	now     func() time.Time
	line    string // "refused": certainly not sent; "silent": nobody can say; "unquoted": no rates
	offers  int
	debits  []driver.Debit
	refunds []driver.Refund
}

func (a *abroad) Quote(_ context.Context, m citygate.Money) (driver.Quote, error) {
	if a.line == "unquoted" {
		return driver.Quote{}, errors.New("no rates today")
	}
	a.offers++
	return driver.Quote{
		Asked: m, Pays: citygate.Money{Minor: m.Minor * int64(100+a.offers) / 100, Currency: "MOP"},
		Rate: driver.Rate{ID: fmt.Sprintf("q%d", a.offers), Pair: "HKD/MOP", Price: fmt.Sprintf("1.%02d", a.offers), From: a.now(), Until: a.now().Add(10 * time.Minute), Guaranteed: true},
	}, nil
}

func (a *abroad) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	a.debits = append(a.debits, debits...)
	switch a.line {
	case "refused":
		return nil, driver.ErrNotPerformed
	case "silent":
		return nil, errors.New("the line is cut")
	}
	return a.Provider.Submit(ctx, debits)
}

func (a *abroad) Refund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	a.refunds = append(a.refunds, r)
	return a.Provider.Refund(ctx, r)
}

func newAbroad(t *testing.T) (*city, *abroad) {
	t.Helper()
	c := newCity(t)
	a := &abroad{Provider: c.box, now: c.clock.now}
	c.Provider = func(context.Context, citygate.TenantID, Contract) (*adapters.Provider, error) {
		return adapters.New(a, c.clock.now), nil
	}
	return c, a
}

// A quote that is over is renewed while the first attempt is certainly not
// performed, and never afterwards: then the same is sent again, whatever the rate is.
func TestExpiredQuoteIsRenewedOnlyWhileNothingWasSent(t *testing.T) {
	c, a := newAbroad(t)
	last := func(want string, offers int) {
		t.Helper()
		if n := len(a.debits); n == 0 || a.debits[n-1].Quote.Rate.ID != want || a.offers != offers {
			t.Fatalf("%d attempts after %d quotes, the last with %+v; want %s after %d", n, a.offers, a.debits[n-1].Quote, want, offers)
		}
	}
	a.line = "refused"
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	last("q1", 1)
	c.clock.add(time.Minute)
	c.due()
	last("q1", 1) // it still holds
	c.clock.add(10 * time.Minute)
	c.due()
	last("q2", 2) // it is over, and nothing was sent
	a.line = "silent"
	c.clock.add(time.Minute)
	c.due()
	last("q2", 2)
	c.clock.add(time.Hour)
	sent := len(a.debits)
	c.due()
	last("q2", 2) // over as well, but somebody may have heard of it
	if len(a.debits) == sent {
		t.Fatal("it was not sent again")
	}
	a.line = ""
	c.clock.add(time.Hour)
	c.due()
	last("q2", 2)
	c.wantStates("charges", "charge succeeded")
	c.settled()
}

// A notice of a payment at another quote than the charge's settles nothing: people
// look at it. One at its quote does.
func TestNoticesAreComparedWithTheQuote(t *testing.T) {
	c, a := newAbroad(t)
	a.line = "silent"
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	if len(a.debits) == 0 {
		t.Fatal("nothing was sent")
	}
	d := a.debits[0]
	tell := func(id string, paid citygate.Money) Verdict {
		n := notice(id, d.OurID, driver.Succeeded, 0)
		n.Result.Amount, n.Result.Exchange.Paid = citygate.Money{}, paid
		return c.take(box, n, false).Verdict
	}
	less := citygate.Money{Minor: d.Quote.Pays.Minor - 1, Currency: d.Quote.Pays.Currency}
	if got := tell("n1", less); got != NoticeMismatch {
		t.Errorf("a payment of %s at a quote of %s: %s", less, d.Quote.Pays, got)
	}
	if got := tell("n2", d.Amount); got != NoticeMismatch {
		t.Errorf("a payment in the fare's currency at a quote of %s: %s", d.Quote.Pays, got)
	}
	if got := tell("n3", d.Quote.Pays); got != NoticeApplied {
		t.Errorf("a payment at its quote: %s", got)
	}
	c.wantStates("charges", "charge succeeded")
}

// Without a quote nothing is sent; it is asked for again later.
func TestChargeWaitsForItsQuote(t *testing.T) {
	c, a := newAbroad(t)
	a.line = "unquoted"
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	if len(a.debits) != 0 {
		t.Errorf("%d were sent without a quote", len(a.debits))
	}
	c.wantStates("charges", "charge created")
	a.line = ""
	c.clock.add(time.Hour)
	c.due()
	c.wantStates("charges", "charge succeeded")
	c.settled()
}

// Refunds give back at the rate of the payment, and in the end all that was paid.
func TestRefundsGiveBackWhatThePayerPaid(t *testing.T) {
	c, a := newAbroad(t)
	c.claim(metro, ride(1, 1, 1, 1, 999))
	c.clock.set(closed)
	c.due()
	c.clock.add(time.Hour) // the quote is over, and the rate another
	for i, fare := range []int64{700, 699, 0} {
		c.lower(i+2, fare)
		c.due()
		c.due()
	}
	var back, asked int64
	for _, r := range a.refunds {
		if r.Charge.Quote.Rate.ID != "q1" || r.Pays.Currency != "MOP" || r.Pays.Minor < 1 {
			t.Errorf("a refund of %s is %s at %s", r.Amount, r.Pays, r.Charge.Quote.Rate.ID)
		}
		back, asked = back+r.Pays.Minor, asked+r.Amount.Minor
	}
	if paid := a.debits[0].Quote.Pays.Minor; back != paid || asked != 999 || a.offers != 1 {
		t.Errorf("%d of %d went back for %d of 999, after %d quotes", back, paid, asked, a.offers)
	}
	c.settled()
}
