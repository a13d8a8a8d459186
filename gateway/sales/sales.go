package sales

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of this package.
var (
	ErrProduct  = &citygate.Code{Name: "sales.not_sold", Kind: citygate.Conflict, Title: "This product is not sold here to this rider. List the products the rider can buy."}
	ErrOrder    = &citygate.Code{Name: "sales.other_order", Kind: citygate.Conflict, Title: "The rider has another order of this name. Give every order a name of its own."}
	ErrBuyer    = &citygate.Code{Name: "sales.no_account", Kind: citygate.Conflict, Title: "There is no account here that pays for this rider. Buy from the tenant that issued the code."}
	ErrInDebt   = &citygate.Code{Name: "sales.in_debt", Kind: citygate.Conflict, Title: "The account owes for rides or for a product. Pay that first."}
	ErrNotFound = &citygate.Code{Name: "sales.not_found", Kind: citygate.NotFound, Title: "There is no such sale."}
	ErrRefund   = &citygate.Code{Name: "sales.no_refund", Kind: citygate.Conflict, Title: "Nothing of this sale can be given back. The product's rule of refunds and the sale's state say why."}
)

// Prefix is what ids of sales carry.
const Prefix = "sal_"

// The states of a sale.
const (
	Asked     = "asked"
	Paid      = "paid"
	Held      = "held"
	Declined  = "declined"
	Refunding = "refunding"
	Refunded  = "refunded"
	Closed    = "closed"
	Reversed  = "reversed"
)

// Engine is what this package needs of pricing.
type Engine interface {
	Hold(ctx context.Context, tx *pg.Tx, b pricing.Bought) error
}

// A Config is what a [Desk] is made of; all of it is required.
type Config struct {
	DB     *pg.DB
	Engine Engine
	// Account gives who pays for a rider of the tenant; the zero account if nobody
	// does. It is called inside a transaction.
	Account func(ctx context.Context, tx *pg.Tx, rider citygate.Rider) (collect.Account, error)
	// Calendar gives the tenant's. It is called inside a transaction and does no I/O.
	Calendar func(ctx context.Context, tenant citygate.TenantID) (citygate.Calendar, error)
	// Wake gives the job that has charges sent and products given.
	Wake func(tenant citygate.TenantID) pg.Job
}

// A Desk sells for every tenant. It is safe for concurrent use.
type Desk struct{ Config }

// New makes a Desk.
func New(c Config) *Desk { return &Desk{c} }

// A Sale is a product that somebody asked for.
type Sale struct {
	ID        citygate.UUID
	Rider     citygate.Rider
	Order     string
	Account   citygate.UUID
	Catalogue uint64 // version
	Offer     entitlement.Offer
	Price     citygate.Money
	Contract  string
	SoldBy    entitlement.Seller
	State     string
	AskedAt   time.Time
	PaidAt    time.Time // zero = not yet
	HeldAt    time.Time
	EndedAt   time.Time
	ClosesAt  time.Time // zero = never by itself
	Refund    int64     // what goes back, in minor units of Price
	LeftOver  int64     // what was left when it ended
}

// An Order asks for a product.
type Order struct {
	Rider   citygate.Rider
	Product string
	Name    string // the buyer's own, 1 to 64 characters: once per rider
	By      entitlement.Seller
}

// Offers gives what a rider can buy of seller now. What was asked for once does not
// change with the next version of the catalogue.
func (d *Desk) Offers(ctx context.Context, tx *pg.Tx, rider citygate.Rider, by entitlement.Seller) ([]entitlement.Offer, citygate.Currency, error) {
	catalogue, err := pricing.CatalogueAt(ctx, tx, tx.Now)
	if err != nil || catalogue == nil {
		return nil, "", err
	}
	proved, err := proofs(ctx, tx, rider)
	if err != nil {
		return nil, "", err
	}
	list := slices.DeleteFunc(slices.Clone(catalogue.Products), func(o entitlement.Offer) bool { return !o.Sells(by) || !mayBuy(&o, proved) })
	return list, catalogue.Currency, nil
}

func proofs(ctx context.Context, tx *pg.Tx, rider citygate.Rider) ([]string, error) {
	found, err := pricing.ProofsOf(ctx, tx, rider, tx.Now)
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = string(c)
	}
	return names, err
}

