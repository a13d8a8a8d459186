package collect

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// quoteCharges gives each charge that is to be sent its quote, where the provider
// offers rates: the one it has, or a new one. A quote that is over is renewed only
// for a charge that was certainly never performed; all others keep the content they
// were sent with, whatever became of the rate since. What could not be quoted is
// not sent, and comes back as an outcome.
func (r *run) quoteCharges(ctx context.Context, provider *adapters.Provider, batch []charge, deadline time.Duration) (ready []charge, failed []outcome, err error) {
	quoter, able := provider.Quoter()
	if !able {
		return batch, nil, nil
	}
	var until time.Time
	var held map[string]quoted
	err = r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
		until = tx.Now.Add(deadline)
		held, err = quotesOf(ctx, tx, ourIDs(batch))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	asking, done := context.WithTimeout(ctx, quotesWithin)
	defer done()
	var fresh []quoted
	for i := range batch {
		c := &batch[i]
		have := held[c.OurID]
		if c.State != adapters.Created || (have.n > 0 && !have.Rate.Expired(until)) {
			c.Quote = have.Quote
			ready = append(ready, *c)
			continue
		}
		offer, err := quoter.Quote(asking, c.money())
		if err != nil {
			failed = append(failed, outcome{c.OurID, adapters.NotSent, driver.Result{OurID: c.OurID, ReasonCode: reasonOf(err)}})
			continue
		}
		c.Quote = offer
		fresh = append(fresh, quoted{Quote: offer, ourID: c.OurID, charge: c.OurID, n: have.n + 1})
		ready = append(ready, *c)
	}
	if len(fresh) == 0 {
		return ready, failed, nil
	}
	// On disk before the first byte leaves: what is sent again has to be the same.
	return ready, failed, r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error { return storeQuotes(ctx, tx, fresh) })
}

func ourIDs(batch []charge) []string {
	ids := make([]string, len(batch))
	for i := range batch {
		ids[i] = batch[i].OurID
	}
	return ids
}

// quotedCharges gives charges that are asked after the quotes they were sent with.
func quotedCharges(ctx context.Context, tx *pg.Tx, provider *adapters.Provider, batch []charge) error {
	if _, able := provider.Quoter(); !able || len(batch) == 0 {
		return nil
	}
	held, err := quotesOf(ctx, tx, ourIDs(batch))
	for i := range batch {
		batch[i].Quote = held[batch[i].OurID].Quote
	}
	return err
}

// quotedRefunds gives refunds of quoted charges what the payer gets back: his part
// of what he paid, at the rate of then. It is decided once for each refund.
func quotedRefunds(ctx context.Context, tx *pg.Tx, provider *adapters.Provider, batch []refund) error {
	if _, able := provider.Quoter(); !able || len(batch) == 0 {
		return nil
	}
	var ids []string
	for i := range batch {
		ids = append(ids, batch[i].OurID, batch[i].Charge.OurID)
	}
	held, err := quotesOf(ctx, tx, ids)
	if err != nil {
		return err
	}
	for i := range batch {
		f := &batch[i]
		of := held[f.Charge.OurID]
		if of.n == 0 {
			continue // the charge was in one currency
		}
		f.Charge.Quote = of.Quote
		part := held[f.OurID]
		if part.n == 0 {
			before, back, err := returnedBefore(ctx, tx, f.Charge.OurID)
			if err != nil {
				return err
			}
			pays, err := driver.PartOf(of.Pays.Minor, of.Asked.Minor, 0, before+f.Amount)
			if err != nil || back >= of.Pays.Minor {
				return ErrLost.Because(err, "refund %s of %s is more than was paid", f.OurID, f.Charge.OurID)
			}
			pays = max(pays-back, 1) // a part that rounds to nothing goes back as the smallest unit, and the next is less
			part = quoted{Quote: of.Quote, ourID: f.OurID, charge: f.Charge.OurID, n: 1}
			part.Asked, part.Pays.Minor = citygate.Money{Minor: f.Amount, Currency: f.Currency}, pays
			if err := storeQuotes(ctx, tx, []quoted{part}); err != nil {
				return err
			}
		}
		f.Pays = part.Pays
	}
	return nil
}
