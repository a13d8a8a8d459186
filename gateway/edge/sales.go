package edge

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Sales is what the edge calls for products: what a tenant sells and gives, and
// what riders hold. code is a proof of the rider's, as for [Riders].
type Sales struct {
	Catalogues func(ctx context.Context, tenant citygate.TenantID, page pg.Span) ([]Catalogue, error)
	Publish    func(ctx context.Context, actor string, tenant citygate.TenantID, c Catalogue) error

	Rights   func(ctx context.Context, tenant citygate.TenantID, rider citygate.Rider, page Page) ([]Right, error)
	Give     func(ctx context.Context, actor string, tenant citygate.TenantID, rider citygate.Rider, r GiveRight) (Given, error)
	EndRight func(ctx context.Context, actor string, tenant citygate.TenantID, right citygate.UUID) error

	List   func(ctx context.Context, tenant citygate.TenantID, rider citygate.Rider, state string, page Page) ([]Sale, error)
	Find   func(ctx context.Context, tenant citygate.TenantID, sale citygate.UUID) (Sale, error)
	Sell   func(ctx context.Context, actor string, tenant citygate.TenantID, rider citygate.Rider, o OrderProduct) (Sale, error)
	Refund func(ctx context.Context, actor string, tenant citygate.TenantID, sale citygate.UUID, reason string) (Sale, error)

	RiderOffers func(ctx context.Context, tenant citygate.TenantID, code []byte) ([]OfferedProduct, error)
	RiderBuys   func(ctx context.Context, tenant citygate.TenantID, code []byte, o OrderProduct) (Sale, error)
	RiderHolds  func(ctx context.Context, tenant citygate.TenantID, code []byte) (Holdings, error)
	RiderRefund func(ctx context.Context, tenant citygate.TenantID, code []byte, sale citygate.UUID) (Sale, error)
}

// A Catalogue is one version of what a tenant sells and gives.
type Catalogue struct {
	From      time.Time       `json:"from,omitzero" doc:"now or later, and after all other versions; left out = now"`
	Catalogue json.RawMessage `json:"catalogue" doc:"the document of package entitlement: version, currency, products"`
}

// A Right is what a rider holds or has proved, and what is left of it.
type Right struct {
	ID        string     `json:"id" example:"rgt_0195e2…"`
	Kind      string     `json:"kind" enum:"zero_fare,pass,ticket,stored_value,proof"`
	Product   string     `json:"product,omitempty"`
	Category  string     `json:"category,omitempty" doc:"of a proof"`
	From      time.Time  `json:"from"`
	Until     *time.Time `json:"until,omitempty"`
	Evidence  string     `json:"evidence,omitempty"`
	GrantedAt time.Time  `json:"granted_at"`
	Used      int        `json:"used" doc:"rides"`
	RidesLeft int        `json:"rides_left,omitempty" doc:"of a ticket"`
	ValueLeft int64      `json:"value_left,omitempty" doc:"of stored value, in minor units"`
	Sale      string     `json:"sale,omitempty" doc:"of what was bought"`
}

// GiveRight gives a rider a product, or records that a category was proved.
type GiveRight struct {
	Rider    string    `json:"rider" example:"101/2944/17" doc:"issuer/list/index"`
	Product  string    `json:"product,omitempty" maxLength:"80" doc:"of the catalogue or the tariff; this or category"`
	Category string    `json:"category,omitempty" maxLength:"80" doc:"that was proved"`
	From     time.Time `json:"from,omitzero" doc:"now or later; left out = now"`
	Until    time.Time `json:"until,omitzero" doc:"of a proof"`
	Evidence string    `json:"evidence,omitempty" maxLength:"200" doc:"what was shown for it: a reference of yours, not a document"`
}

// A Given names a right that was given.
type Given struct {
	ID string `json:"id" example:"rgt_0195e2…"`
}

