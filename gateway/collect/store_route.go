package collect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	contractActive = "active"
	stateMoved     = "moved" // of a charge: never sent, and another attempt took its place

	breakerFailures = 3                // calls in a row without an answer open a contract's breaker
	breakerWait     = 30 * time.Second // from the last of them until one payment tries again
)

// neverTaken are the reasons of charges that a contract can never take: their currency,
// or an amount outside of its limits.
var neverTaken = []string{adapters.ErrCurrencyUnsupported.Name, adapters.ErrInvalid.Name}

// A Payer is a further contract that a rider has agreed to be charged under.
type Payer struct {
	Account  citygate.UUID
	Contract string
	RiderRef string // the provider's name for the payer there
}

// ErrPayer says that a payer cannot be known so.
var ErrPayer = &citygate.Code{Name: "collect.payer", Kind: citygate.Conflict, Title: "The account is known under this contract by another name, or the contract is its own already. Names do not change; use another contract."}

// AddPayer notes a further contract of an account. The same again changes nothing.
func AddPayer(ctx context.Context, tx *pg.Tx, actor string, p Payer) error {
	var own string
	err := tx.QueryRow(ctx, `SELECT contract FROM accounts WHERE tenant_id = $1 AND account_id = $2`, tx.Tenant, p.Account).Scan(&own)
	if err != nil {
		return err
	}
	if err := HasContract(ctx, tx, p.Contract); err != nil {
		return err
	}
	if own == p.Contract {
		return ErrPayer.Explain("%s is the account's own contract", own)
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO account_payers (tenant_id, account_id, contract, rider_ref, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, account_id, contract) DO NOTHING`, tx.Tenant, p.Account, p.Contract, p.RiderRef, tx.Now)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 1 {
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payer.add", Object: "account:" + p.Account.Text("acc_"), After: map[string]any{"contract": p.Contract}})
	}
	var same bool
	err = tx.QueryRow(ctx, `SELECT rider_ref = $4 FROM account_payers WHERE tenant_id = $1 AND account_id = $2 AND contract = $3`,
		tx.Tenant, p.Account, p.Contract, p.RiderRef).Scan(&same)
	if err == nil && !same {
		err = ErrPayer.Explain("contract %s", p.Contract)
	}
	return err
}

// DropPayers has no account be collected under a contract by a name any more, as one that
// stands for an agreement which has ended. Twice is once.
func DropPayers(ctx context.Context, tx *pg.Tx, actor, contract, riderRef string) error {
	rows, err := tx.Query(ctx, `
		DELETE FROM account_payers WHERE tenant_id = $1 AND contract = $2 AND rider_ref = $3 RETURNING account_id`, tx.Tenant, contract, riderRef)
	if err != nil {
		return err
	}
	dropped, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	if err != nil {
		return err
	}
	for _, account := range dropped {
		if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payer.drop", Object: "account:" + account.Text("acc_"), Before: map[string]any{"contract": contract}}); err != nil {
			return err
		}
	}
	return nil
}

// Under gives how many accounts are collected under a contract as their own, and the first
// few of them.
func Under(ctx context.Context, tx *pg.Tx, contract string, few int) (n int, some []citygate.UUID, err error) {
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM accounts WHERE tenant_id = $1 AND contract = $2`, tx.Tenant, contract).Scan(&n); err != nil || n == 0 {
		return n, nil, err
	}
	rows, err := tx.Query(ctx, `SELECT account_id FROM accounts WHERE tenant_id = $1 AND contract = $2 ORDER BY account_id LIMIT $3`, tx.Tenant, contract, few)
	if err != nil {
		return n, nil, err
	}
	some, err = pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	return n, some, err
}

