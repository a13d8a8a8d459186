package pricing

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// RightPrefix is what ids of rights carry.
const RightPrefix = "rgt_"

// The refusals of giving and ending rights.
var (
	ErrRight   = &citygate.Code{Name: "rights.not_given", Kind: citygate.Invalid, Title: "This right cannot be given. Look at the named field."}
	ErrNoRight = &citygate.Code{Name: "rights.not_found", Kind: citygate.NotFound, Title: "No such right is in force. List the rider's rights."}
	ErrBought  = &citygate.Code{Name: "rights.bought", Kind: citygate.Conflict, Title: "The rider paid for this product. Refund the sale in place of ending the right."}
)

// rights are what a rider holds: holdings ascending by id, and proofs.
type rights struct {
	holdings []entitlement.Holding
	proofs   []fare.Proof
	erased   entitlement.Uses // what rides used up whose rider is erased
}

// asksRights reports whether some version knows products or categories that
// must be proved.
func (l priceList) asksRights() bool {
	return slices.ContainsFunc(l, func(v *version) bool { return len(v.tariff.Products)+len(v.tariff.Categories.Proof) > 0 })
}

// A Grant gives a rider a right from an instant on, which may not be past: rides
// that are priced already stay as they are. Exactly one of Product, an id of the
// catalogue or the tariff in force at From, and Category is set; Until ends a proof.
type Grant struct {
	Rider    citygate.Rider
	Product  string
	Category fare.Category
	From     time.Time // zero = now
	Until    time.Time // of a proof; zero = without end
	Evidence string    // what was shown for it: a reference, not a document
}

// GiveRight stores a grant and gives its id. A product given costs nothing here;
// stored value is money and cannot be given.
func (e *Engine) GiveRight(ctx context.Context, tx *pg.Tx, actor string, g Grant) (citygate.UUID, error) {
	from := g.From
	if from.IsZero() {
		from = tx.Now
	}
	from = from.UTC().Truncate(time.Millisecond)
	if from.Before(tx.Now.Truncate(time.Millisecond)) {
		return citygate.UUID{}, ErrRight.Explain("from: a right begins now or later, not at %s", from.Format(time.RFC3339))
	}
	if (g.Product == "") == (g.Category == "") {
		return citygate.UUID{}, ErrRight.Explain("a right is a product or a category, one of them")
	}
	kind, name := "holding", g.Product
	if g.Category != "" {
		kind, name = "proof", string(g.Category)
	}
	id := ledger.DeriveID(tx.Now, "right", tx.Tenant.String(), g.Rider.String(), kind, name, from.Format(time.RFC3339Nano), g.Evidence)
	var body any
	var until int64
	if kind == "proof" {
		proof := fare.Proof{Category: g.Category, From: from.UnixMilli()}
		if !g.Until.IsZero() {
			proof.Until = g.Until.UnixMilli()
		}
		if err := e.checkProof(ctx, tx, &proof); err != nil {
			return citygate.UUID{}, err
		}
		body, until = proof, proof.Until
	} else {
		product, err := e.given(ctx, tx, g.Product, from)
		if err != nil {
			return citygate.UUID{}, err
		}
		h := product.Hold(id, from)
		body, until = h, h.Until
	}
	fresh, err := insertRight(ctx, tx, right{id: id, rider: g.Rider, kind: kind, name: name, body: body, evidence: g.Evidence, from: from, until: until})
	if err != nil || !fresh {
		return id, err
	}
	return id, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "right.give", Object: id.Text(RightPrefix), After: map[string]any{"kind": kind, "name": name, "valid_from": from}})
}

// checkProof refuses a category that the tariff does not want proved.
func (e *Engine) checkProof(ctx context.Context, tx *pg.Tx, p *fare.Proof) error {
	prices, err := e.priceList(ctx, tx)
	if err != nil {
		return err
	}
	tariff := prices.at(p.From)
	switch {
	case tariff == nil:
		return ErrRight.Explain("no tariff is valid when the right begins")
	case tariff.Categories.Proof[p.Category] == "":
		return ErrRight.Explain("category: the tariff has no category %q that must be proved", p.Category)
	case p.Until != 0 && p.Until <= p.From:
		return ErrRight.Explain("until: a proof ends after it begins")
	}
	return nil
}

