package collect

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func unpassedCharges(ctx context.Context, tx *pg.Tx) ([]charge, error) {
	rows, err := tx.Query(ctx, `
		SELECT charge_id, aggregation_id, our_id, contract, currency, fee, business_date FROM charges
		WHERE tenant_id = $1 AND state = 'succeeded' AND NOT passed
		ORDER BY business_date, account_key, our_id LIMIT $2 FOR UPDATE SKIP LOCKED`, tx.Tenant, passBatch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c charge, err error) {
		err = row.Scan(&c.ID, &c.Aggregation, &c.OurID, &c.Contract, &c.Currency, &c.Fee, &c.BusinessDate)
		return c, err
	})
}

func sharesOf(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) (map[citygate.UUID][]share, error) {
	rows, err := tx.Query(ctx, `
		SELECT s.charge_id, s.operator_id, s.journey_id, s.amount, s.fee, s.at, CASE WHEN c.kind IN ('recovery', 'first_ride') THEN coalesce((
			SELECT sum(a.amount)::bigint FROM advices a WHERE a.tenant_id = $1 AND a.ref_id = c.aggregation_id AND a.operator_id = s.operator_id
			AND a.journey_id = s.journey_id AND a.kind = 'borne'), 0) ELSE 0 END
		FROM charge_shares s JOIN charges c ON c.tenant_id = $1 AND c.charge_id = s.charge_id
		WHERE s.tenant_id = $1 AND s.charge_id = ANY($2::uuid[]) ORDER BY s.charge_id, s.at, s.operator_id, s.journey_id`, tx.Tenant, charges)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID][]share, len(charges))
	var s share
	_, err = pgx.ForEachRow(rows, []any{&s.charge, &s.operator, &s.journey, &s.amount, &s.fee, &s.at, &s.borne}, func() error {
		out[s.charge] = append(out[s.charge], s)
		return nil
	})
	return out, err
}

// storeFees keeps the shares of the fees and marks the charges as passed.
func storeFees(ctx context.Context, tx *pg.Tx, charges []charge, shares map[citygate.UUID][]share) error {
	var all []share
	for i := range charges {
		for _, s := range shares[charges[i].ID] {
			if s.fee != 0 {
				all = append(all, s)
			}
		}
	}
	for chunk := range slices.Chunk(all, rowsMax) {
		n := len(chunk)
		ids, journeys, operators, fees := make([]citygate.UUID, n), make([]citygate.UUID, n), make([]int64, n), make([]int64, n)
		for i, s := range chunk {
			ids[i], journeys[i], operators[i], fees[i] = s.charge, s.journey, int64(s.operator), s.fee
		}
		if _, err := tx.Exec(ctx, `
			UPDATE charge_shares s SET fee = u.fee FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[]) AS u (charge, operator, journey, fee)
			WHERE s.tenant_id = $1 AND s.charge_id = u.charge AND s.operator_id = u.operator AND s.journey_id = u.journey`,
			tx.Tenant, ids, operators, journeys, fees); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE charges SET passed = true WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[])`, tx.Tenant, chargeIDs(charges))
	return err
}

func unpassedDebts(ctx context.Context, tx *pg.Tx) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT aggregation_id FROM debts WHERE tenant_id = $1 AND (unpassed OR bear_at <= $3) ORDER BY aggregation_id LIMIT $2 FOR UPDATE SKIP LOCKED`,
		tx.Tenant, passBatch, tx.Now)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	_, err = tx.Exec(ctx, `UPDATE debts SET unpassed = false WHERE tenant_id = $1 AND aggregation_id = ANY($2::uuid[])`, tx.Tenant, ids)
	return ids, err
}

