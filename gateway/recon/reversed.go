package recon

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Recognise matches an open exception of a row that gave back what nobody had asked for,
// if a reversal or the outcome of one was recorded under the row's reference since and
// says the same. Otherwise it changes nothing.
func Recognise(ctx context.Context, tx *pg.Tx, book Book, contract, reference string) error {
	payments, err := book.Named(ctx, tx, contract, []string{reference})
	if err != nil {
		return err
	}
	for i := range payments {
		p := &payments[i]
		if !p.IsRefund() || p.OurID != reference {
			continue
		}
		if p.FeeUnsaid {
			if err := feeOf(ctx, tx, book, contract, p); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, `
			UPDATE recon_items AS i SET kind = 'matched', state = 'matched', owner = '', charge_id = $7, refund_id = $8, expected = actual, expected_fee = actual_fee,
			       diff = 0, resolved_at = $9
			WHERE tenant_id = $1 AND contract = $2 AND item = $3 AND state = 'open' AND kind = 'refund_unexpected' AND currency = $4 AND actual = $5 AND actual_fee = $6
			RETURNING `+itemColumnsSQL, int64(tx.Tenant), contract, key(true, reference), string(p.Currency), p.signed(), p.Fee, p.ChargeID, p.RefundID, tx.Now)
		if err != nil {
			return err
		}
		i, err := pgx.CollectExactlyOneRow(rows, scanItem)
		if pg.IsNoRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return ledger.Post(ctx, tx, transfersOf(tx.Tenant, &i))
	}
	return nil
}

// feeOf has the row that waits for a reversal say its fee.
func feeOf(ctx context.Context, tx *pg.Tx, book Book, contract string, p *Payment) error {
	l := Line{Refund: true, Reversed: true, OurID: p.ChargeOurID, RefundID: p.OurID, Amount: p.signed(), Currency: p.Currency}
	err := tx.QueryRow(ctx, `
		SELECT actual_fee FROM recon_items
		WHERE tenant_id = $1 AND contract = $2 AND item = $3 AND state = 'open' AND kind = 'refund_unexpected' AND currency = $4 AND actual = $5`,
		int64(tx.Tenant), contract, key(true, p.OurID), string(p.Currency), p.signed()).Scan(&l.Fee)
	if pg.IsNoRows(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := book.Resolve(ctx, tx, contract, []Line{l}); err != nil {
		return err
	}
	p.Fee, p.FeeUnsaid = l.Fee, false
	return nil
}
