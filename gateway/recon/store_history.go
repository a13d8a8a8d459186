package recon

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Past is what an item was, until a bill had something else to say.
type Past struct {
	Item
	EndedAt    time.Time     `json:"ended_at"`
	EndedDay   citygate.Date `json:"-"`
	EndedIssue int           `json:"ended_issue"`
}

// A Correction is a transfer that an item had made, and the one that took it back.
type Correction struct {
	Transfer, Reversal ledger.Transfer
}

// Corrections gives what p had moved, each with what took it back. What had moved
// nothing, as an open exception, has none.
func (p *Past) Corrections(tenant citygate.TenantID) []Correction {
	was := transfersOf(tenant, &p.Item)
	list := make([]Correction, len(was))
	for i, back := range reversed(tenant, was, p.EndedAt) {
		list[i] = Correction{was[i], back}
	}
	return list
}

const historyColumns = `h.contract, h.item, h.n, h.kind, h.state, h.owner, h.charge_id, h.refund_id, h.our_id, h.day, h.issue, coalesce(h.line_no, 0), h.currency,
	h.expected, h.expected_fee, h.actual, h.actual_fee, h.resolution, h.note, h.opened_at, h.resolved_at, h.ended_at, h.ended_day, h.ended_issue`

func scanPast(row pgx.CollectableRow) (p Past, err error) {
	var raw rawItem
	if err := row.Scan(append(raw.targets(&p.Item), &p.EndedAt, &p.EndedDay, &p.EndedIssue)...); err != nil {
		return p, err
	}
	raw.complete(&p.Item)
	p.EndedAt = p.EndedAt.UTC()
	return p, nil
}

// A HistoryQuery says which history is wanted. Its zero value means all of it.
type HistoryQuery struct {
	Contract string        // whose bills; "" = any
	Day      citygate.Date // of the bill that had something else to say; zero = any
	Issue    int           // of that bill; 0 = any
}

// History gives what items were, by contract, item and number behind a position, at
// most limit.
func History(ctx context.Context, tx *pg.Tx, q HistoryQuery, afterContract, afterItem string, afterN, limit int) ([]Past, error) {
	// Only what is asked for is in the statement, or the planner knows no index for it.
	where, args := []string{"h.tenant_id = $1", "(h.contract, h.item, h.n) > ($2, $3, $4)"}, []any{int64(tx.Tenant), afterContract, afterItem, afterN, limit}
	want := func(column string, value any) {
		args = append(args, value)
		where = append(where, column+" = $"+string(rune('0'+len(args))))
	}
	if q.Contract != "" {
		want("h.contract", q.Contract)
	}
	if q.Day != (citygate.Date{}) {
		want("h.ended_day", q.Day)
	}
	if q.Issue != 0 {
		want("h.ended_issue", q.Issue)
	}
	rows, err := tx.Query(ctx, `SELECT `+historyColumns+` FROM recon_history AS h WHERE `+strings.Join(where, " AND ")+`
		ORDER BY h.contract, h.item, h.n LIMIT $5`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanPast)
}

// Standing gives the items under names of contracts as they are now: what became of
// history. Of one that has no row and is not missed any more there is none.
func Standing(ctx context.Context, tx *pg.Tx, past []Past) (map[[2]string]Item, error) {
	contracts, items := make([]string, len(past)), make([]string, len(past))
	for i := range past {
		contracts[i], items[i] = past[i].Contract, past[i].Item.Item
	}
	rows, err := tx.Query(ctx, `
		SELECT `+itemColumnsSQL+`
		FROM (SELECT DISTINCT contract, item FROM unnest($2::text[], $3::text[]) AS n (contract, item)) AS u
		CROSS JOIN LATERAL (SELECT * FROM recon_items WHERE tenant_id = $1 AND contract = u.contract AND item = u.item LIMIT 1) AS i`,
		int64(tx.Tenant), contracts, items)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scanItem)
	now := make(map[[2]string]Item, len(found))
	for _, i := range found {
		now[[2]string{i.Contract, i.Item}] = i
	}
	return now, err
}

// An Issue is one file of a provider about one of its days.
type Issue struct {
	Contract   string
	Day        citygate.Date
	Issue      int    // from 1, in the order in which they came
	Name       string // of the file that is kept
	SHA256     []byte // of its bytes
	Rows       int
	IssuedAt   time.Time // when the provider made it; zero if it does not say
	ImportedAt time.Time
	CheckedAt  time.Time // when the provider was last asked for another issue; zero if never
	Processed  bool      // every row has its outcome
	Holds      bool      // it is the latest of its day
	Corrected  int       // items that it ended: what it says otherwise than the bills before
}

// Issues gives the bills that were imported, each issue of one for itself, by contract,
// day and issue behind a position, at most limit. contract "" means any.
func Issues(ctx context.Context, tx *pg.Tx, contract, afterContract string, afterDay citygate.Date, afterIssue, limit int) ([]Issue, error) {
	rows, err := tx.Query(ctx, `
		SELECT f.contract, f.day, f.issue, f.name, f.sha256, f.lines, f.issued_at, f.imported_at, f.checked_at, f.state = 'processed',
		       NOT EXISTS (SELECT FROM external_files AS l WHERE l.tenant_id = $1 AND l.contract = f.contract AND l.day = f.day AND l.issue > f.issue),
		       (SELECT count(*) FROM recon_history AS h WHERE h.tenant_id = $1 AND h.contract = f.contract AND h.ended_day = f.day AND h.ended_issue = f.issue)
		FROM external_files AS f
		WHERE f.tenant_id = $1 AND ($2 = '' OR f.contract = $2) AND (f.contract, f.day, f.issue) > ($3, $4::date, $5)
		ORDER BY f.contract, f.day, f.issue LIMIT $6`, int64(tx.Tenant), contract, afterContract, afterDay, afterIssue, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (f Issue, err error) {
		var issued, checked *time.Time
		err = row.Scan(&f.Contract, &f.Day, &f.Issue, &f.Name, &f.SHA256, &f.Rows, &issued, &f.ImportedAt, &checked, &f.Processed, &f.Holds, &f.Corrected)
		if issued != nil {
			f.IssuedAt = issued.UTC()
		}
		if checked != nil {
			f.CheckedAt = checked.UTC()
		}
		f.ImportedAt = f.ImportedAt.UTC()
		return f, err
	})
}
