package gateway

import (
	"context"
	"encoding/json"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/pricing"
)

// SimulateTariff says what a draft of a tenant's tariff would have changed on a day.
func (g *Gateway) SimulateTariff(ctx context.Context, tenant citygate.TenantID, draft *fare.Tariff, date citygate.Date, limit int) (edge.TariffSimulation, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return edge.TariffSimulation{}, err
	}
	s, err := g.Pricing.Simulate(ctx, tenant, draft, date, limit)
	v := edge.TariffSimulation{Date: date.String(), Journeys: s.Journeys, Riders: s.Riders, Partial: s.Partial, BeforeMinor: s.Before, AfterMinor: s.After,
		Unknown: s.Unknown, Known: s.Known, Winners: s.Winners, Losers: s.Losers, Same: s.Same, Groups: make([]edge.SimulatedGroup, len(s.Groups))}
	for i, x := range s.Groups {
		v.Groups[i] = edge.SimulatedGroup{Category: x.Category, Riders: x.Riders, Journeys: x.Journeys, BeforeMinor: x.Before, AfterMinor: x.After}
	}
	return v, err
}

func (g *Gateway) simulateTariff(ctx context.Context, tenant citygate.TenantID, date citygate.Date, raw json.RawMessage) (edge.TariffSimulation, error) {
	draft, err := fare.ParseTariff(raw)
	if err != nil {
		return edge.TariffSimulation{}, err
	}
	return g.SimulateTariff(ctx, tenant, draft, date, pricing.SimulationAtOnce)
}
