package gateway

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// bundleReach tells which of an operator's terminals hold a bundle; version 0 is
// the latest.
func (g *Gateway) bundleReach(ctx context.Context, tenant citygate.TenantID, version uint64, days int) (edge.BundleReach, error) {
	latest, err := g.Bundles.Latest(ctx, tenant)
	if err != nil {
		return edge.BundleReach{}, err
	}
	reach := edge.BundleReach{Version: version, Latest: latest.Version, Laggards: []edge.BundleHeld{}}
	if version == 0 {
		reach.Version = latest.Version
	}
	draft, err := g.Bundles.Draft(ctx, tenant)
	if err != nil && !errors.Is(err, fleet.ErrNoBundle) {
		return edge.BundleReach{}, err
	}
	reach.Waiting = draft.Version
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		a, err := fleet.Acknowledged(ctx, tx, reach.Version, tx.Now.AddDate(0, 0, -days))
		reach.Seen, reach.More, reach.Laggards = a.Seen, a.More, reach.Laggards[:0]
		for _, t := range a.Laggards {
			reach.Laggards = append(reach.Laggards, edge.BundleHeld{Terminal: t.ID, Name: t.Name, Bundle: t.BundleFloor, SeenAt: t.SeenAt})
		}
		return err
	})
	return reach, err
}
