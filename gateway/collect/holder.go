package collect

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A display pays for one journey at a time. Taps move between an operator's
// journeys when late ones change the pairing, and an honest operator then claims
// every journey concerned in one message: the one that gives the tap up no longer
// names it, the one that gets it does. So a claim may take a tap from another
// journey only when that journey's newer claim is in the same batch, or when
// nothing is accepted of that journey on the strength of the tap any more.
// Otherwise the rider would pay twice for one display, and the tap is refused.

// moved lists the uses whose tap another journey of the operator named last.
func moved(all []*use, holders map[useKey]holder) []*use {
	var out []*use
	for _, u := range all {
		if h, ok := holders[u.key()]; ok && h.tap(u) && h.journey != u.claim.Journey {
			out = append(out, u)
		}
	}
	return out
}

// refuseHeld refuses the taps of uses that another journey still lives on.
func refuseHeld(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, claims []*claim, contested []*use, holders map[useKey]holder) error {
	if len(contested) == 0 {
		return nil
	}
	inBatch := make(map[citygate.UUID]*claim, len(claims))
	for _, cl := range claims {
		if !cl.settled() {
			inBatch[cl.Journey] = cl
		}
	}
	var stored []citygate.UUID
	for _, u := range contested {
		if j := holders[u.key()].journey; inBatch[j] == nil {
			stored = append(stored, j)
		}
	}
	inForce, err := claimsInForce(ctx, tx, operator, stored)
	if err != nil {
		return err
	}
	for _, u := range contested {
		h := holders[u.key()]
		if other := inBatch[h.journey]; other != nil {
			if other.names(u.tap.Terminal, u.tap.Seq) {
				u.claim.refuse(u.tap, code.DoubleUse)
			}
			continue
		}
		if n, ok := inForce[h.journey]; ok && h.n >= n {
			u.claim.refuse(u.tap, code.DoubleUse)
		}
	}
	for _, u := range contested {
		// The newer claim of the journey that gives the tap up was refused for
		// another tap. What was accepted of the journey before rests on the tap, so
		// it goes; the operator decides the journey again because of the refusal.
		if other := inBatch[holders[u.key()].journey]; other != nil && len(other.refused) > 0 && len(u.claim.refused) == 0 {
			other.withdrawn = true
		}
	}
	return nil
}

// names reports whether the tap is among the claim's.
func (c *claim) names(terminal uint32, seq uint64) bool {
	for i := range c.Taps {
		if c.Taps[i].Terminal == terminal && c.Taps[i].Seq == seq {
			return true
		}
	}
	return false
}

// claimsInForce gives, for the journeys of which something is accepted, the claim
// that was.
func claimsInForce(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, journeys []citygate.UUID) (map[citygate.UUID]int, error) {
	out := make(map[citygate.UUID]int, len(journeys))
	slices.SortFunc(journeys, func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(slices.Compact(journeys), rowsMax) {
		rows, err := tx.Query(ctx, `
			SELECT c.journey_id, c.accepted_n FROM unnest($3::uuid[]) AS u (id) CROSS JOIN LATERAL (
				SELECT journey_id, accepted_n FROM claims WHERE tenant_id = $1 AND operator_id = $2 AND journey_id = u.id AND amount > 0 OFFSET 0) AS c`,
			tx.Tenant, operator, chunk)
		if err != nil {
			return nil, err
		}
		var id citygate.UUID
		var n int
		if _, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { out[id] = n; return nil }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// holdDisplays notes for the displays of accepted claims that were there before
// which journey has them now.
func holdDisplays(ctx context.Context, tx *pg.Tx, all []*use, holders map[useKey]holder) error {
	var changed []*use
	for _, u := range all {
		h, ok := holders[u.key()]
		if ok && len(u.claim.refused) == 0 && (h.journey != u.claim.Journey || h.n != u.claim.N) {
			changed = append(changed, u)
		}
	}
	slices.SortStableFunc(changed, func(a, b *use) int { return cmp.Or(a.key().compare(b.key()), cmp.Compare(a.claim.N, b.claim.N)) })
	changed = slices.CompactFunc(changed, func(a, b *use) bool { return a.key() == b.key() })
	for chunk := range slices.Chunk(changed, rowsMax) {
		n := len(chunk)
		lists, idxs, ctrs := make([]int32, n), make([]int64, n), make([]int32, n)
		journeys, ns := make([]citygate.UUID, n), make([]int32, n)
		for i, u := range chunk {
			lists[i], idxs[i], ctrs[i] = int32(u.claim.Rider.List), int64(u.claim.Rider.Index), int32(u.tap.Counter)
			journeys[i], ns[i] = u.claim.Journey, int32(u.claim.N)
		}
		if _, err := tx.Exec(ctx, `
			UPDATE code_use AS c SET held_by = u.journey, held_n = u.n
			FROM unnest($2::int[], $3::bigint[], $4::int[], $5::uuid[], $6::int[]) AS u (list, idx, ctr, journey, n)
			WHERE c.tenant_id = $1 AND c.list = u.list AND c.idx = u.idx AND c.ctr = u.ctr`,
			tx.Tenant, lists, idxs, ctrs, journeys, ns); err != nil {
			return err
		}
	}
	return nil
}
