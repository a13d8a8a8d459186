package gateway

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrCard refuses the state of a card that no wallet can be told.
var ErrCard = &citygate.Code{Name: "gateway.card", Kind: citygate.Invalid,
	Title: "The contract shows no cards of the tenant in wallets, or the card cannot be so. Give a contract with a card_type, a card number and its rider."}

// AddCard notes a card of the tenant's in a rider's wallet. The wallet is told of it by
// due work, and of every change.
func (g *Gateway) AddCard(ctx context.Context, actor string, tenant citygate.TenantID, p credential.PutCard) (c credential.Card, err error) {
	if err := g.may(ctx, tenant, tenants.Issuing); err != nil {
		return c, err
	}
	if p.Ref == "" || p.RiderRef == "" {
		return c, ErrCard.Explain("card %.40q of rider %.40q: want both", p.Ref, p.RiderRef)
	}
	if _, _, err := g.cardIssuer(ctx, tenant, p.Contract); err != nil {
		return c, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		c, err = credential.AddCard(ctx, tx, actor, p)
		return err
	})
	return c, err
}

// PushCard has the wallet of a rider show a card of the tenant's as it is now: enabled,
// or disabled because the rider owes or the card is given up. It is told at once; where
// that fails the row has it told again by due work. An answer that was open before it is
// asked for first, in its time.
func (g *Gateway) PushCard(ctx context.Context, actor string, tenant citygate.TenantID, contract string, card driver.CardState) error {
	if card.CardRef == "" || card.RiderRef == "" || card.Overdue && !card.Disabled {
		return ErrCard.Explain("card %.40q of rider %.40q: want both, and an overdue card disabled", card.CardRef, card.RiderRef)
	}
	c, issuer, err := g.cardIssuer(ctx, tenant, contract)
	if err != nil {
		return err
	}
	locked := credential.CardShow("")
	switch {
	case card.Overdue:
		locked = credential.CardOverdue
	case card.Disabled:
		locked = credential.CardRevoked
	}
	var row credential.Card
	var send []credential.Card
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if row, err = credential.AddCard(ctx, tx, actor, credential.PutCard{Contract: contract, Ref: card.CardRef, RiderRef: card.RiderRef}); err != nil {
			return err
		}
		if row, err = credential.SetCard(ctx, tx, actor, row.ID, locked, card.Tip, true); err != nil {
			return err
		}
		send, err = credential.DueCards(ctx, tx, contract, locksCards(c), row.ID, 1)
		return err
	})
	if err != nil {
		return err
	}
	if len(send) == 0 {
		return adapters.ErrOpen.Explain("a change before this one is open still; this one follows it")
	}
	why, err := g.tellWallet(ctx, tenant, issuer, &send[0])
	return errors.Join(why, err)
}

func (g *Gateway) cardIssuer(ctx context.Context, tenant citygate.TenantID, contract string) (c collect.Contract, issuer *adapters.CardIssuer, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		c, err = collect.FindContract(ctx, tx, contract)
		return err
	})
	if err != nil {
		return c, nil, err
	}
	issuer, err = g.issuerOf(ctx, tenant, c)
	return c, issuer, err
}

func (g *Gateway) issuerOf(ctx context.Context, tenant citygate.TenantID, c collect.Contract) (*adapters.CardIssuer, error) {
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return nil, err
	}
	issuer, ok := p.CardIssuer()
	if !ok {
		return nil, ErrCard.Explain("contract %s: %s", c.Name, c.Adapter)
	}
	return issuer, nil
}

// locksCards reports whether what riders owe locks their cards under a contract.
func locksCards(c collect.Contract) bool {
	f, err := adapters.FollowingOf(c.Adapter, c.Config)
	return err == nil && f.LockCards
}

// tellWallet sends a change that is on disk and notes what became of it. why says that the
// wallet did not take it, err that this could not be noted.
func (g *Gateway) tellWallet(ctx context.Context, tenant citygate.TenantID, issuer *adapters.CardIssuer, c *credential.Card) (why, err error) {
	why = issuer.PushCard(ctx, driver.CardState{
		CardRef: c.Ref, RiderRef: c.RiderRef, Disabled: c.Wanted != credential.CardEnabled, Overdue: c.Wanted == credential.CardOverdue, Tip: c.WantedTip, At: c.DecidedAt,
	})
	if why != nil {
		return why, g.cardNotTold(ctx, tenant, c, why, adapters.Certain(why))
	}
	return nil, g.DB.InTenant(context.WithoutCancel(ctx), tenant, func(tx *pg.Tx) error { return credential.CardTold(ctx, tx, c) })
}

