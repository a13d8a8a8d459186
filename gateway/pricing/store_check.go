package pricing

import (
	"context"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// A JourneyCheck counts what must not exist.
type JourneyCheck struct {
	// StrayTaps are accepted taps in no journey, and refused ones in one.
	StrayTaps int64
	// WithoutOneFare are journeys that are decided and have not exactly one
	// decision that nothing supersedes.
	WithoutOneFare int64
}

const (
	// A tap must be in one journey if it is accepted and in none if it is not, or was
	// handed over to an authority;
	// two journeys naming it count too.
	strayTapsSQL = `
		WITH named AS (
			SELECT split_part(part, ':', 1)::bigint AS terminal, split_part(part, ':', 2)::bigint AS seq, count(*) AS times
			FROM journeys j, unnest(string_to_array(j.taps, ' ')) AS part
			WHERE j.tenant_id = $1 AND part <> '' GROUP BY 1, 2)
		SELECT count(*) FROM tap_seen s
		LEFT JOIN tap_verdicts v ON v.tenant_id = $1 AND v.terminal = s.terminal AND v.seq = s.seq
		LEFT JOIN named n ON n.terminal = s.terminal AND n.seq = s.seq
		WHERE s.tenant_id = $1 AND coalesce(n.times, 0) <> CASE WHEN s.accepted AND v.seq IS NULL THEN 1 ELSE 0 END
		AND NOT EXISTS (SELECT FROM fare_handovers h WHERE h.tenant_id = $1 AND h.terminal = s.terminal AND h.seq = s.seq AND n.times IS NULL)`

	withoutOneFareSQL = `
		SELECT count(*) FROM (
			SELECT j.journey_id FROM journeys j
			LEFT JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id
				AND NOT EXISTS (SELECT FROM fare_decisions n WHERE n.tenant_id = $1 AND n.journey_id = d.journey_id AND n.supersedes = d.n)
			WHERE j.tenant_id = $1 AND j.state <> 'open'
			GROUP BY j.journey_id HAVING count(d.n) <> 1) AS x`
)

// CheckJourneys counts, by reading every tap and every decision of the tenant.
func CheckJourneys(ctx context.Context, tx *pg.Tx) (c JourneyCheck, err error) {
	if err := tx.QueryRow(ctx, strayTapsSQL, tx.Tenant).Scan(&c.StrayTaps); err != nil {
		return c, err
	}
	err = tx.QueryRow(ctx, withoutOneFareSQL, tx.Tenant).Scan(&c.WithoutOneFare)
	return c, err
}
