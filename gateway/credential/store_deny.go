package credential

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
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
	liveLists = `
		SELECT list, issued FROM credential_lists WHERE tenant_id = $1 AND expires_at > $2 ORDER BY list`
	deniedOfList = `
		SELECT c.idx
		FROM deny_entries d CROSS JOIN LATERAL (
			SELECT idx FROM credentials WHERE tenant_id = $1 AND account_id = d.account_id AND list = $2 OFFSET 0) AS c
		WHERE d.tenant_id = $1 AND d.lifted_at IS NULL AND d.account_id IS NOT NULL
		UNION
		SELECT d.idx FROM deny_entries d WHERE d.tenant_id = $1 AND d.list = $2 AND d.lifted_at IS NULL
		ORDER BY 1`
	latestSeq = `
		SELECT seq, set_hash, built_at FROM deny_snapshots WHERE tenant_id = $1 AND list = $2 ORDER BY seq DESC LIMIT 1`
	insertSnapshot = `
		INSERT INTO deny_snapshots (tenant_id, list, seq, issued, denied, set_hash, kid, built_at, valid_until, body, sha256)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT DO NOTHING`
	latestBody = `
		SELECT body, sha256 FROM deny_snapshots WHERE tenant_id = $1 AND list = $2 ORDER BY seq DESC LIMIT 1`
	publishedLists = `
		SELECT DISTINCT ON (s.list) s.list, s.seq, s.issued, s.denied, s.built_at, s.valid_until, s.sha256
		FROM deny_snapshots s JOIN credential_lists l ON l.tenant_id = $1 AND l.list = s.list
		WHERE s.tenant_id = $1 AND l.expires_at > $2
		ORDER BY s.list, s.seq DESC`
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
	made := int64(0)
	for part := range slices.Chunk(t.Accounts, rowsMax) {
		tag, err := tx.Exec(ctx, denyAccounts, tx.Tenant, reason, actor, tx.Now, newIDs(tx, len(part)), part)
		if pg.Violates(err, "deny_entries_account") {
			return ErrNoAccount.Because(err, "one of %d accounts", len(part))
		}
		if err != nil {
			return err
		}
		made += tag.RowsAffected()
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
		lifted += tag.RowsAffected()
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

// A snapshot is the state of one list, read in one transaction.
type snapshot struct {
	header  denylist.Header
	denied  []uint32
	hash    []byte // of the last one published; nil = none
	builtAt time.Time
}

// readLists gives the state of the tenant's live lists.
func readLists(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, validity time.Duration) ([]snapshot, error) {
	rows, err := tx.Query(ctx, liveLists, tx.Tenant, tx.Now)
	if err != nil {
		return nil, err
	}
	lists, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (snapshot, error) {
		var s snapshot
		err := row.Scan(&s.header.List, &s.header.Issued)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	for i := range lists {
		s := &lists[i]
		rows, err := tx.Query(ctx, deniedOfList, tx.Tenant, int32(s.header.List))
		if err != nil {
			return nil, err
		}
		if s.denied, err = pgx.CollectRows(rows, pgx.RowTo[uint32]); err != nil {
			return nil, err
		}
		err = tx.QueryRow(ctx, latestSeq, tx.Tenant, int32(s.header.List)).Scan(&s.header.Seq, &s.hash, &s.builtAt)
		if err != nil && !pg.IsNoRows(err) {
			return nil, err
		}
		s.header.Seq++
		s.header.Issuer = issuer
		s.header.Issued = roundUp(s.header.Issued)
		s.header.BuiltAt, s.header.ValidUntil = tx.Now.Unix(), tx.Now.Add(validity).Unix()
	}
	return lists, nil
}

// storeSnapshot stores l unless its sequence number was taken meanwhile.
func storeSnapshot(ctx context.Context, tx *pg.Tx, l *denylist.List) (bool, error) {
	hash, sum := l.Hash(), sha256.Sum256(l.Bytes())
	tag, err := tx.Exec(ctx, insertSnapshot, tx.Tenant, int32(l.List), int64(l.Seq), int64(l.Issued), int32(l.Count()), hash[:], int16(l.KeyID),
		time.Unix(l.BuiltAt, 0), time.Unix(l.ValidUntil, 0), l.Bytes(), sum[:])
	return err == nil && tag.RowsAffected() == 1, err
}

// LatestList gives the newest snapshot of a list and its entity tag.
func LatestList(ctx context.Context, tx *pg.Tx, list uint16) (raw []byte, etag string, err error) {
	var sum []byte
	err = tx.QueryRow(ctx, latestBody, tx.Tenant, int32(list)).Scan(&raw, &sum)
	if pg.IsNoRows(err) {
		return nil, "", ErrNoList.Explain("list %d", list)
	}
	return raw, hex.EncodeToString(sum), err
}

// A Published list is the newest snapshot of a live list, without its bytes.
type Published struct {
	List       uint16
	Seq        uint32
	Issued     uint32
	Denied     int
	BuiltAt    time.Time
	ValidUntil time.Time
	ETag       string
}

// Lists gives what is published of the tenant's live lists.
func Lists(ctx context.Context, tx *pg.Tx) ([]Published, error) {
	rows, err := tx.Query(ctx, publishedLists, tx.Tenant, tx.Now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Published, error) {
		var p Published
		var sum []byte
		err := row.Scan(&p.List, &p.Seq, &p.Issued, &p.Denied, &p.BuiltAt, &p.ValidUntil, &sum)
		p.BuiltAt, p.ValidUntil, p.ETag = p.BuiltAt.UTC(), p.ValidUntil.UTC(), hex.EncodeToString(sum)
		return p, err
	})
}
