package pricing

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// movePools notes which pools rides are in, and gives every pool that is concerned:
// those that rides of journeys were in, and those they are in now. Their rows are
// locked, in the order of journeys, until the transaction ends. A ride that is in no
// pool any more stays where it was: what is told about it still has to go somewhere.
func movePools(ctx context.Context, tx *pg.Tx, journeys, pools []citygate.UUID, in map[citygate.UUID]citygate.UUID) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT journey_id, pool_id FROM fare_pool_rides
		WHERE tenant_id = $1 AND (journey_id = ANY($2::uuid[]) OR pool_id = ANY($3::uuid[])) ORDER BY journey_id FOR UPDATE`, int64(tx.Tenant), journeys, pools)
	if err != nil {
		return nil, err
	}
	was := make(map[citygate.UUID]citygate.UUID)
	var journey, pool citygate.UUID
	if _, err := pgx.ForEachRow(rows, []any{&journey, &pool}, func() error { was[journey] = pool; return nil }); err != nil {
		return nil, err
	}
	touched := slices.Clone(pools)
	var ids, to []citygate.UUID
	for _, id := range journeys {
		if old, ok := was[id]; ok {
			touched = append(touched, old)
		}
		if pool, ok := in[id]; ok && was[id] != pool {
			ids, to = append(ids, id), append(to, pool)
		}
	}
	for from := 0; from < len(ids); from += rowsMax {
		until := min(from+rowsMax, len(ids))
		if _, err := tx.Exec(ctx, `
			INSERT INTO fare_pool_rides (tenant_id, journey_id, pool_id) SELECT $1, journey, pool FROM unnest($2::uuid[], $3::uuid[]) AS u (journey, pool)
			ON CONFLICT (tenant_id, journey_id) DO UPDATE SET pool_id = excluded.pool_id`, int64(tx.Tenant), ids[from:until], to[from:until]); err != nil {
			return nil, err
		}
	}
	return sortedIDs(touched), nil
}

// poolsOf locks the pools that journeys are in.
func poolsOf(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) (map[citygate.UUID]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT r.journey_id, r.pool_id FROM fare_pool_rides r WHERE r.tenant_id = $1 AND r.pool_id IN (
			SELECT p.pool_id FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
				SELECT pool_id FROM fare_pool_rides WHERE tenant_id = $1 AND journey_id = u.id OFFSET 0) AS p)
		ORDER BY r.journey_id FOR UPDATE OF r`, int64(tx.Tenant), journeys)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]citygate.UUID)
	var journey, pool citygate.UUID
	_, err = pgx.ForEachRow(rows, []any{&journey, &pool}, func() error { out[journey] = pool; return nil })
	return out, err
}

// issuersOf gives the tenants that journeys were claimed from.
func issuersOf(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) (map[citygate.UUID]citygate.TenantID, error) {
	rows, err := tx.Query(ctx, `
		SELECT u.id, d.issuer_tenant FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT issuer_tenant FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id ORDER BY n DESC LIMIT 1) AS d`, int64(tx.Tenant), journeys)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]citygate.TenantID)
	var journey citygate.UUID
	var issuer int64
	_, err = pgx.ForEachRow(rows, []any{&journey, &issuer}, func() error { out[journey] = citygate.TenantID(issuer); return nil })
	return out, err
}

const shareColumns = `journey_id, operator_id, n, amount, currency, taps, event_time, business_date`

func collectShares(rows pgx.Rows, err error) ([]shareRow, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s shareRow, err error) {
		var operator int64
		err = row.Scan(&s.journey, &operator, &s.n, &s.amount, &s.cur, &s.taps, &s.at, &s.date)
		s.operator, s.at = citygate.TenantID(operator), s.at.UTC()
		return s, err
	})
}

// lastShares gives the shares of journeys as they stand.
func lastShares(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) (map[shareKey]shareRow, error) {
	rows, err := collectShares(tx.Query(ctx, `
		SELECT DISTINCT ON (s.journey_id, s.operator_id) s.* FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT `+shareColumns+` FROM fare_shares WHERE tenant_id = $1 AND journey_id = u.id OFFSET 0) AS s
		ORDER BY s.journey_id, s.operator_id, s.n DESC`, int64(tx.Tenant), journeys))
	out := make(map[shareKey]shareRow, len(rows))
	for _, s := range rows {
		out[s.shareKey] = s
	}
	return out, err
}

