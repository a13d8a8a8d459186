package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// exchanges gives charges what was agreed on in their payers' currencies, or told when
// they were paid, and what bills say became of it.
func exchanges(ctx context.Context, tx *pg.Tx, list []edge.Charge) error {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].OurID
	}
	quotes, err := collect.Quotes(ctx, tx, ids)
	if err != nil {
		return err
	}
	told, err := collect.Exchanges(ctx, tx, ids)
	if err != nil || len(quotes)+len(told) == 0 {
		return err
	}
	billed, err := recon.Exchanges(ctx, tx, ids)
	for i := range list {
		var e *edge.ChargeExchange
		if q, ok := quotes[list[i].OurID]; ok {
			e = &edge.ChargeExchange{
				Pays: q.Pays, Quote: q.Rate.ID, Pair: q.Rate.Pair, Price: q.Rate.Price, Until: q.Rate.Until, Guaranteed: q.Rate.Guaranteed, Quotes: q.Made,
			}
		} else if x, ok := told[list[i].OurID]; ok {
			e = &edge.ChargeExchange{Pays: x.Paid, Pair: x.PaidRate.Pair, Price: x.PaidRate.Price}
		} else {
			continue
		}
		if b, there := billed[list[i].OurID]; there {
			settled := b.Settled
			e.Settled, e.SettledBy = &settled, b.Price
			if settled.Currency == list[i].Amount.Currency {
				e.Difference = &citygate.Money{Minor: settled.Minor - list[i].Amount.Minor, Currency: settled.Currency}
			}
		}
		list[i].Exchange = e
	}
	return err
}

// refundExchanges says of n refunds, of which at gives the id and the place, what they are
// to payers in other currencies.
func refundExchanges(ctx context.Context, tx *pg.Tx, n int, at func(i int) (ourID string, place **edge.RefundExchange)) error {
	ids := make([]string, n)
	for i := range n {
		ids[i], _ = at(i)
	}
	parts, err := collect.PayerParts(ctx, tx, ids)
	if err != nil {
		return err
	}
	for i := range n {
		id, place := at(i)
		p, ok := parts[id]
		if !ok {
			continue
		}
		e := &edge.RefundExchange{Share: p.Share, Pair: p.Rate.Pair, Price: p.Rate.Price}
		if p.Back.Minor > 0 {
			e.Back, e.Difference = &p.Back, &citygate.Money{Minor: p.Back.Minor - p.Share.Minor, Currency: p.Share.Currency}
		}
		*place = e
	}
	return nil
}
