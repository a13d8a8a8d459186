package retention

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// heldJourneys are those that something may still be done about: of this tenant as
// operator (journeys, receipts) and as issuer (claims and what collects them).
const heldJourneys = `
	WITH owing AS (SELECT DISTINCT account_id FROM debts WHERE tenant_id = $1 AND state = 'open'),
	unfinished AS (
		SELECT c.charge_id FROM charges AS c WHERE c.tenant_id = $1 AND (c.state IN ('created', 'sent', 'unknown') OR c.state = 'succeeded' AND NOT (c.passed AND c.released)
			OR EXISTS (SELECT FROM recon_items AS i WHERE i.tenant_id = $1 AND i.charge_id = c.charge_id AND i.state = 'open')))
	SELECT journey_id FROM journeys WHERE tenant_id = $1 AND starts_at < $2 AND (state = 'open' OR account_id IN (SELECT account_id FROM owing))
	UNION SELECT journey_id FROM claims WHERE tenant_id = $1 AND at < $2 AND account_id IN (SELECT account_id FROM owing)
	UNION SELECT l.journey_id FROM aggregations AS a JOIN claim_lines AS l ON l.tenant_id = $1 AND l.aggregation_id = a.aggregation_id
		WHERE a.tenant_id = $1 AND a.state IN ('open', 'charging')
	UNION SELECT s.journey_id FROM unfinished AS u JOIN charge_shares AS s ON s.tenant_id = $1 AND s.charge_id = u.charge_id
	UNION SELECT r.journey_id FROM refunds AS r WHERE r.tenant_id = $1 AND (r.final_at IS NULL
		OR EXISTS (SELECT FROM recon_items AS i WHERE i.tenant_id = $1 AND i.refund_id = r.refund_id AND i.state = 'open'))
	UNION SELECT journey_id FROM receipts WHERE tenant_id = $1 AND kind IN ('uncollected', 'recovered')
		GROUP BY journey_id HAVING sum(CASE kind WHEN 'uncollected' THEN amount ELSE -amount END) <> 0`

func (e *eraser) readHeld(ctx context.Context, tx *pg.Tx) error {
	rows, err := tx.Query(ctx, heldJourneys, tx.Tenant, e.before)
	if err != nil {
		return err
	}
	if e.held, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (id citygate.UUID, err error) {
		err = r.Scan((*[16]byte)(&id))
		return id, err
	}); err != nil {
		return err
	}
	e.held = append([]citygate.UUID{}, e.held...) // none is an empty array, not NULL
	e.r.Held, e.heldTaps = int64(len(e.held)), map[[2]int64]bool{}
	rows, err = tx.Query(ctx, `SELECT taps FROM journeys WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[])`, tx.Tenant, e.held)
	if err != nil {
		return err
	}
	var taps string
	_, err = pgx.ForEachRow(rows, []any{&taps}, func() error {
		for one := range strings.FieldsSeq(taps) { // terminal:seq
			terminal, seq, _ := strings.Cut(one, ":")
			t, err := strconv.ParseInt(terminal, 10, 64)
			if err != nil {
				return fmt.Errorf("stored taps %q: %w", taps, err)
			}
			s, err := strconv.ParseInt(seq, 10, 64)
			if err != nil {
				return fmt.Errorf("stored taps %q: %w", taps, err)
			}
			e.heldTaps[[2]int64{t, s}] = true
		}
		return nil
	})
	return err
}

// The rows of each step: what a dry run counts, and what a batch takes.
const (
	oldTaps     = `FROM taps AS t WHERE t.tenant_id = $1 AND t.event_time < $2`
	oldJourneys = `FROM journeys AS j WHERE j.tenant_id = $1 AND j.ends_at < $2 AND j.issuer <> 0 AND j.state <> 'open' AND NOT j.journey_id = ANY($3::uuid[])`
	oldClaims   = `FROM claims AS c WHERE c.tenant_id = $1 AND c.at < $2 AND c.idx <> 4294967295 AND NOT c.journey_id = ANY($3::uuid[])`
	oldUses     = `FROM code_use AS u WHERE u.tenant_id = $1 AND u.event_time < $2 AND NOT coalesce(u.held_by, u.journey_id) = ANY($3::uuid[])`
	oldMessages = `FROM outbox AS o WHERE o.tenant_id = $1 AND o.delivered_at IS NOT NULL AND o.created_at < $2 AND octet_length(o.body) > 0`
)

