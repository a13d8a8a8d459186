package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/pricing"
)

func newFareSimulateCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, file, day string
	var limit int
	c := &cobra.Command{
		Use:   "simulate --tenant TENANT --tariff FILE --date DATE",
		Short: "What a draft of the tariff would have changed on a day",
		Long: `Prices the journeys that began on a business date as if the draft had been the tariff on that day, by the code
that prices, with transfers, caps and rights, and prints one line of JSON: what riders paid and would have paid, how
many would have paid less (winners), more (losers) and the same, journeys that the draft cannot price, and the same by
category. Numbers below 10 riders, and those they would follow from, are -1; categories of fewer are put together. It
changes nothing.`,
		Example: `  citygate fare simulate --tenant harbour-metro --tariff draft.json --date 2026-11-21 --data /var/lib/citygate/serve`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			date, err := citygate.ParseDate(day)
			if limit < 1 {
				return &usageError{errors.New("--limit: want at least 1 journey")}
			}
			if err != nil {
				return &usageError{fmt.Errorf("--date: %w", err)}
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			draft, err := fare.ParseTariff(raw)
			if err != nil {
				return err
			}
			in, err := f.reading(cmd.Context(), sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(cmd.Context())) }()
			t, err := in.tenant(cmd.Context(), name)
			if err != nil {
				return err
			}
			s, err := in.SimulateTariff(cmd.Context(), t.ID, draft, date, limit)
			if err != nil {
				return err
			}
			line, err := json.Marshal(s)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(sys.Stdout, string(line))
			return err
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant")
	c.Flags().StringVar(&file, "tariff", "", "the draft, JSON")
	c.Flags().StringVar(&day, "date", "", "business date that is over")
	c.Flags().IntVar(&limit, "limit", pricing.SimulationMax, "journeys after which no further riders are taken")
	required(c, "tenant", "tariff", "date")
	return c
}
