package foreign

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	insertCodeRows = `
		INSERT INTO foreign_codes (tenant_id, scheme, once, operator_id, terminal, seq, subject, proven, cap_minor, digest, evidence, event_time,
			fare_minor, fare_currency, give_up_at, state, reason, attempts, next_try_at, told, created_at)
		SELECT $1, u.scheme, u.once, $2, u.terminal, u.seq, u.subject, u.proven, u.cap_minor, u.digest, u.evidence, u.event_time,
			u.fare_minor, u.fare_currency, u.give_up_at, 'waiting', '', 0, $3, false, $3
		FROM unnest($4::text[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bytea[], $9::boolean[], $10::bigint[], $11::bytea[], $12::bytea[],
			$13::timestamptz[], $14::bigint[], $15::text[], $16::timestamptz[])
			AS u (scheme, once, terminal, seq, subject, proven, cap_minor, digest, evidence, event_time, fare_minor, fare_currency, give_up_at)
		ON CONFLICT (tenant_id, scheme, once) DO NOTHING`

	codeColumns = `c.scheme, c.once, c.operator_id, c.terminal, c.seq, c.subject, c.proven, c.cap_minor, c.digest, c.evidence, c.event_time,
		c.fare_minor, c.fare_currency, c.give_up_at, c.state, c.reason, coalesce(c.list, 0), coalesce(c.idx, 0), coalesce(c.ctr, 0), c.told, c.attempts`

	selectHolders = `
		SELECT ` + codeColumns + ` FROM unnest($2::text[], $3::bytea[]) AS u (scheme, once)
		JOIN foreign_codes c ON c.tenant_id = $1 AND c.scheme = u.scheme AND c.once = u.once
		ORDER BY c.scheme, c.once FOR UPDATE OF c`

	updateCodes = `
		UPDATE foreign_codes c SET subject = u.subject, state = u.state, reason = u.reason, list = u.list, idx = u.idx, ctr = u.ctr, told = u.told,
			attempts = u.attempts, next_try_at = coalesce(u.next_try_at, c.next_try_at), decided_at = CASE WHEN u.state IN ('named', 'refused') THEN $2::timestamptz END
		FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::text[], $7::text[], $8::int[], $9::bigint[], $10::int[], $11::boolean[], $12::int[], $13::timestamptz[])
			AS u (scheme, once, subject, state, reason, list, idx, ctr, told, attempts, next_try_at)
		WHERE c.tenant_id = $1 AND c.scheme = u.scheme AND c.once = u.once AND c.decided_at IS NULL`

	// A code that waits is looked at again when its rider may be known by now.
	selectOpen = `
		SELECT ` + codeColumns + ` FROM foreign_codes c
		WHERE c.tenant_id = $1 AND c.decided_at IS NULL AND (c.give_up_at <= $2 OR EXISTS (
			SELECT FROM foreign_riders r WHERE r.tenant_id = $1 AND r.scheme = c.scheme AND r.subject = c.subject))
		ORDER BY c.scheme, c.once LIMIT $3 FOR UPDATE OF c`

	selectToAsk = `
		SELECT ` + codeColumns + ` FROM foreign_codes c
		WHERE c.tenant_id = $1 AND c.decided_at IS NULL AND NOT c.proven AND c.next_try_at <= $2 AND c.give_up_at > $2 AND c.scheme = ANY ($3::text[])
		ORDER BY c.scheme, c.once LIMIT $4 FOR UPDATE OF c`

	selectUntold = `
		SELECT ` + codeColumns + ` FROM foreign_codes c
		WHERE c.tenant_id = $1 AND NOT c.told AND c.decided_at IS NOT NULL
		ORDER BY c.operator_id, c.scheme, c.once LIMIT $2 FOR UPDATE OF c`

	markTold = `
		UPDATE foreign_codes c SET told = true FROM unnest($2::text[], $3::bytea[]) AS u (scheme, once)
		WHERE c.tenant_id = $1 AND c.scheme = u.scheme AND c.once = u.once`

	selectNamed = `
		SELECT ` + codeColumns + ` FROM unnest($3::int[], $4::bigint[], $5::int[]) AS u (list, idx, ctr)
		CROSS JOIN LATERAL (
			SELECT * FROM foreign_codes WHERE tenant_id = $1 AND operator_id = $2 AND list = u.list AND idx = u.idx AND ctr = u.ctr OFFSET 0) AS c`
)

type onceKey struct {
	scheme code.SchemeID
	once   [32]byte
}

// insertCodes stores the rows whose display nobody has. They are sorted, and one
// display is inserted once.
func insertCodes(ctx context.Context, tx *pg.Tx, rows []*row) error {
	first := slices.CompactFunc(slices.Clone(rows), func(a, b *row) bool { return a.scheme == b.scheme && a.once == b.once })
	for part := range slices.Chunk(first, rowsMax) {
		n := len(part)
		schemes, onces, terminals, seqs := make([]string, n), make([][]byte, n), make([]int64, n), make([]int64, n)
		subjects, proven, caps, digests := make([][]byte, n), make([]bool, n), make([]int64, n), make([][]byte, n)
		evidence, times, fares, currencies, giveUp := make([][]byte, n), make([]time.Time, n), make([]int64, n), make([]string, n), make([]time.Time, n)
		for i, r := range part {
			schemes[i], onces[i], terminals[i], seqs[i] = string(r.scheme), r.once[:], int64(r.terminal), int64(r.seq)
			subjects[i], proven[i], caps[i], digests[i] = r.subject[:], r.proven, r.cap, r.digest[:]
			evidence[i], times[i], fares[i], currencies[i], giveUp[i] = r.evidence, r.at, r.fare.Minor, string(r.fare.Currency), r.giveUp
		}
		if _, err := tx.Exec(ctx, insertCodeRows, tx.Tenant, part[0].operator, tx.Now, schemes, onces, terminals, seqs, subjects, proven, caps,
			digests, evidence, times, fares, currencies, giveUp); err != nil {
			return err
		}
	}
	return nil
}