// messagesBefore is until when a message was written that has a tap from before
// the cut: no claim rests on older ones.
func (e *eraser) messagesBefore() time.Time { return e.before.Add(tenants.ClaimsWithin) }

func (e *eraser) count(ctx context.Context, tx *pg.Tx) error {
	if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) `+oldTaps+`), (SELECT count(*) `+oldJourneys+`), (SELECT count(*) `+oldClaims+`),
		(SELECT count(*) `+oldUses+`)`, tx.Tenant, e.before, e.held).Scan(&e.r.Taps, &e.r.Journeys, &e.r.Claims, &e.r.Codes); err != nil {
		return err
	}
	terminals, seqs := make([]int64, 0, len(e.heldTaps)), make([]int64, 0, len(e.heldTaps))
	for id := range e.heldTaps {
		terminals, seqs = append(terminals, id[0]), append(seqs, id[1])
	}
	if err := tx.QueryRow(ctx, `SELECT count(*) `+oldTaps+` AND (t.terminal, t.seq) IN (SELECT * FROM unnest($3::bigint[], $4::bigint[]))`,
		tx.Tenant, e.before, terminals, seqs).Scan(&e.r.HeldTaps); err != nil {
		return err
	}
	e.r.Taps -= e.r.HeldTaps
	var facts int64
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM fare_facts AS f WHERE f.tenant_id = $1 AND f.event_time < $2
		AND NOT (f.terminal, f.seq) IN (SELECT * FROM unnest($3::bigint[], $4::bigint[]))`, tx.Tenant, e.before, terminals, seqs).Scan(&facts); err != nil {
		return err
	}
	e.r.Taps += facts
	return tx.QueryRow(ctx, `SELECT count(*) `+oldMessages, tx.Tenant, e.messagesBefore()).Scan(&e.r.Messages)
}

// ofTaps deletes what tables hold of the taps of a batch. $2 to $8 are terminal,
// number, receipt, issuer, list, index and counter of each, $9 the evidence's digest.
var ofTaps = []string{
	`DELETE FROM tap_verdicts AS d USING u WHERE d.tenant_id = $1 AND d.terminal = u.terminal AND d.seq = u.seq`,
	`DELETE FROM tap_conflicts AS d USING u WHERE d.tenant_id = $1 AND d.terminal = u.terminal AND d.seq = u.seq`,
	`DELETE FROM foreign_taps AS d USING u WHERE d.tenant_id = $1 AND d.terminal = u.terminal AND d.seq = u.seq`,
	`DELETE FROM tap_uses AS d USING u WHERE d.tenant_id = $1 AND d.issuer = u.issuer AND d.list = u.list AND d.idx = u.idx AND d.ctr = u.ctr
		AND d.terminal = u.terminal AND d.seq = u.seq`,
	`DELETE FROM tap_evidence AS d USING u WHERE d.tenant_id = $1 AND d.received_at = u.received_at AND d.digest = u.digest`,
	`DELETE FROM taps AS d USING u WHERE d.tenant_id = $1 AND d.terminal = u.terminal AND d.seq = u.seq AND d.received_at = u.received_at`,
	`DELETE FROM fare_handovers AS d USING u WHERE d.tenant_id = $1 AND d.terminal = u.terminal AND d.seq = u.seq`,
	`DELETE FROM tap_seen AS d USING u WHERE d.tenant_id = $1 AND d.terminal = u.terminal AND d.seq = u.seq`,
}

const batchOfTaps = `WITH u AS (SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::int[], $6::int[], $7::bigint[], $8::int[], $9::bytea[])
	AS u (terminal, seq, received_at, issuer, list, idx, ctr, digest)) `

