package collect

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// markCharges gives charges that were taken to be sent, and that no provider can have
// seen, what names them to theirs beside our id. It is on disk before the first byte
// leaves: who asks about the charge later has to repeat it.
func markCharges(ctx context.Context, tx *pg.Tx, provider *adapters.Provider, batch []charge) error {
	mark := provider.Mark(tx.Now)
	if mark == "" {
		return nil
	}
	var ids []citygate.UUID
	for i := range batch {
		if batch[i].State == adapters.Created {
			batch[i].Mark = mark
			ids = append(ids, batch[i].ID)
		}
	}
	_, err := tx.Exec(ctx, `UPDATE charges SET mark = $2 WHERE tenant_id = $1 AND charge_id = ANY($3::uuid[])`, tx.Tenant, mark, ids)
	return err
}

// markRefunds is markCharges for refunds.
func markRefunds(ctx context.Context, tx *pg.Tx, provider *adapters.Provider, batch []refund) error {
	mark := provider.Mark(tx.Now)
	if mark == "" {
		return nil
	}
	var ids []citygate.UUID
	for i := range batch {
		if batch[i].State == string(adapters.Created) {
			batch[i].Mark = mark
			ids = append(ids, batch[i].ID)
		}
	}
	_, err := tx.Exec(ctx, `UPDATE refunds SET mark = $2 WHERE tenant_id = $1 AND refund_id = ANY($3::uuid[])`, tx.Tenant, mark, ids)
	return err
}
