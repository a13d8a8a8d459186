package access

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	insertMember = `
		INSERT INTO access_members (tenant_id, subject, issuer, external, name, roles, added_by, added_at, changed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
		ON CONFLICT DO NOTHING`
	updateMember = `UPDATE access_members SET name = $3, roles = $4, changed_at = $5 WHERE tenant_id = $1 AND subject = $2`
	deleteMember = `DELETE FROM access_members WHERE tenant_id = $1 AND subject = $2`
	upsertGrant  = `
		INSERT INTO access_grants (tenant_id, role, permissions, changed_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, role) DO UPDATE SET permissions = excluded.permissions, changed_at = excluded.changed_at`
	deleteGrant  = `DELETE FROM access_grants WHERE tenant_id = $1 AND role = $2`
	insertIssuer = `
		INSERT INTO access_issuers (tenant_id, name, url, client_id, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`
	updateIssuer = `UPDATE access_issuers SET client_id = $3 WHERE tenant_id = $1 AND name = $2`
	deleteIssuer = `DELETE FROM access_issuers WHERE tenant_id = $1 AND name = $2`
	revokeTokens = `
		INSERT INTO access_revocations (tenant_id, subject, before, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, subject) DO UPDATE SET before = excluded.before, expires_at = excluded.expires_at`
	forgetRevocations    = `DELETE FROM access_revocations WHERE tenant_id = $1 AND expires_at < $2`
	revokePlatformTokens = `
		INSERT INTO platform.access_revocations (subject, before, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (subject) DO UPDATE SET before = excluded.before, expires_at = excluded.expires_at`
)

// tokenLongest is the longest life of an access token.
const tokenLongest = 31 * 24 * time.Hour

// changePolicy makes a change of members or roles, and refuses one after which
// the rules do not hold together, or nobody could give rights any more.
func (g *Guard) changePolicy(ctx context.Context, tenant citygate.TenantID, fn func(tx *pg.Tx, before *snapshot) error) error {
	return g.change(ctx, tenant, func(tx *pg.Tx) error {
		before, err := g.read(ctx, tx)
		if err != nil {
			return err
		}
		if err := fn(tx, before); err != nil {
			return err
		}
		after, err := g.read(ctx, tx)
		if err != nil {
			return err
		}
		if len(before.Grantors()) > 0 && len(after.Grantors()) == 0 {
			return ErrLastAdmin
		}
		return nil
	})
}

// AddMember adds a person. Adding the same again changes nothing; with other
// roles or another name it is [ErrExists].
func (g *Guard) AddMember(ctx context.Context, actor string, tenant citygate.TenantID, m Member) (Member, error) {
	var err error
	if m.Subject, err = SubjectOf(tenant, m.Issuer, m.External); err != nil {
		return Member{}, err
	}
	if m.Roles, err = g.checkRoles(ctx, tenant, m.Roles); err != nil {
		return Member{}, err
	}
	m.AddedBy = actor
	err = g.changePolicy(ctx, tenant, func(tx *pg.Tx, before *snapshot) error {
		if m.Issuer != "" && !slices.ContainsFunc(before.issuers, func(i Issuer) bool { return i.Name == m.Issuer }) {
			return ErrNotFound.Explain("there is no issuer %q", m.Issuer)
		}
		if old, there := before.members[m.Subject]; there {
			if old.Name != m.Name || !slices.Equal(old.Roles, m.Roles) {
				return ErrExists.Explain("%s is a member with other roles or another name", m.Subject)
			}
			m = old
			return nil
		}
		m.AddedAt = tx.Now
		if _, err := tx.Exec(ctx, of(tx, insertMember), tenant, m.Subject, m.Issuer, m.External, m.Name, names(m.Roles), actor, tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "member.add", Object: m.Subject, After: memberAudit(m)})
	})
	return m, err
}

func memberAudit(m Member) any {
	return map[string]any{"name": m.Name, "roles": m.Roles, "issuer": m.Issuer}
}

