package collect

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// closeBatch bounds the aggregations that one transaction closes.
const closeBatch = 1_000

// A closing is an aggregation or debt that becomes a charge.
type closing struct {
	aggregation citygate.UUID
	key         string
	currency    citygate.Currency
	date        citygate.Date
	ordinal     int
	amount      int64
	attempt     int

	by      risk.Source // who started it; "" = the schedule
	shown   []byte      // by the rider, where a tap did
	payment payment
	route   decision
	leaves  citygate.UUID // the charge whose place it takes, if it moves
	at      string        // and the contract of that
}

// closeDue closes what is due and writes the intents to charge.
func (r *run) closeDue(ctx context.Context) error {
	for {
		n := 0
		err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error {
			rows, err := tx.Query(ctx, `
				SELECT aggregation_id, account_key, currency, business_date, ordinal, total FROM aggregations
				WHERE tenant_id = $1 AND state = 'open' AND closes_at <= $2
				ORDER BY closes_at LIMIT $3 FOR UPDATE SKIP LOCKED`, tx.Tenant, tx.Now, closeBatch)
			if err != nil {
				return err
			}
			due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c closing, err error) {
				c.attempt = 1
				err = row.Scan(&c.aggregation, &c.key, &c.currency, &c.date, &c.ordinal, &c.amount)
				return c, err
			})
			n = len(due)
			if err != nil || n == 0 {
				return err
			}
			ids := make([]citygate.UUID, n)
			for i := range due {
				ids[i] = due[i].aggregation
			}
			if _, err := tx.Exec(ctx, `
				UPDATE aggregations SET state = CASE WHEN total = 0 THEN 'closed_zero' ELSE 'charging' END, closed_at = $2
				WHERE tenant_id = $1 AND aggregation_id = ANY($3::uuid[])`, tx.Tenant, tx.Now, ids); err != nil {
				return err
			}
			return r.intend(ctx, tx, kindCharge, slices.DeleteFunc(due, func(c closing) bool { return c.amount == 0 }))
		})
		if err != nil || n < closeBatch {
			return err
		}
	}
}

// startRecoveries makes a charge of each debt whose retry is due.
func (r *run) startRecoveries(ctx context.Context) error {
	for {
		n := 0
		err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error {
			due, err := takeDebts(ctx, tx)
			n = len(due)
			if err != nil {
				return err
			}
			return r.recover(ctx, tx, due)
		})
		if err != nil || n < closeBatch {
			return err
		}
	}
}

// takeDebts gives the debts whose retry is due and are not being collected, as
// they stand, and takes the retry off them. It locks the aggregation with the
// debt, as a correction does ([contributions]): of the two, the second sees what
// the first did, and what the one takes off the debt the other does not charge.
func takeDebts(ctx context.Context, tx *pg.Tx) ([]closing, error) {
	rows, err := tx.Query(ctx, `
		SELECT a.aggregation_id, a.account_key, a.currency, a.business_date, a.ordinal, d.amount,
		       1 + coalesce(c.attempt, 0), d.retry_by, coalesce(c.contract, a.contract), coalesce(c.payer_ref, a.payer_ref), a.account_id,
		       CASE d.retry_by WHEN 'tap' THEN d.retry_shown END
		FROM aggregations a JOIN debts d ON d.tenant_id = $1 AND d.aggregation_id = a.aggregation_id
		LEFT JOIN LATERAL ( -- the debt of a reversal has none at first
			SELECT attempt, contract, payer_ref FROM charges WHERE tenant_id = $1 AND aggregation_id = d.aggregation_id ORDER BY attempt DESC LIMIT 1) AS c ON true
		WHERE a.tenant_id = $1 AND d.state IN ('open', 'written_off') AND d.retry_at <= $2 AND NOT EXISTS (
			SELECT FROM charges c WHERE c.tenant_id = $1 AND c.aggregation_id = d.aggregation_id AND c.state IN ('created', 'sent', 'unknown'))
		ORDER BY d.aggregation_id LIMIT $3 FOR UPDATE OF a, d SKIP LOCKED`, tx.Tenant, tx.Now, closeBatch)
	if err != nil {
		return nil, err
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c closing, err error) {
		err = row.Scan(&c.aggregation, &c.key, &c.currency, &c.date, &c.ordinal, &c.amount, &c.attempt, &c.by, &c.route.contract, &c.route.payer, &c.payment.account, &c.shown)
		if c.by != byFirstRide { // which stays with the scheme that insures it
			c.route = decision{}
		}
		return c, err
	})
	if err != nil || len(due) == 0 {
		return nil, err
	}
	ids := make([]citygate.UUID, len(due))
	for i := range due {
		ids[i] = due[i].aggregation
	}
	_, err = tx.Exec(ctx, `UPDATE debts SET retry_at = NULL, retry_shown = NULL WHERE tenant_id = $1 AND aggregation_id = ANY($2::uuid[])`, tx.Tenant, ids)
	return due, err
}

