package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrNoDraft says that what was signed is not what waits for signatures.
var ErrNoDraft = &citygate.Code{Name: "fleet.no_draft", Kind: citygate.Conflict, Title: "That is not the bundle that waits for signatures: it was published or has changed. Prepare it again and have the roots sign that."}

const (
	selectDraft = `SELECT version, body FROM bundle_drafts WHERE tenant_id = $1`
	lockDraft   = `SELECT version, body FROM bundle_drafts WHERE tenant_id = $1 FOR UPDATE`
	upsertDraft = `
		INSERT INTO bundle_drafts (tenant_id, version, body, prepared_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version, body = excluded.body, prepared_at = excluded.prepared_at`
	deleteDraft   = `DELETE FROM bundle_drafts WHERE tenant_id = $1`
	deleteDraftOf = `DELETE FROM bundle_drafts WHERE tenant_id = $1 AND version = $2`
)

// Draft gives the bundle of an operator that waits for signatures of offline
// roots, or [ErrNoBundle].
func (p *Publisher) Draft(ctx context.Context, operator citygate.TenantID) (Published, error) {
	var got Published
	err := p.db.InTenant(ctx, operator, func(tx *pg.Tx) (err error) {
		got, err = drafted(ctx, tx)
		return err
	})
	return got, err
}

func drafted(ctx context.Context, tx *pg.Tx) (Published, error) { return draft(ctx, tx, selectDraft) }

func draft(ctx context.Context, tx *pg.Tx, sql string) (Published, error) {
	d := Published{Draft: true}
	err := tx.QueryRow(ctx, sql, tx.Tenant).Scan(&d.Version, &d.Body)
	if pg.IsNoRows(err) {
		return Published{}, ErrNoBundle.Explain("nothing of tenant %d waits for signatures", tx.Tenant)
	}
	if err != nil {
		return Published{}, err
	}
	b, _, err := bundle.Inspect(d.Body)
	if err != nil {
		return Published{}, err
	}
	d.IssuedAt, d.ExpiresAt, d.ETag = time.Unix(b.Issued, 0).UTC(), time.Unix(b.Expires, 0).UTC(), etag(d.Body)
	return d, nil
}

// discard drops a draft that is not wanted any more; none is fine.
func (p *Publisher) discard(ctx context.Context, operator citygate.TenantID, d Published) error {
	if d.Version == 0 {
		return nil
	}
	return p.db.InTenant(ctx, operator, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, deleteDraftOf, tx.Tenant, int64(d.Version))
		return err
	})
}

// Import takes the signatures that roots made elsewhere under the draft of the
// bundle's operator. Once the threshold holds the bundle is in force; until then
// they are kept and the answer is a draft. Only what was prepared here can be
// imported: roots that sign something else do not decide what is published.
func (p *Publisher) Import(ctx context.Context, actor string, raw []byte) (Published, error) {
	b, signers, err := bundle.Inspect(raw)
	if err != nil {
		return Published{}, err
	}
	if len(signers) == 0 {
		return Published{}, bundle.ErrUnderThreshold.Explain("nobody signed bundle %d", b.Number)
	}
	home, ok := b.Home()
	if !ok {
		return Published{}, bundle.ErrWrongTenant.Explain("bundle %d names no operator", b.Number)
	}
	roots, err := p.Roots(ctx)
	if err != nil {
		return Published{}, err
	}
	if b.RootSet().Version != roots.Version {
		return Published{}, ErrNoDraft.Explain("it was prepared under root set %d, now it is %d", b.RootSet().Version, roots.Version)
	}
	var got Published
	err = p.db.InTenant(ctx, home.ID, func(tx *pg.Tx) error {
		last, err := orNone(latest(ctx, tx))
		if err != nil {
			return err
		}
		if same, err := sameAs(last, b); err != nil || same {
			got = last // imported before
			return err
		}
		if got, err = draft(ctx, tx, lockDraft); errors.Is(err, ErrNoBundle) || err == nil && got.Version != b.Number {
			return ErrNoDraft.Explain("bundle %d of tenant %d", b.Number, home.ID)
		}
		if err != nil {
			return err
		}
		got, err = take(ctx, tx, actor, roots, last, got, raw)
		return err
	})
	return got, err
}

func sameAs(last Published, b *bundle.Bundle) (bool, error) {
	if last.Version != b.Number {
		return false, nil
	}
	at, err := digest(last.Body)
	return at == b.Digest(), err
}

// take unites the signatures of a draft with those of raw.
func take(ctx context.Context, tx *pg.Tx, actor string, roots bundle.RootSet, last, d Published, raw []byte) (Published, error) {
	var err error
	if d.Body, err = bundle.Merge(d.Body, raw); err != nil {
		return Published{}, ErrNoDraft.Because(err, "bundle %d of tenant %d", d.Version, tx.Tenant)
	}
	d.ETag = etag(d.Body)
	entry := pg.AuditEntry{Actor: actor, Verb: "bundle.sign", Object: "bundle", After: map[string]any{"version": d.Version, "etag": d.ETag}}
	_, err = bundle.Open(d.Body, roots.Roots, int(roots.Threshold), tx.Now.Unix(), 0)
	if errors.Is(err, bundle.ErrUnderThreshold) {
		if _, err := tx.Exec(ctx, upsertDraft, tx.Tenant, int64(d.Version), d.Body, tx.Now); err != nil {
			return Published{}, err
		}
		return d, tx.Audit(ctx, entry)
	}
	if err != nil {
		return Published{}, err
	}
	if d.Draft = false; last.Version > 0 {
		if err := follows(last, d); err != nil {
			return Published{}, err
		}
	}
	entry.Verb = "bundle.publish"
	kept, err := put(ctx, tx, entry, d)
	if err == nil && !kept {
		err = ErrNoDraft.Explain("bundle %d of tenant %d is there by now", d.Version, tx.Tenant)
	}
	return d, err
}
