package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// kindPurchase is the kind of charges for products that riders buy. One is of no
// aggregation: in its place stands the sale. A declined one leaves no debt, as
// nothing was handed over, and its fee is the seller's.
const kindPurchase = "purchase"

const (
	codePurchase  = "purchase"
	codeSalesFee  = "sales_fee"
	codeReturned  = "purchase_refund"
	codeSaleOwed  = "product_owed" // what was used of a price that was taken back
	codeSaleKept  = "product_kept" // what the seller keeps of a price that came back
	noDecision    = 0              // of a refund that is of a sale and not of a fare
	firstPurchase = 1              // attempt: a purchase is asked for once, under one id
)

// Sales is what this package tells of purchases, in the transaction in which it
// becomes certain. Telling again changes nothing.
type Sales interface {
	Paid(ctx context.Context, tx *pg.Tx, sales []citygate.UUID) error
	Declined(ctx context.Context, tx *pg.Tx, sales []citygate.UUID) error
	// Returned tells what became of money that was to go back.
	Returned(ctx context.Context, tx *pg.Tx, sale citygate.UUID, succeeded bool) error
	// End ends what was sold, as a payment of it was taken back, and gives what it is
	// worth. Called again, no more of it is used than before.
	End(ctx context.Context, tx *pg.Tx, sale citygate.UUID) (Worth, error)
	// Changed gives sales that End ended and of which another part is used than it said
	// last, at most limit.
	Changed(ctx context.Context, tx *pg.Tx, limit int) ([]citygate.UUID, error)
}

// A Purchase is a product's price that an account is to pay.
type Purchase struct {
	Sale         citygate.UUID
	Account      Account
	Amount       citygate.Money
	Subject      string // what the payer reads
	BusinessDate citygate.Date
}

// Buy writes the intent to charge a purchase, which [Collector.RunDue] then sends
// as it sends every other charge: an outcome that nobody knows is asked for, and
// never charged under a second id. The same sale again changes nothing.
func Buy(ctx context.Context, tx *pg.Tx, p Purchase) error {
	key := p.Account.Key
	if key == "" {
		key = p.Account.ID.String()
	}
	our := ourID(tx.Tenant, kindPurchase, p.Sale.String())
	_, err := tx.Exec(ctx, `
		INSERT INTO charges (tenant_id, charge_id, aggregation_id, kind, attempt, our_id, contract, account_id, account_key, payer_ref, amount, currency, fee,
		                     subject, trip_at, business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, created_at,
		                     route_version, route_rule, route_finding)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14, $15, 'created', false, 0, '', '', $16, $14, true, true, $14, 0, '', '')
		ON CONFLICT (tenant_id, charge_id) DO NOTHING`,
		tx.Tenant, p.Sale, p.Sale, kindPurchase, firstPurchase, our, p.Account.Contract, p.Account.ID, key, p.Account.PayerRef, p.Amount.Minor,
		string(p.Amount.Currency), p.Subject, tx.Now.UTC().Truncate(time.Microsecond), p.BusinessDate, string(adapters.Submit))
	return err
}

// Return asks a part of a purchase's price back from the provider that took it.
func Return(ctx context.Context, tx *pg.Tx, sale citygate.UUID, amount int64, date citygate.Date) (citygate.UUID, error) {
	return createSaleRefund(ctx, tx, sale, sale, amount, date)
}

// PurchaseLife is how long a purchase may wait to be sent, as while its contract is down
// or closed. What was never sent until then is given up: the rider has long gone on.
const PurchaseLife = 24 * time.Hour

// expirePurchases ends the purchases that certainly were never sent and are too old.
func (c *Collector) expirePurchases(ctx context.Context, tenant citygate.TenantID) error {
	return c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, `
			UPDATE charges SET state = 'declined', reason = 'expired', next_do = 'nothing', final_at = $2
			WHERE tenant_id = $1 AND charge_id IN (
				SELECT charge_id FROM charges WHERE tenant_id = $1 AND kind = $3 AND state = 'created' AND NOT ever_unknown AND created_at <= $4
				ORDER BY charge_id LIMIT $5 FOR UPDATE SKIP LOCKED)
			RETURNING aggregation_id`, tx.Tenant, tx.Now, kindPurchase, tx.Now.Add(-PurchaseLife), passBatch)
		if err != nil {
			return err
		}
		sales, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
		if err != nil || len(sales) == 0 {
			return err
		}
		return c.Sales.Declined(ctx, tx, sales)
	})
}

// purchases takes the purchases out of charges, and gives the sales they are of.
func purchases(charges []*charge) (sales []citygate.UUID, rest []*charge) {
	for _, c := range charges {
		if c.Kind == kindPurchase {
			sales = append(sales, c.Aggregation)
		} else {
			rest = append(rest, c)
		}
	}
	return sales, rest
}

// sold tells of purchases that became certain and gives their transfers.
func (c *Collector) sold(ctx context.Context, tx *pg.Tx, succeeded, declined []*charge) (transfers []ledger.Transfer, restSucceeded, restDeclined []*charge, err error) {
	paid, restSucceeded := purchases(succeeded)
	refused, restDeclined := purchases(declined)
	if len(paid)+len(refused) == 0 {
		return nil, succeeded, declined, nil
	}
	for _, ch := range succeeded {
		if ch.Kind == kindPurchase {
			transfers = append(transfers, ch.transfers(tx.Tenant)...)
		}
	}
	if err := c.Sales.Paid(ctx, tx, paid); err != nil {
		return nil, nil, nil, err
	}
	return transfers, restSucceeded, restDeclined, c.Sales.Declined(ctx, tx, refused)
}

// purchased gives what a purchase's success does to the books: the price is owed
// in rides.
func (c *charge) purchased(tenant citygate.TenantID, t ledger.Transfer) []ledger.Transfer {
	if c.State != adapters.Succeeded {
		return nil
	}
	t.Debit, t.Credit, t.Code = ledger.ProviderReceivable(c.Contract), ledger.Prepaid(c.Aggregation), codePurchase
	out := []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
	if c.Fee > 0 {
		t.Debit, t.Credit, t.Code, t.Amount = ledger.SalesFee(c.Contract), ledger.ProviderReceivable(c.Contract), codeSalesFee, c.Fee
		out = append(out, ledger.NewTransfer(tenant, 0, t))
	}
	return out
}