// CollectedBy reports whether an account is collected under a contract by a name, its own
// or a further one.
func CollectedBy(ctx context.Context, tx *pg.Tx, contract, riderRef string) (is bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM accounts WHERE tenant_id = $1 AND contract = $2 AND rider_ref = $3)
		    OR EXISTS (SELECT FROM account_payers WHERE tenant_id = $1 AND contract = $2 AND rider_ref = $3)`, tx.Tenant, contract, riderRef).Scan(&is)
	return is, err
}

// payersOf gives the further contracts of accounts with the names there.
func payersOf(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) (map[citygate.UUID]map[string]string, error) {
	rows, err := tx.Query(ctx, `
		SELECT p.account_id, p.contract, p.rider_ref FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT account_id, contract, rider_ref FROM account_payers WHERE tenant_id = $1 AND account_id = u.id OFFSET 0) AS p`, tx.Tenant, accounts)
	if err != nil {
		return nil, err
	}
	out := map[citygate.UUID]map[string]string{}
	var account citygate.UUID
	var contract, ref string
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&account), &contract, &ref}, func() error {
		if out[account] == nil {
			out[account] = map[string]string{}
		}
		out[account][contract] = ref
		return nil
	})
	return out, err
}

// loadPayments gives what is to be collected what routing asks about it.
func loadPayments(ctx context.Context, tx *pg.Tx, kind string, due []closing) error {
	ids := make([]citygate.UUID, len(due))
	at := make(map[citygate.UUID]*closing, len(due))
	for i := range due {
		d := &due[i]
		ids[i], at[d.aggregation] = d.aggregation, d
		d.payment.kind, d.payment.attempt = kind, d.attempt
		d.payment.amount = citygate.Money{Minor: d.amount, Currency: d.currency}
	}
	rows, err := tx.Query(ctx, `
		SELECT a.aggregation_id, a.account_id, a.contract, a.payer_ref, l.at,
		       ARRAY(SELECT DISTINCT contract FROM charges WHERE tenant_id = $1 AND aggregation_id = a.aggregation_id AND reason = ANY($3::text[]) AND state IN ('created', 'moved'))
		FROM unnest($2::uuid[]) AS u (id)
		CROSS JOIN LATERAL (SELECT * FROM aggregations WHERE tenant_id = $1 AND aggregation_id = u.id OFFSET 0) AS a
		CROSS JOIN LATERAL (
			SELECT coalesce((SELECT min(at) FROM claim_lines WHERE tenant_id = $1 AND aggregation_id = u.id AND kind IN ('fare', 'reversal')), a.opened_at) AS at) AS l`,
		tx.Tenant, ids, neverTaken)
	if err != nil {
		return err
	}
	var id, account citygate.UUID
	var own, payer string
	var tripAt time.Time
	var refused []string
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), (*[16]byte)(&account), &own, &payer, &tripAt, &refused}, func() error {
		p := &at[id].payment
		p.account, p.own, p.payer, p.tripAt, p.refused = account, own, payer, tripAt.UTC(), slices.Clone(refused)
		return nil
	})
	return err
}

// takeStuck gives charges that were never sent and cannot be sent where they are,
// locked with their aggregations, as whoever corrects a fare locks them
// ([contributions]). What another process has in hand is left to it, and so is an
// intent that was not tried yet, for a while: it may be the one that probes.
func takeStuck(ctx context.Context, tx *pg.Tx, kind string, after citygate.UUID) ([]closing, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.charge_id, c.contract, c.aggregation_id, c.account_key, c.currency, c.business_date, a.ordinal, c.amount, c.attempt + 1, c.started_by, c.shown
		FROM charges c JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = c.aggregation_id
		WHERE c.tenant_id = $1 AND c.kind = $2 AND c.state = 'created' AND NOT c.ever_unknown AND c.charge_id > $3 AND (c.attempts > 0 OR c.created_at <= $6) AND (
			c.reason = ANY($4::text[])
			OR c.contract IN (SELECT contract FROM provider_breakers WHERE tenant_id = $1 AND opened_at IS NOT NULL)
			OR c.contract IN (SELECT contract FROM provider_contracts WHERE tenant_id = $1 AND state <> 'active'))
		ORDER BY c.charge_id LIMIT $5 FOR UPDATE OF a, c SKIP LOCKED`, tx.Tenant, kind, after, neverTaken, closeBatch, tx.Now.Add(-breakerWait))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c closing, err error) {
		err = row.Scan(&c.leaves, &c.at, &c.aggregation, &c.key, &c.currency, &c.date, &c.ordinal, &c.amount, &c.attempt, &c.by, &c.shown)
		return c, err
	})
}

