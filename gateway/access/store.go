package access

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	selectVersion  = `SELECT version FROM platform.access_versions WHERE tenant_id = $1`
	selectVersions = `SELECT tenant_id, version FROM platform.access_versions WHERE tenant_id = ANY($1::bigint[])`
	countVersion   = `
		INSERT INTO platform.access_versions AS v (tenant_id, version) VALUES ($1, 1)
		ON CONFLICT (tenant_id) DO UPDATE SET version = v.version + 1`
	selectMembers     = `SELECT subject, issuer, external, name, roles, added_by, added_at FROM access_members WHERE tenant_id = $1 ORDER BY subject`
	selectGrants      = `SELECT role, permissions FROM access_grants WHERE tenant_id = $1 ORDER BY role`
	selectIssuers     = `SELECT name, url, client_id FROM access_issuers WHERE tenant_id = $1 ORDER BY name`
	selectRevocations = `SELECT subject, before FROM access_revocations WHERE tenant_id = $1`
	selectLiveKeys    = `
		SELECT key_id, name, owner, scopes, hash, created_at, expires_at, last_used_at, revoked_at
		FROM access_keys WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY key_id`
	selectSettings            = `SELECT two_person FROM access_settings WHERE tenant_id = $1`
	selectPlatformRevocations = `SELECT subject, before FROM platform.access_revocations`
)

// versions gives the policy versions of tenants, 0 for those that have none.
func (g *Guard) versions(ctx context.Context, of []citygate.TenantID) (map[citygate.TenantID]int64, error) {
	ids := make([]int64, len(of))
	for i, id := range of {
		ids[i] = int64(id)
	}
	found := make(map[citygate.TenantID]int64, len(of))
	err := g.DB.InSystem(ctx, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, selectVersions, ids)
		if err != nil {
			return err
		}
		var id citygate.TenantID
		var version int64
		_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error {
			found[id] = version
			return nil
		})
		return err
	})
	return found, err
}

// change makes a change of a tenant's people, keys or issuers, and counts up its
// version first: changes of one tenant come one after the other.
func (g *Guard) change(ctx context.Context, tenant citygate.TenantID, fn func(tx *pg.Tx) error) error {
	if tenant != 0 {
		if _, err := g.Directory.ByID(ctx, tenant); err != nil {
			return err
		}
	}
	err := g.within(ctx, tenant, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, countVersion, tenant); err != nil {
			return err
		}
		return fn(tx)
	})
	if err == nil || errors.Is(err, pg.ErrInDoubt) {
		g.held.Invalidate(tenant)
	}
	return err
}

// load reads a tenant. The version is read first: rows that are newer are
// noticed by the next look.
func (g *Guard) load(ctx context.Context, tenant citygate.TenantID) (*snapshot, error) {
	var s *snapshot
	return s, g.within(ctx, tenant, func(tx *pg.Tx) (err error) {
		s, err = g.read(ctx, tx)
		return err
	})
}

// within runs fn in a transaction of a tenant, or of the platform for 0.
func (g *Guard) within(ctx context.Context, tenant citygate.TenantID, fn func(tx *pg.Tx) error) error {
	if tenant == 0 {
		return g.DB.InSystem(ctx, fn)
	}
	return g.DB.InTenant(ctx, tenant, fn)
}

// platformTables are the twins that hold the platform's own people.
var platformTables = strings.NewReplacer(" access_members", " platform.access_members", " access_issuers", " platform.access_issuers",
	" access_keys", " platform.access_keys", " access_settings", " platform.access_settings", " access_proposals", " platform.access_proposals")

// of gives a statement about the tables of the transaction's tenant; the
// platform's have the same columns, and its number, 0, for the tenant.
func of(tx *pg.Tx, sql string) string {
	if tx.Tenant == 0 {
		return platformTables.Replace(sql)
	}
	return sql
}

// read gives the snapshot of the transaction's tenant.
func (g *Guard) read(ctx context.Context, tx *pg.Tx) (*snapshot, error) {
	s := &snapshot{members: map[string]Member{}, keys: map[citygate.UUID]*heldKey{}, revoked: map[string]time.Time{}}
	policy := authz.Policy{Tenant: tx.Tenant, Members: map[string][]authz.Role{}}
	if err := tx.QueryRow(ctx, selectVersion, tx.Tenant).Scan(&policy.Version); err != nil && !pg.IsNoRows(err) {
		return nil, err
	}
	err := readPeople(ctx, tx, s, &policy)
	if err != nil {
		return nil, err
	}
	s.Enforcer, err = g.book.Compile(policy)
	return s, err
}