func mayBuy(o *entitlement.Offer, proved []string) bool {
	return len(o.Buyers) == 0 || slices.ContainsFunc(o.Buyers, func(b string) bool { return slices.Contains(proved, b) })
}

// Buy asks for a product. The same order again gives the sale there is.
func (d *Desk) Buy(ctx context.Context, tx *pg.Tx, actor string, o Order) (Sale, error) {
	if old, found, err := byOrder(ctx, tx, o.Rider, o.Name); err != nil || found {
		if err == nil && old.Offer.ID != o.Product {
			err = ErrOrder.Explain("order %s is of product %s", o.Name, old.Offer.ID)
		}
		return old, err
	}
	catalogue, err := pricing.CatalogueAt(ctx, tx, tx.Now)
	if err != nil {
		return Sale{}, err
	}
	var offer *entitlement.Offer
	if catalogue != nil {
		offer = catalogue.Offer(o.Product)
	}
	if offer == nil || !offer.Sells(o.By) {
		return Sale{}, ErrProduct.Explain("product %s is not sold by %s", o.Product, o.By)
	}
	proved, err := proofs(ctx, tx, o.Rider)
	if err != nil {
		return Sale{}, err
	}
	if !mayBuy(offer, proved) {
		return Sale{}, ErrProduct.Explain("product %s is for those who have proved one of %v", o.Product, offer.Buyers)
	}
	account, err := d.Account(ctx, tx, o.Rider)
	if err != nil {
		return Sale{}, err
	}
	if account.ID.IsZero() {
		return Sale{}, ErrBuyer.Explain("rider %s", o.Rider)
	}
	if owes, err := collect.Debts(ctx, tx, "open", account.ID, citygate.UUID{}, 1); err != nil || len(owes) > 0 {
		if err == nil {
			err = ErrInDebt.Explain("account %s", account.ID.Text("acc_"))
		}
		return Sale{}, err
	}
	s := Sale{
		ID: tx.NewID(), Rider: o.Rider, Order: o.Name, Account: account.ID, Catalogue: catalogue.Version, Offer: *offer, SoldBy: o.By, Contract: account.Contract,
		Price: citygate.Money{Minor: offer.Price, Currency: catalogue.Currency}, State: Asked, AskedAt: tx.Now.UTC().Truncate(time.Millisecond),
	}
	return s, d.ask(ctx, tx, actor, &s, account)
}

// ask stores a sale with the intent to charge it.
func (d *Desk) ask(ctx context.Context, tx *pg.Tx, actor string, s *Sale, account collect.Account) error {
	if s.Price.Minor == 0 {
		s.State, s.PaidAt = Paid, s.AskedAt
	}
	if err := insert(ctx, tx, s); err != nil {
		return err
	}
	if s.Price.Minor > 0 {
		calendar, err := d.Calendar(ctx, tx.Tenant)
		if err != nil {
			return err
		}
		subject := s.Offer.Name
		if subject == "" {
			subject = s.Offer.ID
		}
		if err := collect.Buy(ctx, tx, collect.Purchase{Sale: s.ID, Account: account, Amount: s.Price, Subject: subject, BusinessDate: calendar.BusinessDate(tx.Now)}); err != nil {
			return err
		}
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "sale.ask", Object: s.ID.Text(Prefix),
		After: map[string]any{"product": s.Offer.ID, "price": s.Price.Minor, "currency": s.Price.Currency, "account": s.Account.Text("acc_")}}); err != nil {
		return err
	}
	return tx.Enqueue(ctx, d.Wake(tx.Tenant))
}

// Paid implements [collect.Sales].
func (d *Desk) Paid(ctx context.Context, tx *pg.Tx, sales []citygate.UUID) error {
	if len(sales) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE product_sales SET state = 'paid', paid_at = $2 WHERE tenant_id = $1 AND sale_id = ANY($3::uuid[]) AND state = 'asked'`,
		int64(tx.Tenant), tx.Now.UTC().Truncate(time.Millisecond), sales); err != nil {
		return err
	}
	return tx.Enqueue(ctx, d.Wake(tx.Tenant))
}

// Declined implements [collect.Sales].
func (d *Desk) Declined(ctx context.Context, tx *pg.Tx, sales []citygate.UUID) error {
	if len(sales) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE product_sales SET state = 'declined', ended_at = $2 WHERE tenant_id = $1 AND sale_id = ANY($3::uuid[]) AND state = 'asked'`,
		int64(tx.Tenant), tx.Now, sales)
	return err
}

