package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) tillAPI() edge.Till {
	return edge.Till{List: g.tillPayments, Find: g.tillPayment, Pay: g.payAtTill, Cancel: g.cancelAtTill, AloneMay: g.refundTillAlone, Refund: g.refundAtTill}
}

// paidAt tells the desk of tills what becomes of payments.
type paidAt struct{ g *Gateway }

func (p paidAt) Heard(ctx context.Context, tx *pg.Tx, heard []collect.TillHeard) ([]ledger.Transfer, error) {
	return p.g.Till.Heard(ctx, tx, heard)
}

func (p paidAt) Returned(ctx context.Context, tx *pg.Tx, back collect.TillReturn) ([]ledger.Transfer, error) {
	return p.g.Till.Returned(ctx, tx, back)
}

func (p paidAt) Taken(ctx context.Context, tx *pg.Tx, taken collect.TillTaken) ([]ledger.Transfer, error) {
	return p.g.Till.Taken(ctx, tx, taken)
}

func (p paidAt) Cleared(ctx context.Context, tx *pg.Tx, payments []citygate.UUID) ([]ledger.Transfer, error) {
	return p.g.Till.Cleared(ctx, tx, payments)
}

// payeeAtTill gives who earns what is paid at a till.
func payeeAtTill(ctx context.Context, tx *pg.Tx, named string) (string, error) {
	return fleet.PayeeNamed(ctx, tx, named)
}

func tillView(p *till.Payment) edge.TillPayment {
	in := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: p.Amount.Currency} }
	var routing *edge.TillRouting
	if p.Route.Rule != "" {
		routing = &edge.TillRouting{PolicyVersion: p.Route.Version, Rule: p.Route.Rule, Finding: p.Route.Finding}
	}
	return edge.TillPayment{
		ID: p.ID.Text(till.Prefix), Order: p.Order, Amount: p.Amount, Subject: p.Subject, Contract: p.Contract, Routing: routing, Till: p.Till, Payee: p.Payee, State: p.State,
		Reason: p.Reason, ReversingFor: p.ReversingFor, OurID: p.OurID, AskedBy: p.AskedBy, AskedAt: p.AskedAt, WaitUntil: p.WaitUntil,
		PaidAt: orNever(p.PaidAt), EndedAt: orNever(p.EndedAt), ClearedAt: orNever(p.ClearedAt), Refunded: in(p.Refunded), Returned: in(p.Returned),
		Taken: in(p.Taken), TakenBearer: string(p.TakenBearer),
	}
}

func (g *Gateway) tillPayments(ctx context.Context, tenant citygate.TenantID, state, order string, page edge.Page) (list []edge.TillPayment, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := till.List(ctx, tx, state, order, page.After, page.Limit)
		list = make([]edge.TillPayment, len(found))
		for i := range found {
			list[i] = tillView(&found[i])
		}
		return err
	})
	return list, err
}

func (g *Gateway) tillPayment(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (v edge.TillPayment, err error) {
	p, err := g.Till.Find(ctx, tenant, id)
	if err != nil {
		return v, err
	}
	return g.withRefunds(ctx, tenant, &p)
}

// TillRefunds gives what goes back of a payment, as the API shows it.
func (g *Gateway) TillRefunds(ctx context.Context, tenant citygate.TenantID, p *till.Payment) ([]edge.TillRefund, error) {
	v, err := g.withRefunds(ctx, tenant, p)
	return v.Refunds, err
}

// withRefunds shows a payment with what goes back of it.
func (g *Gateway) withRefunds(ctx context.Context, tenant citygate.TenantID, p *till.Payment) (v edge.TillPayment, err error) {
	v = tillView(p)
	if p.Refunded == 0 {
		return v, nil
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := till.RefundsOf(ctx, tx, p.ID)
		v.Refunds = make([]edge.TillRefund, len(found))
		for i, r := range found {
			v.Refunds[i] = edge.TillRefund{Name: r.Name, Kind: r.Kind, Amount: citygate.Money{Minor: r.Amount, Currency: p.Amount.Currency}, Reason: r.Reason,
				AskedBy: r.AskedBy, AskedAt: r.AskedAt, State: r.State, OurID: r.OurID}
		}
		if err != nil {
			return err
		}
		return refundExchanges(ctx, tx, len(v.Refunds), func(i int) (string, **edge.RefundExchange) { return v.Refunds[i].OurID, &v.Refunds[i].Exchange })
	})
	return v, err
}

