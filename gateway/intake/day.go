package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A DayTap is a stored tap with the raw code it was, nil if that is not kept any more.
type DayTap struct {
	Tap
	ClockSuspect bool
	Code         []byte
}

// selectDay looks where taps of a day can be: received from a day before it, as
// clocks run ahead, to the longest time that intake takes late ones.
const selectDay = `
	SELECT ` + tapColumns + `, t.clock_suspect, e.raw FROM (
		SELECT * FROM taps WHERE tenant_id = $1 AND business_date = $2 AND received_at BETWEEN $3 AND $4 AND (terminal, seq) > ($5, $6)
		ORDER BY terminal, seq LIMIT $7) AS t` + withVerdicts + `
	LEFT JOIN LATERAL (
		SELECT raw FROM tap_evidence WHERE tenant_id = $1 AND received_at = t.received_at AND digest = t.evidence_digest OFFSET 0) AS e ON true
	ORDER BY t.terminal, t.seq`

// TapsOfDay gives the taps of a business date behind a tap, refused ones included,
// by terminal and sequence number: at most limit, so that a day of any size goes
// through little memory.
func TapsOfDay(ctx context.Context, tx *pg.Tx, day citygate.Date, after citygate.TapID, limit int) ([]DayTap, error) {
	from := day.Time()
	rows, err := tx.Query(ctx, selectDay, tx.Tenant, day, from.Add(-2*clockLead), from.Add(400*24*time.Hour), int64(after.Terminal), int64(after.Seq), limit)
	if err != nil {
		return nil, fmt.Errorf("taps of %s: %w", day, err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d DayTap, err error) {
		var digest []byte
		err = row.Scan(&d.ID.Terminal, &d.ID.Seq, &d.Rider.Issuer, &d.Rider.List, &d.Rider.Index, &d.Counter, &d.Product,
			&d.Kind, &d.At, &d.Stop, &d.Route, &d.Vehicle, &d.Driver, &d.Party, &d.Entered.Minor, &d.Entered.Currency,
			&d.Reason, &d.Date, &d.Received, &digest, &d.Medium, &d.Shown, &d.ClockSuspect, &d.Code)
		d.Accepted = d.Reason == ""
		copy(d.Evidence[:], digest)
		return d, err
	})
}