// intend chooses contracts and writes the intents to charge.
func (c *Collector) intend(ctx context.Context, tx *pg.Tx, kind string, due []closing) error {
	if len(due) == 0 {
		return nil
	}
	if err := c.routeAll(ctx, tx, kind, due); err != nil {
		return err
	}
	return storeIntents(ctx, tx, kind, due)
}

// storeIntents writes charges that are to be sent, with what of them is whose
// fare. One without a route goes to its payer's own contract.
func storeIntents(ctx context.Context, tx *pg.Tx, kind string, due []closing) error {
	if len(due) == 0 {
		return nil
	}
	n := len(due)
	ids, aggregations := make([]citygate.UUID, n), make([]citygate.UUID, n)
	attempts, amounts := make([]int32, n), make([]int64, n)
	ours, subjects, starters := make([]string, n), make([]string, n), make([]string, n)
	contracts, payers, rules, findings, versions := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]int64, n)
	shown := make([][]byte, n)
	for i, d := range due {
		shown[i] = d.shown
		contracts[i], payers[i], rules[i], findings[i], versions[i] = d.route.contract, d.route.payer, d.route.rule, d.route.finding, int64(d.route.version)
		ours[i] = ourID(tx.Tenant, kind, d.key, string(d.currency), d.date.String(), strconv.Itoa(d.ordinal), strconv.Itoa(d.attempt))
		ids[i] = ledger.DeriveID(tx.Now, "charge", tx.Tenant.String(), ours[i])
		aggregations[i], attempts[i], amounts[i] = d.aggregation, int32(d.attempt), d.amount
		starters[i] = string(cmp.Or(d.by, risk.BySchedule))
		subjects[i] = "Rides of " + d.date.String()
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO charges (tenant_id, charge_id, aggregation_id, kind, attempt, our_id, contract, account_id, account_key, payer_ref, amount, currency, fee,
		                     subject, trip_at, business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, created_at,
		                     route_version, route_rule, route_finding, started_by, shown)
		SELECT $1, u.id, a.aggregation_id, $3, u.attempt, u.our, CASE u.contract WHEN '' THEN a.contract ELSE u.contract END, a.account_id, a.account_key,
		       CASE u.contract WHEN '' THEN a.payer_ref ELSE u.payer END, u.amount, a.currency, 0,
		       coalesce(s.subject, u.subject),
		       coalesce(s.trip_at, (SELECT min(l.at) FROM claim_lines l WHERE l.tenant_id = $1 AND l.aggregation_id = a.aggregation_id AND l.kind IN ('fare', 'reversal'))),
		       a.business_date, 'created', false, 0, '', '', $4, $2, false, false, $2, u.version, u.rule, u.finding, u.starter, u.shown
		FROM unnest($5::uuid[], $6::uuid[], $7::int[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::bytea[])
		     AS u (id, aggregation, attempt, our, amount, subject, contract, payer, version, rule, finding, starter, shown)
		JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = u.aggregation
		LEFT JOIN LATERAL ( -- of a product
			SELECT c.subject, c.trip_at FROM debts d JOIN taken_sales t ON t.tenant_id = $1 AND t.sale_id = d.sale_id
			JOIN charges c ON c.tenant_id = $1 AND c.charge_id = t.charge_id
			WHERE d.tenant_id = $1 AND d.aggregation_id = u.aggregation OFFSET 0) AS s ON true
		ON CONFLICT (tenant_id, charge_id) DO NOTHING`,
		tx.Tenant, tx.Now, kind, string(adapters.Submit), ids, aggregations, attempts, ours, amounts, subjects,
		contracts, payers, versions, rules, findings, starters, shown); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO charge_shares (tenant_id, charge_id, operator_id, journey_id, amount, fee, at)
		SELECT $1, u.id, l.operator_id, l.journey_id, l.amount, 0, l.at
		FROM unnest($2::uuid[], $3::uuid[]) AS u (id, aggregation)
		CROSS JOIN LATERAL (
			SELECT operator_id, journey_id, sum(delta) AS amount, min(at) AS at FROM claim_lines
			WHERE tenant_id = $1 AND aggregation_id = u.aggregation GROUP BY operator_id, journey_id HAVING sum(delta) > 0) AS l
		ON CONFLICT (tenant_id, charge_id, operator_id, journey_id) DO NOTHING`, tx.Tenant, ids, aggregations)
	return err
}

