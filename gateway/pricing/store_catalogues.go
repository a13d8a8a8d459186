package pricing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of PublishCatalogue.
var (
	ErrCatalogueExists = &citygate.Code{Name: "products.catalogue_exists", Kind: citygate.Conflict, Title: "The tenant has this version of its catalogue with other content. Publish the change as a new version."}
	ErrCatalogueDate   = &citygate.Code{Name: "products.catalogue_date", Kind: citygate.Invalid, Title: "A version of the catalogue must begin now or later and after all others, in the tenant's currency. Give a later time."}
)

// PublishCatalogue stores a version of what the tenant sells and gives, in force
// from an instant on. The same version with the same content and instant is no
// error.
func (e *Engine) PublishCatalogue(ctx context.Context, tx *pg.Tx, actor string, c *entitlement.Catalogue, from time.Time) error {
	from = from.UTC().Truncate(time.Millisecond)
	if err := c.Check(); err != nil {
		return err
	}
	home, err := e.home(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	if c.Currency != home.Currency {
		return ErrCatalogueDate.Explain("currency: %s, the tenant's is %s", c.Currency, home.Currency)
	}
	body, err := c.Encode()
	if err != nil {
		return err
	}
	// One publication of a tenant at a time.
	if _, err := tx.Exec(ctx, `
		INSERT INTO tariff_heads AS h (tenant_id, published_at) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET published_at = excluded.published_at`, int64(tx.Tenant), tx.Now); err != nil {
		return err
	}
	published, err := Catalogues(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range published {
		if p.Catalogue.Version == c.Version {
			old, err := p.Catalogue.Encode()
			if err != nil || string(old) != string(body) || !p.From.Equal(from) {
				return ErrCatalogueExists.Because(err, "version %d", c.Version)
			}
			return nil
		}
		if c.Version < p.Catalogue.Version || !from.After(p.From) {
			return ErrCatalogueDate.Explain("version %d from %s; version %d begins at %s", c.Version, from.Format(time.RFC3339), p.Catalogue.Version, p.From.Format(time.RFC3339))
		}
	}
	if from.Before(tx.Now.Truncate(time.Millisecond)) {
		return ErrCatalogueDate.Explain("%s is past", from.Format(time.RFC3339))
	}
	digest := sha256.Sum256(body)
	if _, err := tx.Exec(ctx, `
		INSERT INTO product_catalogues (tenant_id, version, valid_from, body, digest, created_at) VALUES ($1, $2, $3, $4::json, $5, $6)
		ON CONFLICT (tenant_id, version) DO NOTHING`, int64(tx.Tenant), int64(c.Version), from, string(body), digest[:], tx.Now); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "products.publish", Object: "products",
		After: map[string]any{"version": c.Version, "valid_from": from, "digest": hex.EncodeToString(digest[:])}})
}

// A PublishedCatalogue is one version of a tenant's catalogue.
type PublishedCatalogue struct {
	From      time.Time
	Catalogue *entitlement.Catalogue
}

// Catalogues gives every version of the tenant's catalogue, the first one first.
func Catalogues(ctx context.Context, tx *pg.Tx, page ...pg.Span) ([]PublishedCatalogue, error) {
	rows, err := tx.Query(ctx, `SELECT body::text, valid_from FROM product_catalogues WHERE tenant_id = $1`+pg.InSpan, pg.Of(tx.Tenant, page...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p PublishedCatalogue, err error) {
		var body string
		if err := r.Scan(&body, &p.From); err != nil {
			return p, err
		}
		p.From = p.From.UTC()
		p.Catalogue, err = entitlement.ParseCatalogue([]byte(body))
		return p, err
	})
}

// CatalogueAt gives the version of the tenant's catalogue in force at an instant,
// or nil.
func CatalogueAt(ctx context.Context, tx *pg.Tx, at time.Time) (*entitlement.Catalogue, error) {
	var body string
	err := tx.QueryRow(ctx, `SELECT body::text FROM product_catalogues WHERE tenant_id = $1 AND valid_from <= $2 ORDER BY valid_from DESC LIMIT 1`,
		int64(tx.Tenant), at).Scan(&body)
	if pg.IsNoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return entitlement.ParseCatalogue([]byte(body))
}

// sellsFrom gives the instant (unix milliseconds) from which on riders may hold
// what a catalogue has, or never: their rides are priced together from then on.
func sellsFrom(ctx context.Context, tx *pg.Tx) (int64, error) {
	var from *time.Time
	err := tx.QueryRow(ctx, `SELECT min(valid_from) FROM product_catalogues WHERE tenant_id = $1`, int64(tx.Tenant)).Scan(&from)
	if err != nil || from == nil {
		return never, err
	}
	return from.UnixMilli(), nil
}