// given finds a product that can be given at an instant: of the catalogue, or of
// the tariff.
func (e *Engine) given(ctx context.Context, tx *pg.Tx, id string, at time.Time) (*entitlement.Product, error) {
	catalogue, err := CatalogueAt(ctx, tx, at)
	if err != nil {
		return nil, err
	}
	var found *entitlement.Product
	if catalogue != nil {
		if o := catalogue.Offer(id); o != nil {
			found = &o.Product
		}
	}
	if found == nil {
		prices, err := e.priceList(ctx, tx)
		if err != nil {
			return nil, err
		}
		if tariff := prices.at(at.UnixMilli()); tariff != nil {
			if i := slices.IndexFunc(tariff.Products, func(p entitlement.Product) bool { return p.ID == id }); i >= 0 {
				found = &tariff.Products[i]
			}
		}
	}
	if found == nil || found.Kind == entitlement.StoredValue {
		return nil, ErrRight.Explain("product: neither the catalogue nor the tariff has a product %q that can be given", id)
	}
	return found, nil
}

// A right is one row of fare_rights; until is unix milliseconds, 0 = without end.
type right struct {
	id         citygate.UUID
	rider      citygate.Rider
	kind, name string
	body       any
	evidence   string
	from       time.Time
	until      int64
}

func insertRight(ctx context.Context, tx *pg.Tx, r right) (fresh bool, err error) {
	body, err := json.Marshal(r.body)
	if err != nil {
		return false, err
	}
	var until *time.Time
	if r.until != 0 {
		at := time.UnixMilli(r.until).UTC()
		until = &at
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO fare_rights (tenant_id, right_id, issuer, list, idx, kind, name, body, evidence, valid_from, valid_until, granted_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json, $9, $10, $11, $12) ON CONFLICT (tenant_id, right_id) DO NOTHING`,
		int64(tx.Tenant), r.id, int32(r.rider.Issuer), int32(r.rider.List), int64(r.rider.Index), r.kind, r.name, string(body), r.evidence, r.from, until, tx.Now)
	return err == nil && tag.RowsAffected() == 1, err
}

// EndRight ends a right now. Rides that began before keep it.
func EndRight(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID) error {
	var bought bool
	err := tx.QueryRow(ctx, `SELECT kind = 'holding' AND coalesce((body ->> 'paid')::bigint, 0) > 0 FROM fare_rights WHERE tenant_id = $1 AND right_id = $2`,
		int64(tx.Tenant), id).Scan(&bought)
	if err != nil && !pg.IsNoRows(err) {
		return err
	}
	if bought {
		return ErrBought.Explain("right %s", id.Text(RightPrefix))
	}
	tag, err := tx.Exec(ctx, `
		UPDATE fare_rights SET valid_until = greatest(valid_from, $3) WHERE tenant_id = $1 AND right_id = $2 AND (valid_until IS NULL OR valid_until > $3)`,
		int64(tx.Tenant), id, tx.Now.UTC().Truncate(time.Millisecond))
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrNoRight.Explain("no right %s is in force", id.Text(RightPrefix))
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "right.end", Object: id.Text(RightPrefix)})
}

// rightsOf gives what riders hold and have proved.
func rightsOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]rights, error) {
	issuers, lists, indices := riderColumns(riders)
	rows, err := tx.Query(ctx, `
		SELECT r.issuer, r.list, r.idx, r.kind, r.body, r.valid_until FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT issuer, list, idx, right_id, kind, body::text, valid_until FROM fare_rights
			WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx OFFSET 0) AS r
		ORDER BY r.right_id`, int64(tx.Tenant), issuers, lists, indices)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.Rider]rights)
	var issuer, list int32
	var index int64
	var kind, body string
	var until *time.Time
	_, err = pgx.ForEachRow(rows, []any{&issuer, &list, &index, &kind, &body, &until}, func() error {
		rider := citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(index)}
		r := out[rider]
		var ends int64
		if until != nil {
			ends = until.UnixMilli()
		}
		if kind == "proof" {
			var p fare.Proof
			if err := json.Unmarshal([]byte(body), &p); err != nil {
				return err
			}
			p.Until = ends
			r.proofs = append(r.proofs, p)
		} else {
			var h entitlement.Holding
			if err := json.Unmarshal([]byte(body), &h); err != nil {
				return err
			}
			if ends != h.Until {
				h.Ended = ends
			}
			r.holdings = append(r.holdings, h)
		}
		out[rider] = r
		return nil
	})
	return out, err
}

// readRights reads the rights of the riders of changes, where a tariff asks for any.
func (r *run) readRights(ctx context.Context, changes []change) error {
	r.rights = nil
	if r.sellsFrom == never && !r.prices.asksRights() || len(changes) == 0 {
		return nil
	}
	riders := make([]citygate.Rider, len(changes))
	for i := range changes {
		riders[i] = changes[i].built.Rider
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	var err error
	if r.rights, err = rightsOf(ctx, r.tx, slices.Compact(riders)); err != nil {
		return err
	}
	return addErased(ctx, r.tx, r.rights)
}
