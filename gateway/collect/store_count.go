package collect

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Counters are a tenant's totals. Amounts are minor units by currency.
type Counters struct {
	Succeeded   int // charges, recoveries included
	Declined    int
	UnknownSeen int // ever unknown
	UnknownOpen int // charges and refunds whose outcome is open
	Unfinished  int // aggregations, charges and refunds that are not final

	DebtsOpened    int
	DebtsRecovered int
	DebtsOpen      int
	RefundsRefused int // finally declined by the provider: money we owe riders

	Money map[citygate.Currency]Totals
}

// Totals are sums in one currency.
type Totals struct {
	Claimed   int64 // accepted fares
	Collected int64 // succeeded charges less succeeded refunds
	Fees      int64 // of succeeded charges
	Debt      int64 // still owed
}

// Count gives the tenant's counters.
func Count(ctx context.Context, tx *pg.Tx) (Counters, error) {
	c := Counters{Money: map[citygate.Currency]Totals{}}
	if err := tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state = 'declined'), count(*) FILTER (WHERE ever_unknown),
		       count(*) FILTER (WHERE state IN ('sent', 'unknown')), count(*) FILTER (WHERE state IN ('created', 'sent', 'unknown'))
		FROM charges WHERE tenant_id = $1`, tx.Tenant).Scan(&c.Succeeded, &c.Declined, &c.UnknownSeen, &c.UnknownOpen, &c.Unfinished); err != nil {
		return c, err
	}
	var refundsUnknown, refundsOpen, open int
	if err := tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state IN ('sent', 'unknown')), count(*) FILTER (WHERE state IN ('waiting', 'created', 'sent', 'unknown')), count(*) FILTER (WHERE state = 'declined')
		FROM refunds WHERE tenant_id = $1`, tx.Tenant).Scan(&refundsUnknown, &refundsOpen, &c.RefundsRefused); err != nil {
		return c, err
	}
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM aggregations WHERE tenant_id = $1 AND state = 'open'`, tx.Tenant).Scan(&open); err != nil {
		return c, err
	}
	c.UnknownOpen += refundsUnknown
	c.Unfinished += refundsOpen + open
	if err := tx.QueryRow(ctx, `
		SELECT count(*), count(*) FILTER (WHERE state = 'recovered'), count(*) FILTER (WHERE state = 'open')
		FROM debts WHERE tenant_id = $1`, tx.Tenant).Scan(&c.DebtsOpened, &c.DebtsRecovered, &c.DebtsOpen); err != nil {
		return c, err
	}
	rows, err := tx.Query(ctx, `
		SELECT currency, sum(claimed)::bigint, sum(collected)::bigint, sum(fees)::bigint, sum(debt)::bigint FROM (
			SELECT currency, amount AS claimed, 0::bigint AS collected, 0::bigint AS fees, 0::bigint AS debt FROM claims WHERE tenant_id = $1
			UNION ALL SELECT currency, 0, amount, fee, 0 FROM charges WHERE tenant_id = $1 AND state = 'succeeded'
			UNION ALL SELECT currency, 0, -amount, 0, 0 FROM refunds WHERE tenant_id = $1 AND state = 'succeeded'
			UNION ALL SELECT r.currency, 0, -s.amount, 0, 0 FROM reversal_shares s JOIN reversals r ON r.tenant_id = $1 AND r.reversal_id = s.reversal_id WHERE s.tenant_id = $1
			UNION ALL SELECT currency, 0, 0, 0, amount FROM debts WHERE tenant_id = $1 AND state = 'open') AS m
		GROUP BY currency`, tx.Tenant)
	if err != nil {
		return c, err
	}
	var currency citygate.Currency
	var t Totals
	_, err = pgx.ForEachRow(rows, []any{&currency, &t.Claimed, &t.Collected, &t.Fees, &t.Debt}, func() error {
		c.Money[currency] = t
		return nil
	})
	return c, err
}
