package ledger

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const rowsMax = 2_000 // rows of one statement

const insertTransfers = insertRows + `
	ON CONFLICT (tenant_id, transfer_id) DO NOTHING
	RETURNING transfer_id`

// attemptTransfers fails on a transfer that is stored. RETURNING keeps a
// distributed database from making COPY of it, which row-level security refuses.
const attemptTransfers = insertRows + ` RETURNING amount`

const insertRows = `
	INSERT INTO transfers (tenant_id, transfer_id, debit, credit, amount, currency, code, event,
	                       interbook_id, link_id, phase, pending_id, effective_at, business_date, recorded_at)
	SELECT $1, id, debit, credit, amount, currency, code, event, interbook, link, phase, pending, at, date, $2
	FROM unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[],
	            $10::uuid[], $11::uuid[], $12::text[], $13::uuid[], $14::timestamptz[], $15::date[])
	     AS u (id, debit, credit, amount, currency, code, event, interbook, link, phase, pending, at, date)`

// The rows come sorted by account and currency and are locked in that order.
const addBalances = `
	INSERT INTO balances AS b (tenant_id, account, currency, debit_total, credit_total)
	SELECT $1, account, currency, debit, credit
	FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS u (account, currency, debit, credit)
	ON CONFLICT (tenant_id, account, currency) DO UPDATE
	SET debit_total = b.debit_total + excluded.debit_total, credit_total = b.credit_total + excluded.credit_total`

const columns = `transfer_id, debit, credit, amount, currency, code, event, interbook_id, link_id, phase, pending_id, effective_at, business_date`

