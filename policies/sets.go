package policies

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// aheadMax bounds how long before its effect a version may be published.
const aheadMax = 366 * 24 * time.Hour

// A Published is one version of a tenant's policy.
type Published struct {
	Version     uint64
	EffectiveAt time.Time // event time; 1970 for a version that always held
	PublishedAt time.Time
	By          string   // "" for a version without a rule set
	Hash        [32]byte // of the rule set's content; zero without one
	Restores    uint64   // the version whose rule set it is again; 0 = none
}

// A Proposal is a rule set on its way to be the next version.
type Proposal struct {
	Set      *ruleset.Set
	At       time.Time // event time from which it holds; zero = from now on
	Restores uint64
}

// PublishSet stores a rule set as the tenant's next version. The content of the
// last version again, from now on, changes nothing and gives that version: a reply
// may have been lost.
func PublishSet(ctx context.Context, tx *pg.Tx, actor string, p Proposal) (Published, *accept.Rules, error) {
	last, err := lastOf(ctx, tx)
	if err != nil {
		return Published{}, nil, err
	}
	at := p.At.UTC().Truncate(time.Millisecond)
	if p.At.IsZero() {
		at = tx.Now.UTC().Truncate(time.Millisecond)
		if last.Hash == p.Set.Hash() && !last.EffectiveAt.After(tx.Now) {
			rules, err := versionOf(ctx, tx, last.Version)
			return last, rules, err
		}
	} else if at.Before(tx.Now.Truncate(time.Millisecond)) || at.After(tx.Now.Add(aheadMax)) {
		return Published{}, nil, ErrWhen.Explain("%s is not from now to a year from now", at.Format(time.RFC3339))
	}
	rules, err := p.Set.Rules(tx.Tenant, last.Version+1, at)
	if err != nil {
		return Published{}, nil, err
	}
	body, err := rules.Encode()
	if err != nil {
		return Published{}, nil, err
	}
	out := Published{Version: rules.Version, EffectiveAt: at, PublishedAt: tx.Now, By: actor, Hash: p.Set.Hash(), Restores: p.Restores}
	tag, err := tx.Exec(ctx, insertVersion, tx.Tenant, int64(rules.Version), body, tx.Now, at)
	if err != nil {
		return Published{}, nil, err
	}
	if tag.RowsAffected() == 0 {
		return Published{}, nil, ErrVersion.Explain("version %d was published by somebody else at the same moment", rules.Version)
	}
	var restores *int64
	if p.Restores != 0 {
		n := int64(p.Restores)
		restores = &n
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO rule_sets (tenant_id, version, source, hash, restores, published_by) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, version) DO NOTHING`, tx.Tenant, int64(rules.Version), p.Set.Source(), out.Hash[:], restores, actor); err != nil {
		return Published{}, nil, err
	}
	after := map[string]any{"version": out.Version, "effective_at": at, "hash": hexOf(out.Hash)}
	if p.Restores != 0 {
		after["restores"] = p.Restores
	}
	return out, rules, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "policy.publish", Object: "rules", After: after})
}

const insertVersion = `INSERT INTO policies (tenant_id, version, body, published_at, effective_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`

const selectPublished = `
	SELECT p.version, p.effective_at, p.published_at, coalesce(r.published_by, ''), r.hash, coalesce(r.restores, 0)
	FROM policies p LEFT JOIN rule_sets r ON r.tenant_id = $1 AND r.version = p.version
	WHERE p.tenant_id = $1`

func scanPublished(row pgx.CollectableRow) (p Published, err error) {
	var hash []byte
	err = row.Scan(&p.Version, &p.EffectiveAt, &p.PublishedAt, &p.By, &hash, &p.Restores)
	copy(p.Hash[:], hash)
	p.EffectiveAt, p.PublishedAt = p.EffectiveAt.UTC(), p.PublishedAt.UTC()
	return p, err
}

// lastOf gives the last version, a zero one if there is none.
func lastOf(ctx context.Context, tx *pg.Tx) (Published, error) {
	rows, err := tx.Query(ctx, selectPublished+` ORDER BY p.version DESC LIMIT 1`, tx.Tenant)
	if err != nil {
		return Published{}, err
	}
	p, err := pgx.CollectOneRow(rows, scanPublished)
	if errors.Is(err, pgx.ErrNoRows) {
		return Published{}, nil
	}
	return p, err
}

// List gives versions below before, newest first; 0 = from the newest.
func List(ctx context.Context, tx *pg.Tx, before uint64, limit int) ([]Published, error) {
	if before == 0 || before > math.MaxInt64 {
		before = math.MaxInt64
	}
	rows, err := tx.Query(ctx, selectPublished+` AND p.version < $2 ORDER BY p.version DESC LIMIT $3`, tx.Tenant, int64(before), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanPublished)
}

// Source gives a version and the file it was made of; [ErrNone] if the version has
// none.
func Source(ctx context.Context, tx *pg.Tx, version uint64) (Published, []byte, error) {
	rows, err := tx.Query(ctx, selectPublished+` AND p.version = $2`, tx.Tenant, int64(min(version, math.MaxInt64)))
	if err != nil {
		return Published{}, nil, err
	}
	p, err := pgx.CollectOneRow(rows, scanPublished)
	if err != nil {
		return Published{}, nil, none(err, version)
	}
	var source []byte
	err = tx.QueryRow(ctx, `SELECT source FROM rule_sets WHERE tenant_id = $1 AND version = $2`, tx.Tenant, int64(version)).Scan(&source)
	return p, source, none(err, version)
}

func none(err error, version uint64) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNone.Explain("there is no rule set of version %d", version)
	}
	return err
}

func versionOf(ctx context.Context, tx *pg.Tx, version uint64) (*accept.Rules, error) {
	var body []byte
	err := tx.QueryRow(ctx, `SELECT body FROM policies WHERE tenant_id = $1 AND version = $2`, tx.Tenant, int64(version)).Scan(&body)
	if err != nil {
		return nil, none(err, version)
	}
	return accept.Parse(body)
}

// InForce gives the version that holds at an event time: the highest that is not
// from later. What is from before every version goes by the lowest.
func InForce(ctx context.Context, tx *pg.Tx, at time.Time) (uint64, error) {
	var version uint64
	err := tx.QueryRow(ctx, `
		SELECT version FROM policies WHERE tenant_id = $1
		ORDER BY effective_at <= $2 DESC, CASE WHEN effective_at <= $2 THEN -version ELSE version END LIMIT 1`, tx.Tenant, at).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNone.Explain("tenant %s has published no policy", tx.Tenant)
	}
	return version, err
}

// Chain gives the newest version as readers carry it: with those that hold until
// it does behind it.
func Chain(ctx context.Context, tx *pg.Tx) (*accept.Rules, error) {
	rows, err := tx.Query(ctx, `
		SELECT body, effective_at FROM policies
		WHERE tenant_id = $1 AND version >= coalesce((SELECT max(version) FROM policies WHERE tenant_id = $1 AND effective_at <= $2), 0)
		ORDER BY version DESC LIMIT 64`, tx.Tenant, tx.Now)
	if err != nil {
		return nil, err
	}
	var newest, last *accept.Rules
	var body []byte
	var effective, since time.Time
	_, err = pgx.ForEachRow(rows, []any{&body, &effective}, func() error {
		if last != nil && (!since.After(tx.Now) || !effective.Before(since)) {
			return nil // never asked again: something newer holds already, or holds before it would
		}
		r, err := accept.Parse(body)
		if err != nil {
			return err
		}
		if since = effective; newest == nil {
			newest = r
		} else {
			last.Prior = r
		}
		last = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	if newest == nil {
		return nil, ErrNone.Explain("tenant %s has published no policy", tx.Tenant)
	}
	if err := newest.Check(); err != nil {
		return nil, ErrWhen.Because(err, "tenant %s has too many versions ahead", tx.Tenant)
	}
	return newest, nil
}

func hexOf(hash [32]byte) string { return hex.EncodeToString(hash[:]) }