// withoutRefunds leaves out charges that something waits to be refunded of: it
// names the charge. Their aggregations are locked, so that none is added.
func withoutRefunds(ctx context.Context, tx *pg.Tx, stuck []closing) ([]closing, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT charge_id FROM refunds WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[])`, tx.Tenant, leaving(stuck))
	if err != nil {
		return nil, err
	}
	named, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	return slices.DeleteFunc(stuck, func(c closing) bool { return slices.Contains(named, c.leaves) }), err
}

func leaving(stuck []closing) []citygate.UUID {
	ids := make([]citygate.UUID, len(stuck))
	for i := range stuck {
		ids[i] = stuck[i].leaves
	}
	return ids
}

// leave ends attempts that were never sent.
func leave(ctx context.Context, tx *pg.Tx, next []closing) error {
	if len(next) == 0 {
		return nil
	}
	tag, err := tx.Exec(ctx, `
		UPDATE charges SET state = 'moved', next_do = $3, shown = NULL WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[]) AND state = 'created' AND NOT ever_unknown`,
		tx.Tenant, leaving(next), string(adapters.Nothing))
	if err == nil && int(tag.RowsAffected()) != len(next) {
		err = fmt.Errorf("collect: %d of %d charges were sent meanwhile", len(next)-int(tag.RowsAffected()), len(next))
	}
	return err
}

// hear notes how a contract's provider did in calls.
func hear(ctx context.Context, tx *pg.Tx, contract string, how health) error {
	switch how {
	case replied:
		_, err := tx.Exec(ctx, `
			UPDATE provider_breakers SET failures = 0, opened_at = NULL, probe_at = NULL, changed_at = $3
			WHERE tenant_id = $1 AND contract = $2 AND failures > 0`, tx.Tenant, contract, tx.Now)
		return err
	case fails:
		_, err := tx.Exec(ctx, `
			INSERT INTO provider_breakers AS b (tenant_id, contract, failures, changed_at) VALUES ($1, $2, 1, $3)
			ON CONFLICT (tenant_id, contract) DO UPDATE
			SET failures = least(b.failures + 1, 1000000), changed_at = $3,
			    opened_at = CASE WHEN b.failures + 1 >= $4 THEN coalesce(b.opened_at, $3) END,
			    probe_at = CASE WHEN b.failures + 1 >= $4 THEN $5::timestamptz END`,
			tx.Tenant, contract, tx.Now, breakerFailures, tx.Now.Add(breakerWait))
		return err
	case silent:
	}
	return nil
}

// breakersOpen gives the contracts that are taken to be down, and from when on one
// payment may try.
func breakersOpen(ctx context.Context, tx *pg.Tx) (map[string]time.Time, error) {
	rows, err := tx.Query(ctx, `SELECT contract, probe_at FROM provider_breakers WHERE tenant_id = $1 AND opened_at IS NOT NULL`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	out := map[string]time.Time{}
	var contract string
	var probe time.Time
	_, err = pgx.ForEachRow(rows, []any{&contract, &probe}, func() error { out[contract] = probe; return nil })
	return out, err
}

// takeProbe takes the one payment that may try a contract. Of all that ask at
// once, on whatever instance, one gets it; if it dies, another may try later.
func takeProbe(ctx context.Context, tx *pg.Tx, contract string) (bool, error) {
	tag, err := tx.Exec(ctx, `
		UPDATE provider_breakers SET probe_at = $4, changed_at = $3
		WHERE tenant_id = $1 AND contract = $2 AND opened_at IS NOT NULL AND probe_at <= $3`, tx.Tenant, contract, tx.Now, tx.Now.Add(breakerWait))
	return tag.RowsAffected() == 1, err
}
