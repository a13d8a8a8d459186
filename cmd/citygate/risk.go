package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newRiskCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "risk",
		Short: "Taps that cannot be one person's, and payments that were taken back",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newRiskFlagsCommand(sys), newRiskChangeCommand(sys, "acknowledge", risk.FlagAcknowledged), newRiskChangeCommand(sys, "close", risk.FlagClosed),
		newRiskDebtsCommand(sys), newRiskReversalsCommand(sys), newRiskReverseCommand(sys), newRiskConcludeCommand(sys))
	return c
}

// A flagLine is a flag as it is printed.
type flagLine struct {
	ID      string    `json:"id"`
	Kind    risk.Kind `json:"kind"`
	State   string    `json:"state"`
	At      string    `json:"at"`
	FoundAt string    `json:"found_at"`
	Taps    []string  `json:"taps"`
	Blocks  bool      `json:"blocks,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	By      string    `json:"changed_by,omitempty"`
}

func flagLineOf(r *risk.Row) flagLine {
	l := flagLine{
		ID: r.ID.Text(risk.FlagPrefix), Kind: r.Kind, State: string(r.State), At: time.UnixMilli(r.At).UTC().Format(time.RFC3339),
		FoundAt: r.FoundAt.Format(time.RFC3339), Blocks: r.Blocks, Reason: r.Reason, By: r.ChangedBy,
	}
	for _, t := range r.Taps {
		l.Taps = append(l.Taps, t.String())
	}
	return l
}

func newRiskFlagsCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, kind, state, tap string
	c := &cobra.Command{
		Use:   "flags --tenant TENANT [--kind KIND] [--state STATE] [--tap TAP]",
		Short: "List flags with their taps",
		Long: `Lists the flags of a tenant's taps, one line of JSON each, the oldest first:

  clone              two devices show one credential
  impossible_travel  nobody is so fast, by the travel times of the journey rules
  velocity           more taps in a short time than one person makes

A running gateway finds them within minutes of the upload. A flag blocks nobody unless the tenant's risk terms
say so.`,
		Example: `  citygate risk flags --tenant harbour-metro --state open`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := risk.FlagFilter{Kind: risk.Kind(kind), State: risk.FlagState(state)}
			var err error
			if tap != "" {
				filter.Tap, err = citygate.ParseTapID(tap)
			}
			if err != nil {
				return &usageError{fmt.Errorf("--tap: %w", err)}
			}
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				return eachPage(func(last *risk.Row) ([]risk.Row, error) {
					return risk.Flags(cmd.Context(), tx, filter, last.ID, pageRows)
				}, func(r *risk.Row) error { return out.Encode(flagLineOf(r)) })
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name of the tenant")
	flags.StringVar(&kind, "kind", "", "clone, impossible_travel or velocity")
	flags.StringVar(&state, "state", "", "open, acknowledged or closed")
	flags.StringVar(&tap, "tap", "", "flags that name this tap, such as tap_7_12")
	required(c, "tenant")
	choice(c, "kind", string(risk.Copied), string(risk.ImpossibleTravel), string(risk.Velocity))
	choice(c, "state", string(risk.FlagOpen), string(risk.FlagAcknowledged), string(risk.FlagClosed))
	return c
}

func newRiskChangeCommand(sys *system, verb string, to risk.FlagState) *cobra.Command {
	var f gatewayFlags
	var name, flag, reason string
	c := &cobra.Command{
		Use:   verb + " --tenant TENANT --flag ID --reason TEXT",
		Short: map[risk.FlagState]string{risk.FlagAcknowledged: "Say that somebody looks into a flag", risk.FlagClosed: "Close a flag, which lifts the denial that followed from it"}[to],
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := citygate.ParseUUID(risk.FlagPrefix, flag)
			if err != nil {
				return &usageError{fmt.Errorf("--flag: %w", err)}
			}
			return withPricing(cmd.Context(), sys, f, name, func(in *installation, tx *pg.Tx) error {
				r, err := in.Flagger.Change(cmd.Context(), tx, actor(sys), id, to, reason)
				if err != nil {
					return err
				}
				return json.NewEncoder(sys.Stdout).Encode(flagLineOf(&r))
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name of the tenant")
	flags.StringVar(&flag, "flag", "", "id of the flag")
	flags.StringVar(&reason, "reason", "", "why")
	required(c, "tenant", "flag", "reason")
	return c
}
