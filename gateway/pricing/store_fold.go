package pricing

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// journeysFrom gives the journeys of each rider that begin at or after from (unix
// milliseconds) and have taps. The riders' rows are locked.
func journeysFrom(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from []int64) ([]stored, error) {
	issuers, lists, indices := riderColumns(riders)
	times := make([]time.Time, len(from))
	for i, at := range from {
		times[i] = time.UnixMilli(at).UTC()
	}
	return collectJourneys(tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM unnest($2::int[], $3::int[], $4::bigint[], $5::timestamptz[]) AS u (issuer, list, idx, since) CROSS JOIN LATERAL (
			SELECT * FROM journeys
			WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx AND starts_at >= u.since AND state <> 'empty'
			OFFSET 0) AS j`,
		int64(tx.Tenant), issuers, lists, indices, times))
}

// lastOfSpans gives, for each span, the last rides in it with the state after them,
// and those that begin at its end. What except names is about to change.
func lastOfSpans(ctx context.Context, tx *pg.Tx, spans []span, except []citygate.UUID) ([]before, error) {
	riders, since, until := make([]citygate.Rider, len(spans)), make([]int64, len(spans)), make([]int64, len(spans))
	for i, s := range spans {
		riders[i], since[i], until[i] = s.rider, s.from, s.until
	}
	issuers, lists, indices := riderColumns(riders)
	// Rides that begin with the first that changes are told apart by their first taps, by the caller.
	rows, err := tx.Query(ctx, `
		SELECT u.issuer, u.list, u.idx, j.starts_at, j.taps, j.state, j.journey_id
		FROM unnest($2::int[], $3::int[], $4::bigint[], $5::timestamptz[], $7::timestamptz[]) AS u (issuer, list, idx, until, since) CROSS JOIN LATERAL (
			(SELECT j.starts_at, j.taps, s.state::text, j.journey_id FROM journeys j JOIN fare_states s ON s.tenant_id = $1 AND s.journey_id = j.journey_id
			WHERE j.tenant_id = $1 AND j.issuer = u.issuer AND j.list = u.list AND j.idx = u.idx AND j.starts_at >= u.since AND j.starts_at < u.until AND j.state <> 'empty' AND NOT j.journey_id = ANY($6::uuid[])
			ORDER BY j.starts_at DESC FETCH FIRST 1 ROW WITH TIES)
			UNION ALL
			(SELECT j.starts_at, j.taps, s.state::text, j.journey_id FROM journeys j JOIN fare_states s ON s.tenant_id = $1 AND s.journey_id = j.journey_id
			WHERE j.tenant_id = $1 AND j.issuer = u.issuer AND j.list = u.list AND j.idx = u.idx AND j.starts_at = u.until AND j.state <> 'empty' AND NOT j.journey_id = ANY($6::uuid[]))) AS j`,
		int64(tx.Tenant), issuers, lists, indices, times(until), except, times(since))
	if err != nil {
		return nil, err
	}
	var found []before
	var issuer, list int32
	var index int64
	var at time.Time
	var taps, state string
	var id citygate.UUID
	_, err = pgx.ForEachRow(rows, []any{&issuer, &list, &index, &at, &taps, &state, (*[16]byte)(&id)}, func() error {
		ids, err := parseTaps(taps)
		if err != nil || len(ids) == 0 {
			return err
		}
		rider := citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(index)}
		found = append(found, before{journey.Journey{Rider: rider, First: ids[0], Taps: []journey.Tap{{ID: ids[0], At: at.UnixMilli()}}}, state, id})
		return nil
	})
	return found, err
}

// told is what is stored of a journey that is folded again.
type told struct{ explanation, state string }

// lastTold gives the last explanations and the states of the journeys of changes.
func lastTold(ctx context.Context, tx *pg.Tx, changes []*change) (map[citygate.UUID]told, error) {
	var ids []citygate.UUID
	var ns []int32
	for _, c := range changes {
		if c.old != nil {
			ids, ns = append(ids, c.id), append(ns, int32(c.old.lastN))
		}
	}
	out := make(map[citygate.UUID]told, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	rows, err := tx.Query(ctx, `
		SELECT u.id, coalesce(d.explanation, ''), coalesce(s.state, '') FROM unnest($2::uuid[], $3::int[]) AS u (id, n)
		LEFT JOIN LATERAL (SELECT explanation::text FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id AND n = u.n OFFSET 0) AS d ON true
		LEFT JOIN LATERAL (SELECT state::text FROM fare_states WHERE tenant_id = $1 AND journey_id = u.id OFFSET 0) AS s ON true`, int64(tx.Tenant), ids, ns)
	if err != nil {
		return nil, err
	}
	var id citygate.UUID
	var t told
	_, err = pgx.ForEachRow(rows, []any{&id, &t.explanation, &t.state}, func() error {
		out[id] = t
		return nil
	})
	return out, err
}

// writeStates keeps what folded journeys leave behind, and forgets what those
// left that lost their taps.
func writeStates(ctx context.Context, tx *pg.Tx, list map[citygate.UUID]*folded, gone []citygate.UUID) error {
	var ids []citygate.UUID
	for id, f := range list {
		if f.write {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(ids, rowsMax) {
		states := make([]string, len(chunk))
		for i, id := range chunk {
			states[i] = string(list[id].state)
			list[id].write = false
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO fare_states (tenant_id, journey_id, state) SELECT $1, id, state::json FROM unnest($2::uuid[], $3::text[]) AS u (id, state)
			ON CONFLICT (tenant_id, journey_id) DO UPDATE SET state = excluded.state`, int64(tx.Tenant), chunk, states); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `DELETE FROM fare_states WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[])`, int64(tx.Tenant), gone)
	return err
}

