package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// PostFrom posts one transfer for each row that a query gives, in one statement and
// without the rows leaving the database: for events that come by the hundred
// thousand. The query's first argument is the tenant; its columns are debit, credit,
// amount (not 0; a negative one is the transfer the other way round), currency, code,
// event and business_date. The transfers are those that [NewTransfer] makes of the
// rows with leg 0, effective at the instant, posted. All must be new: one that is
// stored already is [ErrConflict], and nothing is posted. What holds of [Post] in a
// transaction holds here, and at most one of the two should run in it.
func PostFrom(ctx context.Context, tx *pg.Tx, at time.Time, query string, args ...any) error {
	return PostFromWith(ctx, tx, at, "", query, args...)
}

// PostFromWith is [PostFrom] of a query behind others in one statement: with is one or
// several of the form "name AS (query)", which may change rows, as what the transfers
// are about.
func PostFromWith(ctx context.Context, tx *pg.Tx, at time.Time, with, query string, args ...any) error {
	if with != "" {
		with += ", "
	}
	at = at.UTC().Truncate(time.Microsecond)
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	head := appendParts(nil, "transfer", tx.Tenant.String())
	taken, net, err := insertFrom(ctx, tx, with, query, append(args, at, tx.Now, ms[2:], head))
	if err != nil {
		return err
	}
	if taken {
		return ErrConflict.Because(nil, "of the transfers posted together one is there already")
	}
	for chunk := range slices.Chunk(net, rowsMax) {
		if err := addNet(ctx, tx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// insertFrom stores the transfers and gives what they do to each account, in the
// order in which balances are locked.
func insertFrom(ctx context.Context, tx *pg.Tx, with, query string, args []any) (taken bool, net []Balance, err error) {
	n := len(args) - 4
	p := func(i int) string { return "$" + strconv.Itoa(n+i) }
	rows, err := tx.Query(ctx, fmt.Sprintf(`
		WITH %sgiven AS (%s), named AS (
			SELECT debit, credit, amount, currency, code, event, business_date, sha256(%s || %s || %s || '\x0130'::bytea) AS sum FROM given
		), made AS (
			SELECT encode(%s || set_byte(set_byte(substring(sum FROM 1 FOR 10), 0, (get_byte(sum, 0) & 15) | 112), 2, (get_byte(sum, 2) & 63) | 128), 'hex')::uuid AS id,
			       CASE WHEN amount > 0 THEN debit ELSE credit END AS debit, CASE WHEN amount > 0 THEN credit ELSE debit END AS credit,
			       abs(amount) AS amount, currency, code, event, business_date FROM named
		), new AS (
			INSERT INTO transfers (tenant_id, transfer_id, debit, credit, amount, currency, code, event,
			                       interbook_id, link_id, phase, pending_id, effective_at, business_date, recorded_at)
			SELECT $1, id, debit, credit, amount, currency, code, event, NULL, NULL, 'posted', NULL, %s::timestamptz, business_date, %s::timestamptz
			FROM made ORDER BY id
			RETURNING debit, credit, amount, currency
		)
		SELECT account, currency, sum(debit)::bigint, sum(credit)::bigint FROM (
			SELECT debit AS account, currency, amount AS debit, 0::bigint AS credit FROM new
			UNION ALL SELECT credit, currency, 0, amount FROM new) AS m
		GROUP BY account, currency ORDER BY account, currency`,
		with, query, p(4)+"::bytea", part("event"), part("code"), p(3)+"::bytea", p(1), p(2)), args...)
	if err == nil {
		net, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Balance])
	}
	if pg.SQLState(err) == pg.StateUniqueViolation {
		return true, nil, nil
	}
	return false, net, err
}

// part is a column of text as [DeriveID] hashes it: behind its length, which has at
// most two bytes.
func part(column string) string {
	raw := "convert_to(" + column + ", 'UTF8')"
	return fmt.Sprintf(`(CASE WHEN octet_length(%[1]s) < 128 THEN set_byte('\x00'::bytea, 0, octet_length(%[1]s))
		ELSE set_byte(set_byte('\x0000'::bytea, 0, (octet_length(%[1]s) & 127) | 128), 1, octet_length(%[1]s) >> 7) END || %[2]s)`, column, raw)
}
