package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/sales"
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
	Sale     string         `json:"sale,omitempty"` // of which the rider used what he owes
	Tries    int            `json:"tries"`
	RetryAt  *time.Time     `json:"retry_at,omitempty"` // absent: not tried again by itself
	RetryBy  string         `json:"retry_by,omitempty"` // who asked for the next try or, without one, for the last
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
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				return eachPage(func(last *collect.DebtView) ([]collect.DebtView, error) {
					return collect.Debts(cmd.Context(), tx, state, citygate.UUID{}, last.ID, pageRows)
				}, func(d *collect.DebtView) error {
					l := debtLine{ID: d.ID.Text("dbt_"), Account: d.Account.Text("acc_"), State: d.State, Opened: d.Opened, Left: d.Left, Blocks: d.Blocks}
					l.Tries, l.RetryBy = d.Tries, d.RetryBy
					if !d.RetryAt.IsZero() {
						l.RetryAt = &d.RetryAt
					}
					if !d.Reversal.IsZero() {
						l.Reversal = d.Reversal.Text("rvs_")
					}
					if !d.Sale.IsZero() {
						l.Sale = d.Sale.Text(sales.Prefix)
					}
					return out.Encode(l)
				})
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant")
	c.Flags().StringVar(&state, "state", "", "open, recovered, corrected or written_off")
	required(c, "tenant")
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
			if limit < 0 {
				return &usageError{errors.New("--limit: want a number that is not negative")}
			}
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				said := 0
				return eachPage(func(last *collect.ChargeView) ([]collect.ChargeView, error) {
					if limit > 0 && said == limit {
						return nil, nil
					}
					return collect.Charges(cmd.Context(), tx, last.ID, pageRows)
				}, func(ch *collect.ChargeView) error {
					if state != "" && ch.State != state || limit > 0 && said == limit {
						return nil
					}
					said++
					return out.Encode(map[string]any{"id": ch.ID.Text("chg_"), "payment": ch.OurID, "contract": ch.Contract, "kind": ch.Kind, "state": ch.State,
						"amount_minor": ch.Amount.Minor, "currency": ch.Amount.Currency})
				})
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant")
	c.Flags().StringVar(&state, "state", "", "created, sent, unknown, succeeded, declined or moved")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 = all")
	required(c, "tenant")
	choice(c, "state", "created", "sent", "unknown", "succeeded", "declined", "moved")
	return c
}