// insertAdjustments stores the lines of decisions.
func insertAdjustments(ctx context.Context, tx *pg.Tx, decided []*decision) error {
	var ids []citygate.UUID
	var ns, numbers []int32
	var kinds, rules, funders []string
	var amounts, prepaid []int64
	var applied []bool
	for _, d := range decided {
		for i, l := range d.lines {
			ids, ns, numbers = append(ids, d.journey), append(ns, int32(d.n)), append(numbers, int32(i+1))
			kinds, rules, funders = append(kinds, string(l.Kind)), append(rules, l.ID), append(funders, string(l.Funder))
			amounts, applied, prepaid = append(amounts, l.Minor), append(applied, !l.NotApplied), append(prepaid, l.Prepaid)
		}
	}
	for from := 0; from < len(ids); from += rowsMax {
		to := min(from+rowsMax, len(ids))
		if _, err := tx.Exec(ctx, `
			INSERT INTO fare_adjustments (tenant_id, journey_id, n, line, kind, rule, amount, funder, applied, prepaid)
			SELECT $1, * FROM unnest($2::uuid[], $3::int[], $4::int[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::boolean[], $10::bigint[])
				AS u (id, n, line, kind, rule, amount, funder, applied, prepaid)
			RETURNING n`, int64(tx.Tenant), ids[from:to], ns[from:to], numbers[from:to], kinds[from:to], rules[from:to], amounts[from:to], funders[from:to], applied[from:to], prepaid[from:to]); err != nil {
			return raced(err)
		}
	}
	return nil
}

// fundingsOf gives what others bear of the decisions of journeys, all of the
// tenant's if journeys is nil, by journey and number.
func fundingsOf(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) (map[citygate.UUID]map[int][]funding, error) {
	rows, err := tx.Query(ctx, `
		SELECT journey_id, n, funder, sum(amount)::bigint FROM (
			SELECT journey_id, n, funder, amount FROM fare_adjustments
			WHERE tenant_id = $1 AND applied AND funder <> '' AND ($2::uuid[] IS NULL OR journey_id = ANY($2::uuid[]))
			UNION ALL
			SELECT journey_id, n, '`+prepaidBy+`' || rule, prepaid FROM fare_adjustments
			WHERE tenant_id = $1 AND prepaid <> 0 AND ($2::uuid[] IS NULL OR journey_id = ANY($2::uuid[]))) AS a
		GROUP BY journey_id, n, funder HAVING sum(amount) <> 0 ORDER BY journey_id, n, funder`, int64(tx.Tenant), journeys)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]map[int][]funding)
	var id citygate.UUID
	var n int
	var f funding
	_, err = pgx.ForEachRow(rows, []any{&id, &n, &f.funder, &f.amount}, func() error {
		if out[id] == nil {
			out[id] = make(map[int][]funding)
		}
		out[id][n] = append(out[id][n], f)
		return nil
	})
	return out, err
}
