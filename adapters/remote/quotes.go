package remote

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// This file holds how payers of another currency travel: quotes, and what became of
// payments between currencies.

const pathQuote = "/v1/quote"

type (
	rate struct {
		ID         string     `json:"id,omitempty"`
		Pair       string     `json:"pair,omitempty"`
		Price      string     `json:"price"`
		From       *time.Time `json:"from,omitempty"`
		Until      *time.Time `json:"until,omitempty"`
		Guaranteed bool       `json:"guaranteed,omitempty"`
	}
	quote struct {
		Asked *money `json:"asked"`
		Pays  *money `json:"pays"`
		Rate  rate   `json:"rate"`
	}
	exchange struct {
		Paid       *money `json:"paid,omitempty"`
		PaidRate   *rate  `json:"paid_rate,omitempty"`
		Settled    *money `json:"settled,omitempty"`
		SettleRate *rate  `json:"settle_rate,omitempty"`
	}
	quoteCall struct {
		Contract contractPart `json:"contract"`
		Amount   *money       `json:"amount"`
	}
)

func rateOut(r driver.Rate) *rate {
	if r == (driver.Rate{}) {
		return nil
	}
	return &rate{r.ID, r.Pair, r.Price, instant(r.From), instant(r.Until), r.Guaranteed}
}

func (r *rate) rate() driver.Rate {
	if r == nil {
		return driver.Rate{}
	}
	return driver.Rate{ID: r.ID, Pair: r.Pair, Price: r.Price, From: instantOf(r.From), Until: instantOf(r.Until), Guaranteed: r.Guaranteed}
}

func quoteOut(q driver.Quote) *quote {
	if q == (driver.Quote{}) {
		return nil
	}
	out := &quote{Asked: moneyOf(q.Asked), Pays: moneyOf(q.Pays)}
	if r := rateOut(q.Rate); r != nil {
		out.Rate = *r
	}
	return out
}

func (q *quote) quote() driver.Quote {
	if q == nil {
		return driver.Quote{}
	}
	return driver.Quote{Asked: q.Asked.money(), Pays: q.Pays.money(), Rate: q.Rate.rate()}
}

func exchangeOut(e driver.Exchange) *exchange {
	if e == (driver.Exchange{}) {
		return nil
	}
	return &exchange{moneyOf(e.Paid), rateOut(e.PaidRate), moneyOf(e.Settled), rateOut(e.SettleRate)}
}

func (e *exchange) exchange() driver.Exchange {
	if e == nil {
		return driver.Exchange{}
	}
	return driver.Exchange{Paid: e.Paid.money(), PaidRate: e.PaidRate.rate(), Settled: e.Settled.money(), SettleRate: e.SettleRate.rate()}
}

// signedAs reports whether what an exchange says of a bill's row has the row's sign, and
// currencies.
func (e *exchange) signedAs(minor int64) bool {
	if e == nil {
		return true
	}
	for _, m := range []*money{e.Paid, e.Settled} {
		if m != nil && (!m.Currency.Valid() || m.Minor != 0 && (m.Minor < 0) != (minor < 0)) {
			return false
		}
	}
	return true
}

// Quote is driver.Quoter's. What is no quote for the amount, adapters.Quoter refuses.
func (d *Driver) Quote(ctx context.Context, amount citygate.Money) (driver.Quote, error) {
	var answer quote
	if err := d.call(ctx, pathQuote, quoteCall{d.part, moneyOf(amount)}, &answer); err != nil {
		return driver.Quote{}, err
	}
	return answer.quote(), nil
}

func serveQuote(ctx context.Context, p driver.Quoter, c quoteCall) (any, error) {
	q, err := p.Quote(ctx, c.Amount.money())
	if err != nil {
		return nil, err
	}
	if out := quoteOut(q); out != nil {
		return out, nil
	}
	return quote{}, nil // a driver that forgot it: none, as the gateway sees
}
