package credential

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	denyAccounts = `
		INSERT INTO deny_entries (tenant_id, entry_id, account_id, reason, actor, since)
		SELECT $1, u.entry_id, u.account_id, $2, $3, $4
		FROM unnest($5::uuid[], $6::uuid[]) AS u (entry_id, account_id)
		ON CONFLICT DO NOTHING`
	denyRiders = `
		INSERT INTO deny_entries (tenant_id, entry_id, list, idx, reason, actor, since)
		SELECT $1, u.entry_id, u.list, u.idx, $2, $3, $4
		FROM unnest($5::uuid[], $6::int[], $7::bigint[]) AS u (entry_id, list, idx)
		ON CONFLICT DO NOTHING`
	liftAccounts = `
		UPDATE deny_entries SET lifted_at = $4, lifted_by = $3
		WHERE tenant_id = $1 AND reason = $2 AND lifted_at IS NULL AND account_id = ANY ($5::uuid[])`
	liftRiders = `
		UPDATE deny_entries d SET lifted_at = $4, lifted_by = $3
		FROM unnest($5::int[], $6::bigint[]) AS u (list, idx)
		WHERE d.tenant_id = $1 AND d.reason = $2 AND d.lifted_at IS NULL AND d.list = u.list AND d.idx = u.idx`
	entriesOfAccount = `
		SELECT d.entry_id, d.account_id IS NOT NULL, coalesce(d.list, 0), coalesce(d.idx, 0), d.reason, d.actor, d.since, d.lifted_at
		FROM deny_entries d
		WHERE d.tenant_id = $1 AND d.entry_id > $3 AND (d.account_id = $2 OR EXISTS (
			SELECT 1 FROM credentials c WHERE c.tenant_id = $1 AND c.account_id = $2 AND c.list = d.list AND c.idx = d.idx))
		ORDER BY d.entry_id LIMIT $4`
)

// Targets are what [Deny] and [Lift] act on: whole accounts, single
// credentials, or both.
type Targets struct {
	Accounts []citygate.UUID
	Riders   []citygate.Rider
}

func (t Targets) sorted() Targets {
	accounts, riders := slices.Clone(t.Accounts), slices.Clone(t.Riders)
	slices.SortFunc(accounts, func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	slices.SortFunc(riders, citygate.Rider.Compare)
	return Targets{slices.Compact(accounts), slices.Compact(riders)}
}

var reasonForm = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)

// Deny writes a deny entry for each target, unless it has an open one for the
// same reason. The caller's transaction decides; validators learn it when the
// lists are published. A rider to whom nothing was issued is [ErrNotIssued].
func Deny(ctx context.Context, tx *pg.Tx, actor, reason string, t Targets) error {
	if !reasonForm.MatchString(reason) {
		return ErrBadReason.Explain("reason %q", reason)
	}
	t = t.sorted()
	if err := allIssued(ctx, tx, t.Riders); err != nil {
		return err
	}
	return deny(ctx, tx, actor, reason, t)
}

// DenyDevices puts every credential that devices hold and that has not run out on
// the deny list, as [Deny] does, reserved ones too: their signature may come at
// any moment.
func DenyDevices(ctx context.Context, tx *pg.Tx, actor, reason string, devices []citygate.UUID) error {
	if !reasonForm.MatchString(reason) {
		return ErrBadReason.Explain("reason %q", reason)
	}
	held, err := OfDevices(ctx, tx, devices)
	if err != nil {
		return err
	}
	var t Targets
	for _, all := range held {
		for _, h := range all {
			t.Riders = append(t.Riders, h.Rider)
		}
	}
	if len(t.Riders) == 0 {
		return nil
	}
	return deny(ctx, tx, actor, reason, t.sorted())
}

