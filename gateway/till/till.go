package till

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of this package.
var (
	ErrInvalid  = &citygate.Code{Name: "till.invalid", Kind: citygate.Invalid, Title: "The payment cannot be asked for as it is written. Correct the named field."}
	ErrOrder    = &citygate.Code{Name: "till.other_order", Kind: citygate.Conflict, Title: "There is a payment of this order with other content. Give every order a name of its own."}
	ErrCode     = &citygate.Code{Name: "till.code", Kind: citygate.Invalid, Title: "Which contract the payment code is for cannot be told, or it is of another provider's. Name the contract, or read the code again."}
	ErrContract = &citygate.Code{Name: "till.contract", Kind: citygate.Conflict, Title: "No such contract of the tenant collects by payment codes. Add one that does, or name another."}
	ErrDown     = &citygate.Code{Name: "till.provider_down", Kind: citygate.Unavailable, Title: "The provider has not answered for a while. Nothing was sent; ask for another means of payment or try again."}
	ErrBusy     = &citygate.Code{Name: "till.busy", Kind: citygate.Unavailable, Title: "Too many payments wait for this provider. Nothing was sent; try again."}
	ErrNotFound = &citygate.Code{Name: "till.not_found", Kind: citygate.NotFound, Title: "There is no such payment."}
	ErrFinal    = &citygate.Code{Name: "till.paid", Kind: citygate.Conflict, Title: "The payment is made and cannot be cancelled any more. Refund it."}
	ErrRefund   = &citygate.Code{Name: "till.no_refund", Kind: citygate.Conflict, Title: "So much of this payment cannot be given back. Its state and what went back already say why."}
)

// Prefix is what ids of payments carry.
const Prefix = "tpy_"

// The states of a payment.
const (
	Asked     = "asked"
	Paying    = "paying"
	Paid      = "paid"
	Declined  = "declined"
	Reversing = "reversing"
	Closed    = "closed"
	Refunded  = "refunded"
)

// States gives them all.
func States() []string { return []string{Asked, Paying, Paid, Declined, Reversing, Closed, Refunded} }

// Why a payment is taken back.
const (
	forTimeout = "timeout"
	forCancel  = "cancelled"
)

// How long a customer may take to confirm.
const (
	WaitDefault = 60 * time.Second
	WaitMin     = 10 * time.Second
	WaitMax     = 5 * time.Minute
)

const (
	nameMax    = 64
	subjectMax = 120
	codeMax    = 128
	reasonMax  = 500
)

// A Config is what a [Desk] is made of; all of it is required.
type Config struct {
	DB        *pg.DB
	Collector *collect.Collector
	// Provider opens the provider of a contract. It is called outside transactions.
	Provider func(ctx context.Context, tenant citygate.TenantID, c collect.Contract) (*adapters.Provider, error)
	// Settings gives a tenant's currency and calendar. It is called inside transactions
	// and does no I/O there.
	Settings func(ctx context.Context, tenant citygate.TenantID) (collect.Settings, error)
	// Payee gives who earns what is paid at a till: that named, or for "" the tenant's
	// default; "" if there is none. It is called inside a transaction.
	Payee func(ctx context.Context, tx *pg.Tx, named string) (string, error)
	// Wake gives the job that has refunds sent.
	Wake func(tenant citygate.TenantID) pg.Job
	// Bulkhead does what is due with each contract beside all others; nil = one after
	// another.
	Bulkhead *collect.Bulkhead
}

// A Desk takes payments for every tenant. It is safe for concurrent use.
type Desk struct {
	Config

	line line
}

// New makes a Desk.
func New(c Config) *Desk { return &Desk{Config: c} }

// An Order asks for a payment.
type Order struct {
	Name     string // the shop's own, 1 to 64 characters: once per tenant
	Amount   citygate.Money
	Subject  string // what the customer reads
	Code     citygate.Secret
	Contract string        // "" = told from the code
	Till     string        // which counter, as the shop calls it
	Payee    string        // "" = the tenant's default
	Wait     time.Duration // how long the customer may take; 0 = [WaitDefault]
}