// Post stores transfers that are not stored yet and moves the balances by
// exactly those. A transfer that is stored with other content is
// [ErrConflict]. At most one Post should run in a transaction, after every
// other statement that can wait.
func Post(ctx context.Context, tx *pg.Tx, transfers []Transfer) error {
	sorted, err := prepare(transfers)
	if err != nil || len(sorted) == 0 {
		return err
	}
	fresh := sorted[:0:0]
	for chunk := range slices.Chunk(sorted, rowsMax) {
		isNew, all, err := insert(ctx, tx, chunk)
		if err != nil {
			return err
		}
		if all && len(sorted) == len(chunk) {
			fresh = chunk
			break
		}
		var stored []Transfer
		for i := range chunk {
			if all || isNew[chunk[i].ID] {
				fresh = append(fresh, chunk[i])
			} else {
				stored = append(stored, chunk[i])
			}
		}
		if err := sameAsStored(ctx, tx, stored); err != nil {
			return err
		}
	}
	net, err := Net(fresh)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(net, rowsMax) {
		if err := addNet(ctx, tx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// addNet moves balances, which come sorted by account and currency.
func addNet(ctx context.Context, tx *pg.Tx, net []Balance) error {
	var accounts, currencies = make([]string, len(net)), make([]string, len(net))
	var debits, credits = make([]int64, len(net)), make([]int64, len(net))
	for i, b := range net {
		accounts[i], currencies[i], debits[i], credits[i] = b.Account, string(b.Currency), b.Debit, b.Credit
	}
	_, err := tx.Exec(ctx, addBalances, int64(tx.Tenant), accounts, currencies, debits, credits)
	return err
}

// attemptFrom is the number of transfers from which it pays to try whether all of
// them are new.
const attemptFrom = 32

// insert stores the transfers that are not stored yet: all of them, or those
// whose ids it gives.
func insert(ctx context.Context, tx *pg.Tx, ts []Transfer) (isNew map[citygate.UUID]bool, all bool, err error) {
	n := len(ts)
	var (
		ids, interbooks, links, pendings = make([]pgtype.UUID, n), make([]pgtype.UUID, n), make([]pgtype.UUID, n), make([]pgtype.UUID, n)
		debits, credits, currencies      = make([]string, n), make([]string, n), make([]string, n)
		codes, events, phases            = make([]string, n), make([]string, n), make([]string, n)
		amounts                          = make([]int64, n)
		ats, dates                       = make([]time.Time, n), make([]time.Time, n)
	)
	for i := range ts {
		t := &ts[i]
		ids[i], interbooks[i], links[i], pendings[i] = nullable(t.ID), nullable(t.Interbook), nullable(t.Link), nullable(t.Pending)
		debits[i], credits[i], currencies[i] = t.Debit, t.Credit, string(t.Currency)
		codes[i], events[i], phases[i] = t.Code, t.Event, string(t.Phase)
		amounts[i] = t.Amount
		ats[i], dates[i] = t.EffectiveAt, t.BusinessDate.Time()
	}
	args := []any{int64(tx.Tenant), tx.Now, ids, debits, credits, amounts, currencies, codes, events, interbooks, links, phases, pendings, ats, dates}
	if n >= attemptFrom {
		if taken, err := tx.Attempt(ctx, attemptTransfers, args...); err != nil || !taken {
			return nil, true, err
		}
	}
	rows, err := tx.Query(ctx, insertTransfers, args...)
	if err != nil {
		return nil, false, err
	}
	isNew = make(map[citygate.UUID]bool, n)
	var id [16]byte
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		isNew[citygate.UUID(id)] = true
		return nil
	})
	return isNew, len(isNew) == n, err
}

// sameAsStored refuses a transfer that differs from the stored one of its id.
func sameAsStored(ctx context.Context, tx *pg.Tx, ts []Transfer) error {
	if len(ts) == 0 {
		return nil
	}
	ids := make([]pgtype.UUID, len(ts))
	for i := range ts {
		ids[i] = nullable(ts[i].ID)
	}
	found := 0
	err := read(ctx, tx, `SELECT `+columns+` FROM transfers WHERE tenant_id = $1 AND transfer_id = ANY($2::uuid[]) ORDER BY transfer_id`,
		[]any{int64(tx.Tenant), ids}, func(old *Transfer) error {
			i, ok := slices.BinarySearchFunc(ts, old.ID, func(t Transfer, id citygate.UUID) int { return bytes.Compare(t.ID[:], id[:]) })
			if !ok {
				return nil
			}
			found++
			if field, was, is := old.difference(&ts[i]); field != "" {
				return ErrConflict.Because(nil, "transfer %s (%s, %s): %s is %s, posted now as %s", old.ID, old.Event, old.Code, field, was, is)
			}
			return nil
		})
	if err == nil && found != len(ts) {
		return ErrConflict.Because(nil, "%d of %d transfers were neither stored nor storable", len(ts)-found, len(ts))
	}
	return err
}

// read streams transfers; yield must not keep its argument.
func read(ctx context.Context, tx *pg.Tx, sql string, args []any, yield func(*Transfer) error) error {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var (
		t                            Transfer
		id, interbook, link, pending pgtype.UUID
		date                         time.Time
		currency, phase              string
		targets                      = []any{&id, &t.Debit, &t.Credit, &t.Amount, &currency, &t.Code, &t.Event, &interbook, &link, &phase, &pending, &t.EffectiveAt, &date}
	)
	_, err = pgx.ForEachRow(rows, targets, func() error {
		t.ID, t.Interbook, t.Link, t.Pending = id.Bytes, interbook.Bytes, link.Bytes, pending.Bytes
		t.Currency, t.Phase = citygate.Currency(currency), Phase(phase)
		t.BusinessDate, t.EffectiveAt = citygate.DateOf(date), t.EffectiveAt.UTC()
		return yield(&t)
	})
	return err
}

func nullable(u citygate.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: !u.IsZero()} }

// Balances gives the balances of the accounts whose name begins with prefix,
// ascending by account and currency.
func Balances(ctx context.Context, tx *pg.Tx, prefix string) ([]Balance, error) {
	rows, err := tx.Query(ctx, `
		SELECT account, currency, debit_total, credit_total FROM balances
		WHERE tenant_id = $1 AND account >= $2 AND account < $3 ORDER BY account, currency`,
		int64(tx.Tenant), prefix, prefix+"\U0010FFFF")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Balance])
}

// BalancesAfter gives the balances that [Balances] gives behind the one of an
// account and currency, at most limit.
func BalancesAfter(ctx context.Context, tx *pg.Tx, prefix, account string, currency citygate.Currency, limit int) ([]Balance, error) {
	rows, err := tx.Query(ctx, `
		SELECT account, currency, debit_total, credit_total FROM balances
		WHERE tenant_id = $1 AND account >= $2 AND account < $3 AND (account, currency) > ($4, $5) ORDER BY account, currency LIMIT $6`,
		int64(tx.Tenant), prefix, prefix+"\U0010FFFF", account, string(currency), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Balance])
}

