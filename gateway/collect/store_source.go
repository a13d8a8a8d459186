package collect

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func deriveLines(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT operator_id, journey_id, n, part, account_id, kind, delta, currency, business_date, at FROM claim_lines WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return err
	}
	var r lineRow
	_, err = pgx.ForEachRow(rows, []any{&r.Operator, &r.Journey, &r.N, &r.Part, &r.Account, &r.Kind, &r.Delta, &r.Currency, &r.BusinessDate, &r.At},
		func() error { return all(r.transfers(tx.Tenant)) })
	return err
}

func deriveCharges(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT our_id, aggregation_id, kind, account_id, contract, amount, currency, fee, state, business_date, final_at FROM charges
		WHERE tenant_id = $1 AND state IN ('succeeded', 'declined')`, tx.Tenant)
	if err != nil {
		return err
	}
	var r charge
	_, err = pgx.ForEachRow(rows, []any{&r.OurID, &r.Aggregation, &r.Kind, &r.Account, &r.Contract, &r.Amount, &r.Currency, &r.Fee, &r.State, &r.BusinessDate, &r.FinalAt},
		func() error { return all(r.transfers(tx.Tenant)) })
	return err
}

func deriveRefunds(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT our_id, journey_id, n, account_id, contract, amount, currency, state, business_date, final_at FROM refunds
		WHERE tenant_id = $1 AND state IN ('succeeded', 'void')`, tx.Tenant)
	if err != nil {
		return err
	}
	var r refund
	_, err = pgx.ForEachRow(rows, []any{&r.OurID, &r.Journey, &r.N, &r.Account, &r.Contract, &r.Amount, &r.Currency, &r.State, &r.BusinessDate, &r.FinalAt},
		func() error { return all(r.transfers(tx.Tenant)) })
	return err
}

func deriveWriteOffs(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT aggregation_id, operator_id, journey_id, bearer, part, account_id, amount, contract, currency, business_date, at FROM debt_write_offs WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return err
	}
	var r writeOff
	_, err = pgx.ForEachRow(rows, []any{&r.Aggregation, &r.Operator, &r.Journey, &r.Bearer, &r.Part, &r.Account, &r.Amount, &r.Contract, &r.Currency, &r.BusinessDate, &r.At},
		func() error { return all([]ledger.Transfer{r.transfer(tx.Tenant)}) })
	return err
}

func deriveAdvices(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `
		SELECT operator_id, journey_id, kind, ref_id, part, amount, contract, currency, business_date, at FROM advices WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return err
	}
	var r advice
	_, err = pgx.ForEachRow(rows, []any{&r.Operator, &r.Journey, &r.Kind, &r.Ref, &r.Part, &r.Amount, &r.Contract, &r.Currency, &r.BusinessDate, &r.At},
		func() error { return all(r.transfers(tx.Tenant)) })
	return err
}
