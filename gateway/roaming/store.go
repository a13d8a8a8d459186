package roaming

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// aheadMax bounds how long before their effect terms may be agreed on, and how
// long after it they may be ended.
const aheadMax = 366 * 24 * time.Hour

const columns = `issuer_id, host_id, version, terms, currency, asked_from, proposer_id, proposed_by, proposed_at,
	coalesce(agreed_by, ''), agreed_at, effective_at, coalesce(ender_id, 0), coalesce(ended_by, ''), ended_at, ends_at`

func scan(row pgx.CollectableRow) (v Version, err error) {
	var terms []byte
	var asked, agreed, effective, ended, ends *time.Time
	err = row.Scan(&v.Issuer, &v.Host, &v.Number, &terms, &v.Currency, &asked, &v.Proposer, &v.ProposedBy, &v.ProposedAt,
		&v.AgreedBy, &agreed, &effective, &v.Ender, &v.EndedBy, &ended, &ends)
	if err != nil {
		return v, err
	}
	v.ProposedAt = v.ProposedAt.UTC()
	for at, from := range map[*time.Time]*time.Time{&v.AskedFrom: asked, &v.AgreedAt: agreed, &v.EffectiveAt: effective, &v.EndedAt: ended, &v.EndsAt: ends} {
		if from != nil {
			*at = from.UTC()
		}
	}
	return v, json.Unmarshal(terms, &v.Terms)
}

// List gives all versions that the transaction's tenant is a party of.
func List(ctx context.Context, tx *pg.Tx) ([]Version, error) {
	return query(ctx, tx, `SELECT `+columns+` FROM platform.roaming_terms
		WHERE issuer_id = $1 OR host_id = $1 ORDER BY issuer_id, host_id, version`, tx.Tenant)
}

// Between gives the versions between an issuer and a host, the transaction's
// tenant being one of them.
func Between(ctx context.Context, tx *pg.Tx, issuer, host citygate.TenantID) ([]Version, error) {
	return query(ctx, tx, `SELECT `+columns+` FROM platform.roaming_terms
		WHERE issuer_id = $2 AND host_id = $3 AND $1 IN (issuer_id, host_id) ORDER BY version`, tx.Tenant, issuer, host)
}

