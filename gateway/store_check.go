package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// These statements read what collect and recon wrote and nothing of the books:
// they are the second opinion that the books are held against.

// ownQueries give the account, the currency and the net amount that may stand
// on it, for accounts that concern one tenant alone.
var ownQueries = []string{
	// A rider owes what was accepted and not yet charged, and is owed refunds
	// that the provider has not confirmed. One that it declined explains nothing:
	// it stands on the rider's account until somebody has it made.
	`SELECT 'rider_receivable:' || account_id, currency, sum(amount)::bigint, 'fares to be charged, refunds to be made' FROM (
		SELECT l.account_id, l.currency, l.delta AS amount
		FROM claim_lines l JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = l.aggregation_id
		WHERE l.tenant_id = $1 AND a.state IN ('open', 'charging')
		UNION ALL
		SELECT r.account_id, r.currency, -r.amount
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = c.aggregation_id
		WHERE r.tenant_id = $1 AND r.n <> 0 AND r.state IN ('waiting', 'created', 'sent', 'unknown') AND a.state NOT IN ('open', 'charging')) AS m
	GROUP BY account_id, currency`,

	// Less what was written off, which lies with those who bear it.
	`SELECT 'rider_debt:' || d.account_id, d.currency, sum(d.amount - coalesce(w.amount, 0))::bigint, 'open debts'
	FROM debts d LEFT JOIN (SELECT aggregation_id, sum(amount) AS amount FROM debt_write_offs WHERE tenant_id = $1 GROUP BY 1) AS w ON w.aggregation_id = d.aggregation_id
	WHERE d.tenant_id = $1 AND d.state IN ('open', 'written_off') GROUP BY d.account_id, d.currency`,

	// Collected, and no bill has said anything about it yet.
	`SELECT 'provider_receivable:' || contract, currency, sum(amount)::bigint, 'payments waiting for their bill' FROM (
		SELECT c.contract, c.currency, c.amount - c.fee AS amount FROM charges c
		WHERE c.tenant_id = $1 AND c.state = 'succeeded' AND NOT EXISTS (
			SELECT FROM recon_items i WHERE i.tenant_id = $1 AND i.charge_id = c.charge_id AND i.refund_id IS NULL AND (i.kind = 'matched' OR i.expected <> 0))
		UNION ALL
		SELECT r.contract, r.currency, -r.amount FROM refunds r
		WHERE r.tenant_id = $1 AND r.state = 'succeeded' AND NOT EXISTS (
			SELECT FROM recon_items i WHERE i.tenant_id = $1 AND i.refund_id = r.refund_id AND (i.kind = 'matched' OR i.expected <> 0))
		UNION ALL
		SELECT v.contract, v.currency, -v.amount - v.fee FROM reversals v
		WHERE v.tenant_id = $1 AND v.applied_at IS NOT NULL AND NOT EXISTS (
			SELECT FROM recon_items i WHERE i.tenant_id = $1 AND i.refund_id = v.reversal_id AND (i.kind = 'matched' OR i.expected <> 0))
		UNION ALL
		SELECT v.contract, v.currency, o.amount - o.fee FROM reversal_outcomes o JOIN reversals v ON v.tenant_id = $1 AND v.reversal_id = o.reversal_id
		WHERE o.tenant_id = $1 AND o.applied_at IS NOT NULL AND NOT EXISTS (
			SELECT FROM recon_items i WHERE i.tenant_id = $1 AND i.refund_id = o.outcome_id AND (i.kind = 'matched' OR i.expected <> 0))) AS m
	GROUP BY contract, currency`,

	`SELECT 'provider_fee_expense:' || contract, currency, sum(fee)::bigint, 'fees to be passed back'
	FROM charges WHERE tenant_id = $1 AND state = 'succeeded' AND NOT passed GROUP BY contract, currency`,

	// Who bears what riders owe, as far as it was told and booked.
	`WITH told AS (` + toldSQL + `), owed AS (` + owedSQL + `), off AS (
		SELECT aggregation_id, operator_id, sum(amount) AS amount FROM debt_write_offs WHERE tenant_id = $1 AND bearer = 'operator' GROUP BY 1, 2)
	SELECT 'uncollected:' || operator_id, currency, -sum(amount)::bigint, 'open debts' FROM (
		SELECT t.operator_id, t.currency, t.amount FROM told t JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = t.aggregation_id WHERE d.unpassed
		UNION ALL
		SELECT o.operator_id, o.currency, o.amount - o.others FROM owed o JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = o.aggregation_id WHERE NOT d.unpassed
		UNION ALL
		SELECT f.operator_id, d.currency, -f.amount FROM off f JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = f.aggregation_id) AS m
	GROUP BY operator_id, currency`,

	`SELECT account, currency, -sum(amount)::bigint, 'claims on those who bear open debts' FROM (
		SELECT 'covered:provider:' || a.contract AS account, d.currency, b.provider_bears AS amount, d.unpassed, d.state, d.repaid_at
		FROM debt_bearers b JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = b.aggregation_id
		JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = b.aggregation_id WHERE b.tenant_id = $1
		UNION ALL
		SELECT 'covered:platform', d.currency, b.platform_bears, d.unpassed, d.state, d.repaid_at
		FROM debt_bearers b JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = b.aggregation_id WHERE b.tenant_id = $1) AS m
	WHERE NOT unpassed AND state = 'open' AND amount > 0 GROUP BY account, currency`,

	`SELECT account, m.currency, -sum(m.amount)::bigint, 'claims to be told' FROM (
		SELECT CASE v.kind WHEN 'platform_claim' THEN 'covered:platform' ELSE 'covered:provider:' || v.contract END AS account, v.currency, v.amount, v.ref_id AS debt
		FROM advices v WHERE v.tenant_id = $1 AND v.kind IN ('provider_claim', 'platform_claim')
		UNION ALL
		SELECT CASE w.bearer WHEN 'platform' THEN 'covered:platform' ELSE 'covered:provider:' || w.contract END, w.currency, -w.amount, w.aggregation_id
		FROM debt_write_offs w WHERE w.tenant_id = $1 AND w.bearer IN ('provider', 'platform')) AS m
	JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = m.debt WHERE d.unpassed GROUP BY account, m.currency`,
}

