package edge

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// lease is how long a request may run before a repeat takes its key over: the
// process that held it is then taken for dead. It is longer than any answer may
// take to be written (cmd's write timeout). What endpoints do is idempotent by
// natural keys; this cache only repeats answers.
const lease = 2 * time.Minute

// keptFor is how long an answer can be repeated.
const keptFor = 24 * time.Hour

// forgetMost bounds one call of [ForgetAnswers]; the next one goes on.
const forgetMost = 10_000

const forgetKeys = `
	DELETE FROM idempotency_keys WHERE tenant_id = $1 AND (route, key) IN (
		SELECT route, key FROM idempotency_keys WHERE tenant_id = $1 AND created_at < $2 ORDER BY created_at LIMIT $3)`

// ForgetAnswers drops the Idempotency-Keys of the transaction's tenant, or of the
// platform, that are older than a day.
func ForgetAnswers(ctx context.Context, tx *pg.Tx) error {
	_, err := tx.Exec(ctx, keysIn(tx, forgetKeys), tx.Tenant, tx.Now.Add(-keptFor), forgetMost)
	return err
}

// Looks finds what [ForgetAnswers] does in a tenant.
var Looks = []pg.Look{{
	Kind: "answer.forget",
	When: `EXISTS (SELECT FROM idempotency_keys WHERE tenant_id = $1 AND created_at < $2 - ` + pg.Seconds(keptFor) + `)`,
}}

const (
	dropExpired = `DELETE FROM idempotency_keys WHERE tenant_id = $1 AND route = $2 AND key = $3
		AND (state = 'running' AND created_at < $4 OR created_at < $5)`
	takeKey = `
		INSERT INTO idempotency_keys (tenant_id, route, key, request_hash, state, holder, created_at)
		VALUES ($1, $2, $3, $4, 'running', $5, $6)
		ON CONFLICT DO NOTHING`
	readKey = `SELECT request_hash, state, coalesce(status, 0), coalesce(content_type, CASE WHEN status < 400 THEN 'application/json' ELSE 'application/problem+json' END, ''), coalesce(body, '')
		FROM idempotency_keys WHERE tenant_id = $1 AND route = $2 AND key = $3`
	// Both hold only while the attempt still has the key.
	giveBack   = `DELETE FROM idempotency_keys WHERE tenant_id = $1 AND route = $2 AND key = $3 AND holder = $4`
	keepAnswer = `UPDATE idempotency_keys SET state = 'done', status = $5, content_type = $6, body = $7
		WHERE tenant_id = $1 AND route = $2 AND key = $3 AND holder = $4 AND state = 'running'`
)

// keysIn gives a statement about the keys of the transaction's tenant: those of
// requests that are about no tenant are in a twin of the table.
func keysIn(tx *pg.Tx, sql string) string {
	if tx.Tenant == 0 {
		return strings.ReplaceAll(sql, " idempotency_keys", " platform.idempotency_keys")
	}
	return sql
}

// within runs fn in a transaction of a tenant, or of the platform for 0.
func (e *Edge) within(ctx context.Context, tenant citygate.TenantID, fn func(tx *pg.Tx) error) error {
	if tenant == 0 {
		return e.DB.InSystem(ctx, fn)
	}
	return e.DB.InTenant(ctx, tenant, fn)
}

// begin claims an attempt's key, or gives the stored answer when the request has
// been answered before.
func (e *Edge) begin(ctx context.Context, a *attempt) (stored *answer, err error) {
	err = e.within(ctx, a.tenant, func(tx *pg.Tx) error {
		stored, a.holder = nil, tx.NewID()
		if _, err := tx.Exec(ctx, keysIn(tx, dropExpired), a.tenant, a.route, a.key, tx.Now.Add(-lease), tx.Now.Add(-keptFor)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, keysIn(tx, takeKey), a.tenant, a.route, a.key, a.hash[:], a.holder, tx.Now)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		var hash []byte
		var state string
		found := &answer{}
		err = tx.QueryRow(ctx, keysIn(tx, readKey), a.tenant, a.route, a.key).Scan(&hash, &state, &found.status, &found.contentType, &found.body)
		switch {
		case pg.IsNoRows(err): // given back since
			return errKeyRunning
		case err != nil:
			return err
		case !bytes.Equal(hash, a.hash[:]):
			return errKeyMismatch
		case state == "running":
			return errKeyRunning
		}
		stored = found
		return nil
	})
	return stored, err
}

// finish stores the answer of an attempt, or gives its key back.
func (e *Edge) finish(ctx context.Context, a *attempt, got answer) error {
	return e.within(ctx, a.tenant, func(tx *pg.Tx) error {
		if !a.keep(got.status) {
			_, err := tx.Exec(ctx, keysIn(tx, giveBack), a.tenant, a.route, a.key, a.holder)
			return err
		}
		_, err := tx.Exec(ctx, keysIn(tx, keepAnswer), a.tenant, a.route, a.key, a.holder, got.status, got.contentType, got.body)
		return err
	})
}
