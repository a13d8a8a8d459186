package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Breaker says that routing takes a contract's provider to be down: calls in a
// row had no answer.
type Breaker struct {
	Contract string
	Failures int
	OpenedAt time.Time
	ProbeAt  time.Time // from then on one payment may try it
}

// Breakers gives the contracts that are taken to be down, by name.
func Breakers(ctx context.Context, tx *pg.Tx) (map[string]Breaker, error) {
	rows, err := tx.Query(ctx, `
		SELECT contract, failures, opened_at, probe_at FROM provider_breakers WHERE tenant_id = $1 AND opened_at IS NOT NULL`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Breaker])
	found := make(map[string]Breaker, len(all))
	for _, b := range all {
		b.OpenedAt, b.ProbeAt = b.OpenedAt.UTC(), b.ProbeAt.UTC()
		found[b.Contract] = b
	}
	return found, err
}

// PayersOf gives the contracts besides its own that an account's payer has agreed
// to, with the payer's name at each provider.
func PayersOf(ctx context.Context, tx *pg.Tx, account citygate.UUID) (map[string]string, error) {
	found, err := payersOf(ctx, tx, []citygate.UUID{account})
	return found[account], err
}