// LATERAL and OFFSET 0 make every look-up one of an index, whatever the planner
// knows of the tables: joined as sets, all that is owed may be compared with all
// that was told.
const owedOfDebts = `
	SELECT d.aggregation_id, l.operator_id, l.journey_id, l.amount, d.state, d.repaid_at IS NOT NULL, a.account_id,
	       t.told, t.told_parts, t.borne, t.borne_parts, t.provider, t.provider_parts, t.platform, t.platform_parts,
	       w.operator, w.issuer, w.provider, w.platform, w.recovered, w.parts,
	       a.contract, a.currency, a.business_date, l.at, d.opened_at, coalesce(c.beyond, 0), d.reversal_id IS NOT NULL, d.sale_id IS NOT NULL
	FROM unnest($2::uuid[]) AS u (id)
	CROSS JOIN LATERAL (
		SELECT aggregation_id, state, opened_at, repaid_at, reversal_id, sale_id FROM debts WHERE tenant_id = $1 AND aggregation_id = u.id OFFSET 0) AS d
	CROSS JOIN LATERAL (
		SELECT account_id, contract, currency, business_date FROM aggregations WHERE tenant_id = $1 AND aggregation_id = u.id OFFSET 0) AS a
	CROSS JOIN LATERAL (
		SELECT operator_id, journey_id, sum(delta)::bigint AS amount, min(at) AS at FROM claim_lines
		WHERE tenant_id = $1 AND aggregation_id = u.id GROUP BY operator_id, journey_id
		UNION ALL
		SELECT $1, t.sale_id, sum(t.amount)::bigint, (SELECT trip_at FROM charges WHERE tenant_id = $1 AND charge_id = (
			SELECT charge_id FROM taken_sales WHERE tenant_id = $1 AND sale_id = t.sale_id))
		FROM taken_sale_lines t WHERE t.tenant_id = $1 AND t.debt_id = u.id GROUP BY t.sale_id) AS l
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(CASE kind WHEN 'uncollected' THEN amount WHEN 'recovered' THEN -amount END), 0)::bigint AS told,
		       count(*) FILTER (WHERE kind IN ('uncollected', 'recovered'))::int AS told_parts,
		       coalesce(sum(amount) FILTER (WHERE kind = 'borne'), 0)::bigint AS borne, count(*) FILTER (WHERE kind = 'borne')::int AS borne_parts,
		       coalesce(sum(amount) FILTER (WHERE kind = 'provider_claim'), 0)::bigint AS provider, count(*) FILTER (WHERE kind = 'provider_claim')::int AS provider_parts,
		       coalesce(sum(amount) FILTER (WHERE kind = 'platform_claim'), 0)::bigint AS platform, count(*) FILTER (WHERE kind = 'platform_claim')::int AS platform_parts
		FROM advices WHERE tenant_id = $1 AND ref_id = u.id AND operator_id = l.operator_id AND journey_id = l.journey_id) AS t
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(amount) FILTER (WHERE bearer = 'operator'), 0)::bigint AS operator, coalesce(sum(amount) FILTER (WHERE bearer = 'issuer'), 0)::bigint AS issuer,
		       coalesce(sum(amount) FILTER (WHERE bearer = 'provider'), 0)::bigint AS provider, coalesce(sum(amount) FILTER (WHERE bearer = 'platform'), 0)::bigint AS platform,
		       coalesce(sum(amount) FILTER (WHERE bearer = 'recovered'), 0)::bigint AS recovered, count(*)::int AS parts
		FROM debt_write_offs WHERE tenant_id = $1 AND aggregation_id = u.id AND operator_id = l.operator_id AND journey_id = l.journey_id) AS w
	LEFT JOIN LATERAL (
		SELECT beyond FROM claims WHERE tenant_id = $1 AND operator_id = l.operator_id AND journey_id = l.journey_id OFFSET 0) AS c ON true
	ORDER BY d.aggregation_id, l.operator_id, l.journey_id`

// owedByJourney gives, for each journey of the debts, its part and what was told and
// written off of it. What was corrected while a recovery is under way is not owed any more,
// whether it will be refunded or come off the debt.
func owedByJourney(ctx context.Context, tx *pg.Tx, debts []citygate.UUID) ([]owedJourney, error) {
	rows, err := tx.Query(ctx, owedOfDebts, tx.Tenant, debts)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (o owedJourney, err error) {
		err = row.Scan(&o.aggregation, &o.operator, &o.journey, &o.owed, &o.state, &o.repaid, &o.account,
			&o.told.amount, &o.told.parts, &o.borne.amount, &o.borne.parts, &o.provider.amount, &o.provider.parts, &o.platform.amount, &o.platform.parts,
			&o.off.operator, &o.off.issuer, &o.off.provider, &o.off.platform, &o.off.recovered, &o.offParts,
			&o.contract, &o.currency, &o.date, &o.at, &o.opened, &o.beyond, &o.reversal, &o.sale)
		return o, err
	})
}

// Unreleased gives the succeeded charges of which something is still to be
// released once they are reconciled: all that never were, and those that a
// refund was made of since.
func Unreleased(ctx context.Context, tx *pg.Tx) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `SELECT charge_id FROM charges WHERE tenant_id = $1 AND state = 'succeeded' AND NOT released ORDER BY charge_id`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