func insertShares(ctx context.Context, tx *pg.Tx, shares []shareRow) error {
	for chunk := range slices.Chunk(shares, rowsMax) {
		n := len(chunk)
		ids, operators, ns, amounts, currencies := make([]citygate.UUID, n), make([]int64, n), make([]int32, n), make([]int64, n), make([]string, n)
		taps, ats, dates := make([]string, n), make([]time.Time, n), make([]time.Time, n)
		for i := range chunk {
			s := &chunk[i]
			ids[i], operators[i], ns[i], amounts[i], currencies[i] = s.journey, int64(s.operator), int32(s.n), s.amount, string(s.cur)
			taps[i], ats[i], dates[i] = s.taps, s.at, s.date.Time()
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO fare_shares (tenant_id, decided_at, journey_id, operator_id, n, amount, currency, taps, event_time, business_date)
			SELECT $1, $2, * FROM unnest($3::uuid[], $4::bigint[], $5::int[], $6::bigint[], $7::text[], $8::text[], $9::timestamptz[], $10::date[])
				AS u (journey, operator, n, amount, currency, taps, at, date)
			RETURNING n`, int64(tx.Tenant), tx.Now, ids, operators, ns, amounts, currencies, taps, ats, dates); err != nil {
			return raced(err)
		}
	}
	return nil
}

// sharedBefore gives what is posted of shares that an authority gave.
func sharedBefore(ctx context.Context, tx *pg.Tx, from citygate.TenantID, items []interbook.FareShare) (map[citygate.UUID]posting, error) {
	ids := make([]citygate.UUID, len(items))
	for i := range items {
		ids[i] = items[i].Journey
	}
	rows, err := tx.Query(ctx, `
		SELECT d.journey_id, d.n, d.amount, d.payee, d.shared_by FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT journey_id, n, amount, payee, shared_by FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id ORDER BY n DESC LIMIT 1) AS d`,
		int64(tx.Tenant), sortedIDs(ids))
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]posting, len(ids))
	var id citygate.UUID
	var p posting
	var by int64
	_, err = pgx.ForEachRow(rows, []any{&id, &p.n, &p.amount, &p.payee, &by}, func() error {
		if citygate.TenantID(by) != from {
			return ErrFacts.Because(nil, "tenant %d gives a share of journey %s, which is none of its", from, id)
		}
		out[id] = p
		return nil
	})
	return out, err
}

// insertAdvices stores advices, which are in the order of their keys, and gives those
// that were not stored before.
func insertAdvices(ctx context.Context, tx *pg.Tx, advices []advice) ([]advice, error) {
	var fresh []advice
	for chunk := range slices.Chunk(advices, rowsMax) {
		n := len(chunk)
		ids, kinds, refs, issuers, contras := make([]citygate.UUID, n), make([]string, n), make([]string, n), make([]int64, n), make([]string, n)
		amounts, currencies, dates, ats := make([]int64, n), make([]string, n), make([]time.Time, n), make([]time.Time, n)
		for i := range chunk {
			a := &chunk[i]
			ids[i], kinds[i], refs[i], issuers[i], contras[i] = a.journey, a.kind, a.ref, int64(a.issuer), a.contra
			amounts[i], currencies[i], dates[i], ats[i] = a.amount, string(a.cur), a.date.Time(), a.at
		}
		rows, err := tx.Query(ctx, `
			INSERT INTO fare_advices (tenant_id, journey_id, kind, ref, issuer_id, contra, amount, currency, business_date, at)
			SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::date[], $10::timestamptz[])
				AS u (journey, kind, ref, issuer, contra, amount, currency, date, at)
			ON CONFLICT (tenant_id, journey_id, kind, ref) DO NOTHING RETURNING journey_id, kind, ref`,
			int64(tx.Tenant), ids, kinds, refs, issuers, contras, amounts, currencies, dates, ats)
		if err != nil {
			return nil, err
		}
		type key struct {
			journey   citygate.UUID
			kind, ref string
		}
		isNew := make(map[key]bool, n)
		var k key
		if _, err := pgx.ForEachRow(rows, []any{&k.journey, &k.kind, &k.ref}, func() error { isNew[k] = true; return nil }); err != nil {
			return nil, err
		}
		for _, a := range chunk {
			if isNew[key{a.journey, a.kind, a.ref}] {
				fresh = append(fresh, a)
			}
		}
	}
	return fresh, nil
}

func insertPassed(ctx context.Context, tx *pg.Tx, list []passed) error {
	for chunk := range slices.Chunk(list, rowsMax) {
		n := len(chunk)
		ids, operators, kinds, parts := make([]citygate.UUID, n), make([]int64, n), make([]string, n), make([]int32, n)
		amounts, currencies, dates, ats := make([]int64, n), make([]string, n), make([]time.Time, n), make([]time.Time, n)
		for i := range chunk {
			p := &chunk[i]
			ids[i], operators[i], kinds[i], parts[i] = p.journey, int64(p.operator), p.kind, int32(p.part)
			amounts[i], currencies[i], dates[i], ats[i] = p.amount, string(p.cur), p.date.Time(), p.at
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO fare_passed (tenant_id, journey_id, operator_id, kind, part, amount, currency, business_date, at)
			SELECT $1, * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::int[], $6::bigint[], $7::text[], $8::date[], $9::timestamptz[])
				AS u (journey, operator, kind, part, amount, currency, date, at)
			RETURNING part`, int64(tx.Tenant), ids, operators, kinds, parts, amounts, currencies, dates, ats); err != nil {
			return raced(err)
		}
	}
	return nil
}