func query(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Version, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// A Pair names who takes whose riders.
type Pair struct{ Issuer, Host citygate.TenantID }

func (p Pair) check(tenant citygate.TenantID) error {
	if p.Issuer == p.Host || p.Issuer <= 0 || p.Host <= 0 || tenant != p.Issuer && tenant != p.Host {
		return ErrInvalid.Explain("partner: want another tenant")
	}
	return nil
}

func (p Pair) object() string { return "roaming:" + p.Issuer.String() + "/" + p.Host.String() }

// Propose puts down the next version of the terms between two tenants, one of
// which is the transaction's. The same as what is proposed already changes
// nothing. That the other tenant exists is not asked: who agrees does.
func Propose(ctx context.Context, tx *pg.Tx, actor string, p Pair, terms Terms, from time.Time, currency citygate.Currency) (Version, error) {
	if err := errors.Join(p.check(tx.Tenant), terms.Check()); err != nil {
		return Version{}, err
	}
	if !from.IsZero() {
		if from = minute(from); from.Before(tx.Now.Add(-time.Minute)) || from.After(tx.Now.Add(aheadMax)) {
			return Version{}, ErrInvalid.Explain("from: want a time from now to a year from now")
		}
	}
	all, err := Between(ctx, tx, p.Issuer, p.Host)
	if err != nil {
		return Version{}, err
	}
	next := 1
	if n := len(all); n > 0 {
		last := all[n-1]
		if next = last.Number + 1; last.State(tx.Now) == "proposed" && last.Proposer == tx.Tenant && last.Terms.Equal(terms) && last.AskedFrom.Equal(from) {
			return last, nil
		}
	}
	v := Version{Issuer: p.Issuer, Host: p.Host, Number: next, Terms: terms.Sorted(), Currency: currency, AskedFrom: from, Proposer: tx.Tenant, ProposedBy: actor, ProposedAt: tx.Now.UTC()}
	body, err := json.Marshal(v.Terms)
	if err != nil {
		return Version{}, err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO platform.roaming_terms (issuer_id, host_id, version, terms, currency, asked_from, proposer_id, proposed_by, proposed_at)
		VALUES ($2, $3, $4, $5, $6, $7, $1, $8, $9) ON CONFLICT DO NOTHING`,
		tx.Tenant, p.Issuer, p.Host, v.Number, body, currency, optional(from), actor, tx.Now)
	if err != nil {
		return Version{}, err
	}
	if tag.RowsAffected() == 0 {
		return Version{}, ErrState.Explain("version %d was proposed at the same moment", v.Number)
	}
	return v, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "roaming.propose", Object: p.object(),
		After: map[string]any{"version": v.Number, "terms": v.Terms, "proposed_by": actor, "from": optional(from)}})
}

func optional(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// Agree is the transaction's tenant's word to what the other one proposed: the
// last version alone, which it names. currency is that of the transaction's
// tenant. Agreeing again changes nothing.
func Agree(ctx context.Context, tx *pg.Tx, actor string, p Pair, version int, currency citygate.Currency) (Version, error) {
	if err := p.check(tx.Tenant); err != nil {
		return Version{}, err
	}
	all, err := Between(ctx, tx, p.Issuer, p.Host)
	if err != nil {
		return Version{}, err
	}
	if version < 1 || version > len(all) {
		return Version{}, ErrNone
	}
	v := all[version-1]
	switch state := v.State(tx.Now); {
	case v.Proposer == tx.Tenant:
		return Version{}, ErrState.Explain("the tenant proposed these terms itself: the other one agrees")
	case state == "in_force" || state == "agreed":
		return v, nil
	case state != "proposed":
		return Version{}, ErrState.Explain("version %d is %s", version, state)
	case version != len(all):
		return Version{}, ErrState.Explain("version %d was proposed since", len(all))
	case v.Currency != currency:
		return Version{}, ErrCurrency.Explain("%s and %s", v.Currency, currency)
	}
	v.AgreedBy, v.AgreedAt = actor, tx.Now.UTC()
	if v.EffectiveAt = v.AskedFrom; v.EffectiveAt.Before(minute(tx.Now)) {
		v.EffectiveAt = minute(tx.Now)
	}
	tag, err := tx.Exec(ctx, `
		UPDATE platform.roaming_terms SET agreed_by = $5, agreed_at = $6, effective_at = $7
		WHERE issuer_id = $2 AND host_id = $3 AND version = $4 AND proposer_id <> $1 AND agreed_at IS NULL AND ends_at IS NULL`,
		tx.Tenant, p.Issuer, p.Host, version, actor, tx.Now, v.EffectiveAt)
	if err != nil {
		return Version{}, err
	}
	if tag.RowsAffected() == 0 {
		return Version{}, ErrState.Explain("version %d was agreed or withdrawn at the same moment", version)
	}
	return v, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "roaming.agree", Object: p.object(), After: map[string]any{
		"version": version, "terms": v.Terms, "proposer": v.Proposer, "proposed_by": v.ProposedBy, "agreed_by": actor, "effective_at": v.EffectiveAt}})
}

// End has everything between two tenants hold no longer than the notice of the
// newest terms, or than at if that is later, and withdraws what is only proposed.
// It gives the versions that it ended; none if all had ended before.
func End(ctx context.Context, tx *pg.Tx, actor string, p Pair, at time.Time) ([]Version, error) {
	if err := p.check(tx.Tenant); err != nil {
		return nil, err
	}
	all, err := Between(ctx, tx, p.Issuer, p.Host)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNone
	}
	if at.After(tx.Now.Add(aheadMax)) {
		return nil, ErrInvalid.Explain("at: want a time within a year")
	}
	ends := tx.Now
	for _, v := range all { // the longest notice of what is agreed and not ended
		if notice := tx.Now.AddDate(0, 0, int(v.Terms.NoticeDays)); !v.AgreedAt.IsZero() && v.EndsAt.IsZero() && notice.After(ends) {
			ends = notice
		}
	}
	if at.After(ends) {
		ends = at
	}
	ends = minute(ends)
	rows, err := tx.Query(ctx, `
		UPDATE platform.roaming_terms SET ender_id = $1, ended_by = $4, ended_at = $5, ends_at = CASE WHEN agreed_at IS NULL THEN $5::timestamptz ELSE $6::timestamptz END
		WHERE issuer_id = $2 AND host_id = $3 AND ends_at IS NULL AND $1 IN (issuer_id, host_id)
		RETURNING `+columns, tx.Tenant, p.Issuer, p.Host, actor, tx.Now, ends)
	if err != nil {
		return nil, err
	}
	ended, err := pgx.CollectRows(rows, scan)
	if err != nil || len(ended) == 0 {
		return nil, err
	}
	numbers := make([]int, len(ended))
	for i := range ended {
		numbers[i] = ended[i].Number
	}
	return ended, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "roaming.end", Object: p.object(), After: map[string]any{"versions": numbers, "ends_at": ends}})
}