// clearedNow gives the differences between what is cleared of each journey in
// the charges and what was told, and marks the charges as released. What was
// taken back from us is cleared no more. What was corrected away is the rider's from then on, whether or not the provider has
// given it back: an operator is never paid a fare that does not stand.
func clearedNow(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) ([]advice, error) {
	// Two releases of one charge at once must not tell the same difference twice.
	locked, err := tx.Query(ctx, `
		SELECT charge_id FROM charges WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[]) AND state = 'succeeded' AND passed ORDER BY charge_id FOR UPDATE`, tx.Tenant, charges)
	if err != nil {
		return nil, err
	}
	ready, err := pgx.CollectRows(locked, pgx.RowTo[citygate.UUID])
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `UPDATE charges SET released = true WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[])`, tx.Tenant, ready); err != nil {
		return nil, err
	}
	// LATERAL keeps every look-up on its primary key: joined as sets, the planner
	// compares all refunds with all shares on tables it has no statistics of.
	rows, err := tx.Query(ctx, `
		SELECT s.operator_id, s.journey_id, u.charge, coalesce(t.parts, 0),
		       s.amount - s.fee - p.borne - v.reversed - coalesce(b.amount, 0) - coalesce(t.amount, 0), c.contract, c.currency, c.business_date
		FROM unnest($2::uuid[]) AS u (charge)
		CROSS JOIN LATERAL (
			SELECT kind, aggregation_id, contract, currency, business_date FROM charges WHERE tenant_id = $1 AND charge_id = u.charge OFFSET 0) AS c
		CROSS JOIN LATERAL (
			SELECT operator_id, journey_id, amount, fee FROM charge_shares WHERE tenant_id = $1 AND charge_id = u.charge OFFSET 0) AS s
		CROSS JOIN LATERAL ( -- what a recovery brings in of it is the issuer's
			SELECT coalesce(sum(amount), 0)::bigint AS borne FROM advices
			WHERE c.kind IN ('recovery', 'first_ride') AND tenant_id = $1 AND ref_id = c.aggregation_id AND operator_id = s.operator_id AND journey_id = s.journey_id AND kind = 'borne') AS p
		CROSS JOIN LATERAL ( -- what the provider took back of it, and did not return
			SELECT coalesce(sum(amount), 0)::bigint AS reversed FROM reversal_shares
			WHERE tenant_id = $1 AND charge_id = u.charge AND operator_id = s.operator_id AND journey_id = s.journey_id) AS v
		LEFT JOIN LATERAL (
			SELECT sum(amount)::bigint AS amount FROM refunds
			WHERE tenant_id = $1 AND charge_id = u.charge AND operator_id = s.operator_id AND journey_id = s.journey_id AND state NOT IN ('void', 'replaced')) AS b ON true
		LEFT JOIN LATERAL (
			SELECT sum(amount)::bigint AS amount, count(*)::int AS parts FROM advices
			WHERE tenant_id = $1 AND ref_id = u.charge AND operator_id = s.operator_id AND journey_id = s.journey_id AND kind = 'cleared') AS t ON true
		WHERE s.amount - s.fee - p.borne - v.reversed - coalesce(b.amount, 0) <> coalesce(t.amount, 0)
		ORDER BY s.operator_id, u.charge, s.journey_id`, tx.Tenant, ready)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a advice, err error) {
		a.Kind, a.At = interbook.AdviceCleared, tx.Now
		err = row.Scan(&a.Operator, &a.Journey, &a.Ref, &a.Part, &a.Amount, &a.Contract, &a.Currency, &a.BusinessDate)
		return a, err
	})
}

func storeAdvices(ctx context.Context, tx *pg.Tx, advices []advice) error {
	for chunk := range slices.Chunk(advices, rowsMax) {
		n := len(chunk)
		operators, amounts, parts := make([]int64, n), make([]int64, n), make([]int32, n)
		journeys, refs := make([]citygate.UUID, n), make([]citygate.UUID, n)
		kinds, contracts, currencies := make([]string, n), make([]string, n), make([]string, n)
		dates, ats := make([]citygate.Date, n), make([]time.Time, n)
		for i := range chunk {
			a := &chunk[i]
			operators[i], amounts[i], parts[i] = int64(a.Operator), a.Amount, int32(a.Part)
			journeys[i], refs[i] = a.Journey, a.Ref
			kinds[i], contracts[i], currencies[i] = a.Kind, a.Contract, string(a.Currency)
			dates[i], ats[i] = a.BusinessDate, a.At
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO advices (tenant_id, operator_id, journey_id, kind, ref_id, part, amount, contract, currency, business_date, at)
			SELECT $1, operator, journey, kind, ref, part, amount, contract, currency, date, at
			FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::int[], $7::bigint[], $8::text[], $9::text[], $10::date[], $11::timestamptz[])
			     AS u (operator, journey, kind, ref, part, amount, contract, currency, date, at)
			ON CONFLICT (tenant_id, ref_id, operator_id, journey_id, kind, part) DO NOTHING`,
			tx.Tenant, operators, journeys, kinds, refs, parts, amounts, contracts, currencies, dates, ats)
		if err != nil {
			return err
		}
		if int(tag.RowsAffected()) != n {
			return ErrLost.Because(nil, "%d of %d advices were told already", n-int(tag.RowsAffected()), n)
		}
	}
	return nil
}
