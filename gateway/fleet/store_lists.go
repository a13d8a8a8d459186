package fleet

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A UsedList is a deny list that a terminal decided by.
type UsedList struct {
	Issuer   citygate.Issuer
	List     uint16
	Seq      uint32
	ProvenAt time.Time // when it was last known to be the newest
	UsedAt   time.Time // of the last tap decided by it
}

// Age says how old the list was when it was used.
func (u UsedList) Age() time.Duration { return max(0, u.UsedAt.Sub(u.ProvenAt)) }

const (
	// What is reported late does not undo what was reported.
	upsertLists = `
		INSERT INTO terminal_lists AS l (tenant_id, terminal_id, issuer, list, seq, proven_at, used_at)
		SELECT $1, $2, u.issuer, u.list, u.seq, u.proven_at, u.used_at
		FROM unnest($3::int[], $4::int[], $5::bigint[], $6::timestamptz[], $7::timestamptz[]) AS u (issuer, list, seq, proven_at, used_at)
		ON CONFLICT (tenant_id, terminal_id, issuer, list) DO UPDATE
		SET seq = excluded.seq, proven_at = excluded.proven_at, used_at = excluded.used_at
		WHERE l.used_at < excluded.used_at`
	selectLists = `
		SELECT terminal_id, issuer, list, seq, proven_at, used_at FROM terminal_lists
		WHERE tenant_id = $1 AND used_at > $2 AND terminal_id = ANY ($3::bigint[]) ORDER BY terminal_id, issuer, list`
	dropLists = `
		DELETE FROM terminal_lists WHERE tenant_id = $1 AND used_at < $2`
)

// ReportLists notes which deny lists a terminal's taps were decided by, one entry
// a list.
func ReportLists(ctx context.Context, tx *pg.Tx, terminal uint32, used []UsedList) error {
	issuers, lists, seqs := make([]int32, len(used)), make([]int32, len(used)), make([]int64, len(used))
	proven, at := make([]time.Time, len(used)), make([]time.Time, len(used))
	for i, u := range used {
		issuers[i], lists[i], seqs[i], proven[i], at[i] = int32(u.Issuer), int32(u.List), int64(u.Seq), u.ProvenAt, u.UsedAt
	}
	_, err := tx.Exec(ctx, upsertLists, tx.Tenant, int64(terminal), issuers, lists, seqs, proven, at)
	if pg.SQLState(err) == pg.StateForeignKeyViolation {
		return ErrNotFound.Explain("terminal %d", terminal)
	}
	return err
}

// UsedLists gives the lists that terminals used after since, by terminal.
func UsedLists(ctx context.Context, tx *pg.Tx, since time.Time, ids ...uint32) (map[uint32][]UsedList, error) {
	rows, err := tx.Query(ctx, selectLists, tx.Tenant, since, wide(ids))
	if err != nil {
		return nil, err
	}
	used := map[uint32][]UsedList{}
	var id uint32
	var u UsedList
	_, err = pgx.ForEachRow(rows, []any{&id, &u.Issuer, &u.List, &u.Seq, &u.ProvenAt, &u.UsedAt}, func() error {
		u.ProvenAt, u.UsedAt = u.ProvenAt.UTC(), u.UsedAt.UTC()
		used[id] = append(used[id], u)
		return nil
	})
	return used, err
}

// ListsBefore is the condition that [ForgetLists] has something to forget, for a
// [pg.Look]; before is an expression of SQL.
func ListsBefore(before string) string {
	return `EXISTS (SELECT FROM terminal_lists WHERE tenant_id = $1 AND used_at < ` + before + `)`
}

// ForgetLists forgets what was last used before an instant.
func ForgetLists(ctx context.Context, tx *pg.Tx, before time.Time) error {
	_, err := tx.Exec(ctx, dropLists, tx.Tenant, before)
	return err
}
