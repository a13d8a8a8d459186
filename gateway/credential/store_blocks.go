package credential

import (
	"context"
	"io"
	"math"
	"math/bits"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// blockMin is the size of the smallest block: what a list says of the number of
// issued credentials is rounded up to that.
const blockMin = 256

const (
	// The row lock makes issuers of one list wait for each other.
	takeFromList = `
		INSERT INTO credential_lists (tenant_id, list, issued, expires_at, opened_at)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, list) DO UPDATE
		SET issued = credential_lists.issued + excluded.issued, expires_at = greatest(credential_lists.expires_at, excluded.expires_at)`
	lastBlockOfDay = `
		SELECT first, size, taken, order_key FROM credential_blocks
		WHERE tenant_id = $1 AND list = $2 AND day = $3 ORDER BY first DESC LIMIT 1`
	// What the list has, what the day has, and what the day before had, which may
	// be in the list before.
	blockSums = `
		SELECT coalesce(max(first + size) FILTER (WHERE list = $2), 0), coalesce(sum(size) FILTER (WHERE list = $2 AND day = $4), 0),
			coalesce(sum(taken) FILTER (WHERE day = $4 - 1), 0)
		FROM credential_blocks WHERE tenant_id = $1 AND list IN ($2, $3)`
	insertBlock = `
		INSERT INTO credential_blocks (tenant_id, list, first, size, day, taken, order_key, opened_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT DO NOTHING`
	takeFromBlock = `
		UPDATE credential_blocks SET taken = taken + $4 WHERE tenant_id = $1 AND list = $2 AND first = $3`
	blocksOfLists = `
		SELECT list, day, first, size FROM credential_blocks WHERE tenant_id = $1 AND list = ANY ($2::int[]) ORDER BY list, first`
	blocksOfList = `
		SELECT day, first, size FROM credential_blocks WHERE tenant_id = $1 AND list = $2 ORDER BY first`
)

// takeIndices takes n indices of a list that lives at least until expires, for
// credentials issued at issuedAt. They come out of blocks of that day in an order
// that tells nothing: see [order].
func takeIndices(ctx context.Context, tx *pg.Tx, random io.Reader, list uint16, n int, issuedAt, expires time.Time) ([]uint32, error) {
	if _, err := tx.Exec(ctx, takeFromList, tx.Tenant, int32(list), int64(n), expires, tx.Now); err != nil {
		if pg.SQLState(err) == "23514" { // the CHECK on issued
			return nil, ErrListFull.Explain("list %d", list)
		}
		return nil, err
	}
	day := denylist.Day(issuedAt.Unix())
	var first, size, taken int64
	var key []byte
	err := tx.QueryRow(ctx, lastBlockOfDay, tx.Tenant, int32(list), int32(day)).Scan(&first, &size, &taken, &key)
	if err != nil && !pg.IsNoRows(err) {
		return nil, err
	}
	indices := make([]uint32, 0, n)
	if taken < size {
		part := min(size-taken, int64(n))
		if _, err := tx.Exec(ctx, takeFromBlock, tx.Tenant, int32(list), first, part); err != nil {
			return nil, err
		}
		if indices, err = appendIndices(indices, key, first, size, taken, part); err != nil {
			return nil, err
		}
	}
	if len(indices) == n {
		return indices, nil
	}
	return openBlock(ctx, tx, random, list, day, indices, int64(n-len(indices)))
}

func appendIndices(indices []uint32, key []byte, first, size, taken, n int64) ([]uint32, error) {
	o, err := newOrder(key, uint32(size))
	if err != nil {
		return nil, err
	}
	for i := taken; i < taken+n; i++ {
		indices = append(indices, uint32(first)+o.at(uint32(i)))
	}
	return indices, nil
}

// openBlock opens the day's next block and takes n indices of it. A day's first
// block has room for what was issued the day before and a quarter more; each
// further one doubles the day, so that a code tells of its time of issue no more
// than which of those it was in.
func openBlock(ctx context.Context, tx *pg.Tx, random io.Reader, list uint16, day int64, indices []uint32, n int64) ([]uint32, error) {
	before := int32(list)
	if list > 0 {
		before--
	}
	var next, today, yesterday int64
	if err := tx.QueryRow(ctx, blockSums, tx.Tenant, int32(list), before, int32(day)).Scan(&next, &today, &yesterday); err != nil {
		return nil, err
	}
	wanted := max(blockMin, n, today)
	if today == 0 {
		wanted = max(wanted, yesterday+yesterday/4)
	}
	size := int64(1) << bits.Len64(uint64(wanted-1))
	if next+size > math.MaxUint32 {
		size = math.MaxUint32 - next
	}
	if size < n {
		return nil, ErrListFull.Explain("list %d", list)
	}
	key := make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, err
	}
	tag, err := tx.Exec(ctx, insertBlock, tx.Tenant, int32(list), next, size, int32(day), n, key, tx.Now)
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() != 1 { // somebody opened one without the list's lock: never
		return nil, ErrBusy.Because(nil, "block %d of list %d was opened by others", next, list)
	}
	return appendIndices(indices, key, next, size, 0, n)
}

// Blocks gives the blocks of a list of the tenant bound; none for a list that it
// does not have.
func Blocks(ctx context.Context, tx *pg.Tx, list uint16) (denylist.Blocks, error) {
	rows, err := tx.Query(ctx, blocksOfList, tx.Tenant, int32(list))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (denylist.Block, error) {
		var b denylist.Block
		err := row.Scan(&b.Day, &b.First, &b.Size)
		return b, err
	})
}

// blocksFor gives the blocks of each list of a heartbeat; none of a list that has
// more than a heartbeat carries.
func blocksFor(ctx context.Context, tx *pg.Tx, beats []denylist.Beat) ([]denylist.Blocks, error) {
	lists, place := make([]int32, len(beats)), make(map[uint16]int, len(beats))
	for i, b := range beats {
		lists[i], place[b.List] = int32(b.List), i
	}
	rows, err := tx.Query(ctx, blocksOfLists, tx.Tenant, lists)
	if err != nil {
		return nil, err
	}
	out := make([]denylist.Blocks, len(beats))
	var list uint16
	var b denylist.Block
	_, err = pgx.ForEachRow(rows, []any{&list, &b.Day, &b.First, &b.Size}, func() error {
		out[place[list]] = append(out[place[list]], b)
		return nil
	})
	for i := range out {
		if len(out[i]) > denylist.BlocksMax {
			out[i] = nil
		}
	}
	return out, err
}
