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
func insertExchanges(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, lines []driver.BillLine) error {
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
		INSERT INTO bill_exchanges (tenant_id, contract, day, line_no, our_id, paid, paid_currency, settled, settled_currency, pair, price)
		SELECT $1, $2, $3, line_no, our_id, paid, paid_currency, settled, settled_currency, pair, price
		FROM unnest($4::int[], $5::text[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[])
		     AS u (line_no, our_id, paid, paid_currency, settled, settled_currency, pair, price)
		ON CONFLICT (tenant_id, contract, day, line_no) DO NOTHING`,
		int64(tx.Tenant), contract, day, numbers, ids, paid, paidIn, settled, settledIn, pairs, prices)
	return err
}

// exchangesOf gives rows of one bill, in the order of their numbers, what was paid.
func exchangesOf(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, lines []Line) error {
	rows, err := tx.Query(ctx, `
		SELECT line_no, paid, paid_currency FROM bill_exchanges
		WHERE tenant_id = $1 AND contract = $2 AND day = $3 AND line_no BETWEEN $4 AND $5`,
		int64(tx.Tenant), contract, day, lines[0].No, lines[len(lines)-1].No)
	if err != nil {
		return err
	}
	paid := map[int]citygate.Money{}
	var number int
	var m citygate.Money
	if _, err := pgx.ForEachRow(rows, []any{&number, &m.Minor, &m.Currency}, func() error { paid[number] = m; return nil }); err != nil {
		return err
	}
	for i := range lines {
		lines[i].Paid = paid[lines[i].No]
	}
	return nil
}

// An Exchanged is what a bill says of a payment between currencies.
type Exchanged struct {
	Paid, Settled citygate.Money
	Pair, Price   string
}

// Exchanges gives what bills say, by the ids of charges and refunds; of a payment
// with several rows the first.
func Exchanges(ctx context.Context, tx *pg.Tx, ids []string) (map[string]Exchanged, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT ON (our_id) our_id, paid, paid_currency, settled, settled_currency, pair, price
		FROM bill_exchanges WHERE tenant_id = $1 AND our_id = ANY($2::text[]) ORDER BY our_id, day, line_no`, int64(tx.Tenant), ids)
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
