package settle

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// earnedBefore are the accounts of what payees have earned by money that is there: by
// products that riders paid for beforehand, and at tills, of which a bill was waited for.
var earnedBefore = []struct{ prefix, ref string }{
	{ledger.ProductPayable(""), "product "},
	{ledger.TillPayable(""), "till "},
}

// productsEarned gives what payees have earned by products, or at tills, and were not
// paid, as receipts of a window that is being paid. The money is there, so nothing is
// waited for. A negative one takes back what was earned no more.
//
// The accounts are locked: of two windows paid at once, the second sees what the first
// took. Who posts in another order is rolled back and tries again.
func productsEarned(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, d citygate.Date) (all []receipt, err error) {
	for _, by := range earnedBefore {
		earned, err := earnedBy(ctx, tx, cal, d, by.prefix, by.ref)
		if err != nil {
			return nil, err
		}
		all = append(all, earned...)
	}
	return all, nil
}

func earnedBy(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, d citygate.Date, prefix, ref string) ([]receipt, error) {
	rows, err := tx.Query(ctx, `
		SELECT account, currency, credit_total - debit_total FROM balances
		WHERE tenant_id = $1 AND account >= $2 AND account < $3 AND credit_total <> debit_total
		ORDER BY account, currency FOR UPDATE`, tx.Tenant, prefix, prefix+"\U0010FFFF")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r receipt, err error) {
		r = receipt{kind: interbook.AdviceCleared, issuer: tx.Tenant, date: cal.BusinessDate(tx.Now), calendar: versionAt(cal, tx.Now), window: d, at: tx.Now}
		err = row.Scan(&r.contra, &r.currency, &r.amount)
		r.payee = strings.TrimPrefix(r.contra, prefix)
		r.ref = ref + d.String() + " " + string(r.currency) + " " + r.payee
		return r, err
	})
}

// takeProducts books what payees have earned by products into the window of d.
func takeProducts(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, d citygate.Date) error {
	earned, err := productsEarned(ctx, tx, cal, d)
	if err != nil || len(earned) == 0 {
		return err
	}
	fresh, err := insertReceipts(ctx, tx, earned)
	if err != nil {
		return err
	}
	var transfers []ledger.Transfer
	for i := range fresh {
		if t, ok := fresh[i].transfer(tx.Tenant); ok {
			transfers = append(transfers, t)
		}
	}
	return ledger.Post(ctx, tx, transfers)
}
