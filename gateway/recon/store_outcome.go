package recon

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// HeldCharges lists the charges whose money must not be passed on: an open
// exception names them, or a refund of theirs.
func HeldCharges(ctx context.Context, tx *pg.Tx) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT charge_id FROM recon_items WHERE tenant_id = $1 AND state = 'open' AND charge_id IS NOT NULL ORDER BY charge_id`,
		int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

const releasableSQL = `
	SELECT charge_id
	FROM recon_items
	WHERE tenant_id = $1 AND charge_id = ANY($2::uuid[])
	GROUP BY charge_id
	HAVING bool_or(refund_id IS NULL AND state <> 'open') AND NOT bool_or(state = 'open')
	ORDER BY charge_id`

// Releasable gives those of the charges whose money may be passed on: their own
// row is matched, or a person has ended its exception, and nothing about them
// is open.
func Releasable(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) ([]citygate.UUID, error) {
	rows, err := tx.Query(ctx, releasableSQL, int64(tx.Tenant), charges)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
}

// Counts are the outcomes of a tenant.
type Counts struct {
	Lines      int          // rows of bills, and payments that no bill has a row for
	Matched    int          // Lines = Matched + all Exceptions
	Exceptions map[Kind]int // open and resolved
	Open       int
}

// Balanced reports whether every line has exactly one outcome.
func (c Counts) Balanced() bool {
	sum := c.Matched
	for _, n := range c.Exceptions {
		sum += n
	}
	return sum == c.Lines
}

// Count counts; of a bill that was issued again the latest issue. Lines are counted where they lie and not as items, so that
// [Counts.Balanced] can fail.
func Count(ctx context.Context, tx *pg.Tx) (Counts, error) {
	c := Counts{Exceptions: make(map[Kind]int)}
	var rowsOfBills, withoutRow int
	err := tx.QueryRow(ctx, `
		SELECT count(*) FROM external_lines AS l
		JOIN (SELECT contract, day, max(issue) AS issue FROM external_files WHERE tenant_id = $1 GROUP BY contract, day) AS f
		  ON f.contract = l.contract AND f.day = l.day AND f.issue = l.issue
		WHERE l.tenant_id = $1`, int64(tx.Tenant)).Scan(&rowsOfBills)
	if err != nil {
		return c, err
	}
	rows, err := tx.Query(ctx, `
		SELECT kind, count(*), count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE line_no IS NULL)
		FROM recon_items WHERE tenant_id = $1 GROUP BY kind`, int64(tx.Tenant))
	if err != nil {
		return c, err
	}
	var kind string
	var n, open, bare int
	_, err = pgx.ForEachRow(rows, []any{&kind, &n, &open, &bare}, func() error {
		if Kind(kind) == Matched {
			c.Matched = n
		} else {
			c.Exceptions[Kind(kind)] = n
		}
		c.Open += open
		withoutRow += bare
		return nil
	})
	c.Lines = rowsOfBills + withoutRow
	return c, err
}

const itemColumnsSQL = `i.contract, i.item, i.n, i.kind, i.state, i.owner, i.charge_id, i.refund_id, i.our_id, i.day, i.issue, coalesce(i.line_no, 0), i.currency,
	i.expected, i.expected_fee, i.actual, i.actual_fee, i.resolution, i.note, i.opened_at, i.resolved_at`

// Exceptions lists exceptions by contract and item, after a position, at most
// limit of them. Only the open ones if open.
func Exceptions(ctx context.Context, tx *pg.Tx, open bool, afterContract, afterItem string, limit int) ([]Item, error) {
	state := ""
	if open {
		state = stateOpen
	}
	return ExceptionsIn(ctx, tx, state, afterContract, afterItem, limit)
}

// ExceptionsIn is [Exceptions] of one state, open or resolved; "" means both.
func ExceptionsIn(ctx context.Context, tx *pg.Tx, state, afterContract, afterItem string, limit int) ([]Item, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+itemColumnsSQL+`
		FROM recon_items AS i
		WHERE tenant_id = $1 AND kind <> 'matched' AND (state = $2 OR $2 = '') AND (contract, item) > ($3, $4)
		ORDER BY contract, item
		LIMIT $5`, int64(tx.Tenant), state, afterContract, afterItem, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanItem)
}

// A rawItem is what of an item is stored in another form.
type rawItem struct {
	kind           string
	charge, refund pgtype.UUID
	resolved       *time.Time
}

func (r *rawItem) targets(i *Item) []any {
	return []any{
		&i.Contract, &i.Item, &i.N, &r.kind, &i.State, &i.Owner, &r.charge, &r.refund, &i.OurID, &i.Day, &i.Issue, &i.Line, &i.Currency,
		&i.Expected, &i.ExpectedFee, &i.Actual, &i.ActualFee, &i.Resolution, &i.Note, &i.OpenedAt, &r.resolved,
	}
}

func (r *rawItem) complete(i *Item) {
	i.Kind, i.ChargeID, i.RefundID = Kind(r.kind), r.charge.Bytes, r.refund.Bytes
	i.OpenedAt = i.OpenedAt.UTC()
	if r.resolved != nil {
		i.ResolvedAt = r.resolved.UTC()
	}
}

func scanItem(row pgx.CollectableRow) (i Item, err error) {
	var raw rawItem
	if err := row.Scan(raw.targets(&i)...); err != nil {
		return i, err
	}
	raw.complete(&i)
	return i, nil
}

// resolve marks an open exception as resolved and gives it as it then stands.
func resolve(ctx context.Context, tx *pg.Tx, contract, item string, how Resolution, reason string) (Item, error) {
	rows, err := tx.Query(ctx, `
		UPDATE recon_items AS i SET state = 'resolved', resolution = $4, note = $5, resolved_at = $6
		WHERE tenant_id = $1 AND contract = $2 AND item = $3 AND state = 'open'
		RETURNING `+itemColumnsSQL, int64(tx.Tenant), contract, item, string(how), reason, tx.Now)
	if err != nil {
		return Item{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanItem)
}

// Explained gives what open exceptions leave on the receivables from providers:
// what was collected and not, or not so, paid out. For [ledger.CheckClearing].
func Explained(ctx context.Context, tx *pg.Tx) ([]ledger.Explained, error) {
	rows, err := tx.Query(ctx, `
		SELECT contract, currency, kind, sum(expected - expected_fee)::bigint
		FROM recon_items
		WHERE tenant_id = $1 AND state = 'open' AND expected <> 0
		GROUP BY contract, currency, kind
		ORDER BY contract, currency, kind`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (ledger.Explained, error) {
		var e ledger.Explained
		var contract string
		err := row.Scan(&contract, &e.Currency, &e.Why, &e.Net)
		e.Account = ledger.ProviderReceivable(contract)
		return e, err
	})
}

// Source derives the transfers of matched rows and of decisions, and of what they were
// before a bill had something else to say, with its reversal.
type Source struct{}

var _ ledger.Source = Source{}

// Name implements [ledger.Source].
func (Source) Name() string { return "recon" }

// Derive implements [ledger.Source].
func (Source) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	const page = 5_000
	contract, item := "", ""
	for more := true; more; {
		rows, err := tx.Query(ctx, `
			SELECT `+itemColumnsSQL+`
			FROM recon_items AS i
			WHERE tenant_id = $1 AND state <> 'open' AND (contract, item) > ($2, $3)
			ORDER BY contract, item
			LIMIT $4`, int64(tx.Tenant), contract, item, page)
		if err != nil {
			return err
		}
		items, err := pgx.CollectRows(rows, scanItem)
		if err != nil {
			return err
		}
		for i := range items {
			contract, item = items[i].Contract, items[i].Item
			if err := each(transfersOf(tx.Tenant, &items[i]), yield); err != nil {
				return err
			}
		}
		more = len(items) == page
	}
	contract, item = "", ""
	for n, more := 0, true; more; {
		past, err := History(ctx, tx, HistoryQuery{}, contract, item, n, page)
		if err != nil {
			return err
		}
		for i := range past {
			p := &past[i]
			contract, item, n = p.Contract, p.Item.Item, p.N
			was := transfersOf(tx.Tenant, &p.Item)
			if err := each(append(was, reversed(tx.Tenant, was, p.EndedAt)...), yield); err != nil {
				return err
			}
		}
		more = len(past) == page
	}
	return nil
}

func each(transfers []ledger.Transfer, yield func(ledger.Transfer) error) error {
	for _, t := range transfers {
		if err := yield(t); err != nil {
			return err
		}
	}
	return nil
}
