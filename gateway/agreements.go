package gateway

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrAgreement refuses agreements under a contract whose product manages none.
var ErrAgreement = &citygate.Code{Name: "gateway.agreement", Kind: citygate.Invalid,
	Title: "The contract has no agreements with riders. Give a contract that collects on agreements."}

// newAgreements wires the book of agreements.
func (g *Gateway) newAgreements() *agreement.Book {
	return &agreement.Book{DB: g.DB, Random: g.Random, Accounts: agreedAccounts{},
		Manager: func(ctx context.Context, tenant citygate.TenantID, contract string) (agreement.Manager, error) {
			_, manages, err := g.agreementsOf(ctx, tenant, contract)
			if err != nil {
				return nil, err
			}
			return manages, nil
		},
		Beside: func(ctx context.Context, tenant citygate.TenantID, contract string, work func(context.Context) error) error {
			return g.bulkhead.Do(ctx, collect.TaskAgreements, tenant, contract, work)
		},
	}
}

// agreedAccounts are the payers of agreements.
type agreedAccounts struct{}

func (agreedAccounts) Known(ctx context.Context, tx *pg.Tx, contract, number string) (bool, error) {
	return collect.CollectedBy(ctx, tx, contract, number)
}

func (agreedAccounts) Linkable(ctx context.Context, tx *pg.Tx, account citygate.UUID, contract string) error {
	a, err := credential.AccountByID(ctx, tx, account)
	if err != nil {
		return err
	}
	if a.Contract == contract { // its name there does not change
		return agreement.ErrAccount.Explain("%s is the account's own contract", contract)
	}
	return nil
}

func (agreedAccounts) Link(ctx context.Context, tx *pg.Tx, actor string, account citygate.UUID, contract, number string) error {
	return collect.AddPayer(ctx, tx, actor, collect.Payer{Account: account, Contract: contract, RiderRef: number})
}

func (agreedAccounts) Unlink(ctx context.Context, tx *pg.Tx, actor, contract, number string) error {
	return collect.DropPayers(ctx, tx, actor, contract, number)
}

func (agreedAccounts) Follow(ctx context.Context, tx *pg.Tx, actor, contract, number string, ended bool) error {
	return credential.MirrorOne(ctx, tx, actor, agreementEnded, contract, number, ended)
}

// agreed says what is done about charges by what is known of their agreements.
func (g *Gateway) agreed(ctx context.Context, tenant citygate.TenantID, c collect.Contract, p *adapters.Provider, charges []collect.Resting) ([]collect.Hold, error) {
	manages, ok := p.Agreements()
	if !ok {
		return nil, nil
	}
	questions := make([]agreement.Question, len(charges))
	for i, r := range charges {
		questions[i] = agreement.Question{Number: r.PayerRef, Amount: r.Amount, Made: r.Made, Prompt: r.Prompt}
	}
	rulings, err := g.Agreements.Check(ctx, tenant, c.Name, manages, questions)
	holds := make([]collect.Hold, len(rulings))
	for i, r := range rulings {
		holds[i] = collect.Hold(r)
	}
	return holds, err
}

// OpenAgreement gives what a rider opens to let the tenant charge him under a contract
// without being there. Nothing is agreed until he confirms.
func (g *Gateway) OpenAgreement(ctx context.Context, actor string, tenant citygate.TenantID, o agreement.Opening) (agreement.Agreement, driver.Invitation, error) {
	if err := g.may(ctx, tenant, tenants.Issuing); err != nil {
		return agreement.Agreement{}, driver.Invitation{}, err
	}
	c, _, err := g.agreementsOf(ctx, tenant, o.Contract)
	if err != nil {
		return agreement.Agreement{}, driver.Invitation{}, err
	}
	token, err := g.notifyToken(ctx, tenant, c.Name)
	if err != nil {
		return agreement.Agreement{}, driver.Invitation{}, err
	}
	o.NotifyURL = g.notifyURL(tenant, c.Adapter, token)
	return g.Agreements.Open(ctx, actor, tenant, o)
}

func (g *Gateway) agreementsOf(ctx context.Context, tenant citygate.TenantID, contract string) (collect.Contract, *adapters.Agreements, error) {
	var c collect.Contract
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		c, err = collect.FindContract(ctx, tx, contract)
		return err
	})
	if err != nil {
		return c, nil, err
	}
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return c, nil, err
	}
	manages, ok := p.Agreements()
	if !ok {
		return c, nil, ErrAgreement.Explain("contract %s: %s", c.Name, c.Adapter)
	}
	return c, manages, nil
}

// agreementsAPI is the edge's way to agreements.
func (g *Gateway) agreementsAPI() edge.Agreements {
	return edge.Agreements{
		Open: func(ctx context.Context, actor string, tenant citygate.TenantID, o edge.OpenAgreement) (edge.Invited, error) {
			a, invitation, err := g.OpenAgreement(ctx, actor, tenant, agreement.Opening{
				Contract: o.Contract, OurID: o.Name, Account: o.AccountID, Purpose: o.Purpose, SingleMax: o.SingleMax, ReturnURL: o.ReturnURL,
			})
			return edge.Invited{Agreement: AgreementView(&a), URL: invitation.URL}, err
		},
		List: func(ctx context.Context, tenant citygate.TenantID, contract, state string, account citygate.UUID, page edge.Page) (list []edge.Agreement, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := agreement.List(ctx, tx, agreement.Filter{Contract: contract, State: agreement.State(state), Account: account}, page.After, page.Limit)
				list = make([]edge.Agreement, len(found))
				for i := range found {
					list[i] = AgreementView(&found[i])
				}
				return err
			})
			return list, err
		},
		Show: func(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (v edge.Agreement, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				a, err := agreement.Find(ctx, tx, id)
				v = AgreementView(&a)
				return err
			})
			return v, err
		},
		Ask: func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (edge.Agreement, error) {
			a, err := g.Agreements.AskByID(ctx, actor, tenant, id)
			return AgreementView(&a), err
		},
		End: func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (edge.Agreement, error) {
			a, err := g.Agreements.End(ctx, actor, tenant, id)
			if a.Ending && (errors.Is(err, adapters.ErrOpen) || adapters.Certain(err)) {
				err = nil // it is on disk, and asked for until it is so
			}
			return AgreementView(&a), err
		},
	}
}

// AgreementView is an agreement as the API shows it.
func AgreementView(a *agreement.Agreement) edge.Agreement {
	v := edge.Agreement{
		ID: a.ID.Text(agreement.Prefix), Contract: a.Contract, Name: a.OurID, ProviderID: a.ProviderID, RiderRef: a.RiderRef, State: string(a.State),
		Linked: a.Linked, Ending: a.Ending, ValidFrom: unlessZero(a.ValidFrom), ValidTo: unlessZero(a.ValidTo), Reason: a.Reason, Error: a.Error,
		OpenedAt: a.OpenedAt.UTC(), ChangedAt: a.ChangedAt.UTC(), AskedAt: unlessZero(a.AskedAt), NextAskAt: unlessZero(a.NextAskAt), EndedAt: unlessZero(a.EndedAt),
	}
	if !a.Account.IsZero() {
		v.Account = a.Account.Text("acc_")
	}
	if a.SingleMax.Minor > 0 {
		v.SingleMax = &a.SingleMax
	}
	return v
}
