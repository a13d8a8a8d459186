package pg_test

import (
	"errors"
	"testing"

	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// An attempt that meets a row leaves nothing behind and the transaction as it
// was; what came before it and what comes after is kept. Any other failure is one.
func TestAttempt(t *testing.T) {
	db := pgtest.New(t)
	const insert = `
		INSERT INTO idempotency_keys (tenant_id, key, route, request_hash, state, status, created_at)
		SELECT $1, u.key, 'test', $2, 'done', u.status, $3 FROM unnest($4::text[], $5::int[]) AS u (key, status) RETURNING status`
	attempt := func(tx *pg.Tx, status int32, keys ...string) (bool, error) {
		all := make([]int32, len(keys))
		for i := range all {
			all[i] = status
		}
		return tx.Attempt(t.Context(), insert, tx.Tenant, make([]byte, 32), tx.Now, keys, all)
	}
	for range 2 { // the second time with statements that are prepared
		err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
			for _, step := range []struct {
				status int32
				keys   []string
				taken  bool
			}{{200, []string{"a", "b"}, false}, {201, []string{"c", "b"}, true}, {202, []string{"c"}, false}, {203, []string{"c", "d"}, true}} {
				if taken, err := attempt(tx, step.status, step.keys...); err != nil || taken != step.taken {
					t.Errorf("%v: taken %v, %v", step.keys, taken, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		owner := pgtest.Owner(t, db)
		if n := owner.Count(1, `SELECT sum(status)::bigint FROM idempotency_keys WHERE tenant_id = 1`); n != 200+200+202 {
			t.Errorf("the rows add up to %d", n)
		}
		owner.Exec(1, `DELETE FROM idempotency_keys WHERE tenant_id = 1`)
	}
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		_, err := tx.Attempt(t.Context(), insert, int64(2), make([]byte, 32), tx.Now, []string{"x"}, []int32{1})
		return err
	})
	if pg.SQLState(err) != pg.StateInsufficientRights || errors.Is(err, pg.ErrUnavailable) {
		t.Errorf("another tenant's row: %v", err)
	}
}
