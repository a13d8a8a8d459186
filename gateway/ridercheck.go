package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A provider that is asked how a payer stands is heard as one that tells: who is blocked,
// frozen, gone or owes there is denied here, who stands well is let go, and of whom
// nobody can say nothing changes. It is asked outside of transactions before a debt is
// tried again and once it is recovered, when somebody wants to know, and, where the contract
// says check_riders, when a rider's account is opened under it. Who is denied for what was
// said is asked after daily, until it is otherwise or somebody lets him go. What is said
// counts for accounts of the contract; one that has it as a further contract can be
// collected elsewhere.

// ErrRiderCheck refuses to ask a provider that says nothing of single payers.
var ErrRiderCheck = &citygate.Code{Name: "gateway.rider_check", Kind: citygate.Invalid,
	Title: "The contract's provider does not say how single payers stand. Give a contract whose provider does; others tell by notifications and lists."}

// riderActor writes what follows from questions that nobody asked for.
const riderActor = "system:riders"

const ridersAtOnce = 4

// askRider asks how a payer stands and follows what is said. What is denied by a notice
// that came while it was asked stays so: nobody knows which is the newer. Some states
// may be left to others.
func (g *Gateway) askRider(ctx context.Context, actor string, tenant citygate.TenantID, contract string, check *adapters.RiderCheck, riderRef string, but ...driver.RiderState) (driver.RiderStatus, error) {
	var begun time.Time
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { begun = tx.Now; return nil }); err != nil {
		return driver.RiderStatus{}, err
	}
	s, err := check.RiderState(ctx, driver.RiderQuestion{RiderRef: riderRef, AgreementID: riderRef})
	if err != nil || slices.Contains(but, s.State) {
		return s, err
	}
	ctx = context.WithoutCancel(ctx) // it was said: who asked may have gone
	return s, g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		told, err := collect.ToldSince(ctx, tx, contract, riderRef, begun)
		if err != nil || told {
			return err
		}
		if err := followRider(ctx, tx, actor, contract, riderRef, s.State); err != nil {
			return err
		}
		switch s.State {
		case driver.RiderUnknown: // it is asked again in its time
			return nil
		case driver.RiderNormal:
			return credential.AskNoMore(ctx, tx, contract, riderRef)
		case driver.RiderBlocked, driver.RiderOverdue, driver.RiderFrozen, driver.RiderDeleted:
		}
		return credential.AskAgain(ctx, tx, contract, riderRef)
	})
}

// followRider denies a rider of whom the provider says that he cannot pay, and lets him
// go when it says that he can.
func followRider(ctx context.Context, tx *pg.Tx, actor, contract, riderRef string, state driver.RiderState) error {
	switch state {
	case driver.RiderNormal:
		return credential.MirrorOne(ctx, tx, actor, providerList, contract, riderRef, false)
	case driver.RiderBlocked, driver.RiderOverdue, driver.RiderFrozen, driver.RiderDeleted:
		return credential.MirrorOne(ctx, tx, actor, providerList, contract, riderRef, true)
	case driver.RiderUnknown:
	}
	return nil
}

// AskPayer asks a contract's provider how the payer of an account stands. What nobody can
// say is the state unknown, and no error.
func (g *Gateway) AskPayer(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, contract string) (edge.PayerState, error) {
	var riderRef string
	var c collect.Contract
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		a, err := credential.AccountByID(ctx, tx, account)
		if err != nil {
			return err
		}
		if riderRef = a.RiderRef; a.Contract != contract {
			payers, err := collect.PayersOf(ctx, tx, account)
			if riderRef = payers[contract]; err != nil || riderRef == "" {
				return errors.Join(err, credential.ErrNoAccount.Explain("the account has no payer under contract %.40q", contract))
			}
		}
		c, err = collect.FindContract(ctx, tx, contract)
		return err
	})
	if err != nil {
		return edge.PayerState{}, err
	}
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return edge.PayerState{}, err
	}
	check, ok := p.RiderCheck()
	if !ok {
		return edge.PayerState{}, ErrRiderCheck.Explain("contract %s: %s", c.Name, c.Adapter)
	}
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payer.ask", Object: "account:" + account.Text("acc_"), After: map[string]any{"contract": c.Name}})
	}); err != nil {
		return edge.PayerState{}, err
	}
	s, err := g.askRider(ctx, actor, tenant, c.Name, check, riderRef)
	v := edge.PayerState{Contract: c.Name, RiderRef: riderRef, State: "unknown", Reason: s.ReasonCode}
	if errors.Is(err, adapters.ErrOpen) || adapters.Certain(err) {
		code, _ := errors.AsType[*citygate.Code](err)
		v.Reason = code.Name
		return v, nil
	}
	if s.State != driver.RiderUnknown {
		v.State = string(s.State)
	}
	if s.Owes.Minor > 0 {
		v.Owes = &s.Owes
	}
	return v, err
}

// ridersMost are the riders that one turn asks after.
const ridersMost = 200

// askRiders asks providers after riders whose accounts were opened or who are denied for
// what was said of them, where it is due, beside the job. A question is a row before it is
// a call: whoever dies has it asked again. One that nobody answers stops no rider and lets
// none go.
func (g *Gateway) askRiders(ctx context.Context, tenant citygate.TenantID) error {
	return g.eachDue(ctx, collect.TaskRiders, tenant, credential.QuestionsDue, g.askRidersOf)
}

func (g *Gateway) askRidersOf(ctx context.Context, tenant citygate.TenantID, c collect.Contract) error {
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return err
	}
	var riders []string
	if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		riders, err = credential.DueQuestions(ctx, tx, c.Name, providerList, ridersMost)
		return err
	}); err != nil {
		return err
	}
	check, ok := p.RiderCheck()
	if !ok {
		return ErrRiderCheck.Explain("contract %s: %s; take check_riders out of it", c.Name, c.Adapter)
	}
	failed, inARow, answered := error(nil), 0, false
	for _, rider := range riders {
		if ctx.Err() != nil || inARow == pushesFailed {
			break // they are due again
		}
		_, err := g.askRider(ctx, riderActor, tenant, c.Name, check, rider)
		if inARow++; err == nil {
			inARow, answered = 0, true
		}
		failed = errors.Join(failed, err)
	}
	if answered {
		failed = nil // it is there; one rider of whom it does not speak holds up no other
	}
	return failed // the breaker counts it
}

// standings asks after payers whose debts are about to be tried again, or were recovered.
// Whatever is said until ctx ends, and if nothing is, the debts are tried. That somebody is overdue is
// what is being seen to, and denied as a debt.
func (g *Gateway) standings(ctx context.Context, tenant citygate.TenantID, c collect.Contract, p *adapters.Provider, payers []string) {
	check, ok := p.RiderCheck()
	if !ok {
		return
	}
	var asking sync.WaitGroup
	for first := range min(ridersAtOnce, len(payers)) {
		asking.Go(func() {
			for i := first; i < len(payers) && ctx.Err() == nil; i += ridersAtOnce {
				if _, err := g.askRider(ctx, riderActor, tenant, c.Name, check, payers[i], driver.RiderOverdue); err != nil {
					g.Log.InfoContext(ctx, "a provider did not say how a payer stands", "tenant", tenant, "contract", c.Name, "error", err)
				}
			}
		})
	}
	asking.Wait()
}