// checkRoles puts roles in order. That they exist is seen when the policy is
// compiled.
func (g *Guard) checkRoles(ctx context.Context, tenant citygate.TenantID, roles []authz.Role) ([]authz.Role, error) {
	sorted := slices.Clone(roles)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if len(sorted) == 0 {
		return nil, ErrInvalid.Explain("roles: a member has at least one")
	}
	if tenant == 0 {
		return sorted, nil
	}
	t, err := g.Directory.ByID(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if t.Kind != tenants.Authority && slices.Contains(sorted, authz.Authority) {
		return nil, ErrInvalid.Explain("roles: %q is for members of authorities; operator_admin runs this tenant", authz.Authority)
	}
	return sorted, nil
}

func names(roles []authz.Role) []string {
	out := make([]string, len(roles))
	for i, role := range roles {
		out[i] = string(role)
	}
	return out
}

// SetMember gives a member another name and other roles.
func (g *Guard) SetMember(ctx context.Context, actor string, tenant citygate.TenantID, subject, name string, roles []authz.Role) (Member, error) {
	roles, err := g.checkRoles(ctx, tenant, roles)
	if err != nil {
		return Member{}, err
	}
	var m Member
	err = g.changePolicy(ctx, tenant, func(tx *pg.Tx, before *snapshot) error {
		old, there := before.members[subject]
		if !there {
			return ErrNotFound.Because(nil, "member %s", subject)
		}
		m = old
		m.Name, m.Roles = name, roles
		if _, err := tx.Exec(ctx, of(tx, updateMember), tenant, subject, name, names(roles), tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "member.change", Object: subject, Before: memberAudit(old), After: memberAudit(m)})
	})
	return m, err
}

// RemoveMember takes a person out of a tenant: its tokens and API keys count no
// more. Removing it again changes nothing.
func (g *Guard) RemoveMember(ctx context.Context, actor string, tenant citygate.TenantID, subject string) error {
	return g.changePolicy(ctx, tenant, func(tx *pg.Tx, before *snapshot) error {
		old, there := before.members[subject]
		if !there {
			return ErrNotFound.Because(nil, "member %s", subject)
		}
		if _, err := tx.Exec(ctx, of(tx, deleteMember), tenant, subject); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "member.remove", Object: subject, Before: memberAudit(old)})
	})
}

// Members gives the people of a tenant by their subjects.
func (g *Guard) Members(ctx context.Context, tenant citygate.TenantID) (all []Member, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		all, err = members(ctx, tx)
		return err
	})
	return all, err
}

const (
	pageMembers = `SELECT subject, issuer, external, name, roles, added_by, added_at FROM access_members
		WHERE tenant_id = $1 AND subject > $2 AND ($3 = '' OR $3 = ANY(roles)) AND ($4 = '' OR issuer = $4) ORDER BY subject LIMIT $5`
	oneMember = `SELECT subject, issuer, external, name, roles, added_by, added_at FROM access_members WHERE tenant_id = $1 AND subject = $2`
)

// MembersAfter gives the people of a tenant behind a subject, those who have a role
// and sign in at an issuer, "" for any.
func (g *Guard) MembersAfter(ctx context.Context, tenant citygate.TenantID, role authz.Role, issuer, after string, limit int) (page []Member, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		page, err = membersBy(ctx, tx, pageMembers, tx.Tenant, after, string(role), issuer, limit)
		return err
	})
	return page, err
}

// Member gives one of a tenant's people, or [ErrNotFound].
func (g *Guard) Member(ctx context.Context, tenant citygate.TenantID, subject string) (m Member, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		found, err := membersBy(ctx, tx, oneMember, tx.Tenant, subject)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotFound.Because(nil, "member %s", subject)
		}
		m = found[0]
		return nil
	})
	return m, err
}

// Recover makes a person an administrator, or gives the person that role back:
// for the first one, and when the last one is locked out. It is for a command of
// whoever runs the installation, and the log says so.
func (g *Guard) Recover(ctx context.Context, actor string, tenant citygate.TenantID, m Member) (Member, error) {
	var err error
	if m.Subject, err = SubjectOf(tenant, m.Issuer, m.External); err != nil {
		return Member{}, err
	}
	admin, err := g.adminRole(ctx, tenant)
	if err != nil {
		return Member{}, err
	}
	err = g.changePolicy(ctx, tenant, func(tx *pg.Tx, before *snapshot) error {
		if m.Issuer != "" && !slices.ContainsFunc(before.issuers, func(i Issuer) bool { return i.Name == m.Issuer }) {
			return ErrNotFound.Explain("there is no issuer %q: add it first", m.Issuer)
		}
		old, there := before.members[m.Subject]
		entry := pg.AuditEntry{Actor: actor, Verb: "access.recover", Object: m.Subject}
		if !there {
			m.Roles, m.AddedBy, m.AddedAt = []authz.Role{admin}, actor, tx.Now
			_, err := tx.Exec(ctx, of(tx, insertMember), tenant, m.Subject, m.Issuer, m.External, m.Name, names(m.Roles), actor, tx.Now)
			if err != nil {
				return err
			}
		} else {
			m = old
			if !slices.Contains(m.Roles, admin) {
				m.Roles = append(slices.Clone(old.Roles), admin)
				slices.Sort(m.Roles)
			}
			if _, err := tx.Exec(ctx, of(tx, updateMember), tenant, m.Subject, m.Name, names(m.Roles), tx.Now); err != nil {
				return err
			}
			entry.Before = memberAudit(old)
		}
		entry.After = memberAudit(m)
		return tx.Audit(ctx, entry)
	})
	return m, err
}