// Returned implements [collect.Sales]. A refund that was declined is money we owe:
// it stays refunding until the refund that is made in its place succeeds.
func (d *Desk) Returned(ctx context.Context, tx *pg.Tx, sale citygate.UUID, succeeded bool) error {
	if !succeeded {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE product_sales SET state = 'refunded' WHERE tenant_id = $1 AND sale_id = $2 AND state = 'refunding'`, int64(tx.Tenant), sale)
	return err
}

// End implements [collect.Sales]: nothing more of what was bought can be used than is used
// now. What was used is paid by its rider, and so is what the seller kept when it was over;
// what the seller keeps of a payment that stands is by the product's rule of refunds.
func (d *Desk) End(ctx context.Context, tx *pg.Tx, id citygate.UUID) (collect.Worth, error) {
	s, err := lock(ctx, tx, id)
	if err != nil {
		return collect.Worth{}, err
	}
	taken, err := pricing.Peek(ctx, tx, id)
	switch {
	case errors.Is(err, pricing.ErrNoRight): // it was not given yet
	case err != nil:
		return collect.Worth{}, err
	default:
		if err := pricing.TakeBack(ctx, tx, taken); err != nil {
			return collect.Worth{}, err
		}
	}
	w := collect.Worth{Used: taken.Earned + s.LeftOver}
	w.Keeps = max(w.Used, s.Price.Minor-s.Offer.Back(s.Price.Minor, taken.Earned, taken.Rides))
	if _, err := tx.Exec(ctx, `
		UPDATE product_sales SET state = 'reversed', used = $3, ended_at = coalesce(ended_at, $4), closes_at = NULL WHERE tenant_id = $1 AND sale_id = $2`,
		int64(tx.Tenant), id, taken.Earned, tx.Now); err != nil || s.State == Reversed {
		return w, err
	}
	return w, tx.Audit(ctx, pg.AuditEntry{Actor: "system:sales", Verb: "sale.reverse", Object: id.Text(Prefix),
		Before: map[string]any{"state": s.State}, After: map[string]any{"used": w.Used, "rides": taken.Rides}})
}

// Refund gives back what the product's rule allows of a sale, to the provider that
// took its price.
func (d *Desk) Refund(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID, reason string) (Sale, error) {
	s, err := lock(ctx, tx, id)
	switch {
	case err != nil:
		return s, err
	case s.State == Refunding || s.State == Refunded:
		return s, nil
	case s.State != Held:
		return s, ErrRefund.Explain("sale %s is %s", id.Text(Prefix), s.State)
	}
	taken, err := pricing.Peek(ctx, tx, id)
	if err != nil {
		return s, err
	}
	back := s.Offer.Back(s.Price.Minor, taken.Earned, taken.Rides)
	if back == 0 {
		return s, ErrRefund.Explain("sale %s: %d rides have used it, its refunds are by the rule %q", id.Text(Prefix), taken.Rides, s.Offer.Refund)
	}
	if err := pricing.TakeBack(ctx, tx, taken); err != nil {
		return s, err
	}
	calendar, err := d.Calendar(ctx, tx.Tenant)
	if err != nil {
		return s, err
	}
	if _, err := collect.Return(ctx, tx, id, back, calendar.BusinessDate(tx.Now)); err != nil {
		return s, err
	}
	s.State, s.Refund, s.EndedAt = Refunding, back, tx.Now.UTC()
	if _, err := tx.Exec(ctx, `
		UPDATE product_sales SET state = 'refunding', refund = $3, ended_at = $4, closes_at = NULL WHERE tenant_id = $1 AND sale_id = $2`,
		int64(tx.Tenant), id, back, tx.Now); err != nil {
		return s, err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "sale.refund", Object: id.Text(Prefix), After: map[string]any{"amount": back, "rides": taken.Rides, "reason": reason}}); err != nil {
		return s, err
	}
	return s, tx.Enqueue(ctx, d.Wake(tx.Tenant))
}

// RunDue gives riders what is paid and ends what is over. It may run any number of
// times, also at once.
func (d *Desk) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	for _, step := range []func(context.Context, *pg.Tx) (bool, error){d.deliver, d.closeNext} {
		for more := true; more; {
			if err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
				more, err = step(ctx, tx)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver gives one rider what is paid.
func (d *Desk) deliver(ctx context.Context, tx *pg.Tx) (did bool, err error) {
	s, found, err := takePaid(ctx, tx)
	if err != nil || !found {
		return false, err
	}
	from := s.PaidAt
	if s.Offer.Begins == entitlement.BeginsAsked {
		from = s.AskedAt
	}
	h := s.Offer.Hold(s.ID, from)
	h.Paid, h.Of = s.Price.Minor, h.Rides
	var closes *time.Time
	if at := h.Closes(s.Offer.Keep()); at != 0 {
		t := time.UnixMilli(at).UTC()
		closes = &t
	}
	if _, err := tx.Exec(ctx, `UPDATE product_sales SET state = 'held', held_at = $3, closes_at = $4 WHERE tenant_id = $1 AND sale_id = $2`,
		int64(tx.Tenant), s.ID, tx.Now, closes); err != nil {
		return false, err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: "system:sales", Verb: "sale.hold", Object: s.ID.Text(Prefix), After: map[string]any{"product": s.Offer.ID, "from": from}}); err != nil {
		return false, err
	}
	return true, d.Engine.Hold(ctx, tx, pricing.Bought{Rider: s.Rider, Holding: h, Evidence: s.ID.Text(Prefix)})
}

// closeNext ends one product that is over: what is left of its price is the
// seller's.
func (d *Desk) closeNext(ctx context.Context, tx *pg.Tx) (did bool, err error) {
	s, found, err := takeOver(ctx, tx)
	if err != nil || !found {
		return false, err
	}
	taken, err := pricing.Peek(ctx, tx, s.ID)
	if err != nil {
		return false, err
	}
	if err := pricing.TakeBack(ctx, tx, taken); err != nil {
		return false, err
	}
	s.State, s.LeftOver, s.EndedAt = Closed, max(s.Price.Minor-taken.Earned, 0), tx.Now.UTC().Truncate(time.Microsecond)
	calendar, err := d.Calendar(ctx, tx.Tenant)
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE product_sales SET state = 'closed', left_over = $3, ended_at = $4, closed_on = $5, closes_at = NULL WHERE tenant_id = $1 AND sale_id = $2`,
		int64(tx.Tenant), s.ID, s.LeftOver, s.EndedAt, calendar.BusinessDate(tx.Now)); err != nil {
		return false, err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: "system:sales", Verb: "sale.close", Object: s.ID.Text(Prefix), After: map[string]any{"left_over": s.LeftOver}}); err != nil {
		return false, err
	}
	return true, ledger.Post(ctx, tx, s.over(tx.Tenant, calendar.BusinessDate(tx.Now)))
}

// over gives what the end of a product does to the books.
func (s *Sale) over(tenant citygate.TenantID, date citygate.Date) []ledger.Transfer {
	if s.State != Closed || s.LeftOver == 0 {
		return nil
	}
	return []ledger.Transfer{ledger.NewTransfer(tenant, 0, ledger.Transfer{
		Debit: ledger.Prepaid(s.ID), Credit: ledger.ProductIncome(), Amount: s.LeftOver, Currency: s.Price.Currency, Code: "product_over",
		Event: "sale:" + s.ID.String(), EffectiveAt: s.EndedAt, BusinessDate: date,
	})}
}

// Source derives the transfers of products that ended.
type Source struct{}

// Name implements [ledger.Source].
func (Source) Name() string { return "sales" }

// Derive implements [ledger.Source].
func (Source) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	return eachClosed(ctx, tx, func(s *Sale, date citygate.Date) error {
		for _, t := range s.over(tx.Tenant, date) {
			if err := yield(t); err != nil {
				return err
			}
		}
		return nil
	})
}

func encodeOffer(o *entitlement.Offer) (string, error) {
	raw, err := json.Marshal(o)
	return string(raw), err
}
