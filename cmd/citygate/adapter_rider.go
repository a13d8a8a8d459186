package main

import (
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
)

func newAdapterRiderCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, contract, account string
	c := &cobra.Command{
		Use:   "rider --tenant TENANT --contract CONTRACT --account ACCOUNT",
		Short: "Ask the provider how the payer of an account stands",
		Long: `Asks the provider how the payer of an account stands under a contract: normal, blocked, overdue, frozen, deleted, or unknown.
Who cannot pay there is denied from then on, who can is let go, as when the provider tells by itself; unknown changes
nothing. It is asked without a command before a debt is tried again, once it is recovered, daily of who is denied for what
it said, and, with check_riders in the contract, when a rider's account is opened.

Exit codes: 0 the provider has said; 3 nobody can say.`,
		Example: `  citygate adapter rider --tenant valley-bus --contract cards --account acc_01a1fd1f766074c78eb6de05fe5d7b85`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			id, err := citygate.ParseUUID("acc_", account)
			if err != nil {
				return &usageError{err}
			}
			in, err := f.signing(cmd.Context(), sys, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(cmd.Context())) }()
			t, err := in.tenant(cmd.Context(), name)
			if err != nil {
				return err
			}
			said, err := in.AskPayer(cmd.Context(), actor(sys), t.ID, id, contract)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(sys.Stdout).Encode(said); err != nil {
				return err
			}
			if said.State == "unknown" {
				return &exitError{3, errors.New("nobody can say how the payer stands")}
			}
			return nil
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name")
	c.Flags().StringVar(&contract, "contract", "", "whose provider is asked")
	c.Flags().StringVar(&account, "account", "", "whose payer")
	required(c, "tenant", "contract", "account")
	return c
}
