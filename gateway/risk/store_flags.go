package risk

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// FlagPrefix is what the ids of flags begin with.
const FlagPrefix = "flg_"

// The refusals of flags.
var (
	ErrNoFlag     = &citygate.Code{Name: "risk.no_flag", Kind: citygate.NotFound, Title: "There is no such flag."}
	ErrFlagClosed = &citygate.Code{Name: "risk.flag_closed", Kind: citygate.Conflict, Title: "The flag is closed and stays so. What happens again is a new flag."}
	ErrFlagReason = &citygate.Code{Name: "risk.flag_reason", Kind: citygate.Invalid, Title: "Say why, in at most 500 characters. A flag is closed with a reason."}
)

// A FlagState is what somebody did about a flag.
type FlagState string

// The states.
const (
	FlagOpen         FlagState = "open"
	FlagAcknowledged FlagState = "acknowledged"
	FlagClosed       FlagState = "closed"
)

// A Row is a flag that is kept.
type Row struct {
	Flag
	ID        citygate.UUID
	FoundAt   time.Time
	State     FlagState
	Blocks    bool   // the rider is denied because of it
	Reason    string // of the last change
	ChangedBy string
	ChangedAt time.Time
}

const flagColumns = `flag_id, kind, issuer, list, idx, terminals, seqs, at, found_at, state, blocks, reason, changed_by, changed_at`

func scanRow(row pgx.CollectableRow) (r Row, err error) {
	var list int32
	var idx int64
	var terminals, seqs []int64
	var at time.Time
	err = row.Scan(&r.ID, &r.Kind, &r.Rider.Issuer, &list, &idx, &terminals, &seqs, &at, &r.FoundAt, &r.State, &r.Blocks, &r.Reason, &r.ChangedBy, &r.ChangedAt)
	r.Rider.List, r.Rider.Index, r.At = uint16(list), uint32(idx), at.UnixMilli()
	r.FoundAt, r.ChangedAt = r.FoundAt.UTC(), r.ChangedAt.UTC()
	for i := range terminals {
		r.Taps = append(r.Taps, citygate.TapID{Terminal: uint32(terminals[i]), Seq: uint64(seqs[i])})
	}
	return r, err
}

// name is a flag's natural key: of two taps in a row both, of a rush the first.
func (f *Flag) name() string {
	parts := []string{string(f.Kind), f.Taps[0].String()}
	if f.Kind != Velocity {
		parts = append(parts, f.Taps[1].String())
	}
	return strings.Join(parts, "/")
}

