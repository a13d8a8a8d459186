package foreign

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// rowsMax bounds the rows of one statement.
const rowsMax = 2000

const (
	selectRiders = `
		SELECT r.scheme, r.subject, r.list, r.idx, r.account_id FROM unnest($2::text[], $3::bytea[]) AS u (scheme, subject)
		CROSS JOIN LATERAL (
			SELECT scheme, subject, list, idx, account_id FROM foreign_riders
			WHERE tenant_id = $1 AND scheme = u.scheme AND subject = u.subject OFFSET 0) AS r`

	// The row lock makes those who enlist riders wait for each other.
	takeIndices = `
		INSERT INTO foreign_lists AS l (tenant_id, list, riders) VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id, list) DO UPDATE SET riders = l.riders + excluded.riders
		RETURNING riders`
	insertRiders = `
		INSERT INTO foreign_riders (tenant_id, list, idx, scheme, subject, account_id, opened_by, displays, created_at)
		SELECT $1, $2, u.idx, u.scheme, u.subject, u.account_id, $3, 0, $4
		FROM unnest($5::bigint[], $6::text[], $7::bytea[], $8::uuid[]) AS u (idx, scheme, subject, account_id)
		ON CONFLICT DO NOTHING`
	lockList = `
		SELECT riders FROM foreign_lists WHERE tenant_id = $1 AND list = $2 FOR UPDATE`
	openList = `
		INSERT INTO foreign_lists (tenant_id, list, riders) VALUES ($1, $2, 0) ON CONFLICT (tenant_id, list) DO NOTHING`

	// In rider order, so that two transactions never wait for each other in a circle.
	takeDisplays = `
		UPDATE foreign_riders r SET displays = r.displays + u.n
		FROM (SELECT list, idx, n FROM unnest($2::int[], $3::bigint[], $4::int[]) AS u (list, idx, n) ORDER BY list, idx) AS u
		WHERE r.tenant_id = $1 AND r.list = u.list AND r.idx = u.idx AND r.displays + u.n <= 65535
		RETURNING r.list, r.idx, r.displays`
	lockRiders = `
		SELECT r.idx FROM foreign_riders r
		JOIN unnest($2::int[], $3::bigint[]) AS u (list, idx) ON r.list = u.list AND r.idx = u.idx
		WHERE r.tenant_id = $1 ORDER BY r.list, r.idx FOR UPDATE OF r`

	accountsOfRiders = `
		SELECT r.list, r.idx, a.account_id, a.contract, a.rider_ref, a.category, a.state
		FROM unnest($2::int[], $3::bigint[]) AS u (list, idx)
		CROSS JOIN LATERAL (
			SELECT list, idx, account_id FROM foreign_riders WHERE tenant_id = $1 AND list = u.list AND idx = u.idx OFFSET 0) AS r
		CROSS JOIN LATERAL (
			SELECT account_id, contract, rider_ref, category, state FROM accounts
			WHERE tenant_id = $1 AND account_id = r.account_id OFFSET 0) AS a`
)

// A subject is who a scheme's codes are of, and whose account that is to be.
type subject struct {
	scheme  code.SchemeID
	digest  [32]byte
	account citygate.UUID // zero = not known
}

type subjectKey struct {
	scheme code.SchemeID
	digest [32]byte
}

func (s subject) key() subjectKey { return subjectKey{s.scheme, s.digest} }

func compareSubjects(a, b subject) int {
	return cmp.Or(cmp.Compare(a.scheme, b.scheme), bytes.Compare(a.digest[:], b.digest[:]))
}

// An enlisted subject is a rider.
type enlisted struct {
	rider   citygate.Rider
	account citygate.UUID
}

