package issuance

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	forgetBatches = `DELETE FROM code_batches WHERE tenant_id = $1 AND expires_at <= $2`
	insertBatch   = `
		INSERT INTO code_batches (tenant_id, list, idx, device_id, starts_at, window_seconds, signatures, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	batchesOfDevice = `
		SELECT list, idx, starts_at, window_seconds, signatures FROM code_batches
		WHERE tenant_id = $1 AND device_id = $2 AND expires_at > $3`
	anchorUsed = `SELECT EXISTS (SELECT FROM credentials WHERE tenant_id = $1 AND device_key = $2 AND suite = 4 AND part_a IS NOT NULL)`
)

// A madeBatch is what is kept of codes made ahead.
type madeBatch struct {
	starts     time.Time
	window     time.Duration
	signatures []byte // 64 bytes each, a window a code
}

func (b *madeBatch) count() int { return len(b.signatures) / signatureSize }

// ends is when the last code's window is over.
func (b *madeBatch) ends() time.Time { return b.starts.Add(time.Duration(b.count()) * b.window) }

// putBatch stores a batch and drops those that ran out.
func putBatch(ctx context.Context, tx *pg.Tx, device citygate.UUID, r citygate.Rider, b *madeBatch) error {
	if _, err := tx.Exec(ctx, forgetBatches, tx.Tenant, tx.Now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertBatch, tx.Tenant, int32(r.List), int64(r.Index), device, b.starts, int16(b.window/time.Second), b.signatures, b.ends())
	return err
}

// batchesOf gives a device's batches that have not run out, without the issuer in
// their names.
func batchesOf(ctx context.Context, tx *pg.Tx, device citygate.UUID) (map[citygate.Rider]madeBatch, error) {
	rows, err := tx.Query(ctx, batchesOfDevice, tx.Tenant, device, tx.Now)
	if err != nil {
		return nil, err
	}
	out := map[citygate.Rider]madeBatch{}
	var r citygate.Rider
	var b madeBatch
	var seconds int16
	_, err = pgx.ForEachRow(rows, []any{&r.List, &r.Index, &b.starts, &seconds, &b.signatures}, func() error {
		b.starts, b.window = b.starts.UTC(), time.Duration(seconds)*time.Second
		out[r] = b
		b = madeBatch{}
		return nil
	})
	return out, err
}

// usedAnchor reports whether a credential names this hash chain.
func usedAnchor(ctx context.Context, tx *pg.Tx, anchor []byte) (used bool, err error) {
	err = tx.QueryRow(ctx, anchorUsed, tx.Tenant, anchor).Scan(&used)
	return used, err
}