// A Sale is a product that somebody asked for.
type Sale struct {
	ID       string          `json:"id" example:"sal_0195e2…"`
	Rider    string          `json:"rider,omitempty" doc:"issuer/list/index; left out of what the rider is told"`
	Order    string          `json:"order" doc:"the buyer's own name for it"`
	Product  string          `json:"product"`
	Name     string          `json:"name,omitempty"`
	Kind     string          `json:"kind" enum:"pass,ticket,stored_value"`
	Price    citygate.Money  `json:"price"`
	SoldBy   string          `json:"sold_by" enum:"rider,operator"`
	State    string          `json:"state" enum:"asked,paid,held,declined,refunding,refunded,closed,reversed" doc:"asked: the provider's outcome is not known yet; held: the rider has it"`
	Contract string          `json:"contract,omitempty"`
	AskedAt  time.Time       `json:"asked_at"`
	PaidAt   *time.Time      `json:"paid_at,omitempty"`
	HeldAt   *time.Time      `json:"held_at,omitempty"`
	EndedAt  *time.Time      `json:"ended_at,omitempty"`
	ClosesAt *time.Time      `json:"closes_at,omitempty" doc:"when what is left is the seller's"`
	Refund   *citygate.Money `json:"refund,omitempty" doc:"what goes back, or went back"`
	LeftOver *citygate.Money `json:"left_over,omitempty" doc:"what was left when it ended"`
}

// OrderProduct asks for a product.
type OrderProduct struct {
	Product string `json:"product" minLength:"1" maxLength:"80"`
	Order   string `json:"order" minLength:"1" maxLength:"64" doc:"your own name for it, once per rider: asked again under it, nothing is bought twice"`
}

// An OfferedProduct is what a rider can buy.
type OfferedProduct struct {
	Product   string         `json:"product"`
	Name      string         `json:"name,omitempty"`
	Kind      string         `json:"kind" enum:"pass,ticket,stored_value"`
	Price     citygate.Money `json:"price"`
	Rides     int            `json:"rides,omitempty"`
	Value     int64          `json:"value,omitempty" doc:"in minor units of the price"`
	Days      int            `json:"days,omitempty"`
	Minutes   int            `json:"minutes,omitempty"`
	FirstUse  bool           `json:"first_use,omitempty" doc:"the period begins with the first ride"`
	WithinDay int            `json:"within_days,omitempty" doc:"in which the first ride must be"`
	Refund    string         `json:"refund" enum:"unused,rest,none"`
}

// Holdings are what a rider holds and has under way.
type Holdings struct {
	Rights []Right `json:"rights"`
	Sales  []Sale  `json:"sales"`
}

// riderNamed reads the rider of a query or body.
func riderNamed(text string) (citygate.Rider, error) {
	rider, err := citygate.ParseRider(text)
	if err != nil {
		return rider, errBody.Explain("rider: want issuer/list/index, such as 101/2944/17")
	}
	return rider, nil
}

func saleNamed(text string) (citygate.UUID, error) {
	id, err := citygate.ParseUUID("sal_", text)
	if err != nil {
		return id, errNotFound.Because(err, "sale")
	}
	return id, nil
}

func (e *Edge) salesRoutes() {
	register(e, get("list-catalogues", "/v1/tenants/{tenant}/product-catalogues", "What the tenant sells and gives: every version", "products"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Between
		}) (*body[list[Catalogue]], error) {
			page, err := r.span(r.Paging)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(c Catalogue) string { return instant(c.From) })(e.Sales.Catalogues(ctx, r.id(), page))
		})
	register(e, post("publish-catalogue", "/v1/tenants/{tenant}/product-catalogues", "Publish the next version of what the tenant sells and gives", "products"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body Catalogue
		}) (*done, error) {
			return respond(struct{}{}, e.Sales.Publish(ctx, who.Subject, r.id(), r.Body))
		})
	e.rightRoutes()
	register(e, get("list-sales", "/v1/tenants/{tenant}/sales", "Products that riders asked for", "products"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Rider string `query:"rider" doc:"of one rider alone: issuer/list/index"`
			State string `query:"state" enum:"asked,paid,held,declined,refunding,refunded,closed,reversed"`
		}) (*body[list[Sale]], error) {
			page, err := r.page("sal_")
			if err != nil {
				return nil, err
			}
			var rider citygate.Rider
			if r.Rider != "" {
				if rider, err = riderNamed(r.Rider); err != nil {
					return nil, err
				}
			}
			return inPages(ctx, r.Paging, func(s Sale) string { return s.ID })(e.Sales.List(ctx, r.id(), rider, r.State, page))
		})
	register(e, get("get-sale", "/v1/tenants/{tenant}/sales/{sale}", "What became of a product that was asked for", "products"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Sale string `path:"sale"`
		}) (*body[Sale], error) {
			id, err := saleNamed(r.Sale)
			if err != nil {
				return nil, err
			}
			return respond(e.Sales.Find(ctx, r.id(), id))
		})
	register(e, post("sell-product", "/v1/tenants/{tenant}/sales", "Sell a rider a product, through the account's provider", "products"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				OrderProduct
				Rider string `json:"rider" example:"101/2944/17" doc:"issuer/list/index"`
			}
		}) (*body[Sale], error) {
			rider, err := riderNamed(r.Body.Rider)
			if err != nil {
				return nil, err
			}
			return respond(e.Sales.Sell(ctx, who.Subject, r.id(), rider, r.Body.OrderProduct))
		})
	register(e, post("refund-sale", "/v1/tenants/{tenant}/sales/{sale}/refund", "Give back what the product's rule allows, to the provider that took it", "products"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Sale string `path:"sale"`
			Body struct {
				Reason string `json:"reason" minLength:"1" maxLength:"200"`
			}
		}) (*body[Sale], error) {
			id, err := saleNamed(r.Sale)
			if err != nil {
				return nil, err
			}
			return respond(e.Sales.Refund(ctx, who.Subject, r.id(), id, r.Body.Reason))
		})
	e.riderSaleRoutes()
}

