package city

import (
	"maps"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// The play goes on until every charge and every refund had its bill.
func TestRefundWithoutABillIsOpen(t *testing.T) {
	db := pgtest.New(t)
	const charge, refund = "01a20bb5-e600-7878-95f9-b766d1ec1045", "01a20bb5-e600-7878-95f9-b766d1ec1046"
	owner, noon := pgtest.Owner(t, db), time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	owner.Exec(collecting, `
		INSERT INTO charges (tenant_id, charge_id, aggregation_id, kind, attempt, our_id, contract, account_id, account_key, payer_ref, amount, currency, fee,
		                     subject, trip_at, business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, created_at, sent_at, final_at,
		                     route_version, route_rule, route_finding)
		VALUES ($1, $2, $2, 'charge', 1, 'C1', $3, $2, 'k', 'payer', 1000, 'CNY', 6,
		        'ride', $4, '2026-03-02', 'succeeded', false, 1, '', '', '', $4, false, false, $4, $4, $4, 0, '', '')`, int64(collecting), charge, alipayContract, noon)
	owner.Exec(collecting, `
		INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, our_id, contract, account_id, operator_id, journey_id, n, amount, currency, business_date,
		                     state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at, sent_at, final_at)
		VALUES ($1, $2, $3, 1, 'R1', $4, $3, 8, $3, 2, 100, 'CNY', '2026-03-02', 'succeeded', false, 1, '', '', '', $5, $5, $5, $5)`,
		int64(collecting), refund, charge, alipayContract, noon)
	check := func(want map[string]int) {
		t.Helper()
		got := map[string]int{}
		err := db.InTenant(t.Context(), collecting, func(tx *pg.Tx) error {
			return (&world{}).unimported(t.Context(), tx, tenants.Tenant{ID: collecting}, func(n int, what string) {
				if n > 0 {
					got[what] = n
				}
			})
		})
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("open %v, %v; want %v", got, err, want)
		}
	}
	judge := func(item string, refundID any) {
		owner.Exec(collecting, `
			INSERT INTO recon_items (tenant_id, contract, item, kind, state, owner, charge_id, refund_id, our_id, day, line_no, currency,
			                         expected, expected_fee, actual, actual_fee, diff, note, opened_at, resolved_at)
			VALUES ($1, $2, $3, 'matched', 'matched', '', $4, $5, 'C1', '2026-03-02', length($3), 'CNY', 0, 0, 0, 0, 0, '', $6, $6)`,
			int64(collecting), alipayContract, item, charge, refundID, noon)
	}
	check(map[string]int{"charges without a bill": 1, "refunds without a bill": 1})
	judge("charge/C1", nil)
	check(map[string]int{"refunds without a bill": 1})
	judge("refund/R01", refund)
	check(map[string]int{})
}

// collecting is a tenant that collects by Alipay.
const collecting = harbourCity