// Keep keeps flags and gives those that are new. A rush of which a part is kept
// goes on in that flag, whatever tap of it came last.
func Keep(ctx context.Context, tx *pg.Tx, found []Flag) (kept []Row, err error) {
	if len(found) == 0 {
		return nil, nil
	}
	rushes, err := rushesOf(ctx, tx, found)
	if err != nil {
		return nil, err
	}
	for i := range found {
		f := &found[i]
		if f.Kind == Velocity {
			known := slices.IndexFunc(rushes, func(r Row) bool { return r.Rider == f.Rider && shares(r.Taps, f.Taps) })
			if known >= 0 {
				if err := goOn(ctx, tx, &rushes[known], f); err != nil {
					return nil, err
				}
				continue
			}
		}
		r := Row{Flag: *f, ID: tx.NewID(), FoundAt: tx.Now, State: FlagOpen, ChangedAt: tx.Now}
		terminals, seqs := columns(f.Taps)
		tag, err := tx.Exec(ctx, `
			INSERT INTO risk_flags (tenant_id, flag_id, kind, name, issuer, list, idx, terminals, seqs, at, found_at, state, blocks, reason, changed_by, changed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'open', false, '', '', $11) ON CONFLICT DO NOTHING`,
			tx.Tenant, r.ID, string(f.Kind), f.name(), int32(f.Rider.Issuer), int32(f.Rider.List), int64(f.Rider.Index), terminals, seqs,
			time.UnixMilli(f.At).UTC(), tx.Now)
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 1 {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

func columns(taps []citygate.TapID) (terminals, seqs []int64) {
	for _, t := range taps {
		terminals, seqs = append(terminals, int64(t.Terminal)), append(seqs, int64(t.Seq))
	}
	return terminals, seqs
}

func shares(a, b []citygate.TapID) bool {
	return slices.ContainsFunc(a, func(t citygate.TapID) bool { return slices.Contains(b, t) })
}

// rushesOf gives the kept rushes of the riders of flags.
func rushesOf(ctx context.Context, tx *pg.Tx, found []Flag) ([]Row, error) {
	var issuers, lists []int32
	var idxs []int64
	for i := range found {
		if found[i].Kind == Velocity {
			r := found[i].Rider
			issuers, lists, idxs = append(issuers, int32(r.Issuer)), append(lists, int32(r.List)), append(idxs, int64(r.Index))
		}
	}
	if len(issuers) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT `+flagColumns+` FROM risk_flags
		WHERE tenant_id = $1 AND kind = 'velocity' AND (issuer, list, idx) IN (SELECT * FROM unnest($2::int[], $3::int[], $4::bigint[]))
		ORDER BY flag_id FOR UPDATE`, tx.Tenant, issuers, lists, idxs)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRow)
}

// goOn adds to a kept rush what was found of it since.
func goOn(ctx context.Context, tx *pg.Tx, r *Row, f *Flag) error {
	had := len(r.Taps)
	for _, t := range f.Taps {
		if !slices.Contains(r.Taps, t) {
			r.Taps = append(r.Taps, t)
		}
	}
	if len(r.Taps) == had {
		return nil
	}
	r.At = max(r.At, f.At)
	terminals, seqs := columns(r.Taps)
	_, err := tx.Exec(ctx, `UPDATE risk_flags SET terminals = $3, seqs = $4, at = $5 WHERE tenant_id = $1 AND flag_id = $2`,
		tx.Tenant, r.ID, terminals, seqs, time.UnixMilli(r.At).UTC())
	return err
}

// lockScan gives from when on receipts are looked at, and whether it is time to. It
// keeps others from looking until the transaction ends.
func lockScan(ctx context.Context, tx *pg.Tx, first bool) (from time.Time, due bool, err error) {
	if _, err := tx.Exec(ctx, `INSERT INTO risk_scans (tenant_id, received_at, scanned_at) VALUES ($1, 'epoch', 'epoch') ON CONFLICT DO NOTHING`, tx.Tenant); err != nil {
		return from, false, err
	}
	var last time.Time
	if err := tx.QueryRow(ctx, `SELECT received_at, scanned_at FROM risk_scans WHERE tenant_id = $1 FOR UPDATE`, tx.Tenant).Scan(&from, &last); err != nil {
		return from, false, err
	}
	if from.After(tx.Now) { // a sandbox's clock was set back
		from, last = tx.Now, time.Time{}
	}
	return from.Add(-scanAgain), !first || last.After(tx.Now) || !tx.Now.Before(last.Add(scanEvery)), nil
}

func scanned(ctx context.Context, tx *pg.Tx, upTo time.Time) error {
	if upTo.After(tx.Now) {
		upTo = tx.Now
	}
	_, err := tx.Exec(ctx, `UPDATE risk_scans SET received_at = CASE WHEN received_at > $3 THEN $2 ELSE greatest(received_at, $2) END, scanned_at = $3 WHERE tenant_id = $1`,
		tx.Tenant, upTo, tx.Now)
	return err
}

func markBlocking(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE risk_flags SET blocks = true WHERE tenant_id = $1 AND flag_id = ANY($2::uuid[])`, tx.Tenant, ids)
	return err
}

// blocking reports whether a flag that is not closed keeps a rider denied.
func blocking(ctx context.Context, tx *pg.Tx, r citygate.Rider) (some bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM risk_flags WHERE tenant_id = $1 AND issuer = $2 AND list = $3 AND idx = $4 AND blocks AND state <> 'closed')`,
		tx.Tenant, int32(r.Issuer), int32(r.List), int64(r.Index)).Scan(&some)
	return some, err
}

func change(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID, to FlagState, reason string) (Row, error) {
	if len(reason) > 500 || to == FlagClosed && strings.TrimSpace(reason) == "" {
		return Row{}, ErrFlagReason
	}
	rows, err := tx.Query(ctx, `SELECT `+flagColumns+` FROM risk_flags WHERE tenant_id = $1 AND flag_id = $2 FOR UPDATE`, tx.Tenant, id)
	if err != nil {
		return Row{}, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRow)
	switch {
	case pg.IsNoRows(err):
		return Row{}, ErrNoFlag.Because(nil, "%s", id)
	case err != nil:
		return Row{}, err
	case r.State == to && r.Reason == reason:
		return r, nil
	case r.State == FlagClosed:
		return Row{}, ErrFlagClosed.Explain("closed by %s", r.ChangedBy)
	}
	was := r.State
	r.State, r.Reason, r.ChangedBy, r.ChangedAt = to, reason, actor, tx.Now
	if _, err := tx.Exec(ctx, `UPDATE risk_flags SET state = $3, reason = $4, changed_by = $5, changed_at = $6 WHERE tenant_id = $1 AND flag_id = $2`,
		tx.Tenant, id, string(to), reason, actor, tx.Now); err != nil {
		return Row{}, err
	}
	return r, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "risk_flag." + string(to), Object: id.Text(FlagPrefix),
		Before: map[string]any{"state": was}, After: map[string]any{"state": to, "reason": reason}})
}

// A FlagFilter selects flags; a zero field selects all.
type FlagFilter struct {
	Kind  Kind
	State FlagState
	Tap   citygate.TapID
}

// Flags gives the tenant's flags by id, which grows with when they were found,
// after one of them, at most limit.
func Flags(ctx context.Context, tx *pg.Tx, f FlagFilter, after citygate.UUID, limit int) ([]Row, error) {
	rows, err := tx.Query(ctx, `SELECT `+flagColumns+` FROM risk_flags
		WHERE tenant_id = $1 AND flag_id > $2 AND ($4 = '' OR kind = $4) AND ($5 = '' OR state = $5)
			AND ($7 = 0 OR EXISTS (SELECT FROM unnest(terminals, seqs) AS t (terminal, seq) WHERE t.terminal = $6 AND t.seq = $7))
		ORDER BY flag_id LIMIT $3`, tx.Tenant, after, limit, string(f.Kind), string(f.State), int64(f.Tap.Terminal), int64(f.Tap.Seq))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRow)
}

// FlagByID gives one flag.
func FlagByID(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Row, error) {
	rows, err := tx.Query(ctx, `SELECT `+flagColumns+` FROM risk_flags WHERE tenant_id = $1 AND flag_id = $2`, tx.Tenant, id)
	if err != nil {
		return Row{}, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRow)
	if pg.IsNoRows(err) {
		err = ErrNoFlag.Because(nil, "%s", id)
	}
	return r, err
}