// poolStates reads what decides what is passed on of pools.
func poolStates(ctx context.Context, tx *pg.Tx, pools []citygate.UUID) (map[citygate.UUID]*poolState, error) {
	out := make(map[citygate.UUID]*poolState, len(pools))
	of := func(pool citygate.UUID) *poolState {
		if out[pool] == nil {
			out[pool] = &poolState{advised: make(map[string]int64)}
		}
		return out[pool]
	}
	const rides = `SELECT r.pool_id, r.journey_id FROM unnest($2::uuid[]) AS u (id) JOIN fare_pool_rides r ON r.pool_id = u.id WHERE r.tenant_id = $1`
	rows, err := tx.Query(ctx, `
		SELECT r.pool_id, a.kind, sum(a.amount)::bigint FROM (`+rides+`) AS r CROSS JOIN LATERAL (
			SELECT kind, amount FROM fare_advices WHERE tenant_id = $1 AND journey_id = r.journey_id OFFSET 0) AS a
		GROUP BY r.pool_id, a.kind`, int64(tx.Tenant), pools)
	if err != nil {
		return nil, err
	}
	var pool citygate.UUID
	var kind string
	var amount int64
	if _, err := pgx.ForEachRow(rows, []any{&pool, &kind, &amount}, func() error { of(pool).advised[kind] = amount; return nil }); err != nil {
		return nil, err
	}
	rows, err = tx.Query(ctx, `
		SELECT r.pool_id, s.journey_id, s.operator_id, s.amount FROM (`+rides+`) AS r CROSS JOIN LATERAL (
			SELECT journey_id, operator_id, n, amount FROM fare_shares WHERE tenant_id = $1 AND journey_id = r.journey_id OFFSET 0) AS s
		ORDER BY r.pool_id, s.journey_id, s.operator_id, s.n`, int64(tx.Tenant), pools)
	if err != nil {
		return nil, err
	}
	at := make(map[shareKey]*poolShare)
	var k shareKey
	var operator int64
	place := make(map[shareKey]int)
	if _, err := pgx.ForEachRow(rows, []any{&pool, &k.journey, &operator, &amount}, func() error {
		k.operator = citygate.TenantID(operator)
		p := of(pool)
		i, known := place[k]
		if !known {
			i = len(p.shares)
			place[k] = i
			p.shares = append(p.shares, poolShare{shareKey: k, told: make(map[string]int64), parts: make(map[string]int)})
		}
		p.shares[i].amount = amount
		if amount != 0 {
			p.shares[i].ever = amount
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, p := range out {
		for i := range p.shares {
			at[p.shares[i].shareKey] = &p.shares[i]
		}
	}
	rows, err = tx.Query(ctx, `
		SELECT p.journey_id, p.operator_id, p.kind, sum(p.amount)::bigint, max(p.part) FROM (`+rides+`) AS r CROSS JOIN LATERAL (
			SELECT journey_id, operator_id, kind, amount, part FROM fare_passed WHERE tenant_id = $1 AND journey_id = r.journey_id OFFSET 0) AS p
		GROUP BY p.journey_id, p.operator_id, p.kind`, int64(tx.Tenant), pools)
	if err != nil {
		return nil, err
	}
	var part int
	_, err = pgx.ForEachRow(rows, []any{&k.journey, &operator, &kind, &amount, &part}, func() error {
		k.operator = citygate.TenantID(operator)
		if s := at[k]; s != nil {
			s.told[kind], s.parts[kind] = amount, part
		}
		return nil
	})
	return out, err
}

// deriveShares gives the transfers of shares, and of what was told about them.
func deriveShares(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	shares, err := collectShares(tx.Query(ctx, `SELECT `+shareColumns+` FROM fare_shares WHERE tenant_id = $1 ORDER BY journey_id, operator_id, n`, int64(tx.Tenant)))
	if err != nil {
		return err
	}
	for i := range shares {
		before := int64(0)
		if i > 0 && shares[i-1].shareKey == shares[i].shareKey {
			before = shares[i-1].amount
		}
		if t, ok := shares[i].transfer(tx.Tenant, before); ok {
			if err := yield(t); err != nil {
				return err
			}
		}
	}
	rows, err := tx.Query(ctx, `SELECT journey_id, kind, ref, issuer_id, contra, amount, currency, business_date, at FROM fare_advices WHERE tenant_id = $1`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var a advice
	var tenant int64
	if _, err := pgx.ForEachRow(rows, []any{&a.journey, &a.kind, &a.ref, &tenant, &a.contra, &a.amount, &a.cur, &a.date, &a.at}, func() error {
		a.issuer = citygate.TenantID(tenant)
		if t, ok := a.transfer(tx.Tenant); ok {
			return yield(t)
		}
		return nil
	}); err != nil {
		return err
	}
	rows, err = tx.Query(ctx, `SELECT journey_id, operator_id, kind, part, amount, currency, business_date, at FROM fare_passed WHERE tenant_id = $1`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var p passed
	_, err = pgx.ForEachRow(rows, []any{&p.journey, &tenant, &p.kind, &p.part, &p.amount, &p.cur, &p.date, &p.at}, func() error {
		p.operator = citygate.TenantID(tenant)
		return yield(p.transfer(tx.Tenant))
	})
	return err
}

// An OwedShare is what this tenant still owes an operator of its integrated tariff.
type OwedShare struct {
	Operator citygate.TenantID
	Currency citygate.Currency
	Amount   int64
}

// OwedShares gives the shares of operators less what was passed on of them, from
// rows that are not the books.
func OwedShares(ctx context.Context, tx *pg.Tx) ([]OwedShare, error) {
	rows, err := tx.Query(ctx, `
		SELECT operator_id, currency, sum(amount)::bigint FROM (
			SELECT s.operator_id, s.currency, s.amount FROM fare_shares s WHERE s.tenant_id = $1 AND NOT EXISTS (
				SELECT FROM fare_shares x WHERE x.tenant_id = $1 AND x.journey_id = s.journey_id AND x.operator_id = s.operator_id AND x.n > s.n)
			UNION ALL
			SELECT operator_id, currency, CASE kind WHEN 'recovered' THEN amount ELSE -amount END FROM fare_passed WHERE tenant_id = $1) AS o
		GROUP BY operator_id, currency HAVING sum(amount) <> 0 ORDER BY operator_id, currency`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[OwedShare])
}

// A Share is what an operator gets for a ride that its authority priced.
type Share struct {
	Journey      citygate.UUID
	Authority    citygate.TenantID
	Operator     citygate.TenantID
	N            int
	Amount       citygate.Money
	At           time.Time
	BusinessDate citygate.Date
	Taps         string          // the operator's own, "terminal:seq"
	Explanation  json.RawMessage // in the operator's book
}

// ListShares gives the shares of rides as they stand, in the order of journeys and
// operators behind one: those that the transaction's tenant gives, and those that it
// gets.
func ListShares(ctx context.Context, tx *pg.Tx, after citygate.UUID, operator citygate.TenantID, limit int) ([]Share, error) {
	rows, err := tx.Query(ctx, `
		WITH all_shares AS (
			SELECT DISTINCT ON (journey_id, operator_id) journey_id, tenant_id AS authority, operator_id, n, amount, currency, event_time, business_date, taps, '' AS explanation
			FROM fare_shares WHERE tenant_id = $1 AND journey_id >= $2 ORDER BY journey_id, operator_id, n DESC),
		got AS (
			SELECT DISTINCT ON (journey_id) journey_id, shared_by AS authority, tenant_id, n, amount, currency, event_time, business_date, taps, explanation::text
			FROM fare_decisions WHERE tenant_id = $1 AND shared_by <> 0 AND journey_id >= $2 ORDER BY journey_id, n DESC)
		SELECT * FROM (SELECT * FROM all_shares UNION ALL SELECT * FROM got) AS s WHERE (journey_id, operator_id) > ($2, $3)
		ORDER BY journey_id, operator_id LIMIT $4`, int64(tx.Tenant), after, int64(operator), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Share, err error) {
		var authority, operator int64
		var explanation string
		err = row.Scan(&s.Journey, &authority, &operator, &s.N, &s.Amount.Minor, &s.Amount.Currency, &s.At, &s.BusinessDate, &s.Taps, &explanation)
		s.Authority, s.Operator, s.At = citygate.TenantID(authority), citygate.TenantID(operator), s.At.UTC()
		if explanation != "" {
			s.Explanation = json.RawMessage(explanation)
		}
		return s, err
	})
}
