package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) salesAPI() edge.Sales {
	return edge.Sales{
		Catalogues: g.catalogues, Publish: byHand(g, manifest.KindProducts, g.publishCatalogue),
		Rights: g.rights, Give: g.giveRight, EndRight: g.endRight,
		List: g.listSales, Find: g.findSale, Sell: g.sell, Refund: g.refundSale,
		RiderOffers: g.riderOffers, RiderBuys: g.riderBuys, RiderHolds: g.riderHolds, RiderRefund: g.riderRefund,
	}
}

// soldTo tells the desk of sales what becomes of purchases.
type soldTo struct{ g *Gateway }

func (s soldTo) Paid(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) error {
	return s.g.Sales.Paid(ctx, tx, ids)
}

func (s soldTo) Declined(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) error {
	return s.g.Sales.Declined(ctx, tx, ids)
}

func (s soldTo) Returned(ctx context.Context, tx *pg.Tx, sale citygate.UUID, succeeded bool) error {
	return s.g.Sales.Returned(ctx, tx, sale, succeeded)
}

func (s soldTo) End(ctx context.Context, tx *pg.Tx, sale citygate.UUID) (collect.Worth, error) {
	return s.g.Sales.End(ctx, tx, sale)
}

func (s soldTo) Changed(ctx context.Context, tx *pg.Tx, limit int) ([]citygate.UUID, error) {
	return s.g.Sales.Changed(ctx, tx, limit)
}

// buyer gives who pays for what a rider buys: nobody for a rider of another tenant,
// or one whose account is closed.
func buyer(ctx context.Context, tx *pg.Tx, rider citygate.Rider) (collect.Account, error) {
	found, err := accounts{credential.Denier{Actor: "system:sales"}, &payers{}}.AccountsOf(ctx, tx, []citygate.Rider{rider})
	if err != nil || found[rider].ID.IsZero() {
		return collect.Account{}, err
	}
	a, err := credential.AccountByID(ctx, tx, found[rider].ID)
	if err != nil || a.State != credential.Active {
		return collect.Account{}, err
	}
	return found[rider], err
}

func (g *Gateway) catalogues(ctx context.Context, tenant citygate.TenantID, page pg.Span) (list []edge.Catalogue, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.Catalogues(ctx, tx, page)
		if err != nil {
			return err
		}
		list = make([]edge.Catalogue, len(found))
		for i, v := range found {
			if list[i].Catalogue, err = v.Catalogue.Encode(); err != nil {
				return err
			}
			list[i].From = v.From
		}
		return nil
	})
	return list, err
}

func (g *Gateway) publishCatalogue(ctx context.Context, actor string, tenant citygate.TenantID, c edge.Catalogue) error {
	catalogue, err := entitlement.ParseCatalogue(c.Catalogue)
	if err != nil {
		return err
	}
	return g.PublishCatalogue(ctx, actor, tenant, catalogue, c.From)
}

// PublishCatalogue publishes a version of what a tenant sells and gives, in force
// from an instant on, from now on for the zero time.
func (g *Gateway) PublishCatalogue(ctx context.Context, actor string, tenant citygate.TenantID, c *entitlement.Catalogue, from time.Time) error {
	if err := g.may(ctx, tenant, tenants.Configuring); err != nil {
		return err
	}
	if err := g.hold(ctx); err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		at := from
		if at.IsZero() {
			at = tx.Now
		}
		return g.Pricing.PublishCatalogue(ctx, tx, actor, c, at)
	})
}

func rightView(r *pricing.Right) edge.Right {
	v := edge.Right{ID: r.ID.Text(pricing.RightPrefix), Kind: "proof", Category: r.Name, From: r.From, Until: orNever(r.Until), Evidence: r.Evidence,
		GrantedAt: r.GrantedAt, Used: r.Used, RidesLeft: r.RidesLeft, ValueLeft: r.ValueLeft}
	if h := r.Holding; h != nil {
		v.Kind, v.Category, v.Product = string(h.Kind), "", r.Name
		if h.Paid > 0 {
			v.Sale = h.ID.Text(sales.Prefix)
		}
	}
	return v
}

func rightsOf(ctx context.Context, tx *pg.Tx, rider citygate.Rider, page edge.Page) ([]edge.Right, error) {
	found, err := pricing.RightsOf(ctx, tx, rider, page.After, page.Limit)
	list := make([]edge.Right, len(found))
	for i := range found {
		list[i] = rightView(&found[i])
	}
	return list, err
}

func (g *Gateway) rights(ctx context.Context, tenant citygate.TenantID, rider citygate.Rider, page edge.Page) (list []edge.Right, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		list, err = rightsOf(ctx, tx, rider, page)
		return err
	})
	return list, err
}

func (g *Gateway) giveRight(ctx context.Context, actor string, tenant citygate.TenantID, rider citygate.Rider, r edge.GiveRight) (given edge.Given, err error) {
	if err := g.hold(ctx); err != nil {
		return given, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		id, err := g.Pricing.GiveRight(ctx, tx, actor, pricing.Grant{
			Rider: rider, Product: r.Product, Category: fare.Category(r.Category), From: r.From, Until: r.Until, Evidence: r.Evidence,
		})
		given.ID = id.Text(pricing.RightPrefix)
		return err
	})
	return given, err
}

func (g *Gateway) endRight(ctx context.Context, actor string, tenant citygate.TenantID, right citygate.UUID) error {
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return pricing.EndRight(ctx, tx, actor, right) })
}

