package pg_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Rows that come in one large statement, whose columns of one value are sent
// once, are the rows that come in many small ones.
func TestBulkInsertsWithConstantColumns(t *testing.T) {
	const rows = 64
	type columns struct {
		ids           []citygate.UUID
		ns, lists     []int32
		idxs, amounts []int64
		accounts      []pgtype.UUID
		states        []string
		dates         []citygate.Date
		ats           []time.Time
	}
	// vary says of a row whether column k differs from row to row.
	fill := func(vary func(k int) bool, nobody bool) (c columns) {
		for i := range rows {
			v := func(k int) int {
				if vary(k) {
					return i
				}
				return 7
			}
			c.ids = append(c.ids, citygate.UUID{14: byte(i >> 8), 15: byte(i)})
			c.ns, c.lists = append(c.ns, int32(v(0)+1)), append(c.lists, int32(v(1)))
			c.idxs, c.amounts = append(c.idxs, int64(v(2))), append(c.amounts, int64(v(3)))
			account := pgtype.UUID{Bytes: [16]byte{1, 15: byte(v(4))}, Valid: !nobody && (!vary(5) || i%2 == 0)}
			c.accounts = append(c.accounts, account)
			c.states = append(c.states, map[bool]string{true: "accepted", false: "refused"}[account.Valid])
			day := citygate.Date{Year: 2026, Month: 11, Day: 1 + v(6)%28}
			c.dates, c.ats = append(c.dates, day), append(c.ats, day.Time().Add(time.Duration(v(7))*time.Microsecond))
		}
		return c
	}
	const insert = `
		INSERT INTO claims (tenant_id, operator_id, journey_id, n, list, idx, account_id, amount, currency, state, business_date, at)
		SELECT $1, $2, id, n, list, idx, account, amount, $3, state, date, at
		FROM unnest($4::uuid[], $5::int[], $6::int[], $7::bigint[], $8::uuid[], $9::bigint[], $10::text[], $11::date[], $12::timestamptz[])
		     AS u (id, n, list, idx, account, amount, state, date, at)
		ON CONFLICT (tenant_id, operator_id, journey_id) DO NOTHING`
	db := pgtest.New(t)
	owner := pgtest.Owner(t, db)
	put := func(operator int64, c columns, size int, batch bool) {
		t.Helper()
		err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
			for at := 0; at < rows; at += size {
				to := at + size
				args := []any{tx.Tenant, operator, "CNY", c.ids[at:to], c.ns[at:to], c.lists[at:to], c.idxs[at:to], c.accounts[at:to],
					c.amounts[at:to], c.states[at:to], c.dates[at:to], c.ats[at:to]}
				if batch {
					q := &pgx.Batch{}
					q.Queue(insert, args...)
					if err := tx.SendBatch(t.Context(), q).Close(); err != nil {
						return err
					}
				} else if _, err := tx.Exec(t.Context(), insert, args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for mask := range 64 {
		name := fmt.Sprintf("columns %06b", mask)
		c := fill(func(k int) bool { return mask>>(k%6)&1 == 1 }, mask%8 == 1)
		large, small := int64(2*mask+1), int64(2*mask+2)
		put(large, c, rows, mask%2 == 0)
		put(small, c, 16, false)
		const differences = `
			SELECT count(*) FROM (
				SELECT journey_id, n, list, idx, account_id, amount, currency, state, business_date, at FROM claims WHERE tenant_id = 1 AND operator_id = %d
				EXCEPT SELECT journey_id, n, list, idx, account_id, amount, currency, state, business_date, at FROM claims WHERE tenant_id = 1 AND operator_id = %d) AS d`
		if n := owner.Count(1, fmt.Sprintf(differences, large, small)); n != 0 {
			t.Errorf("%s: %d of %d rows differ", name, n, rows)
		}
		if n := owner.Count(1, fmt.Sprintf(`SELECT count(*) FROM claims WHERE tenant_id = 1 AND operator_id = %d`, large)); n != rows {
			t.Errorf("%s: %d rows, want %d", name, n, rows)
		}
	}
}
