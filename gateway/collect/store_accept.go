package collect

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const rowsMax = 2_000 // rows of one statement

// The states of an aggregation.
const (
	aggregationOpen       = "open"
	aggregationCharging   = "charging"
	aggregationSettled    = "settled"
	aggregationInDebt     = "in_debt"
	aggregationRecovered  = "recovered"
	aggregationCorrected  = "corrected" // the debt was corrected away
	aggregationWrittenOff = "written_off"
	aggregationClosedZero = "closed_zero"
)

// markStale reads and locks, in their order, what is stored of the claims'
// journeys. A journey keeps its rider and its currency. Here and below, OFFSET 0 has each row looked up by its key: while a
// table has no statistics the planner takes a tenant's rows for few and would
// read them all for every batch.
func markStale(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, currency citygate.Currency, claims []*claim) error {
	byJourney := make(map[citygate.UUID]*claim, len(claims))
	ids := make([]citygate.UUID, len(claims))
	for i, cl := range claims {
		byJourney[cl.Journey], ids[i], cl.first = cl, cl.Journey, true
	}
	slices.SortFunc(ids, func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(ids, rowsMax) {
		rows, err := tx.Query(ctx, `
			SELECT c.journey_id, c.n, c.amount, c.state, c.account_id IS NOT NULL, c.list, c.idx, c.currency, c.business_date FROM unnest($3::uuid[]) AS u (id) CROSS JOIN LATERAL (
				SELECT * FROM claims WHERE tenant_id = $1 AND operator_id = $2 AND journey_id = u.id OFFSET 0 FOR UPDATE) AS c`,
			tx.Tenant, operator, chunk)
		if err != nil {
			return err
		}
		var id citygate.UUID
		var n int
		var amount int64
		var state string
		var known bool
		var list int32
		var idx int64
		var was citygate.Currency
		var date citygate.Date
		if _, err := pgx.ForEachRow(rows, []any{&id, &n, &amount, &state, &known, &list, &idx, &was, &date}, func() error {
			cl := byJourney[id]
			cl.had, cl.hadDate, cl.first, cl.stored = amount, date, !known, true
			cl.stale, cl.was = n >= cl.N, state == "accepted"
			switch {
			case cl.stale:
			case uint16(list) != cl.Rider.List || uint32(idx) != cl.Rider.Index:
				cl.reason = interbook.OtherRider
			case was != currency:
				cl.reason = interbook.OtherCurrency
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// attemptFrom is the number of displays from which it pays to try whether all of
// them are free.
const attemptFrom = 32

const insertUses = `
	INSERT INTO code_use (tenant_id, list, idx, ctr, digest, operator_id, terminal, seq, journey_id, n, event_time, evidence)
	SELECT $1, list, idx, ctr, digest, $2, terminal, seq, journey, n, at, evidence
	FROM unnest($3::int[], $4::bigint[], $5::int[], $6::bytea[], $7::bigint[], $8::bigint[], $9::uuid[], $10::int[], $11::timestamptz[], $12::bytea[])
	     AS u (list, idx, ctr, digest, terminal, seq, journey, n, at, evidence)`

// takeUses stores the uses whose display nobody has and gives who has each
// display that this batch did not get wholly. Those rows are locked in their
// order, so that two transactions never give one display to two journeys.
func takeUses(ctx context.Context, tx *pg.Tx, all []*use) (map[useKey]holder, error) {
	holders := map[useKey]holder{}
	for chunk := range slices.Chunk(all, rowsMax) {
		n := len(chunk)
		lists, idxs, ctrs, ns := make([]int32, n), make([]int64, n), make([]int32, n), make([]int32, n)
		digests, evidence := make([][]byte, n), make([][]byte, n)
		terminals, seqs := make([]int64, n), make([]int64, n)
		journeys, times := make([]citygate.UUID, n), make([]time.Time, n)
		for i, u := range chunk {
			lists[i], idxs[i], ctrs[i] = int32(u.claim.Rider.List), int64(u.claim.Rider.Index), int32(u.tap.Counter)
			digests[i], evidence[i] = u.digest[:], u.tap.Evidence
			terminals[i], seqs[i] = int64(u.tap.Terminal), int64(u.tap.Seq)
			journeys[i], ns[i], times[i] = u.claim.Journey, int32(u.claim.N), u.tap.EventTime
		}
		args := []any{tx.Tenant, chunk[0].operator, lists, idxs, ctrs, digests, terminals, seqs, journeys, ns, times, evidence}
		if n >= attemptFrom {
			if taken, err := tx.Attempt(ctx, insertUses+` RETURNING n`, args...); err != nil {
				return nil, err
			} else if !taken {
				continue // every display was free
			}
		}
		tag, err := tx.Exec(ctx, insertUses+` ON CONFLICT (tenant_id, list, idx, ctr) DO NOTHING`, args...)
		if err != nil {
			return nil, err
		}
		if int(tag.RowsAffected()) == n {
			continue // every display was free, and each was asked for once
		}
		rows, err := tx.Query(ctx, `
			SELECT u.list, u.idx, u.ctr, c.operator_id, c.terminal, c.seq, c.digest, c.journey, c.n FROM unnest($2::int[], $3::bigint[], $4::int[]) AS u (list, idx, ctr)
			CROSS JOIN LATERAL (
				SELECT operator_id, terminal, seq, digest, coalesce(held_by, journey_id) AS journey, coalesce(held_n, n) AS n FROM code_use
				WHERE tenant_id = $1 AND list = u.list AND idx = u.idx AND ctr = u.ctr OFFSET 0 FOR UPDATE) AS c`, tx.Tenant, lists, idxs, ctrs)
		if err != nil {
			return nil, err
		}
		var list, ctr int32
		var idx int64
		var h holder
		if _, err := pgx.ForEachRow(rows, []any{&list, &idx, &ctr, &h.operator, &h.terminal, &h.seq, &h.digest, &h.journey, &h.n}, func() error {
			holders[useKey{uint16(list), uint32(idx), uint16(ctr)}] = h
			h.digest = nil
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return holders, nil
}

// keepConflicts keeps the evidence of refused taps.
func keepConflicts(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, claims []*claim) error {
	for _, cl := range claims {
		for _, r := range cl.refused {
			i := slices.IndexFunc(cl.Taps, func(t interbook.ClaimTap) bool { return t.Terminal == r.Terminal && t.Seq == r.Seq })
			if err := keepConflict(ctx, tx, operator, cl.Rider, &cl.Journey, &cl.Taps[i], r.Reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepConflict keeps one piece of evidence; journey is nil if the tap was in no
// claim.
func keepConflict(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, rider citygate.Rider, journey *citygate.UUID, t *interbook.ClaimTap, reason code.Reason) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO code_conflicts (tenant_id, list, idx, ctr, operator_id, terminal, seq, journey_id, reason, digest, event_time, evidence, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (tenant_id, operator_id, terminal, seq) DO NOTHING`,
		tx.Tenant, int32(rider.List), int64(rider.Index), int32(t.Counter), operator, int64(t.Terminal), int64(t.Seq),
		journey, string(reason), sum256(t.Evidence), t.EventTime, t.Evidence, tx.Now)
	return err
}

// storeClaims writes the latest word on each journey and sets the differences.
func storeClaims(ctx context.Context, tx *pg.Tx, b *booking, claims []*claim) error {
	fresh := make([]*claim, 0, len(claims))
	for _, cl := range claims {
		if !cl.settled() {
			fresh = append(fresh, cl)
		}
	}
	slices.SortFunc(fresh, func(a, b *claim) int { return bytes.Compare(a.Journey[:], b.Journey[:]) })
	for _, sql := range []string{insertClaims, updateClaims} {
		part := slices.DeleteFunc(slices.Clone(fresh), func(cl *claim) bool { return cl.stored == (sql == insertClaims) })
		if err := writeClaims(ctx, tx, b, sql, part); err != nil {
			return err
		}
	}
	return nil
}

const insertClaimRows = `
	INSERT INTO claims AS c (tenant_id, operator_id, journey_id, n, list, idx, account_id, amount, currency, state, business_date, at, accepted_n)
	SELECT $1, $2, journey, n, list, idx, account, amount, $3, state, date, at, accepted
	FROM unnest($4::uuid[], $5::int[], $6::int[], $7::bigint[], $8::uuid[], $9::bigint[], $10::text[], $11::date[], $12::timestamptz[], $13::int[])
	     AS u (journey, n, list, idx, account, amount, state, date, at, accepted)`

// The rows of new journeys are not looked for again before they are inserted:
// that would be a third of the work. If another transaction stores one meanwhile
// this one fails. RETURNING stands where a bulk insert has ON CONFLICT: without
// either a distributed database makes COPY of it, which row-level security
// refuses.
const insertClaims = insertClaimRows + ` RETURNING n`

const updateClaims = insertClaimRows + `
	ON CONFLICT (tenant_id, operator_id, journey_id) DO UPDATE
	SET n = excluded.n, account_id = coalesce(excluded.account_id, c.account_id), amount = excluded.amount, state = excluded.state,
	    business_date = excluded.business_date, at = excluded.at, accepted_n = greatest(c.accepted_n, excluded.accepted_n)`

func writeClaims(ctx context.Context, tx *pg.Tx, b *booking, sql string, claims []*claim) error {
	for chunk := range slices.Chunk(claims, rowsMax) {
		n := len(chunk)
		journeys, ns := make([]citygate.UUID, n), make([]int32, n)
		lists, idxs, amounts := make([]int32, n), make([]int64, n), make([]int64, n)
		accounts, states := make([]*citygate.UUID, n), make([]string, n)
		dates, ats, accepted := make([]citygate.Date, n), make([]time.Time, n), make([]int32, n)
		for i, cl := range chunk {
			journeys[i], ns[i] = cl.Journey, int32(cl.N)
			lists[i], idxs[i] = int32(cl.Rider.List), int64(cl.Rider.Index)
			amounts[i], states[i], accepted[i] = cl.had, "refused", 0
			switch {
			case len(cl.refused) == 0:
				cl.delta = cl.Amount - cl.had
				amounts[i], states[i], accepted[i] = cl.Amount, "accepted", ns[i]
			case cl.withdrawn:
				cl.delta, amounts[i] = -cl.had, 0
			}
			if !cl.account.ID.IsZero() {
				accounts[i] = &cl.account.ID
			}
			dates[i], ats[i] = cl.BusinessDate, cl.at()
		}
		if _, err := tx.Exec(ctx, sql,
			tx.Tenant, b.operator, string(b.currency), journeys, ns, lists, idxs, accounts, amounts, states, dates, ats, accepted); err != nil {
			return err
		}
	}
	return nil
}

func storeLines(ctx context.Context, tx *pg.Tx, b *booking) error {
	for chunk := range slices.Chunk(b.lines, rowsMax) {
		n := len(chunk)
		journeys, accounts, aggregations := make([]citygate.UUID, n), make([]citygate.UUID, n), make([]citygate.UUID, n)
		refunds := make([]*citygate.UUID, n)
		ns, parts, deltas := make([]int32, n), make([]int32, n), make([]int64, n)
		kinds, dates, ats := make([]string, n), make([]citygate.Date, n), make([]time.Time, n)
		for i := range chunk {
			l := &chunk[i]
			journeys[i], accounts[i], aggregations[i] = l.claim.Journey, l.claim.account.ID, l.aggregation
			if !l.refund.IsZero() {
				refunds[i] = &l.refund
			}
			ns[i], parts[i], deltas[i] = int32(l.claim.N), int32(l.part), l.delta
			kinds[i], dates[i], ats[i] = l.kind, l.claim.BusinessDate, l.claim.at()
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO claim_lines (tenant_id, operator_id, journey_id, n, part, account_id, aggregation_id, kind, refund_id, delta, currency, business_date, at)
			SELECT $1, $2, journey, n, part, account, aggregation, kind, refund, delta, $3, date, at
			FROM unnest($4::uuid[], $5::int[], $6::int[], $7::uuid[], $8::uuid[], $9::text[], $10::uuid[], $11::bigint[], $12::date[], $13::timestamptz[])
			     AS u (journey, n, part, account, aggregation, kind, refund, delta, date, at)
			RETURNING part`,
			tx.Tenant, b.operator, string(b.currency), journeys, ns, parts, accounts, aggregations, kinds, refunds, deltas, dates, ats); err != nil {
			return err
		}
	}
	return nil
}

// A place is where a part of a journey's fare is.
type place struct {
	aggregation citygate.UUID
	state       string
	amount      int64
	charge      citygate.UUID // that collected it or is under way; zero if none
	settled     bool          // the charge has succeeded
	contract    string
	ourID       string
	date        citygate.Date
}

// contributions gives the places of a journey's fare, the youngest first, with
// their aggregations locked, and by them their debts: whoever starts a recovery
// locks the aggregation too ([takeDebts]).
func contributions(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, journey citygate.UUID) ([]place, error) {
	rows, err := tx.Query(ctx, `
		SELECT a.aggregation_id, a.state, a.business_date FROM aggregations a
		WHERE a.tenant_id = $1 AND a.aggregation_id IN (
			SELECT aggregation_id FROM claim_lines WHERE tenant_id = $1 AND operator_id = $2 AND journey_id = $3)
		ORDER BY a.business_date DESC, a.ordinal DESC FOR UPDATE OF a`, tx.Tenant, operator, journey)
	if err != nil {
		return nil, err
	}
	places, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (p place, err error) {
		err = r.Scan(&p.aggregation, &p.state, &p.date)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	for i := range places {
		p := &places[i]
		if err := tx.QueryRow(ctx, `
			SELECT coalesce(sum(delta), 0)::bigint FROM claim_lines
			WHERE tenant_id = $1 AND operator_id = $2 AND journey_id = $3 AND aggregation_id = $4`,
			tx.Tenant, operator, journey, p.aggregation).Scan(&p.amount); err != nil {
			return nil, err
		}
		var state string
		err := tx.QueryRow(ctx, `
			SELECT charge_id, state, contract, our_id FROM charges
			WHERE tenant_id = $1 AND aggregation_id = $2 AND state NOT IN ('declined', 'moved') ORDER BY attempt DESC LIMIT 1 FOR UPDATE`,
			tx.Tenant, p.aggregation).Scan(&p.charge, &state, &p.contract, &p.ourID)
		if err != nil && !pg.IsNoRows(err) {
			return nil, err
		}
		p.settled = state == string(adapters.Succeeded)
	}
	return places, nil
}

// createRefund asks for a part of a charge back. While the charge is under way
// the refund waits.
func createRefund(ctx context.Context, tx *pg.Tx, b *booking, cl *claim, p place, amount int64) (citygate.UUID, error) {
	var ordinal int
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(ordinal), 0) + 1 FROM refunds WHERE tenant_id = $1 AND charge_id = $2`,
		tx.Tenant, p.charge).Scan(&ordinal); err != nil {
		return citygate.UUID{}, err
	}
	our := ourID(tx.Tenant, "refund", p.ourID, strconv.Itoa(ordinal))
	id := ledger.DeriveID(tx.Now, "refund", tx.Tenant.String(), our)
	state := "waiting"
	if p.settled {
		state = string(adapters.Created)
		if err := unrelease(ctx, tx, p.charge); err != nil {
			return citygate.UUID{}, err
		}
	} else if p.state == aggregationInDebt || p.state == aggregationWrittenOff { // its bearers bear less from now on
		if _, err := tx.Exec(ctx, `UPDATE debts SET unpassed = true WHERE tenant_id = $1 AND aggregation_id = $2`, tx.Tenant, p.aggregation); err != nil {
			return citygate.UUID{}, err
		}
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, attempt, our_id, contract, account_id, operator_id, journey_id, n, amount, currency,
		                     business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at)
		VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, false, 0, '', '', $15, $16, $16)`,
		tx.Tenant, id, p.charge, ordinal, our, p.contract, cl.account.ID, b.operator, cl.Journey, cl.N, amount, string(b.currency),
		cl.BusinessDate, state, string(adapters.Submit), tx.Now)
	return id, err
}
