package collect

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

type aggregationKey struct {
	account citygate.UUID
	date    citygate.Date
}

// An addition is what a batch of claims adds to one account's fares of a date.
type addition struct {
	aggregationKey
	account Account
	ordinal int // of the aggregation it is tried on
	id      citygate.UUID
	delta   int64
	taps    int
}

// aim has the addition tried on the ordinal-th aggregation of its account and
// date. Its id follows from those, so the primary key holds them unique.
func (a *addition) aim(tenant citygate.TenantID, currency citygate.Currency, ordinal int) {
	a.ordinal = ordinal
	a.id = ledger.DeriveID(a.date.Time(), "aggregation", tenant.String(), a.account.ID.String(), string(currency), a.date.String(), strconv.Itoa(ordinal))
}

// additions adds up claims by account and date.
func additions(claims []*claim) map[aggregationKey]*addition {
	sums := make(map[aggregationKey]*addition, len(claims))
	for _, cl := range claims {
		k := aggregationKey{cl.account.ID, cl.BusinessDate}
		a := sums[k]
		if a == nil {
			a = &addition{aggregationKey: k, account: cl.account}
			sums[k] = a
		}
		a.delta += cl.delta
		if cl.first {
			a.taps += len(cl.Taps)
		}
	}
	return sums
}

// addFares adds the fares of claims to the open aggregation of each one's account
// and date, makes those that are not there, and gives their ids. An aggregation
// that reaches a limit is due now.
func addFares(ctx context.Context, tx *pg.Tx, currency citygate.Currency, limits limits, claims []*claim, closes func(citygate.Date) time.Time) (map[aggregationKey]citygate.UUID, error) {
	sums := additions(claims)
	into := make(map[aggregationKey]citygate.UUID, len(sums))
	left := slices.Collect(maps.Values(sums))
	for _, a := range left {
		a.aim(tx.Tenant, currency, 1) // most accounts have one a day
	}
	// An account with many on one day takes several looks, and between looking and
	// adding another transaction may close one.
	const rounds = 1000
	for range rounds {
		added, err := upsertAggregations(ctx, tx, currency, limits, left, closes)
		if err != nil {
			return nil, err
		}
		left = slices.DeleteFunc(left, func(a *addition) bool {
			if added[a.id] {
				into[a.aggregationKey] = a.id
			}
			return added[a.id]
		})
		if len(left) == 0 {
			return into, nil
		}
		if err := aimAtLast(ctx, tx, currency, left); err != nil {
			return nil, err
		}
	}
	return nil, pg.ErrUnavailable.Because(nil, "%d accounts have thousands of aggregations on one day", len(left))
}