// holders gives, locked, who has the rows' displays.
func holders(ctx context.Context, tx *pg.Tx, rows []*row) (map[onceKey]*row, error) {
	out := make(map[onceKey]*row, len(rows))
	first := slices.CompactFunc(slices.Clone(rows), func(a, b *row) bool { return a.scheme == b.scheme && a.once == b.once })
	for part := range slices.Chunk(first, rowsMax) {
		schemes, onces := keys(part)
		found, err := collectRows(tx.Query(ctx, selectHolders, tx.Tenant, schemes, onces))
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			out[onceKey{r.scheme, r.once}] = r
		}
	}
	return out, nil
}

func keys(rows []*row) (schemes []string, onces [][]byte) {
	schemes, onces = make([]string, len(rows)), make([][]byte, len(rows))
	for i, r := range rows {
		schemes[i], onces[i] = string(r.scheme), r.once[:]
	}
	return schemes, onces
}

func collectRows(rows pgx.Rows, err error) ([]*row, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(from pgx.CollectableRow) (*row, error) {
		r := new(row)
		var once, subject, digest []byte
		err := from.Scan(&r.scheme, &once, &r.operator, &r.terminal, &r.seq, &subject, &r.proven, &r.cap, &digest, &r.evidence, &r.at,
			&r.fare.Minor, &r.fare.Currency, &r.giveUp, &r.state, &r.reason, &r.rider.List, &r.rider.Index, &r.ctr, &r.told, &r.tries)
		copy(r.once[:], once)
		copy(r.subject[:], subject)
		copy(r.digest[:], digest)
		r.at, r.giveUp = r.at.UTC(), r.giveUp.UTC()
		return r, err
	})
}

// store writes what became of rows.
func store(ctx context.Context, tx *pg.Tx, rows []*row) error {
	return storeAt(ctx, tx, rows, time.Time{})
}

// storeAt does, and sets when they are to be looked at again.
func storeAt(ctx context.Context, tx *pg.Tx, rows []*row, next time.Time) error {
	for part := range slices.Chunk(rows, rowsMax) {
		n := len(part)
		schemes, onces := keys(part)
		subjects, states, reasons := make([][]byte, n), make([]string, n), make([]string, n)
		lists, idxs, ctrs := make([]*int32, n), make([]*int64, n), make([]*int32, n)
		told, tries, nexts := make([]bool, n), make([]int32, n), make([]*time.Time, n)
		for i, r := range part {
			subjects[i], states[i], reasons[i], told[i], tries[i] = r.subject[:], r.state, string(r.reason), r.told, int32(r.tries)
			if r.state == named {
				list, idx, ctr := int32(r.rider.List), int64(r.rider.Index), int32(r.ctr)
				lists[i], idxs[i], ctrs[i] = &list, &idx, &ctr
			}
			if !next.IsZero() {
				nexts[i] = &next
			}
		}
		if _, err := tx.Exec(ctx, updateCodes, tx.Tenant, tx.Now, schemes, onces, subjects, states, reasons, lists, idxs, ctrs, told, tries, nexts); err != nil {
			return err
		}
	}
	return nil
}

// A Proof is what is on record of a display that an operator claims a fare for.
type Proof struct {
	Reason code.Reason // "" = it is this tap's, and the rider's
	Cap    int64       // minor units; [code.CapNone] = none stated
}

// Prove says of each tap, which shows a rider's display by its counter, whether it
// was named so for operator. Nothing is verified again: it was when it was named.
func Prove(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, riders []citygate.Rider, taps []interbook.ClaimTap) ([]Proof, error) {
	type display struct {
		rider citygate.Rider
		ctr   uint16
	}
	lists, idxs, ctrs := make([]int32, len(taps)), make([]int64, len(taps)), make([]int32, len(taps))
	for i := range taps {
		lists[i], idxs[i], ctrs[i] = int32(riders[i].List), int64(riders[i].Index), int32(taps[i].Counter)
	}
	found, err := collectRows(tx.Query(ctx, selectNamed, tx.Tenant, operator, lists, idxs, ctrs))
	if err != nil {
		return nil, err
	}
	held := make(map[display]*row, len(found))
	for _, r := range found {
		held[display{citygate.Rider{List: r.rider.List, Index: r.rider.Index}, r.ctr}] = r
	}
	proofs := make([]Proof, len(taps))
	for i := range taps {
		r, ok := held[display{citygate.Rider{List: riders[i].List, Index: riders[i].Index}, taps[i].Counter}]
		switch {
		case !ok || r.terminal != taps[i].Terminal || r.seq != taps[i].Seq:
			proofs[i].Reason = code.NotIssued
		case r.digest != sum256(taps[i].Evidence):
			proofs[i].Reason = code.Malformed
		default:
			proofs[i].Cap = r.cap
		}
	}
	return proofs, nil
}
