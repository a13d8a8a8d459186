package collect

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Contract is a tenant's agreement with a payment provider.
type Contract struct {
	Name    string          `json:"contract"`
	Adapter string          `json:"adapter"` // the product, such as "alipay"
	Config  json.RawMessage `json:"config"`
	FeePPM  int64           `json:"fee_ppm"` // of each succeeded charge, in millionths
	State   string          `json:"state"`   // active, closed
}

// AddContract adds a contract. The same again changes nothing; other terms
// under the same name are [ErrContract], as charges were booked under them.
func AddContract(ctx context.Context, tx *pg.Tx, actor string, c Contract) error {
	if len(c.Config) == 0 {
		c.Config = json.RawMessage("{}")
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO provider_contracts (tenant_id, contract, adapter, config, fee_ppm, state, created_at)
		VALUES ($1, $2, $3, $4, $5, 'active', $6) ON CONFLICT (tenant_id, contract) DO NOTHING`,
		tx.Tenant, c.Name, c.Adapter, string(c.Config), c.FeePPM, tx.Now)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 1 {
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "contract.add", Object: c.Name, After: map[string]any{"adapter": c.Adapter, "fee_ppm": c.FeePPM}})
	}
	var same bool
	err = tx.QueryRow(ctx, `
		SELECT adapter = $3 AND fee_ppm = $4 AND config = $5::jsonb FROM provider_contracts WHERE tenant_id = $1 AND contract = $2`,
		tx.Tenant, c.Name, c.Adapter, c.FeePPM, string(c.Config)).Scan(&same)
	if err == nil && !same {
		return ErrContract.Explain("contract %q", c.Name)
	}
	return err
}

// FindContract gives one of the tenant's contracts.
func FindContract(ctx context.Context, tx *pg.Tx, name string) (Contract, error) {
	all, err := Contracts(ctx, tx)
	if err != nil {
		return Contract{}, err
	}
	for _, c := range all {
		if c.Name == name {
			return c, nil
		}
	}
	return Contract{}, ErrSecret.Explain("there is no contract %q", name)
}

// Contracts gives the tenant's contracts by name.
func Contracts(ctx context.Context, tx *pg.Tx) ([]Contract, error) {
	rows, err := tx.Query(ctx, `
		SELECT contract, adapter, config::text, fee_ppm, state FROM provider_contracts WHERE tenant_id = $1 ORDER BY contract`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (c Contract, err error) {
		var config string
		err = r.Scan(&c.Name, &c.Adapter, &config, &c.FeePPM, &c.State)
		c.Config = json.RawMessage(config)
		return c, err
	})
}
