package risk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of Publish.
var (
	ErrTermsExist = &citygate.Code{Name: "risk.terms_exist", Kind: citygate.Conflict, Title: "The tenant has this version of risk terms with other content. Publish the change as a new version."}
	ErrTermsDate  = &citygate.Code{Name: "risk.terms_date", Kind: citygate.Invalid, Title: "A version of risk terms must begin in the future and after all others. Give a later time."}
)

// A Published is one version of a tenant's terms.
type Published struct {
	From  time.Time
	Terms *Terms
}

// Publish stores a version of the tenant's terms, in force from an instant on.
// The same version with the same content and instant is no error.
func Publish(ctx context.Context, tx *pg.Tx, actor string, t *Terms, from time.Time) error {
	if err := t.check(); err != nil {
		return ErrTerms.Explain("%v", err)
	}
	if err := t.applied(); err != nil {
		return ErrTerms.Explain("%v", err)
	}
	from = from.UTC().Truncate(time.Millisecond)
	body, err := t.Encode()
	if err != nil {
		return err
	}
	all, err := Versions(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Terms.Version == t.Version {
			old, err := p.Terms.Encode()
			if err != nil || string(old) != string(body) || !p.From.Equal(from) {
				return ErrTermsExist.Because(err, "version %d", t.Version)
			}
			return nil
		}
		if t.Version < p.Terms.Version || !from.After(p.From) {
			return ErrTermsDate.Explain("version %d from %s; version %d begins at %s", t.Version, from.Format(time.RFC3339), p.Terms.Version, p.From.Format(time.RFC3339))
		}
	}
	if from.Before(tx.Now) {
		return ErrTermsDate.Explain("%s is past", from.Format(time.RFC3339))
	}
	if _, err := tx.Exec(ctx, `INSERT INTO risk_terms (tenant_id, version, valid_from, body, created_at) VALUES ($1, $2, $3, $4::json, $5)`,
		int64(tx.Tenant), int64(t.Version), from, string(body), tx.Now); err != nil {
		if pg.SQLState(err) == pg.StateUniqueViolation { // somebody else published at once
			return ErrTermsExist.Because(err, "version %d", t.Version)
		}
		return err
	}
	digest := sha256.Sum256(body)
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "risk_terms.publish", Object: "risk_terms",
		After: map[string]any{"version": t.Version, "valid_from": from, "digest": hex.EncodeToString(digest[:])}})
}

// applied refuses what nothing acts on: terms in force that are not followed are
// worse than none.
func (t *Terms) applied() error {
	for i := range t.Contracts {
		c := &t.Contracts[i]
		switch {
		case c.Liability != "":
			return fmt.Errorf("contract %s: liability: who bears a debt is decided by the liability rules of the rule set; leave it out", c.Name)
		case c.FirstRide != 0 && c.Unblock == OnApproval:
			return fmt.Errorf("contract %s: first_ride_minor with unblock approval: once the scheme has paid nothing is left that could be approved, and the rider would stay blocked for ever; choose unblock payment", c.Name)
		}
	}
	return t.lateApplied()
}

// lateApplied is [Terms.applied] of lines about records: a tap that comes late is
// money of its rider or is not taken, and no other is asked for it; one of a code
// that had run out, or of a denied credential, is never taken.
func (t *Terms) lateApplied() error {
	for i, l := range t.Late {
		late := l.Records == LateRecords
		switch {
		case late && l.Bearer == Operator && l.Days == 0:
			return fmt.Errorf("late %d: after_days of records that the operator bears begins at 1", i+1)
		case late && l.Bearer != Rider && l.Bearer != Operator:
			return fmt.Errorf("late %d: late records are borne by the rider or, from a day on, by the operator, whose readers brought them late; nobody asks the %s for them", i+1, l.Bearer)
		case !late && l.Bearer != Operator:
			return fmt.Errorf("late %d: records of kind %s are refused at upload, so the operator bears them and not the %s", i+1, l.Records, l.Bearer)
		}
	}
	return nil
}

// InForce gives the version that holds at an instant, of versions in their order:
// the zero Terms before the first.
func InForce(versions []Published, at time.Time) *Terms {
	in := &Terms{}
	for i := range versions {
		if !versions[i].From.After(at) {
			in = versions[i].Terms
		}
	}
	return in
}

// Versions gives every version of the tenant's terms, the first one first.
func Versions(ctx context.Context, tx *pg.Tx, page ...pg.Span) ([]Published, error) {
	rows, err := tx.Query(ctx, `SELECT body::text, valid_from FROM risk_terms WHERE tenant_id = $1`+pg.InSpan, pg.Of(tx.Tenant, page...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Published, err error) {
		var body string
		if err := r.Scan(&body, &p.From); err != nil {
			return p, err
		}
		p.From = p.From.UTC()
		p.Terms, err = Parse([]byte(body))
		return p, err
	})
}

// A Book reads terms. Versions never change and are read once. Its zero value is
// ready, and safe for concurrent use.
type Book struct {
	mu    sync.Mutex
	terms map[key]*Terms
}

type key struct {
	tenant  citygate.TenantID
	version int64
}

// At gives the terms in force for the transaction's tenant at an instant; the
// zero terms before its first version.
func (b *Book) At(ctx context.Context, tx *pg.Tx, at time.Time) (*Terms, error) {
	var version int64
	err := tx.QueryRow(ctx, `SELECT version FROM risk_terms WHERE tenant_id = $1 AND valid_from <= $2 ORDER BY valid_from DESC LIMIT 1`,
		int64(tx.Tenant), at).Scan(&version)
	if pg.IsNoRows(err) {
		return &Terms{}, nil
	}
	if err != nil {
		return nil, err
	}
	k := key{tx.Tenant, version}
	b.mu.Lock()
	t := b.terms[k]
	b.mu.Unlock()
	if t != nil {
		return t, nil
	}
	var body string
	if err := tx.QueryRow(ctx, `SELECT body::text FROM risk_terms WHERE tenant_id = $1 AND version = $2`, int64(tx.Tenant), version).Scan(&body); err != nil {
		return nil, err
	}
	if t, err = Parse([]byte(body)); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terms == nil {
		b.terms = make(map[key]*Terms)
	}
	b.terms[k] = t
	return t, nil
}
