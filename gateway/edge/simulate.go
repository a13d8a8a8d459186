package edge

import (
	"context"
	"encoding/json"

	"github.com/cashlesscity/citygate"
)

// A TariffSimulation is what a day would have cost by a draft of the tariff. Numbers
// that fewer than 10 riders are behind are -1.
type TariffSimulation struct {
	Date        string           `json:"date" format:"date"`
	Journeys    int              `json:"journeys" doc:"that both tariffs price"`
	Riders      int              `json:"riders" doc:"who took them"`
	Partial     bool             `json:"partial" doc:"there were too many journeys; only those of some riders were priced"`
	BeforeMinor int64            `json:"before_minor"`
	AfterMinor  int64            `json:"after_minor" doc:"over these journeys"`
	Unknown     int              `json:"unknown" doc:"further journeys, that the draft cannot price; -1 = withheld"`
	Known       int              `json:"known" doc:"further journeys, that are set aside and that the draft prices; -1 = withheld"`
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
