package pricing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A RideOf is what a tap became part of.
type RideOf struct {
	First bool           // the tap begins its ride
	Fare  citygate.Money // decided last; no currency = not decided, or not known
}

// A TapOf is a tap with its rider, by whom its ride is found.
type TapOf struct {
	ID    citygate.TapID
	Rider citygate.Rider
	At    time.Time
}

// rideSpan bounds how far from one of its taps a ride can have begun.
const rideSpan = 48 * time.Hour

const selectRidesOf = `
	SELECT u.terminal, u.seq, split_part(j.taps, ' ', 1) = u.terminal || ':' || u.seq, CASE WHEN j.state = 'priced' THEN j.amount ELSE 0 END,
	       CASE WHEN j.state = 'priced' THEN coalesce(d.currency, '') ELSE '' END
	FROM unnest($2::bigint[], $3::bigint[], $4::int[], $5::int[], $6::bigint[], $7::timestamptz[]) AS u (terminal, seq, issuer, list, idx, at)
	CROSS JOIN LATERAL (
		SELECT journey_id, taps, state, amount, last_n FROM journeys
		WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx AND starts_at BETWEEN u.at - $8::interval AND u.at + $8::interval
			AND u.terminal || ':' || u.seq = ANY(string_to_array(taps, ' ')) LIMIT 1) AS j
	LEFT JOIN LATERAL (
		SELECT currency FROM fare_decisions WHERE tenant_id = $1 AND journey_id = j.journey_id AND n = j.last_n OFFSET 0) AS d ON true`

// RidesOf gives the rides that taps became part of; what is in none is left out.
func RidesOf(ctx context.Context, tx *pg.Tx, taps []TapOf) (map[citygate.TapID]RideOf, error) {
	out := make(map[citygate.TapID]RideOf, len(taps))
	if len(taps) == 0 {
		return out, nil
	}
	terminals, seqs, indices := make([]int64, len(taps)), make([]int64, len(taps)), make([]int64, len(taps))
	issuers, lists, times := make([]int32, len(taps)), make([]int32, len(taps)), make([]time.Time, len(taps))
	for i, t := range taps {
		terminals[i], seqs[i] = int64(t.ID.Terminal), int64(t.ID.Seq)
		issuers[i], lists[i], indices[i], times[i] = int32(t.Rider.Issuer), int32(t.Rider.List), int64(t.Rider.Index), t.At
	}
	rows, err := tx.Query(ctx, selectRidesOf, tx.Tenant, terminals, seqs, issuers, lists, indices, times, rideSpan)
	if err != nil {
		return nil, fmt.Errorf("rides of %d taps: %w", len(taps), err)
	}
	var terminal, seq int64
	var r RideOf
	_, err = pgx.ForEachRow(rows, []any{&terminal, &seq, &r.First, &r.Fare.Minor, &r.Fare.Currency}, func() error {
		out[citygate.TapID{Terminal: uint32(terminal), Seq: uint64(seq)}] = r
		return nil
	})
	return out, err
}
