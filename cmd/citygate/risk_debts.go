package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A debtLine is a debt as it is printed.
type debtLine struct {
	ID       string         `json:"id"`
	Account  string         `json:"account"`
	State    string         `json:"state"`
	Opened   citygate.Money `json:"opened"`
	Left     citygate.Money `json:"left"`
	Reversal string         `json:"reversal,omitempty"`
	Blocks   bool           `json:"blocks"`
}

func newRiskDebtsCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, state string
	c := &cobra.Command{
		Use:     "debts --tenant TENANT [--state STATE]",
		Short:   "List what riders owe after declined charges and payments that were taken back",
		Example: `  citygate risk debts --tenant harbour-metro --state open`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return &usageError{errors.New("risk debts needs --tenant")}
			}
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				const page = 500
				var after citygate.UUID
				for {
					found, err := collect.Debts(cmd.Context(), tx, state, citygate.UUID{}, after, page)
					if err != nil {
						return err
					}
					for _, d := range found {
						l := debtLine{ID: d.ID.Text("dbt_"), Account: d.Account.Text("acc_"), State: d.State, Opened: d.Opened, Left: d.Left, Blocks: d.Blocks}
						if !d.Reversal.IsZero() {
							l.Reversal = d.Reversal.Text("rvs_")
						}
						if err := out.Encode(l); err != nil {
							return err
						}
						after = d.ID
					}
					if len(found) < page {
						return nil
					}
				}
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant (required)")
	c.Flags().StringVar(&state, "state", "", "open, recovered, corrected or written_off")
	return c
}

func newSettleChargesCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, state string
	var limit int
	c := &cobra.Command{
		Use:     "charges --tenant TENANT [--state STATE] [--limit N]",
		Short:   "List payments that were asked of providers, with the id that providers know them by",
		Example: `  citygate settle charges --tenant harbour-metro --state succeeded --limit 20`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || limit < 0 {
				return &usageError{errors.New("settle charges needs --tenant")}
			}
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				const page = 500
				var after citygate.UUID
				for n := 0; ; {
					found, err := collect.Charges(cmd.Context(), tx, after, page)
					if err != nil {
						return err
					}
					for _, ch := range found {
						after = ch.ID
						if state != "" && ch.State != state {
							continue
						}
						if err := out.Encode(map[string]any{"id": ch.ID.Text("chg_"), "payment": ch.OurID, "contract": ch.Contract, "kind": ch.Kind, "state": ch.State,
							"amount_minor": ch.Amount.Minor, "currency": ch.Amount.Currency}); err != nil {
							return err
						}
						if n++; n == limit {
							return nil
						}
					}
					if len(found) < page {
						return nil
					}
				}
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant (required)")
	c.Flags().StringVar(&state, "state", "", "such as succeeded or declined")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 = all")
	return c
}
