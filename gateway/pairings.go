package gateway

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/tenants"
)

func (g *Gateway) pairings() edge.Pairings {
	return edge.Pairings{Create: g.createPairing, List: g.listPairings, Withdraw: g.Fleet.WithdrawPairing, Redeem: g.redeemPairing}
}

// Pair makes a pairing code for a device that is to be t, and gives its text,
// which is shown once.
func (g *Gateway) Pair(ctx context.Context, actor string, tenant citygate.TenantID, t fleet.Terminal) (fleet.Pairing, citygate.Secret, error) {
	if err := g.byHand(ctx, tenant, manifest.KindTerminal, terminalNames(t.ID)...); err != nil {
		return fleet.Pairing{}, citygate.Secret{}, err
	}
	t.Mode = terminalMode(string(t.Kind))
	return g.Fleet.Pair(ctx, actor, tenant, t, g.Random)
}

func (g *Gateway) createPairing(ctx context.Context, actor string, tenant citygate.TenantID, want edge.PairTerminal) (edge.NewPairingCode, error) {
	p, code, err := g.Pair(ctx, actor, tenant, fleet.Terminal{
		ID: want.ID, Name: want.Name, Kind: fleet.Kind(want.Kind), Stop: want.Stop, Route: want.Route, Vehicle: want.Vehicle,
	})
	if err != nil {
		return edge.NewPairingCode{}, err
	}
	return edge.NewPairingCode{PairingCode: pairingView(p), Code: string(code.Reveal())}, nil
}

func pairingView(p fleet.Pairing) edge.PairingCode {
	t := p.Terminal
	return edge.PairingCode{
		Pairing:   p.ID.Text(fleet.PairingPrefix),
		Terminal:  edge.PairTerminal{ID: t.ID, Name: t.Name, Kind: string(t.Kind), Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle},
		CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt,
	}
}

func (g *Gateway) listPairings(ctx context.Context, tenant citygate.TenantID) ([]edge.PairingCode, error) {
	all, err := g.Fleet.Pairings(ctx, tenant)
	views := make([]edge.PairingCode, len(all))
	for i, p := range all {
		views[i] = pairingView(p)
	}
	return views, err
}

// redeemPairing enrols a device. A tenant that may not be set up any more
// answers as one that made no such code.
func (g *Gateway) redeemPairing(ctx context.Context, tenant citygate.TenantID, r edge.RedeemPairing) (edge.PairedTerminal, error) {
	if err := g.may(ctx, tenant, tenants.Configuring); errors.Is(err, tenants.ErrNotFound) || errors.Is(err, tenants.ErrState) {
		return edge.PairedTerminal{}, fleet.ErrPairing.Because(nil, "%v", err) // not as its cause: what that explains is not the stranger's
	} else if err != nil {
		return edge.PairedTerminal{}, err
	}
	t, err := g.Fleet.Redeem(ctx, tenant, r.Code, r.PublicKey, r.Signature)
	if err != nil {
		return edge.PairedTerminal{}, err
	}
	return edge.PairedTerminal{Tenant: int64(tenant), Terminal: terminalView(t, nil)}, nil
}