// toldSQL is what operators were told that riders owe, by debt.
const toldSQL = `
	SELECT ref_id AS aggregation_id, operator_id, currency, sum(CASE kind WHEN 'uncollected' THEN amount ELSE -amount END) AS amount
	FROM advices WHERE tenant_id = $1 AND kind IN ('uncollected', 'recovered') GROUP BY 1, 2, 3`

// owedSQL is what riders owe of each operator's fares, by debt that nobody has paid,
// and how much of it others than the operator bear. A refund that waits for a recovery
// under way does not lower it until that is final.
const owedSQL = `
	SELECT j.aggregation_id, j.operator_id, j.currency, sum(j.amount) AS amount,
	       sum(coalesce(b.issuer_bears + b.provider_bears + b.platform_bears, 0)) FILTER (WHERE j.amount > 0) AS others FROM (
		SELECT l.aggregation_id, l.operator_id, l.journey_id, l.currency, sum(CASE WHEN r.state = 'waiting' THEN 0 ELSE l.delta END) AS amount
		FROM claim_lines l JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = l.aggregation_id
		LEFT JOIN refunds r ON r.tenant_id = $1 AND r.refund_id = l.refund_id
		WHERE l.tenant_id = $1 AND (d.state = 'open' OR d.state = 'written_off' AND d.repaid_at IS NULL) GROUP BY 1, 2, 3, 4) AS j
	LEFT JOIN debt_bearers b ON b.tenant_id = $1 AND b.aggregation_id = j.aggregation_id AND b.operator_id = j.operator_id AND b.journey_id = j.journey_id
	GROUP BY 1, 2, 3`

// borneSQL is what operators were paid of what others bear, by debt.
const borneSQL = `
	SELECT ref_id AS aggregation_id, operator_id, currency, sum(amount) AS amount FROM advices WHERE tenant_id = $1 AND kind = 'borne' GROUP BY 1, 2, 3`