// taps erases the next taps in the order of terminals and their numbers.
func (e *eraser) taps(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	rows, err := tx.Query(ctx, `SELECT t.terminal, t.seq, t.received_at, t.issuer, t.list, t.idx, t.ctr, t.evidence_digest `+oldTaps+`
		AND (t.terminal, t.seq) > ($3, $4) ORDER BY t.terminal, t.seq LIMIT $5`, tx.Tenant, e.before, e.terminal, e.seq, batchMax)
	if err != nil {
		return false, err
	}
	var terminals, seqs []int64
	var received []time.Time
	var issuers, lists, ctrs []*int32
	var idxs []*int64
	var digests [][]byte
	read := 0
	var at time.Time
	var issuer, list, ctr *int32
	var idx *int64
	var digest []byte
	if _, err := pgx.ForEachRow(rows, []any{&e.terminal, &e.seq, &at, &issuer, &list, &idx, &ctr, &digest}, func() error {
		read++
		if e.heldTaps[[2]int64{e.terminal, e.seq}] {
			e.r.HeldTaps++
			return nil
		}
		terminals, seqs, received = append(terminals, e.terminal), append(seqs, e.seq), append(received, at)
		issuers, lists, idxs, ctrs, digests = append(issuers, issuer), append(lists, list), append(idxs, idx), append(ctrs, ctr), append(digests, digest)
		issuer, list, idx, ctr, digest = nil, nil, nil, nil, nil
		return nil
	}); err != nil || len(seqs) == 0 {
		return read == batchMax, err
	}
	for _, sql := range ofTaps {
		if _, err := tx.Exec(ctx, batchOfTaps+sql, tx.Tenant, terminals, seqs, received, issuers, lists, idxs, ctrs, digests); err != nil {
			return false, fmt.Errorf("%.30s: %w", sql, err)
		}
	}
	e.r.Taps += int64(len(seqs))
	return read == batchMax, noted(ctx, tx, e.before, int64(len(seqs)), 0)
}

// facts erases the taps that members of an integrated tariff handed over, and the
// numbers by which shares name taps: the operators that have those keep them as long
// as they keep the taps.
func (e *eraser) facts(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	terminals, seqs := make([]int64, 0, len(e.heldTaps)), make([]int64, 0, len(e.heldTaps))
	for id := range e.heldTaps {
		terminals, seqs = append(terminals, id[0]), append(seqs, id[1])
	}
	tag, err := tx.Exec(ctx, `
		DELETE FROM fare_facts AS x USING (SELECT f.terminal, f.seq FROM fare_facts AS f WHERE f.tenant_id = $1 AND f.event_time < $2
			AND NOT (f.terminal, f.seq) IN (SELECT * FROM unnest($3::bigint[], $4::bigint[])) LIMIT $5) AS o
		WHERE x.tenant_id = $1 AND x.terminal = o.terminal AND x.seq = o.seq`, tx.Tenant, e.before, terminals, seqs, batchMax)
	if err != nil {
		return false, err
	}
	e.r.Taps += tag.RowsAffected()
	shares, err := tx.Exec(ctx, `
		UPDATE fare_shares AS x SET taps = '' FROM (SELECT s.journey_id, s.operator_id, s.n FROM fare_shares AS s
			WHERE s.tenant_id = $1 AND s.event_time < $2 AND s.taps <> '' AND NOT s.journey_id = ANY($3::uuid[]) LIMIT $4) AS o
		WHERE x.tenant_id = $1 AND x.journey_id = o.journey_id AND x.operator_id = o.operator_id AND x.n = o.n`, tx.Tenant, e.before, e.held, batchMax)
	if err != nil {
		return false, err
	}
	got, err := tx.Exec(ctx, `
		UPDATE fare_decisions AS x SET taps = '' FROM (SELECT d.journey_id, d.n FROM fare_decisions AS d
			WHERE d.tenant_id = $1 AND d.event_time < $2 AND d.shared_by <> 0 AND d.taps <> '' AND NOT d.journey_id = ANY($3::uuid[]) LIMIT $4) AS o
		WHERE x.tenant_id = $1 AND x.journey_id = o.journey_id AND x.n = o.n`, tx.Tenant, e.before, e.held, batchMax)
	return tag.RowsAffected() == batchMax || shares.RowsAffected() == batchMax || got.RowsAffected() == batchMax, err
}