// adminRole is the role that runs a tenant.
func (g *Guard) adminRole(ctx context.Context, tenant citygate.TenantID) (authz.Role, error) {
	if tenant == 0 {
		return authz.PlatformAdmin, nil
	}
	t, err := g.Directory.ByID(ctx, tenant)
	if err != nil {
		return "", err
	}
	if t.Kind == tenants.Authority {
		return authz.Authority, nil
	}
	return authz.OperatorAdmin, nil
}

// A RoleDefinition is a role of a tenant's own making.
type RoleDefinition struct {
	Role        authz.Role
	Permissions []authz.Permission
}

// PutRole makes a role of the tenant's own, or gives it other permissions.
func (g *Guard) PutRole(ctx context.Context, actor string, tenant citygate.TenantID, d RoleDefinition) error {
	texts := make([]string, len(d.Permissions))
	for i, p := range d.Permissions {
		if err := (authz.Grant{Role: d.Role, Permission: p}).Check(); err != nil {
			return err
		}
		texts[i] = p.String()
	}
	switch {
	case len(texts) == 0:
		return ErrInvalid.Explain("permissions: a role has at least one")
	case tenant == 0:
		return ErrInvalid.Explain("the platform has no roles of its own making: platform_admin and platform_auditor are all")
	}
	return g.changePolicy(ctx, tenant, func(tx *pg.Tx, _ *snapshot) error {
		if _, err := tx.Exec(ctx, upsertGrant, tenant, string(d.Role), texts, tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "role.put", Object: string(d.Role), After: texts})
	})
}

// RemoveRole takes a role of the tenant's own away. Members that have it are
// [ErrInUse].
func (g *Guard) RemoveRole(ctx context.Context, actor string, tenant citygate.TenantID, role authz.Role) error {
	return g.changePolicy(ctx, tenant, func(tx *pg.Tx, before *snapshot) error {
		for _, m := range before.members {
			if slices.Contains(m.Roles, role) {
				return ErrInUse.Explain("%s has the role %s", m.Subject, role)
			}
		}
		tag, err := tx.Exec(ctx, deleteGrant, tenant, string(role))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound.Because(nil, "role %s", role)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "role.remove", Object: string(role)})
	})
}

// OwnRoles gives the roles of a tenant's own making.
func (g *Guard) OwnRoles(ctx context.Context, tenant citygate.TenantID) (all []RoleDefinition, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		all = nil
		found, err := grants(ctx, tx)
		for _, grant := range found {
			if n := len(all); n == 0 || all[n-1].Role != grant.Role {
				all = append(all, RoleDefinition{Role: grant.Role})
			}
			last := &all[len(all)-1]
			last.Permissions = append(last.Permissions, grant.Permission)
		}
		return err
	})
	return all, err
}

// RevokeTokens takes back the access tokens of a subject, "" for everybody, that
// were made until now. Members may get new ones.
func (g *Guard) RevokeTokens(ctx context.Context, actor string, tenant citygate.TenantID, subject string) error {
	return g.change(ctx, tenant, func(tx *pg.Tx) error {
		var err error
		if tenant == 0 {
			_, err = tx.Exec(ctx, revokePlatformTokens, subject, tx.Now, tx.Now.Add(tokenLongest))
		} else {
			if _, err = tx.Exec(ctx, forgetRevocations, tenant, tx.Now); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, revokeTokens, tenant, subject, tx.Now, tx.Now.Add(tokenLongest))
		}
		if err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "token.revoke", Object: subject, After: map[string]any{"until": tx.Now}})
	})
}
