package settle

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Terms say when windows close and are paid, counted from the end of their
// business date. A version never changes; another one holds for the business
// dates from its own on.
type Terms struct {
	Version    int
	From       citygate.Date
	CloseAfter time.Duration // late uploads still join their own day until then
	PayAfter   time.Duration // the provider's bill has come and was reconciled by then
}

// DefaultTerms hold where a tenant has set none: version 0.
func DefaultTerms() Terms { return Terms{CloseAfter: Grace, PayAfter: PayAfter} }

// The limits of terms.
const (
	closeMost = 7 * 24 * time.Hour
	payMost   = 31 * 24 * time.Hour
)

func (t Terms) check() error {
	switch {
	case t.Version <= 0:
		return ErrTerms.Explain("version %d: want the next number from 1", t.Version)
	case t.From == (citygate.Date{}):
		return ErrTerms.Explain("from: want the first business date they hold for")
	case t.CloseAfter < 0 || t.CloseAfter > closeMost || t.CloseAfter%time.Minute != 0:
		return ErrTerms.Explain("close_after: want whole minutes, at most %s", closeMost)
	case t.PayAfter < t.CloseAfter || t.PayAfter > payMost || t.PayAfter%time.Minute != 0:
		return ErrTerms.Explain("pay_after: want whole minutes, not before the close and at most %s", payMost)
	}
	return nil
}

// AddTerms adds the next version of the tenant's settlement terms. The same again
// changes nothing; another content under a version, or a version out of turn, is
// [ErrTerms], and so is a first date that has a window already: what a window's
// instants are was fixed when it was made. A window that is made while this
// transaction runs may still follow the former terms, and says so.
func AddTerms(ctx context.Context, tx *pg.Tx, actor string, t Terms) error {
	if err := t.check(); err != nil {
		return err
	}
	all, err := AllTerms(ctx, tx)
	if err != nil {
		return err
	}
	for _, old := range all {
		switch {
		case old == t:
			return nil
		case old.Version == t.Version:
			return ErrTerms.Explain("version %d says something else", t.Version)
		}
	}
	if want := len(all) + 1; t.Version != want {
		return ErrTerms.Explain("version %d: the next one is %d", t.Version, want)
	}
	last, err := lastWindow(ctx, tx)
	if err != nil {
		return err
	}
	if last.Compare(t.From) >= 0 {
		return ErrTerms.Explain("from %s: there are windows up to %s", t.From, last)
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO settlement_terms (tenant_id, version, from_date, close_minutes, pay_minutes, created_at)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, version) DO NOTHING`,
		tx.Tenant, t.Version, t.From, int(t.CloseAfter/time.Minute), int(t.PayAfter/time.Minute), tx.Now)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrTerms.Explain("version %d was added at the same moment", t.Version)
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "settlement.terms", Object: "terms", After: t})
}

// AllTerms lists the versions of the tenant's settlement terms, the first one
// first.
func AllTerms(ctx context.Context, tx *pg.Tx) ([]Terms, error) {
	return termsBy(ctx, tx, `SELECT version, from_date, close_minutes, pay_minutes FROM settlement_terms WHERE tenant_id = $1 ORDER BY version`, tx.Tenant)
}

// TermsAfter lists up to limit versions behind one, those that hold from before a
// business date, nil for any.
func TermsAfter(ctx context.Context, tx *pg.Tx, version int, until *citygate.Date, limit int) ([]Terms, error) {
	return termsBy(ctx, tx, `SELECT version, from_date, close_minutes, pay_minutes FROM settlement_terms
		WHERE tenant_id = $1 AND version > $2 AND ($3::date IS NULL OR from_date < $3) ORDER BY version LIMIT $4`, tx.Tenant, version, until, limit)
}

func termsBy(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]Terms, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Terms, err error) {
		err = row.Scan(&t.Version, &t.From, &t.CloseAfter, &t.PayAfter)
		t.CloseAfter, t.PayAfter = t.CloseAfter*time.Minute, t.PayAfter*time.Minute
		return t, err
	})
}

// termsOf gives the terms that hold for a business date: the last version that is
// not from later.
func termsOf(all []Terms, d citygate.Date) Terms {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].From.Compare(d) <= 0 {
			return all[i]
		}
	}
	return DefaultTerms()
}
