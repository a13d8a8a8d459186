package policies

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/jackc/pgx/v5"
)

// Publish stores rules as the tenant's next version; the same version with the
// same content again changes nothing. Other fields after a rule set are [ErrRuleSet].
func Publish(ctx context.Context, db *pg.DB, actor string, rules *accept.Rules) error {
	body, err := rules.Encode()
	if err != nil {
		return err
	}
	return db.InTenant(ctx, rules.Tenant, func(tx *pg.Tx) error {
		var last uint64
		var stored []byte
		err := tx.QueryRow(ctx, `SELECT version, body FROM policies WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1`, rules.Tenant).Scan(&last, &stored)
		switch {
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return err
		case last == rules.Version && bytes.Equal(stored, body):
			return nil
		case rules.Version != last+1:
			return ErrVersion.Explain("the tenant's last version is %d", last)
		}
		if err := mayFollow(ctx, tx, last); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, insertVersion, rules.Tenant, int64(rules.Version), body, tx.Now, time.UnixMilli(rules.From))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrVersion.Explain("version %d was published by somebody else at the same moment", rules.Version)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "policy.publish", Object: "accept", After: rules})
	})
}

// mayFollow refuses what is not a rule set after a version that is one.
func mayFollow(ctx context.Context, tx *pg.Tx, last uint64) error {
	var set bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM rule_sets WHERE tenant_id = $1 AND version = $2)`, tx.Tenant, int64(last)).Scan(&set)
	if err == nil && set {
		err = ErrRuleSet.Explain("version %d is a rule set", last)
	}
	return err
}

// MayPublishFields says whether the tenant's next version may be fields without a
// rule set: nil, or [ErrRuleSet].
func MayPublishFields(ctx context.Context, db *pg.DB, tenant citygate.TenantID) error {
	return db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		last, err := lastOf(ctx, tx)
		if err != nil {
			return err
		}
		return mayFollow(ctx, tx, last.Version)
	})
}

// Latest gives the tenant's newest acceptance rules, or [ErrNone].
func Latest(ctx context.Context, db *pg.DB, tenant citygate.TenantID) (*accept.Rules, error) {
	return read(ctx, db, tenant, `SELECT body FROM policies WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1`, tenant)
}

// Version gives one version of the tenant's acceptance rules, or [ErrNone].
func Version(ctx context.Context, db *pg.DB, tenant citygate.TenantID, version uint64) (*accept.Rules, error) {
	return read(ctx, db, tenant, `SELECT body FROM policies WHERE tenant_id = $1 AND version = $2`, tenant, version)
}

func read(ctx context.Context, db *pg.DB, tenant citygate.TenantID, sql string, args ...any) (*accept.Rules, error) {
	var body []byte
	err := db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, sql, args...).Scan(&body)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNone.Because(nil, "tenant %d", tenant)
	}
	if err != nil {
		return nil, err
	}
	return accept.Parse(body)
}
