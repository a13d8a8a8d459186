package gateway

import (
	"context"
	"fmt"
	"regexp"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrAgreement refuses what cannot be asked about a rider's agreement.
var ErrAgreement = &citygate.Code{Name: "gateway.agreement", Kind: citygate.Invalid,
	Title: "The contract has no such agreements with riders. Give a contract that collects on agreements, and 1 to 32 letters, digits and underscores."}

var agreementName = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)

// InviteRider gives what a rider opens to let the tenant charge him under a contract
// without being there. ours names the agreement for ever; the same again is the same
// agreement. Nothing is agreed until the rider confirms, and nothing is sent from here.
func (g *Gateway) InviteRider(ctx context.Context, actor string, tenant citygate.TenantID, contract, ours, returnURL string) (driver.Invitation, error) {
	if err := g.may(ctx, tenant, tenants.Issuing); err != nil {
		return driver.Invitation{}, err
	}
	c, manages, err := g.agreementsOf(ctx, tenant, contract)
	if err != nil {
		return driver.Invitation{}, err
	}
	if !agreementName.MatchString(ours) {
		return driver.Invitation{}, ErrAgreement.Explain("agreement %.40q", ours)
	}
	token, err := g.notifyToken(ctx, tenant, c.Name)
	if err != nil {
		return driver.Invitation{}, err
	}
	invitation, err := manages.OpenAgreement(ctx, driver.AgreementRequest{OurID: ours, NotifyURL: g.notifyURL(tenant, c.Adapter, token), ReturnURL: returnURL})
	if err != nil {
		return driver.Invitation{}, err
	}
	return invitation, g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "agreement.invite", Object: "contract:" + c.Name, After: map[string]any{"agreement": ours}})
	})
}

// RiderAgreement asks the provider how an agreement stands, by the tenant's name of it
// or the provider's own. What it says for good is followed as its notices are: the rider
// of an agreement that is over is denied before a charge of his is refused, and let go
// when it is in force.
func (g *Gateway) RiderAgreement(ctx context.Context, tenant citygate.TenantID, contract string, a driver.Agreement) (driver.Agreement, error) {
	c, manages, err := g.agreementsOf(ctx, tenant, contract)
	if err != nil {
		return driver.Agreement{}, err
	}
	if a.OurID == "" && a.ID == "" {
		return driver.Agreement{}, ErrAgreement.Explain("no agreement is named")
	}
	found, err := manages.QueryAgreement(ctx, a)
	if err != nil {
		return driver.Agreement{}, err
	}
	return found, g.followAgreement(ctx, tenant, c, found)
}

// EndAgreement ends an agreement at the provider. Twice is once. One that the provider
// ends later stays active until it says so.
func (g *Gateway) EndAgreement(ctx context.Context, actor string, tenant citygate.TenantID, contract string, a driver.Agreement) (driver.Agreement, error) {
	c, manages, err := g.agreementsOf(ctx, tenant, contract)
	if err != nil {
		return driver.Agreement{}, err
	}
	if a.OurID == "" && a.ID == "" {
		return driver.Agreement{}, ErrAgreement.Explain("no agreement is named")
	}
	// Asked for before it is done: whatever becomes of the call, the log has it.
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "agreement.end", Object: "contract:" + c.Name, After: map[string]any{"agreement": a.OurID, "provider_id": a.ID}})
	})
	if err != nil {
		return driver.Agreement{}, err
	}
	known, err := manages.QueryAgreement(ctx, a)
	if err != nil {
		return driver.Agreement{}, fmt.Errorf("nothing was ended: %w", err)
	}
	if known.ID != "" {
		a.ID = known.ID
	}
	ended, err := manages.CloseAgreement(ctx, a)
	if err != nil {
		return driver.Agreement{}, err
	}
	return ended, g.followAgreement(ctx, tenant, c, ended)
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

// followAgreement has accounts follow what a provider says of an agreement, as its
// notices have them.
func (g *Gateway) followAgreement(ctx context.Context, tenant citygate.TenantID, c collect.Contract, a driver.Agreement) error {
	if a.ID == "" || a.State != driver.AgreementActive && a.State != driver.AgreementEnded {
		return nil
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return credential.MirrorOne(ctx, tx, notifyActor, agreementEnded, c.Name, a.ID, a.State == driver.AgreementEnded)
	})
}
