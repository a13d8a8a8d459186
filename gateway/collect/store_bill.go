package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A BillEntry is a charge or refund of ours that a provider's bill should name,
// or may name if its outcome is open.
type BillEntry struct {
	Refund       bool
	ID           citygate.UUID // of the charge, or of the refund
	Charge       citygate.UUID
	OurID        string
	ChargeOurID  string
	Contract     string
	ProviderRef  string
	Amount       citygate.Money // negative for refunds, as on bills
	Fee          int64
	State        string
	Account      citygate.UUID
	BusinessDate citygate.Date
	FinalAt      time.Time // zero while the outcome is open
}

const (
	chargeEntries = `
		SELECT false, charge_id, charge_id, our_id, our_id, contract, provider_ref, amount, currency, fee, state, account_id, business_date, final_at
		FROM charges WHERE tenant_id = $1 AND `
	refundEntries = `
		SELECT true, r.refund_id, r.charge_id, CASE r.bill_name WHEN '' THEN r.our_id ELSE r.bill_name END, c.our_id, r.contract, r.provider_ref, -r.amount, r.currency, 0::bigint, r.state, r.account_id, r.business_date, r.final_at
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id WHERE r.tenant_id = $1 AND `
)

// ChargesForBill gives the charges of a contract that were sent and did not
// finally fail, by our id behind after, at most limit (0 = all of them): those final
// in [from, to), and those still open that were created before to.
func ChargesForBill(ctx context.Context, tx *pg.Tx, contract string, from, to time.Time, after string, limit int) ([]BillEntry, error) {
	rows, err := tx.Query(ctx, chargeEntries+`contract = $2 AND sent_at IS NOT NULL
		AND ((state = 'succeeded' AND final_at >= $3 AND final_at < $4) OR (state IN ('sent', 'unknown') AND created_at < $4))
		AND our_id > $5 ORDER BY our_id LIMIT nullif($6, 0)`, tx.Tenant, contract, from, to, after, limit)
	return billEntries(rows, err)
}

// RefundsForBill is [ChargesForBill] for refunds.
func RefundsForBill(ctx context.Context, tx *pg.Tx, contract string, from, to time.Time, after string, limit int) ([]BillEntry, error) {
	rows, err := tx.Query(ctx, refundEntries+`r.contract = $2 AND r.sent_at IS NOT NULL
		AND ((r.state = 'succeeded' AND r.final_at >= $3 AND r.final_at < $4) OR (r.state IN ('sent', 'unknown') AND r.created_at < $4))
		AND r.our_id > $5 ORDER BY r.our_id LIMIT nullif($6, 0)`, tx.Tenant, contract, from, to, after, limit)
	return billEntries(rows, err)
}

// EntriesByID gives the charges and refunds with these ids of ours, whatever
// their state, by our id: what a bill's rows speak of.
func EntriesByID(ctx context.Context, tx *pg.Tx, ids []string) ([]BillEntry, error) {
	rows, err := tx.Query(ctx, chargeEntries+`our_id = ANY($2::text[]) UNION ALL `+refundEntries+`(r.our_id = ANY($2::text[]) AND r.bill_name = '' OR r.bill_name = ANY($2::text[])) ORDER BY 4`, tx.Tenant, ids)
	return billEntries(rows, err)
}

func billEntries(rows pgx.Rows, err error) ([]BillEntry, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e BillEntry, err error) {
		var final *time.Time
		err = row.Scan(&e.Refund, &e.ID, &e.Charge, &e.OurID, &e.ChargeOurID, &e.Contract, &e.ProviderRef, &e.Amount.Minor, &e.Amount.Currency,
			&e.Fee, &e.State, &e.Account, &e.BusinessDate, &final)
		if final != nil {
			e.FinalAt = final.UTC()
		}
		return e, err
	})
}