// A Drift is a balance that was not the sum of its transfers.
type Drift struct {
	Tenant   citygate.TenantID `json:"tenant"`
	Account  string            `json:"account"`
	Currency citygate.Currency `json:"currency"`
	Was      Sums              `json:"was"`
	Is       Sums              `json:"is"` // what the transfers add up to
}

// Sums are the totals of an account.
type Sums struct {
	Debit  int64 `json:"debit"`
	Credit int64 `json:"credit"`
}

// Drifted lists the balances of the transaction's tenant that are not the sums of
// their transfers.
func Drifted(ctx context.Context, tx *pg.Tx) (found []Drift, err error) {
	err = eachDrift(ctx, tx, func(account, currency string, want, got Balance) {
		found = append(found, Drift{tx.Tenant, account, citygate.Currency(currency), Sums{got.Debit, got.Credit}, Sums{want.Debit, want.Credit}})
	})
	return found, err
}

// Rebuild adds up every balance again from the transfers and gives those that
// were wrong. It locks all balances of the tenant until the transaction ends: a
// [Post] under way waits, or is waited for. What is wrong with the transfers
// themselves it does not see; that is for [Check].
func Rebuild(ctx context.Context, tx *pg.Tx, actor string) ([]Drift, error) {
	rows, err := tx.Query(ctx, `SELECT account FROM balances WHERE tenant_id = $1 ORDER BY account, currency FOR UPDATE`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	rows.Close()
	if rows.Err() != nil {
		return nil, rows.Err()
	}
	wrong, err := Drifted(ctx, tx)
	if err != nil || len(wrong) == 0 {
		return nil, err
	}
	// A balance without any transfer counts as zero and is not removed.
	if _, err = tx.Exec(ctx, `
		INSERT INTO balances AS b (tenant_id, account, currency, debit_total, credit_total)
		SELECT $1, account, currency, sum(debit), sum(credit) FROM (
			SELECT account, currency, 0::bigint AS debit, 0::bigint AS credit FROM balances WHERE tenant_id = $1
			UNION ALL SELECT debit, currency, amount, 0 FROM transfers WHERE tenant_id = $1 AND phase IN ('posted', 'post')
			UNION ALL SELECT credit, currency, 0, amount FROM transfers WHERE tenant_id = $1 AND phase IN ('posted', 'post')
		) AS m GROUP BY account, currency ORDER BY account, currency
		ON CONFLICT (tenant_id, account, currency) DO UPDATE
		SET debit_total = excluded.debit_total, credit_total = excluded.credit_total`, int64(tx.Tenant)); err != nil {
		return nil, err
	}
	return wrong, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "ledger.rebuild", Object: "balances", Before: wrong})
}

// eachDrift gives every account whose cached totals are not the sums of its
// transfers.
func eachDrift(ctx context.Context, tx *pg.Tx, yield func(account, currency string, want, got Balance)) error {
	rows, err := tx.Query(ctx, `
		WITH sums AS (
			SELECT account, currency, sum(debit)::bigint AS debit, sum(credit)::bigint AS credit FROM (
				SELECT debit AS account, currency, amount AS debit, 0::bigint AS credit FROM transfers WHERE tenant_id = $1 AND phase IN ('posted', 'post')
				UNION ALL SELECT credit, currency, 0, amount FROM transfers WHERE tenant_id = $1 AND phase IN ('posted', 'post')
			) AS m GROUP BY account, currency),
		cached AS (SELECT account, currency, debit_total, credit_total FROM balances WHERE tenant_id = $1)
		SELECT coalesce(s.account, c.account), coalesce(s.currency, c.currency),
		       coalesce(s.debit, 0), coalesce(s.credit, 0), coalesce(c.debit_total, 0), coalesce(c.credit_total, 0)
		FROM sums s FULL JOIN cached c ON c.account = s.account AND c.currency = s.currency
		WHERE coalesce(s.debit, 0) <> coalesce(c.debit_total, 0) OR coalesce(s.credit, 0) <> coalesce(c.credit_total, 0)
		ORDER BY 1, 2`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var account, currency string
	var want, got Balance
	_, err = pgx.ForEachRow(rows, []any{&account, &currency, &want.Debit, &want.Credit, &got.Debit, &got.Credit}, func() error {
		yield(account, currency, want, got)
		return nil
	})
	return err
}