func deny(ctx context.Context, tx *pg.Tx, actor, reason string, t Targets) error {
	made := int64(0)
	for part := range slices.Chunk(t.Accounts, rowsMax) {
		tag, err := tx.Exec(ctx, denyAccounts, tx.Tenant, reason, actor, tx.Now, newIDs(tx, len(part)), part)
		if pg.Violates(err, "deny_entries_account") {
			return ErrNoAccount.Because(err, "one of %d accounts", len(part))
		}
		if err != nil {
			return err
		}
		if made += tag.RowsAffected(); tag.RowsAffected() == 0 {
			continue
		}
		if err := touch(ctx, tx, reason, part); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(t.Riders, rowsMax) {
		_, list, idx := riderColumns(part)
		tag, err := tx.Exec(ctx, denyRiders, tx.Tenant, reason, actor, tx.Now, newIDs(tx, len(part)), list, idx)
		if err != nil {
			return err
		}
		made += tag.RowsAffected()
	}
	return auditDeny(ctx, tx, actor, "deny.add", reason, t, made)
}

// Lift lifts the open entries that the targets have for reason; other reasons
// go on denying. Nothing to lift is no error.
func Lift(ctx context.Context, tx *pg.Tx, actor, reason string, t Targets) error {
	t = t.sorted()
	lifted := int64(0)
	for part := range slices.Chunk(t.Accounts, rowsMax) {
		tag, err := tx.Exec(ctx, liftAccounts, tx.Tenant, reason, actor, tx.Now, part)
		if err != nil {
			return err
		}
		if lifted += tag.RowsAffected(); tag.RowsAffected() == 0 {
			continue
		}
		if err := touch(ctx, tx, reason, part); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(t.Riders, rowsMax) {
		_, list, idx := riderColumns(part)
		tag, err := tx.Exec(ctx, liftRiders, tx.Tenant, reason, actor, tx.Now, list, idx)
		if err != nil {
			return err
		}
		lifted += tag.RowsAffected()
	}
	return auditDeny(ctx, tx, actor, "deny.lift", reason, t, lifted)
}

func newIDs(tx *pg.Tx, n int) []citygate.UUID {
	ids := make([]citygate.UUID, n)
	for i := range ids {
		ids[i] = tx.NewID()
	}
	return ids
}

func allIssued(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) error {
	if len(riders) == 0 {
		return nil
	}
	issued, err := AccountsOf(ctx, tx, riders)
	if err != nil {
		return err
	}
	for _, r := range riders {
		if _, ok := issued[r]; !ok {
			return ErrNotIssued.Explain("credential %s", r)
		}
	}
	return nil
}

// auditDeny records one line a call; the entries themselves say the rest.
func auditDeny(ctx context.Context, tx *pg.Tx, actor, verb, reason string, t Targets, changed int64) error {
	if changed == 0 {
		return nil
	}
	object := ""
	if len(t.Accounts) > 0 {
		object = "account:" + t.Accounts[0].Text("acc_")
	} else if len(t.Riders) > 0 {
		object = "credential:" + t.Riders[0].String()
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: verb, Object: object, After: map[string]any{"reason": reason, "entries": changed}})
}

// A Denier denies and lifts in the name of one actor.
type Denier struct{ Actor string }

// DenyAccounts puts all credentials of the accounts on the deny list.
func (d Denier) DenyAccounts(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID, reason string) error {
	return Deny(ctx, tx, d.Actor, reason, Targets{Accounts: accounts})
}

// LiftAccounts takes off what DenyAccounts put there for the same reason.
func (d Denier) LiftAccounts(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID, reason string) error {
	return Lift(ctx, tx, d.Actor, reason, Targets{Accounts: accounts})
}

// DenyRiders puts single credentials on the deny list.
func (d Denier) DenyRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, reason string) error {
	return Deny(ctx, tx, d.Actor, reason, Targets{Riders: riders})
}

// An Entry is one deny entry, open or lifted.
type Entry struct {
	ID           citygate.UUID
	WholeAccount bool
	List         uint16 // of a single credential
	Index        uint32
	Reason       string
	Actor        string
	Since        time.Time
	LiftedAt     time.Time // zero = open
}

// Entries gives the deny entries of an account and of its credentials, with those
// that were lifted, by id, which grows with the time they were made, after one of
// them, at most limit.
func Entries(ctx context.Context, tx *pg.Tx, account, after citygate.UUID, limit int) ([]Entry, error) {
	rows, err := tx.Query(ctx, entriesOfAccount, tx.Tenant, account, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Entry, error) {
		var e Entry
		var lifted *time.Time
		err := row.Scan(&e.ID, &e.WholeAccount, &e.List, &e.Index, &e.Reason, &e.Actor, &e.Since, &lifted)
		e.Since = e.Since.UTC()
		if lifted != nil {
			e.LiftedAt = lifted.UTC()
		}
		return e, err
	})
}

// IsDenied reports whether a credential of the tenant is denied now, by itself or
// with its account.
func IsDenied(ctx context.Context, tx *pg.Tx, rider citygate.Rider) (denied bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM deny_entries d WHERE d.tenant_id = $1 AND d.lifted_at IS NULL AND d.list = $2 AND d.idx = $3)
		    OR EXISTS (SELECT FROM credentials c JOIN deny_entries d ON d.tenant_id = $1 AND d.account_id = c.account_id AND d.lifted_at IS NULL
		               WHERE c.tenant_id = $1 AND c.list = $2 AND c.idx = $3)`,
		tx.Tenant, int32(rider.List), int64(rider.Index)).Scan(&denied)
	return denied, err
}