// journeys takes riders and taps out of the next journeys. Their decisions keep
// what the books are derived from.
func (e *eraser) journeys(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	rows, err := tx.Query(ctx, `SELECT j.journey_id `+oldJourneys+` AND j.journey_id > $4 ORDER BY j.journey_id LIMIT $5`,
		tx.Tenant, e.before, e.held, e.journey, batchMax)
	if err != nil {
		return false, err
	}
	ids, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (id citygate.UUID, err error) {
		err = r.Scan((*[16]byte)(&id))
		return id, err
	})
	if err != nil || len(ids) == 0 {
		return false, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE fare_decisions SET taps = '', explanation = '{}', inputs_hash = decode(repeat('00', 32), 'hex')
		WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[])`, tx.Tenant, ids); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE journeys SET issuer = 0, list = 0, idx = 4294967295, taps = '', account_id = NULL, reading = '', lacks = false,
			starts_at = date_trunc('day', starts_at, 'UTC'), ends_at = date_trunc('day', starts_at, 'UTC')
		WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[])`, tx.Tenant, ids); err != nil {
		return false, err
	}
	// The leaf of an explanation without its salt joins nothing to anybody.
	if _, err := tx.Exec(ctx, `UPDATE explanation_leaves SET salt = NULL WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[]) AND salt IS NOT NULL`, tx.Tenant, ids); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM fare_states WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[])`, tx.Tenant, ids); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM journey_claims WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[])`, tx.Tenant, ids); err != nil {
		return false, err
	}
	e.journey = ids[len(ids)-1]
	e.r.Journeys += int64(len(ids))
	return len(ids) == batchMax, noted(ctx, tx, e.before, 0, int64(len(ids)))
}

// claims takes the riders out of claims. The account that paid stays, as in the books.
func (e *eraser) claims(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE claims AS x SET list = 0, idx = 4294967295
		FROM (SELECT c.operator_id, c.journey_id `+oldClaims+` LIMIT $4) AS o
		WHERE x.tenant_id = $1 AND x.operator_id = o.operator_id AND x.journey_id = o.journey_id`, tx.Tenant, e.before, e.held, batchMax)
	e.r.Claims += tag.RowsAffected()
	return tag.RowsAffected() == batchMax, err
}

// codes erases the codes that claims were proved by, those that were refused, and
// those of other schemes whose riders were named.
func (e *eraser) codes(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	for _, step := range []struct {
		sql  string
		held bool
	}{
		{`DELETE FROM code_use AS x USING (SELECT u.list, u.idx, u.ctr ` + oldUses + ` LIMIT $4) AS o
			WHERE x.tenant_id = $1 AND x.list = o.list AND x.idx = o.idx AND x.ctr = o.ctr`, true},
		{`DELETE FROM code_conflicts AS x USING (SELECT operator_id, terminal, seq FROM code_conflicts
				WHERE tenant_id = $1 AND event_time < $2 AND (journey_id IS NULL OR NOT journey_id = ANY($3::uuid[])) LIMIT $4) AS o
			WHERE x.tenant_id = $1 AND x.operator_id = o.operator_id AND x.terminal = o.terminal AND x.seq = o.seq`, true},
		{`DELETE FROM foreign_codes AS x USING (SELECT scheme, once FROM foreign_codes
				WHERE tenant_id = $1 AND event_time < $2 AND state IN ('named', 'refused') LIMIT $3) AS o
			WHERE x.tenant_id = $1 AND x.scheme = o.scheme AND x.once = o.once`, false},
	} {
		args := []any{tx.Tenant, e.before}
		if step.held {
			args = append(args, e.held)
		}
		tag, err := tx.Exec(ctx, step.sql, append(args, batchMax)...)
		if err != nil {
			return false, err
		}
		e.r.Codes += tag.RowsAffected()
		more = more || tag.RowsAffected() == batchMax
	}
	return more, nil
}

// payers erases what further providers call the payers of closed accounts that have
// had no payment since the cut, owe nothing and have nothing under way.
func (e *eraser) payers(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	tag, err := tx.Exec(ctx, `
		DELETE FROM account_payers AS x USING (
			SELECT p.account_id, p.contract FROM account_payers AS p JOIN accounts AS a ON a.tenant_id = $1 AND a.account_id = p.account_id
			WHERE p.tenant_id = $1 AND a.state = 'closed' AND a.created_at < $2
			AND NOT EXISTS (SELECT FROM debts AS d WHERE d.tenant_id = $1 AND d.account_id = p.account_id AND d.state = 'open')
			AND NOT EXISTS (SELECT FROM aggregations AS g WHERE g.tenant_id = $1 AND g.account_id = p.account_id AND (g.state IN ('open', 'charging') OR g.opened_at >= $2))
			AND NOT EXISTS (SELECT FROM charges AS c WHERE c.tenant_id = $1 AND c.account_id = p.account_id AND (c.final_at IS NULL OR c.final_at >= $2))
			AND NOT EXISTS (SELECT FROM refunds AS r WHERE r.tenant_id = $1 AND r.account_id = p.account_id AND (r.final_at IS NULL OR r.final_at >= $2))
			LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.account_id = o.account_id AND x.contract = o.contract`, tx.Tenant, e.before, batchMax)
	return tag.RowsAffected() == batchMax, err
}

// agreements erases whose agreements were that ended before the cut, or that nobody has
// confirmed since he was invited before it, and which they were to their provider. The
// tenant's own names stay taken.
func (e *eraser) agreements(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE agreements AS x SET rider_ref = '', provider_id = '', account_id = NULL FROM (
			SELECT agreement_id FROM agreements WHERE tenant_id = $1 AND (ended_at < $2 OR state = 'unknown' AND NOT ending AND invited_at < $2)
				AND (rider_ref <> '' OR provider_id <> '' OR account_id IS NOT NULL) LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.agreement_id = o.agreement_id`, tx.Tenant, e.before, batchMax)
	if err != nil {
		return false, err
	}
	// A card that was given up, and is known to be, is nobody's any more.
	cards, err := tx.Exec(ctx, `
		UPDATE wallet_cards AS x SET rider_ref = '', account_id = NULL FROM (
			SELECT card_id FROM wallet_cards WHERE tenant_id = $1 AND told = 'revoked' AND locked = 'revoked' AND state = 'told' AND NOT touched AND told_at < $2 AND rider_ref <> '' LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.card_id = o.card_id`, tx.Tenant, e.before, batchMax)
	return tag.RowsAffected() == batchMax || cards.RowsAffected() == batchMax, err
}