func readPeople(ctx context.Context, tx *pg.Tx, s *snapshot, policy *authz.Policy) error {
	members, err := members(ctx, tx)
	if err != nil {
		return err
	}
	for _, m := range members {
		s.members[m.Subject] = m
		policy.Members[m.Subject] = m.Roles
	}
	if tx.Tenant == 0 {
		err = readRevocations(ctx, tx, s, selectPlatformRevocations)
	} else if policy.Grants, err = grants(ctx, tx); err == nil {
		err = readRevocations(ctx, tx, s, selectRevocations, tx.Tenant)
	}
	if err != nil {
		return err
	}
	if s.issuers, err = issuers(ctx, tx); err != nil {
		return err
	}
	keys, err := apiKeys(ctx, tx, selectLiveKeys, tx.Tenant, tx.Now)
	if err != nil {
		return err
	}
	for _, k := range keys {
		held := &heldKey{APIKey: k.APIKey, hash: k.hash}
		if k.LastUsedAt != nil {
			held.noted.Store(k.LastUsedAt.Unix())
		}
		for _, text := range k.Scopes {
			p, err := authz.ParsePermission(text)
			if err != nil {
				continue // a permission that is no more
			}
			held.scopes = append(held.scopes, p)
		}
		s.keys[k.ID] = held
	}
	s.twoPerson, err = twoPerson(ctx, tx)
	return err
}

func readRevocations(ctx context.Context, tx *pg.Tx, s *snapshot, sql string, args ...any) error {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var subject string
	var before time.Time
	_, err = pgx.ForEachRow(rows, []any{&subject, &before}, func() error {
		s.revoked[subject] = before.UTC()
		return nil
	})
	return err
}

func members(ctx context.Context, tx *pg.Tx) ([]Member, error) {
	return membersBy(ctx, tx, selectMembers, tx.Tenant)
}

func membersBy(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Member, error) {
	rows, err := tx.Query(ctx, of(tx, sql), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Member, error) {
		var m Member
		var roles []string
		err := row.Scan(&m.Subject, &m.Issuer, &m.External, &m.Name, &roles, &m.AddedBy, &m.AddedAt)
		for _, role := range roles {
			m.Roles = append(m.Roles, authz.Role(role))
		}
		m.AddedAt = m.AddedAt.UTC()
		return m, err
	})
}

func grants(ctx context.Context, tx *pg.Tx) ([]authz.Grant, error) {
	rows, err := tx.Query(ctx, selectGrants, tx.Tenant)
	if err != nil {
		return nil, err
	}
	var all []authz.Grant
	var role string
	var permissions []string
	_, err = pgx.ForEachRow(rows, []any{&role, &permissions}, func() error {
		for _, text := range permissions {
			p, err := authz.ParsePermission(text)
			if err != nil {
				continue // a permission that is no more
			}
			all = append(all, authz.Grant{Role: authz.Role(role), Permission: p})
		}
		return nil
	})
	return all, err
}

func issuers(ctx context.Context, tx *pg.Tx) ([]Issuer, error) {
	rows, err := tx.Query(ctx, of(tx, selectIssuers), tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Issuer])
}

func twoPerson(ctx context.Context, tx *pg.Tx) ([]string, error) {
	var kinds []string
	err := tx.QueryRow(ctx, of(tx, selectSettings), tx.Tenant).Scan(&kinds)
	if pg.IsNoRows(err) {
		return nil, nil
	}
	if kinds == nil {
		kinds = []string{}
	}
	return kinds, err
}

// A storedKey is an API key as a row has it.
type storedKey struct {
	APIKey
	hash [32]byte
}

func apiKeys(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]storedKey, error) {
	rows, err := tx.Query(ctx, of(tx, sql), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (storedKey, error) {
		var k storedKey
		var hash []byte
		err := row.Scan(&k.ID, &k.Name, &k.Owner, &k.Scopes, &hash, &k.CreatedAt, &k.ExpiresAt, &k.LastUsedAt, &k.RevokedAt)
		k.hash = [32]byte(slices.Grow(hash, 32)[:32])
		k.Tenant, k.CreatedAt, k.ExpiresAt = tx.Tenant, k.CreatedAt.UTC(), k.ExpiresAt.UTC()
		k.LastUsedAt, k.RevokedAt = inUTC(k.LastUsedAt), inUTC(k.RevokedAt)
		return k, err
	})
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
