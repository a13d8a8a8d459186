package gateway

import (
	"context"
	"errors"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrPush says that a contract tells its provider of denials, and the provider takes
// none.
var ErrPush = &citygate.Code{Name: "gateway.deny_push", Kind: citygate.Invalid,
	Title: "The contract tells its provider of denials, and the provider takes none. Take push_denials out of the contract."}

// pushesMost are the changes that one turn tells.
const pushesMost = 100

// pushesFailed are the calls in a row without an answer after which a turn ends.
const pushesFailed = 3

// tellProviders tells the providers of contracts that want it which of their riders the
// tenant denies and which it denies no more, beside the job. A change is a row before it
// is a call; an answer that is lost leaves it unknown, and the same is sent again under
// the same id before anything later of that rider is.
func (g *Gateway) tellProviders(ctx context.Context, tenant citygate.TenantID) error {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return err
	}
	var failed error
	for _, c := range contracts {
		f, err := adapters.FollowingOf(c.Adapter, c.Config)
		if err != nil || !f.PushDenials || c.State != "active" {
			continue // followLists says what is wrong with the configuration
		}
		var due bool
		err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			due, err = credential.PushesDue(ctx, tx, c.Name)
			return err
		})
		if err == nil && due {
			err = g.bulkhead.Do(ctx, collect.TaskPush, tenant, c.Name, func(ctx context.Context) error { return g.tellProvider(ctx, tenant, c) })
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (g *Gateway) tellProvider(ctx context.Context, tenant citygate.TenantID, c collect.Contract) error {
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return err
	}
	to, ok := p.DenyPush()
	if !ok {
		return ErrPush.Explain("contract %s: %s", c.Name, c.Adapter)
	}
	var send []credential.Push
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		send, err = credential.DuePushes(ctx, tx, c.Name, pushesMost)
		return err
	})
	var failed error
	told, inARow := 0, 0
	for i := range send {
		if err = errors.Join(err, ctx.Err()); err != nil || inARow == pushesFailed {
			break // what was not sent is looked at again: its row says unknown
		}
		change := &send[i]
		why := to.PushDeny(ctx, driver.DenyChange{
			OurID: change.OurID(tenant), RiderRef: change.RiderRef, Denied: change.Denied, Reason: strings.ReplaceAll(change.Reason, "_", " "), At: change.DecidedAt,
		})
		if inARow++; why == nil {
			told, inARow = told+1, 0
		}
		failed = errors.Join(failed, why)
		err = g.DB.InTenant(context.WithoutCancel(ctx), tenant, func(tx *pg.Tx) error {
			if why == nil {
				return credential.Told(ctx, tx, change)
			}
			return credential.NotTold(ctx, tx, change, adapters.Certain(why), clipText(why.Error(), 500))
		})
	}
	if failed != nil {
		g.Log.WarnContext(ctx, "a provider was not told of denials", "tenant", tenant, "contract", c.Name, "error", failed)
	}
	if told > 0 {
		failed = nil // it is there; one rider whom it does not take holds up no other
	}
	return errors.Join(err, failed) // the breaker counts it
}

func clipText(text string, most int) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	return string(runes[:min(len(runes), most)])
}

// DenialPushes gives what providers were told of denials, and what is under way.
func (g *Gateway) DenialPushes(ctx context.Context, tenant citygate.TenantID, contract, state string, page edge.Page) (views []edge.DenialPush, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := credential.Pushes(ctx, tx, contract, credential.PushState(state), page.After, page.Limit)
		views = make([]edge.DenialPush, len(found))
		for i, p := range found {
			views[i] = edge.DenialPush{ID: p.Account.Text("acc_"), Contract: p.Contract, RiderRef: p.RiderRef, Denied: p.Denied, Told: p.Told, Reason: p.Reason, State: string(p.State),
				Changed: p.Touched, OurID: p.OurID(tenant), DecidedAt: p.DecidedAt.UTC(), Attempts: p.Attempts, NextTryAt: p.NextTryAt.UTC(), ToldAt: unlessZero(p.ToldAt), Error: p.Error}
		}
		return err
	})
	return views, err
}
