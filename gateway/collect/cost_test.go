package collect

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// What is owed of some debts costs a few rows for each of them, and not their
// square, on tables of which the planner knows nothing.
func TestOwedByJourneyCostsWhatIsAskedFor(t *testing.T) {
	const debts, each = 300, 2
	db := pgtest.New(t)
	owner := pgtest.Owner(t, db)
	for _, sql := range []string{
		`INSERT INTO aggregations (tenant_id, aggregation_id, account_id, account_key, contract, payer_ref, currency, business_date, ordinal, state, total, taps, opened_at, closes_at, closed_at)
		SELECT $1, id, id, '', 'box', '', 'HKD', '2026-11-21', 1, 'in_debt', 20, 2, $2, $2, $2 FROM ids`,
		`INSERT INTO debts (tenant_id, aggregation_id, account_id, opened_amount, amount, currency, business_date, state, tries, unpassed, opened_at)
		SELECT $1, id, id, 20, 20, 'HKD', '2026-11-21', 'open', 0, true, $2 FROM ids`,
		`INSERT INTO claim_lines (tenant_id, operator_id, journey_id, n, part, account_id, aggregation_id, kind, delta, currency, business_date, at)
		SELECT $1, o, id, 1, 1, id, id, 'fare', 10, 'HKD', '2026-11-21', $2 FROM ids, generate_series(1, 2) AS o`,
		`INSERT INTO advices (tenant_id, operator_id, journey_id, kind, ref_id, part, amount, contract, currency, business_date, at)
		SELECT $1, o, id, 'uncollected', id, 0, 4, 'box', 'HKD', '2026-11-21', $2 FROM ids, generate_series(1, 2) AS o`,
	} {
		owner.Exec(issuer, `WITH ids AS (SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid AS id FROM generate_series(1, 300) AS n) `+sql, issuer, pgtest.Epoch)
	}
	var ids []citygate.UUID
	var owed []owedJourney
	err := db.InTenant(t.Context(), issuer, func(tx *pg.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT aggregation_id FROM debts WHERE tenant_id = $1`, tx.Tenant)
		if err != nil {
			return err
		}
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[citygate.UUID]); err != nil {
			return err
		}
		owed, err = owedByJourney(t.Context(), tx, ids)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	right := func(o owedJourney) bool { return o.owed == 10 && o.told == sent{4, 1} && o.contract == "box" }
	if len(owed) != debts*each || !slices.ContainsFunc(owed, right) || slices.ContainsFunc(owed, func(o owedJourney) bool { return !right(o) }) {
		t.Errorf("owed of %d journeys, such as %+v", len(owed), owed[0])
	}
	const most = 20 // rows for each journey: index entries, and every step that hands them on
	for part := debts / 4; part <= debts; part *= 2 {
		if got := owner.Touched(issuer, owedOfDebts, issuer, ids[:part]); got > int64(part*each*most) {
			t.Errorf("%d debts of %d journeys each: %d rows were looked at, want at most %d", part, each, got, part*each*most)
		}
	}
}