// flags erases the flags of taps: a flag names a rider and where he was.
func (e *eraser) flags(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	tag, err := tx.Exec(ctx, `DELETE FROM risk_flags AS x USING (SELECT flag_id FROM risk_flags WHERE tenant_id = $1 AND at < $2 LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.flag_id = o.flag_id`, tx.Tenant, e.before, batchMax)
	return tag.RowsAffected() == batchMax, err
}

// joins erases which devices were one person's, once they are not any more.
func (e *eraser) joins(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	tag, err := tx.Exec(ctx, `DELETE FROM person_devices AS x USING (SELECT device, since FROM person_devices WHERE tenant_id = $1 AND until < $2 LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.device = o.device AND x.since = o.since`, tx.Tenant, e.before, batchMax)
	return tag.RowsAffected() == batchMax, err
}

// messages empties delivered messages: what they said is in the tables.
func (e *eraser) messages(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE outbox AS x SET body = '' FROM (SELECT o.to_tenant, o.position `+oldMessages+` LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.to_tenant = o.to_tenant AND x.position = o.position`, tx.Tenant, e.messagesBefore(), batchMax)
	e.r.Messages += tag.RowsAffected()
	return tag.RowsAffected() == batchMax, err
}

// told erases whom notices of providers were about, and the codes that were signed
// on their request, once these have ended.
func (e *eraser) told(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	notices, err := tx.Exec(ctx, `
		UPDATE provider_notices AS x SET rider_ref = '' FROM (
			SELECT notice_id FROM provider_notices WHERE tenant_id = $1 AND received_at < $2 AND rider_ref <> '' LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.notice_id = o.notice_id`, tx.Tenant, e.before, batchMax)
	if err != nil {
		return false, err
	}
	codes, err := tx.Exec(ctx, `
		DELETE FROM provider_codes AS x USING (SELECT code_id FROM provider_codes WHERE tenant_id = $1 AND not_after < $2 LIMIT $3) AS o
		WHERE x.tenant_id = $1 AND x.code_id = o.code_id`, tx.Tenant, e.before, batchMax)
	return notices.RowsAffected() == batchMax || codes.RowsAffected() == batchMax, err
}
