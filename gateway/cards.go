package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrCard refuses the state of a card that no wallet can be told.
var ErrCard = &citygate.Code{Name: "gateway.card", Kind: citygate.Invalid,
	Title: "The contract shows no cards of the tenant in wallets, or the card cannot be so. Give a contract with a card_type, a card number and its rider."}

// PushCard has the wallet of a rider show a card of the tenant's as it is now: enabled,
// or disabled because the rider owes or the card is given up. The tenant numbers its
// cards itself; the gateway keeps none. The newest state wins, so after an error the
// same is sent again. The log has what was asked before it is asked.
func (g *Gateway) PushCard(ctx context.Context, actor string, tenant citygate.TenantID, contract string, card driver.CardState) error {
	if card.CardRef == "" || card.RiderRef == "" || card.Overdue && !card.Disabled {
		return ErrCard.Explain("card %.40q of rider %.40q: want both, and an overdue card disabled", card.CardRef, card.RiderRef)
	}
	var c collect.Contract
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		card.At = tx.Now
		c, err = collect.FindContract(ctx, tx, contract)
		return err
	})
	if err != nil {
		return err
	}
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return err
	}
	issuer, ok := p.CardIssuer()
	if !ok {
		return ErrCard.Explain("contract %s: %s", c.Name, c.Adapter)
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "wallet_card.push", Object: "contract:" + c.Name,
			After: map[string]any{"card": card.CardRef, "disabled": card.Disabled, "overdue": card.Overdue}})
	})
	if err != nil {
		return err
	}
	return issuer.PushCard(ctx, card)
}