// owedSharesSQL is what may still be owed to operators: fares not charged yet,
// the charges $2 less fee, refunds made or to be made and what was cleared of
// them, refunds that wait for a recovery under way, debts that operators have not
// been told of, and what others bear of debts and have not paid yet.
const owedSharesSQL = `
	WITH told AS (` + toldSQL + `), owed AS (` + owedSQL + `), borne AS (` + borneSQL + `)
	SELECT operator_id, currency, sum(amount)::bigint, why FROM (
		SELECT l.operator_id, l.currency, l.delta AS amount, 'fares to be charged' AS why
		FROM claim_lines l JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = l.aggregation_id
		WHERE l.tenant_id = $1 AND a.state IN ('open', 'charging')
		UNION ALL
		SELECT s.operator_id, c.currency, s.amount - s.fee, 'charges held or waiting for their bill'
		FROM charge_shares s JOIN charges c ON c.tenant_id = $1 AND c.charge_id = s.charge_id
		WHERE s.tenant_id = $1 AND s.charge_id = ANY($2::uuid[])
		UNION ALL
		SELECT operator_id, currency, -amount, 'charges held or waiting for their bill' FROM refunds
		WHERE tenant_id = $1 AND state IN ('created', 'sent', 'unknown', 'succeeded', 'declined') AND charge_id = ANY($2::uuid[])
		UNION ALL
		SELECT s.operator_id, v.currency, -s.amount, 'charges held or waiting for their bill'
		FROM reversal_shares s JOIN reversals v ON v.tenant_id = $1 AND v.reversal_id = s.reversal_id
		WHERE s.tenant_id = $1 AND s.charge_id = ANY($2::uuid[])
		UNION ALL
		SELECT operator_id, currency, -amount, 'charges held or waiting for their bill' FROM advices
		WHERE tenant_id = $1 AND kind = 'cleared' AND ref_id = ANY($2::uuid[])
		UNION ALL
		SELECT b.operator_id, b.currency, -b.amount, 'charges held or waiting for their bill'
		FROM borne b JOIN charges c ON c.tenant_id = $1 AND c.aggregation_id = b.aggregation_id
		WHERE c.kind IN ('recovery', 'first_ride') AND c.charge_id = ANY($2::uuid[])
		UNION ALL
		SELECT r.operator_id, r.currency, -r.amount, 'refunds to be made'
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = c.aggregation_id
		WHERE r.tenant_id = $1 AND r.state = 'waiting' AND a.state NOT IN ('open', 'charging')
		UNION ALL
		SELECT o.operator_id, o.currency, o.amount, 'debts to be told'
		FROM owed o JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = o.aggregation_id WHERE d.unpassed
		UNION ALL
		SELECT t.operator_id, t.currency, -t.amount, 'debts to be told'
		FROM told t JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = t.aggregation_id WHERE d.unpassed
		UNION ALL
		SELECT o.operator_id, o.currency, o.others, 'what others bear, to be paid'
		FROM owed o JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = o.aggregation_id WHERE NOT d.unpassed
		UNION ALL
		SELECT b.operator_id, b.currency, -b.amount, 'what others bear, to be paid'
		FROM borne b JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = b.aggregation_id
		WHERE d.state IN ('open', 'corrected') OR d.state = 'written_off' AND d.repaid_at IS NULL) AS m
	GROUP BY operator_id, currency, why ORDER BY operator_id, currency, why`

// explained runs one of ownQueries.
func explained(ctx context.Context, tx *pg.Tx, query string) ([]ledger.Explained, error) {
	rows, err := tx.Query(ctx, query, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []ledger.Explained
	for rows.Next() {
		var e ledger.Explained
		if err := rows.Scan(&e.Account, &e.Currency, &e.Net, &e.Why); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// An owedToOperator is an amount that an issuer may still owe an operator.
type owedToOperator struct {
	operator citygate.TenantID
	currency citygate.Currency
	amount   int64
	why      string
}

func owedToOperators(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) ([]owedToOperator, error) {
	rows, err := tx.Query(ctx, owedSharesSQL, int64(tx.Tenant), charges)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []owedToOperator
	for rows.Next() {
		var o owedToOperator
		if err := rows.Scan(&o.operator, &o.currency, &o.amount, &o.why); err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}
