package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A ChargeView is a charge as people look at it.
type ChargeView struct {
	ID          citygate.UUID
	Kind        string // charge, recovery
	State       string
	Amount      citygate.Money
	Fee         int64
	Contract    string
	OurID       string
	ProviderRef string
	Reason      string // the provider's own code
	EverUnknown bool
	CreatedAt   time.Time
}

// Charges lists the tenant's charges by id, after one of them, at most limit.
func Charges(ctx context.Context, tx *pg.Tx, after citygate.UUID, limit int) ([]ChargeView, error) {
	rows, err := tx.Query(ctx, `
		SELECT charge_id, kind, state, amount, currency, fee, contract, our_id, provider_ref, reason, ever_unknown, created_at
		FROM charges WHERE tenant_id = $1 AND charge_id > $2 ORDER BY charge_id LIMIT $3`, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (v ChargeView, err error) {
		err = row.Scan(&v.ID, &v.Kind, &v.State, &v.Amount.Minor, &v.Amount.Currency, &v.Fee, &v.Contract, &v.OurID, &v.ProviderRef,
			&v.Reason, &v.EverUnknown, &v.CreatedAt)
		v.CreatedAt = v.CreatedAt.UTC()
		return v, err
	})
}