// upsertAggregations adds to the aggregations that additions aim at, in the order
// of their ids, and makes those that are not there. It gives the ids of those
// that took what was added: a closed one does not.
func upsertAggregations(ctx context.Context, tx *pg.Tx, currency citygate.Currency, limits limits, sums []*addition, closes func(citygate.Date) time.Time) (map[citygate.UUID]bool, error) {
	slices.SortFunc(sums, func(a, b *addition) int { return bytes.Compare(a.id[:], b.id[:]) })
	added := make(map[citygate.UUID]bool, len(sums))
	due := map[citygate.Date]time.Time{}
	for chunk := range slices.Chunk(sums, rowsMax) {
		n := len(chunk)
		ids, accounts, dates := make([]citygate.UUID, n), make([]citygate.UUID, n), make([]citygate.Date, n)
		keys, contracts, payers := make([]string, n), make([]string, n), make([]string, n)
		ordinals, taps := make([]int32, n), make([]int32, n)
		deltas, ends := make([]int64, n), make([]time.Time, n)
		amounts, counts := make([]int64, n), make([]int32, n)
		for i, a := range chunk {
			ids[i], accounts[i], dates[i] = a.id, a.account.ID, a.date
			keys[i], contracts[i], payers[i] = a.account.Key, a.account.Contract, a.account.PayerRef
			ordinals[i], taps[i], deltas[i] = int32(a.ordinal), int32(a.taps), a.delta
			if _, known := due[a.date]; !known {
				due[a.date] = closes(a.date)
			}
			rules := limits.of(a.account.Contract)
			ends[i] = due[a.date]
			if rules.within > 0 && tx.Now.Add(rules.within).Before(ends[i]) {
				ends[i] = tx.Now.Add(rules.within)
			}
			amounts[i], counts[i] = rules.AmountLimit, int32(rules.CountLimit)
		}
		rows, err := tx.Query(ctx, `
			INSERT INTO aggregations AS a (tenant_id, aggregation_id, account_id, account_key, contract, payer_ref, currency, business_date, ordinal,
			                               state, total, taps, opened_at, closes_at)
			SELECT $1, id, account, key, contract, payer, $2, date, ordinal, 'open', delta, taps, $3,
			       CASE WHEN (most > 0 AND delta >= most) OR (count > 0 AND taps >= count) THEN least(due, $3) ELSE due END
			FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::date[], $10::int[], $11::bigint[], $12::int[], $13::timestamptz[],
			            $14::bigint[], $15::int[])
			     AS u (id, account, key, contract, payer, date, ordinal, delta, taps, due, most, count)
			ON CONFLICT (tenant_id, aggregation_id) DO UPDATE
			SET total = a.total + excluded.total, taps = a.taps + excluded.taps,
			    closes_at = CASE WHEN EXISTS (
			                    SELECT FROM unnest($4::uuid[], $14::bigint[], $15::int[]) AS l (id, most, count) WHERE l.id = a.aggregation_id
			                    AND (l.most > 0 AND a.total + excluded.total >= l.most OR l.count > 0 AND a.taps + excluded.taps >= l.count))
			                THEN least(a.closes_at, $3) ELSE a.closes_at END
			WHERE a.state = 'open'
			RETURNING aggregation_id`,
			tx.Tenant, string(currency), tx.Now,
			ids, accounts, keys, contracts, payers, dates, ordinals, deltas, taps, ends, amounts, counts)
		if err != nil {
			return nil, err
		}
		var id citygate.UUID
		if _, err := pgx.ForEachRow(rows, []any{(*[16]byte)(&id)}, func() error {
			added[id] = true
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return added, nil
}

// aimAtLast has additions whose aggregation is closed tried on the last one of
// their account and date, or behind it if that is closed. It looks for some at a
// time by their ids, which follow from their ordinals.
func aimAtLast(ctx context.Context, tx *pg.Tx, currency citygate.Currency, sums []*addition) error {
	const ahead = 8
	for at := range slices.Chunk(sums, rowsMax/ahead) {
		type place struct {
			of      *addition
			ordinal int
		}
		places := make(map[citygate.UUID]place, ahead*len(at))
		ids := make([]citygate.UUID, 0, ahead*len(at))
		for _, a := range at {
			from := a.ordinal
			for ordinal := from; ordinal < from+ahead; ordinal++ {
				a.aim(tx.Tenant, currency, ordinal)
				places[a.id] = place{a, ordinal}
				ids = append(ids, a.id)
			}
			a.aim(tx.Tenant, currency, from)
		}
		rows, err := tx.Query(ctx, `
			SELECT a.aggregation_id, a.state FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
				SELECT aggregation_id, state FROM aggregations WHERE tenant_id = $1 AND aggregation_id = u.id OFFSET 0) AS a`, tx.Tenant, ids)
		if err != nil {
			return err
		}
		var id citygate.UUID
		var state string
		if _, err := pgx.ForEachRow(rows, []any{&id, &state}, func() error {
			p := places[id]
			if state != aggregationOpen {
				p.ordinal++
			}
			if p.ordinal > p.of.ordinal {
				p.of.aim(tx.Tenant, currency, p.ordinal)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// lowerAggregations moves the totals of open aggregations by sums, which are
// negative. The rows are locked already.
func lowerAggregations(ctx context.Context, tx *pg.Tx, sums map[citygate.UUID]int64) error {
	ids := slices.SortedFunc(maps.Keys(sums), func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(ids, rowsMax) {
		deltas := make([]int64, len(chunk))
		for i, id := range chunk {
			deltas[i] = sums[id]
		}
		if _, err := tx.Exec(ctx, `
			UPDATE aggregations a SET total = a.total + u.delta FROM unnest($2::uuid[], $3::bigint[]) AS u (id, delta)
			WHERE a.tenant_id = $1 AND a.aggregation_id = u.id`, tx.Tenant, chunk, deltas); err != nil {
			return err
		}
	}
	return nil
}