func saleView(s *sales.Sale) edge.Sale {
	v := edge.Sale{
		ID: s.ID.Text(sales.Prefix), Rider: s.Rider.String(), Order: s.Order, Product: s.Offer.ID, Name: s.Offer.Name, Kind: string(s.Offer.Kind), Price: s.Price,
		SoldBy: string(s.SoldBy), State: s.State, Contract: s.Contract, AskedAt: s.AskedAt, PaidAt: orNever(s.PaidAt), HeldAt: orNever(s.HeldAt),
		EndedAt: orNever(s.EndedAt), ClosesAt: orNever(s.ClosesAt),
	}
	if s.Refund > 0 {
		v.Refund = &citygate.Money{Minor: s.Refund, Currency: s.Price.Currency}
	}
	if s.LeftOver > 0 {
		v.LeftOver = &citygate.Money{Minor: s.LeftOver, Currency: s.Price.Currency}
	}
	return v
}

// ownSale is a sale as its rider sees it.
func ownSale(s *sales.Sale) edge.Sale {
	v := saleView(s)
	v.Rider, v.Contract = "", ""
	return v
}

func (g *Gateway) listSales(ctx context.Context, tenant citygate.TenantID, rider citygate.Rider, state string, page edge.Page) (list []edge.Sale, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := sales.List(ctx, tx, rider, state, page.After, page.Limit)
		list = make([]edge.Sale, len(found))
		for i := range found {
			list[i] = saleView(&found[i])
		}
		return err
	})
	return list, err
}

func (g *Gateway) findSale(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (v edge.Sale, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		s, err := sales.Find(ctx, tx, id)
		v = saleView(&s)
		return err
	})
	return v, err
}

func (g *Gateway) sell(ctx context.Context, actor string, tenant citygate.TenantID, rider citygate.Rider, o edge.OrderProduct) (v edge.Sale, err error) {
	s, err := g.Sell(ctx, actor, tenant, sales.Order{Rider: rider, Product: o.Product, Name: o.Order, By: entitlement.ByOperator})
	return saleView(&s), err
}

// Sell sells a rider a product of the tenant's catalogue.
func (g *Gateway) Sell(ctx context.Context, actor string, tenant citygate.TenantID, o sales.Order) (s sales.Sale, err error) {
	if err := g.hold(ctx); err != nil {
		return s, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		s, err = g.Sales.Buy(ctx, tx, actor, o)
		return err
	})
	return s, err
}

func (g *Gateway) refundSale(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, reason string) (v edge.Sale, err error) {
	s, err := g.RefundSale(ctx, actor, tenant, id, reason)
	return saleView(&s), err
}

// RefundSale gives back what a product's rule allows.
func (g *Gateway) RefundSale(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, reason string) (s sales.Sale, err error) {
	if err := g.hold(ctx); err != nil {
		return s, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		s, err = g.Sales.Refund(ctx, tx, actor, id, reason)
		return err
	})
	return s, err
}

func (g *Gateway) riderOffers(ctx context.Context, tenant citygate.TenantID, raw []byte) (list []edge.OfferedProduct, err error) {
	err = g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) error {
		found, currency, err := g.Sales.Offers(ctx, tx, rider, entitlement.ByRider)
		list = make([]edge.OfferedProduct, len(found))
		for i, o := range found {
			refund := o.Refund
			if refund == "" {
				refund = entitlement.RefundUnused
			}
			list[i] = edge.OfferedProduct{Product: o.ID, Name: o.Name, Kind: string(o.Kind), Price: citygate.Money{Minor: o.Price, Currency: currency},
				Rides: o.Rides, Value: o.Value, Days: o.Days, Minutes: o.Minutes, FirstUse: o.FirstUse, WithinDay: o.Within, Refund: string(refund)}
		}
		return err
	})
	return list, err
}

func (g *Gateway) riderBuys(ctx context.Context, tenant citygate.TenantID, raw []byte, o edge.OrderProduct) (v edge.Sale, err error) {
	err = g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) error {
		s, err := g.Sales.Buy(ctx, tx, "rider", sales.Order{Rider: rider, Product: o.Product, Name: o.Order, By: entitlement.ByRider})
		v = ownSale(&s)
		return err
	})
	return v, err
}

// ownMost is how much of what a rider holds is told at once.
const ownMost = 200

func (g *Gateway) riderHolds(ctx context.Context, tenant citygate.TenantID, raw []byte) (v edge.Holdings, err error) {
	err = g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) (err error) {
		if v.Rights, err = rightsOf(ctx, tx, rider, edge.Page{Limit: ownMost}); err != nil {
			return err
		}
		for i := range v.Rights {
			v.Rights[i].Evidence = "" // the tenant's own note
		}
		found, err := sales.List(ctx, tx, rider, "", citygate.UUID{}, ownMost)
		v.Sales = make([]edge.Sale, len(found))
		for i := range found {
			v.Sales[i] = ownSale(&found[i])
		}
		return err
	})
	return v, err
}

func (g *Gateway) riderRefund(ctx context.Context, tenant citygate.TenantID, raw []byte, id citygate.UUID) (v edge.Sale, err error) {
	err = g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) error {
		s, err := sales.Find(ctx, tx, id)
		if err == nil && s.Rider != rider {
			err = sales.ErrNotFound.Because(nil, "sale %s is another rider's", id)
		}
		if err != nil {
			return err
		}
		s, err = g.Sales.Refund(ctx, tx, "rider", id, "asked by the rider")
		v = ownSale(&s)
		return err
	})
	return v, err
}
