package edge

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/jackc/pgx/v5"
)

// lease is how long a request may run before a repeat takes its key over: the
// process that held it is then taken for dead. What endpoints do is idempotent
// by natural keys; this cache only repeats answers.
const lease = time.Minute

// keptFor is how long an answer can be repeated.
const keptFor = 24 * time.Hour

// forgetMost bounds one call of [ForgetAnswers]; the next one goes on.
const forgetMost = 10_000

const forgetKeys = `
	DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key IN (
		SELECT key FROM idempotency_keys WHERE tenant_id = $1 AND created_at < $2 ORDER BY created_at LIMIT $3)`

// ForgetAnswers drops the tenant's Idempotency-Keys that are older than a day.
func ForgetAnswers(ctx context.Context, tx *pg.Tx) error {
	_, err := tx.Exec(ctx, forgetKeys, tx.Tenant, tx.Now.Add(-keptFor), forgetMost)
	return err
}

const takeKey = `
	INSERT INTO idempotency_keys (tenant_id, key, route, request_hash, state, created_at)
	VALUES ($1, $2, $3, $4, 'running', $5)
	ON CONFLICT DO NOTHING`

// begin claims an idempotency key. It gives the stored answer when the request
// has been answered before.
func (e *Edge) begin(ctx context.Context, tenant citygate.TenantID, key, route string, hash []byte) (status int, body []byte, err error) {
	err = e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		status, body = 0, nil
		if _, err := tx.Exec(ctx, `DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key = $2 AND state = 'running' AND created_at < $3`,
			tenant, key, tx.Now.Add(-lease)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, takeKey, tenant, key, route, hash, tx.Now)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		var oldHash []byte
		var oldRoute, state string
		var oldStatus *int
		err = tx.QueryRow(ctx, `SELECT route, request_hash, state, status, body FROM idempotency_keys WHERE tenant_id = $1 AND key = $2`,
			tenant, key).Scan(&oldRoute, &oldHash, &state, &oldStatus, &body)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return errKeyRunning
		case err != nil:
			return err
		case oldRoute != route || !bytes.Equal(oldHash, hash):
			return errKeyMismatch
		case state == "running":
			return errKeyRunning
		}
		status = *oldStatus
		return nil
	})
	return status, body, err
}

// finish stores the answer of a key, or gives the key back after an answer
// that a repeat may change (5xx, 429).
func (e *Edge) finish(ctx context.Context, tenant citygate.TenantID, key string, status int, body []byte) error {
	return e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if status >= 500 || status == 429 {
			_, err := tx.Exec(ctx, `DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key = $2`, tenant, key)
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE idempotency_keys SET state = 'done', status = $3, body = $4 WHERE tenant_id = $1 AND key = $2`,
			tenant, key, status, body)
		return err
	})
}