func (g *Gateway) payAtTill(ctx context.Context, actor string, tenant citygate.TenantID, r edge.PayAtTill) (v edge.TillPayment, err error) {
	p, err := g.PayAtTill(ctx, actor, tenant, till.Order{
		Name: r.Order, Amount: r.Amount, Subject: r.Subject, Code: citygate.NewSecret([]byte(r.PaymentCode)), Contract: r.Contract, Till: r.Till, Payee: r.Payee,
		Wait: time.Duration(r.Wait) * time.Second,
	})
	if err != nil {
		return v, err
	}
	return g.withRefunds(ctx, tenant, &p)
}

// PayAtTill charges a customer's wallet by the code it shows; see [till.Desk.Pay].
func (g *Gateway) PayAtTill(ctx context.Context, actor string, tenant citygate.TenantID, o till.Order) (till.Payment, error) {
	if err := g.hold(ctx); err != nil {
		return till.Payment{}, err
	}
	p, err := g.Till.Pay(ctx, actor, tenant, o)
	if err == nil && !p.NextAt.IsZero() {
		g.tills.note(tenant)
	}
	return p, err
}

// AskAtTill asks after a payment whose time has come, and gives it.
func (g *Gateway) AskAtTill(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (till.Payment, error) {
	if err := g.hold(ctx); err != nil {
		return till.Payment{}, err
	}
	return g.Till.Ask(ctx, tenant, id)
}

func (g *Gateway) cancelAtTill(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, reason string) (v edge.TillPayment, err error) {
	p, err := g.CancelAtTill(ctx, actor, tenant, id, reason)
	if err != nil {
		return v, err
	}
	return g.withRefunds(ctx, tenant, &p)
}

// CancelAtTill gives up a payment; see [till.Desk.Cancel].
func (g *Gateway) CancelAtTill(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, reason string) (till.Payment, error) {
	if err := g.hold(ctx); err != nil {
		return till.Payment{}, err
	}
	p, err := g.Till.Cancel(ctx, actor, tenant, id, reason)
	if err == nil && !p.NextAt.IsZero() {
		g.tills.note(tenant)
	}
	return p, err
}

// refundTillAlone holds what is to be given back against the tenant's rule.
func (g *Gateway) refundTillAlone(ctx context.Context, tenant citygate.TenantID, id citygate.UUID, r edge.RefundTillPayment) (alone bool, err error) {
	p, err := g.Till.Find(ctx, tenant, id)
	if err != nil {
		return false, err
	}
	amount := r.Amount
	if amount == 0 {
		amount = max(0, p.Amount.Minor-p.Refunded-p.Taken)
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		asked, err := till.RefundsOf(ctx, tx, id)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(asked, func(b till.Refund) bool { return b.Name == r.Name && b.Kind == "asked" }) { // it changes nothing
			alone = true
			return nil
		}
		alone, err = mayRefundAlone(ctx, tx, p.Refunded+amount)
		return err
	})
	return alone, err
}

func (g *Gateway) refundAtTill(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, r edge.RefundTillPayment, alone bool) (v edge.TillPayment, err error) {
	b := till.GiveBack{Payment: id, Name: r.Name, Amount: r.Amount, Reason: r.Reason}
	if alone {
		b.Alone = mayRefundAlone
	}
	p, err := g.RefundAtTill(ctx, actor, tenant, b)
	if err != nil {
		return v, err
	}
	return g.withRefunds(ctx, tenant, &p)
}

// RefundAtTill gives a payment back, or a part of it; see [till.Desk.Refund].
func (g *Gateway) RefundAtTill(ctx context.Context, actor string, tenant citygate.TenantID, b till.GiveBack) (till.Payment, error) {
	if err := g.hold(ctx); err != nil {
		return till.Payment{}, err
	}
	return g.Till.Refund(ctx, actor, tenant, b)
}