func (e *Edge) rightRoutes() {
	register(e, get("list-rights", "/v1/tenants/{tenant}/rights", "What a rider holds and has proved, and what is left of it", "products"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Rider string `query:"rider" required:"true" doc:"issuer/list/index"`
		}) (*body[list[Right]], error) {
			page, err := r.page("rgt_")
			if err != nil {
				return nil, err
			}
			rider, err := riderNamed(r.Rider)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(g Right) string { return g.ID })(e.Sales.Rights(ctx, r.id(), rider, page))
		})
	register(e, post("give-right", "/v1/tenants/{tenant}/rights", "Give a rider a product, or record that a category was proved", "products"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body GiveRight
		}) (*body[Given], error) {
			rider, err := riderNamed(r.Body.Rider)
			if err != nil {
				return nil, err
			}
			return respond(e.Sales.Give(ctx, who.Subject, r.id(), rider, r.Body))
		})
	register(e, huma.Operation{
		OperationID: "end-right", Method: http.MethodDelete, Path: "/v1/tenants/{tenant}/rights/{right}", Tags: []string{"products"},
		Summary: "End a right that was given, now: no later ride has it",
	}, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Right string `path:"right"`
	}) (*done, error) {
		id, err := citygate.ParseUUID("rgt_", r.Right)
		if err != nil {
			return nil, errNotFound.Because(err, "right")
		}
		return respond(struct{}{}, e.Sales.EndRight(ctx, who.Subject, r.id(), id))
	})
}

func (e *Edge) riderSaleRoutes() {
	prove(e, post("rider-products", "/v1/tenants/{tenant}/rider/products", "What the rider can buy", "self-service"),
		func(ctx context.Context, r *struct {
			Paged
			Body ByCode
		}) (*body[list[OfferedProduct]], error) {
			return cutPages(ctx, r.Paging, func(p OfferedProduct) string { return p.Product }, nil)(e.Sales.RiderOffers(ctx, r.id(), r.Body.Code))
		})
	prove(e, post("rider-buy", "/v1/tenants/{tenant}/rider/purchases", "Buy a product, through the account's provider", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body struct {
				ByCode
				OrderProduct
			}
		}) (*body[Sale], error) {
			return respond(e.Sales.RiderBuys(ctx, r.id(), r.Body.Code, r.Body.OrderProduct))
		})
	prove(e, post("rider-holdings", "/v1/tenants/{tenant}/rider/holdings", "What the rider holds, and what became of orders", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCode
		}) (*body[Holdings], error) {
			return respond(e.Sales.RiderHolds(ctx, r.id(), r.Body.Code))
		})
	prove(e, post("rider-refund", "/v1/tenants/{tenant}/rider/refunds", "Give back what the product's rule allows", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body struct {
				ByCode
				Sale string `json:"sale" example:"sal_0195e2…"`
			}
		}) (*body[Sale], error) {
			id, err := saleNamed(r.Body.Sale)
			if err != nil {
				return nil, err
			}
			return respond(e.Sales.RiderRefund(ctx, r.id(), r.Body.Code, id))
		})
}
