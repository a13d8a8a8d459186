package edge

import (
	"context"
	"encoding/json"

	"github.com/cashlesscity/citygate"
)

// A TariffSimulation is what a day would have cost by a draft of the tariff.
type TariffSimulation struct {
	Date        string           `json:"date" format:"date"`
	Journeys    int              `json:"journeys"`
	Riders      int              `json:"riders"`
	Partial     bool             `json:"partial" doc:"not all journeys of the day were priced: there were too many"`
	BeforeMinor int64            `json:"before_minor"`
	AfterMinor  int64            `json:"after_minor" doc:"over the journeys that both price"`
	Unknown     int              `json:"unknown" doc:"journeys that the draft cannot price"`
	Known       int              `json:"known" doc:"journeys that are set aside and that the draft prices"`
	Winners     int              `json:"winners" doc:"riders who would have paid less over the day; -1 = withheld"`
	Losers      int              `json:"losers" doc:"likewise, more"`
	Same        int              `json:"same"`
	Groups      []SimulatedGroup `json:"groups"`
}

// A SimulatedGroup is what changes for the riders of a category.
type SimulatedGroup struct {
	Category    string `json:"category" doc:"empty: several small ones together"`
	Riders      int    `json:"riders"`
	Journeys    int    `json:"journeys"`
	BeforeMinor int64  `json:"before_minor"`
	AfterMinor  int64  `json:"after_minor"`
}

func (e *Edge) simulationRoutes() {
	register(e, post("simulate-tariff", "/v1/tenants/{tenant}/tariff-simulations", "What a draft of the tariff would have changed on a day of the past; nothing is kept", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Body struct {
				Date   string          `json:"date" format:"date" doc:"business date"`
				Tariff json.RawMessage `json:"tariff" doc:"the draft, as for publish-tariff"`
			}
		}) (*body[TariffSimulation], error) {
			date, err := citygate.ParseDate(r.Body.Date)
			if err != nil {
				return nil, errBody.Explain("date: want YYYY-MM-DD")
			}
			return respond(e.Simulate(ctx, r.id(), date, r.Body.Tariff))
		})
}
