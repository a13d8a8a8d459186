package recon

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// insertExchanges stores what rows say of payments between currencies. Most bills
// say nothing.
func insertExchanges(ctx context.Context, tx *pg.Tx, b bill, lines []driver.BillLine) error {
	var numbers []int32
	var ids, paidIn, settledIn, pairs, prices []string
	var paid, settled []int64
	for _, l := range lines {
		if l.Exchange.Paid.Currency == "" {
			continue
		}
		id := l.OurID
		if l.Refund {
			id = l.RefundID
		}
		numbers, ids = append(numbers, int32(l.Line)), append(ids, id)
		paid, paidIn = append(paid, l.Exchange.Paid.Minor), append(paidIn, string(l.Exchange.Paid.Currency))
		settled, settledIn = append(settled, l.Exchange.Settled.Minor), append(settledIn, string(l.Exchange.Settled.Currency))
		pairs, prices = append(pairs, l.Exchange.SettleRate.Pair), append(prices, l.Exchange.SettleRate.Price)
	}
	if len(numbers) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO bill_exchanges (tenant_id, contract, day, issue, line_no, our_id, paid, paid_currency, settled, settled_currency, pair, price)
		SELECT $1, $2, $3, $4, line_no, our_id, paid, paid_currency, settled, settled_currency, pair, price
		FROM unnest($5::int[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[])
		     AS u (line_no, our_id, paid, paid_currency, settled, settled_currency, pair, price)
		ON CONFLICT (tenant_id, contract, day, issue, line_no) DO NOTHING`,
		int64(tx.Tenant), b.contract, b.day, b.issue, numbers, ids, paid, paidIn, settled, settledIn, pairs, prices)
	return err
}

// An Exchanged is what a bill says of a payment between currencies.
type Exchanged struct {
	Paid, Settled citygate.Money
	Pair, Price   string
}

// Exchanges gives what bills say, by the ids of charges and refunds; of a payment
// with several rows that of the latest issue.
func Exchanges(ctx context.Context, tx *pg.Tx, ids []string) (map[string]Exchanged, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT ON (our_id) our_id, paid, paid_currency, settled, settled_currency, pair, price
		FROM bill_exchanges WHERE tenant_id = $1 AND our_id = ANY($2::text[]) ORDER BY our_id, issue DESC, day, line_no`, int64(tx.Tenant), ids)
	if err != nil {
		return nil, err
	}
	out := map[string]Exchanged{}
	var id string
	var e Exchanged
	_, err = pgx.ForEachRow(rows, []any{&id, &e.Paid.Minor, &e.Paid.Currency, &e.Settled.Minor, &e.Settled.Currency, &e.Pair, &e.Price}, func() error {
		out[id] = e
		return nil
	})
	return out, err
}
