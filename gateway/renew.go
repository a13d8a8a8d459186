package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// renewer is how the audit log names bundles that were published because the
// one before grew old.
const renewer = "system:bundles"

// renew publishes an operator's bundle again under the profile it has, so that
// terminals never run out of trust while somebody keeps the gateway running. A
// bundle in the first quarter of its life is left as it is.
func (g *Gateway) renew(ctx context.Context, operator citygate.TenantID, held fleet.Published) (fleet.Published, error) {
	b, _, err := bundle.Inspect(held.Body)
	if err != nil {
		return fleet.Published{}, err
	}
	profile := fleet.Profile{Operator: operator, MinBundle: b.MinBundle, DenyFloors: b.DenyFloors}
	for _, t := range b.Tenants {
		if t.ID == operator {
			profile.Policy = fleet.Policy{Version: t.PolicyVersion, Body: t.Policy}
		} else {
			profile.Accepts = append(profile.Accepts, t.ID)
		}
		profile.MaxTTLHours = max(profile.MaxTTLHours, t.MaxTTLHours)
	}
	return g.Bundles.Publish(ctx, renewer, profile)
}