// lookUp gives the subjects that are riders.
func lookUp(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, subjects []subject) (map[subjectKey]enlisted, error) {
	out := make(map[subjectKey]enlisted, len(subjects))
	for part := range slices.Chunk(subjects, rowsMax) {
		schemes, digests := make([]string, len(part)), make([][]byte, len(part))
		for i := range part {
			schemes[i], digests[i] = string(part[i].scheme), part[i].digest[:]
		}
		rows, err := tx.Query(ctx, selectRiders, tx.Tenant, schemes, digests)
		if err != nil {
			return nil, err
		}
		var scheme code.SchemeID
		var digest []byte
		var list int32
		var idx int64
		var account citygate.UUID
		_, err = pgx.ForEachRow(rows, []any{&scheme, &digest, &list, &idx, &account}, func() error {
			out[subjectKey{scheme, [32]byte(digest)}] = enlisted{citygate.Rider{Issuer: issuer, List: uint16(list), Index: uint32(idx)}, account}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// enlist gives the subjects as riders; those that are none become one, with the
// account named. by says who opened them.
func enlist(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, by string, subjects []subject) (map[subjectKey]enlisted, error) {
	known, err := lookUp(ctx, tx, issuer, subjects)
	if err != nil {
		return nil, err
	}
	fresh := func() []subject {
		list := slices.DeleteFunc(slices.Clone(subjects), func(s subject) bool {
			_, ok := known[s.key()]
			return ok
		})
		slices.SortStableFunc(list, compareSubjects)
		return slices.CompactFunc(list, func(a, b subject) bool { return a.key() == b.key() })
	}
	if len(fresh()) == 0 {
		return known, nil
	}
	// Under the list's lock nobody else enlists, so what is still missing then is
	// missing for good and the indices stay dense.
	if _, err := tx.Exec(ctx, openList, tx.Tenant, int32(citygate.ForeignLists)); err != nil {
		return nil, err
	}
	var next int64
	if err := tx.QueryRow(ctx, lockList, tx.Tenant, int32(citygate.ForeignLists)).Scan(&next); err != nil {
		return nil, err
	}
	if known, err = lookUp(ctx, tx, issuer, subjects); err != nil {
		return nil, err
	}
	missing := fresh()
	if next+int64(len(missing)) >= math.MaxUint32 {
		return nil, ErrFull.Explain("%d riders", next)
	}
	for part := range slices.Chunk(missing, rowsMax) {
		n := len(part)
		if err := tx.QueryRow(ctx, takeIndices, tx.Tenant, int32(citygate.ForeignLists), int64(n)).Scan(&next); err != nil {
			return nil, err
		}
		idxs, schemes, digests, accounts := make([]int64, n), make([]string, n), make([][]byte, n), make([]citygate.UUID, n)
		for i := range part {
			s := &part[i]
			idxs[i], schemes[i], digests[i], accounts[i] = next-int64(n)+int64(i), string(s.scheme), s.digest[:], s.account
			known[s.key()] = enlisted{citygate.Rider{Issuer: issuer, List: citygate.ForeignLists, Index: uint32(idxs[i])}, s.account}
		}
		if _, err := tx.Exec(ctx, insertRiders, tx.Tenant, int32(citygate.ForeignLists), by, tx.Now, idxs, schemes, digests, accounts); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// number gives each rider named its next counters: those up to the last one in
// the answer, as many as it is named. A rider who has none left is absent.
func number(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (last map[citygate.Rider]int, err error) {
	want := map[citygate.Rider]int32{}
	for _, r := range riders {
		want[r]++
	}
	last = make(map[citygate.Rider]int, len(want))
	sorted := slices.Compact(slices.SortedFunc(slices.Values(riders), citygate.Rider.Compare))
	for part := range slices.Chunk(sorted, rowsMax) {
		lists, idxs, ns := make([]int32, len(part)), make([]int64, len(part)), make([]int32, len(part))
		for i, r := range part {
			lists[i], idxs[i], ns[i] = int32(r.List), int64(r.Index), want[r]
		}
		if _, err := tx.Exec(ctx, lockRiders, tx.Tenant, lists, idxs); err != nil {
			return nil, err
		}
		rows, err := tx.Query(ctx, takeDisplays, tx.Tenant, lists, idxs, ns)
		if err != nil {
			return nil, err
		}
		var list, displays int32
		var idx int64
		if _, err := pgx.ForEachRow(rows, []any{&list, &idx, &displays}, func() error {
			last[citygate.Rider{Issuer: part[0].Issuer, List: uint16(list), Index: uint32(idx)}] = int(displays)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// AccountsOf gives who pays for foreign riders of the tenant of tx. One that there
// is not is absent.
func AccountsOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]credential.Account, error) {
	out := make(map[citygate.Rider]credential.Account, len(riders))
	for part := range slices.Chunk(riders, rowsMax) {
		lists, idxs := make([]int32, len(part)), make([]int64, len(part))
		for i, r := range part {
			lists[i], idxs[i] = int32(r.List), int64(r.Index)
		}
		rows, err := tx.Query(ctx, accountsOfRiders, tx.Tenant, lists, idxs)
		if err != nil {
			return nil, err
		}
		var list int32
		var idx int64
		var a credential.Account
		_, err = pgx.ForEachRow(rows, []any{&list, &idx, &a.ID, &a.Contract, &a.RiderRef, &a.Category, &a.State}, func() error {
			out[citygate.Rider{Issuer: part[0].Issuer, List: uint16(list), Index: uint32(idx)}] = a
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