// contractsDue gives the contracts under which something is due.
func (r *run) contractsDue(ctx context.Context) (out []Contract, err error) {
	err = r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error {
		all, err := Contracts(ctx, tx)
		if err != nil {
			return err
		}
		out = out[:0]
		for _, c := range all {
			var due bool
			if err := tx.QueryRow(ctx, `
				SELECT EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND contract = $2 AND state IN ('created', 'sent', 'unknown') AND next_try_at <= $3)
				    OR EXISTS (SELECT FROM refunds WHERE tenant_id = $1 AND contract = $2 AND state IN ('created', 'sent', 'unknown') AND next_try_at <= $3)`,
				tx.Tenant, c.Name, tx.Now).Scan(&due); err != nil {
				return err
			}
			if due {
				out = append(out, c)
			}
		}
		return nil
	})
	return out, err
}

func contractOf(ctx context.Context, tx *pg.Tx, name string) (c Contract, err error) {
	err = tx.QueryRow(ctx, `SELECT contract, adapter, fee_ppm, state FROM provider_contracts WHERE tenant_id = $1 AND contract = $2`,
		tx.Tenant, name).Scan(&c.Name, &c.Adapter, &c.FeePPM, &c.State)
	return c, err
}

const chargeColumns = `charge_id, aggregation_id, kind, our_id, contract, account_id, payer_ref, amount, currency, subject, trip_at, business_date,
	state, provider_ref, mark, created_at, coalesce(sent_at, created_at), started_by`

func scanCharge(row pgx.CollectableRow) (c charge, err error) {
	err = row.Scan(&c.ID, &c.Aggregation, &c.Kind, &c.OurID, &c.Contract, &c.Account, &c.PayerRef, &c.Amount, &c.Currency, &c.Subject, &c.TripAt, &c.BusinessDate,
		&c.State, &c.ProviderRef, &c.Mark, &c.CreatedAt, &c.SentAt, &c.StartedBy)
	c.TripAt, c.CreatedAt, c.SentAt = c.TripAt.UTC(), c.CreatedAt.UTC(), c.SentAt.UTC()
	return c, err
}