// A Payment is one that was asked for.
type Payment struct {
	ID           citygate.UUID
	Order        string
	Amount       citygate.Money
	Subject      string
	Contract     string
	Named        string // the contract that the order named
	Till         string
	Payee        string
	State        string
	Reason       string // the provider's own code, for people
	OurID        string // what the provider knows it by
	BusinessDate citygate.Date
	AskedBy      string
	AskedAt      time.Time
	WaitUntil    time.Time
	NextAt       time.Time // zero = nothing is open
	ReversingFor string
	Reversals    int
	ReversedAt   time.Time
	ReversalSaid driver.Reversal
	PaidAt       time.Time // zero = not
	EndedAt      time.Time // of a declined or closed one
	Refunded     int64     // asked to go back
	Returned     int64     // of it what certainly did
	Taken        int64     // what its provider took back and has not returned
	TakenBearer  risk.TillBearer
	Route        Route
	ClearedAt    time.Time // zero = no bill has it yet
	ClearedOn    citygate.Date
	Cleared      int64
}

// A Route is by which rule of the tenant's a payment's contract was chosen among several
// that take the code; the zero value: the order named it, or the code told.
type Route struct {
	Version uint64 // of the rule set
	Rule    string
	Finding string // why rules that matched were not followed to the letter, and who was not reached before
}

// left is what is left of p that can be given back.
func (p *Payment) left() int64 { return max(0, p.Amount.Minor-p.Refunded-p.Taken) }

// open reports whether what became of p is not certain.
func (p *Payment) open() bool { return p.State == Asked || p.State == Paying || p.State == Reversing }

// same reports whether o asks for p. Codes are not compared: p's is nowhere.
func (p *Payment) same(o *Order) bool {
	return p.Amount == o.Amount && p.Subject == o.Subject && p.Named == o.Contract && p.Till == o.Till && (o.Payee == "" || p.Payee == o.Payee)
}

func (o *Order) check() error {
	plain := func(s string) bool {
		return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) && strings.TrimSpace(s) == s
	}
	code := o.Code.Reveal()
	switch {
	case o.Name == "" || utf8.RuneCountInString(o.Name) > nameMax || !plain(o.Name):
		return ErrInvalid.Explain("order: want 1 to %d characters", nameMax)
	case o.Amount.Minor <= 0:
		return ErrInvalid.Explain("amount: want a positive one")
	case o.Subject == "" || utf8.RuneCountInString(o.Subject) > subjectMax || !plain(o.Subject):
		return ErrInvalid.Explain("subject: want 1 to %d characters", subjectMax)
	case utf8.RuneCountInString(o.Till) > nameMax || !plain(o.Till):
		return ErrInvalid.Explain("till: want at most %d characters", nameMax)
	case len(code) == 0 || len(code) > codeMax:
		return ErrInvalid.Explain("payment_code: want 1 to %d characters", codeMax)
	case o.Wait != 0 && (o.Wait < WaitMin || o.Wait > WaitMax):
		return ErrInvalid.Explain("wait: want %s to %s", WaitMin, WaitMax)
	}
	return nil
}

// Pay asks for a payment on a code and gives it as it stands when the provider has
// answered, or has not in time. The same order again gives the payment there is.
func (d *Desk) Pay(ctx context.Context, actor string, tenant citygate.TenantID, o Order) (Payment, error) {
	if err := o.check(); err != nil {
		return Payment{}, err
	}
	var contracts []collect.Contract
	var old Payment
	var found bool
	err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if old, found, err = byOrder(ctx, tx, o.Name); err != nil || found {
			return err
		}
		contracts, err = collect.Contracts(ctx, tx)
		return err
	})
	if err != nil || found {
		return answered(old, &o, err)
	}
	among, err := d.takers(ctx, tenant, contracts, &o)
	if err != nil {
		return Payment{}, err
	}
	to, err := d.choose(ctx, tenant, among, &o)
	if err != nil {
		return Payment{}, err
	}
	leave, err := d.line.join(tenant, to.contract.Name)
	if err != nil {
		return Payment{}, err
	}
	defer leave()
	charge := collect.TillCharge{Contract: to.contract.Name, Amount: o.Amount, Subject: o.Subject}
	if charge.Quote, err = d.quote(ctx, tenant, to, o.Amount); err != nil {
		return Payment{}, err
	}
	p, fresh, err := d.intend(ctx, actor, tenant, &o, to, charge)
	if err != nil || !fresh {
		return answered(p, &o, err)
	}
	// From here on the customer may be charged: that the caller has gone away changes nothing.
	if charge.Quote != (driver.Quote{}) {
		among = nil // what the wallet will pay was agreed on with this one
	}
	s := sending{d: d, tenant: tenant, actor: actor, among: among, charge: charge, code: o.Code}
	s.charge.Payment = p.ID
	return s.run(context.WithoutCancel(ctx), to)
}

