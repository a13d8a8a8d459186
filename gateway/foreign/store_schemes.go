package foreign

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	upsertEntry = `
		INSERT INTO code_schemes (tenant_id, scheme, params, roots, operators, contract, opens, asks, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (tenant_id, scheme) DO UPDATE SET params = excluded.params, roots = excluded.roots, operators = excluded.operators,
			contract = excluded.contract, opens = excluded.opens, asks = excluded.asks, updated_at = excluded.updated_at`
	selectEntries = `
		SELECT scheme, params, roots, operators, contract, opens, asks FROM code_schemes WHERE tenant_id = $1 ORDER BY scheme`
)

func putEntry(ctx context.Context, tx *pg.Tx, e Entry) error {
	if e.Roots == nil {
		e.Roots = []bundle.ForeignRoot{}
	}
	roots, err := json.Marshal(e.Roots)
	if err != nil {
		return err
	}
	operators := make([]int64, len(e.Operators))
	for i, o := range e.Operators {
		operators[i] = int64(o)
	}
	_, err = tx.Exec(ctx, upsertEntry, tx.Tenant, string(e.Scheme), string(e.Params), roots, operators, e.Contract, e.Opens, e.Asks, tx.Now)
	return err
}

// Entries gives the schemes that the tenant of tx answers for, by their names.
func Entries(ctx context.Context, tx *pg.Tx) ([]Entry, error) {
	rows, err := tx.Query(ctx, selectEntries, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Entry, err error) {
		var params string
		var roots []byte
		var operators []int64
		if err := row.Scan(&e.Scheme, &params, &roots, &operators, &e.Contract, &e.Opens, &e.Asks); err != nil {
			return e, err
		}
		e.Params = []byte(params)
		for _, o := range operators {
			e.Operators = append(e.Operators, citygate.TenantID(o))
		}
		return e, json.Unmarshal(roots, &e.Roots)
	})
}

// For gives the entries of the tenant of tx as they stand in the trust bundles of
// an operator, itself included.
func For(ctx context.Context, tx *pg.Tx, operator citygate.TenantID) ([]bundle.Scheme, error) {
	entries, err := Entries(ctx, tx)
	if err != nil {
		return nil, err
	}
	var out []bundle.Scheme
	for _, e := range entries {
		if e.admits(tx.Tenant, operator) {
			roots := slices.Clone(e.Roots)
			slices.SortFunc(roots, CompareRoots)
			out = append(out, bundle.Scheme{Tenant: tx.Tenant, ID: e.Scheme, Params: e.Params, Roots: roots})
		}
	}
	return out, nil
}
