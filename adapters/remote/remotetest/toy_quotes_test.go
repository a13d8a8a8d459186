package remotetest

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// quoted is from when the toy's one rate holds.
var quoted = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// Quote implements [driver.Quoter]: payers have wallets in patacas.
func (p *product) Quote(_ context.Context, m citygate.Money) (driver.Quote, error) {
	if m.Currency != "HKD" {
		return driver.Quote{}, driver.ErrCurrencyUnsupported
	}
	pays, err := driver.Convert(m.Minor, "1.03", 2, 2)
	return driver.Quote{Asked: m, Pays: citygate.Money{Minor: pays, Currency: "MOP"}, Rate: driver.Rate{
		ID: "rate-7", Pair: "HKD/MOP", Price: "1.03", From: quoted, Until: quoted.AddDate(0, 0, 1), Guaranteed: true,
	}}, err
}

// exchanged is what the toy says of a payment at a quote.
func exchanged(q driver.Quote) driver.Exchange {
	if q == (driver.Quote{}) {
		return driver.Exchange{}
	}
	return driver.Exchange{Paid: q.Pays, PaidRate: q.Rate, Settled: q.Asked, SettleRate: driver.Rate{Pair: "MOP/HKD", Price: "0.97087379"}}
}