// dueToSend gives charges that are due to be sent, in the order of their natural
// keys. It reads many at once: sorting all of them anew for each batch would
// cost the square of their number.
func dueToSend(ctx context.Context, tx *pg.Tx, contract string) ([]citygate.UUID, error) {
	const most = 20_000
	rows, err := tx.Query(ctx, `
		SELECT charge_id FROM charges
		WHERE tenant_id = $1 AND contract = $2 AND state IN ('created', 'sent', 'unknown') AND next_try_at <= $3 AND next_do IN ('submit', 'resubmit')
		ORDER BY business_date, account_key, our_id LIMIT $4`, tx.Tenant, contract, tx.Now, most)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

// takeToSend marks those of the charges that are still due as being sent and
// gives them with their evidence, in the order asked for. A process that dies
// from here on leaves them marked; when the lease is over, they are asked for.
// What makes a charge due is asked outside of the look-up: inside, it would
// invite the planner to search the index of all that is due for each of them.
func takeToSend(ctx context.Context, tx *pg.Tx, ids []citygate.UUID, lease time.Time) ([]charge, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+chargeColumns+` FROM unnest($2::uuid[]) WITH ORDINALITY AS u (id, place) CROSS JOIN LATERAL (
			SELECT * FROM charges WHERE tenant_id = $1 AND charge_id = u.id OFFSET 0 FOR UPDATE SKIP LOCKED) AS c
		WHERE c.state IN ('created', 'sent', 'unknown') AND c.next_try_at <= $3 AND c.next_do IN ('submit', 'resubmit')
		ORDER BY u.place`, tx.Tenant, ids, tx.Now)
	if err != nil {
		return nil, err
	}
	batch, err := pgx.CollectRows(rows, scanCharge)
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE charges SET state = CASE state WHEN 'created' THEN 'sent' ELSE state END, attempts = attempts + 1, sent_at = $2, next_do = 'query', next_try_at = $3
		WHERE tenant_id = $1 AND charge_id = ANY($4::uuid[])`, tx.Tenant, tx.Now, lease, chargeIDs(batch)); err != nil {
		return nil, err
	}
	if err := loadRecoveries(ctx, tx, batch); err != nil {
		return nil, err
	}
	return batch, loadEvidence(ctx, tx, batch)
}

func chargeIDs(batch []charge) []citygate.UUID {
	ids := make([]citygate.UUID, len(batch))
	for i := range batch {
		ids[i] = batch[i].ID
	}
	return ids
}

// loadEvidence gives each charge the codes that prove it, in the order of the
// taps. They are those that came with the decisions the aggregation holds, and
// so never change after it is closed.
func loadEvidence(ctx context.Context, tx *pg.Tx, batch []charge) error {
	at := map[citygate.UUID]int{}
	aggregations := make([]citygate.UUID, len(batch))
	for i := range batch {
		at[batch[i].Aggregation], aggregations[i] = i, batch[i].Aggregation
	}
	rows, err := tx.Query(ctx, `
		SELECT l.aggregation_id, u.evidence FROM (
			SELECT aggregation_id, operator_id, journey_id, max(n) AS n FROM claim_lines
			WHERE tenant_id = $1 AND aggregation_id = ANY($2::uuid[]) AND (kind = 'fare' OR kind = 'reversal' AND delta > 0) GROUP BY aggregation_id, operator_id, journey_id) AS l
		CROSS JOIN LATERAL (
			SELECT evidence, event_time, operator_id, terminal, seq FROM code_use
			WHERE tenant_id = $1 AND operator_id = l.operator_id AND journey_id = l.journey_id AND n <= l.n OFFSET 0) AS u
		ORDER BY l.aggregation_id, u.event_time, u.operator_id, u.terminal, u.seq`, tx.Tenant, aggregations)
	if err != nil {
		return err
	}
	var id citygate.UUID
	var evidence []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &evidence}, func() error {
		c := &batch[at[id]]
		c.Evidence = append(c.Evidence, slices.Clone(evidence))
		return nil
	})
	return err
}

// takeToQuery gives charges to ask after. One that is still marked as being
// sent was lost with its process: from now on its outcome is unknown.
func takeToQuery(ctx context.Context, tx *pg.Tx, contract string, limit int, lease time.Time) ([]charge, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+chargeColumns+` FROM charges
		WHERE tenant_id = $1 AND contract = $2 AND state IN ('created', 'sent', 'unknown') AND next_try_at <= $3 AND next_do = 'query'
		ORDER BY business_date, account_key, our_id LIMIT $4 FOR UPDATE SKIP LOCKED`, tx.Tenant, contract, tx.Now, limit)
	if err != nil {
		return nil, err
	}
	batch, err := pgx.CollectRows(rows, scanCharge)
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	_, err = tx.Exec(ctx, `
		UPDATE charges SET state = 'unknown', ever_unknown = true, next_try_at = $2
		WHERE tenant_id = $1 AND charge_id = ANY($3::uuid[])`, tx.Tenant, lease, chargeIDs(batch))
	return batch, err
}

// lockCharges locks charges by our id.
func lockCharges(ctx context.Context, tx *pg.Tx, ours []string) (map[string]*charge, error) {
	out := make(map[string]*charge, len(ours))
	for chunk := range slices.Chunk(ours, rowsMax) {
		rows, err := tx.Query(ctx, `
			SELECT `+chargeColumns+` FROM charges WHERE tenant_id = $1 AND our_id = ANY($2::text[]) ORDER BY charge_id FOR UPDATE`, tx.Tenant, chunk)
		if err != nil {
			return nil, err
		}
		all, err := pgx.CollectRows(rows, scanCharge)
		if err != nil {
			return nil, err
		}
		for i := range all {
			out[all[i].OurID] = &all[i]
		}
	}
	return out, nil
}

const (
	updateCharges = `
		UPDATE charges c SET state = u.state, ever_unknown = c.ever_unknown OR u.unknown, fee = u.fee, next_do = u.what, next_try_at = u.at,
		       provider_ref = CASE u.ref WHEN '' THEN c.provider_ref ELSE u.ref END, reason = u.reason, final_at = CASE WHEN u.final THEN $2::timestamptz END,
		       shown = CASE WHEN u.final THEN NULL ELSE c.shown END
		FROM unnest($3::uuid[], $4::text[], $5::boolean[], $6::bigint[], $7::text[], $8::timestamptz[], $9::text[], $10::text[], $11::boolean[])
		     AS u (id, state, unknown, fee, what, at, ref, reason, final)
		WHERE c.tenant_id = $1 AND c.charge_id = u.id`
	updateRefunds = `
		UPDATE refunds c SET state = u.state, ever_unknown = c.ever_unknown OR u.unknown, next_do = u.what, next_try_at = u.at,
		       provider_ref = CASE u.ref WHEN '' THEN c.provider_ref ELSE u.ref END, reason = u.reason, final_at = CASE WHEN u.final THEN $2::timestamptz END
		FROM unnest($3::uuid[], $4::text[], $5::boolean[], $6::bigint[], $7::text[], $8::timestamptz[], $9::text[], $10::text[], $11::boolean[])
		     AS u (id, state, unknown, fee, what, at, ref, reason, final)
		WHERE c.tenant_id = $1 AND c.refund_id = u.id`
)

func storeChanges(ctx context.Context, tx *pg.Tx, changes []change) error {
	return update(ctx, tx, updateCharges, changes)
}

func storeRefundChanges(ctx context.Context, tx *pg.Tx, changes []change) error {
	return update(ctx, tx, updateRefunds, changes)
}

func update(ctx context.Context, tx *pg.Tx, sql string, changes []change) error {
	slices.SortFunc(changes, func(a, b change) int { return bytes.Compare(a.id[:], b.id[:]) })
	for chunk := range slices.Chunk(changes, rowsMax) {
		n := len(chunk)
		ids, fees, ats := make([]citygate.UUID, n), make([]int64, n), make([]time.Time, n)
		states, dos, refs, reasons := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		unknown, final := make([]bool, n), make([]bool, n)
		for i, m := range chunk {
			ids[i], fees[i], ats[i] = m.id, m.fee, m.at
			states[i], dos[i], refs[i], reasons[i] = m.state, m.do, m.providerRef, m.reason
			unknown[i], final[i] = m.unknown, m.final
		}
		if _, err := tx.Exec(ctx, sql, tx.Tenant, tx.Now, ids, states, unknown, fees, dos, ats, refs, reasons, final); err != nil {
			return err
		}
	}
	return nil
}

func sortedUnique(ids []citygate.UUID) []citygate.UUID {
	slices.SortFunc(ids, func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}