func (g *Gateway) cardNotTold(ctx context.Context, tenant citygate.TenantID, c *credential.Card, why error, certain bool) error {
	return g.DB.InTenant(context.WithoutCancel(ctx), tenant, func(tx *pg.Tx) error {
		return credential.CardNotTold(ctx, tx, c, certain, clipText(why.Error(), 500))
	})
}

// tellWallets tells riders' wallets how the tenant's cards are, as [Gateway.tellProviders]
// tells of denials: the change is a row before it is a call.
func (g *Gateway) tellWallets(ctx context.Context, tenant citygate.TenantID) error {
	return g.eachDue(ctx, collect.TaskCards, tenant, credential.CardsDue, g.tellCards)
}

// eachDue does a task of each active contract of a tenant that has any due, beside all
// others.
func (g *Gateway) eachDue(ctx context.Context, task collect.Task, tenant citygate.TenantID,
	dueOf func(context.Context, *pg.Tx, string) (bool, error), do func(context.Context, citygate.TenantID, collect.Contract) error) error {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return err
	}
	var failed error
	for _, c := range contracts {
		if c.State != "active" {
			continue
		}
		var due bool
		err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			due, err = dueOf(ctx, tx, c.Name)
			return err
		})
		if err == nil && due {
			err = g.bulkhead.Do(ctx, task, tenant, c.Name, func(ctx context.Context) error { return do(ctx, tenant, c) })
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (g *Gateway) tellCards(ctx context.Context, tenant citygate.TenantID, c collect.Contract) error {
	issuer, err := g.issuerOf(ctx, tenant, c)
	if err != nil && !errors.Is(err, ErrCard) {
		return err
	}
	none := err // the contract shows cards no more: the rows say so, and are tried again in hours
	var send []credential.Card
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		send, err = credential.DueCards(ctx, tx, c.Name, locksCards(c), citygate.UUID{}, pushesMost)
		return err
	})
	var failed error
	told, inARow := 0, 0
	for i := range send {
		if err = errors.Join(err, ctx.Err()); err != nil || inARow == pushesFailed {
			break // what was not sent is looked at again: its row says unknown
		}
		if none != nil {
			err = g.cardNotTold(ctx, tenant, &send[i], none, true)
			continue
		}
		var why error
		why, err = g.tellWallet(ctx, tenant, issuer, &send[i])
		if inARow++; why == nil {
			told, inARow = told+1, 0
		}
		failed = errors.Join(failed, why)
	}
	if told > 0 {
		failed = nil // it is there; one card that it does not take holds up no other
	}
	return errors.Join(err, failed) // the breaker counts it
}

// cardsAPI is the edge's way to cards in wallets.
func (g *Gateway) cardsAPI() edge.Cards {
	return edge.Cards{
		Add: func(ctx context.Context, actor string, tenant citygate.TenantID, a edge.AddCard) (edge.Card, error) {
			c, err := g.AddCard(ctx, actor, tenant, credential.PutCard{Contract: a.Contract, Ref: a.Card, RiderRef: a.RiderRef, Account: a.AccountID})
			return CardView(&c), err
		},
		List: func(ctx context.Context, tenant citygate.TenantID, contract, state string, account citygate.UUID, page edge.Page) (list []edge.Card, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := credential.Cards(ctx, tx, credential.CardFilter{Contract: contract, State: credential.PushState(state), Account: account}, page.After, page.Limit)
				list = make([]edge.Card, len(found))
				for i := range found {
					list[i] = CardView(&found[i])
				}
				return err
			})
			return list, err
		},
		Show: func(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (v edge.Card, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				c, err := credential.FindCard(ctx, tx, id)
				v = CardView(&c)
				return err
			})
			return v, err
		},
		Lock: func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, locked, tip string) (v edge.Card, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				c, err := credential.SetCard(ctx, tx, actor, id, credential.CardShow(locked), tip, false)
				v = CardView(&c)
				return err
			})
			return v, err
		},
	}
}

// CardView is a card as the API shows it.
func CardView(c *credential.Card) edge.Card {
	v := edge.Card{
		ID: c.ID.Text(credential.CardPrefix), Contract: c.Contract, Card: c.Ref, RiderRef: c.RiderRef, Locked: string(c.Locked), Tip: c.Tip, Told: string(c.Told), Wanted: string(c.Wanted),
		State: string(c.State), Changed: c.Touched, Attempts: c.Attempts, NextTryAt: c.NextTryAt.UTC(), ToldAt: unlessZero(c.ToldAt), Error: c.Error, CreatedAt: c.CreatedAt.UTC(),
	}
	if !c.Account.IsZero() {
		v.Account = c.Account.Text("acc_")
	}
	return v
}