// quote asks what the customer's wallet will pay, where the provider says so before it is
// charged. One that has not answered for a while is not asked.
func (d *Desk) quote(ctx context.Context, tenant citygate.TenantID, to chosen, amount citygate.Money) (q driver.Quote, err error) {
	quoter, able := to.provider.Quoter()
	if !able {
		return q, nil
	}
	name, up := to.contract.Name, false
	if err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		up, err = collect.TillsUp(ctx, tx, name)
		return err
	}); err != nil {
		return q, err
	}
	if !up {
		return q, ErrDown.Explain("contract %s", name)
	}
	if q, err = quoter.Quote(ctx, amount); err != nil && errors.Is(err, adapters.ErrNotSent) && ctx.Err() == nil {
		err = errors.Join(err, d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.TillFailed(ctx, tx, name) }))
	}
	return q, err
}

// answered gives a payment that there is, if the order asks for it.
func answered(p Payment, o *Order, err error) (Payment, error) {
	if err != nil {
		return Payment{}, err
	}
	if !p.same(o) {
		return Payment{}, ErrOrder.Explain("order %s", o.Name)
	}
	return p, nil
}

// intend writes a payment and the intent to charge it; fresh is false where another
// request of the same order was first.
func (d *Desk) intend(ctx context.Context, actor string, tenant citygate.TenantID, o *Order, to chosen, charge collect.TillCharge) (p Payment, fresh bool, err error) {
	about := to.provider.Describe()
	err = d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		settings, err := d.Settings(ctx, tenant)
		if err != nil {
			return err
		}
		if o.Amount.Currency != settings.Currency {
			return ErrInvalid.Explain("amount: the tenant's books are in %s", settings.Currency)
		}
		payee, err := d.Payee(ctx, tx, o.Payee)
		if err != nil {
			return err
		}
		if payee == "" {
			return ErrInvalid.Explain("payee: the tenant has no such payee, or no default one; add it")
		}
		wait := o.Wait
		if wait == 0 {
			wait = WaitDefault
		}
		now := tx.Now.UTC().Truncate(time.Microsecond)
		p = Payment{
			ID: tx.NewID(), Order: o.Name, Amount: o.Amount, Subject: o.Subject, Contract: to.contract.Name, Named: o.Contract, Till: o.Till, Payee: payee,
			State: Asked, BusinessDate: settings.Calendar.BusinessDate(now), AskedBy: actor, AskedAt: now, WaitUntil: now.Add(wait), NextAt: now.Add(leaseOf(about)),
			Route: to.route,
		}
		p.OurID = collect.TillID(tenant, p.ID)
		if fresh, err = insert(ctx, tx, &p); err != nil {
			return err
		}
		if !fresh {
			p, _, err = byOrder(ctx, tx, o.Name)
			return err
		}
		if admitted, err := collect.TillsAdmit(ctx, tx, to.contract.Name); err != nil || !admitted {
			if err == nil {
				err = ErrDown.Explain("contract %s", to.contract.Name)
			}
			return err
		}
		charge.Payment, charge.BusinessDate, charge.Mark = p.ID, p.BusinessDate, to.provider.Mark(now)
		if err := collect.AskTill(ctx, tx, charge); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "till.ask", Object: p.ID.Text(Prefix),
			After: map[string]any{"order": p.Order, "amount": p.Amount.Minor, "currency": p.Amount.Currency, "contract": p.Contract, "till": p.Till, "payee": p.Payee}})
	})
	return p, fresh, err
}

// Find gives a payment.
func (d *Desk) Find(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (p Payment, err error) {
	err = d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		p, err = find(ctx, tx, id)
		return err
	})
	return p, err
}
